//! Convolution over kept columns: only the columns of the lowered matrix that some filter uses are read from the input, and the
//! product runs over just those. Groups may keep different numbers of filters and columns.
//!
//! [`PreparedConv::new`] decides everything that shapes decide: how the image is staged, tiles of output positions, where each
//! column reads, which form computes each group, and who computes what where threads share the work. [`PreparedConv::run`] is then a
//! loop over tiles and panels around the register tile of `tile.rs`.

mod border;
mod channel_lanes;
mod choice;
mod depthwise;
mod filter_lanes;
mod geometry;
mod lowering;
mod method;
mod packing;
mod share;
mod stage;
mod task;
mod winograd;

pub(crate) use border::Border;
pub use geometry::{Column, Geometry, KeptGroup};
pub use method::Method;

use crate::parallel::Window;
use crate::simd::{Isa, Simd, Vectorized};
use crate::tile::{self, Epilogue, InPlace, Packed, Panel, Place, Tap};
use crate::{Activation, PANEL_ROWS, Threading, balanced, count_pieces, expect_len};
use channel_lanes::ChannelLanes;
use depthwise::Depthwise;
use lowering::Lowering;
use share::{Item, Share};
use stage::{Padding, Stage};
use std::fmt::Debug;
use std::ops::Range;

/// Numbers of a lowered block that is packed at a time: it is read once for each panel of weights, from the second-level cache.
const BLOCK: usize = 128 * 1024;

/// Weights of a group that are more numbers than this do not stay in the second-level cache from tile to tile.
const NEAR: usize = 64 * 1024;

/// Most columns of a block: one panel's weights for them, 24 KiB, stay in the first-level cache.
const MAX_COLUMNS: usize = 768;

/// What a convolution computes.
#[derive(Clone, Debug)]
pub struct ConvTask<'a> {
    /// Images that are computed at once.
    pub images: usize,
    /// Sizes.
    pub geometry: Geometry,
    /// What each group keeps.
    pub groups: Vec<KeptGroup>,
    /// `[kept filters][KH][KW]`: what constant channels add through each tap that lies inside the input.
    pub taps: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
    /// Whether the output holds numbers already, to which sums are added before the activation.
    pub accumulate: bool,
}

/// A convolution with everything decided that shapes decide.
#[derive(Debug)]
pub struct PreparedConv {
    isa: Isa,
    geometry: Geometry,
    groups: Vec<Prepared>,
    stage: Stage,
    lowering: Lowering,
    depthwise: Option<Depthwise>,
    channel_lanes: Option<ChannelLanes>,
    border: Option<Border>,
    activation: Activation,
    accumulate: bool,
    /// How threads share one image.
    share: Share,
}

/// One group with its tables.
#[derive(Debug)]
struct Prepared {
    /// Of all groups' filters.
    filters: Range<usize>,
    /// Of all weights.
    weights: Range<usize>,
    taps: Vec<Tap>,
    form: Form,
}

/// A method with what it needs.
#[derive(Debug)]
enum Form {
    Packed,
    InPlace,
    /// Plane by plane, together with all other groups of this form.
    Depthwise,
    /// Some planes at a time, together with all other groups of this form.
    ChannelLanes,
    /// One that does not go tile by tile.
    Own(Box<dyn GroupKernel>),
}

impl Form {
    /// Whether the register tile of `tile.rs` computes it.
    fn is_tiled(&self) -> bool {
        matches!(self, Form::Packed | Form::InPlace)
    }

    fn method(&self) -> Method {
        match self {
            Form::Packed => Method::Packed,
            Form::InPlace => Method::InPlace,
            Form::Depthwise => Method::Depthwise,
            Form::ChannelLanes => Method::ChannelLanes,
            Form::Own(kernel) => kernel.method(),
        }
    }
}

/// Computes the planes of a group its own way.
trait GroupKernel: Debug + Send + Sync {
    fn method(&self) -> Method;

    /// Sizes, for reports.
    fn describe(&self) -> String;

    /// Numbers of scratch memory that [`Self::run`] needs.
    fn scratch_len(&self) -> usize;

    /// Computes the group's planes `out` of one image.
    fn run(&self, layer: Weighted<'_>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading);
}

/// What a group multiplies with, and what it does with the sums.
#[derive(Clone, Copy)]
struct Weighted<'a> {
    /// The group's.
    weights: &'a [f32],
    bias: &'a [f32],
    activation: Activation,
    /// Whether the output holds numbers that sums are added to.
    add: bool,
}

/// The same of a whole layer.
#[derive(Clone, Copy)]
struct WeightedLayer<'a> {
    /// All groups'.
    weights: &'a [f32],
    /// All groups'.
    bias: &'a [f32],
    border: Option<&'a Border>,
    activation: Activation,
    /// Whether the output holds numbers that sums are added to.
    accumulate: bool,
}

impl PreparedConv {
    /// For `threads` threads at most, by the method that is expected to be fastest.
    ///
    /// # Panics
    /// If `taps` has another length than filters and kernel call for, or a column lies outside the input or the kernel.
    pub fn new(layer: ConvTask<'_>, isa: Isa, threads: usize) -> Self {
        Self::build(layer, isa, threads, None)
    }

    /// As [`Self::new`], but by `method` wherever it applies.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn with_method(layer: ConvTask<'_>, isa: Isa, threads: usize, method: Method) -> Self {
        Self::build(layer, isa, threads, Some(method))
    }

    fn build(layer: ConvTask<'_>, isa: Isa, threads: usize, method: Option<Method>) -> Self {
        let ConvTask { geometry, groups: kept, taps, activation, accumulate, .. } = layer;
        let all_columns = || kept.iter().flat_map(|g| &g.columns).copied();
        for column in all_columns() {
            let fits = column.channel < geometry.channels && column.kh < geometry.kernel[0] && column.kw < geometry.kernel[1];
            assert!(fits, "{column:?} lies outside {geometry:?}");
        }
        let filters: usize = kept.iter().map(|g| g.filters).sum();
        let border = taps.map(|taps| Border::new(&geometry, filters, taps));
        let stage = Stage::new(&geometry, all_columns(), Padding::Masked);
        let highest = kept.iter().map(|g| g.filters.min(PANEL_ROWS)).max().unwrap_or(0);
        let lowering = Lowering::new(&geometry, &stage, isa.lanes(), tile::vectors_for(highest, isa.tile()));
        let (mut column, mut filter, mut weight) = (0, 0, 0);
        let prepare = |group: &KeptGroup| {
            let form = choice::choose(&geometry, group, &stage, &lowering, isa, threads, method);
            let columns = if form.is_tiled() { &*group.columns } else { &[] };
            let prepared = Prepared {
                filters: filter..filter + group.filters,
                weights: weight..weight + group.filters * group.columns.len(),
                taps: columns.iter().zip(column..).map(|(&c, i)| lowering.tap(&geometry, &stage, i, c)).collect(),
                form,
            };
            (column, filter, weight) = (column + group.columns.len(), prepared.filters.end, prepared.weights.end);
            prepared
        };
        let groups: Vec<Prepared> = kept.iter().map(prepare).collect();
        let depthwise = Depthwise::new(&geometry, &kept, &groups, isa, threads);
        let channel_lanes = ChannelLanes::new(&geometry, &kept, &groups, isa, threads);
        let stage = if groups.iter().any(|g| g.form.is_tiled()) { stage } else { Stage::None };
        let share = Share::new(&groups, filters, &lowering.tiles, geometry.output_len(), threads);
        PreparedConv { isa, geometry, groups, stage, lowering, depthwise, channel_lanes, border, activation, accumulate, share }
    }

    /// Output planes.
    fn filters(&self) -> usize {
        self.groups.last().map_or(0, |g| g.filters.end)
    }

    /// Multiply-accumulates of one image.
    pub fn macs(&self) -> usize {
        self.groups.iter().map(|g| g.weights.len()).sum::<usize>() * self.geometry.output_len()
    }

    /// Numbers of packed blocks that one thread needs.
    fn block_len(&self) -> usize {
        let widest = self.lowering.tiles.iter().map(|t| t.vectors.len()).max().unwrap_or(0) * self.isa.lanes();
        let of = |group: &Prepared| match group.form {
            Form::InPlace | Form::Depthwise | Form::ChannelLanes | Form::Own(_) => 0,
            Form::Packed => {
                let columns = column_blocks(group.taps.len()).map(|c| c.len()).max().unwrap_or(0);
                let tiles = tiles_at_once(columns, widest).min(self.lowering.tiles.len());
                tiles * columns * widest + packing::SLACK
            }
        };
        self.groups.iter().map(of).max().unwrap_or(0).next_multiple_of(16).max(16)
    }

    fn stage_len(&self) -> usize {
        self.stage.len(&self.geometry).next_multiple_of(16)
    }

    /// Numbers of scratch memory that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        let own = |group: &Prepared| if let Form::Own(kernel) = &group.form { kernel.scratch_len() } else { 0 };
        let tiled = self.stage_len().saturating_add(self.share.partition().lanes().saturating_mul(self.block_len()));
        let depthwise = self.depthwise.as_ref().map_or(0, Depthwise::scratch_len);
        let channel_lanes = self.channel_lanes.as_ref().map_or(0, ChannelLanes::scratch_len);
        self.groups.iter().map(own).max().unwrap_or(0).max(tiled).max(depthwise).max(channel_lanes)
    }

    fn largest_group(&self) -> Option<&Prepared> {
        self.groups.iter().max_by_key(|g| g.weights.len())
    }

    /// What computes its largest group.
    pub fn method(&self) -> Method {
        self.largest_group().map_or(Method::Packed, |g| g.form.method())
    }

    /// What computes it, for reports: method, largest register tile (filters x positions) and instruction set.
    pub fn describe(&self) -> String {
        let (method, isa) = (self.method(), self.isa);
        let largest = self.largest_group();
        match largest.map(|g| &g.form) {
            Some(Form::Own(kernel)) => format!("{method} {} {isa}", kernel.describe()),
            Some(Form::Depthwise | Form::ChannelLanes) => format!("{method} {isa}"),
            Some(Form::Packed | Form::InPlace) | None => {
                let rows = largest.map_or(0, |g| g.filters.len().min(isa.tile()[0]));
                let positions = self.lowering.tiles.iter().map(|t| t.vectors.len()).max().unwrap_or(0) * isa.lanes();
                format!("{method} {rows}x{positions} {isa}")
            }
        }
    }

    /// `x` is `[batch][channels][H][W]`, `out` is `[batch][kept filters][OH][OW]`. `weights` hold, group after group, kept
    /// filters x kept columns in panels of 8 rows; `bias` has one number per kept filter.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let (image_len, out_len) =
            (self.geometry.channels * self.geometry.input_len(), self.filters() * self.geometry.output_len());
        if out_len == 0 {
            return;
        }
        let batch = count_pieces("output", out, out_len);
        expect_len("input", x, batch * image_len);
        expect_len("weights", weights, self.groups.last().map_or(0, |g| g.weights.end));
        expect_len("bias", bias, self.filters());
        let scratch = &mut scratch[..self.scratch_len()];

        let (stage_len, block_len) = (self.stage_len(), self.block_len());
        for (i, out) in out.chunks_exact_mut(out_len).enumerate() {
            let image = &x[i * image_len..][..image_len];
            self.compute_own(image, weights, bias, out, scratch, threading);
            let (border, activation, accumulate) = (self.border.as_ref(), self.activation, self.accumulate);
            let layer = WeightedLayer { weights, bias, border, activation, accumulate };
            if let Some(depthwise) = &self.depthwise {
                depthwise.run(layer, image, out, scratch, threading);
            }
            if let Some(channel_lanes) = &self.channel_lanes {
                channel_lanes.run(layer, image, out, scratch, threading);
            }
            if self.share.is_empty() {
                continue;
            }
            let (planes, blocks) = scratch.split_at_mut(stage_len);
            let planes = self.stage.of(&self.geometry, self.isa, image, planes, threading);
            self.share.partition().for_each(out, blocks, block_len, threading, |item, mut window, block| {
                self.compute(self.share.item(item), planes, weights, bias, &mut window, block);
            });
        }
    }

    /// Computes the groups that are not computed tile by tile.
    fn compute_own(
        &self,
        image: &[f32],
        weights: &[f32],
        bias: &[f32],
        out: &mut [f32],
        scratch: &mut [f32],
        threading: Threading,
    ) {
        let plane = self.geometry.output_len();
        for group in &self.groups {
            let Form::Own(kernel) = &group.form else { continue };
            let out = &mut out[group.filters.start * plane..group.filters.end * plane];
            if let Some(border) = &self.border {
                for (filter, out) in group.filters.clone().zip(out.chunks_exact_mut(plane)) {
                    border.run(filter, 0..plane, self.geometry.output[1], self.accumulate, out);
                }
            }
            let layer = Weighted {
                weights: &weights[group.weights.clone()],
                bias: &bias[group.filters.clone()],
                activation: self.activation,
                add: self.accumulate || self.border.is_some(),
            };
            kernel.run(layer, image, out, scratch, threading);
        }
    }

    /// Computes `item` of one image from the planes that its columns are read from.
    fn compute(&self, item: &Item, x: &[f32], weights: &[f32], bias: &[f32], window: &mut Window<'_>, block: &mut [f32]) {
        let group = &self.groups[item.group];
        if let Some(border) = &self.border {
            for filter in item.filters.clone() {
                let out = window.part(filter, item.positions.clone());
                border.run(filter, item.positions.clone(), self.geometry.output[1], self.accumulate, out);
            }
        }
        self.isa.dispatch(Work { conv: self, group, item, x, weights: &weights[group.weights.clone()], bias, window, block });
    }
}

/// One item of a convolution, for any instruction set.
struct Work<'a, 'w> {
    conv: &'a PreparedConv,
    group: &'a Prepared,
    item: &'a Item,
    x: &'a [f32],
    /// The group's.
    weights: &'a [f32],
    /// All groups'.
    bias: &'a [f32],
    window: &'a mut Window<'w>,
    block: &'a mut [f32],
}

impl Vectorized for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let lowering = &self.conv.lowering;
        match (&self.group.form, &lowering.in_place) {
            (Form::InPlace, lowering::InPlace::One(segments)) if lowering.masked() => self.in_place::<S, 1, true>(simd, segments),
            (Form::InPlace, lowering::InPlace::One(segments)) => self.in_place::<S, 1, false>(simd, segments),
            (Form::InPlace, lowering::InPlace::Two(segments)) if lowering.masked() => self.in_place::<S, 2, true>(simd, segments),
            (Form::InPlace, lowering::InPlace::Two(segments)) => self.in_place::<S, 2, false>(simd, segments),
            _ => self.packed(simd),
        }
    }
}

impl<'w> Work<'_, 'w> {
    fn packed<S: Simd>(&mut self, simd: S) {
        let lowering = &self.conv.lowering;
        let block_columns = column_blocks(self.group.taps.len()).map(|c| c.len()).max().unwrap_or(0);
        let widest = lowering.tiles[self.item.tiles.clone()].iter().map(|t| t.vectors.len()).max().unwrap_or(0) * S::LANES;
        let mut first = self.item.tiles.start;
        while first < self.item.tiles.end {
            let tiles = first..(first + tiles_at_once(block_columns, widest)).min(self.item.tiles.end);
            first = tiles.end;
            for columns in column_blocks(self.group.taps.len()) {
                let taps = &self.group.taps[columns.clone()];
                let mut packed = 0;
                for tile in tiles.clone() {
                    let out = &mut self.block[packed..];
                    packed += packing::pack(simd, self.x, taps, lowering, tile, out);
                }
                for panel in self.item.panels.clone() {
                    let mut start = 0;
                    for tile in tiles.clone() {
                        let vectors = lowering.tiles[tile].vectors.len();
                        let len = taps.len() * vectors * S::LANES;
                        let block = std::mem::take(&mut self.block);
                        let lowered = Packed::new::<S>(&block[start..start + len], taps.len(), vectors);
                        let fetch = self.group.weights.len() > NEAR && tile + 1 == tiles.end;
                        self.multiply(simd, panel, columns.clone(), tile, &lowered, fetch);
                        self.block = block;
                        start += len;
                    }
                }
            }
        }
    }

    fn in_place<S: Simd, const SEGMENTS: usize, const MASKED: bool>(&mut self, simd: S, segments: &[[tile::Segment; SEGMENTS]]) {
        let lowering = &self.conv.lowering;
        for tile in self.item.tiles.clone() {
            let segments = &segments[lowering.tiles[tile].vectors.clone()];
            let lowered = InPlace::<SEGMENTS, MASKED>::new::<S>(self.x, &self.group.taps, segments, lowering.masks(tile));
            for panel in self.item.panels.clone() {
                self.multiply(simd, panel, 0..self.group.taps.len(), tile, &lowered, false);
            }
        }
    }

    /// Some `columns` of a panel times a tile: sums are added to those of the columns before, and finished with the last ones.
    fn multiply<S: Simd>(
        &mut self,
        simd: S,
        panel: usize,
        columns: Range<usize>,
        tile: usize,
        lowered: &impl tile::Lowered<S>,
        fetch: bool,
    ) {
        let Work { conv, group, .. } = *self;
        let (first, all_columns) = (panel * PANEL_ROWS, group.taps.len());
        let rows = PANEL_ROWS.min(group.filters.len() - first);
        let weights = &self.weights[first * all_columns..][columns.start * rows..columns.end * rows];
        let plane = group.filters.start + first;
        let finish = (columns.end == all_columns).then_some((&self.bias[plane..plane + rows], conv.activation));
        let add = columns.start > 0 || conv.accumulate || conv.border.is_some();
        let place = Place { window: self.window, plane, positions: conv.lowering.tiles[tile].positions.clone() };
        tile::multiply(
            simd,
            Panel { weights, rows, to_next: if fetch { rows * all_columns } else { 0 } },
            lowered,
            place,
            Epilogue { add, finish },
        );
    }
}

/// Columns in parts that are packed at a time; one empty part where there are none.
fn column_blocks(columns: usize) -> impl Iterator<Item = Range<usize>> {
    let none = (columns == 0).then_some(0..0);
    balanced(columns, MAX_COLUMNS).chain(none)
}

/// Tiles of `width` positions of so many columns that are packed at a time.
fn tiles_at_once(columns: usize, width: usize) -> usize {
    (BLOCK / (columns * width).max(1)).max(1)
}
