//! Measured methods: plans by each of them compute the same, tunings hold for what they were made for, and their files are read
//! with care.

use sslm::{ErrorKind, Interrupt, Isa, Method, Model, Options, Threads, Tuning};
use sslm_devices::isas;
use sslm_tests::compare::{Output, convert, input, prepare, run_session};
use sslm_tests::onnx::{Net, Value::*};
use std::path::Path;

const SHAPE: [usize; 4] = [1, 6, 13, 14];

/// Convolutions that every method applies to, or nearly: dense with a residual, depthwise, in groups of differing sizes, strided.
fn model(seed: usize) -> Model {
    let mut net = Net::new(&["batch", "6", "height", "width"]);
    (0..seed).for_each(|_| drop(net.random(1)));
    let pads = ("pads", Ints(&[1; 4]));
    let mut conv = |x: &str, per_group: usize, zero: &[usize], more: &[_]| {
        let mut weights = net.random(6 * per_group * 9);
        zero.iter().for_each(|f| weights[f * per_group * 9..][..per_group * 9].fill(0.0));
        let bias = net.random(6);
        net.conv(x, [6, per_group, 3, 3], &weights, &bias, more)
    };
    let x = conv("x", 6, &[1], &[("pads", Ints(&[1; 4]))]);
    let y = conv(&x, 1, &[], &[pads, ("group", Int(6))]);
    let z = conv(&y, 3, &[4, 5], &[("pads", Ints(&[1; 4])), ("group", Int(2))]);
    let strided = conv(&z, 6, &[], &[("strides", Ints(&[2; 2]))]);
    let sum = net.node("Add", &[&x, &z], &[]);
    Model::from_bytes(&convert(&net.finish(&[&strided, &sum]), false)).expect("what was written is valid")
}

fn options() -> Options {
    Options::new().batch(SHAPE[0]).dim("height", SHAPE[2]).dim("width", SHAPE[3]).threads(Threads::Single)
}

fn tune(model: &Model) -> Tuning {
    model.tune(&options(), None, |_, _| ()).expect("it can be measured").0
}

#[test]
fn tuning_ends_by_an_interrupt() {
    let interrupt = Interrupt::new();
    let mut parts = 0;
    let tuned = model(0).tune(&options(), Some(&interrupt), |_, _| {
        parts += 1;
        interrupt.cancel();
    });
    assert_eq!(*tuned.expect_err("it was cancelled").kind(), ErrorKind::Cancelled);
    assert_eq!(parts, 1, "expected an end at once");
}

#[test]
fn every_method_computes_the_same() {
    let model = model(0);
    let mut calls = Vec::new();
    let (tuning, turns) = model.tune(&options(), None, |done, total| calls.push((done, total))).expect("it can be measured");
    assert!(calls.iter().enumerate().all(|(i, &(done, total))| done == i + 1 && total == calls.len()), "progress counts up");
    assert_eq!(tuning.layers.len(), 4, "{tuning:?}");
    assert!(turns.count >= 16 && turns.count <= calls.len() / 2, "{turns:?}");
    for [lower, median, upper] in [turns.expected_us, turns.tuned_us, turns.gain] {
        assert!(lower <= median && median <= upper && upper.is_finite(), "{turns:?}");
    }
    assert_eq!([tuning.expected_us, tuning.tuned_us], [turns.expected_us[1], turns.tuned_us[1]]);

    let x = input(&SHAPE);
    let outputs = |options: &Options| -> Vec<Output> {
        let plan = model.prepare(options).expect("it can be prepared");
        run_session(&mut plan.session(), &SHAPE, &x)
    };
    let expected = run_session(&mut prepare(&model, &SHAPE, Threads::Single).session(), &SHAPE, &x);
    let mut used = Vec::new();
    for method in Method::ALL.into_iter().map(Some).chain([None]) {
        let mut tuning = tuning.clone();
        if let Some(method) = method {
            tuning.layers.iter_mut().for_each(|layer| layer.tuned = method);
        }
        let options = options().tuning(tuning.clone());
        let plan = model.prepare(&options).expect("it can be prepared");
        assert_eq!(plan.macs(), plan.steps().map(|step| step.macs).sum::<usize>());
        let kernels: Vec<String> = plan.steps().filter(|s| s.op.starts_with("Conv")).map(|s| s.kernel).collect();
        assert_eq!(kernels.len(), 4);
        assert!(kernels.iter().all(|k| k.ends_with(", timed")), "{kernels:?}");
        if method.is_none_or(|method| kernels.iter().any(|k| k.starts_with(&method.to_string()))) {
            used.push(method);
        }
        for ((name, shape, expected), (_, found_shape, found)) in expected.iter().zip(outputs(&options)) {
            assert_eq!(*shape, found_shape);
            let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
            let error = expected.iter().zip(&found).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(error <= 1e-5 * largest, "{method:?}: {name} is off by {error:e}");
        }
    }
    assert_eq!(used.len(), Method::ALL.len() + 1, "each method computes some layer: {used:?}");
    let expected = prepare(&model, &SHAPE, Threads::Single);
    assert!(expected.steps().all(|s| !s.kernel.contains("timed")), "nothing is said to be timed that was not");
}

#[test]
fn a_tuning_holds_for_what_it_was_made_for() {
    let model = model(0);
    let tuning = tune(&model);
    let refused = |model: &Model, options: Options, expected: &str| {
        let Err(e) = model.prepare(&options.tuning(tuning.clone())) else { panic!("not refused: {expected}") };
        assert_eq!(*e.kind(), ErrorKind::Tuning);
        let message = e.to_string();
        assert!(message.contains(expected) && message.contains("expected") && message.contains("found"), "{message}");
    };
    refused(&model, options().batch(2), "another input shape: expected [2, 6, 13, 14], found [1, 6, 13, 14]");
    refused(&model, options().dim("width", 15), "another input shape");
    refused(&model, options().threads(Threads::Count(2)), "another thread count: expected 2, found 1");
    for isa in isas().filter(|isa| *isa != Isa::best()) {
        refused(&model, options().isa(isa), &format!("another instruction set: expected {isa}, found {}", Isa::best()));
    }
    refused(&self::model(1), options(), "another model");
    // Such a short run stays on one thread.
    model.prepare(&options().threads(Threads::Auto).tuning(tuning.clone())).expect("it fits");

    // Whatever a file claims of layers, it can only choose among methods.
    let mut strange = tuning.clone();
    strange.layers.extend(tuning.layers.clone());
    strange.layers.iter_mut().for_each(|l| l.node = l.node.wrapping_sub(1));
    model.prepare(&options().tuning(strange)).expect("it fits");
}

#[test]
fn files_are_read_with_care() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = Tuning::path_for(folder.path().join("m.sslm"));
    assert!(path.ends_with("m.sslm.tuning.json"));
    let refused = |path: &Path, kind: ErrorKind, expected: &str| {
        let Err(e) = Tuning::open(path) else { panic!("not refused: {expected}") };
        let message = e.to_string();
        assert_eq!(*e.kind(), kind, "{message}");
        assert!(message.contains("m.sslm") && message.contains(expected), "expected '{expected}' in: {message}");
    };
    refused(&path, ErrorKind::Io, "cannot read");

    let tuning = tune(&model(0));
    let text = tuning.to_json();
    let write = |text: &[u8]| std::fs::write(&path, text).expect("a writable folder");
    write(text.as_bytes());
    assert_eq!(Tuning::open(&path).expect("what was written can be read"), tuning);

    for len in 0..text.len() {
        write(&text.as_bytes()[..len]);
        refused(&path, ErrorKind::Tuning, "expected the tuning of a model, found");
    }
    let changes = [
        ("\"tuned\": \"", "\"tuned\": \"fast ", "method: expected one of packed, in place,"),
        ("\"node\": ", "\"node\": -", "expected usize"),
        ("\"threads\": 1", "\"threads\": 1, \"more\": 1", "unknown field `more`"),
        ("\"threads\": 1,", "", "missing field `threads`"),
        ("\"name\": ", "\"name\": \"\u{0}", "control character"),
        ("\"inputs\": [", &format!("\"inputs\": {}", "[".repeat(100_000)), "invalid type"),
    ];
    for (part, with, expected) in changes {
        assert!(text.contains(part));
        write(text.replacen(part, with, 1).as_bytes());
        refused(&path, ErrorKind::Tuning, expected);
    }
    write(b"\xff\xfe");
    refused(&path, ErrorKind::Tuning, "expected the tuning of a model, found");
    std::fs::File::create(&path).and_then(|f| f.set_len(1 << 32)).expect("a writable folder");
    refused(&path, ErrorKind::Tuning, "expected at most");
    std::fs::remove_file(&path).and_then(|()| std::fs::create_dir(&path)).expect("a writable folder");
    refused(&path, ErrorKind::Tuning, "expected a file, found something else");
}
