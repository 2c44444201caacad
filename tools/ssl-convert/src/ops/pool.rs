//! Pools over windows, and over all of height and width.

use super::{conv, index, shapes, volume, window};
use crate::export::exporter::{Call, Write};
use crate::export::writer::{OPSET, Writer, int};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::proto::AttributeProto;
use crate::onnx::tensor::{Data, Tensor};
use crate::operator::{Convert, without_weights};
use crate::weights::Op;
use anyhow::{Context, Result, bail, ensure};
use sslm_format::window::resolve_padding;
use sslm_format::{
    Activation, ArgMax, AveragePool, Binary, ElementType, Gather, GatherNd, GlobalAveragePool, GlobalMaxPool, MaxPool, Padding,
    Reshape, ValueId, Window,
};

/// Most elements whose places are told: float32 has all integers up to this one.
const MAX_PLACES: usize = 1 << 24;

pub(super) const IMPORTS: &[Import] = &[
    Import::moving("MaxPool", max_pool),
    Import::computing("AveragePool", average_pool),
    Import::computing("LpPool", lp_pool),
    Import::computing("GlobalAveragePool", |node| {
        let x = node.value(0)?;
        global(node, x, GlobalAveragePool {}, false)
    }),
    Import::computing("GlobalMaxPool", |node| {
        let x = node.value(0)?;
        global(node, x, GlobalMaxPool {}, false)
    }),
    Import::computing("GlobalLpPool", global_lp_pool),
];

/// Adds a pool over all axes behind the channels, whose extents become 1: over one row of all elements, unless there are two axes.
/// It yields the first output, or the one on the way to it if something is `behind` it.
fn global(node: &mut OnnxNode<'_>, x: ValueId, pool: impl Into<Op>, behind: bool) -> Result<Binding> {
    let rank = node.rank(x);
    ensure!(rank >= 3, "input: expected at least 3 axes, found {rank}");
    let mut parts: Vec<Op> = vec![pool.into()];
    if rank != 4 {
        parts.insert(0, Reshape::to(&[0, 0, 1, -1]).into());
        parts.push(Reshape::to(&[vec![0, 0], vec![1; rank - 2]].concat()).into());
    }
    let count = parts.len() + usize::from(behind);
    let mut value = x;
    for (i, part) in parts.into_iter().enumerate() {
        value = node.push_as(&node.part_name(i, count), part, vec![value])?;
    }
    Ok(node.computed(value))
}

fn max_pool(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = index::elements(node, 0)?;
    let ceil_mode = node.flag("ceil_mode", false)?;
    let pooled = volume::pool(node, &node.part_name(0, 1), x, |window| Ok(MaxPool { window, ceil_mode }.into()))?;
    if node.is_read(1) {
        let places = places(node, x, pooled)?;
        node.yields(1, ElementType::I64);
        node.further_output(Binding::Integers(places));
    }
    Ok(index::like(node, 0, pooled))
}

/// The second output of a MaxPool of `x` to `pooled`: where in `x` the largest element of each window is. Windows become rows of elements,
/// of which an ArgMax finds the first largest one.
fn places(node: &mut OnnxNode<'_>, x: ValueId, pooled: ValueId) -> Result<ValueId> {
    let (output, rank) = (&node.outputs()[1], node.rank(x));
    let known = |v| (2..rank).map(|axis| node.extent(v, axis)).collect::<Option<Vec<usize>>>();
    let extents =
        known(x).zip(known(pooled)).context("Indices: expected known extents behind the channels, found symbolic ones")?;
    let by_columns = node.flag("storage_order", false)?;
    ensure!(!by_columns || rank == 4, "storage_order: expected 0 where there are {} axes behind the channels, found 1", rank - 2);
    let (rows, taps) = rows_of_windows(node, x, &extents.0, &extents.1)?;
    let len: usize = extents.0.iter().product();
    // Elements are numbered by rows; or by columns, if asked for.
    let number = |i: i64| match extents.0[..] {
        [height, width] if by_columns => i % width as i64 * height as i64 + i / width as i64,
        _ => i,
    };
    let numbers = Tensor::new(vec![rows.len()], Data::Ints(rows.iter().map(|&i| number(i)).collect()))?;
    let firsts = (0..rows.len()).step_by(taps).map(|i| i as i64).collect();
    let firsts = Tensor::new(vec![1, 1, rows.len() / taps], Data::Ints(firsts))?;

    let flat = node.inner(Reshape::to(&[0, 0, -1]), vec![x])?;
    let elements = node.inner(Gather { axis: 2, indices: rows }, vec![flat])?;
    let elements = node.inner(Reshape::to(&[0, 0, -1, taps as i64]), vec![elements])?;
    let tap = node.inner(ArgMax { axis: 3, keep: false, last: false }, vec![elements])?;
    let firsts = node.constant("firsts", &firsts, 0)?;
    let row = node.inner(Binary::Add, vec![tap, firsts])?;
    let row = node.inner(Reshape::to(&[0, 0, 0, 1]), vec![row])?;
    let numbers = node.constant("numbers", &numbers, 0)?;
    let mut place = node.inner(GatherNd { batch: 0 }, vec![numbers, row])?;
    // And how many elements there are in the channels and images before.
    let mut before = len;
    for axis in [1, 0] {
        let extent = node.extents_of(x)[axis].clone();
        let index = shapes::indices(node, &extent, 2 - axis)?;
        let each = node.inner_constant(before as f32, 0)?;
        let start = node.inner(Binary::Mul, vec![index, each])?;
        place = node.inner(Binary::Add, vec![place, start])?;
        before = before.saturating_mul(node.extent(x, axis).unwrap_or(1));
    }
    ensure!(before <= MAX_PLACES, "Indices: expected at most {MAX_PLACES} elements, found {before}");
    let dims: Vec<i64> = [0, 0].into_iter().chain(extents.1.iter().map(|&n| n as i64)).collect();
    node.push_as(output, Reshape::to(&dims), vec![place])
}

/// The elements of each window of a plane (or line, or volume), window after window, and how many each has. Where a window hangs over
/// the border, an element inside stands for those outside, which are never larger.
fn rows_of_windows(node: &OnnxNode<'_>, x: ValueId, extents: &[usize], windows: &[usize]) -> Result<(Vec<i64>, usize)> {
    let axes = window::along_axes(node, x, None)?;
    let kernel: Vec<usize> = axes.iter().map(|axis| axis.kernel[0] as usize).collect();
    let before: Vec<i64> = axes.iter().zip(extents).map(|(axis, &extent)| resolve_padding(axis, extent, 1)[0] as i64).collect();
    let taps = kernel.iter().fold(1usize, |taps, &n| taps.saturating_mul(n));
    let count: usize = windows.iter().product();
    let elements = count.saturating_mul(taps);
    ensure!(elements <= MAX_PLACES, "Indices: expected windows of at most {MAX_PLACES} elements in all, found {elements}");
    let mut rows = Vec::with_capacity(elements);
    for window in 0..count {
        let start = rows.len();
        let mut inside = None;
        for tap in 0..taps {
            let (mut window, mut tap, mut index, mut stride) = (window, tap, Some(0), 1);
            for (a, axis) in axes.iter().enumerate().rev() {
                let (place, step) = ((window % windows[a]) as i64, (tap % kernel[a]) as i64);
                (window, tap) = (window / windows[a], tap / kernel[a]);
                let at = place * i64::from(axis.strides[0]) - before[a] + step * i64::from(axis.dilations[0]);
                index = index.filter(|_| (0..extents[a] as i64).contains(&at)).map(|index| index + at * stride);
                stride *= extents[a] as i64;
            }
            inside = inside.or(index);
            rows.push(index.unwrap_or(-1));
        }
        let inside = inside.context("Indices: expected windows that reach inside, found one in padding")?;
        rows[start..].iter_mut().filter(|i| **i < 0).for_each(|i| *i = inside);
    }
    Ok((rows, taps))
}

fn average_pool(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let (ceil_mode, count_include_pad) = (node.flag("ceil_mode", false)?, node.flag("count_include_pad", false)?);
    let of_window = |window| Ok(AveragePool { window, ceil_mode, count_include_pad }.into());
    let pooled = volume::pool(node, &node.part_name(0, 1), x, of_window)?;
    Ok(node.computed(pooled))
}

/// The sum of windows is a convolution of ones.
fn lp_pool(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let channels = node.extent(x, 1).context("input: expected a known count of channels, found a symbolic one")?;
    let ceil_mode = node.flag("ceil_mode", false)?;
    let power = power(node)?;
    let x = powered(node, x, power)?;
    let sum_of = |mut window: Window| {
        if ceil_mode {
            round_up(&mut window)?;
        }
        Ok(conv::sum_of_windows(channels, window)?.into())
    };
    let sum = volume::pool(node, &node.inner_name("sum"), x, sum_of)?;
    root(node, sum, power)
}

/// The mean, times how many elements it is of.
fn global_lp_pool(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let (x, power) = (node.value(0)?, power(node)?);
    let count: Option<usize> = (2..node.rank(x)).map(|axis| node.extent(x, axis)).product();
    let count = count.context("input: expected known extents behind the channels, found symbolic ones")?;
    let x = powered(node, x, power)?;
    let Binding::Value(mean) = global(node, x, GlobalAveragePool {}, true)? else { bail!("input: expected float32") };
    let count = node.number("count", count as f32)?;
    let sum = node.push_as(&node.inner_name("sum"), Binary::Mul, vec![mean, count])?;
    root(node, sum, power)
}

/// Lets windows begin that hang over the end.
fn round_up(window: &mut Window) -> Result<()> {
    let Padding::Explicit { bottom, right, .. } = &mut window.padding else { return Ok(()) };
    for (axis, after) in [bottom, right].into_iter().enumerate() {
        // Else the last window might begin in this padding, depending on the input's size: such a window does not count.
        let stride = window.strides[axis];
        let reach = (window.kernel[axis] - 1).saturating_mul(window.dilations[axis]).saturating_add(1);
        ensure!(
            after.saturating_add(stride) <= reach,
            "ceil_mode: expected windows that overlap, found strides and pads as wide"
        );
        *after += stride - 1;
    }
    Ok(())
}

/// The attribute p, an integer since opset 2.
fn power(node: &OnnxNode<'_>) -> Result<f32> {
    let p = if node.opset() < 2 { node.float("p", 2.0)? } else { node.int("p", 2)? as f32 };
    ensure!(p >= 1.0, "p: expected at least 1, found {p}");
    Ok(p)
}

/// `|x|^power`.
fn powered(node: &mut OnnxNode<'_>, x: ValueId, power: f32) -> Result<ValueId> {
    if power == 2.0 {
        return node.push_as(&node.inner_name("square"), Binary::Mul, vec![x, x]);
    }
    let slope = node.number("slope", -1.0)?;
    let magnitude = node.push_as(&node.inner_name("magnitude"), Binary::PRelu, vec![x, slope])?;
    let power = node.number("power", power)?;
    node.push_as(&node.inner_name("powered"), Binary::Pow, vec![magnitude, power])
}

/// The root that undoes [`powered`]: the first output.
fn root(node: &mut OnnxNode<'_>, x: ValueId, power: f32) -> Result<Binding> {
    if power == 2.0 {
        return node.push(Activation::Sqrt, vec![x]);
    }
    let exponent = node.number("exponent", 1.0 / power)?;
    node.push(Binary::Pow, vec![x, exponent])
}

impl Convert for MaxPool {
    without_weights!();
}

impl Convert for AveragePool {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "it counts padding, so a constant channel is smaller at the border"
    }
}

impl Convert for GlobalAveragePool {
    without_weights!();
}

impl Convert for GlobalMaxPool {
    without_weights!();
}

/// An attribute that is left out where it is 0.
fn flag(name: &str, set: bool) -> Vec<AttributeProto> {
    if set { vec![int(name, 1)] } else { vec![] }
}

impl Write for MaxPool {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let attributes = [window::attributes(&self.window, true), flag("ceil_mode", self.ceil_mode)].concat();
        w.push("MaxPool", call.inputs, call.output, attributes);
        Ok(())
    }
}

impl Write for AveragePool {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        ensure!(self.window.dilations == [1, 1], "dilations of an AveragePool need opset 19, this is opset {OPSET}");
        let mut attributes = window::attributes(&self.window, true);
        attributes.extend([flag("ceil_mode", self.ceil_mode), flag("count_include_pad", self.count_include_pad)].concat());
        w.push("AveragePool", call.inputs, call.output, attributes);
        Ok(())
    }
}

impl Write for GlobalAveragePool {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push("GlobalAveragePool", call.inputs, call.output, vec![]);
        Ok(())
    }
}

impl Write for GlobalMaxPool {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push("GlobalMaxPool", call.inputs, call.output, vec![]);
        Ok(())
    }
}
