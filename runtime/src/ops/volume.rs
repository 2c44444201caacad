//! Convolutions over volumes: those over planes, of volumes seen as planes. What for and how: `sslm_kernels::volume`.

use super::conv::{groups, sizes};
use super::window::{describe, geometry, padding};
use crate::error::{Error, Result};
use crate::planning::{Emit, Lower, Lowering, Operand};
use crate::report::LayerSizes;
use sslm_format::{Blob, Depth, Value, VolumeConv};
use sslm_kernels::Activation;
use sslm_kernels::conv::{Column, ConvTask, Geometry};
use sslm_kernels::volume::{StackTask, UnstackTask, VolumeBorders};

impl Lower for VolumeConv {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let axes = Axes::new(self, at);
        let place = if axes.only_depth() { over_depth(self, &axes, at) } else { over_stacks(self, &axes, at)? };
        at.builder.define(at.output, place);
        Ok(())
    }

    fn applies(&self, _: Activation) -> bool {
        true
    }

    fn adds_to_sum(&self) -> bool {
        true
    }

    fn sizes(&self, output: &Value, blobs: &[Blob]) -> LayerSizes {
        let Depth { kernel, stride, dilation, before, after } = self.depth;
        let mut window = format!("{kernel}x{}", describe(&self.plane(), self.conv.group));
        if [stride, dilation, before, after] != [1, 1, 0, 0] {
            window += &format!(", of depth stride {stride} dilation {dilation} pad {before},{after}");
        }
        LayerSizes { window: Some(window), ..sizes(&self.conv, output, blobs) }
    }
}

/// The sizes of a window and of what it slides over, as two windows over planes.
struct Axes {
    /// Depth, as rows.
    depth: Geometry,
    /// Height and width.
    plane: Geometry,
    /// Zeros behind each plane.
    after: [usize; 2],
}

impl Axes {
    fn new(op: &VolumeConv, at: &Lowering<'_, '_>) -> Self {
        let (input, output) = (at.shape(at.x()), at.shape(at.output));
        let (Depth { kernel, stride, dilation, before, .. }, window) = (op.depth.clone(), op.plane());
        let (plane, [_, _, bottom, right]) = (geometry(at, &window), padding(at, &window));
        let depth = Geometry {
            input: [input[2], 1],
            output: [output[2], 1],
            kernel: [kernel as usize, 1],
            strides: [stride as usize, 1],
            dilations: [dilation as usize, 1],
            pad_before: [before as usize, 0],
            ..plane
        };
        Axes { depth, plane, after: [bottom, right] }
    }

    /// Whether each position of a plane is on its own.
    fn only_depth(&self) -> bool {
        let Geometry { kernel, strides, pad_before, .. } = self.plane;
        [kernel, strides] == [[1; 2]; 2] && [pad_before, self.after] == [[0; 2]; 2]
    }
}

/// A convolution over depth alone: slices are the rows of planes.
fn over_depth(op: &VolumeConv, axes: &Axes, at: &mut Lowering<'_, '_>) -> Operand {
    let [input, output] = [axes.plane.input, axes.plane.output].map(|[height, width]| height * width);
    let geometry = Geometry { input: [axes.depth.input[0], input], output: [axes.depth.output[0], output], ..axes.depth.clone() };
    let task = ConvTask {
        images: at.shape(at.x())[0],
        geometry,
        groups: groups(&op.conv, at),
        taps: op.conv.taps.map(|taps| at.builder.model.blob(taps)),
        activation: at.activation,
        accumulate: at.residual.is_some(),
    };
    let x = at.builder.place_of(at.x());
    convolve(op, task, x, at)
}

/// A convolution over stacks of slices.
fn over_stacks(op: &VolumeConv, axes: &Axes, at: &mut Lowering<'_, '_>) -> Result<Operand> {
    let stacks = Stacks::new(axes)?;
    let (images, taps) = (at.shape(at.x())[0], op.conv.taps.map(|taps| at.builder.model.blob(taps)));
    let mut x = at.builder.place_of(at.x());
    if stacks.differ_from_volumes() {
        let task = stacks.task.clone();
        let len = images * axes.plane.channels * task.phases * task.rows * task.columns;
        x = at.emit(task, vec![x], len);
    }
    let mut groups = groups(&op.conv, at);
    groups.iter_mut().flat_map(|group| &mut group.columns).for_each(|column| *column = stacks.column(axes, column));
    // What the convolution itself yields is the output, unless there are rows between slices, or something is to be added.
    let [depth, [height, width]] = [axes.depth.output, axes.plane.output];
    let is_last = stacks.pitch == height && taps.is_none();
    let task = ConvTask {
        images,
        geometry: stacks.convolution.clone(),
        groups,
        taps: None,
        activation: if is_last { at.activation } else { Activation::None },
        accumulate: is_last && at.residual.is_some(),
    };
    let sums = convolve(op, task, x, at);
    if is_last {
        return Ok(sums);
    }
    let bytes = |taps: &[f32]| VolumeBorders::most_bytes(&axes.depth, &axes.plane, taps.len());
    at.builder.list(taps.map_or(0, bytes))?;
    let unstack = UnstackTask {
        output: [depth[0], height, width],
        pitch: stacks.pitch,
        rows: stacks.convolution.output[0],
        borders: taps.map(|taps| VolumeBorders::new(&axes.depth, &axes.plane, taps)),
        activation: at.activation,
        accumulate: at.residual.is_some(),
    };
    let reads = with_residual(sums, unstack.accumulate, at);
    let (len, adds) = (at.builder.physical_len(at.output), unstack.accumulate);
    Ok(at.emit_with(unstack, reads, len, |step| Emit { adds, ..step }))
}

/// How the slices of volumes are stacked.
struct Stacks {
    task: StackTask,
    /// Of what is computed, rows from one slice to the next.
    pitch: usize,
    /// The convolution over stacks.
    convolution: Geometry,
}

impl Stacks {
    fn new(axes: &Axes) -> Result<Self> {
        let Axes { depth, plane, after: [bottom, _] } = axes;
        let ([height, width], [rows, columns], [top, left]) = (plane.input, plane.output, plane.pad_before);
        // Zeros above a slice are those below the one before it, too.
        let pitch = (height + top.max(*bottom)).div_ceil(plane.strides[0]).max(rows);
        let last = (depth.kernel[0] - 1) * depth.dilations[0];
        let phases = depth.strides[0].min(last + 1);
        let rows_of_slice = pitch * plane.strides[0];
        let reach = [0, 1].map(|axis| (plane.kernel[axis] - 1) * plane.dilations[axis] + 1);
        let further = last / depth.strides[0] * rows_of_slice;
        let positions = (depth.output[0] - 1) * pitch + rows;
        let task = StackTask {
            input: [depth.input[0], height, width],
            stride: depth.strides[0],
            phases,
            pitch: rows_of_slice,
            rows: (positions - 1) * plane.strides[0] + further + reach[0],
            columns: (columns - 1) * plane.strides[1] + reach[1],
            before: [depth.pad_before[0], top, left],
        };
        let [volume, result] = [depth.input[0] * height * width, depth.output[0] * rows * columns];
        let stacked = task.rows.saturating_mul(task.columns).saturating_mul(phases);
        let most = MOST_POSITIONS.max((volume + result).saturating_mul(MOST_TIMES));
        if stacked > most {
            return Err(Error::input("positions of volumes with their padding", format!("at most {most}"), stacked));
        }
        let convolution = Geometry {
            channels: plane.channels * phases,
            input: [task.rows, task.columns],
            output: [positions, columns],
            kernel: [further + reach[0], plane.kernel[1]],
            strides: plane.strides,
            dilations: [1, plane.dilations[1]],
            pad_before: [0, 0],
            transposed: false,
        };
        Ok(Stacks { task, pitch, convolution })
    }

    /// Whether volumes are not stacks already.
    fn differ_from_volumes(&self) -> bool {
        let StackTask { input: [depth, height, width], stride, pitch, rows, columns, before, .. } = self.task;
        [stride, pitch, rows, columns] != [1, height, depth * height, width] || before != [0; 3]
    }

    /// What a column of the record, whose rows are those of all slices, reads in a stack.
    fn column(&self, axes: &Axes, column: &Column) -> Column {
        let rows = axes.plane.kernel[0];
        let (slice, row) = (column.kh / rows * axes.depth.dilations[0], column.kh % rows * axes.plane.dilations[0]);
        let (phase, further) = (slice % self.task.stride, slice / self.task.stride);
        Column { channel: column.channel * self.task.phases + phase, kh: further * self.task.pitch + row, kw: column.kw }
    }
}

/// Stacks of no more positions are made, whatever a volume has.
const MOST_POSITIONS: usize = 1 << 22;

/// Stacks have at most so many times the positions of a volume and of what becomes of it: others are mostly zeros.
const MOST_TIMES: usize = 64;

/// Appends the convolution itself.
fn convolve<'m>(op: &VolumeConv, task: ConvTask<'m>, x: Operand, at: &mut Lowering<'_, 'm>) -> Operand {
    let (computed, positions) = (task.geometry.output.iter().product::<usize>(), at.builder.plane(at.output));
    let macs = task.macs() / computed * positions;
    let (len, adds) = (task.images * at.builder.physical_channels(at.output) * computed, task.accumulate);
    let (reads, parameters) = (with_residual(x, adds, at), vec![op.conv.weights, op.conv.bias]);
    at.emit_with(task, reads, len, |step| Emit { macs, parameters, adds, ..step })
}

/// What a step reads that computes from `x`, and, if it `adds`, what it adds to.
fn with_residual(x: Operand, adds: bool, at: &mut Lowering<'_, '_>) -> Vec<Operand> {
    let kept = at.kept();
    let residual = at.residual.filter(|_| adds).map(|residual| at.builder.channels_of(residual, kept));
    [x].into_iter().chain(residual).collect()
}
