//! Arrays in, all outputs out: at once, or in parts of a batch where no image depends on others.

use crate::outputs::{Output, Target, room_for};
use crate::{Arguments, batch, finite, inputs, prepare};
use anyhow::{Context, Result, ensure};
use ssl_npy::Array;
use sslm::{Dim, Model, Plan, Session, TensorInfo, TensorView};

/// Rows of an input array that are run together unless --batch says otherwise, or the model mixes them: enough for the matrix products
/// to be efficient.
const DEFAULT_BATCH: usize = 32;

pub(crate) fn run(arguments: &Arguments, model: &Model) -> Result<()> {
    let target = Target::new(arguments, model)?.context("--input needs --output (or --bench, or --profile)")?;
    let arrays = inputs::arrays(arguments, model)?;
    let outputs = match in_parts(arguments, model, &arrays)? {
        Some(parts) => parts.run(&arrays)?,
        None => at_once(arguments, model, &arrays)?,
    };
    model.ensure_unchanged()?;
    finite::say_finite(arguments);
    target.write(outputs)
}

fn at_once(arguments: &Arguments, model: &Model, arrays: &[Array]) -> Result<Vec<Output>> {
    let shapes: Vec<Vec<usize>> = arrays.iter().map(|x| x.shape.clone()).collect();
    let plan = prepare(arguments, model, &shapes)?;
    let mut session = finite::session(arguments, &plan);
    let views: Vec<TensorView> = arrays.iter().map(|x| TensorView::new(&x.shape, &x.elements)).collect::<Result<_, _>>()?;
    let outputs = session.run_all(&views)?;
    finite::check(&plan, outputs, &views, || arguments.input.join(", "))?;
    Ok(outputs.iter().map(|(_, view)| Output::of(view)).collect())
}

/// How arrays are run in parts.
struct Parts<'a> {
    arguments: &'a Arguments,
    model: &'a Model,
    /// Whether every part must have the whole batch.
    is_fixed: bool,
    batch: usize,
    all: usize,
    plan: Plan,
}

/// How to run arrays in parts, if they are more than one batch and may be run so.
fn in_parts<'a>(arguments: &'a Arguments, model: &'a Model, arrays: &[Array]) -> Result<Option<Parts<'a>>> {
    let infos = model.inputs();
    let Some(&all) = arrays[0].shape.first() else { return Ok(None) };
    let is_fixed = matches!(infos[0].dims.first(), Some(Dim::Fixed { .. }));
    let batch = batch(&infos[0].dims, arguments.batch.unwrap_or(DEFAULT_BATCH).min(all));
    // One that does not fit is refused as it is given.
    let of_batch = |(array, info): (&Array, &TensorInfo)| {
        let has_its_batch = match (infos[0].dims.first(), info.dims.first()) {
            (Some(Dim::Symbolic { .. }), Some(Dim::Symbolic { .. })) => true,
            (first, own) => first == own,
        };
        has_its_batch && array.shape.len() == info.dims.len() && array.shape.first() == Some(&all)
    };
    if batch == all || !arrays.iter().zip(&infos).all(of_batch) {
        return Ok(None);
    }
    let plan = prepare(arguments, model, &with_rows(arrays, batch))?;
    if plan.mixes_images() || plan.output_shapes().any(|shape| shape.first() != Some(&batch)) {
        let why = "the model mixes the images of a batch";
        let is_open = arguments.batch.is_none() && !is_fixed;
        ensure!(is_open, "{}: {why}: expected one batch of all {all}, found a batch of {batch}", arguments.input.join(", "));
        return Ok(None);
    }
    Ok(Some(Parts { arguments, model, is_fixed, batch, all, plan }))
}

/// The shapes of arrays with so many rows each.
fn with_rows(arrays: &[Array], rows: usize) -> Vec<Vec<usize>> {
    arrays.iter().map(|x| [&[rows], &x.shape[1..]].concat()).collect()
}

impl Parts<'_> {
    fn run(self, arrays: &[Array]) -> Result<Vec<Output>> {
        let Parts { arguments, model, is_fixed, batch, all, plan } = self;
        let mut outputs: Vec<Output> = plan.output_shapes().map(|_| Output::default()).collect();
        let mut sessions: Vec<(usize, Session)> = vec![(batch, finite::session(arguments, &plan))];
        for first in (0..all).step_by(batch) {
            let rows = batch.min(all - first);
            // What is missing of a fixed batch is filled with zeros, and its results are dropped.
            let run_rows = if is_fixed { batch } else { rows };
            let shapes = with_rows(arrays, run_rows);
            let at = match sessions.iter().position(|(rows, _)| *rows == run_rows) {
                Some(at) => at,
                None => {
                    sessions.push((run_rows, finite::session(arguments, &prepare(arguments, model, &shapes)?)));
                    sessions.len() - 1
                }
            };
            let mut parts: Vec<Vec<f32>> = Vec::new();
            for (x, shape) in arrays.iter().zip(&shapes) {
                let (row, len) = (x.elements.len() / all, shape.iter().product());
                let mut part = Vec::new();
                room_for(&mut part, len)?;
                part.extend_from_slice(&x.elements[first * row..(first + rows) * row]);
                part.resize(len, 0.0);
                parts.push(part);
            }
            let views: Vec<TensorView> =
                shapes.iter().zip(&parts).map(|(s, x)| TensorView::new(s, x)).collect::<Result<_, _>>()?;
            let session = &mut sessions[at].1;
            let plan = session.plan().clone();
            let found = session.run_all(&views)?;
            finite::check(&plan, found, &views, || format!("{}, rows from {first} on", arguments.input.join(", ")))?;
            for (output, (_, view)) in outputs.iter_mut().zip(found.iter()) {
                output.append(view, rows)?;
            }
        }
        Ok(outputs)
    }
}
