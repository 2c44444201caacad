//! What several nodes compute in one step is what they compute one by one: activations behind convolutions, and convolutions that
//! are added to a residual where it lies, with everything that could still need what lay there before.

use ssl_convert::onnx::proto::ModelProto;
use sslm::{Model, Threads};
use sslm_tests::compare::{all_values, convert, input, on_devices, prepare, run_all, run_session};
use sslm_tests::onnx::{Net, Value::*};
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Channels of every value.
const CHANNELS: usize = 6;

/// Images to run at: a small one, and some that threads share.
const SHAPES: [[usize; 4]; 2] = [[1, CHANNELS, 5, 7], [5, CHANNELS, 14, 13]];

/// A network that grows from its input `x`.
fn net() -> Net {
    Net::new(&["batch", "6", "height", "width"])
}

/// A convolution to the same shape, in which some filters of the masked layers are zero.
fn conv(net: &mut Net, x: &str, zero: &[usize]) -> String {
    let mut weights = net.random(CHANNELS * CHANNELS * 9);
    zero.iter().for_each(|f| weights[f * CHANNELS * 9..][..CHANNELS * 9].fill(0.0));
    let bias = net.random(CHANNELS);
    net.conv(x, [CHANNELS, CHANNELS, 3, 3], &weights, &bias, &[("pads", Ints(&[1; 4]))])
}

fn add(net: &mut Net, a: &str, b: &str) -> String {
    net.node("Add", &[a, b], &[])
}

fn relu(net: &mut Net, x: &str) -> String {
    net.node("Relu", &[x], &[])
}

/// Checks that the network computes the same as one whose every value is an output, which can fuse nothing: compact and dense,
/// with one and two threads, twice in a row. Yields what the steps of the dense one are.
fn check(net: Net, outputs: &[&str]) -> Vec<String> {
    let model = net.finish(outputs);
    let open = |model: &ModelProto, dense| Model::from_bytes(&convert(model, dense)).expect("what was written is valid");
    let (reference, dense) = (open(&all_values(&model), true), open(&model, true));
    for shape in SHAPES {
        let x = input(&shape);
        let mut other = x.clone();
        other.reverse();
        let expected = run_all(&reference, &shape, &x);
        for (form, model) in [("dense", &dense), ("compact", &open(&model, false))] {
            let cpu = [Threads::Single, Threads::Count(2)];
            let cpu = cpu.map(|threads| (format!("{threads:?}"), prepare(model, &shape, threads).session()));
            for (place, mut session) in on_devices(model, &shape).into_iter().chain(cpu) {
                for run in 0..2 {
                    let found = run_session(&mut session, &shape, &x);
                    for ((name, _, expected), (_, _, found)) in expected.iter().zip(&found) {
                        let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
                        let error = expected.iter().zip(found).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
                        assert!(error <= 1e-5 * largest, "{form}, {place}, {shape:?}, run {run}: {name} is off by {error:e}");
                    }
                    // Whatever a run leaves behind must not matter to the next one.
                    run_session(&mut session, &shape, &other);
                }
            }
        }
    }
    prepare(&dense, &SHAPES[0], Threads::Single).steps().map(|s| s.op.to_owned()).collect()
}

#[test]
fn activations_behind_convolutions() {
    for op in ["Clip", "Relu", "LeakyRelu", "Elu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh"] {
        let mut net = net();
        let y = conv(&mut net, "x", &[1]);
        let limits = [net.weights(&[], &[-0.2]), net.weights(&[], &[0.7])];
        let inputs = if op == "Clip" { vec![y.as_str(), &limits[0], &limits[1]] } else { vec![y.as_str()] };
        let y = net.node(op, &inputs, &[]);
        let y = conv(&mut net, &y, &[]);
        assert_eq!(check(net, &[&y]), [format!("Conv+{op}"), "Conv".into()]);
    }
}

/// Adds `min(max(x + 3, 0), 6)`, of which each part is there for its name.
fn relu_6_of_more(net: &mut Net, x: &str) -> String {
    let [three, zero, six] = [3.0, 0.0, 6.0].map(|constant| net.weights(&[], &[constant]));
    let sum = net.node("Add", &[x, &three], &[]);
    net.node("Clip", &[&sum, &zero, &six], &[])
}

/// Adds `1 + erf(x / sqrt 2)`, scaled by `op` and a constant.
fn one_and_erf(net: &mut Net, x: &str, op: &str, constant: f32) -> String {
    let [constant, one] = [constant, 1.0].map(|constant| net.weights(&[], &[constant]));
    let scaled = net.node(op, &[x, &constant], &[]);
    let odd = net.node("Erf", &[&scaled], &[]);
    net.node("Add", &[&odd, &one], &[])
}

/// The forms in which exporters write a value that is multiplied by a function of itself.
#[test]
fn gates_behind_convolutions() {
    type Form = fn(&mut Net, &str) -> String;
    let forms: [(&str, Form); 11] = [
        ("Swish", |net, x| {
            let gate = net.node("Sigmoid", &[x], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        ("Swish", |net, x| {
            let factor = net.weights(&[1, 1, 1, 1], &[1.702]);
            let scaled = net.node("Mul", &[x, &factor], &[]);
            let gate = net.node("Sigmoid", &[&scaled], &[]);
            net.node("Mul", &[&gate, x], &[])
        }),
        ("HardSwish", |net, x| {
            let gate = net.node("HardSigmoid", &[x], &[("alpha", Float(1.0 / 6.0)), ("beta", Float(0.5))]);
            net.node("Mul", &[&gate, x], &[])
        }),
        ("HardSwish", |net, x| {
            let (six, gate) = (net.weights(&[], &[6.0]), relu_6_of_more(net, x));
            let product = net.node("Mul", &[x, &gate], &[]);
            net.node("Div", &[&product, &six], &[])
        }),
        ("HardSwish", |net, x| {
            let (sixth, gate) = (net.weights(&[], &[0.166_666_7]), relu_6_of_more(net, x));
            let product = net.node("Mul", &[x, &gate], &[]);
            net.node("Mul", &[&sixth, &product], &[])
        }),
        ("HardSwish", |net, x| {
            let (six, gate) = (net.weights(&[], &[6.0]), relu_6_of_more(net, x));
            let gate = net.node("Div", &[&gate, &six], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        ("Gelu", |net, x| {
            let (half, sum) = (net.weights(&[], &[0.5]), one_and_erf(net, x, "Div", SQRT_2));
            let product = net.node("Mul", &[x, &sum], &[]);
            net.node("Mul", &[&product, &half], &[])
        }),
        ("Gelu", |net, x| {
            let (half, sum) = (net.weights(&[1], &[0.5]), one_and_erf(net, x, "Mul", FRAC_1_SQRT_2));
            let scaled = net.node("Mul", &[&half, x], &[]);
            net.node("Mul", &[&scaled, &sum], &[])
        }),
        ("Gelu", |net, x| {
            let (half, sum) = (net.weights(&[], &[0.5]), one_and_erf(net, x, "Mul", FRAC_1_SQRT_2));
            let gate = net.node("Mul", &[&sum, &half], &[]);
            net.node("Mul", &[&gate, x], &[])
        }),
        ("Mish", |net, x| {
            let soft = net.node("Softplus", &[x], &[]);
            let gate = net.node("Tanh", &[&soft], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        // Another constant is another function.
        ("", |net, x| {
            let gate = net.node("HardSigmoid", &[x], &[("alpha", Float(0.2)), ("beta", Float(0.5))]);
            net.node("Mul", &[&gate, x], &[])
        }),
    ];
    for (fused, form) in forms {
        let mut net = net();
        let y = conv(&mut net, "x", &[1]);
        let y = form(&mut net, &y);
        let y = conv(&mut net, &y, &[]);
        let steps = check(net, &[&y]);
        match fused {
            "" => assert_eq!(steps, ["Conv", "HardSigmoid", "Mul", "Conv"]),
            _ => assert_eq!(steps, [format!("Conv+{fused}"), "Conv".into()]),
        }
    }
    // What somebody else reads stays.
    let mut net = net();
    let y = conv(&mut net, "x", &[]);
    let gate = net.node("Sigmoid", &[&y], &[]);
    let y = net.node("Mul", &[&y, &gate], &[]);
    assert_eq!(check(net, &[&y, &gate]), ["Conv", "Sigmoid", "Mul"]);
}

/// As exporters write it before opset 17: over the last axis, with and without scale and shift, and over channels, where it stays.
#[test]
fn layer_normalisation_written_out() {
    for (axes, extents, parameters, expected) in [
        (&[-1][..], &[7][..], 2, &["LayerNormalization"][..]),
        (&[-2, -1], &[5, 7], 1, &["LayerNormalization"]),
        (&[3], &[7], 0, &["LayerNormalization"]),
        (&[1], &[6, 1, 1], 1, &["ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]),
    ] {
        let mut net = Net::new(&["1", "6", "5", "7"]);
        let over = [("axes", Ints(axes))];
        let mean = net.node("ReduceMean", &["x"], &over);
        let distance = net.node("Sub", &["x", &mean], &[]);
        let [two, epsilon] = [2.0, 1e-3].map(|constant| net.weights(&[], &[constant]));
        let square = net.node("Pow", &[&distance, &two], &[]);
        let variance = net.node("ReduceMean", &[&square], &over);
        let sum = net.node("Add", &[&variance, &epsilon], &[]);
        let deviation = net.node("Sqrt", &[&sum], &[]);
        let mut y = net.node("Div", &[&distance, &deviation], &[]);
        for op in ["Mul", "Add"].into_iter().take(parameters) {
            let elements = net.random(extents.iter().product());
            let elements = net.weights(extents, &elements);
            y = net.node(op, &[&y, &elements], &[]);
        }
        let model = net.finish(&[&y]);
        let open = |model: &ModelProto| Model::from_bytes(&convert(model, true)).expect("what was written is valid");
        let (model, reference, shape) = (open(&model), open(&all_values(&model)), [1, 6, 5, 7]);
        let steps: Vec<String> = prepare(&model, &shape, Threads::Single).steps().map(|s| s.op.to_owned()).collect();
        assert_eq!(steps, expected, "{axes:?}");
        let x = input(&shape);
        let (found, all) = (run_all(&model, &shape, &x), run_all(&reference, &shape, &x));
        let written_out = all.iter().find(|(name, ..)| *name == y).expect("every value is an output");
        let error = found[0].2.iter().zip(&written_out.2).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(error <= 1e-5, "{axes:?}: {error:e}");
    }
}

#[test]
fn activations_behind_pools() {
    for op in ["MaxPool", "AveragePool"] {
        let mut net = net();
        let y = conv(&mut net, "x", &[1]);
        let y = net.node(op, &[&y], &[("kernel_shape", Ints(&[3, 3])), ("pads", Ints(&[1; 4]))]);
        let y = relu(&mut net, &y);
        let y = conv(&mut net, &y, &[]);
        assert_eq!(check(net, &[&y]), ["Conv".to_owned(), format!("{op}+Relu"), "Conv".into()]);
    }
}

#[test]
fn an_activation_that_is_not_alone_is_a_step() {
    let mut net = net();
    let y = conv(&mut net, "x", &[]);
    let z = relu(&mut net, &y);
    let sum = net.node("Concat", &[&y, &z], &[("axis", Int(1))]);
    assert_eq!(check(net, &[&sum]), ["Conv", "Relu", "Concat"]);

    let mut net = self::net();
    let y = conv(&mut net, "x", &[]);
    let z = relu(&mut net, &y);
    assert_eq!(check(net, &[&z, &y]), ["Conv", "Relu"]);
}

#[test]
fn a_residual_that_nobody_else_needs() {
    for swapped in [false, true] {
        for zero in [&[][..], &[0, 4]] {
            let mut net = net();
            let r = conv(&mut net, "x", &[2]);
            let r = relu(&mut net, &r);
            let y = conv(&mut net, &r, &[3]);
            let y = relu(&mut net, &y);
            let y = conv(&mut net, &y, zero);
            let sum = if swapped { add(&mut net, &y, &r) } else { add(&mut net, &r, &y) };
            let sum = net.node("LeakyRelu", &[&sum], &[]);
            let y = conv(&mut net, &sum, &[]);
            assert_eq!(check(net, &[&y]), ["Conv+Relu", "Conv+Relu", "Conv+Add+LeakyRelu", "Conv"]);
        }
    }
}

#[test]
fn a_residual_that_is_needed_again() {
    // By the convolution itself.
    let mut net = net();
    let r = conv(&mut net, "x", &[1]);
    let r = relu(&mut net, &r);
    let y = conv(&mut net, &r, &[]);
    let y = add(&mut net, &y, &r);
    assert_eq!(check(net, &[&y]), ["Conv+Relu", "Conv+Add"]);

    // By a later step, as it is, and under another shape.
    for flat in [false, true] {
        let mut net = self::net();
        let r = conv(&mut net, "x", &[1]);
        let r = relu(&mut net, &r);
        let view = match flat {
            true => net.node("Flatten", &[&r], &[("axis", Int(2))]),
            false => r.clone(),
        };
        let h = conv(&mut net, &r, &[2]);
        let h = relu(&mut net, &h);
        let y = conv(&mut net, &h, &[]);
        let y = add(&mut net, &y, &r);
        let z = net.node("Sigmoid", &[&view], &[]);
        assert_eq!(check(net, &[&y, &z]), ["Conv+Relu", "Conv+Relu", "Conv+Add", "Sigmoid"]);
    }

    // By the caller: it is the network's output, or its input, which the next run must find.
    let mut net = self::net();
    let r = conv(&mut net, "x", &[1]);
    let h = conv(&mut net, &r, &[2]);
    let h = relu(&mut net, &h);
    let y = conv(&mut net, &h, &[]);
    let y = add(&mut net, &y, &r);
    assert_eq!(check(net, &[&y, &r]), ["Conv", "Conv+Relu", "Conv+Add"]);

    let mut net = self::net();
    let h = conv(&mut net, "x", &[2]);
    let h = relu(&mut net, &h);
    let y = conv(&mut net, &h, &[]);
    let y = add(&mut net, &y, "x");
    let y = relu(&mut net, &y);
    assert_eq!(check(net, &[&y]), ["Conv+Relu", "Conv+Add+Relu"]);
}

#[test]
fn residuals_of_other_channels() {
    // The residual keeps all but channel 0, the convolution what the sum keeps; then another sum needs the residual alike.
    let mut net = net();
    let r = conv(&mut net, "x", &[0]);
    let r = relu(&mut net, &r);
    let h = conv(&mut net, &r, &[]);
    let h = relu(&mut net, &h);
    let (a, b) = (conv(&mut net, &h, &[]), conv(&mut net, &h, &[]));
    let (a, b) = (add(&mut net, &a, &r), add(&mut net, &r, &b));
    let y = net.node("Mul", &[&a, &b], &[]);
    check(net, &[&y]);

    // Each operand lacks a channel that the other one has; channel 5 is constant in both.
    let mut net = self::net();
    let r = conv(&mut net, "x", &[0, 1, 5]);
    let r = relu(&mut net, &r);
    let y = conv(&mut net, &r, &[2, 3, 5]);
    let y = add(&mut net, &y, &r);
    let y = relu(&mut net, &y);
    let y = conv(&mut net, &y, &[]);
    check(net, &[&y]);
}

#[test]
fn sums_of_two_convolutions() {
    // A downsample branch: the later one is added to the earlier one.
    let mut net = net();
    let (a, b) = (conv(&mut net, "x", &[0]), conv(&mut net, "x", &[5]));
    let y = add(&mut net, &a, &b);
    let y = relu(&mut net, &y);
    assert_eq!(check(net, &[&y]), ["Conv", "Conv+Add+Relu"]);

    // Chained sums, from either side.
    for swapped in [false, true] {
        let mut net = self::net();
        let (a, b, c) = (conv(&mut net, "x", &[0]), conv(&mut net, "x", &[5]), conv(&mut net, "x", &[]));
        let y = add(&mut net, &a, &b);
        let y = if swapped { add(&mut net, &c, &y) } else { add(&mut net, &y, &c) };
        assert_eq!(check(net, &[&y]), ["Conv", "Conv+Add", "Conv+Add"]);
    }

    // The later one's sum is read before it: the convolution waits for the residual.
    let mut net = self::net();
    let early = conv(&mut net, "x", &[]);
    let late = net.node("Tanh", &["x"], &[]);
    let y = add(&mut net, &early, &late);
    assert_eq!(check(net, &[&y]), ["Tanh", "Conv+Add"]);
}

#[test]
fn sums_that_stay_sums() {
    // Of one convolution with itself.
    let mut net = net();
    let y = conv(&mut net, "x", &[1]);
    let y = add(&mut net, &y, &y);
    assert_eq!(check(net, &[&y]), ["Conv", "Add"]);

    // Of a convolution that feeds two of them.
    let mut net = self::net();
    let y = conv(&mut net, "x", &[1]);
    let (a, b) = (add(&mut net, &y, "x"), net.node("Tanh", &["x"], &[]));
    let b = add(&mut net, &b, &y);
    let y = net.node("Mul", &[&a, &b], &[]);
    assert_eq!(check(net, &[&y]), ["Conv", "Add", "Tanh", "Add", "Mul"]);

    // With a residual that is broadcast.
    let mut net = self::net();
    let mean = net.node("GlobalAveragePool", &["x"], &[]);
    let y = conv(&mut net, "x", &[1]);
    let y = add(&mut net, &mean, &y);
    assert_eq!(check(net, &[&y]), ["GlobalAveragePool", "Conv", "Add"]);

    // Behind an activation of the convolution's own.
    let mut net = self::net();
    let y = conv(&mut net, "x", &[1]);
    let y = relu(&mut net, &y);
    let y = add(&mut net, &y, "x");
    assert_eq!(check(net, &[&y]), ["Conv+Relu", "Add"]);
}

#[test]
fn a_residual_that_the_file_stores() {
    let mut net = Net::new(&["1", "6", "5", "7"]);
    let elements = net.random(CHANNELS * 35);
    let stored = net.weights(&[1, CHANNELS, 5, 7], &elements);
    let y = conv(&mut net, "x", &[1]);
    let y = add(&mut net, &stored, &y);
    let model = net.finish(&[&y]);
    let model = Model::from_bytes(&convert(&model, false)).expect("what was written is valid");
    let (shape, mut session) = (SHAPES[0], prepare(&model, &SHAPES[0], Threads::Single).session());
    let first = run_session(&mut session, &shape, &input(&shape));
    assert_eq!(run_session(&mut session, &shape, &input(&shape)), first, "the stored elements are still there");
}
