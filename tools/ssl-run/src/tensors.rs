//! Raw tensors: a `.npy` array in, a `.npy` array out, in batches.

use crate::{Arguments, batch, input_dims, prepare};
use anyhow::{Context, Result, ensure};
use ssl_npy::Array;
use sslm::{Dim, Model, Session, TensorView};
use std::path::Path;

/// Rows of an input array that are run together unless --batch says otherwise, or the model mixes them: enough for the matrix products
/// to be efficient.
const DEFAULT_BATCH: usize = 32;

pub(crate) fn run(arguments: &Arguments, model: &Model, input: &Path) -> Result<()> {
    // Before the work, so that a bad path costs no time.
    let target = arguments.output.as_deref().context("--input needs --output (or --bench, or --profile)")?;
    let mut file = ssl_cli::file_beside(target)?;
    let x = read(input)?;
    let (dims, all) = (input_dims(model)?, x.shape[0]);
    let plan = |rows: usize| {
        let shape = [&[rows], &x.shape[1..]].concat();
        prepare(arguments, model, &shape).with_context(|| format!("{}", input.display()))
    };
    let mut batch = batch(&dims, arguments.batch.unwrap_or(DEFAULT_BATCH).min(all));
    let mut first = plan(batch)?;
    if batch != all && first.mixes_images() {
        let is_open = arguments.batch.is_none() && matches!(dims[0], Dim::Symbolic { .. });
        let why = "the model mixes the images of a batch";
        ensure!(is_open, "{}: {why}: expected one batch of all {all}, found a batch of {batch}", input.display());
        (batch, first) = (all, plan(all)?);
    }
    let row = x.elements.len() / all;
    let mut sessions: Vec<(usize, Session)> = vec![(batch, first.session())];
    let (mut y, mut y_shape): (Vec<f32>, Vec<usize>) = (Vec::new(), Vec::new());
    for first in (0..all).step_by(batch) {
        let rows = batch.min(all - first);
        let part = &x.elements[first * row..(first + rows) * row];
        // What is missing of a fixed batch is filled with zeros, and its results are dropped.
        let run_rows = crate::batch(&dims, rows);
        let shape = [&[run_rows], &x.shape[1..]].concat();
        let at = match sessions.iter().position(|(rows, _)| *rows == run_rows) {
            Some(at) => at,
            None => {
                sessions.push((run_rows, plan(run_rows)?.session()));
                sessions.len() - 1
            }
        };
        let mut elements = Vec::new();
        room_for(&mut elements, shape.iter().product())?;
        elements.extend_from_slice(part);
        elements.resize(shape.iter().product(), 0.0);
        let out = sessions[at].1.run(TensorView::new(&shape, &elements)?)?;
        ensure!(out.shape().first() == Some(&run_rows), "the output is {:?}: expected the batch {run_rows} first", out.shape());
        let per_row = out.data().len() / run_rows;
        room_for(&mut y, rows * per_row)?;
        y.extend_from_slice(&out.data()[..rows * per_row]);
        y_shape = out.shape().to_vec();
    }
    y_shape[0] = all;
    ensure!(y_shape.iter().product::<usize>() == y.len(), "the output's batches do not fit together");
    ssl_npy::write(file.as_file_mut(), &y_shape, &y).with_context(|| format!("cannot write {}", target.display()))?;
    file.put_in_place()
}

/// Refuses what cannot be had, before it is made.
pub(crate) fn room_for(elements: &mut Vec<f32>, more: usize) -> Result<()> {
    elements.try_reserve(more).with_context(|| format!("memory for {more} elements cannot be had"))
}

fn read(path: &Path) -> Result<Array> {
    let x = ssl_npy::read(path).with_context(|| format!("{}: expected a float32 .npy array", path.display()))?;
    ensure!(
        !x.elements.is_empty() && !x.shape.is_empty(),
        "{}: expected a batch of at least 1, found shape {:?}",
        path.display(),
        x.shape
    );
    Ok(x)
}

/// The first `batch` rows of an array, for timing.
pub(crate) fn first_rows(path: &Path, batch: usize) -> Result<(Vec<usize>, Vec<f32>)> {
    let Array { mut shape, mut elements } = read(path)?;
    ensure!(shape[0] >= batch, "{}: expected at least {batch} rows (the batch), found {}", path.display(), shape[0]);
    elements.truncate(elements.len() / shape[0] * batch);
    shape[0] = batch;
    Ok((shape, elements))
}
