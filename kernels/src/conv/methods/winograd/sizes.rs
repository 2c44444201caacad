//! Sizes of a group's convolution by Winograd's method: its tiles, which columns each channel has, where everything lies in memory,
//! and what it is expected to cost. A strided layer is a convolution of stride 1 here, over the planes that its input is split into.

use super::transforms::OUTPUTS;
use crate::conv::cost::WinogradCosts;
use crate::conv::geometry::Geometry;
use crate::conv::method::{PlacedGroup, Problem};
use crate::conv::stage::{Padding, Stage};
use crate::layout::{Layout, Layouts};
use crate::simd::{Isa, MAX_LANES, Simd, Vectorized};
use crate::target::WeightsFrom;
use crate::{Threading, balanced};
use get_size2::GetSize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

/// Products of some channels for which weights are transformed together: with a few vectors of filters, 36 x 96 x 48 elements or
/// 64 x 54 x 48 fit L2.
const WEIGHTS: usize = 36 * 96;
/// Products of the tiles of an image that are worked on together: enough for the transform of weights to pay, few enough for the
/// cache.
const SUMS: usize = 36 * 112;

/// The same where transformed weights are kept, so that nothing but the cache bounds it from below: elements of a transformed image.
const KEPT_IMAGE: usize = 96 << 10;
/// Fewest tiles that are worked on together where transformed weights are kept: each weight that is loaded is multiplied with so many.
const KEPT_TILES: usize = 40;
/// Channels whose products are summed before those of the next ones: their weights for some vectors of filters stay in L1.
const KEPT_CHANNELS: usize = 256;

/// Elements between the stretches of different products: without them, they would often lie whole pages apart, and caches hold few
/// lines of the same place in a page.
const GAP: usize = 16;

/// One group's convolution.
#[derive(GetSize, Debug)]
pub(super) struct Sizes {
    /// Of the layer.
    image: Geometry,
    /// What becomes of an image where the layer has strides.
    stage: Stage,
    staged_row: f64,
    /// Of the convolution of stride 1 over the planes of the stage.
    pub(super) geometry: Geometry,
    pub(super) isa: Isa,
    pub(super) layouts: Layouts,
    /// Whether transformed weights are kept.
    pub(super) keeps_weights: bool,
    weights_from: WeightsFrom,
    #[get_size(ignore)]
    costs: &'static WinogradCosts,
    pub(super) filters: usize,
    /// Input planes that some column reads, and where each one's taps are among the columns.
    pub(super) channels: Vec<Channel>,
    /// The blocks that these lie in, in order, if the input lies in blocks.
    pub(super) blocks: Vec<usize>,
    /// Elements of a tile along an axis, and so points of evaluation.
    pub(super) points: usize,
    /// Tiles of an image, vertically and horizontally.
    pub(super) grid: [usize; 2],
    /// Rows of tiles that are worked on together.
    pub(super) rows: usize,
}

#[derive(GetSize, Debug)]
pub(super) struct Channel {
    pub(super) plane: usize,
    pub(super) taps: Taps,
}

/// Which columns a channel's taps (`kh * KW + kw`) are.
#[derive(GetSize, Debug)]
pub(super) enum Taps {
    /// One after the other from this one on.
    All(usize),
    /// The column of each and 1, or any column and 0 if the tap is not kept.
    Some(Vec<(u32, f32)>),
}

/// Work that is written once for kernels of any size that the method computes.
pub(super) trait ByPoints {
    /// Must be `#[inline(always)]`, as [`Vectorized::run`] must.
    fn run<S: Simd, const TAPS: usize, const POINTS: usize>(self, simd: S);
}

/// Work, and the points of evaluation that it is done for.
struct ForPoints<W>(usize, W);

impl<W: ByPoints> Vectorized for ForPoints<W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ForPoints(points, work) = self;
        match points {
            6 => work.run::<S, 3, 6>(simd),
            _ => work.run::<S, 5, 8>(simd),
        }
    }
}

impl Sizes {
    /// Does work with the instructions of the set, compiled for the points of evaluation.
    pub(super) fn dispatch(&self, work: impl ByPoints) {
        self.isa.dispatch(ForPoints(self.points, work));
    }

    /// `None` where the method does not apply.
    pub(super) fn new(problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<Self> {
        let (image, filters) = (problem.geometry, group.place.filters.len());
        let ([height, width], [_, stride]) = (image.kernel, image.strides);
        // Of those that lie a stride apart, along an axis; there are no transforms for four, which are five of which one is zero.
        let taps = match width.div_ceil(stride) {
            4 => 5,
            taps => taps,
        };
        // A single filter would fill one lane: of depthwise layers, there is no need to consider each group.
        let applies = filters > 1
            && height == width
            && [3, 5].contains(&taps)
            && image.strides == [stride; 2]
            && (stride == 1 || problem.layouts.reads == Layout::Planes)
            && image.dilations == [1, 1]
            && image.pad_before.iter().all(|&p| p < width)
            && !group.columns.is_empty();
        if !applies {
            return None;
        }
        let stage = Stage::new(image, group.columns.iter().copied(), Padding::Masked);
        let (geometry, columns) = match stage.over_planes(image, group.columns) {
            Some((geometry, columns)) => (geometry, Cow::Owned(columns)),
            None => (image.clone(), Cow::Borrowed(group.columns)),
        };
        let points = OUTPUTS + taps - 1;
        let mut channels: Vec<(usize, Vec<Option<u32>>)> = Vec::new();
        for (index, column) in columns.iter().enumerate() {
            let known = channels.iter().rposition(|c| c.0 == column.channel);
            let at = known.unwrap_or(channels.len());
            if known.is_none() {
                channels.push((column.channel, vec![None; taps * taps]));
            }
            // Columns that are listed twice are for the other methods.
            if channels[at].1[column.kh * taps + column.kw].replace(u32::try_from(index).ok()?).is_some() {
                return None;
            }
        }
        let channel = |(plane, columns): (usize, Vec<Option<u32>>)| {
            let any = columns.iter().flatten().next().copied().unwrap_or(0);
            let all = (any..).zip(&columns).all(|(index, column)| *column == Some(index));
            let some = || columns.iter().map(|column| column.map_or((any, 0.0), |column| (column, 1.0))).collect();
            Channel { plane, taps: if all { Taps::All(any as usize) } else { Taps::Some(some()) } }
        };
        let lanes = problem.isa.lanes();
        let blocks: BTreeSet<usize> = match problem.layouts.reads {
            Layout::Planes => BTreeSet::new(),
            Layout::Blocks => channels.iter().map(|(plane, _)| plane / lanes).collect(),
        };
        let grid = geometry.output.map(|size| size.div_ceil(OUTPUTS));
        let products = points * points;
        let together = match problem.keeps_weights {
            true => (KEPT_IMAGE / (products * channels.len())).max(KEPT_TILES),
            false => SUMS / products,
        };
        let rows = balanced(grid[0], (together / grid[1]).max(1)).map(|rows| rows.len()).max().unwrap_or(1);
        Some(Sizes {
            image: image.clone(),
            stage,
            staged_row: problem.costs.tiles.staged_row,
            geometry,
            isa: problem.isa,
            layouts: problem.layouts,
            keeps_weights: problem.keeps_weights,
            weights_from: problem.weights_from,
            costs: &problem.costs.winograd,
            filters,
            channels: channels.into_iter().map(channel).collect(),
            blocks: blocks.into_iter().collect(),
            points,
            grid,
            rows,
        })
    }

    /// Elements of the planes that an image is split into, in whole vectors.
    pub(super) fn stage_len(&self) -> usize {
        self.stage.len().next_multiple_of(MAX_LANES)
    }

    /// What tiles are read from: the image, or what becomes of it in `planes`, which are [`Self::stage_len`] elements.
    pub(super) fn planes_of<'a>(&self, image: &'a [f32], planes: &'a mut [f32], threading: Threading) -> &'a [f32] {
        self.stage.of(&self.image, self.isa, image, planes, threading)
    }

    /// What one image is expected to cost.
    pub(super) fn cost(&self) -> f64 {
        self.costs.scale * self.cost_of(self.grid[0], self.filters) + self.stage.rows() as f64 * self.staged_row
    }

    /// What some filters at some rows of tiles are expected to cost beside others: without the scale that all have.
    pub(super) fn cost_of(&self, rows: usize, filters: usize) -> f64 {
        let (channels, lanes) = (self.channels.len(), self.isa.lanes());
        let vectors_of = |count: usize| count.div_ceil(lanes) as f64;
        let of_filters = vectors_of(filters);
        let (tiles, passes) = ((rows * self.grid[1]) as f64, rows.div_ceil(self.rows) as f64);
        let products = self.products() as f64 * channels as f64 * of_filters;
        // Besides what each tile takes, squares of elements are transposed.
        let squares = rows as f64 * vectors_of(self.geometry.input[1]);
        let costs = if self.points == 6 { &self.costs.six } else { &self.costs.eight };
        let image = match self.layouts.reads {
            Layout::Planes => vectors_of(channels) * (tiles * costs.tile + squares * costs.transposed * (lanes * lanes) as f64),
            Layout::Blocks => self.blocks.len() as f64 * tiles * costs.tile_in_block,
        };
        let outputs = match self.layouts.writes {
            Layout::Planes => costs.outputs,
            Layout::Blocks => costs.outputs_to_block,
        };
        let of_tiles = tiles * (self.costs.product * products + outputs * of_filters);
        let of_weights = match self.keeps_weights {
            false => costs.weights,
            true => self.costs.kept_weight[self.weights_from as usize] * self.products() as f64,
        };
        of_tiles + image + of_weights * passes * of_filters * channels as f64
    }

    /// Where the elements of each channel, and of each tile, lie in a transformed image.
    pub(super) fn places(&self) -> [Vec<usize>; 2] {
        let (lanes, vector_len) = (self.isa.lanes(), self.vector_len());
        let of_channel = |(index, channel): (usize, &Channel)| match self.layouts.reads {
            Layout::Planes => index / lanes * vector_len + index % lanes,
            Layout::Blocks => {
                let before = self.blocks.partition_point(|&block| block < channel.plane / lanes);
                before * vector_len + channel.plane % lanes
            }
        };
        let of_tile = |tile: usize| tile * lanes;
        [self.channels.iter().enumerate().map(of_channel).collect(), (0..self.rows * self.grid[1]).map(of_tile).collect()]
    }

    /// Products of a tile.
    pub(super) fn products(&self) -> usize {
        self.points * self.points
    }

    /// The channels, in parts whose products are summed one after the other.
    pub(super) fn channels_together(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        balanced(self.channels.len(), self.most_channels_together())
    }

    fn most_channels_together(&self) -> usize {
        if self.keeps_weights { KEPT_CHANNELS } else { WEIGHTS / self.products() }
    }

    /// Elements of one product's tiles of a vector of channels.
    pub(super) fn product_len(&self) -> usize {
        self.rows * self.grid[1] * self.isa.lanes() + GAP
    }

    /// Vectors of channels that an image is transformed in.
    fn vectors(&self) -> usize {
        match self.layouts.reads {
            Layout::Planes => self.channels.len().div_ceil(self.isa.lanes()),
            Layout::Blocks => self.blocks.len(),
        }
    }

    /// Elements of a transformed image, `[vector of channels][product][tile][channel]`, with room for whole vectors behind it.
    pub(super) fn image_len(&self) -> usize {
        (self.vectors() * self.vector_len()).next_multiple_of(MAX_LANES)
    }

    /// Elements of a vector of channels.
    pub(super) fn vector_len(&self) -> usize {
        self.products() * self.product_len()
    }

    /// Elements of the transformed weights of one product: `[channel][filter]` of some vectors of filters; of all channels where they
    /// are kept, else of those that are worked on together.
    pub(super) fn weights_len(&self, vectors: usize) -> usize {
        let width = vectors * self.isa.lanes();
        if self.keeps_weights {
            return self.channels.len() * width;
        }
        self.most_channels_together().min(self.channels.len()) * width + GAP
    }

    /// Elements of one product's sums: `[tile][filter]` of some vectors of filters.
    pub(super) fn sums_len(&self, vectors: usize) -> usize {
        self.rows * self.grid[1] * vectors * self.isa.lanes() + GAP
    }

    /// Rows of tiles in parts that are worked on together.
    pub(super) fn passes(&self, rows: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let start = rows.start;
        balanced(rows.len(), self.rows).map(move |part| start + part.start..start + part.end)
    }
}
