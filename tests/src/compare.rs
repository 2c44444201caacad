//! Converting in memory, running, and comparing the compact model with the dense one.

use crate::onnx::encode;
use ssl_convert::emit::{self, Metadata};
use ssl_convert::graph::Graph as Network;
use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::{ModelProto, ValueInfoProto};
use sslm::{Device, Model, Options, Plan, Session, TensorView, Threads};
use sslm_format::{Dim, Graph, Op};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

/// The bytes of the `.sslm` file of a model.
///
/// # Panics
/// If it cannot be converted.
pub fn convert(model: &ModelProto, dense: bool) -> Vec<u8> {
    convert_by(model, |file| ssl_convert::network(file, dense))
}

/// Why a model cannot be converted.
///
/// # Panics
/// If it can.
pub fn refusal(model: &ModelProto) -> String {
    let mut file = OnnxFile::decode(encode(model), PathBuf::new()).expect("it decodes");
    match ssl_convert::network(&mut file, false) {
        Ok(_) => panic!("it was converted"),
        Err(e) => format!("{e:#}"),
    }
}

/// The bytes of a file that holds a model as it was imported: nothing is folded, reordered or removed.
///
/// # Panics
/// If it cannot be converted.
pub fn as_imported(model: &ModelProto) -> Vec<u8> {
    convert_by(model, |file| ssl_convert::import::import(file, &BTreeMap::new()))
}

fn convert_by<E: Display>(model: &ModelProto, network: impl Fn(&mut OnnxFile) -> Result<Network, E>) -> Vec<u8> {
    let mut file = OnnxFile::decode(encode(model), PathBuf::new()).expect("the test's model decodes");
    let graph = network(&mut file).unwrap_or_else(|e| panic!("the test's model converts: {e:#}"));
    let mut out = Cursor::new(Vec::new());
    emit::write(&graph, Metadata::default(), &mut out).unwrap_or_else(|e| panic!("the test's model is written: {e:#}"));
    out.into_inner()
}

/// The same model with every value of its graph as an output, behind its own ones: nothing of it can be fused.
pub fn all_values(model: &ModelProto) -> ModelProto {
    let mut model = model.clone();
    let graph = model.graph.as_mut().expect("the test's model has a graph");
    for value in graph.node.iter().flat_map(|n| &n.output) {
        if !graph.output.iter().any(|o| o.name == *value) {
            graph.output.push(ValueInfoProto { name: value.clone(), ..graph.output[0].clone() });
        }
    }
    model
}

/// A plan for an input of `shape`.
///
/// # Panics
/// If it cannot be prepared.
pub fn prepare(model: &Model, shape: &[usize], threads: Threads) -> Plan {
    prepare_with(model, shape, Options::new().threads(threads))
}

/// A plan for an input of `shape` with more options.
///
/// # Panics
/// If it cannot be prepared.
pub fn prepare_with(model: &Model, shape: &[usize], mut options: Options) -> Plan {
    for (dim, &extent) in model.inputs()[0].dims.iter().zip(shape) {
        if let Dim::Symbolic { name } = dim {
            options = options.dim(name, extent);
        }
    }
    model.prepare(&options).unwrap_or_else(|e| panic!("{shape:?}: {e}"))
}

/// A session for an input of `shape` on every device, with its name.
///
/// # Panics
/// If one cannot be prepared.
pub fn on_devices(model: &Model, shape: &[usize]) -> Vec<(String, Session)> {
    thread_local!(static DEVICES: Vec<Arc<dyn Device>> = sslm_devices::devices());
    let session = |device: &Arc<dyn Device>| {
        (format!("{device:?}"), prepare_with(model, shape, Options::new().device(Arc::clone(device))).session())
    };
    DEVICES.with(|devices| devices.iter().map(session).collect())
}

/// An output: name, shape and elements.
pub type Output = (String, Vec<usize>, Vec<f32>);

/// Every output of one run.
///
/// # Panics
/// If it fails.
pub fn run_session(session: &mut Session, shape: &[usize], x: &[f32]) -> Vec<Output> {
    let x = TensorView::new(shape, x).expect("the test's input fits");
    let outputs = session.run_all(&[x]).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
    outputs.iter().map(|(name, y)| (name.to_owned(), y.shape().to_vec(), y.data().to_vec())).collect()
}

/// Every output of a model that runs on one thread.
///
/// # Panics
/// If it cannot be prepared or run.
pub fn run_all(model: &Model, shape: &[usize], x: &[f32]) -> Vec<Output> {
    run_session(&mut prepare(model, shape, Threads::Single).session(), shape, x)
}

/// The shape and the elements of the first output.
///
/// # Panics
/// As [`run_all`].
pub fn run(model: &Model, shape: &[usize], x: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let (_, shape, y) = run_all(model, shape, x).swap_remove(0);
    (shape, y)
}

/// Random elements between -1 and 1.
pub fn input(shape: &[usize]) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(shape.iter().sum::<usize>() as u64);
    (0..shape.iter().product()).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// Checks that the compact and the dense model equal the imported one that fuses nothing, to 1e-5 of the output's largest magnitude
/// for every input shape, on the CPU and on every device, and yields the compact one's graph.
///
/// # Panics
/// If one does not, naming the shape and the difference.
pub fn compact_equals_dense(model: &ModelProto, shapes: &[&[usize]]) -> Graph {
    let file = convert(model, false);
    let open = |file: &[u8]| Model::from_bytes(file).expect("what was written is valid");
    let (compact, dense, reference) = (open(&file), open(&convert(model, true)), open(&as_imported(&all_values(model))));
    for shape in shapes {
        let x = input(shape);
        let expected = run(&reference, shape, &x);
        let largest = expected.1.iter().fold(1e-30f32, |m, x| m.max(x.abs()));
        for (form, model) in [("compact", &compact), ("dense", &dense)] {
            let cpu = ("CPU".to_owned(), prepare(model, shape, Threads::Single).session());
            for (place, mut session) in on_devices(model, shape).into_iter().chain([cpu]) {
                // Devices launch step by step, then record that, then replay it.
                for run in 0..3 {
                    let (_, found_shape, found) = run_session(&mut session, shape, &x).swap_remove(0);
                    assert_eq!(expected.0, found_shape, "{form} on {place}, {shape:?}: shape of the output");
                    let error = expected.1.iter().zip(&found).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
                    assert!(error <= 1e-5, "{form} on {place}, {shape:?}, run {run}: relative error {error:e}");
                }
            }
        }
    }
    graph_of(&file)
}

/// The graph of a file.
///
/// # Panics
/// If the file breaks a rule of the format.
pub fn graph_of(file: &[u8]) -> Graph {
    sslm_format::validate(file).expect("a valid file").model.graph
}

/// How many channels of the output of node `name` are stored; `None` if all of them.
///
/// # Panics
/// If there is no such node.
pub fn kept_channels(graph: &Graph, name: &str) -> Option<Vec<u32>> {
    let node = graph.nodes.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}"));
    graph.values[node.output.index()].compaction.as_ref().map(|c| c.kept.clone())
}

/// How many columns each group of convolution `name` keeps.
///
/// # Panics
/// If there is no such convolution.
pub fn kept_columns(graph: &Graph, name: &str) -> Vec<usize> {
    let node = graph.nodes.iter().find(|n| n.name == name);
    match node.map(|n| &n.op) {
        Some(Op::Conv(conv)) => conv.columns.iter().map(|c| c.count(conv.columns_per_group())).collect(),
        other => panic!("no convolution {name}: {other:?}"),
    }
}
