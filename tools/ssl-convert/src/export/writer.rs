//! Writing an ONNX graph: nodes, attributes and stored tensors.

use crate::onnx::proto::*;
use crate::onnx::tensor::Floats;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

/// The operator set that is written.
pub(crate) const OPSET: i64 = 17;

/// An element that is repeated more often takes less room as a node than as a tensor.
const MOST_REPEATED: usize = 64;

/// An ONNX graph in the making.
pub(crate) struct Writer {
    /// What is written so far.
    pub(crate) graph: GraphProto,
    /// The input that each symbolic dim is one of, and its axis.
    pub(crate) symbols: HashMap<String, (String, i64)>,
    /// Names that tensors have.
    taken: HashSet<String>,
    /// How many names were made up.
    count: usize,
    /// What is stored so far, by dims, type and elements: what several nodes read is stored once.
    initializers: HashMap<(Vec<i64>, i32, Bytes), String>,
    /// What is computed of sizes so far, by operator, inputs and attributes.
    pub(super) computed: HashMap<(&'static str, Vec<String>, Vec<i64>), String>,
}

impl Writer {
    /// An empty graph. `symbols` says of which input and axis each symbolic dim is.
    pub(crate) fn new(symbols: HashMap<String, (String, i64)>) -> Self {
        Writer {
            symbols,
            graph: GraphProto::default(),
            taken: HashSet::new(),
            count: 0,
            initializers: HashMap::new(),
            computed: HashMap::new(),
        }
    }

    /// A name that nothing has yet: `hint` itself, if it may be had; a number where there is none.
    pub(crate) fn fresh(&mut self, hint: &str) -> String {
        let mut name = hint.to_owned();
        while name.is_empty() || !self.taken.insert(name.clone()) {
            self.count += 1;
            name = if hint.is_empty() { self.count.to_string() } else { format!("{hint}.{}", self.count) };
        }
        name
    }

    /// Adds a node. An input without a name is left out. The node itself has no name: what it defines has one.
    pub(crate) fn push(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&s| s.to_owned()).collect(),
            output: vec![output.to_owned()],
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
        let raw: Vec<u8> = elements.into_iter().flat_map(f32::to_le_bytes).collect();
        self.initializer(dims, data_type::FLOAT, raw.into())
    }

    /// A stored tensor as it is. One element that is repeated often is stated, not stored.
    pub(crate) fn stored(&mut self, dims: &[usize], data: &Floats) -> String {
        match data {
            Floats::Repeated { value, len } if *len > MOST_REPEATED => {
                let extents: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
                let shape = self.integers(&extents);
                let raw_data = Bytes::copy_from_slice(&value.to_le_bytes());
                let value = TensorProto { dims: vec![1], data_type: data_type::FLOAT, raw_data, ..Default::default() };
                let value = AttributeProto { name: "value".into(), t: Some(value), r#type: 4, ..Default::default() };
                self.make("ConstantOfShape", &[&shape], vec![value])
            }
            Floats::Raw(bytes) => self.initializer(dims, data_type::FLOAT, bytes.clone()),
            _ => self.floats(dims, data.iter()),
        }
    }

    /// Stores a list of integers.
    pub(crate) fn integers(&mut self, integers: &[i64]) -> String {
        let raw: Vec<u8> = integers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.initializer(&[integers.len()], data_type::INT64, raw.into())
    }

    fn initializer(&mut self, dims: &[usize], data_type: i32, raw_data: Bytes) -> String {
        let dims: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        let key = (dims, data_type, raw_data);
        if let Some(name) = self.initializers.get(&key) {
            return name.clone();
        }
        let (dims, data_type, raw_data) = key.clone();
        let name = self.fresh("");
        self.graph.initializer.push(TensorProto { dims, data_type, name: name.clone(), raw_data, ..Default::default() });
        self.initializers.insert(key, name.clone());
        name
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

/// An attribute that is a list of texts.
pub(crate) fn texts(name: &str, texts: &[&'static str]) -> AttributeProto {
    let strings = texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
    AttributeProto { name: name.into(), strings, r#type: 8, ..Default::default() }
}

/// An attribute that is a list of integers.
pub(crate) fn ints<T: Copy + Into<i64>>(name: &str, integers: &[T]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: integers.iter().map(|&n| n.into()).collect(), r#type: 7, ..Default::default() }
}
