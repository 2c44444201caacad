//! Where the time of a user's own model goes, layer by layer, beside its dense form, and which layer to prune next.

use crate::document::{Part, Section, Table};
use anyhow::{Context, Result, bail, ensure};
use ssl_cli::{Limits, kept_of, short};
use sslm::{Dim, KeptCount, Model, Options, Plan, Session, TensorView, Threads};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a model is run at least, and how often.
const PATIENCE: Duration = Duration::from_secs(2);
const LEAST_RUNS: usize = 20;

/// How many layers are told to be worth pruning.
const CANDIDATES: usize = 3;

/// What is known of a layer.
struct Layer {
    name: String,
    op: String,
    macs: usize,
    us: f64,
}

/// One form of a model, and what its runs took.
struct Timed {
    plan: Plan,
    session: Session,
    runs: Vec<Duration>,
    /// The times of each step.
    steps: Vec<Vec<Duration>>,
}

impl Timed {
    fn new(model: &Model, options: &Options) -> Result<Self> {
        let plan = model.prepare(options)?;
        let mut session = plan.session();
        session.set_timing(true);
        let steps = vec![Vec::new(); plan.steps().len()];
        Ok(Timed { plan, session, runs: Vec::new(), steps })
    }

    fn run(&mut self, input: TensorView<'_>) -> Result<()> {
        let start = Instant::now();
        self.session.run(input)?;
        self.runs.push(start.elapsed());
        self.steps.iter_mut().zip(self.session.step_times()).for_each(|(all, &time)| all.push(time));
        Ok(())
    }

    /// Steps of the same node together: a node can have a `Select` beside it.
    fn layers(&mut self) -> Vec<Layer> {
        let mut layers: Vec<Layer> = Vec::new();
        for (step, times) in self.plan.steps().zip(&mut self.steps) {
            let us = quartiles(times)[1];
            match layers.last_mut().filter(|layer| layer.name == step.name) {
                Some(layer) => {
                    // What computes names it, not what changes layouts for that.
                    if step.macs > layer.macs {
                        layer.op = step.op.to_owned();
                    }
                    (layer.us, layer.macs) = (layer.us + us, layer.macs + step.macs);
                }
                None => layers.push(Layer { name: step.name.to_owned(), op: step.op.to_owned(), macs: step.macs, us }),
            }
        }
        layers
    }
}

/// Microseconds.
fn quartiles(times: &mut [Duration]) -> [f64; 3] {
    times.sort();
    [1, 2, 3].map(|quarter| times[(times.len() - 1) * quarter / 4].as_secs_f64() * 1e6)
}

/// Times the model `compact` on one image of random elements, in turns with `dense` if there is one.
///
/// # Errors
/// If a model cannot be run on such an image.
pub fn report(compact: &Model, dense: Option<&Model>, threads: usize, limits: Limits) -> Result<Section> {
    ensure!(threads > 0, "--threads: expected at least 1, found 0");
    let options = Options::new().batch(1).threads(Threads::Count(threads));
    let shape = input_shape(compact)?;
    let timed = |model: &Model| Timed::new(model, &limits.apply(options.clone(), model, 0, 1));
    let mut compact_timed = timed(compact)?;
    let mut dense_timed = dense.map(timed).transpose()?;
    let mut random = fastrand::Rng::with_seed(1);
    let elements: Vec<f32> = (0..shape.iter().product()).map(|_| random.f32() * 2.0 - 1.0).collect();
    let input = TensorView::new(&shape, &elements)?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE || compact_timed.runs.len() < LEAST_RUNS {
        compact_timed.run(input)?;
        dense_timed.as_mut().map(|dense| dense.run(input)).transpose()?;
    }
    let layers = compact_timed.layers();
    let dense_layers = dense_timed.as_mut().map(Timed::layers);
    let mut table = layer_table(compact, &layers, dense_layers.as_deref());
    table.caption = format!("Layers, one image, threads: {threads}, medians of {} runs", compact_timed.runs.len());

    let own = quartiles(&mut compact_timed.runs);
    let mut parts = vec![Part::Table(table), Part::Text(format!("A run: {}.", time_and_spread(own)))];
    if let Some(dense) = &mut dense_timed {
        let dense = quartiles(&mut dense.runs);
        let gain = dense[1] / own[1];
        parts.push(Part::Text(format!("The dense form, in turns with it: {}; {gain:.2} times as long.", time_and_spread(dense))));
    }
    parts.extend(advice(&layers).into_iter().map(Part::Text));
    Ok(Section { title: "Where the time goes".to_owned(), parts })
}

/// The shape of one image.
fn input_shape(model: &Model) -> Result<Vec<usize>> {
    let inputs = model.inputs();
    let [input] = &inputs[..] else { bail!("the model has {} inputs: expected one", inputs.len()) };
    let extent = |(axis, dim): (usize, &Dim)| match dim {
        Dim::Fixed { size } => usize::try_from(*size).context("the input is too large"),
        Dim::Symbolic { .. } if axis == 0 => Ok(1),
        Dim::Symbolic { name } => bail!("the input's extent '{name}' is open: expected a model for one image size"),
    };
    input.dims.iter().enumerate().map(extent).collect()
}

/// Columns of the layers' table that a terminal of no great width goes without, in that order.
pub const DISPENSABLE: &[&str] = &["dense MACs", "filters", "columns", "MACs"];

fn layer_table(model: &Model, layers: &[Layer], dense: Option<&[Layer]>) -> Table {
    let headings = ["layer", "op", "filters", "columns", "MACs", "time", "share", "dense MACs", "dense", "predicted", "gain"];
    let shown = if dense.is_some() { headings.len() } else { headings.len() - 4 };
    let mut table = Table::new("", &headings[..shown], 2);
    let total: f64 = layers.iter().map(|layer| layer.us).sum();
    let mut own: HashMap<&str, &Layer> = layers.iter().map(|layer| (layer.name.as_str(), layer)).collect();
    let time = |us: f64| ssl_cli::time(us / 1e6);
    // In the dense order, in which removed layers have a place.
    for layer in dense.unwrap_or(layers) {
        let now = own.remove(layer.name.as_str());
        let macs = now.map_or(0, |now| now.macs);
        let us = now.map_or(0.0, |now| now.us);
        let [filters, columns] = kept(model, &layer.name);
        let mut row = vec![layer.name.clone(), layer.op.clone(), filters, columns, short(macs as u64)];
        let spent = |us| [time(us), format!("{:.0} %", 100.0 * us / total)];
        row.extend(now.map_or_else(Default::default, |now| spent(now.us)));
        if dense.is_some() {
            // As much less time as there are fewer multiply-accumulates.
            let predicted = (layer.macs > 0 && macs > 0).then(|| layer.us * macs as f64 / layer.macs as f64);
            let gain = if us > 0.0 { format!("{:.2}x", layer.us / us) } else { "removed".to_owned() };
            row.extend([short(layer.macs as u64), time(layer.us), predicted.map_or(String::new(), time), gain]);
        }
        table.rows.push(row);
    }
    table
}

/// Filters and columns of the node of that name, where it has such.
fn kept(model: &Model, name: &str) -> [String; 2] {
    let Some(layer) = model.layers().find(|layer| layer.name == name) else { return [String::new(), String::new()] };
    let count = |count: Option<KeptCount>| count.map_or_else(String::new, |c| kept_of(c.kept, c.of));
    [count(layer.sizes.filters), count(layer.sizes.columns)]
}

fn time_and_spread([lower, median, upper]: [f64; 3]) -> String {
    format!("{}, spread {:.0} %", ssl_cli::time(median / 1e6), 100.0 * (upper - lower) / median)
}

/// The bottleneck, and what to prune next.
fn advice(layers: &[Layer]) -> Vec<String> {
    let total: f64 = layers.iter().map(|layer| layer.us).sum();
    let share = |layer: &Layer| 100.0 * layer.us / total;
    let mut slowest: Vec<&Layer> = layers.iter().collect();
    slowest.sort_by(|a, b| b.us.total_cmp(&a.us));
    let bottleneck =
        slowest.first().map(|layer| format!("The bottleneck is {}: {:.0} % of all layers.", layer.name, share(layer)));
    let prunable: Vec<String> = slowest
        .iter()
        .filter(|layer| layer.macs > 0)
        .take(CANDIDATES)
        .map(|layer| format!("{} ({})", layer.name, ssl_cli::time(layer.us / 10.0 / 1e6)))
        .collect();
    let next = format!(
        "What to prune next: a tenth fewer filters or columns saves about a tenth of a layer's time, most in {}. Fewer filters also \
         save columns in the layers that read them.",
        prunable.join(", ")
    );
    bottleneck.into_iter().chain((!prunable.is_empty()).then_some(next)).collect()
}

/// The dense form of the ONNX network at `path`, to be timed beside `compact`.
///
/// # Errors
/// If it cannot be converted, or has another input.
pub fn dense(path: &Path, compact: &Model) -> Result<Model> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let target = folder.path().join("dense.sslm");
    ssl_convert::convert(path, &target, &ssl_convert::Options { dense: true, ..Default::default() })?;
    // A map outlives the file's name.
    let dense = ssl_cli::open_model(&target)?;
    let shapes = [input_shape(compact)?, input_shape(&dense)?];
    let what = "expected the network that the model was converted from";
    ensure!(shapes[0] == shapes[1], "{}: {what}, with an input of {:?}, found one of {:?}", path.display(), shapes[0], shapes[1]);
    Ok(dense)
}
