//! The command lines as people use them: what they print, and what they say when used wrongly.

use serde_json::Value;
use ssl_convert::onnx::proto::{ModelProto, StringStringEntryProto, ValueInfoProto, data_type};
use ssl_npy::Array;
use sslm::{ElementType, Model};
use sslm_tests::golden::golden;
use sslm_tests::onnx::{Net, Value::*, encode};
use sslm_tests::tools::{Run, command, lenet, refuses, root, run, succeeds, text};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

fn read_npy(path: &str) -> Array {
    ssl_npy::read(Path::new(path)).expect("an array")
}

fn write_npy(path: &str, shape: &[usize], elements: &[f32]) {
    let file = std::fs::File::create(path).expect("a writable folder");
    ssl_npy::write(file, &Array::of_floats(shape.to_vec(), elements.to_vec())).expect("a writable folder");
}

fn model() -> String {
    text(lenet().join("lenet.sslm"))
}

fn digit(i: usize) -> String {
    text(lenet().join(format!("digits/{i}.png")))
}

#[test]
fn classifies_every_shipped_digit() {
    let digits: Vec<String> = (0..10).map(digit).collect();
    let model = model();
    let mut arguments = vec!["--json", "--top", "3", &model];
    arguments.extend(digits.iter().map(String::as_str));
    let answers: Value = serde_json::from_str(&succeeds("ssl-run", &arguments)).expect("JSON");
    for (i, answer) in answers.as_array().expect("a list").iter().enumerate() {
        assert_eq!(answer["image"], digits[i]);
        assert_eq!(answer["classes"].as_array().map(Vec::len), Some(3));
        assert_eq!(answer["classes"][0]["label"], i.to_string(), "{answer}");
        assert!(answer["classes"][0]["probability"].as_f64().is_some_and(|p| (0.0..=1.0).contains(&p)));
    }
    let plain = succeeds("ssl-run", &[&model, &digits[7]]);
    let lines: Vec<&str> = plain.lines().collect();
    assert_eq!(lines.len(), 6, "{plain}");
    assert!(lines[1].contains('%') && lines[1].ends_with(" 7"), "{plain}");
}

/// Without a GPU `cuda` is an error that names what is missing, and `auto` says who computes instead.
#[test]
fn backends() {
    let (model, seven) = (model(), digit(7));
    let with = |backend: &str| run("ssl-run", &[&model, &seven, "--backend", backend]);
    let (cpu, cuda, auto) = (with("cpu"), with("cuda"), with("auto"));
    assert_eq!((cpu.code, auto.code, &auto.stdout), (0, 0, &cpu.stdout), "{}", auto.stderr);
    if sslm_devices::gpu().is_some() {
        assert_eq!((cuda.code, &cuda.stdout, auto.stderr.as_str()), (0, &cpu.stdout, ""), "{}", cuda.stderr);
    } else {
        assert_eq!((cuda.code, cuda.stdout.as_str()), (2, ""));
        assert!(cuda.stderr.contains("CUDA is not available: "), "{}", cuda.stderr);
        assert!(auto.stderr.starts_with("ssl-run: the CPU computes: CUDA is not available: "), "{}", auto.stderr);
    }
    refuses("ssl-run", &[&model, "--tune", "--backend", "cuda"], &["--tune", "--backend"]);
    refuses("ssl-run", &[&model, &seven, "--precision", "fp16"], &["--precision", "fp32 on the CPU"]);
}

#[test]
fn raw_tensors_of_any_batch() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_, expected) = golden();
    let (input, output) = (text(root().join("tests/golden/lenet/images.npy")), text(folder.path().join("y.npy")));
    for batch in ["1", "50", "500"] {
        succeeds("ssl-run", &[&model(), "--input", &input, "--output", &output, "--batch", batch]);
        let found = read_npy(&output);
        assert_eq!(found.shape, expected.shape());
        let error = found.elements.iter().zip(&expected).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(error < 1e-4, "batch {batch}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn raw_tensors_from_a_pipe() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [direct, piped] = ["direct.npy", "piped.npy"].map(|name| text(folder.path().join(name)));
    let images = root().join("tests/golden/lenet/images.npy");
    succeeds("ssl-run", &[&model(), "--input", &text(&images), "--output", &direct]);
    let mut run = command("ssl-run");
    run.args([&model(), "--input", "/dev/stdin", "--output", &piped]).stdin(std::process::Stdio::piped());
    let mut child = run.spawn().expect("the tool starts");
    let bytes = std::fs::read(images).expect("golden images");
    child.stdin.take().expect("a pipe").write_all(&bytes).expect("the tool reads");
    assert!(child.wait().expect("it ends").success());
    let [direct, piped] = [direct, piped].map(|path| std::fs::read(path).expect("an output"));
    assert_eq!(direct, piped);
    refuses(
        "ssl-run",
        &[&model(), "--input", "/dev/zero", "--output", &text(folder.path().join("y.npy"))],
        &["/dev/zero", ".npy"],
    );
}

#[test]
fn a_fixed_batch_is_filled_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut net = Net::new(&["4", "1", "2", "2"]);
    let y = net.conv("x", [1, 1, 1, 1], &[2.0], &[1.0], &[]);
    let [onnx, sslm, x, y_path] = ["m.onnx", "m.sslm", "x.npy", "y.npy"].map(|n| text(folder.path().join(n)));
    std::fs::write(&onnx, encode(&net.finish(&[&y]))).expect("a writable folder");
    succeeds("ssl-convert", &[&onnx, "-o", &sslm]);
    let images = |of_index: fn(usize) -> f32| (0..6 * 4).map(|i| of_index(i / 4)).collect::<Vec<f32>>();
    write_npy(&x, &[6, 1, 2, 2], &images(|i| i as f32));
    succeeds("ssl-run", &[&sslm, "--input", &x, "--output", &y_path]);
    assert_eq!(read_npy(&y_path), Array::of_floats(vec![6, 1, 2, 2], images(|i| 2.0 * i as f32 + 1.0)));
}

/// Softmax over images needs all of them: parts would be sums of their own.
#[test]
fn images_that_are_mixed_run_together() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let softmax = |rows: &str, onnx: &str, sslm: &str| {
        let mut net = Net::new(&[rows, "1", "2", "2"]);
        let y = net.node("Softmax", &["x"], &[("axis", Int(0))]);
        std::fs::write(onnx, encode(&net.finish(&[&y]))).expect("a writable folder");
        succeeds("ssl-convert", &[onnx, "-o", sslm]);
    };
    let (open, fixed, x, y) = (at("open.sslm"), at("fixed.sslm"), at("x.npy"), at("y.npy"));
    softmax("batch", &at("open.onnx"), &open);
    softmax("4", &at("fixed.onnx"), &fixed);
    write_npy(&x, &[40, 1, 2, 2], &[0.0; 160]);
    for batch in [&[][..], &["--batch", "40"], &["--batch", "50"]] {
        succeeds("ssl-run", &[&[&*open, "--input", &x, "--output", &y], batch].concat());
        let Array { shape, elements, .. } = read_npy(&y);
        assert!(shape == [40, 1, 2, 2] && elements.iter().all(|p| (p - 1.0 / 40.0).abs() < 1e-6), "{batch:?}: {elements:?}");
    }
    std::fs::remove_file(&y).expect("the output");
    let expected = ["x.npy", "mixes the images", "one batch of all 40"];
    refuses("ssl-run", &[&open, "--input", &x, "--output", &y, "--batch", "20"], &expected);
    refuses("ssl-run", &[&fixed, "--input", &x, "--output", &y], &expected);
    refuses("ssl-run", &[&fixed, &digit(1)], &["mixes the 4 images", "--input"]);
    assert!(!Path::new(&y).exists());
}

/// Converts a model to a file of this folder.
fn converted(folder: &Path, name: &str, model: &ModelProto) -> String {
    let [onnx, sslm] = ["onnx", "sslm"].map(|extension| text(folder.join(name).with_extension(extension)));
    std::fs::write(&onnx, encode(model)).expect("a writable folder");
    succeeds("ssl-convert", &[&onnx, "-o", &sslm]);
    sslm
}

/// The declared type of an input or output.
fn set_type(info: &mut ValueInfoProto, elem_type: i32) {
    info.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()).expect("a tensor").elem_type = elem_type;
}

/// Inputs `left` and `right/pixels`, outputs their sum and where it is greatest.
fn two_inputs() -> ModelProto {
    let mut net = Net::new(&["N", "3"]);
    net.graph().input[0].name = "left".into();
    net.graph().input.push(sslm_tests::onnx::value_info("right/pixels", &["N", "3"]));
    set_type(&mut net.graph().input[1], data_type::UINT8);
    let right = net.node("Cast", &["right/pixels"], &[("to", Int(data_type::FLOAT.into()))]);
    let sum = net.node("Add", &["left", &right], &[]);
    let place = net.node("ArgMax", &[&sum], &[("axis", Int(1)), ("keepdims", Int(0))]);
    let mut model = net.finish(&[&sum, &place]);
    set_type(&mut model.graph.as_mut().expect("a graph").output[1], data_type::INT64);
    model
}

#[test]
fn every_input_and_output_has_its_name_and_type() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let sslm = converted(folder.path(), "two", &two_inputs());
    // More rows than are run at a time.
    let left = Array::of_floats(vec![70, 3], (0..210).map(|i| (i % 7) as f32).collect());
    let right = Array { shape: vec![70, 3], element_type: ElementType::U8, elements: (0..210).map(|i| (i % 5) as f32).collect() };
    let save = |name: &str, array: &Array| {
        ssl_npy::write(std::fs::File::create(at(name)).expect("a writable folder"), array).expect("a writable folder");
    };
    save("l.npy", &left);
    save("r.npy", &right);
    let named = [format!("left={}", at("l.npy")), format!("right/pixels={}", at("r.npy"))];
    let both = at("both.npz");
    let pairs = [("right/pixels", &right), ("left", &left)];
    ssl_npy::write_all(std::fs::File::create(&both).expect("a writable folder"), pairs).expect("a writable folder");

    let sums: Vec<f32> = left.elements.iter().zip(&right.elements).map(|(a, b)| a + b).collect();
    let greatest = |row: &[f32]| (0..3).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as f32;
    let places = sums.chunks(3).map(greatest).collect();
    let expected = [
        ("Add_1".to_owned(), Array::of_floats(vec![70, 3], sums.clone())),
        ("ArgMax_2".to_owned(), Array { shape: vec![70], element_type: ElementType::I64, elements: places }),
    ];
    let y = at("y.npz");
    let inputs: [&[&str]; 2] = [&["--input", &named[1], "--input", &named[0]], &["--input", &both]];
    for input in inputs {
        for batch in [&[][..], &["--batch", "70"], &["--batch", "7"]] {
            succeeds("ssl-run", &[&[&*sslm, "--output", &y], input, batch].concat());
            assert_eq!(ssl_npy::read_all(Path::new(&y), u64::MAX).expect("an archive"), expected, "{input:?} {batch:?}");
        }
    }
    succeeds("ssl-run", &[&sslm, "--bench", "2", "--input", &both]);
    succeeds("ssl-run", &[&sslm, "--bench", "2"]);

    save("wrong.npy", &left);
    let one = format!("right/pixels={}", at("wrong.npy"));
    for (arguments, expected) in [
        (&["--input", &at("l.npy")][..], &["expected NAME=FILE for each input ('left', 'right/pixels')", ".npz"][..]),
        (&["--input", &named[0]], &["expected an array for each input", "none for 'right/pixels'"]),
        (&["--input", &named[0], "--input", &one], &["--input 'right/pixels'", "expected elements of uint8, found float32"]),
        (&["--input", &both, "--input", &named[0]], &["found a further one: 'left'"]),
    ] {
        refuses("ssl-run", &[&[&*sslm, "--output", &y], arguments].concat(), expected);
    }
    let expected = ["y.npy", "NAME.npz, which takes all 2 outputs ('Add_1', 'ArgMax_2')"];
    refuses("ssl-run", &[&*sslm, "--input", &both, "--output", &at("y.npy")], &expected);
    refuses("ssl-run", &[&*sslm, &digit(1)], &["the model has 2 inputs", "--input"]);
    assert!(succeeds("ssl-inspect", &[&sslm]).contains("input 'right/pixels' [N, 3] uint8\noutput 'Add_1', 'ArgMax_2' int64"));
}

/// What has no batch first is run at once, scalars too.
#[test]
fn outputs_without_a_batch() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let (x, y) = (at("x.npy"), at("y.npy"));
    let mut net = Net::new(&["2", "3"]);
    let second = net.integers(&[1]);
    net.graph().initializer[0].dims.clear();
    let row = net.node("Gather", &["x", &second], &[("axis", Int(0))]);
    let sslm = converted(folder.path(), "row", &net.finish(&[&row]));
    write_npy(&x, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    succeeds("ssl-run", &[&sslm, "--input", &x, "--output", &y]);
    assert_eq!(read_npy(&y), Array::of_floats(vec![3], vec![4.0, 5.0, 6.0]));

    let mut net = Net::new(&["batch", "3"]);
    let mean = net.node("ReduceMean", &["x"], &[("keepdims", Int(0))]);
    let sslm = converted(folder.path(), "mean", &net.finish(&[&mean]));
    write_npy(&x, &[40, 3], &[0.5; 120]);
    succeeds("ssl-run", &[&sslm, "--input", &x, "--output", &y]);
    assert_eq!(read_npy(&y), Array::of_floats(vec![], vec![0.5]));
}

/// Images lie in inputs with channels first or last, as numbers or as the bytes that they are.
/// A tensor that a model lists twice is two outputs, as it is for onnxruntime. Files that hold outputs by their names have one of each.
#[test]
fn an_output_may_be_listed_twice() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut net = Net::new(&["1", "2"]);
    let y = net.node("Neg", &["x"], &[]);
    let z = net.node("Abs", &[&y], &[]);
    let model = converted(folder.path(), "twice", &net.finish(&[&y, &z, &y]));
    let loaded = sslm::Model::read(&model).expect("it opens");
    assert_eq!(loaded.output_names(), [&y, &z, &y]);
    let mut session = loaded.prepare(&sslm::Options::new()).expect("it is prepared").session();
    let x = sslm::TensorView::new(&[1, 2], &[3.0, -0.5]).expect("it fits");
    let outputs = session.run_all(&[x]).expect("it runs");
    let found: Vec<&[f32]> = outputs.iter().map(|(_, output)| output.data()).collect();
    assert_eq!(found, [[-3.0, 0.5], [3.0, 0.5], [-3.0, 0.5]]);
    let [x, npz, rows] = ["x.npy", "y.npz", "rows.arrow"].map(|name| text(folder.path().join(name)));
    write_npy(&x, &[1, 2], &[3.0, -0.5]);
    let expected = format!("expected outputs of different names, found '{y}' twice");
    refuses("ssl-run", &[&model, "--input", &x, "--output", &npz], &["y.npz", &expected]);

    let mut images = Net::new(&["N", "1", "2", "2"]);
    let y = images.node("Relu", &["x"], &[]);
    let model = converted(folder.path(), "images", &images.finish(&[&y, &y]));
    let expected = format!("column '{y}': expected names that differ");
    refuses("ssl-score", &[&model, &text(lenet().join("digits")), "-o", &rows, "--raw"], &[&expected]);
}

#[test]
fn images_of_any_layout() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let (image, y) = (at("image.png"), at("y.npy"));
    let pixels: Vec<u8> = (0..12).map(|i| 20 * i).collect();
    let mut encoder = png::Encoder::new(std::fs::File::create(&image).expect("a writable folder"), 2, 2);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().and_then(|mut file| file.write_image_data(&pixels)).expect("a writable folder");
    for (of, scale) in [(data_type::FLOAT, 255.0), (data_type::UINT8, 1.0)] {
        for is_last in [false, true] {
            let mut net = Net::new(if is_last { &["N", "h", "w", "3"] } else { &["N", "3", "h", "w"] });
            set_type(&mut net.graph().input[0], of);
            let x = net.node("Cast", &["x"], &[("to", Int(data_type::FLOAT.into()))]);
            let z = net.node("Mul", &[&x, &x], &[]);
            let sslm = converted(folder.path(), "image", &net.finish(&[&z]));
            let said = succeeds("ssl-run", &[&sslm, &image, "--output", &y]);
            let square = |&p: &u8| (f32::from(p) / scale).powi(2);
            let by_channel = (0..3).flat_map(|c| pixels[c..].iter().step_by(3));
            let (shape, expected): (_, Vec<f32>) = if is_last {
                (vec![1, 2, 2, 3], pixels.iter().map(square).collect())
            } else {
                (vec![1, 3, 2, 2], by_channel.map(square).collect())
            };
            let found = read_npy(&y);
            assert!(found.shape == shape && found.elements.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?}");
            assert!(said.contains("image.png\n  'Mul_1' float32 [1, ") && !said.contains('%'), "no classes are made up: {said}");
            if of == data_type::UINT8 {
                refuses("ssl-run", &[&sslm, &image, "--scale", "0.5"], &["pixels as they are", "uint8"]);
            }
        }
    }
    let json: Value = serde_json::from_str(&succeeds("ssl-run", &[&at("image.sslm"), &image, "--json"])).expect("JSON");
    assert_eq!(json[0]["outputs"][0]["shape"], serde_json::json!([1, 2, 2, 3]));

    // Names of classes, or probabilities, say that there are classes.
    for (last, classes) in [("Identity", false), ("Softmax", true)] {
        let mut net = Net::new(&["N", "3", "2", "2"]);
        let y = net.node("GlobalAveragePool", &["x"], &[]);
        let y = net.node("Flatten", &[&y], &[]);
        let y = net.node(last, &[&y], &[]);
        let sslm = converted(folder.path(), last, &net.finish(&[&y]));
        assert_eq!(succeeds("ssl-run", &[&sslm, &image]).contains('%'), classes);
        std::fs::write(at("labels.txt"), "red\ngreen\nblue\n").expect("a writable folder");
        assert!(succeeds("ssl-run", &[&sslm, &image, "--labels", &at("labels.txt")]).contains("%  blue"));
    }
}

/// Outputs of another runtime find out what the importer may have got wrong on both sides.
#[test]
fn verified_with_given_outputs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let (known, new) = (at("known.npz"), at("new.sslm"));
    converted(folder.path(), "two", &two_inputs());
    let array =
        |element_type, elements: &[f32]| Array { shape: vec![elements.len() / 3, 3], element_type, elements: elements.to_vec() };
    let left = array(ElementType::F32, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let right = array(ElementType::U8, &[3.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
    let sum = array(ElementType::F32, &[4.0, 2.0, 3.0, 4.0, 7.0, 6.0]);
    let wrong = array(ElementType::F32, &[4.0, 2.0, 3.0, 4.0, 7.5, 6.0]);
    let place = Array { shape: vec![2], element_type: ElementType::I64, elements: vec![0.0, 1.0] };
    let verify = |arrays: &[(&str, &Array)], more: &[&str]| {
        let file = std::fs::File::create(&known).expect("a writable folder");
        ssl_npy::write_all(file, arrays.iter().copied()).expect("a writable folder");
        run("ssl-convert", &[&[&*at("two.onnx"), "-o", &new, "--verify-with", &known], more].concat())
    };
    let inputs = [("left", &left), ("right/pixels", &right)];
    for outputs in [&[("Add_1", &sum), ("ArgMax_2", &place)][..], &[("Add_1", &sum)]] {
        let Run { code, stdout, stderr } = verify(&[&inputs, outputs].concat(), &["--verify", "0"]);
        assert!(
            code == 0 && stdout.contains("compared with given outputs for 1 given inputs ([2, 3] and [2, 3])"),
            "{stdout}{stderr}"
        );
    }
    std::fs::remove_file(&new).expect("the file");
    let different = [&inputs[..], &[("Add_1", &wrong)]].concat();
    let Run { code, stderr, .. } = verify(&different, &[]);
    assert!(code == 1 && stderr.contains("the outputs differ by 6.7e-2 relative"), "{stderr}");
    assert!(!Path::new(&new).exists(), "nothing is written");
    assert_eq!(verify(&different, &["--tolerance", "0.1"]).code, 0);
    std::fs::remove_file(&new).expect("the file");
    for (arrays, expected) in [
        (&[("left", &left), ("Add_1", &sum)][..], "expected an array 'right/pixels', an input, found none"),
        (&inputs, "expected at least one of the outputs 'Add_1', 'ArgMax_2', found none"),
        (&[("left", &left), ("right/pixels", &right), ("sum", &sum)], "of outputs ('Add_1', 'ArgMax_2'), found 'sum'"),
        (
            &[("left", &left), ("right/pixels", &left), ("Add_1", &sum)],
            "'right/pixels': expected elements of uint8, found float32",
        ),
        (&[("left", &left), ("right/pixels", &right), ("Add_1", &place)], "output 'Add_1': expected shape [2], found [2, 3]"),
    ] {
        let Run { code, stderr, .. } = verify(arrays, &[]);
        assert!(code == 2 && stderr.contains("known.npz") && stderr.contains(expected), "expected '{expected}' in: {stderr}");
    }
    assert!(!Path::new(&new).exists());
}

#[test]
fn bench_and_profile_report_each_layer() {
    let report: Value =
        serde_json::from_str(&succeeds("ssl-run", &[&model(), "--bench", "5", "--json", "--threads", "2"])).expect("JSON");
    let run_ms = |q: &str| report["run_ms"][q].as_f64().expect("a number");
    assert!(0.0 < run_ms("min") && run_ms("min") <= run_ms("median") && run_ms("median") <= run_ms("p90"), "{report}");
    assert_eq!(report["threads"], 2);
    let layers = report["layers"].as_array().expect("a list");
    // Where layouts change between layers, there are steps for that.
    let computing = layers.iter().filter(|layer| layer["op"] != "Reorder");
    assert_eq!(computing.count(), 6, "{report}");
    for layer in layers {
        assert!(["name", "op", "kernel"].iter().all(|key| layer[key].is_string()), "{layer}");
        assert!(layer["bytes"].as_u64() > Some(0), "{layer}");
        assert!(layer["min_ms"].as_f64() <= layer["median_ms"].as_f64(), "{layer}");
    }
    let table = succeeds("ssl-run", &[&model(), "--profile", &digit(3)]);
    for part in ["/conv2/Conv", "median", "GFLOP/s", "GB/s", "fully connected"] {
        assert!(table.contains(part), "expected '{part}' in\n{table}");
    }
    let convnet = root().join("tools/models/convnet/convnet.sslm").display().to_string();
    let memory = |flags: &[&str]| {
        let report = succeeds("ssl-run", &[&[&convnet, "--bench", "1", "--json"], flags].concat());
        serde_json::from_str::<Value>(&report).expect("JSON")["prepared_bytes"].as_u64().expect("a count")
    };
    let [without, with] = [&["--transformed-weights", "0"][..], &[]].map(memory);
    assert!(with > without + 50_000, "ConvNet's 5x5 layers gain by transformed weights: {without} and {with} bytes");
    assert!(table.contains("tables and transformed weights"), "{table}");
    let portable = succeeds("ssl-run", &[&model(), "--profile", "--isa", "portable", &digit(3)]);
    assert!(portable.contains("portable"), "{portable}");
}

/// Where standard output is no terminal, there are 80 columns; what is not shown is in the JSON.
#[test]
fn tables_fit_eighty_columns() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let [onnx, sslm] = ["onnx", "sslm"].map(|end| text(root().join(format!("tools/models/resnet20/resnet20.{end}"))));
    let shown = [
        succeeds("ssl-convert", &[&onnx, "-o", &at("new.sslm"), "--export-onnx", &at("new.onnx"), "--verify", "1"]),
        succeeds("ssl-inspect", &[&sslm]),
        succeeds("ssl-run", &[&sslm, "--profile"]),
        succeeds("ssl-run", &[&sslm, "--bench", "2"]),
        succeeds("ssl-report", &["bench", &sslm, "--onnx", &onnx]),
    ];
    for shown in &shown {
        let is_rule = |line: &&str| line.starts_with('─');
        let rules: Vec<usize> = shown.lines().enumerate().filter(|(_, line)| is_rule(line)).map(|(at, _)| at).collect();
        let [first, last] = rules[..] else { panic!("expected a table in {shown}") };
        assert!(last > first + 10 && shown.contains("…"), "{shown}");
        let table = shown.lines().skip(first - 1).take(last - first + 2);
        let wide: Vec<&str> = table.filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{wide:#?}");
    }
    let json: Value = serde_json::from_str(&succeeds("ssl-inspect", &[&sslm, "--json"])).expect("JSON");
    let nodes = json["nodes"].as_array().expect("a list");
    let find = |name: &str| nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("a node {name}"));
    assert_eq!(find("/block2_1/shortcut/shortcut.0/Conv")["window"], "1x1 stride 2");
    assert_eq!(find("/block1_2/conv1/Conv")["filters"], serde_json::json!({ "kept": 0, "of": 16 }));
    assert_eq!((&json["inputs"][0]["dims"][0], &json["labels"][8]), (&Value::from("batch"), &Value::from("ship")));
    let bench: Value = serde_json::from_str(&succeeds("ssl-run", &[&sslm, "--bench", "2", "--json"])).expect("JSON");
    let layers = bench["layers"].as_array().expect("a list");
    assert!(layers.iter().any(|layer| layer["name"] == "/block2_1/shortcut/shortcut.0/Conv" && layer["macs"] == 131_072));
}

/// Both time the same: the same plan, of which each says what computes which layer, in medians of many runs. How far the times agree is for
/// the machine to say.
#[test]
fn a_profile_times_what_a_bench_does() {
    let resnet = text(root().join("tools/models/resnet20/resnet20.sslm"));
    let report = |arguments: &[&str]| -> Value {
        let shown = succeeds("ssl-run", &[&[&resnet, "--threads", "1", "--json"], arguments].concat());
        serde_json::from_str(&shown).expect("JSON")
    };
    let (profile, bench) = (report(&["--profile"]), report(&["--bench", "20"]));
    assert!(profile["runs"].as_u64() >= Some(10) && bench["runs"] == 20, "{profile}");
    let of_plan = |report: &Value| -> Vec<Value> {
        let layers = report["layers"].as_array().expect("a list").iter();
        layers.map(|layer| serde_json::json!([layer["name"], layer["kernel"], layer["macs"]])).collect()
    };
    assert_eq!(of_plan(&profile), of_plan(&bench));
    for report in [profile, bench] {
        assert!(report["run_ms"]["median"].as_f64() > Some(0.0), "{report}");
        assert!(report["layers"][0]["median_ms"].is_number(), "{report}");
    }
}

/// Whether methods are faster is for the machine to say; what is stored, said and left alone follows from it.
#[test]
fn tuning_is_stored_where_runs_are_faster_by_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lenet = text(folder.path().join("lenet.sslm"));
    std::fs::copy(model(), &lenet).expect("a writable folder");
    let file = format!("{lenet}.tuning.json");
    for before in [None, Some("of an earlier call")] {
        let _ = std::fs::remove_file(&file);
        before.iter().for_each(|text| std::fs::write(&file, text).expect("a writable folder"));
        let Run { code, stdout, stderr } = run("ssl-run", &[&lenet, "--tune", "--threads", "1", "--json"]);
        let mut json: Value = serde_json::from_str(&stdout).expect("JSON");
        let gain = json["turns"]["gain"].as_array().expect("quartiles").iter().map(|x| x.as_f64().expect("a share"));
        let gain: Vec<f64> = gain.collect();
        let kept = gain[0] > 0.0 && gain[1] >= 0.01;
        assert_eq!((code, json["kept"].as_bool(), stderr.lines().count()), (0, Some(kept), 1), "{stdout}{stderr}");
        let stored = std::fs::read_to_string(&file).ok();
        if kept {
            assert!(stderr.contains("wrote") && stderr.contains("lenet.sslm.tuning.json"), "{stderr}");
            let fields = json.as_object_mut().expect("an object");
            fields.retain(|key, _| key != "kept" && key != "turns");
            assert_eq!(serde_json::from_str::<Value>(&stored.expect("the file")).expect("JSON"), json);
        } else {
            assert!(stderr.contains("the default methods are fastest") && stderr.contains("no tuning was stored"), "{stderr}");
            assert_eq!(stored.as_deref(), before);
        }
        let left = std::fs::read_dir(&folder).expect("the folder").count();
        assert_eq!(left, 1 + usize::from(kept || before.is_some()), "no partial files stay");
    }
    let table = succeeds("ssl-run", &[&lenet, "--tune", "--threads", "1"]);
    for part in ["/conv2/Conv", "expected", "fastest", "gain", "run: "] {
        assert!(table.contains(part), "expected '{part}' in\n{table}");
    }
    refuses("ssl-run", &["missing.sslm", "--tune"], &["missing.sslm", "cannot open"]);
}

#[test]
fn tuning_beside_the_model_is_used() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lenet = text(folder.path().join("lenet.sslm"));
    std::fs::copy(model(), &lenet).expect("a writable folder");
    let file = format!("{lenet}.tuning.json");
    let options = sslm::Options::new().threads(sslm::Threads::Single);
    let (tuning, _) = sslm::Model::read(&lenet).expect("it opens").tune(&options, None, |_, _| {}).expect("it can be tuned");
    std::fs::write(&file, tuning.to_json()).expect("a writable folder");

    // Whether it is used or not, the answer is there, and one line says what was done.
    let seven = digit(7);
    let profile = |more: &[&str], note: &[&str]| {
        let Run { code, stdout, stderr } = run("ssl-run", &[&[&*lenet, &seven, "--profile"], more].concat());
        assert_eq!((code, stderr.lines().count()), (0, 1), "{stderr}");
        assert!(note.iter().all(|part| stderr.contains(part)), "expected {note:?} in: {stderr}");
        stdout.contains(", timed")
    };
    assert!(profile(&["--threads", "1"], &["methods as timed in", "lenet.sslm.tuning.json"]));
    assert!(!profile(&["--threads", "2"], &["not used", "another thread count: expected 2, found 1", "--tune"]));
    std::fs::write(&file, "{\"made_for\": 7}").expect("a writable folder");
    assert!(!profile(&["--threads", "1"], &["not used", "lenet.sslm.tuning.json", "expected the tuning of a model", "--tune"]));
}

#[test]
fn inspect_shows_header_layers_and_kept_counts() {
    let shown = succeeds("ssl-inspect", &[&model()]);
    for part in [
        "sslm 0.1",
        "section WGTS",
        "made by ssl-convert",
        "input 'image' [batch, 1, 28, 28]",
        "10 labels: 0, 1",
        "of 500",
        "2x2/2",
    ] {
        assert!(shown.contains(part), "expected '{part}' in\n{shown}");
    }
}

#[test]
fn convert_prints_what_it_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (onnx, sslm) = (text(lenet().join("lenet.onnx")), text(folder.path().join("out.sslm")));
    let compact = succeeds("ssl-convert", &[&onnx, "-o", &sslm]);
    assert!(compact.contains(" of 20") && compact.contains(" of 500") && compact.contains("total"), "{compact}");
    let small = std::fs::metadata(&sslm).expect("the file").len();
    let dense = succeeds("ssl-convert", &["--dense", &onnx, "-o", &sslm]);
    assert!(!dense.contains(" of "), "{dense}");
    assert!(std::fs::metadata(&sslm).expect("the file").len() > 2 * small);
    let left: Vec<PathBuf> = std::fs::read_dir(folder.path()).expect("the folder").map(|e| e.expect("an entry").path()).collect();
    assert_eq!(left, [PathBuf::from(&sslm)], "no partial files stay");
}

/// As some editors save text.
#[test]
fn a_mark_of_the_byte_order_is_no_part_of_a_label() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let (labels, sslm) = (at("labels.txt"), at("m.sslm"));
    let names: Vec<String> = (0..10).map(|i| format!("label {i}")).collect();
    std::fs::write(&labels, format!("\u{feff}{}\r\n", names.join("\r\n"))).expect("a writable folder");
    succeeds("ssl-convert", &[&text(lenet().join("lenet.onnx")), "-o", &sslm, "--labels", &labels]);
    assert_eq!(Model::read(&sslm).expect("a model").labels(), names);
}

/// The pixels of a gray PNG, scaled by linear interpolation.
fn bigger(path: &str, width: u16, height: u16) -> Vec<u8> {
    let file = std::io::BufReader::new(std::fs::File::open(path).expect("a shipped digit"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a small image")];
    reader.next_frame(&mut pixels).expect("its pixels");
    let (w, h) = reader.info().size();
    assert_eq!(pixels.len(), (w * h) as usize, "one byte a pixel");
    // The two pixels around a position, and how near the second one is.
    let around = |i: u16, from: u32, to: u16| {
        let at = ((f32::from(i) + 0.5) * from as f32 / f32::from(to) - 0.5).clamp(0.0, (from - 1) as f32);
        (at as usize, (at as usize + 1).min(from as usize - 1), at.fract())
    };
    let mix = |a: f32, b: f32, near: f32| a + (b - a) * near;
    let pixel = |y: u16, x: u16| {
        let ((y0, y1, near_y), (x0, x1, near_x)) = (around(y, h, height), around(x, w, width));
        let row = |y: usize| mix(f32::from(pixels[y * w as usize + x0]), f32::from(pixels[y * w as usize + x1]), near_x);
        mix(row(y0), row(y1), near_y).round() as u8
    };
    (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| pixel(y, x)).collect()
}

#[test]
fn images_are_fitted_and_converted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Another size, and as many channels as there are kinds of files for.
    let (width, height) = (112, 84);
    let seven = bigger(&digit(7), width, height);
    let pixels = |channels: usize| seven.iter().flat_map(|&p| [p, p, p, 255].into_iter().take(channels)).collect::<Vec<u8>>();
    let (rgba, jpeg) = (text(folder.path().join("seven.png")), text(folder.path().join("seven.jpg")));
    let mut encoder = png::Encoder::new(std::fs::File::create(&rgba).expect("a writable folder"), width.into(), height.into());
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().and_then(|mut file| file.write_image_data(&pixels(4))).expect("a writable folder");
    let encoder = jpeg_encoder::Encoder::new_file(&jpeg, 75).expect("a writable folder");
    encoder.encode(&pixels(3), width, height, jpeg_encoder::ColorType::Rgb).expect("a writable folder");
    for path in [&rgba, &jpeg] {
        let plain = succeeds("ssl-run", &[&model(), path, "--top", "1"]);
        assert!(plain.trim_end().ends_with(" 7"), "{plain}");
    }
}

/// The seven in every other format, lying on its side where EXIF says so.
#[test]
fn images_of_every_format() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let seven = bigger(&digit(7), 28, 28);
    // As a camera that was turned to the right stores it, and the block of EXIF that says so.
    let turned: Vec<u8> = (0..28).flat_map(|y| (0..28).map(move |x| (x, y))).map(|(x, y)| seven[x * 28 + 27 - y]).collect();
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let rgb = |gray: &[u8]| gray.iter().flat_map(|&p| [p; 3]).collect::<Vec<u8>>();

    let mut webp = Vec::new();
    let mut encoder = image_webp::WebPEncoder::new(&mut webp);
    encoder.set_exif_metadata(exif.to_vec());
    encoder.encode(&rgb(&turned), 28, 28, image_webp::ColorType::Rgb8).expect("memory takes everything");
    std::fs::write(at("seven.webp"), webp).expect("a writable folder");

    let mut jpeg = jpeg_encoder::Encoder::new_file(at("seven.jpg"), 90).expect("a writable folder");
    jpeg.add_exif_metadata(exif).expect("a short block");
    jpeg.encode(&turned, 28, 28, jpeg_encoder::ColorType::Luma).expect("a writable folder");

    let grays: Vec<u8> = (0..=255).flat_map(|p| [p; 3]).collect();
    let mut gif = Vec::new();
    let mut encoder = gif::Encoder::new(&mut gif, 28, 28, &grays).expect("memory takes everything");
    for indices in [&seven, &turned] {
        let frame = gif::Frame { width: 28, height: 28, buffer: indices.into(), ..gif::Frame::default() };
        encoder.write_frame(&frame).expect("memory takes everything");
    }
    drop(encoder);
    std::fs::write(at("seven.gif"), gif).expect("a writable folder");

    let wide: Vec<u16> = turned.iter().map(|&p| u16::from(p) * 257).collect();
    let mut tiff = std::fs::File::create(at("seven.tiff")).expect("a writable folder");
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut tiff).expect("a writable folder");
    let mut image = encoder.new_image::<tiff::encoder::colortype::Gray16>(28, 28).expect("a writable folder");
    image.encoder().write_tag(tiff::tags::Tag::Orientation, 6u16).expect("a writable folder");
    image.write_data(&wide).expect("a writable folder");

    let mut bmp = [&b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x1c\0\0\0\x1c\0\0\0\x01\0\x18\0"[..], &[0; 24]].concat();
    bmp.extend(seven.chunks(28).rev().flat_map(rgb));
    std::fs::write(at("seven.bmp"), &bmp).expect("a writable folder");

    let images = ["webp", "jpg", "gif", "tiff", "bmp"].map(|extension| at(&format!("seven.{extension}")));
    let model = model();
    let mut arguments = vec![&*model, "--top", "1"];
    arguments.extend(images.iter().map(String::as_str));
    let shown = succeeds("ssl-run", &arguments);
    let classes: Vec<&str> = shown.lines().filter_map(|line| line.split_once("%  ").map(|(_, class)| class)).collect();
    assert_eq!(classes, ["7"; 5], "{shown}");
    let probability = |image: &str| {
        let json: Value = serde_json::from_str(&succeeds("ssl-run", &[&model, "--json", image])).expect("JSON");
        json[0]["classes"][0]["probability"].as_f64().expect("a number")
    };
    let plain = probability(&digit(7));
    for image in images.iter().filter(|image| !image.ends_with(".jpg")) {
        assert_eq!(probability(image), plain, "{image} keeps every pixel");
    }
    std::fs::write(at("cut.bmp"), &bmp[..bmp.len() - 1]).expect("a writable folder");
    refuses("ssl-run", &[&model, &at("cut.bmp")], &["cut.bmp", "expected a sound BMP image", "it was cut off"]);
    refuses("ssl-inspect", &[&images[0]], &["seven.webp", "found an image"]);
}

/// Folders, patterns and standard input name images, and every format says the same of them.
#[test]
fn many_images_in_every_format() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    std::fs::create_dir(at("b")).expect("a writable folder");
    for (name, i) in [("a.png", 1), ("b/3.png", 3), ("b/4, \"x\".png", 4), ("b/6\t\n\\t.png", 6), ("c.png", 2)] {
        std::fs::copy(digit(i), at(name)).expect("a writable folder");
    }
    std::fs::write(at("b/5.png"), "no image").expect("a writable folder");
    std::fs::write(at("notes.txt"), "no image").expect("a writable folder");
    let model = model();
    let classes = |stdout: &str| -> Vec<String> {
        stdout.lines().filter_map(|line| line.split_once("%  ").map(|(_, class)| class.to_owned())).collect()
    };
    let ran = |arguments: &[&str]| {
        let Run { code, stdout, stderr } = run("ssl-run", &[&[&*model, "--top", "1"], arguments].concat());
        assert_eq!((code, stderr.contains("5.png")), (1, true), "{stderr}");
        stdout
    };
    let whole = text(folder.path());
    assert_eq!(classes(&ran(&[&whole])), ["1", "3", "4", "6", "2"]);
    assert_eq!(classes(&ran(&[&at("c.png"), &at("b/*"), &digit(9)])), ["2", "3", "4", "6", "9"]);

    let json: Value = serde_json::from_str(&ran(&[&whole, "--format", "json"])).expect("JSON");
    let lines = ran(&[&whole, "--format", "jsonl"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(json, Value::Array(lines));
    let table = ran(&[&whole, "--format", "csv"]);
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let rows: Vec<std::collections::BTreeMap<String, String>> = reader.deserialize().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 6, "{table}");
    assert!(rows[4]["image"].ends_with("b/6\t\n\\t.png"), "names are what they are: {table}");
    for (row, answer) in rows.iter().zip(json.as_array().expect("a list")) {
        let class = &answer["classes"][0];
        assert_eq!(row["image"], answer["image"].as_str().expect("a name"));
        assert_eq!(row["label"], class["label"].as_str().unwrap_or_default());
        assert_eq!(row["error"], answer["error"].as_str().unwrap_or_default());
        assert_eq!(row["probability"].parse::<f32>().ok(), class["probability"].as_f64().map(|p| p as f32));
    }

    // What is no classifier has outputs.
    let mut net = Net::new(&["N", "1", "h", "w"]);
    let y = net.node("GlobalAveragePool", &["x"], &[]);
    let sslm = converted(folder.path(), "mean", &net.finish(&[&y]));
    let table = succeeds("ssl-run", &[&sslm, &digit(1), "--format", "csv"]);
    assert!(table.contains(",GlobalAveragePool_0,float32,1x1x1x1,0."), "{table}");
}

#[test]
fn an_image_from_standard_input() {
    let model = model();
    let piped = |bytes: Vec<u8>| {
        let mut run = command("ssl-run");
        run.args([&*model, "-", "--top", "1"]).stdin(std::process::Stdio::piped());
        run.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = run.spawn().expect("the tool starts");
        child.stdin.take().expect("a pipe").write_all(&bytes).expect("the tool reads");
        let output = child.wait_with_output().expect("it ends");
        (output.status.code(), [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8")))
    };
    let (code, [stdout, stderr]) = piped(std::fs::read(digit(7)).expect("a shipped digit"));
    assert_eq!((code, stdout.starts_with("-\n"), stdout.trim_end().ends_with(" 7")), (Some(0), true, true), "{stdout}{stderr}");
    let (code, [stdout, stderr]) = piped(b"this is no image".to_vec());
    assert_eq!((code, &*stdout), (Some(2), ""));
    assert!(stderr.contains("standard input: expected a PNG, JPEG"), "{stderr}");
    // What does not begin as an image is not read to its end, which may never come.
    let mut run = command("ssl-run");
    let mut child = run.args([&*model, "-"]).stdin(std::process::Stdio::piped()).spawn().expect("the tool starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(b"this is no image").expect("the tool reads");
    let ended = (0..600).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        child.try_wait().expect("a process")
    });
    if ended.is_none() {
        child.kill().expect("it runs");
    }
    assert_eq!(ended.and_then(|status| status.code()), Some(2), "it waits for more");
    drop(pipe);
}

/// One image that cannot be read keeps none of the others from being run, and is named where they are.
#[test]
fn damaged_images_keep_no_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let png = std::fs::read(digit(1)).expect("a shipped digit");
    std::fs::write(at("cut.png"), &png[..png.len() - 1]).expect("a writable folder");
    let seven = bigger(&digit(7), 28, 28);
    let mut jpeg = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 90);
    encoder.encode(&seven, 28, 28, jpeg_encoder::ColorType::Luma).expect("memory takes everything");
    std::fs::write(at("whole.jpg"), &jpeg).expect("a writable folder");
    std::fs::write(at("cut.jpg"), &jpeg[..jpeg.len() - 3]).expect("a writable folder");
    let (model, cut, whole) = (model(), [at("cut.png"), at("cut.jpg")], at("whole.jpg"));
    let (two, three) = (digit(2), digit(3));

    let images = [&*two, &cut[0], &whole, &cut[1], &three];
    let Run { code, stdout, stderr } = run("ssl-run", &[&[&*model, "--top", "1"], &images[..]].concat());
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!((code, lines.len()), (1, 3), "{stderr}");
    assert!(cut.iter().zip(&lines).all(|(path, line)| line.contains(&**path) && line.contains("expected a sound ")), "{stderr}");
    assert_eq!(lines[2], "ssl-run: 2 of 5 images could not be run");
    let classes: Vec<&str> = stdout.lines().filter_map(|line| line.split_once("%  ").map(|(_, class)| class)).collect();
    assert_eq!((classes, stdout.lines().count()), (vec!["2", "7", "3"], 6), "{stdout}");

    let Run { code, stdout, .. } = run("ssl-run", &[&[&*model, "--json"], &images[..]].concat());
    let answers: Value = serde_json::from_str(&stdout).expect("JSON");
    let names: Vec<&str> = answers.as_array().expect("a list").iter().filter_map(|answer| answer["image"].as_str()).collect();
    assert_eq!((code, names), (1, images.to_vec()));
    for (answer, image) in answers.as_array().expect("a list").iter().zip(images) {
        let is_cut = cut.iter().any(|path| path == image);
        assert_eq!((answer["error"].is_string(), answer["classes"].is_array()), (is_cut, !is_cut), "{answer}");
    }
    let whole_list = succeeds("ssl-run", &[&model, "--json", &two, &three]);
    let pretty: Value = serde_json::from_str(&whole_list).expect("JSON");
    assert_eq!(pretty.as_array().map(Vec::len), Some(2));
    assert!(whole_list.starts_with("[\n  {\n    \"image\"") && whole_list.ends_with("\n  }\n]\n"), "{whole_list}");

    refuses("ssl-run", &[&model, &cut[1]], &["cut.jpg", "expected 16 MCUs, found 15: the data end early"]);
    refuses("ssl-run", &[&model, &cut[0], &cut[1]], &["cut.png", "cut.jpg", "none of the 2 images could be run"]);
    // What is wrong with the call is said once, and ends it.
    let message = refuses("ssl-run", &[&model, &two, &three, "--threads", "20000"], &["expected at most 1024"]);
    assert_eq!(message.lines().count(), 1, "{message}");

    let (onnx, out) = (text(lenet().join("lenet.onnx")), at("out.sslm"));
    for path in &cut {
        let images = tempfile::tempdir().expect("a temporary folder");
        std::fs::copy(&two, images.path().join("2.png")).expect("a writable folder");
        let name = Path::new(path).file_name().expect("a name");
        std::fs::copy(path, images.path().join(name)).expect("a writable folder");
        let verified = ["--verify", "0", "--verify-images", &text(images.path())];
        refuses("ssl-convert", &[&[&*onnx, "-o", &out], &verified[..]].concat(), &[&name.to_string_lossy(), "expected a sound "]);
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn wrong_use_is_explained() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let onnx = text(lenet().join("lenet.onnx"));
    std::fs::write(at("text.png"), "this is no image").expect("a writable folder");
    std::fs::write(at("text.npz"), "this is no archive").expect("a writable folder");
    let png = std::fs::read(digit(1)).expect("a shipped digit");
    std::fs::write(at("cut.png"), &png[..png.len() / 2]).expect("a writable folder");
    write_npy(&at("three.npy"), &[2, 3, 28, 28], &[0.0; 2 * 3 * 784]);
    write_npy(&at("flat.npy"), &[784], &[0.0; 784]);
    let double = [ssl_npy::header("<f8", &[1, 1, 28, 28]), vec![0; 784 * 8]].concat();
    std::fs::write(at("double.npy"), double).expect("a writable folder");
    write_npy(&at("none.npy"), &[0, 1, 28, 28], &[]);
    std::fs::create_dir(at("empty")).expect("a writable folder");
    let (y, missing) = (at("y.npy"), at("missing/y.npy"));

    let run_cases: &[(&[&str], &[&str])] = &[
        (&["missing.sslm", &digit(1)], &["missing.sslm", "cannot open"]),
        (&[&onnx, &digit(1)], &["lenet.onnx", "expected a .sslm model, found an ONNX model", "ssl-convert"]),
        (&[&digit(1), &model()], &["1.png", "found an image", "ssl-run MODEL.sslm IMAGE"]),
        (&[&at("flat.npy")], &["flat.npy", "found an array of NumPy", "--input"]),
        (&[&model(), &at("nothing.png")], &["nothing.png", "cannot open"]),
        (&[&model(), &at("text.png")], &["text.png", "expected a PNG, JPEG, WebP, GIF, BMP or TIFF image"]),
        (&[&model(), &at("cut.png")], &["cut.png", "expected a sound "]),
        (&[&model(), &at("empty")], &["empty", "expected images", "found none"]),
        (&[&model(), &at("*.bmp")], &["*.bmp", "expected at least one file that it matches, found none"]),
        (&[&model(), "-", "-"], &["standard input once"]),
        (&[&model(), &digit(1), "--bench", "1", "--format", "csv"], &["--format", "expected text or json"]),
        (&[&model(), &digit(1), "--json", "--format", "csv"], &["--json", "--format"]),
        (&[&model(), &digit(1), "--bench", "1", "--output", &y], &["--bench", "--output", "cannot be used with"]),
        (&[&model(), &digit(1), "--profile", "--output", &y], &["--profile", "--output", "cannot be used with"]),
        (&[&model(), &digit(1), "--max-macs", "0"], &["multiply-accumulates of a run: expected at most 0, found"]),
        (&[&model()], &["nothing to run"]),
        (&[&model(), &digit(1), "--threads", "0"], &["--threads: expected at least 1"]),
        (&[&model(), &digit(1), "--isa", "sse9"], &["--isa", "expected one of", "portable", "'sse9'"]),
        (&[&model(), &digit(1), "--top", "0"], &["--top: expected at least 1"]),
        (&[&model(), &digit(1), "--color", "rgb"], &["expected 1 channels", "found 3"]),
        (&[&model(), &digit(1), "--std", "0"], &["std", "expected no 0"]),
        (&[&model(), &digit(1), "--scale", "0"], &["scale", "other than 0", "found 0"]),
        (&[&model(), &digit(1), "--scale", "nan"], &["scale", "expected a finite number", "found NaN"]),
        (&[&model(), &digit(1), "--scale", "inf"], &["scale", "expected a finite number", "found inf"]),
        (&[&model(), &digit(1), "--labels", "missing.txt"], &["missing.txt"]),
        (&[&model(), "--input", &at("three.npy"), "--output", &y], &["[batch, 1, 28, 28]", "[2, 3, 28, 28]"]),
        (
            &[&model(), "--input", &at("flat.npy"), "--output", &y],
            &["shape of input 'image'", "[batch, 1, 28, 28]", "found [784]"],
        ),
        (
            &[&model(), "--input", &at("double.npy"), "--output", &y],
            &["--input 'image'", "expected elements of float32, found float64"],
        ),
        (&[&model(), "--input", &at("none.npy"), "--output", &y], &["none.npy", "batch of at least 1"]),
        (&[&model(), "--input", &at("absent.npy"), "--output", &y], &["absent.npy"]),
        (&[&model(), "--input", &at("three.npy")], &["--output"]),
        (&[&model(), "--input", &format!("pixels={}", at("three.npy")), "--output", &y], &["('image')", "none for 'image'"]),
        (&[&model(), "--input", &at("text.npz"), "--output", &y], &["text.npz", "expected a .npz archive"]),
        (&[&model(), &digit(1), &digit(2), "--output", &y], &["--output: expected one image, found 2"]),
        (&[&model(), "--input", &at("three.npy"), "--output", &missing], &["missing", "expected a folder"]),
    ];
    for (arguments, expected) in run_cases {
        refuses("ssl-run", arguments, expected);
    }
    let out = at("out.sslm");
    let rgb = r#"{"color":"rgb","resize":"stretch","scale":1,"mean":[0,0,0],"std":[1,1,1]}"#;
    let convert_cases: &[(&[&str], &[&str])] = &[
        (&["missing.onnx", "-o", &out], &["missing.onnx"]),
        (&[&digit(1), "-o", &out], &["1.png", "expected an ONNX model, found an image", "ssl-run"]),
        (&[&model(), "-o", &out], &["lenet.sslm", "found a .sslm model", "ssl-run runs it, ssl-inspect shows it"]),
        (&[&at("text.png"), "-o", &out], &["not an ONNX model"]),
        (&[&onnx, "-o", &at("missing/out.sslm")], &["expected a folder"]),
        (&[&onnx, "-o", &text(folder.path())], &["expected a file, found a folder"]),
        (&[&onnx, "-o", &out, "--preprocessing", "{}"], &["--preprocessing", "expected an object with color"]),
        (
            &[&onnx, "-o", &out, "--preprocessing", rgb],
            &["preprocessing: expected 1 channels (the model's input), found 3 (rgb)"],
        ),
        (&[&onnx, "-o", &out, "--labels", "missing.txt"], &["missing.txt"]),
        (&[&onnx, "-o", &out, "--dim", "batch=1", "--dim", "batch=2"], &["--dim: expected one extent of 'batch', found two"]),
    ];
    for (arguments, expected) in convert_cases {
        refuses("ssl-convert", arguments, expected);
    }
    refuses("ssl-inspect", &[&onnx], &["lenet.onnx", "found an ONNX model", "ssl-convert MODEL.onnx -o MODEL.sslm"]);
    assert!(!Path::new(&y).exists() && !Path::new(&out).exists(), "nothing is written by a failed call");
}

/// However a path is spelled, no output replaces an input or another output.
#[test]
fn outputs_are_files_of_their_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("inner")).expect("a writable folder");
    let at = |name: &str| text(folder.path().join(name));
    let (onnx, sslm, input) = (at("m.onnx"), at("m.sslm"), at("x.npy"));
    std::fs::copy(lenet().join("lenet.onnx"), &onnx).expect("a writable folder");
    std::fs::copy(model(), &sslm).expect("a writable folder");
    write_npy(&input, &[2, 1, 28, 28], &[0.0; 2 * 784]);
    let files = || [&onnx, &sslm, &input].map(|path| std::fs::read(path).expect("the file"));
    let before = files();
    let (new, again) = (at("new"), at("inner/../new"));
    let convert_cases: &[(&[&str], [&str; 2])] = &[
        (&["-o", &onnx], ["--output", "INPUT"]),
        (&["-o", &at("inner/../m.onnx")], ["--output", "INPUT"]),
        (&["-o", &new, "--report", &onnx], ["--report", "INPUT"]),
        (&["-o", &new, "--report", &again], ["--report", "--output"]),
        (&["-o", &new, "--export-onnx", &again], ["--export-onnx", "--output"]),
        (&["-o", &at("other"), "--report", &new, "--export-onnx", &again], ["--export-onnx", "--report"]),
        (&["-o", &sslm, "--labels", &sslm], ["--output", "--labels"]),
    ];
    for (arguments, names) in convert_cases {
        refuses("ssl-convert", &[&[&*onnx], *arguments].concat(), &[&names[..], &["expected another file"]].concat());
    }
    for (output, name) in [(&sslm, "MODEL"), (&input, "--input")] {
        let arguments = [&sslm, "--input", &input, "--output", output];
        refuses("ssl-run", &arguments, &["--output", name, "expected another file"]);
    }
    let tuning = format!("{sslm}.tuning.json");
    refuses("ssl-run", &[&sslm, "--tune", &tuning], &["--tune", "IMAGES", "expected another file"]);

    let mut net = Net::new(&["1", "1", "2", "2"]);
    let y = net.conv("x", [1, 1, 1, 1], &[2.0], &[1.0], &[]);
    let weights = &mut net.graph().initializer[0];
    weights.data_location = 1;
    weights.external_data = vec![StringStringEntryProto { key: "location".into(), value: "w.bin".into() }];
    let bytes = std::mem::take(&mut weights.raw_data);
    std::fs::write(at("w.bin"), &bytes).expect("a writable folder");
    std::fs::write(at("outside.onnx"), encode(&net.finish(&[&y]))).expect("a writable folder");
    let (outside, external) = (at("outside.onnx"), at("w.bin"));
    for (flag, outputs) in [("--output", &["-o", &*external][..]), ("--report", &["-o", &new, "--report", &external])] {
        refuses("ssl-convert", &[&[&*outside], outputs].concat(), &[flag, "external data", "expected another file"]);
    }
    assert_eq!(std::fs::read(at("w.bin")).expect("the file"), bytes);
    assert!(files() == before && ["new", "other"].iter().all(|name| !Path::new(&at(name)).exists()));
}

/// What cannot be had is refused before it is asked for.
#[test]
fn sizes_beyond_measure_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let (model, seven, y) = (model(), digit(7), at("y.npy"));
    let most = usize::MAX.to_string();
    for runs in ["0", "1000001", &most] {
        refuses("ssl-run", &[&model, "--bench", runs], &["--bench", "1..=1000000"]);
    }
    for batch in ["10000000000", &most] {
        for input in [&[][..], &[&*seven]] {
            refuses("ssl-run", &[&[&*model, "--bench", "3", "--batch", batch], input].concat(), &["image", "expected at most"]);
        }
    }
    for threads in ["1025", "20000", "4294967296", &most] {
        let message = refuses("ssl-run", &[&model, &seven, "--threads", threads], &["expected at most 1024", threads]);
        assert_eq!(message.matches(threads).count(), 1, "{message}");
    }

    // The header says more than is there.
    for (batch, name) in [(10_000_000_000, "long.npy"), (usize::MAX, "longer.npy")] {
        let longer = [ssl_npy::header("<f4", &[batch, 1, 28, 28]), vec![0; 3136]].concat();
        std::fs::write(at(name), longer).expect("a writable folder");
        refuses(
            "ssl-run",
            &[&model, "--input", &at(name), "--output", &y],
            &[name, ".npy array", &batch.to_string(), "3136 bytes"],
        );
    }

    let mut net = Net::new(&["batch", "1", "1000000", "1000000"]);
    let z = net.node("GlobalAveragePool", &["x"], &[]);
    let (onnx, sslm) = (at("huge.onnx"), at("huge.sslm"));
    std::fs::write(&onnx, encode(&net.finish(&[&z]))).expect("a writable folder");
    succeeds("ssl-convert", &[&onnx, "-o", &sslm, "--verify", "0"]);
    let expected = ["7.png", "1000000x1000000", "expected at most"];
    refuses("ssl-run", &[&sslm, &seven], &expected);
    std::fs::create_dir(at("images")).expect("a writable folder");
    std::fs::copy(&seven, at("images/7.png")).expect("a writable folder");
    refuses("ssl-convert", &[&onnx, "-o", &at("new"), "--verify", "0", "--verify-images", &at("images")], &expected);
}

#[test]
fn unsupported_operators_are_listed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut net = Net::new(&["1", "1", "4", "4"]);
    let a = net.node("Det", &["x"], &[]);
    let b = net.node("Col2Im", &[&a], &[]);
    let (onnx, out) = (text(folder.path().join("bad.onnx")), text(folder.path().join("out.sslm")));
    std::fs::write(&onnx, encode(&net.finish(&[&b]))).expect("a writable folder");
    refuses("ssl-convert", &[&onnx, "-o", &out], &["Det", "'Det_0'", "Col2Im", "'Col2Im_1'", "Supported operators: Abs,"]);
    assert!(!Path::new(&out).exists());
}

/// Names come from files, and a terminal obeys what it is shown.
#[test]
fn messages_are_safe_to_print() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let mut net = Net::new(&["1", "1", "4", "4"]);
    net.node("Det", &["x"], &[]);
    net.last_node().name = "\x1b]0;owned\x07\x1b[2J".to_owned();
    std::fs::write(at("bad.onnx"), encode(&net.finish(&["Det_0"]))).expect("a writable folder");
    let mut net = Net::new(&["batch", "1", "4", "a\x1b[2Jb"]);
    let y = net.node("Relu", &["x"], &[]);
    std::fs::write(at("m.onnx"), encode(&net.finish(&[&y]))).expect("a writable folder");
    succeeds("ssl-convert", &[&at("m.onnx"), "-o", &at("m.sslm")]);
    let messages = [
        refuses("ssl-convert", &[&at("bad.onnx"), "-o", &at("new")], &["\n  - operator Det", "\\u{1b}[2J"]),
        refuses("ssl-run", &[&at("m.sslm"), "--bench", "1"], &["a\\u{1b}[2Jb"]),
        refuses("ssl-inspect", &[&at("missing\x1b[2J")], &["missing\\u{1b}[2J"]),
    ];
    assert!(messages.iter().all(|message| !message.contains(['\x1b', '\x07'])), "{messages:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (onnx, sslm) = (text(lenet().join("lenet.onnx")), text(folder.path().join("out.sslm")));
    let (model, seven) = (model(), digit(7));
    let cases: &[(&str, &[&str])] = &[
        ("ssl-run", &[&model, &seven]),
        ("ssl-run", &[&model, &seven, "--bench", "1"]),
        ("ssl-inspect", &[&model]),
        ("ssl-convert", &[&onnx, "-o", &sslm]),
        ("ssl-run", &["--help"]),
        ("ssl-inspect", &["--version"]),
    ];
    for (tool, arguments) in cases {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let output = command(tool).args(*arguments).stdout(full).output().expect("the tool starts");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{tool} {arguments:?}: {message}");
        assert!(message.starts_with(&format!("{tool}: cannot write to standard output: No space")), "{message}");
    }
    assert!(!Path::new(&sslm).exists(), "nothing is written by a failed call");
}

/// As with `| head`: what was asked for is done all the same.
#[test]
fn a_reader_that_is_gone_is_no_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (onnx, sslm) = (text(lenet().join("lenet.onnx")), text(folder.path().join("out.sslm")));
    let cases: &[(&str, &[&str])] =
        &[("ssl-inspect", &[&model()]), ("ssl-convert", &[&onnx, "-o", &sslm]), ("ssl-run", &["--help"])];
    for (tool, arguments) in cases {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command(tool).args(*arguments).stdout(writer).output().expect("the tool starts");
        assert!(output.status.success() && output.stderr.is_empty(), "{tool} {arguments:?}: {output:?}");
    }
    assert!(Path::new(&sslm).exists());
}

#[test]
fn help_teaches() {
    for tool in TOOLS {
        let help = succeeds(tool, &["--help"]);
        assert!(help.contains("Example") && help.contains("Exit codes"), "{tool}: {help}");
        assert!(!help.contains('\x1b'), "{tool}: colour is for terminals");
    }
}

const TOOLS: [&str; 5] = ["ssl-run", "ssl-convert", "ssl-inspect", "ssl-report", "ssl-score"];

#[test]
fn completions_and_manual_pages_know_the_flags() {
    for (tool, flag) in TOOLS.into_iter().zip(["--check-finite", "--verify-images", "--version", "--baseline", "--part-rows"]) {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = succeeds(tool, &["--completions", shell]);
            let name = flag.trim_start_matches("--");
            assert!(script.contains(tool) && script.contains(name), "{tool} {shell}: {script}");
        }
        let page = succeeds(tool, &["--man"]);
        let escaped = [tool, flag].map(|text| text.replace('-', "\\-"));
        assert!(page.contains(".TH") && escaped.iter().all(|part| page.contains(part)), "{tool}: {page}");
        assert!(page.contains("Exit codes"), "{tool}: {page}");
        refuses(tool, &["--completions", "csh"], &["csh", "[possible values: bash,"]);
        refuses(tool, &["--man", "model.sslm"], &["--man", "cannot be used with"]);
    }
    let page = succeeds("ssl-report", &["bench", "--man"]);
    assert!(page.contains("ssl\\-report\\-bench") && page.contains("\\-\\-onnx"), "{page}");
}

/// As Python's console scripts use them: one process runs tools again and again, whatever came of earlier runs.
#[test]
fn tools_are_functions_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (onnx, sslm) = (text(lenet().join("lenet.onnx")), text(folder.path().join("out.sslm")));
    let convert = |arguments: &[&str]| ssl_convert::main(["ssl-convert"].iter().chain(arguments).map(OsString::from));
    for (arguments, code) in
        [(&[&*onnx][..], 2), (&[&onnx, "-o", &sslm], 0), (&["missing.onnx", "-o", &sslm], 2), (&[&onnx, "-o", &sslm], 0)]
    {
        assert_eq!(convert(arguments), code, "{arguments:?}");
    }
    assert_eq!(ssl_report::main(["ssl-report", "missing.csv", "-o", "out.html"].map(OsString::from)), 2);
    assert!(Path::new(&sslm).exists());
}
