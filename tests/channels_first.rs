//! Networks that have channels on the last axis keep as much as their twins that have them on axis 1, whatever the spelling, and are
//! computed without a Transpose where none is needed.

use ssl_convert::onnx::proto::ModelProto;
use sslm_format::Operator;
use sslm_tests::compare::compact_equals_dense;
use sslm_tests::onnx::{Net, Value::*};
use sslm_tests::twin::{TO_FIRST, TO_LAST, Twin, count, kept};

/// Checks that both twins compute the same as they did, keep the same, and that the one with channels last needs no Transpose.
fn alike(shapes: &[&[usize]], make: impl Fn(bool) -> ModelProto) {
    let [first, last] = [false, true].map(|last| compact_equals_dense(&make(last), shapes));
    assert_eq!(kept(&last), kept(&first));
    assert!(kept(&first).len() > 1);
    assert_eq!(count(&last, "Transpose"), 0, "{:?}", last.nodes.iter().map(|n| n.op.name()).collect::<Vec<_>>());
    assert_eq!(count(&last, "Gemm"), count(&first, "Gemm"));
}

#[test]
fn a_block_of_convnext() {
    for size in [["height", "width"], ["6", "5"]] {
        alike(&[&[1, 3, 6, 5], &[2, 3, 6, 5]], |last| {
            let mut t = Twin::new(&["batch", "3", size[0], size[1]], last);
            let mut x = t.conv("x", 6, 3, 1);
            for _ in 0..2 {
                let y = t.conv(&x, 6, 6, 6);
                let y = t.enter(&y);
                let y = t.layer_norm(&y, 6);
                let y = t.linear(&y, 9, 6);
                let y = t.net.node("Sigmoid", &[&y], &[]);
                let y = t.linear(&y, 6, 9);
                let gamma = t.per_channel(6);
                let y = t.net.node("Mul", &[&y, &gamma], &[]);
                let y = t.leave(&y);
                x = t.net.node("Add", &[&x, &y], &[]);
            }
            t.finish(&x)
        });
    }
}

#[test]
fn what_keras_and_tf2onnx_write() {
    alike(&[&[1, 4, 6, 6], &[3, 4, 6, 6]], |last| {
        let mut t = Twin::new(&["batch", "4", "6", "6"], last);
        let mut x = t.enter("x");
        for _ in 0..3 {
            let y = t.leave(&x);
            let y = t.conv(&y, 4, 4, 1);
            let y = t.enter(&y);
            let (scale, shift) = (t.per_channel(4), t.per_channel(4));
            let y = t.net.node("Mul", &[&y, &scale], &[]);
            let y = t.net.node("Add", &[&y, &shift], &[]);
            let y = t.net.node("Relu", &[&y], &[]);
            // A gate, of one element a channel.
            let axes = if last { [1, 2] } else { [2, 3] };
            let mean = t.net.node("ReduceMean", &[&y], &[("axes", Ints(&axes)), ("keepdims", Int(1))]);
            let gate = t.linear(&mean, 2, 4);
            let gate = t.net.node("Relu", &[&gate], &[]);
            let gate = t.linear(&gate, 4, 2);
            let gate = t.net.node("Sigmoid", &[&gate], &[]);
            let y = t.net.node("Mul", &[&y, &gate], &[]);
            x = t.net.node("Add", &[&x, &y], &[]);
        }
        let both = t.net.node("Concat", &[&x, &x], &[("axis", Int(if last { 3 } else { 1 }))]);
        let amounts = t.net.integers(&if last { [0, 1, 0, 0, 0, 0, 2, 0] } else { [0, 0, 1, 0, 0, 0, 0, 2] });
        let padded = t.net.node("Pad", &[&both, &amounts], &[]);
        let y = t.leave(&padded);
        let y = t.conv(&y, 5, 8, 1);
        let y = t.enter(&y);
        let axes = if last { [1, 2] } else { [2, 3] };
        let y = t.net.node("ReduceMean", &[&y], &[("axes", Ints(&axes)), ("keepdims", Int(0))]);
        t.finish(&y)
    });
}

/// Tokens, as transformers have them: three axes, with the channels last.
#[test]
fn layers_on_three_axes() {
    alike(&[&[1, 3, 4, 4], &[2, 3, 4, 4]], |last| {
        let mut t = Twin::new(&["batch", "3", "4", "4"], last);
        let y = t.conv("x", 6, 3, 1);
        let mut x = y.clone();
        if last {
            let flat = t.net.integers(&[0, 6, -1]);
            let y = t.net.node("Reshape", &[&y, &flat], &[]);
            x = t.transpose(&y, &[0, 2, 1]);
        }
        for _ in 0..2 {
            let y = t.layer_norm(&x, 6);
            let y = t.linear(&y, 8, 6);
            let y = t.net.node("Gelu", &[&y], &[]);
            let y = t.linear(&y, 6, 8);
            x = t.net.node("Add", &[&x, &y], &[]);
        }
        let axes: &[i64] = if last { &[1] } else { &[2, 3] };
        let y = t.net.node("ReduceMean", &[&x], &[("axes", Ints(axes)), ("keepdims", Int(0))]);
        t.net.model.opset_import[0].version = 20;
        let axes = t.net.integers(axes);
        let node = t.net.last_node();
        node.input.push(axes);
        node.attribute.retain(|a| a.name != "axes");
        let weights = t.masked([3, 6, 1, 1]);
        let w = t.net.weights(&[3, 6], &weights);
        let y = t.net.node("Gemm", &[&y, &w], &[("transB", Int(1))]);
        t.finish(&y)
    });
}

/// Zeros in layers around which nothing else can be in another order are worth a Transpose, and others are not.
#[test]
fn a_layer_by_itself_moves_for_zeros_only() {
    for zeros in [false, true] {
        let mut net = Net::new(&["batch", "5", "4"]);
        let mut weights = net.random(4 * 6);
        if zeros {
            (0..4).for_each(|row| weights[row * 6 + 2] = 0.0);
        }
        let (w, w2) = (net.weights(&[4, 6], &weights), net.random(6 * 3));
        let w2 = net.weights(&[6, 3], &w2);
        let y = net.node("MatMul", &["x", &w], &[]);
        let y = net.node("Relu", &[&y], &[]);
        let y = net.node("MatMul", &[&y, &w2], &[]);
        let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 5, 4], &[2, 5, 4]]);
        assert_eq!([count(&graph, "Transpose"), count(&graph, "Gemm")], if zeros { [2, 0] } else { [0, 2] });
        assert_eq!(kept(&graph), if zeros { [[5, 4], [3, 5]] } else { [[6, 4], [3, 6]] });
    }
}

#[test]
fn a_weight_that_several_layers_share() {
    let mut net = Net::new(&["batch", "4", "3", "3"]);
    let mut weights = net.random(16);
    (0..4).for_each(|row| weights[row * 4 + 1] = 0.0);
    let w = net.weights(&[4, 4], &weights);
    let mut y = net.node("Transpose", &["x"], &[("perm", Ints(&TO_LAST))]);
    for _ in 0..3 {
        y = net.node("MatMul", &[&y, &w], &[]);
        y = net.node("Relu", &[&y], &[]);
    }
    let y = net.node("Transpose", &[&y], &[("perm", Ints(&TO_FIRST))]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 4, 3, 3], &[2, 4, 3, 3]]);
    assert_eq!(kept(&graph), [[3, 4], [3, 3], [3, 3]]);
}

/// Keras puts channels last before it flattens.
#[test]
fn a_flatten_of_channels_last() {
    let mut t = Twin::new(&["batch", "3", "4", "5"], true);
    let mut weights = t.net.random(6 * 3);
    weights[3..6].fill(0.0);
    let y = t.net.conv("x", [6, 3, 1, 1], &weights, &[0.5, -0.5, 0.1, 0.2, 0.3, 0.4], &[]);
    let y = t.enter(&y);
    let y = t.net.node("Relu", &[&y], &[]);
    let shape = t.net.integers(&[-1, 120]);
    let y = t.net.node("Reshape", &[&y, &shape], &[]);
    let w = t.net.random(120 * 7);
    let w = t.net.weights(&[120, 7], &w);
    let y = t.net.node("MatMul", &[&y, &w], &[]);
    let graph = compact_equals_dense(&t.finish(&y), &[&[1, 3, 4, 5], &[2, 3, 4, 5]]);
    assert_eq!(kept(&graph), [[5, 3], [7, 100]]);
    assert_eq!(count(&graph, "Transpose"), 0);
}

/// Where anybody else needs what is between both, or no layer the elements, the flattened image is not one of channels first.
#[test]
fn a_flatten_of_channels_last_that_stays() {
    let make = |other: &str, first: bool| {
        let mut t = Twin::new(&["batch", "3", "4", "5"], true);
        let y = t.net.node("Relu", &["x"], &[]);
        let transposed = t.enter(&y);
        let shape = t.net.integers(&[-1, 60]);
        let flat = t.net.node("Reshape", &[&transposed, &shape], &[]);
        let w = t.net.random(60 * 7);
        let w = t.net.weights(&[60, 7], &w);
        let y = match other {
            "not weighted" => t.net.node("Sin", &[&flat], &[]),
            _ => t.net.node("MatMul", &[&flat, &w], &[]),
        };
        let z = match other {
            "read" => t.net.node("Sin", &[&transposed], &[]),
            "flat" => flat,
            _ => transposed,
        };
        match other {
            "not weighted" => t.net.finish(&[&y]),
            _ => t.net.finish(&if first { [&*y, &*z] } else { [&*z, &*y] }),
        }
    };
    for other in ["transposed", "read", "flat", "not weighted"] {
        // Only the first output is compared.
        for first in [true, false] {
            let graph = compact_equals_dense(&make(other, first), &[&[1, 3, 4, 5], &[2, 3, 4, 5]]);
            assert_eq!(count(&graph, "Gather"), 0, "{other}");
        }
    }
}

/// Which element of a line the last one is depends on how long it is.
#[test]
fn the_last_position_of_any_length() {
    let mut t = Twin::new(&["batch", "5", "length"], false);
    let bounds = [-1, i64::MAX, 2].map(|n| t.net.integers(&[n]));
    let y = t.net.node("Slice", &["x", &bounds[0], &bounds[1], &bounds[2]], &[]);
    let y = t.net.node("Flatten", &[&y], &[]);
    let weights = t.masked([5, 3, 1, 1]);
    let w = t.net.weights(&[5, 3], &weights);
    let y = t.net.node("MatMul", &[&y, &w], &[]);
    compact_equals_dense(&t.finish(&y), &[&[1, 5, 4], &[2, 5, 1], &[3, 5, 9]]);
}

/// How a shuffle of channels into two halves is spelled.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    /// Of torchvision: five axes, then Split.
    Split,
    /// The halves are Slices.
    Slices,
    /// Of megvii: the batch is part of the first axis, and the halves are Gathers of one index.
    Gathers,
    /// Without a Reshape back to four axes before the halves are taken.
    GathersOfFive,
}

#[test]
fn every_spelling_of_the_channel_shuffle() {
    use Spelling::*;
    let make = |spelling: Spelling| {
        let mut t = Twin::new(&["1", "4", "3", "3"], false);
        let y = t.conv("x", 8, 4, 1);
        let reshape = |t: &mut Twin, x: &str, dims: &[i64]| {
            let dims = t.net.integers(dims);
            t.net.node("Reshape", &[x, &dims], &[])
        };
        let one = |t: &mut Twin, x: &str, axis: i64, index: i64| {
            let indices = t.net.integers(&[index]);
            t.net.graph().initializer.last_mut().expect("one was added").dims.clear();
            t.net.node("Gather", &[x, &indices], &[("axis", Int(axis))])
        };
        let halves: [String; 2] = match spelling {
            Gathers => {
                let y = reshape(&mut t, &y, &[4, 2, 9]);
                let y = t.transpose(&y, &[1, 0, 2]);
                let y = reshape(&mut t, &y, &[2, -1, 4, 3, 3]);
                [0, 1].map(|half| one(&mut t, &y, 0, half))
            }
            GathersOfFive => {
                let y = reshape(&mut t, &y, &[1, 4, 2, 3, 3]);
                let y = t.transpose(&y, &[0, 2, 1, 3, 4]);
                [0, 1].map(|half| one(&mut t, &y, 1, half))
            }
            Split | Slices => {
                let y = reshape(&mut t, &y, &[1, 4, 2, 3, 3]);
                let y = t.transpose(&y, &[0, 2, 1, 3, 4]);
                let y = reshape(&mut t, &y, &[1, -1, 3, 3]);
                match spelling {
                    Split => {
                        let first = t.net.node("Split", &[&y], &[("axis", Int(1))]);
                        t.net.last_node().output.push("second".into());
                        [first, "second".into()]
                    }
                    _ => [[0, 4], [4, 8]].map(|[start, end]| {
                        let bounds = [start, end, 1].map(|n| t.net.integers(&[n]));
                        t.net.node("Slice", &[&y, &bounds[0], &bounds[1], &bounds[2]], &[])
                    }),
                }
            }
        };
        let right = t.conv(&halves[1], 4, 4, 1);
        let both = t.net.node("Concat", &[&halves[0], &right], &[("axis", Int(1))]);
        let y = t.conv(&both, 3, 8, 1);
        t.finish(&y)
    };
    let graphs = [Split, Slices, Gathers, GathersOfFive].map(|s| compact_equals_dense(&make(s), &[&[1, 4, 3, 3]]));
    let [first, others @ ..] = &graphs;
    for other in others {
        assert_eq!(kept(other), kept(first));
    }
    assert_eq!(count(first, "Transpose"), 0);
    assert!(kept(first)[1][1] < 36, "{:?}", kept(first));
}

/// The shortcut of a ResNet whose block doubles the channels (option A): every other row and column, between channels of zeros.
#[test]
fn every_spelling_of_a_shortcut_between_zeros() {
    let make = |spelling: &str| {
        let mut t = Twin::new(&["batch", "3", "6", "6"], false);
        let x = t.conv("x", 8, 3, 1);
        let x = t.net.node("Relu", &[&x], &[]);
        let [starts, ends, axes, steps] = [[0, 0], [6, 6], [2, 3], [2, 2]].map(|bounds| t.net.integers(&bounds));
        let small = t.net.node("Slice", &[&x, &starts, &ends, &axes, &steps], &[]);
        let shortcut = if spelling == "pad" {
            let amounts = t.net.integers(&[0, 4, 0, 0, 0, 4, 0, 0]);
            t.net.node("Pad", &[&small, &amounts], &[])
        } else {
            let zeros = if spelling == "product" {
                let bounds = [0, 4, 1].map(|n| t.net.integers(&[n]));
                let half = t.net.node("Slice", &[&small, &bounds[0], &bounds[1], &bounds[2]], &[]);
                let zero = t.net.weights(&[], &[0.0]);
                t.net.node("Mul", &[&half, &zero], &[])
            } else {
                let dims = t.net.integers(&[1, 4, 3, 3]);
                t.net.node("ConstantOfShape", &[&dims], &[])
            };
            t.net.node("Concat", &[&zeros, &small, &zeros], &[("axis", Int(1))])
        };
        let y = t.conv(&x, 16, 8, 1);
        let y = t.net.node("MaxPool", &[&y], &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))]);
        let y = t.conv(&y, 16, 16, 1);
        let y = t.net.node("Add", &[&shortcut, &y], &[]);
        let y = t.net.node("Relu", &[&y], &[]);
        let y = t.conv(&y, 4, 16, 1);
        t.finish(&y)
    };
    let spellings = ["pad", "product", "constant"];
    let graphs = spellings.map(|s| compact_equals_dense(&make(s), &[&[1, 3, 6, 6]]));
    for (other, spelling) in graphs.iter().zip(spellings) {
        assert_eq!(kept(other), kept(&graphs[0]), "{spelling}");
    }
    assert!(kept(&graphs[0])[3][1] < 16 * 9, "{:?}", kept(&graphs[0]));
}

/// A gate of squeeze and excitation: what it reads of removed channels is known, and those it scales stay removed.
#[test]
fn every_spelling_of_a_gate() {
    let spellings = ["conv", "gemm", "unsqueeze", "mean"];
    let make = |spelling: &str| {
        let mut t = Twin::new(&["batch", "3", "height", "width"], false);
        let x = t.conv("x", 6, 3, 1);
        let x = t.net.node("Relu", &[&x], &[]);
        let mut y = match spelling {
            "mean" => t.net.node("ReduceMean", &[&x], &[("axes", Ints(&[2, 3])), ("keepdims", Int(0))]),
            _ => t.net.node("GlobalAveragePool", &[&x], &[]),
        };
        let flat = spelling != "conv";
        if spelling == "gemm" {
            y = t.net.node("Flatten", &[&y], &[]);
        } else if spelling == "unsqueeze" {
            let axes = t.net.integers(&[2, 3]);
            y = t.net.node("Squeeze", &[&y, &axes], &[]);
        }
        for (rows, columns, function) in [(2, 6, "Relu"), (6, 2, "Sigmoid")] {
            let weights = t.masked([rows, columns, 1, 1]);
            let bias = t.random.elements(rows, 1.0);
            y = if flat {
                let (w, b) = (t.net.weights(&[rows, columns], &weights), t.net.weights(&[rows], &bias));
                t.net.node("Gemm", &[&y, &w, &b], &[("transB", Int(1))])
            } else {
                t.net.conv(&y, [rows, columns, 1, 1], &weights, &bias, &[])
            };
            y = t.net.node(function, &[&y], &[]);
        }
        if spelling == "unsqueeze" {
            let axes = t.net.integers(&[2, 3]);
            y = t.net.node("Unsqueeze", &[&y, &axes], &[]);
        } else if flat {
            let dims = t.net.integers(&[-1, 6, 1, 1]);
            y = t.net.node("Reshape", &[&y, &dims], &[]);
        }
        let y = t.net.node("Mul", &[&x, &y], &[]);
        let y = t.conv(&y, 4, 6, 1);
        t.finish(&y)
    };
    let graphs = spellings.map(|s| compact_equals_dense(&make(s), &[&[1, 3, 5, 6], &[2, 3, 7, 4]]));
    for (other, spelling) in graphs.iter().zip(spellings) {
        assert_eq!(kept(other), kept(&graphs[0]), "{spelling}");
    }
}
