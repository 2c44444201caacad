//! `ssl-run`: the command line of the runtime. `images` runs images, which `sources` names (by `pattern`, too), and `answers` prints what
//! was found; `tensors` runs arrays that `inputs` reads, `timing` (by [`Timing`], which others may use) and `tune` measure what `sample` gives them, `finite` looks
//! for NaN; `outputs` writes what models yield, `preprocess` says how an image becomes a tensor.

mod answers;
mod finite;
mod images;
mod inputs;
mod outputs;
mod pattern;
mod preprocess;
mod sample;
mod sources;
mod tensors;
mod timing;
mod tune;

pub use timing::Timing;

use answers::Format;
use anyhow::{Context, Result, bail, ensure};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use sources::Source;
use ssl_cli::{Limits, Named};
use ssl_images::Flags;
use sslm::{Dim, Model, Options, Plan, Threads, TransformedWeights, Tuning};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Once;

/// Run a .sslm model on images or arrays of NumPy, or profile, time and tune it.
///
/// Of a model that says which classes there are, the likeliest ones of each image are printed; of every other model, what each of its
/// outputs holds. Whole outputs go to a file.
#[derive(Clone, Parser)]
#[command(
    version,
    after_help = "Examples:
  ssl-run lenet.sslm digit.png                        # the five likeliest classes
  ssl-run --json --top 1 lenet.sslm *.png             # the same for programs
  ssl-run resnet.sslm photos/ --format csv >found.csv # all images below a folder, as a table
  curl -s URL | ssl-run resnet.sslm -                 # an image from standard input
  ssl-run unet.sslm photo.jpg --output masks.npy      # the whole output for one image
  ssl-run lenet.sslm --input x.npy --output y.npy     # an array, leading batch of any size
  ssl-run stereo.sslm --input left=l.npy --input right=r.npy --output y.npz    # several inputs, all outputs by name
  ssl-run stereo.sslm --input both.npz --output y.npz # the same, with arrays 'left' and 'right' in one file
  ssl-run lenet.sslm --bench 1000 --threads 1         # min, median, p90 of the run and of each layer
  ssl-run lenet.sslm --bench 1000 --backend cuda      # the same on the first CUDA device
  ssl-run lenet.sslm --tune --threads 1               # times every method, stores faster ones for later runs

Results go to stdout, notes to stderr. Of several images, those that cannot be run are named on stderr (with --json in the list, too, as
an \"error\"), and the others are run. Exit codes: 0 success, 1 some images could not be run
or --check-finite found a layer, 2 error."
)]
struct Arguments {
    /// The model
    model: PathBuf,
    /// Images to run: PNG, JPEG, WebP, GIF (the first frame), BMP or TIFF, the way up that their EXIF says. A folder stands for all
    /// images below it but for names that begin with a dot and what is in such folders, a pattern such as 'photos/*.jpg' for what it
    /// matches, and - for standard input
    images: Vec<PathBuf>,
    /// What `images` stands for.
    #[arg(skip)]
    sources: Vec<Source>,
    /// How many classes to print for each image
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// How results are printed; csv and jsonl are for images. csv, json and jsonl have names as they are, and refuse those that are not
    /// UTF-8; text, and csv on a terminal, escape control characters
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Format::Text)]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Run arrays instead of images: a .npy file; for a model of several inputs NAME=FILE.npy for each, or one .npz file whose arrays
    /// have the inputs' names. Elements are of the type that the model takes
    #[arg(long, value_name = "[NAME=]FILE", conflicts_with = "images")]
    input: Vec<String>,
    /// Where the outputs go: a .npz file takes all of them, by name; a file of another name is a .npy file for the only output. Not for
    /// what is measured: --bench, --profile, --tune
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Images per run for --input, --bench and --tune, where the model leaves it open [default: 32 for --input, or all where the model
    /// mixes images; else 1]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Print the time of each layer and of a run: as --bench, of as many runs as take a moment
    #[arg(long, conflicts_with_all = ["bench", "output"])]
    profile: bool,
    /// Run N times after a warm-up and print min, median and p90 of the run and of each layer. Input: the first image or the
    /// first batch of --input; random elements if there is neither. At most a million times
    #[arg(long, value_name = "N", conflicts_with = "output",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    bench: Option<usize>,
    /// Time every method of computing each convolution, for some ten seconds, and store which was fastest in MODEL.tuning.json if
    /// that makes whole runs faster beyond noise; else a file that is there stays as it is. Later runs of the same model, input shape
    /// and threads on the same kind of CPU use that file. Input: as for --bench
    #[arg(long, conflicts_with_all = ["bench", "profile", "output"])]
    tune: bool,
    /// Look at what every layer yields, and fail at the first one that yields NaN or infinities, naming it: exit code 1, and no results.
    /// Runs take longer
    #[arg(long, conflicts_with_all = ["bench", "profile", "tune"])]
    check_finite: bool,
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
    #[command(flatten)]
    limits: Limits,
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
    /// How results of images are printed.
    fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// All files that are read.
    fn inputs(&self) -> Vec<Named<'_>> {
        let options = [("MODEL", Some(&*self.model)), ("--labels", self.labels.as_deref())];
        let images = self.sources.iter().map(|image| ("IMAGES", Some(&*image.path)));
        let arrays = self.input.iter().map(|text| ("--input", Some(inputs::path_of(text))));
        options.into_iter().chain(images).chain(arrays).collect()
    }
}

/// Runs the tool as a program of this name and these arguments would, and yields its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    ssl_cli::main("ssl-run", arguments, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    let arguments = &Arguments { sources: sources::all(&arguments.images)?, ..arguments.clone() };
    let tuning = arguments.tune.then(|| Tuning::path_for(&arguments.model));
    let outputs = [("--output", arguments.output.as_deref()), ("--tune", tuning.as_deref())];
    ssl_cli::ensure_apart(&arguments.inputs(), &outputs)?;
    let model = ssl_cli::open_model(&arguments.model)?;
    ensure!(arguments.top > 0, "--top: expected at least 1, found 0");
    ensure!(arguments.batch != Some(0), "--batch: expected at least 1, found 0");
    ensure!(
        arguments.backend != Backend::Cpu || arguments.precision == Precision::Fp32,
        "--precision: expected fp32 on the CPU (--backend cuda or auto has others)"
    );
    let is_measured = arguments.tune || arguments.profile || arguments.bench.is_some();
    ensure!(
        !is_measured || matches!(arguments.format(), Format::Text | Format::Json),
        "--format: expected text or json for what is measured (csv and jsonl are for images)"
    );
    if arguments.tune {
        tune::run(arguments, &model)
    } else if arguments.profile || arguments.bench.is_some() {
        timing::run(arguments, &model)
    } else if !arguments.input.is_empty() {
        tensors::run(arguments, &model)
    } else if arguments.sources.is_empty() {
        bail!("nothing to run: expected images, --input, --bench or --tune (see --help)")
    } else {
        images::run(arguments, &model)
    }
}

/// A plan for inputs of these shapes, by the tuning that lies beside the model if it fits. Where the CPU has to do what a device was
/// asked for, stderr says so, once.
fn prepare(arguments: &Arguments, model: &Model, shapes: &[Vec<usize>]) -> Result<Plan> {
    static SAID: Once = Once::new();
    let plan = tune::prepare(&arguments.model, model, &options(arguments, model, shapes)?)?;
    if let Some(why) = plan.fallback() {
        SAID.call_once(|| ssl_cli::note("ssl-run", format!("the CPU computes: {why}")));
    }
    Ok(plan)
}

/// Options for inputs of these shapes.
fn options(arguments: &Arguments, model: &Model, shapes: &[Vec<usize>]) -> Result<Options> {
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
    let options = options.shapes(model, shapes).context("what is given does not fit the model")?;
    let given = given(arguments, model, shapes);
    Ok(arguments.limits.apply(options, model, given, arguments.batch.unwrap_or(1)))
}

/// How many elements the user has given for a run on inputs of these shapes, in whatever size: what the model wants them enlarged to is
/// the model's doing.
fn given(arguments: &Arguments, model: &Model, shapes: &[Vec<usize>]) -> usize {
    let of = |shape: &Vec<usize>| shape.iter().fold(1, |all: usize, &extent| all.saturating_mul(extent));
    let elements = shapes.iter().map(of).fold(0, usize::saturating_add);
    let open = |dims: &[Dim]| dims.iter().skip(1).any(|dim| matches!(dim, Dim::Symbolic { .. }));
    if !arguments.input.is_empty() || model.inputs().iter().any(|input| open(&input.dims)) {
        return elements;
    }
    // An image file has a byte for some ten elements.
    let bytes = arguments.sources.iter().map(Source::len).max().unwrap_or(0);
    usize::try_from(bytes).unwrap_or(usize::MAX).saturating_mul(16).min(elements)
}

/// The batch of a run where `wanted` images are to be run in all.
fn batch(dims: &[Dim], wanted: usize) -> usize {
    match dims.first() {
        Some(Dim::Fixed { size }) => usize::try_from(*size).unwrap_or(usize::MAX),
        _ => wanted,
    }
}
