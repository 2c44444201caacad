//! Convolutions over kept columns on a device, and fully connected layers, which are convolutions of images of one position.
//!
//! There are four methods: *direct*, a thread for each element of the output, for groups of few filters; *warp*, a thread for one
//! position and up to 32 filters, whose columns several warps can share, for few positions or filters; *tile*, a block that gathers
//! columns into shared memory and multiplies them there by up to 128 filters; *library*, kept columns gathered into lowered matrices
//! that cuBLAS multiplies. Columns that lie side by side in memory, as those of pointwise layers do, are not gathered for cuBLAS.

use super::choice::{BLOCK, MOST_BLOCKS_DOWN, Method, Shape};
use super::device::{Buffer, Device, Gemm, Matrix, Result, Stream, View, upload};
use super::launch::{Arguments, Floats, Ints, Output, Source, THREADS, address_or_null, arguments, int, launch, launch_each};
use super::task::{Call, Kernel, Preparing, Task};
use super::{activation, check_windows, fits, upload_ints};
use crate::conv::{Border, Column, ConvTask, Geometry, KeptGroup};
use crate::fully_connected::GemmTask;
use crate::{Activation, Precision, expect_len};
use std::ops::Range;

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[UNPACK, CONV];

arguments! {
    /// Weights of one group.
    UnpackArguments { panels: Floats, out: Output, filters: i32, columns: i32, all_columns: i32, leading: i32 }
}

arguments! {
    /// A convolution: all of it, or the part of one group.
    ConvArguments {
        x: Floats, weights: Floats, bias: Floats, border: Floats, residual: Floats,
        taps: Ints, classes: Ints, parts: Ints,
        sums: Floats, out: Output, lowered: Output,
        images: i32, image_len: i32, height: i32, width: i32,
        out_height: i32, out_width: i32, positions: i32,
        stride_h: i32, stride_w: i32, transposed: i32,
        filters: i32, first_filter: i32, all_filters: i32, columns: i32, leading: i32, turns: i32,
        sums_of_image: i32, sums_of_filter: i32,
        column_classes: i32, all_classes: i32,
        activation: i32, p: f32, q: f32,
    }
}

const UNPACK: Source = Source { declaration: UnpackArguments::DECLARATION, kernels: &["unpack", "unpack_half"], text: "" };

const CONV: Source = Source {
    declaration: ConvArguments::DECLARATION,
    kernels: &[
        "conv_direct",
        "conv_warp_8",
        "conv_warp_16",
        "conv_warp_32",
        "conv_tile_64x64",
        "conv_tile_64x128",
        "conv_tile_96x128",
        "conv_tile_128x64",
        "conv_tile_128x128",
        "lower",
        "lower_half",
        "finish",
    ],
    text: include_str!("conv.cu"),
};

/// Factors of a lowered matrix that are in memory at a time, as far as whole images allow: 256 MiB of floats. Not measured yet.
const LOWERED: usize = 64 << 20;

/// Columns of one position that a thread lowers.
const LOWERED_COLUMNS: usize = 16;

/// Bytes at multiples of which columns of factors begin: kernels and cuBLAS read so many at once.
const ALIGNED: usize = 16;

/// Weights behind the last one that kernels may read, as part of a block of more filters than there are.
const BEHIND: usize = 128;

/// How many integers a `Part` of `conv.cu` has.
const PART: usize = 6;

/// How a [`PreparedConv`] computes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// How products are rounded by cuBLAS. Our own kernels know `f32` only.
    pub precision: Precision,
    /// By this method, or by the one that is expected to be fastest.
    pub method: Option<Method>,
}

/// A convolution of so many images, with weights and tables on the device.
#[derive(Debug)]
pub struct PreparedConv {
    geometry: Geometry,
    images: usize,
    method: Method,
    precision: Precision,
    /// How the factors that are multiplied lie in memory.
    layout: Layout,
    /// The groups that have filters.
    groups: Vec<Prepared>,
    filters: usize,
    accumulate: bool,
    activation: Activation,
    /// Group after group, `[columns][filters]`; halves where `precision` says so and cuBLAS multiplies.
    weights: Buffer,
    bias: Buffer,
    /// A `Tap` of `conv.cu` for each column of all groups.
    taps: Buffer,
    /// What blocks, or single threads, compute: of each its first filter, how many filters, and the group's columns and weights.
    parts: Buffer,
    part_count: usize,
    border: Option<BorderTables>,
}

#[derive(Debug)]
struct Prepared {
    /// Its filters, counted over all groups.
    filters: Range<usize>,
    /// Its columns as they are stored, counted over all groups.
    columns: Range<usize>,
    /// Its weights as they come, counted over all groups.
    weights: Range<usize>,
    /// Its weights on the device, in elements of [`PreparedConv::weights`].
    stored: Range<usize>,
    /// Where the first column begins in an image, if the others follow it and are multiplied there.
    in_place: Option<usize>,
}

/// How matrices of factors lie in memory.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Whether they are of halves.
    halves: bool,
}

impl Layout {
    /// Distance of columns of so many factors.
    fn leading(self, rows: usize) -> usize {
        rows.next_multiple_of(ALIGNED / if self.halves { 2 } else { 4 })
    }

    /// Elements of `f32` that so many factors take; they are even where two share one.
    fn elements(self, factors: usize) -> usize {
        if self.halves { factors / 2 } else { factors }
    }
}

/// What a [`PreparedConv`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Tensors<'a> {
    /// `[images][channels][H][W]`.
    pub x: View<'a>,
    /// What sums are added to, if they are, unless that lies in `out`.
    pub residual: Option<View<'a>>,
    /// `[images][kept filters][OH][OW]`.
    pub out: View<'a>,
    /// At least [`PreparedConv::scratch_len`] elements.
    pub scratch: View<'a>,
}

impl Task for ConvTask<'_> {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        let choice = Choice { precision: preparing.precision, method: None };
        let parameters = [0, 1].map(|i| preparing.parameters[i]);
        Ok(Box::new(PreparedConv::new(self, parameters, choice, preparing.device, preparing.stream)?))
    }
}

impl Task for GemmTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        let choice = Choice { precision: preparing.precision, method: None };
        let parameters = [0, 1].map(|i| preparing.parameters[i]);
        Ok(Box::new(PreparedConv::fully_connected(self, parameters, choice, preparing.device, preparing.stream)?))
    }
}

impl Kernel for PreparedConv {
    fn scratch_len(&self) -> usize {
        self.scratch_len()
    }

    fn start(&self, stream: &mut dyn Stream, Call { reads, out, scratch }: Call<'_>) -> Result<()> {
        self.run(stream, Tensors { x: reads[0], residual: reads.get(1).copied(), out, scratch })
    }

    fn describe(&self) -> Option<String> {
        Some(self.describe())
    }
}

/// What constant channels add, by classes of rows and columns.
#[derive(Debug)]
struct BorderTables {
    classes: Buffer,
    sums: Buffer,
    counts: [usize; 2],
}

impl PreparedConv {
    /// `weights` and `bias` are as [`crate::conv::PreparedConv::run`] takes them.
    ///
    /// # Errors
    /// If a size is too large for the kernels, or the device has no room or fails.
    ///
    /// # Panics
    /// If a slice has another length than the layer calls for, or a column lies outside the input or the kernel.
    pub fn new(
        layer: &ConvTask<'_>,
        [weights, bias]: [&[f32]; 2],
        choice: Choice,
        device: &dyn Device,
        stream: &mut dyn Stream,
    ) -> Result<Self> {
        let &ConvTask { images, ref geometry, ref groups, taps, activation, accumulate } = layer;
        check_windows(geometry)?;
        let filters: usize = groups.iter().map(|g| g.filters).sum();
        expect_len("bias", bias, filters);
        expect_len("weights", weights, groups.iter().map(|g| g.filters * g.columns.len()).sum());
        fits("weights", weights.len())?;
        fits("output of a layer", images.saturating_mul(filters).saturating_mul(geometry.output_len()))?;
        fits("input of a layer", images.saturating_mul(geometry.channels).saturating_mul(geometry.input_len()))?;

        let border = match taps {
            Some(taps) if filters > 0 => Some(BorderTables::new(&Border::new(geometry, filters, taps), device, stream)?),
            _ => None,
        };
        let in_place: Vec<Option<usize>> = groups.iter().map(|group| side_by_side(geometry, group)).collect();
        let with_filters = || groups.iter().filter(|group| group.filters > 0);
        // With room for columns that begin at multiples.
        let lowered = |group: &KeptGroup| group.columns.len().saturating_mul(geometry.output_len() + ALIGNED);
        let shape = Shape {
            groups,
            images,
            positions: images * geometry.output_len(),
            in_place: in_place.iter().all(Option::is_some),
            divides: divides(geometry),
            by_library: with_filters().all(|group| !group.columns.is_empty() && fits("", lowered(group)).is_ok()),
            precision: choice.precision,
            processors: device.processors().max(1),
        };
        let method = shape.choose(choice.method);
        let layout = Layout { halves: method == Method::Library && choice.precision == Precision::Fp16 };
        let (mut prepared, mut table, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut filter, mut column, mut weight, mut stored) = (0, 0, 0, 0);
        for (group, in_place) in groups.iter().zip(in_place) {
            for &c in &group.columns {
                let fits = c.channel < geometry.channels && c.kh < geometry.kernel[0] && c.kw < geometry.kernel[1];
                assert!(fits, "{c:?} lies outside {geometry:?}");
                table.extend(tap(geometry, c));
            }
            let columns = column..column + method.columns(group.columns.len());
            table.extend(std::iter::repeat_n(NOTHING, columns.len() - group.columns.len()).flatten());
            let weights = weight..weight + group.filters * group.columns.len();
            (column, weight) = (columns.end, weights.end);
            if group.filters > 0 {
                let filters = filter..filter + group.filters;
                filter = filters.end;
                let (first, leading) = (stored, layout.leading(group.filters));
                stored = layout.elements(columns.len().saturating_mul(leading)).saturating_add(stored);
                fits("weights", stored.saturating_add(BEHIND))?;
                if let Some(most) = method.filters() {
                    parts.extend((0..group.filters).step_by(most).flat_map(|f| {
                        let of_it = most.min(group.filters - f);
                        [filters.start + f, of_it, columns.len(), columns.start, first + f, leading].map(int)
                    }));
                }
                // What is multiplied in place are the floats of the image.
                let in_place = in_place.filter(|_| !layout.halves);
                prepared.push(Prepared { filters, columns, weights, stored: first..stored, in_place });
            }
        }
        let unpacked = unpack(&prepared, weights, layout, device, stream)?;
        Ok(PreparedConv {
            method,
            precision: choice.precision,
            layout,
            geometry: geometry.clone(),
            images,
            filters,
            accumulate,
            activation,
            weights: unpacked,
            bias: upload(device, stream, bias)?,
            taps: upload_ints(device, stream, &table)?,
            part_count: parts.len() / PART,
            parts: upload_ints(device, stream, &parts)?,
            groups: prepared,
            border,
        })
    }

    /// A fully connected layer, as a convolution of images of one position.
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn fully_connected(
        layer: &GemmTask,
        parameters: [&[f32]; 2],
        choice: Choice,
        device: &dyn Device,
        stream: &mut dyn Stream,
    ) -> Result<Self> {
        let geometry = Geometry {
            channels: layer.features,
            input: [1, 1],
            output: [1, 1],
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            pad_before: [0, 0],
            transposed: false,
        };
        let columns = layer.columns.iter().map(|&channel| Column { channel, kh: 0, kw: 0 }).collect();
        let groups = vec![KeptGroup { filters: layer.rows, columns }];
        let as_convolution =
            ConvTask { images: layer.batch, geometry, groups, taps: None, activation: layer.activation, accumulate: false };
        Self::new(&as_convolution, parameters, choice, device, stream)
    }

    /// What computes it: what was asked for, if that applies.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What computes it, for reports.
    pub fn describe(&self) -> String {
        match (self.method, self.precision) {
            (method @ Method::Library, Precision::Tf32) => format!("{method} tf32"),
            (method @ Method::Library, Precision::Fp16) => format!("{method} fp16"),
            (method, _) => method.to_string(),
        }
    }

    /// Images that are lowered at a time.
    fn images_at_once(&self, group: &Prepared) -> usize {
        let of_image = group.columns.len() * self.geometry.output_len();
        (LOWERED / of_image.max(1)).clamp(1, self.images.max(1))
    }

    /// How many elements a group's lowered matrix of so many positions has, and how many its sums.
    fn lowered_len(&self, group: &Prepared, positions: usize) -> [usize; 2] {
        let leading = self.layout.leading(positions);
        [self.layout.elements(group.columns.len() * leading), group.filters.len() * leading]
    }

    /// How many elements of scratch memory [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        let needs = |group: &Prepared| match group.in_place {
            None if self.method == Method::Library => {
                self.lowered_len(group, self.images_at_once(group) * self.geometry.output_len()).iter().sum()
            }
            _ => 0,
        };
        self.groups.iter().map(needs).max().unwrap_or(0)
    }

    /// Computes `out`.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If a view has another length than the shapes call for, or `scratch` is too short.
    pub fn run(&self, stream: &mut dyn Stream, tensors: Tensors<'_>) -> Result<()> {
        let Tensors { x, residual, out, scratch } = tensors;
        let g = &self.geometry;
        let image_len = g.channels * g.input_len();
        x.expect_len("input", self.images * image_len);
        out.expect_len("output", self.images * self.filters * g.output_len());
        if let Some(residual) = residual {
            residual.expect_len("residual", out.len());
        }
        assert!(scratch.len() >= self.scratch_len(), "scratch: {} of {} elements", scratch.len(), self.scratch_len());
        if out.is_empty() {
            return Ok(());
        }
        let border = self.border.as_ref();
        let counts = border.map_or([0, 0], |b| b.counts);
        let (function, p, q) = activation(self.activation);
        let all = ConvArguments {
            x: x.address(),
            weights: self.weights.view().address(),
            bias: self.bias.view().address(),
            border: address_or_null(border.map(|b| b.sums.view())),
            residual: if self.accumulate { residual.unwrap_or(out).address() } else { 0 },
            taps: self.taps.view().address(),
            classes: address_or_null(border.map(|b| b.classes.view())),
            parts: self.parts.view().address(),
            out: out.address(),
            lowered: 0,
            sums: 0,
            images: int(self.images),
            image_len: int(image_len),
            height: int(g.input[0]),
            width: int(g.input[1]),
            out_height: int(g.output[0]),
            out_width: int(g.output[1]),
            positions: int(g.output_len()),
            stride_h: int(g.strides[0]),
            stride_w: int(g.strides[1]),
            transposed: i32::from(divides(g)),
            filters: int(self.filters),
            first_filter: 0,
            all_filters: int(self.filters),
            columns: 0,
            leading: 0,
            sums_of_image: 0,
            sums_of_filter: 0,
            turns: int(self.method.turns()),
            column_classes: int(counts[1]),
            all_classes: int(counts[0] * counts[1]),
            activation: function,
            p,
            q,
        };
        // SAFETY: the lengths of input, residual and output were checked above; `new` made weights, bias and all tables for them, and no
        // column lies outside the input.
        unsafe {
            if self.method == Method::Library {
                return self.groups.iter().try_for_each(|group| self.multiply(stream, group, &all, tensors));
            }
            let Some(kernel) = self.method.kernel() else {
                return launch_each(stream, "conv_direct", out.len(), &all);
            };
            let grid = [(self.images * g.output_len()).div_ceil(self.method.positions(kernel)), self.part_count];
            launch(stream, kernel.name, grid, BLOCK, &all)
        }
    }

    /// Computes a group by cuBLAS.
    ///
    /// # Safety
    /// `all` are the addresses of `tensors`, whose lengths have been checked, and of the tables that `new` made.
    unsafe fn multiply(
        &self,
        stream: &mut dyn Stream,
        group: &Prepared,
        all: &ConvArguments,
        tensors: Tensors<'_>,
    ) -> Result<()> {
        let of_group = ConvArguments {
            taps: self.taps.part(TAP * group.columns.start..TAP * group.columns.end).address(),
            filters: int(group.filters.len()),
            first_filter: int(group.filters.start),
            columns: int(group.columns.len()),
            ..*all
        };
        // SAFETY: the caller's promise.
        unsafe {
            match group.in_place {
                Some(start) => self.multiply_in_place(stream, group, of_group, start, tensors),
                None => self.multiply_lowered(stream, group, of_group, tensors),
            }
        }
    }

    /// Where columns begin at element `start` of each image and follow each other. Sums are written to the output first.
    ///
    /// # Safety
    /// As [`Self::multiply`].
    unsafe fn multiply_in_place(
        &self,
        stream: &mut dyn Stream,
        group: &Prepared,
        of_group: ConvArguments,
        start: usize,
        Tensors { x, residual, out, .. }: Tensors<'_>,
    ) -> Result<()> {
        let (positions, k, filters) = (self.geometry.output_len(), group.columns.len(), group.filters.len());
        let (image_len, out_len) = (self.geometry.channels * self.geometry.input_len(), self.filters * positions);
        let (x, weights) = (x.part(start..x.len()), self.weights_of(group));
        let sums = out.part(group.filters.start * positions..out.len());
        let (add, precision) = (self.accumulate && residual.is_none(), self.precision);
        // Column by column, an image is positions x columns, and the weights are filters x columns.
        stream.gemm(&if positions == 1 {
            // Images of one position are columns of one matrix.
            let factors = [weights, matrix(x, image_len, 0)];
            Gemm { m: filters, n: self.images, k, factors, out: matrix(sums, self.filters, 0), add, batch: 1, precision }
        } else {
            let factors = [matrix(x, positions, image_len), Matrix { transposed: true, ..weights }];
            Gemm {
                m: positions,
                n: filters,
                k,
                factors,
                out: matrix(sums, positions, out_len),
                add,
                batch: self.images,
                precision,
            }
        })?;
        let finish = ConvArguments {
            sums: sums.address(),
            sums_of_image: int(out_len),
            sums_of_filter: int(positions),
            // What the output held was added by cuBLAS.
            residual: if add { 0 } else { of_group.residual },
            ..of_group
        };
        // SAFETY: the caller's promise; the sums have been written by the products.
        unsafe { launch_each(stream, "finish", self.images * filters * positions, &finish) }
    }

    /// Where columns are gathered first: those of some images into one matrix, whose product is in scratch memory, too.
    ///
    /// # Safety
    /// As [`Self::multiply`].
    unsafe fn multiply_lowered(
        &self,
        stream: &mut dyn Stream,
        group: &Prepared,
        of_group: ConvArguments,
        Tensors { x, residual, out, scratch }: Tensors<'_>,
    ) -> Result<()> {
        let (positions, columns, filters) = (self.geometry.output_len(), group.columns.len(), group.filters.len());
        let (image_len, out_len) = (self.geometry.channels * self.geometry.input_len(), self.filters * positions);
        let at_once = self.images_at_once(group);
        for first in (0..self.images).step_by(at_once) {
            let images = at_once.min(self.images - first);
            let of_images = |view: View<'_>, len: usize| view.part(first * len..(first + images) * len).address();
            let (m, leading) = (images * positions, self.layout.leading(images * positions));
            let [lowered, sums] = self.lowered_len(group, m);
            let (lowered, sums) = (scratch.part(0..lowered), scratch.part(lowered..lowered + sums));
            let part = ConvArguments {
                x: of_images(x, image_len),
                out: of_images(out, out_len),
                residual: if self.accumulate { of_images(residual.unwrap_or(out), out_len) } else { 0 },
                lowered: lowered.address(),
                sums: sums.address(),
                images: int(images),
                leading: int(leading),
                sums_of_image: int(positions),
                sums_of_filter: int(leading),
                ..of_group
            };
            let kernel = if self.layout.halves { "lower_half" } else { "lower" };
            let grid = [m.div_ceil(THREADS as usize), columns.div_ceil(LOWERED_COLUMNS).min(MOST_BLOCKS_DOWN)];
            // SAFETY: the caller's promise; there is room for as many columns at this distance.
            unsafe { launch(stream, kernel, grid, [THREADS, 1], &part) }?;
            // Column by column, the lowered matrix is positions x columns, and the weights are filters x columns.
            stream.gemm(&Gemm {
                m,
                n: filters,
                k: columns,
                factors: [matrix(lowered, leading, 0), Matrix { transposed: true, ..self.weights_of(group) }],
                out: matrix(sums, leading, 0),
                add: false,
                batch: 1,
                precision: self.precision,
            })?;
            // SAFETY: as above; the sums have been written by the product.
            unsafe { launch_each(stream, "finish", m * filters, &part) }?;
        }
        Ok(())
    }

    /// Filters x columns, column by column.
    fn weights_of(&self, group: &Prepared) -> Matrix<'_> {
        matrix(self.weights.part(group.stored.clone()), self.layout.leading(group.filters.len()), 0)
    }
}

impl BorderTables {
    fn new(border: &Border, device: &dyn Device, stream: &mut dyn Stream) -> Result<Self> {
        let (rows, columns, counts, sums) = border.tables();
        fits("border constants", sums.len())?;
        let classes: Vec<i32> = rows.iter().chain(&columns).map(|&class| int(class)).collect();
        Ok(BorderTables { classes: upload_ints(device, stream, &classes)?, sums: upload(device, stream, sums)?, counts })
    }
}

/// How many integers a `Tap` of `conv.cu` has.
const TAP: usize = 4;

/// Whether positions are divided by strides: a transposed convolution with strides of 1 is a usual one with other taps.
fn divides(g: &Geometry) -> bool {
    g.transposed && g.strides != [1, 1]
}

/// One that reads nothing: whatever row it is added to, no image has that many.
const NOTHING: [i32; TAP] = [0, i32::MIN, 0, 0];

/// What a column adds to the place that a position begins at: see `conv.cu`.
fn tap(g: &Geometry, column: Column) -> [i32; TAP] {
    let shift = |axis: usize, tap: usize| {
        let shift = int(tap * g.dilations[axis]) - int(g.pad_before[axis]);
        if g.transposed { -shift } else { shift }
    };
    let (plane, rows, columns) = (int(column.channel * g.input_len()), shift(0, column.kh), shift(1, column.kw));
    // The kernels count in the same 32 bits: what they read lies within the image, whatever overflows on the way.
    let at = rows.wrapping_mul(int(g.input[1])).wrapping_add(columns).wrapping_add(plane);
    [plane, rows, columns, at]
}

/// Where the lowered matrix lies in an image as it is: the columns are whole planes that follow each other, or there is one position
/// and they are single elements that do.
fn side_by_side(g: &Geometry, group: &KeptGroup) -> Option<usize> {
    let positions = g.output_len();
    let plain = !g.transposed && g.pad_before == [0, 0];
    let whole_planes = g.kernel == [1, 1] && g.strides == [1, 1] && g.input == g.output;
    if !plain || !(whole_planes || positions == 1) {
        return None;
    }
    let start = |c: &Column| {
        let inside = c.kh * g.dilations[0] < g.input[0] && c.kw * g.dilations[1] < g.input[1];
        inside.then(|| c.channel * g.input_len() + c.kh * g.dilations[0] * g.input[1] + c.kw * g.dilations[1])
    };
    let first = start(group.columns.first()?)?;
    let follows = |(i, c): (usize, &Column)| start(c) == Some(first + i * positions);
    group.columns.iter().enumerate().all(follows).then_some(first)
}

fn matrix(view: View<'_>, leading: usize, stride: usize) -> Matrix<'_> {
    Matrix { view, transposed: false, leading, stride }
}

/// Weights from panels to `[columns][filters]` of each group, which cuBLAS and our kernels read alike.
fn unpack(groups: &[Prepared], weights: &[f32], layout: Layout, device: &dyn Device, stream: &mut dyn Stream) -> Result<Buffer> {
    let panels = upload(device, stream, weights)?;
    let end = groups.last().map_or(0, |group| group.stored.end);
    let unpacked = device.allocate(end + BEHIND)?;
    stream.upload(&[0.0; BEHIND], unpacked.part(end..end + BEHIND))?;
    let kernel = if layout.halves { "unpack_half" } else { "unpack" };
    for group in groups {
        let arguments = UnpackArguments {
            panels: panels.part(group.weights.clone()).address(),
            out: unpacked.part(group.stored.clone()).address(),
            filters: int(group.filters.len()),
            columns: int(group.weights.len() / group.filters.len()),
            all_columns: int(group.columns.len()),
            leading: int(layout.leading(group.filters.len())),
        };
        // SAFETY: the panels have been written, and there is room for as many columns at this distance.
        unsafe { launch_each(stream, kernel, group.columns.len() * layout.leading(group.filters.len()), &arguments) }?;
    }
    stream.wait()?; // before the panels are freed
    Ok(unpacked)
}
