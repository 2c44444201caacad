//! Networks that several tests use.

use crate::onnx::{Net, Value::*};
use ssl_convert::onnx::proto::ModelProto;

/// A network with every kind of step, for inputs of `[batch, 4, 33, 32]`.
pub fn every_operator() -> ModelProto {
    let mut net = Net::new(&["batch", "4", "33", "32"]);
    let padded = || ("pads", Ints(&[1; 4]));
    let parameters = [(); 4].map(|()| net.weights(&[4], &[0.5, 1.0, 1.5, 2.0]));
    let [scale, shift, mean, variance] = parameters.each_ref().map(String::as_str);
    let y = net.node("BatchNormalization", &["x", scale, shift, mean, variance], &[]);
    // Filter 2 is zero: its constant reaches the borders of the next convolution, and the LRN wants it back.
    let mut w = net.random(6 * 4 * 9);
    w[2 * 36..3 * 36].fill(0.0);
    let b = net.random(6);
    let y = net.conv(&y, [6, 4, 3, 3], &w, &b, &[padded()]);
    let y = net.node("Elu", &[&y], &[]);
    let w = net.random(6 * 3 * 9);
    let residual = net.conv(&y, [6, 3, 3, 3], &w, &b, &[padded(), ("group", Int(2))]);
    let y = net.node("LRN", &[&y], &[("size", Int(3))]);
    let w = net.random(6 * 6 * 9);
    let y = net.conv(&y, [6, 6, 3, 3], &w, &b, &[padded()]);
    let y = net.node("Add", &[&y, &residual], &[]);
    let y = net.node("Relu", &[&y], &[]);
    let w = net.random(6 * 6);
    let y = net.conv(&y, [6, 6, 1, 1], &w, &b, &[("strides", Ints(&[2, 2]))]);
    let w = net.random(6 * 2 * 4);
    let w = net.weights(&[6, 2, 2, 2], &w);
    let y = net.node("ConvTranspose", &[&y, &w], &[("strides", Ints(&[2, 2]))]);
    let window = || ("kernel_shape", Ints(&[2, 2]));
    let pools = ["MaxPool", "AveragePool"].map(|op| net.node(op, &[&y], &[window()]));
    let y = net.node("Concat", &pools.each_ref().map(String::as_str), &[("axis", Int(1))]);
    let y = net.node("Concat", &[&y, &y], &[("axis", Int(3))]);
    let amounts = net.integers(&[0, 0, 1, 0, 0, 0, 0, 2]);
    let y = net.node("Pad", &[&y, &amounts], &[]);
    let scales = net.weights(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let y = net.node("Resize", &[&y, "", &scales], &[("mode", Text("linear"))]);
    let range = [[1], [9], [2]].map(|n| net.integers(&n));
    let y = net.node("Slice", &[&y, &range[0], &range[1], &range[2]], &[]);
    let y = net.node("InstanceNormalization", &[&y, scale, shift], &[]);
    let w = net.random(4 * 9);
    let y = net.conv(&y, [4, 1, 3, 3], &w, &[0.1; 4], &[padded(), ("group", Int(4))]);
    let gates = ["GlobalAveragePool", "GlobalMaxPool"].map(|op| net.node(op, &[&y], &[]));
    let gate = net.node("Sub", &gates.each_ref().map(String::as_str), &[]);
    let gate = net.node("HardSigmoid", &[&gate], &[]);
    let y = net.node("Mul", &[&y, &gate], &[]);
    let best = net.node("ArgMax", &[&y], &[("axis", Int(1)), ("keepdims", Int(1))]);
    let y = net.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 3, 1]))]);
    let y = net.node("ReduceMean", &[&y], &[("axes", Ints(&[1])), ("keepdims", Int(0))]);
    let y = net.node("Flatten", &[&y], &[]);
    let w = net.random(7 * 4 * 128);
    let w = net.weights(&[4 * 128, 7], &w);
    let y = net.node("Gemm", &[&y, &w], &[]);
    let y = net.node("Softmax", &[&y], &[]);
    net.finish(&[&y, &best])
}
