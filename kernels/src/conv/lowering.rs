//! Which elements of the input the lowered matrix consists of: a place for every kept column, relative to an output position, and
//! tiles of output positions whose elements lie side by side.

use super::geometry::{Column, Geometry};
use super::stage::Stage;
use crate::balanced;
use crate::tile::{Segment, Tap};
use get_size2::GetSize;
use std::ops::Range;

/// Tiles over the output positions of one image.
#[derive(GetSize, Debug)]
pub(crate) struct Lowering {
    pub(crate) tiles: Vec<Tile>,
    /// Runs that do not end at vectors, for packing: lane of the tile and segment.
    pub(crate) runs: Vec<(usize, Segment)>,
    /// `[vectors of all tiles]`, for reading in place where one or two runs make up each vector.
    pub(crate) runs_of_vectors: Runs,
    /// Masks of kernel rows and kernel columns: for each tile as many as [`Self::mask_counts`] says.
    masks: [Vec<u64>; 2],
    mask_counts: [usize; 2],
    masked: bool,
}

/// Into how many runs the positions of a vector fall, and which runs these are.
#[derive(GetSize, Debug)]
pub(crate) enum Runs {
    One(Vec<[Segment; 1]>),
    Two(Vec<[Segment; 2]>),
    /// More than two, because rows are so short.
    More,
}

/// Up to `MAX_VECTORS` vectors of neighbouring output positions.
#[derive(GetSize, Debug)]
pub(crate) struct Tile {
    pub(crate) positions: Range<usize>,
    /// Which of all tiles' vectors are its own.
    pub(crate) vectors: Range<usize>,
    /// Which of [`Lowering::runs`] are its own.
    pub(crate) runs: Range<usize>,
}

impl Lowering {
    /// Tiles of at most `vectors` vectors of `lanes` positions.
    pub(crate) fn new(geometry: &Geometry, stage: &Stage, lanes: usize, vectors: usize) -> Self {
        let [rows, columns] = geometry.output;
        let positions = rows * columns;
        let pitch = stage.pitch(geometry);
        let place = |position: usize| (position / columns * pitch + position % columns) as isize;
        // Positions from `start` on, up to `end`, that lie side by side in the input.
        let run = |start: usize, end: usize| if pitch == columns { end } else { end.min(start - start % columns + columns) };
        let masked = stage.pads(geometry);
        let mut lowering = Lowering {
            tiles: Vec::new(),
            runs: Vec::new(),
            runs_of_vectors: Runs::More,
            masks: [Vec::new(), Vec::new()],
            mask_counts: if masked { geometry.kernel } else { [1, 1] },
            masked,
        };
        let segment = |lane: usize, start: usize, end: usize| Segment {
            start: place(start) - lane as isize,
            lanes: (((1u32 << (end - start)) - 1) << lane) as u16,
        };
        let mut each_vector: Vec<Vec<Segment>> = Vec::new();
        for part in balanced(positions.div_ceil(lanes), vectors) {
            let tile = part.start * lanes..(part.end * lanes).min(positions);
            let first_run = lowering.runs.len();
            let mut start = tile.start;
            while start < tile.end {
                let end = run(start, tile.end).min(start + lanes);
                lowering.runs.push((start - tile.start, segment(0, start, end)));
                start = end;
            }
            for vector in part.clone() {
                let (mut start, limit) = (vector * lanes, ((vector + 1) * lanes).min(positions));
                let mut segments = Vec::new();
                while start < limit {
                    let end = run(start, limit);
                    segments.push(segment(start - vector * lanes, start, end));
                    start = end;
                }
                each_vector.push(segments);
            }
            lowering.add_masks(geometry, &tile);
            let runs = first_run..lowering.runs.len();
            lowering.tiles.push(Tile { positions: tile, vectors: part, runs });
        }
        lowering.runs_of_vectors = match each_vector.iter().map(Vec::len).max() {
            Some(1) => Runs::One(each_vector.iter().map(|s| [s[0]]).collect()),
            // A vector of one run has a second one without lanes.
            Some(2) => {
                Runs::Two(each_vector.iter().map(|s| [s[0], s.get(1).copied().unwrap_or(Segment { lanes: 0, ..s[0] })]).collect())
            }
            _ => Runs::More,
        };
        lowering
    }

    fn add_masks(&mut self, geometry: &Geometry, tile: &Range<usize>) {
        if !self.masked {
            self.masks.iter_mut().for_each(|m| m.push(u64::MAX));
            return;
        }
        let columns = geometry.output[1];
        for (axis, masks) in self.masks.iter_mut().enumerate() {
            for tap in 0..self.mask_counts[axis] {
                let inside = geometry.inside(axis, tap);
                let bit = |position: usize| {
                    let along = if axis == 0 { position / columns } else { position % columns };
                    u64::from(inside.contains(&along)) << (position - tile.start)
                };
                masks.push(tile.clone().map(bit).fold(0, |mask, bit| mask | bit));
            }
        }
    }

    /// Masks of kernel rows and of kernel columns over the positions of a tile.
    pub(crate) fn masks(&self, tile: usize) -> [&[u64]; 2] {
        [0, 1].map(|axis| &self.masks[axis][tile * self.mask_counts[axis]..][..self.mask_counts[axis]])
    }

    /// Whether each vector is one run.
    pub(crate) fn has_whole_vectors(&self) -> bool {
        matches!(self.runs_of_vectors, Runs::One(_))
    }

    /// Whether taps can fall into padding.
    pub(crate) fn masked(&self) -> bool {
        self.masked
    }

    /// What a column reads.
    pub(crate) fn tap(&self, geometry: &Geometry, stage: &Stage, column: Column) -> Tap {
        let masks = if self.masked { [column.kh as u32, column.kw as u32] } else { [0, 0] };
        Tap { offset: stage.offset(geometry, column), masks }
    }
}
