//! Plain Rust in arrays of four elements, which compilers turn into whatever the target always has.

use super::{Class, MAX_LANES, Simd};

/// Runs everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// The element of each lane, written out: what the standard library fills arrays with is a call where it is not inlined.
#[inline(always)]
fn lanes(element: impl Fn(usize) -> f32) -> [f32; 4] {
    [element(0), element(1), element(2), element(3)]
}

impl Simd for Portable {
    const LANES: usize = 4;
    const TILE: [usize; 2] = [4, 2];
    const FILTER_TILE: [usize; 2] = [4, 2];
    type Vector = [f32; 4];

    #[inline(always)]
    fn class(self) -> Class {
        Class::Portable
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 4] {
        [x; 4]
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        lanes(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn maximum(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes(|i| if a[i] > b[i] || a[i].is_nan() { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 4] {
        // SAFETY: the caller promises four elements; arrays of f32 need no more alignment than f32, which pointers to it have.
        unsafe { from.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn load_masked(self, from: *const f32, mask: u16) -> [f32; 4] {
        // SAFETY: the caller's promise is the same.
        let x = unsafe { self.load(from) };
        lanes(|i| if mask >> i & 1 == 1 { x[i] } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn replace_masked(self, x: [f32; 4], from: *const f32, mask: u16) -> [f32; 4] {
        // SAFETY: the caller's promise is the same.
        let new = unsafe { self.load(from) };
        lanes(|i| if mask >> i & 1 == 1 { new[i] } else { x[i] })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: [f32; 4]) {
        // SAFETY: as for `load`.
        unsafe { to.cast::<[f32; 4]>().write(x) }
    }

    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> [f32; 4] {
        // SAFETY: the caller promises `count` elements.
        lanes(|i| if i < count { unsafe { *from.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: [f32; 4], count: usize) {
        // SAFETY: the caller promises `count` elements, which nothing else borrows while they are written.
        unsafe { std::slice::from_raw_parts_mut(to, count) }.copy_from_slice(&x[..count]);
    }

    #[inline(always)]
    unsafe fn load_every<const STRIDE: usize>(self, from: *const f32) -> [f32; 4] {
        let at = |lane: usize| from.wrapping_add(lane * STRIDE);
        // SAFETY: the caller promises four times `STRIDE` elements.
        unsafe { [*at(0), *at(1), *at(2), *at(3)] }
    }

    #[inline(always)]
    fn transpose(self, x: &mut [[f32; 4]; MAX_LANES]) {
        let [a, b, c, d, ..] = *x;
        for (i, x) in x[..4].iter_mut().enumerate() {
            *x = [a[i], b[i], c[i], d[i]];
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        // A function of its own, as in the other sets: inlined into its callers, it takes compilers far longer.
        #[inline(never)]
        fn call<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        call(f)
    }
}
