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
    let forms: [(&str, Form); 13] = [
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
        // By a Relu and a bound above.
        ("HardSwish", |net, x| {
            let [three, six] = [3.0, 6.0].map(|constant| net.weights(&[], &[constant]));
            let gate = net.node("Add", &[x, &three], &[]);
            let gate = relu(net, &gate);
            let gate = net.node("Clip", &[&gate, "", &six], &[]);
            let gate = net.node("Div", &[&gate, &six], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        // Shifted behind the bounds.
        ("HardSwish", |net, x| {
            let [low, high, six, half] = [-3.0, 3.0, 6.0, 0.5].map(|constant| net.weights(&[], &[constant]));
            let gate = net.node("Clip", &[x, &low, &high], &[]);
            let gate = net.node("Div", &[&gate, &six], &[]);
            let gate = net.node("Add", &[&gate, &half], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        // A negative factor swaps the bounds, and another one swaps them back.
        ("HardSwish", |net, x| {
            let [factor, low, high] = [-1.0 / 6.0, -0.5, 0.5].map(|constant| net.weights(&[], &[constant]));
            let gate = net.node("Mul", &[x, &factor], &[]);
            let gate = net.node("Clip", &[&gate, &low, &high], &[]);
            let gate = net.node("Sub", &[&high, &gate], &[]);
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
    ];
    for (fused, form) in forms {
        let mut net = net();
        let y = conv(&mut net, "x", &[1]);
        let y = form(&mut net, &y);
        let y = conv(&mut net, &y, &[]);
        assert_eq!(check(net, &[&y]), [format!("Conv+{fused}"), "Conv".into()]);
    }
}

/// Adds `op` of a value and a constant.
fn with(net: &mut Net, op: &str, x: &str, constant: f32) -> String {
    let constant = net.weights(&[], &[constant]);
    net.node(op, &[x, &constant], &[])
}

/// Adds a value kept between two bounds.
fn clip(net: &mut Net, x: &str, low: f32, high: f32) -> String {
    let [low, high] = [low, high].map(|constant| net.weights(&[], &[constant]));
    net.node("Clip", &[x, &low, &high], &[])
}

/// The steps that are left between two convolutions, and what makes them.
type NearGate = (&'static [&'static str], fn(&mut Net, &str) -> String);

/// Checks that these are no gates.
fn are_none(forms: &[NearGate]) {
    for &(expected, form) in forms {
        let mut net = net();
        let y = conv(&mut net, "x", &[1]);
        let y = form(&mut net, &y);
        let y = conv(&mut net, &y, &[]);
        assert_eq!(check(net, &[&y]), [&["Conv"], expected, &["Conv"]].concat());
    }
}

/// Each differs from a gate in one place.
#[test]
fn near_gates_are_none() {
    are_none(&[
        // Other functions of two.
        (&["Sigmoid", "Add"], |net, x| {
            let gate = net.node("Sigmoid", &[x], &[]);
            add(net, x, &gate)
        }),
        (&["Sigmoid", "Div"], |net, x| {
            let gate = net.node("Sigmoid", &[x], &[]);
            net.node("Div", &[x, &gate], &[])
        }),
        // Other factors and terms of the value.
        (&["Mul", "Sigmoid", "Mul"], |net, x| {
            let (value, gate) = (with(net, "Mul", x, 2.0), net.node("Sigmoid", &[x], &[]));
            net.node("Mul", &[&value, &gate], &[])
        }),
        (&["Add", "Sigmoid", "Mul"], |net, x| {
            let (value, gate) = (with(net, "Add", x, 1.0), net.node("Sigmoid", &[x], &[]));
            net.node("Mul", &[&value, &gate], &[])
        }),
        (&["Mul", "Softplus", "Tanh", "Mul"], |net, x| {
            let (value, gate) = (with(net, "Mul", x, 2.0), net.node("Softplus", &[x], &[]));
            let gate = net.node("Tanh", &[&gate], &[]);
            net.node("Mul", &[&value, &gate], &[])
        }),
        // Other arguments of the function.
        (&["Add", "Sigmoid", "Mul"], |net, x| {
            let gate = with(net, "Add", x, 1.0);
            let gate = net.node("Sigmoid", &[&gate], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        (&["Relu", "Sigmoid", "Mul"], |net, x| {
            let gate = relu(net, x);
            let gate = net.node("Sigmoid", &[&gate], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        (&["Mul", "Softplus", "Tanh", "Mul"], |net, x| {
            let gate = with(net, "Mul", x, 2.0);
            let gate = net.node("Softplus", &[&gate], &[]);
            let gate = net.node("Tanh", &[&gate], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        (&["Softplus", "Mul"], |net, x| {
            let gate = net.node("Softplus", &[x], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        (&["Tanh", "Mul"], |net, x| {
            let gate = net.node("Tanh", &[x], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
    ]);
}

/// Each differs from a gate in one constant.
#[test]
fn near_gates_of_other_constants_are_none() {
    are_none(&[
        // Another slope, factor and term of a Gelu.
        (&["Div", "Erf", "Add", "Mul", "Mul"], |net, x| {
            let sum = one_and_erf(net, x, "Div", 1.3);
            let product = net.node("Mul", &[x, &sum], &[]);
            with(net, "Mul", &product, 0.5)
        }),
        (&["Div", "Erf", "Mul", "Add", "Mul"], |net, x| {
            let gate = with(net, "Div", x, SQRT_2);
            let gate = net.node("Erf", &[&gate], &[]);
            let gate = with(net, "Mul", &gate, 0.4);
            let gate = with(net, "Add", &gate, 0.5);
            net.node("Mul", &[x, &gate], &[])
        }),
        (&["Div", "Erf", "Mul", "Add", "Mul"], |net, x| {
            let gate = with(net, "Div", x, SQRT_2);
            let gate = net.node("Erf", &[&gate], &[]);
            let gate = with(net, "Mul", &gate, 0.5);
            let gate = with(net, "Add", &gate, 0.4);
            net.node("Mul", &[x, &gate], &[])
        }),
        // Another slope, term and bounds of a HardSwish.
        (&["HardSigmoid", "Mul"], |net, x| {
            let gate = net.node("HardSigmoid", &[x], &[("alpha", Float(0.2)), ("beta", Float(0.5))]);
            net.node("Mul", &[&gate, x], &[])
        }),
        (&["HardSigmoid", "Mul"], |net, x| {
            let gate = net.node("HardSigmoid", &[x], &[("alpha", Float(1.0 / 6.0)), ("beta", Float(0.4))]);
            net.node("Mul", &[&gate, x], &[])
        }),
        (&["Add", "Clip", "Div", "Mul"], |net, x| {
            let gate = with(net, "Add", x, 3.0);
            let gate = clip(net, &gate, 2.8, 6.0);
            let gate = with(net, "Div", &gate, 6.0);
            net.node("Mul", &[x, &gate], &[])
        }),
        (&["Add", "Clip", "Div", "Mul"], |net, x| {
            let gate = with(net, "Add", x, 3.0);
            let gate = clip(net, &gate, 0.0, 3.2);
            let gate = with(net, "Div", &gate, 6.0);
            net.node("Mul", &[x, &gate], &[])
        }),
        // A factor that is right, with a term.
        (&["Add", "Clip", "Mul", "BatchNormalization"], |net, x| {
            let gate = relu_6_of_more(net, x);
            let product = net.node("Mul", &[x, &gate], &[]);
            let [scale, shift, mean, variance] = [1.0 / 6.0, 1.0, 0.0, 1.0].map(|c| net.weights(&[CHANNELS], &[c; CHANNELS]));
            net.node("BatchNormalization", &[&product, &scale, &shift, &mean, &variance], &[("epsilon", Float(0.0))])
        }),
        // A factor for each channel.
        (&["Mul", "Sigmoid", "Mul"], |net, x| {
            let factors = net.weights(&[CHANNELS, 1, 1], &[1.0, 1.0, 1.0, 1.0, 1.0, 2.0]);
            let gate = net.node("Mul", &[x, &factors], &[]);
            let gate = net.node("Sigmoid", &[&gate], &[]);
            net.node("Mul", &[x, &gate], &[])
        }),
        // A factor that adds an axis.
        (&["Mul", "Sigmoid", "Mul"], |net, x| {
            let factor = net.weights(&[1; 5], &[1.702]);
            let gate = net.node("Mul", &[x, &factor], &[]);
            let gate = net.node("Sigmoid", &[&gate], &[]);
            let product = net.node("Mul", &[x, &gate], &[]);
            let axes = net.integers(&[0]);
            net.node("Squeeze", &[&product, &axes], &[])
        }),
    ]);
}

/// What somebody else reads of a gate stays.
#[test]
fn gates_of_which_parts_are_read() {
    // The function, a part of it, the value with its factor, and the product without one.
    let mut net = net();
    let y = conv(&mut net, "x", &[]);
    let gate = net.node("Sigmoid", &[&y], &[]);
    let product = net.node("Mul", &[&y, &gate], &[]);
    assert_eq!(check(net, &[&product, &gate]), ["Conv", "Sigmoid", "Mul"]);

    let mut net = self::net();
    let y = conv(&mut net, "x", &[]);
    let soft = net.node("Softplus", &[&y], &[]);
    let gate = net.node("Tanh", &[&soft], &[]);
    let product = net.node("Mul", &[&y, &gate], &[]);
    let other = net.node("Sin", &[&soft], &[]);
    assert_eq!(check(net, &[&product, &other]), ["Conv", "Softplus", "Tanh", "Mul", "Sin"]);

    let mut net = self::net();
    let y = conv(&mut net, "x", &[]);
    let (half, sum) = (with(&mut net, "Mul", &y, 0.5), one_and_erf(&mut net, &y, "Div", SQRT_2));
    let product = net.node("Mul", &[&half, &sum], &[]);
    assert_eq!(check(net, &[&product, &half]), ["Conv", "Mul", "Div", "Erf", "Add", "Mul"]);

    let mut net = self::net();
    let y = conv(&mut net, "x", &[]);
    let gate = relu_6_of_more(&mut net, &y);
    let product = net.node("Mul", &[&y, &gate], &[]);
    let sixth = with(&mut net, "Div", &product, 6.0);
    assert_eq!(check(net, &[&sixth, &product]), ["Conv", "Add", "Clip", "Mul", "Div"]);
}

/// As exporters write it before opset 17: over the last axis, with and without scale and shift, and over channels, where it stays.
#[test]
fn layer_normalisation_written_out() {
    for (axes, extents, parameters, expected) in [
        (&[-1][..], &[7][..], 2, &["LayerNormalization"][..]),
        (&[-2, -1], &[5, 7], 1, &["LayerNormalization"]),
        (&[3], &[7], 0, &["LayerNormalization"]),
        (&[-3, -2, -1], &[6, 5, 7], 2, &["LayerNormalization"]),
        (&[-1], &[1, 7], 1, &["LayerNormalization"]),
        // Parameters that are no element for each index of the axes.
        (&[-1], &[5, 7], 1, &["LayerNormalization", "Mul"]),
        (&[-1], &[1], 1, &["LayerNormalization", "Mul"]),
        (&[-1], &[1, 1, 1, 1, 7], 1, &["LayerNormalization", "Mul"]),
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
        assert_eq!(steps_of_tokens(net, &[&y]), expected, "{axes:?} with {extents:?}");
    }
}

/// The steps of a network of one shape, which computes the same as one whose every value is an output.
fn steps_of_tokens(net: Net, outputs: &[&str]) -> Vec<String> {
    let model = net.finish(outputs);
    let open = |model: &ModelProto| Model::from_bytes(&convert(model, true)).expect("what was written is valid");
    let (model, reference, shape) = (open(&model), open(&all_values(&model)), [1, 6, 5, 7]);
    let x = input(&shape);
    let (found, all) = (run_all(&model, &shape, &x), run_all(&reference, &shape, &x));
    for (name, _, found) in &found {
        let (_, _, expected) = all.iter().find(|(other, ..)| other == name).expect("every value is an output");
        let error = found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(error <= 1e-5 && found.len() == expected.len(), "{name}: {error:e}");
    }
    prepare(&model, &shape, Threads::Single).steps().map(|s| s.op.to_owned()).collect()
}

/// What differs from a layer normalisation in one place is none, and what somebody else reads of one stays.
#[test]
fn near_layer_normalisations_are_none() {
    let differences = [
        "mean of others",
        "mean over others",
        "variance over others",
        "other root",
        "other square",
        "product",
        "mean minus value",
        "many epsilons",
        "mean is read",
        "distance is read",
        "deviation is read",
        "deviation is an output",
    ];
    for difference in differences {
        let is = |name: &str| difference == name;
        let mut net = Net::new(&["1", "6", "5", "7"]);
        let over = |others: bool| [("axes", Ints(if others { &[-2, -1] } else { &[-1] }))];
        let of = if is("mean of others") { relu(&mut net, "x") } else { "x".to_owned() };
        let mean = net.node("ReduceMean", &[&of], &over(is("mean over others")));
        let distance = net.node("Sub", &if is("mean minus value") { [&*mean, "x"] } else { ["x", &mean] }, &[]);
        let square = net.node("Mul", &[&distance, if is("other square") { "x" } else { &distance }], &[]);
        let variance = net.node("ReduceMean", &[&square], &over(is("variance over others")));
        // Large enough that a root of a sum that is no variance is one of something positive.
        let epsilon =
            if is("many epsilons") { net.weights(&[5, 1], &[2.0, 3.0, 4.0, 5.0, 6.0]) } else { net.weights(&[], &[2.0]) };
        let sum = add(&mut net, &epsilon, &variance);
        let deviation = net.node(if is("other root") { "Exp" } else { "Sqrt" }, &[&sum], &[]);
        let y = net.node(if is("product") { "Mul" } else { "Div" }, &[&distance, &deviation], &[]);
        let part = match difference {
            "mean is read" => Some(&mean),
            "distance is read" => Some(&distance),
            "deviation is read" => Some(&deviation),
            _ => None,
        };
        let other = part.map(|part| net.node("Sin", &[part], &[]));
        let other = other.as_deref().or(is("deviation is an output").then_some(&deviation));
        let steps = steps_of_tokens(net, &[&[&*y], other.as_slice()].concat());
        assert!(!steps.iter().any(|step| step == "LayerNormalization"), "{difference}: {steps:?}");
        assert!(steps.iter().filter(|step| *step == "ReduceMean").count() == 2, "{difference}: {steps:?}");
    }
    // Nor is a parameter taken in where somebody reads what there is without it.
    for read in [false, true] {
        let mut net = Net::new(&["1", "6", "5", "7"]);
        let elements = net.random(7);
        let elements = net.weights(&[7], &elements);
        let over = [("axes", Ints(&[-1]))];
        let mean = net.node("ReduceMean", &["x"], &over);
        let distance = net.node("Sub", &["x", &mean], &[]);
        let square = net.node("Mul", &[&distance, &distance], &[]);
        let variance = net.node("ReduceMean", &[&square], &over);
        let sum = with(&mut net, "Add", &variance, 1e-3);
        let deviation = net.node("Sqrt", &[&sum], &[]);
        let y = net.node("Div", &[&distance, &deviation], &[]);
        let scaled = net.node("Mul", &[&elements, &y], &[]);
        let other = if read { net.node("Sin", &[&y], &[]) } else { y };
        let expected: &[_] = if read { &["LayerNormalization", "Mul", "Sin"] } else { &["LayerNormalization", "Mul"] };
        assert_eq!(steps_of_tokens(net, &[&scaled, &other]), expected);
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
