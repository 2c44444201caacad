//! What the converter accepts, and how it refuses: every form in which real ONNX files carry their weights, and one error that
//! names everything that cannot be converted.

use prost::Message;
use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::*;
use sslm::Model;
use sslm_basics::math::exact_erf;
use sslm_format::Operator;
use sslm_tests::compare::{compact_equals_dense, convert, graph_of, input, kept_channels, run};
use sslm_tests::onnx::{Net, Value::*, encode, float_tensor, value_info};
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

fn refusal(model: &ModelProto) -> String {
    let mut file = OnnxFile::decode(encode(model), PathBuf::new()).expect("it decodes");
    match ssl_convert::network(&mut file, false) {
        Ok(_) => panic!("it was converted"),
        Err(e) => format!("{e:#}"),
    }
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

    for opset in [7, 9, 11, 13, 17, 21, 25] {
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

    let integers = TensorProto { data_type: data_type::INT32, ..float_tensor("stored", &[2], &[0.0; 2]) };
    let message = refusal(&with_output(integers));
    assert!(message.contains("output 'stored'") && message.contains("expected float32, found integers"), "{message}");
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
    assert_eq!(run(&Model::open(&target).expect("valid"), &shape, &input(&shape)).1, expected);

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
    assert_eq!(graph.shapes[2], [None, Some(3), Some(2)]);

    // The batch and channels as one axis: which of them a later extent stands for is not known.
    let mut net = Net::new(&["batch", "4", "3"]);
    let merged = net.integers(&[-1, 3]);
    let merged = net.node("Reshape", &["x", &merged], &[]);
    let y = to_batch_of_x(&mut net, &merged, 3);
    let message = refusal(&net.finish(&[&y]));
    assert!(message.contains("expected at most one extent that must be inferred, found [-1, -1, 3]"), "{message}");
}

#[test]
fn all_unsupported_operators_are_named_at_once() {
    let mut net = Net::new(&["batch", "2", "4", "4"]);
    let a = net.node("Det", &["x"], &[]);
    let b = net.node("Relu", &[&a], &[]);
    let c = net.node("EyeLike", &["x"], &[]);
    let d = net.node("Det", &[&c], &[]);
    let e = net.node("Conv", &["x", "x"], &[]);
    net.graph().node[0].domain = String::new();
    let f = net.node("Concat", &[&b, &d, &e], &[("axis", Int(1))]);
    net.node("Unreachable", &["x"], &[]);
    let message = refusal(&net.finish(&[&f]));
    for part in [
        "operator Det is not supported: nodes 'Det_0', 'Det_3'",
        "operator EyeLike",
        "'EyeLike_2'",
        "node 'Conv_4' (Conv): weights",
    ] {
        assert!(message.contains(part), "expected '{part}' in: {message}");
    }
    assert!(!message.contains("Unreachable") && !message.contains("Concat_5"), "only causes are named: {message}");
}

#[test]
fn integers_are_moved_and_cast_but_not_computed_with() {
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

    for (op, operands) in [("Div", 2), ("Pow", 2), ("Add", 2), ("ReduceMean", 1), ("Relu", 1), ("ArgMax", 1)] {
        let mut net = Net::new(&["batch", "3", "2", "2"]);
        let y = highest(&mut net);
        let y = net.node(op, &vec![y.as_str(); operands], &[]);
        let message = refusal(&net.finish(&[&y]));
        let expected = format!("({op}): input 0: expected float32 (as of a Cast), found integers that an ArgMax yields");
        assert!(message.contains(&expected), "expected '{expected}' in: {message}");
    }
}

#[test]
fn bad_models_are_refused_with_a_reason() {
    type Change = fn(&mut ModelProto);
    let cases: [(&str, Change); 15] = [
        ("opset: expected 7 to 25, found 6", |m| m.opset_import[0].version = 6),
        ("opset_import", |m| m.opset_import.clear()),
        ("expected float32, found float16", |m| {
            let tensor = graph(m).input[0].r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
            tensor.expect("a tensor type").elem_type = 10;
        }),
        ("found float64", |m| graph(m).initializer[0].data_type = 11),
        ("expected as many elements as dims [3, 2, 3, 3] say, found 53", |m| {
            let data = &mut graph(m).initializer[0].raw_data;
            *data = data.slice(4..);
        }),
        ("no negative extent", |m| graph(m).initializer[0].dims[0] = -3),
        ("expected 4 axes (2-D convolution)", |m| graph(m).initializer[0].dims = vec![3, 2, 9]),
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
                _ => exact_erf(wide / SQRT_2),
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

/// ONNX writes an output that nobody asked for as an empty name, or not at all.
#[test]
fn outputs_without_a_name_are_none() {
    let net = |op: &str, further: &[&str]| {
        let mut net = Net::new(&["batch", "2", "5", "5"]);
        let scale = net.weights(&[5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
        let y = match op {
            "MaxPool" => net.node(op, &["x"], &[("kernel_shape", Ints(&[2, 2]))]),
            _ => net.node(op, &["x", &scale], &[]),
        };
        net.last_node().output.extend(further.iter().map(|name| name.to_string()));
        net.finish(&[&y])
    };
    for (op, further, named) in [("MaxPool", &[""][..], &["indices"][..]), ("LayerNormalization", &["", ""], &["", "deviation"])]
    {
        assert_eq!(outputs(&net(op, further)), outputs(&net(op, &[])), "{op}");
        let said = refusal(&net(op, named));
        assert!(said.contains("expected one output, found "), "{op}: {said}");
    }
}

#[test]
fn a_graph_ends_where_it_is_told() {
    let mut net = Net::new(&["batch", "2", "4", "4"]);
    let boxes = net.node("Relu", &["x"], &[]);
    let scores = net.node("Sigmoid", &["x"], &[]);
    let limit = net.integers(&[10]);
    let y = net.node("NonMaxSuppression", &[&boxes, &scores, &limit], &[]);
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
