//! Images in, likeliest classes out.

use crate::{Arguments, input_dims, prepare, preprocess};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use sslm::{Model, Session, TensorView};
use std::io::Write;

#[derive(Serialize)]
struct Answer {
    image: String,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    index: usize,
    label: Option<String>,
    probability: f32,
    /// What the network yields for the class: a logit, or the probability itself if it ends in Softmax.
    output: f32,
}

pub(crate) fn run(arguments: &Arguments, model: &Model) -> Result<()> {
    let dims = input_dims(model)?;
    let rule = preprocess::rule(model, &dims, &arguments.preprocessing)?;
    let labels = labels(arguments, model)?;
    let are_probabilities = model.yields_probabilities();
    let mut session: Option<Session> = None;
    let mut answers = Vec::new();
    for path in &arguments.images {
        let (mut shape, mut pixels) = ssl_images::load(path, &rule, &dims)?;
        // A model whose batch is fixed runs one image and blank ones.
        shape[0] = crate::batch(&dims, 1);
        let session = match &mut session {
            Some(session) if session.plan().input_shapes().next() == Some(&shape) => session,
            other => other.insert(prepare(arguments, model, &shape)?.session()),
        };
        let blank = "expected --input with a whole batch, found an image";
        ensure!(shape[0] == 1 || !session.plan().mixes_images(), "the model mixes the {} images of a batch: {blank}", shape[0]);
        pixels.resize(shape.iter().product(), 0.0);
        let output = session.run(TensorView::new(&shape, &pixels)?)?;
        let classes = classes(output, shape[0]).with_context(|| format!("{}", path.display()))?;
        answers.push(Answer {
            image: path.display().to_string(),
            classes: top(&classes, are_probabilities, &labels, arguments.top),
        });
    }
    let mut out = ssl_cli::stdout();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answers)?)?;
        return Ok(());
    }
    for answer in &answers {
        writeln!(out, "{}", ssl_cli::printable(&answer.image))?;
        for class in &answer.classes {
            let label = class.label.as_deref().map_or_else(|| format!("class {}", class.index), ssl_cli::printable);
            writeln!(out, "  {:6.2} %  {label}", class.probability * 100.0)?;
        }
    }
    Ok(())
}

fn labels(arguments: &Arguments, model: &Model) -> Result<Vec<String>> {
    let Some(path) = &arguments.labels else { return Ok(model.labels().to_vec()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The scores of the first image of an output such as `[batch, classes]` or `[batch, classes, 1, 1]`.
fn classes(output: TensorView<'_>, batch: usize) -> Result<Vec<f32>> {
    let shape = output.shape();
    let classes = output.data().len() / batch.max(1);
    ensure!(
        shape.first() == Some(&batch)
            && shape.iter().filter(|&&e| e > 1 && e != batch).count() <= 1
            && shape.len() >= 2
            && shape[1] == classes,
        "the output is {shape:?}: expected [batch, classes] (use --input and --output for others)"
    );
    Ok(output.data()[..classes].to_vec())
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
