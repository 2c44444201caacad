//! What becomes of a chunk of rows: its images are decoded, run together, and what the model yields becomes columns. Any thread may do
//! that with any chunk, and what comes of it depends on the chunk alone.

use crate::Arguments;
use crate::input::{Chunk, Images, Input};
use crate::results::Results;
use anyhow::{Context, Result, ensure};
use arrow_array::{ArrayRef, StringArray};
use arrow_schema::{DataType, Field};
use serde_json::{Value, json};
use ssl_images::{Layout, describe};
use sslm::{Dim, Isa, Model, Options, PlanCache, Preprocessing, Resize, TensorInfo, TensorView, Threads};
use std::sync::Arc;

/// Images per run, unless the model or its user says otherwise: enough for matrix products to be efficient.
const USUAL_BATCH: usize = 32;
/// How many sizes of images have plans at the same time, where the model leaves the size open.
const SIZES: usize = 8;
/// Elements of an image that a model has to be fit for, where it leaves the size open.
const LARGE_IMAGE: usize = 1 << 24;

/// A model that is ready for chunks.
pub(crate) struct Scorer {
    input: TensorInfo,
    batch: usize,
    /// The shape of a whole batch; absent where each image has a size of its own.
    shape: Option<Vec<usize>>,
    /// How an image becomes an input; absent where it is one.
    rule: Option<(Preprocessing, Layout)>,
    plans: PlanCache,
    results: Results,
    /// What the bits of the results depend on, besides the model: how each step is computed.
    kernels: String,
}

/// The columns of a chunk's rows, and how many of these are errors.
pub(crate) struct Scored {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) failed: u64,
}

impl Scored {
    pub(crate) fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.len())
    }
}

impl Scorer {
    pub(crate) fn new(arguments: &Arguments, model: &Model, source: &Input) -> Result<Self> {
        let mut inputs = model.inputs();
        let count = inputs.len();
        let input = inputs.pop().filter(|_| count == 1);
        let input = input.with_context(|| format!("the model has {count} inputs: expected one, for an image"))?;
        let batch = match (input.dims.first(), arguments.batch) {
            (Some(Dim::Fixed { size }), given) => {
                let fixed = usize::try_from(*size)?;
                ensure!(given.is_none_or(|given| given == fixed), "--batch: expected {fixed}, as the model fixes it");
                fixed
            }
            (_, given) => given.unwrap_or(USUAL_BATCH),
        };
        ensure!(batch > 0, "the model's input is {}: expected a batch of at least 1", describe(&input.dims));
        let shape = batch_shape(&input, batch, source)?;
        let rule = match source.tensors() {
            Some(_) => None,
            None => Some(rule(arguments, model, &input)?),
        };
        let mut options = Options::new().threads(Threads::Single);
        if let Some(isa) = arguments.isa {
            options = options.isa(isa);
        }
        if arguments.reproducible {
            options = options.reproducible();
        }
        let given = shape.as_ref().map_or(LARGE_IMAGE, |shape| shape.iter().product());
        let options = arguments.limits.apply(options, model, given, batch);
        let plans = PlanCache::new(model, options, SIZES);
        let is_plain = arguments.reproducible;
        let (shapes, kernels) = match &shape {
            Some(shape) => planned(&plans, shape, is_plain)?,
            None => {
                let isa = if is_plain { Isa::portable() } else { arguments.isa.unwrap_or(Isa::best()) };
                (as_described(model, &input)?, isa.to_string())
            }
        };
        let results = Results::new(model, &shapes, arguments.top, arguments.raw)?;
        Ok(Scorer { input, batch, shape, rule, plans, results, kernels })
    }

    /// Rows of a chunk.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// What the results depend on, besides model and images.
    pub(crate) fn describe(&self) -> Value {
        let rule = self.rule.as_ref().map(|(rule, _)| {
            let Preprocessing { color, resize, scale, mean, std } = rule;
            let resize = match resize {
                Resize::Stretch => "stretch".to_owned(),
                Resize::CenterCrop { short_side } => format!("crop:{short_side}"),
            };
            json!({ "color": color.to_string(), "resize": resize, "scale": scale, "mean": mean, "std": std })
        });
        let kernels = crc32fast::hash(self.kernels.as_bytes());
        json!({ "columns": self.results.describe(), "preprocessing": rule, "kernels": kernels })
    }

    pub(crate) fn fields(&self) -> Vec<Field> {
        let mut fields = self.results.fields();
        fields.push(Field::new("error", DataType::Utf8, true));
        fields
    }

    pub(crate) fn score(&self, chunk: Chunk) -> Result<Scored> {
        let Chunk { keys, images } = chunk;
        let (found, errors) = match &self.shape {
            Some(shape) => self.together(&images, shape)?,
            None => self.one_by_one(&images)?,
        };
        let failed = errors.iter().flatten().count() as u64;
        let errors: ArrayRef = Arc::new(StringArray::from(errors));
        Ok(Scored { columns: keys.into_iter().chain(found).chain([errors]).collect(), failed })
    }

    /// All images in one run. Its batch is always the same, filled up with blank images, so that each image's results are, too.
    fn together(&self, images: &Images, shape: &[usize]) -> Result<(Vec<ArrayRef>, Vec<Option<String>>)> {
        let one = shape[1..].iter().product::<usize>();
        let (mut elements, mut errors) = (vec![0.0; shape[0] * one], Vec::new());
        for row in 0..images.len() {
            let loaded = self.load(images, row).and_then(|(_, pixels)| {
                ensure!(pixels.len() == one, "expected a tensor of {one} elements, found {}", pixels.len());
                Ok(pixels)
            });
            match loaded {
                Ok(pixels) => {
                    elements[row * one..(row + 1) * one].copy_from_slice(&pixels);
                    errors.push(None);
                }
                Err(e) => errors.push(Some(ssl_cli::message(&e))),
            }
        }
        let mut session = self.plans.session(&[shape])?;
        let outputs = session.run_all(&[TensorView::new(shape, &elements)?])?;
        let elements: Vec<&[f32]> = outputs.iter().map(|(_, output)| output.data()).collect();
        let found = self.results.of_outputs(&elements, &mut errors)?;
        Ok((found, errors))
    }

    /// Each image in a run of its own size. What is wrong with one concerns no other.
    fn one_by_one(&self, images: &Images) -> Result<(Vec<ArrayRef>, Vec<Option<String>>)> {
        let sizes = self.results.sizes();
        let (mut elements, mut errors) = (vec![Vec::new(); sizes.len()], Vec::new());
        for row in 0..images.len() {
            let (found, error) = match self.alone(images, row, &sizes) {
                Ok(found) => (found, None),
                Err(e) => (sizes.iter().map(|&size| vec![0.0; size]).collect(), Some(ssl_cli::message(&e))),
            };
            elements.iter_mut().zip(found).for_each(|(all, found)| all.extend(found));
            errors.push(error);
        }
        let elements: Vec<&[f32]> = elements.iter().map(|all| &all[..]).collect();
        Ok((self.results.of_outputs(&elements, &mut errors)?, errors))
    }

    /// What the model yields for an image: the elements of each output, of which there are so many.
    fn alone(&self, images: &Images, row: usize, sizes: &[usize]) -> Result<Vec<Vec<f32>>> {
        let (mut shape, mut pixels) = self.load(images, row)?;
        // A model that fixes its batch runs one image and blank ones.
        shape[0] = if matches!(self.input.dims.first(), Some(Dim::Fixed { .. })) { self.batch } else { 1 };
        pixels.resize(shape.iter().product(), 0.0);
        let mut session = self.plans.session(&[&shape])?;
        let mixes = shape[0] > 1 && session.plan().mixes_images();
        ensure!(!mixes, "the model mixes the {} images of a batch", shape[0]);
        let outputs = session.run_all(&[TensorView::new(&shape, &pixels)?])?;
        let of_image = |((_, output), &size): ((&str, TensorView<'_>), &usize)| {
            let (rows, shape) = (shape[0], output.shape());
            let is_a_row_each = shape.first() == Some(&rows) && output.data().len() == rows * size;
            ensure!(is_a_row_each, "expected {rows} rows of {size} elements as an output, found one of shape {shape:?}");
            Ok(output.data()[..size].to_vec())
        };
        outputs.iter().zip(sizes).map(of_image).collect()
    }

    /// The input that an image is: its shape, but for tensors, and its elements.
    fn load(&self, images: &Images, row: usize) -> Result<(Vec<usize>, Vec<f32>)> {
        let Some((rule, layout)) = &self.rule else {
            let Images::Column(column) = images else { anyhow::bail!("expected tensors") };
            return Ok((Vec::new(), column.elements(row)?));
        };
        let dims = &self.input.dims;
        match images {
            Images::Files(files) => ssl_images::read(ssl_images::open_found(sound(&files[row])?)?, rule, dims, *layout),
            Images::Bytes(files) => ssl_images::read(&sound(&files[row])?.bytes[..], rule, dims, *layout),
            Images::Column(column) => ssl_images::read(column.bytes(row)?, rule, dims, *layout),
        }
    }
}

/// What can be read, or the error that says why it cannot.
fn sound<T>(file: &Result<T, String>) -> Result<&T> {
    file.as_ref().map_err(|e| anyhow::Error::msg(e.clone()))
}

/// The shape of a batch, unless the model leaves the size of images open and the source does not say it.
fn batch_shape(input: &TensorInfo, batch: usize, source: &Input) -> Result<Option<Vec<usize>>> {
    let said = source.tensors();
    let own: Option<Vec<usize>> = input.dims.iter().skip(1).map(fixed).collect();
    let one = match (said, own) {
        (Some(Some(said)), _) => said.to_vec(),
        (_, Some(own)) => own,
        (Some(None), None) => {
            let dims = describe(&input.dims);
            anyhow::bail!(
                "the model's input is {dims}: expected a column of arrow.fixed_shape_tensor, which says the size, found lists"
            )
        }
        (None, None) => return Ok(None),
    };
    ensure!(one.iter().all(|&extent| extent > 0), "the model's input is {}: expected no extent of 0", describe(&input.dims));
    Ok(Some([&[batch], &one[..]].concat()))
}

fn fixed(dim: &Dim) -> Option<usize> {
    if let Dim::Fixed { size } = dim { usize::try_from(*size).ok() } else { None }
}

fn rule(arguments: &Arguments, model: &Model, input: &TensorInfo) -> Result<(Preprocessing, Layout)> {
    let layout = Layout::of(&input.dims, input.element_type).context("images do not fit (a column of tensors may)")?;
    let (rule, note) = arguments.preprocessing.rule(model.preprocessing(), layout)?;
    if let Some(note) = note {
        ssl_cli::note("ssl-score", note);
    }
    Ok((rule, layout))
}

/// The shapes of the outputs of a batch, and how it is computed.
fn planned(plans: &PlanCache, shape: &[usize], is_reproducible: bool) -> Result<(Vec<Vec<Option<usize>>>, String)> {
    let plan = plans.plan(&[shape])?;
    ensure!(
        shape[0] == 1 || !plan.mixes_images(),
        "the model mixes the images of a batch: expected a model that does not, or --batch 1"
    );
    let shapes: Vec<Vec<usize>> = plan.output_shapes().map(<[usize]>::to_vec).collect();
    let is_a_row_each = shapes.iter().all(|output| output.first() == Some(&shape[0]));
    ensure!(
        is_a_row_each,
        "expected a model whose outputs have a row for each of {} images, found outputs of {shapes:?}",
        shape[0]
    );
    let kernels = match is_reproducible {
        // However it is computed, the bits are the same.
        true => "reproducible".to_owned(),
        false => plan.steps().map(|step| step.kernel + "\n").collect(),
    };
    Ok((shapes.into_iter().map(|shape| shape.into_iter().map(Some).collect()).collect(), kernels))
}

/// The shapes of the outputs as far as they do not depend on the size of images, each of which is run by itself.
fn as_described(model: &Model, input: &TensorInfo) -> Result<Vec<Vec<Option<usize>>>> {
    let rows = input.dims.first().and_then(fixed).unwrap_or(1);
    for output in model.outputs() {
        let is_a_row_each = output.dims.first().and_then(fixed).is_none_or(|found| found == rows);
        ensure!(
            is_a_row_each,
            "expected a model whose outputs have a row for each of {rows} images, found '{}' of {}",
            output.name,
            describe(&output.dims)
        );
    }
    Ok(model.outputs().iter().map(|output| output.dims.iter().map(fixed).collect()).collect())
}
