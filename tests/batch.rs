//! A batch goes through the beginning of a network image by image: where images stay apart, as far as that is better, and with the
//! same result as all at once.

use ssl_convert::onnx::proto::ModelProto;
use sslm::{Model, Options, Plan, Threads};
use sslm_tests::compare::{all_values, convert, input, prepare, run_all, run_session};
use sslm_tests::onnx::{Net, Value::*};
use sslm_tests::tools::{lenet, root};

const CHANNELS: usize = 6;

fn net() -> Net {
    Net::new(&["batch", "6", "height", "width"])
}

fn shape(batch: usize) -> [usize; 4] {
    [batch, CHANNELS, 8, 9]
}

/// A convolution to the same shape.
fn conv(net: &mut Net, x: &str) -> String {
    let (weights, bias) = (net.random(CHANNELS * CHANNELS * 9), net.random(CHANNELS));
    net.conv(x, [CHANNELS, CHANNELS, 3, 3], &weights, &bias, &[("pads", Ints(&[1; 4]))])
}

fn gemm(net: &mut Net, x: &str, features: usize) -> String {
    let (flat, weights) = (net.node("Flatten", &[x], &[]), net.random(features * 5));
    let weights = net.weights(&[features, 5], &weights);
    net.node("Gemm", &[&flat, &weights], &[])
}

/// What runs image by image: the operators of the steps.
fn by_image(plan: &Plan) -> Vec<String> {
    plan.steps().filter(|s| s.by_image).map(|s| s.op.to_owned()).collect()
}

/// Checks that batches yield what each network says that computes every value of the whole batch, with the same bits whatever the
/// thread count is, run after run. Yields what runs image by image of four.
fn check(net: Net, outputs: &[&str]) -> Vec<String> {
    let model = net.finish(outputs);
    let open = |model: &ModelProto| Model::from_bytes(&convert(model, true)).expect("what was written is valid");
    let (reference, model) = (open(&all_values(&model)), open(&model));
    for batch in 1..10 {
        let (shape, x) = (shape(batch), input(&shape(batch)));
        let mut other = x.clone();
        other.reverse();
        let expected = run_all(&reference, &shape, &x);
        let single = run_all(&model, &shape, &x);
        for threads in 1..5 {
            let mut session = prepare(&model, &shape, Threads::Count(threads)).session();
            for run in 0..2 {
                let found = run_session(&mut session, &shape, &x);
                assert!(found == single, "{batch} images, {threads} threads, run {run}: other bits than one thread's");
                run_session(&mut session, &shape, &other);
            }
        }
        for ((name, _, expected), (_, _, found)) in expected.iter().zip(&single) {
            let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
            let error = expected.iter().zip(found).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(error <= 1e-5 * largest, "{batch} images: {name} is off by {error:e}");
        }
    }
    assert!(by_image(&prepare(&model, &shape(1), Threads::Count(4))).is_empty(), "one image is no batch");
    by_image(&prepare(&model, &shape(4), Threads::Count(2)))
}

#[test]
fn images_go_alone_up_to_the_first_fully_connected_layer() {
    let mut net = net();
    let y = conv(&mut net, "x");
    let y = net.node("Relu", &[&y], &[]);
    let y = net.node("MaxPool", &[&y], &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))]);
    let y = gemm(&mut net, &y, CHANNELS * 16);
    let y = net.node("Softmax", &[&y], &[]);
    assert_eq!(check(net, &[&y]), ["Conv+Relu", "MaxPool"]);
}

#[test]
fn residuals_and_constants_come_along() {
    let mut net = net();
    let y = conv(&mut net, "x");
    let slopes = net.random(CHANNELS);
    let slopes = net.weights(&[1, CHANNELS, 1, 1], &slopes);
    // Slopes are a stored constant.
    let y = net.node("PRelu", &[&y, &slopes], &[]);
    let z = conv(&mut net, &y);
    let z = net.node("Add", &[&z, &y], &[]);
    let z = net.node("Concat", &[&z, "x"], &[("axis", Int(1))]);
    let flat = gemm(&mut net, &z, 2 * CHANNELS * 72);
    let mean = net.node("ReduceMean", &[&z], &[("axes", Ints(&[2, 3]))]);
    assert!(check(net, &[&mean, &flat]).ends_with(&["Concat".to_owned()]));
}

#[test]
fn nothing_is_handed_over_but_one_value() {
    let mut net = net();
    let stem = conv(&mut net, "x");
    let (a, b) = (conv(&mut net, &stem), conv(&mut net, &stem));
    let (a, b) = (gemm(&mut net, &a, CHANNELS * 72), gemm(&mut net, &b, CHANNELS * 72));
    assert_eq!(check(net, &[&a, &b]), ["Conv"]);
    // An input that is read at the end is a second value everywhere.
    let mut net = self::net();
    let y = conv(&mut net, "x");
    let y = gemm(&mut net, &y, CHANNELS * 72);
    let x = gemm(&mut net, "x", CHANNELS * 72);
    let y = net.node("Add", &[&x, &y], &[]);
    assert!(check(net, &[&y]).is_empty());
}

#[test]
fn images_that_meet_are_computed_together() {
    let swap: [(&str, &[i64]); 2] = [("mixes", &[1, 0, 2, 3]), ("stays", &[0, 1, 3, 2])];
    for (name, axes) in swap {
        let mut net = net();
        let y = conv(&mut net, "x");
        let y = net.node("Transpose", &[&y], &[("perm", Ints(axes))]);
        let y = net.node("Relu", &[&y], &[]);
        // What is behind a Transpose is computed before it.
        let expected: &[&str] = if name == "mixes" { &["Conv+Relu"] } else { &["Conv+Relu", "Transpose"] };
        assert_eq!(check(net, &[&y]), expected, "{name}");
    }
    // Over axis 0: the mean of all images, their softmax, the first of them in front of all.
    let mut net = net();
    let y = conv(&mut net, "x");
    let mean = net.node("ReduceMean", &[&y], &[("axes", Ints(&[0])), ("keepdims", Int(1))]);
    let y = net.node("Add", &[&y, &mean], &[]);
    assert_eq!(check(net, &[&y]), ["Conv"]);
    let mut net = self::net();
    let y = conv(&mut net, "x");
    let y = net.node("Softmax", &[&y], &[("axis", Int(0))]);
    assert_eq!(check(net, &[&y]), ["Conv"]);
    let mut net = self::net();
    let y = conv(&mut net, "x");
    let ends = [net.integers(&[0]), net.integers(&[1]), net.integers(&[0])];
    let first = net.node("Slice", &[&y, &ends[0], &ends[1], &ends[2]], &[]);
    let y = net.node("Concat", &[&first, &y], &[("axis", Int(0))]);
    assert_eq!(check(net, &[&y]), ["Conv"]);
}

#[test]
fn a_whole_network_may_go_image_by_image() {
    let mut net = net();
    let y = conv(&mut net, "x");
    let y = net.node("GlobalAveragePool", &[&y], &[]);
    let y = net.node("Flatten", &[&y], &[]);
    assert_eq!(check(net, &[&y]), ["Conv", "GlobalAveragePool"]);
}

/// Memory does not grow with the images that are computed one by one, and threads that would get unequal shares share each step instead.
#[test]
fn memory_and_shares() {
    let model = Model::read(lenet().join("lenet.sslm")).expect("the model opens");
    let plan = |batch, threads| model.prepare(&Options::new().batch(batch).threads(threads)).expect("it can be prepared");
    let [one, many] = [1, 64].map(|batch| plan(batch, Threads::Single).session_bytes());
    assert!(many < 16 * one, "{one} bytes for one image, {many} for 64");
    let [uneven, even] = [9, 16].map(|batch| plan(batch, Threads::Count(8)));
    assert_eq!(by_image(&uneven), by_image(&even));
    assert!(uneven.session_bytes() < even.session_bytes(), "memory of one image at a time, and of eight");
    let steps: Vec<_> = plan(16, Threads::Single).steps().map(|s| (s.macs, s.op.to_owned())).collect();
    for ((macs, op), one) in steps.iter().zip(plan(1, Threads::Single).steps()) {
        assert_eq!((*macs, op.as_str()), (16 * one.macs, one.op), "a plan's steps are of the whole batch");
    }
}

#[test]
fn plans_say_whether_images_are_mixed() {
    type Build = fn(&mut Net) -> String;
    let cases: [(&str, bool, Build); 10] = [
        ("convolutions and layers behind them", false, |net| {
            let x = conv(net, "x");
            let x = net.node("GlobalAveragePool", &[&x], &[]);
            let x = gemm(net, &x, CHANNELS);
            net.node("Softmax", &[&x], &[])
        }),
        ("a sum over branches", false, |net| {
            let [a, b] = [conv(net, "x"), conv(net, "x")];
            net.node("Add", &[&a, &b], &[])
        }),
        ("a constant for every image", false, |net| {
            let constant = net.weights(&[6, 1, 1], &[2.0; 6]);
            net.node("Mul", &["x", &constant], &[])
        }),
        ("images of another shape", false, |net| {
            let dims = net.integers(&[0, 3, -1]);
            net.node("Reshape", &["x", &dims], &[])
        }),
        ("softmax", true, |net| net.node("Softmax", &["x"], &[("axis", Int(0))])),
        ("a mean", true, |net| net.node("ReduceMean", &["x"], &[("axes", Ints(&[0]))])),
        ("channels first, then a window", true, |net| {
            let x = net.node("Transpose", &["x"], &[("perm", Ints(&[1, 0, 2, 3]))]);
            let x = net.node("GlobalAveragePool", &[&x], &[]);
            net.node("Transpose", &[&x], &[("perm", Ints(&[1, 0, 2, 3]))])
        }),
        ("all in one row", true, |net| {
            let row = net.node("Flatten", &["x"], &[("axis", Int(0))]);
            let row = net.node("Softmax", &[&row], &[]);
            let dims = net.integers(&[-1, 6, 8, 9]);
            net.node("Reshape", &[&row, &dims], &[])
        }),
        ("a constant for each of them", true, |net| {
            let constant = net.weights(&[2, 1, 1, 1], &[1.0, 2.0]);
            net.node("Add", &["x", &constant], &[])
        }),
        ("images beside images", true, |net| {
            let means = net.node("ReduceMean", &["x"], &[("axes", Ints(&[1, 2])), ("keepdims", Int(0))]);
            let dims = net.integers(&[0, 1]);
            let first = net.node("ReduceMean", &[&means], &[("axes", Ints(&[1]))]);
            let first = net.node("Reshape", &[&first, &dims], &[]);
            let square = net.node("Transpose", &[&first], &[("perm", Ints(&[1, 0]))]);
            net.node("Add", &[&first, &square], &[])
        }),
    ];
    for (what, mixes, build) in cases {
        let mut net = net();
        let y = build(&mut net);
        let model = Model::from_bytes(&convert(&net.finish(&[&y]), true)).expect("what was written is valid");
        for batch in [1, 2] {
            let options = Options::new().batch(batch).dim("height", 8).dim("width", 9);
            // The constant for each of two images fits no other batch.
            if let Ok(plan) = model.prepare(&options) {
                assert_eq!(plan.mixes_images(), mixes, "{what}, batch {batch}");
            }
        }
    }
    for name in ["lenet", "mlp", "convnet", "resnet20"] {
        let model = Model::read(root().join(format!("tools/models/{name}/{name}.sslm"))).expect("a shipped model");
        assert!(!model.prepare(&Options::new()).expect("it can be run").mixes_images(), "{name}");
    }
    let mut net = Net::new(&["1", "6", "8", "9"]);
    let y = net.node("Softmax", &["x"], &[("axis", Int(0))]);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), true)).expect("what was written is valid");
    assert!(!model.prepare(&Options::new()).expect("it can be run").mixes_images(), "there is one image only");
}
