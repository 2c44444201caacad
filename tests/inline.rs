//! Functions of the model, branches whose condition is known, and convolutions as onnxruntime saves them.

use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::*;
use sslm::Model;
use sslm_tests::compare::{convert, run};
use sslm_tests::onnx::{Net, Value::*, encode};
use std::path::PathBuf;

const X: [f32; 4] = [1.0, -2.0, 3.0, -4.0];

fn outputs(model: &ModelProto) -> Vec<f32> {
    run(&Model::from_bytes(&convert(model, false)).expect("valid"), &[1, 4], &X).1
}

fn refusal(model: &ModelProto) -> String {
    let mut file = OnnxFile::decode(encode(model), PathBuf::new()).expect("it decodes");
    ssl_convert::network(&mut file, false).err().map(|e| format!("{e:#}")).expect("it is refused")
}

fn node(op: &str, input: &[&str], output: &[&str]) -> NodeProto {
    let texts = |all: &[&str]| all.iter().map(|&s| s.to_owned()).collect();
    NodeProto { op_type: op.into(), input: texts(input), output: texts(output), ..Default::default() }
}

fn call(function: &str, input: &[&str], output: &[&str]) -> NodeProto {
    NodeProto { domain: "mine".into(), ..node(function, input, output) }
}

fn function(name: &str, input: &[&str], output: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let texts = |all: &[&str]| all.iter().map(|&s| s.to_owned()).collect();
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    let (domain, name) = ("mine".to_owned(), name.to_owned());
    FunctionProto { name, domain, input: texts(input), output: texts(output), node: nodes, opset_import, ..Default::default() }
}

/// A model that yields `y` by these nodes.
fn model(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> ModelProto {
    let mut net = Net::new(&["batch", "4"]);
    net.graph().node = nodes;
    ModelProto { functions, ..net.finish(&["y"]) }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, r#type: 1, ..Default::default() }
}

/// A LeakyRelu whose slope is the attribute `slope` of the call, behind a sum; 0.5 if the call has none.
fn twice() -> FunctionProto {
    let slope = AttributeProto { name: "alpha".into(), ref_attr_name: "slope".into(), r#type: 1, ..Default::default() };
    let leaky = NodeProto { attribute: vec![slope], ..node("LeakyRelu", &["t"], &["y"]) };
    let nodes = vec![node("Add", &["x", "x"], &["t"]), leaky];
    FunctionProto { attribute_proto: vec![float("slope", 0.5)], ..function("Twice", &["x", "none"], &["y", "t", "x"], nodes) }
}

#[test]
fn functions_are_what_they_are_made_of() {
    // Attributes of calls, and defaults.
    let with = |slope: f32| NodeProto { attribute: vec![float("slope", slope)], ..call("Twice", &["x"], &["y"]) };
    assert_eq!(outputs(&model(vec![with(0.25)], vec![twice()])), [2.0, -1.0, 6.0, -2.0]);
    assert_eq!(outputs(&model(vec![call("Twice", &["x"], &["y"])], vec![twice()])), [2.0, -2.0, 6.0, -4.0]);
    // Further outputs: one from the middle, and the input itself; the first is not asked for.
    let nodes = vec![call("Twice", &["x"], &["", "a", "b"]), node("Add", &["a", "b"], &["y"])];
    assert_eq!(outputs(&model(nodes, vec![twice()])), [3.0, -6.0, 9.0, -12.0]);
    // Calls within calls, with the same names inside.
    let nodes = vec![call("Twice", &["x"], &["t"]), call("Twice", &["t"], &["y"])];
    let quad = function("Quad", &["x"], &["y"], nodes);
    let nodes = vec![call("Quad", &["x"], &["t"]), call("Quad", &["t"], &["y"])];
    assert_eq!(outputs(&model(nodes, vec![quad, twice()])), [16.0, -2.0, 48.0, -4.0]);
    // Of another operator set: the axes are an attribute before 13.
    let axes = AttributeProto { name: "axes".into(), ints: vec![0], r#type: 7, ..Default::default() };
    let both = vec![
        NodeProto { attribute: vec![axes.clone()], ..node("Unsqueeze", &["x"], &["t"]) },
        NodeProto { attribute: vec![axes], ..node("Squeeze", &["t"], &["y"]) },
    ];
    let mut older = function("Older", &["x"], &["y"], both);
    older.opset_import[0].version = 11;
    assert_eq!(outputs(&model(vec![call("Older", &["x"], &["y"])], vec![older])), X);
    // Before 13, a Softmax is one over all axes from the second one on.
    for (version, expected) in [(11, 0.25), (17, 0.5)] {
        let (shape, softmax) = (node("Constant", &[], &["s"]), node("Softmax", &["t"], &["u"]));
        let list = TensorProto { data_type: data_type::INT64, dims: vec![3], int64_data: vec![1, 2, 2], ..Default::default() };
        let value = AttributeProto { name: "value".into(), t: Some(list), r#type: 4, ..Default::default() };
        let flat = AttributeProto { name: "axis".into(), i: 1, r#type: 2, ..Default::default() };
        let nodes = vec![
            node("Sub", &["x", "x"], &["z"]),
            NodeProto { attribute: vec![value], ..shape },
            node("Reshape", &["z", "s"], &["t"]),
            softmax,
            NodeProto { attribute: vec![flat], ..node("Flatten", &["u"], &["y"]) },
        ];
        let mut shares = function("Shares", &["x"], &["y"], nodes);
        shares.opset_import[0].version = version;
        assert_eq!(outputs(&model(vec![call("Shares", &["x"], &["y"])], vec![shares])), [expected; 4], "of {version}");
    }
}

/// A function that is called like an operator of ONNX's own stands beside it, not in its place.
#[test]
fn functions_replace_no_operators() {
    for domain in ["", "ai.onnx"] {
        let relu = FunctionProto { domain: domain.into(), ..function("Relu", &["x"], &["y"], vec![node("Neg", &["x"], &["y"])]) };
        let call = NodeProto { domain: domain.into(), ..node("Relu", &["x"], &["y"]) };
        assert_eq!(outputs(&model(vec![call], vec![relu])), [1.0, 0.0, 3.0, 0.0]);
    }
    let own = FunctionProto { domain: String::new(), ..function("Mine", &["x"], &["y"], vec![node("Neg", &["x"], &["y"])]) };
    let said = refusal(&model(vec![node("Mine", &["x"], &["y"])], vec![own]));
    assert!(said.contains("operator Mine is not supported"), "{said}");
}

#[test]
fn growth_is_bounded() {
    let mut functions = vec![function("F0", &["x"], &["y"], vec![node("Relu", &["x"], &["y"])])];
    for i in 1..=30 {
        let below = format!("F{}", i - 1);
        let nodes = vec![call(&below, &["x"], &["t"]), call(&below, &["t"], &["y"])];
        functions.push(function(&format!("F{i}"), &["x"], &["y"], nodes));
    }
    let said = refusal(&model(vec![call("F30", &["x"], &["y"])], functions));
    assert!(said.contains("expected at most 100000 nodes in all calls of functions"), "{said}");
    let itself = function("Itself", &["x"], &["y"], vec![call("Itself", &["x"], &["y"])]);
    let said = refusal(&model(vec![call("Itself", &["x"], &["y"])], vec![itself]));
    assert!(said.contains("expected at most 32 calls within calls"), "{said}");
    let said = refusal(&model(vec![call("Twice", &["x", "x", "x"], &["y"])], vec![twice()]));
    assert!(said.contains("expected at most 2 inputs and 3 outputs, found 3 and 1"), "{said}");
}

/// An If between a Relu and a call of [`twice`].
fn branches(condition: &str) -> NodeProto {
    let branch = |name: &str, node: NodeProto| {
        let output = vec![ValueInfoProto { name: node.output[0].clone(), ..Default::default() }];
        let g = Some(GraphProto { node: vec![node], output, ..Default::default() });
        AttributeProto { name: name.into(), g, r#type: 5, ..Default::default() }
    };
    let attribute =
        vec![branch("then_branch", node("Relu", &["x"], &["then"])), branch("else_branch", call("Twice", &["x"], &["else"]))];
    NodeProto { attribute, ..node("If", &[condition], &["y"]) }
}

#[test]
fn the_branch_of_a_known_condition_is_taken() {
    for (holds, expected) in [(1, [1.0, 0.0, 3.0, 0.0]), (0, [2.0, -2.0, 6.0, -4.0])] {
        let tensor = TensorProto { name: "c".into(), data_type: data_type::BOOL, int32_data: vec![holds], ..Default::default() };
        let mut alone = model(vec![branches("c")], vec![twice()]);
        alone.graph.as_mut().expect("a graph").initializer.push(tensor.clone());
        assert_eq!(outputs(&alone), expected);
        // Within a function, whose names the branches read.
        let within = function("Within", &["x", "c"], &["y"], vec![branches("c")]);
        let mut called = model(vec![call("Within", &["x", "c"], &["y"])], vec![within, twice()]);
        called.graph.as_mut().expect("a graph").initializer.push(tensor);
        assert_eq!(outputs(&called), expected);
    }
    let said = refusal(&model(vec![branches("x")], vec![twice()]));
    assert!(said.contains("(If): cond (input 0): expected a constant, found a computed tensor ('x')"), "{said}");
    for op in ["Loop", "Scan"] {
        let said = refusal(&model(vec![node(op, &["x"], &["y"])], vec![]));
        assert!(said.contains(&format!("({op}): expected nodes that run once")), "{said}");
    }
}

#[test]
fn convolutions_as_onnxruntime_saves_them() {
    let weights = [1.0, -1.0, 0.5, 2.0];
    let conv = |op: &str, dims: &[&str], added: bool| {
        let mut net = Net::new(dims);
        let (w, b) = (net.weights(&[2, 2, 1, 1], &weights), net.weights(&[2], &[0.25, -3.0]));
        let inputs = if added { vec!["x", &w, &b, "x"] } else { vec!["x", &w, &b] };
        let y = net.node(op, &inputs, &[("activation", Text("LeakyRelu"))]);
        net.last_node().attribute.push(AttributeProto {
            name: "activation_params".into(),
            floats: vec![0.5],
            r#type: 6,
            ..Default::default()
        });
        net.last_node().domain = "com.microsoft".into();
        net.finish(&[&y])
    };
    let image = [1.0, 2.0, 3.0, -1.0];
    let of = |first: f32, second: f32, added: bool| {
        let own = if added { [first, second] } else { [0.0; 2] };
        let sums = [first - second + 0.25 + own[0], 0.5 * first + 2.0 * second - 3.0 + own[1]];
        sums.map(|sum| if sum < 0.0 { 0.5 * sum } else { sum })
    };
    for added in [false, true] {
        // Two positions, whose channels lie apart, or side by side.
        let (a, b) = (of(image[0], image[2], added), of(image[1], image[3], added));
        let model = Model::from_bytes(&convert(&conv("FusedConv", &["1", "2", "1", "2"], added), false)).expect("valid");
        assert_eq!(run(&model, &[1, 2, 1, 2], &image).1, [a[0], b[0], a[1], b[1]]);
        let (a, b) = (of(image[0], image[1], added), of(image[2], image[3], added));
        let model = Model::from_bytes(&convert(&conv("NhwcFusedConv", &["1", "1", "2", "2"], added), false)).expect("valid");
        assert_eq!(run(&model, &[1, 1, 2, 2], &image).1, [a[0], a[1], b[0], b[1]]);
    }
}
