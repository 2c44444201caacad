//! What goes into the layer before it, and what does not: by the nodes that are left, and by what they compute.

use sslm_format::Operator;
use sslm_tests::compare::compact_equals_dense;
use sslm_tests::onnx::{Net, Value::*};

/// A network of which every value has four channels, and is four elements wide.
fn net() -> Net {
    Net::new(&["batch", "4", "3", "4"])
}

fn conv(net: &mut Net, x: &str) -> String {
    let weights = net.random(16);
    net.conv(x, [4, 4, 1, 1], &weights, &[0.1, -0.2, 0.3, -0.4], &[])
}

/// Adds `op` with a stored tensor of `dims` as its second operand.
fn with(net: &mut Net, op: &str, x: &str, dims: &[usize]) -> String {
    let elements: Vec<f32> = (0..dims.iter().product()).map(|i| 0.5 + i as f32).collect();
    let constant = net.weights(dims, &elements);
    net.node(op, &[x, &constant], &[])
}

/// The operators that are left, but for stored tensors.
fn left(net: Net, outputs: &[&str]) -> Vec<&'static str> {
    let graph = compact_equals_dense(&net.finish(outputs), &[&[1, 4, 3, 4], &[2, 4, 3, 4]]);
    graph.nodes.iter().map(|node| node.op.name()).filter(|name| *name != "Constant").collect()
}

/// Of fewer axes than the layer's output, they are aligned at the last one.
#[test]
fn constants_of_one_element_for_each_channel_are_taken_in() {
    for dims in [&[][..], &[1], &[1, 1], &[1, 1, 1], &[4, 1, 1], &[1, 4, 1, 1]] {
        for op in ["Add", "Sub", "Mul", "Div"] {
            let mut net = net();
            let y = conv(&mut net, "x");
            let y = with(&mut net, op, &y, dims);
            assert_eq!(left(net, &[&y]), ["Conv"], "{op} of {dims:?}");
        }
    }
    for dims in [&[4][..], &[1, 4], &[3, 1], &[1, 1, 1, 4], &[4, 3, 1], &[4, 1, 4], &[1, 1, 1, 1, 1]] {
        let mut net = net();
        let y = conv(&mut net, "x");
        let y = with(&mut net, "Mul", &y, dims);
        assert_eq!(left(net, &[&y]), ["Conv", "Mul"], "{dims:?}");
    }
}

/// One by one, in their order, whichever operand the constant is.
#[test]
fn chains_are_taken_in_from_front_to_back() {
    let mut net = net();
    let y = conv(&mut net, "x");
    let y = with(&mut net, "Mul", &y, &[4, 1, 1]);
    let one = net.weights(&[1, 4, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
    let y = net.node("Sub", &[&one, &y], &[]);
    let y = with(&mut net, "Div", &y, &[]);
    let [scale, shift, mean, variance] =
        [[1.5, 0.5, -2.0, 1.0], [0.1, 0.7, -0.2, 0.0], [0.3; 4], [2.0; 4]].map(|x| net.weights(&[4], &x));
    let y = net.node("BatchNormalization", &[&y, &scale, &shift, &mean, &variance], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 4, 3, 4], &[2, 4, 3, 4]]);
    // Nothing is left of the constants, and what the layer yields has the name that it had at the end of the chain.
    assert_eq!(graph.nodes.iter().map(|node| node.op.name()).collect::<Vec<_>>(), ["Conv"]);
    assert_eq!(graph.values.iter().map(|value| value.name.as_str()).collect::<Vec<_>>(), ["x", y.as_str()]);
}

#[test]
fn transposed_convolutions_take_in_what_is_behind_them() {
    let mut net = net();
    let weights = net.random(4 * 4 * 4);
    let weights = net.weights(&[4, 4, 2, 2], &weights);
    let y = net.node("ConvTranspose", &["x", &weights], &[("strides", Ints(&[2, 2]))]);
    let y = with(&mut net, "Mul", &y, &[4, 1, 1]);
    let y = with(&mut net, "Add", &y, &[4, 1, 1]);
    assert_eq!(left(net, &[&y]), ["ConvTranspose"]);
}

/// What somebody else reads, or is an output, stays what it is.
#[test]
fn what_others_read_is_not_changed() {
    let mut read = net();
    let y = conv(&mut read, "x");
    let doubled = with(&mut read, "Mul", &y, &[4, 1, 1]);
    let y = read.node("Add", &[&doubled, &y], &[]);
    assert_eq!(left(read, &[&y]), ["Conv", "Mul", "Add"]);

    for first in [true, false] {
        let mut output = net();
        let y = conv(&mut output, "x");
        let more = with(&mut output, "Add", &y, &[4, 1, 1]);
        assert_eq!(left(output, &if first { [&*y, &*more] } else { [&*more, &*y] }), ["Conv", "Add"]);
    }

    // In the middle of a chain.
    for first in [true, false] {
        let mut chain = net();
        let y = conv(&mut chain, "x");
        let inner = with(&mut chain, "Mul", &y, &[4, 1, 1]);
        let more = with(&mut chain, "Add", &inner, &[4, 1, 1]);
        assert_eq!(left(chain, &if first { [&*inner, &*more] } else { [&*more, &*inner] }), ["Conv", "Add"]);
    }
}
