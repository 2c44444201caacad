//! Products of computed matrices: in all forms in which ONNX files say them, with what is taken into them, and behind layers with removed
//! filters.

use sslm::Model;
use sslm_format::{Op, Operator};
use sslm_tests::compare::{compact_equals_dense, convert, graph_of, input, kept_channels, run};
use sslm_tests::onnx::{Net, Value::*};

/// The first output for an input of [`input`], beside it.
fn outputs(net: Net, y: &str, shape: &[usize]) -> (Vec<f32>, Vec<usize>, Vec<f32>) {
    let x = input(shape);
    let (shape, y) = run(&Model::from_bytes(&convert(&net.finish(&[y]), false)).expect("valid"), shape, &x);
    (x, shape, y)
}

fn near(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let wrong = found.iter().zip(expected).position(|(f, e)| (f64::from(*f) - e).abs() > 1e-5);
    assert!(wrong.is_none(), "{wrong:?}: {found:?} instead of {expected:?}");
}

/// Adds nodes that read `x` and its transpose; returns what they yield.
type Way = fn(&mut Net, &str) -> String;

/// `[2, 3, 4]` times its transpose, in five ways.
#[test]
fn transposed_operands_and_factors_are_taken_in() {
    let shape = [2, 3, 4];
    let expected = |x: &[f32], factor: f64| -> Vec<f64> {
        let at = |n: usize, i: usize, j: usize| {
            (0..4).map(|k| f64::from(x[n * 12 + i * 4 + k]) * f64::from(x[n * 12 + j * 4 + k])).sum::<f64>() * factor
        };
        (0..18).map(|i| at(i / 9, i / 3 % 3, i % 3)).collect()
    };
    let swap: [(&str, sslm_tests::onnx::Value); 1] = [("perm", Ints(&[0, 2, 1]))];
    let ways: [(&str, f64, Way); 5] = [
        ("MatMul", 1.0, |net, t| net.node("MatMul", &["x", t], &[])),
        ("scaled", 0.25, |net, t| {
            let (y, quarter) = (net.node("MatMul", &["x", t], &[]), net.weights(&[1], &[0.25]));
            net.node("Mul", &[&y, &quarter], &[])
        }),
        ("divided", 0.25, |net, t| {
            let four = net.weights(&[], &[4.0]);
            let t = net.node("Div", &[t, &four], &[]);
            net.node("MatMul", &["x", &t], &[])
        }),
        ("FusedMatMul", 0.5, |net, _| {
            let y = net.node("FusedMatMul", &["x", "x"], &[("transB", Int(1)), ("alpha", Float(0.5))]);
            net.last_node().domain = "com.microsoft".into();
            y
        }),
        ("Einsum", 1.0, |net, _| net.node("Einsum", &["x", "x"], &[("equation", Text("nik,njk->nij"))])),
    ];
    for (name, factor, way) in ways {
        let built = || {
            let mut net = Net::new(&["batch", "3", "4"]);
            let t = net.node("Transpose", &["x"], &swap);
            let y = way(&mut net, &t);
            (net, y)
        };
        let (net, y) = built();
        let graph = graph_of(&convert(&net.finish(&[&y]), false));
        assert_eq!(graph.nodes.iter().map(|n| n.op.name()).collect::<Vec<_>>(), ["MatMul"], "{name}");
        assert!(matches!(&graph.nodes[0].op, Op::MatMul(m) if m.transposed == [false, true]), "{name}: {:?}", graph.nodes[0].op);
        let (net, y) = built();
        let (x, found_shape, y) = outputs(net, &y, &shape);
        assert_eq!(found_shape, [2, 3, 3], "{name}");
        near(&y, &expected(&x, factor));
    }
}

/// What is an output, or has another shape, stays.
/// A factor between two products goes into the first one alone.
#[test]
fn factors_between_products_are_taken_in_once() {
    let mut net = Net::new(&["batch", "2", "2"]);
    let half = net.weights(&[], &[0.5]);
    let y = net.node("MatMul", &["x", "x"], &[]);
    let y = net.node("Mul", &[&y, &half], &[]);
    let y = net.node("MatMul", &[&y, "x"], &[]);
    let (x, _, y) = outputs(net, &y, &[1, 2, 2]);
    let at = |a: &[f64], b: &[f64], i: usize| a[i / 2 * 2] * b[i % 2] + a[i / 2 * 2 + 1] * b[2 + i % 2];
    let x: Vec<f64> = x.into_iter().map(f64::from).collect();
    let square: Vec<f64> = (0..4).map(|i| 0.5 * at(&x, &x, i)).collect();
    near(&y, &(0..4).map(|i| at(&square, &x, i)).collect::<Vec<f64>>());
}

#[test]
fn what_others_read_is_not_taken_in() {
    let mut net = Net::new(&["batch", "3", "4"]);
    let t = net.node("Transpose", &["x"], &[("perm", Ints(&[0, 2, 1]))]);
    let y = net.node("MatMul", &["x", &t], &[]);
    let scale = net.weights(&[1, 1, 1, 1], &[2.0]);
    let scaled = net.node("Mul", &[&y, &scale], &[]);
    let graph = graph_of(&convert(&net.finish(&[&scaled, &t]), false));
    let names: Vec<&str> = graph.nodes.iter().map(|n| n.op.name()).collect();
    assert_eq!(names, ["Transpose", "MatMul", "Constant", "Mul"]);
}

/// With the first operand transposed, and an addend for each row.
#[test]
fn gemm_of_any_operands() {
    for stored in [true, false] {
        let mut net = Net::new(&["2", "3"]);
        let mut w = net.weights(&[2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        if !stored {
            // Times a one that is computed.
            let (nothing, one) = (net.weights(&[1], &[0.0]), net.weights(&[1], &[1.0]));
            let zeros = net.node("Mul", &["x", &nothing], &[]);
            let zero = net.node("ReduceMean", &[&zeros], &[]);
            let one = net.node("Add", &[&zero, &one], &[]);
            w = net.node("Mul", &[&w, &one], &[]);
        }
        let c = net.weights(&[3, 1], &[1.0, 2.0, 3.0]);
        let y = net.node("Gemm", &["x", &w, &c], &[("transA", Int(1)), ("alpha", Float(0.5)), ("beta", Float(2.0))]);
        let (x, shape, y) = outputs(net, &y, &[2, 3]);
        assert_eq!(shape, [3, 4]);
        let at = |i: usize, j: usize| {
            let product = |k: usize| f64::from(x[k * 3 + i]) * (k * 4 + j + 1) as f64;
            0.5 * (product(0) + product(1)) + 2.0 * (i + 1) as f64
        };
        near(&y, &(0..12).map(|i| at(i / 4, i % 4)).collect::<Vec<_>>());
    }
}

#[test]
fn operands_of_one_axis_and_running_sums() {
    let mut net = Net::new(&["batch", "4"]);
    let w = net.weights(&[4], &[1.0, -1.0, 2.0, 0.5]);
    let y = net.node("MatMul", &["x", &w], &[]);
    let (x, shape, y) = outputs(net, &y, &[3, 4]);
    assert_eq!(shape, [3]);
    let row = |n: usize| [1.0, -1.0, 2.0, 0.5].iter().zip(&x[n * 4..]).map(|(w, x)| w * f64::from(*x)).sum();
    near(&y, &[row(0), row(1), row(2)]);

    let mut net = Net::new(&["batch", "4"]);
    let axis = net.integers(&[1]);
    let y = net.node("CumSum", &["x", &axis], &[("reverse", Int(1))]);
    let (x, _, y) = outputs(net, &y, &[2, 4]);
    let from = |i: usize| x[i..i / 4 * 4 + 4].iter().map(|x| f64::from(*x)).sum();
    near(&y, &(0..8).map(from).collect::<Vec<f64>>());
}

/// Attention over positions, of heads, behind a convolution with zero filters.
#[test]
fn attention_behind_removed_filters() {
    let mut net = Net::new(&["batch", "3", "4", "4"]);
    let mut w = net.random(12 * 3);
    // The whole first head, and a filter of the second one.
    w[..4 * 3].fill(0.0);
    w[5 * 3..6 * 3].fill(0.0);
    let mut bias = vec![0.0; 12];
    bias[5] = 0.7;
    let y = net.conv("x", [12, 3, 1, 1], &w, &bias, &[]);
    let heads = net.integers(&[0, 3, 4, 16]);
    let y = net.node("Reshape", &[&y, &heads], &[]);
    let t = net.node("Transpose", &[&y], &[("perm", Ints(&[0, 1, 3, 2]))]);
    let alike = net.node("MatMul", &[&t, &y], &[]);
    let half = net.weights(&[], &[0.5]);
    let alike = net.node("Mul", &[&alike, &half], &[]);
    let shares = net.node("Softmax", &[&alike], &[("axis", Int(3))]);
    let mixed = net.node("MatMul", &[&y, &shares], &[]);
    let image = net.integers(&[0, 12, 4, 4]);
    let y = net.node("Reshape", &[&mixed, &image], &[]);
    let w = net.random(2 * 12);
    let y = net.conv(&y, [2, 12, 1, 1], &w, &[0.5, -0.5], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 3, 4, 4], &[2, 3, 4, 4]]);
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![4, 6, 7, 8, 9, 10, 11]));
}
