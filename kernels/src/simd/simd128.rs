//! WebAssembly's vectors: four lanes. The set is part of the target if it is compiled with `-C target-feature=+simd128`. With
//! `+relaxed-simd` besides, products and sums are rounded once where the machine can do that.

use super::{Class, MAX_LANES, Simd};
use std::arch::wasm32::*;

/// The set is part of the target.
#[derive(Clone, Copy)]
pub(super) struct Simd128;

/// All bits of the lanes whose bit is set in `mask`.
#[inline(always)]
fn expand(mask: u16) -> v128 {
    let bits = i32x4(1, 2, 4, 8);
    i32x4_eq(v128_and(i32x4_splat(i32::from(mask)), bits), bits)
}

// SAFETY of every block here: pointers are the caller's promise, which each method's documentation in `Simd` states.
impl Simd for Simd128 {
    const LANES: usize = 4;
    /// Engines have 16 registers on x86.
    const TILE: [usize; 2] = [4, 2];
    const FILTER_TILE: [usize; 2] = [4, 2];
    type Vector = v128;

    #[inline(always)]
    fn class(self) -> Class {
        Class::Portable
    }

    #[inline(always)]
    fn splat(self, x: f32) -> v128 {
        f32x4_splat(x)
    }

    #[inline(always)]
    fn add(self, a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }

    #[inline(always)]
    fn sub(self, a: v128, b: v128) -> v128 {
        f32x4_sub(a, b)
    }

    #[inline(always)]
    fn mul(self, a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: v128, b: v128, c: v128) -> v128 {
        #[cfg(target_feature = "relaxed-simd")]
        {
            f32x4_relaxed_madd(a, b, c)
        }
        #[cfg(not(target_feature = "relaxed-simd"))]
        {
            f32x4_add(f32x4_mul(a, b), c)
        }
    }

    #[inline(always)]
    fn max(self, a: v128, b: v128) -> v128 {
        f32x4_pmax(b, a)
    }

    #[inline(always)]
    fn min(self, a: v128, b: v128) -> v128 {
        f32x4_pmin(b, a)
    }

    #[inline(always)]
    fn maximum(self, a: v128, b: v128) -> v128 {
        f32x4_max(a, b)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> v128 {
        // SAFETY: see above.
        unsafe { v128_load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: u16) -> v128 {
        // SAFETY: see above.
        v128_and(unsafe { self.load(from) }, expand(mask))
    }

    #[inline(always)]
    unsafe fn replace_masked(self, x: v128, from: *const f32, mask: u16) -> v128 {
        // SAFETY: see above.
        v128_bitselect(unsafe { self.load(from) }, x, expand(mask))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: v128) {
        // SAFETY: see above.
        unsafe { v128_store(to.cast(), x) }
    }

    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> v128 {
        // SAFETY: see above; each arm reads `count` elements.
        unsafe {
            match count {
                0 => f32x4_splat(0.0),
                1 => v128_load32_zero(from.cast()),
                2 => v128_load64_zero(from.cast()),
                3 => v128_load32_lane::<2>(v128_load64_zero(from.cast()), from.add(2).cast()),
                _ => self.load(from),
            }
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: v128, count: usize) {
        // SAFETY: see above; each arm writes `count` elements.
        unsafe {
            match count {
                0 => {}
                1 => v128_store32_lane::<0>(x, to.cast()),
                2 => v128_store64_lane::<0>(x, to.cast()),
                3 => {
                    v128_store64_lane::<0>(x, to.cast());
                    v128_store32_lane::<2>(x, to.add(2).cast());
                }
                _ => self.store(to, x),
            }
        }
    }

    #[inline(always)]
    unsafe fn load_halves(self, from: [*const f32; 2]) -> v128 {
        // SAFETY: see above.
        unsafe { v128_load64_lane::<1>(v128_load64_zero(from[0].cast()), from[1].cast()) }
    }

    #[inline(always)]
    unsafe fn load_every<const STRIDE: usize>(self, from: *const f32) -> v128 {
        // SAFETY: see above; no element here lies behind the last vector of `STRIDE`.
        unsafe {
            match STRIDE {
                1 => self.load(from),
                2 => i32x4_shuffle::<0, 2, 4, 6>(self.load(from), self.load(from.add(Self::LANES))),
                _ => {
                    let at = |lane: usize| *from.add(lane * STRIDE);
                    f32x4(at(0), at(1), at(2), at(3))
                }
            }
        }
    }

    #[inline(always)]
    fn transpose(self, x: &mut [v128; MAX_LANES]) {
        let pairs = |a, b| [i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b)];
        let ([ab_low, ab_high], [cd_low, cd_high]) = (pairs(x[0], x[1]), pairs(x[2], x[3]));
        x[0] = i64x2_shuffle::<0, 2>(ab_low, cd_low);
        x[1] = i64x2_shuffle::<1, 3>(ab_low, cd_low);
        x[2] = i64x2_shuffle::<0, 2>(ab_high, cd_high);
        x[3] = i64x2_shuffle::<1, 3>(ab_high, cd_high);
    }

    /// There is no such hint.
    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
}
