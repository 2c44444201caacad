//! What is run for measurements: the first image, the first batch of an array, or random elements.

use crate::{Arguments, batch, input_dims, options, preprocess, tensors};
use anyhow::{Context, Result, bail};
use ssl_images::describe;
use sslm::{Dim, Model};

/// The shape and the elements of an input.
pub(crate) fn input(arguments: &Arguments, model: &Model) -> Result<(Vec<usize>, Vec<f32>)> {
    let dims = input_dims(model)?;
    let batch = batch(&dims, arguments.batch.unwrap_or(1));
    if let Some(path) = &arguments.input {
        return tensors::first_rows(path, batch);
    }
    if !arguments.images.is_empty() {
        return first_image(arguments, model, batch);
    }
    let extent = |(axis, dim): (usize, &Dim)| match dim {
        Dim::Fixed { size } => usize::try_from(*size).context("the input is too large"),
        Dim::Symbolic { .. } if axis == 0 => Ok(batch),
        Dim::Symbolic { .. } => bail!("the model's input is {}: give an image or --input, whose size is taken", describe(&dims)),
    };
    let shape: Vec<usize> = dims.iter().enumerate().map(extent).collect::<Result<_>>()?;
    can_be_run(arguments, model, &shape)?;
    let mut random = fastrand::Rng::with_seed(1);
    let (len, mut elements) = (shape.iter().product(), Vec::new());
    tensors::room_for(&mut elements, len)?;
    elements.extend((0..len).map(|_| random.f32() * 2.0 - 1.0));
    Ok((shape, elements))
}

/// The first image, as often as the batch is large.
fn first_image(arguments: &Arguments, model: &Model, batch: usize) -> Result<(Vec<usize>, Vec<f32>)> {
    let dims = input_dims(model)?;
    let rule = preprocess::rule(model, &dims, &arguments.preprocessing)?;
    let Some(path) = arguments.images.first() else { bail!("expected an image, found none") };
    let (mut shape, pixels) = ssl_images::load(path, &rule, &dims)?;
    shape[0] = batch;
    can_be_run(arguments, model, &shape)?;
    let mut elements = Vec::new();
    tensors::room_for(&mut elements, pixels.len() * batch)?;
    (0..batch).for_each(|_| elements.extend_from_slice(&pixels));
    Ok((shape, elements))
}

/// Refuses sizes that cannot be had, before an input of them is made.
fn can_be_run(arguments: &Arguments, model: &Model, shape: &[usize]) -> Result<()> {
    model.prepare(&options(arguments, model, shape)?)?;
    Ok(())
}
