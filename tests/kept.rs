//! What small networks of many kinds keep, take and export, as numbers that no change loses unseen: multiply-adds of the compact form,
//! nodes of its export, and bytes that a session owns. They stand in `tests/golden/kept.json`. A change that means to move them writes
//! that file anew, and shows the difference:
//!
//!     SSLM_WRITE_KEPT=1 cargo test -p sslm-tests --test suite -- kept::

use serde_json::{Map, Value, json};
use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::ModelProto;
use sslm::{Isa, Model, Options, Threads};
use sslm_tests::compare::{compact_equals_dense, convert, prepare_with};
use sslm_tests::nets::every_operator;
use sslm_tests::onnx::{Value::*, encode};
use sslm_tests::tools::root;
use sslm_tests::twin::{TO_FIRST, TO_LAST, Twin};
use std::path::PathBuf;

/// A network, and the shape of the input that it is measured with.
struct Network {
    name: &'static str,
    model: ModelProto,
    shape: Vec<usize>,
}

#[test]
fn what_networks_keep_is_known() {
    let path = root().join("tests/golden/kept.json");
    let found: Map<String, Value> = networks().iter().map(|n| (n.name.to_owned(), measured(n))).collect();
    if std::env::var_os("SSLM_WRITE_KEPT").is_some() {
        let text = serde_json::to_string_pretty(&found).expect("numbers and names") + "\n";
        return std::fs::write(&path, text).expect("the file can be written");
    }
    let text = std::fs::read_to_string(&path).expect("tests/golden/kept.json");
    let expected: Map<String, Value> = serde_json::from_str(&text).expect("an object");
    let changes = changes(&expected, &found);
    assert!(changes.is_empty(), "networks keep something else than before ({}): {changes:#?}", path.display());
}

/// What differs, one sentence each.
fn changes(expected: &Map<String, Value>, found: &Map<String, Value>) -> Vec<String> {
    let mut changes = Vec::new();
    for name in expected.keys().filter(|name| !found.contains_key(*name)) {
        changes.push(format!("{name}: is expected, but no network of this test"));
    }
    for (name, found) in found {
        let Some(expected) = expected.get(name) else {
            changes.push(format!("{name}: a new network"));
            continue;
        };
        for what in ["multiply_adds", "export_nodes", "session_bytes"] {
            let (expected, found) = (expected[what].as_u64(), found[what].as_u64());
            if expected != found {
                let say = |n: Option<u64>| n.map_or("nothing".to_owned(), |n| n.to_string());
                let verdict = if found < expected { "fewer" } else { "more" };
                changes.push(format!("{name}: {what}: expected {}, found {}, {verdict}", say(expected), say(found)));
            }
        }
    }
    changes
}

/// The numbers of a network, which is checked against its dense form before.
fn measured(network: &Network) -> Value {
    let Network { model, shape, .. } = network;
    compact_equals_dense(model, &[shape]);
    let mut file = OnnxFile::decode(encode(model), PathBuf::new()).expect("the test's model decodes");
    let [dense, compact] = [true, false].map(|dense| ssl_convert::network(&mut file, dense).expect("it converts"));
    let multiply_adds: u64 = (0..compact.graph.nodes.len()).filter_map(|i| compact.macs(i)).map(|(_, kept)| kept).sum();
    let export = ssl_convert::export::export(&dense, &compact, &[]).expect("it can be exported").model;
    let opened = Model::from_bytes(&convert(model, false)).expect("what was written is valid");
    // What a session owns depends on the instruction set; this one every machine has.
    let options = Options::new().threads(Threads::Single).isa(Isa::portable());
    json!({
        "multiply_adds": multiply_adds,
        "export_nodes": export.graph.expect("a graph").node.len(),
        "session_bytes": prepare_with(&opened, shape, options).session_bytes(),
    })
}

fn networks() -> Vec<Network> {
    let network = |name, model, shape: &[usize]| Network { name, model, shape: shape.to_vec() };
    let blocks = [false, true].map(block);
    let [first, last] = blocks;
    vec![
        network("attention of two heads", attention(), &[2, 6, 12]),
        network("block of ConvNeXt, channels first", first, &[1, 3, 8, 8]),
        network("block of ConvNeXt, channels last", last, &[1, 3, 8, 8]),
        network("channel shuffle", shuffled(), &[1, 3, 8, 8]),
        network("decoder with a skip", decoder(), &[1, 3, 8, 8]),
        network("every operator", every_operator(), &[2, 4, 33, 32]),
        network("head that two scales share", shared_head(), &[1, 3, 8, 8]),
        network("inverted residual, pruned depthwise", inverted_residual(), &[1, 4, 8, 8]),
        network("islands in NHWC", islands(), &[1, 8, 8, 3]),
        network("removed residual branch", removed_branch(), &[1, 3, 8, 8]),
        network("squeeze and excitation", gated(), &[1, 3, 8, 8]),
    ]
}

fn attention() -> ModelProto {
    let mut t = Twin::new(&["batch", "tokens", "12"], true);
    let heads = t.net.integers(&[0, -1, 2, 6]);
    let [q, k, v] = [0; 3].map(|_| {
        let y = t.linear("x", 12, 12);
        let y = t.net.node("Reshape", &[&y, &heads], &[]);
        t.transpose(&y, &[0, 2, 1, 3])
    });
    let k = t.transpose(&k, &[0, 1, 3, 2]);
    let (product, scale) = (t.net.node("MatMul", &[&q, &k], &[]), t.net.weights(&[], &[0.4]));
    let scaled = t.net.node("Mul", &[&product, &scale], &[]);
    let weights = t.net.node("Softmax", &[&scaled], &[]);
    let y = t.net.node("MatMul", &[&weights, &v], &[]);
    let y = t.transpose(&y, &[0, 2, 1, 3]);
    let flat = t.net.integers(&[0, -1, 12]);
    let y = t.net.node("Reshape", &[&y, &flat], &[]);
    let y = t.linear(&y, 12, 12);
    let y = t.net.node("Add", &["x", &y], &[]);
    let hidden = t.linear(&y, 20, 12);
    let hidden = t.net.node("Sigmoid", &[&hidden], &[]);
    let hidden = t.linear(&hidden, 12, 20);
    let y = t.net.node("Add", &[&y, &hidden], &[]);
    t.finish(&y)
}

fn block(last: bool) -> ModelProto {
    let mut t = Twin::new(&["batch", "3", "height", "width"], last);
    let x = t.conv("x", 8, 3, 1);
    let y = t.conv(&x, 8, 8, 8);
    let y = t.enter(&y);
    let y = t.layer_norm(&y, 8);
    let y = t.linear(&y, 16, 8);
    let y = t.net.node("Sigmoid", &[&y], &[]);
    let y = t.linear(&y, 8, 16);
    let y = t.leave(&y);
    let y = t.net.node("Add", &[&x, &y], &[]);
    t.finish(&y)
}

fn shuffled() -> ModelProto {
    let mut t = Twin::new(&["batch", "3", "8", "8"], false);
    let y = t.conv("x", 8, 3, 1);
    let y = t.conv(&y, 8, 8, 2);
    let [apart, together] = [[-1i64, 2, 4, 8, 8].as_slice(), &[-1, 8, 8, 8]].map(|dims| t.net.integers(dims));
    let y = t.net.node("Reshape", &[&y, &apart], &[]);
    let y = t.transpose(&y, &[0, 2, 1, 3, 4]);
    let y = t.net.node("Reshape", &[&y, &together], &[]);
    let y = t.conv(&y, 8, 8, 2);
    let y = t.conv(&y, 4, 8, 1);
    t.finish(&y)
}

fn decoder() -> ModelProto {
    let mut t = Twin::new(&["batch", "3", "8", "8"], false);
    let skip = t.conv("x", 6, 3, 1);
    let y = t.net.node("MaxPool", &[&skip], &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))]);
    let y = t.conv(&y, 8, 6, 1);
    let weights = t.masked([8, 6, 2, 2]);
    let weights = t.net.weights(&[8, 6, 2, 2], &weights);
    let y = t.net.node("ConvTranspose", &[&y, &weights], &[("strides", Ints(&[2, 2]))]);
    let y = t.net.node("Concat", &[&skip, &y], &[("axis", Int(1))]);
    let y = t.conv(&y, 5, 12, 1);
    t.finish(&y)
}

fn shared_head() -> ModelProto {
    let mut t = Twin::new(&["batch", "3", "8", "8"], false);
    let large = t.conv("x", 8, 3, 1);
    let small = t.net.node("MaxPool", &[&large], &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))]);
    let small = t.conv(&small, 8, 8, 1);
    let (weights, bias) = (t.masked([6, 8, 3, 3]), t.random.elements(6, 1.0));
    let (weights, bias) = (t.net.weights(&[6, 8, 3, 3], &weights), t.net.weights(&[6], &bias));
    let flat = t.net.integers(&[0, -1, 3]);
    let boxes = [large, small].map(|x| {
        let y = t.net.node("Conv", &[&x, &weights, &bias], &[("pads", Ints(&[1; 4]))]);
        let y = t.transpose(&y, &TO_LAST);
        t.net.node("Reshape", &[&y, &flat], &[])
    });
    let y = t.net.node("Concat", &boxes.each_ref().map(String::as_str), &[("axis", Int(1))]);
    t.finish(&y)
}

fn inverted_residual() -> ModelProto {
    let mut t = Twin::new(&["batch", "4", "8", "8"], false);
    let y = t.linear("x", 12, 4);
    let y = t.net.node("Sigmoid", &[&y], &[]);
    let y = t.conv(&y, 12, 12, 12);
    let y = t.net.node("Relu", &[&y], &[]);
    let y = t.linear(&y, 4, 12);
    let y = t.net.node("Add", &["x", &y], &[]);
    t.finish(&y)
}

fn islands() -> ModelProto {
    let mut t = Twin::new(&["batch", "8", "8", "3"], true);
    let mut x = "x".to_owned();
    for channels in [3, 6] {
        let y = t.transpose(&x, &TO_FIRST);
        let y = t.conv(&y, 6, channels, 1);
        let y = t.transpose(&y, &TO_LAST);
        let shift = t.per_channel(6);
        let y = t.net.node("Add", &[&y, &shift], &[]);
        x = t.net.node("Relu", &[&y], &[]);
    }
    let y = t.net.node("ReduceMean", &[&x], &[("axes", Ints(&[1, 2])), ("keepdims", Int(0))]);
    t.finish(&y)
}

fn removed_branch() -> ModelProto {
    let mut t = Twin::new(&["batch", "3", "8", "8"], false);
    let x = t.conv("x", 6, 3, 1);
    let y = t.conv(&x, 6, 6, 1);
    let bias = t.random.elements(6, 1.0);
    let y = t.net.conv(&y, [6, 6, 3, 3], &[0.0; 324], &bias, &[("pads", Ints(&[1; 4]))]);
    let y = t.net.node("Add", &[&x, &y], &[]);
    let y = t.conv(&y, 4, 6, 1);
    t.finish(&y)
}

fn gated() -> ModelProto {
    let mut t = Twin::new(&["batch", "3", "8", "8"], false);
    let x = t.conv("x", 8, 3, 1);
    let y = t.net.node("GlobalAveragePool", &[&x], &[]);
    let y = t.linear(&y, 4, 8);
    let y = t.net.node("Relu", &[&y], &[]);
    let y = t.linear(&y, 8, 4);
    let y = t.net.node("Sigmoid", &[&y], &[]);
    let y = t.net.node("Mul", &[&x, &y], &[]);
    let y = t.conv(&y, 4, 8, 1);
    t.finish(&y)
}

/// What the message says of each kind of change.
#[test]
fn changes_are_said_one_by_one() {
    let numbers = |multiply_adds: u64| json!({"multiply_adds": multiply_adds, "export_nodes": 3, "session_bytes": 64});
    let [expected, found] = [[("same", 1), ("moved", 5), ("gone", 1)], [("same", 1), ("moved", 7), ("new", 1)]]
        .map(|all| all.into_iter().map(|(name, n)| (name.to_owned(), numbers(n))).collect::<Map<_, _>>());
    let sentences = [
        "gone: is expected, but no network of this test",
        "moved: multiply_adds: expected 5, found 7, more",
        "new: a new network",
    ];
    assert_eq!(changes(&expected, &found), sentences);
}
