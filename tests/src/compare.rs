//! Converting in memory, running, and comparing the compact model with the dense one.

use crate::onnx::encode;
use ssl_convert::emit::{self, Metadata};
use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::ModelProto;
use sslm::{Model, Options, TensorView, Threads};
use sslm_format::Dim;
use std::io::Cursor;
use std::path::PathBuf;

/// The bytes of the `.sslm` file of a model.
///
/// # Panics
/// If it cannot be converted.
pub fn convert(model: &ModelProto, dense: bool) -> Vec<u8> {
    let mut file = OnnxFile::decode(encode(model), PathBuf::new()).expect("the test's model decodes");
    let graph = ssl_convert::network(&mut file, dense).unwrap_or_else(|e| panic!("the test's model converts: {e:#}"));
    let mut out = Cursor::new(Vec::new());
    emit::write(&graph, Metadata::default(), &mut out).unwrap_or_else(|e| panic!("the test's model is written: {e:#}"));
    out.into_inner()
}

/// Runs a model on one thread: the shape and the numbers of its first output.
///
/// # Panics
/// If it cannot be prepared or run.
pub fn run(model: &Model, shape: &[usize], x: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let mut options = Options::new().threads(Threads::Single);
    for (dim, &extent) in model.inputs()[0].dims.iter().zip(shape) {
        if let Dim::Symbolic { name } = dim {
            options = options.dim(name, extent);
        }
    }
    let mut session = model.prepare(&options).unwrap_or_else(|e| panic!("{shape:?}: {e}")).session();
    let y = session.run(TensorView::new(shape, x).expect("the test's input fits")).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
    (y.shape().to_vec(), y.data().to_vec())
}

/// Random numbers between -1 and 1.
pub fn input(shape: &[usize]) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(shape.iter().sum::<usize>() as u64);
    (0..shape.iter().product()).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// Checks that the compact model equals the dense one to 1e-5 of the output's largest magnitude for every input shape, and
/// yields the compact one.
///
/// # Panics
/// If it does not, naming the shape and the difference.
pub fn compact_equals_dense(model: &ModelProto, shapes: &[&[usize]]) -> Model {
    let open = |dense| Model::from_bytes(&convert(model, dense)).expect("what was written is valid");
    let (compact, dense) = (open(false), open(true));
    for shape in shapes {
        let x = input(shape);
        let (expected, found) = (run(&dense, shape, &x), run(&compact, shape, &x));
        assert_eq!(expected.0, found.0, "{shape:?}: shape of the output");
        let largest = expected.1.iter().fold(1e-30f32, |m, x| m.max(x.abs()));
        let error = expected.1.iter().zip(&found.1).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
        assert!(error <= 1e-5, "{shape:?}: relative error {error:e}");
    }
    compact
}

/// How many channels of the output of node `name` are stored; `None` if all of them.
///
/// # Panics
/// If there is no such node.
pub fn kept_channels(model: &Model, name: &str) -> Option<Vec<u32>> {
    let graph = model.graph();
    let node = graph.nodes.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}"));
    graph.values[node.output.index()].compaction.as_ref().map(|c| c.kept.clone())
}

/// How many columns each group of convolution `name` keeps.
///
/// # Panics
/// If there is no such convolution.
pub fn kept_columns(model: &Model, name: &str) -> Vec<usize> {
    let node = model.graph().nodes.iter().find(|n| n.name == name);
    match node.map(|n| &n.op) {
        Some(sslm_format::Op::Conv(conv)) => conv.columns.iter().map(|c| c.count(conv.columns_per_group())).collect(),
        other => panic!("no convolution {name}: {other:?}"),
    }
}
