//! The register tile: a few rows of weights times a few vectors of output positions, summed over columns. The innermost loop of
//! every convolution whose lanes are positions.

use crate::Activation;
use crate::activation::{self, Bounds};
use crate::parallel::Window;
use crate::simd::{MAX_LANES, Simd};
use get_size2::GetSize;
use sslm_basics::functions::InRegisters;
use sslm_basics::panels::{self, Element, Panel};
use std::ops::Range;

/// Most vectors of a tile; with [`MAX_LANES`] lanes each, one bit per position fits a `u64`.
pub(crate) const MAX_VECTORS: usize = 4;

/// How many vectors tiles have whose panels have `rows` rows: sums, operands and a broadcast weight must fit the registers.
pub(crate) fn vectors_for(rows: usize, [tile_rows, tile_vectors]: [usize; 2]) -> usize {
    if rows * MAX_VECTORS <= tile_rows * tile_vectors { MAX_VECTORS } else { tile_vectors }
}

/// What becomes of sums: they are written as they are, or finished by a bias and an activation.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// Whether sums are added to what the output holds already.
    pub(crate) add: bool,
    /// Bias of each row of the panel, and the activation.
    pub(crate) finish: Option<(&'a [f32], Activation)>,
}

/// The weights of a tile: some columns of a panel.
#[derive(Clone, Copy)]
pub(crate) struct TileWeights<'a, E> {
    pub(crate) panel: Panel<'a, E>,
    /// How many elements behind these those lie that are needed next: they are fetched meanwhile.
    pub(crate) to_next: usize,
}

/// Where a tile lies in the output.
pub(crate) struct Place<'w, 'a> {
    pub(crate) window: &'w mut Window<'a>,
    /// Plane of the panel's first row.
    pub(crate) plane: usize,
    /// Positions, as many as fit the vectors or fewer.
    pub(crate) positions: Range<usize>,
}

/// The lowered input of a tile: for each column, its vectors of positions.
pub(crate) trait Lowered<S: Simd> {
    /// Columns that there are.
    fn columns(&self) -> usize;

    /// The first `NV` vectors of `column`.
    ///
    /// # Safety
    /// `column` must be below [`Self::columns`], and the tile must have `NV` vectors.
    unsafe fn vectors<const NV: usize>(&self, simd: S, column: usize) -> [S::Vector; NV];

    /// Vectors of each column.
    fn count(&self) -> usize;
}

/// A lowered tile that lies packed in memory: `[columns][vectors][lanes]`.
#[derive(Clone, Copy)]
pub(crate) struct PackedTile<'a> {
    elements: &'a [f32],
    vectors: usize,
    /// Invariant: `columns * vectors` vectors fit `elements`. Checked by `new`.
    columns: usize,
}

impl<'a> PackedTile<'a> {
    /// # Panics
    /// If `elements` is too short for this.
    pub(crate) fn new<S: Simd>(elements: &'a [f32], columns: usize, vectors: usize) -> Self {
        assert!(columns * vectors * S::LANES <= elements.len(), "a packed tile longer than its memory");
        PackedTile { elements, vectors, columns }
    }
}

impl<S: Simd> Lowered<S> for PackedTile<'_> {
    #[inline(always)]
    fn columns(&self) -> usize {
        self.columns
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.vectors
    }

    #[inline(always)]
    unsafe fn vectors<const NV: usize>(&self, simd: S, column: usize) -> [S::Vector; NV] {
        let row = self.elements.as_ptr().wrapping_add(column * NV * S::LANES);
        vectors::<S, NV>(
            simd,
            #[inline(always)]
            // SAFETY: the caller promises a column below `columns` and `NV` = `vectors`: the invariant puts all of them inside.
            |v| unsafe { simd.load(row.add(v * S::LANES)) },
        )
    }
}

/// What one column reads: where, relative to an output position, and whether that can lie in the padding.
#[derive(GetSize, Clone, Copy, Debug)]
pub(crate) struct Tap {
    /// Added to the place of an output position.
    pub(crate) offset: isize,
    /// The indices of its row's and its column's mask: which positions find input there.
    pub(crate) masks: [u32; 2],
}

/// A run of positions that lie side by side in the input.
#[derive(GetSize, Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Place of the run's lane 0, whether or not that is one of its own lanes.
    pub(crate) start: isize,
    /// The run's lanes.
    pub(crate) lanes: u16,
}

/// A tile that is read where it lies in the input, `SEGMENTS` runs to a vector. With `MASKED`, taps may fall into padding.
pub(crate) struct InPlaceTile<'a, const SEGMENTS: usize, const MASKED: bool> {
    x: &'a [f32],
    taps: &'a [Tap],
    segments: &'a [[Segment; SEGMENTS]],
    masks: [&'a [u64]; 2],
    /// Invariant: whole vectors at every segment's start lie in the `reach` places from `start`. Computed by `new`.
    start: isize,
    reach: usize,
}

impl<'a, const SEGMENTS: usize, const MASKED: bool> InPlaceTile<'a, SEGMENTS, MASKED> {
    /// For each vector its `segments`; for each row and each column of the kernel, which positions of the tile find input there.
    #[inline]
    pub(crate) fn new<S: Simd>(
        x: &'a [f32],
        taps: &'a [Tap],
        segments: &'a [[Segment; SEGMENTS]],
        masks: [&'a [u64]; 2],
    ) -> Self {
        let starts = || segments.iter().flatten().map(|s| s.start);
        let start = starts().min().unwrap_or(0);
        let reach = (starts().max().unwrap_or(0) - start) as usize + S::LANES;
        InPlaceTile { x, taps, segments, masks, start, reach }
    }

    #[inline(always)]
    fn mask(&self, tap: &Tap) -> u64 {
        if MASKED { self.masks[0][tap.masks[0] as usize] & self.masks[1][tap.masks[1] as usize] } else { u64::MAX }
    }

    /// One vector, element by element: for taps so close to an end of the input that whole vectors would reach beyond it.
    #[cold]
    #[inline(never)]
    fn near_end(&self, lanes: usize, tap: &Tap, vector: usize) -> [f32; MAX_LANES] {
        let inside = self.mask(tap) >> (vector * lanes);
        let mut elements = [0.0; MAX_LANES];
        for segment in &self.segments[vector] {
            for (lane, element) in elements[..lanes].iter_mut().enumerate() {
                if inside >> lane & u64::from(segment.lanes) >> lane & 1 == 1 {
                    let place = usize::try_from(tap.offset + segment.start + lane as isize);
                    // Lanes behind the last position may point anywhere; their sums are not written.
                    *element = place.ok().and_then(|place| self.x.get(place)).copied().unwrap_or(0.0);
                }
            }
        }
        elements
    }
}

impl<S: Simd, const SEGMENTS: usize, const MASKED: bool> Lowered<S> for InPlaceTile<'_, SEGMENTS, MASKED> {
    #[inline(always)]
    fn columns(&self) -> usize {
        self.taps.len()
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.segments.len()
    }

    #[inline(always)]
    unsafe fn vectors<const NV: usize>(&self, simd: S, column: usize) -> [S::Vector; NV] {
        // SAFETY: the caller promises a column below the count of taps.
        let tap = unsafe { self.taps.get_unchecked(column) };
        let first = tap.offset + self.start;
        if first < 0 || first as usize + self.reach > self.x.len() {
            return vectors::<S, NV>(
                simd,
                #[inline(always)]
                |v| {
                    let elements = self.near_end(S::LANES, tap, v);
                    // SAFETY: the array has as many elements as the widest vector.
                    unsafe { simd.load(elements.as_ptr()) }
                },
            );
        }
        let mask = self.mask(tap);
        let at = self.x.as_ptr().wrapping_offset(tap.offset);
        vectors::<S, NV>(
            simd,
            #[inline(always)]
            |v| {
                // SAFETY: the caller promises `NV` vectors, each of which has its segments.
                let segments = unsafe { self.segments.get_unchecked(v) };
                let inside = (mask >> (v * S::LANES)) as u16;
                // SAFETY: whole vectors at every segment's start lie within `reach` of `first`: inside `x`, by the check above.
                unsafe {
                    if SEGMENTS == 1 {
                        let from = at.wrapping_offset(segments[0].start);
                        return if MASKED { simd.load_masked(from, inside) } else { simd.load(from) };
                    }
                    let mut x = simd.splat(0.0);
                    for segment in segments {
                        x = simd.replace_masked(x, at.wrapping_offset(segment.start), segment.lanes & inside);
                    }
                    x
                }
            },
        )
    }
}

/// Multiplies a panel by a lowered tile.
///
/// # Panics
/// If the panel has other columns than the tile, or more rows than [`panels::ROWS`]; if the place lies outside of its window; or if
/// its positions are more than the tile's vectors have lanes, or so few that a vector has none.
#[inline]
pub(crate) fn multiply<S: Simd, E: Element>(
    simd: S,
    weights: TileWeights<'_, E>,
    lowered: &impl Lowered<S>,
    place: Place<'_, '_>,
    epilogue: Epilogue<'_>,
) {
    let (rows, vectors) = (weights.panel.rows, lowered.count());
    assert!(rows <= panels::ROWS, "a panel of {rows} rows");
    crate::expect_len("panel", weights.panel.elements, lowered.columns() * rows);
    if let Some((bias, _)) = epilogue.finish {
        crate::expect_len("bias", bias, rows);
    }
    let positions = place.positions.len();
    let fits = vectors >= 1 && positions <= vectors * S::LANES && positions > (vectors - 1) * S::LANES;
    assert!(fits, "{positions} positions in {vectors} vectors");
    let to = place.window.tile(place.plane..place.plane + rows, place.positions);
    let mut call = TileCall { weights, lowered, to, plane_len: place.window.plane_len(), positions, epilogue, first_row: 0 };
    while call.first_row < rows {
        let height = (rows - call.first_row).min(S::TILE[0]);
        macro_rules! tile {
            ($($rows:literal)*: $vectors:tt) => {
                match (height, vectors) { $(($rows, _) => tile!(@ $rows $vectors),)* _ => unreachable!("a tile of {height} rows") }
            };
            (@ $rows:literal ($($vectors:literal)*)) => {
                match vectors {
                    $($vectors => run::<S, E, _, $rows, $vectors, { if $rows * $vectors < 8 { 2 } else { 1 } }>(simd, &call),)*
                    _ => unreachable!("a tile of {vectors} vectors"),
                }
            };
        }
        tile!(1 2 3 4 5 6 7 8: (1 2 3 4));
        call.first_row += height;
    }
}

/// What [`multiply`] checked.
struct TileCall<'a, E, L> {
    weights: TileWeights<'a, E>,
    lowered: &'a L,
    to: *mut f32,
    plane_len: usize,
    positions: usize,
    epilogue: Epilogue<'a>,
    first_row: usize,
}

/// Adds the products of one column.
///
/// # Safety
/// `column` must be below the columns of `call`, which must have `VECTORS` vectors and `ROWS` rows from its first one.
#[inline(always)]
unsafe fn add_column<S: Simd, E: Element, L: Lowered<S>, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    call: &TileCall<'_, E, L>,
    column: usize,
    sums: &mut [[S::Vector; VECTORS]; ROWS],
) {
    // SAFETY: the caller's promise.
    let x = unsafe { call.lowered.vectors::<VECTORS>(simd, column) };
    let TileWeights { panel, to_next } = call.weights;
    let weights = panel.elements.as_ptr().wrapping_add(column * panel.rows + call.first_row);
    simd.prefetch(weights.wrapping_add(to_next));
    unrolled::<ROWS, VECTORS>(
        #[inline(always)]
        |row, vector| {
            // SAFETY: `multiply` checked that there are `columns * rows` weights.
            let weight = simd.splat(unsafe { *weights.wrapping_add(row) }.widen());
            sums[row][vector] = simd.mul_add(weight, x[vector], sums[row][vector]);
        },
    );
}

/// `ROWS` rows from `first_row` by `VECTORS` vectors, with `WAYS` sums for each product: small tiles need more than one, or each
/// addition waits for the one before.
fn run<S: Simd, E: Element, L: Lowered<S>, const ROWS: usize, const VECTORS: usize, const WAYS: usize>(
    simd: S,
    call: &TileCall<'_, E, L>,
) {
    // A constant, so that nothing is compiled for sizes that the set does not have.
    if const { ROWS > S::TILE[0] || ROWS * VECTORS > S::TILE[0] * S::TILE[1] } {
        unreachable!("a tile of {ROWS} x {VECTORS}");
    }
    simd.vectorize(
        #[inline(always)]
        || {
            let columns = call.lowered.columns();
            let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
            let mut more = [[simd.splat(0.0); VECTORS]; ROWS];
            let mut column = 0;
            while column + WAYS <= columns {
                // SAFETY: the columns are below `columns`; `multiply` calls with the vectors and rows that there are.
                unsafe {
                    add_column::<S, E, L, ROWS, VECTORS>(simd, call, column, &mut sums);
                    if const { WAYS == 2 } {
                        add_column::<S, E, L, ROWS, VECTORS>(simd, call, column + 1, &mut more);
                    }
                }
                column += WAYS;
            }
            if column < columns {
                // SAFETY: as above.
                unsafe { add_column::<S, E, L, ROWS, VECTORS>(simd, call, column, &mut sums) };
            }
            if const { WAYS == 2 } {
                unrolled::<ROWS, VECTORS>(
                    #[inline(always)]
                    |row, vector| sums[row][vector] = simd.add(sums[row][vector], more[row][vector]),
                );
            }
            let last = call.positions - (VECTORS - 1) * S::LANES;
            let to = call.to.wrapping_add(call.first_row * call.plane_len);
            let place = |row: usize, vector: usize| to.wrapping_add(row * call.plane_len + vector * S::LANES);
            if call.epilogue.add {
                unrolled::<ROWS, VECTORS>(
                    #[inline(always)]
                    |row, vector| {
                        let from = place(row, vector);
                        // SAFETY: this points into the place that `multiply` checked: at a whole vector of it, or at the last one
                        // of its row, of `last` positions.
                        let before = unsafe { if vector + 1 < VECTORS { simd.load(from) } else { simd.load_first(from, last) } };
                        sums[row][vector] = simd.add(sums[row][vector], before);
                    },
                );
            }
            if let Some((bias, activation)) = call.epilogue.finish {
                let bias = &bias[call.first_row..call.first_row + ROWS];
                unrolled::<ROWS, VECTORS>(
                    #[inline(always)]
                    |row, vector| sums[row][vector] = simd.add(sums[row][vector], simd.splat(bias[row])),
                );
                activate(simd, activation, &mut sums);
            }
            unrolled::<ROWS, VECTORS>(
                #[inline(always)]
                |row, vector| {
                    let (to, sum) = (place(row, vector), sums[row][vector]);
                    // SAFETY: as for reading.
                    unsafe { if vector + 1 < VECTORS { simd.store(to, sum) } else { simd.store_first(to, sum, last) } };
                },
            );
        },
    );
}

/// Applies `activation` to a tile of sums.
#[inline(always)]
pub(crate) fn activate<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    activation: Activation,
    sums: &mut [[S::Vector; VECTORS]; ROWS],
) {
    match activation.in_registers() {
        Some(InRegisters::Bounds(bounds)) => {
            let bounds = Bounds::of(simd, bounds);
            unrolled::<ROWS, VECTORS>(
                #[inline(always)]
                |row, vector| sums[row][vector] = bounds.keep(simd, sums[row][vector]),
            );
        }
        Some(InRegisters::Slope(slope)) => unrolled::<ROWS, VECTORS>(
            #[inline(always)]
            |row, vector| {
                let x = sums[row][vector];
                sums[row][vector] = simd.max(simd.mul(simd.splat(slope), x), x);
            },
        ),
        None => {
            let Some(function) = activation.function() else { return };
            let mut elements = [[[0.0; MAX_LANES]; VECTORS]; ROWS];
            let elements = elements.as_flattened_mut().as_flattened_mut();
            let first = |row: usize, vector: usize| (row * VECTORS + vector) * S::LANES;
            unrolled::<ROWS, VECTORS>(
                #[inline(always)]
                |row, vector| simd.put(&mut elements[first(row, vector)..], sums[row][vector]),
            );
            activation::of_elements(simd, function, &mut elements[..ROWS * VECTORS * S::LANES]);
            unrolled::<ROWS, VECTORS>(
                #[inline(always)]
                |row, vector| sums[row][vector] = simd.get(&elements[first(row, vector)..]),
            );
        }
    }
}

/// `N` vectors, at most eight, made one by one: [`std::array::from_fn`] may not be inlined into code of another instruction set.
#[inline(always)]
pub(crate) fn vectors<S: Simd, const N: usize>(simd: S, mut f: impl FnMut(usize) -> S::Vector) -> [S::Vector; N] {
    let mut all = [simd.splat(0.0); N];
    macro_rules! each {
        ($($i:literal)*) => {{ $(if const { $i < N } { all[$i] = f($i) })* }};
    }
    each!(0 1 2 3 4 5 6 7);
    all
}

/// Calls `f` with the columns of a square of elements, whose rows begin `pitch` elements apart. Rows that are not there are 0.
#[inline(always)]
pub(crate) fn each_column<S: Simd>(simd: S, rows: &[f32], pitch: usize, mut f: impl FnMut(usize, S::Vector)) {
    let mut vectors = [simd.splat(0.0); MAX_LANES];
    for (vector, row) in vectors[..S::LANES].iter_mut().zip(rows.chunks(pitch)) {
        *vector = simd.get(row);
    }
    simd.transpose(&mut vectors);
    for (column, x) in vectors[..S::LANES].iter().enumerate() {
        f(column, *x);
    }
}

/// Calls `f` for every row and vector of a tile, unrolled from the start: an array that is only indexed by constants lives
/// in registers. What is not called is not compiled either, since the conditions are constants.
#[inline(always)]
pub(crate) fn unrolled<const ROWS: usize, const VECTORS: usize>(mut f: impl FnMut(usize, usize)) {
    macro_rules! each {
        ($($row:literal)*, $vectors:tt) => { $(if const { $row < ROWS } { each!(@ $row $vectors) })* };
        (@ $row:literal ($($vector:literal)*)) => {{ $(if const { $vector < VECTORS } { f($row, $vector) })* }};
    }
    each!(0 1 2 3 4 5 6 7, (0 1 2 3));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Threading;
    use crate::parallel::{Part, Partition};
    use crate::simd::Portable;

    /// The upper half of an `f32`, as weights may be stored one day.
    #[derive(Clone, Copy, Debug)]
    struct UpperHalf(u16);

    impl Element for UpperHalf {
        fn widen(self) -> f32 {
            f32::from_bits(u32::from(self.0) << 16)
        }
    }

    fn product<E: Element>(elements: &[E], rows: usize, x: &[f32], positions: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; rows * positions];
        let partition = Partition::new(rows, positions, vec![vec![Part { planes: 0..rows, positions: 0..positions }]]);
        partition.for_each(&mut out, &mut [0.0], 1, Threading::Single, |_, mut window, _| {
            let weights = TileWeights { panel: Panel { elements, rows }, to_next: 0 };
            let vectors = positions.div_ceil(Portable::LANES);
            let lowered = PackedTile::new::<Portable>(x, elements.len() / rows, vectors);
            let place = Place { window: &mut window, plane: 0, positions: 0..positions };
            multiply(Portable, weights, &lowered, place, Epilogue { add: false, finish: None });
        });
        out
    }

    #[test]
    fn elements_are_widened_where_they_are_read() {
        for (rows, columns, positions) in [(1, 5, 13), (3, 4, 8), (8, 3, 7)] {
            let halves: Vec<UpperHalf> = (0..rows * columns).map(|i| UpperHalf(0x3f80 + 5 * i as u16)).collect();
            let whole: Vec<f32> = halves.iter().map(|half| half.widen()).collect();
            let x: Vec<f32> = (0..columns * 16).map(|i| i as f32 - 20.5).collect();
            assert_eq!(product(&halves, rows, &x, positions), product(&whole, rows, &x, positions), "{rows} x {positions}");
        }
    }
}
