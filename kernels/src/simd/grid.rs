//! Vectors at even distances in a slice: that they lie in it is checked once, instead of at each of them.

use super::Simd;
use std::marker::PhantomData;

/// `ROWS` by `COLUMNS` vectors that can be read.
#[derive(Clone, Copy)]
pub(crate) struct Grid<'a, S, const ROWS: usize, const COLUMNS: usize> {
    simd: S,
    /// Invariant: a whole vector lies in the borrowed slice at each row's and each column's place. Checked by `new`.
    start: *const f32,
    /// From one row to the next, and from one column to the next.
    distances: [usize; 2],
    borrowed: PhantomData<&'a [f32]>,
}

/// The same, of vectors that can be overwritten.
pub(crate) struct GridMut<'a, S, const ROWS: usize, const COLUMNS: usize> {
    grid: Grid<'a, S, ROWS, COLUMNS>,
    /// The same place. Invariant: as the grid's, and nothing else borrows the slice.
    start: *mut f32,
}

/// Elements up to the end of the last vector.
fn reach<S: Simd, const ROWS: usize, const COLUMNS: usize>([row, column]: [usize; 2]) -> usize {
    let last = (ROWS - 1).saturating_mul(row).saturating_add((COLUMNS - 1).saturating_mul(column));
    last.saturating_add(S::LANES)
}

impl<'a, S: Simd, const ROWS: usize, const COLUMNS: usize> Grid<'a, S, ROWS, COLUMNS> {
    /// From the slice's first element on, rows and columns so many elements apart.
    ///
    /// # Panics
    /// If the slice is too short for that.
    #[inline(always)]
    pub(crate) fn new(simd: S, slice: &'a [f32], distances: [usize; 2]) -> Self {
        assert!(reach::<S, ROWS, COLUMNS>(distances) <= slice.len(), "a grid longer than its memory");
        Grid { simd, start: slice.as_ptr(), distances, borrowed: PhantomData }
    }

    /// From the grid's first element to a vector.
    ///
    /// # Panics
    /// If there is no such vector.
    #[inline(always)]
    fn offset(&self, row: usize, column: usize) -> usize {
        assert!(row < ROWS && column < COLUMNS, "a vector outside of its grid");
        row * self.distances[0] + column * self.distances[1]
    }

    /// The vector in a row and a column.
    #[inline(always)]
    pub(crate) fn get(&self, row: usize, column: usize) -> S::Vector {
        // SAFETY: the vector is one of the grid's, by the check in `offset`, so it lies in the slice, by the invariant.
        unsafe { self.simd.load(self.start.add(self.offset(row, column))) }
    }
}

impl<'a, S: Simd, const ROWS: usize, const COLUMNS: usize> GridMut<'a, S, ROWS, COLUMNS> {
    /// As [`Grid::new`].
    ///
    /// # Panics
    /// If the slice is too short for that.
    #[inline(always)]
    pub(crate) fn new(simd: S, slice: &'a mut [f32], distances: [usize; 2]) -> Self {
        let start = slice.as_mut_ptr();
        GridMut { grid: Grid::new(simd, slice, distances), start }
    }

    /// The vector in a row and a column.
    #[inline(always)]
    pub(crate) fn get(&self, row: usize, column: usize) -> S::Vector {
        self.grid.get(row, column)
    }

    /// Overwrites the vector in a row and a column.
    #[inline(always)]
    pub(crate) fn put(&mut self, row: usize, column: usize, x: S::Vector) {
        // SAFETY: as for reading; the slice is borrowed exclusively.
        unsafe { self.grid.simd.store(self.start.add(self.grid.offset(row, column)), x) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Portable;
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn a_grid_ends_with_its_slice() {
        let reach = 2 * 10 + 5 + Portable::LANES;
        let elements: Vec<f32> = (0..reach).map(|i| i as f32).collect();
        let grid = Grid::<_, 3, 2>::new(Portable, &elements, [10, 5]);
        assert_eq!(grid.get(2, 1)[Portable::LANES - 1], (reach - 1) as f32);
        assert!(catch_unwind(|| Grid::<_, 3, 2>::new(Portable, &elements[1..], [10, 5])).is_err());
        assert!(catch_unwind(|| Grid::<_, 3, 2>::new(Portable, &elements, [usize::MAX, 5])).is_err());
        assert!(catch_unwind(|| grid.get(3, 0)).is_err() && catch_unwind(|| grid.get(0, 2)).is_err());
    }

    #[test]
    fn what_is_put_is_there() {
        let mut elements = [0.0; 24];
        GridMut::<_, 2, 2>::new(Portable, &mut elements, [12, 6]).put(1, 1, [1.0, 2.0, 3.0, 4.0]);
        let put: Vec<usize> = (0..24).filter(|&i| elements[i] != 0.0).collect();
        assert_eq!(put, [18, 19, 20, 21]);
    }
}
