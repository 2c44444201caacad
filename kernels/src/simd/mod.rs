//! Vectors of `f32` in the instruction sets that kernels are written for. Kernels are written once, over [`Simd`]; an [`Isa`] runs
//! them with the instructions of the set that it stands for.
//!
//! A value of a type that implements [`Simd`] is a proof that the CPU has its instructions: there is no other way to one than
//! detection. Its methods are inlined into functions that are compiled for the set, which [`Simd::vectorize`] enters.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::fmt;
use std::str::FromStr;

/// Most lanes of a vector in any set.
pub(crate) const MAX_LANES: usize = 16;

/// Operations on vectors of [`Self::LANES`] numbers.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of weights by vectors of positions that a register tile holds at most, so that sums, operands and a broadcast weight
    /// all stay in registers.
    const TILE: [usize; 2];
    /// The same where filters are the lanes: broadcast numbers by vectors of weights.
    const FILTER_TILE: [usize; 2];
    type Vector: Copy;

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
    /// `x` where it is not negative, else `negative`.
    fn where_negative(self, x: Self::Vector, negative: Self::Vector) -> Self::Vector;

    /// # Safety
    /// `from` must be valid for reads of [`Self::LANES`] numbers.
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// The lanes whose bit is set in `mask`; others are 0.
    ///
    /// # Safety
    /// `from` must be valid for reads of [`Self::LANES`] numbers, those of unset bits included.
    unsafe fn load_masked(self, from: *const f32, mask: u16) -> Self::Vector;

    /// `x`, but the lanes whose bit is set in `mask` from memory.
    ///
    /// # Safety
    /// `from` must be valid for reads of [`Self::LANES`] numbers, those of unset bits included.
    unsafe fn replace_masked(self, x: Self::Vector, from: *const f32, mask: u16) -> Self::Vector;

    /// # Safety
    /// `to` must be valid for writes of [`Self::LANES`] numbers.
    unsafe fn store(self, to: *mut f32, x: Self::Vector);

    /// The first `count` lanes.
    ///
    /// # Safety
    /// `from` must be valid for reads of `count` numbers, at most [`Self::LANES`].
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::Vector;

    /// The first `count` lanes.
    ///
    /// # Safety
    /// `to` must be valid for writes of `count` numbers, at most [`Self::LANES`].
    unsafe fn store_first(self, to: *mut f32, x: Self::Vector, count: usize);

    /// Weights of neighbouring rows: the first `counts[0]` of a panel's, from `from[0]`, and where vectors are longer than a panel,
    /// the first `counts[1]` of the next one's, from `from[1]`, in the lanes behind those of a whole panel. Other lanes are 0.
    ///
    /// # Safety
    /// Each pointer that is read must be valid for reads of as many numbers as its count says: at most [`crate::PANEL_ROWS`] and
    /// at most [`Self::LANES`].
    #[inline(always)]
    unsafe fn load_rows(self, from: [*const f32; 2], counts: [usize; 2]) -> Self::Vector {
        // SAFETY: the caller's promise.
        unsafe { self.load_first(from[0], counts[0]) }
    }

    /// Two runs of half a vector each.
    ///
    /// # Safety
    /// Each pointer must be valid for reads of half of [`Self::LANES`] numbers.
    #[inline(always)]
    unsafe fn load_halves(self, from: [*const f32; 2]) -> Self::Vector {
        let mut numbers = [0.0; MAX_LANES];
        for (half, from) in numbers.chunks_exact_mut(Self::LANES / 2).zip(from) {
            // SAFETY: the caller's promise.
            half.copy_from_slice(unsafe { std::slice::from_raw_parts(from, half.len()) });
        }
        // SAFETY: the array has as many numbers as the widest vector.
        unsafe { self.load(numbers.as_ptr()) }
    }

    /// Weights of neighbouring rows, as [`Self::load_rows`] loads them: all numbers of the slices.
    ///
    /// # Panics
    /// If there are more than [`crate::PANEL_ROWS`] or [`Self::LANES`] in one.
    #[inline(always)]
    fn get_rows(self, from: [&[f32]; 2]) -> Self::Vector {
        let counts = from.map(<[f32]>::len);
        assert!(counts.iter().all(|&count| count <= crate::PANEL_ROWS.min(Self::LANES)), "panels of {counts:?} rows");
        // SAFETY: the slices have as many, which are few enough by the check above.
        unsafe { self.load_rows(from.map(<[f32]>::as_ptr), counts) }
    }

    /// The first numbers of two slices, half a vector each.
    ///
    /// # Panics
    /// If one has fewer than half of [`Self::LANES`].
    #[inline(always)]
    fn get_halves(self, from: [&[f32]; 2]) -> Self::Vector {
        assert!(from[0].len() >= Self::LANES / 2 && from[1].len() >= Self::LANES / 2, "half a vector");
        // SAFETY: there are enough, by the check above.
        unsafe { self.load_halves([from[0].as_ptr(), from[1].as_ptr()]) }
    }

    /// The first numbers of a slice.
    ///
    /// # Panics
    /// If it has fewer than [`Self::LANES`].
    #[inline(always)]
    fn get(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() >= Self::LANES, "a vector of {} numbers", from.len());
        // SAFETY: there are enough, by the check above.
        unsafe { self.load(from.as_ptr()) }
    }

    /// As many of the first numbers of a slice as it has; 0 in the lanes behind them.
    #[inline(always)]
    fn get_first(self, from: &[f32]) -> Self::Vector {
        // SAFETY: the slice has as many, and a vector has as many lanes.
        unsafe { self.load_first(from.as_ptr(), from.len().min(Self::LANES)) }
    }

    /// Overwrites the first numbers of a slice.
    ///
    /// # Panics
    /// If it has fewer than [`Self::LANES`].
    #[inline(always)]
    fn put(self, to: &mut [f32], x: Self::Vector) {
        assert!(to.len() >= Self::LANES, "a vector of {} numbers", to.len());
        // SAFETY: there are enough, by the check above.
        unsafe { self.store(to.as_mut_ptr(), x) }
    }

    /// Overwrites as many of the first numbers of a slice as it has.
    #[inline(always)]
    fn put_first(self, to: &mut [f32], x: Self::Vector) {
        // SAFETY: the slice has as many, and a vector has as many lanes.
        unsafe { self.store_first(to.as_mut_ptr(), x, to.len().min(Self::LANES)) }
    }

    /// Every `STRIDE`-th number.
    ///
    /// # Safety
    /// `from` must be valid for reads of `STRIDE` times [`Self::LANES`] numbers.
    unsafe fn load_every<const STRIDE: usize>(self, from: *const f32) -> Self::Vector;

    /// Every `STRIDE`-th of the first numbers of a slice.
    ///
    /// # Panics
    /// If it has fewer than `STRIDE` vectors' numbers.
    #[inline(always)]
    fn get_every<const STRIDE: usize>(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() >= STRIDE * Self::LANES, "{STRIDE} vectors of {} numbers", from.len());
        // SAFETY: there are enough, by the check above.
        unsafe { self.load_every::<STRIDE>(from.as_ptr()) }
    }

    /// Turns rows into columns: lane i of vector j becomes lane j of vector i, of the first [`Self::LANES`] vectors.
    #[inline(always)]
    fn transpose(self, x: &mut [Self::Vector; MAX_LANES]) {
        let mut columns = [[0.0; MAX_LANES]; MAX_LANES];
        for (j, x) in x[..Self::LANES].iter().enumerate() {
            let mut numbers = [0.0; MAX_LANES];
            self.put(&mut numbers, *x);
            for i in 0..Self::LANES {
                columns[i][j] = numbers[i];
            }
        }
        for (x, column) in x[..Self::LANES].iter_mut().zip(&columns) {
            *x = self.get(column);
        }
    }

    /// Fills `to` with every `STRIDE`-th number of `from`, from the first one on.
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
            assert!((count - 1) * STRIDE < left.len(), "{count} numbers {STRIDE} apart in {}", left.len());
            let numbers = if left.len() >= STRIDE * Self::LANES {
                self.get_every::<STRIDE>(left)
            } else {
                // Where fewer are left than whole vectors take, a copy has room behind them.
                let mut room = [[0.0; MAX_LANES]; STRIDE];
                room.as_flattened_mut()[..left.len()].copy_from_slice(left);
                self.get_every::<STRIDE>(room.as_flattened())
            };
            self.put_first(&mut to[done..done + count], numbers);
            done += count;
        }
    }

    /// Asks for the memory at `from`, which may be any address, to be brought near.
    fn prefetch(self, from: *const f32);

    /// Runs `f`, and what is inlined into it, compiled for this set.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;
}

/// Work that is written once for all sets.
pub(crate) trait Vectorized {
    type Output;
    /// Must be `#[inline(always)]`, so that it is compiled for the set that it is run with.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set that this CPU has.
#[derive(Clone, Copy)]
pub struct Isa(Set);

#[derive(Clone, Copy)]
enum Set {
    Portable(portable::Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

impl Isa {
    /// All that this CPU has, the best one first.
    pub fn available() -> impl Iterator<Item = Isa> {
        #[cfg(target_arch = "x86_64")]
        let sets = [avx512::Avx512::detect().map(Set::Avx512), avx2::Avx2::detect().map(Set::Avx2)];
        #[cfg(not(target_arch = "x86_64"))]
        let sets: [Option<Set>; 0] = [];
        sets.into_iter().flatten().chain([Set::Portable(portable::Portable)]).map(Isa)
    }

    /// The best one that this CPU has.
    pub fn best() -> Isa {
        Self::available().next().unwrap_or(Isa(Set::Portable(portable::Portable)))
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
        }
    }

    /// Numbers in a vector.
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

    /// Whether the CPU computes a vector of this set as two halves, so that arithmetic takes twice as long and the rest does not.
    pub(crate) fn in_halves(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) => simd.in_halves(),
            _ => false,
        }
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

    /// Runs `work` with this set's vectors.
    #[inline]
    pub(crate) fn dispatch<W: Vectorized>(self, work: W) -> W::Output {
        match self.0 {
            Set::Portable(simd) => work.run(simd),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(simd) => work.run(simd),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) => work.run(simd),
        }
    }

    /// Runs `f`, plain code that the compiler vectorises, compiled for this set. Closures that are not inlined into it are not.
    #[inline]
    pub fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        match self.0 {
            Set::Portable(simd) => simd.vectorize(f),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(simd) => simd.vectorize(f),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) => simd.vectorize(f),
        }
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
