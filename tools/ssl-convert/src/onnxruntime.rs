//! What onnxruntime computes, by Python: arithmetic that shares nothing with the converter, not even how it reads a model. The program
//! is `onnxruntime.py`; arrays come and go in files of a temporary folder.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use ssl_npy::Array;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = include_str!("onnxruntime.py");

/// Exit codes of the program: a module is missing; onnxruntime refuses.
const NO_MODULE: i32 = 3;
const REFUSED: i32 = 4;

/// What onnxruntime answers.
#[derive(Debug)]
pub struct Answers {
    /// Its version.
    pub version: String,
    /// For each set of inputs all outputs with their names.
    pub outputs: Vec<Vec<(String, Array)>>,
}

#[derive(Deserialize)]
struct Answer {
    version: String,
    outputs: Vec<String>,
}

/// Has the interpreter `python` run the ONNX file `model` on some sets of inputs, which have these names.
///
/// # Errors
/// If there is no such interpreter or it has no onnxruntime, or that cannot run the model.
pub fn run(python: &str, model: &Path, names: &[String], inputs: &[Vec<Array>]) -> Result<Answers> {
    let folder = tempfile::tempdir().context("a temporary folder cannot be made")?;
    for (i, inputs) in inputs.iter().enumerate() {
        let file = File::create(folder.path().join(format!("inputs-{i}.npz")))?;
        let keys: Vec<String> = (0..inputs.len()).map(|key| key.to_string()).collect();
        ssl_npy::write_all(file, keys.iter().map(String::as_str).zip(inputs))?;
    }
    let model = std::path::absolute(model)?;
    let model = model.to_str().with_context(|| format!("{}: expected a path in UTF-8", model.display()))?;
    let request = json!({ "model": model, "inputs": names, "count": inputs.len() });
    std::fs::write(folder.path().join("request.json"), request.to_string())?;
    let output = start(python, folder.path())?;
    // What the interpreter itself has to say ends with what is wrong.
    let said = String::from_utf8_lossy(&output.stderr);
    let said = ssl_cli::printable(said.trim().lines().next_back().unwrap_or("it says nothing"));
    match output.status.code() {
        Some(0) => {}
        Some(NO_MODULE) => {
            bail!("'{python}': expected Python with numpy and onnxruntime (pip install onnxruntime), found: {said}")
        }
        Some(REFUSED) => bail!("onnxruntime cannot run the model: {said}"),
        _ => bail!("'{python}': expected Python 3, found {}: {said}", output.status),
    }
    read(folder.path(), inputs.len()).with_context(|| format!("'{python}': expected outputs of onnxruntime"))
}

/// What the interpreter says that runs the program on what is in `folder`.
fn start(python: &str, folder: &Path) -> Result<Output> {
    let mut command = Command::new(python);
    command.arg("-").arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => anyhow::anyhow!("expected Python with onnxruntime as '{python}', found no such program"),
        _ => anyhow::anyhow!("'{python}' cannot be started: {e}"),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why.
        if let Err(e) = stdin.write_all(PROGRAM.as_bytes())
            && e.kind() != ErrorKind::BrokenPipe
        {
            return Err(e).with_context(|| format!("'{python}' does not take its program"));
        }
    }
    child.wait_with_output().with_context(|| format!("'{python}' cannot be waited for"))
}

fn read(folder: &Path, count: usize) -> Result<Answers> {
    let Answer { version, outputs: names } = serde_json::from_reader(BufReader::new(File::open(folder.join("answer.json"))?))?;
    let read = |i: usize| {
        let mut arrays = ssl_npy::read_all(&folder.join(format!("outputs-{i}.npz")), u64::MAX)?;
        let mut named = |(key, name): (usize, &String)| {
            let at = arrays.iter().position(|(other, _)| *other == key.to_string());
            Ok((name.clone(), arrays.swap_remove(at.with_context(|| format!("output '{name}' is missing"))?).1))
        };
        names.iter().enumerate().map(&mut named).collect::<Result<Vec<_>>>()
    };
    let outputs: Vec<_> = (0..count).map(read).collect::<Result<_>>()?;
    ensure!(!version.is_empty(), "its version is missing");
    Ok(Answers { version, outputs })
}
