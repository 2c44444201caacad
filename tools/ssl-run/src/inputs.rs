//! What --input names: an array for each input of the model.

use crate::Arguments;
use anyhow::{Context, Result, bail, ensure};
use ssl_npy::Array;
use sslm::{Model, TensorInfo};
use std::path::Path;

/// The file that an --input names: behind `NAME=`, unless there is a file of that whole name.
pub(crate) fn path_of(text: &str) -> &Path {
    split(text).1
}

/// The name and the file of an --input.
fn split(text: &str) -> (Option<&str>, &Path) {
    match text.split_once('=') {
        Some((name, path)) if !Path::new(text).exists() => (Some(name), Path::new(path)),
        _ => (None, Path::new(text)),
    }
}

/// Whether a file is an archive of arrays, by its name.
pub(crate) fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"))
}

/// An array for each input of the model, in its order.
pub(crate) fn arrays(arguments: &Arguments, model: &Model) -> Result<Vec<Array>> {
    let inputs = model.inputs();
    let mut given: Vec<(String, Array)> = Vec::new();
    for text in &arguments.input {
        match split(text) {
            (Some(name), path) => given.push((name.to_owned(), read(path)?)),
            (None, path) if is_archive(path) => {
                let packed = path.metadata().map_or(0, |metadata| metadata.len());
                let arrays = ssl_npy::read_all(path, arguments.limits.unpacked(packed));
                given.extend(arrays.with_context(|| format!("{}: expected a .npz archive of arrays", path.display()))?);
            }
            (None, path) => {
                let [input] = &inputs[..] else {
                    bail!("--input {text}: expected NAME=FILE for each input ({}), or one .npz file", names(&inputs))
                };
                given.push((input.name.clone(), read(path)?));
            }
        }
    }
    let mut arrays = Vec::new();
    for input in &inputs {
        let at = given.iter().position(|(name, _)| *name == input.name);
        let at = at.with_context(|| {
            format!("--input: expected an array for each input ({}), found none for '{}'", names(&inputs), input.name)
        })?;
        let (name, array) = given.swap_remove(at);
        check(&array, input).with_context(|| format!("--input '{name}'"))?;
        arrays.push(array);
    }
    if let Some((name, _)) = given.first() {
        bail!("--input: expected one array for each input ({}), found a further one: '{name}'", names(&inputs));
    }
    Ok(arrays)
}

fn names(inputs: &[TensorInfo]) -> String {
    inputs.iter().map(|input| format!("'{}'", input.name)).collect::<Vec<_>>().join(", ")
}

fn read(path: &Path) -> Result<Array> {
    let x = ssl_npy::read(path).with_context(|| format!("{}: expected a .npy array of numbers", path.display()))?;
    ensure!(!x.elements.is_empty(), "{}: expected a batch of at least 1, found shape {:?}", path.display(), x.shape);
    Ok(x)
}

/// Whether an array is what an input takes, but for its shape.
fn check(array: &Array, input: &TensorInfo) -> Result<()> {
    let (expected, found) = (input.element_type, array.element_type);
    ensure!(!array.elements.is_empty(), "expected a batch of at least 1, found shape {:?}", array.shape);
    ensure!(expected == found, "expected elements of {expected}, found {found}");
    Ok(())
}
