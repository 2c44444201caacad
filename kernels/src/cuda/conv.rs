//! Convolutions over kept columns on a device, and fully connected layers, which are convolutions of images of one position.
//!
//! Three methods: *direct*, a thread for each number, for groups of few filters; *tile*, a kernel that gathers columns into shared
//! memory and multiplies them there; *library*, kept columns gathered into lowered matrices that cuBLAS multiplies. Columns that lie
//! side by side in memory, as those of pointwise layers do, are not gathered for cuBLAS.

use super::device::{Buffer, Device, Gemm, Matrix, Precision, Result, Stream, View, upload};
use super::kernels::{self, address_or_null, int, launch, launch_each};
use super::{activation, check_windows, fits, upload_ints};
use crate::conv::{Border, Column, Geometry, Group, Layer};
use crate::{Activation, expect_len, fully_connected};
use std::fmt::{self, Display};
use std::ops::Range;

/// Numbers of lowered matrices that are in memory at a time, as far as whole images allow: 64 MiB. Not measured yet.
const LOWERED: usize = 16 << 20;

/// Positions that a block of the tile kernels computes.
const TILE_POSITIONS: usize = 128;

/// A tile has 8 rows for each of these, by the name of its kernel.
const TILES: [(usize, &str); 4] = [(1, "conv_tile_1"), (2, "conv_tile_2"), (4, "conv_tile_4"), (8, "conv_tile_8")];

/// Groups of fewer filters leave most of a tile empty.
const TILE_FROM: usize = 5;

/// Groups of at least so many filters and columns are left to cuBLAS. Not measured yet: a guess at where its tiles are full.
const LIBRARY_FROM: usize = 64;

/// Columns of matrices of halves begin at multiples of so many, 16 bytes: else cuBLAS has to read number by number.
const ALIGNED_HALVES: usize = 8;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A thread for each number.
    Direct,
    /// Gathered into shared memory and multiplied there.
    Tile,
    /// Gathered into memory and multiplied by cuBLAS.
    Library,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 3] = [Method::Direct, Method::Tile, Method::Library];
}

impl Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Direct => "direct",
            Method::Tile => "tile",
            Method::Library => "cublas",
        })
    }
}

/// How a [`Conv`] computes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// How products are rounded by cuBLAS. Our own kernels know `f32` only.
    pub precision: Precision,
    /// By this method, or by the one that is expected to be fastest.
    pub method: Option<Method>,
}

/// A convolution of so many images, with weights and tables on the device.
#[derive(Debug)]
pub struct Conv {
    geometry: Geometry,
    images: usize,
    method: Method,
    precision: Precision,
    /// Of the factors that are multiplied.
    layout: Layout,
    /// Those that have filters.
    groups: Vec<Prepared>,
    filters: usize,
    accumulate: bool,
    activation: Activation,
    /// Group after group, `[columns][filters]`; halves where `precision` says so and cuBLAS multiplies.
    weights: Buffer,
    bias: Buffer,
    /// Of all groups' columns.
    taps: Buffer,
    /// For each filter where its group's taps begin, how many they are, where its weights begin, and how far apart they lie.
    of_filter: Buffer,
    border: Option<BorderTables>,
}

#[derive(Debug)]
struct Prepared {
    /// Of all groups'.
    filters: Range<usize>,
    /// Of all groups'.
    columns: Range<usize>,
    /// Of all weights as they come.
    weights: Range<usize>,
    /// The same on the device, in numbers of [`Conv::weights`].
    stored: Range<usize>,
    /// Where the first column's numbers begin in an image, if the others' follow and are multiplied there.
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
        if self.halves { rows.next_multiple_of(ALIGNED_HALVES) } else { rows }
    }

    /// Numbers that so many factors take, which is a whole number for columns.
    fn numbers(self, factors: usize) -> usize {
        if self.halves { factors / 2 } else { factors }
    }
}

/// What a [`Conv`] reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Tensors<'a> {
    /// `[images][channels][H][W]`.
    pub x: View<'a>,
    /// What sums are added to, if they are, unless that lies in `out`.
    pub residual: Option<View<'a>>,
    /// `[images][kept filters][OH][OW]`.
    pub out: View<'a>,
    /// At least [`Conv::scratch_len`] numbers.
    pub scratch: View<'a>,
}

/// What constant channels add, by classes of rows and columns.
#[derive(Debug)]
struct BorderTables {
    classes: Buffer,
    sums: Buffer,
    counts: [usize; 2],
}

impl Conv {
    /// For `images` images at a time. `weights` and `bias` are as [`crate::conv::Conv::run`] takes them.
    ///
    /// # Errors
    /// If a size is too large for the kernels, or the device has no room or fails.
    ///
    /// # Panics
    /// If a slice has another length than the layer calls for, or a column lies outside the input or the kernel.
    pub fn new(
        layer: &Layer<'_>,
        images: usize,
        [weights, bias]: [&[f32]; 2],
        choice: Choice,
        device: &dyn Device,
        stream: &mut dyn Stream,
    ) -> Result<Self> {
        let Layer { geometry, groups, taps, activation, accumulate } = layer;
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
        let method = choice.method.unwrap_or_else(|| choose(groups, images, geometry.output_len(), choice.precision));
        let layout = Layout { halves: method == Method::Library && choice.precision == Precision::Fp16 };
        let (mut prepared, mut table, mut of_filter) = (Vec::new(), Vec::new(), Vec::new());
        let (mut filter, mut column, mut weight, mut stored) = (0, 0, 0, 0);
        for group in groups {
            for &c in &group.columns {
                let fits = c.channel < geometry.channels && c.kh < geometry.kernel[0] && c.kw < geometry.kernel[1];
                assert!(fits, "{c:?} lies outside {geometry:?}");
                table.extend(tap(geometry, c));
            }
            let columns = column..column + group.columns.len();
            let weights = weight..weight + group.filters * group.columns.len();
            of_filter.extend((0..group.filters).flat_map(|f| {
                [columns.start, columns.len(), weights.start + f, group.filters].map(int) // the weights fit, so all do
            }));
            (column, weight) = (columns.end, weights.end);
            if group.filters > 0 {
                let filters = filter..filter + group.filters;
                filter = filters.end;
                let first = stored;
                stored += layout.numbers(columns.len() * layout.leading(group.filters));
                if method == Method::Library {
                    fits("lowered matrix of an image", columns.len().saturating_mul(layout.leading(geometry.output_len())))?;
                }
                // What is multiplied in place are the floats of the image.
                let in_place = if layout.halves { None } else { side_by_side(geometry, group) };
                prepared.push(Prepared { filters, columns, weights, stored: first..stored, in_place });
            }
        }
        let unpacked = unpack(&prepared, weights, layout, device, stream)?;
        Ok(Conv {
            method,
            precision: choice.precision,
            layout,
            geometry: geometry.clone(),
            images,
            filters,
            accumulate: *accumulate,
            activation: *activation,
            weights: unpacked,
            bias: upload(device, stream, bias)?,
            taps: upload_ints(device, stream, &table)?,
            of_filter: upload_ints(device, stream, &of_filter)?,
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
        layer: &fully_connected::Layer,
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
        let groups = vec![Group { filters: layer.rows, columns }];
        let as_convolution = Layer { geometry, groups, taps: None, activation: layer.activation, accumulate: false };
        Self::new(&as_convolution, layer.batch, parameters, choice, device, stream)
    }

    /// What computes it, for reports.
    pub fn describe(&self) -> String {
        match (self.method, self.precision) {
            (Method::Library, Precision::Tf32) => format!("{} tf32", self.method),
            (Method::Library, Precision::Fp16) => format!("{} fp16", self.method),
            (method, _) => method.to_string(),
        }
    }

    /// Distances of columns and of images in a group's lowered matrices, in factors. An image of one position is one column of
    /// a matrix whose rows are the group's columns.
    fn lowered_distances(&self, group: &Prepared) -> [usize; 2] {
        match self.geometry.output_len() {
            1 => [1, self.layout.leading(group.columns.len())],
            positions => {
                let leading = self.layout.leading(positions);
                [leading, group.columns.len() * leading]
            }
        }
    }

    /// Images whose matrices are lowered at a time.
    fn images_at_once(&self, group: &Prepared) -> usize {
        let [_, between] = self.lowered_distances(group);
        (LOWERED / self.layout.numbers(between)).clamp(1, self.images.max(1))
    }

    /// Numbers of scratch memory that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        let lowered = |group: &Prepared| match group.in_place {
            None if self.by_library(group) => {
                let [_, between] = self.lowered_distances(group);
                self.layout.numbers(self.images_at_once(group) * between)
            }
            _ => 0,
        };
        self.groups.iter().map(lowered).max().unwrap_or(0)
    }

    /// A product over no columns is nothing for cuBLAS.
    fn by_library(&self, group: &Prepared) -> bool {
        self.method == Method::Library && !group.columns.is_empty()
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
        assert!(scratch.len() >= self.scratch_len(), "scratch: {} of {} numbers", scratch.len(), self.scratch_len());
        if out.is_empty() {
            return Ok(());
        }
        let border = self.border.as_ref();
        let counts = border.map_or([0, 0], |b| b.counts);
        let (function, p, q) = activation(self.activation);
        let all = kernels::Conv {
            x: x.address(),
            weights: self.weights.view().address(),
            bias: self.bias.view().address(),
            border: address_or_null(border.map(|b| b.sums.view())),
            residual: if self.accumulate { residual.unwrap_or(out).address() } else { 0 },
            taps: self.taps.view().address(),
            classes: address_or_null(border.map(|b| b.classes.view())),
            groups: self.of_filter.view().address(),
            out: out.address(),
            lowered: scratch.address(),
            images: int(self.images),
            image_len: int(image_len),
            height: int(g.input[0]),
            width: int(g.input[1]),
            out_height: int(g.output[0]),
            out_width: int(g.output[1]),
            positions: int(g.output_len()),
            stride_h: int(g.strides[0]),
            stride_w: int(g.strides[1]),
            transposed: i32::from(g.transposed),
            filters: int(self.filters),
            first_filter: 0,
            all_filters: int(self.filters),
            columns: 0,
            leading: 0,
            between: 0,
            column_classes: int(counts[1]),
            all_classes: int(counts[0] * counts[1]),
            activation: function,
            p,
            q,
        };
        if self.method == Method::Direct {
            // SAFETY: the lengths of input, residual and output were checked above; `new` made weights, bias and all tables for them,
            // and no column lies outside the input.
            return unsafe { launch_each(stream, "conv_direct", out.len(), &all) };
        }
        for group in &self.groups {
            let part = kernels::Conv {
                weights: self.weights.part(group.stored.clone()).address(),
                taps: self.taps.part(3 * group.columns.start..3 * group.columns.end).address(),
                filters: int(group.filters.len()),
                first_filter: int(group.filters.start),
                columns: int(group.columns.len()),
                ..all
            };
            if self.by_library(group) {
                self.multiply(stream, group, &part, tensors)?;
                // What the output held has been added already.
                let part = kernels::Conv { residual: if residual.is_some() { all.residual } else { 0 }, ..part };
                let sums = self.images * group.filters.len() * g.output_len();
                // SAFETY: as above; the sums have been written by the products before.
                unsafe { launch_each(stream, "finish", sums, &part) }?;
            } else {
                let (height, kernel) = tile(group.filters.len());
                let positions = (self.images * g.output_len()).div_ceil(TILE_POSITIONS);
                let grid = [positions, group.filters.len().div_ceil(8 * height)];
                // SAFETY: as above.
                unsafe { launch(stream, kernel, grid, [32, 8], &part) }?;
            }
        }
        Ok(())
    }

    /// Writes a group's sums to the output, or adds them to what it holds.
    fn multiply(
        &self,
        stream: &mut dyn Stream,
        group: &Prepared,
        part: &kernels::Conv,
        Tensors { x, residual, out, scratch }: Tensors<'_>,
    ) -> Result<()> {
        let (positions, columns, filters) = (self.geometry.output_len(), group.columns.len(), group.filters.len());
        let (image_len, out_len) = (self.geometry.channels * self.geometry.input_len(), self.filters * positions);
        let at_once = if group.in_place.is_some() { self.images } else { self.images_at_once(group) };
        let (layout, [leading, between]) = (self.layout, self.lowered_distances(group));
        for first in (0..self.images).step_by(at_once) {
            let images = at_once.min(self.images - first);
            let x = x.part(first * image_len..(first + images) * image_len);
            let (lowered, between) = match group.in_place {
                Some(start) => (x.part(start..x.len()), image_len),
                None => {
                    let lowered = scratch.part(0..layout.numbers(images * between));
                    let part = kernels::Conv {
                        x: x.address(),
                        images: int(images),
                        leading: int(leading),
                        between: int(between),
                        ..*part
                    };
                    let kernel = if layout.halves { "lower_half" } else { "lower" };
                    // SAFETY: the image is as long as its sizes say, and `lowered` has room for this many columns of this many images at
                    // these distances.
                    unsafe { launch_each(stream, kernel, images * columns * positions, &part) }?;
                    (lowered, between)
                }
            };
            let sums = out.part(first * out_len + group.filters.start * positions..(first + images) * out_len);
            let weights = matrix(self.weights.part(group.stored.clone()), layout.leading(filters), 0);
            let add = self.accumulate && residual.is_none();
            // Column by column, a lowered image is positions x columns, and the weights are filters x columns.
            let gemm = if positions == 1 {
                // Images of one position are columns of one matrix.
                Gemm {
                    m: filters,
                    n: images,
                    k: columns,
                    factors: [weights, matrix(lowered, between, 0)],
                    out: matrix(sums, self.filters, 0),
                    add,
                    batch: 1,
                    precision: self.precision,
                }
            } else {
                Gemm {
                    m: positions,
                    n: filters,
                    k: columns,
                    factors: [matrix(lowered, leading, between), Matrix { transposed: true, ..weights }],
                    out: matrix(sums, positions, out_len),
                    add,
                    batch: images,
                    precision: self.precision,
                }
            };
            stream.gemm(&gemm)?;
        }
        Ok(())
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

/// Where a column begins, and what is added to row and column of an output position: see `kernels.cu`.
fn tap(g: &Geometry, column: Column) -> [i32; 3] {
    let shift = |axis: usize, tap: usize| {
        let shift = int(tap * g.dilations[axis]) - int(g.pad_before[axis]);
        if g.transposed { -shift } else { shift }
    };
    [int(column.channel * g.input_len()), shift(0, column.kh), shift(1, column.kw)]
}

/// Where the lowered matrix lies in an image as it is: the columns are whole planes that follow each other, or there is one position
/// and they are single numbers that do.
fn side_by_side(g: &Geometry, group: &Group) -> Option<usize> {
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

/// By groups' sizes and the positions of all images.
fn choose(groups: &[Group], images: usize, positions: usize, precision: Precision) -> Method {
    let filters = groups.iter().map(|g| g.filters).max().unwrap_or(0);
    let columns = groups.iter().map(|g| g.columns.len()).max().unwrap_or(0);
    // With room for columns of halves, which begin at multiples.
    let countable = fits("", columns.saturating_mul(positions + ALIGNED_HALVES)).is_ok();
    let small = filters.min(columns) < LIBRARY_FROM && images * positions >= TILE_POSITIONS && precision == Precision::Fp32;
    if filters < TILE_FROM {
        Method::Direct
    } else if small || !countable {
        Method::Tile
    } else {
        Method::Library
    }
}

/// The smallest tile that holds so many filters, or the largest there is.
fn tile(filters: usize) -> (usize, &'static str) {
    TILES.into_iter().find(|(height, _)| filters <= 8 * height).unwrap_or(TILES[TILES.len() - 1])
}

/// Weights from panels to `[columns][filters]` of each group, which cuBLAS and our kernels read alike.
fn unpack(groups: &[Prepared], weights: &[f32], layout: Layout, device: &dyn Device, stream: &mut dyn Stream) -> Result<Buffer> {
    let panels = upload(device, stream, weights)?;
    let unpacked = device.allocate(groups.last().map_or(0, |group| group.stored.end))?;
    let kernel = if layout.halves { "unpack_half" } else { "unpack" };
    for group in groups {
        let arguments = kernels::Unpack {
            panels: panels.part(group.weights.clone()).address(),
            out: unpacked.part(group.stored.clone()).address(),
            filters: int(group.filters.len()),
            columns: int(group.columns.len()),
            leading: int(layout.leading(group.filters.len())),
        };
        // SAFETY: the panels have been written, and there is room for as many columns at this distance.
        unsafe { launch_each(stream, kernel, group.weights.len(), &arguments) }?;
    }
    stream.wait()?; // before the panels are freed
    Ok(unpacked)
}
