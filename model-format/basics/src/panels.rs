//! The one layout of weight matrices, chosen so that micro-kernels of every instruction set read it in place. Files, the converter
//! and the kernels take it from here, so that its addressing is written once.
//!
//! An `M x K` matrix is cut into panels of [`ROWS`] consecutive rows (the last panel has what remains, without padding). A panel
//! is stored column by column: for each `k`, the elements of its rows lie side by side. The whole takes exactly `M * K` elements.
//!
//! ```text
//! M = 11, K = 2:   r0k0 r1k0 .. r7k0  r0k1 .. r7k1 | r8k0 r9k0 r10k0  r8k1 r9k1 r10k1
//! ```
//!
//! Weights of eight bits will not be another [`Element`]: micro-kernels that multiply integers read several columns of a row at
//! once and add up integers, so they need panels of their own (rows of four columns side by side, say) next to these.

use std::fmt::Debug;
use std::ops::Range;

/// Rows of a full panel. A register tile of AVX-512 is a whole panel of eight rows by three vectors of sixteen lanes, which with
/// operands and a broadcast weight fit its 32 registers; one of AVX2 is half a panel, four rows by three vectors of eight lanes,
/// which fit its 16 registers.
pub const ROWS: usize = 8;

/// What a weight is stored as. Sums are always `f32`: a micro-kernel widens an element where it reads it.
pub trait Element: Copy + Debug + Send + Sync + 'static {
    /// The same value as an `f32`, which must hold it exactly.
    fn widen(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

/// A matrix of weights in panels.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a, E> {
    /// Invariant: `rows * columns` elements. Checked by `new`.
    elements: &'a [E],
    rows: usize,
    columns: usize,
}

impl<'a, E: Element> Panels<'a, E> {
    /// `elements` as a matrix of so many rows (`M`) and columns (`K`).
    ///
    /// # Panics
    /// If the slice has another length than the matrix has elements.
    #[inline]
    #[track_caller]
    pub fn new(elements: &'a [E], rows: usize, columns: usize) -> Self {
        let expected = rows * columns;
        assert_eq!(elements.len(), expected, "weights: expected {expected} elements, found {}", elements.len());
        Panels { elements, rows, columns }
    }

    /// All elements, in the order in which they lie in memory.
    pub fn elements(&self) -> &'a [E] {
        self.elements
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The panel of this index. Panels behind the last one have no rows.
    #[inline]
    pub fn panel(&self, index: usize) -> Panel<'a, E> {
        let first = (index * ROWS).min(self.rows);
        let rows = ROWS.min(self.rows - first);
        Panel { elements: &self.elements[first * self.columns..][..rows * self.columns], rows }
    }

    /// The index of an element in [`Self::elements`].
    #[inline]
    pub fn index(&self, row: usize, column: usize) -> usize {
        index(self.rows, self.columns, row, column)
    }

    /// Rows of the panel that a row lies in: so many elements lie between neighbouring columns there. None for rows behind the last
    /// one.
    #[inline]
    pub fn height(&self, row: usize) -> usize {
        height(self.rows, row)
    }
}

/// One panel, or some of its columns.
#[derive(Clone, Copy, Debug)]
pub struct Panel<'a, E> {
    /// `[columns][rows]`.
    pub elements: &'a [E],
    /// At most [`ROWS`].
    pub rows: usize,
}

impl<'a, E> Panel<'a, E> {
    /// The elements of one column, one for each row.
    #[inline(always)]
    pub fn column(&self, column: usize) -> &'a [E] {
        &self.elements[column * self.rows..(column + 1) * self.rows]
    }

    /// Some columns of this panel.
    #[inline(always)]
    pub fn columns(&self, columns: Range<usize>) -> Self {
        Panel { elements: &self.elements[columns.start * self.rows..columns.end * self.rows], rows: self.rows }
    }
}

/// Appends the `m x k` matrix whose element is `at(row, column)` to `out`, in panels.
pub fn pack<E>(m: usize, k: usize, at: impl Fn(usize, usize) -> E, out: &mut Vec<E>) {
    out.reserve(m * k);
    for first in (0..m).step_by(ROWS) {
        let rows = first..first + height(m, first);
        for column in 0..k {
            out.extend(rows.clone().map(|row| at(row, column)));
        }
    }
}

/// The index of element (`row`, `column`) of an `m x k` matrix in its panels.
#[inline]
pub fn index(m: usize, k: usize, row: usize, column: usize) -> usize {
    let row_of_panel = row % ROWS;
    (row - row_of_panel) * k + column * height(m, row) + row_of_panel
}

/// Rows of the panel of a matrix of `m` rows that `row` lies in.
#[inline]
fn height(m: usize, row: usize) -> usize {
    ROWS.min(m.saturating_sub(row - row % ROWS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_to_an_element_find_what_pack_stored() {
        for (m, k) in [(0, 3), (1, 1), (7, 2), (8, 3), (9, 5), (16, 1), (19, 4)] {
            let mut packed = Vec::new();
            pack(m, k, |r, c| (r * 100 + c) as f32, &mut packed);
            assert_eq!(packed.len(), m * k);
            let panels = Panels::new(&packed, m, k);
            for r in 0..m {
                for c in 0..k {
                    let (element, panel) = ((r * 100 + c) as f32, panels.panel(r / ROWS));
                    assert_eq!(packed[index(m, k, r, c)], element, "{m}x{k} at ({r},{c})");
                    assert_eq!(panels.elements()[panels.index(r, c)], element);
                    assert_eq!(panel.column(c)[r % ROWS], element);
                    assert_eq!(panel.columns(c..k).column(0)[r % ROWS], element);
                    assert_eq!(panel.rows, panels.height(r));
                }
            }
            assert_eq!([0, 1].map(|behind| panels.panel(m.div_ceil(ROWS) + behind).rows), [0, 0]);
        }
    }

    #[test]
    #[should_panic(expected = "weights: expected 6 elements, found 5")]
    fn refuses_other_lengths() {
        Panels::new(&[0.0; 5], 2, 3);
    }
}
