//! Files of every version of the format, as they were written by the programs of their time, and what they answer. They must load for ever:
//! what is in `tests/frozen` is never made anew. `tests/scripts/frozen.py` makes files of the present version.

use sslm::{Model, Options, TensorView};
use sslm_format::Op;
use sslm_tests::tools::root;
use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Relative to the largest magnitude of an output: other sums than those of onnxruntime, whose outputs are stored.
const TOLERANCE: f32 = 1e-4;

/// All files, by version and name.
fn files() -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
    };
    let versions = entries(&root().join("tests/frozen")).into_iter().filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = versions.flat_map(|version| entries(&version)).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sslm"));
    files.sort();
    files
}

/// What is read of a file is all that it says: written again, it is the same file, bit for bit.
#[test]
fn they_are_read_to_the_last_bit() {
    for path in files() {
        let file = std::fs::read(&path).expect("a file");
        let name = path.display();
        let loaded = sslm_format::validate(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        loaded.verify_weights(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        let weights = sslm_tests::file::section(&file, "WGTS").offset;
        let blobs = &loaded.model.graph.blobs;
        let fill = |i: usize, sink: &mut sslm_format::Sink<'_>| {
            let start = (weights + blobs[i].offset) as usize;
            let bytes = &file[start..start + 4 * blobs[i].len as usize];
            sink(&bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>())
        };
        let mut again = Cursor::new(Vec::new());
        sslm_format::write(&mut again, &loaded.model, fill).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(again.into_inner() == file, "{name}: what is read of it, written again, is another file");
    }
}

#[test]
fn they_answer_as_ever() {
    for path in files() {
        let name = path.display();
        let model = Model::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let arrays = ssl_npy::read_all(&path.with_extension("npz"), u64::MAX).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        let array = |of: &str| &arrays.iter().find(|(name, _)| name == of).unwrap_or_else(|| panic!("{name}: an array '{of}'")).1;
        let inputs: Vec<_> = model.inputs().iter().map(|input| array(&input.name)).collect();
        let shapes: Vec<_> = inputs.iter().map(|input| input.shape.clone()).collect();
        let views: Vec<_> = inputs.iter().map(|x| TensorView::new(&x.shape, &x.elements).expect("an array")).collect();
        let plan = Options::new().shapes(&model, &shapes).and_then(|options| model.prepare(&options));
        let mut session = plan.unwrap_or_else(|e| panic!("{name}: {e}")).session();
        let outputs = session.run_all(&views).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (output, found) in outputs.iter() {
            let expected = array(output);
            assert_eq!(expected.shape, found.shape(), "{name}: '{output}'");
            let largest = expected.elements.iter().fold(1e-30f32, |most, x| most.max(x.abs()));
            let difference = expected.elements.iter().zip(found.data()).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(difference <= TOLERANCE * largest, "{name}: '{output}' differs by {difference:e} of {largest:e}");
        }
    }
}

/// Whoever adds an operator adds a file that has it.
#[test]
fn every_operator_is_frozen() {
    let of = |path: &PathBuf| {
        let file = std::fs::read(path).expect("a file");
        let nodes = sslm_format::validate(&file).expect("a valid file").model.graph.nodes;
        nodes.iter().map(|node| node.op.code()).collect::<Vec<u8>>()
    };
    let frozen: BTreeSet<u8> = files().iter().flat_map(of).collect();
    let missing: Vec<&u8> = <Op>::CODES.iter().filter(|code| !frozen.contains(code)).collect();
    assert!(
        missing.is_empty(),
        "codes of operators that no file in tests/frozen has: {missing:?} (see docs/adding-an-operator.md)"
    );
}
