//! Operators on stored tensors, computed at conversion by running them: whatever the runtime can compute can be folded, so weights that
//! a graph computes from other ones (standardised, normalised, clipped) are weights like others.

use crate::emit::{self, Metadata};
use crate::graph::{Graph, drop_unused_values};
use crate::import::binding::Binding;
use crate::import::builder::{Builder, Mark};
use crate::onnx::tensor::{Data, Tensor};
use anyhow::{Context, Result};
use sslm::{Isa, Model, Options, TensorView, Threads};
use sslm_format::{Dim, Extent, Input, Value, ValueId};
use std::io::Cursor;

/// Replaces those of `outputs` that nodes yield, added since `mark` and depending on nothing before it, by the tensors that they are.
/// Integers are computed as float32, which has those up to 2^24.
///
/// # Errors
/// If they cannot be computed.
pub(super) fn evaluate(builder: &mut Builder, mark: Mark, outputs: Vec<Binding>) -> Result<Vec<Binding>> {
    let value = |output: &Binding| match output {
        Binding::Value(v) | Binding::Integers(v) => Some(*v),
        Binding::Tensor(_) | Binding::Missing => None,
    };
    let values: Vec<ValueId> = outputs.iter().filter_map(value).collect();
    if values.is_empty() {
        return Ok(outputs);
    }
    let Some(graph) = builder.take_back(mark, values) else { return Ok(outputs) };
    let mut found = run(graph).context("weights that the model computes")?.into_iter();
    let replaced = |output: Binding| -> Result<Binding> {
        Ok(match (value(&output), &output) {
            (None, _) => output,
            (Some(_), Binding::Integers(_)) => {
                let (dims, floats) = found.next().context("expected as many results as outputs")?;
                Binding::Tensor(Tensor::new(dims, Data::Ints(floats.into_iter().map(|x| x as i64).collect()))?)
            }
            (Some(_), _) => {
                let (dims, floats) = found.next().context("expected as many results as outputs")?;
                Binding::Tensor(Tensor::new(dims, Data::Floats(floats.into()))?)
            }
        })
    };
    outputs.into_iter().map(replaced).collect()
}

/// Memory and multiply-accumulates that a node may take whose inputs are constants: a tenth of them are more than the weights of large
/// networks take to be computed.
const MOST_BYTES: usize = 4 << 30;
const MOST_MACS: u64 = 10_000_000_000;

/// Extents and elements of the outputs of a graph without inputs. The same on every machine: by portable kernels, on one thread.
fn run(mut graph: Graph) -> Result<Vec<(Vec<usize>, Vec<f32>)>> {
    drop_unused_values(&mut graph);
    // A file has at least one input; nothing reads this one.
    let input = ValueId(graph.graph.values.len() as u32);
    graph.graph.values.push(Value { name: "nothing".to_owned(), compaction: None });
    graph.shapes.push(vec![Extent::from(1usize)]);
    graph.graph.inputs.push(Input { value: input, dims: vec![Dim::Fixed { size: 1 }] });
    let mut file = Cursor::new(Vec::new());
    emit::write(&graph, Metadata::default(), &mut file)?;
    let model = Model::from_bytes(file.get_ref())?;
    let options = Options::new().isa(Isa::portable()).threads(Threads::Single).max_memory(MOST_BYTES).max_macs(MOST_MACS);
    let plan = model.prepare(&options)?;
    let mut session = plan.session();
    let outputs = session.run_all(&[TensorView::new(&[1], &[0.0])?])?;
    Ok(outputs.iter().map(|(_, output)| (output.shape().to_vec(), output.data().to_vec())).collect())
}
