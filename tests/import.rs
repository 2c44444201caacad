//! What the converter accepts, and how it refuses: every form in which real ONNX files carry their weights, and one error that
//! names everything that cannot be converted.

use prost::Message;
use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::*;
use sslm::Model;
use sslm_format::{Extent, Operator, shape};
use sslm_tests::compare::{compact_equals_dense, convert, graph_of, input, kept_channels, refusal, run, run_all};
use sslm_tests::onnx::{Net, Value, Value::*, encode, float_tensor, value_info};
use std::f64::consts::{PI, SQRT_2};
use std::path::{Path, PathBuf};

/// A convolution and a fully connected layer.
fn small() -> ModelProto {
    let mut net = Net::new(&["batch", "2", "5", "5"]);
    let w = net.random(3 * 2 * 9);
    let y = net.conv("x", [3, 2, 3, 3], &w, &[0.1, 0.2, 0.3], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let y = net.node("Flatten", &[&y], &[]);
    let (w, b) = (net.random(4 * 75), net.random(4));
    let (w, b) = (net.weights(&[4, 75], &w), net.weights(&[4], &b));
    let y = net.node("Gemm", &[&y, &w, &b], &[("transB", Int(1))]);
    net.finish(&[&y])
}

fn outputs(model: &ModelProto) -> Vec<f32> {
    let shape = [2, 2, 5, 5];
    run(&Model::from_bytes(&convert(model, false)).expect("valid"), &shape, &input(&shape)).1
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().expect("a graph")
}

#[test]
fn weights_in_every_form_mean_the_same() {
    let expected = outputs(&small());

    let mut as_inputs = small();
    let names: Vec<String> = graph(&mut as_inputs).initializer.iter().map(|t| t.name.clone()).collect();
    names.iter().for_each(|n| graph(&mut as_inputs).input.push(value_info(n, &[])));
    assert_eq!(outputs(&as_inputs), expected, "initialisers that are also inputs");

    for data_type in [data_type::FLOAT, data_type::INT64, 11] {
        let mut unused = as_inputs.clone();
        let tensor = TensorProto { data_type, ..float_tensor("unused", &[2], &[0.0, 1.0]) };
        graph(&mut unused).initializer.push(tensor);
        graph(&mut unused).input.push(value_info("unused", &["2"]));
        assert_eq!(outputs(&unused), expected, "an initialiser of type {data_type} that is an input and that nothing reads");
    }

    let mut typed = small();
    for t in &mut graph(&mut typed).initializer {
        t.float_data = t.raw_data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        t.raw_data.clear();
    }
    assert_eq!(outputs(&typed), expected, "float_data");

    let mut constants = small();
    let tensors = std::mem::take(&mut graph(&mut constants).initializer);
    let nodes = tensors.into_iter().map(|t| {
        let output = vec![t.name.clone()];
        let attribute = vec![AttributeProto { name: "value".into(), t: Some(t), r#type: 4, ..Default::default() }];
        NodeProto { output, op_type: "Constant".into(), attribute, ..Default::default() }
    });
    let nodes: Vec<NodeProto> = nodes.chain(std::mem::take(&mut graph(&mut constants).node)).collect();
    graph(&mut constants).node = nodes;
    assert_eq!(outputs(&constants), expected, "Constant nodes");

    let mut identity = small();
    let first = graph(&mut identity).node[0].input[1].clone();
    let node = NodeProto { input: vec![first], output: vec!["again".into()], op_type: "Identity".into(), ..Default::default() };
    graph(&mut identity).node.insert(0, node);
    graph(&mut identity).node[1].input[1] = "again".into();
    assert_eq!(outputs(&identity), expected, "Identity of weights");

    for opset in [1, 5, 7, 9, 11, 13, 17, 21, 25, 28] {
        let mut other = small();
        other.opset_import[0].version = opset;
        assert_eq!(outputs(&other), expected, "opset {opset}");
    }
}

#[test]
fn constant_of_shape_and_reshaped_weights() {
    let mut net = Net::new(&["batch", "2", "4", "4"]);
    let shape = net.integers(&[3, 2, 3, 3]);
    let w = net.node("ConstantOfShape", &[&shape], &[]);
    let value = AttributeProto { name: "value".into(), t: Some(float_tensor("", &[1], &[0.5])), r#type: 4, ..Default::default() };
    net.graph().node[0].attribute = vec![value];
    let y = net.node("Conv", &["x", &w], &[]);
    let flat = net.weights(&[3, 1], &[1.0, 2.0, 3.0]);
    let target = net.integers(&[3]);
    let b = net.node("Reshape", &[&flat, &target], &[]);
    let w = net.weights(&[3, 3, 1, 1], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let y = net.node("Conv", &[&y, &w, &b], &[]);
    let x = vec![1.0; 32];
    let (shape, y) = run(&Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid"), &[1, 2, 4, 4], &x);
    assert_eq!(shape, [1, 3, 2, 2]);
    assert_eq!(y, [[10.0; 4], [11.0; 4], [12.0; 4]].concat());
}

#[test]
fn constants_in_every_form() {
    let mut net = Net::new(&["1", "2", "3"]);
    let terms = net.node("Constant", &[], &[("value_floats", Floats(&[1.0, 2.0, 3.0]))]);
    let factor = net.node("Constant", &[], &[("value_float", Float(10.0))]);
    let row = net.node("Constant", &[], &[("value_int", Int(1))]);
    let last = net.node("Constant", &[], &[("value_ints", Ints(&[2, 2]))]);
    let y = net.node("Add", &["x", &terms], &[]);
    let y = net.node("Mul", &[&y, &factor], &[]);
    let y = net.node("Gather", &[&y, &row], &[("axis", Int(1))]);
    let y = net.node("Gather", &[&y, &last], &[("axis", Int(1))]);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    assert_eq!(run(&model, &[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (vec![1, 2], vec![90.0; 2]));

    // As many integers as anybody needs for shapes.
    let repeated = |len: i64, value: TensorProto| {
        let mut net = Net::new(&["1", "3"]);
        let shape = net.integers(&[len]);
        let y = net.node("ConstantOfShape", &[&shape], &[]);
        net.last_node().attribute =
            vec![AttributeProto { name: "value".into(), t: Some(value), r#type: 5, ..Default::default() }];
        let relu = net.node("Relu", &["x"], &[]);
        net.finish(&[&y, &relu])
    };
    let integers = |elements: &[i64]| TensorProto {
        dims: vec![elements.len() as i64],
        data_type: data_type::INT64,
        int64_data: elements.to_vec(),
        ..Default::default()
    };
    for len in [3, 1 << 16] {
        let model = Model::from_bytes(&convert(&repeated(len, integers(&[7])), false)).expect("valid");
        assert_eq!(run(&model, &[1, 3], &[0.0; 3]), (vec![len as usize], vec![7.0; len as usize]));
    }
    let message = refusal(&repeated((1 << 16) + 1, integers(&[7])));
    assert!(message.contains("shape: expected at most 65536 integers, found 65537"), "{message}");
    for value in [integers(&[7, 8]), float_tensor("", &[2], &[1.0, 2.0])] {
        assert!(refusal(&repeated(3, value)).contains("value: expected one element"));
    }
}

/// A stored tensor of integers or booleans.
fn stored(net: &mut Net, dims: &[i64], data_type: i32, elements: &[i32]) -> String {
    let name = format!("s{}", net.graph().initializer.len());
    let tensor = match data_type {
        data_type::INT64 => TensorProto { int64_data: elements.iter().map(|&n| n.into()).collect(), ..Default::default() },
        _ => TensorProto { int32_data: elements.to_vec(), ..Default::default() },
    };
    net.graph().initializer.push(TensorProto { name: name.clone(), dims: dims.to_vec(), data_type, ..tensor });
    name
}

/// A float32 Cast.
const FLOAT: [(&str, sslm_tests::onnx::Value); 1] = [("to", Int(data_type::FLOAT as i64))];

#[test]
fn stored_masks_keep_their_shape() {
    for data_type in [data_type::BOOL, data_type::INT32, data_type::INT64] {
        // As wide as there are channels, so that a mask without its shape would be taken for one of columns.
        let mut net = Net::new(&["batch", "3", "2", "3"]);
        let mask = stored(&mut net, &[1, 3, 1, 1], data_type, &[1, 0, 1]);
        let mask = net.node("Cast", &[&mask], &FLOAT);
        let y = net.node("Mul", &["x", &mask], &[]);
        let x: Vec<f32> = (1..=18).map(|n| n as f32).collect();
        let (_, y) = run(&Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid"), &[1, 3, 2, 3], &x);
        assert_eq!(y, [&x[..6], &[0.0; 6], &x[12..]].concat());
    }

    // [1, 2, 3] in two axes, by way of operators that keep and change the shape.
    let mut net = Net::new(&["batch", "3", "2", "2"]);
    let elements = stored(&mut net, &[2, 3], data_type::INT64, &[7, 8, 9, 1, 2, 3]);
    let [zero, one, three, ends, shape] = [&[0][..], &[1], &[3], &[0, 2], &[3, 1, 2]].map(|n| net.integers(n));
    let row = net.node("Gather", &[&elements, &one], &[("axis", Int(0))]);
    let row = net.node("Slice", &[&row, &zero, &three, &one], &[]);
    let column = net.node("Transpose", &[&row], &[]);
    let row = net.node("Squeeze", &[&column, &one], &[]);
    let row = net.node("Unsqueeze", &[&row, &zero], &[]);
    let both = net.node("Mul", &[&column, &row], &[]);
    let last = net.node("Gather", &[&both, &ends], &[("axis", Int(1))]);
    let [first, last] = [&zero, &one].map(|i| net.node("Gather", &[&last, i], &[("axis", Int(1))]));
    let pair = net.node("Concat", &[&first, &last], &[("axis", Int(1))]);
    let pair = net.node("Reshape", &[&pair, &shape], &[]);
    let pair = net.node("Unsqueeze", &[&pair, &zero], &[]);
    let pair = net.node("Cast", &[&pair], &FLOAT);
    let y = net.node("Add", &["x", &pair], &[]);
    let (_, y) = run(&Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid"), &[1, 3, 2, 2], &[0.0; 12]);
    assert_eq!(y, [1., 3., 1., 3., 2., 6., 2., 6., 3., 9., 3., 9.]);
}

#[test]
fn masks_of_weights_fold_away() {
    let mut net = Net::new(&["batch", "2", "4", "4"]);
    let (w, b) = (net.random(4 * 2 * 9), net.weights(&[4], &[0.1, 0.2, 0.3, 0.4]));
    let (w, mask) = (net.weights(&[4, 2, 3, 3], &w), stored(&mut net, &[4, 1, 1, 1], data_type::BOOL, &[1, 0, 1, 0]));
    let mask = net.node("Cast", &[&mask], &FLOAT);
    let masked = net.node("Mul", &[&w, &mask], &[]);
    let y = net.node("Conv", &["x", &masked, &b], &[]);
    let y = net.node("Flatten", &[&y], &[]);
    let w = net.random(3 * 16);
    let (w, mask) = (net.weights(&[3, 16], &w), net.weights(&[16], &[[1.0; 8], [0.0; 8]].concat()));
    let masked = net.node("Mul", &[&w, &mask], &[]);
    let y = net.node("Gemm", &[&y, &masked], &[("transB", Int(1))]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[2, 2, 4, 4]]);
    assert_eq!(kept_channels(&graph, "Conv_2"), Some(vec![0]), "the Gemm reads two channels, one of which is masked");
}

#[test]
fn stored_tensors_may_be_outputs() {
    let with_output = |tensor: TensorProto| {
        let mut net = Net::new(&["batch", "2", "2", "2"]);
        let y = net.node("Relu", &["x"], &[]);
        net.graph().initializer.push(tensor);
        net.finish(&["stored", &y])
    };
    let model = with_output(float_tensor("stored", &[2, 2], &[1.0, 2.0, 3.0, 4.0]));
    let model = Model::from_bytes(&convert(&model, false)).expect("valid");
    assert_eq!(run(&model, &[1, 2, 2, 2], &[0.0; 8]), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));

    let integers = |raw_data: Vec<u8>| TensorProto { raw_data: raw_data.into(), ..float_tensor("stored", &[2], &[]) };
    let of = |tensor: TensorProto| with_output(TensorProto { data_type: data_type::INT32, ..tensor });
    let model = of(integers([7i32, -1].map(i32::to_le_bytes).concat()));
    let model = Model::from_bytes(&convert(&model, false)).expect("valid");
    assert_eq!(run(&model, &[1, 2, 2, 2], &[0.0; 8]), (vec![2], vec![7.0, -1.0]));
    assert_eq!(model.output_types()[0], sslm::ElementType::I32);
    let message = refusal(&of(integers([1i32 << 25, 0].map(i32::to_le_bytes).concat())));
    assert!(message.contains("output 'stored'") && message.contains("that float32 has, up to 16777216"), "{message}");
}

#[test]
fn batch_norm_folds_and_stands_alone() {
    let mut net = Net::new(&["batch", "2", "3", "3"]);
    let parameters = |net: &mut Net| {
        let elements = [[2.0, 0.0], [0.5, -1.0], [0.25, 3.0], [4.0, 1.0]];
        elements.map(|n| net.weights(&[2], &n))
    };
    let [scale, shift, mean, variance] = parameters(&mut net);
    let first = net.node("BatchNormalization", &["x", &scale, &shift, &mean, &variance], &[("epsilon", Float(0.0))]);
    let w = net.weights(&[2, 2, 1, 1], &[1.0, 0.0, 0.0, 1.0]);
    let conv = net.node("Conv", &[&first, &w], &[]);
    let [scale, shift, mean, variance] = parameters(&mut net);
    let second = net.node("BatchNormalization", &[&conv, &scale, &shift, &mean, &variance], &[("epsilon", Float(0.0))]);
    let file = convert(&net.finish(&[&second]), false);
    let model = Model::from_bytes(&file).expect("valid");
    let graph = graph_of(&file);
    let names: Vec<&str> = graph.nodes.iter().map(|n| n.op.name()).collect();
    assert_eq!(names, ["BatchNormalization", "Conv"], "the second one is in the convolution's weights");
    let (_, y) = run(&model, &[1, 2, 3, 3], &[1.0; 18]);
    // (1 - 0.25) / 2 * 2 + 0.5 = 1.25, then (1.25 - 0.25) / 2 * 2 + 0.5 = 1.5; a scale of 0 leaves the shift.
    assert_eq!(y, [[1.5f32; 9], [-1.0; 9]].concat());
}

#[test]
fn external_data_is_read_and_confined() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let expected = outputs(&small());
    let mut model = small();
    let mut data = vec![0u8; 16];
    for t in &mut graph(&mut model).initializer {
        let bytes = std::mem::take(&mut t.raw_data);
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        t.data_location = 1;
        t.external_data = vec![
            entry("location", "weights.bin".into()),
            entry("offset", data.len().to_string()),
            entry("length", bytes.len().to_string()),
        ];
        data.extend_from_slice(&bytes);
    }
    std::fs::write(folder.path().join("weights.bin"), &data).expect("a writable folder");
    let (source, target) = (folder.path().join("model.onnx"), folder.path().join("model.sslm"));
    let convert_file = |model: &ModelProto| {
        std::fs::write(&source, model.encode_to_vec()).expect("a writable folder");
        ssl_convert::convert(&source, &target, &ssl_convert::Options::default())
    };
    convert_file(&model).expect("it converts");
    let shape = [2, 2, 5, 5];
    assert_eq!(run(&Model::read(&target).expect("valid"), &shape, &input(&shape)).1, expected);

    let cases = [
        ("location", "../weights.bin"),
        ("location", "/etc/passwd"),
        ("location", "a/../../weights.bin"),
        ("location", "missing.bin"),
        ("offset", "-1"),
        ("offset", "18446744073709551615"),
        ("length", "99999999"),
        ("length", "4"),
    ];
    for (key, value) in cases {
        let mut bad = model.clone();
        let entries = &mut graph(&mut bad).initializer[0].external_data;
        entries.iter_mut().find(|e| e.key == key).expect("an entry").value = value.into();
        let message = format!("{:#}", convert_file(&bad).expect_err(value));
        assert!(message.contains("tensor 'w0'"), "{key} {value}: {message}");
    }
    for (key, value) in [("location", "other.bin"), ("offset", "0"), ("length", "4")] {
        let mut bad = model.clone();
        graph(&mut bad).initializer[0].external_data.push(StringStringEntryProto { key: key.into(), value: value.into() });
        let message = format!("{:#}", convert_file(&bad).expect_err(key));
        assert!(message.contains(&format!("tensor 'w0': external data: expected one {key}, found two")), "{message}");
    }
}

/// Links lead out of a model's folder, or to what never ends, as plainly as names do.
#[cfg(unix)]
#[test]
fn external_data_is_confined_wherever_links_lead() {
    use sslm_tests::tools::make_pipe;
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let mut model = small();
    let initializer = &mut graph(&mut model).initializer[0];
    let bytes = std::mem::take(&mut initializer.raw_data);
    initializer.data_location = 1;
    std::fs::create_dir_all(at("own/data")).expect("a writable folder");
    std::fs::create_dir_all(at("cache")).expect("a writable folder");
    for name in ["own/w.bin", "own/data/w.bin", "secret.bin", "cache/w.bin"] {
        std::fs::write(at(name), &bytes).expect("a writable folder");
    }
    for (link, target) in [
        ("own/within.bin", "data/w.bin"),
        ("own/out.bin", "../secret.bin"),
        ("own/up", ".."),
        ("own/device.bin", "/dev/zero"),
        ("own/circle.bin", "circle.bin"),
        ("linked", "own"),
        ("own/cached.onnx", "../cache/model.onnx"),
        ("own/cached.bin", "../cache/w.bin"),
    ] {
        symlink(target, at(link)).expect("a writable folder");
    }
    make_pipe(&at("own/pipe.bin"));
    let outside = Some("expected a file below the model's folder, found a link to");
    for (path, location, expected) in [
        ("own/model.onnx", "w.bin", None),
        ("own/model.onnx", "./data/w.bin", None),
        ("own/model.onnx", "within.bin", None),
        ("linked/model.onnx", "data/w.bin", None),
        ("linked/model.onnx", "within.bin", None),
        // As caches of downloads have it: all files of a folder are links into another one.
        ("own/cached.onnx", "cached.bin", None),
        ("own/cached.onnx", "out.bin", outside),
        ("own/model.onnx", "cached.bin", outside),
        ("own/model.onnx", "out.bin", outside),
        ("own/model.onnx", "up/secret.bin", outside),
        ("linked/model.onnx", "out.bin", outside),
        ("own/model.onnx", "device.bin", outside),
        ("own/model.onnx", "pipe.bin", Some("expected a file, found something else")),
        ("own/model.onnx", "data", Some("expected a file, found something else")),
        ("own/model.onnx", "circle.bin", Some("cannot read")),
    ] {
        graph(&mut model).initializer[0].external_data =
            vec![StringStringEntryProto { key: "location".into(), value: location.into() }];
        std::fs::write(at(path), model.encode_to_vec()).expect("a writable folder");
        let found = ssl_convert::convert(&at(path), &at("model.sslm"), &ssl_convert::Options::default()).err();
        let found = found.map(|e| format!("{e:#}"));
        let is_expected = match (&found, expected) {
            (Some(found), Some(expected)) => found.contains("tensor 'w0': external data: ") && found.contains(expected),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(is_expected, "{path}, {location}: expected {expected:?}, found {found:?}");
    }
}

/// What ONNX lets be defined once is refused where it is defined twice: which of both counts is anyone's guess.
#[test]
fn names_are_defined_once() {
    let mut net = Net::new(&["1", "1", "2", "2"]);
    let w = net.weights(&[1, 1, 2, 2], &[1.0; 4]);
    let y = net.node("Add", &["x", &w], &[]);
    let z = net.node("Relu", &[&y], &[]);
    let model = net.finish(&[&z]);
    convert(&model, false);
    let change = |change: &dyn Fn(&mut GraphProto)| {
        let mut changed = model.clone();
        change(graph(&mut changed));
        changed
    };
    let output_of_1 = |name: &str| {
        let name = name.to_owned();
        move |graph: &mut GraphProto| {
            graph.node[1].output[0].clone_from(&name);
            graph.output[0].name.clone_from(&name);
        }
    };
    let with_branch = |name: &str| {
        let name = name.to_owned();
        let node = NodeProto { op_type: "Relu".into(), input: vec!["x".into()], output: vec![name], ..Default::default() };
        move |graph: &mut GraphProto| {
            let branch = GraphProto { node: vec![node.clone()], ..Default::default() };
            graph.node[1].attribute.push(AttributeProto { name: "then_branch".into(), g: Some(branch), ..Default::default() });
        }
    };
    for (name, changed) in [
        (&*y, change(&output_of_1(&y))),
        ("x", change(&output_of_1("x"))),
        (&*w, change(&output_of_1(&w))),
        ("x", change(&|graph| graph.input.push(graph.input[0].clone()))),
        (&*w, change(&|graph| graph.initializer.push(graph.initializer[0].clone()))),
        (&*y, change(&|graph| graph.node[0].output.push(y.clone()))),
        (&*y, change(&with_branch(&y))),
    ] {
        assert_eq!(refusal(&changed), format!("tensor '{name}': expected one definition, found two"));
    }
    // An input may have a default, what is left out may be so twice, and a branch may name what is only defined behind it.
    for changed in [
        change(&|graph| graph.input.push(value_info(&w, &["1", "1", "2", "2"]))),
        change(&|graph| graph.node.iter_mut().for_each(|node| node.output.extend([String::new(), String::new()]))),
        change(&with_branch(&z)),
    ] {
        convert(&changed, false);
    }
}

/// Extents that are none are refused; those by which exporters say that a dim is open are not.
#[test]
fn extents_of_inputs_are_checked() {
    for (extent, is_open) in [(1, true), (0, true), (-1, true), (-2, false), (i64::MIN, false)] {
        let mut net = Net::new(&["1", "1", "2", "2"]);
        let y = net.node("Relu", &["x"], &[]);
        let mut model = net.finish(&[&y]);
        let input = graph(&mut model).input[0].r#type.as_mut().and_then(|t| t.tensor_type.as_mut()).expect("a tensor");
        input.shape.as_mut().expect("a shape").dim[0].dim_value = Some(extent);
        if is_open {
            convert(&model, false);
        } else {
            let (message, expected) = (refusal(&model), "input 'x': axis 0: expected a positive extent, or -1 for an open one");
            assert!(message.contains(&format!("{expected}, found {extent}")), "{message}");
        }
    }
}

/// Reshapes `y` to the batch of `x`, what is left, and `last`.
fn to_batch_of_x(net: &mut Net, y: &str, last: i64) -> String {
    let shape = net.node("Shape", &["x"], &[("end", Int(1))]);
    let rest = net.integers(&[-1, last]);
    let target = net.node("Concat", &[&shape, &rest], &[("axis", Int(0))]);
    net.node("Reshape", &[y, &target], &[])
}

#[test]
fn the_batch_is_followed_through_every_operator() {
    let mut net = Net::new(&["batch", "4", "height", "width"]);
    let w = net.random(6 * 4);
    let conv = net.conv("x", [6, 4, 1, 1], &w, &[0.5; 6], &[]);
    let sum = net.node("Add", &[&conv, &conv], &[]);
    let pooled = net.node("GlobalMaxPool", &[&sum], &[]);
    let two = net.node("Concat", &[&pooled, &pooled], &[("axis", Int(1))]);
    let flat = net.integers(&[-1, 12]);
    let flat = net.node("Reshape", &[&two, &flat], &[]);
    let first = net.node("Transpose", &[&flat], &[]);
    let first = net.node("Transpose", &[&first], &[]);
    let y = to_batch_of_x(&mut net, &first, 4);
    let y = net.node("ReduceMean", &[&y], &[("axes", Ints(&[2])), ("keepdims", Int(0))]);
    let y = to_batch_of_x(&mut net, &y, 3);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    for batch in [1, 3] {
        let shape = [batch, 4, 2, 5];
        assert_eq!(run(&model, &shape, &input(&shape)).0, [batch, 1, 3]);
    }

    // Dims of one name are equal, those of another input as well.
    let mut net = Net::new(&["batch", "4"]);
    net.graph().input.push(value_info("z", &["batch", "2", "3"]));
    let y = to_batch_of_x(&mut net, "z", 2);
    let mut file = OnnxFile::decode(encode(&net.finish(&[&y])), PathBuf::new()).expect("it decodes");
    let graph = ssl_convert::network(&mut file, false).expect("it converts");
    assert_eq!(graph.shapes[2], [vec![Extent::symbol("batch")], shape::of(&[3, 2])].concat());

    // The batch and channels as one axis, and apart again.
    let mut net = Net::new(&["batch", "4", "3"]);
    let merged = net.integers(&[-1, 3]);
    let merged = net.node("Reshape", &["x", &merged], &[]);
    let y = to_batch_of_x(&mut net, &merged, 3);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    for batch in [1, 3] {
        let shape = [batch, 4, 3];
        assert_eq!(run(&model, &shape, &input(&shape)).0, [batch, 4, 3]);
    }
}

/// The extent of `axis` of `x`, by Shape and Gather, as exporters write it.
fn extent_of(net: &mut Net, x: &str, axis: i64) -> String {
    let (shape, index) = (net.node("Shape", &[x], &[]), net.integers(&[axis]));
    net.node("Gather", &[&shape, &index], &[("axis", Int(0))])
}

#[test]
fn sizes_are_computed_from_sizes() {
    let mut net = Net::new(&["n", "4", "h", "w"]);
    let [n, c, h, w] = [0, 1, 2, 3].map(|axis| extent_of(&mut net, "x", axis));
    // Two groups of channels, each with all positions: [n * 2, c / 2 * h * w].
    let two = net.integers(&[2]);
    let groups = net.node("Mul", &[&n, &two], &[]);
    let per_group = net.node("Div", &[&c, &two], &[]);
    let positions = net.node("Mul", &[&h, &w], &[]);
    let elements = net.node("Mul", &[&per_group, &positions], &[]);
    let target = net.node("Concat", &[&groups, &elements], &[("axis", Int(0))]);
    let grouped = net.node("Reshape", &["x", &target], &[]);
    // And back.
    let shape = net.node("Shape", &["x"], &[]);
    let back = net.node("Reshape", &[&grouped, &shape], &[]);
    // The left half of each row, and the first half of the rows less one.
    let (zero, axis) = (net.integers(&[0]), net.integers(&[3]));
    let half = net.node("Div", &[&w, &two], &[]);
    let left = net.node("Slice", &[&back, &zero, &half, &axis], &[]);
    let model = net.finish(&[&left, &grouped]);
    let (compact, dense) = (convert(&model, false), convert(&model, true));
    for [n, h, w] in [[1, 2, 3], [2, 5, 8], [3, 1, 2]] {
        let (shape, x) = ([n, 4, h, w], input(&[n, 4, h, w]));
        for bytes in [&compact, &dense] {
            let model = Model::from_bytes(bytes).expect("valid");
            let (found, elements) = run(&model, &shape, &x);
            assert_eq!(found, [n, 4, h, w / 2]);
            let rows = x.chunks(w).flat_map(|row| row[..w / 2].to_vec()).collect::<Vec<f32>>();
            assert_eq!(elements, rows);
        }
    }
}

/// Integers that a height makes of this one, and is added to, as ONNX computes them.
#[test]
fn sizes_are_rounded_towards_zero_as_integers_are() {
    let cases = [(0, 1), (0, -1), (5, -1), (-5, 1), (-7, 2)];
    let divisors = [2, -3];
    let mut net = Net::new(&["1", "1", "h", "2"]);
    let height = extent_of(&mut net, "x", 2);
    let minus = net.node("Neg", &[&height], &[]);
    let mut outputs = vec![minus];
    for (constant, factor) in cases {
        let (constant, factor) = (net.integers(&[constant]), net.integers(&[factor]));
        let product = net.node("Mul", &[&height, &factor], &[]);
        let size = net.node("Add", &[&constant, &product], &[]);
        let fraction = net.node("Cast", &[&size], &FLOAT);
        for divisor in divisors {
            let by = net.integers(&[divisor]);
            outputs.push(net.node("Div", &[&size, &by], &[]));
            outputs.push(net.node("Mod", &[&size, &by], &[]));
            outputs.push(net.node("Mod", &[&size, &by], &[("fmod", Int(1))]));
            let by = net.weights(&[1], &[divisor as f32]);
            let quotient = net.node("Div", &[&fraction, &by], &[]);
            outputs.push(net.node("Cast", &[&quotient], &[("to", Int(7))]));
            let factor = net.weights(&[1], &[divisor as f32 * 0.35]);
            let product = net.node("Mul", &[&fraction, &factor], &[]);
            outputs.push(net.node("Cast", &[&product], &[("to", Int(7))]));
        }
        outputs.push(net.node("Cast", &[&size], &[("to", Int(3))]));
    }
    outputs.push(net.node("Cast", &[&height], &[("to", Int(9))]));
    let outputs: Vec<String> = outputs.iter().map(|y| net.node("Cast", &[y], &FLOAT)).collect();
    let model = net.finish(&outputs.iter().map(String::as_str).collect::<Vec<_>>());
    let model = Model::from_bytes(&convert(&model, false)).expect("valid");
    for height in [1i64, 2, 3, 4, 5, 6, 9, 200] {
        let mut expected = vec![-height];
        for (constant, factor) in cases {
            let size = constant + factor * height;
            for divisor in divisors {
                let rest = size - divisor * (size as f64 / divisor as f64).floor() as i64;
                let product = (size as f32 * (divisor as f32 * 0.35)) as i64;
                expected.extend([size / divisor, rest, size % divisor, size / divisor, product]);
            }
            expected.push(i64::from(size as i8));
        }
        expected.push(1);
        let shape = [1, 1, height as usize, 2];
        let found: Vec<i64> = run_all(&model, &shape, &input(&shape)).into_iter().map(|(_, _, y)| y[0] as i64).collect();
        assert_eq!(found, expected, "of {height}");
    }
}

/// A divisor whose sign follows from the input makes no size, but a number.
#[test]
fn quotients_of_any_sign_are_computed_at_run_time() {
    let mut net = Net::new(&["1", "1", "h", "2"]);
    let (height, five, four) = (extent_of(&mut net, "x", 2), net.integers(&[5]), net.integers(&[-7]));
    let divisor = net.node("Sub", &[&height, &five], &[]);
    let y = net.node("Div", &[&four, &divisor], &[]);
    let y = net.node("Cast", &[&y], &FLOAT);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    for height in [1i64, 2, 3, 4, 6, 7, 8] {
        let shape = [1, 1, height as usize, 2];
        assert_eq!(run(&model, &shape, &input(&shape)).1, [(-7 / (height - 5)) as f32], "of {height}");
    }
}

#[test]
fn grids_follow_the_size_of_the_input() {
    // Adds to each element its column: a Range of the width, as float32.
    let mut net = Net::new(&["n", "2", "h", "w"]);
    let width = extent_of(&mut net, "x", 3);
    let width = net.node("Squeeze", &[&width], &[]);
    let [zero, one] = [0, 1].map(|i| {
        let list = net.integers(&[i]);
        net.node("Squeeze", &[&list], &[])
    });
    let columns = net.node("Range", &[&zero, &width, &one], &[]);
    let columns = net.node("Cast", &[&columns], &[("to", Int(1))]);
    let y = net.node("Add", &["x", &columns], &[]);
    // As an output, too, of a ConstantOfShape that is as wide.
    let list = extent_of(&mut net, "x", 3);
    let wide = net.node("ConstantOfShape", &[&list], &[]);
    let model = Model::from_bytes(&convert(&net.finish(&[&y, &wide]), false)).expect("valid");
    for [h, w] in [[1, 1], [2, 7]] {
        let (shape, x) = ([1, 2, h, w], input(&[1, 2, h, w]));
        let (_, found) = run(&model, &shape, &x);
        let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + (i % w) as f32).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn lists_of_numbers() {
    // Of numbers that are known, and of those that are whole multiples of a width that is not.
    let mut net = Net::new(&["1", "width"]);
    let number = |net: &mut Net, x: f32| net.weights(&[], &[x]);
    let width = net.node("Shape", &["x"], &[("start", Int(1))]);
    let one = net.integers(&[0]);
    let width = net.node("Squeeze", &[&width, &one], &[]);
    let width = net.node("Cast", &[&width], &FLOAT);
    let two = number(&mut net, 2.0);
    let twice = net.node("Mul", &[&width, &two], &[]);
    let bounds = [(0.5, 2.0, 0.5), (3.0, 0.5, -1.0)].map(|(a, b, c)| [a, b, c].map(|x| number(&mut net, x)));
    let mut lists: Vec<String> =
        bounds.iter().map(|[start, limit, step]| net.node("Range", &[start, limit, step], &[])).collect();
    let (zero, three) = (number(&mut net, 0.0), number(&mut net, 3.0));
    lists.push(net.node("Range", &[&zero, &twice, &three], &[]));
    let [five, none, minus] = [5, 0, -2].map(|i| {
        let list = net.integers(&[i]);
        net.node("Squeeze", &[&list], &[])
    });
    let down = net.node("Range", &[&five, &none, &minus], &[]);
    lists.push(net.node("Cast", &[&down], &FLOAT));
    let elements = net.integers(&[0, 3, 0, 5]);
    let places = net.node("NonZero", &[&elements], &[]);
    lists.push(net.node("Cast", &[&places], &FLOAT));
    let size = net.node("Size", &["x"], &[]);
    lists.push(net.node("Cast", &[&size], &FLOAT));
    let model = net.finish(&lists.iter().map(String::as_str).collect::<Vec<_>>());
    let model = Model::from_bytes(&convert(&model, false)).expect("valid");
    let found: Vec<Vec<f32>> = run_all(&model, &[1, 4], &[0.0; 4]).into_iter().map(|(_, _, list)| list).collect();
    let expected: [&[f32]; 6] = [&[0.5, 1.0, 1.5], &[3.0, 2.0, 1.0], &[0.0, 3.0, 6.0], &[5.0, 3.0, 1.0], &[1.0, 3.0], &[4.0]];
    assert_eq!(found, expected);
}

/// An exporter that took height and width for known ones (of MobileViT, by tracing) says so where it says all sizes but the batch.
#[test]
fn sizes_that_were_baked_in_are_known_behind() {
    let mut net = Net::new(&["n", "4", "h", "w"]);
    let batch = extent_of(&mut net, "x", 0);
    let rest = net.integers(&[4, 6]);
    let dims = net.node("Concat", &[&batch, &rest], &[("axis", Int(0))]);
    let flat = net.node("Reshape", &["x", &dims], &[]);
    let last = net.node("Transpose", &[&flat], &[("perm", Ints(&[0, 2, 1]))]);
    let rest = net.integers(&[6, -1]);
    let dims = net.node("Concat", &[&batch, &rest], &[("axis", Int(0))]);
    let y = net.node("Reshape", &[&last, &dims], &[]);
    // Its channels are known, or they could not be normalised.
    let scale = net.weights(&[4], &[1.0; 4]);
    let y = net.node("LayerNormalization", &[&y, &scale], &[("epsilon", Float(0.0))]);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    for [h, w] in [[2, 3], [6, 1]] {
        let (shape, x) = ([2, 4, h, w], input(&[2, 4, h, w]));
        let (found_shape, found) = run(&model, &shape, &x);
        assert_eq!(found_shape, [2, 6, 4]);
        for (i, y) in found.chunks(4).enumerate() {
            let of = [0, 1, 2, 3].map(|c| f64::from(x[i / 6 * 24 + c * 6 + i % 6]));
            let mean = of.iter().sum::<f64>() / 4.0;
            let deviation = (of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
            let close = |(x, y): (&f64, &f32)| ((x - mean) / deviation - f64::from(*y)).abs() < 1e-5;
            assert!(of.iter().zip(y).all(close), "{of:?} became {y:?}");
        }
    }
}

#[test]
fn dims_without_a_name_are_their_own() {
    for name in ["?", "-1", "None"] {
        let mut net = Net::new(&["n", "1", name, name]);
        let y = net.node("Relu", &["x"], &[]);
        let model = net.finish(&[&y]);
        let inputs = Model::from_bytes(&convert(&model, false)).expect("valid").inputs();
        let symbols: Vec<_> = inputs[0].dims.iter().map(|dim| dim.symbol().map(str::to_owned)).collect();
        assert_eq!(symbols, [Some("n".to_owned()), None, Some("x_2".to_owned()), Some("x_3".to_owned())]);
    }
}

#[test]
fn weights_that_are_computed_are_weights() {
    // Standardised: (w - mean) / deviation, then clipped by a Relu; the second filter is zero afterwards.
    let mut net = Net::new(&["n", "2", "4", "4"]);
    let mut elements = net.random(3 * 2);
    elements[2..4].fill(-2.0);
    let w = net.weights(&[3, 2, 1, 1], &elements);
    let mean = net.node("ReduceMean", &[&w], &[("axes", Ints(&[0, 1, 2, 3])), ("keepdims", Int(1))]);
    let centered = net.node("Sub", &[&w, &mean], &[]);
    let positive = net.node("Relu", &[&centered], &[]);
    let conv = net.node("Conv", &["x", &positive], &[]);
    let ones = net.weights(&[1, 3, 1, 1], &[1.0; 3]);
    let y = net.node("Conv", &[&conv, &ones], &[]);
    let model = net.finish(&[&y]);
    let mean = elements.iter().sum::<f32>() / 6.0;
    let (found, x) = (outputs_of(&model, &[1, 2, 4, 4]), input(&[1, 2, 4, 4]));
    for (i, y) in found.iter().enumerate() {
        let expected: f32 = (0..3)
            .flat_map(|f| (0..2).map(move |c| (f, c)))
            .map(|(f, c)| (elements[2 * f + c] - mean).max(0.0) * x[16 * c + i])
            .sum();
        assert!((y - expected).abs() < 1e-5, "{y} {expected}");
    }
    assert_eq!(kept_channels(&graph_of(&convert(&model, false)), &conv).expect("compacted").len(), 2);
}

/// The first output of a model, converted, on the usual input of this shape.
fn outputs_of(model: &ModelProto, shape: &[usize]) -> Vec<f32> {
    let model = Model::from_bytes(&convert(model, false)).expect("valid");
    run(&model, shape, &input(shape)).1
}

#[test]
fn all_unsupported_operators_are_named_at_once() {
    let mut net = Net::new(&["batch", "2", "4", "4"]);
    let a = net.node("Det", &["x"], &[]);
    let b = net.node("Relu", &[&a], &[]);
    let c = net.node("Compress", &["x"], &[]);
    let d = net.node("Det", &[&c], &[]);
    let e = net.node("Conv", &["x", "x"], &[]);
    net.graph().node[0].domain = String::new();
    let f = net.node("Concat", &[&b, &d, &e], &[("axis", Int(1))]);
    net.node("Unreachable", &["x"], &[]);
    let message = refusal(&net.finish(&[&f]));
    for part in [
        "operator Det is not supported: nodes 'Det_0', 'Det_3'",
        "node 'Compress_2' (Compress): how much it yields depends on elements",
        "node 'Conv_4' (Conv): weights",
    ] {
        assert!(message.contains(part), "expected '{part}' in: {message}");
    }
    assert!(!message.contains("Unreachable") && !message.contains("Concat_5"), "only causes are named: {message}");
}

/// Every operator, with any count of inputs of any kind, and attributes of any length: it is imported or refused.
#[test]
fn no_operator_relies_on_its_inputs_and_attributes() {
    let unknown = refusal(&node_of("Nowhere", &[Kind::Value], 1, &[]));
    let (_, operators) = unknown.split_once("Supported operators: ").expect("they are listed");
    let lists: [&[i64]; 3] = [&[], &[-1], &[3, 0, -2, 1, 5, 4, 9]];
    let mut attributes: Vec<Vec<(&str, Value<'_>)>> = vec![Vec::new()];
    for list in lists {
        let one = list.first().copied().unwrap_or(2);
        let of_lists = LISTS.iter().map(|name| (*name, Ints(list)));
        let floats = FLOATS.iter().map(|name| (*name, Floats(&[0.0, -2.0][..list.len().min(2)])));
        attributes.push(of_lists.chain(floats).chain(INTS.iter().map(|name| (*name, Int(one)))).collect());
    }
    let alike = Kind::ALL.map(|kind| [kind; 6]);
    let behind_a_value = Kind::ALL.map(|rest| [Kind::Value, rest, rest, rest, rest, rest]);
    for (operator, kinds) in operators.split(", ").flat_map(|name| alike.iter().chain(&behind_a_value).map(move |k| (name, k))) {
        for (count, attributes) in (0..=kinds.len()).flat_map(|count| attributes.iter().map(move |a| (count, a))) {
            for outputs in if attributes.is_empty() { 0..=3 } else { 1..=1 } {
                let model = node_of(operator, &kinds[..count], outputs, attributes);
                let mut file = OnnxFile::decode(encode(&model), PathBuf::new()).expect("it decodes");
                let result = std::panic::catch_unwind(move || ssl_convert::network(&mut file, false).map(drop));
                assert!(result.is_ok(), "{operator} of {:?} with {attributes:?} and {outputs} outputs panics", &kinds[..count]);
            }
        }
    }
}

const INTS: [&str; 14] = [
    "axis",
    "group",
    "keepdims",
    "blocksize",
    "hidden_size",
    "to",
    "num_outputs",
    "batch_dims",
    "upper",
    "largest",
    "p",
    "size",
    "num_groups",
    "ceil_mode",
];
const LISTS: [&str; 11] =
    ["axes", "kernel_shape", "pads", "strides", "dilations", "output_padding", "output_shape", "perm", "split", "starts", "ends"];
const FLOATS: [&str; 3] = ["scales", "activation_alpha", "value_floats"];

/// What a node reads.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Value,
    Line,
    Weights,
    Integers,
    Nothing,
}

impl Kind {
    const ALL: [Self; 5] = [Kind::Value, Kind::Line, Kind::Weights, Kind::Integers, Kind::Nothing];
}

/// One node whose outputs are the model's.
fn node_of(operator: &str, inputs: &[Kind], outputs: usize, attributes: &[(&str, Value<'_>)]) -> ModelProto {
    let mut net = Net::new(&["1", "2", "3", "4"]);
    net.graph().input.push(value_info("line", &["n"]));
    let weights = net.weights(&[2, 2, 1, 1], &[0.5, 0.0, 0.0, 2.0]);
    let integers = net.integers(&[1, -1]);
    let name = |kind: &Kind| match kind {
        Kind::Value => "x",
        Kind::Line => "line",
        Kind::Weights => &weights,
        Kind::Integers => &integers,
        Kind::Nothing => "",
    };
    let inputs: Vec<&str> = inputs.iter().map(name).collect();
    net.node(operator, &inputs, attributes);
    let names: Vec<String> = (0..outputs).map(|i| format!("y{i}")).collect();
    net.last_node().output.clone_from(&names);
    if let Some((domain, name)) = operator.rsplit_once('.') {
        let node = net.last_node();
        (node.domain, node.op_type) = (domain.to_owned(), name.to_owned());
    }
    let sum = net.node("Relu", &["x"], &[]);
    net.finish(&names.iter().map(String::as_str).chain([sum.as_str()]).collect::<Vec<_>>())
}

#[test]
fn integers_are_moved_and_cast_but_not_taken_for_float32() {
    let highest = |net: &mut Net| {
        let highest = net.node("ArgMax", &["x"], &[("axis", Int(1)), ("keepdims", Int(0))]);
        let axes = net.integers(&[1]);
        net.node("Unsqueeze", &[&highest, &axes], &[])
    };
    let mut net = Net::new(&["batch", "3", "2", "2"]);
    let y = highest(&mut net);
    let y = net.node("Cast", &[&y], &FLOAT);
    let two = net.weights(&[1], &[2.0]);
    let y = net.node("Div", &[&y, &two], &[]);
    let x = [0., 5., 1., 1., 1., 0., 3., 1., 2., 0., 2., 1.];
    let (shape, y) = run(&Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid"), &[1, 3, 2, 2], &x);
    assert_eq!((&shape[..], &y[..]), (&[1, 1, 2, 2][..], &[1.0, 0.0, 0.5, 0.0][..]));

    for (op, operands) in [("PRelu", 2), ("ReduceMean", 1), ("Sigmoid", 1), ("ReduceL2", 1)] {
        let mut net = Net::new(&["batch", "3", "2", "2"]);
        let y = highest(&mut net);
        let y = net.node(op, &vec![y.as_str(); operands], &[]);
        let message = refusal(&net.finish(&[&y]));
        let expected = format!("({op}): input 0: expected float32 (as of a Cast), found int64");
        assert!(message.contains(&expected), "expected '{expected}' in: {message}");
    }
}

/// The largest of three channels' positions, less 1: one of -1, 0 and 1.
fn integers_around_zero(net: &mut Net) -> String {
    let highest = net.node("ArgMax", &["x"], &[("axis", Int(1))]);
    let one = net.integers(&[1]);
    net.node("Sub", &[&highest, &one], &[])
}

/// What `build` makes of the integers -1, 0 and 1.
fn of_integers(build: impl Fn(&mut Net, &str) -> String) -> Vec<f32> {
    let mut net = Net::new(&["batch", "3", "1", "3"]);
    let y = integers_around_zero(&mut net);
    let y = build(&mut net, &y);
    let y = net.node("Cast", &[&y], &FLOAT);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    run(&model, &[1, 3, 1, 3], &[1., 0., 0., 0., 1., 0., 0., 0., 1.]).1
}

#[test]
fn integers_are_computed_with_as_integers() {
    let with = |op: &'static str, operand: i64| {
        of_integers(move |net, x| {
            let operand = net.integers(&[operand]);
            net.node(op, &[x, &operand], &[])
        })
    };
    for (op, operand, expected) in [
        ("Add", 2, [1.0, 2.0, 3.0]),
        ("Mul", -3, [3.0, 0.0, -3.0]),
        // Rounded towards 0.
        ("Div", 2, [0.0, 0.0, 0.0]),
        ("Div", -1, [1.0, 0.0, -1.0]),
        // Of the sign of the second one.
        ("Mod", 3, [2.0, 0.0, 1.0]),
        ("Mod", -3, [-1.0, 0.0, -2.0]),
        ("Max", 0, [0.0, 0.0, 1.0]),
        ("Min", 0, [-1.0, 0.0, 0.0]),
        ("Equal", 0, [0.0, 1.0, 0.0]),
        ("Less", 0, [1.0, 0.0, 0.0]),
        ("LessOrEqual", 0, [1.0, 1.0, 0.0]),
        ("Greater", 0, [0.0, 0.0, 1.0]),
        ("GreaterOrEqual", 0, [0.0, 1.0, 1.0]),
    ] {
        assert_eq!(with(op, operand), expected, "{op} {operand}");
    }
    for (op, expected) in
        [("Neg", [1.0, 0.0, -1.0]), ("Abs", [1.0, 0.0, 1.0]), ("Sign", [-1.0, 0.0, 1.0]), ("Relu", [0.0, 0.0, 1.0])]
    {
        assert_eq!(of_integers(move |net, x| net.node(op, &[x], &[])), expected, "{op}");
    }
    // A half is none.
    let powers = of_integers(|net, x| {
        let two = net.integers(&[2]);
        net.node("Pow", &[&two, x], &[])
    });
    assert_eq!(powers, [0.0, 1.0, 2.0]);
    assert_eq!(of_integers(|net, x| net.node("ReduceSum", &[x], &[])), [0.0]);
    assert_eq!(of_integers(|net, x| net.node("ReduceMin", &[x], &[])), [-1.0]);
}

#[test]
fn truth_is_combined_and_chooses() {
    let is_zero = |net: &mut Net, x: &str| {
        let zero = net.integers(&[0]);
        net.node("Equal", &[x, &zero], &[])
    };
    let combined = |op: &'static str| {
        of_integers(move |net, x| {
            let (one, is_zero) = (net.integers(&[1]), is_zero(net, x));
            let is_below = net.node("Less", &[x, &one], &[]);
            net.node(op, &[&is_zero, &is_below], &[])
        })
    };
    assert_eq!(["And", "Or", "Xor"].map(combined), [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]);
    let not = of_integers(|net, x| {
        let is_zero = is_zero(net, x);
        net.node("Not", &[&is_zero], &[])
    });
    assert_eq!(not, [1.0, 0.0, 1.0]);
    let chosen = of_integers(|net, x| {
        let (is_zero, seven) = (is_zero(net, x), net.integers(&[7]));
        net.node("Where", &[&is_zero, &seven, x], &[])
    });
    assert_eq!(chosen, [-1.0, 7.0, 1.0]);
}

/// What shapes are computed by is known where all of it is stored.
#[test]
fn stored_operands_are_computed_at_once() {
    let mut net = Net::new(&["batch", "4", "2"]);
    let shape = net.integers(&[0, -2, 4]);
    let (zero, four, minus) = (net.integers(&[0]), net.integers(&[4]), net.integers(&[-1]));
    let is_negative = net.node("Less", &[&shape, &zero], &[]);
    let is_large = net.node("GreaterOrEqual", &[&shape, &four], &[]);
    let either = net.node("Or", &[&is_negative, &is_large], &[]);
    let differ = net.node("Xor", &[&is_negative, &is_large], &[]);
    let either = net.node("And", &[&either, &differ], &[]);
    let larger = net.node("Max", &[&shape, &minus], &[]);
    let negated = net.node("Neg", &[&larger], &[]);
    let magnitudes = net.node("Abs", &[&negated], &[]);
    let remainder = net.node("Mod", &[&magnitudes, &four], &[]);
    let remainder = net.node("Pow", &[&remainder, &four], &[]);
    // 0, 1, 0, of which the last two are replaced by 2 and 4.
    let two_and_four = net.integers(&[9, 2, 4]);
    let dims = net.node("Where", &[&either, &two_and_four, &remainder], &[]);
    let y = net.node("Reshape", &["x", &dims], &[]);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    assert_eq!(run(&model, &[3, 4, 2], &[0.5; 24]).0, [3, 2, 4]);
}

#[test]
fn batch_normalisation_in_training_uses_the_batch() {
    let net = |opset: i64, further: usize, training: Option<i64>| {
        let mut net = Net::new(&["batch", "2", "1", "2"]);
        net.model.opset_import[0].version = opset;
        let parameters = [[2.0, 1.0], [0.5, 0.0], [9.0, 9.0], [4.0, 4.0]].map(|elements| net.weights(&[2], &elements));
        let inputs: Vec<&str> = std::iter::once("x").chain(parameters.iter().map(String::as_str)).collect();
        let attributes: Vec<_> = training.map(|mode| ("training_mode", Int(mode))).into_iter().collect();
        let y = net.node("BatchNormalization", &inputs, &attributes);
        let names = (0..further).map(|i| format!("further{i}")).collect::<Vec<_>>();
        net.last_node().output.extend(names);
        net.finish(&[&y])
    };
    let run = |model: &ModelProto| {
        let model = Model::from_bytes(&convert(model, false)).expect("valid");
        run(&model, &[2, 2, 1, 2], &[1.0, 3.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0]).1
    };
    // Mean 2 and variance 1, but for epsilon.
    let of_batch = [-1.5, 2.5, 0.0, 0.0, -1.5, 2.5, 0.0, 0.0];
    for model in [net(9, 4, None), net(15, 2, Some(1)), net(15, 0, Some(1))] {
        assert!(run(&model).iter().zip(&of_batch).all(|(y, expected)| (y - expected).abs() < 1e-4));
    }
    let stored = [-7.5, -5.5, -4.5, -4.5, -7.5, -5.5, -4.5, -4.5];
    for model in [net(9, 0, None), net(15, 0, Some(0)), net(15, 0, None)] {
        assert!(run(&model).iter().zip(&stored).all(|(y, expected)| (y - expected).abs() < 1e-4));
    }
}

/// What training would go on with: the statistics of before, and as much of those of the batch as momentum leaves.
#[test]
fn batch_normalisation_in_training_yields_running_statistics() {
    for opset in [14, 15] {
        let mut net = Net::new(&["2", "2", "1", "2"]);
        net.model.opset_import[0].version = opset;
        let parameters = [[2.0, 1.0], [0.5, 0.0], [9.0, 5.0], [4.0, 8.0]].map(|elements| net.weights(&[2], &elements));
        let inputs: Vec<&str> = std::iter::once("x").chain(parameters.iter().map(String::as_str)).collect();
        let attributes = [("training_mode", Int(1)), ("momentum", Float(0.75)), ("epsilon", Float(3.0))];
        let y = net.node("BatchNormalization", &inputs, &attributes);
        net.last_node().output.extend(["mean".into(), "variance".into()]);
        let file = convert(&net.finish(&[&y, "mean", "variance"]), false);
        let graph = graph_of(&file);
        let names: Vec<&str> = graph.outputs.iter().map(|v| graph.values[v.index()].name.as_str()).collect();
        assert_eq!(names, [&*y, "mean", "variance"]);
        let model = Model::from_bytes(&file).expect("valid");
        let outputs = run_all(&model, &[2, 2, 1, 2], &[1.0, 3.0, 6.0, 0.0, 1.0, 3.0, 0.0, 6.0]);
        // Means 2 and 3, variances 1 and 9, to which epsilon is added for the first output alone.
        let low = 3.0 / 12f32.sqrt();
        let normal = [-0.5, 1.5, low, -low, -0.5, 1.5, -low, low];
        for ((name, _, found), expected) in outputs.iter().zip([&normal[..], &[7.25, 4.5], &[3.25, 8.25]]) {
            let close = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(close, "{name} of opset {opset}: {found:?}, expected {expected:?}");
        }
        assert_eq!(outputs.len(), 3);
    }
}

#[test]
fn functions_of_other_domains() {
    let mut net = Net::new(&["3"]);
    let y = net.node("QuickGelu", &["x"], &[]);
    net.last_node().domain = "com.microsoft".into();
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    let expected = [-1.0f64, 0.0, 2.0].map(|x| x / (1.0 + (-1.702 * x).exp()));
    assert!(
        run(&model, &[3], &[-1.0, 0.0, 2.0]).1.iter().zip(expected).all(|(y, expected)| (f64::from(*y) - expected).abs() < 1e-6)
    );
    for (activation, expected) in [(None, [-1.0, 2.0]), (Some("Relu"), [0.0, 2.0])] {
        let mut net = Net::fixed(&[1, 1, 1, 2]);
        let w = net.weights(&[1, 1, 1, 1], &[1.0]);
        let attributes: Vec<_> = activation.iter().map(|name| ("activation", Text(name))).collect();
        let y = net.node("FusedConv", &["x", &w], &attributes);
        net.last_node().domain = "com.microsoft".into();
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        assert_eq!(run(&model, &[1, 1, 1, 2], &[-1.0, 2.0]).1, expected);
    }
    let mut net = Net::new(&["3"]);
    let y = net.node("Sigmoid", &["x"], &[]);
    net.last_node().domain = "somebody.else".into();
    assert!(refusal(&net.finish(&[&y])).contains("operator somebody.else.Sigmoid is not supported"));
}

#[test]
fn what_normalisations_refuse() {
    let group_norm = |groups: i64, parameters: usize| {
        let mut net = Net::new(&["batch", "6", "4", "4"]);
        net.model.opset_import[0].version = 21;
        let elements = vec![1.0; parameters];
        let (scale, bias) = (net.weights(&[parameters], &elements), net.weights(&[parameters], &elements));
        let y = net.node("GroupNormalization", &["x", &scale, &bias], &[("num_groups", Int(groups))]);
        refusal(&net.finish(&[&y]))
    };
    assert!(group_norm(4, 6).contains("num_groups: expected a divisor of 6 channels, found 4"));
    assert!(group_norm(3, 3).contains("scale: expected 6 elements, found 3"));
    let mut net = Net::new(&["batch", "6"]);
    let y = net.node("LpNormalization", &["x"], &[("p", Int(3))]);
    assert!(refusal(&net.finish(&[&y])).contains("p: expected 1 or 2, found 3"));
    let mut net = Net::new(&["batch", "6"]);
    let y = net.node("Celu", &["x"], &[("alpha", Float(-1.0))]);
    assert!(refusal(&net.finish(&[&y])).contains("alpha: expected a positive number, found -1"));
}

#[test]
fn bad_models_are_refused_with_a_reason() {
    type Change = fn(&mut ModelProto);
    let cases: [(&str, Change); 15] = [
        ("opset: expected 1 to 28, found 29", |m| m.opset_import[0].version = 29),
        ("opset_import", |m| m.opset_import.clear()),
        ("bool or integers of 8 bits and more, found bfloat16", |m| {
            let tensor = graph(m).input[0].r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
            tensor.expect("a tensor type").elem_type = data_type::BFLOAT16;
        }),
        ("float64, bfloat16, bool or integers, found string", |m| graph(m).initializer[0].data_type = 8),
        ("expected as many elements as dims [3, 2, 3, 3] say, found 53", |m| {
            let data = &mut graph(m).initializer[0].raw_data;
            *data = data.slice(4..);
        }),
        ("no negative extent", |m| graph(m).initializer[0].dims[0] = -3),
        ("expected 4 axes, as the input has", |m| graph(m).initializer[0].dims = vec![3, 2, 9]),
        ("kernel_shape: expected [3, 3]", |m| {
            let attribute = AttributeProto { name: "kernel_shape".into(), ints: vec![2, 2], r#type: 7, ..Default::default() };
            graph(m).node[0].attribute.push(attribute);
        }),
        ("group: expected a divisor of the 3 filters, found 2", |m| {
            graph(m).node[0].attribute.push(AttributeProto { name: "group".into(), i: 2, r#type: 2, ..Default::default() });
        }),
        ("input channels: expected 2, found 7", |m| graph(m).input[0] = value_info("x", &["batch", "7", "5", "5"])),
        ("input features: expected 75, found 108", |m| graph(m).input[0] = value_info("x", &["batch", "2", "6", "6"])),
        ("expected a value that is defined before, found 'nowhere'", |m| graph(m).node[0].input[0] = "nowhere".into()),
        ("finite weights, found NaN", |m| {
            let t = &mut graph(m).initializer[0];
            let mut elements = vec![0.0f32; 54];
            elements[17] = f32::NAN;
            *t = float_tensor(&t.name.clone(), &[3, 2, 3, 3], &elements);
        }),
        ("output 'elsewhere': expected a node or input that defines it", |m| graph(m).output[0].name = "elsewhere".into()),
        ("bias: expected 3 elements, found 4", |m| {
            let bias = graph(m).initializer[3].name.clone();
            graph(m).node[0].input[2] = bias;
        }),
    ];
    for (expected, change) in cases {
        let mut model = small();
        change(&mut model);
        let message = refusal(&model);
        assert!(message.contains(expected), "expected '{expected}' in: {message}");
    }
}

#[test]
fn weights_and_biases_that_are_not_finite_are_refused() {
    for op in ["Conv", "ConvTranspose"] {
        for (weight, bias) in [(f32::NAN, 0.0), (1.0, f32::INFINITY), (f32::NEG_INFINITY, f32::NAN)] {
            let mut net = Net::new(&["batch", "2", "5", "5"]);
            let (w, b) = (net.weights(&[2, 2, 1, 1], &[1.0, weight, 1.0, 1.0]), net.weights(&[2], &[1.0, bias]));
            let y = net.node(op, &["x", &w, &b], &[]);
            let message = refusal(&net.finish(&[&y]));
            assert!(message.contains("expected finite weights, found NaN or infinity"), "{op}, {weight}, {bias}: {message}");
        }
    }
    let mut net = Net::fixed(&[1, 1, 2, 2, 2]);
    let w = net.weights(&[1, 1, 1, 1, 1], &[f32::NAN]);
    let y = net.node("Conv", &["x", &w], &[]);
    assert!(refusal(&net.finish(&[&y])).contains("expected finite weights, found NaN or infinity"));
    for (op, weight, bias) in [("Gemm", f32::NAN, 0.0), ("Gemm", 1.0, f32::INFINITY), ("Add", f32::NAN, 0.0)] {
        let mut net = Net::new(&["batch", "2"]);
        let (w, b) = (net.weights(&[2, 2], &[1.0, weight, 1.0, 1.0]), net.weights(&[2], &[1.0, bias]));
        let inputs: &[&str] = if op == "Gemm" { &["x", &w, &b] } else { &["x", &w] };
        let y = net.node(op, inputs, &[]);
        let message = refusal(&net.finish(&[&y]));
        assert!(message.contains("expected finite weights, found NaN or infinity"), "{op}, {weight}, {bias}: {message}");
    }
    let groups: &[_] = &[("num_groups", Int(1))];
    let cases = [
        ("BatchNormalization", 4, &[][..]),
        ("InstanceNormalization", 2, &[]),
        ("GroupNormalization", 2, groups),
        ("LayerNormalization", 2, &[]),
    ];
    for (op, count, attributes) in cases {
        for wrong in 0..2 {
            let mut net = Net::new(&["batch", "2", "2"]);
            net.model.opset_import[0].version = 21;
            let parameters = (0..count).map(|i| net.weights(&[2], &[1.0, if i == wrong { f32::NAN } else { 1.0 }]));
            let inputs = [vec!["x".to_owned()], parameters.collect()].concat();
            let y = net.node(op, &inputs.iter().map(String::as_str).collect::<Vec<_>>(), attributes);
            let message = refusal(&net.finish(&[&y]));
            assert!(message.contains("expected finite weights, found NaN or infinity"), "{op}, parameter {wrong}: {message}");
        }
    }
}

#[test]
fn swish_by_its_name() {
    for alpha in [1.0, 0.25, 1.5] {
        let mut net = Net::new(&["300"]);
        net.model.opset_import[0].version = 24;
        let y = net.node("Swish", &["x"], &[("alpha", Float(alpha))]);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        let x: Vec<f32> = (0..300).map(|i| i as f32 / 25.0 - 6.0).collect();
        for (found, &x) in run(&model, &[300], &x).1.iter().zip(&x) {
            let wide = f64::from(x);
            let expected = wide / (1.0 + (-f64::from(alpha) * wide).exp());
            assert!((f64::from(*found) - expected).abs() <= 1e-6 * wide.abs(), "{alpha}, {x}: {found}, not {expected}");
        }
    }
}

/// A convolution of which filter 1 is zero, so that a constant channel enters the Gelu, and one behind it.
fn with_gelu(approximate: Option<&str>) -> ModelProto {
    let mut net = Net::new(&["batch", "2", "5", "5"]);
    net.model.opset_import[0].version = 20;
    let mut w = net.random(3 * 2 * 9);
    w[18..36].fill(0.0);
    let y = net.conv("x", [3, 2, 3, 3], &w, &[0.1, -0.7, 0.3], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let attributes: Vec<_> = approximate.iter().map(|text| ("approximate", Text(text))).collect();
    let y = net.node("Gelu", &[&y], &attributes);
    let w = net.random(2 * 3 * 9);
    let y = net.conv(&y, [2, 3, 3, 3], &w, &[0.5, -0.5], &[]);
    net.finish(&[&y])
}

#[test]
fn gelu_in_both_forms() {
    for approximate in [None, Some("none"), Some("tanh")] {
        let model = compact_equals_dense(&with_gelu(approximate), &[&[2, 2, 5, 5]]);
        assert_eq!(kept_channels(&model, "Gelu_1"), Some(vec![0, 2]), "{approximate:?}");

        let mut net = Net::new(&["300"]);
        net.model.opset_import[0].version = 20;
        let attributes: Vec<_> = approximate.iter().map(|text| ("approximate", Text(text))).collect();
        let y = net.node("Gelu", &["x"], &attributes);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        let x: Vec<f32> = (0..300).map(|i| i as f32 / 25.0 - 6.0).collect();
        for (found, &x) in run(&model, &[300], &x).1.iter().zip(&x) {
            let wide = f64::from(x);
            let odd = match approximate {
                Some("tanh") => ((2.0 / PI).sqrt() * (wide + 0.044715 * wide.powi(3))).tanh(),
                _ => libm::erf(wide / SQRT_2),
            };
            let expected = 0.5 * wide * (1.0 + odd);
            assert!((f64::from(*found) - expected).abs() <= 1e-6 * wide.abs(), "{approximate:?} of {x}: {found}, not {expected}");
        }
    }
    let message = refusal(&with_gelu(Some("sigmoid")));
    assert!(message.contains("node 'Gelu_1' (Gelu): approximate: expected none or tanh, found sigmoid"), "{message}");
}

#[test]
fn sizes_beyond_the_formats_are_refused() {
    let channels = "axis 1: expected fewer than 268435456 channels, found 268435456";
    let elements = "tensor: expected at most 1099511627776 elements, found more";
    for (target, expected) in [([0, 1 << 45], elements), ([0, 1 << 28], channels), ([1 << 21, 1 << 21], elements)] {
        let mut net = Net::new(&["batch", "6"]);
        let target = net.integers(&target);
        let y = net.node("Reshape", &["x", &target], &[]);
        let message = refusal(&net.finish(&[&y]));
        assert!(message.contains(&format!("node 'Reshape_0' (Reshape): {expected}")), "{message}");
    }
    // A file that stores few elements cannot ask for any amount of them.
    let mut net = Net::new(&["batch", "6"]);
    let shape = net.integers(&[1 << 15, 1 << 15]);
    let zeros = net.node("ConstantOfShape", &[&shape], &[]);
    let sum = net.node("Add", &[&zeros, &zeros], &[]);
    let message = refusal(&net.finish(&[&sum]));
    assert!(message.contains("(Add): expected at most 16777216 elements, found dims [32768, 32768]"), "{message}");
    for (dims, expected) in [(["batch", "268435456"], channels), (["2097152", "2097152"], elements)] {
        let mut net = Net::new(&dims);
        let y = net.node("Relu", &["x"], &[]);
        let message = refusal(&net.finish(&[&y]));
        assert!(message.contains(&format!("input 'x': {expected}")), "{message}");
    }
}

#[test]
fn hostile_bytes_do_not_panic() {
    let bytes = small().encode_to_vec();
    let try_one = |bytes: Vec<u8>| {
        if let Ok(mut file) = OnnxFile::decode(bytes.into(), Path::new("/nonexistent").to_path_buf())
            && let Ok(graph) = ssl_convert::network(&mut file, false)
        {
            // What converts must be writable or refused, never a crash.
            let _ = ssl_convert::emit::write(&graph, Default::default(), &mut std::io::Cursor::new(Vec::new()));
        }
    };
    (0..bytes.len()).for_each(|len| try_one(bytes[..len].to_vec()));
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..20_000 {
        let mut changed = bytes.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..changed.len());
            changed[at] = random.u8(..);
        }
        try_one(changed);
    }
}

/// ONNX writes an output that nobody asked for as an empty name, or not at all; some exporters name it all the same.
#[test]
fn outputs_that_nobody_reads_are_none() {
    let net = |op: &str, further: &[&str], read: bool| {
        let mut net = Net::new(&["batch", "2", "5", "5"]);
        let scale = net.weights(&[5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
        let y = match op {
            "MaxPool" => net.node(op, &["x"], &[("kernel_shape", Ints(&[2, 2]))]),
            _ => net.node(op, &["x", &scale], &[]),
        };
        net.last_node().output.extend(further.iter().map(|name| name.to_string()));
        let read = further.iter().copied().filter(|name| read && !name.is_empty());
        net.finish(&[&*y].into_iter().chain(read).collect::<Vec<&str>>())
    };
    for (op, further, named) in [("MaxPool", &[""][..], &["indices"][..]), ("LayerNormalization", &["", ""], &["", "deviation"])]
    {
        assert_eq!(outputs(&net(op, further, true)), outputs(&net(op, &[], true)), "{op}");
        assert_eq!(outputs(&net(op, named, false)), outputs(&net(op, &[], true)), "{op}");
    }
    let mut open = Net::new(&["batch", "2", "height", "5"]);
    let y = open.node("MaxPool", &["x"], &[("kernel_shape", Ints(&[2, 2]))]);
    open.last_node().output.push("indices".into());
    let said = refusal(&open.finish(&[&y, "indices"]));
    assert!(said.contains("Indices: expected known extents behind the channels"), "{said}");
}

/// What onnxruntime makes of `[0, 1, 4, 2, 7]`, or what follows from the definition.
#[test]
fn one_axis_is_resized_in_every_way() {
    type Attributes<'a> = &'a [(&'a str, sslm_tests::onnx::Value<'a>)];
    /// A factor or a size, a region, attributes, and what comes out.
    type Case<'a> = (f32, Option<i64>, [f32; 2], Attributes<'a>, &'a [f32]);
    let mode = "coordinate_transformation_mode";
    let floor = ("nearest_mode", Text("floor"));
    let cases: [Case; 11] = [
        (
            1.6,
            None,
            [0.0, 1.0],
            &[("mode", Text("cubic"))],
            &[-0.09283, 0.18756, 1.19574, 3.39484, 3.49585, 1.90161, 4.68945, 7.46417],
        ),
        (
            0.6,
            None,
            [0.0, 1.0],
            &[("mode", Text("cubic")), ("cubic_coeff_a", Float(-0.5)), ("exclude_outside", Int(1))],
            &[0.17241, 4.0, 5.55172],
        ),
        (0.5, None, [0.0, 1.0], &[("mode", Text("linear")), ("antialias", Int(1))], &[0.875, 3.25]),
        (0.5, None, [0.0, 1.0], &[("mode", Text("cubic")), ("antialias", Int(1)), ("exclude_outside", Int(1))], &[0.7817, 3.386]),
        (1.5, None, [0.0, 1.0], &[("mode", Text("linear")), ("antialias", Int(1))], &[0.0, 0.5, 1.5, 3.5, 3.0, 2.83333, 6.16667]),
        (
            0.0,
            Some(4),
            [-0.2, 0.9],
            &[("mode", Text("linear")), (mode, Text("tf_crop_and_resize")), ("extrapolation_value", Float(9.0))],
            &[9.0, 0.66667, 3.73333, 5.0],
        ),
        (0.0, Some(1), [0.2, 0.8], &[(mode, Text("tf_crop_and_resize"))], &[4.0]),
        (
            1.3,
            None,
            [0.0, 1.0],
            &[("mode", Text("linear")), (mode, Text("half_pixel_symmetric"))],
            &[0.07692, 0.84615, 2.84615, 3.23077, 2.76923, 6.61539],
        ),
        (2.0, None, [0.0, 1.0], &[floor, (mode, Text("tf_half_pixel_for_nn"))], &[0., 0., 1., 1., 4., 4., 2., 2., 7., 7.]),
        // The factor is a little more than four thirds, so that in wider arithmetic position 4 would lie before 3.
        (4.0 / 3.0, None, [0.0, 1.0], &[floor, (mode, Text("asymmetric"))], &[0.0, 0.0, 1.0, 4.0, 2.0, 2.0]),
        (0.0, Some(7), [0.0, 1.0], &[floor, (mode, Text("asymmetric"))], &[0.0, 0.0, 1.0, 4.0, 4.0, 2.0, 7.0]),
    ];
    for (factor, size, [start, end], attributes, expected) in cases {
        let mut net = Net::new(&["batch", "1", "1", "5"]);
        net.model.opset_import[0].version = 19;
        let roi = net.weights(&[8], &[0.0, 0.0, 0.0, start, 1.0, 1.0, 1.0, end]);
        let y = match size {
            None => {
                let scales = net.weights(&[4], &[1.0, 1.0, 1.0, factor]);
                net.node("Resize", &["x", &roi, &scales], attributes)
            }
            Some(size) => {
                let sizes = net.integers(&[size]);
                let attributes: Vec<_> = attributes.iter().chain(&[("axes", Ints(&[-1]))]).collect();
                let roi = net.weights(&[2], &[start, end]);
                let y = net.node("Resize", &["x", &roi, "", &sizes], &[]);
                let all = attributes.iter().map(|(name, value)| sslm_tests::onnx::attribute(name, value)).collect();
                net.last_node().attribute = all;
                y
            }
        };
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        let (_, found) = run(&model, &[1, 1, 1, 5], &[0.0, 1.0, 4.0, 2.0, 7.0]);
        let close = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-5);
        assert!(close, "factor {factor} or size {size:?}: {found:?}, expected {expected:?}");
    }
}

#[test]
fn regions_of_several_axes() {
    let mut net = Net::new(&["1", "1", "2", "4"]);
    net.model.opset_import[0].version = 19;
    let (roi, sizes) = (net.weights(&[4], &[0.0, 1.0 / 3.0, 1.0, 2.0 / 3.0]), net.integers(&[2, 2]));
    let mode = ("coordinate_transformation_mode", Text("tf_crop_and_resize"));
    let y = net.node("Resize", &["x", &roi, "", &sizes], &[("axes", Ints(&[2, 3])), ("mode", Text("linear")), mode]);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    let found = run(&model, &[1, 1, 2, 4], &[0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0]).1;
    assert!(found.iter().zip([1.0, 2.0, 11.0, 12.0]).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    // Sizes are an input since opset 11.
    let mut net = Net::new(&["1", "1", "1", "2"]);
    net.model.opset_import[0].version = 11;
    let (roi, sizes) = (net.weights(&[0], &[]), net.integers(&[1, 1, 1, 4]));
    let y = net.node("Resize", &["x", &roi, &roi, &sizes], &[]);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    assert_eq!(run(&model, &[1, 1, 1, 2], &[1.0, 2.0]).1, [1.0, 1.0, 2.0, 2.0]);
}

#[test]
fn sizes_of_given_proportions() {
    for (policy, expected) in [("stretch", [7, 9]), ("not_larger", [6, 9]), ("not_smaller", [7, 11])] {
        let mut net = Net::new(&["batch", "1", "4", "6"]);
        net.model.opset_import[0].version = 19;
        let sizes = net.integers(&[7, 9]);
        let attributes = [("axes", Ints(&[2, 3])), ("keep_aspect_ratio_policy", Text(policy)), ("mode", Text("linear"))];
        let y = net.node("Resize", &["x", "", "", &sizes], &attributes);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        let (shape, _) = run(&model, &[2, 1, 4, 6], &input(&[2, 1, 4, 6]));
        assert_eq!(shape, [2, 1, expected[0], expected[1]], "{policy}");
    }
}

#[test]
fn an_axis_is_cropped_and_padded_at_once() {
    let cases: [(&str, &[i64], &[f32]); 6] = [
        ("constant", &[-1, 2], &[2.0, 3.0, 4.0, 0.5, 0.5]),
        ("edge", &[2, -2], &[1.0, 1.0, 1.0, 2.0]),
        ("reflect", &[2, -1], &[3.0, 2.0, 1.0, 2.0, 3.0]),
        ("wrap", &[1, 2], &[4.0, 1.0, 2.0, 3.0, 4.0, 1.0, 2.0]),
        ("wrap", &[0, 5], &[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 1.0]),
        ("edge", &[-1, -1], &[2.0, 3.0]),
    ];
    for (mode, amounts, expected) in cases {
        let mut net = Net::new(&["batch", "1", "4"]);
        net.model.opset_import[0].version = 19;
        let (pads, axes, value) = (net.integers(amounts), net.integers(&[-1]), net.weights(&[], &[0.5]));
        let y = net.node("Pad", &["x", &pads, &value, &axes], &[("mode", Text(mode))]);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        assert_eq!(run(&model, &[1, 1, 4], &[1.0, 2.0, 3.0, 4.0]).1, expected, "{mode} {amounts:?}");
    }
}

/// Images are padded to a multiple of 4, on both sides or behind, by an amount that is computed from their shape.
#[test]
fn padding_may_depend_on_the_size_of_the_image() {
    for (mode, both) in [("constant", false), ("edge", false), ("edge", true)] {
        let mut net = Net::new(&["batch", "1", "width"]);
        let shape = net.node("Shape", &["x"], &[("start", Int(2))]);
        let [four, two, zero] = [4, 2, 0].map(|i| net.integers(&[i]));
        let rest = net.node("Mod", &[&shape, &four], &[]);
        let missing = net.node("Sub", &[&four, &rest], &[]);
        let missing = net.node("Mod", &[&missing, &four], &[]);
        let before = if both { net.node("Div", &[&missing, &two], &[]) } else { zero };
        let after = net.node("Sub", &[&missing, &before], &[]);
        let pads = net.node("Concat", &[&before, &after], &[("axis", Int(0))]);
        let (value, axes) = (net.weights(&[], &[0.5]), net.integers(&[2]));
        net.model.opset_import[0].version = 18;
        let padded = net.node("Pad", &["x", &pads, &value, &axes], &[("mode", Text(mode))]);
        let size = net.node("Shape", &[&padded], &[]);
        let mut model = net.finish(&[&padded, &size]);
        let tensor = graph(&mut model).output[1].r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
        tensor.expect("a tensor").elem_type = data_type::INT64;
        let exported = {
            let mut file = OnnxFile::decode(encode(&model), PathBuf::new()).expect("it decodes");
            let [dense, compact] = [true, false].map(|dense| ssl_convert::network(&mut file, dense).expect("it converts"));
            ssl_convert::export::export(&dense, &compact, &[]).expect("it can be exported").model
        };
        for model in [&model, &exported] {
            let model = Model::from_bytes(&convert(model, false)).expect("valid");
            for width in 1..=9usize {
                let x: Vec<f32> = (1..=width).map(|i| i as f32).collect();
                let missing = width.next_multiple_of(4) - width;
                let before = if both { missing / 2 } else { 0 };
                let [first, last] = if mode == "edge" { [1.0, width as f32] } else { [0.5; 2] };
                let expected = [vec![first; before], x.clone(), vec![last; missing - before]].concat();
                let outputs = run_all(&model, &[1, 1, width], &x);
                assert_eq!(outputs[0].2, expected, "{mode} of {width}");
                assert_eq!(outputs[1].2, [1.0, 1.0, expected.len() as f32], "{mode} of {width}");
            }
        }
    }
}

/// `SAME` pads by what strides and windows say; what they do not reach, an output shape adds.
#[test]
fn transposed_convolutions_of_any_size() {
    type Case<'a> = (&'a [i64], &'a [i64], &'a str, [usize; 4]);
    let cases: [Case; 5] = [
        (&[3, 3], &[2, 2], "SAME_UPPER", [1, 1, 8, 10]),
        (&[4, 2], &[2, 1], "SAME_LOWER", [1, 1, 8, 5]),
        // Windows with gaps between them reach no further than the last one.
        (&[1, 1], &[2, 2], "SAME_UPPER", [1, 1, 7, 9]),
        (&[2, 2], &[2, 2], "VALID", [1, 1, 8, 10]),
        (&[3, 3], &[1, 1], "NOTSET", [1, 1, 6, 7]),
    ];
    for (kernel, strides, auto_pad, expected) in cases {
        let mut net = Net::new(&["batch", "1", "height", "width"]);
        let dims = [1, 1, kernel[0] as usize, kernel[1] as usize];
        let w = net.weights(&dims, &vec![1.0; dims.iter().product()]);
        let y = net.node("ConvTranspose", &["x", &w], &[("strides", Ints(strides)), ("auto_pad", Text(auto_pad))]);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        assert_eq!(run(&model, &[1, 1, 4, 5], &input(&[1, 1, 4, 5])).0, expected, "{auto_pad}");
    }
    for (wanted, expected) in [([8, 10], Some([1, 1, 8, 10])), ([10, 12], Some([1, 1, 10, 12])), ([15, 20], None)] {
        let mut net = Net::new(&["batch", "1", "4", "5"]);
        let w = net.weights(&[1, 1, 3, 3], &[1.0; 9]);
        let y = net.node("ConvTranspose", &["x", &w], &[("strides", Ints(&[2, 2])), ("output_shape", Ints(&wanted))]);
        let model = net.finish(&[&y]);
        match expected {
            Some(expected) => {
                let model = Model::from_bytes(&convert(&model, false)).expect("valid");
                assert_eq!(run(&model, &[1, 1, 4, 5], &input(&[1, 1, 4, 5])).0, expected);
            }
            None => assert!(std::panic::catch_unwind(|| convert(&model, false)).is_err(), "positions that nothing reaches"),
        }
    }
}

#[test]
fn what_is_no_shape_is_refused() {
    let with = |op: &str, integers: &[&[i64]], attributes: &[(&str, sslm_tests::onnx::Value)], outputs: usize| {
        let mut net = Net::new(&["1", "2", "6"]);
        let integers: Vec<String> = integers.iter().map(|elements| net.integers(elements)).collect();
        let inputs: Vec<&str> = std::iter::once("x").chain(integers.iter().map(String::as_str)).collect();
        let y = net.node(op, &inputs, attributes);
        net.last_node().output.extend((1..outputs).map(|i| format!("part{i}")));
        net.finish(&[&y])
    };
    for (model, expected) in [
        (with("Reshape", &[&[0, 12]], &[("allowzero", Int(1))], 1), "found 0 with allowzero"),
        (with("Split", &[&[1, 2, 3]], &[("axis", Int(2))], 2), "split: expected a length for each of 2 outputs"),
        (with("Split", &[&[7, -1]], &[("axis", Int(2))], 2), "split: expected a length for each of 2 outputs"),
    ] {
        let message = refusal(&model);
        assert!(message.contains(expected), "{message}");
    }
    let reshaped = with("Reshape", &[&[3, -1]], &[("allowzero", Int(1))], 1);
    assert_eq!(run(&Model::from_bytes(&convert(&reshaped, false)).expect("valid"), &[1, 2, 6], &[0.0; 12]).0, [3, 4]);
    // Steps beyond every extent.
    let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    for (start, end, step, expected) in [(1, i64::MAX, i64::MAX, [1.0, 7.0]), (-1, i64::MIN, i64::MIN, [5.0, 11.0])] {
        let model = with("Slice", &[&[start], &[end], &[2], &[step]], &[], 1);
        assert_eq!(run(&Model::from_bytes(&convert(&model, false)).expect("valid"), &[1, 2, 6], &x).1, expected);
    }
}

/// onnxruntime's product may have the first axis of an operand behind the others of its batch.
#[test]
fn products_of_transposed_batches() {
    let flags = [("transBatchA", Int(1)), ("transBatchB", Int(1)), ("transB", Int(1)), ("alpha", Float(0.5))];
    for dims in [&[2, 4][..], &[2, 3, 4], &[2, 3, 5, 4]] {
        let mut net = Net::fixed(dims);
        let y = net.node("FusedMatMul", &["x", "x"], &flags);
        net.last_node().domain = "com.microsoft".into();
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        let x: Vec<f32> = (0..dims.iter().product()).map(|i| (i % 7) as f32).collect();
        let batch: usize = dims[1..dims.len() - 1].iter().product();
        let row = |first: usize, b: usize| &x[(first * batch + b) * 4..][..4];
        let dot = |i: usize, j: usize, b: usize| row(i, b).iter().zip(row(j, b)).map(|(a, b)| a * b / 2.0).sum::<f32>();
        let expected: Vec<f32> = (0..batch).flat_map(|b| [dot(0, 0, b), dot(0, 1, b), dot(1, 0, b), dot(1, 1, b)]).collect();
        let shape = [&dims[1..dims.len() - 1], &[2, 2]].concat();
        assert_eq!(run(&model, dims, &x), (shape, expected), "{dims:?}");
    }
}

/// The odd one of what is cut off lies behind for `SAME_UPPER`, and else in front.
#[test]
fn transposed_convolutions_are_cut_as_padding_says() {
    /// Weights, attributes, and what comes out.
    type Case<'a> = (&'a [f32], &'a [(&'a str, sslm_tests::onnx::Value<'a>)], &'a [f32]);
    let (three, four): (&[f32], &[f32]) = (&[1.0, 2.0, 4.0], &[1.0, 2.0, 4.0, 8.0]);
    let (upper, lower) = (("auto_pad", Text("SAME_UPPER")), ("auto_pad", Text("SAME_LOWER")));
    let one_more = ("output_padding", Ints(&[1]));
    let cases: [Case; 7] = [
        (three, &[upper], &[1.0, 2.0, 14.0, 20.0]),
        (three, &[lower], &[2.0, 14.0, 20.0, 40.0]),
        (four, &[upper], &[2.0, 14.0, 28.0, 40.0]),
        (three, &[("output_shape", Ints(&[4]))], &[2.0, 14.0, 20.0, 40.0]),
        (three, &[("output_shape", Ints(&[3]))], &[2.0, 14.0, 20.0]),
        (three, &[("output_shape", Ints(&[5])), one_more], &[2.0, 14.0, 20.0, 40.0, 0.0]),
        (three, &[lower, one_more], &[2.0, 14.0, 20.0, 40.0]),
    ];
    for (elements, attributes, expected) in cases {
        let mut net = Net::new(&["1", "1", "2"]);
        let w = net.weights(&[1, 1, elements.len()], elements);
        let attributes = [&[("strides", Ints(&[2]))], attributes].concat();
        let y = net.node("ConvTranspose", &["x", &w], &attributes);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        assert_eq!(run(&model, &[1, 1, 2], &[1.0, 10.0]).1, expected);
    }
}

/// Weights of a transposed convolution are stored by input channel, of which each group has its own.
#[test]
fn transposed_convolutions_of_groups() {
    let mut net = Net::new(&["batch", "4", "1", "2"]);
    let elements = net.random(4 * 3 * 2);
    let w = net.weights(&[4, 3, 1, 2], &elements);
    let y = net.node("ConvTranspose", &["x", &w], &[("group", Int(2))]);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    let shape = [1, 4, 1, 2];
    let x = input(&shape);
    let mut expected = [[0f32; 3]; 6];
    for (channel, filter, position, tap) in
        (0..4).flat_map(|c| (0..3).flat_map(move |f| (0..4).map(move |i| (c, f, i / 2, i % 2))))
    {
        let weight = elements[(channel * 3 + filter) * 2 + tap];
        expected[channel / 2 * 3 + filter][position + tap] += x[channel * 2 + position] * weight;
    }
    let (found_shape, found) = run(&model, &shape, &x);
    assert_eq!(found_shape, [1, 6, 1, 3]);
    assert!(found.iter().zip(expected.as_flattened()).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, expected {expected:?}");
}

/// Strides that leave out more than windows see need no padding, and no padding is negative.
#[test]
fn windows_that_reach_the_end_are_not_moved() {
    for (op, auto_pad) in
        ["Conv", "AveragePool", "MaxPool", "LpPool"].iter().flat_map(|op| [(op, "SAME_UPPER"), (op, "SAME_LOWER")])
    {
        let mut net = Net::new(&["1", "1", "7", "9"]);
        let attributes = [("kernel_shape", Ints(&[1, 1])), ("strides", Ints(&[5, 5])), ("auto_pad", Text(auto_pad))];
        let w = net.weights(&[1, 1, 1, 1], &[1.0]);
        let inputs: &[&str] = if *op == "Conv" { &["x", &w] } else { &["x"] };
        let y = net.node(op, inputs, &attributes);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        let x: Vec<f32> = (1..=63).map(|i| i as f32).collect();
        assert_eq!(run(&model, &[1, 1, 7, 9], &x), (vec![1, 1, 2, 2], vec![1.0, 6.0, 46.0, 51.0]), "{op} {auto_pad}");
    }
}

#[test]
fn pools_of_any_norm() {
    let x = [1.0, -2.0, 3.0, 4.0, -5.0, 6.0];
    let root = |sum: f64, p: f64| sum.powf(1.0 / p) as f32;
    for p in [1, 2, 3] {
        let power = f64::from(p as i32);
        let mut net = Net::new(&["batch", "1", "6"]);
        let attributes = [("kernel_shape", Ints(&[2])), ("strides", Ints(&[2])), ("p", Int(p)), ("pads", Ints(&[1, 1]))];
        let y = net.node("LpPool", &["x"], &attributes);
        let z = net.node("GlobalLpPool", &["x"], &[("p", Int(p))]);
        let y = net.node("Concat", &[&y, &z], &[("axis", Int(2))]);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        let sum = |part: &[f32]| part.iter().map(|x| f64::from(x.abs()).powf(power)).sum::<f64>();
        let expected = [&x[..1], &x[1..3], &x[3..5], &x[5..], &x[..]].map(|part| root(sum(part), power));
        let found = run(&model, &[1, 1, 6], &x).1;
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{p}: {found:?}, expected {expected:?}");
    }
}

/// A block of a network over volumes, `[1, 2, D, H, W]`, with filters 1 and 3 removed, whose constants are not zero.
fn over_volumes(dims: &[&str]) -> ModelProto {
    let mut net = Net::new(dims);
    let mut w = net.random(4 * 2 * 27);
    w[54..108].fill(0.0);
    w[162..].fill(0.0);
    let w = net.weights(&[4, 2, 3, 3, 3], &w);
    let b = net.weights(&[4], &[0.1, 0.4, -0.2, 0.7]);
    let y = net.node("Conv", &["x", &w, &b], &[("pads", Ints(&[1; 6])), ("strides", Ints(&[1, 2, 1]))]);
    let y = net.node("Relu", &[&y], &[]);
    let w = net.random(6 * 4 * 18);
    let w = net.weights(&[6, 4, 3, 2, 3], &w);
    let b = net.weights(&[6], &[0.3; 6]);
    let attributes = [("pads", Ints(&[1, 0, 2, 1, 1, 1])), ("dilations", Ints(&[1, 1, 2])), ("strides", Ints(&[2, 1, 1]))];
    let y = net.node("Conv", &[&y, &w, &b], &attributes);
    let y = net.node("MaxPool", &[&y], &[("kernel_shape", Ints(&[2, 3, 2])), ("pads", Ints(&[0, 1, 0, 0, 1, 0]))]);
    let w = net.random(6 * 2 * 8);
    let w = net.weights(&[6, 2, 2, 2, 2], &w);
    let y = net.node("ConvTranspose", &[&y, &w], &[("strides", Ints(&[2; 3]))]);
    net.finish(&[&y])
}

#[test]
fn channels_of_volumes_are_removed_with_what_they_add_at_borders() {
    for dims in [&["1", "2", "5", "6", "7"][..], &["batch", "2", "depth", "height", "width"]] {
        let model = over_volumes(dims);
        let shapes: &[&[usize]] = if dims[0] == "1" { &[&[1, 2, 5, 6, 7]] } else { &[&[2, 2, 5, 6, 7], &[1, 2, 6, 9, 8]] };
        compact_equals_dense(&model, shapes);
        let compact = Model::from_bytes(&convert(&model, false)).expect("valid");
        let conv = compact.layers().find(|layer| layer.name == "Conv_2").expect("a layer");
        // 2 of 4 channels have columns; what the others add is in biases and border constants.
        let columns = conv.sizes.columns.expect("columns");
        assert_eq!([columns.kept, columns.of], [36, 72]);
        assert!(conv.sizes.has_border_constants);
    }
}

/// Places of a volume, in row-major order.
fn places(dims: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..dims.iter().product()).map(move |i| [i / dims[2] / dims[1], i / dims[2] % dims[1], i % dims[2]])
}

/// Windows over three axes, of which some are one element wide or tile what they lie on, by their definition.
#[test]
fn windows_over_volumes_are_what_they_say() {
    let dims = [3, 4, 5];
    for (kernel, strides) in [([2, 3, 2], [1, 2, 2]), ([1, 2, 3], [2, 2, 1]), ([3, 1, 1], [1, 1, 1]), ([1, 3, 1], [1, 1, 2])] {
        let sizes = [0, 1, 2].map(|a| (dims[a] - kernel[a]) / strides[a] + 1);
        let x = input(&[1, 1, 3, 4, 5]);
        let at = |out: [usize; 3], tap: [usize; 3]| {
            let [d, h, w] = [0, 1, 2].map(|a| out[a] * strides[a] + tap[a]);
            x[(d * dims[1] + h) * dims[2] + w]
        };
        let [integers, steps] = [kernel, strides].map(|list| list.map(|n| n as i64));
        for op in ["MaxPool", "AveragePool", "Conv"] {
            let mut net = Net::fixed(&[1, 1, 3, 4, 5]);
            let weights = net.random(kernel.iter().product());
            let mut inputs = vec!["x".to_owned()];
            if op == "Conv" {
                inputs.push(net.weights(&[1, 1, kernel[0], kernel[1], kernel[2]], &weights));
            }
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let y = net.node(op, &inputs, &[("kernel_shape", Ints(&integers)), ("strides", Ints(&steps))]);
            let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
            let (found_dims, found) = run(&model, &[1, 1, 3, 4, 5], &x);
            assert_eq!(found_dims[2..], sizes, "{op} of {kernel:?}");
            for (out, y) in places(sizes).zip(found) {
                let elements: Vec<f32> = places(kernel).map(|tap| at(out, tap)).collect();
                let expected = match op {
                    "MaxPool" => elements.iter().copied().fold(f32::MIN, f32::max),
                    "AveragePool" => elements.iter().sum::<f32>() / elements.len() as f32,
                    _ => elements.iter().zip(&weights).map(|(x, w)| x * w).sum(),
                };
                assert!((y - expected).abs() < 1e-5, "{op} of {kernel:?} at {out:?}: {y}, expected {expected}");
            }
        }
    }
}

/// Each element's window is added to where it lies.
#[test]
fn transposed_convolutions_over_volumes_are_what_they_say() {
    let (dims, w_dims) = ([3, 4, 5], [2, 2, 3]);
    let ones = [1; 3];
    for (strides, dilations, pads, more, group, bias) in [
        ([1, 2, 2], ones, [0; 6], [0; 3], 1, true),
        ([2, 2, 1], ones, [1, 0, 1, 0, 1, 1], [1, 0, 0], 1, true),
        ([2, 2, 3], ones, [0; 6], [0; 3], 2, true),
        ([1, 1, 1], [2, 1, 2], [1, 1, 0, 0, 0, 0], [0; 3], 2, false),
        ([2, 1, 1], ones, [1, 0, 0, 0, 0, 0], [0; 3], 1, false),
    ] {
        let mut net = Net::fixed(&[1, 2, 3, 4, 5]);
        let weights = net.random(2 * 3 * 12);
        let filters = 3 * group;
        let bias: Vec<f32> = (0..filters).map(|i| if bias { i as f32 - 0.5 } else { 0.0 }).collect();
        let (w, b) = (net.weights(&[2, 3, 2, 2, 3], &weights), net.weights(&[filters], &bias));
        let [steps, gaps, further] = [strides, dilations, more].map(|list: [usize; 3]| list.map(|n| n as i64));
        let amounts = pads.map(|n: usize| n as i64);
        let attributes = [
            ("strides", Ints(&steps)),
            ("dilations", Ints(&gaps)),
            ("pads", Ints(&amounts)),
            ("output_padding", Ints(&further)),
            ("group", Int(group as i64)),
        ];
        let y = net.node("ConvTranspose", &["x", &w, &b], &attributes);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        let x = input(&[1, 2, 3, 4, 5]);
        let (found_dims, found) = run(&model, &[1, 2, 3, 4, 5], &x);
        let reach = |a: usize| (dims[a] - 1) * strides[a] + (w_dims[a] - 1) * dilations[a] + 1;
        let sizes = [0, 1, 2].map(|a| reach(a) + more[a] - pads[a] - pads[3 + a]);
        assert_eq!(found_dims, [&[1, filters][..], &sizes].concat());
        let mut expected: Vec<f32> = bias.iter().flat_map(|&b| vec![b; sizes.iter().product()]).collect();
        for (channel, of_group) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let filter = channel * group / 2 * 3 + of_group;
            for (place, (t, tap)) in places(dims).flat_map(|place| places(w_dims).enumerate().map(move |tap| (place, tap))) {
                let at = |a: usize| (place[a] * strides[a] + tap[a] * dilations[a]).checked_sub(pads[a]);
                let [Some(d), Some(h), Some(w)] = [0, 1, 2].map(|a| at(a).filter(|&i| i < sizes[a])) else { continue };
                let element = x[((channel * 3 + place[0]) * 4 + place[1]) * 5 + place[2]];
                let weight = weights[(channel * 3 + of_group) * 12 + t];
                expected[((filter * sizes[0] + d) * sizes[1] + h) * sizes[2] + w] += element * weight;
            }
        }
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{strides:?}, {dilations:?}, {pads:?}, {group}");
    }
}

/// Regions of what a pruned layer yields: of channels that it keeps only, and of those that are constant.
#[test]
fn regions_are_aligned_as_each_opset_says() {
    let regions = [[0.5, 1.0, 6.0, 4.5], [-2.0, -1.0, 3.0, 9.0], [4.0, 4.0, 4.2, 4.1]];
    for (opset, attribute, starts_at) in
        [(10, None, 0.0), (16, None, 0.5), (16, Some("output_half_pixel"), 0.0), (22, Some("half_pixel"), 0.5)]
    {
        for mode in ["avg", "max"] {
            let mut net = Net::new(&["batch", "2", "height", "width"]);
            net.model.opset_import[0].version = opset;
            let mut w = net.random(4 * 2);
            w[2..4].fill(0.0);
            let y = net.conv("x", [4, 2, 1, 1], &w, &[0.2, 0.5, -0.3, 0.1], &[]);
            let rois = net.weights(&[3, 4], regions.as_flattened());
            let images = net.integers(&[0, 1, 1]);
            let mut attributes = vec![
                ("output_height", Int(2)),
                ("output_width", Int(3)),
                ("sampling_ratio", Int(2)),
                ("spatial_scale", Float(0.5)),
                ("mode", Text(mode)),
            ];
            attributes.extend(attribute.map(|mode| ("coordinate_transformation_mode", Text(mode))));
            let y = net.node("RoiAlign", &[&y, &rois, &images], &attributes);
            let w = net.random(3 * 4);
            let z = net.conv(&y, [3, 4, 1, 1], &w, &[0.1; 3], &[]);
            let model = net.finish(&[&y, &z]);
            compact_equals_dense(&model, &[&[2, 2, 6, 7], &[3, 2, 9, 5]]);
            // The first region begins at so much of a position, and its samples are a quarter and three of an element apart.
            let mut net = Net::new(&["batch", "1", "1", "8"]);
            net.model.opset_import[0].version = opset;
            let (rois, images) = (net.weights(&[1, 4], &[1.0, 0.0, 5.0, 1.0]), net.integers(&[0]));
            let mut attributes = vec![("output_width", Int(1)), ("sampling_ratio", Int(1))];
            attributes.extend(attribute.map(|mode| ("coordinate_transformation_mode", Text(mode))));
            let y = net.node("RoiAlign", &["x", &rois, &images], &attributes);
            let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
            let ramp: Vec<f32> = (0..8).map(|i| i as f32).collect();
            assert_eq!(run(&model, &[1, 1, 1, 8], &ramp).1, [3.0 - starts_at], "{opset} {attribute:?}");
        }
    }
    // In which image a region lies stands in its first column, as torchvision has it.
    let mut net = Net::new(&["regions", "5"]);
    let planes: Vec<f32> = (0..2 * 3 * 4).map(|i| i as f32).collect();
    let planes = net.weights(&[2, 1, 3, 4], &planes);
    let column = |net: &mut Net, first: i64, end: i64| {
        let ends = [first, end, 1].map(|i| net.integers(&[i]));
        net.node("Slice", &["x", &ends[0], &ends[1], &ends[2]], &[])
    };
    let (rois, images, axis) = (column(&mut net, 1, 5), column(&mut net, 0, 1), net.integers(&[1]));
    let images = net.node("Squeeze", &[&images, &axis], &[]);
    let images = net.node("Cast", &[&images], &[("to", Int(7))]);
    let attributes = [("coordinate_transformation_mode", Text("half_pixel")), ("sampling_ratio", Int(1))];
    let y = net.node("RoiAlign", &[&planes, &rois, &images], &attributes);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    let regions = [[0.0, 0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 1.0, 3.0, 2.0]];
    assert_eq!(run(&model, &[2, 5], regions.as_flattened()), (vec![2, 1, 1, 1], vec![2.5, 12.0 + 1.5 + 4.0]));
    for (attribute, expected) in [
        (("mode", Text("sum")), "mode: expected avg or max, found sum"),
        (("sampling_ratio", Int(-1)), "sampling_ratio: expected at least 0 and below 256, found -1"),
        (("output_height", Int(0)), "output_height: expected"),
    ] {
        let mut net = Net::new(&["batch", "1", "4", "8"]);
        let (rois, images) = (net.weights(&[1, 4], &[1.0, 0.0, 5.0, 1.0]), net.integers(&[0]));
        let y = net.node("RoiAlign", &["x", &rois, &images], &[attribute]);
        let message = refusal(&net.finish(&[&y]));
        assert!(message.contains(expected), "expected '{expected}' in: {message}");
    }
}

#[test]
fn windows_over_four_axes_are_refused_by_a_sentence() {
    let mut net = Net::new(&["batch", "2", "5", "5", "5", "5"]);
    let w = net.weights(&[3, 2, 3, 3, 3, 3], &[0.5; 486]);
    let a = net.node("Conv", &["x", &w], &[]);
    let b = net.node("MaxPool", &["x"], &[("kernel_shape", Ints(&[2, 2, 2, 2]))]);
    let message = refusal(&net.finish(&[&a, &b]));
    let expected = "input: expected 3 to 5 axes (windows over one to three of them), found 6";
    assert_eq!(message.matches(expected).count(), 2, "{message}");
}

#[test]
fn a_graph_ends_where_it_is_told() {
    let mut net = Net::new(&["batch", "2", "4", "4"]);
    let boxes = net.node("Relu", &["x"], &[]);
    let scores = net.node("Sigmoid", &["x"], &[]);
    let limit = net.integers(&[10]);
    let y = net.node("NonMaxSuppression", &[&boxes, &scores, &limit, &scores], &[]);
    let model = net.finish(&[&y]);
    let message = refusal(&model);
    let advice = "node 'NonMaxSuppression_2' (NonMaxSuppression): how much it yields depends on elements, not on shapes; --outputs \
        Relu_0,Sigmoid_1 ends";
    assert!(message.contains(advice), "{message}");

    let cut = |names: &[&str]| {
        let mut file = OnnxFile::decode(encode(&model), PathBuf::new()).expect("it decodes");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        ssl_convert::import::cut(&mut file, &names)?;
        ssl_convert::network(&mut file, false)
    };
    let graph = cut(&[&scores, &boxes]).expect("what is left converts");
    assert_eq!(graph.output_names, [scores.as_str(), &boxes]);
    let message = format!("{:#}", cut(&["sigmoid_2"]).err().expect("there is no such tensor"));
    assert!(message.contains("found 'sigmoid_2'; there are 'Sigmoid_1', "), "{message}");
    let message = format!("{:#}", cut(&[&boxes, &boxes]).err().expect("one is named twice"));
    assert!(message.contains("twice"), "{message}");
}
