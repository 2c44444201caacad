//! The rule of each operator: which channels of its inputs it wants to see, what computes it, and which channels of its
//! output that yields.
//!
//! There are three kinds. Where output channel c depends on input channel c alone, the kernel runs on just the channels that the
//! output keeps. Conv and Gemm read physical channels through their columns. Everything else sees all channels of its inputs and
//! yields all of its output's, of which the kept ones are then selected.

use crate::build::{Builder, Operand};
use crate::error::{Error, ErrorKind, Result};
use crate::fuse::Fused;
use crate::work::{Convolution, Described, Pooling, RebuiltAxis, Work};
use sslm_format::{self as format, Binary, Compaction, Coordinates, Fill, Interpolation, Node, Op, ValueId, Window, shape};
use sslm_kernels::Activation;
use sslm_kernels::axis::{From, StridedCopy};
use sslm_kernels::conv::{Column, ConvTask, Geometry, KeptGroup};
use sslm_kernels::elementwise::{Broadcast, Function, Operation};
use sslm_kernels::fully_connected;
use sslm_kernels::normalize::Lrn;
use sslm_kernels::pool::Reduce;

/// Adds the steps of a node and of what is fused into it.
pub(crate) fn add<'m>(b: &mut Builder<'m>, fused: &Fused<'_>) -> Result<()> {
    let (node, output) = (fused.node, fused.output);
    if b.compaction(output).is_some_and(|c| c.kept.is_empty()) {
        return Ok(());
    }
    let (name, op) = (node.name.as_str(), fused.op());
    let relu = fused.activation == Activation::Relu;
    let Some(&x) = node.inputs.first() else {
        return match &node.op {
            Op::Constant(constant) => {
                b.define(output, Operand::Blob(constant.data));
                Ok(())
            }
            other => Err(Error::new(ErrorKind::Input, format!("no kernel for {} without inputs", other.name()))),
        };
    };
    let kept = b.compaction(node.output).map(|c| c.kept.as_slice());
    let len = b.physical_len(node.output);
    // A kernel on the channels that the output keeps.
    let per_channel = |b: &mut Builder<'m>, work: Work<Described<'m>>| {
        let read = if b.shape(x).len() < 2 { b.place_of(x) } else { b.channels_of(x, kept) };
        let place = b.emit(name, &op, work, 0, vec![read], len);
        b.define(output, place);
    };
    // A kernel from all channels to all channels.
    let whole = |b: &mut Builder<'m>, work: Work<Described<'m>>| {
        let read = b.all_channels_of(x);
        let len = b.shape(node.output).iter().product();
        let place = b.emit(name, &op, work, 0, vec![read], len);
        b.define_from_all(output, place);
    };
    match &node.op {
        Op::Conv(conv) | Op::ConvTranspose(format::ConvTranspose { conv, .. }) => {
            let transposed = matches!(node.op, Op::ConvTranspose(_));
            let geometry = Geometry { transposed, ..geometry(b, &conv.window, x, node.output) };
            let macs = b.model.blob(conv.weights).len() * b.plane(output) * b.shape(x)[0];
            let described = Convolution {
                layer: convolution(b, conv, geometry, x, fused),
                images: b.shape(x)[0],
                macs,
                parameters: [conv.weights, conv.bias],
                node: fused.index,
            };
            let work = Work::Conv { conv: described, weights: conv.weights, bias: conv.bias };
            let mut reads = vec![b.place_of(x)];
            reads.extend(fused.residual.map(|residual| b.channels_of(residual, kept)));
            let place = b.emit(name, &op, work, macs, reads, len);
            b.define(output, place);
        }
        Op::Gemm(gemm) => {
            let features = b.compaction(x).map_or(gemm.features as usize, |c| c.kept.len());
            let columns = gemm.columns.iter(gemm.features as usize).map(|f| physical(b.compaction(x), f)).collect();
            let rows = b.compaction(node.output).map_or(gemm.rows as usize, |c| c.kept.len());
            let layer = fully_connected::GemmTask { batch: len / rows, features, rows, columns, activation: fused.activation };
            let (macs, read) = (layer.batch * rows * layer.columns.len(), b.place_of(x));
            let work = Work::FullyConnected { layer, weights: gemm.weights, bias: gemm.bias };
            let place = b.emit(name, &op, work, macs, vec![read], len);
            b.define(output, place);
        }
        Op::Activation(function) => per_channel(b, Work::Activation(self::function(function))),
        Op::MaxPool(format::MaxPool { window, .. }) => {
            let pool = pool(b, window, x, fused, Reduce::Max)?;
            per_channel(b, pool);
        }
        Op::AveragePool(format::AveragePool { window, count_include_pad, .. }) => {
            let [_, _, bottom, right] = padding(b, window, x);
            let reduce = if *count_include_pad { Reduce::MeanWithPadding { pad_after: [bottom, right] } } else { Reduce::Mean };
            let pool = pool(b, window, x, fused, reduce)?;
            per_channel(b, pool);
        }
        Op::GlobalAveragePool => {
            let plane = b.plane(x);
            per_channel(b, Work::GlobalAverage { plane });
        }
        Op::GlobalMaxPool => {
            let plane = b.plane(x);
            per_channel(b, Work::GlobalMax { plane });
        }
        Op::BatchNorm(format::BatchNorm { scale, shift }) => {
            expect_per_channel(b, *scale, node.output)?;
            let plane = b.plane(x);
            per_channel(b, Work::ScaleShift { plane, scale: *scale, shift: *shift });
        }
        Op::InstanceNorm(format::InstanceNorm { scale, shift, epsilon }) => {
            expect_per_channel(b, *scale, node.output)?;
            let plane = b.plane(x);
            per_channel(b, Work::InstanceNorm { plane, scale: *scale, shift: *shift, epsilon: *epsilon });
        }
        Op::Lrn(lrn) => {
            let (channels, plane) = (b.shape(x)[1], b.plane(x));
            let format::Lrn { size, alpha, beta, bias } = *lrn;
            whole(b, Work::Lrn(Lrn { channels, plane, size: size as usize, alpha, beta, bias }));
        }
        Op::Softmax(softmax) => {
            let (start, end) = (softmax.start as usize, softmax.end as usize);
            let shape = b.shape(x);
            let (axis, inner) = (shape[start..end].iter().product(), shape[end..].iter().product());
            whole(b, Work::Softmax { axis, inner });
        }
        Op::ArgMax(arg) => {
            let (extent, inner) = along(b.shape(x), arg.axis);
            whole(b, Work::ArgMax { extent, inner, last: arg.last });
        }
        Op::Flatten(_) | Op::Reshape(_) => reshape(b, x, output),
        Op::Concat(concat) => self::concat(b, name, node, concat.axis as usize),
        Op::Binary(binary) => self::binary(b, node, binary, &op, output, relu),
        Op::Transpose(transpose) => {
            let axes: Vec<usize> = transpose.axes.iter().map(|&a| a as usize).collect();
            // Where batch and channels stay in place, only what is kept moves.
            let stays = axes.len() >= 2 && axes[..2] == [0, 1];
            let mut from = b.shape(x).to_vec();
            if let (true, Some(kept)) = (stays, kept) {
                from[1] = kept.len();
            }
            let strides = row_major_strides(&from);
            let shape: Vec<usize> = axes.iter().map(|&a| from[a]).collect();
            let strides: Vec<usize> = axes.iter().map(|&a| strides[a]).collect();
            let work = Work::StridedCopy(StridedCopy::new(&shape, &strides));
            if stays { per_channel(b, work) } else { whole(b, work) }
        }
        Op::Expand(_) => {
            let (from, shape) = (b.shape(x).to_vec(), b.shape(node.output).to_vec());
            let missing = shape.len() - from.len();
            let own = row_major_strides(&from);
            let stride = |axis: usize| if axis < missing || from[axis - missing] == 1 { 0 } else { own[axis - missing] };
            let strides: Vec<usize> = (0..shape.len()).map(stride).collect();
            whole(b, Work::StridedCopy(StridedCopy::new(&shape, &strides)));
        }
        Op::Slice(format::Slice { axis, .. }) | Op::Gather(format::Gather { axis, .. }) => {
            let extent = b.shape(x)[*axis as usize];
            positions(b.shape(node.output)[*axis as usize])?;
            let taken: Vec<usize> = match &node.op {
                Op::Slice(slice) => slice.positions(extent).collect(),
                Op::Gather(gather) => {
                    gather.positions(extent).ok_or_else(|| Error::input("indices", format!("below {extent}"), "others"))?
                }
                _ => Vec::new(),
            };
            if *axis == 1 {
                // Channels are taken from what is kept, and constants from what is known.
                let all: Vec<u32> = (0..taken.len() as u32).collect();
                let place = b.select(name, &op, x, kept.unwrap_or(&all).iter().map(|&c| taken[c as usize]));
                b.define(output, place);
            } else {
                remap(b, node, output, vec![(*axis as usize, taken.into_iter().map(From::Position).collect())])?;
            }
        }
        Op::Pad(pad) => {
            let axes = (0..pad.amounts.len()).filter(|&axis| pad.amounts[axis] != [0, 0]);
            let map = |axis: usize| {
                positions(b.shape(node.output)[axis])?;
                Ok((axis, padded(b.shape(x)[axis], pad.amounts[axis], &pad.fill)))
            };
            let maps = axes.map(map).collect::<Result<_>>()?;
            remap(b, node, output, maps)?;
        }
        Op::Resize(resize) => {
            let scaled = |axis: usize| {
                let (old, new) = (b.shape(x)[2 + axis], b.shape(node.output)[2 + axis]);
                let scale = match &resize.target {
                    format::Target::Scales { factors } => f64::from(factors[axis]),
                    format::Target::Sizes { .. } => new as f64 / old as f64,
                };
                Ok((2 + axis, resized(old, positions(new)?, scale, &resize.coordinates, &resize.interpolation)))
            };
            let maps: Vec<_> = (0..2).map(scaled).collect::<Result<_>>()?;
            remap(
                b,
                node,
                output,
                maps.into_iter().filter(|(axis, sources)| !is_identity(sources, b.shape(x)[*axis])).collect(),
            )?;
        }
        Op::ReduceMean(reduce) => reduce_mean(b, node, output, &reduce.axes),
        other => return Err(Error::new(ErrorKind::Input, format!("no kernel for {}", other.name()))),
    }
    Ok(())
}

/// The physical number of logical channel `channel`, which validation found to be kept.
fn physical(compaction: Option<&Compaction>, channel: usize) -> usize {
    compaction.map_or(channel, |c| c.kept.partition_point(|&k| (k as usize) < channel))
}

fn expect_per_channel(b: &Builder<'_>, blob: format::BlobId, output: ValueId) -> Result<()> {
    let (expected, found) = (b.physical_channels(output), b.model.graph().blobs[blob.index()].len as usize);
    if expected == found { Ok(()) } else { Err(Error::input("numbers of scale", expected, found)) }
}

fn padding(b: &Builder<'_>, window: &Window, x: ValueId) -> [usize; 4] {
    shape::resolve_padding(window, b.shape(x)[2], b.shape(x)[3])
}

fn geometry(b: &Builder<'_>, window: &Window, x: ValueId, output: ValueId) -> Geometry {
    let [top, left, ..] = padding(b, window, x);
    let (input, output) = (b.shape(x), b.shape(output));
    Geometry {
        channels: b.physical_channels(x),
        input: [input[2], input[3]],
        output: [output[2], output[3]],
        kernel: window.kernel.map(|n| n as usize),
        strides: window.strides.map(|n| n as usize),
        dilations: window.dilations.map(|n| n as usize),
        pad_before: [top, left],
        transposed: false,
    }
}

fn pool<'m>(b: &Builder<'m>, window: &Window, x: ValueId, fused: &Fused<'_>, reduce: Reduce) -> Result<Work<Described<'m>>> {
    let geometry = geometry(b, window, x, fused.output);
    if !geometry.every_window_sees_input() {
        let found = format!("dilated windows that lie wholly in the padding of a {:?} input", geometry.input);
        return Err(Error::input("window", "at least one position of the input in every window", found));
    }
    Ok(Work::Pool(Pooling { geometry, reduce, activation: fused.activation }))
}

fn convolution<'m>(b: &Builder<'m>, conv: &format::Conv, geometry: Geometry, x: ValueId, fused: &Fused<'_>) -> ConvTask<'m> {
    let [kernel_height, kernel_width] = conv.window.kernel.map(|n| n as usize);
    let taps = kernel_height * kernel_width;
    let (columns, channels) = (conv.columns_per_group(), (conv.channels / conv.group) as usize);
    let filters = conv.kept_filters(&b.model.graph().values[fused.node.output.index()]);
    let group = |(g, (kept, filters)): (usize, (&format::Kept, usize))| KeptGroup {
        filters,
        // A group without filters stores no weights, so nothing in the file bounds the columns that it lists as kept.
        columns: kept
            .iter(if filters == 0 { 0 } else { columns })
            .map(|c| Column {
                channel: physical(b.compaction(x), g * channels + c / taps),
                kh: c % taps / kernel_width,
                kw: c % kernel_width,
            })
            .collect(),
    };
    let groups = conv.columns.iter().zip(filters).enumerate().map(group).collect();
    let taps = conv.taps.map(|t| b.model.blob(t));
    let (activation, accumulate) = (fused.activation, fused.residual.is_some());
    ConvTask { geometry, groups, taps, activation, accumulate }
}

/// Flatten and Reshape copy nothing where the removed channels fall out of the result in the same way.
fn reshape(b: &mut Builder<'_>, x: ValueId, output: ValueId) {
    let (from, to) = (b.shape(x), b.shape(output));
    let same_channels = from.len() >= 2 && to.len() >= 2 && from[..2] == to[..2];
    let flattened = from.len() >= 2 && to.len() == 2 && from[0] == to[0];
    let run = if same_channels { 1 } else { b.plane(x) };
    let same_content = match (b.compaction(x), b.compaction(output)) {
        (None, None) => true,
        (Some(before), Some(after)) if same_channels || flattened => {
            let expected = before.kept.iter().flat_map(|&c| c as usize * run..(c as usize + 1) * run);
            after.kept.len() == before.kept.len() * run && expected.eq(after.kept.iter().map(|&c| c as usize))
        }
        _ => false,
    };
    if same_content {
        let place = b.place_of(x);
        b.define(output, place);
    } else {
        let place = b.all_channels_of(x);
        b.define_from_all(output, place);
    }
}

fn concat(b: &mut Builder<'_>, name: &str, node: &Node, axis: usize) {
    let kept = b.compaction(node.output).map(|c| c.kept.as_slice());
    let (mut reads, mut lens, mut first) = (Vec::new(), Vec::new(), 0);
    for &x in &node.inputs {
        let extent = b.shape(x)[axis];
        let wanted: Option<Vec<u32>> = match kept {
            Some(kept) if axis == 1 => {
                let below = |limit: usize| kept.partition_point(|&c| (c as usize) < limit);
                Some(kept[below(first)..below(first + extent)].iter().map(|&c| c - first as u32).collect())
            }
            Some(kept) => Some(kept.to_vec()),
            None => None,
        };
        // An input that keeps all of its channels does not say so by a list.
        let wanted = wanted.filter(|w| w.len() < b.shape(x)[1]);
        let mut physical = b.shape(x).to_vec();
        if let Some(wanted) = &wanted {
            physical[1] = wanted.len();
        }
        lens.push(physical[axis..].iter().product());
        reads.push(b.channels_of(x, wanted.as_deref()));
        first += extent;
    }
    let len = b.physical_len(node.output);
    let place = b.emit(name, node.op.name(), Work::Concat { lens }, 0, reads, len);
    b.define(node.output, place);
}

/// The kernels' name of a function.
pub(crate) fn function(activation: &format::Activation) -> Function {
    match *activation {
        format::Activation::Relu => Function::Activation(Activation::Relu),
        format::Activation::LeakyRelu { alpha } => Function::Activation(Activation::LeakyRelu { alpha }),
        format::Activation::Clip { low, high } => Function::Activation(Activation::Clip { low, high }),
        format::Activation::Sigmoid => Function::Sigmoid,
        format::Activation::Tanh => Function::Tanh,
        format::Activation::HardSigmoid { alpha, beta } => Function::HardSigmoid { alpha, beta },
        format::Activation::HardSwish => Function::HardSwish,
        format::Activation::Elu { alpha } => Function::Elu { alpha },
        format::Activation::Mish => Function::Mish,
        format::Activation::Sqrt => Function::Sqrt,
    }
}

/// The kernels' name of an operation.
fn operation(binary: &Binary) -> Operation {
    match binary {
        Binary::Add => Operation::Add,
        Binary::Sub => Operation::Sub,
        Binary::Mul => Operation::Mul,
        Binary::Div => Operation::Div,
        Binary::Pow => Operation::Pow,
        Binary::PRelu => Operation::PRelu,
    }
}

/// Each operand has the output's channels, or one for all of them.
fn binary(b: &mut Builder<'_>, node: &Node, binary: &Binary, op: &str, output: ValueId, relu: bool) {
    let kept = b.compaction(node.output).map(|c| c.kept.as_slice());
    let shape = b.shape(node.output).to_vec();
    let aligned = |b: &Builder<'_>, v: ValueId| {
        let own = b.shape(v);
        own.len() == shape.len() && own.len() >= 2 && (own[1] == shape[1] || own[1] == 1)
    };
    let per_channel = node.inputs.iter().all(|&v| aligned(b, v));
    let (mut reads, mut shapes) = (Vec::new(), Vec::new());
    for &v in &node.inputs {
        let mut own = b.shape(v).to_vec();
        let wanted = if per_channel && own[1] == shape[1] { kept } else { None };
        if let Some(wanted) = wanted {
            own[1] = wanted.len();
        }
        reads.push(b.channels_of(v, wanted));
        shapes.push(own);
    }
    let work = Work::Binary { operation: operation(binary), broadcast: Broadcast::new(&shapes[0], &shapes[1]), relu };
    // One channel for all of them on both sides means that the output has one channel.
    if per_channel {
        let len = b.physical_len(node.output);
        let place = b.emit(&node.name, op, work, 0, reads, len);
        b.define(output, place);
    } else {
        let place = b.emit(&node.name, op, work, 0, reads, shape.iter().product());
        b.define_from_all(output, place);
    }
}

/// Extent of an axis, and how many elements lie between its positions.
fn along(shape: &[usize], axis: u32) -> (usize, usize) {
    (shape[axis as usize], shape[axis as usize + 1..].iter().product())
}

fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// The one input of `node`, of `shape`: with just the channels that the output keeps if it works channel by channel, else whole.
fn input_of(b: &mut Builder<'_>, node: &Node, per_channel: bool, shape: &mut [usize]) -> Operand {
    match b.compaction(node.output).map(|c| c.kept.as_slice()) {
        Some(kept) if per_channel => {
            shape[1] = kept.len();
            b.channels_of(node.inputs[0], Some(kept))
        }
        _ => b.all_channels_of(node.inputs[0]),
    }
}

/// Steps that rebuild axes one after the other. Where axes 0 and 1 are not among them, only kept channels are.
fn remap(b: &mut Builder<'_>, node: &Node, output: ValueId, maps: Vec<(usize, Vec<From>)>) -> Result<()> {
    let x = node.inputs[0];
    let mut shape = b.shape(x).to_vec();
    let per_channel = shape.len() >= 2 && maps.iter().all(|(axis, _)| *axis >= 2);
    let mut place = input_of(b, node, per_channel, &mut shape);
    for (axis, sources) in maps {
        let (extent, inner) = along(&shape, axis as u32);
        shape[axis] = sources.len();
        // Between two axes' turns a tensor stands that is no value of the graph, so its size was not checked with theirs.
        let len = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e)).filter(|&n| n <= shape::MAX_ELEMENTS);
        let len = len.ok_or_else(|| Error::input("elements", format!("at most {}", shape::MAX_ELEMENTS), "more"))?;
        place = b.emit(&node.name, node.op.name(), Work::Remap(RebuiltAxis { extent, inner, sources }), 0, vec![place], len);
    }
    if per_channel {
        b.define(output, place)
    } else {
        b.define_from_all(output, place)
    }
    Ok(())
}

/// As many positions as an axis may have that is rebuilt one by one: lists of them must not outweigh the numbers by far.
fn positions(count: usize) -> Result<usize> {
    const MOST: usize = 1 << 24;
    if count <= MOST { Ok(count) } else { Err(Error::input("positions of an axis", format!("at most {MOST}"), count)) }
}

/// The positions of a padded axis.
fn padded(extent: usize, [before, after]: [u32; 2], fill: &Fill) -> Vec<From> {
    let (before, after) = (before as i64, after as i64);
    let last = extent as i64 - 1;
    let source = |i: i64| match fill {
        _ if (0..=last).contains(&i) => From::Position(i as usize),
        Fill::Constant { value } => From::Constant(*value),
        Fill::Edge => From::Position(i.clamp(0, last) as usize),
        // The shape rules keep the mirror image within one reflection.
        Fill::Reflect => From::Position((if i < 0 { -i } else { 2 * last - i }) as usize),
    };
    (-before..extent as i64 + after).map(source).collect()
}

/// The positions of a resized axis.
fn resized(old: usize, new: usize, scale: f64, coordinates: &Coordinates, interpolation: &Interpolation) -> Vec<From> {
    let last = old - 1;
    let at = |i: usize| match coordinates {
        Coordinates::HalfPixel => (i as f64 + 0.5) / scale - 0.5,
        Coordinates::PytorchHalfPixel => {
            if new > 1 {
                (i as f64 + 0.5) / scale - 0.5
            } else {
                0.0
            }
        }
        Coordinates::Asymmetric => i as f64 / scale,
        Coordinates::AlignCorners => {
            if new > 1 {
                i as f64 * last as f64 / (new - 1) as f64
            } else {
                0.0
            }
        }
    };
    let nearest = |position: f64| From::Position(position.clamp(0.0, last as f64) as usize);
    let source = |i: usize| {
        let position = at(i);
        match interpolation {
            Interpolation::Linear => {
                let position = position.clamp(0.0, last as f64);
                let first = position.floor();
                let share = (position - first) as f32;
                // Nothing of a neighbour is nothing, even if the neighbour is infinite.
                if share == 0.0 {
                    From::Position(first as usize)
                } else {
                    From::Between(first as usize, first as usize + 1, share)
                }
            }
            Interpolation::NearestPreferFloor => nearest((position - 0.5).ceil()),
            Interpolation::NearestPreferCeil => nearest((position + 0.5).floor()),
            Interpolation::Floor => nearest(position.floor()),
            Interpolation::Ceil => nearest(position.ceil()),
        }
    };
    (0..new).map(source).collect()
}

fn is_identity(sources: &[From], extent: usize) -> bool {
    let own = |(i, from): (usize, &From)| match *from {
        From::Position(p) => p == i,
        From::Between(..) | From::Constant(_) => false,
    };
    sources.len() == extent && sources.iter().enumerate().all(own)
}

/// One step for each stretch of neighbouring axes, last stretch first.
fn reduce_mean(b: &mut Builder<'_>, node: &Node, output: ValueId, axes: &[u32]) {
    let x = node.inputs[0];
    let mut shape = b.shape(x).to_vec();
    let per_channel = shape.len() >= 2 && axes.iter().all(|&a| a >= 2);
    let mut place = input_of(b, node, per_channel, &mut shape);
    let mut stretches: Vec<std::ops::Range<usize>> = Vec::new();
    for axis in axes.iter().map(|&a| a as usize) {
        match stretches.last_mut() {
            Some(stretch) if stretch.end == axis => stretch.end += 1,
            _ => stretches.push(axis..axis + 1),
        }
    }
    for stretch in stretches.into_iter().rev() {
        let (extent, inner) = (shape[stretch.clone()].iter().product(), shape[stretch.end..].iter().product());
        shape[stretch].fill(1);
        place = b.emit(&node.name, node.op.name(), Work::Mean { extent, inner }, 0, vec![place], shape.iter().product());
    }
    if per_channel { b.define(output, place) } else { b.define_from_all(output, place) }
}
