//! What goes into the layer before it, and what does not: by the nodes that are left, and by what they compute.

use sslm::Model;
use sslm_format::Operator;
use sslm_tests::compare::{as_imported, compact_equals_dense, convert, graph_of, input, run};
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

/// What exporters write as a Reshape, a Transpose and a Reshape is a DepthToSpace or a SpaceToDepth, in either order of channels.
#[test]
fn blocks_of_positions_are_recognised() {
    for [c, h, w, b] in [[2, 3, 5, 2], [3, 5, 2, 3], [1, 2, 3, 2]] {
        let (large, deep) = ([2, c, h * b, w * b], [2, c * b * b, h, w]);
        let mut in_order = vec!["SpaceToDepth"];
        if c > 1 {
            in_order.push("Gather");
        }
        for (x, split, axes, y, expected) in [
            (deep, [b, b, c, h, w], [0, 3, 4, 1, 5, 2], large, vec!["DepthToSpace"]),
            (deep, [c, b, b, h, w], [0, 1, 4, 2, 5, 3], large, vec!["DepthToSpace"]),
            (large, [c, h, b, w, b], [0, 3, 5, 1, 2, 4], deep, vec!["SpaceToDepth"]),
            (large, [c, h, b, w, b], [0, 1, 3, 5, 2, 4], deep, in_order),
        ] {
            let mut net = Net::new(&x.map(|extent| extent.to_string()).each_ref().map(String::as_str));
            let split = net.integers(&[&[2], &split[..]].concat().iter().map(|&n| n as i64).collect::<Vec<_>>());
            let joined = net.integers(&y.map(|n| n as i64));
            let z = net.node("Reshape", &["x", &split], &[]);
            let z = net.node("Transpose", &[&z], &[("perm", Ints(&axes))]);
            let z = net.node("Reshape", &[&z, &joined], &[]);
            let model = net.finish(&[&z]);
            let (folded, original) = (convert(&model, false), as_imported(&model));
            let left: Vec<&str> = graph_of(&folded).nodes.iter().map(|node| node.op.name()).collect();
            assert_eq!(left, expected, "{x:?} to {y:?} by {axes:?}");
            let [found, original] =
                [folded, original].map(|file| run(&Model::from_bytes(&file).expect("what was written is valid"), &x, &input(&x)));
            assert_eq!(found, original, "{x:?} to {y:?} by {axes:?}");
        }
    }
}
