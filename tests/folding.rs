//! What goes into the layer before it, and what does not: by the nodes that are left, and by what they compute.

use sslm::Model;
use sslm_format::Operator;
use sslm_tests::compare::{as_imported, compact_equals_dense, convert, graph_of, input, run_all};
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

/// The rows of a matrix are channels where there are two axes.
#[test]
fn matrices_take_in_what_is_behind_them() {
    for (dims, factors, expected) in [
        (&[2, 4][..], &[4][..], &["Gemm"][..]),
        (&[2, 4, 4], &[4, 1], &["Gemm", "Mul"]),
        (&[2, 4, 5, 4], &[4, 1, 1], &["Gemm", "Mul"]),
    ] {
        let mut net = Net::fixed(dims);
        let w = net.random(16);
        let w = net.weights(&[4, 4], &w);
        let y = net.node("MatMul", &["x", &w], &[]);
        let y = with(&mut net, "Mul", &y, factors);
        let graph = compact_equals_dense(&net.finish(&[&y]), &[dims]);
        let left: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).filter(|name| *name != "Constant").collect();
        assert_eq!(left, expected, "{dims:?}");
    }
}

/// A divisor whose inverse is no number stays one.
#[test]
fn divisors_without_an_inverse_are_not_taken_in() {
    for (divisor, expected) in [(2.0, &["Conv"][..]), (0.0, &["Conv", "Div"]), (1e-39, &["Conv", "Div"])] {
        let mut net = net();
        let y = conv(&mut net, "x");
        let constant = net.weights(&[], &[divisor]);
        let y = net.node("Div", &[&y, &constant], &[]);
        let graph = graph_of(&convert(&net.finish(&[&y]), false));
        let left: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).filter(|name| *name != "Constant").collect();
        assert_eq!(left, expected, "{divisor}");
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
            let [split, joined] =
                [&[&[2], &split[..]].concat()[..], &y].map(|dims| dims.iter().map(|&n| n as i64).collect::<Vec<_>>());
            let [_, z] = moved(&mut net, "x", &split, &axes, &joined);
            assert_eq!(left_of_moves(net, &[&z], &x), expected, "{x:?} to {y:?} by {axes:?}");
        }
    }
}

/// Adds a Reshape, a Transpose and a Reshape. Yields what the last two yield.
fn moved(net: &mut Net, x: &str, split: &[i64], axes: &[i64], joined: &[i64]) -> [String; 2] {
    let [split, joined] = [split, joined].map(|dims| net.integers(dims));
    let split = net.node("Reshape", &[x, &split], &[]);
    let transposed = net.node("Transpose", &[&split], &[("perm", Ints(axes))]);
    let joined = net.node("Reshape", &[&transposed, &joined], &[]);
    [transposed, joined]
}

/// The operators that are left, compact or not, of a network that yields the very elements that it yields as it was imported.
fn left_of_moves(net: Net, outputs: &[&str], shape: &[usize]) -> Vec<&'static str> {
    let model = net.finish(outputs);
    let [compact, dense, original] = [convert(&model, false), convert(&model, true), as_imported(&model)];
    let ops = [&compact, &dense].map(|file| graph_of(file).nodes.iter().map(|node| node.op.name()).collect::<Vec<_>>());
    assert_eq!(ops[0], ops[1]);
    let run = |file: &[u8]| {
        let model = Model::from_bytes(file).expect("what was written is valid");
        run_all(&model, shape, &input(shape)).into_iter().map(|(_, shape, elements)| (shape, elements)).collect::<Vec<_>>()
    };
    let expected = run(&original);
    [compact, dense].iter().for_each(|file| assert_eq!(run(file), expected));
    let [ops, _] = ops;
    ops
}

/// Of any height that is a multiple of the block.
#[test]
fn blocks_of_positions_of_any_height_are_recognised() {
    let mut net = Net::new(&["2", "3", "height", "6"]);
    let [_, y] = moved(&mut net, "x", &[2, 3, -1, 3, 2, 3], &[0, 3, 5, 1, 2, 4], &[2, 27, -1, 2]);
    assert_eq!(left_of_moves(net, &[&y], &[2, 3, 12, 6]), ["SpaceToDepth"]);
}

/// What differs from a move of blocks in one place.
#[test]
fn near_moves_of_blocks_are_none() {
    // The elements are in the same order, in an image of another shape.
    let mut net = Net::new(&["1", "4", "2", "3"]);
    let [_, y] = moved(&mut net, "x", &[1, 2, 2, 1, 2, 3], &[0, 3, 4, 1, 5, 2], &[1, 1, 8, 3]);
    assert_eq!(left_of_moves(net, &[&y], &[1, 4, 2, 3]), ["Reshape", "Transpose", "Reshape"]);

    // Of a part of the rows, which is that of all for each element that is there.
    let mut net = Net::new(&["1", "1", "5", "4"]);
    let [start, end, axis] = [0, 4, 2].map(|n| net.integers(&[n]));
    let part = net.node("Slice", &["x", &start, &end, &axis], &[]);
    let [_, y] = moved(&mut net, &part, &[1, 1, 2, 2, 2, 2], &[0, 3, 5, 1, 2, 4], &[1, 4, 2, 2]);
    assert_eq!(left_of_moves(net, &[&y], &[1, 1, 5, 4]), ["Slice", "SpaceToDepth"]);

    // What is between both is needed by others, too.
    for read in [false, true] {
        let mut net = Net::new(&["2", "2", "6", "4"]);
        let [transposed, y] = moved(&mut net, "x", &[2, 2, 3, 2, 2, 2], &[0, 1, 3, 5, 2, 4], &[2, 8, 3, 2]);
        let other = if read { net.node("Relu", &[&transposed], &[]) } else { transposed };
        let mut expected = vec!["Reshape", "Transpose", "Reshape"];
        if read {
            expected.push("Relu");
        }
        assert_eq!(left_of_moves(net, &[&y, &other], &[2, 2, 6, 4]), expected);
    }
}

/// Channels, or the elements of rows, in another order. What moves anything else is no such Gather, and what moves nothing is gone.
#[test]
fn nothing_but_channels_is_picked() {
    type Case<'a> = (&'a [usize], &'a [i64], &'a [i64], &'a [i64], &'a [&'static str]);
    let all = ["Reshape", "Transpose", "Reshape"];
    let cases: [Case; 5] = [
        (&[2, 8], &[2, 2, 4], &[0, 2, 1], &[2, 8], &["Gather"]),
        (&[2, 8, 3, 3], &[2, 2, 4, 3, 3], &[0, 2, 1, 3, 4], &[2, 8, 3, 3], &["Gather"]),
        // Rows become columns besides.
        (&[2, 4, 3, 3], &[2, 2, 2, 3, 3], &[0, 2, 1, 4, 3], &[2, 4, 3, 3], &all),
        // Images are mixed.
        (&[2, 8], &[2, 2, 4], &[1, 0, 2], &[2, 8], &all),
        (&[2, 8, 3, 3], &[2, 2, 4, 3, 3], &[0, 1, 2, 3, 4], &[2, 8, 3, 3], &[]),
    ];
    for (shape, split, axes, joined, expected) in cases {
        let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let mut net = Net::new(&dims.iter().map(String::as_str).collect::<Vec<_>>());
        let y = net.node("Relu", &["x"], &[]);
        let [_, y] = moved(&mut net, &y, split, axes, joined);
        let y = net.node("Sin", &[&y], &[]);
        assert_eq!(left_of_moves(net, &[&y], shape), [&["Relu"], expected, &["Sin"]].concat(), "{shape:?} by {axes:?}");
    }
    // A vector has no channels.
    let mut net = Net::new(&["4"]);
    let (twice, dims) = (net.integers(&[0, 0, 1, 1, 2, 2, 3, 3]), net.integers(&[4, 2]));
    let y = net.node("Gather", &["x", &twice], &[]);
    let y = net.node("Reshape", &[&y, &dims], &[]);
    assert_eq!(left_of_moves(net, &[&y], &[4]), ["Gather", "Reshape"]);
}
