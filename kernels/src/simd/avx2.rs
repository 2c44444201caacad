//! AVX2 with FMA: eight lanes.

use super::{Class, MAX_LANES, Simd};
use std::arch::x86_64::*;

/// A proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

/// Bit `i` of `mask` as the sign of lane `i`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn expand(mask: u16) -> __m256i {
    let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(i32::from(mask)), bits), bits)
}

/// The first `count` lanes.
#[inline(always)]
fn first(count: usize) -> u16 {
    (1u16 << count) - 1
}

// SAFETY of every block here: `self` is a proof that the CPU has the instructions (made in `detect`); pointers are the caller's
// promise, which each method's documentation in `Simd` states.
impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE: [usize; 2] = [4, 3];
    const FILTER_TILE: [usize; 2] = [6, 2];
    type Vector = __m256;

    #[inline(always)]
    fn class(self) -> Class {
        Class::Avx2
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn maximum(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above. The larger one is `b` where either is NaN.
        unsafe { _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: u16) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_and_ps(_mm256_loadu_ps(from), _mm256_castsi256_ps(expand(mask))) }
    }

    #[inline(always)]
    unsafe fn replace_masked(self, x: __m256, from: *const f32, mask: u16) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_blendv_ps(x, _mm256_loadu_ps(from), _mm256_castsi256_ps(expand(mask))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> __m256 {
        // SAFETY: see above. Masked lanes are not accessed.
        unsafe { _mm256_maskload_ps(from, expand(first(count))) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: __m256, count: usize) {
        // SAFETY: see above. Masked lanes are not accessed.
        unsafe { _mm256_maskstore_ps(to, expand(first(count)), x) }
    }

    #[inline(always)]
    unsafe fn load_every<const STRIDE: usize>(self, from: *const f32) -> __m256 {
        // SAFETY: see above; no element here lies behind the last vector of `STRIDE`.
        unsafe {
            match STRIDE {
                1 => self.load(from),
                2 => {
                    // Of each half, then of all: the elements of even index of two vectors.
                    let halves = _mm256_shuffle_ps::<0b10_00_10_00>(self.load(from), self.load(from.add(Self::LANES)));
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(halves)))
                }
                _ => {
                    let at = |lane: usize| *from.add(lane * STRIDE);
                    _mm256_setr_ps(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7))
                }
            }
        }
    }

    #[inline(always)]
    fn transpose(self, x: &mut [__m256; MAX_LANES]) {
        // SAFETY: see above.
        unsafe {
            // Four vectors at a time, in each half of them: four by four elements.
            for fours in x[..Self::LANES].as_chunks_mut::<4>().0 {
                let [a, b, c, d] = *fours;
                let pair = |a, b| [_mm256_castps_pd(_mm256_unpacklo_ps(a, b)), _mm256_castps_pd(_mm256_unpackhi_ps(a, b))];
                let ([ab_low, ab_high], [cd_low, cd_high]) = (pair(a, b), pair(c, d));
                *fours = [
                    _mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low)),
                    _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low)),
                    _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high)),
                    _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high)),
                ];
            }
            // Then halves, of every fourth vector.
            for i in 0..4 {
                let (low, high) = (x[i], x[i + 4]);
                x[i] = _mm256_permute2f128_ps::<0x20>(low, high);
                x[i + 4] = _mm256_permute2f128_ps::<0x31>(low, high);
            }
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, from: *const T) {
        // SAFETY: a hint, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma")]
        fn call<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: see above.
        unsafe { call(f) }
    }
}
