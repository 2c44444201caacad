//! Mutations of ONNX models as messages: bytes that a fuzzer changes one by one are rarely a message, and hardly ever another model.

use fastrand::Rng;
use libfuzzer_sys::fuzzer_mutate;
use prost::Message;
use ssl_convert::onnx::proto::{AttributeProto, GraphProto, ModelProto, TensorProto};
use std::sync::LazyLock;

/// The operators that ONNX's conformance cases have.
static OPERATORS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let table = include_str!("../../../docs/onnx-support.md");
    let name = |line: &'static str| Some(line.strip_prefix("| ")?.split_once(" |")?.0);
    table.lines().filter_map(name).filter(|name| name.chars().all(char::is_alphanumeric)).collect()
});

/// Mutates a model, if the bytes are one: for `libfuzzer_sys::fuzz_mutator!`.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Rng::with_seed(seed.into());
    let model = ModelProto::decode(bytes::Bytes::copy_from_slice(&data[..size]));
    let Ok(mut model) = model.map_err(drop).and_then(|model| if random.u8(..) < 16 { Err(()) } else { Ok(model) }) else {
        return fuzzer_mutate(data, size, max_size);
    };
    for _ in 0..random.usize(1..4) {
        if random.u8(..) < 8 {
            mutate_opset(&mut model, &mut random);
        } else if let Some(graph) = &mut model.graph {
            mutate_graph(graph, &mut random);
        }
    }
    let encoded = model.encode_to_vec();
    if encoded.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..encoded.len()].copy_from_slice(&encoded);
    encoded.len()
}

fn mutate_opset(model: &mut ModelProto, random: &mut Rng) {
    if let Some(opset) = random.choice(&mut model.opset_import) {
        opset.version = random.i64(1..29);
    }
}

fn mutate_graph(graph: &mut GraphProto, random: &mut Rng) {
    let names = names(graph);
    let Some(name) = random.choice(&names).cloned() else { return };
    match random.u8(..16) {
        0..3 => {
            if let Some(input) = random.choice(&mut graph.node).and_then(|node| random.choice(&mut node.input)) {
                *input = name;
            }
        }
        3 => {
            if let Some(node) = random.choice(&mut graph.node) {
                node.input.insert(random.usize(..=node.input.len()), if random.bool() { name } else { String::new() });
            }
        }
        4 => {
            if let Some(node) = random.choice(&mut graph.node) {
                node.input.pop();
            }
        }
        5 => {
            if let Some(node) = random.choice(&mut graph.node) {
                node.op_type = random.choice(&*OPERATORS).map_or_else(String::new, |op| (*op).to_owned());
            }
        }
        6..9 => {
            if let Some(attribute) = random.choice(&mut graph.node).and_then(|node| random.choice(&mut node.attribute)) {
                mutate_attribute(attribute, random);
            }
        }
        9 => {
            let copied = random.choice(&graph.node).and_then(|node| random.choice(&node.attribute)).cloned();
            if let (Some(node), Some(attribute)) = (random.choice(&mut graph.node), copied) {
                node.attribute.push(attribute);
            }
        }
        10..13 => {
            if let Some(tensor) = random.choice(&mut graph.initializer) {
                mutate_tensor(tensor, random);
            }
        }
        13 => {
            // One node more, which reads what another one does.
            if let Some(mut node) = random.choice(&graph.node).cloned() {
                node.name = format!("n{}", random.u16(..));
                node.output.iter_mut().for_each(|output| *output = format!("{output}{}", random.u8(..)));
                let at = random.usize(..=graph.node.len());
                if let (Some(last), Some(output)) = (node.output.first(), random.choice(&mut graph.output)) {
                    output.name.clone_from(last);
                }
                graph.node.insert(at, node);
            }
        }
        14 => {
            if let Some(output) = random.choice(&mut graph.output) {
                output.name = name;
            }
        }
        _ => {
            let dims = graph.input.iter_mut().filter_map(|input| input.r#type.as_mut()?.tensor_type.as_mut()?.shape.as_mut());
            let mut dims: Vec<_> = dims.flat_map(|shape| &mut shape.dim).collect();
            if let Some(dim) = random.choice(&mut dims) {
                dim.dim_value = Some(random.i64(0..9)).filter(|&size| size > 0);
            }
        }
    }
}

/// What nodes may read.
fn names(graph: &GraphProto) -> Vec<String> {
    let values = graph.node.iter().flat_map(|node| &node.output).chain(graph.input.iter().map(|input| &input.name));
    values.chain(graph.initializer.iter().map(|tensor| &tensor.name)).cloned().collect()
}

/// An integer that something may depend on.
fn integer(random: &mut Rng) -> i64 {
    match random.u8(..16) {
        0 => i64::MAX,
        1 => i64::MIN,
        2 => 1 << random.u8(..63),
        3 => -(1 << random.u8(..63)),
        _ => random.i64(-3..9),
    }
}

fn float(random: &mut Rng) -> f32 {
    random.choice([0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 1e-30, 1e30, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE]).unwrap_or(0.0)
}

fn mutate_attribute(attribute: &mut AttributeProto, random: &mut Rng) {
    match random.u8(..8) {
        0 => attribute.f = float(random),
        1 => attribute.ints.push(integer(random)),
        2 => drop(attribute.ints.pop()),
        3 => {
            let texts = [
                "linear",
                "cubic",
                "nearest",
                "reflect",
                "edge",
                "wrap",
                "SAME_UPPER",
                "SAME_LOWER",
                "VALID",
                "CRD",
                "tanh",
                "add",
            ];
            attribute.s = random.choice(texts).unwrap_or("").as_bytes().to_vec().into();
        }
        4 => {
            if let Some(tensor) = &mut attribute.t {
                mutate_tensor(tensor, random);
            }
        }
        _ => match random.choice(&mut attribute.ints) {
            Some(int) => *int = integer(random),
            None => attribute.i = integer(random),
        },
    }
}

fn mutate_tensor(tensor: &mut TensorProto, random: &mut Rng) {
    match random.u8(..8) {
        0 => {
            if let Some(dim) = random.choice(&mut tensor.dims) {
                *dim = random.i64(0..9);
            }
        }
        1 => random.shuffle(&mut tensor.dims),
        2 => {
            // The same elements along one more axis, or along others.
            match tensor.dims.first() {
                Some(1) => tensor.dims.rotate_left(1),
                _ => tensor.dims.insert(0, 1),
            }
        }
        3 => tensor.data_type = random.i32(0..17),
        4 => {
            if let Some(int) = random.choice(&mut tensor.int64_data) {
                *int = integer(random);
            }
        }
        5 => {
            tensor.int64_data.push(integer(random));
            if let [only] = &mut tensor.dims[..] {
                *only += 1;
            }
        }
        _ => {
            // Some elements, often all of a filter, become 0 or another one.
            let mut raw = tensor.raw_data.to_vec();
            let element = if random.bool() { [0; 4] } else { float(random).to_le_bytes() };
            let (elements, _) = raw.as_chunks_mut::<4>();
            if !elements.is_empty() {
                let first = random.usize(..elements.len());
                let count = random.usize(1..=elements.len() - first);
                elements[first..first + count].fill(element);
            }
            tensor.raw_data = raw.into();
        }
    }
}
