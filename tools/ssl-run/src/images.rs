//! Images in, and out what the model says of each as soon as it is known: the likeliest classes, or what its outputs hold. An image that
//! cannot be run does not keep the others from it.

use crate::answers::{Answer, Answers, Class, Format, Found, Tensor};
use crate::outputs::{Output, Target};
use crate::sources::Source;
use crate::{Arguments, finite, prepare, preprocess};
use anyhow::{Context, Error, Result, bail, ensure};
use ssl_cli::{CheckFailed, Progress};
use sslm::{Dim, Model, Session, TensorInfo, TensorView};
use std::io::IsTerminal;
use std::thread::available_parallelism;

/// More threads would decode faster than networks run, and take an image's memory each.
const MOST_DECODING: usize = 8;
/// An output of at most so many elements is printed whole.
const FEW: usize = 10;

pub(crate) fn run(arguments: &Arguments, model: &Model) -> Result<()> {
    let input = input(model)?;
    let target = Target::new(arguments, model)?;
    let count = arguments.sources.len();
    ensure!(target.is_none() || count == 1, "--output: expected one image, found {count}");
    let (rule, layout) = preprocess::rule(model, &input, &arguments.preprocessing)?;
    let labels = labels(arguments, model)?;
    let sources = &arguments.sources;
    let mut answers = Answers::new(ssl_cli::stdout(), arguments.format(), std::io::stdout().is_terminal());
    let (all, mut failed, mut last) = (sources.len(), 0, Vec::new());
    let progress = if all > 1 { Progress::on_terminal() } else { Progress::default() };
    progress.start("images", all);
    let mut runner = Runner { arguments, model, input: &input, session: None };
    let is_for_people = arguments.format() == Format::Text;
    let load = |source: &'_ Source| {
        let named = if is_for_people { Ok(()) } else { source.ensure_text() };
        named.and_then(|()| source.load(&rule, &input.dims, layout))
    };
    let load = |source| (source, load(source));
    let threads = available_parallelism().map_or(1, usize::from).min(MOST_DECODING).min(all);
    let done = ssl_cli::in_order(threads, sources, load, |(source, loaded)| {
        let outputs = runner.run(source, loaded);
        let found = outputs.and_then(|outputs| {
            last = outputs;
            found(arguments, model, &labels, &last).map_err(|e| Failed::Image(e.context(source.to_string())))
        });
        let found = match found {
            Ok(found) => found,
            Err(Failed::Call(e)) => return Err(e),
            Err(Failed::Image(e)) if all == 1 => return Err(e),
            Err(Failed::Image(e)) => {
                failed += 1;
                let message = ssl_cli::message(&e);
                progress.around(|| ssl_cli::note("ssl-run", &message));
                Found::Error(message)
            }
        };
        progress.advance();
        progress.around(|| answers.print(&Answer { image: source.to_string(), found }))
    });
    progress.finish();
    answers.end()?;
    done?;
    if failed == 0 {
        finite::say_finite(arguments);
    }
    ensure!(failed < all, "none of the {all} images could be run");
    if failed > 0 {
        bail!(CheckFailed(format!("{failed} of {all} images could not be run")));
    }
    target.map_or(Ok(()), |target| target.write(last))
}

/// Runs one image after the other.
struct Runner<'a> {
    arguments: &'a Arguments,
    model: &'a Model,
    input: &'a TensorInfo,
    session: Option<Session>,
}

/// Why an image was not run.
enum Failed {
    /// Others may be.
    Image(Error),
    /// No other would be.
    Call(Error),
}

impl Runner<'_> {
    /// What the model yields for an image that was loaded.
    fn run(&mut self, source: &Source, loaded: Result<(Vec<usize>, Vec<f32>)>) -> Result<Vec<Output>, Failed> {
        let (shape, pixels) = loaded.map_err(Failed::Image)?;
        // Where the model leaves the size open, it is the image's, and what is wrong with it concerns no other.
        let is_own_size = self.input.dims.iter().skip(1).any(|dim| matches!(dim, Dim::Symbolic { .. }));
        let outputs = self.outputs(source, shape, pixels);
        outputs.map_err(|e| if is_own_size { Failed::Image(e.context(source.to_string())) } else { Failed::Call(e) })
    }

    fn outputs(&mut self, source: &Source, mut shape: Vec<usize>, mut pixels: Vec<f32>) -> Result<Vec<Output>> {
        // A model whose batch is fixed runs one image and blank ones.
        shape[0] = crate::batch(&self.input.dims, 1);
        let session = match &mut self.session {
            Some(session) if session.plan().input_shapes().next() == Some(&shape) => session,
            other => {
                let plan = prepare(self.arguments, self.model, std::slice::from_ref(&shape))?;
                other.insert(finite::session(self.arguments, &plan))
            }
        };
        let blank = "expected --input with a whole batch, found an image";
        ensure!(shape[0] == 1 || !session.plan().mixes_images(), "the model mixes the {} images of a batch: {blank}", shape[0]);
        pixels.resize(shape.iter().product(), 0.0);
        let inputs = [TensorView::new(&shape, &pixels)?];
        let plan = session.plan().clone();
        let outputs = session.run_all(&inputs)?;
        self.model.ensure_unchanged()?;
        finite::check(&plan, outputs, &inputs, || source.to_string())?;
        outputs.iter().map(|(_, view)| of_one_image(view, shape[0])).collect()
    }
}

/// The model's only input.
pub(crate) fn input(model: &Model) -> Result<TensorInfo> {
    let mut inputs = model.inputs();
    match (inputs.pop(), inputs.len()) {
        (Some(input), 0) => Ok(input),
        (_, others) => bail!("the model has {} inputs: expected --input for each of them, found an image", others + 1),
    }
}

/// What a run on a batch yields for its first image; all, where the batch is of one.
fn of_one_image(view: TensorView<'_>, batch: usize) -> Result<Output> {
    if batch == 1 {
        return Ok(Output::of(view));
    }
    let mut output = Output::default();
    output.append(view, 1).map(|()| output)
}

/// The likeliest classes, if the model's only output is one number a class, and something says that these are classes: their names, or
/// that it yields probabilities.
fn found(arguments: &Arguments, model: &Model, labels: &[String], outputs: &[Output]) -> Result<Found> {
    let are_probabilities = model.yields_probabilities();
    Ok(match outputs {
        [output] if ssl_images::is_one_a_class(&output.shape) && (are_probabilities || !labels.is_empty()) => {
            Found::Classes(top(&output.elements, are_probabilities, labels, arguments.top)?)
        }
        _ => Found::Outputs(outputs.iter().zip(model.output_names().into_iter().zip(model.output_types())).map(tensor).collect()),
    })
}

fn tensor((output, (name, element_type)): (&Output, (&str, sslm::ElementType))) -> Tensor {
    let Output { shape, elements } = output;
    Tensor {
        name: name.to_owned(),
        element_type: element_type.name(),
        shape: shape.clone(),
        least: elements.iter().copied().fold(f32::INFINITY, f32::min),
        greatest: elements.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        elements: (elements.len() <= FEW).then(|| elements.clone()),
    }
}

fn labels(arguments: &Arguments, model: &Model) -> Result<Vec<String>> {
    let Some(path) = &arguments.labels else { return Ok(model.labels().to_vec()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn top(outputs: &[f32], are_probabilities: bool, labels: &[String], count: usize) -> Result<Vec<Class>> {
    let class = |ssl_images::Class { index, probability, output }| Class {
        index,
        label: labels.get(index).cloned(),
        probability,
        output,
    };
    Ok(ssl_images::likeliest(outputs, are_probabilities, count)?.into_iter().map(class).collect())
}
