//! A model with the plan and the memory of its last run, which the next one uses again where its shape is the same.

use anyhow::{Context, Result, bail, ensure};
use ssl_images::{Class, Layout, describe};
use sslm::{Dim, Model, Session, StepInfo, TensorInfo, TensorView, Threads};

/// What plans may take, and whether results are the same to the last bit everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    pub(crate) memory: Option<u64>,
    pub(crate) macs: Option<u64>,
    pub(crate) reproducible: bool,
}

pub(crate) struct Runner {
    model: Model,
    input: TensorInfo,
    options: Options,
    session: Option<Session>,
}

impl Runner {
    pub(crate) fn new(bytes: &[u8], options: Options) -> Result<Self> {
        let model = Model::from_bytes(bytes)?;
        model.verify_weights()?;
        let mut inputs = model.inputs();
        let input = match (inputs.pop(), inputs.len()) {
            (Some(input), 0) => input,
            (Some(_), others) => bail!("the model: expected one input, found {}", others + 1),
            (None, _) => bail!("the model: expected one input, found none"),
        };
        let mut runner = Runner { model, input, options, session: None };
        // Where one image has one shape, what it takes is known before there is one.
        if let [batch, rest @ ..] = &runner.input_shape()[..] {
            let rest: Option<Vec<usize>> = rest.iter().copied().collect();
            if let Some(rest) = rest {
                runner.prepare(&[&[batch.unwrap_or(1)], &rest[..]].concat())?;
            }
        }
        Ok(runner)
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The extents of the input; those that the model leaves open are `None`.
    pub(crate) fn input_shape(&self) -> Vec<Option<usize>> {
        let extent = |dim: &Dim| match dim {
            // More than memory has: running it is an error.
            Dim::Fixed { size } => Some(usize::try_from(*size).unwrap_or(usize::MAX)),
            Dim::Symbolic { .. } => None,
        };
        self.input.dims.iter().map(extent).collect()
    }

    /// What the plan computes, if there is one.
    pub(crate) fn steps(&self) -> Option<Vec<StepInfo<'_>>> {
        self.session.as_ref().map(|session| session.plan().steps().collect())
    }

    /// The shape and the elements of the first output.
    pub(crate) fn run(&mut self, elements: &[f32], shape: Option<Vec<usize>>) -> Result<(Vec<usize>, Vec<f32>)> {
        let shape = match shape {
            Some(shape) => shape,
            None => self.shape_of(elements.len())?,
        };
        let input = TensorView::new(&shape, elements)?;
        let output = self.prepare(&shape)?.run(input)?;
        Ok((output.shape().to_vec(), output.data().to_vec()))
    }

    /// The likeliest classes of an image of red, green, blue and alpha.
    pub(crate) fn classify(&mut self, size: [u32; 2], rgba: Vec<u8>, count: usize) -> Result<Vec<Class>> {
        let layout = Layout::of(&self.input.dims, self.input.element_type)?;
        let rule = layout.rule(self.model.preprocessing())?;
        let (mut shape, mut elements) = ssl_images::of_pixels(size, 4, rgba, &rule, &self.input.dims, layout)?;
        // A model whose batch is fixed runs one image and blank ones.
        let batch = self.input_shape().first().copied().flatten().unwrap_or(1);
        shape[0] = batch;
        let are_mixed = self.prepare(&shape)?.plan().mixes_images() && batch > 1;
        ensure!(!are_mixed, "the model mixes the {batch} images of a batch: expected `run` with a whole batch, found an image");
        let all = elements.len().checked_mul(batch).context("the model's batch has more elements than memory")?;
        elements.try_reserve_exact(all - elements.len()).context("memory for the model's batch cannot be had")?;
        elements.resize(all, 0.0);
        let (mut shape, mut outputs) = self.run(&elements, Some(shape))?;
        if let [first, ..] = &mut shape[..]
            && *first == batch
        {
            outputs.truncate(outputs.len() / batch);
            *first = 1;
        }
        let found = "the model's output: expected one element for each class";
        ensure!(ssl_images::is_one_a_class(&shape), "{found}, found the shape {shape:?}");
        ssl_images::likeliest(&outputs, self.model.yields_probabilities(), count)
    }

    /// The shape of an input of so many elements.
    fn shape_of(&self, elements: usize) -> Result<Vec<usize>> {
        let dims = || format!("the model's input is {}", describe(&self.input.dims));
        let shape = self.input_shape();
        let open = || format!("{}: expected a shape besides the elements, found none", dims());
        let Some((batch, rest)) = shape.split_first() else { return Ok(Vec::new()) };
        let rest = rest.iter().copied().collect::<Option<Vec<usize>>>().with_context(open)?;
        let batch = match batch {
            Some(batch) => *batch,
            None => {
                let image = rest.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
                let image = image.filter(|&image| image > 0 && elements > 0 && elements.is_multiple_of(image));
                elements / image.with_context(|| format!("{}: expected whole images, found {elements} elements", dims()))?
            }
        };
        Ok([&[batch], &rest[..]].concat())
    }

    /// The session for inputs of this shape.
    fn prepare(&mut self, shape: &[usize]) -> Result<&mut Session> {
        let is_same = |session: &Session| session.plan().input_shapes().next() == Some(shape);
        let session = match self.session.take().filter(is_same) {
            Some(session) => session,
            None => {
                let mut options = sslm::Options::new().threads(Threads::Single).shapes(&self.model, &[shape])?;
                if let Some(memory) = self.options.memory {
                    options = options.max_memory(usize::try_from(memory).unwrap_or(usize::MAX));
                }
                if let Some(macs) = self.options.macs {
                    options = options.max_macs(macs);
                }
                if self.options.reproducible {
                    options = options.reproducible();
                }
                self.model.prepare(&options)?.session()
            }
        };
        Ok(self.session.insert(session))
    }
}
