//! `ssl-run`: the command line of the runtime. [`classify`] runs images, [`tensors`] runs arrays, [`timing`] and [`tune`] measure what
//! [`sample`] gives them; [`preprocess`] says how an image becomes a tensor.

mod classify;
mod preprocess;
mod sample;
mod tensors;
mod timing;
mod tune;

use anyhow::{Result, bail, ensure};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use preprocess::Flags;
use ssl_cli::Named;
use ssl_images::describe;
use sslm::{Dim, Model, Options, Plan, Threads, TransformedWeights, Tuning};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Once;

/// Classify images with a .sslm model, or run, profile, time and tune it on raw tensors.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  ssl-run lenet.sslm digit.png                        # the five likeliest classes
  ssl-run --json --top 1 lenet.sslm *.png             # the same for programs
  ssl-run lenet.sslm --input x.npy --output y.npy     # float32, leading batch of any size
  ssl-run lenet.sslm --bench 1000 --threads 1         # min, median, p90 of the run and of each layer
  ssl-run lenet.sslm --bench 1000 --backend cuda      # the same on the first CUDA device
  ssl-run lenet.sslm --tune --threads 1               # times every method, stores faster ones for later runs

Results go to stdout, notes to stderr. Exit codes: 0 success, 2 error."
)]
struct Arguments {
    /// The model
    model: PathBuf,
    /// PNG or JPEG images to classify
    images: Vec<PathBuf>,
    /// How many classes to print for each image
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Run this float32 .npy array instead of images
    #[arg(long, value_name = "NPY", conflicts_with = "images")]
    input: Option<PathBuf>,
    /// Where the result of --input goes
    #[arg(long, value_name = "NPY", requires = "input")]
    output: Option<PathBuf>,
    /// Images per run for --input, --bench and --tune, where the model leaves it open [default: 32 for --input, or all where the model
    /// mixes images; else 1]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Print the time of each layer, of one run after a warm-up
    #[arg(long, conflicts_with = "bench")]
    profile: bool,
    /// Run N times after a warm-up and print min, median and p90 of the run and of each layer. Input: the first image or the
    /// first batch of --input; random elements if there is neither. At most a million times
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    bench: Option<usize>,
    /// Time every method of computing each convolution, for some ten seconds, and store which was fastest in MODEL.tuning.json if
    /// that makes whole runs faster beyond noise; else a file that is there stays as it is. Later runs of the same model, input shape
    /// and threads on the same kind of CPU use that file. Input: as for --bench
    #[arg(long, conflicts_with_all = ["bench", "profile", "output"])]
    tune: bool,
    /// Threads to compute with, at most 1024 [default: all, or one for small models]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Compute with this instruction set of the CPU, as CPUs do that have no better one: avx512, avx2 or portable [default: the best]
    #[arg(long, value_name = "SET")]
    isa: Option<sslm::Isa>,
    /// Keep at most so much memory of weights that are transformed once instead of in every run, in MiB; 0 keeps none [default: as much
    /// as the model's weights take, and at least 8]
    #[arg(long, value_name = "MIB")]
    transformed_weights: Option<usize>,
    /// What computes: the CPU, the first CUDA device, or that device if it can be used and else the CPU
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Backend::Cpu, conflicts_with = "tune")]
    backend: Backend,
    /// How a CUDA device rounds the products of convolutions and fully connected layers; --bench and --profile say what that changes
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Precision::Fp32)]
    precision: Precision,
    /// Class names, one a line, instead of the model's own
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    preprocessing: Flags,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Backend {
    Cpu,
    Cuda,
    Auto,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Precision {
    /// As the CPU does
    Fp32,
    /// Factors are rounded to 10 bits, for tensor cores
    Tf32,
    /// Factors are stored as halves, with 10 bits up to 65504: faster still, where weights and activations fit
    Fp16,
}

impl Arguments {
    /// All files that are read.
    fn inputs(&self) -> Vec<Named<'_>> {
        let options = [("MODEL", Some(&*self.model)), ("--input", self.input.as_deref()), ("--labels", self.labels.as_deref())];
        let images = self.images.iter().map(|image| ("IMAGES", Some(&**image)));
        options.into_iter().chain(images).collect()
    }
}

fn main() -> ExitCode {
    ssl_cli::main("ssl-run", run)
}

fn run(arguments: &Arguments) -> Result<()> {
    let tuning = arguments.tune.then(|| Tuning::path_for(&arguments.model));
    let outputs = [("--output", arguments.output.as_deref()), ("--tune", tuning.as_deref())];
    ssl_cli::ensure_apart(&arguments.inputs(), &outputs)?;
    let model = Model::open(&arguments.model)?;
    model.verify_weights()?;
    ensure!(arguments.top > 0, "--top: expected at least 1, found 0");
    ensure!(arguments.batch != Some(0), "--batch: expected at least 1, found 0");
    ensure!(
        arguments.backend != Backend::Cpu || arguments.precision == Precision::Fp32,
        "--precision: expected fp32 on the CPU (--backend cuda or auto has others)"
    );
    if arguments.tune {
        tune::run(arguments, &model)
    } else if arguments.profile || arguments.bench.is_some() {
        timing::run(arguments, &model)
    } else if let Some(input) = &arguments.input {
        tensors::run(arguments, &model, input)
    } else if arguments.images.is_empty() {
        bail!("nothing to run: expected images, --input, --bench or --tune (see --help)")
    } else {
        classify::run(arguments, &model)
    }
}

/// A plan for an input of shape `shape`, by the tuning that lies beside the model if it fits. Where the CPU has to do what a device was
/// asked for, stderr says so, once.
fn prepare(arguments: &Arguments, model: &Model, shape: &[usize]) -> Result<Plan> {
    static SAID: Once = Once::new();
    let plan = tune::prepare(&arguments.model, model, &options(arguments, model, shape)?)?;
    if let Some(why) = plan.fallback() {
        SAID.call_once(|| ssl_cli::note("ssl-run", format!("the CPU computes: {why}")));
    }
    Ok(plan)
}

/// Options by which symbolic dims are those of an input of shape `shape`.
fn options(arguments: &Arguments, model: &Model, shape: &[usize]) -> Result<Options> {
    let threads = match arguments.threads {
        None => Threads::Auto,
        Some(0) => bail!("--threads: expected at least 1, found 0"),
        Some(n) => Threads::Count(n),
    };
    let backend = match arguments.backend {
        Backend::Cpu => sslm::Backend::Cpu,
        Backend::Cuda => sslm::Backend::Cuda,
        Backend::Auto => sslm::Backend::Auto,
    };
    let precision = match arguments.precision {
        Precision::Fp32 => sslm::Precision::Fp32,
        Precision::Tf32 => sslm::Precision::Tf32,
        Precision::Fp16 => sslm::Precision::Fp16,
    };
    let mut options = Options::new().threads(threads).backend(backend).precision(precision);
    if let Some(isa) = arguments.isa {
        options = options.isa(isa);
    }
    if let Some(mib) = arguments.transformed_weights {
        options = options.transformed_weights(TransformedWeights::AtMost(mib.saturating_mul(1 << 20)));
    }
    let dims = input_dims(model)?;
    ensure!(dims.len() == shape.len(), "the model's input has {} axes, what is given has {}: {shape:?}", dims.len(), shape.len());
    for (dim, &extent) in dims.iter().zip(shape) {
        match dim {
            Dim::Fixed { size } => {
                ensure!(*size == extent as u64, "the model's input is {}, what is given is {shape:?}", describe(&dims))
            }
            Dim::Symbolic { name } => options = options.dim(name, extent),
        }
    }
    Ok(options)
}

/// The dims of the model's one input.
fn input_dims(model: &Model) -> Result<Vec<Dim>> {
    match &model.inputs()[..] {
        [input] => Ok(input.dims.clone()),
        inputs => bail!("the model has {} inputs: expected one (use the library for others)", inputs.len()),
    }
}

/// The batch of a run where `wanted` images are to be run in all.
fn batch(dims: &[Dim], wanted: usize) -> usize {
    match dims.first() {
        Some(Dim::Fixed { size }) => usize::try_from(*size).unwrap_or(usize::MAX),
        _ => wanted,
    }
}
