//! AVX-512: sixteen lanes.

use super::{Class, MAX_LANES, Simd};
use std::arch::x86_64::*;
use std::sync::LazyLock;

/// A proof that the CPU has AVX-512 F, DQ, BW and VL, and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        has.then_some(Avx512(()))
    }
}

/// That of this CPU, which is asked once: every estimate of costs needs it, and where a hypervisor answers, each of the two questions
/// takes some ten microseconds (measured on a virtual machine of an Intel Xeon).
static CLASS: LazyLock<Class> = LazyLock::new(|| {
    #[allow(unused_unsafe)] // recent compilers know what the next line says
    // SAFETY: every 64-bit x86 CPU has this instruction.
    let (vendor, version) = unsafe { (__cpuid(0), __cpuid(1)) };
    let amd = [vendor.ebx, vendor.edx, vendor.ecx] == [b"Auth", b"enti", b"cAMD"].map(|part| u32::from_le_bytes(*part));
    let (family, more) = (version.eax >> 8 & 0xf, version.eax >> 20 & 0xff);
    match family + more {
        // Of AMD's family 25, those that have AVX-512 are Zen 4.
        25 if amd => Class::Avx512InHalves,
        _ if amd => Class::Avx512OfAmd,
        _ => Class::Avx512,
    }
});

/// The first `count` of sixteen bits.
#[inline(always)]
fn first(count: usize) -> u16 {
    ((1u32 << count) - 1) as u16
}

// SAFETY of every block here: `self` is a proof that the CPU has the instructions (made in `detect`); pointers are the caller's
// promise, which each method's documentation in `Simd` states.
impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE: [usize; 2] = [8, 3];
    const FILTER_TILE: [usize; 2] = [8, 3];
    type Vector = __m512;

    fn class(self) -> Class {
        *CLASS
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn maximum(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above. The larger one is `b` where either is NaN; where `a` is, which the table's first two digits stand for, it
        // comes back.
        unsafe { _mm512_fixupimm_ps::<0>(_mm512_max_ps(a, b), a, _mm512_set1_epi32(0x22)) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: u16) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }

    #[inline(always)]
    unsafe fn replace_masked(self, x: __m512, from: *const f32, mask: u16) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mask_loadu_ps(x, mask, from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m512 {
        // SAFETY: see above. Masked lanes are not accessed.
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: __m512, count: usize) {
        // SAFETY: see above. Masked lanes are not accessed.
        unsafe { _mm512_mask_storeu_ps(to, first(count), x) }
    }

    #[inline(always)]
    unsafe fn load_rows(self, from: [*const f32; 2], counts: [usize; 2]) -> __m512 {
        // SAFETY: see above. Masked lanes are not accessed.
        unsafe {
            let low = _mm256_maskz_loadu_ps(first(counts[0]) as u8, from[0]);
            let high = _mm256_maskz_loadu_ps(first(counts[1]) as u8, from[1]);
            _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
        }
    }

    #[inline(always)]
    unsafe fn load_halves(self, from: [*const f32; 2]) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_insertf32x8::<1>(_mm512_castps256_ps512(_mm256_loadu_ps(from[0])), _mm256_loadu_ps(from[1])) }
    }

    #[inline(always)]
    unsafe fn load_every<const STRIDE: usize>(self, from: *const f32) -> __m512 {
        // SAFETY: see above; no vector here begins behind the last one of `STRIDE`.
        unsafe {
            let at = |i: usize| _mm512_loadu_ps(from.add(i * Self::LANES));
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let fourth = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
            match STRIDE {
                1 => at(0),
                2 => _mm512_permutex2var_ps(at(0), even, at(1)),
                4 => {
                    let low = _mm512_permutex2var_ps(at(0), fourth, at(1));
                    let high = _mm512_permutex2var_ps(at(2), fourth, at(3));
                    _mm512_mask_mov_ps(low, 0xff00, high)
                }
                _ => {
                    let stride = _mm512_set1_epi32(STRIDE as i32);
                    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                    _mm512_i32gather_ps::<4>(_mm512_mullo_epi32(lanes, stride), from)
                }
            }
        }
    }

    #[inline(always)]
    fn transpose(self, x: &mut [__m512; MAX_LANES]) {
        // SAFETY: see above.
        unsafe {
            // Four vectors at a time, in each quarter of them: four by four elements.
            for fours in x.as_chunks_mut::<4>().0 {
                let [a, b, c, d] = *fours;
                let pair = |a, b| [_mm512_castps_pd(_mm512_unpacklo_ps(a, b)), _mm512_castps_pd(_mm512_unpackhi_ps(a, b))];
                let ([ab_low, ab_high], [cd_low, cd_high]) = (pair(a, b), pair(c, d));
                *fours = [
                    _mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low)),
                    _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high)),
                ];
            }
            // Then quarters, of every fourth vector.
            for i in 0..4 {
                let [a, b, c, d] = [x[i], x[i + 4], x[i + 8], x[i + 12]];
                let (ab_low, ab_high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                let (cd_low, cd_high) = (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
                x[i] = _mm512_shuffle_f32x4::<0x88>(ab_low, cd_low);
                x[i + 4] = _mm512_shuffle_f32x4::<0xdd>(ab_low, cd_low);
                x[i + 8] = _mm512_shuffle_f32x4::<0x88>(ab_high, cd_high);
                x[i + 12] = _mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high);
            }
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, from: *const T) {
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    fn prefetch_into_l2<T>(self, from: *const T) {
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
        fn call<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: see above.
        unsafe { call(f) }
    }
}
