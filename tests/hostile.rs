//! Small files that ask for much: sound by every rule of the format, they describe networks that would take hours or all memory. Limits
//! refuse them before memory is taken, and what limits allow stays within them.

use sslm::{ErrorKind, Model, Options, TensorView, Threads};
use sslm_tests::compare::convert;
use sslm_tests::onnx::{Net, Value::*};
use sslm_tests::tools;
use std::time::{Duration, Instant};

/// What a file of a few kilobytes may take.
const MEMORY: usize = 400 << 20;
const MACS: u64 = 4_000_000_000;
const TIME: Duration = Duration::from_secs(10);

/// A network of one input of this shape, to which `node` is applied so many times.
fn repeated(shape: &[&str], times: usize, mut node: impl FnMut(&mut Net, &str, usize) -> String) -> Vec<u8> {
    let mut net = Net::new(shape);
    let mut y = "x".to_owned();
    for i in 0..times {
        y = node(&mut net, &y, i);
    }
    convert(&net.finish(&[&y]), true)
}

fn resized(net: &mut Net, x: &str, sizes: &[i64], mode: &str) -> String {
    let sizes = net.integers(sizes);
    net.node("Resize", &[x, "", "", &sizes], &[("mode", Text(mode))])
}

/// Files by what they ask for.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let one = ["1", "1", "1", "1"];
    let resizes = |mode: &'static str| {
        repeated(&one, 60, move |net, x, i| resized(net, x, &[1, 1, 1, if i % 2 == 0 { 8_000_000 } else { 3 }], mode))
    };
    vec![
        ("a plane of a billion elements", repeated(&one, 1, |net, x, _| resized(net, x, &[1, 1, 32768, 32768], "nearest"))),
        ("lines of millions, nearest", resizes("nearest")),
        ("lines of millions, linear", resizes("linear")),
        ("lines of millions, cubic", resizes("cubic")),
        (
            "padding",
            repeated(&one, 30, |net, x, i| {
                let [before, after] = if i % 2 == 0 { [0, 7_999_999] } else { [-3, -7_999_990] };
                let pads = net.integers(&[0, 0, 0, before, 0, 0, 0, after]);
                net.node("Pad", &[x, &pads], &[])
            }),
        ),
        (
            "slices of what is large",
            repeated(&one, 40, |net, x, i| {
                if i % 2 == 0 {
                    return resized(net, x, &[1, 1, 1, 9_000_001], "nearest");
                }
                let [starts, ends, axes, steps] = [[0], [9_000_001], [3], [2]].map(|list| net.integers(&list));
                net.node("Slice", &[x, &starts, &ends, &axes, &steps], &[])
            }),
        ),
        (
            "a pool whose window is the image",
            repeated(&["1", "1", "3000", "3000"], 1, |net, x, _| {
                let attributes = [("kernel_shape", Ints(&[1501, 1501])), ("pads", Ints(&[750, 750, 750, 750]))];
                net.node("MaxPool", &[x], &attributes)
            }),
        ),
        (
            "a hundred pools",
            repeated(&["1", "1", "2000", "2000"], 100, |net, x, _| {
                net.node("AveragePool", &[x], &[("kernel_shape", Ints(&[31, 31])), ("pads", Ints(&[15, 15, 15, 15]))])
            }),
        ),
        (
            "a wide convolution of a line",
            repeated(&["1", "1", "1", "60000"], 1, |net, x, _| {
                let w = net.random(40_001);
                net.conv(x, [1, 1, 1, 40_001], &w, &[0.5], &[("pads", Ints(&[0, 20_000, 0, 20_000]))])
            }),
        ),
        (
            "strides of a transposed convolution",
            repeated(&["1", "1", "40", "40"], 1, |net, x, _| {
                let w = net.random(4);
                let w = net.weights(&[1, 1, 2, 2], &w);
                net.node("ConvTranspose", &[x, &w], &[("strides", Ints(&[900, 900]))])
            }),
        ),
        ("a thousand layers", repeated(&["1", "8", "512", "512"], 1000, |net, x, _| net.node("Sigmoid", &[x], &[]))),
        (
            "an expanded number",
            repeated(&["1", "1"], 1, |net, x, _| {
                let shape = net.integers(&[40_000, 40_000]);
                net.node("Expand", &[x, &shape], &[])
            }),
        ),
        (
            "products of vectors",
            repeated(&["1", "1", "30000", "1"], 1, |net, x, _| {
                let y = net.node("Transpose", &[x], &[("perm", Ints(&[0, 1, 3, 2]))]);
                let square = net.node("MatMul", &[x, &y], &[]);
                net.node("MatMul", &[&square, &square], &[])
            }),
        ),
        (
            "the order of many elements",
            repeated(&["1", "1", "1", "1"], 40, |net, x, i| {
                let large = resized(net, x, &[1, 1, 1, 6_000_000 + i as i64 % 2], "nearest");
                let k = net.integers(&[1]);
                net.node("TopK", &[&large, &k], &[("axis", Int(3))])
            }),
        ),
    ]
}

#[test]
fn limits_hold_whatever_a_file_asks_for() {
    let mut refused = 0;
    for (what, bytes) in files() {
        assert!(bytes.len() < 400_000, "{what}: {} bytes", bytes.len());
        let model = Model::from_bytes(&bytes).expect("what was written is valid");
        let options = Options::new().threads(Threads::Single).max_memory(MEMORY).max_macs(MACS).max_time(TIME);
        let begin = Instant::now();
        match model.prepare(&options) {
            Err(e) => {
                assert_eq!(*e.kind(), ErrorKind::Limit, "{what}: {e}");
                refused += 1;
            }
            Ok(plan) => {
                assert!(plan.prepared_bytes() + plan.session_bytes() <= MEMORY, "{what}: more memory than is allowed");
                let shape = plan.input_shapes().next().expect("an input").to_vec();
                let x = vec![0.5; shape.iter().product()];
                if let Err(e) = plan.session().run(TensorView::new(&shape, &x).expect("it fits")) {
                    assert_eq!(*e.kind(), ErrorKind::Limit, "{what}: {e}");
                }
            }
        }
        // Much longer than it takes where nothing else runs.
        let took = begin.elapsed();
        assert!(took < 6 * TIME, "{what}: {took:?}");
        println!("{what}: {} bytes, {took:?}", bytes.len());
    }
    assert!(refused > 5, "{refused} of them are refused: the others show nothing");
}

#[test]
fn each_limit_is_an_error_of_its_kind() {
    let model = Model::read(tools::lenet().join("lenet.sslm")).expect("the model opens");
    let prepare = |options: Options| model.prepare(&options.threads(Threads::Single));
    let plan = prepare(Options::new()).expect("LeNet can be prepared");
    let owned = plan.prepared_bytes() + plan.session_bytes();
    let error = |options: Options| prepare(options).expect_err("a limit is exceeded");
    let memory = error(Options::new().max_memory(4096));
    // The plan itself is not counted in full before it is there, and tables take more while they are made.
    prepare(Options::new().max_memory(4 * owned + (1 << 20))).expect("LeNet takes less");
    let macs = error(Options::new().max_macs(200_000));
    let time = error(Options::new().max_time(Duration::ZERO));
    for (error, expected) in [
        (memory, "memory for the largest tensor: expected at most 4096 bytes, found"),
        (macs, "multiply-accumulates of a run: expected at most 200000, found 3"),
        (time, "time of preparing: expected at most 0.0ns, found more"),
    ] {
        assert_eq!(*error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    prepare(Options::new().max_macs(400_000).max_time(Duration::MAX)).expect("LeNet takes fewer");
}

/// Lists of positions are counted before they are made, and no longer when kernels own what became of them.
#[test]
fn lists_are_counted_once() {
    let (layers, extent) = (3, 5000);
    let mut random = fastrand::Rng::with_seed(1);
    let bytes = repeated(&["1", "1", "1", "5000"], layers, |net, x, _| {
        // In no order that a rule describes.
        let indices = net.integers(&std::iter::repeat_with(|| random.i64(0..extent)).take(extent as usize).collect::<Vec<_>>());
        let picked = net.node("Gather", &[x, &indices], &[("axis", Int(3))]);
        net.node("Sigmoid", &[&picked], &[])
    });
    let model = Model::from_bytes(&bytes).expect("what was written is valid");
    let prepare = |memory: usize| model.prepare(&Options::new().threads(Threads::Single).max_memory(memory));
    let refusal = prepare(4 * extent as usize).expect_err("a list takes more than the elements").to_string();
    let list = refusal.strip_suffix(" bytes").and_then(|text| text.split_once("memory for lists of positions: "));
    let list: usize = list.and_then(|(_, text)| text.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{refusal}"));
    let plan = prepare(usize::MAX).expect("there is room");
    let owned = plan.prepared_bytes() / layers;
    assert!(owned > plan.session_bytes(), "{owned} bytes of a layer's tables");
    prepare(layers * list + plan.session_bytes()).expect("tables take less than lists, and do not come on top of them");
    assert!(prepare(layers * list - 1).is_err(), "lists of all layers are there at once");
}

#[test]
fn a_run_ends_at_its_time() {
    let layers = repeated(&["batch", "8", "256", "256"], 400, |net, x, _| net.node("Sigmoid", &[x], &[]));
    let model = Model::from_bytes(&layers).expect("what was written is valid");
    for (batch, threads) in [(1, Threads::Single), (4, Threads::Count(2))] {
        let shape = [batch, 8, 256, 256];
        let x = vec![0.5; shape.iter().product()];
        let run = |time: Duration| {
            let plan =
                model.prepare(&Options::new().batch(batch).threads(threads).max_time(time)).expect("it is prepared in time");
            let begin = Instant::now();
            plan.session().run(TensorView::new(&shape, &x).expect("it fits")).map(|_| begin.elapsed())
        };
        let whole = run(Duration::from_secs(600)).expect("it has time");
        let error = run(Duration::from_millis(30)).expect_err("it takes longer");
        assert_eq!(*error.kind(), ErrorKind::Limit, "{error}, and {whole:?} without a limit");
        assert!(error.to_string().contains("time of a run: expected at most 30.0ms"), "{error}");
    }
}

#[test]
fn tools_refuse_what_is_out_of_proportion() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("large.sslm");
    let pools = files().into_iter().find(|(what, _)| *what == "a hundred pools").expect("a file of this name").1;
    std::fs::write(&path, pools).expect("a writable folder");
    let path = path.to_str().expect("a name of letters");
    let hint = "--max-memory, --max-macs or --max-time allows more";
    tools::refuses("ssl-run", &[path, "--bench", "1"], &["multiply-accumulates of a run: expected at most 40", hint]);
    tools::refuses("ssl-report", &["bench", path], &["multiply-accumulates of a run", hint]);
    let lenet = tools::lenet().join("lenet.sslm");
    let lenet = lenet.to_str().expect("a name of letters");
    tools::refuses("ssl-run", &[lenet, "--bench", "1", "--max-memory", "0"], &["memory for", hint]);
    tools::refuses("ssl-run", &[lenet, "--bench", "1", "--max-time", "0"], &["time of preparing", hint]);
    // A batch is no reason.
    let run = tools::run("ssl-run", &[lenet, "--bench", "1", "--batch", "3000"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}
