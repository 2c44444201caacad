//! Images whose channels lie in blocks ([`Layout::Blocks`](crate::layout::Layout)): where columns are read.

use super::geometry::{Column, Geometry};
use super::stage::overhangs;
use crate::Threading;
use crate::simd::Isa;
use get_size2::GetSize;

/// What columns are read from: the image where it lies, or a copy with padding if taps fall into that.
#[derive(GetSize, Debug)]
pub(super) struct BlockStage {
    lanes: usize,
    blocks: usize,
    /// Rows and columns of a plane that is read.
    size: [usize; 2],
    /// Where the image's first row and column come to lie, if it is copied.
    copied_to: Option<[usize; 2]>,
}

/// Whether a copy with padding is no more than some times as large as the input, as it is in all but absurd layers.
pub(super) fn fits(geometry: &Geometry) -> bool {
    let len = geometry.padded().into_iter().try_fold(1usize, usize::checked_mul);
    !overhangs(geometry) || len.is_some_and(|len| len / 16 <= geometry.input_len() + 256)
}

impl BlockStage {
    pub(super) fn new(geometry: &Geometry, isa: Isa) -> Self {
        let (lanes, copies) = (isa.lanes(), overhangs(geometry));
        BlockStage {
            lanes,
            blocks: geometry.channels.div_ceil(lanes),
            size: if copies { geometry.padded() } else { geometry.input },
            copied_to: copies.then_some(geometry.pad_before),
        }
    }

    /// Where a column reads, relative to a position.
    pub(super) fn column(&self, geometry: &Geometry, Column { channel, kh, kw }: Column) -> usize {
        let [row, column] = [kh * geometry.dilations[0], kw * geometry.dilations[1]];
        let place = (channel / self.lanes * self.size[0] + row) * self.size[1] + column;
        place * self.lanes + channel % self.lanes
    }

    /// Where a position of the output reads.
    pub(super) fn position(&self, geometry: &Geometry, [row, column]: [usize; 2]) -> usize {
        (row * geometry.strides[0] * self.size[1] + column * geometry.strides[1]) * self.lanes
    }

    /// Rows that are copied.
    pub(super) fn rows(&self) -> usize {
        self.copied_to.map_or(0, |_| self.blocks * self.size[0])
    }

    /// Elements of the copy.
    pub(super) fn len(&self) -> usize {
        self.rows().saturating_mul(self.size[1] * self.lanes)
    }

    /// What is read; `copy` has at least [`Self::len`] elements.
    pub(super) fn of<'a>(&self, geometry: &Geometry, image: &'a [f32], copy: &'a mut [f32], threading: Threading) -> &'a [f32] {
        let Some([top, left]) = self.copied_to else { return image };
        let copy = &mut copy[..self.len()];
        let ([height, width], pitch) = (geometry.input, self.size[1] * self.lanes);
        let start = (left * self.lanes).min(pitch);
        let len = (width * self.lanes).min(pitch - start);
        threading.for_each_chunk(copy, self.size[0] * pitch, |block, copy| {
            for (row, copy) in copy.chunks_exact_mut(pitch).enumerate() {
                let Some(row) = row.checked_sub(top).filter(|&row| row < height) else {
                    copy.fill(0.0);
                    continue;
                };
                copy[..start].fill(0.0);
                let from = (block * height + row) * width * self.lanes;
                copy[start..start + len].copy_from_slice(&image[from..from + len]);
                copy[start + len..].fill(0.0);
            }
        });
        copy
    }
}
