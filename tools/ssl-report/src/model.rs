//! Where the time of a user's own model goes, layer by layer, beside its dense form, and which layer to prune next.

use crate::document::{Part, Section, Table};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use ssl_cli::{Limits, kept_of, short};
use ssl_quiet::cores::Cores;
use ssl_quiet::{Calls, Quartiles, Quiet, Sample};
use sslm::{Dim, KeptCount, Model, Options, Plan, Session, TensorView, Threads};
use std::collections::HashMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// For how long samples are taken at least, and how many.
const PATIENCE: Duration = Duration::from_secs(2);
const LEAST_SAMPLES: usize = 20;

/// How many layers are told to be worth pruning.
const CANDIDATES: usize = 3;

/// What one form of a model takes for a layer.
struct Layer {
    name: String,
    op: String,
    macs: usize,
    us: f64,
    quiet: usize,
}

/// What was measured of a model, for programs as it is.
#[derive(Serialize)]
pub struct Measured {
    threads: usize,
    run_us: Times,
    /// Of the dense form, in turns with the model.
    dense_run_us: Option<Times>,
    layers: Vec<Row>,
}

#[derive(Clone, Copy, Serialize)]
struct Times {
    lower: f64,
    median: f64,
    upper: f64,
    /// How many samples these are of: those that nobody disturbed. At 0 there was none, and they are of all.
    quiet: usize,
    samples: usize,
}

/// A layer of the model and of its dense form. What one of them does not have takes nothing there.
#[derive(Serialize)]
struct Row {
    name: String,
    op: String,
    filters: Option<Kept>,
    columns: Option<Kept>,
    macs: usize,
    us: f64,
    dense_macs: Option<usize>,
    dense_us: Option<f64>,
    /// As much less than dense as there are fewer multiply-accumulates.
    predicted_us: Option<f64>,
    /// How many quiet samples each of its times is of at least. At 0 one of them is of disturbed samples.
    quiet: usize,
}

#[derive(Clone, Copy, Serialize)]
struct Kept {
    kept: usize,
    of: usize,
}

/// One form of a model, and what its runs took.
struct Timed {
    plan: Plan,
    session: Session,
    calls: Calls,
    samples: Vec<Sample>,
    /// The times of each step.
    steps: Vec<Vec<Sample>>,
}

impl Timed {
    fn new(model: &Model, options: &Options) -> Result<Self> {
        let plan = model.prepare(options)?;
        let mut session = plan.session();
        session.set_timing(true);
        let steps = vec![Vec::new(); plan.steps().len()];
        Ok(Timed { plan, session, calls: Calls::ONE, samples: Vec::new(), steps })
    }

    /// Finds out how samples are taken.
    fn warm(&mut self, input: TensorView<'_>) -> Result<()> {
        let mut result = Ok(());
        self.calls = Calls::one(|| result = self.session.run(input).map(drop));
        Ok(result?)
    }

    /// Takes a sample, which is one run, in a quiet moment, if those can be told from others.
    fn sample(&mut self, input: TensorView<'_>, quiet: Option<&mut Quiet<'_>>) -> Result<()> {
        let mut result = Ok(());
        let mut run = || result = self.session.run(input).map(drop);
        let sample = match quiet {
            Some(quiet) => quiet.sample(self.calls, run),
            None => {
                let start = Instant::now();
                run();
                Sample { seconds: start.elapsed().as_secs_f64(), quiet: false }
            }
        };
        result?;
        self.samples.push(sample);
        let steps = self.steps.iter_mut().zip(self.session.step_times());
        steps.for_each(|(all, time)| all.push(Sample { seconds: time.as_secs_f64(), ..sample }));
        Ok(())
    }

    /// Steps of the same node together: a node can have a `Select` beside it.
    fn layers(&self) -> Vec<Layer> {
        let mut layers: Vec<Layer> = Vec::new();
        for (step, samples) in self.plan.steps().zip(&self.steps) {
            let Times { median: us, quiet, .. } = Times::of(samples);
            match layers.last_mut().filter(|layer| layer.name == step.name) {
                Some(layer) => {
                    // What computes names it, not what changes layouts for that.
                    if step.macs > layer.macs {
                        layer.op = step.op.to_owned();
                    }
                    (layer.us, layer.macs) = (layer.us + us, layer.macs + step.macs);
                }
                None => layers.push(Layer { name: step.name.to_owned(), op: step.op.to_owned(), macs: step.macs, us, quiet }),
            }
        }
        layers
    }
}

/// Times the model `compact` on one image of random elements, in turns with `dense` if there is one, in quiet moments on cores of its own.
///
/// # Errors
/// If a model cannot be run on such an image.
pub fn measure(compact: &Model, dense: Option<&Model>, threads: usize, limits: Limits) -> Result<Measured> {
    ensure!(threads > 0, "--threads: expected at least 1, found 0");
    // On a thread of its own, which stays on one core: the caller's goes on wherever it may.
    let measured = thread::scope(|scope| scope.spawn(|| measure_here(compact, dense, threads, limits)).join());
    measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn measure_here(compact: &Model, dense: Option<&Model>, threads: usize, limits: Limits) -> Result<Measured> {
    let options = Options::new().batch(1).threads(Threads::Count(threads));
    let shape = input_shape(compact)?;
    // Where there are fewer cores than threads, these disturb each other.
    let cores = Cores::new(threads);
    let mut quiet = cores.as_ref().map(Quiet::new);
    let timed = |model: &Model| {
        let prepare = || Timed::new(model, &limits.apply(options.clone(), model, 0, 1));
        cores.as_ref().map_or_else(prepare, |cores| cores.adopt(prepare))
    };
    let mut compact_timed = timed(compact)?;
    let mut dense_timed = dense.map(timed).transpose()?;
    let mut random = fastrand::Rng::with_seed(1);
    let elements: Vec<f32> = (0..shape.iter().product()).map(|_| random.f32() * 2.0 - 1.0).collect();
    let input = TensorView::new(&shape, &elements)?;
    compact_timed.warm(input)?;
    dense_timed.as_mut().map(|dense| dense.warm(input)).transpose()?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE || compact_timed.samples.len() < LEAST_SAMPLES {
        compact_timed.sample(input, quiet.as_mut())?;
        dense_timed.as_mut().map(|dense| dense.sample(input, quiet.as_mut())).transpose()?;
    }
    Ok(Measured {
        threads,
        run_us: Times::of(&compact_timed.samples),
        dense_run_us: dense_timed.as_ref().map(|dense| Times::of(&dense.samples)),
        layers: rows(compact, compact_timed.layers(), dense_timed.as_ref().map(Timed::layers)),
    })
}

/// What each layer takes, in the dense order, in which removed layers have a place.
fn rows(model: &Model, layers: Vec<Layer>, dense: Option<Vec<Layer>>) -> Vec<Row> {
    let row = |now: Option<Layer>, dense: Option<Layer>| {
        let (macs, us) = now.as_ref().map_or((0, 0.0), |now| (now.macs, now.us));
        let quiet = [&now, &dense].into_iter().flatten().map(|layer| layer.quiet).min()?;
        let predicted_us = dense.as_ref().filter(|d| d.macs > 0).map(|d| d.us * macs as f64 / d.macs as f64);
        let (dense_macs, dense_us) = dense.as_ref().map(|d| (d.macs, d.us)).unzip();
        let Layer { name, op, .. } = dense.or(now)?;
        let [filters, columns] = kept(model, &name);
        Some(Row { name, op, filters, columns, macs, us, dense_macs, dense_us, predicted_us, quiet })
    };
    let Some(dense) = dense else { return layers.into_iter().filter_map(|layer| row(Some(layer), None)).collect() };
    let mut own: HashMap<String, Layer> = layers.into_iter().map(|layer| (layer.name.clone(), layer)).collect();
    dense.into_iter().filter_map(|dense| row(own.remove(&dense.name), Some(dense))).collect()
}

impl Measured {
    /// The same in words and figures.
    pub fn section(&self) -> Section {
        let Measured { threads, run_us, dense_run_us, .. } = self;
        let mut table = self.table();
        table.caption = format!("Layers, one image, threads: {threads}, medians");
        let mut parts = vec![Part::Table(table), Part::Text(format!("A run: {}.", run_us.text()))];
        if let Some(dense) = dense_run_us {
            let gain = dense.median / run_us.median;
            let gain = if dense.quiet.min(run_us.quiet) > 0 { format!("; {gain:.2} times as long") } else { String::new() };
            parts.push(Part::Text(format!("The dense form, in turns with it: {}{gain}.", dense.text())));
        }
        if self.layers.iter().any(|layer| layer.quiet == 0) {
            let text = "* of disturbed samples, which say more about what else runs on the machine than about the model.";
            parts.push(Part::Text(text.to_owned()));
        }
        parts.extend(advice(&self.layers).into_iter().map(Part::Text));
        Section { title: "Where the time goes".to_owned(), parts }
    }

    fn table(&self) -> Table {
        let headings = ["layer", "op", "filters", "columns", "MACs", "time", "share", "dense MACs", "dense", "predicted", "gain"];
        let has_dense = self.dense_run_us.is_some();
        let mut table = Table::new("", &headings[..if has_dense { headings.len() } else { headings.len() - 4 }], 2);
        let total: f64 = self.layers.iter().map(|layer| layer.us).sum();
        let time = |us: f64| ssl_cli::time(us / 1e6);
        let count = |kept: Option<Kept>| kept.map_or_else(String::new, |Kept { kept, of }| kept_of(kept, of));
        for layer in &self.layers {
            let is_there = layer.us > 0.0;
            let mut row = vec![layer.name.clone(), layer.op.clone(), count(layer.filters), count(layer.columns)];
            row.push(short(layer.macs as u64));
            let disturbed = if layer.quiet == 0 { " *" } else { "" };
            row.extend(if is_there {
                [time(layer.us) + disturbed, format!("{:.0} %", 100.0 * layer.us / total)]
            } else {
                Default::default()
            });
            if let (Some(macs), Some(us)) = (layer.dense_macs, layer.dense_us) {
                let predicted = layer.predicted_us.filter(|_| layer.macs > 0).map_or(String::new(), time);
                let gain = match (is_there, layer.quiet) {
                    (false, _) => "removed".to_owned(),
                    (true, 0) => "-".to_owned(),
                    (true, _) => format!("{:.2}x", us / layer.us),
                };
                row.extend([short(macs as u64), time(us), predicted, gain]);
            }
            table.rows.push(row);
        }
        table
    }
}

impl Times {
    /// Of samples, of which there must be one.
    fn of(samples: &[Sample]) -> Self {
        let Quartiles { seconds, quiet, samples } = Quartiles::of(samples).expect("a model was run");
        let [lower, median, upper] = seconds.map(|seconds| seconds * 1e6);
        Times { lower, median, upper, quiet, samples }
    }

    fn text(self) -> String {
        let Times { lower, median, upper, quiet, samples } = self;
        let spread = 100.0 * (upper - lower) / median;
        let of = match quiet {
            0 => format!("none of {samples} samples was quiet, so it is of all"),
            _ => format!("of {quiet} quiet samples of {samples}"),
        };
        format!("{}, spread {spread:.0} %, {of}", ssl_cli::time(median / 1e6))
    }
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

/// Filters and columns of the node of that name, where it has such.
fn kept(model: &Model, name: &str) -> [Option<Kept>; 2] {
    let Some(layer) = model.layers().find(|layer| layer.name == name) else { return [None; 2] };
    [layer.sizes.filters, layer.sizes.columns].map(|count| count.map(|KeptCount { kept, of }| Kept { kept, of }))
}

/// The bottleneck, and what to prune next.
fn advice(layers: &[Row]) -> Vec<String> {
    let total: f64 = layers.iter().map(|layer| layer.us).sum();
    let share = |layer: &Row| 100.0 * layer.us / total;
    let mut slowest: Vec<&Row> = layers.iter().collect();
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
/// If it cannot be converted, has another input, or is another file than the one that the model says it was converted from. Not every model
/// says that.
pub fn dense(path: &Path, compact: &Model) -> Result<Model> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let target = folder.path().join("dense.sslm");
    ssl_convert::convert(path, &target, &ssl_convert::Options { dense: true, ..Default::default() })?;
    // A map outlives the file's name.
    let dense = ssl_cli::open_model(&target)?;
    let shapes = [input_shape(compact)?, input_shape(&dense)?];
    let what = "expected the network that the model was converted from";
    ensure!(shapes[0] == shapes[1], "{}: {what}, with an input of {:?}, found one of {:?}", path.display(), shapes[0], shapes[1]);
    if let (Some(said), Some(found)) = (compact.provenance(), dense.provenance()) {
        let [expected, other] =
            [said, found].map(|from| from.source_sha256.iter().map(|b| format!("{b:02x}")).collect::<String>());
        ensure!(
            expected == other,
            "{}: {what}, '{}' with SHA-256 {expected}, found one with {other}",
            path.display(),
            ssl_cli::printable(&said.source)
        );
    }
    Ok(dense)
}
