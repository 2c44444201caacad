//! The other register tile: lanes are filters (rows of weights). A few vectors of weights times a few broadcast elements of the
//! input, summed over columns. It is the innermost loop of fully connected layers, whose positions are the images of a batch, of
//! convolutions whose lanes are filters, whose positions are those of the output, and of Winograd's method, whose positions are
//! tiles. The first two read weights where they lie in their panels, pack some of them first, or have packed all of them before the first
//! run; the last one has lines of vectors that it has transformed.

use crate::parallel::{FAR, Window};
use crate::simd::{Class, Isa, Simd, Stored, Vectorized};
use crate::tile::{Epilogue, activate, unrolled};
use crate::{Activation, balanced, expect_len};
use get_size2::GetSize;
use sslm_basics::panels::{Panels, ROWS};
use std::marker::PhantomData;
use std::ops::Range;

/// Most positions of a tile.
const MAX_POSITIONS: usize = 8;

/// Most columns of a block of weights that several tiles of positions are multiplied with, one after the other: three vectors of
/// 16 rows times these are 96 KiB, which stay in L2.
const BLOCK_COLUMNS: usize = 512;

/// Most tiles of positions whose sums are computed together, without packing and with it: for each of them all weights are read, or
/// packed, once.
const TILES: [usize; 2] = [16, 32];

/// As many tiles as this share weights that are packed first, where a vector of rows spans two panels: reading one from there takes
/// an operation on the units that multiply, besides two loads. On an Intel Xeon (Emerald Rapids), layers of 14x14 positions, which
/// are 28 tiles, take 92 to 97 % as long so; of 7x7, which are 7, up to 107 %.
pub(crate) const PACKED_TILES: usize = 12;

/// How many times as long products take where rows fill no more than one vector: operands are loaded, then, for one product.
pub(crate) const LONE_VECTOR: f64 = 1.7;

/// Elements of a line of a cache, and columns whose weights in one panel fill one.
const LINE: usize = 16;
const LINE_COLUMNS: usize = LINE / ROWS;

/// Where the weight of `row` and `column` lies; of a row behind the last one, that of the first row: masked loads from where
/// there is no memory load nothing, but take some 130 ns.
fn place_of<E: Stored>(matrix: Panels<'_, E>, row: usize, column: usize) -> *const E {
    let row = if row < matrix.rows() { row } else { 0 };
    matrix.elements().as_ptr().wrapping_add(matrix.index(row, column))
}

/// A product of filters by positions, with everything decided that sizes decide.
#[derive(GetSize, Debug)]
pub(crate) struct Product {
    isa: Isa,
    rows: usize,
    /// Where each column reads, relative to a position.
    columns: Vec<usize>,
    /// Where each position reads.
    positions: Vec<usize>,
    /// Invariant: the sum of one of the columns and one of the positions is less. Computed by `new`.
    reach: usize,
    /// Vectors of rows, and positions, of the largest tile.
    tile: [usize; 2],
    /// The positions in tiles.
    tiles: Vec<Range<usize>>,
    /// The columns in blocks; there is one block at least.
    blocks: Vec<Range<usize>>,
    /// Whether weights that many tiles share are packed. On AMD's CPUs, whose units do not compete so, they are not.
    packs: bool,
}

impl Product {
    /// Of `rows` filters. The element of the input that a column has at a position lies at the sum of both.
    pub(crate) fn new(isa: Isa, rows: usize, columns: Vec<usize>, positions: Vec<usize>) -> Self {
        let tile = Self::tile_of(isa, rows);
        let tiles: Vec<_> = balanced(positions.len(), tile[1]).collect();
        // Weights that are used once stream best in one go.
        let most_columns = if tiles.len() > 1 { BLOCK_COLUMNS } else { columns.len().max(1) };
        let blocks = balanced(columns.len(), most_columns).chain(columns.is_empty().then_some(0..0)).collect();
        let reach = columns.iter().max().zip(positions.iter().max()).map_or(0, |(column, position)| column + position + 1);
        let packs = Self::packs_on(isa);
        Product { isa, rows, columns, positions, reach, tile, tiles, blocks, packs }
    }

    /// Vectors of rows, and positions, of the largest tile.
    fn tile_of(isa: Isa, rows: usize) -> [usize; 2] {
        let [most_broadcasts, most_vectors] = isa.filter_tile();
        let vectors = rows.div_ceil(isa.lanes()).clamp(1, most_vectors);
        [vectors, positions_for([most_broadcasts, most_vectors], vectors)]
    }

    fn packs_on(isa: Isa) -> bool {
        matches!(isa.class(), Class::Avx512)
    }

    /// [`Self::packed_len`] of so many rows, columns and positions.
    pub(crate) fn packed_len_of(isa: Isa, rows: usize, columns: usize, positions: usize) -> usize {
        let is_shared = positions > Self::tile_of(isa, rows)[1];
        if Self::packs_on(isa) && is_shared { rows.next_multiple_of(isa.lanes()) * columns } else { 0 }
    }

    /// Size of the largest register tile, for reports: positions x filters.
    pub(crate) fn describe(&self) -> String {
        format!("{}x{}", self.tiles.first().map_or(0, |t| t.len()), self.tile[0] * self.isa.lanes())
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// How many tiles the positions are.
    pub(crate) fn tiles(&self) -> usize {
        self.tiles.len()
    }

    /// What each of so many threads computes, none if there is nothing left for it: some of the rows, so that each weight is read
    /// by one of them, or some of the positions, whichever is expected to leave the slowest thread less to do.
    pub(crate) fn share(&self, threads: usize) -> Vec<FilterItem> {
        let unit = self.isa.lanes().max(ROWS);
        let part = |count: usize, thread: usize| thread * count / threads..(thread + 1) * count / threads;
        let rows = |thread: usize| {
            let units = part(self.rows.div_ceil(unit), thread);
            (units.start * unit).min(self.rows)..(units.end * unit).min(self.rows)
        };
        let by_rows = |thread: usize| FilterItem { rows: rows(thread), tiles: 0..self.tiles.len() };
        let by_positions = |thread: usize| FilterItem { rows: 0..self.rows, tiles: part(self.tiles.len(), thread) };
        let slowest =
            |item: &dyn Fn(usize) -> FilterItem| (0..threads).map(item).map(|item| self.cost(&item)).fold(0.0, f64::max);
        let rows_first = slowest(&by_rows) <= slowest(&by_positions);
        let items = (0..threads).map(|thread| if rows_first { by_rows(thread) } else { by_positions(thread) });
        items.filter(|i| !i.rows.is_empty() && !i.tiles.is_empty()).collect()
    }

    /// What an item costs beside others, in multiply-adds of vectors. Weights that it reads, and elements of the input that another
    /// thread is likely to have written, are in no cache of its own.
    fn cost(&self, item: &FilterItem) -> f64 {
        let vectors = item.rows.len().div_ceil(self.isa.lanes());
        let positions = self.positions(&item.tiles).len();
        let lone = if vectors == 1 { LONE_VECTOR } else { 1.0 };
        let products = lone * (vectors * positions * self.columns.len()) as f64;
        let weights = item.rows.len() * self.columns.len();
        let shared = if item.tiles.len() == self.tiles.len() { self.reach / 2 } else { 0 };
        products + FAR * (weights + shared) as f64
    }

    /// Positions of some tiles.
    pub(crate) fn positions(&self, tiles: &Range<usize>) -> Range<usize> {
        let tiles = &self.tiles[tiles.clone()];
        tiles.first().map_or(0, |t| t.start)..tiles.last().map_or(0, |t| t.end)
    }

    /// Elements of scratch memory that [`Self::run`] and [`Self::run_into_blocks`] need.
    pub(crate) fn scratch_len(&self) -> usize {
        self.scratch_lens().iter().sum::<usize>().max(1)
    }

    /// Elements of all weights, packed, where that makes tiles faster.
    pub(crate) fn packed_len(&self) -> usize {
        if self.packs && self.tiles.len() > 1 { self.packed_start(self.rows, 0, 0) } else { 0 }
    }

    /// Where those of a strip and a block of columns begin: strips before it have whole vectors.
    fn packed_start(&self, first_row: usize, first_column: usize, width: usize) -> usize {
        first_row.next_multiple_of(self.isa.lanes()) * self.columns.len() + first_column * width
    }

    /// Packs the weights of all rows, as some items that have all of them between them read them.
    ///
    /// # Panics
    /// If the matrix has other sizes, or `packed` has not [`Self::packed_len`] elements.
    pub(crate) fn pack<E: Stored>(&self, panels: Panels<'_, E>, items: &[FilterItem], packed: &mut [f32]) {
        assert_eq!([panels.rows(), panels.columns()], [self.rows, self.columns.len()], "rows and columns of the weights");
        expect_len("packed weights", packed, self.packed_len());
        for (i, FilterItem { rows, .. }) in items.iter().enumerate() {
            // Items that share positions have the same rows.
            if packed.is_empty() || i > 0 && items[i - 1].rows == *rows {
                continue;
            }
            self.isa.dispatch(Pack { product: self, panels, rows: rows.clone(), packed });
        }
    }

    /// Elements of packed weights, and of sums.
    fn scratch_lens(&self) -> [usize; 2] {
        let width = self.tile[0] * self.isa.lanes();
        let packed = if self.packs_for(self.tiles.len()) { self.blocks.iter().map(|block| block.len()).max() } else { None };
        [packed.unwrap_or(0) * width, self.most_together().min(self.tiles.len()) * self.tile[1] * width]
    }

    fn most_together(&self) -> usize {
        TILES[usize::from(self.packs)]
    }

    /// Whether the weights of so many tiles are packed.
    fn packs_for(&self, tiles: usize) -> bool {
        self.packs && tiles >= PACKED_TILES
    }

    /// Multiplies the rows of an item by its positions of `x`. It calls `finish` for a few rows and positions after the other.
    ///
    /// # Panics
    /// If the matrix has other sizes, rows or tiles are not all there, or a slice is shorter than the sizes or
    /// [`Self::scratch_len`] call for.
    pub(crate) fn run<E: Stored>(
        &self,
        matrix: Matrix<'_, E>,
        item: &FilterItem,
        x: &[f32],
        scratch: &mut [f32],
        mut finish: impl FnMut(Sums<'_>),
    ) {
        self.check(matrix, item, x);
        let [packed_len, sums_len] = self.scratch_lens();
        let (packed, sums) = scratch[..packed_len + sums_len].split_at_mut(packed_len);
        for part in balanced(item.tiles.len(), self.most_together()) {
            let tiles = &self.tiles[item.tiles.clone()][part];
            let to = SumsTo::Scratch { sums, finish: &mut finish };
            self.isa.dispatch(Strips { product: self, matrix, rows: item.rows.clone(), x, tiles, packed, to });
        }
    }

    /// Multiplies the rows of an item by its positions of `x`, and writes what `epilogue` makes of the sums to blocks of rows. Planes of
    /// the window are these blocks, with as many elements for each position as a vector has lanes. Lanes behind the last row are
    /// written, too.
    ///
    /// # Panics
    /// As [`Self::run`], or if the item lies outside of the window.
    pub(crate) fn run_into_blocks<E: Stored>(
        &self,
        matrix: Matrix<'_, E>,
        item: &FilterItem,
        x: &[f32],
        scratch: &mut [f32],
        window: &mut Window<'_>,
        epilogue: Epilogue<'_>,
    ) {
        self.check(matrix, item, x);
        let packed = &mut scratch[..self.scratch_lens()[0]];
        for part in balanced(item.tiles.len(), self.most_together()) {
            let tiles = &self.tiles[item.tiles.clone()][part];
            let to: SumsTo<'_, '_, fn(Sums<'_>)> = SumsTo::Blocks { window, epilogue };
            self.isa.dispatch(Strips { product: self, matrix, rows: item.rows.clone(), x, tiles, packed, to });
        }
    }

    /// # Panics
    /// As [`Self::run`] says.
    fn check<E: Stored>(&self, matrix: Matrix<'_, E>, item: &FilterItem, x: &[f32]) {
        let Matrix { panels, packed } = matrix;
        assert_eq!([panels.rows(), panels.columns()], [self.rows, self.columns.len()], "rows and columns of the weights");
        if !packed.is_empty() {
            expect_len("packed weights", packed, self.packed_len());
        }
        let rows = &item.rows;
        assert!(rows.start.is_multiple_of(ROWS) && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        assert!(self.reach <= x.len(), "an input of {} elements, where {} are read", x.len(), self.reach);
    }
}

/// The weights of a product.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, E> {
    pub(crate) panels: Panels<'a, E>,
    /// What [`Product::pack`] made of them, or nothing.
    pub(crate) packed: &'a [f32],
}

impl<'a, E> From<Panels<'a, E>> for Matrix<'a, E> {
    fn from(panels: Panels<'a, E>) -> Self {
        Matrix { panels, packed: &[] }
    }
}

/// Some rows and some tiles of positions.
#[derive(GetSize, Clone, Debug)]
pub(crate) struct FilterItem {
    /// From the first one of a panel on.
    pub(crate) rows: Range<usize>,
    pub(crate) tiles: Range<usize>,
}

/// Sums of some rows at some positions.
pub(crate) struct Sums<'a> {
    pub(crate) rows: Range<usize>,
    pub(crate) positions: Range<usize>,
    /// `[positions][width]`, of which the first are the rows'.
    pub(crate) elements: &'a [f32],
    /// A multiple of a vector's lanes.
    pub(crate) width: usize,
}

/// Where sums go.
enum SumsTo<'a, 'w, F> {
    /// To scratch memory, from where `finish` takes them.
    Scratch { sums: &'a mut [f32], finish: F },
    /// To blocks of rows, finished.
    Blocks { window: &'a mut Window<'w>, epilogue: Epilogue<'a> },
}

/// Packing the weights of some rows.
struct Pack<'a, E> {
    product: &'a Product,
    panels: Panels<'a, E>,
    rows: Range<usize>,
    packed: &'a mut [f32],
}

impl<E: Stored> Vectorized for Pack<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pack { product, panels, rows, packed } = self;
        // A constant, so that nothing is compiled for sets that never pack.
        if const { S::LANES <= ROWS } {
            return;
        }
        for strip in Strip::<S>::all(panels, &rows) {
            for columns in &product.blocks {
                let packed = &mut packed[product.packed_start(strip.rows.start, columns.start, strip.width())..];
                strip.pack(simd, panels, columns, &mut packed[..columns.len() * strip.width()]);
            }
        }
    }
}

/// What [`Product::check`] checked, for any instruction set.
struct Strips<'a, 'w, E, F> {
    product: &'a Product,
    matrix: Matrix<'a, E>,
    rows: Range<usize>,
    x: &'a [f32],
    tiles: &'a [Range<usize>],
    /// Where weights are packed that are not yet, as much as [`Product::scratch_lens`] says.
    packed: &'a mut [f32],
    to: SumsTo<'a, 'w, F>,
}

impl<E: Stored, F: FnMut(Sums<'_>)> Vectorized for Strips<'_, '_, E, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (Some(first), Some(last)) = (self.tiles.first(), self.tiles.last()) else { return };
        let positions = first.start..last.end;
        let Matrix { panels, packed: all_packed } = self.matrix;
        // What the set decides is a constant, so that nothing is compiled for those that never pack.
        let is_packed = S::LANES > ROWS && !all_packed.is_empty();
        let packs = S::LANES > ROWS && !is_packed && self.product.packs_for(self.tiles.len());
        let blocks = &self.product.blocks;
        let strips = Strip::<S>::all(panels, &self.rows);
        let mut work = strips.flat_map(|strip| blocks.iter().map(move |columns| (strip.clone(), columns))).peekable();
        while let Some((strip, columns)) = work.next() {
            let (vectors, width) = (strip.vectors(), strip.width());
            let weights = strip.in_panels(panels, columns);
            // All of the columns and vectors that tiles read.
            let packed_of = |strip: &Strip<S>, columns: &Range<usize>| {
                let start = self.product.packed_start(strip.rows.start, columns.start, strip.width());
                &all_packed[start..start + columns.len() * strip.width()]
            };
            let packed = if is_packed {
                Some(packed_of(&strip, columns).as_ptr())
            } else if packs {
                let packed = &mut self.packed[..columns.len() * width];
                strip.pack(simd, panels, columns, packed);
                Some(packed.as_ptr())
            } else {
                None
            };
            // Tiles share the fetching, so that it is spread over the time that there is: a line for each column where weights are
            // packed, else a panel each, or two where there are more panels than tiles. What is fetched where there is nothing next is
            // there already.
            let next = work.peek().filter(|_| self.tiles.len() > 1);
            let next_packed = next.filter(|_| is_packed).map(|(strip, columns)| packed_of(strip, columns));
            let (next, count) = next.map_or((weights.first, 1), |(strip, columns)| {
                (place_of(panels, strip.rows.start, columns.start), strip.rows.len().div_ceil(ROWS))
            });
            let is_last = columns.end == self.product.columns.len();
            let (mut panel, together) = (0, if self.tiles.len() < count { 2 } else { 1 });
            for (index, tile) in self.tiles.iter().enumerate() {
                let other = if together == 1 {
                    0
                } else if panel + 1 < count {
                    1
                } else {
                    -(panel as isize)
                };
                let panel_len = weights.panel_len;
                let ahead = Ahead { next: next.wrapping_add(panel * panel_len), to_other: other * panel_len as isize };
                panel = if panel + together < count { panel + together } else { 0 };
                let to = match &mut self.to {
                    SumsTo::Scratch { sums, .. } => {
                        let at = (tile.start - positions.start) * width;
                        let sums = &mut sums[at..at + tile.len() * width];
                        TilePlace::lines::<S>(sums, vectors, columns.start > 0)
                    }
                    SumsTo::Blocks { window, epilogue } => {
                        let blocks = strip.rows.start / S::LANES..strip.rows.start / S::LANES + vectors;
                        let start = window.tile(blocks, tile.start * S::LANES..tile.end * S::LANES);
                        let finish = epilogue.finish.filter(|_| is_last);
                        TilePlace {
                            start,
                            to_next_position: S::LANES,
                            to_next_vector: window.plane_len(),
                            add: epilogue.add || columns.start > 0,
                            finish: finish.map(|(bias, activation)| (&bias[strip.rows.clone()], activation)),
                        }
                    }
                };
                let call = FilterTileCall {
                    x: self.x.as_ptr(),
                    columns: &self.product.columns[columns.clone()],
                    positions: &self.product.positions[tile.clone()],
                    to,
                };
                let weights = InPanels { ahead, ..weights };
                match packed {
                    Some(first) => {
                        let fetched = next_packed.and_then(|next| next.get(index * columns.len() * LINE..));
                        let ahead = fetched.map_or(first, |next| next.as_ptr());
                        call.run(simd, vectors, Lines { first, ahead });
                    }
                    None if strip.is_whole => call.run(simd, vectors, weights),
                    None => call.run(simd, vectors, weights.but_last()),
                }
            }
            if let (SumsTo::Scratch { sums, finish }, true) = (&mut self.to, is_last) {
                let elements = &sums[..positions.len() * width];
                finish(Sums { rows: strip.rows, positions: positions.clone(), elements, width });
            }
        }
    }
}

/// Rows in as many vectors as tiles have, or fewer, from the first row of a panel on.
#[derive(Clone)]
struct Strip<S> {
    /// Invariant: rows of the matrix.
    rows: Range<usize>,
    /// Whether its last vector is whole, in panels of eight.
    is_whole: bool,
    set: PhantomData<S>,
}

impl<S: Simd> Strip<S> {
    /// All strips of some rows. Only the last vector of a strip may be one that is not whole.
    fn all<E: Stored>(matrix: Panels<'_, E>, rows: &Range<usize>) -> impl Iterator<Item = Self> + use<S, E> {
        let Range { start, end } = *rows;
        assert!(end <= matrix.rows(), "rows {rows:?} of {}", matrix.rows());
        // Where those rows end that make up whole vectors in panels of eight.
        let whole = end.min(matrix.rows() - matrix.rows() % ROWS).max(start);
        let whole = whole - (whole - start) % S::LANES;
        let together = end.min(whole + S::LANES);
        let unit = S::LANES.max(ROWS);
        let strips = balanced((together - start).div_ceil(unit), S::FILTER_TILE[1] * S::LANES / unit);
        let rows = move |units: Range<usize>| start + units.start * unit..together.min(start + units.end * unit);
        // Of vectors that are shorter than a panel, the last panel may have a second one.
        let all = strips.map(rows).chain((together < end).then_some(together..end));
        all.map(move |rows| Strip { is_whole: rows.end <= whole, rows, set: PhantomData })
    }

    fn vectors(&self) -> usize {
        self.rows.len().div_ceil(S::LANES)
    }

    /// Elements of a packed column.
    fn width(&self) -> usize {
        self.vectors() * S::LANES
    }

    /// Its weights in these columns; of what is ahead, nothing is fetched.
    #[inline(always)]
    fn in_panels<E: Stored>(&self, matrix: Panels<'_, E>, columns: &Range<usize>) -> InPanels<E, true> {
        // The last vector of rows, which may reach into a second panel.
        let last = self.rows.start + (self.vectors() - 1) * S::LANES;
        let at = |row: usize| place_of(matrix, row, columns.start);
        let count = |row: usize| self.rows.end.saturating_sub(row).min(ROWS).min(S::LANES);
        let first = at(self.rows.start);
        InPanels {
            first,
            panel_len: ROWS * matrix.columns(),
            last: Last {
                weights: [at(last), at(last + ROWS)],
                strides: [matrix.height(last), matrix.height(last + ROWS)],
                rows: [count(last), count(last + ROWS)],
            },
            ahead: Ahead { next: first, to_other: 0 },
        }
    }

    /// Packs them: `[columns][vectors][lanes]`.
    #[inline(always)]
    fn pack<E: Stored>(&self, simd: S, matrix: Panels<'_, E>, columns: &Range<usize>, packed: &mut [f32]) {
        assert!(columns.end <= matrix.columns() && packed.len() <= columns.len() * self.width(), "columns {columns:?}");
        let (weights, vectors) = (self.in_panels(matrix, columns), self.vectors());
        // SAFETY: all of these columns and vectors are there, by the assertion and the invariant.
        unsafe {
            if self.is_whole { weights.pack(simd, vectors, packed) } else { weights.but_last().pack(simd, vectors, packed) }
        }
    }
}

/// Weights of some vectors of rows.
trait Weights<S: Simd>: Copy {
    /// One of `VECTORS` vectors of a column.
    ///
    /// # Safety
    /// Column and vector must be there.
    unsafe fn vector<const VECTORS: usize>(self, simd: S, column: usize, vector: usize) -> S::Vector;

    /// Whether the sums of one or two positions may be split, and then be rounded in another way than those of more.
    const SPLITS: bool;

    /// Whether sums may be finished by a bias and an activation; else nothing is compiled for that.
    const FINISHES: bool;

    /// Asks for a little of what is needed next, once for each column.
    fn fetch(self, simd: S, column: usize);
}

/// Weights in panels. Only the last vector may be one that is not `WHOLE`.
#[derive(Clone, Copy)]
struct InPanels<E, const WHOLE: bool> {
    /// Of the first row and column.
    first: *const E,
    /// Elements of a panel of eight rows.
    panel_len: usize,
    last: Last<E>,
    ahead: Ahead<E>,
}

/// The first column of one panel of those that are needed next, and how many elements behind it that of another one lies.
#[derive(Clone, Copy)]
struct Ahead<E> {
    next: *const E,
    to_other: isize,
}

impl<E> Ahead<E> {
    /// Every other column the other panel: a line of a cache holds two columns.
    #[inline(always)]
    fn fetch<S: Simd>(self, simd: S, column: usize) {
        simd.prefetch(self.next.wrapping_add(column * ROWS).wrapping_offset((column % LINE_COLUMNS) as isize * self.to_other));
    }
}

/// A vector of rows in one panel, or two where vectors are longer, that may have fewer rows than a vector has lanes.
#[derive(Clone, Copy)]
struct Last<E> {
    /// Of the first column.
    weights: [*const E; 2],
    /// From one column to the next.
    strides: [usize; 2],
    rows: [usize; 2],
}

impl<E: Stored, const WHOLE: bool> InPanels<E, WHOLE> {
    /// From the first row's place of some column to that of a vector's first or second panel.
    #[inline(always)]
    fn panel<S: Simd>(&self, first: *const E, vector: usize, panel: usize) -> *const E {
        let row = vector * S::LANES + panel * ROWS;
        first.wrapping_add(row / ROWS * self.panel_len + row % ROWS)
    }

    /// Writes `vectors` vectors of each column that has room in `packed`: `[columns][vectors][lanes]`.
    ///
    /// # Safety
    /// So many columns and vectors must be there.
    #[inline(always)]
    unsafe fn pack<S: Simd>(self, simd: S, vectors: usize, packed: &mut [f32])
    where
        E: Stored,
    {
        simd.vectorize(
            #[inline(always)]
            // SAFETY: the caller's promise.
            || unsafe {
                match vectors {
                    1 => self.pack_vectors::<S, 1>(simd, packed),
                    2 => self.pack_vectors::<S, 2>(simd, packed),
                    _ => self.pack_vectors::<S, 3>(simd, packed),
                }
            },
        );
    }

    /// # Safety
    /// As for [`Self::pack`].
    #[inline(always)]
    unsafe fn pack_vectors<S: Simd, const VECTORS: usize>(self, simd: S, packed: &mut [f32])
    where
        E: Stored,
    {
        for (column, line) in packed.chunks_exact_mut(VECTORS * S::LANES).enumerate() {
            for (vector, to) in line.chunks_exact_mut(S::LANES).enumerate() {
                // SAFETY: the caller's promise.
                simd.put(to, unsafe { Weights::<S>::vector::<VECTORS>(self, simd, column, vector) });
            }
        }
    }
}

impl<E> InPanels<E, true> {
    /// With a last vector that is not whole.
    fn but_last(self) -> InPanels<E, false> {
        let InPanels { first, panel_len, last, ahead } = self;
        InPanels { first, panel_len, last, ahead }
    }
}

impl<S: Simd, E: Stored, const WHOLE: bool> Weights<S> for InPanels<E, WHOLE> {
    const SPLITS: bool = true;
    const FINISHES: bool = true;

    #[inline(always)]
    unsafe fn vector<const VECTORS: usize>(self, simd: S, column: usize, vector: usize) -> S::Vector {
        if !WHOLE && vector + 1 == VECTORS {
            let Last { weights, strides, rows } = self.last;
            let from = [weights[0].wrapping_add(column * strides[0]), weights[1].wrapping_add(column * strides[1])];
            // SAFETY: these are weights of the column that the caller promises, as many as there are rows.
            return unsafe { E::load_rows(simd, from, rows) };
        }
        let line = self.first.wrapping_add(column * ROWS);
        let from = [self.panel::<S>(line, vector, 0), self.panel::<S>(line, vector, 1)];
        // SAFETY: as above, of whole panels.
        unsafe { E::load_rows(simd, from, [ROWS.min(S::LANES); 2]) }
    }

    #[inline(always)]
    fn fetch(self, simd: S, column: usize) {
        self.ahead.fetch(simd, column);
    }
}

/// Weights whose vectors lie side by side: `[columns][vectors][lanes]`.
#[derive(Clone, Copy)]
struct Lines {
    first: *const f32,
    /// What is needed next: a line of a cache for each column.
    ahead: *const f32,
}

impl<S: Simd> Weights<S> for Lines {
    const SPLITS: bool = false;
    const FINISHES: bool = S::LANES > ROWS;

    #[inline(always)]
    unsafe fn vector<const VECTORS: usize>(self, simd: S, column: usize, vector: usize) -> S::Vector {
        // SAFETY: the caller promises that this vector is there.
        unsafe { simd.load(self.first.wrapping_add((column * VECTORS + vector) * S::LANES)) }
    }

    #[inline(always)]
    fn fetch(self, simd: S, column: usize) {
        // What is never packed before has nothing ahead.
        if const { S::LANES > ROWS } {
            simd.prefetch_into_l2(self.ahead.wrapping_add(column * LINE));
        }
    }
}

/// Multiplies `vectors` vectors of rows, whose weights are `[columns][vectors][lanes]`, by positions of `x`: the element of the
/// input that a column has at a position lies at the sum of both. Sums are `[positions][vectors][lanes]`; with `add`, those of
/// columns before are there. They are rounded the same way whatever else is computed along with them.
///
/// # Panics
/// If a slice is shorter than that, or a sum lies outside of `x`.
#[inline(always)]
pub(crate) fn multiply_lines<S: Simd>(
    simd: S,
    weights: &[f32],
    x: &[f32],
    [columns, positions]: [&[usize]; 2],
    vectors: usize,
    sums: &mut [f32],
    add: bool,
) {
    let reach = columns.iter().max().zip(positions.iter().max()).map_or(0, |(column, position)| column + position + 1);
    assert!(reach <= x.len(), "an input of {} elements, where {reach} are read", x.len());
    assert!(columns.len() * vectors * S::LANES <= weights.len(), "{} columns of weights", columns.len());
    let (first, len) = (weights.as_ptr(), columns.len() * vectors * S::LANES);
    for (index, tile) in balanced(positions.len(), positions_for(S::FILTER_TILE, vectors)).enumerate() {
        let sums = &mut sums[tile.start * vectors * S::LANES..tile.end * vectors * S::LANES];
        let (x, to) = (x.as_ptr(), TilePlace::lines::<S>(sums, vectors, add));
        // What is multiplied next usually follows.
        let fetched = index * columns.len() * LINE;
        let weights = Lines { first, ahead: first.wrapping_add(if fetched < len { len + fetched } else { 0 }) };
        FilterTileCall { x, columns, positions: &positions[tile], to }.run(simd, vectors, weights);
    }
}

/// Most positions of a tile of so many vectors.
fn positions_for([broadcasts, most_vectors]: [usize; 2], vectors: usize) -> usize {
    (broadcasts * most_vectors / vectors).min(MAX_POSITIONS)
}

/// Where the sums of a tile go, and what becomes of them.
#[derive(Clone, Copy)]
struct TilePlace<'a> {
    /// Invariant: a vector may be read and written there for each position and vector of rows, as far apart as these say.
    start: *mut f32,
    to_next_position: usize,
    to_next_vector: usize,
    /// Whether sums are added to what is there.
    add: bool,
    /// Bias of each row, and the activation, where these are the last columns.
    finish: Option<(&'a [f32], Activation)>,
}

impl<'a> TilePlace<'a> {
    /// `[positions][vectors][lanes]`, sums as they are. With `add`, those of columns before are there.
    #[inline(always)]
    fn lines<S: Simd>(sums: &'a mut [f32], vectors: usize, add: bool) -> Self {
        TilePlace { start: sums.as_mut_ptr(), to_next_position: vectors * S::LANES, to_next_vector: S::LANES, add, finish: None }
    }
}

/// Some vectors of rows times a few positions, over a block of columns.
struct FilterTileCall<'a> {
    x: *const f32,
    /// Invariant: the sum of one of these and one of the next lies inside `x`.
    columns: &'a [usize],
    positions: &'a [usize],
    to: TilePlace<'a>,
}

impl FilterTileCall<'_> {
    /// With so many vectors of `weights`, which begin with the first column.
    #[inline(always)]
    fn run<S: Simd, W: Weights<S>>(self, simd: S, vectors: usize, weights: W) {
        // Where there are few sums, each addition would wait for the one before: they may be split over every second or fourth
        // column.
        macro_rules! tile {
            ($($positions:literal => $chains:literal)*) => {
                match (self.positions.len(), vectors) {
                    $(
                        ($positions, 1) => self.tile::<S, W, $positions, $chains, 1>(simd, weights),
                        ($positions, 2) => self.tile::<S, W, $positions, $chains, 2>(simd, weights),
                        ($positions, 3) => self.tile::<S, W, $positions, $chains, 3>(simd, weights),
                    )*
                    (positions, _) => unreachable!("a tile of {vectors} vectors by {positions}"),
                }
            };
        }
        // A constant, so that only one of both is compiled.
        if const { W::SPLITS } {
            tile!(1 => 4  2 => 4  3 => 3  4 => 4  5 => 5  6 => 6  7 => 7  8 => 8);
        } else {
            tile!(1 => 1  2 => 2  3 => 3  4 => 4  5 => 5  6 => 6  7 => 7  8 => 8);
        }
    }

    fn tile<S: Simd, W: Weights<S>, const POSITIONS: usize, const CHAINS: usize, const VECTORS: usize>(
        self,
        simd: S,
        weights: W,
    ) {
        // A constant, so that nothing is compiled for sizes that the set does not have.
        if const { VECTORS > S::FILTER_TILE[1] || POSITIONS * VECTORS > S::FILTER_TILE[0] * S::FILTER_TILE[1] } {
            unreachable!("a tile of {VECTORS} vectors by {POSITIONS}");
        }
        simd.vectorize(
            #[inline(always)]
            || {
                let positions: &[usize; POSITIONS] = self.positions.try_into().expect("`run` asked for as many as there are");
                let mut x = [self.x; POSITIONS];
                unrolled::<POSITIONS, 1>(
                    #[inline(always)]
                    |i, _| x[i] = self.x.wrapping_add(positions[i]),
                );
                let mut sums = [[simd.splat(0.0); VECTORS]; CHAINS];
                self.add_all::<S, W, POSITIONS, CHAINS, VECTORS>(simd, weights, &x, &mut sums);
                unrolled::<CHAINS, VECTORS>(
                    #[inline(always)]
                    |chain, vector| {
                        if chain >= POSITIONS {
                            sums[chain % POSITIONS][vector] = simd.add(sums[chain % POSITIONS][vector], sums[chain][vector]);
                        }
                    },
                );
                let TilePlace { start, to_next_position, to_next_vector, add, finish } = self.to;
                let place =
                    |position: usize, vector: usize| start.wrapping_add(position * to_next_position + vector * to_next_vector);
                if add {
                    unrolled::<POSITIONS, VECTORS>(
                        #[inline(always)]
                        |position, vector| {
                            // SAFETY: the place's invariant.
                            let before = unsafe { simd.load(place(position, vector)) };
                            sums[position][vector] = simd.add(sums[position][vector], before);
                        },
                    );
                }
                if const { W::FINISHES }
                    && let Some((bias, activation)) = finish
                {
                    unrolled::<1, VECTORS>(
                        #[inline(always)]
                        |_, vector| {
                            let bias = simd.get_first(&bias[vector * S::LANES..]);
                            unrolled::<POSITIONS, 1>(
                                #[inline(always)]
                                |position, _| sums[position][vector] = simd.add(sums[position][vector], bias),
                            );
                        },
                    );
                    activate(simd, activation, &mut sums);
                }
                unrolled::<POSITIONS, VECTORS>(
                    #[inline(always)]
                    |position, vector| {
                        // SAFETY: as for reading.
                        unsafe { simd.store(place(position, vector), sums[position][vector]) };
                    },
                );
            },
        );
    }

    /// Adds the products of all columns.
    #[inline(always)]
    fn add_all<S: Simd, W: Weights<S>, const POSITIONS: usize, const CHAINS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        weights: W,
        x: &[*const f32; POSITIONS],
        sums: &mut [[S::Vector; VECTORS]; CHAINS],
    ) {
        let (mut column, count) = (0, self.columns.len());
        while column + CHAINS / POSITIONS <= count {
            // SAFETY: these columns are there.
            unsafe { self.add_columns::<S, W, POSITIONS, CHAINS, VECTORS, CHAINS>(simd, weights, x, column, sums) };
            column += CHAINS / POSITIONS;
        }
        while const { CHAINS > POSITIONS } && column < count {
            // SAFETY: this column is there.
            unsafe { self.add_columns::<S, W, POSITIONS, CHAINS, VECTORS, POSITIONS>(simd, weights, x, column, sums) };
            column += 1;
        }
    }

    /// Adds the products of `STEP / POSITIONS` columns from `column` on, each to sums of its own.
    ///
    /// # Safety
    /// These columns must be there.
    #[inline(always)]
    unsafe fn add_columns<
        S: Simd,
        W: Weights<S>,
        const POSITIONS: usize,
        const CHAINS: usize,
        const VECTORS: usize,
        const STEP: usize,
    >(
        &self,
        simd: S,
        weights: W,
        x: &[*const f32; POSITIONS],
        column: usize,
        sums: &mut [[S::Vector; VECTORS]; CHAINS],
    ) {
        let (mut line, mut offset) = ([simd.splat(0.0); VECTORS], 0);
        unrolled::<STEP, 1>(
            #[inline(always)]
            |chain, _| {
                if chain % POSITIONS == 0 {
                    let column = column + chain / POSITIONS;
                    weights.fetch(simd, column);
                    // SAFETY: the caller promises that this column is there.
                    offset = unsafe { *self.columns.get_unchecked(column) };
                    unrolled::<1, VECTORS>(
                        #[inline(always)]
                        // SAFETY: as above.
                        |_, vector| line[vector] = unsafe { weights.vector::<VECTORS>(simd, column, vector) },
                    );
                }
                // SAFETY: by the invariant, the sum of these two offsets lies inside of the input.
                let element = simd.splat(unsafe { *x[chain % POSITIONS].wrapping_add(offset) });
                unrolled::<1, VECTORS>(
                    #[inline(always)]
                    |_, vector| sums[chain][vector] = simd.mul_add(element, line[vector], sums[chain][vector]),
                );
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On CPUs that never pack, too.
    #[test]
    fn packed_weights_yield_the_same_bits() {
        let mut random = fastrand::Rng::with_seed(17);
        let mut elements = |count: usize| -> Vec<f32> { (0..count).map(|_| random.f32() - 0.5).collect() };
        let positions = PACKED_TILES * MAX_POSITIONS + 3;
        let sizes = [(3, 9), (16, 1), (40, 7), (50, 30), (96, 0), (100, BLOCK_COLUMNS + 2)];
        for (rows, columns) in sizes.into_iter().filter(|(_, columns)| !cfg!(miri) || *columns < BLOCK_COLUMNS) {
            let (weights, x) = (elements(rows * columns), elements(columns * positions));
            for isa in Isa::available() {
                let columns_at = (0..columns).map(|column| column * positions).collect();
                let mut product = Product::new(isa, rows, columns_at, (0..positions).collect());
                let [panels, packed, packed_before] = [(false, false), (true, false), (true, true)].map(|(packs, before)| {
                    product.packs = packs;
                    let mut kept = vec![f32::NAN; if before { product.packed_len() } else { 0 }];
                    let mut scratch = vec![f32::NAN; product.scratch_len()];
                    let mut found = vec![f32::NAN; rows * positions];
                    let panels = Panels::new(&weights, rows, columns);
                    let items = product.share(2);
                    if before {
                        product.pack(panels, &items, &mut kept);
                    }
                    let matrix = Matrix { panels, packed: &kept };
                    for item in items {
                        product.run(matrix, &item, &x, &mut scratch, |sums| {
                            for (position, line) in sums.positions.clone().zip(sums.elements.chunks_exact(sums.width)) {
                                found[position * rows..][sums.rows.clone()].copy_from_slice(&line[..sums.rows.len()]);
                            }
                        });
                    }
                    found
                });
                assert!(packed.iter().all(|sum| sum.is_finite()), "{rows}x{columns}, {isa}: every sum is written");
                assert_eq!(panels, packed, "{rows}x{columns}, {isa}");
                assert_eq!(panels, packed_before, "{rows}x{columns}, {isa}");
            }
        }
    }
}
