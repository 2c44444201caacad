//! `--export-onnx`: the compact network as ONNX computes what the masked one did. The exported model is read back and run by the
//! dense path, which shares nothing with compaction.

use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::{ModelProto, StringStringEntryProto};
use sslm::Model;
use sslm_tests::compare::{convert, input, run};
use sslm_tests::onnx::{encode, value_info};
use sslm_tests::random::case;
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

#[test]
fn random_graphs_keep_their_function() {
    let (mut smaller, mut compared) = (0, 0);
    for seed in 0..150 {
        let case = case(seed);
        for shape in &case.shapes {
            let model = fixed(&case.model, shape);
            let small = exported(&model, &[]);
            // Mish is spelt out in Softplus, which is not for reading back.
            if small.graph.iter().flat_map(|g| &g.node).any(|n| n.op_type == "Softplus") {
                continue;
            }
            compared += 1;
            smaller += usize::from(encode(&small).len() < encode(&model).len());
            let open = |model: &ModelProto| Model::from_bytes(&convert(model, true)).expect("what was written is valid");
            let x = input(shape);
            let (expected, found) = (run(&open(&model), shape, &x), run(&open(&small), shape, &x));
            assert_eq!(expected.0, found.0, "seed {seed}: shape of the output");
            let largest = expected.1.iter().fold(0.1f32, |m, x| m.max(x.abs()));
            let error = expected.1.iter().zip(&found.1).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
            assert!(error <= 5e-5, "seed {seed} at {shape:?}: relative error {error:e}");
        }
    }
    assert!(compared > 200 && smaller > compared / 3, "{compared} compared, {smaller} became smaller");
}

#[test]
fn metadata_travels_along() {
    let entry = StringStringEntryProto { key: "ssl.labels".into(), value: "[\"a\"]".into() };
    let small = exported(&case(1).model, std::slice::from_ref(&entry));
    assert_eq!(small.metadata_props, [entry]);
    assert_eq!(small.opset_import[0].version, 17);
}
