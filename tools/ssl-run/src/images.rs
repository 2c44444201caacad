//! Images in, and out what the model says of each: the likeliest classes, or what its outputs hold.

use crate::outputs::{Output, Target};
use crate::{Arguments, prepare, preprocess};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use ssl_cli::printable;
use sslm::{Model, Session, TensorInfo, TensorView};
use std::io::Write;

/// An output of at most so many elements is printed whole.
const FEW: usize = 10;

#[derive(Serialize)]
struct Answer {
    image: String,
    #[serde(flatten)]
    found: Found,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    Classes(Vec<Class>),
    Outputs(Vec<Tensor>),
}

#[derive(Serialize)]
struct Class {
    index: usize,
    label: Option<String>,
    probability: f32,
    /// What the network yields for the class: a logit, or the probability itself if it ends in Softmax.
    output: f32,
}

/// What an output holds.
#[derive(Serialize)]
struct Tensor {
    name: String,
    #[serde(rename = "type")]
    element_type: &'static str,
    shape: Vec<usize>,
    least: f32,
    greatest: f32,
    /// All elements, if they are few.
    elements: Option<Vec<f32>>,
}

pub(crate) fn run(arguments: &Arguments, model: &Model) -> Result<()> {
    let input = input(model)?;
    let target = Target::new(arguments, model)?;
    ensure!(target.is_none() || arguments.images.len() == 1, "--output: expected one image, found {}", arguments.images.len());
    let (rule, layout) = preprocess::rule(model, &input, &arguments.preprocessing)?;
    let labels = labels(arguments, model)?;
    let mut session: Option<Session> = None;
    let (mut answers, mut last) = (Vec::new(), Vec::new());
    for path in &arguments.images {
        let (mut shape, mut pixels) = ssl_images::load(path, &rule, &input.dims, layout)?;
        // A model whose batch is fixed runs one image and blank ones.
        shape[0] = crate::batch(&input.dims, 1);
        let session = match &mut session {
            Some(session) if session.plan().input_shapes().next() == Some(&shape) => session,
            other => other.insert(prepare(arguments, model, std::slice::from_ref(&shape))?.session()),
        };
        let blank = "expected --input with a whole batch, found an image";
        ensure!(shape[0] == 1 || !session.plan().mixes_images(), "the model mixes the {} images of a batch: {blank}", shape[0]);
        pixels.resize(shape.iter().product(), 0.0);
        let outputs = session.run_all(&[TensorView::new(&shape, &pixels)?])?;
        last = outputs.iter().map(|(_, view)| of_one_image(view, shape[0])).collect::<Result<_>>()?;
        answers.push(Answer { image: path.display().to_string(), found: found(arguments, model, &labels, &last) });
    }
    print(arguments, &answers)?;
    target.map_or(Ok(()), |target| target.write(last))
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
fn found(arguments: &Arguments, model: &Model, labels: &[String], outputs: &[Output]) -> Found {
    let are_probabilities = model.yields_probabilities();
    match outputs {
        [output] if is_one_a_class(output) && (are_probabilities || !labels.is_empty()) => {
            Found::Classes(top(&output.elements, are_probabilities, labels, arguments.top))
        }
        _ => Found::Outputs(outputs.iter().zip(model.output_names().into_iter().zip(model.output_types())).map(tensor).collect()),
    }
}

/// Whether an output is such as `[1, classes]` or `[1, classes, 1, 1]`.
fn is_one_a_class(output: &Output) -> bool {
    matches!(&output.shape[..], [1, classes, rest @ ..] if *classes > 1 && rest.iter().all(|&extent| extent == 1))
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

fn print(arguments: &Arguments, answers: &[Answer]) -> Result<()> {
    let mut out = ssl_cli::stdout();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(answers)?)?;
        return Ok(());
    }
    for Answer { image, found } in answers {
        writeln!(out, "{}", printable(image))?;
        match found {
            Found::Classes(classes) => {
                for class in classes {
                    let label = class.label.as_deref().map_or_else(|| format!("class {}", class.index), printable);
                    writeln!(out, "  {:6.2} %  {label}", class.probability * 100.0)?;
                }
            }
            Found::Outputs(outputs) => {
                for Tensor { name, element_type, shape, least, greatest, elements } in outputs {
                    let all = elements.iter().flatten().map(f32::to_string).collect::<Vec<_>>().join(" ");
                    let holds = if elements.is_some() { all } else { format!("{least} to {greatest}") };
                    writeln!(out, "  '{}' {element_type} {shape:?}: {holds}", printable(name))?;
                }
            }
        }
    }
    Ok(())
}

fn labels(arguments: &Arguments, model: &Model) -> Result<Vec<String>> {
    let Some(path) = &arguments.labels else { return Ok(model.labels().to_vec()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn top(outputs: &[f32], are_probabilities: bool, labels: &[String], count: usize) -> Vec<Class> {
    let max = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = outputs.iter().map(|x| (x - max).exp()).sum();
    let probability = |x: f32| if are_probabilities { x } else { (x - max).exp() / sum };
    let mut order: Vec<usize> = (0..outputs.len()).collect();
    order.sort_by(|&a, &b| outputs[b].total_cmp(&outputs[a]));
    let class = |index: usize| Class {
        index,
        label: labels.get(index).cloned(),
        probability: probability(outputs[index]),
        output: outputs[index],
    };
    order.into_iter().take(count).map(class).collect()
}
