//! Weights as they are stored, and as the vectors of `f32` that micro-kernels multiply: the one place where weights are widened.
//! Another element of weights is one implementation of [`Stored`].

use super::Simd;
use sslm_basics::panels::{Element, ROWS};

/// An element of weights that micro-kernels read: how a vector of rows is made of it.
pub(crate) trait Stored: Element {
    /// The first `count` lanes; others are 0.
    ///
    /// # Safety
    /// `from` must be valid for reads of `count` elements, at most [`Simd::LANES`].
    unsafe fn load_first<S: Simd>(simd: S, from: *const Self, count: usize) -> S::Vector;

    /// Neighbouring rows: the first `counts[0]` of a panel's, from `from[0]`, and where vectors are longer than a panel, the first
    /// `counts[1]` of the next one's, from `from[1]`, in the lanes behind those of a whole panel. Other lanes are 0.
    ///
    /// # Safety
    /// Each pointer that is read must be valid for reads of as many elements as its count says: at most [`ROWS`] and at most
    /// [`Simd::LANES`].
    unsafe fn load_rows<S: Simd>(simd: S, from: [*const Self; 2], counts: [usize; 2]) -> S::Vector;

    /// Two runs of half a vector each.
    ///
    /// # Safety
    /// Each pointer must be valid for reads of half of [`Simd::LANES`] elements.
    unsafe fn load_halves<S: Simd>(simd: S, from: [*const Self; 2]) -> S::Vector;

    /// As many of the first elements of a slice as it has; 0 in the lanes behind them.
    #[inline(always)]
    fn get_first<S: Simd>(simd: S, from: &[Self]) -> S::Vector {
        // SAFETY: the slice has as many, and a vector has as many lanes.
        unsafe { Self::load_first(simd, from.as_ptr(), from.len().min(S::LANES)) }
    }

    /// All elements of two slices, as [`Self::load_rows`] loads them.
    ///
    /// # Panics
    /// If there are more than [`ROWS`] or [`Simd::LANES`] in one.
    #[inline(always)]
    fn get_rows<S: Simd>(simd: S, from: [&[Self]; 2]) -> S::Vector {
        let counts = from.map(<[Self]>::len);
        assert!(counts.iter().all(|&count| count <= ROWS.min(S::LANES)), "panels of {counts:?} rows");
        // SAFETY: the slices have as many, which are few enough by the check above.
        unsafe { Self::load_rows(simd, from.map(<[Self]>::as_ptr), counts) }
    }

    /// The first elements of two slices, half a vector each.
    ///
    /// # Panics
    /// If one has fewer than half of [`Simd::LANES`].
    #[inline(always)]
    fn get_halves<S: Simd>(simd: S, from: [&[Self]; 2]) -> S::Vector {
        assert!(from[0].len() >= S::LANES / 2 && from[1].len() >= S::LANES / 2, "half a vector");
        // SAFETY: there are enough, by the check above.
        unsafe { Self::load_halves(simd, [from[0].as_ptr(), from[1].as_ptr()]) }
    }
}

impl Stored for f32 {
    #[inline(always)]
    unsafe fn load_first<S: Simd>(simd: S, from: *const f32, count: usize) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { simd.load_first(from, count) }
    }

    #[inline(always)]
    unsafe fn load_rows<S: Simd>(simd: S, from: [*const f32; 2], counts: [usize; 2]) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { simd.load_rows(from, counts) }
    }

    #[inline(always)]
    unsafe fn load_halves<S: Simd>(simd: S, from: [*const f32; 2]) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { simd.load_halves(from) }
    }
}
