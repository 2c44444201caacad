//! What happens to an image before its columns are read: usually nothing. A strided convolution's input is split into planes in
//! which neighbouring output positions read neighbouring elements.

use super::geometry::{Column, Geometry};
use crate::Threading;
use crate::simd::{Isa, Simd, Vectorized};
use get_size2::GetSize;
use std::collections::HashMap;
use std::ops::Range;

/// Kernel rows and columns together for which each tile has masks that say where a tap falls into padding; the padding of larger
/// kernels, which nobody trains, is written out instead.
const MOST_MASKS: usize = 64;

/// How the planes that columns are read from come from the image.
#[derive(GetSize, Debug)]
pub(crate) enum Stage {
    /// They are the image's own.
    None,
    /// Each holds the elements of one channel that lie `stride` apart, with the padding that taps reach.
    Split {
        /// Channel, and row and column of the first element in the padded image.
        planes: Vec<(usize, [usize; 2])>,
        /// Where each of them stands, in their order.
        index: Vec<((usize, [usize; 2]), usize)>,
        size: [usize; 2],
    },
}

/// What becomes of padding that taps of an image of stride 1 fall into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// Whoever reads the planes masks it, if kernels are not too large for that.
    Masked,
    /// The planes hold it.
    Written,
}

impl Stage {
    /// For the columns of all groups, one group after the other.
    pub(crate) fn new(geometry: &Geometry, columns: impl Iterator<Item = Column>, padding: Padding) -> Self {
        let maskable = padding == Padding::Masked && geometry.kernel[0] + geometry.kernel[1] <= MOST_MASKS;
        if geometry.strides == [1, 1] && (maskable || !overhangs(geometry)) {
            return Stage::None;
        }
        let (mut planes, mut index, mut beyond) = (Vec::new(), HashMap::new(), [0, 0]);
        for column in columns {
            let (phase, cell) = split(geometry, column);
            index.entry((column.channel, phase)).or_insert_with(|| {
                planes.push((column.channel, phase));
                planes.len() - 1
            });
            beyond = [0, 1].map(|axis| cell[axis].max(beyond[axis]));
        }
        let mut index: Vec<_> = index.into_iter().collect();
        index.sort_unstable();
        Stage::Split { planes, index, size: [0, 1].map(|axis| geometry.output[axis] + beyond[axis]) }
    }

    /// Elements from one row of a plane to the next.
    pub(crate) fn pitch(&self, geometry: &Geometry) -> usize {
        match self {
            Stage::None => geometry.input[1],
            Stage::Split { size, .. } => size[1],
        }
    }

    /// Whether taps of the planes can fall into padding.
    pub(crate) fn pads(&self, geometry: &Geometry) -> bool {
        matches!(self, Stage::None) && overhangs(geometry)
    }

    /// Where a column reads for output position 0.
    pub(crate) fn offset(&self, geometry: &Geometry, column: Column) -> isize {
        match self {
            Stage::None => {
                let along =
                    |axis: usize, tap: usize| (tap * geometry.dilations[axis]) as isize - geometry.pad_before[axis] as isize;
                let row = (column.channel * geometry.input[0]) as isize + along(0, column.kh);
                row * geometry.input[1] as isize + along(1, column.kw)
            }
            Stage::Split { index, size, .. } => {
                let at = column_of_plane(geometry, index, column);
                ((at.channel * size[0] + at.kh) * size[1] + at.kw) as isize
            }
        }
    }

    /// What the layer computes as a convolution of the planes, which has neither strides nor padding: its sizes, and the columns that are
    /// these there. `None` if the planes are the image's own.
    pub(crate) fn over_planes(&self, geometry: &Geometry, columns: &[Column]) -> Option<(Geometry, Vec<Column>)> {
        let Stage::Split { planes, index, size } = self else { return None };
        let over_planes = Geometry {
            channels: planes.len(),
            input: *size,
            output: geometry.output,
            kernel: [0, 1].map(|axis| size[axis] - geometry.output[axis] + 1),
            strides: [1, 1],
            dilations: [1, 1],
            pad_before: [0, 0],
            transposed: false,
        };
        Some((over_planes, columns.iter().map(|&column| column_of_plane(geometry, index, column)).collect()))
    }

    /// Rows of all planes.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Stage::None => 0,
            Stage::Split { planes, size, .. } => planes.len() * size[0],
        }
    }

    /// Elements of all planes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Stage::None => 0,
            Stage::Split { planes, size, .. } => planes.len().saturating_mul(size[0] * size[1]),
        }
    }

    /// What columns are read from: the image, or what becomes of it in `planes`, which are at least [`Self::len`] elements.
    pub(crate) fn of<'a>(
        &self,
        geometry: &Geometry,
        isa: Isa,
        image: &'a [f32],
        planes: &'a mut [f32],
        threading: Threading,
    ) -> &'a [f32] {
        let Stage::Split { planes: sources, size, .. } = self else { return image };
        let planes = &mut planes[..self.len()];
        threading.for_each_chunk(planes, size[0] * size[1], |i, plane| {
            let (channel, phase) = sources[i];
            let x = &image[channel * geometry.input_len()..][..geometry.input_len()];
            isa.dispatch(SplitPlane { geometry, x, phase, width: size[1], plane });
        });
        planes
    }
}

/// Whether taps fall into padding.
pub(super) fn overhangs(geometry: &Geometry) -> bool {
    let inside = |axis: usize| (0..geometry.kernel[axis]).all(|tap| geometry.inside(axis, tap) == (0..geometry.output[axis]));
    !(inside(0) && inside(1))
}

/// A column of the image as one of the planes, of which `index` says where each stands.
fn column_of_plane(geometry: &Geometry, index: &[((usize, [usize; 2]), usize)], column: Column) -> Column {
    let (phase, [kh, kw]) = split(geometry, column);
    let at = index.binary_search_by_key(&(column.channel, phase), |(plane, _)| *plane);
    Column { channel: index[at.expect("a column that the planes were made for")].1, kh, kw }
}

/// Which of the planes a column's tap reads, and where in it for output position 0. Both are counted in the padded image.
pub(super) fn split(geometry: &Geometry, column: Column) -> ([usize; 2], [usize; 2]) {
    let at = [column.kh * geometry.dilations[0], column.kw * geometry.dilations[1]];
    let strides = geometry.strides;
    ([0, 1].map(|axis| at[axis] % strides[axis]), [0, 1].map(|axis| at[axis] / strides[axis]))
}

/// Fills a plane of rows of `width` with the elements of `x` that lie the strides apart, from `phase` on.
struct SplitPlane<'a> {
    geometry: &'a Geometry,
    x: &'a [f32],
    phase: [usize; 2],
    width: usize,
    plane: &'a mut [f32],
}

impl Vectorized for SplitPlane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || split_plane(simd, self),
        );
    }
}

#[inline(always)]
fn split_plane<S: Simd>(simd: S, SplitPlane { geometry, x, phase, width, plane }: SplitPlane<'_>) {
    let ([height, input_width], [row_stride, stride]) = (geometry.input, geometry.strides);
    // Cells of a row that lie in the input, and the input column of the first of them.
    let Range { start: first, end } = geometry.cells(1, phase[1], width);
    let source_row = |row: usize| (row * row_stride + phase[0]).checked_sub(geometry.pad_before[0]).filter(|&r| r < height);
    let rows_inside = source_row(0).is_some() && source_row(plane.len() / width - 1).is_some();
    if !(rows_inside && first == 0 && end == width) {
        plane.fill(0.0);
    }
    for (row, out) in plane.chunks_exact_mut(width).enumerate() {
        if let Some(source) = source_row(row).filter(|_| first < end) {
            let start = source * input_width + first * stride + phase[1] - geometry.pad_before[1];
            every(simd, stride, &x[start..], &mut out[first..end]);
        }
    }
}

/// Fills `to` with every `stride`-th element of `from`, from the first one on.
#[inline(always)]
pub(super) fn every<S: Simd>(simd: S, stride: usize, from: &[f32], to: &mut [f32]) {
    // Known strides become shuffles of whole vectors.
    match stride {
        1 => simd.every::<1>(from, to),
        2 => simd.every::<2>(from, to),
        4 => simd.every::<4>(from, to),
        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(o, x)| *o = *x),
    }
}
