//! The tool as people use and misuse it, on records made here.

use ssl_report::record::{Measure, Record, Row};
use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ssl-report")).args(arguments).output().expect("the tool runs")
}

/// A time with a spread of 2 %.
fn row(layer: &str, form: &str, beside: &str, macs: u64, median_us: f64) -> Row {
    Row {
        net: "AlexNet".to_owned(),
        layer: layer.to_owned(),
        measure: Measure::Gemm,
        form: form.to_owned(),
        beside: beside.to_owned(),
        threads: 1,
        batch: 1,
        kernel: "<b>&'\"|".to_owned(),
        macs,
        bytes: 1000,
        floor_us: median_us / 2.0,
        median_us,
        lower_quartile_us: median_us * 0.99,
        upper_quartile_us: median_us * 1.01,
        quiet: 9,
        samples: 10,
    }
}

/// Five layers, dense and as entry 2 leaves them, which gain 2, 3, 4, 5 and 6 times; and a network.
fn record() -> Record {
    let mut record = Record::default();
    record.note("cpu", "<script>alert(1)</script>");
    record.note("Gop/s, threads 1", "100");
    record.note("GB/s from 256 MiB, threads 1", "not a number");
    for (i, layer) in ["conv1", "conv2", "conv3", "conv4", "conv5"].into_iter().enumerate() {
        let us = 10.0 * (i + 1) as f64;
        record.rows.push(row(layer, "dense", "", 12_000, us * (i + 2) as f64));
        record.rows.push(row(layer, "entry 2", "", 3_000, us));
        record.rows.push(row(layer, "dense", "entry 2", 12_000, us * (i + 2) as f64));
    }
    record.rows.push(Row { measure: Measure::Network, ..row("whole", "dense", "", 1_000_000, 1000.0) });
    record
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("names are text").to_owned()
}

#[test]
fn slower_kernels_are_flagged() {
    let folder = tempfile::tempdir().expect("a folder");
    let [old, new] = ["old.csv", "new.csv"].map(|name| path(folder.path(), name));
    record().write(old.as_ref()).expect("it is written");
    let compare = |change: fn(&mut Row)| {
        let mut changed = record();
        change(&mut changed.rows[4]);
        changed.write(new.as_ref()).expect("it is written");
        let output = run(&["compare", &old, &new]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    fn scale(changed: &mut Row, factor: f64) {
        *changed = row("conv2", "entry 2", "", 3_000, changed.median_us * factor);
    }
    type Case = (&'static str, fn(&mut Row), i32, &'static str);
    let cases: [Case; 6] = [
        ("the same", |_| {}, 0, "11 measurements in both records 0 became slower, 0 faster, 11 stayed"),
        ("a little slower", |row| scale(row, 1.09), 0, "0 became slower, 0 faster, 11 stayed"),
        ("slower", |row| scale(row, 1.3), 1, "1 became slower, 0 faster, 10 stayed"),
        ("faster", |row| scale(row, 0.7), 0, "0 became slower, 1 faster, 10 stayed"),
        (
            "slower within the quartiles",
            |row| {
                scale(row, 1.3);
                row.lower_quartile_us = 20.0;
            },
            0,
            "0 became slower, 0 faster, 11 stayed",
        ),
        (
            "slower, with few quiet samples",
            |row| {
                scale(row, 1.3);
                row.quiet = 4;
            },
            0,
            "and 1 have fewer than 5 quiet samples",
        ),
    ];
    for (name, change, code, text) in cases {
        let (found, stdout) = compare(change);
        assert_eq!(found, Some(code), "{name}: {stdout}");
        assert!(stdout.contains(text), "{name}: {stdout}");
    }
    compare(|row| scale(row, 1.3));
    let output = run(&["compare", &old, &new, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let changes = json.as_array().expect("a list");
    let slower: Vec<_> = changes.iter().filter(|change| change["verdict"] == "slower").collect();
    assert_eq!((output.status.code(), changes.len(), slower.len()), (Some(1), 11, 1), "{json}");
    assert_eq!(slower[0]["measurement"], "AlexNet conv2, GEMM, entry 2, threads 1");
}

#[test]
fn records_of_different_machines_are_said_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let [old, new] = ["old.csv", "new.csv"].map(|name| path(folder.path(), name));
    let compare = |key: &str, value: &str| {
        let mut changed = record();
        record().write(old.as_ref()).expect("it is written");
        changed.notes.retain(|note| note.0 != key);
        changed.note(key, value);
        changed.write(new.as_ref()).expect("it is written");
        String::from_utf8_lossy(&run(&["compare", &old, &new]).stdout).into_owned()
    };
    for (key, value, expected) in [
        ("cpu", "another", Some("<script>alert(1)</script>, then another.")),
        ("Gop/s, threads 1", "111", Some("100 Gop/s, threads 1, then 111.")),
        ("Gop/s, threads 1", "109", None),
        ("Gop/s, threads 1", "not a number", None),
        ("system", "another", None),
    ] {
        let stdout = compare(key, value);
        assert_eq!(stdout.contains("different machines"), expected.is_some(), "{key}: {stdout}");
        assert!(stdout.contains(expected.unwrap_or_default()), "{key}: {stdout}");
    }
}

#[test]
fn pages_hold_everything_and_need_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let [csv, html, markdown, peers] = ["r.csv", "r.html", "r.md", "p.json"].map(|name| path(folder.path(), name));
    record().write(csv.as_ref()).expect("it is written");
    let times =
        r#"{"results": {"alexnet_conv1.dense.b1": {"macs": 1, "peers": {"ort": {"t1": {"ms": 1.25}, "t2": {"error": "no"}}}}}}"#;
    std::fs::write(&peers, times).expect("it is written");
    let output = run(&[&csv, "--baseline", &csv, "--peers", &peers, "-o", &html, "--markdown", &markdown]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let [html, markdown] = [html, markdown].map(|path| std::fs::read_to_string(path).expect("it is written"));

    for foreign in ["http:", "https:", "//", "src=", "url(", "@import", "<script", "<link", "<b>"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    for (start, end) in
        [("<svg ", "</svg>"), ("<svg ", "<desc "), ("<table>", "</table>"), ("<table>", "<caption>"), ("<td", "</td>")]
    {
        assert_eq!(html.matches(start).count(), html.matches(end).count(), "{start} and {end}");
    }
    assert!(html.matches("<svg ").count() == 2, "bars and a roofline");
    assert!(!markdown.contains("<script"));
    for sentence in [
        "have 4.00 times fewer multiply-accumulates than dense.",
        "How fast: on one image and one thread those layers are 3.45 times as fast as dense (GEMM).",
        "How sure: 11 of 11 measurements have samples that nobody disturbed, in half of which",
    ] {
        assert!(markdown.contains(sentence) && html.contains(sentence), "{sentence}: {markdown}");
    }
    // Means of 2 to 6: 4 plain, 5 / (1/2 + 1/3 + 1/4 + 1/5 + 1/6) weighted by equal MACs; 20+60+120+200+300 by 10+20+30+40+50.
    let line = "| GEMM | 2.00x | 3.00x | 4.00x | 5.00x | 6.00x | 4.00x | 3.45x | 4.67x |";
    assert!(markdown.contains(line), "{markdown}");
    assert!(markdown.contains("| paper, CPU | 1.05x | 3.37x | 6.27x | 9.73x | 4.93x | 5.07x |"), "{markdown}");
    // The record has the matrix product alone, which is nothing to compare with.
    assert!(markdown.contains("| alexnet\\_conv1.dense.b1 | ort | - | - | 1.250 |"), "{markdown}");
}

#[test]
fn words_are_explained_and_versions_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let [csv, html, markdown, peers] = ["r.csv", "r.html", "r.md", "p.json"].map(|name| path(folder.path(), name));
    let mut record = record();
    record.note("gemm", "0.7");
    record.rows.push(Row { measure: Measure::LibraryGemm, ..row("conv1", "entry 2", "", 3_000, 9.0) });
    record.rows.push(Row { measure: Measure::Convolution, ..row("conv1", "entry 2, random", "", 3_000, 9.0) });
    record.rows.push(Row { measure: Measure::Convolution, ..row("conv1", "dense", "entry 2, random", 12_000, 9.0) });
    record.write(csv.as_ref()).expect("it is written");
    let times = r#"{"results": {"lenet.dense.b1": {"peers": {"ort": {"t1": {"ms": 1}}, "ncnn-paused": {"t1": {"ms": 9}}}}},
        "versions": {"ncnn": "9.8"}}"#;
    std::fs::write(&peers, times).expect("it is written");
    let output = run(&[&csv, "--peers", &peers, "-o", &html, "--markdown", &markdown]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let markdown = std::fs::read_to_string(markdown).expect("it is written");
    assert!(markdown.contains("What was timed: ncnn 9.8; ort, whose version was not recorded."), "{markdown}");
    assert!(markdown.contains("by the crate gemm, version 0.7."), "{markdown}");
    let (_, entry) = markdown.split_once("## AlexNet, Table 4 entry 2").expect("the entry");
    let (before, _) = entry.split_once("| gain |").expect("a table");
    assert!(before.contains("random keeps just as many") && !before.contains("aligned keeps"), "{markdown}");
}

#[test]
fn times_of_one_session_are_set_beside_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let [csv, html, markdown, peers] = ["r.csv", "r.html", "r.md", "p.json"].map(|name| path(folder.path(), name));
    record().write(csv.as_ref()).expect("it is written");
    let times = r#"{"results": {"lenet.dense.b1": {"peers": {
        "ort": {"t1": {"ms": 0.5}}, "ncnn": {"t1": {"ms": 0.25}, "t2": {"ms": null}}, "sslm": {"t1": {"ms": 0.125}},
        "sslm-avx2": {"t1": {"ms": 0.2}}}}}}"#;
    std::fs::write(&peers, times).expect("it is written");
    let output = run(&[&csv, "--peers", &peers, "-o", &html, "--markdown", &markdown]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let markdown = std::fs::read_to_string(markdown).expect("it is written");
    // What sslm does by a lower instruction set is no peer of it.
    assert!(markdown.contains("| lenet.dense.b1 | ncnn | 2.00x | 0.125 | 0.200 | 0.250 | 0.500 |"), "{markdown}");
    assert!(!markdown.contains("Other runtimes, 2 threads"), "{markdown}");
}

/// Calls back to back and calls after pauses are patterns of their own.
#[test]
fn patterns_of_calls_have_tables_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let [csv, html, markdown, peers] = ["r.csv", "r.html", "r.md", "p.json"].map(|name| path(folder.path(), name));
    record().write(csv.as_ref()).expect("it is written");
    let times = r#"{"results": {"lenet.dense.b1": {"peers": {"ort": {"t2": {"ms": 0.5}}, "sslm": {"t2": {"ms": 0.25}},
        "ort-paused": {"t2": {"ms": 0.75}}, "sslm-paused": {"t2": {"ms": 0.5}}, "ncnn-paused": {"t2": {"ms": 2}}}}}}"#;
    std::fs::write(&peers, times).expect("it is written");
    let output = run(&[&csv, "--peers", &peers, "-o", &html, "--markdown", &markdown]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let markdown = std::fs::read_to_string(markdown).expect("it is written");
    let (_, tables) = markdown.split_once("Other runtimes, 2 threads, back to back").expect("a table");
    let (back_to_back, paused) = tables.split_once("Other runtimes, 2 threads, each call after a pause").expect("a table");
    assert!(back_to_back.contains("| lenet.dense.b1 | ort | 2.00x | 0.250 | 0.500 |"), "{markdown}");
    assert!(paused.contains("| lenet.dense.b1 | ort | 1.50x | 0.500 | 2.000 | 0.750 |"), "{markdown}");
}

#[test]
fn calls_after_pauses_stand_side_by_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let [csv, html, markdown, own, theirs] =
        ["r.csv", "r.html", "r.md", "s.json", "o.json"].map(|name| path(folder.path(), name));
    record().write(csv.as_ref()).expect("it is written");
    let row = |runtime: &str, [pause, us, asleep]: [&str; 3], [median, p90, processor]: [f64; 3]| {
        format!(
            r#"{{"runtime": "{runtime}", "net": "LeNet", "form": "dense", "model": "l.onnx", "threads": 2, "one_core": true,
                "pause": "{pause}", "pause_us": {us}, "asleep": {asleep}, "calls": 9,
                "median_us": {median}, "p90_us": {p90}, "processor_us": {processor}}}"#
        )
    };
    let (none, asleep) = (["back to back", "0", "false"], ["after 1 ms asleep", "1000", "true"]);
    let write = |path: &str, rows: &[String]| std::fs::write(path, format!(r#"{{"rows": [{}]}}"#, rows.join(",")));
    write(&own, &[row("sslm", none, [40.0, 50.0, 60.0]), row("sslm", asleep, [70.0, 80.0, 90.0])]).expect("it is written");
    write(&theirs, &[row("ort", asleep, [45.5, 55.5, 1100.0])]).expect("it is written");
    let arguments = [&csv, "--pauses", &own, "--pauses", &theirs, "-o", &html, "--markdown", &markdown];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = std::fs::read_to_string(&markdown).expect("it is written");
    assert!(text.contains("| 2 on one core | back to back | 40.0 (50.0), 60.0 | - |"), "{text}");
    assert!(text.contains("| 2 on one core | after 1 ms asleep | 70.0 (80.0), 90.0 | 45.5 (55.5), 1100.0 |"), "{text}");
    write(&theirs, &[row("ort", asleep, [0.0, 55.5, 1100.0])]).expect("it is written");
    let output = run(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("expected microseconds above 0, found 0"), "{stderr}");
}

#[test]
fn what_cannot_be_read_is_one_message_and_no_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let [csv, html, broken, nothing] = ["r.csv", "r.html", "broken", "nothing"].map(|name| path(folder.path(), name));
    record().write(csv.as_ref()).expect("it is written");
    std::fs::write(&broken, "{\"results\": {\"a\": {\"peers\": {\"b\": {\"t1\": {\"ms\": -1}}}}}}").expect("it is written");
    let cases: [(&[&str], &str); 6] = [
        (&[&nothing, "-o", &html], "cannot read"),
        (&[&broken, "-o", &html], "expected measurements, found none"),
        (&[&csv, "-o", &html, "--peers", &csv], "expected value"),
        (&[&csv, "-o", &html, "--peers", &broken], "expected milliseconds above 0, found -1"),
        (&[&csv], "--output"),
        (&["compare", &csv], "<NEW>"),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert!(!Path::new(&html).exists(), "{arguments:?}");
    }
}

/// What is measured of each layer of a model.
fn json_of_layers(model: &str, threads: usize) -> Vec<serde_json::Value> {
    let output = run(&["bench", model, "--json", "--threads", &threads.to_string()]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    json["layers"].as_array().expect("a list").clone()
}

#[test]
fn layers_of_a_model_are_timed_beside_their_dense_form() {
    let lenet = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/lenet/lenet");
    let [sslm, onnx] = ["sslm", "onnx"].map(|extension| format!("{lenet}.{extension}"));
    let output = run(&["bench", &sslm, "--onnx", &onnx]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for expected in ["/conv2/Conv", "50.9 k", "predicted", "The bottleneck is ", "What to prune next"] {
        assert!(stdout.contains(expected), "{expected}: {stdout}");
    }
    assert!(json_of_layers(&sslm, 1).iter().all(|layer| layer["quiet"].is_u64()));
    // Of threads that share cores, no sample is quiet.
    let threads = 1 + std::thread::available_parallelism().map_or(1, usize::from);
    let layers = json_of_layers(&sslm, threads);
    assert!(layers.iter().all(|layer| layer["quiet"] == 0), "{layers:?}");
    let output = run(&["bench", &sslm, "--onnx", &onnx, "--threads", &threads.to_string()]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    for expected in ["us *", "samples was quiet, so it is of all", "* of disturbed samples"] {
        assert!(stdout.contains(expected), "{expected}: {stdout}");
    }
    assert!(!stdout.contains("times as long"), "{stdout}");
    let folder = tempfile::tempdir().expect("a folder");
    let page = path(folder.path(), "page.html");
    let output = run(&["bench", &sslm, "--onnx", &onnx, "--json", "-o", &page]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let conv2 = json["layers"].as_array().expect("a list").iter().find(|layer| layer["name"] == "/conv2/Conv");
    let conv2 = conv2.expect("the layer");
    assert_eq!((&conv2["dense_macs"], &conv2["macs"]), (&1_600_000.into(), &50_880.into()));
    assert_eq!(conv2["filters"], serde_json::json!({ "kept": 15, "of": 50 }));
    assert!(json["run_us"]["median"].as_f64() < json["dense_run_us"]["median"].as_f64(), "{json}");
    let html = std::fs::read_to_string(&page).expect("the page");
    assert!(html.contains("/conv2/Conv") && html.contains("The bottleneck is "), "{html}");
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/convnet/convnet.onnx");
    let pruned_otherwise = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/lenet-filters/lenet-filters.onnx");
    let cases: [(&[&str], &str); 6] = [
        (
            &["bench", &sslm, "--onnx", pruned_otherwise],
            "lenet-filters.onnx: expected the network that the model was converted from, 'lenet.onnx' with SHA-256 326c",
        ),
        (&["bench", &sslm, "-o", &sslm], "--output: expected another file"),
        (&["bench", &onnx], "lenet.onnx"),
        (
            &["bench", &sslm, "--onnx", other],
            "convnet.onnx: expected the network that the model was converted from, with an input of [1, 1,",
        ),
        (&["bench", &sslm, "--onnx", &sslm], "lenet.sslm"),
        (&["bench", &sslm, "--threads", "0"], "--threads: expected at least 1, found 0"),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn times_on_a_gpu_are_gains() {
    let folder = tempfile::tempdir().expect("a folder");
    let [csv, html, markdown, gpu, torch] = ["r.csv", "r.html", "r.md", "g.json", "t.json"].map(|name| path(folder.path(), name));
    record().write(csv.as_ref()).expect("it is written");
    let time = |layer: usize, form: &str, measure: &str, method: &str, expected: bool, macs: usize, us: f64| {
        format!(
            r#"{{"net": "AlexNet", "layer": "conv{layer}", "form": "{form}", "batch": 128, "measure": "{measure}", "method": "{method}",
                "precision": "fp32", "expected": {expected}, "macs": {macs}, "min_us": 1, "median_us": {us}}}"#
        )
    };
    let of_layer = |layer: usize| {
        let gain = layer as f64;
        [
            time(layer, "dense", "layer", "tile", true, 1000, 1.0),
            time(layer, "dense", "layer", "cublas", false, 1000, 60.0),
            time(layer, "dense", "product", "cublas", false, 1000, 30.0),
            time(layer, "entry 2", "layer", "cublas", false, 500, 77.0),
            time(layer, "entry 2", "layer", "tile", true, 500, 60.0 / gain),
            time(layer, "entry 2", "product", "cublas", false, 500, 15.0),
        ]
        .join(", ")
    };
    let layers = (1..6).map(of_layer).collect::<Vec<_>>().join(", ");
    let network = r#"{"net": "AlexNet", "form": "dense", "batch": 1, "precision": "fp32", "macs": 1000000, "median_us": 10, "steps_us": 9}"#;
    std::fs::write(
        &gpu,
        format!(r#"{{"device": "G", "notes": [["driver", "7"]], "layers": [{layers}], "networks": [{network}]}}"#),
    )
    .expect("it is written");
    let row = |form: &str, format: &str, us: f64| {
        format!(
            r#"{{"net": "AlexNet", "layer": "conv2", "form": "{form}", "batch": 128, "format": "{format}", "precision": "fp32",
                "min_us": 1, "median_us": {us}}}"#
        )
    };
    let rows = [row("dense", "default", 90.0), row("dense", "channels_last", 45.0), row("entry 2", "default", 60.0)].join(", ");
    let whole = r#"{"net": "AlexNet", "form": "dense", "batch": 1, "format": "default", "precision": "fp32", "median_us": 8.5}"#;
    let about = r#""device": "G", "torch": "9", "cudnn": 9"#;
    std::fs::write(&torch, format!(r#"{{{about}, "layers": [{rows}], "networks": [{whole}]}}"#)).expect("it is written");

    let output = run(&[&csv, "--gpu", &gpu, "--gpu-peers", &torch, "-o", &html, "--markdown", &markdown]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let markdown = std::fs::read_to_string(markdown).expect("it is written");
    for line in [
        "| MACs: what could be gained | 2.00x | 2.00x | 2.00x | 2.00x | 2.00x | 2.00x | 2.00x | - |",
        "| paper, GPU, one image | 1.00x | 2.37x | 4.94x | 4.03x | 3.05x | 3.08x |",
        "| product | 2.00x | 2.00x | 2.00x | 2.00x | 2.00x | 2.00x | 2.00x | 2.00x |",
        // Means of 1 to 5: 3 plain, 5 / (1 + 1/2 + 1/3 + 1/4 + 1/5) weighted by equal MACs.
        "| layer | 1.00x | 2.00x | 3.00x | 4.00x | 5.00x | 3.00x | 2.19x | 2.19x |",
        "| layer, over PyTorch's dense | - | 1.50x | - | - | - | 1.50x (1) | 1.50x (1) | 1.50x (1) |",
        "| layer, over PyTorch's with zeros | - | 2.00x | - | - | - | 2.00x (1) | 2.00x (1) | 2.00x (1) |",
        "| AlexNet | dense | fp32 | 1 | 10.0 | 9.0 | 200 | 1.00x | 8.5 |",
        "Versions: sslm not recorded, driver 7, cuBLAS not recorded. PyTorch 9 with cuDNN 9",
    ] {
        assert!(markdown.contains(line), "{line}: {markdown}");
    }
    let output = run(&[&csv, "--gpu", &torch, "-o", &html]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn no_output_replaces_an_input_or_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let [csv, html] = ["r.csv", "r.html"].map(|name| path(folder.path(), name));
    record().write(csv.as_ref()).expect("it is written");
    let before = std::fs::read(&csv).expect("the record");
    for (arguments, names) in [
        (&["-o", &csv][..], ["--output", "RECORD"]),
        (&["-o", &html, "--markdown", &csv], ["--markdown", "RECORD"]),
        (&["-o", &html, "--markdown", &path(folder.path(), "./r.html")], ["--markdown", "--output"]),
        (&["-o", &html, "--markdown", &html, "--baseline", &html], ["--output", "--baseline"]),
    ] {
        let output = run(&[&[&*csv], arguments].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(names.iter().all(|name| message.contains(name)), "expected {names:?} in: {message}");
    }
    assert_eq!(std::fs::read(&csv).expect("the record"), before);
    assert!(!Path::new(&html).exists());
}
