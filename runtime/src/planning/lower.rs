//! What each operator states for planning: how it becomes steps ([`Lower`]), with what that takes ([`Lowering`]).
//!
//! Most operators need no more than a task for the shape that is there: which channels its kernel sees follows from how its axes run. If
//! channel i of the output depends on channel i of every input, the kernel runs on just the channels that the output keeps; else it sees
//! all channels and yields all, of which the kept ones are then selected. Convolutions and fully connected layers read what is kept
//! through their columns.

use super::build::{Builder, Emit, Operand};
use crate::error::Result;
use crate::report::LayerSizes;
use sslm_format::shape::{self, Shape};
use sslm_format::{AxisMap, Blob, Compaction, Node, Op, Operator, Value, ValueId, dispatch};
use sslm_kernels::{Activation, Task};

/// A node, with those behind it that it computes along with itself because nobody else reads what lies between them.
pub(crate) struct Fused<'m> {
    pub(crate) node: &'m Node,
    /// Its index in the graph.
    pub(crate) index: usize,
    /// Added to the node's sums, channel by channel.
    pub(crate) residual: Option<ValueId>,
    pub(crate) activation: Activation,
    /// What all of them together define.
    pub(crate) output: ValueId,
}

/// How an operator becomes steps.
pub(crate) trait Lower: Operator {
    /// Adds its steps, and those of what is fused into it.
    ///
    /// # Errors
    /// If no kernel can compute it on shapes such as these.
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()>;

    /// The activation that it is, if other operators can apply it to what they have in registers.
    fn activation(&self) -> Option<Activation> {
        None
    }

    /// Whether its kernel can apply `activation` last.
    fn applies(&self, activation: Activation) -> bool {
        let _ = activation;
        false
    }

    /// Whether it is the sum of its two inputs.
    fn is_sum(&self) -> bool {
        false
    }

    /// Whether its kernel can add what it computes to another value.
    fn adds_to_sum(&self) -> bool {
        false
    }

    /// Whether it is better off with the whole batch than with image after image.
    fn wants_batch(&self) -> bool {
        false
    }

    /// Whether what it yields are probabilities.
    fn yields_probabilities(&self) -> bool {
        false
    }

    /// What reports say of its weights and its window; `output` is what it defines.
    fn sizes(&self, output: &Value, blobs: &[Blob]) -> LayerSizes {
        let _ = (output, blobs);
        LayerSizes::default()
    }
}

impl Lower for Op {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        dispatch!(self, record => record.lower(at))
    }

    fn activation(&self) -> Option<Activation> {
        dispatch!(self, record => Lower::activation(record))
    }

    fn applies(&self, activation: Activation) -> bool {
        dispatch!(self, record => record.applies(activation))
    }

    fn is_sum(&self) -> bool {
        dispatch!(self, record => record.is_sum())
    }

    fn adds_to_sum(&self) -> bool {
        dispatch!(self, record => record.adds_to_sum())
    }

    fn wants_batch(&self) -> bool {
        dispatch!(self, record => record.wants_batch())
    }

    fn yields_probabilities(&self) -> bool {
        dispatch!(self, record => record.yields_probabilities())
    }

    fn sizes(&self, output: &Value, blobs: &[Blob]) -> LayerSizes {
        dispatch!(self, record => record.sizes(output, blobs))
    }
}

/// How the axes of a node's inputs run, for values of these shapes.
pub(crate) fn axes_of(node: &Node, shapes: &[Vec<usize>]) -> Vec<AxisMap> {
    let shape = |value: ValueId| shape::of(&shapes[value.index()]);
    let inputs: Vec<Shape> = node.inputs.iter().map(|&value| shape(value)).collect();
    node.op.axes(&inputs.iter().collect::<Vec<_>>(), &shape(node.output))
}

/// A node that is being lowered.
pub(crate) struct Lowering<'b, 'm> {
    pub(crate) builder: &'b mut Builder<'m>,
    pub(crate) node: &'m Node,
    pub(crate) residual: Option<ValueId>,
    pub(crate) activation: Activation,
    /// What it defines, together with what is fused into it.
    pub(crate) output: ValueId,
    /// Whether channel i of the output depends on channel i of every input.
    pub(crate) by_channel: bool,
    index: usize,
    /// What is computed, in ONNX's words.
    op: String,
}

impl<'b, 'm> Lowering<'b, 'm> {
    pub(crate) fn new(builder: &'b mut Builder<'m>, fused: &Fused<'m>) -> Self {
        let &Fused { node, index, residual, activation, output } = fused;
        let maps = axes_of(node, builder.shapes());
        let by_channel = maps.iter().all(|map| map.links.get(1).and_then(|link| link.alike()) == Some(1));
        Lowering { builder, node, residual, activation, output, by_channel, index, op: fused.op() }
    }

    /// The first input.
    pub(crate) fn x(&self) -> ValueId {
        self.node.inputs[0]
    }

    pub(crate) fn shape(&self, value: ValueId) -> &[usize] {
        self.builder.shape(value)
    }

    pub(crate) fn compaction(&self, value: ValueId) -> Option<&'m Compaction> {
        self.builder.compaction(value)
    }

    /// The channels that the output keeps, if not all.
    pub(crate) fn kept(&self) -> Option<&'m [u32]> {
        self.compaction(self.output).map(|c| c.kept.as_slice())
    }

    /// The first input as the kernel sees it, and its shape.
    pub(crate) fn input(&mut self) -> (Operand, Vec<usize>) {
        let wanted = if self.by_channel { self.kept() } else { None };
        (self.builder.channels_of(self.x(), wanted), self.seen(self.x()))
    }

    /// The shape of a value as the kernel sees it.
    pub(crate) fn seen(&self, value: ValueId) -> Vec<usize> {
        let mut shape = self.shape(value).to_vec();
        if let (true, Some(kept)) = (self.by_channel, self.kept()) {
            shape[1] = kept.len();
        }
        shape
    }

    /// Appends a step of this node that has no products and no parameters.
    pub(crate) fn emit<T: Task + 'm>(&mut self, task: T, reads: Vec<Operand>, len: usize) -> Operand {
        self.emit_with(task, reads, len, |step| step)
    }

    /// Appends a step of this node, with what `more` adds to it.
    pub(crate) fn emit_with<T: Task + 'm>(
        &mut self,
        task: T,
        reads: Vec<Operand>,
        len: usize,
        more: impl for<'a> FnOnce(Emit<'a, 'm>) -> Emit<'a, 'm>,
    ) -> Operand {
        let step = Emit { node: Some(self.index), ..Emit::new(&self.node.name, &self.op, task, reads, len) };
        self.builder.emit(more(step))
    }

    /// A step that takes channels of the first input, by their logical indices in this order.
    pub(crate) fn select(&mut self, channels: impl Iterator<Item = usize>) -> Operand {
        let x = self.x();
        self.builder.select(&self.node.name, &self.op, x, channels)
    }

    /// Defines the output by what the kernel yielded.
    pub(crate) fn define(&mut self, place: Operand) {
        if self.by_channel { self.builder.define(self.output, place) } else { self.builder.define_from_all(self.output, place) }
    }

    /// One step from the one input, whose shape decides the task.
    pub(crate) fn unary<T: Task + 'm>(&mut self, task: impl FnOnce(&[usize]) -> T) {
        let (read, shape) = self.input();
        let len = self.seen(self.output).iter().product();
        let place = self.emit(task(&shape), vec![read], len);
        self.define(place);
    }
}

impl Fused<'_> {
    /// What is computed, in ONNX's words.
    fn op(&self) -> String {
        let activation = self.activation.function().map(|function| format!("+{}", function.onnx_name())).unwrap_or_default();
        format!("{}{}{activation}", self.node.op.name(), if self.residual.is_some() { "+Add" } else { "" })
    }
}
