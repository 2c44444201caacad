//! `--export-onnx`: the compact network as ONNX computes what the masked one did. The exported model is read back and run by the
//! dense path, which shares nothing with compaction.

use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::{ModelProto, StringStringEntryProto, TensorProto};
use sslm::{Model, TensorView, Threads};
use sslm_tests::compare::{convert, input, prepare, run};
use sslm_tests::onnx::{Net, Value::*, encode};
use sslm_tests::random::case;
use sslm_tests::tools::{self, Run};
use std::collections::HashMap;
use std::f64::consts::{PI, SQRT_2};
use std::path::PathBuf;

/// The compact form of a model, as ONNX.
fn exported(model: &ModelProto, metadata: &[StringStringEntryProto]) -> ModelProto {
    let mut file = OnnxFile::decode(encode(model), PathBuf::new()).expect("the test's model decodes");
    let [dense, compact] = [true, false].map(|dense| ssl_convert::network(&mut file, dense).expect("the test's model converts"));
    ssl_convert::export::export(&dense, &compact, metadata).unwrap_or_else(|e| panic!("it can be exported: {e:#}")).model
}

/// The extents that a model says its first output has; those that are open are missing.
fn said(model: &ModelProto) -> Vec<Option<usize>> {
    let output = &model.graph.as_ref().expect("a graph").output[0];
    let tensor = output.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).expect("the output is a tensor");
    let dims = &tensor.shape.as_ref().expect("the output has a shape").dim;
    dims.iter().map(|dim| dim.dim_value.map(|extent| extent as usize)).collect()
}

#[test]
fn random_graphs_keep_their_function() {
    let (mut smaller, mut compared) = (0, 0);
    for seed in 0..150 {
        let case = case(seed);
        let small = exported(&case.model, &[]);
        smaller += usize::from(encode(&small).len() < encode(&case.model).len());
        let open = |model: &ModelProto| Model::from_bytes(&convert(model, true)).expect("what was written is valid");
        let [masked, small_model] = [open(&case.model), open(&small)];
        for shape in &case.shapes {
            compared += 1;
            let x = input(shape);
            let (expected, found) = (run(&masked, shape, &x), run(&small_model, shape, &x));
            assert_eq!(expected.0, found.0, "seed {seed}: shape of the output");
            let fits = said(&small).iter().zip(&found.0).all(|(said, found)| said.is_none_or(|said| said == *found));
            assert!(fits, "seed {seed}: the export says {:?}, the output has {:?}", said(&small), found.0);
            let largest = expected.1.iter().fold(0.1f32, |m, x| m.max(x.abs()));
            let error = expected.1.iter().zip(&found.1).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
            assert!(error <= 5e-5, "seed {seed} at {shape:?}: relative error {error:e}");
        }
    }
    assert!(compared > 200 && smaller > 0, "{compared} compared, {smaller} became smaller");
}

/// What the elementwise nodes of a model make of one element.
fn evaluate(model: &ModelProto, x: f64) -> f64 {
    let graph = model.graph.as_ref().expect("a graph");
    let mut values = HashMap::from([("x", x)]);
    for tensor in &graph.initializer {
        let bytes = tensor.raw_data.first_chunk().expect("an element");
        values.insert(&tensor.name, f64::from(f32::from_le_bytes(*bytes)));
    }
    for node in &graph.node {
        let operands: Vec<f64> = node.input.iter().map(|name| values[name.as_str()]).collect();
        let y = match (node.op_type.as_str(), &operands[..]) {
            ("Add", [a, b]) => a + b,
            ("Mul", [a, b]) => a * b,
            ("Erf", [x]) => libm::erf(*x),
            ("Tanh", [x]) => x.tanh(),
            ("Sigmoid", [x]) => 1.0 / (1.0 + (-x).exp()),
            (other, _) => panic!("{other}: no part of the definition"),
        };
        values.insert(&node.output[0], y);
    }
    values[graph.output[0].name.as_str()]
}

#[test]
fn gelu_is_written_by_its_definition() {
    for approximate in ["none", "tanh"] {
        let mut net = Net::new(&["1"]);
        net.model.opset_import[0].version = 20;
        let y = net.node("Gelu", &["x"], &[("approximate", Text(approximate))]);
        let small = exported(&net.finish(&[&y]), &[]);
        assert_eq!(small.opset_import[0].version, 17);
        for i in -30..=30 {
            let x = f64::from(i) / 5.0;
            let odd = match approximate {
                "tanh" => ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh(),
                _ => libm::erf(x / SQRT_2),
            };
            let (found, expected) = (evaluate(&small, x), 0.5 * x * (1.0 + odd));
            assert!((found - expected).abs() <= 1e-6 * x.abs(), "{approximate} of {x}: {found}, not {expected}");
        }
    }
}

#[test]
fn swish_is_written_by_its_definition() {
    for (alpha, nodes) in [(1.0, 2), (0.5, 3)] {
        let mut net = Net::new(&["1"]);
        net.model.opset_import[0].version = 24;
        let y = net.node("Swish", &["x"], &[("alpha", Float(alpha))]);
        let small = exported(&net.finish(&[&y]), &[]);
        assert_eq!(small.graph.as_ref().map(|graph| graph.node.len()), Some(nodes), "{alpha}");
        for x in [-2.0f64, 0.0, 0.5, 3.0] {
            let (found, expected) = (evaluate(&small, x), x / (1.0 + (-f64::from(alpha) * x).exp()));
            assert!((found - expected).abs() <= 1e-6 * x.abs(), "{alpha}, {x}: {found}, not {expected}");
        }
    }
}

#[test]
fn metadata_travels_along() {
    let entry = StringStringEntryProto { key: "ssl.labels".into(), value: "[\"a\"]".into() };
    let small = exported(&case(1).model, std::slice::from_ref(&entry));
    assert_eq!(small.metadata_props, [entry]);
    assert_eq!(small.opset_import[0].version, 17);
}

/// The compact file and the export of a model, both opened, and the names of the exported outputs.
fn both(model: &ModelProto) -> ([Model; 2], Vec<String>) {
    let small = exported(model, &[]);
    let names = small.graph.iter().flat_map(|g| &g.output).map(|output| output.name.clone()).collect();
    (
        [convert(model, false), convert(&small, true)].map(|file| Model::from_bytes(&file).expect("what was written is valid")),
        names,
    )
}

/// Names and elements of all outputs.
fn all_outputs(model: &Model, shape: &[usize], x: &[f32]) -> Vec<(String, Vec<f32>)> {
    let mut session = prepare(model, shape, Threads::Single).session();
    let outputs = session.run_all(&[TensorView::new(shape, x).expect("it fits")]).expect("it runs");
    outputs.iter().map(|(name, output)| (name.to_owned(), output.data().to_vec())).collect()
}

#[test]
fn outputs_keep_their_names() {
    let shape = [1, 2, 4, 4];
    let mut net = Net::new(&["batch", "2", "4", "4"]);
    let w = net.random(3 * 2 * 9);
    let y = net.conv("x", [3, 2, 3, 3], &w, &[0.1, 0.2, 0.3], &[("pads", Ints(&[1, 1, 1, 1]))]);
    // The names that the export makes up are taken.
    net.graph().initializer[1].name = "1".into();
    net.last_node().input[2] = "1".into();
    net.node("Relu", &[&y], &[]);
    net.last_node().output[0] = "2".into();
    let stored = net.weights(&[2], &[5.0, 6.0]);
    let twice = net.node("Identity", &["2"], &[]);
    let behind = net.node("Dropout", &[&twice], &[]);
    let cast = net.node("Cast", &[&y], &[("to", Int(1))]);
    let given = net.node("Identity", &["x"], &[]);
    // The last ones are listed for the second time.
    let names = ["2", &twice, &behind, &cast, &given, "x", &stored, "2", &twice, &given, &stored];
    let (models, exported_names) = both(&net.finish(&names));
    assert_eq!(exported_names, names);
    let x = input(&shape);
    let [file, export] = models.map(|model| {
        assert_eq!(model.output_names(), names);
        all_outputs(&model, &shape, &x)
    });
    assert_eq!(file.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    for i in [1, 2] {
        assert_eq!(file[i].1, file[0].1, "{}", names[i]);
    }
    for i in [4, 5] {
        assert_eq!(file[i].1, x, "{}", names[i]);
    }
    for i in [6, 10] {
        assert_eq!(file[i].1, [5.0, 6.0], "{}", names[i]);
    }
    for (first, again) in [(0, 7), (1, 8), (4, 9)] {
        assert_eq!(file[first], file[again]);
    }
    for ((name, expected), (_, found)) in file.iter().zip(&export) {
        assert!(expected.iter().zip(found).all(|(a, b)| (a - b).abs() < 1e-5), "{name}");
    }
}

/// How many nodes, channels of each stored tensor and bytes an export has.
fn size(model: &ModelProto) -> (usize, Vec<i64>, usize) {
    let graph = model.graph.as_ref().expect("a graph");
    let first = |t: &TensorProto| t.dims.first().copied().filter(|_| t.dims.len() == 4);
    (graph.node.len(), graph.initializer.iter().filter_map(first).collect(), encode(model).len())
}

/// What an export says besides: the shapes of its outputs, who made it.
const SAID: usize = 64;

#[test]
fn nothing_takes_more_nodes_than_before() {
    let pads = || [("pads", Ints(&[1, 1, 1, 1]))];
    // A layer whose filters from `live` on are zero, with biases that are not.
    let pruned = |net: &mut Net, x: &str, [filters, channels, kernel]: [usize; 3], live: usize| {
        let mut w = net.random(filters * channels * kernel * kernel);
        w[live * channels * kernel * kernel..].fill(0.0);
        let padding = (kernel / 2) as i64;
        let bias = net.random(filters);
        net.conv(x, [filters, channels, kernel, kernel], &w, &bias, &[("pads", Ints(&[padding; 4]))])
    };
    let new = || Net::new(&["batch", "3", "8", "8"]);

    // Constants reach the borders of a padded layer: through one more channel, up to a multiple of four.
    let mut net = new();
    let y = pruned(&mut net, "x", [32, 3, 3], 9);
    let y = net.node("Relu", &[&y], &[]);
    let y = pruned(&mut net, &y, [8, 32, 3], 8);
    let borders = (net.finish(&[&y]), vec![12, 8]);

    // A depthwise layer stays in blocks of 16.
    let mut net = new();
    let y = pruned(&mut net, "x", [64, 3, 1], 20);
    let w = net.weights(&[64, 1, 3, 3], &[0.5; 64 * 9]);
    let y = net.node("Conv", &[&y, &w], &[("group", Int(64)), ("pads", Ints(&[1, 1, 1, 1]))]);
    let mut w = net.random(8 * 64);
    (0..8 * 64).filter(|i| i % 64 >= 20).for_each(|i| w[i] = 0.0);
    let y = net.conv(&y, [8, 64, 1, 1], &w, &[0.0; 8], &[]);
    let depthwise = (net.finish(&[&y]), vec![32, 32, 8]);

    // Both sides of a sum have the same channels.
    let mut net = new();
    let a = pruned(&mut net, "x", [16, 3, 3], 4);
    let b = pruned(&mut net, "x", [16, 3, 3], 6);
    let sum = net.node("Add", &[&a, &b], &[]);
    let mut w = net.random(4 * 16 * 9);
    (0..4 * 16 * 9).filter(|i| i / 9 % 16 >= 6).for_each(|i| w[i] = 0.0);
    let y = net.conv(&sum, [4, 16, 3, 3], &w, &[0.0; 4], &pads());
    let residual = (net.finish(&[&y]), vec![8, 8, 4]);

    // A removed side is one element for each channel.
    let mut net = new();
    let a = pruned(&mut net, "x", [16, 3, 3], 16);
    let b = pruned(&mut net, &a, [16, 16, 3], 0);
    let y = net.node("Add", &[&a, &b], &[]);
    let removed = (net.finish(&[&y]), vec![16, 1]);

    // Outputs are whole, behind other axes, too.
    let mut net = new();
    let y = pruned(&mut net, "x", [16, 3, 5], 4);
    let shape = net.integers(&[0, 16, -1]);
    let y = net.node("Reshape", &[&y, &shape], &[]);
    let whole = (net.finish(&[&y]), vec![16]);

    // Each channel becomes a run of features.
    let mut net = new();
    let y = pruned(&mut net, "x", [16, 3, 3], 4);
    let y = net.node("Flatten", &[&y], &[]);
    let w = net.random(3 * 16 * 64);
    let w = net.weights(&[3, 16 * 64], &w);
    let y = net.node("Gemm", &[&y, &w], &[("transB", Int(1))]);
    let runs = (net.finish(&[&y]), vec![4]);

    let cases = [
        ("borders", borders),
        ("depthwise", depthwise),
        ("residual", residual),
        ("removed", removed),
        ("whole", whole),
        ("runs", runs),
    ];
    for (name, (model, expected)) in cases {
        let small = exported(&model, &[]);
        let [before, after] = [size(&model), size(&small)];
        assert!(
            after.0 <= before.0 && after.2 <= before.2 + SAID,
            "{name}: {} nodes of {}, {} bytes of {}",
            after.0,
            before.0,
            after.2,
            before.2
        );
        assert_eq!(after.1, expected, "{name}: first extents of weights");
        let shape = [2, 3, 8, 8];
        let ([file, export], _) = both(&model);
        let (expected, found) = (run(&file, &shape, &input(&shape)), run(&export, &shape, &input(&shape)));
        let largest = expected.1.iter().fold(0.1f32, |m, x| m.max(x.abs()));
        let error = expected.1.iter().zip(&found.1).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
        assert!(expected.0 == found.0 && error < 1e-5, "{name}: {error:e}");
    }
}

/// Matrices that are multiplied with lines of the last axis, or are computed, and what normalises lines.
#[test]
fn products_and_norms_of_lines_are_written() {
    type Build = fn(&mut Net) -> String;
    let cases: [(&[usize], Build); 4] = [
        (&[2, 5, 4], |net| {
            let w = net.random(4 * 6);
            let w = net.weights(&[4, 6], &w);
            net.node("MatMul", &["x", &w], &[])
        }),
        (&[2, 5, 4], |net| {
            let (w, b) = (net.random(4 * 6), net.weights(&[6], &[0.5, 0.0, 1.0, 2.0, -1.0, 3.0]));
            let w = net.weights(&[4, 6], &w);
            let y = net.node("MatMul", &["x", &w], &[]);
            net.node("Add", &[&y, &b], &[])
        }),
        (&[3, 4], |net| {
            let y = net.node("Relu", &["x"], &[]);
            net.node("Gemm", &["x", &y], &[("transB", Int(1)), ("alpha", Float(0.5))])
        }),
        (&[2, 5, 4], |net| {
            let (scale, shift) = (net.random(4), net.random(4));
            let (scale, shift) = (net.weights(&[4], &scale), net.weights(&[4], &shift));
            net.node("LayerNormalization", &["x", &scale, &shift], &[])
        }),
    ];
    cases.iter().for_each(|(shape, build)| same_when_read(shape, build));
}

/// Builds a network of these extents and compares its export with itself.
fn same_when_read(shape: &[usize], build: impl Fn(&mut Net) -> String) {
    let mut net = Net::fixed(shape);
    net.model.opset_import[0].version = 19;
    let y = build(&mut net);
    let ([file, export], _) = both(&net.finish(&[&y]));
    let x = input(shape);
    let (expected, found) = (run(&file, shape, &x), run(&export, shape, &x));
    assert_eq!(expected.0, found.0, "{y}");
    assert!(expected.1.iter().zip(&found.1).all(|(a, b)| (a - b).abs() < 1e-5), "{y}");
}

#[test]
fn windows_and_sizes_are_written() {
    let window = [("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2])), ("pads", Ints(&[1, 1, 0, 0]))];
    for flag in ["ceil_mode", "count_include_pad"] {
        same_when_read(&[1, 2, 5, 6], |net| net.node("AveragePool", &["x"], &[&window[..], &[(flag, Int(1))]].concat()));
    }
    same_when_read(&[1, 2, 5, 6], |net| net.node("MaxPool", &["x"], &[&window[..], &[("ceil_mode", Int(1))]].concat()));
    same_when_read(&[1, 2, 4, 6], |net| net.node("SpaceToDepth", &["x"], &[("blocksize", Int(2))]));
    for amounts in [[0, 0, 1, 0, 0, 0, 0, 2], [0, 0, 1, 1, 0, 0, 2, 0]] {
        same_when_read(&[1, 2, 4, 6], |net| {
            let pads = net.integers(&amounts);
            net.node("Pad", &["x", &pads], &[("mode", Text("wrap"))])
        });
    }
    let mode = ("coordinate_transformation_mode", Text("tf_crop_and_resize"));
    same_when_read(&[1, 1, 4, 6], |net| {
        let (roi, sizes) = (net.weights(&[4], &[0.25, 0.5, 0.75, 1.0]), net.integers(&[3, 2]));
        net.node("Resize", &["x", &roi, "", &sizes], &[("axes", Ints(&[2, 3])), ("mode", Text("linear")), mode])
    });
}

#[test]
fn a_weight_with_many_readers_is_stored_once() {
    let mut net = Net::new(&["1", "256"]);
    let w = net.random(256 * 256);
    let w = net.weights(&[256, 256], &w);
    let mut y = "x".to_owned();
    for _ in 0..10 {
        y = net.node("Gemm", &[&y, &w], &[("transB", Int(1))]);
        y = net.node("Relu", &[&y], &[]);
    }
    let model = net.finish(&[&y]);
    let one = 256 * 256 * 4;
    for bytes in [convert(&model, false).len(), convert(&model, true).len(), encode(&exported(&model, &[])).len()] {
        assert!((one..one + one / 8).contains(&bytes), "{bytes} bytes for weights of {one}");
    }
}

/// A convolution of six channels and one of four groups, each of six taps, may have the same matrix.
#[test]
fn equal_matrices_of_other_channels_are_no_shared_weight() {
    let mut net = Net::new(&["batch", "6", "5", "7"]);
    let mut w = net.random(4 * 6);
    w[..6].fill(0.0);
    let y = net.conv("x", [4, 6, 1, 1], &w, &[0.3, -0.2, 0.1, 0.4], &[]);
    let y = net.conv(&y, [4, 1, 3, 2], &w, &[0.1; 4], &[("group", Int(4))]);
    let model = net.finish(&[&y]);
    let ([file, export], _) = both(&model);
    let shape = [2, 6, 5, 7];
    let x = input(&shape);
    for ((_, found), (_, expected)) in all_outputs(&export, &shape, &x).iter().zip(all_outputs(&file, &shape, &x)) {
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn without_a_form_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let mut net = Net::new(&["1", "2", "9", "9"]);
    net.model.opset_import[0].version = 19;
    let kernel = ("kernel_shape", Ints(&[2, 2]));
    let y = net.node("AveragePool", &["x"], &[kernel, ("dilations", Ints(&[2, 2]))]);
    std::fs::write(at("m.onnx"), encode(&net.finish(&[&y]))).expect("a writable folder");
    let convert = |flags: &[&str]| {
        let [onnx, sslm] = [at("m.onnx"), at("m.sslm")];
        tools::run("ssl-convert", &[&[onnx.as_str(), "-o", &sslm], flags].concat())
    };
    let (small, report) = (at("small.onnx"), at("report.json"));
    let Run { code, stderr, .. } = convert(&["--export-onnx", &small, "--report", &report]);
    assert_eq!(code, 1, "{stderr}");
    let said = [
        "small.onnx: node 'AveragePool_0' (AveragePool) has no form in ONNX",
        "opset 19",
        "nothing is written",
        "m.sslm would be",
    ];
    for part in said {
        assert!(stderr.contains(part), "expected '{part}', found: {stderr}");
    }
    let there: Vec<bool> = ["m.sslm", "report.json", "small.onnx"].map(|name| folder.path().join(name).exists()).to_vec();
    assert_eq!(there, [false; 3]);
    assert_eq!(convert(&["--export-onnx", &small, "--force"]).code, 1, "nobody can insist on what there is not");
    assert_eq!(convert(&[]).code, 0);
}
