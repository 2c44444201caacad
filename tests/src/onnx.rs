//! A builder of small ONNX models. Every method that adds a node yields the name of its output.

use bytes::Bytes;
use prost::Message;
use ssl_convert::onnx::proto::*;

/// A model under construction, with one input `x`.
pub struct Net {
    /// The message as it stands; tests may change whatever the builder has no method for.
    pub model: ModelProto,
    random: fastrand::Rng,
}

/// An attribute's value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// An integer.
    Int(i64),
    /// Integers.
    Ints(&'a [i64]),
    /// A floating-point number.
    Float(f32),
    /// Floating-point numbers.
    Floats(&'a [f32]),
    /// A text.
    Text(&'a str),
    /// Texts.
    Texts(&'a [&'a str]),
}

impl Net {
    /// A model of opset 17 whose input `x` has these dims: numbers are fixed, other texts are symbolic.
    pub fn new(dims: &[&str]) -> Self {
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
        let graph = Some(GraphProto { name: "test".into(), ..Default::default() });
        let mut net = Net {
            model: ModelProto { ir_version: 8, opset_import, graph, ..Default::default() },
            random: fastrand::Rng::with_seed(7),
        };
        let input = value_info("x", dims);
        net.graph().input.push(input);
        net
    }

    /// The same of dims that are all fixed.
    pub fn fixed(dims: &[usize]) -> Self {
        let texts: Vec<String> = dims.iter().map(ToString::to_string).collect();
        Self::new(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The graph's message.
    pub fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.as_mut().expect("new() made one")
    }

    /// Random elements between -1 and 1.
    pub fn random(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.random.f32() * 2.0 - 1.0).collect()
    }

    /// An initialiser; yields its name.
    pub fn weights(&mut self, dims: &[usize], elements: &[f32]) -> String {
        let name = format!("w{}", self.graph().initializer.len());
        let tensor = float_tensor(&name, dims, elements);
        self.graph().initializer.push(tensor);
        name
    }

    /// An integer initialiser; yields its name.
    pub fn integers(&mut self, elements: &[i64]) -> String {
        let name = format!("i{}", self.graph().initializer.len());
        let (dims, int64_data) = (vec![elements.len() as i64], elements.to_vec());
        self.graph().initializer.push(TensorProto {
            name: name.clone(),
            dims,
            data_type: data_type::INT64,
            int64_data,
            ..Default::default()
        });
        name
    }

    /// Any node, named after its operator and position.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Value)]) -> String {
        let name = format!("{op}_{}", self.graph().node.len());
        let attribute = attributes.iter().map(|(name, value)| attribute(name, value)).collect();
        self.graph().node.push(NodeProto {
            input: inputs.iter().map(|&s| s.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.to_owned(),
            attribute,
            ..Default::default()
        });
        name
    }

    /// The node added last, to change what the builder has no argument for.
    ///
    /// # Panics
    /// If there is none.
    pub fn last_node(&mut self) -> &mut NodeProto {
        self.graph().node.last_mut().expect("a node was added")
    }

    /// A convolution with weights of `dims` (OIHW) given element by element, and its bias.
    pub fn conv(&mut self, x: &str, dims: [usize; 4], weights: &[f32], bias: &[f32], attributes: &[(&str, Value)]) -> String {
        let (w, b) = (self.weights(&dims, weights), self.weights(&[bias.len()], bias));
        self.node("Conv", &[x, &w, &b], attributes)
    }

    /// The finished message, with `outputs`.
    pub fn finish(mut self, outputs: &[&str]) -> ModelProto {
        let tensor_type = Some(TensorTypeProto { elem_type: data_type::FLOAT, shape: None });
        let of_any_shape =
            |o: &&str| ValueInfoProto { name: (*o).to_owned(), r#type: Some(TypeProto { tensor_type: tensor_type.clone() }) };
        self.graph().output = outputs.iter().map(of_any_shape).collect();
        self.model
    }
}

/// A message in its wire form.
pub fn encode(model: &ModelProto) -> Bytes {
    model.encode_to_vec().into()
}

/// A float32 tensor with its elements in `raw_data`.
pub fn float_tensor(name: &str, dims: &[usize], elements: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: data_type::FLOAT,
        raw_data: elements.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
        ..Default::default()
    }
}

/// A float32 tensor type; dims that are not numbers are symbolic.
pub fn value_info(name: &str, dims: &[&str]) -> ValueInfoProto {
    let dim = |d: &&str| match d.parse() {
        Ok(size) => DimensionProto { dim_value: Some(size), dim_param: None },
        Err(_) => DimensionProto { dim_value: None, dim_param: Some((*d).to_owned()) },
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: data_type::FLOAT, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

/// An attribute.
pub fn attribute(name: &str, value: &Value) -> AttributeProto {
    let base = AttributeProto { name: name.to_owned(), ..Default::default() };
    match value {
        Value::Float(f) => AttributeProto { f: *f, r#type: 1, ..base },
        Value::Floats(floats) => AttributeProto { floats: floats.to_vec(), r#type: 6, ..base },
        Value::Int(i) => AttributeProto { i: *i, r#type: 2, ..base },
        Value::Text(s) => AttributeProto { s: Bytes::copy_from_slice(s.as_bytes()), r#type: 3, ..base },
        Value::Texts(texts) => {
            let strings = texts.iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect();
            AttributeProto { strings, r#type: 8, ..base }
        }
        Value::Ints(ints) => AttributeProto { ints: ints.to_vec(), r#type: 7, ..base },
    }
}
