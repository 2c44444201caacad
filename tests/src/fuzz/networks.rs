//! What computes: a stranger's file from its bytes to a run, and compaction.

use super::models::{self, Outputs};
use super::reached::Stage;
use super::sections::Sections;
use crate::compare::{all_values, as_imported, convert, prepare};
use crate::random::{Random, case_of};
use prost::Message;
use ssl_convert::emit::{self, Metadata};
use ssl_convert::export::export;
use ssl_convert::graph::Graph;
use ssl_convert::import::import;
use ssl_convert::onnx::load::OnnxFile;
use sslm::{Model, Threads};
use sslm_format::{ElementType, ValueId};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Cursor;
use std::path::PathBuf;

/// A `.sslm` file: `validate` is the one door, and what it lets in is prepared or refused, and runs.
///
/// # Panics
/// If something does, or two runs differ.
pub fn sslm(data: &[u8]) {
    static VALID: Stage = Stage::new("valid");
    static RUN: Stage = Stage::new("run");
    let sections = Sections::decode(data);
    let file = sections.to_file();
    let Ok(loaded) = sslm_format::validate(&file) else { return };
    VALID.reach();
    let Some(options) = models::options(&loaded.model.graph, loaded.weight_bytes() / 4, sections.setup) else { return };
    let model = Model::from_bytes(&file).expect("it was valid a moment ago");
    // What ssl-inspect shows.
    model.layers().for_each(|layer| drop(format!("{layer:?}")));
    let Some(plan) = models::plan(&model, &options) else { return };
    plan.steps().for_each(|step| drop(format!("{step:?}")));
    let inputs = models::inputs(&plan, 0.0);
    let bits = |outputs: Outputs| -> Vec<u32> { outputs.iter().flat_map(|(_, y)| y).map(|x| x.to_bits()).collect() };
    let (first, second) = (models::run(&plan, &inputs), models::run(&plan, &inputs));
    assert!(bits(first) == bits(second), "two runs yield the same bits");
    RUN.reach();
}

/// An ONNX file, from import over compaction to a run: the compact network answers what the imported one does.
///
/// # Panics
/// If something does, or the networks differ.
pub fn onnx(data: &[u8]) {
    static COMPACTED: Stage = Stage::new("compacted");
    static COMPARED: Stage = Stage::new("compared");
    let Ok(mut file) = OnnxFile::decode(data.to_vec().into(), PathBuf::from("/nowhere")) else { return };
    let Ok(mut original) = import(&mut file, &BTreeMap::new()) else { return };
    let Some(options) = models::options(&original.graph, data.len() / 4, [data.len() as u8, 2]) else { return };
    // Every value is an output, so that nothing is fused and all of them are seen to be finite. Its own outputs come first.
    let outputs = original.graph.outputs.len();
    original.graph.outputs.extend((0..original.graph.values.len() as u32).map(ValueId));
    original.types.outputs.resize(original.graph.outputs.len(), ElementType::F32);
    original.output_names.extend((0..original.graph.values.len()).map(|i| format!("value {i}")));
    let network = |file: &mut OnnxFile, dense| ssl_convert::network(file, dense).expect("it was imported a moment ago");
    let (dense, compact) = (network(&mut file, true), network(&mut file, false));
    COMPACTED.reach();
    // What cannot be said in ONNX is refused.
    let _ = export(&dense, &compact, &[]).map(|exported| exported.model.encode_to_vec());
    let Ok(reference) = model(&original) else { return };
    let compact = model(&compact).expect("the network as it was imported can be written, so the compact one can");
    let Some(reference) = models::plan(&reference, &options) else { return };
    let compact =
        models::plan(&compact, &options).expect("the network as it was imported can be prepared, so the compact one can");
    models::same("compact", &reference, &compact, outputs);
    COMPARED.reach();
}

fn model(graph: &Graph) -> Result<Model, Box<dyn Error>> {
    let mut out = Cursor::new(Vec::new());
    emit::write(graph, Metadata::default(), &mut out)?;
    Ok(Model::from_bytes(&out.into_inner()).expect("what was written is valid"))
}

/// Random masked graphs, with choices that the fuzzer makes: the compact and the dense file answer what the imported network does.
///
/// # Panics
/// If they do not.
pub fn graph(data: &[u8]) {
    static COMPARED: Stage = Stage::new("compared");
    let case = case_of(Random::of_bytes(data));
    let open = |file: Vec<u8>| Model::from_bytes(&file).expect("what was written is valid");
    let reference = open(as_imported(&all_values(&case.model)));
    let forms = [("compact", open(convert(&case.model, false))), ("dense", open(convert(&case.model, true)))];
    let shape = &case.shapes[data.len() % case.shapes.len()];
    let plan = |model: &Model| prepare(model, shape, Threads::Single);
    for (form, model) in &forms {
        models::same(form, &plan(&reference), &plan(model), model.output_names().len());
    }
    COMPARED.reach();
}
