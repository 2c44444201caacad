//! Writing an ONNX graph: nodes, attributes and stored tensors.

use crate::onnx::proto::*;
use bytes::Bytes;
use std::collections::HashMap;

/// The operator set that is written.
pub(crate) const OPSET: i64 = 17;

/// An ONNX graph in the making.
pub(crate) struct Writer {
    /// What is written so far.
    pub(crate) graph: GraphProto,
    /// The input that each symbolic dim is one of, and its axis.
    pub(crate) symbols: HashMap<String, (String, i64)>,
    /// How many names were made up.
    count: usize,
}

impl Writer {
    /// An empty graph. `symbols` says of which input and axis each symbolic dim is.
    pub(crate) fn new(symbols: HashMap<String, (String, i64)>) -> Self {
        Writer { symbols, graph: GraphProto::default(), count: 0 }
    }

    /// A name that nothing has yet.
    pub(crate) fn fresh(&mut self, hint: &str) -> String {
        self.count += 1;
        format!("{hint}.{}", self.count)
    }

    /// Adds a node. An input without a name is left out.
    pub(crate) fn push(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&s| s.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: op.to_owned(),
            attribute,
            ..Default::default()
        });
    }

    /// Names one more output of the node that was added last.
    pub(crate) fn further_output(&mut self, name: &str) {
        self.graph.node.last_mut().into_iter().for_each(|node| node.output.push(name.to_owned()));
    }

    /// Adds a node whose output has a name of its own.
    pub(crate) fn make(&mut self, op: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let output = self.fresh(op);
        self.push(op, inputs, &output, attribute);
        output
    }

    /// Stores a tensor of float32.
    pub(crate) fn floats(&mut self, dims: &[usize], elements: impl IntoIterator<Item = f32>) -> String {
        let name = self.fresh("constant");
        self.store(&name, dims, elements);
        name
    }

    /// As [`Self::floats`], under a given name.
    pub(crate) fn store(&mut self, name: &str, dims: &[usize], elements: impl IntoIterator<Item = f32>) {
        let raw: Vec<u8> = elements.into_iter().flat_map(f32::to_le_bytes).collect();
        self.initializer(name, dims, data_type::FLOAT, raw);
    }

    /// Stores a list of integers.
    pub(crate) fn integers(&mut self, integers: &[i64]) -> String {
        let name = self.fresh("constant");
        let raw = integers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.initializer(&name, &[integers.len()], data_type::INT64, raw);
        name
    }

    fn initializer(&mut self, name: &str, dims: &[usize], data_type: i32, raw: Vec<u8>) {
        let dims = dims.iter().map(|&d| d as i64).collect();
        let name = name.to_owned();
        self.graph.initializer.push(TensorProto { dims, data_type, name, raw_data: raw.into(), ..Default::default() });
    }
}

/// An attribute that is an integer.
pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: 2, ..Default::default() }
}

/// An attribute that is a floating-point number.
pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, r#type: 1, ..Default::default() }
}

/// An attribute that is a text.
pub(crate) fn text(name: &str, s: &'static str) -> AttributeProto {
    AttributeProto { name: name.into(), s: Bytes::from_static(s.as_bytes()), r#type: 3, ..Default::default() }
}

/// An attribute that is a list of integers.
pub(crate) fn ints<T: Copy + Into<i64>>(name: &str, integers: &[T]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: integers.iter().map(|&n| n.into()).collect(), r#type: 7, ..Default::default() }
}
