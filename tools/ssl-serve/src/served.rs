//! One version of a model, ready to run: its plans, what it takes and yields, how images become its input, and what was measured of it.

use crate::failure::{Failure, Kind};
use crate::measured::Measured;
use crate::tensors::{Tensor, datatype};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use ssl_cli::Limits;
use ssl_images::{Admit, Class, Layout};
use sslm::{Dim, Model, Options, PlanCache, Preprocessing, TensorInfo, TypedView};
use std::collections::HashMap;
use std::path::Path;

/// Plans that a model keeps: those for the shapes that were used last.
const PLANS: usize = 16;
/// Elements of a request that the limits of a model's plans are made for. Larger requests have to fit into the same memory.
const USUAL_REQUEST: usize = 1 << 22;

/// How models are prepared.
#[derive(Clone, Debug)]
pub(crate) struct Preparing {
    pub(crate) options: Options,
    pub(crate) limits: Limits,
    /// The greatest batch that requests are joined to.
    pub(crate) max_batch: usize,
}

/// A model that requests can be run on.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) model: Model,
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
    plans: PlanCache,
    /// The greatest batch that requests for it are joined to; one where its images cannot be told apart.
    pub(crate) max_batch: usize,
    pub(crate) measured: Measured,
}

impl Served {
    /// Opens a file, and prepares and runs the model once where its shapes are known, so that the first request finds it warm.
    pub(crate) fn open(path: &Path, name: &str, version: u64, preparing: &Preparing) -> Result<Self> {
        // To open a pipe would be to wait for whoever writes into it.
        let is_file = path.metadata().with_context(|| format!("cannot read {}", path.display()))?.is_file();
        ensure!(is_file, "{}: expected a regular file, found something else", path.display());
        let model = ssl_cli::open_model(path)?;
        let options = preparing.limits.apply(preparing.options.clone(), &model, USUAL_REQUEST, 1);
        let (inputs, outputs) = (model.inputs(), model.outputs());
        let mut served = Served {
            name: name.to_owned(),
            version,
            plans: PlanCache::new(&model, options, PLANS),
            max_batch: 1,
            measured: Measured::default(),
            inputs,
            outputs,
            model,
        };
        if let Some(shapes) = served.usual_shapes(1) {
            served.warm(&shapes).with_context(|| format!("{}", path.display()))?;
        }
        served.max_batch = if preparing.max_batch > 1 && served.can_join()? { preparing.max_batch } else { 1 };
        let mut batch = 2;
        while batch <= served.max_batch {
            if let Some(shapes) = served.usual_shapes(batch) {
                served.warm(&shapes)?;
            }
            batch *= 2;
        }
        Ok(served)
    }

    /// Runs zeros, so that plan, memory and threads are there.
    fn warm(&self, shapes: &[Vec<usize>]) -> Result<()> {
        let bytes =
            |(info, shape): (&TensorInfo, &Vec<usize>)| vec![0; info.element_type.size() * shape.iter().product::<usize>()];
        let zeros: Vec<Vec<u8>> = self.inputs.iter().zip(shapes).map(bytes).collect();
        let both = self.inputs.iter().zip(shapes).zip(&zeros);
        let views = both.map(|((info, shape), bytes)| TypedView::from_bytes(shape, info.element_type, bytes));
        self.plans.session(shapes)?.run_typed(&views.collect::<sslm::Result<Vec<_>>>()?)?;
        Ok(())
    }

    /// Shapes for a batch, where nothing else is open.
    fn usual_shapes(&self, batch: usize) -> Option<Vec<Vec<usize>>> {
        let extent = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed { size } => usize::try_from(*size).ok(),
            Dim::Symbolic { .. } => (axis == 0).then_some(batch),
        };
        self.inputs.iter().map(|input| input.dims.iter().enumerate().map(extent).collect()).collect()
    }

    /// Whether requests can be run as one batch and taken apart again: axis 0 of everything is the batch, and no image sees another.
    fn can_join(&self) -> Result<bool> {
        let batch = self.inputs.first().and_then(|input| input.dims.first()?.symbol());
        let Some(batch) = batch else { return Ok(false) };
        if !self.inputs.iter().all(|input| input.dims.first().and_then(Dim::symbol) == Some(batch)) {
            return Ok(false);
        }
        // Where sizes are open, too, what holds for one size need not hold for another.
        let Some(shapes) = self.usual_shapes(2) else { return Ok(false) };
        let plan = self.plans.plan(&shapes)?;
        Ok(!plan.mixes_images() && plan.output_shapes().all(|shape| shape.first() == Some(&2)))
    }

    /// A session for inputs of these shapes.
    pub(crate) fn session<S: AsRef<[usize]>>(&self, shapes: &[S]) -> sslm::Result<sslm::PooledSession> {
        self.plans.session(shapes)
    }

    /// The inputs of a request in the model's order, each of the type and with the extents that the model says.
    pub(crate) fn arrange(&self, mut given: Vec<Tensor>) -> Result<Vec<Tensor>, Failure> {
        let mut arranged: Vec<Tensor> = Vec::with_capacity(self.inputs.len());
        let mut symbols: HashMap<&str, usize> = HashMap::new();
        for info in &self.inputs {
            let Some(index) = given.iter().position(|tensor| tensor.name == info.name) else {
                let found = given.iter().map(|tensor| format!("'{}'", tensor.name)).collect::<Vec<_>>().join(", ");
                let found = if found.is_empty() { "none".to_owned() } else { found };
                return Err(Failure::input(format!("inputs of model '{}'", self.name), format!("'{}'", info.name), found));
            };
            let tensor = given.swap_remove(index);
            if tensor.element_type != info.element_type {
                let (expected, found) = (datatype(info.element_type), datatype(tensor.element_type));
                return Err(Failure::input(format!("datatype of input '{}'", info.name), expected, found));
            }
            let mut fits = tensor.shape.len() == info.dims.len();
            for (dim, &extent) in info.dims.iter().zip(&tensor.shape) {
                fits &= match dim {
                    Dim::Fixed { size } => *size == extent as u64,
                    Dim::Symbolic { name } => extent > 0 && *symbols.entry(name).or_insert(extent) == extent,
                };
            }
            if !fits {
                let what = format!("shape of input '{}'", info.name);
                let known: Vec<String> = symbols.iter().map(|(name, extent)| format!("{name} = {extent}")).collect();
                let known = if known.is_empty() { String::new() } else { format!(" with {}", known.join(", ")) };
                return Err(Failure::input(what, ssl_images::describe(&info.dims) + &known, format!("{:?}", tensor.shape)));
            }
            arranged.push(tensor);
        }
        match given.first() {
            None => Ok(arranged),
            Some(surplus) => {
                let expected = self.inputs.iter().map(|info| format!("'{}'", info.name)).collect::<Vec<_>>().join(", ");
                Err(Failure::input(format!("inputs of model '{}'", self.name), expected, format!("'{}', too", surplus.name)))
            }
        }
    }

    /// The likeliest classes of each image, at most so many, of what the model yielded for them: axis 0 is that of images.
    pub(crate) fn likeliest(&self, output: &Tensor, count: usize) -> Result<Vec<Vec<Class>>, Failure> {
        let mut elements = Vec::new();
        let read = output.element_type.read(&output.bytes, &mut elements);
        read.map_err(|e| Failure::new(Kind::Internal, format!("output '{}': {e}", output.name)))?;
        let images = output.shape.first().copied().unwrap_or(1);
        let of_one = elements.len().checked_div(images).filter(|&len| len > 0);
        let are_probabilities = self.model.yields_probabilities();
        let of_image = |image| {
            let classes = ssl_images::likeliest(image, are_probabilities, count);
            classes.map_err(|e| Failure::new(Kind::Invalid, format!("output '{}': {e}", output.name)))
        };
        of_one.map_or_else(|| Ok(Vec::new()), |len| elements.chunks_exact(len).map(of_image).collect())
    }

    /// What the model calls a class.
    pub(crate) fn label(&self, class: &Class) -> Option<&str> {
        self.model.labels().get(class.index).map(String::as_str)
    }

    /// The model's only input, made of an encoded image, if there is room for what that takes.
    pub(crate) fn of_image(&self, image: &Bytes, admit: &mut Admit<'_>) -> Result<Tensor, Failure> {
        let refused = |error: &anyhow::Error| Failure::new(Kind::Invalid, format!("image: {}", ssl_cli::causes(error)));
        let (input, rule, layout) = self.image_rule().map_err(|e| refused(&e))?;
        let (shape, elements) = ssl_images::read_within(image, &rule, &input.dims, layout, admit).map_err(|e| refused(&e))?;
        admit((elements.len() as u64) * (size_of::<f32>() + input.element_type.size()) as u64).map_err(|e| refused(&e))?;
        let mut bytes = Vec::with_capacity(elements.len() * input.element_type.size());
        let written = input.element_type.write(&elements, &mut bytes);
        written.map_err(|e| Failure::new(Kind::Invalid, format!("image: {e}")))?;
        Ok(Tensor { name: input.name.clone(), shape, element_type: input.element_type, bytes: bytes.into() })
    }

    fn image_rule(&self) -> Result<(&TensorInfo, Preprocessing, Layout)> {
        let [input] = &self.inputs[..] else {
            anyhow::bail!("model '{}' has {} inputs: expected one for images", self.name, self.inputs.len())
        };
        let layout = Layout::of(&input.dims, input.element_type)?;
        Ok((input, layout.rule(self.model.preprocessing())?, layout))
    }
}
