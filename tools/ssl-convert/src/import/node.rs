//! One node of the ONNX graph as an operator's import function reads it: its inputs, whatever they stand for, its attributes, and
//! how its outputs come into the graph.

use crate::import::binding::Binding;
use crate::import::builder::Builder;
use crate::import::checks;
use crate::import::sizes::Extents;
use crate::onnx::attributes::Attributes;
use crate::onnx::load::ExternalData;
use crate::onnx::proto::{AttributeProto, NodeProto, SparseTensorProto, TensorProto};
use crate::onnx::tensor::{Data, Tensor};
use crate::weights::{Node, Op};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{Constant, ElementType, Extent, ValueId};
use std::collections::HashSet;

/// What the importer knows of a node, whatever its operator is.
pub(crate) struct Facts<'a> {
    /// The version of the operator set.
    pub(crate) opset: i64,
    /// Whether what the node computes are integers, since it moves integers.
    pub(crate) integers: bool,
    /// The types of the inputs' elements.
    pub(crate) types: Vec<ElementType>,
    /// The names that some needed node reads or that are outputs of the model.
    pub(crate) read: &'a HashSet<&'a str>,
}

/// A node that is being imported.
pub(crate) struct OnnxNode<'a> {
    proto: &'a NodeProto,
    name: &'a str,
    /// The name of the first output.
    output: &'a str,
    facts: Facts<'a>,
    inputs: Vec<Option<Binding>>,
    /// Those of the outputs, as far as the operator says.
    output_types: Vec<Option<ElementType>>,
    /// Outputs behind the first one.
    further: Vec<Binding>,
    /// How many values on the way to the first output have names so far.
    inner: usize,
    builder: &'a mut Builder,
    external: &'a mut ExternalData,
}

impl<'a> OnnxNode<'a> {
    /// Looks up what a node reads.
    pub(crate) fn new(
        proto: &'a NodeProto,
        name: &'a str,
        facts: Facts<'a>,
        builder: &'a mut Builder,
        external: &'a mut ExternalData,
    ) -> Result<Self> {
        let output = proto.output.first().context("expected an output, found none")?;
        let inputs = proto.input.iter().enumerate().map(|(i, name)| builder.input(i, name)).collect::<Result<_>>()?;
        let (output_types, further) = (vec![None; proto.output.len()], Vec::new());
        let inner = 0;
        Ok(OnnxNode { proto, name, output, facts, inputs, output_types, further, inner, builder, external })
    }

    /// The version of the operator set.
    pub(crate) fn opset(&self) -> i64 {
        self.facts.opset
    }

    /// The names of the outputs.
    pub(crate) fn outputs(&self) -> &'a [String] {
        &self.proto.output
    }

    /// That of a node only the first output is read, not those that `further` names.
    pub(crate) fn one_output(&self, further: &str) -> Result<()> {
        ensure!(!(1..self.proto.output.len()).any(|i| self.is_read(i)), "expected one output, found that {further} is read, too");
        Ok(())
    }

    /// Whether somebody reads output `i`.
    pub(crate) fn is_read(&self, i: usize) -> bool {
        self.proto.output.get(i).is_some_and(|name| !name.is_empty() && self.facts.read.contains(name.as_str()))
    }

    /// Says of which type the elements of output `i` are, where they are neither `f32` nor those of input 0, moved.
    pub(crate) fn yields(&mut self, i: usize, element_type: ElementType) {
        self.output_types.get_mut(i).into_iter().for_each(|of| *of = Some(element_type));
    }

    /// What [`Self::yields`] was told of output `i`.
    pub(crate) fn output_type(&self, i: usize) -> Option<ElementType> {
        self.output_types[i]
    }

    /// Defines the next output behind the first one, which an import function returns.
    pub(crate) fn further_output(&mut self, output: Binding) {
        self.further.push(output);
    }

    /// All outputs, of which `first` is the first.
    pub(crate) fn into_outputs(self, first: Binding) -> Vec<Binding> {
        std::iter::once(first).chain(self.further).collect()
    }
}

/// Attributes. What is absent has the default that the ONNX specification gives.
impl<'a> OnnxNode<'a> {
    /// An attribute as it is stored.
    pub(crate) fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        Attributes(self.proto).get(name)
    }

    /// An integer.
    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64> {
        Attributes(self.proto).int(name, default)
    }

    /// An integer that is 0 or not.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name, default.into())? != 0)
    }

    /// A floating-point number.
    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32> {
        Attributes(self.proto).float(name, default)
    }

    /// A list of integers; empty if absent.
    pub(crate) fn ints(&self, name: &str) -> Result<&'a [i64]> {
        Attributes(self.proto).ints(name)
    }

    /// A list of floating-point numbers; empty if absent.
    pub(crate) fn floats(&self, name: &str) -> Result<&'a [f32]> {
        Attributes(self.proto).floats(name)
    }

    /// A text.
    pub(crate) fn text(&self, name: &str, default: &'a str) -> Result<&'a str> {
        Attributes(self.proto).text(name, default)
    }

    /// The attribute `axis` of a tensor of `rank` axes.
    pub(crate) fn axis(&self, default: i64, rank: usize) -> Result<usize> {
        checks::axis(self.int("axis", default)?, rank)
    }

    /// A list of texts; empty if absent.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<&'a str>> {
        Attributes(self.proto).texts(name)
    }

    /// A tensor that an attribute holds.
    pub(crate) fn stored(&mut self, tensor: &TensorProto) -> Result<Tensor> {
        Tensor::from_proto(tensor, self.external)
    }

    /// A tensor that an attribute holds, of which only some elements are there.
    pub(crate) fn stored_sparse(&mut self, tensor: &SparseTensorProto) -> Result<Tensor> {
        Tensor::from_sparse(tensor, self.external)
    }
}

/// Inputs.
impl OnnxNode<'_> {
    /// How many inputs are named, left out or not.
    pub(crate) fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// What input `i` stands for; `None` if it is left out.
    pub(crate) fn input(&self, i: usize) -> Option<&Binding> {
        self.inputs.get(i)?.as_ref()
    }

    /// Of which type the elements of input `i` are; float32 if it is left out.
    pub(crate) fn input_type(&self, i: usize) -> ElementType {
        self.facts.types.get(i).copied().unwrap_or(ElementType::F32)
    }

    /// Lets input `i`, which must be there, stand for something else.
    pub(crate) fn replace_input(&mut self, i: usize, binding: Binding) {
        self.inputs[i] = Some(binding);
    }

    /// The type of what an operator yields that moves elements: that of the first input of integers, or else of input 0.
    pub(crate) fn moved_type(&self) -> ElementType {
        self.facts.types.iter().copied().find(|t| t.is_integer()).unwrap_or(self.input_type(0))
    }

    /// What input 0 stands for, which must be there.
    pub(crate) fn first(&self) -> Result<Binding> {
        self.input(0).cloned().context("input 0: expected a tensor, found none")
    }

    /// The value of input `i`, which must be there. A stored tensor becomes a Constant node.
    pub(crate) fn value(&mut self, i: usize) -> Result<ValueId> {
        self.value_of_rank(i, 0)
    }

    /// As [`Self::value`]; a stored tensor gets at least `rank` axes, by extents of 1 in front.
    pub(crate) fn value_of_rank(&mut self, i: usize, rank: usize) -> Result<ValueId> {
        match self.inputs.get(i).and_then(Option::as_ref) {
            Some(Binding::Value(v) | Binding::Integers(v)) => Ok(*v),
            Some(Binding::Tensor(t)) => self.builder.constant(&self.proto.input[i], t, rank),
            Some(Binding::Missing) | None => bail!("input {i}: expected a tensor, found none"),
        }
    }

    /// How many axes input `i` has; none if it is left out.
    pub(crate) fn rank_of_input(&self, i: usize) -> usize {
        match self.input(i) {
            Some(Binding::Value(v) | Binding::Integers(v)) => self.rank(*v),
            Some(Binding::Tensor(t)) => t.dims.len(),
            Some(Binding::Missing) | None => 0,
        }
    }

    /// Whether input `i` are integers.
    pub(crate) fn is_integers(&self, i: usize) -> bool {
        match self.input(i) {
            Some(Binding::Integers(_)) => true,
            Some(Binding::Tensor(t)) => t.is_integers(),
            Some(Binding::Value(_) | Binding::Missing) | None => false,
        }
    }

    /// Of which magnitude the integers of input `i` may be, as far as that is known; 0 if nothing is.
    pub(crate) fn reach(&self, i: usize) -> f64 {
        match self.input(i) {
            Some(Binding::Tensor(t)) => {
                t.ints().map_or(0.0, |ints| ints.iter().map(|n| n.unsigned_abs()).max().unwrap_or(0) as f64)
            }
            Some(Binding::Integers(v)) => self.builder.reach(*v, self.input_type(i)),
            Some(Binding::Value(_) | Binding::Missing) | None => 0.0,
        }
    }

    /// Says of which magnitude the integers of `v` may be.
    pub(crate) fn set_reach(&mut self, v: ValueId, reach: f64) {
        self.builder.set_reach(v, reach);
    }

    /// The values of all inputs.
    pub(crate) fn values(&mut self) -> Result<Vec<ValueId>> {
        (0..self.input_count()).map(|i| self.value(i)).collect()
    }

    /// The tensor of input `i`, if the input is there and stored.
    pub(crate) fn tensor_if_known(&self, i: usize) -> Option<&Tensor> {
        match self.input(i) {
            Some(Binding::Tensor(t)) => Some(t),
            _ => None,
        }
    }

    /// The tensor of input `i`, if the input is there; it must be stored then.
    pub(crate) fn tensor(&self, i: usize, what: &str) -> Result<Option<&Tensor>> {
        match self.input(i) {
            Some(Binding::Tensor(t)) => Ok(Some(t)),
            Some(_) => bail!("{what} (input {i}): expected a constant, found a computed tensor ('{}')", self.proto.input[i]),
            None => Ok(None),
        }
    }

    /// The tensor of input `i`, which must be there and stored.
    pub(crate) fn needed_tensor(&self, i: usize, what: &str) -> Result<&Tensor> {
        self.tensor(i, what)?.with_context(|| format!("{what} (input {i}): expected a constant, found none"))
    }

    /// The one element of input `i`, if the input is there; it must be stored then.
    pub(crate) fn element(&self, i: usize, what: &str) -> Result<Option<f32>> {
        match self.tensor(i, what)?.map(Tensor::as_floats).transpose()? {
            Some(t) if t.floats()?.len() == 1 => Ok(Some(t.floats()?.at(0))),
            Some(t) => bail!("{what}: expected one element, found dims {:?}", t.dims),
            None => Ok(None),
        }
    }

    /// Input `i` as a list of extents, if it is integers that are known or computed from shapes.
    pub(crate) fn extents(&self, i: usize) -> Result<Option<Vec<Extent>>> {
        let Some(Binding::Tensor(tensor)) = self.input(i) else { return Ok(None) };
        ensure!(tensor.dims.len() <= 1, "input {i}: expected a list of integers, found dims {:?}", tensor.dims);
        Ok(tensor.sizes())
    }

    /// Integers that are known or computed from shapes: attribute `name`, or input `i`. `None` if neither is there.
    pub(crate) fn sizes(&self, name: &str, i: usize) -> Result<Option<Vec<Extent>>> {
        if self.attribute(name).is_some() {
            return Ok(Some(self.ints(name)?.iter().map(|&i| Extent::from(i)).collect()));
        }
        if self.input(i).is_none() {
            return Ok(None);
        }
        let list = self.extents(i)?;
        list.with_context(|| format!("{name} (input {i}): expected constant integers or sizes, found others")).map(Some)
    }

    /// Integers that must be known: attribute `name`, or input `i`. `None` if neither is there.
    pub(crate) fn integers(&self, name: &str, i: usize) -> Result<Option<Vec<i64>>> {
        if self.attribute(name).is_some() {
            return Ok(Some(self.ints(name)?.to_vec()));
        }
        if self.input(i).is_none() {
            return Ok(None);
        }
        let list = self.extents(i)?.with_context(|| format!("{name} (input {i}): expected constant integers, found others"))?;
        let known = |e: Extent| e.integer().with_context(|| format!("{name} (input {i}): expected known integers, found '{e}'"));
        list.into_iter().map(known).collect::<Result<_>>().map(Some)
    }
}

/// Values of the graph, and new nodes.
impl OnnxNode<'_> {
    /// How many axes `v` has.
    pub(crate) fn rank(&self, v: ValueId) -> usize {
        self.builder.shape(v).len()
    }

    /// The extent of an axis of `v`; `None` if it is symbolic or there is no such axis.
    pub(crate) fn extent(&self, v: ValueId, axis: usize) -> Option<usize> {
        self.extents_of(v).get(axis).and_then(Extent::known)
    }

    /// The extents of `v`.
    pub(crate) fn extents_of(&self, v: ValueId) -> &[Extent] {
        self.builder.shape(v)
    }

    /// The extents of all values.
    pub(crate) fn extents_so_far(&self) -> &Extents {
        self.builder.extents()
    }

    /// The node that defines `v`; `None` if that is an input of the model.
    pub(crate) fn definition(&self, v: ValueId) -> Option<&Node> {
        self.builder.definition(v)
    }

    /// Adds a node that yields the first output.
    pub(crate) fn push(&mut self, op: impl Into<Op>, inputs: Vec<ValueId>) -> Result<Binding> {
        let value = self.push_as(self.output, op, inputs)?;
        Ok(self.computed(value))
    }

    /// Adds a node that yields a tensor, of at least `rank` axes, whose name ends with `suffix`.
    pub(crate) fn constant(&mut self, suffix: &str, tensor: &Tensor, rank: usize) -> Result<ValueId> {
        let name = self.inner_name(suffix);
        self.builder.constant(&name, tensor, rank)
    }

    /// Adds a node of input 0 that yields the first output.
    pub(crate) fn unary(&mut self, op: impl Into<Op>) -> Result<Binding> {
        let x = self.value(0)?;
        self.push(op, vec![x])
    }

    /// Adds a node on the way to the first output.
    pub(crate) fn inner(&mut self, op: impl Into<Op>, inputs: Vec<ValueId>) -> Result<ValueId> {
        self.inner += 1;
        let name = self.inner_name(&self.inner.to_string());
        self.push_as(&name, op, inputs)
    }

    /// Adds a Constant node of one element and `rank` axes.
    pub(crate) fn inner_constant(&mut self, element: f32, rank: usize) -> Result<ValueId> {
        self.inner(Constant { dims: vec![1; rank], data: vec![element].into() }, Vec::new())
    }

    /// Adds a node whose output is named `output`.
    pub(crate) fn push_as(&mut self, output: &str, op: impl Into<Op>, inputs: Vec<ValueId>) -> Result<ValueId> {
        self.builder.push(self.name, output, op.into(), inputs)
    }

    /// A stored tensor of one element, for arithmetic on the way to the first output.
    pub(crate) fn number(&mut self, suffix: &str, x: f32) -> Result<ValueId> {
        let tensor = Tensor::new(vec![1], Data::Floats(vec![x].into()))?;
        self.builder.constant(&self.inner_name(suffix), &tensor, 0)
    }

    /// The name of part `i` of `count` nodes behind each other, of which the last one yields the first output.
    pub(crate) fn part_name(&self, i: usize, count: usize) -> String {
        if i + 1 == count { self.output.to_owned() } else { format!("{}.{i}", self.output) }
    }

    /// The name of a value that is computed on the way to the first output.
    pub(crate) fn inner_name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.output)
    }

    /// What an output stands for that is `v`.
    pub(crate) fn computed(&self, v: ValueId) -> Binding {
        if self.facts.integers { Binding::Integers(v) } else { Binding::Value(v) }
    }

    /// Input 0 moved by the operator that `of_rank` states for its rank: at once by `stored` if it is a stored tensor, else by a
    /// node.
    pub(crate) fn moved<R: Into<Op>>(
        &mut self,
        of_rank: impl Fn(usize) -> Result<R>,
        stored: impl Fn(&Tensor, R) -> Result<Tensor>,
    ) -> Result<Binding> {
        if let Some(t) = self.tensor_if_known(0) {
            return stored(t, of_rank(t.dims.len())?).map(Binding::Tensor);
        }
        let x = self.value(0)?;
        let record = of_rank(self.rank(x))?;
        self.push(record, vec![x])
    }
}
