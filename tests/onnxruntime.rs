//! `ssl-convert --verify-onnxruntime`: the plumbing with programs that stand in for Python, and onnxruntime itself where it is there.

use serde_json::Value as Json;
use ssl_npy::Array;
use sslm::{Model, Options, TensorView};
use sslm_tests::compare::convert;
use sslm_tests::onnx::{Net, Value::*, encode};
use sslm_tests::tools::{Run, command, lenet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How many random inputs are compared.
const INPUTS: usize = 2;

/// A folder with a network, and with what answers for Python.
struct Stand {
    folder: TempDir,
    dense: Model,
}

impl Stand {
    fn new() -> Self {
        let mut net = Net::new(&["batch", "3", "6", "6"]);
        let (weights, bias) = (net.random(4 * 3 * 9), net.random(4));
        let y = net.conv("x", [4, 3, 3, 3], &weights, &bias, &[("pads", Ints(&[1; 4]))]);
        let z = net.node("Relu", &[&y], &[]);
        let model = net.finish(&[&y, &z]);
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("net.onnx"), encode(&model)).expect("it can be written");
        Stand { folder, dense: Model::from_bytes(&convert(&model, true)).expect("what was written is valid") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program `python3` that runs this script of a shell.
    fn python(&self, script: &str) {
        let path = self.path("python3");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be made a program");
    }

    /// Converts with what answers for Python as the first of all programs.
    fn convert(&self, more: &[&str]) -> Run {
        let before = std::env::var_os("PATH").unwrap_or_default();
        let path: OsString =
            std::env::join_paths([self.folder.path().to_path_buf()].into_iter().chain(std::env::split_paths(&before)))
                .expect("folders without a separator");
        let mut command = command("ssl-convert");
        command.env("PATH", path).arg(self.path("net.onnx")).arg("-o").arg(self.path("net.sslm")).args(more);
        let output = command.output().expect("the tool starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        Run { code: output.status.code().expect("an exit code"), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn verify(&self) -> Run {
        self.convert(&["--verify", &INPUTS.to_string(), "--verify-onnxruntime"])
    }

    /// Must fail with exit code 2 and one message, and leave no file behind.
    fn refuses(&self, more: &[&str], expected: &str) {
        let Run { code, stdout, stderr } = self.convert(more);
        assert!(code == 2 && stdout.is_empty() && stderr.contains(expected), "{code}, {stdout}{stderr}");
        assert!(!self.path("net.sslm").exists());
    }

    /// Has `python3` answer with what `change` makes of the right outputs, under these names.
    fn answers(&self, names: &str, change: impl Fn(&mut Vec<f32>)) {
        // What it is given, and the program that it is to run.
        self.python(&format!("cat >{0}/program; cp -r \"$2\" {0}/given; exit 3", self.folder.path().display()));
        self.refuses(&["--verify", "2", "--verify-onnxruntime"], "expected Python with numpy and onnxruntime");
        let program = fs::read_to_string(self.path("program")).expect("the program");
        assert!(program.contains("onnxruntime.InferenceSession"), "{program}");
        let given = self.path("given");
        let request: Json = serde_json::from_slice(&fs::read(given.join("request.json")).expect("a request")).expect("JSON");
        assert_eq!(request["inputs"], serde_json::json!(["x"]));
        assert_eq!(request["count"], serde_json::json!(INPUTS));
        assert_eq!(request["model"].as_str().map(Path::new), Some(&*self.path("net.onnx")));
        let answer = format!(r#"{{"version": "9.8.7", "outputs": {names}}}"#);
        fs::write(given.join("answer.json"), answer).expect("it can be written");
        for i in 0..INPUTS {
            let inputs = ssl_npy::read_all(&given.join(format!("inputs-{i}.npz")), u64::MAX).expect("inputs");
            let [(key, x)] = &inputs[..] else { panic!("{} inputs", inputs.len()) };
            assert_eq!(key, "0");
            let options = Options::new().shapes(&self.dense, &[&x.shape]).expect("they fit");
            let mut session = self.dense.prepare(&options).expect("it can be prepared").session();
            let outputs = session.run_all(&[TensorView::new(&x.shape, &x.elements).expect("they fit")]).expect("it runs");
            // In another order than the model's.
            let arrays: Vec<Array> = [1, 0]
                .map(|output| {
                    let mut elements = outputs.get(output).expect("it has it").data().to_vec();
                    change(&mut elements);
                    Array::of_floats(outputs.get(output).expect("it has it").shape().to_vec(), elements)
                })
                .into();
            let file = fs::File::create(given.join(format!("outputs-{i}.npz"))).expect("it can be written");
            ssl_npy::write_all(file, ["0", "1"].into_iter().zip(&arrays)).expect("it can be written");
        }
        self.python(&format!("cat >/dev/null; cp {}/* \"$2\"", given.display()));
    }
}

#[test]
fn outputs_are_compared_by_name() {
    let stand = Stand::new();
    stand.answers(r#"["Relu_1", "Conv_0"]"#, |_| {});
    let report = stand.path("report.json");
    let Run { code, stdout, stderr } =
        stand.convert(&["--verify", "2", "--verify-onnxruntime", "--report", report.to_str().expect("a path in UTF-8")]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("compared with onnxruntime 9.8.7 on 2 random inputs ([1, 3, 6, 6]): largest difference"), "{stdout}");
    let report: Json = serde_json::from_slice(&fs::read(report).expect("the report")).expect("JSON");
    let found = &report["verification"]["onnxruntime"];
    assert_eq!((&found["version"], &found["inputs"]), (&"9.8.7".into(), &2.into()), "{report:#}");
    assert!(found["max_relative"].as_f64().is_some_and(|x| x < 1e-5), "{report:#}");
}

#[test]
fn what_the_import_got_wrong_shows() {
    let stand = Stand::new();
    stand.answers(r#"["Relu_1", "Conv_0"]"#, |elements| elements[7] += 0.5);
    let Run { code, stdout, stderr } = stand.verify();
    assert!(code == 1 && stderr.contains("the outputs differ by"), "{code}, {stdout}{stderr}");
    assert!(!stand.path("net.sslm").exists());
    stand.answers(r#"["Relu_1", "Conv_0"]"#, |elements| elements[7] = f32::NAN);
    assert_eq!(stand.verify().code, 1, "NaN is no number");
}

#[test]
fn other_answers_are_refused() {
    let stand = Stand::new();
    let flags = &["--verify", "2", "--verify-onnxruntime"];
    stand.answers(r#"["Relu_1", "Conv_7"]"#, |_| {});
    stand.refuses(flags, "expected the outputs 'Conv_0', 'Relu_1', found 'Conv_7', 'Relu_1' in onnxruntime");
    stand.answers(r#"["Conv_0", "Relu_1", "Relu_2"]"#, |_| {});
    stand.refuses(flags, "output 'Relu_2' is missing");
    stand.python("cat >/dev/null");
    stand.refuses(flags, "expected outputs of onnxruntime");
    stand.python("cat >/dev/null; echo No module named onnxruntime >&2; exit 3");
    stand.refuses(flags, "(pip install onnxruntime), found: No module named onnxruntime");
    stand.python("cat >/dev/null; echo it has an operator that nobody knows >&2; exit 4");
    stand.refuses(flags, "onnxruntime cannot run the model: it has an operator that nobody knows");
    stand.python("exit 1");
    stand.refuses(flags, "expected Python 3, found exit status: 1");
    stand.refuses(&["--verify-onnxruntime=/no/such/python"], "as '/no/such/python', found no such program");
    stand.refuses(&["--verify", "0", "--verify-onnxruntime"], "expected --verify of at least 1 random input, found 0");
    stand.refuses(&["--verify-onnxruntime", "--outputs", "Conv_0"], "cannot be used with");
}

#[test]
fn onnxruntime_itself() {
    if !sslm_devices::has_onnxruntime() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    // What lies in the current folder is no module.
    fs::write(folder.path().join("numpy.py"), "raise SystemExit('not this one')").expect("it can be written");
    let output = command("ssl-convert")
        .current_dir(folder.path())
        .arg(lenet().join("lenet.onnx"))
        .args(["-o", "lenet.sslm", "--verify-onnxruntime"])
        .output()
        .expect("the tool starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("compared with onnxruntime "), "{said}");

    // One that onnxruntime refuses, and sslm does not: of the version before the operator was there.
    let mut net = Net::new(&["1", "4"]);
    let y = net.node("Relu", &["x"], &[]);
    let mut model = net.finish(&[&y]);
    model.ir_version = 999;
    fs::write(folder.path().join("new.onnx"), encode(&model)).expect("it can be written");
    let output = command("ssl-convert")
        .current_dir(folder.path())
        .args(["new.onnx", "-o", "new.sslm", "--verify-onnxruntime"])
        .output()
        .expect("the tool starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("onnxruntime cannot run the model: "), "{said}");
}
