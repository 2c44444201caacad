//! Vectors of `f32` in the instruction sets that kernels are written for. Kernels are written once, over [`Simd`]; an [`Isa`] runs
//! them with the instructions of the set that it stands for.
//!
//! A value of a type that implements [`Simd`] is a proof that the CPU has its instructions: there is no other way to one than
//! detection. Its methods are inlined into functions that are compiled for the set, which [`Simd::vectorize`] enters.

#[cfg(all(target_arch = "x86_64", feature = "avx2"))]
mod avx2;
#[cfg(all(target_arch = "x86_64", feature = "avx512"))]
mod avx512;
mod grid;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
mod stored;

pub(crate) use grid::{Grid, GridMut};
#[cfg(test)]
pub(crate) use portable::Portable;
pub(crate) use stored::Stored;

use get_size2::GetSize;
use std::fmt;
use std::str::FromStr;

/// Most lanes of a vector in any set.
pub(crate) const MAX_LANES: usize = 16;

/// Operations on vectors of [`Self::LANES`] elements.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Elements in a vector.
    const LANES: usize;
    /// Rows of weights by vectors of positions that a register tile holds at most, so that sums, operands and a broadcast weight
    /// all stay in registers.
    const TILE: [usize; 2];
    /// The same where filters are the lanes: broadcast elements by vectors of weights.
    const FILTER_TILE: [usize; 2];
    type Vector: Copy;

    /// What decides how long its operations take.
    fn class(self) -> Class;

    fn splat(self, x: f32) -> Self::Vector;
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the set can do that.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger one; `b` where either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller one; `b` where either is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The larger one; NaN where either is.
    fn maximum(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// # Safety
    /// `from` must be valid for reads of [`Self::LANES`] elements.
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// The lanes whose bit is set in `mask`; others are 0.
    ///
    /// # Safety
    /// `from` must be valid for reads of [`Self::LANES`] elements, those of unset bits included.
    unsafe fn load_masked(self, from: *const f32, mask: u16) -> Self::Vector;

    /// `x`, but the lanes whose bit is set in `mask` from memory.
    ///
    /// # Safety
    /// `from` must be valid for reads of [`Self::LANES`] elements, those of unset bits included.
    unsafe fn replace_masked(self, x: Self::Vector, from: *const f32, mask: u16) -> Self::Vector;

    /// # Safety
    /// `to` must be valid for writes of [`Self::LANES`] elements.
    unsafe fn store(self, to: *mut f32, x: Self::Vector);

    /// The first `count` lanes.
    ///
    /// # Safety
    /// `from` must be valid for reads of `count` elements, at most [`Self::LANES`].
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::Vector;

    /// The first `count` lanes.
    ///
    /// # Safety
    /// `to` must be valid for writes of `count` elements, at most [`Self::LANES`].
    unsafe fn store_first(self, to: *mut f32, x: Self::Vector, count: usize);

    /// Neighbouring rows of panels, as [`Stored::load_rows`] says.
    ///
    /// # Safety
    /// Each pointer that is read must be valid for reads of as many elements as its count says: at most
    /// [`ROWS`](sslm_basics::panels::ROWS) and at most [`Self::LANES`].
    #[inline(always)]
    unsafe fn load_rows(self, from: [*const f32; 2], counts: [usize; 2]) -> Self::Vector {
        // SAFETY: the caller's promise.
        unsafe { self.load_first(from[0], counts[0]) }
    }

    /// Two runs of half a vector each.
    ///
    /// # Safety
    /// Each pointer must be valid for reads of half of [`Self::LANES`] elements.
    #[inline(always)]
    unsafe fn load_halves(self, from: [*const f32; 2]) -> Self::Vector {
        let mut elements = [0.0; MAX_LANES];
        for (half, from) in elements.chunks_exact_mut(Self::LANES / 2).zip(from) {
            // SAFETY: the caller's promise.
            half.copy_from_slice(unsafe { std::slice::from_raw_parts(from, half.len()) });
        }
        // SAFETY: the array has as many elements as the widest vector.
        unsafe { self.load(elements.as_ptr()) }
    }

    /// The first elements of a slice.
    ///
    /// # Panics
    /// If it has fewer than [`Self::LANES`].
    #[inline(always)]
    fn get(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() >= Self::LANES, "a vector of {} elements", from.len());
        // SAFETY: there are enough, by the check above.
        unsafe { self.load(from.as_ptr()) }
    }

    /// As many of the first elements of a slice as it has; 0 in the lanes behind them.
    #[inline(always)]
    fn get_first(self, from: &[f32]) -> Self::Vector {
        // SAFETY: the slice has as many, and a vector has as many lanes.
        unsafe { self.load_first(from.as_ptr(), from.len().min(Self::LANES)) }
    }

    /// Overwrites the first elements of a slice.
    ///
    /// # Panics
    /// If it has fewer than [`Self::LANES`].
    #[inline(always)]
    fn put(self, to: &mut [f32], x: Self::Vector) {
        assert!(to.len() >= Self::LANES, "a vector of {} elements", to.len());
        // SAFETY: there are enough, by the check above.
        unsafe { self.store(to.as_mut_ptr(), x) }
    }

    /// Overwrites as many of the first elements of a slice as it has.
    #[inline(always)]
    fn put_first(self, to: &mut [f32], x: Self::Vector) {
        // SAFETY: the slice has as many, and a vector has as many lanes.
        unsafe { self.store_first(to.as_mut_ptr(), x, to.len().min(Self::LANES)) }
    }

    /// Every `STRIDE`-th element.
    ///
    /// # Safety
    /// `from` must be valid for reads of `STRIDE` times [`Self::LANES`] elements.
    unsafe fn load_every<const STRIDE: usize>(self, from: *const f32) -> Self::Vector;

    /// Every `STRIDE`-th of the first elements of a slice.
    ///
    /// # Panics
    /// If it has fewer elements than `STRIDE` vectors.
    #[inline(always)]
    fn get_every<const STRIDE: usize>(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() >= STRIDE * Self::LANES, "{STRIDE} vectors of {} elements", from.len());
        // SAFETY: there are enough, by the check above.
        unsafe { self.load_every::<STRIDE>(from.as_ptr()) }
    }

    /// Turns rows into columns: lane i of vector j becomes lane j of vector i, of the first [`Self::LANES`] vectors.
    fn transpose(self, x: &mut [Self::Vector; MAX_LANES]);

    /// Fills `to` with every `STRIDE`-th element of `from`, from the first one on.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline(always)]
    fn every<const STRIDE: usize>(self, from: &[f32], to: &mut [f32]) {
        let mut done = 0;
        for (to, from) in to.chunks_exact_mut(Self::LANES).zip(from.chunks_exact(STRIDE * Self::LANES)) {
            self.put(to, self.get_every::<STRIDE>(from));
            done += Self::LANES;
        }
        while done < to.len() {
            let count = Self::LANES.min(to.len() - done);
            let left = &from[done * STRIDE..];
            assert!((count - 1) * STRIDE < left.len(), "{count} elements {STRIDE} apart in {}", left.len());
            let elements = if left.len() >= STRIDE * Self::LANES {
                self.get_every::<STRIDE>(left)
            } else {
                // Where fewer are left than whole vectors take, a copy has room behind them.
                let mut room = [[0.0; MAX_LANES]; STRIDE];
                room.as_flattened_mut()[..left.len()].copy_from_slice(left);
                self.get_every::<STRIDE>(room.as_flattened())
            };
            self.put_first(&mut to[done..done + count], elements);
            done += count;
        }
    }

    /// Asks for the memory at `from`, which may be any address, to be brought near.
    fn prefetch<T>(self, from: *const T);

    /// The same, for what is needed later: into L2, past L1, if the set can say so.
    #[inline(always)]
    fn prefetch_into_l2<T>(self, from: *const T) {
        self.prefetch(from);
    }

    /// Runs `f`, and what is inlined into it, compiled for this set.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;
}

/// Work that is written once for all sets.
pub(crate) trait Vectorized {
    type Output;
    /// Must be `#[inline(always)]`, so that it is compiled for the set that it is run with.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Instruction sets by how long their operations take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    Portable,
    #[cfg_attr(not(all(target_arch = "x86_64", feature = "avx2")), expect(dead_code, reason = "there are no kernels for it"))]
    Avx2,
    /// On a CPU that is none of the next two: of Intel.
    #[cfg_attr(not(all(target_arch = "x86_64", feature = "avx512")), expect(dead_code, reason = "there are no kernels for it"))]
    Avx512,
    /// On a CPU of AMD with whole vectors (Zen 5 and later).
    #[cfg_attr(not(all(target_arch = "x86_64", feature = "avx512")), expect(dead_code, reason = "there are no kernels for it"))]
    Avx512OfAmd,
    /// On a CPU that computes a vector as two halves (Zen 4), so that arithmetic takes twice as long and the rest does not.
    #[cfg_attr(not(all(target_arch = "x86_64", feature = "avx512")), expect(dead_code, reason = "there are no kernels for it"))]
    Avx512InHalves,
    #[cfg_attr(not(target_arch = "aarch64"), expect(dead_code, reason = "other CPUs do not have it"))]
    Neon,
}

/// An instruction set that this CPU has.
#[derive(Clone, Copy)]
pub struct Isa(Set);

/// Makes what has to name each set, of the list below.
macro_rules! sets {
    ($($(#[$is_there:meta])* $name:literal: $set:ident($vectors:ty) = $found:expr,)*) => {
        #[derive(Clone, Copy)]
        enum Set {
            $($(#[$is_there])* $set($vectors),)*
        }

        impl Isa {
            /// The names of the sets that kernels have on this architecture, the best one first, each with the set if this CPU has it.
            pub fn all() -> impl Iterator<Item = (&'static str, Option<Isa>)> {
                let sets = [$($(#[$is_there])* ($name, $found.map(Set::$set)),)*];
                sets.into_iter().map(|(name, set)| (name, set.map(Isa)))
            }

            /// `avx512`, `avx2`, `neon`, `simd128` or `portable`.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($(#[$is_there])* Set::$set(_) => $name,)*
                }
            }

            /// Runs `work` with this set's vectors.
            #[inline]
            pub(crate) fn dispatch<W: Vectorized>(self, work: W) -> W::Output {
                match self.0 {
                    $($(#[$is_there])* Set::$set(simd) => work.run(simd),)*
                }
            }

            /// Runs `f`, plain code that the compiler vectorises, compiled for this set. Closures that are not inlined into it are not.
            #[inline]
            pub fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
                match self.0 {
                    $($(#[$is_there])* Set::$set(simd) => simd.vectorize(f),)*
                }
            }
        }
    };
}

// The best one first. Whoever knows which CPUs will run a program leaves out what these do not need, by features.
sets! {
    #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
    "avx512": Avx512(avx512::Avx512) = avx512::Avx512::detect(),
    #[cfg(all(target_arch = "x86_64", feature = "avx2"))]
    "avx2": Avx2(avx2::Avx2) = avx2::Avx2::detect(),
    #[cfg(target_arch = "aarch64")]
    "neon": Neon(neon::Neon) = Some(neon::Neon),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    "simd128": Simd128(simd128::Simd128) = Some(simd128::Simd128),
    "portable": Portable(portable::Portable) = Some(portable::Portable),
}

/// It has nothing on the heap.
impl GetSize for Isa {}

impl Isa {
    /// The names of all sets that kernels are written for, on any architecture.
    pub const NAMES: [&'static str; 5] = ["avx512", "avx2", "neon", "simd128", "portable"];

    /// All that this CPU has, the best one first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::all().filter_map(|(_, isa)| isa)
    }

    /// The best one that this CPU has.
    pub fn best() -> Isa {
        Self::available().next().unwrap_or(Self::portable())
    }

    /// The one that every CPU has.
    pub fn portable() -> Isa {
        Isa(Set::Portable(portable::Portable))
    }

    /// Elements in a vector.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl Vectorized for Lanes {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::LANES
            }
        }
        self.dispatch(Lanes)
    }

    /// What decides how long its operations take.
    pub(crate) fn class(self) -> Class {
        struct ClassOf;
        impl Vectorized for ClassOf {
            type Output = Class;
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) -> Class {
                simd.class()
            }
        }
        self.dispatch(ClassOf)
    }

    /// Rows by vectors of the largest register tile.
    pub(crate) fn tile(self) -> [usize; 2] {
        struct Tile;
        impl Vectorized for Tile {
            type Output = [usize; 2];
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> [usize; 2] {
                S::TILE
            }
        }
        self.dispatch(Tile)
    }

    /// Positions by vectors of filters of the largest register tile whose lanes are filters.
    pub(crate) fn filter_tile(self) -> [usize; 2] {
        struct Tile;
        impl Vectorized for Tile {
            type Output = [usize; 2];
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> [usize; 2] {
                S::FILTER_TILE
            }
        }
        self.dispatch(Tile)
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Isa {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Isa {}

impl FromStr for Isa {
    type Err = String;

    /// The set of this name, if this CPU has it.
    fn from_str(name: &str) -> Result<Self, String> {
        let all: Vec<Isa> = Self::available().collect();
        let names = all.iter().map(|i| i.name()).collect::<Vec<_>>().join(", ");
        all.into_iter()
            .find(|i| i.name() == name)
            .ok_or_else(|| format!("instruction set: expected one of {names} on this CPU, found '{name}'"))
    }
}
