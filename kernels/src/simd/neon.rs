//! NEON (Advanced SIMD): four lanes, 32 registers. Every CPU of the 64-bit ARM targets has it, so nothing has to be detected.

use super::{Class, MAX_LANES, Simd};
use std::arch::aarch64::*;
use std::arch::asm;

/// The set is part of the target.
#[derive(Clone, Copy)]
pub(super) struct Neon;

/// All bits of the lanes whose bit is set in `mask`.
#[inline(always)]
fn expand(mask: u16) -> uint32x4_t {
    const BITS: [u32; 4] = [1, 2, 4, 8];
    // SAFETY: every CPU of the target has the instructions; the array has four elements.
    unsafe { vtstq_u32(vdupq_n_u32(u32::from(mask)), vld1q_u32(BITS.as_ptr())) }
}

// SAFETY of every block here: every CPU of the target has the instructions; pointers are the caller's promise, which each method's documentation in `Simd` states.
impl Simd for Neon {
    const LANES: usize = 4;
    const TILE: [usize; 2] = [8, 3];
    const FILTER_TILE: [usize; 2] = [8, 3];
    type Vector = float32x4_t;

    #[inline(always)]
    fn class(self) -> Class {
        Class::Neon
    }

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmulq_f32(a, b) }
    }

    /// Where a factor was broadcast, compilers make of both one multiplication by a lane.
    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }

    #[inline(always)]
    fn maximum(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: u16) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(vld1q_f32(from)), expand(mask))) }
    }

    #[inline(always)]
    unsafe fn replace_masked(self, x: float32x4_t, from: *const f32, mask: u16) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vbslq_f32(expand(mask), vld1q_f32(from), x) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: float32x4_t) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, x) }
    }

    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> float32x4_t {
        // SAFETY: see above; each arm reads `count` elements.
        unsafe {
            let none = vdup_n_f32(0.0);
            match count {
                0 => vdupq_n_f32(0.0),
                1 => vcombine_f32(vld1_lane_f32::<0>(from, none), none),
                2 => vcombine_f32(vld1_f32(from), none),
                3 => vcombine_f32(vld1_f32(from), vld1_lane_f32::<0>(from.add(2), none)),
                _ => vld1q_f32(from),
            }
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: float32x4_t, count: usize) {
        // SAFETY: see above; each arm writes `count` elements.
        unsafe {
            match count {
                0 => {}
                1 => vst1q_lane_f32::<0>(to, x),
                2 => vst1_f32(to, vget_low_f32(x)),
                3 => {
                    vst1_f32(to, vget_low_f32(x));
                    vst1q_lane_f32::<2>(to.add(2), x);
                }
                _ => vst1q_f32(to, x),
            }
        }
    }

    #[inline(always)]
    unsafe fn load_halves(self, from: [*const f32; 2]) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vcombine_f32(vld1_f32(from[0]), vld1_f32(from[1])) }
    }

    #[inline(always)]
    unsafe fn load_every<const STRIDE: usize>(self, from: *const f32) -> float32x4_t {
        // SAFETY: see above; no element here lies behind the last vector of `STRIDE`.
        unsafe {
            match STRIDE {
                1 => vld1q_f32(from),
                2 => vuzp1q_f32(vld1q_f32(from), vld1q_f32(from.add(Self::LANES))),
                _ => {
                    let x = vld1q_dup_f32(from);
                    let x = vld1q_lane_f32::<1>(from.add(STRIDE), x);
                    let x = vld1q_lane_f32::<2>(from.add(2 * STRIDE), x);
                    vld1q_lane_f32::<3>(from.add(3 * STRIDE), x)
                }
            }
        }
    }

    #[inline(always)]
    fn transpose(self, x: &mut [float32x4_t; MAX_LANES]) {
        // SAFETY: see above.
        unsafe {
            let pairs = |a, b| [vreinterpretq_f64_f32(vtrn1q_f32(a, b)), vreinterpretq_f64_f32(vtrn2q_f32(a, b))];
            let ([even_ab, odd_ab], [even_cd, odd_cd]) = (pairs(x[0], x[1]), pairs(x[2], x[3]));
            x[0] = vreinterpretq_f32_f64(vtrn1q_f64(even_ab, even_cd));
            x[1] = vreinterpretq_f32_f64(vtrn1q_f64(odd_ab, odd_cd));
            x[2] = vreinterpretq_f32_f64(vtrn2q_f64(even_ab, even_cd));
            x[3] = vreinterpretq_f32_f64(vtrn2q_f64(odd_ab, odd_cd));
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, from: *const T) {
        // SAFETY: a hint, which reads nothing.
        unsafe { asm!("prfm pldl1keep, [{}]", in(reg) from, options(nostack, preserves_flags, readonly)) }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
}
