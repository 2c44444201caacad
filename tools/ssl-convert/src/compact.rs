//! Exact compaction: which channels of each value, which filters and which columns of each layer are needed to compute the same
//! function, and what the others contribute.
//!
//! Two passes reach the fixed point. Forward (`forward`), every channel is found to be *live* or *constant*: a zero filter
//! does not yield zero but its bias, and that constant flows on through the layers behind it. Backward (`backward`), the
//! channels, filters and columns that some output depends on are marked; since constants are known by then, one pass in reverse
//! order sees every consequence.

use crate::graph::{Graph, Weights};
use crate::onnx::tensor::Floats;
use sslm_format::shape::{Extent, Shape};
use sslm_format::{AveragePool, Binary, Compaction, Fill, Kept, Lrn, Op, Padding, ReduceMean, ValueId, Window};
use std::ops::Range;

/// What is known of each channel of a value: `Some(x)` if it equals x at every position, `None` if it is live. Absent for
/// values without a fixed number of channels on an axis 1, which are always stored whole.
type Channels = Option<Vec<Option<f32>>>;

/// Removes from `g` whatever its outputs do not depend on.
pub fn compact(g: &mut Graph) {
    let channels = forward(g);
    let needed = backward(g, &channels);
    store(g, channels, &needed);
}

/// Finds constant channels, and moves what they contribute into biases and taps.
fn forward(g: &mut Graph) -> Vec<Channels> {
    let unknown = |shape: &Shape| -> Channels {
        let channels = shape.get(1).copied().flatten()?;
        Some(vec![None; channels])
    };
    let mut channels: Vec<Channels> = g.shapes.iter().map(unknown).collect();
    // A Gemm on other than two axes works on the last one, whatever axis 1 is: its operands are stored whole.
    for node in g.graph.nodes.iter().filter(|n| matches!(n.op, Op::Gemm(_)) && g.shape(n.output).len() != 2) {
        channels[node.inputs[0].index()] = None;
        channels[node.output.index()] = None;
    }
    for i in 0..g.graph.nodes.len() {
        let inputs = g.graph.nodes[i].inputs.clone();
        let output = g.graph.nodes[i].output;
        let x = inputs.first().and_then(|v| channels[v.index()].clone());
        let found: Channels = match (&g.graph.nodes[i].op, &mut g.weights[i]) {
            (op @ (Op::Conv(_) | Op::ConvTranspose(_)), Weights::Matrix { matrix, bias, taps }) => {
                let Some(plan) = ConvColumns::new(op) else { continue };
                let rows = (0..matrix.rows)
                    .map(|row| absorb_constants(&plan, &|c| matrix.at(row, c), row, x.as_deref(), &mut bias[row]));
                let rows: Vec<Absorbed> = rows.collect();
                if rows.iter().any(|r| r.taps.iter().any(|&t| t != 0.0)) {
                    *taps = rows.iter().flat_map(|r| r.taps.iter().copied()).collect();
                }
                Some(rows.iter().zip(bias).map(|(r, b)| r.constant.then_some(*b)).collect())
            }
            (Op::Gemm(_), Weights::Matrix { matrix, bias, .. }) if g.shapes[output.index()].len() == 2 => {
                let constant = |row: usize| {
                    let (mut live, mut sum) = (false, f64::from(bias[row]));
                    for column in 0..matrix.columns {
                        let w = matrix.at(row, column);
                        if w != 0.0 {
                            match x.as_ref().and_then(|x| x[column]) {
                                Some(value) => sum += f64::from(w) * f64::from(value),
                                None => live = true,
                            }
                        }
                    }
                    (sum as f32, live)
                };
                let rows: Vec<(f32, bool)> = (0..matrix.rows).map(constant).collect();
                rows.iter().zip(bias.iter_mut()).for_each(|((sum, _), b)| *b = *sum);
                Some(rows.into_iter().map(|(sum, live)| (!live).then_some(sum)).collect())
            }
            (Op::BatchNorm(_), Weights::ScaleShift { scale, shift }) => x.map(|x| {
                let of = |(x, (scale, shift)): (&Option<f32>, (&f32, &f32))| match x {
                    _ if *scale == 0.0 => Some(*shift),
                    Some(value) => Some(scale * value + shift),
                    None => None,
                };
                x.iter().zip(scale.iter().zip(shift.iter())).map(of).collect()
            }),
            (Op::Activation(function), _) => x.map(|x| x.into_iter().map(|c| c.map(|v| function.apply(v))).collect()),
            (Op::MaxPool(_) | Op::GlobalAveragePool | Op::GlobalMaxPool | Op::Resize(_), _) => x,
            (Op::InstanceNorm(_), Weights::ScaleShift { scale, shift }) => x.map(|x| {
                let of = |(x, (scale, shift)): (&Option<f32>, (&f32, &f32))| (x.is_some() || *scale == 0.0).then_some(*shift);
                x.iter().zip(scale.iter().zip(shift.iter())).map(of).collect()
            }),
            (Op::Constant(_), Weights::Tensor(data)) => uniform_channels(data, &g.shapes[output.index()]),
            (Op::ReduceMean(reduce), _) if within_channels(reduce) => x,
            (Op::Transpose(t), _) if t.axes.starts_with(&[0, 1]) => x,
            (Op::Slice(_) | Op::Gather(_), _) => match channel_map(&g.graph.nodes[i].op, g.shape(inputs[0])) {
                Some(map) => x.map(|x| map.into_iter().map(|c| x[c]).collect()),
                None => x,
            },
            (Op::Pad(pad), _) if pad.amounts.iter().take(2).all(|a| *a == [0, 0]) => {
                let surrounded = |v: &f32| !matches!(pad.fill, Fill::Constant { value } if value != *v);
                x.map(|x| x.into_iter().map(|c| c.filter(surrounded)).collect())
            }
            // A mean that counts padding is smaller at the border, unless it is of zeros.
            (Op::AveragePool(pool), _) => {
                let uniform = !counts_padding(pool);
                x.map(|x| x.into_iter().map(|c| c.filter(|&v| uniform || v == 0.0)).collect())
            }
            (Op::Lrn(lrn), _) => x.map(|x| (0..x.len()).map(|c| lrn_of(lrn, &x, c)).collect()),
            (Op::Flatten(_) | Op::Reshape(_), _) => match (x, flattens(g.shape(inputs[0]), g.shape(output))) {
                (Some(x), Some(plane)) => Some(x.into_iter().flat_map(|c| std::iter::repeat_n(c, plane)).collect()),
                _ => None,
            },
            (Op::Concat(concat), _) => {
                let parts: Option<Vec<&Vec<Option<f32>>>> = inputs.iter().map(|v| channels[v.index()].as_ref()).collect();
                parts.and_then(|parts| match concat.axis {
                    1 => Some(parts.into_iter().flatten().copied().collect()),
                    _ => {
                        let agreed = |c: usize| parts[0][c].filter(|v| parts.iter().all(|p| p[c] == Some(*v)));
                        parts.iter().all(|p| p.len() == parts[0].len()).then(|| (0..parts[0].len()).map(agreed).collect())
                    }
                })
            }
            (Op::Binary(function), _) => combined(g, *function, &channels, &inputs, output),
            _ => None,
        };
        // Where nothing is known, every channel is live; a constant must be a number that the file can hold.
        if let (Some(known), Some(found)) = (&mut channels[output.index()], found)
            && known.len() == found.len()
        {
            *known = found.into_iter().map(|c| c.filter(|v| v.is_finite())).collect();
        }
    }
    channels
}

/// Where the columns of a convolution lie.
struct ConvColumns {
    filters_per_group: usize,
    channels_per_group: usize,
    taps: usize,
    /// Whether the tap may read padding for some size of the input.
    may_leave: Vec<bool>,
}

impl ConvColumns {
    fn new(op: &Op) -> Option<Self> {
        let conv = op.conv()?;
        let [height, width] = conv.window.kernel.map(|n| n as usize);
        // A scattered tap reaches every position only if nothing is ever beside it.
        let scattered = matches!(op, Op::ConvTranspose(_));
        let may_leave = (0..height * width).map(|t| scattered || may_leave(&conv.window, t / width, t % width)).collect();
        Some(ConvColumns {
            filters_per_group: conv.filters_per_group(),
            channels_per_group: (conv.channels / conv.group) as usize,
            taps: height * width,
            may_leave,
        })
    }

    /// The logical input channel of `column` for filter `row`.
    fn channel(&self, row: usize, column: usize) -> usize {
        row / self.filters_per_group * self.channels_per_group + column / self.taps
    }
}

/// Whether tap (`kh`, `kw`) may fall outside the input, whatever the input's size.
fn may_leave(window: &Window, kh: usize, kw: usize) -> bool {
    let Padding::Explicit { top, left, bottom, right } = window.padding else { return window.kernel != [1, 1] };
    let leaves = |axis: usize, tap: usize, before: u32, after: u32| {
        let (kernel, dilation) = (window.kernel[axis] as usize, window.dilations[axis] as usize);
        tap * dilation < before as usize || (kernel - 1 - tap) * dilation < after as usize
    };
    leaves(0, kh, top, bottom) || leaves(1, kw, left, right)
}

/// A filter after the constant channels that it reads were taken into its bias and taps.
struct Absorbed {
    /// What constants add through the taps that may leave the input.
    taps: Vec<f32>,
    /// Whether the filter's output is its bias, everywhere.
    constant: bool,
}

fn absorb_constants(
    plan: &ConvColumns,
    weight: &dyn Fn(usize) -> f32,
    row: usize,
    x: Option<&[Option<f32>]>,
    bias: &mut f32,
) -> Absorbed {
    let (mut live, mut sums) = (false, vec![0f64; plan.taps]);
    for column in 0..plan.channels_per_group * plan.taps {
        let w = weight(column);
        if w != 0.0 {
            match x.and_then(|x| x[plan.channel(row, column)]) {
                Some(value) => sums[column % plan.taps] += f64::from(w) * f64::from(value),
                None => live = true,
            }
        }
    }
    let always: f64 = sums.iter().zip(&plan.may_leave).filter(|(_, leaves)| !**leaves).map(|(s, _)| s).sum();
    *bias = (f64::from(*bias) + always) as f32;
    let taps: Vec<f32> = sums.iter().zip(&plan.may_leave).map(|(&s, &leaves)| if leaves { s as f32 } else { 0.0 }).collect();
    Absorbed { constant: !live && taps.iter().all(|&t| t == 0.0), taps }
}

fn counts_padding(pool: &AveragePool) -> bool {
    let none = Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 };
    pool.count_include_pad && (pool.ceil_mode || pool.window.padding != none)
}

/// The channels that an LRN's sum at `channel` runs over.
fn lrn_window(size: u32, channel: usize, channels: usize) -> Range<usize> {
    let (size, before) = (size as usize, (size as usize - 1) / 2);
    channel.saturating_sub(before)..(channel + (size - before)).min(channels)
}

fn lrn_of(lrn: &Lrn, x: &[Option<f32>], channel: usize) -> Option<f32> {
    let own = x[channel]?;
    // Zero stays zero, whatever its neighbours are: the divisor is positive for every sane bias.
    if own == 0.0 && lrn.bias > 0.0 && lrn.alpha >= 0.0 {
        return Some(0.0);
    }
    let squares: Option<f32> = lrn_window(lrn.size, channel, x.len()).map(|c| x[c].map(|v| v * v)).sum();
    Some(own / (lrn.bias + lrn.alpha / lrn.size as f32 * squares?).powf(lrn.beta))
}

/// If a Flatten or Reshape keeps the batch and turns each channel into a run of channels: how many.
fn flattens(from: &[Extent], to: &[Extent]) -> Option<usize> {
    let image = |s: &[Extent]| s.get(1..)?.iter().copied().product::<Option<usize>>();
    // Equal images mean equal batches, known or not.
    if from.len() < 2 || to.len() < 2 || image(from)? != image(to)? {
        return None;
    }
    match from[1] == to[1] {
        true => Some(1),
        false => (to.len() == 2).then_some(from[2..].iter().copied().product::<Option<usize>>()?),
    }
}

/// The channels of a stored tensor that are one number each.
fn uniform_channels(data: &Floats, shape: &[Extent]) -> Channels {
    let extents: Vec<usize> = shape.iter().copied().collect::<Option<_>>()?;
    let (&channels, plane) = (extents.get(1)?, extents.iter().skip(2).product::<usize>());
    let mut found: Vec<Option<f32>> = (0..channels).map(|c| (data.len() > c * plane).then(|| data.at(c * plane))).collect();
    for (i, x) in data.iter().enumerate() {
        let channel = &mut found[i / plane.max(1) % channels];
        *channel = channel.filter(|v| *v == x);
    }
    Some(found)
}

/// Whether the mean is taken inside each channel.
fn within_channels(reduce: &ReduceMean) -> bool {
    reduce.axes.iter().all(|&a| a >= 2)
}

/// For a Slice or Gather of channels: the input channel of each output channel.
fn channel_map(op: &Op, x: &[Extent]) -> Option<Vec<usize>> {
    let channels = x.get(1).copied().flatten()?;
    match op {
        Op::Slice(slice) if slice.axis == 1 => Some(slice.positions(channels).collect()),
        Op::Gather(gather) if gather.axis == 1 => gather.positions(channels),
        _ => None,
    }
}

/// How an operand of a broadcast meets channel `c` of the result: by its own channel of that number, or by its only one. `None`
/// where its axes are others.
fn operand_channel(g: &Graph, operand: ValueId, output: ValueId, c: usize) -> Option<usize> {
    let (own, out) = (g.shape(operand), g.shape(output));
    match (own.get(1)?, out.get(1)?) {
        _ if own.len() != out.len() => None,
        (Some(1), _) => Some(0),
        (a, b) => (a == b).then_some(c),
    }
}

/// The channels of a function of two values.
fn combined(g: &Graph, function: Binary, channels: &[Channels], inputs: &[ValueId], output: ValueId) -> Channels {
    let count = channels[output.index()].as_ref()?.len();
    let constant = |v: ValueId, c: usize| -> Option<f32> { channels[v.index()].as_ref()?[operand_channel(g, v, output, c)?] };
    let [left, right] = function.absorbs_zero();
    let of = |c: usize| match (constant(inputs[0], c), constant(inputs[1], c)) {
        (Some(a), Some(b)) => Some(function.apply(a, b)),
        // Of finite elements.
        (Some(a), None) => (left && a == 0.0).then_some(0.0),
        (None, Some(b)) => (right && b == 0.0).then_some(0.0),
        (None, None) => None,
    };
    Some((0..count).map(of).collect())
}

/// Marks the channels of each value that some output depends on (all of a value without channels: one mark), and lists the
/// columns that each layer keeps.
fn backward(g: &mut Graph, channels: &[Channels]) -> Vec<Vec<bool>> {
    let mut needed: Vec<Vec<bool>> = channels.iter().map(|c| vec![false; c.as_ref().map_or(1, Vec::len)]).collect();
    for output in &g.graph.outputs {
        needed[output.index()].fill(true);
    }
    for i in (0..g.graph.nodes.len()).rev() {
        let (inputs, output) = (g.graph.nodes[i].inputs.clone(), g.graph.nodes[i].output);
        // What must be computed: read by somebody, and not known already.
        let wanted: Vec<bool> = match &channels[output.index()] {
            Some(c) => c.iter().zip(&needed[output.index()]).map(|(c, n)| *n && c.is_none()).collect(),
            None => vec![needed[output.index()][0]; g.shape(output).get(1).copied().flatten().unwrap_or(1)],
        };
        if !wanted.contains(&true) {
            forget_columns(&mut g.graph.nodes[i].op);
            continue;
        }
        let is_live = |v: ValueId, c: usize| channels[v.index()].as_ref().is_none_or(|x| x[c].is_none());
        let per_channel = channels[output.index()].is_some();
        let mut mark = |v: ValueId, which: &mut dyn FnMut(usize) -> bool| {
            let whole = channels[v.index()].is_none();
            needed[v.index()].iter_mut().enumerate().for_each(|(c, n)| *n |= whole || (is_live(v, c) && which(c)));
        };
        let shapes: Vec<Shape> = inputs.iter().map(|v| g.shape(*v).clone()).collect();
        let out_shape = g.shape(output).clone();
        let own_channels = |v: &ValueId| (0..wanted.len()).all(|c| operand_channel(g, *v, output, c) == Some(c));
        let same_channels: Vec<bool> = inputs.iter().map(own_channels).collect();
        let node = &mut g.graph.nodes[i];
        match (&mut node.op, &g.weights[i]) {
            (op @ (Op::Conv(_) | Op::ConvTranspose(_)), Weights::Matrix { matrix, .. }) => {
                let (Some(plan), Some(conv)) = (ConvColumns::new(op), op.conv_mut()) else { continue };
                let total = conv.columns_per_group();
                let mut read = vec![false; conv.channels as usize];
                for (group, kept) in conv.columns.iter_mut().enumerate() {
                    let filters = group * plan.filters_per_group..(group + 1) * plan.filters_per_group;
                    let rows: Vec<usize> = filters.clone().filter(|&f| wanted[f]).collect();
                    let used = |c: &usize| {
                        is_live(inputs[0], plan.channel(filters.start, *c)) && rows.iter().any(|&r| matrix.at(r, *c) != 0.0)
                    };
                    let columns: Vec<u32> = (0..total).filter(used).map(|c| c as u32).collect();
                    columns.iter().for_each(|&c| read[plan.channel(filters.start, c as usize)] = true);
                    *kept = Kept::from_list(columns, total);
                }
                mark(inputs[0], &mut |c| read[c]);
            }
            (Op::Gemm(gemm), Weights::Matrix { matrix, .. }) if per_channel && out_shape.len() == 2 => {
                let rows: Vec<usize> = (0..matrix.rows).filter(|&r| wanted[r]).collect();
                let used = |c: &usize| is_live(inputs[0], *c) && rows.iter().any(|&r| matrix.at(r, *c) != 0.0);
                let columns: Vec<u32> = (0..matrix.columns).filter(used).map(|c| c as u32).collect();
                let mut read = vec![false; matrix.columns];
                columns.iter().for_each(|&c| read[c as usize] = true);
                gemm.columns = Kept::from_list(columns, matrix.columns);
                mark(inputs[0], &mut |c| read[c]);
            }
            (Op::BatchNorm(_) | Op::InstanceNorm(_), Weights::ScaleShift { scale, .. }) if per_channel => {
                mark(inputs[0], &mut |c| wanted[c] && scale[c] != 0.0);
            }
            (
                Op::Activation(_)
                | Op::MaxPool(_)
                | Op::AveragePool(_)
                | Op::GlobalAveragePool
                | Op::GlobalMaxPool
                | Op::Resize(_),
                _,
            ) if per_channel => {
                mark(inputs[0], &mut |c| wanted[c]);
            }
            (Op::ReduceMean(reduce), _) if per_channel && within_channels(reduce) => mark(inputs[0], &mut |c| wanted[c]),
            (Op::Transpose(t), _) if per_channel && t.axes.starts_with(&[0, 1]) => mark(inputs[0], &mut |c| wanted[c]),
            (Op::Pad(pad), _) if per_channel && pad.amounts.iter().take(2).all(|a| *a == [0, 0]) => {
                mark(inputs[0], &mut |c| wanted[c])
            }
            (Op::Slice(_) | Op::Gather(_), _) if per_channel => match channel_map(&node.op, &shapes[0]) {
                Some(map) => {
                    let mut read = vec![false; shapes[0][1].unwrap_or(0)];
                    map.into_iter().zip(&wanted).for_each(|(from, wanted)| read[from] |= wanted);
                    mark(inputs[0], &mut |c| read[c]);
                }
                None if shapes[0].len() == out_shape.len() && shapes[0][1] == out_shape[1] => mark(inputs[0], &mut |c| wanted[c]),
                None => mark(inputs[0], &mut |_| true),
            },
            (Op::Lrn(lrn), _) if per_channel => {
                let total = wanted.len();
                let mut read = vec![false; total];
                (0..total).filter(|&c| wanted[c]).for_each(|c| read[lrn_window(lrn.size, c, total)].fill(true));
                mark(inputs[0], &mut |c| read[c]);
            }
            (Op::Flatten(_) | Op::Reshape(_), _) if per_channel => match flattens(&shapes[0], &out_shape) {
                Some(plane) => mark(inputs[0], &mut |c| wanted[c * plane..(c + 1) * plane].contains(&true)),
                None => mark(inputs[0], &mut |_| true),
            },
            (Op::Concat(concat), _) if per_channel => {
                let mut first = 0;
                for (&v, shape) in inputs.iter().zip(&shapes) {
                    mark(v, &mut |c| wanted[if concat.axis == 1 { first + c } else { c }]);
                    first += shape[1].unwrap_or(0);
                }
            }
            (Op::Binary(_), _) if per_channel => {
                // An operand of one channel, or of other axes, is needed whole.
                inputs.iter().zip(same_channels).for_each(|(&v, same)| mark(v, &mut |c| !same || wanted[c]));
            }
            _ => inputs.iter().for_each(|&v| mark(v, &mut |_| true)),
        }
    }
    needed
}

/// A layer that computes nothing keeps no columns.
fn forget_columns(op: &mut Op) {
    if let Op::Gemm(gemm) = op {
        gemm.columns = Kept::List(Vec::new());
    } else if let Some(conv) = op.conv_mut() {
        conv.columns.fill(Kept::List(Vec::new()));
    }
}

/// Writes the kept lists. A flattened value keeps just what its input keeps, so that flattening costs nothing.
fn store(g: &mut Graph, channels: Vec<Channels>, needed: &[Vec<bool>]) {
    let producers = g.producers();
    let mut order: Vec<usize> = (0..channels.len()).collect();
    order.sort_by_key(|&v| producers[v].map_or(0, |p| p + 1));
    for v in order {
        let Some(channels) = &channels[v] else { continue };
        let Some(producer) = producers[v] else { continue }; // inputs are given whole
        let node = &g.graph.nodes[producer];
        let plane = match node.op {
            Op::Constant(_) => continue, // stored tensors are whole
            Op::Flatten(_) | Op::Reshape(_) => flattens(g.shape(node.inputs[0]), &g.shapes[v]),
            _ => None,
        };
        let kept: Vec<u32> = match plane.map(|plane| (plane as u32, &g.graph.values[node.inputs[0].index()].compaction)) {
            Some((plane, Some(c))) => c.kept.iter().flat_map(|&c| c * plane..(c + 1) * plane).collect(),
            Some((_, None)) => continue,
            None => (0..channels.len()).filter(|&c| needed[v][c] && channels[c].is_none()).map(|c| c as u32).collect(),
        };
        if kept.len() < channels.len() {
            let mut listed = kept.iter().peekable();
            let constants = channels.iter().enumerate().filter(|(c, _)| listed.next_if(|&&k| k as usize == *c).is_none());
            let constants = constants.map(|(_, x)| x.unwrap_or(0.0)).collect();
            g.graph.values[v].compaction = Some(Compaction { logical: channels.len() as u32, kept, constants });
        }
    }
}
