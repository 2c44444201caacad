//! What operators mean in other versions of ONNX's operator set: attributes that became inputs, defaults that changed, axes that were said
//! in another way. Each is imported by what its own version says, or refused.

use ssl_convert::onnx::proto::*;
use sslm::{ElementType, Model};
use sslm_tests::compare::{convert, refusal, run, run_all};
use sslm_tests::onnx::{Net, Value, Value::*};

/// A model of one node that reads `x` of these dims and stored tensors, each dims and elements.
fn one_node(opset: i64, dims: &[usize], op: &str, stored: &[(&[usize], &[f32])], attributes: &[(&str, Value)]) -> ModelProto {
    let mut net = Net::fixed(dims);
    net.model.opset_import[0].version = opset;
    net.model.ir_version = 3;
    let stored: Vec<String> = stored.iter().map(|(dims, elements)| net.weights(dims, elements)).collect();
    let inputs: Vec<&str> = std::iter::once("x").chain(stored.iter().map(String::as_str)).collect();
    let y = net.node(op, &inputs, attributes);
    net.finish(&[&y])
}

fn outputs(model: &ModelProto, dims: &[usize], x: &[f32]) -> Vec<f32> {
    run(&Model::from_bytes(&convert(model, false)).expect("valid"), dims, x).1
}

/// An operator with stored inputs and attributes, on x, and what comes out.
struct Case<'a> {
    opset: i64,
    op: &'a str,
    dims: &'a [usize],
    x: &'a [f32],
    stored: &'a [(&'a [usize], &'a [f32])],
    attributes: &'a [(&'a str, Value<'a>)],
    expected: &'a [f32],
}

const SIX: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

fn check(cases: &[Case<'_>]) {
    for case in cases {
        let model = one_node(case.opset, case.dims, case.op, case.stored, case.attributes);
        let found = outputs(&model, case.dims, case.x);
        let close = found.len() == case.expected.len() && found.iter().zip(case.expected).all(|(a, b)| (a - b).abs() < 2e-6);
        assert!(close, "{} of opset {}: {found:?}, expected {:?}", case.op, case.opset, case.expected);
    }
}

/// Before opset 7, attributes say whether and where the second operand is broadcast.
#[test]
fn operands_are_aligned_as_their_version_says() {
    let (rows, at_1): (&[usize], &[_]) = (&[2], &[("broadcast", Int(1)), ("axis", Int(1))]);
    let case = |op, stored, attributes, expected| Case { opset: 6, op, dims: &[1, 2, 3], x: &SIX, stored, attributes, expected };
    check(&[
        case("Add", &[(rows, &[10.0, 20.0])], at_1, &[11.0, 12.0, 13.0, 24.0, 25.0, 26.0]),
        case("Sub", &[(rows, &[10.0, 20.0])], at_1, &[-9.0, -8.0, -7.0, -16.0, -15.0, -14.0]),
        case("Mul", &[(rows, &[10.0, 20.0])], at_1, &[10.0, 20.0, 30.0, 80.0, 100.0, 120.0]),
        case("Div", &[(rows, &[1.0, 2.0])], at_1, &[1.0, 2.0, 3.0, 2.0, 2.5, 3.0]),
        case("Pow", &[(rows, &[1.0, 2.0])], at_1, &[1.0, 2.0, 3.0, 16.0, 25.0, 36.0]),
        case("Add", &[(&[3], &[10.0, 20.0, 30.0])], &[("broadcast", Int(1))], &[11.0, 22.0, 33.0, 14.0, 25.0, 36.0]),
        // Which axis it is counts where it is broadcast only.
        case("Add", &[(&[1, 2, 3], &SIX)], &[("axis", Int(1))], &[2.0, 4.0, 6.0, 8.0, 10.0, 12.0]),
        Case {
            opset: 7,
            op: "Add",
            dims: &[1, 2, 2],
            x: &SIX[..4],
            stored: &[(rows, &[10.0, 20.0])],
            attributes: at_1,
            expected: &[11.0, 22.0, 13.0, 24.0],
        },
        Case {
            opset: 7,
            op: "PRelu",
            dims: &[1, 2, 2],
            x: &[-1.0, -2.0, -3.0, 4.0],
            stored: &[(rows, &[0.5, 2.0])],
            attributes: &[],
            expected: &[-0.5, -4.0, -1.5, 4.0],
        },
        Case {
            opset: 6,
            op: "PRelu",
            dims: &[2],
            x: &[-1.0, -2.0],
            stored: &[(rows, &[0.5, 2.0])],
            attributes: &[],
            expected: &[-0.5, -4.0],
        },
        // One slope for each channel.
        Case {
            opset: 6,
            op: "PRelu",
            dims: &[1, 2, 3],
            x: &[-1.0, 2.0, -3.0, -4.0, 5.0, -6.0],
            stored: &[(rows, &[0.5, 2.0])],
            attributes: &[],
            expected: &[-0.5, 2.0, -1.5, -8.0, 5.0, -12.0],
        },
        Case {
            opset: 6,
            op: "Gemm",
            dims: &[2, 3],
            x: &SIX,
            stored: &[(&[3, 1], &[1.0, 10.0, 100.0]), (&[1], &[0.5])],
            attributes: &[("broadcast", Int(1))],
            expected: &[321.5, 654.5],
        },
    ]);
}

/// A square is a product; other powers are none, whatever shape the exponents have.
#[test]
fn powers() {
    let case = |stored, expected| Case { opset: 13, op: "Pow", dims: &[2, 3], x: &SIX, stored, attributes: &[], expected };
    check(&[
        case(&[(&[], &[2.0])], &[1.0, 4.0, 9.0, 16.0, 25.0, 36.0]),
        case(&[(&[1], &[3.0])], &[1.0, 8.0, 27.0, 64.0, 125.0, 216.0]),
        case(&[(&[3], &[2.0, 3.0, 1.0])], &[1.0, 8.0, 3.0, 16.0, 125.0, 6.0]),
    ]);
    let more_axes = one_node(13, &[2, 3], "Pow", &[(&[1, 1, 1], &[2.0])], &[]);
    let model = Model::from_bytes(&convert(&more_axes, false)).expect("valid");
    assert_eq!(run(&model, &[2, 3], &SIX), (vec![1, 2, 3], vec![1.0, 4.0, 9.0, 16.0, 25.0, 36.0]));
}

/// Windows that begin inside may hang over the end, if they overlap.
#[test]
fn sums_of_windows_that_hang_over() {
    let line: Vec<f32> = (1..=6).map(|n| n as f32).collect();
    let pool = |kernel, stride, pads| {
        let attributes = [("kernel_shape", Ints(kernel)), ("strides", Ints(stride)), ("pads", Ints(pads)), ("p", Int(1))];
        one_node(22, &[1, 1, 6], "LpPool", &[], &[&attributes[..], &[("ceil_mode", Int(1))]].concat())
    };
    assert_eq!(outputs(&pool(&[3], &[2], &[0, 0]), &[1, 1, 6], &line), [6.0, 12.0, 11.0]);
    assert_eq!(outputs(&pool(&[2], &[2], &[0, 0]), &[1, 1, 6], &line), [3.0, 7.0, 11.0]);
    let message = refusal(&pool(&[2], &[2], &[0, 1]));
    assert!(message.contains("ceil_mode: expected windows that overlap"), "{message}");
}

/// A stored matrix is a layer; where there are several, or they have more axes than what they are multiplied with, they are none.
#[test]
fn products_with_stored_matrices() {
    type Case<'a> = (&'a [usize], &'a [usize], &'a [f32], &'a [usize], &'a [f32]);
    let cases: [Case; 6] = [
        (&[2, 3], &[3, 1], &[1.0, 0.0, 2.0], &[2, 1], &[7.0, 16.0]),
        (&[2, 3], &[1, 3, 1], &[1.0, 0.0, 2.0], &[1, 2, 1], &[7.0, 16.0]),
        (&[2, 1, 3], &[1, 3, 1], &[1.0, 0.0, 2.0], &[2, 1, 1], &[7.0, 16.0]),
        (&[2, 1, 3], &[2, 3, 1], &[1.0, 0.0, 2.0, 0.0, 1.0, 0.0], &[2, 1, 1], &[7.0, 5.0]),
        (&[2, 3], &[3], &[1.0, 0.0, 2.0], &[2], &[7.0, 16.0]),
        (&[6], &[6, 1], &[1.0, 1.0, 1.0, 1.0, 1.0, 2.0], &[1], &[27.0]),
    ];
    for (dims, stored, elements, shape, expected) in cases {
        let model = one_node(13, dims, "MatMul", &[(stored, elements)], &[]);
        let found = run(&Model::from_bytes(&convert(&model, false)).expect("valid"), dims, &SIX);
        assert_eq!(found, (shape.to_vec(), expected.to_vec()), "{dims:?} and {stored:?}");
    }
}

/// What are inputs now were attributes.
#[test]
fn attributes_that_became_inputs() {
    let case = |opset, op, attributes, expected| Case { opset, op, dims: &[2, 3], x: &SIX, stored: &[], attributes, expected };
    check(&[
        case(4, "Reshape", &[("shape", Ints(&[3, -1])), ("consumed_inputs", Ints(&[0]))], &SIX),
        case(1, "Pad", &[("paddings", Ints(&[0, 1, 0, 0])), ("value", Float(9.0))], &[9.0, 1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0]),
        case(2, "Pad", &[("pads", Ints(&[0, 0, 0, 1])), ("mode", Text("edge"))], &[1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 6.0, 6.0]),
        case(6, "Clip", &[("min", Float(2.5)), ("max", Float(4.5))], &[2.5, 2.5, 3.0, 4.0, 4.5, 4.5]),
        case(1, "Clip", &[("max", Float(4.5))], &[1.0, 2.0, 3.0, 4.0, 4.5, 4.5]),
        case(1, "Slice", &[("starts", Ints(&[1])), ("ends", Ints(&[100])), ("axes", Ints(&[1]))], &[2.0, 3.0, 5.0, 6.0]),
        case(9, "Slice", &[("starts", Ints(&[1, 0])), ("ends", Ints(&[2, -1]))], &[4.0, 5.0]),
        case(1, "Split", &[("axis", Int(1)), ("split", Ints(&[3]))], &SIX),
        case(1, "TopK", &[("k", Int(2)), ("axis", Int(1))], &[3.0, 2.0, 6.0, 5.0]),
        case(11, "Unsqueeze", &[("axes", Ints(&[0, 3]))], &SIX),
        case(11, "ReduceSum", &[("axes", Ints(&[1])), ("keepdims", Int(0))], &[6.0, 15.0]),
        case(17, "ReduceMax", &[("axes", Ints(&[0]))], &[4.0, 5.0, 6.0]),
        case(1, "ReduceMean", &[("axes", Ints(&[1]))], &[2.0, 5.0]),
        case(1, "ReduceL2", &[("axes", Ints(&[0]))], &[17f32.sqrt(), 29f32.sqrt(), 45f32.sqrt()]),
        case(13, "ArgMin", &[("axis", Int(1))], &[0.0, 0.0]),
        case(15, "Shape", &[("start", Int(-1))], &[3.0]),
        case(15, "Shape", &[("end", Int(-1))], &[2.0]),
        case(2, "Pad", &[("pads", Ints(&[1, 0, 0, 1]))], &[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0]),
    ]);
    // Of no axes, each element is reduced alone.
    let (x, alone): (_, &[_]) = ([-1.0, 2.0], &[("noop_with_empty_axes", Int(1))]);
    for (op, expected) in [
        ("ReduceMean", x),
        ("ReduceSum", x),
        ("ReduceMax", x),
        ("ReduceL1", [1.0, 2.0]),
        ("ReduceL2", [1.0, 2.0]),
        ("ReduceSumSquare", [1.0, 4.0]),
        ("ReduceLogSumExp", x),
    ] {
        check(&[Case { opset: 18, op, dims: &[1, 2], x: &x, stored: &[], attributes: alone, expected: &expected }]);
    }
    check(&[
        Case { opset: 13, op: "Squeeze", dims: &[1, 6, 1], x: &SIX, stored: &[], attributes: &[], expected: &SIX },
        Case {
            opset: 9,
            op: "Squeeze",
            dims: &[1, 6, 1],
            x: &SIX,
            stored: &[],
            attributes: &[("axes", Ints(&[2]))],
            expected: &SIX,
        },
        Case {
            opset: 11,
            op: "Clip",
            dims: &[2, 3],
            x: &SIX,
            stored: &[(&[], &[2.5]), (&[], &[4.5])],
            attributes: &[],
            expected: &[2.5, 2.5, 3.0, 4.0, 4.5, 4.5],
        },
        // Once a single axis was repeated.
        Case {
            opset: 5,
            op: "Tile",
            dims: &[2, 3],
            x: &SIX,
            stored: &[(&[], &[2.0]), (&[], &[1.0])],
            attributes: &[],
            expected: &[1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 4.0, 5.0, 6.0],
        },
        // Once the only axis without an attribute was axis 1.
        Case {
            opset: 1,
            op: "Concat",
            dims: &[1, 2],
            x: &[1.0, 2.0],
            stored: &[(&[1, 1], &[3.0])],
            attributes: &[],
            expected: &[1.0, 2.0, 3.0],
        },
    ]);
}

/// What has changed its meaning or its default.
#[test]
fn functions_of_older_versions() {
    let e = |x: f32| x.exp();
    let shares = |all: &[f32]| all.iter().map(|&x| e(x) / all.iter().map(|&x| e(x)).sum::<f32>()).collect::<Vec<f32>>();
    let x = [-1.0, 0.5, 0.0, 2.0, 1.0, -0.5];
    let [flat, lines] = [shares(&x), [shares(&x[..3]), shares(&x[3..])].concat()];
    let logarithms: Vec<f32> = flat.iter().map(|share| share.ln()).collect();
    let selu = |alpha: f32, gamma: f32| x.map(|x| gamma * if x < 0.0 { alpha * (e(x) - 1.0) } else { x });
    let (old, new) = (selu(1.6732, 1.0507), selu(1.673_263_2, 1.050_701));
    let hard = x.map(|x| (0.2 * x + 0.5).clamp(0.0, 1.0));
    let case = |opset, op, expected| Case { opset, op, dims: &[1, 2, 3], x: &x, stored: &[], attributes: &[], expected };
    check(&[
        case(11, "Softmax", &flat),
        case(13, "Softmax", &lines),
        case(1, "LogSoftmax", &logarithms),
        case(11, "Hardmax", &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
        case(13, "Hardmax", &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]),
        case(1, "Selu", &old),
        case(6, "Selu", &new),
        case(1, "HardSigmoid", &hard),
        case(1, "Elu", &x.map(|x| if x < 0.0 { e(x) - 1.0 } else { x })),
    ]);
    let celu = x.map(|x| if x < 0.0 { 2.0 * (e(x / 2.0) - 1.0) } else { x });
    let stretched = ("alpha", Float(2.0));
    check(&[Case { opset: 12, op: "Celu", dims: &[1, 2, 3], x: &x, stored: &[], attributes: &[stretched], expected: &celu }]);
}

#[test]
fn windows_and_sizes_of_older_versions() {
    let plane: Vec<f32> = (1..=4).map(|n| n as f32).collect();
    let case = |opset, op, stored, attributes, expected| Case {
        opset,
        op,
        dims: &[1, 1, 2, 2],
        x: &plane,
        stored,
        attributes,
        expected,
    };
    let window: &[_] = &[("kernel_shape", Ints(&[2, 2])), ("pads", Ints(&[1, 1, 0, 0]))];
    let twice: &[f32] = &[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 3.0, 3.0, 4.0, 4.0];
    // Of neighbours, the one before; behind the last one, itself.
    let linear: &[f32] = &[1.0, 1.5, 2.0, 2.0, 2.0, 2.5, 3.0, 3.0, 3.0, 3.5, 4.0, 4.0, 3.0, 3.5, 4.0, 4.0];
    let scales: &[(&[usize], &[f32])] = &[(&[4], &[1.0, 1.0, 2.0, 2.0])];
    check(&[
        case(1, "MaxPool", &[], window, &[1.0, 2.0, 3.0, 4.0]),
        case(1, "AveragePool", &[], window, &[1.0, 1.5, 2.0, 2.5]),
        case(1, "GlobalLpPool", &[], &[("p", Float(2.0))], &[30f32.sqrt()]),
        case(1, "LpPool", &[], &[("kernel_shape", Ints(&[2, 2])), ("p", Float(1.0))], &[10.0]),
        case(2, "LpPool", &[], &[("kernel_shape", Ints(&[2, 2])), ("p", Int(1))], &[10.0]),
        case(1, "Upsample", &[], &[("height_scale", Float(2.0)), ("width_scale", Float(2.0))], twice),
        case(7, "Upsample", &[], &[("scales", Floats(&[1.0, 1.0, 2.0, 2.0]))], twice),
        case(9, "Upsample", scales, &[("mode", Text("linear"))], linear),
        case(10, "Resize", scales, &[], twice),
        case(10, "Resize", scales, &[("mode", Text("linear"))], linear),
        // One that shrinks takes the position behind.
        case(10, "Resize", &[(&[4], &[1.0, 1.0, 1.0, 0.5])], &[], &[1.0, 3.0]),
        case(1, "DepthToSpace", &[], &[("blocksize", Int(1))], &plane),
        // Regions of interest are an input since opset 11, and positions are those of half elements.
        case(
            11,
            "Resize",
            &[(&[0], &[]), (&[4], &[1.0, 1.0, 1.0, 2.0])],
            &[("mode", Text("linear"))],
            &[1.0, 1.25, 1.75, 2.0, 3.0, 3.25, 3.75, 4.0],
        ),
    ]);
    let line: Vec<f32> = (1..=5).map(|n| n as f32).collect();
    for (factor, expected) in [(0.6, &[1.0, 3.0, 5.0][..]), (1.5, &[1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0])] {
        let scales: &[(&[usize], &[f32])] = &[(&[4], &[1.0, 1.0, 1.0, factor])];
        check(&[Case { opset: 10, op: "Resize", dims: &[1, 1, 1, 5], x: &line, stored: scales, attributes: &[], expected }]);
    }
}

/// Whether a BatchNormalization is by stored statistics, by those of the batch, or for each element on its own.
#[test]
fn batch_normalisation_of_older_versions() {
    let (four, one): (&[usize], &[usize]) = (&[4], &[1]);
    let stored: &[(&[usize], &[f32])] = &[(one, &[2.0]), (one, &[0.5]), (one, &[9.0]), (one, &[4.0])];
    let each: &[(&[usize], &[f32])] =
        &[(four, &[1.0, 2.0, 3.0, 4.0]), (four, &[0.0; 4]), (four, &[1.0, 1.0, 0.0, 0.0]), (four, &[1.0, 4.0, 9.0, 16.0])];
    let case = |opset, stored, attributes, expected| Case {
        opset,
        op: "BatchNormalization",
        dims: &[2, 1, 4],
        x: &[1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0],
        stored,
        attributes,
        expected,
    };
    let epsilon = ("epsilon", Float(1e-7));
    let by_batch = [-1.5, 2.5, -1.5, 2.5, -1.5, 2.5, -1.5, 2.5];
    let by_stored = [-7.5, -5.5, -7.5, -5.5, -7.5, -5.5, -7.5, -5.5];
    let by_element = [0.0, 2.0, 1.0, 3.0, 0.0, 2.0, 1.0, 3.0];
    check(&[
        case(1, stored, &[epsilon, ("consumed_inputs", Ints(&[0, 0, 0, 1, 1]))], &by_batch),
        case(6, stored, &[epsilon, ("is_test", Int(0)), ("momentum", Float(0.5))], &by_batch),
        case(6, stored, &[epsilon, ("is_test", Int(1))], &by_stored),
        case(7, stored, &[epsilon, ("momentum", Float(0.5))], &by_stored),
        // The root of 4 and 5.
        case(
            7,
            stored,
            &[("epsilon", Float(5.0))],
            &[-29.0 / 6.0, -3.5, -29.0 / 6.0, -3.5, -29.0 / 6.0, -3.5, -29.0 / 6.0, -3.5],
        ),
        case(6, each, &[epsilon, ("is_test", Int(1)), ("spatial", Int(0))], &by_element),
        case(8, each, &[epsilon, ("spatial", Int(0))], &by_element),
    ]);
    let message = refusal(&one_node(6, &[2, 1, 4], "BatchNormalization", each, &[("spatial", Int(0))]));
    assert!(message.contains("spatial: expected 1 in training, found 0"), "{message}");
}

/// By default over the last axis, with a scale and a shift for each of its elements or for all, and with what they are made of.
#[test]
fn normalisations_of_lines() {
    let (two, one): (&[usize], &[usize]) = (&[2], &[1]);
    let (none, x) = ([("epsilon", Float(0.0))], [1.0, 3.0, 5.0, 9.0]);
    let layer = |stored, expected| {
        let op = "LayerNormalization";
        Case { opset: 17, op, dims: &[1, 2, 2], x: &x, stored, attributes: &none, expected }
    };
    let [low, high] = [3.0 / 12.5f32.sqrt(), 8.0 / 12.5f32.sqrt()];
    check(&[
        layer(&[(two, &[2.0, 3.0]), (two, &[0.5, -1.0])], &[-1.5, 2.0, -1.5, 2.0]),
        layer(&[(one, &[2.0]), (one, &[0.5])], &[-1.5, 2.5, -1.5, 2.5]),
        Case {
            opset: 23,
            op: "RMSNormalization",
            dims: &[1, 2, 2],
            x: &[3.0, 4.0, 6.0, 8.0],
            stored: &[(two, &[1.0, 2.0])],
            attributes: &none,
            expected: &[low, high, low, high],
        },
        Case {
            opset: 13,
            op: "Hardmax",
            dims: &[2, 2, 2],
            x: &[1.0, 5.0, 3.0, 4.0, 2.0, 6.0, 7.0, 5.0],
            stored: &[],
            attributes: &[("axis", Int(1))],
            expected: &[0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0],
        },
    ]);
    let flat = one_node(11, &[2, 3, 2], "Hardmax", &[], &[]);
    assert_eq!(run(&Model::from_bytes(&convert(&flat, false)).expect("valid"), &[2, 3, 2], &[0.0; 12]).0, [2, 3, 2]);
    // A name of a further output says that it is wanted.
    let mut model = one_node(17, &[1, 2, 2], "LayerNormalization", &[(two, &[2.0, 3.0])], &[("epsilon", Float(5.0))]);
    let graph = model.graph.as_mut().expect("it has one");
    for name in ["mean", "inverse"] {
        graph.node[0].output.push(name.into());
        let output = ValueInfoProto { name: name.into(), ..graph.output[0].clone() };
        graph.output.push(output);
    }
    let found = run_all(&Model::from_bytes(&convert(&model, false)).expect("valid"), &[1, 2, 2], &x);
    let expected = [[2.0, 7.0], [1.0 / 6f32.sqrt(), 1.0 / 3.0]];
    assert_eq!(found.len(), 3);
    for ((name, _, found), expected) in found[1..].iter().zip(expected) {
        assert!(found.len() == 2 && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{name}: {found:?}");
    }
}

#[test]
fn dropout_drops_nothing_where_it_is_known() {
    let dropout = |opset, attributes: &[(&str, Value)]| one_node(opset, &[2, 3], "Dropout", &[], attributes);
    for model in [dropout(6, &[("is_test", Int(1))]), dropout(1, &[("ratio", Float(0.0))]), dropout(7, &[]), dropout(13, &[])] {
        assert_eq!(outputs(&model, &[2, 3], &SIX), SIX);
    }
    for model in [dropout(1, &[]), dropout(6, &[("is_test", Int(0))])] {
        let message = refusal(&model);
        assert!(message.contains("expected inference, found training, in which elements are dropped at random"), "{message}");
    }
    // The mask, of open sizes.
    let mut net = Net::new(&["batch", "3"]);
    let y = net.node("Dropout", &["x"], &[]);
    net.last_node().output.push("mask".into());
    let model = Model::from_bytes(&convert(&net.finish(&["mask", &y]), false)).expect("valid");
    assert_eq!(model.output_types(), [ElementType::Bool, ElementType::F32]);
    assert_eq!(run(&model, &[2, 3], &SIX), (vec![2, 3], vec![1.0; 6]));
}

/// Whether it is trained is an input since opset 12, and the mask of what is dropped can be read since opset 10.
#[test]
fn dropout_by_its_inputs() {
    let net = |opset: i64, ratio: f32, training: Option<i32>, mask: bool| {
        let mut net = Net::new(&["2", "3"]);
        net.model.opset_import[0].version = opset;
        let ratio = net.weights(&[], &[ratio]);
        let mode = training.map(|mode| TensorProto { int32_data: vec![mode], data_type: data_type::BOOL, ..Default::default() });
        let mut inputs = vec!["x"];
        if let Some(mode) = mode {
            net.graph().initializer.push(TensorProto { name: "mode".into(), ..mode });
            inputs.extend([ratio.as_str(), "mode"]);
        }
        let y = net.node("Dropout", &inputs, &[]);
        net.last_node().output.push("mask".into());
        net.finish(&[if mask { "mask" } else { &y }])
    };
    for opset in [12, 13] {
        for (ratio, training, trains) in [(0.5, Some(1), true), (0.0, Some(1), false), (0.5, Some(0), false), (0.5, None, false)]
        {
            let model = net(opset, ratio, training, false);
            if trains {
                assert!(refusal(&model).contains("expected inference, found training"), "{opset}");
            } else {
                assert_eq!(outputs(&model, &[2, 3], &SIX), SIX, "{opset}, {ratio}, {training:?}");
            }
        }
    }
    assert!(refusal(&net(9, 0.5, None, true)).contains("mask"));
    for opset in [10, 11, 13] {
        assert_eq!(outputs(&net(opset, 0.5, None, true), &[2, 3], &SIX), [1.0; 6]);
    }
}

/// Types were texts.
#[test]
fn casts_to_named_types() {
    let x = [-1.5, 0.0, 2.7];
    for (name, expected) in [("INT32", [-1.0, 0.0, 2.0]), ("BOOL", [1.0, 0.0, 1.0]), ("FLOAT", x), ("DOUBLE", x)] {
        assert_eq!(outputs(&one_node(1, &[3], "Cast", &[], &[("to", Text(name))]), &[3], &x), expected, "{name}");
    }
    let message = refusal(&one_node(1, &[3], "Cast", &[], &[("to", Text("STRING"))]));
    assert!(message.contains("to: expected bool, integers or floating-point numbers, found string"), "{message}");
}

#[test]
fn versions_that_are_known() {
    for opset in [1, 28] {
        assert_eq!(outputs(&one_node(opset, &[2, 3], "Relu", &[], &[]), &[2, 3], &SIX), SIX);
    }
    for opset in [0, 29] {
        let message = refusal(&one_node(opset, &[2, 3], "Relu", &[], &[]));
        assert!(message.contains(&format!("opset: expected 1 to 28, found {opset}")), "{message}");
    }
    // The newest one has two orders of channels.
    let x: Vec<f32> = (0..8).map(|n| n as f32).collect();
    for (mode, expected) in [("DCR", [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]), ("CRD", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])]
    {
        let model = one_node(28, &[1, 2, 2, 2], "SpaceToDepth", &[], &[("blocksize", Int(2)), ("mode", Text(mode))]);
        assert_eq!(outputs(&model, &[1, 2, 2, 2], &x), expected, "{mode}");
    }
}

/// Outputs that the model declares as float32, or not at all, are of the type that their operator yields.
#[test]
fn outputs_keep_the_types_of_their_operators() {
    use ElementType::{Bool, F32, I32, I64};
    let cases: [(&str, &[&str], ElementType); 16] = [
        ("Less", &["x", "x"], Bool),
        ("GreaterOrEqual", &["n", "n"], Bool),
        ("Equal", &["n", "n"], Bool),
        ("And", &["b", "b"], Bool),
        ("Xor", &["b", "b"], Bool),
        ("Not", &["b"], Bool),
        ("IsNaN", &["x"], Bool),
        ("IsInf", &["x"], Bool),
        ("ArgMax", &["n"], I64),
        ("ArgMin", &["x"], I64),
        ("Shape", &["x"], I64),
        ("Size", &["n"], I64),
        ("Where", &["b", "n", "n"], I32),
        ("Where", &["b", "x", "x"], F32),
        ("Add", &["n", "n"], I32),
        ("Pow", &["n", "n"], I32),
    ];
    for (op, inputs, expected) in cases {
        let mut net = Net::new(&["2", "3"]);
        for (name, to) in [("n", data_type::INT32), ("b", data_type::BOOL)] {
            let cast = net.node("Cast", &["x"], &[("to", Int(to.into()))]);
            net.last_node().output = vec![name.to_owned()];
            assert!(cast.starts_with("Cast"));
        }
        let y = net.node(op, inputs, &[]);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid");
        assert_eq!(model.output_types(), [expected], "{op} of {inputs:?}");
    }
    let mut net = Net::new(&["2", "3"]);
    let k = net.integers(&[1]);
    let y = net.node("TopK", &["x", &k], &[]);
    net.last_node().output.push("places".into());
    let model = Model::from_bytes(&convert(&net.finish(&[&y, "places"]), false)).expect("valid");
    assert_eq!(model.output_types(), [F32, I64]);
}

/// The help says which versions are read, and those beside them are refused.
#[test]
fn versions_are_those_that_the_help_says() {
    let help = sslm_tests::tools::succeeds("ssl-convert", &["--help"]);
    let said = help.split_once("(opsets ").and_then(|(_, rest)| rest.split_once(')')).expect("the help says them").0;
    let (first, last) = said.split_once(" to ").expect("from one to another");
    let [first, last] = [first, last].map(|version| version.parse::<i64>().expect("a version"));
    for version in [first, last] {
        assert_eq!(outputs(&one_node(version, &[2], "Relu", &[], &[]), &[2], &[-1.0, 2.0]), [0.0, 2.0], "opset {version}");
    }
    for version in [first - 1, last + 1] {
        let message = refusal(&one_node(version, &[2], "Relu", &[], &[]));
        assert_eq!(message, format!("opset: expected {first} to {last}, found {version}"));
    }
}
