//! Raw tensors: a `.npy` array in, a `.npy` array out, in batches.

use crate::{Arguments, batch, input_dims, prepare};
use anyhow::{Context, Result, ensure};
use ndarray::{ArrayD, Axis, Slice};
use ndarray_npy::npy::header::Header;
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use sslm::{Dim, Model, Session, TensorView};
use std::fs::File;
use std::io::{BufWriter, Cursor, Read, Seek, Write};
use std::path::Path;

/// Rows of an input array that are run together unless --batch says otherwise, or the model mixes them: enough for the matrix products
/// to be efficient.
const DEFAULT_BATCH: usize = 32;

pub(crate) fn run(arguments: &Arguments, model: &Model, input: &Path) -> Result<()> {
    // Before the work, so that a bad path costs no time.
    let target = arguments.output.as_deref().context("--input needs --output (or --bench, or --profile)")?;
    let mut file = ssl_cli::file_beside(target)?;
    let x = read(input)?;
    let (dims, all) = (input_dims(model)?, x.shape()[0]);
    let plan = |rows: usize| {
        let shape = [&[rows], &x.shape()[1..]].concat();
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
    let mut sessions: Vec<(usize, Session)> = vec![(batch, first.session())];
    let (mut y, mut y_shape): (Vec<f32>, Vec<usize>) = (Vec::new(), Vec::new());
    for first in (0..all).step_by(batch) {
        let rows = batch.min(all - first);
        let part = x.slice_axis(Axis(0), Slice::from(first..first + rows));
        // What is missing of a fixed batch is filled with zeros, and its results are dropped.
        let run_rows = crate::batch(&dims, rows);
        let shape = [&[run_rows], &x.shape()[1..]].concat();
        let at = match sessions.iter().position(|(rows, _)| *rows == run_rows) {
            Some(at) => at,
            None => {
                sessions.push((run_rows, plan(run_rows)?.session()));
                sessions.len() - 1
            }
        };
        let mut numbers: Vec<f32> = part.iter().copied().collect();
        room_for(&mut numbers, shape.iter().product())?;
        numbers.resize(shape.iter().product(), 0.0);
        let out = sessions[at].1.run(TensorView::new(&shape, &numbers)?)?;
        ensure!(out.shape().first() == Some(&run_rows), "the output is {:?}: expected the batch {run_rows} first", out.shape());
        let per_row = out.data().len() / run_rows;
        room_for(&mut y, rows * per_row)?;
        y.extend_from_slice(&out.data()[..rows * per_row]);
        y_shape = out.shape().to_vec();
    }
    y_shape[0] = all;
    let y = ArrayD::from_shape_vec(y_shape, y).context("the output's batches do not fit together")?;
    let mut writer = BufWriter::new(file.as_file_mut());
    let cannot_write = || format!("cannot write {}", target.display());
    y.write_npy(&mut writer).with_context(cannot_write)?;
    writer.flush().with_context(cannot_write)?;
    drop(writer);
    file.put_in_place()
}

/// Refuses what cannot be had, before it is made.
pub(crate) fn room_for(numbers: &mut Vec<f32>, more: usize) -> Result<()> {
    numbers.try_reserve(more).with_context(|| format!("memory for {more} numbers cannot be had"))
}

fn read(path: &Path) -> Result<ArrayD<f32>> {
    let x = read_whole(path).with_context(|| format!("{}: expected a float32 .npy array", path.display()))?;
    ensure!(x.ndim() > 0 && !x.is_empty(), "{}: expected a batch of at least 1, found shape {:?}", path.display(), x.shape());
    Ok(x)
}

/// How every `.npy` file begins.
const MAGIC: &[u8] = b"\x93NUMPY";

fn read_whole(path: &Path) -> Result<ArrayD<f32>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return parse(file, metadata.len());
    }
    // A pipe tells its length by ending, which nothing else must be waited for.
    let mut bytes = Vec::new();
    (&file).take(MAGIC.len() as u64).read_to_end(&mut bytes)?;
    ensure!(bytes == MAGIC, "found something else");
    file.read_to_end(&mut bytes)?;
    let len = bytes.len() as u64;
    parse(Cursor::new(bytes), len)
}

/// An array, if all of it is there: its memory is asked for before its numbers are read.
fn parse(mut from: impl Read + Seek, len: u64) -> Result<ArrayD<f32>> {
    let shape = Header::from_reader(&mut from)?.shape;
    let found = len.saturating_sub(from.stream_position()?);
    let expected = shape.iter().try_fold(size_of::<f32>() as u64, |bytes, &extent| bytes.checked_mul(extent as u64));
    ensure!(expected.is_some_and(|bytes| bytes <= found), "the header says {shape:?}, found {found} bytes of numbers");
    from.rewind()?;
    Ok(ArrayD::read_npy(from)?)
}

/// The first `batch` rows of an array, for timing.
pub(crate) fn first_rows(path: &Path, batch: usize) -> Result<(Vec<usize>, Vec<f32>)> {
    let x = read(path)?;
    ensure!(x.shape()[0] >= batch, "{}: expected at least {batch} rows (the batch), found {}", path.display(), x.shape()[0]);
    let part = x.slice_axis(Axis(0), Slice::from(..batch));
    Ok((part.shape().to_vec(), part.iter().copied().collect()))
}
