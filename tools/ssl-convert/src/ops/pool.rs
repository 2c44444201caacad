//! Pools over windows, and over all of height and width.

use super::{conv, volume, window};
use crate::export::exporter::{Call, Write};
use crate::export::writer::{OPSET, Writer, int};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::proto::AttributeProto;
use crate::operator::{Convert, without_weights};
use crate::weights::Op;
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{
    Activation, AveragePool, Binary, GlobalAveragePool, GlobalMaxPool, MaxPool, Padding, Reshape, ValueId, Window,
};

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("MaxPool", max_pool),
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
    node.one_output("Indices")?;
    let x = node.value(0)?;
    let ceil_mode = node.flag("ceil_mode", false)?;
    let pooled = volume::pool(node, &node.part_name(0, 1), x, |window| Ok(MaxPool { window, ceil_mode }.into()))?;
    Ok(node.computed(pooled))
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
