//! The certificate of a conversion: every rule of removal occurs in a net made for it, the counts add up, thresholds cut what
//! they should, and a file whose outputs differ does not appear.

use serde_json::{Value, json};
use sslm_tests::onnx::{Net, Value::*, encode};
use sslm_tests::tools::{Run, lenet, refuses, run, text};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const IMAGE: [&str; 4] = ["batch", "3", "height", "width"];

/// A folder with an ONNX model, and where its file and certificate go.
struct Case {
    folder: TempDir,
    onnx: String,
}

impl Case {
    fn new(net: Net, output: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let onnx = text(folder.path().join("m.onnx"));
        std::fs::write(&onnx, encode(&net.finish(&[output]))).expect("a writable folder");
        Case { folder, onnx }
    }

    fn lenet() -> Self {
        Case { folder: tempfile::tempdir().expect("a temporary folder"), onnx: text(lenet().join("lenet.onnx")) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn convert(&self, flags: &[&str]) -> Run {
        let (sslm, report) = (text(self.at("m.sslm")), text(self.at("cert.json")));
        run("ssl-convert", &[&[&self.onnx, "-o", &sslm, "--report", &report], flags].concat())
    }

    /// The certificate of a conversion that must succeed.
    fn certificate(&self, flags: &[&str]) -> Value {
        let Run { code, stdout, stderr } = self.convert(flags);
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert_eq!(stderr, "", "nothing is said where stderr is no terminal");
        self.report()
    }

    fn report(&self) -> Value {
        let json = std::fs::read(self.at("cert.json")).expect("a report");
        serde_json::from_slice(&json).expect("JSON")
    }

    /// Converts with `flags`, which must fail the check: exit code 1 and nothing written.
    fn fails_the_check(&self, flags: &[&str]) -> Run {
        let run = self.convert(flags);
        assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains("nothing is written"), "{}", run.stderr);
        let expected: &[&str] = if self.at("m.onnx").exists() { &["m.onnx"] } else { &[] };
        let left: Vec<String> = std::fs::read_dir(self.folder.path())
            .expect("the folder")
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(left, expected, "neither file nor report, nor a part of one");
        run
    }
}

/// Originals are what is kept and what the rules removed, and so are the totals.
fn adds_up(certificate: &Value) {
    let number = |v: &Value| v.as_u64().unwrap_or_else(|| panic!("{v} is no number in {certificate:#}"));
    let mut weight_bytes = [0; 2];
    for layer in certificate["layers"].as_array().expect("layers") {
        for kind in ["filters", "channels", "columns"] {
            let count = &layer[kind];
            let removed: u64 = count["removed"].as_object().expect("rules").values().map(number).sum();
            assert_eq!(number(&count["original"]), number(&count["kept"]) + removed, "{kind} of {layer:#}");
        }
        let kept_columns: u64 = layer["columns_kept_per_group"].as_array().expect("groups").iter().map(number).sum();
        assert_eq!(number(&layer["columns"]["kept"]), kept_columns);
        for kind in ["filters", "columns"] {
            let norms = &layer["norms"][kind];
            let binned: u64 = norms["decades"].as_object().expect("bins").values().map(number).sum();
            assert_eq!(number(&layer[kind]["original"]), number(&norms["zeros"]) + binned, "{kind} of {layer:#}");
        }
        weight_bytes[0] += number(&layer["weight_bytes"]["before"]);
        weight_bytes[1] += number(&layer["weight_bytes"]["after"]);
    }
    assert_eq!(certificate["total"]["weight_bytes"], json!({"before": weight_bytes[0], "after": weight_bytes[1]}));
}

#[test]
fn lenet_is_certified_on_random_inputs_and_digits() {
    let case = Case::lenet();
    let digits = text(lenet().join("digits"));
    let certificate = case.certificate(&["--verify", "2", "--verify-images", &digits]);
    adds_up(&certificate);
    let conv2 = &certificate["layers"][1];
    assert_eq!(conv2["filters"], json!({"original": 50, "kept": 15, "removed": {"zero": 35}}));
    assert_eq!(conv2["channels"], json!({"original": 20, "kept": 3, "removed": {"constant": 17}}));
    assert_eq!(conv2["weight_bytes"], json!({"before": 50 * 500 * 4, "after": 15 * 53 * 4}));
    assert_eq!(certificate["total"]["macs"], json!({"before": 2293000, "after": 210440}));
    assert_eq!(certificate["source"]["name"], "lenet.onnx");
    assert_eq!(certificate["source"]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(certificate["bytes"], std::fs::metadata(case.at("m.sslm")).expect("the file").len());
    let verification = &certificate["verification"];
    assert_eq!((&verification["random"]["inputs"], &verification["images"]["inputs"]), (&json!(2), &json!(10)));
    assert_eq!(verification["images"]["shapes"], json!([[[1, 1, 28, 28]]]));
    for kind in ["random", "images"] {
        assert!(verification[kind]["max_relative"].as_f64().is_some_and(|e| e < 1e-5), "{verification:#}");
    }
    assert_eq!(verification["passed"], true);
}

#[test]
fn dense_files_are_certified_too() {
    let case = Case::lenet();
    let certificate = case.certificate(&["--dense"]);
    adds_up(&certificate);
    for layer in certificate["layers"].as_array().expect("layers") {
        assert_eq!(layer["weight_bytes"]["before"], layer["weight_bytes"]["after"]);
    }
    assert_eq!((&certificate["dense"], &certificate["refused"]), (&json!(true), &json!([])));
    assert_eq!(case.certificate(&["--verify", "0"])["verification"], Value::Null);
}

#[test]
fn folding_is_judged_before_and_compared_with_what_was_not_folded() {
    let mut net = Net::new(&["1", "3", "6", "6"]);
    let w = net.random(4 * 27);
    let y = net.conv("x", [4, 3, 3, 3], &w, &[0.1; 4], &[]);
    // Its second factor is 0: the filter before it becomes one.
    let [scale, shift, mean, variance] =
        [[0.5, 0.0, -2.0, 1.5], [0.1, 0.7, 0.0, -0.3], [0.2, 0.0, 0.1, 0.0], [0.9, 1.0, 2.0, 0.5]].map(|n| net.weights(&[4], &n));
    let y = net.node("BatchNormalization", &[&y, &scale, &shift, &mean, &variance], &[]);
    let case = Case::new(net, &y);
    for (flags, removed) in [(&[][..], json!({"zero": 1})), (&["--dense"], json!({}))] {
        let certificate = case.certificate(flags);
        adds_up(&certificate);
        assert_eq!(certificate["layers"][0]["filters"]["removed"], removed);
        let random = &certificate["verification"]["random"];
        assert!(random["max_relative"].as_f64().is_some_and(|e| e > 0.0 && e < 1e-5), "another order of rounding: {random}");
    }
}

#[test]
fn every_rule_is_named() {
    let mut net = Net::new(&IMAGE);
    // Filter 0 is zero, channel 4 is read by nobody, and no filter uses column 4.
    let mut w = net.random(5 * 27);
    w[..27].fill(0.0);
    (0..5).for_each(|f| w[f * 27 + 4] = -0.0);
    let a = net.conv("x", [5, 3, 3, 3], &w, &[0.5, 0.1, 0.2, 0.3, 0.4], &[("pads", Ints(&[1, 1, 1, 1]))]);
    // Filter 0 reads the constant channel only; filter 3, which nobody reads, is the only one that reads channel 3.
    #[rustfmt::skip]
    let w = [
        2.0, 0.0, 0.0, 0.0, 0.0,
        0.3, 1.0, 0.5, 0.0, 0.0,
        0.0, 0.7, 1.1, 0.0, 0.0,
        0.1, 0.2, 0.3, 0.4, 0.0,
    ];
    let b = net.conv(&a, [4, 5, 1, 1], &w, &[0.0, 0.1, 0.2, 0.3], &[]);
    let c = net.conv(&b, [2, 4, 1, 1], &[1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0], &[0.0, 0.0], &[]);
    let certificate = Case::new(net, &c).certificate(&[]);
    adds_up(&certificate);
    let removed = |layer: usize, kind: &str| certificate["layers"][layer][kind]["removed"].clone();
    assert_eq!(removed(0, "filters"), json!({"zero": 1, "unread": 2}));
    assert_eq!(removed(0, "columns"), json!({"zero": 1}));
    assert_eq!(removed(1, "filters"), json!({"constant": 1, "unread": 1}));
    assert_eq!(removed(1, "channels"), json!({"constant": 1, "unread": 2}));
    assert_eq!(removed(1, "columns"), json!({"zero": 1, "channel_removed": 1, "filters_removed": 1}));
    assert_eq!(removed(2, "columns"), json!({"zero": 1, "channel_removed": 1}));
    assert_eq!(certificate["layers"][0]["macs"]["before"], json!(3 * 3 * 5 * 224 * 224 * 3), "of an image of the usual size");
    assert_eq!(certificate["verification"]["random"]["shapes"], json!([[[1, 3, 32, 32]]]));
    assert_eq!(certificate["refused"], json!([]));
}

#[test]
fn groups_and_removed_layers_are_counted() {
    let mut net = Net::new(&["1", "4", "6", "6"]);
    let mut w = net.random(4 * 2 * 9);
    // Group 0 does not use its second channel.
    (0..2).for_each(|f| w[f * 18 + 9..(f + 1) * 18].fill(0.0));
    let a = net.conv("x", [4, 2, 3, 3], &w, &[0.1; 4], &[("group", Int(2)), ("pads", Ints(&[1, 1, 1, 1]))]);
    let b = net.conv(&a, [4, 4, 3, 3], &[0.0; 144], &[0.1, 0.2, 0.3, 0.4], &[("pads", Ints(&[1, 1, 1, 1]))]);
    let y = net.node("Add", &[&a, &b], &[]);
    let certificate = Case::new(net, &y).certificate(&[]);
    adds_up(&certificate);
    let [grouped, removed] = [0, 1].map(|i| &certificate["layers"][i]);
    assert_eq!(grouped["columns_kept_per_group"], json!([9, 18]));
    assert_eq!(grouped["channels"], json!({"original": 4, "kept": 3, "removed": {"unread": 1}}));
    assert_eq!(grouped["macs"], json!({"before": 4 * 18 * 36, "after": (2 * 9 + 2 * 18) * 36}));
    assert_eq!((&grouped["removed"], &removed["removed"]), (&json!(false), &json!(true)));
    assert_eq!(removed["filters"]["removed"], json!({"zero": 4}));
    assert_eq!(removed["weight_bytes"]["after"], 0);
}

/// A convolution of which filters 1 and 2 are the constants 0.5 and -1; yields its output.
fn with_constants(net: &mut Net) -> String {
    let mut w = net.random(4 * 27);
    w[27..81].fill(0.0);
    net.conv("x", [4, 3, 3, 3], &w, &[0.1, 0.5, -1.0, 0.2], &[("pads", Ints(&[1, 1, 1, 1]))])
}

#[test]
fn refusals_are_named_with_their_reasons() {
    type Build = fn(&mut Net, &str) -> String;
    let cases: [(Build, usize, &str); 14] = [
        (
            |net, y| {
                let pool = [("kernel_shape", Ints(&[3, 3])), ("pads", Ints(&[1, 1, 1, 1])), ("count_include_pad", Int(1))];
                net.node("AveragePool", &[y], &pool)
            },
            2,
            "counts padding",
        ),
        (|net, y| net.node("ArgMax", &[y], &[("axis", Int(1))]), 2, "every channel"),
        (|net, y| net.node("Transpose", &[y], &[("perm", Ints(&[0, 2, 1, 3]))]), 2, "mixes channels"),
        (
            |net, y| {
                let amounts = net.integers(&[0, 0, 1, 1, 0, 0, 1, 1]);
                net.node("Pad", &[y, &amounts], &[])
            },
            2,
            "pads with something else",
        ),
        (|net, y| net.node("LRN", &[y], &[("size", Int(3))]), 2, "windows"),
        (|net, y| net.node("Flatten", &[y], &[("axis", Int(2))]), 2, "mixes channels"),
        (|net, y| net.node("Softmax", &[y], &[("axis", Int(1))]), 2, "every channel"),
        (|net, y| net.node("LogSoftmax", &[y], &[("axis", Int(1))]), 2, "every channel"),
        (|net, y| net.node("ReduceL1", &[y], &[("axes", Ints(&[2, 3]))]), 2, "depends on how many there are"),
        (
            |net, y| {
                let ones = net.weights(&[2], &[1.0, 1.0]);
                net.model.opset_import[0].version = 18;
                net.node("GroupNormalization", &[y, &ones, &ones], &[("num_groups", Int(2))])
            },
            2,
            "channels of a group",
        ),
        (
            |net, y| {
                let scale = net.random(4 * 8 * 8);
                let scale = net.weights(&[4, 8, 8], &scale);
                net.node("LayerNormalization", &[y, &scale], &[("axis", Int(1))])
            },
            2,
            "normalises over channels",
        ),
        (
            |net, y| {
                let dims = net.integers(&[1, 2, 2, 64]);
                net.node("Reshape", &[y, &dims], &[])
            },
            2,
            "mixes channels",
        ),
        (
            |net, y| {
                let mean = net.node("GlobalAveragePool", &[y], &[]);
                let mean = net.node("Flatten", &[&mean], &[]);
                let elements = net.random(12);
                let term = net.weights(&[1, 1, 3, 4], &elements);
                net.node("Add", &[&mean, &term], &[])
            },
            2,
            "[1, 4] and [1, 1, 3, 4]",
        ),
        (
            |net, y| {
                let elements = net.random(8 * 5);
                let w = net.weights(&[8, 5], &elements);
                net.node("MatMul", &[y, &w], &[])
            },
            0,
            "the last of 4 axes",
        ),
    ];
    for (build, channels, reason) in cases {
        let mut net = Net::new(&["1", "3", "8", "8"]);
        let y = with_constants(&mut net);
        let y = build(&mut net, &y);
        let certificate = Case::new(net, &y).certificate(&[]);
        adds_up(&certificate);
        let [refusal] = certificate["refused"].as_array().expect("a list").as_slice() else {
            panic!("expected one refusal ({reason}), found {:#}", certificate["refused"])
        };
        assert_eq!((refusal["node"].as_str(), refusal["channels"].as_u64()), (Some(y.as_str()), Some(channels as u64)));
        assert!(refusal["reason"].as_str().is_some_and(|r| r.contains(reason)), "{refusal}: expected '{reason}'");
    }
}

#[test]
fn a_threshold_cuts_matrices_as_well() {
    let mut net = Net::new(&["1", "2"]);
    let [w, other] = [[1.0, 0.001, 2.0, -1.0, 0.002, 0.5], [1.0, 2.0, 1.0, 2.0, 3.0, 4.0]].map(|w| net.weights(&[2, 3], &w));
    let y = net.node("Gemm", &["x", &w], &[]);
    let y = net.node("Gemm", &[&y, &other], &[("transB", Int(1))]);
    let certificate = Case::new(net, &y).certificate(&["--zero-tol", "0.02", "--tolerance", "0.1"]);
    assert_eq!(certificate["layers"][0]["filters"]["removed"], json!({"cut": 1}));
    assert_eq!(certificate["refused"], json!([]), "the other matrix takes the constant in");
}

#[test]
fn layers_over_volumes_are_layers() {
    let mut net = Net::new(&["1", "1", "3", "4", "4"]);
    let (w, b) = (net.weights(&[2, 1, 1, 1, 1], &[1.5, 0.0]), net.weights(&[2], &[0.0, 0.5]));
    let y = net.node("Conv", &["x", &w, &b], &[]);
    let w = net.weights(&[1, 2, 2, 2, 2], &[0.5; 16]);
    let y = net.node("Conv", &[&y, &w], &[]);
    let certificate = Case::new(net, &y).certificate(&[]);
    adds_up(&certificate);
    let [first, second] = [0, 1].map(|i| &certificate["layers"][i]);
    assert_eq!(first["filters"]["removed"], json!({"zero": 1}));
    assert_eq!(first["macs"], json!({"before": 96, "after": 48}));
    assert_eq!(second["macs"], json!({"before": 16 * 18, "after": 8 * 18}));
    assert_eq!(certificate["refused"], json!([]));
}

/// What picks channels that are not constant loses none.
#[test]
fn picking_channels_refuses_nothing() {
    let picks: [fn(&mut Net, &str) -> String; 2] = [
        |net, y| {
            let (start, end, axis) = (net.integers(&[3]), net.integers(&[4]), net.integers(&[1]));
            net.node("Slice", &[y, &start, &end, &axis], &[])
        },
        |net, y| {
            let indices = net.integers(&[0, 3]);
            net.node("Gather", &[y, &indices], &[("axis", Int(1))])
        },
    ];
    for pick in picks {
        let mut net = Net::new(&["1", "3", "8", "8"]);
        let y = with_constants(&mut net);
        let y = pick(&mut net, &y);
        assert_eq!(Case::new(net, &y).certificate(&[])["refused"], json!([]), "{y}");
    }
}

/// The size of the input is a node that reads nothing, with as many axes as what is divided by it.
#[test]
fn what_is_divided_by_its_size_is_certified() {
    let mut net = Net::new(&IMAGE);
    let y = with_constants(&mut net);
    let height = net.node("Shape", &[&y], &[("start", Int(2)), ("end", Int(3))]);
    let height = net.node("Cast", &[&height], &[("to", Int(1))]);
    let y = net.node("Div", &[&y, &height], &[]);
    assert_eq!(Case::new(net, &y).certificate(&[])["refused"], json!([]));
}

#[test]
fn a_threshold_cuts_small_groups_and_shows_what_that_changes() {
    let mut net = Net::new(&["1", "2", "5", "5"]);
    // Two groups of two filters over one channel of 2x2 taps; filter 1 and column 3 of group 1 are small.
    #[rustfmt::skip]
    let w = [
        1.0, 2.0, 1.0, 2.0,
        0.01, 0.0, 0.0, 0.02,
        1.0, 1.0, 3.0, 0.01,
        2.0, 1.0, 1.0, -0.02,
    ];
    let y = net.conv("x", [4, 1, 2, 2], &w, &[0.1, 0.2, 0.3, 0.4], &[("group", Int(2))]);
    let w = net.random(2 * 4);
    let y = net.conv(&y, [2, 4, 1, 1], &w, &[0.0; 2], &[]);
    let case = Case::new(net, &y);

    let exact = case.certificate(&[]);
    assert_eq!(exact["layers"][0]["columns_kept_per_group"], json!([4, 4]));
    assert_eq!(exact["layers"][0]["norms"]["filters"]["gap"], Value::Null, "nothing is cut");
    [case.at("m.sslm"), case.at("cert.json")].iter().for_each(|p| std::fs::remove_file(p).expect("it was written"));

    let Run { stdout, stderr, .. } = case.fails_the_check(&["--zero-tol", "0.02"]);
    assert!(
        stdout.contains("1 cut by the threshold")
            && stdout.contains("columns of Conv_0, largest norm removed 2.2e-2")
            && stderr.contains("the threshold"),
        "{stdout}{stderr}"
    );
    let certificate = case.certificate(&["--zero-tol", "0.02", "--tolerance", "0.1"]);
    adds_up(&certificate);
    let layer = &certificate["layers"][0];
    assert_eq!(layer["filters"]["removed"], json!({"cut": 1}));
    assert_eq!(layer["columns"]["removed"], json!({"cut": 1}));
    assert_eq!(layer["columns_kept_per_group"], json!([4, 3]));
    let gap = |kind: &str, side: &str| layer["norms"][kind]["gap"][side].as_f64().expect("a gap");
    assert!((gap("filters", "largest_removed") - 5e-4f64.sqrt()).abs() < 1e-6, "{layer:#}");
    assert!((gap("filters", "smallest_kept") - (6.0f64 + 4e-4).sqrt()).abs() < 1e-6, "{layer:#}");
    let ratio = gap("filters", "smallest_kept") / gap("filters", "largest_removed");
    assert!((gap("filters", "ratio") / ratio - 1.0).abs() < 1e-9);
    let change = certificate["verification"]["random"]["max_relative"].as_f64().expect("a difference");
    assert!((1e-4..0.1).contains(&change), "{change}: against the uncut model");
}

/// As other convolutions: what they keep and compute, constants that they take in, and what is cut of them.
#[test]
fn transposed_convolutions_are_layers() {
    let mut net = Net::new(&["1", "3", "8", "8"]);
    let y = with_constants(&mut net);
    let mut w = net.random(4 * 2 * 4);
    // Filter 1 is small.
    (0..4).for_each(|channel| w[(channel * 2 + 1) * 4..][..4].fill(1e-3));
    let w = net.weights(&[4, 2, 2, 2], &w);
    let y = net.node("ConvTranspose", &[&y, &w], &[("strides", Ints(&[2, 2]))]);
    let case = Case::new(net, &y);
    let certificate = case.certificate(&[]);
    adds_up(&certificate);
    assert_eq!(certificate["refused"], json!([]));
    let layer = &certificate["layers"][1];
    assert_eq!(layer["columns_kept_per_group"], json!([8]));
    assert_eq!(layer["macs"], json!({"before": 2 * 16 * 64, "after": 2 * 8 * 64}));
    [case.at("m.sslm"), case.at("cert.json")].iter().for_each(|p| std::fs::remove_file(p).expect("it was written"));
    let certificate = case.certificate(&["--zero-tol", "0.01", "--tolerance", "1"]);
    assert_eq!(certificate["layers"][1]["filters"]["removed"], json!({"cut": 1}));
}

#[test]
fn the_cut_follows_from_a_share_of_the_work() {
    let case = Case::lenet();
    for share in ["1", "0.08", "0.03"] {
        let certificate = case.certificate(&["--target-macs", share, "--tolerance", "10"]);
        let macs = |when: &str| -> f64 {
            let layers = certificate["layers"].as_array().expect("a list");
            layers.iter().map(|l| l["macs"][when].as_f64().expect("a number")).sum()
        };
        assert!(macs("after") <= share.parse::<f64>().expect("a number") * macs("before"), "{share}");
        assert_eq!(certificate["zero_tol"].as_f64() == Some(0.0), share == "1", "exact zeros already leave less than all");
    }
    let sslm = text(case.at("other.sslm"));
    refuses("ssl-convert", &[&case.onnx, "-o", &sslm, "--target-macs", "0"], &["target-macs: expected a share above 0"]);
    for cut in ["--target-macs", "--zero-tol"] {
        let unmeasured = [case.onnx.as_str(), "-o", &sslm, cut, "0.08", "--verify", "0"];
        refuses("ssl-convert", &unmeasured, &["expected a comparison with the original", "found none", "force"]);
        assert!(!Path::new(&sslm).exists());
        assert_eq!(run("ssl-convert", &[&unmeasured[..], &["--force"]].concat()).code, 0);
        std::fs::remove_file(&sslm).expect("it was written");
    }
}

#[test]
fn a_file_that_differs_appears_only_by_force() {
    let case = Case::lenet();
    let run = case.fails_the_check(&["--tolerance", "0"]);
    assert!(run.stdout.contains("compared with the original on 4 random inputs"), "{}", run.stdout);
    let forced = case.convert(&["--tolerance", "0", "--force"]);
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    assert!(forced.stderr.contains("warning") && forced.stderr.contains("--force"), "{}", forced.stderr);
    assert!(case.at("m.sslm").exists());
    assert_eq!(case.report()["verification"]["passed"], false);
}

#[test]
fn symbolic_sizes_are_tried_until_one_is_legal() {
    let kernel_of = |size: usize| {
        let mut net = Net::new(&["batch", "1", "height", "width"]);
        let w = net.random(size * size);
        let y = net.conv("x", [1, 1, size, size], &w, &[0.0], &[]);
        Case::new(net, &y)
    };
    assert_eq!(kernel_of(40).certificate(&[])["verification"]["random"]["shapes"], json!([[[1, 1, 64, 64]]]));
    let impossible = kernel_of(300);
    let out = text(impossible.at("m.sslm"));
    refuses("ssl-convert", &[&impossible.onnx, "-o", &out], &["'height', 'width'", "299", "--verify 0"]);
    impossible.certificate(&["--verify", "0"]);
}

#[test]
fn wrong_use_of_checks_is_explained() {
    let case = Case::lenet();
    let out = text(case.at("m.sslm"));
    let (empty, broken) = (case.at("empty"), case.at("broken"));
    [&empty, &broken].iter().for_each(|f| std::fs::create_dir(f).expect("a writable folder"));
    std::fs::write(broken.join("a.png"), "this is no image").expect("a writable folder");
    let mut flat = Net::new(&["1", "7"]);
    let w = flat.random(14);
    let w = flat.weights(&[7, 2], &w);
    let y = flat.node("MatMul", &["x", &w], &[]);
    let flat = Case::new(flat, &y);
    let digits = text(lenet().join("digits"));
    let cases: &[(&str, &[&str], &[&str])] = &[
        (&case.onnx, &["--zero-tol", "1"], &["zero-tol", "below 1, found 1"]),
        (&case.onnx, &["--zero-tol", "nan"], &["zero-tol", "found NaN"]),
        (&case.onnx, &["--zero-tol", "0.1", "--dense"], &["cannot be used with"]),
        (&case.onnx, &["--tolerance=-1"], &["--tolerance", "at least 0, found -1"]),
        (&case.onnx, &["--verify-images", "missing"], &["--verify-images missing", "expected a folder"]),
        (&case.onnx, &["--verify-images", &text(&empty)], &["empty", "at least one image"]),
        (&case.onnx, &["--verify-images", &text(&broken)], &["a.png", "expected a PNG, JPEG"]),
        (&flat.onnx, &["--verify-images", &digits], &["--verify-images", "[1, 7]", "1 or 3"]),
        (&case.onnx, &["--report", &out], &["--report", "another file"]),
        (&case.onnx, &["--report", "missing/cert.json"], &["cert.json", "expected a folder"]),
    ];
    for (onnx, flags, expected) in cases {
        refuses("ssl-convert", &[&[*onnx, "-o", &out], *flags].concat(), expected);
        assert!(!Path::new(&out).exists(), "{flags:?}: nothing is written");
    }
}

/// The cause is named, and sizes only where some were tried.
#[test]
fn a_model_that_cannot_run_cannot_be_verified() {
    for (dims, tried) in [(["1", "1", "2", "2"], false), (["batch", "1", "2", "width"], true)] {
        let mut net = Net::new(&dims);
        let sizes = net.integers(&[1 << 28, 2]);
        let y = net.node("Resize", &["x", "", "", &sizes], &[("axes", Ints(&[2, 3]))]);
        let Run { code, stderr, .. } = Case::new(net, &y).convert(&[]);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("verification on random inputs") && stderr.contains("memory for the largest tensor"), "{stderr}");
        assert_eq!(stderr.contains("one of [32, 64"), tried, "{stderr}");
    }
}

/// Of every four weights two are zero: nothing of that can be left out, and users are told so.
#[test]
fn scattered_zeros_are_named() {
    let mut net = Net::new(&IMAGE);
    let weights: Vec<f32> = (0..8 * 27).map(|i| if (i / 27 + i % 27) % 2 == 0 { 0.0 } else { 1.0 + i as f32 }).collect();
    let y = net.conv("x", [8, 3, 3, 3], &weights, &[0.1; 8], &[]);
    let case = Case::new(net, &y);
    let stdout = case.convert(&[]).stdout;
    let certificate = case.report();
    let zeros = weights.iter().filter(|w| **w == 0.0).count();
    assert_eq!(certificate["layers"][0]["scattered"], json!({"weights": 216, "zeros": zeros}));
    let expected = format!("zeros that stay, and are computed with like other weights: Conv_0 (50 %: {zeros} of 216 weights).");
    assert!(stdout.contains(&expected), "{stdout}");
    let dense = case.convert(&["--dense"]).stdout;
    assert!(!dense.contains("zeros that stay"), "they were asked for: {dense}");
    let stdout = Case::lenet().convert(&[]).stdout;
    assert!(!stdout.contains("zeros that stay"), "{stdout}");
}

/// A Linear layer on more than two axes is applied at every position.
#[test]
fn multiply_adds_of_a_linear_layer_count_positions() {
    for (dims, expected) in [(&["batch", "8", "8", "8"][..], 8192), (&["batch", "5", "8"], 640), (&["batch", "8"], 128)] {
        let mut net = Net::new(dims);
        let weights = net.random(8 * 16);
        let w = net.weights(&[8, 16], &weights);
        let y = net.node("MatMul", &["x", &w], &[]);
        let macs = Case::new(net, &y).certificate(&[])["total"]["macs"].clone();
        assert_eq!(macs, json!({"before": expected, "after": expected}));
    }
}
