//! `--export-onnx`: the compact network as ONNX computes what the masked one did. The exported model is read back and run by the
//! dense path, which shares nothing with compaction.

use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::{ModelProto, StringStringEntryProto};
use sslm::Model;
use sslm_basics::math::exact_erf;
use sslm_tests::compare::{convert, input, run};
use sslm_tests::onnx::{Net, Value::Text, encode, value_info};
use sslm_tests::random::case;
use std::collections::HashMap;
use std::f64::consts::{PI, SQRT_2};
use std::path::PathBuf;

/// The compact form of a model, as ONNX.
fn exported(model: &ModelProto, metadata: &[StringStringEntryProto]) -> ModelProto {
    let mut file = OnnxFile::decode(encode(model), PathBuf::new()).expect("the test's model decodes");
    let graph = ssl_convert::network(&mut file, false).expect("the test's model converts");
    ssl_convert::export::export(&graph, metadata).unwrap_or_else(|e| panic!("it can be exported: {e:#}"))
}

/// The model for inputs of just this shape: sizes that an exported model computes from symbolic ones (for constant tensors) are
/// more than the converter reads back.
fn fixed(model: &ModelProto, shape: &[usize]) -> ModelProto {
    let mut model = model.clone();
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let input = value_info("x", &dims.iter().map(String::as_str).collect::<Vec<_>>());
    model.graph.as_mut().expect("a graph").input = vec![input];
    model
}

/// The extents that a model says its first output has, where it says all.
fn said(model: &ModelProto) -> Vec<usize> {
    let output = &model.graph.as_ref().expect("a graph").output[0];
    let tensor = output.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).expect("the output is a tensor");
    let dims = &tensor.shape.as_ref().expect("the output has a shape").dim;
    dims.iter().filter_map(|dim| dim.dim_value).map(|extent| extent as usize).collect()
}

#[test]
fn random_graphs_keep_their_function() {
    let (mut smaller, mut compared) = (0, 0);
    for seed in 0..150 {
        let case = case(seed);
        for shape in &case.shapes {
            let model = fixed(&case.model, shape);
            let small = exported(&model, &[]);
            compared += 1;
            smaller += usize::from(encode(&small).len() < encode(&model).len());
            let open = |model: &ModelProto| Model::from_bytes(&convert(model, true)).expect("what was written is valid");
            let x = input(shape);
            let (expected, found) = (run(&open(&model), shape, &x), run(&open(&small), shape, &x));
            assert_eq!(expected.0, found.0, "seed {seed}: shape of the output");
            assert_eq!(said(&small), found.0, "seed {seed}: shape that the export says the output has");
            let largest = expected.1.iter().fold(0.1f32, |m, x| m.max(x.abs()));
            let error = expected.1.iter().zip(&found.1).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
            assert!(error <= 5e-5, "seed {seed} at {shape:?}: relative error {error:e}");
        }
    }
    assert!(compared > 200 && smaller > compared / 3, "{compared} compared, {smaller} became smaller");
}

/// What the elementwise nodes of a model make of one element.
fn evaluate(model: &ModelProto, x: f64) -> f64 {
    let graph = model.graph.as_ref().expect("a graph");
    let mut values = HashMap::from([("x", x)]);
    for tensor in &graph.initializer {
        let bytes = tensor.raw_data.first_chunk().expect("an element");
        values.insert(&tensor.name, f64::from(f32::from_le_bytes(*bytes)));
    }
    for node in &graph.node {
        let operands: Vec<f64> = node.input.iter().map(|name| values[name.as_str()]).collect();
        let y = match (node.op_type.as_str(), &operands[..]) {
            ("Add", [a, b]) => a + b,
            ("Mul", [a, b]) => a * b,
            ("Erf", [x]) => exact_erf(*x),
            ("Tanh", [x]) => x.tanh(),
            (other, _) => panic!("{other}: no part of the definition"),
        };
        values.insert(&node.output[0], y);
    }
    values[graph.output[0].name.as_str()]
}

#[test]
fn gelu_is_written_by_its_definition() {
    for approximate in ["none", "tanh"] {
        let mut net = Net::new(&["1"]);
        net.model.opset_import[0].version = 20;
        let y = net.node("Gelu", &["x"], &[("approximate", Text(approximate))]);
        let small = exported(&net.finish(&[&y]), &[]);
        assert_eq!(small.opset_import[0].version, 17);
        for i in -30..=30 {
            let x = f64::from(i) / 5.0;
            let odd = match approximate {
                "tanh" => ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh(),
                _ => exact_erf(x / SQRT_2),
            };
            let (found, expected) = (evaluate(&small, x), 0.5 * x * (1.0 + odd));
            assert!((found - expected).abs() <= 1e-6 * x.abs(), "{approximate} of {x}: {found}, not {expected}");
        }
    }
}

#[test]
fn metadata_travels_along() {
    let entry = StringStringEntryProto { key: "ssl.labels".into(), value: "[\"a\"]".into() };
    let small = exported(&case(1).model, std::slice::from_ref(&entry));
    assert_eq!(small.metadata_props, [entry]);
    assert_eq!(small.opset_import[0].version, 17);
}
