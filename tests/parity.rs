//! Compaction keeps the function: nets with the traps of the field, compact against dense at several image sizes, and what was
//! removed of each.

use sslm::Model;
use sslm_format::{Kept, Op};
use sslm_tests::compare::{compact_equals_dense, convert, input, kept_channels, kept_columns, run};
use sslm_tests::onnx::{Net, Value::*};

const IMAGE: [&str; 4] = ["batch", "3", "height", "width"];
const SIZES: [&[usize]; 3] = [&[1, 3, 5, 7], &[2, 3, 8, 8], &[1, 3, 17, 12]];

/// Sets the filters (first axis of `dims`) in `zero` to 0.
fn zero_filters(weights: &mut [f32], dims: [usize; 4], zero: &[usize]) {
    let len = dims[1] * dims[2] * dims[3];
    zero.iter().for_each(|&f| weights[f * len..(f + 1) * len].fill(0.0));
}

#[test]
fn zero_filter_with_bias_before_padded_conv() {
    for pads in [[1, 1, 1, 1], [0, 2, 1, 0], [2, 0, 0, 1]] {
        for (strides, dilations) in [([1, 1], [1, 1]), ([2, 1], [1, 1]), ([1, 2], [2, 1])] {
            let mut net = Net::new(&IMAGE);
            let mut w = net.random(4 * 3 * 9);
            zero_filters(&mut w, [4, 3, 3, 3], &[1, 2]);
            let y = net.conv("x", [4, 3, 3, 3], &w, &[0.1, 0.7, -0.4, 0.2], &[("pads", Ints(&[1, 1, 1, 1]))]);
            let y = net.node("Relu", &[&y], &[]);
            let w = net.random(5 * 4 * 9);
            let geometry = [("pads", Ints(&pads)), ("strides", Ints(&strides)), ("dilations", Ints(&dilations))];
            let y = net.conv(&y, [5, 4, 3, 3], &w, &[0.5, -0.5, 0.0, 1.0, 2.0], &geometry);
            let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
            // Relu turns the constant -0.4 into 0; 0.7 passes and must be right at every border.
            assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![0, 3]));
            assert_eq!(kept_columns(&graph, "Conv_2"), [2 * 9]);
        }
    }
}

#[test]
fn groups_keep_different_columns() {
    let mut net = Net::new(&["batch", "4", "height", "width"]);
    let dims = [6, 2, 3, 3];
    let mut w = net.random(6 * 2 * 9);
    // Group 0 (filters 0..3) loses column 4 and all of channel 1; group 1 loses columns 0 and 17, and filter 4.
    for f in 0..3 {
        w[f * 18 + 4] = 0.0;
        w[f * 18 + 9..(f + 1) * 18].fill(-0.0);
    }
    for f in 3..6 {
        w[f * 18] = 0.0;
        w[f * 18 + 17] = 0.0;
    }
    zero_filters(&mut w, dims, &[4]);
    let y = net.conv("x", dims, &w, &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], &[("group", Int(2)), ("pads", Ints(&[1, 1, 1, 1]))]);
    let w = net.random(3 * 6);
    let y = net.conv(&y, [3, 6, 1, 1], &w, &[0.0; 3], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 4, 3, 3], &[2, 4, 9, 5], &[1, 4, 14, 15]]);
    assert_eq!(kept_columns(&graph, "Conv_0"), [8, 16]);
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![0, 1, 2, 3, 5]));
}

#[test]
fn a_layer_that_lost_all_its_inputs() {
    let mut net = Net::new(&IMAGE);
    let y = net.conv("x", [4, 3, 3, 3], &[0.0; 108], &[0.3, -0.2, 0.0, 1.5], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let w = net.random(5 * 4 * 9);
    // Its inputs are constants only, but with padding its output is not constant at the border.
    let y = net.conv(&y, [5, 4, 3, 3], &w, &[0.1; 5], &[("pads", Ints(&[1, 0, 1, 2]))]);
    let y = net.node("MaxPool", &[&y], &[("kernel_shape", Ints(&[2, 2]))]);
    let w = net.random(2 * 5);
    let y = net.conv(&y, [2, 5, 1, 1], &w, &[0.0; 2], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![]));
    assert_eq!(kept_columns(&graph, "Conv_1"), [0]);

    // Without padding the whole net is constant, and nothing is left to compute.
    let mut net = Net::new(&IMAGE);
    let y = net.conv("x", [4, 3, 3, 3], &[0.0; 108], &[0.3, -0.2, 0.0, 1.5], &[]);
    let w = net.random(5 * 4 * 9);
    let y = net.conv(&y, [5, 4, 3, 3], &w, &[0.1; 5], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
    assert_eq!(kept_channels(&graph, "Conv_1"), Some(vec![]));
}

#[test]
fn dead_channels_take_their_filters_with_them() {
    let mut net = Net::new(&IMAGE);
    let w = net.random(4 * 3 * 9);
    let y = net.conv("x", [4, 3, 3, 3], &w, &[0.1; 4], &[]);
    let y = net.node("Relu", &[&y], &[]);
    let mut w = net.random(5 * 4 * 9);
    // Nobody reads channels 0 and 3.
    (0..5).for_each(|f| [0, 3].into_iter().for_each(|c| w[(f * 4 + c) * 9..][..9].fill(0.0)));
    let y = net.conv(&y, [5, 4, 3, 3], &w, &[0.1; 5], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 3, 5, 7], &[2, 3, 8, 8], &[1, 3, 17, 12]]);
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![1, 2]));
    assert_eq!(kept_columns(&graph, "Conv_2"), [18]);
}

#[test]
fn lrn_and_average_pool_behind_pruned_filters() {
    let mut net = Net::new(&IMAGE);
    let mut w = net.random(8 * 3 * 9);
    zero_filters(&mut w, [8, 3, 3, 3], &[0, 3, 4, 7]);
    let y = net.conv("x", [8, 3, 3, 3], &w, &[0.9, 0.1, 0.2, 0.0, -1.0, 0.3, 0.4, 2.0], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let y = net.node("LRN", &[&y], &[("size", Int(5)), ("alpha", Float(0.5)), ("beta", Float(0.75)), ("bias", Float(1.0))]);
    let pool = [("kernel_shape", Ints(&[3, 3])), ("pads", Ints(&[1, 1, 1, 1])), ("count_include_pad", Int(1))];
    let y = net.node("AveragePool", &[&y], &pool);
    let w = net.random(4 * 8 * 9);
    let y = net.conv(&y, [4, 8, 3, 3], &w, &[0.0; 4], &[("pads", Ints(&[1, 1, 1, 1]))]);
    compact_equals_dense(&net.finish(&[&y]), &SIZES);
}

#[test]
fn residual_and_concat_of_different_live_sets() {
    let mut net = Net::new(&["batch", "6", "height", "width"]);
    let mut w = net.random(6 * 6 * 9);
    zero_filters(&mut w, [6, 6, 3, 3], &[0, 1, 5]);
    let first = net.conv("x", [6, 6, 3, 3], &w, &[0.5, -0.5, 0.1, 0.2, 0.3, 0.9], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let mut w = net.random(6 * 6);
    zero_filters(&mut w, [6, 6, 1, 1], &[1, 2, 3]);
    let branch = net.conv(&first, [6, 6, 1, 1], &w, &[0.4, 0.6, -0.7, 0.0, 0.1, 0.2], &[]);
    let sum = net.node("Add", &[&branch, &first], &[]);
    let sum = net.node("Relu", &[&sum], &[]);
    let both = net.node("Concat", &[&sum, &first, &sum], &[("axis", Int(1))]);
    let w = net.random(4 * 18 * 9);
    let y = net.conv(&both, [4, 18, 3, 3], &w, &[0.0; 4], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 6, 4, 5], &[2, 6, 9, 9], &[1, 6, 13, 6]]);
    // Channel 1 is constant in both operands of the sum, and stays one.
    assert_eq!(kept_channels(&graph, "Add_2"), Some(vec![0, 2, 3, 4, 5]));
}

#[test]
fn channel_shuffles_and_splits_pass_channel_by_channel() {
    let mut net = Net::new(&["batch", "3", "7", "6"]);
    let mut w = net.random(8 * 3 * 9);
    zero_filters(&mut w, [8, 3, 3, 3], &[1, 4, 5]);
    let y = net.conv("x", [8, 3, 3, 3], &w, &[0.1, 0.2, 0.3, 0.4, -0.5, 0.6, 0.7, 0.8], &[]);
    let (split, joined) = (net.integers(&[0, 2, 4, 5, 4]), net.integers(&[-1, 8, 5, 4]));
    let y = net.node("Reshape", &[&y, &split], &[]);
    let y = net.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 1, 3, 4]))]);
    let shuffled = net.node("Reshape", &[&y, &joined], &[]);
    let (starts, ends, axes) = (net.integers(&[2]), net.integers(&[-1]), net.integers(&[1]));
    let part = net.node("Slice", &[&shuffled, &starts, &ends, &axes], &[]);
    let w = net.random(2 * 5);
    let y = net.conv(&part, [2, 5, 1, 1], &w, &[0.0; 2], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 3, 7, 6], &[2, 3, 7, 6], &[5, 3, 7, 6]]);
    // Shuffled: 0 4 1 5 2 6 3 7. The slice takes 1 5 2 6 3, so 0 and 7 are dead, and 1 and 5 are constants.
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![2, 3, 6]));
    assert_eq!(kept_channels(&graph, "Slice_4"), Some(vec![2, 3, 4]));
}

#[test]
fn scaled_channels_of_squeeze_and_excitation() {
    let mut net = Net::new(&["batch", "3", "height", "width"]);
    let mut w = net.random(6 * 3 * 9);
    zero_filters(&mut w, [6, 3, 3, 3], &[0, 2]);
    let x = net.conv("x", [6, 3, 3, 3], &w, &[0.5, 0.1, 0.0, 0.2, 0.3, 0.4], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let y = net.node("GlobalAveragePool", &[&x], &[]);
    let w = net.random(3 * 6);
    let y = net.conv(&y, [3, 6, 1, 1], &w, &[0.1; 3], &[]);
    let y = net.node("Relu", &[&y], &[]);
    let w = net.random(6 * 3);
    let y = net.conv(&y, [6, 3, 1, 1], &w, &[0.1; 6], &[]);
    let gate = net.node("HardSigmoid", &[&y], &[]);
    let y = net.node("Mul", &[&x, &gate], &[]);
    let w = net.random(2 * 6 * 9);
    let y = net.conv(&y, [2, 6, 3, 3], &w, &[0.0; 2], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
    // Channel 0 is constant but its gate is not; channel 2 is zero whatever its gate says.
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![1, 3, 4, 5]));
    assert_eq!(kept_channels(&graph, "Mul_6"), Some(vec![0, 1, 3, 4, 5]));
    assert_eq!(kept_channels(&graph, "Conv_4"), Some(vec![0, 1, 3, 4, 5]));
}

#[test]
fn transposed_convolution_with_constant_inputs() {
    for (strides, dilations, pads, extra) in
        [([2, 2], [1, 1], [1, 1, 1, 1], [1, 0]), ([1, 2], [2, 1], [0, 2, 1, 0], [0, 1]), ([3, 3], [1, 1], [0; 4], [0; 2])]
    {
        let mut net = Net::new(&IMAGE);
        let mut w = net.random(4 * 3);
        zero_filters(&mut w, [4, 3, 1, 1], &[0, 3]);
        let y = net.conv("x", [4, 3, 1, 1], &w, &[0.7, 0.1, 0.2, -0.3], &[]);
        let mut w = net.random(4 * 2 * 9);
        // Filter 1 of both groups reads nothing.
        (0..4).for_each(|c| w[(c * 2 + 1) * 9..][..9].fill(0.0));
        let (w, bias) = (net.weights(&[4, 2, 3, 3], &w), net.weights(&[4], &[0.1, 0.2, 0.3, 0.4]));
        let geometry = [
            ("group", Int(2)),
            ("strides", Ints(&strides)),
            ("dilations", Ints(&dilations)),
            ("pads", Ints(&pads)),
            ("output_padding", Ints(&extra)),
        ];
        let y = net.node("ConvTranspose", &[&y, &w, &bias], &geometry);
        let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
        assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![1, 2]));
        assert_eq!(kept_channels(&graph, "ConvTranspose_1"), Some(vec![0, 2]));
    }
}

/// What is infinite is computed, as in the masked network, from a constant that is not.
#[test]
fn a_constant_that_no_file_can_hold() {
    let mut net = Net::new(&IMAGE);
    let mut w = net.random(3 * 3);
    zero_filters(&mut w, [3, 3, 1, 1], &[0, 2]);
    let y = net.conv("x", [3, 3, 1, 1], &w, &[100.0, 0.1, 1.0], &[]);
    let y = net.node("Exp", &[&y], &[]);
    let model = net.finish(&[&y]);
    let graph = compact_equals_dense(&model, &SIZES);
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![1]));
    assert_eq!(kept_channels(&graph, "Exp_1"), Some(vec![0, 1]));
    let shape = [1, 3, 1, 1];
    let (_, y) = run(&Model::from_bytes(&convert(&model, false)).expect("valid"), &shape, &input(&shape));
    assert!(y[0] == f32::INFINITY && y[1].is_finite() && (y[2] - 1f32.exp()).abs() < 1e-6, "{y:?}");
}

/// Every tap of every filter reads it, and each of them may be beside the image.
#[test]
fn a_constant_that_all_taps_read() {
    let mut net = Net::new(&IMAGE);
    let mut w = net.random(2 * 3);
    zero_filters(&mut w, [2, 3, 1, 1], &[0]);
    let y = net.conv("x", [2, 3, 1, 1], &w, &[0.7, 0.1], &[]);
    let w = net.random(2 * 2 * 4);
    let w = net.weights(&[2, 2, 2, 2], &w);
    let y = net.node("ConvTranspose", &[&y, &w], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![1]));
}

/// What is added before and behind then depends on the size of the image.
#[test]
fn a_constant_before_padding_that_keeps_sizes() {
    for auto_pad in ["SAME_UPPER", "SAME_LOWER"] {
        let mut net = Net::new(&IMAGE);
        let mut w = net.random(3 * 3);
        zero_filters(&mut w, [3, 3, 1, 1], &[1]);
        let y = net.conv("x", [3, 3, 1, 1], &w, &[0.1, 0.7, -0.2], &[]);
        let w = net.random(2 * 3 * 9);
        let attributes = [("auto_pad", Text(auto_pad)), ("strides", Ints(&[2, 2]))];
        let y = net.conv(&y, [2, 3, 3, 3], &w, &[0.5, -0.5], &attributes);
        // One tap alone sees no padding.
        let mut w = net.random(2 * 2);
        zero_filters(&mut w, [2, 2, 1, 1], &[0]);
        let y = net.conv(&y, [2, 2, 1, 1], &w, &[0.3, 0.0], &[]);
        let w = net.random(2 * 2);
        let y = net.conv(&y, [2, 2, 1, 1], &w, &[0.1, 0.2], &[("auto_pad", Text(auto_pad))]);
        let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
        assert_eq!(kept_columns(&graph, "Conv_3"), [1]);
        assert!(matches!(&graph.nodes[3].op, Op::Conv(conv) if conv.taps.is_none()));
    }
}

#[test]
fn a_scale_of_zero_makes_a_constant() {
    let mut net = Net::new(&IMAGE);
    let [scale, shift, mean, variance] =
        [[1.5, 0.0, 2.0], [0.1, 0.7, -0.2], [0.3, 0.4, 0.5], [1.0, 2.0, 0.5]].map(|elements| net.weights(&[3], &elements));
    let y = net.node("BatchNormalization", &["x", &scale, &shift, &mean, &variance], &[]);
    let w = net.random(2 * 3 * 9);
    let y = net.conv(&y, [2, 3, 3, 3], &w, &[0.1, 0.2], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
    assert_eq!(kept_channels(&graph, "BatchNormalization_0"), Some(vec![0, 2]));
    assert_eq!(kept_columns(&graph, "Conv_1"), [18]);
}

#[test]
fn one_value_joined_with_itself() {
    let mut net = Net::new(&["batch", "2", "height", "width"]);
    let y = net.node("Concat", &["x", "x", "x"], &[("axis", Int(1))]);
    let y = net.node("Add", &[&y, &y], &[]);
    compact_equals_dense(&net.finish(&[&y]), &[&[1, 2, 1, 1], &[2, 2, 3, 4], &[1, 2, 9, 2]]);
}

/// A layer along rows yields a value that is stored whole, whatever of it is read: not channel 0, then nothing.
#[test]
fn a_value_without_channels_is_computed_if_any_of_it_is_read() {
    for read in [&[1, 2, 3][..], &[]] {
        let mut net = Net::new(&["batch", "4", "5", "6"]);
        let w = net.random(6 * 5);
        let w = net.weights(&[6, 5], &w);
        let y = net.node("MatMul", &["x", &w], &[]);
        let mut w = net.random(3 * 4);
        (0..12).filter(|i| !read.contains(&(i % 4))).for_each(|i| w[i] = 0.0);
        let y = net.conv(&y, [3, 4, 1, 1], &w, &[0.1, 0.2, 0.3], &[]);
        let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 4, 5, 6], &[2, 4, 5, 6]]);
        assert!(matches!(&graph.nodes[0].op, Op::Gemm(layer) if (layer.columns == Kept::All) != read.is_empty()));
    }
}

/// Whatever its readers want of it: then it is its input where that lies, and costs nothing.
#[test]
fn a_view_keeps_what_its_input_keeps() {
    let mut net = Net::new(&["batch", "3", "2", "2"]);
    let mut w = net.random(4 * 3);
    zero_filters(&mut w, [4, 3, 1, 1], &[1]);
    let x = net.conv("x", [4, 3, 1, 1], &w, &[0.1, 0.2, 0.3, 0.4], &[]);
    let flat = net.node("Flatten", &[&x], &[]);
    let mut w = net.random(2 * 16);
    w.chunks_mut(16).for_each(|row| row[4..].fill(0.0));
    let w = net.weights(&[2, 16], &w);
    let y = net.node("Gemm", &[&flat, &w], &[("transB", Int(1))]);
    let all = net.node("Relu", &[&x], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y, &all]), &[&[1, 3, 2, 2], &[2, 3, 2, 2]]);
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![0, 2, 3]));
    assert_eq!(kept_channels(&graph, "Flatten_1"), Some((0..4).chain(8..16).collect()));
}

/// Nothing is left of the weights of a layer that nobody reads a channel of, though there is a node that reads its output.
#[test]
fn a_layer_that_nobody_reads_keeps_no_columns() {
    let mut net = Net::new(&IMAGE);
    let w = net.random(3 * 3);
    let straight = net.conv("x", [3, 3, 1, 1], &w, &[0.1; 3], &[]);
    let w = net.random(3 * 3);
    let scattered = net.weights(&[3, 3, 1, 1], &w);
    let scattered = net.node("ConvTranspose", &["x", &scattered], &[]);
    let both = net.node("Concat", &[&straight, &scattered, "x"], &[("axis", Int(1))]);
    let mut w = net.random(2 * 9);
    w.chunks_mut(9).for_each(|row| row[..6].fill(0.0));
    let y = net.conv(&both, [2, 9, 1, 1], &w, &[0.0; 2], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
    assert_eq!(kept_columns(&graph, "Conv_0"), [0]);
    let columns = graph.nodes.iter().find_map(|n| if let Op::ConvTranspose(c) = &n.op { Some(&c.conv.columns) } else { None });
    assert_eq!(columns, Some(&vec![Kept::List(Vec::new())]));
}

#[test]
fn windows_that_see_only_padding_are_refused() {
    let mut net = Net::new(&["batch", "1", "height", "width"]);
    let geometry = [("kernel_shape", Ints(&[2, 2])), ("dilations", Ints(&[3, 3])), ("pads", Ints(&[2, 2, 2, 2]))];
    let y = net.node("MaxPool", &["x"], &geometry);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
    let prepare = |size: usize| model.prepare(&sslm::Options::new().dim("height", size).dim("width", 4)).map(drop);
    assert!(prepare(4).is_ok());
    let message = prepare(1).expect_err("taps at -2 and 1 see nothing of one row").to_string();
    assert!(message.contains("MaxPool_0") && message.contains("every window"), "{message}");
}

#[test]
fn constants_pass_through_flatten_into_the_bias() {
    let mut net = Net::new(&["batch", "1", "8", "8"]);
    let mut w = net.random(5 * 9);
    zero_filters(&mut w, [5, 1, 3, 3], &[1, 4]);
    let y = net.conv("x", [5, 1, 3, 3], &w, &[0.1, 0.8, 0.2, 0.3, -0.6], &[]);
    let y = net.node("MaxPool", &[&y], &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))]);
    let y = net.node("Flatten", &[&y], &[]);
    let (w, b) = (net.random(7 * 45), net.random(7));
    let (w, b) = (net.weights(&[7, 45], &w), net.weights(&[7], &b));
    let y = net.node("Gemm", &[&y, &w, &b], &[("transB", Int(1))]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 1, 8, 8], &[3, 1, 8, 8], &[65, 1, 8, 8]]);
    assert_eq!(kept_channels(&graph, "Flatten_2").map(|k| k.len()), Some(27));
}

#[test]
fn a_constant_output_keeps_its_shape() {
    let mut net = Net::new(&["batch", "2", "height", "width"]);
    let mut w = net.random(3 * 2 * 9);
    zero_filters(&mut w, [3, 2, 3, 3], &[1]);
    let y = net.conv("x", [3, 2, 3, 3], &w, &[0.1, 0.25, 0.3], &[]);
    let model = net.finish(&[&y]);
    compact_equals_dense(&model, &[&[1, 2, 3, 3], &[2, 2, 6, 4], &[1, 2, 10, 11]]);
    let shape = [1, 2, 6, 5];
    let (out_shape, y) = run(&Model::from_bytes(&convert(&model, false)).expect("valid"), &shape, &input(&shape));
    assert_eq!(out_shape, [1, 3, 4, 3]);
    assert_eq!(y[12..24], [0.25; 12]);
}

/// As in PyTorch and onnxruntime, also where the factor times the extent is no integer.
#[test]
fn aligned_corners_stay_where_they_are() {
    for (factor, expected) in [(1.3, vec![0.0, 0.75, 1.5, 2.25, 3.0]), (0.7, vec![0.0, 3.0]), (0.3, vec![0.0])] {
        let mut net = Net::new(&["batch", "1", "1", "4"]);
        let scales = net.weights(&[4], &[1.0, 1.0, 1.0, factor]);
        let mode = [("mode", Text("linear")), ("coordinate_transformation_mode", Text("align_corners"))];
        let y = net.node("Resize", &["x", "", &scales], &mode);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        let (_, y) = run(&model, &[1, 1, 1, 4], &[0.0, 1.0, 2.0, 3.0]);
        assert_eq!(y, expected, "{factor}");
    }
}

/// Behind a transposition to channels last, as ConvNeXt has it, over several axes, and over the channels of two axes.
#[test]
fn layer_normalisation_behind_pruned_filters() {
    let mut net = Net::new(&["batch", "3", "6", "6"]);
    let mut w = net.random(8 * 3 * 9);
    zero_filters(&mut w, [8, 3, 3, 3], &[1, 6]);
    let y = net.conv("x", [8, 3, 3, 3], &w, &[0.5; 8], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let last = net.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 3, 1]))]);
    let normalise = |net: &mut Net, x: &str, dims: &[usize], axis: i64| {
        let count = dims.iter().product();
        let [scale, shift] = [net.random(count), net.random(count)].map(|elements| net.weights(dims, &elements));
        net.node("LayerNormalization", &[x, &scale, &shift], &[("axis", Int(axis)), ("epsilon", Float(1e-3))])
    };
    let last = normalise(&mut net, &last, &[8], -1);
    let back = net.node("Transpose", &[&last], &[("perm", Ints(&[0, 3, 1, 2]))]);
    let within = normalise(&mut net, &y, &[6, 6], 2);
    let y = net.node("Add", &[&back, &within], &[]);
    let y = net.node("GlobalAveragePool", &[&y], &[]);
    let y = net.node("Flatten", &[&y], &[]);
    let y = normalise(&mut net, &y, &[8], 1);
    let w = net.random(8 * 5);
    let w = net.weights(&[8, 5], &w);
    let y = net.node("MatMul", &[&y, &w], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 3, 6, 6], &[3, 3, 6, 6]]);
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![0, 2, 3, 4, 5, 7]));
}

/// Groups of which all channels, some, or none are constant; behind them, what is left.
#[test]
fn group_normalisation_behind_pruned_filters() {
    let mut net = Net::new(&IMAGE);
    net.model.opset_import[0].version = 21;
    let mut w = net.random(9 * 3 * 9);
    zero_filters(&mut w, [9, 3, 3, 3], &[0, 1, 2, 4]);
    let y = net.conv("x", [9, 3, 3, 3], &w, &[0.1, 0.5, -0.4, 0.2, 0.3, 0.1, 0.0, 0.7, 1.0], &[("pads", Ints(&[1; 4]))]);
    let scale = net.weights(&[9], &[1.0, 2.0, 0.5, 1.0, -1.0, 0.3, 1.0, 0.0, 1.0]);
    let shift = net.weights(&[9], &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]);
    let y = net.node("GroupNormalization", &[&y, &scale, &shift], &[("num_groups", Int(3)), ("epsilon", Float(1e-2))]);
    let y = net.node("Relu", &[&y], &[]);
    let w = net.random(4 * 9 * 9);
    let y = net.conv(&y, [4, 9, 3, 3], &w, &[0.1; 4], &[("pads", Ints(&[1; 4]))]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
    // The filters of the convolution go, whatever is behind them. Of the normalised channels those stay whose group is not constant.
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![3, 5, 6, 7, 8]));
    assert_eq!(kept_channels(&graph, "GroupNormalization_1"), Some(vec![3, 4, 5, 6, 8]));
}

/// What is scaled by zero is not needed.
#[test]
fn normalisations_ask_for_nothing_where_they_scale_by_zero() {
    let mut net = Net::new(&["batch", "3", "6", "6"]);
    let w = net.random(4 * 3 * 9);
    let y = net.conv("x", [4, 3, 3, 3], &w, &[0.5; 4], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let (scale, shift) = (net.weights(&[4], &[1.0, 0.0, -2.0, 0.5]), net.weights(&[4], &[0.1, 0.2, 0.3, 0.4]));
    let y = net.node("InstanceNormalization", &[&y, &scale, &shift], &[]);
    let w = net.random(2 * 4 * 9);
    let y = net.conv(&y, [2, 4, 3, 3], &w, &[0.1; 2], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 3, 6, 6], &[3, 3, 6, 6]]);
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![0, 2, 3]));
}

/// What a LayerNormalization makes of a constant channel is constant where it normalises each channel and shifts all of its elements alike.
#[test]
fn layer_normalisation_of_constant_channels() {
    let all: &[u32] = &[0, 1, 2, 3];
    for (axis, dims, last, kept) in [(2, &[6, 6][..], 0.25, &[0, 2, 3][..]), (2, &[6, 6], 0.5, all), (1, &[4, 6, 6], 0.25, all)] {
        let mut shift = vec![0.25; dims.iter().product()];
        shift[35] = last;
        let mut net = Net::new(&["batch", "3", "6", "6"]);
        let mut w = net.random(4 * 3 * 9);
        zero_filters(&mut w, [4, 3, 3, 3], &[1]);
        let y = net.conv("x", [4, 3, 3, 3], &w, &[0.5; 4], &[("pads", Ints(&[1, 1, 1, 1]))]);
        let scale = net.random(shift.len());
        let (scale, shift) = (net.weights(dims, &scale), net.weights(dims, &shift));
        let y = net.node("LayerNormalization", &[&y, &scale, &shift], &[("axis", Int(axis))]);
        let w = net.random(2 * 4 * 9);
        let y = net.conv(&y, [2, 4, 3, 3], &w, &[0.1; 2], &[]);
        let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 3, 6, 6], &[3, 3, 6, 6]]);
        let found = kept_channels(&graph, "LayerNormalization_1");
        assert_eq!(found.as_deref().unwrap_or(all), kept, "axis {axis}, {last}");
    }
}

/// Functions of one, two and three elements, and reductions over planes, pass on what they know of constant channels.
#[test]
fn functions_and_reductions_behind_pruned_filters() {
    let mut net = Net::new(&IMAGE);
    let mut branch = |zero: &[usize]| {
        let mut w = net.random(6 * 3 * 9);
        zero_filters(&mut w, [6, 3, 3, 3], zero);
        net.conv("x", [6, 3, 3, 3], &w, &[0.1, 0.5, -0.4, 0.2, 0.3, 0.0], &[("pads", Ints(&[1; 4]))])
    };
    let (a, b) = (branch(&[0, 1, 5]), branch(&[1, 2, 5]));
    let softplus = net.node("Softplus", &[&a], &[]);
    let larger = net.node("Max", &[&softplus, &b], &[]);
    let condition = net.node("Less", &[&a, &b], &[]);
    let chosen = net.node("Where", &[&condition, &larger, &b], &[]);
    let outputs = ["ReduceMax", "ReduceSumSquare"].map(|op| net.node(op, &[&chosen], &[("axes", Ints(&[2, 3]))]));
    let graph = compact_equals_dense(&net.finish(&[&outputs[0], &outputs[1]]), &SIZES);
    assert_eq!(kept_channels(&graph, "Softplus_2"), Some(vec![2, 3, 4]));
    assert_eq!(kept_channels(&graph, "Max_3"), Some(vec![0, 2, 3, 4]));
    assert_eq!(kept_channels(&graph, "Where_5"), Some(vec![0, 2, 3, 4]));
    assert_eq!(kept_channels(&graph, "ReduceMax_6"), Some(vec![0, 2, 3, 4]));
}

/// Planes of stored tensors that are one element each are known, and others and empty ones are not.
#[test]
fn stored_planes_of_one_element_are_constants() {
    let joined = |dims: &[usize], elements: &[f32], axis: i64| {
        let mut net = Net::new(&["1", "2", "2", "3"]);
        let stored = net.weights(dims, elements);
        let both = net.node("Concat", &["x", &stored], &[("axis", Int(axis))]);
        let channels = if axis == 1 { 6 } else { 2 };
        let w = net.random(3 * channels * 4);
        let y = net.conv(&both, [3, channels, 2, 2], &w, &[0.1; 3], &[("pads", Ints(&[1; 4]))]);
        net.finish(&[&y])
    };
    let planes = [[0.5; 6], [-1.0; 6], [0.5, 0.5, 0.5, 0.5, 0.5, 0.25], [2.0; 6]];
    let graph = compact_equals_dense(&joined(&[1, 4, 2, 3], planes.as_flattened(), 1), &[&[1, 2, 2, 3]]);
    assert_eq!(kept_channels(&graph, "Concat_0"), Some(vec![0, 1, 4]));
    convert(&joined(&[1, 2, 2, 0], &[], 3), false);
}

/// Of channels that a Pad puts around others, what they are is known, as behind a Concat with zeros.
#[test]
fn padded_channels_are_constants() {
    let mut net = Net::new(&["batch", "3", "height", "width"]);
    let mut w = net.random(4 * 3 * 9);
    zero_filters(&mut w, [4, 3, 3, 3], &[2]);
    let x = net.conv("x", [4, 3, 3, 3], &w, &[0.1, 0.2, 0.3, 0.4], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let pads = net.integers(&[0, 2, 0, 0, 0, 1, 0, 0]);
    let shortcut = net.node("Pad", &[&x, &pads], &[]);
    let mut w = net.random(7 * 4);
    zero_filters(&mut w, [7, 4, 1, 1], &[0, 4, 6]);
    let branch = net.conv(&x, [7, 4, 1, 1], &w, &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], &[]);
    let y = net.node("Add", &[&shortcut, &branch], &[]);
    let w = net.random(2 * 7 * 9);
    let y = net.conv(&y, [2, 7, 3, 3], &w, &[0.0; 2], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
    // Channels 0, 1 and 6 of the shortcut are zero, and 4 is a constant.
    assert_eq!(kept_channels(&graph, "Pad_1"), Some(vec![2, 3, 5]));
    assert_eq!(kept_channels(&graph, "Add_3"), Some(vec![1, 2, 3, 5]));

    // Any filling, and other axes as well.
    for (mode, kept) in [("edge", vec![0, 1, 2, 3, 5, 6]), ("reflect", vec![1, 2, 3, 5]), ("constant", vec![2, 3, 4, 5])] {
        let mut net = Net::new(&["batch", "3", "height", "width"]);
        let mut w = net.random(4 * 3 * 9);
        zero_filters(&mut w, [4, 3, 3, 3], &[2]);
        let x = net.conv("x", [4, 3, 3, 3], &w, &[0.1, 0.2, 0.3, 0.4], &[("pads", Ints(&[1, 1, 1, 1]))]);
        let pads = net.integers(&[0, 2, 1, 0, 0, 1, 0, 1]);
        let y = net.node("Pad", &[&x, &pads], &[("mode", Text(mode))]);
        let w = net.random(2 * 7);
        let y = net.conv(&y, [2, 7, 1, 1], &w, &[0.0; 2], &[]);
        let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
        assert_eq!(kept_channels(&graph, "Pad_1"), Some(kept), "{mode}");
    }
}

/// Each channel of a DepthToSpace is made of four, each of a SpaceToDepth of one.
#[test]
fn channels_become_positions_and_back() {
    for mode in ["DCR", "CRD"] {
        let mut net = Net::new(&["batch", "3", "height", "width"]);
        let mut w = net.random(12 * 3 * 9);
        // Of channel 1 all four, of channel 0 one.
        let (all, one) = if mode == "CRD" { ([4, 5, 6, 7], 0) } else { ([1, 4, 7, 10], 3) };
        zero_filters(&mut w, [12, 3, 3, 3], &[&all[..], &[one]].concat());
        let y = net.conv("x", [12, 3, 3, 3], &w, &[0.5; 12], &[("pads", Ints(&[1, 1, 1, 1]))]);
        let y = net.node("DepthToSpace", &[&y], &[("blocksize", Int(2)), ("mode", Text(mode))]);
        let w = net.random(2 * 2 * 9);
        // Nobody reads channel 2.
        let w: Vec<f32> = w.chunks(18).flat_map(|w| [w, &[0.0; 9]].concat()).collect();
        let y = net.conv(&y, [2, 3, 3, 3], &w, &[0.1, 0.2], &[("pads", Ints(&[1, 1, 1, 1]))]);
        let y = net.node("SpaceToDepth", &[&y], &[("blocksize", Int(2))]);
        let graph = compact_equals_dense(&net.finish(&[&y]), &SIZES);
        assert_eq!(kept_channels(&graph, "DepthToSpace_1"), Some(vec![0]), "{mode}");
        assert_eq!(kept_channels(&graph, "Conv_0").map(|kept| kept.len()), Some(3), "{mode}");
    }
    let mut net = Net::new(&["batch", "3", "8", "width"]);
    let mut w = net.random(3 * 3);
    zero_filters(&mut w, [3, 3, 1, 1], &[1]);
    let y = net.conv("x", [3, 3, 1, 1], &w, &[0.5; 3], &[]);
    let y = net.node("SpaceToDepth", &[&y], &[("blocksize", Int(2))]);
    let w = net.random(2 * 12);
    let y = net.conv(&y, [2, 12, 1, 1], &w, &[0.1, 0.2], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 3, 8, 6], &[2, 3, 8, 10]]);
    assert_eq!(kept_channels(&graph, "SpaceToDepth_1"), Some(vec![0, 2, 3, 5, 6, 8, 9, 11]));
}

/// A network over lines keeps what the same network over planes of one row keeps, and as few nodes.
#[test]
fn lines_are_planes_of_one_row() {
    let network = |rows: &[usize], open: bool| {
        let texts = |extents: &[usize]| extents.iter().map(|n| n.to_string()).collect::<Vec<String>>();
        let dims = [vec!["batch".to_owned(), "3".into()], texts(rows), vec![if open { "length" } else { "21" }.into()]].concat();
        let mut net = Net::new(&dims.iter().map(String::as_str).collect::<Vec<&str>>());
        let ints = |last: i64, least: i64| [vec![least; rows.len()], vec![last]].concat();
        let twice = |one: Vec<i64>| [one.clone(), one].concat();
        let of = |outer: usize, inner: usize, length: usize| [vec![outer, inner], rows.to_vec(), vec![length]].concat();
        let mut w = net.random(6 * 3 * 5);
        zero_filters(&mut w, [6, 3, 1, 5], &[1, 4]);
        let (w, b) = (net.weights(&of(6, 3, 5), &w), net.weights(&[6], &[0.1, 0.2, -0.3, 0.4, 0.5, 0.6]));
        let y = net.node("Conv", &["x", &w, &b], &[("pads", Ints(&twice(ints(2, 0))))]);
        let parameters = [[1.0; 6], [0.5; 6], [0.1; 6], [2.0; 6]].map(|elements| net.weights(&[6], &elements));
        let [scale, shift, mean, variance] = parameters.each_ref().map(String::as_str);
        let y = net.node("BatchNormalization", &[&y, scale, shift, mean, variance], &[]);
        let y = net.node("Relu", &[&y], &[]);
        let (kernel, strides) = (ints(2, 1), ints(2, 1));
        let y = net.node("MaxPool", &[&y], &[("kernel_shape", Ints(&kernel)), ("strides", Ints(&strides))]);
        let w = net.random(4 * 6 * 3);
        let w = net.weights(&of(4, 6, 3), &w);
        let y = net.node("Conv", &[&y, &w], &[]);
        let bias = net.weights(&[&[1, 4][..], rows, &[1]].concat(), &[0.1, 0.2, 0.3, 0.4]);
        let y = net.node("Add", &[&y, &bias], &[]);
        let y = net.node("GlobalAveragePool", &[&y], &[]);
        let y = net.node("Flatten", &[&y], &[]);
        net.finish(&[&y])
    };
    for open in [true, false] {
        let lines = compact_equals_dense(&network(&[], open), &[&[1, 3, 21], &[2, 3, 21]]);
        let planes = compact_equals_dense(&network(&[1], open), &[&[1, 3, 1, 21], &[2, 3, 1, 21]]);
        assert_eq!(kept_channels(&lines, "Relu_2"), Some(vec![0, 2, 3, 5]));
        assert_eq!(kept_columns(&lines, "Conv_4"), kept_columns(&planes, "Conv_4"));
        let views = |name: &str| name.contains("Reshape") || name.contains("Flatten");
        let computing =
            |graph: &sslm_format::Graph| graph.nodes.iter().filter(|node| !views(sslm_format::Operator::name(&node.op))).count();
        assert_eq!(computing(&lines), computing(&planes));
        assert!(lines.nodes.len() <= planes.nodes.len() + 2, "lines are made to planes and back once");
    }
}
