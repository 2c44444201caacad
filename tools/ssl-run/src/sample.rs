//! What is run for measurements: the first image, the first batch of arrays, or random elements.

use crate::outputs::room_for;
use crate::{Arguments, batch, images, inputs, options, preprocess};
use anyhow::{Context, Result, bail, ensure};
use ssl_images::describe;
use ssl_npy::Array;
use sslm::{Dim, Model, TensorInfo, TensorView};

/// Shapes and elements of all inputs.
pub(crate) struct Sample {
    pub(crate) shapes: Vec<Vec<usize>>,
    elements: Vec<Vec<f32>>,
}

impl Sample {
    /// What a session runs.
    pub(crate) fn views(&self) -> Result<Vec<TensorView<'_>>> {
        let views = self.shapes.iter().zip(&self.elements).map(|(shape, elements)| TensorView::new(shape, elements));
        Ok(views.collect::<Result<_, _>>()?)
    }
}

pub(crate) fn inputs(arguments: &Arguments, model: &Model) -> Result<Sample> {
    let infos = model.inputs();
    let batch = batch(&infos[0].dims, arguments.batch.unwrap_or(1));
    if !arguments.input.is_empty() {
        let first = inputs::arrays(arguments, model)?.into_iter().map(|array| first_rows(array, batch));
        let (shapes, elements) = first.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        return Ok(Sample { shapes, elements });
    }
    if !arguments.sources.is_empty() {
        return first_image(arguments, model, batch);
    }
    let shapes: Vec<Vec<usize>> = infos.iter().map(|input| shape(input, batch)).collect::<Result<_>>()?;
    can_be_run(arguments, model, &shapes)?;
    let (mut random, mut elements) = (fastrand::Rng::with_seed(1), Vec::new());
    for (input, shape) in infos.iter().zip(&shapes) {
        let (len, mut own) = (shape.iter().product(), Vec::new());
        room_for(&mut own, len)?;
        own.extend((0..len).map(|_| input.element_type.sample(random.f32() * 2.0 - 1.0)));
        elements.push(own);
    }
    Ok(Sample { shapes, elements })
}

/// The shape of an input whose only open extent is the batch.
fn shape(input: &TensorInfo, batch: usize) -> Result<Vec<usize>> {
    let extent = |(axis, dim): (usize, &Dim)| match dim {
        Dim::Fixed { size } => usize::try_from(*size).context("the input is too large"),
        Dim::Symbolic { .. } if axis == 0 => Ok(batch),
        Dim::Symbolic { .. } => {
            let dims = describe(&input.dims);
            bail!("the model's input '{}' is {dims}: give an image or --input, whose size is taken", input.name)
        }
    };
    input.dims.iter().enumerate().map(extent).collect()
}

/// The first `batch` rows of an array; all of a scalar.
fn first_rows(array: Array, batch: usize) -> Result<(Vec<usize>, Vec<f32>)> {
    let Array { mut shape, mut elements, .. } = array;
    if let Some(rows) = shape.first_mut() {
        ensure!(*rows >= batch, "--input: expected at least {batch} rows (the batch), found {rows}");
        elements.truncate(elements.len() / *rows * batch);
        *rows = batch;
    }
    Ok((shape, elements))
}

/// The first image, as often as the batch is large.
fn first_image(arguments: &Arguments, model: &Model, batch: usize) -> Result<Sample> {
    let input = images::input(model)?;
    let (rule, layout) = preprocess::rule(model, &input, &arguments.preprocessing)?;
    let Some(image) = arguments.sources.first() else { bail!("expected an image, found none") };
    let (mut shape, pixels) = image.load(&rule, &input.dims, layout)?;
    shape[0] = batch;
    let shapes = vec![shape];
    can_be_run(arguments, model, &shapes)?;
    let mut elements = Vec::new();
    room_for(&mut elements, pixels.len() * batch)?;
    (0..batch).for_each(|_| elements.extend_from_slice(&pixels));
    Ok(Sample { shapes, elements: vec![elements] })
}

/// Refuses sizes that cannot be had, before an input of them is made.
fn can_be_run(arguments: &Arguments, model: &Model, shapes: &[Vec<usize>]) -> Result<()> {
    model.prepare(&options(arguments, model, shapes)?)?;
    Ok(())
}
