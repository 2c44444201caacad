//! Verification: the file that was written is opened and run as its users will, and compared with the original run as it was
//! imported, nothing folded, cut or removed. The certificate rests on this measurement, not on compaction being right. Where others
//! computed outputs, or onnxruntime is at hand, it is compared with those, so that importing need not be right either.

use crate::emit::{self, Metadata};
use crate::graph::Graph;
use crate::import;
use crate::onnx::load::OnnxFile;
use crate::onnxruntime::{self, Answers};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use ssl_cli::{Limits, PartialFile, Progress};
use ssl_images::Layout;
use ssl_npy::Array;
use sslm::{ElementType, Model, Options, Session, TensorView};
use sslm_format::{Activation, Dim};
use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// The largest difference that sums in another order make.
pub const TOLERANCE: f64 = 1e-4;

/// The largest difference that passes where a network rounds to integers: sums in another order may fall to the other side of what lies
/// half way, which changes an element by a whole step, and all that follows from it.
pub const TOLERANCE_OF_ROUNDING: f64 = 0.02;

/// What to verify with.
#[derive(Clone, Debug)]
pub struct Checks {
    /// Random inputs.
    pub random: usize,
    /// A folder of images.
    pub images: Option<PathBuf>,
    /// A `.npz` file of inputs and of the outputs that are expected for them, by the model's names.
    pub with: Option<PathBuf>,
    /// The Python interpreter by which onnxruntime computes what is expected for the random inputs, besides.
    pub onnxruntime: Option<String>,
    /// Largest difference that passes, relative to the largest magnitude of the original's output. Absent: [`TOLERANCE`], or
    /// [`TOLERANCE_OF_ROUNDING`] where the network rounds.
    pub tolerance: Option<f64>,
    /// How much of the machine the model may take.
    pub limits: Limits,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Largest relative difference that passes.
    pub tolerance: f64,
    /// Whether all differences do.
    pub passed: bool,
    /// On elements drawn uniformly from -1 to 1.
    pub random: Option<Difference>,
    /// On images, preprocessed as the model says.
    pub images: Option<Difference>,
    /// From outputs that others computed: no part of the converter is on both sides.
    pub with: Option<Difference>,
    /// From what onnxruntime computed for the random inputs: nor is it here.
    pub onnxruntime: Option<FromOnnxruntime>,
}

/// How far outputs are from those of onnxruntime.
#[derive(Clone, Debug, Serialize)]
pub struct FromOnnxruntime {
    /// Its version.
    pub version: String,
    /// By how much.
    #[serde(flatten)]
    pub difference: Difference,
}

/// The largest differences between the outputs of two models. Infinite (`null` in JSON) where only one of them is NaN.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// How many inputs were run.
    pub inputs: usize,
    /// The different sets of input shapes among them.
    pub shapes: Vec<Vec<Vec<usize>>>,
    /// Absolute.
    pub max_abs: f64,
    /// Relative to the largest magnitude of the same output.
    pub max_relative: f64,
    /// In units in the last place; large where an output is close to zero.
    pub max_ulp: u32,
}

impl Verification {
    /// That the outputs differ, and by how much.
    pub fn difference(&self) -> String {
        let [found, expected] = [self.max_relative(), self.tolerance];
        format!("the outputs differ by {found:.1e} relative: expected at most {expected:.1e}")
    }

    /// The largest relative difference on any input.
    pub fn max_relative(&self) -> f64 {
        let of_onnxruntime = self.onnxruntime.iter().map(|found| &found.difference);
        let all = self.random.iter().chain(&self.images).chain(&self.with).chain(of_onnxruntime);
        all.map(|d| d.max_relative).fold(0.0, f64::max)
    }
}

impl Difference {
    /// Takes in one output: the expected and the found elements.
    fn update(&mut self, expected: &[f32], found: &[f32]) {
        let magnitude = |x: &f32| f64::from(x.abs());
        let largest = expected.iter().filter(|x| x.is_finite()).map(magnitude).fold(0.0, f64::max);
        let mut abs = 0f64;
        for (&e, &f) in expected.iter().zip(found) {
            let same = e == f || (e.is_nan() && f.is_nan());
            let apart = f64::from(e) - f64::from(f);
            abs = abs.max(if same {
                0.0
            } else if apart.is_nan() {
                f64::INFINITY
            } else {
                apart.abs()
            });
            self.max_ulp = self.max_ulp.max(ulps(e, f));
        }
        self.max_abs = self.max_abs.max(abs);
        self.max_relative = self.max_relative.max(if abs == 0.0 { 0.0 } else { abs / largest });
    }
}

/// How many representable numbers lie between two; all of them if only one is NaN.
fn ulps(a: f32, b: f32) -> u32 {
    let ordered = |x: f32| match x.to_bits() as i32 {
        bits if bits < 0 => i64::from(i32::MIN) - i64::from(bits),
        bits => i64::from(bits),
    };
    match (a.is_nan(), b.is_nan()) {
        (true, true) => 0,
        (false, false) => ordered(a).abs_diff(ordered(b)) as u32,
        _ => u32::MAX,
    }
}

/// The original as it was imported, to be run beside what was made of it. It lies in a temporary file, so that the ONNX file is not in
/// memory meanwhile.
pub struct Reference<'a> {
    checks: &'a Checks,
    progress: &'a Progress,
    metadata: &'a Metadata,
    tolerance: f64,
    model: Model,
    target: &'a Path,
    answers: Option<Answers>,
    /// Which is gone when this is dropped.
    _file: PartialFile,
}

impl<'a> Reference<'a> {
    /// Puts `original` into a file beside `target`, and asks onnxruntime about the ONNX file `source` that it was imported from, if
    /// that is wanted. `metadata` is that of the written file.
    ///
    /// # Errors
    /// If it cannot be written, or onnxruntime is not there or cannot run the model.
    pub fn new(
        checks: &'a Checks,
        original: Graph,
        source: &Path,
        target: &'a Path,
        metadata: &'a Metadata,
        progress: &'a Progress,
    ) -> Result<Self> {
        let rounds = (0..original.graph.nodes.len()).any(|i| original.op(i).function() == Some(Activation::Round));
        let tolerance = checks.tolerance.unwrap_or(if rounds { TOLERANCE_OF_ROUNDING } else { TOLERANCE });
        let file = written_beside(target, &original, metadata)?;
        drop(original);
        let model = ssl_cli::open_model(&file.path())?;
        let answers = checks.onnxruntime.as_ref().map(|python| {
            progress.step("run onnxruntime")?;
            ask_onnxruntime(python, source, &model, checks).context("--verify-onnxruntime")
        });
        Ok(Reference { checks, progress, metadata, tolerance, model, answers: answers.transpose()?, target, _file: file })
    }

    /// Compares a `.sslm` file with the original.
    ///
    /// # Errors
    /// If one of them cannot be run on the inputs that were asked for.
    pub fn compare(&self, written: &Path) -> Result<Verification> {
        let Reference { checks, progress, tolerance, .. } = *self;
        let models = [self.model.clone(), ssl_cli::open_model(written)?];
        let random = (checks.random > 0).then(|| random(&models, checks, progress)).transpose()?;
        let images = checks.images.as_deref().map(|folder| images(&models, folder, checks.limits, progress)).transpose()?;
        let with = checks.with.as_deref().map(|file| given(&models[1], file, checks.limits, progress)).transpose()?;
        let onnxruntime = self.answers.as_ref().map(|answers| from_onnxruntime(&models[1], answers, checks.limits)).transpose();
        let onnxruntime = onnxruntime.context("--verify-onnxruntime")?;
        let mut verification = Verification { tolerance, passed: false, random, images, with, onnxruntime };
        verification.passed = verification.max_relative() <= tolerance;
        Ok(verification)
    }

    /// Reads an ONNX file and compares it with the original, as [`Self::compare`] does.
    ///
    /// # Errors
    /// If it cannot be read or run.
    pub fn compare_onnx(&self, written: &Path) -> Result<Verification> {
        let graph = import::import(&mut OnnxFile::open(written)?, &BTreeMap::new())?;
        let file = written_beside(self.target, &graph, self.metadata)?;
        drop(graph);
        self.compare(&file.path())
    }
}

/// A temporary `.sslm` file beside `target`.
fn written_beside(target: &Path, g: &Graph, metadata: &Metadata) -> Result<PartialFile> {
    let mut file = ssl_cli::file_beside(target)?;
    emit::write(g, metadata.clone(), &mut BufWriter::new(&mut file))?;
    Ok(file)
}

/// Extents that are tried for symbolic dimensions other than the batch, until one suits the model.
const SIZES: [usize; 6] = [32, 64, 96, 128, 224, 299];

fn random(models: &[Model; 2], &Checks { random: count, limits, .. }: &Checks, progress: &Progress) -> Result<Difference> {
    let mut sessions = sessions(models, &limits.apply(legal_size(&models[0], limits)?, &models[0], 0, 1))?;
    let shapes: Vec<Vec<usize>> = sessions[0].plan().input_shapes().map(<[usize]>::to_vec).collect();
    let mut difference = Difference { shapes: vec![shapes.clone()], ..Difference::default() };
    progress.start("verify on random inputs", count);
    for seed in 0..count {
        compare(&mut sessions, &shapes, &random_inputs(&models[0], &shapes, seed), &mut difference)?;
        progress.advance();
        progress.check()?;
    }
    Ok(difference)
}

/// Random elements for inputs of these shapes, the same for each seed.
fn random_inputs(model: &Model, shapes: &[Vec<usize>], seed: usize) -> Vec<Vec<f32>> {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let types: Vec<ElementType> = model.inputs().iter().map(|input| input.element_type).collect();
    let mut elements = |(shape, of): (&Vec<usize>, &ElementType)| {
        (0..shape.iter().product()).map(|_| of.sample(random.f32() * 2.0 - 1.0)).collect()
    };
    shapes.iter().zip(&types).map(&mut elements).collect()
}

/// The shapes of the random inputs.
fn random_shapes(model: &Model, limits: Limits) -> Result<Vec<Vec<usize>>> {
    let plan = model.prepare(&limits.apply(legal_size(model, limits)?, model, 0, 1))?;
    Ok(plan.input_shapes().map(<[usize]>::to_vec).collect())
}

/// What onnxruntime makes of the random inputs. `model` is the original as it was imported, which says how large they are.
fn ask_onnxruntime(
    python: &str,
    source: &Path,
    model: &Model,
    &Checks { random: count, limits, .. }: &Checks,
) -> Result<Answers> {
    ensure!(count > 0, "expected --verify of at least 1 random input, found 0");
    let (shapes, infos) = (random_shapes(model, limits)?, model.inputs());
    let arrays = |seed: usize| -> Vec<Array> {
        let elements = random_inputs(model, &shapes, seed).into_iter();
        let both = elements.zip(&shapes).zip(&infos);
        both.map(|((elements, shape), info)| Array { shape: shape.clone(), element_type: info.element_type, elements }).collect()
    };
    let names: Vec<String> = infos.iter().map(|info| info.name.clone()).collect();
    let inputs: Vec<Vec<Array>> = (0..count).map(arrays).collect();
    let answers = onnxruntime::run(python, source, &names, &inputs)?;
    let (mut expected, mut found) =
        (model.output_names(), answers.outputs[0].iter().map(|(name, _)| &**name).collect::<Vec<_>>());
    expected.sort_unstable();
    found.sort_unstable();
    let [expected, found] = [expected, found].map(|names| names.join("', '"));
    ensure!(expected == found, "expected the outputs '{expected}', found '{found}' in onnxruntime");
    Ok(answers)
}

/// Runs the file that was written on the random inputs, and compares with what onnxruntime made of them.
fn from_onnxruntime(model: &Model, answers: &Answers, limits: Limits) -> Result<FromOnnxruntime> {
    let shapes = random_shapes(model, limits)?;
    let mut session = model.prepare(&limits.apply(Options::new().shapes(model, &shapes)?, model, 0, 1))?.session();
    let mut difference = Difference { shapes: vec![shapes.clone()], ..Difference::default() };
    for (seed, expected) in answers.outputs.iter().enumerate() {
        let inputs = random_inputs(model, &shapes, seed);
        let views: Vec<TensorView> = shapes.iter().zip(&inputs).map(|(s, x)| TensorView::new(s, x)).collect::<Result<_, _>>()?;
        for (name, found) in session.run_all(&views)?.iter() {
            let expected = expected.iter().find(|(other, _)| other == name).map(|(_, array)| array);
            let expected = expected.with_context(|| format!("output '{name}': expected one of onnxruntime's, found none"))?;
            let shapes = [&expected.shape[..], found.shape()];
            ensure!(shapes[0] == shapes[1], "output '{name}': expected shape {:?}, found {:?}", shapes[0], shapes[1]);
            difference.update(&expected.elements, found.data());
        }
        difference.inputs += 1;
    }
    Ok(FromOnnxruntime { version: answers.version.clone(), difference })
}

/// Options under which the model's symbolic dims have the smallest legal extent of [`SIZES`].
fn legal_size(model: &Model, limits: Limits) -> Result<Options> {
    let inputs = model.inputs();
    let names = inputs.iter().flat_map(|input| input.dims.iter().skip(1)).filter_map(|dim| match dim {
        Dim::Symbolic { name } => Some(name.as_str()),
        Dim::Fixed { .. } => None,
    });
    let names: Vec<&str> = names.collect();
    let options = |size: usize| names.iter().fold(Options::new(), |options, name| options.dim(*name, size));
    let mut refusal = None;
    // Where there are none, one size stands for all.
    for &size in if names.is_empty() { &SIZES[..1] } else { &SIZES } {
        match model.prepare(&limits.apply(options(size), model, 0, 1)) {
            Ok(_) => return Ok(options(size)),
            Err(e) => refusal = Some(e),
        }
    }
    let e = refusal.context("no size was tried")?;
    Err(e).with_context(|| {
        let tried = if names.is_empty() { String::new() } else { format!(" with '{}' = one of {SIZES:?}", names.join("', '")) };
        format!("verification on random inputs: expected a model that runs{tried} (--verify 0 does without)")
    })
}

fn images(models: &[Model; 2], folder: &Path, limits: Limits, progress: &Progress) -> Result<Difference> {
    let paths = images_in(folder).with_context(|| format!("--verify-images {}", folder.display()))?;
    let inputs = models[1].inputs();
    let [input] = &inputs[..] else { bail!("--verify-images: expected a model with one input, found {}", inputs.len()) };
    let layout = Layout::of(&input.dims, input.element_type).context("--verify-images")?;
    let rule = layout.rule(models[1].preprocessing())?;

    let mut difference = Difference::default();
    let mut open: Option<(Vec<usize>, [Session; 2])> = None;
    progress.start("verify on images", paths.len());
    for path in &paths {
        let (mut shape, mut pixels) = ssl_images::load(path, &rule, &input.dims, layout)?;
        // A batch that the model fixes is filled up with blank images.
        if let Dim::Fixed { size } = input.dims[0] {
            shape[0] = usize::try_from(size)?;
        }
        let options = limits.apply(Options::new().shapes(&models[1], &[&shape])?, &models[0], pixels.len(), 1);
        pixels.resize(shape.iter().product(), 0.0);
        let sessions = match &mut open {
            Some((for_shape, sessions)) if *for_shape == shape => sessions,
            other => {
                &mut other.insert((shape.clone(), sessions(models, &options).with_context(|| path.display().to_string())?)).1
            }
        };
        let shapes = vec![shape];
        compare(sessions, &shapes, &[pixels], &mut difference).with_context(|| path.display().to_string())?;
        if !difference.shapes.contains(&shapes) {
            difference.shapes.push(shapes);
        }
        progress.advance();
        progress.check()?;
    }
    Ok(difference)
}

/// Runs the file that was written on the inputs of an archive, and compares with the outputs there.
fn given(model: &Model, file: &Path, limits: Limits, progress: &Progress) -> Result<Difference> {
    progress.step("verify with given outputs")?;
    let context = || format!("--verify-with {}", file.display());
    let packed = file.metadata().map_or(0, |metadata| metadata.len());
    let mut arrays = ssl_npy::read_all(file, limits.unpacked(packed)).with_context(context)?;
    let mut take = |name: &str| {
        let at = arrays.iter().position(|(other, _)| other == name)?;
        Some(arrays.swap_remove(at).1)
    };
    let mut inputs = Vec::new();
    for input in model.inputs() {
        let (name, expected) = (input.name, input.element_type);
        let array =
            take(&name).with_context(|| format!("expected an array '{name}', an input, found none")).with_context(context)?;
        let found = array.element_type;
        ensure!(found == expected, "{}: input '{name}': expected elements of {expected}, found {found}", context());
        inputs.push(array);
    }
    let outputs: Vec<Option<Array>> = model.output_names().into_iter().map(&mut take).collect();
    let names = model.output_names().join("', '");
    if let Some((name, _)) = arrays.first() {
        bail!("{}: expected arrays of inputs and of outputs ('{names}'), found '{name}'", context());
    }
    ensure!(outputs.iter().any(Option::is_some), "{}: expected at least one of the outputs '{names}', found none", context());

    let shapes: Vec<Vec<usize>> = inputs.iter().map(|array| array.shape.clone()).collect();
    let elements = inputs.iter().map(|array| array.elements.len()).sum();
    let options = Options::new().shapes(model, &shapes).with_context(context)?;
    let mut session = model.prepare(&limits.apply(options, model, elements, 1))?.session();
    let views: Vec<TensorView> = inputs.iter().map(|x| TensorView::new(&x.shape, &x.elements)).collect::<Result<_, _>>()?;
    let mut difference = Difference { inputs: 1, shapes: vec![shapes.clone()], ..Difference::default() };
    for ((name, found), expected) in session.run_all(&views)?.iter().zip(outputs) {
        let Some(expected) = expected else { continue };
        let (shape, found_shape) = (expected.shape, found.shape());
        ensure!(shape == found_shape, "{}: output '{name}': expected shape {shape:?}, found {found_shape:?}", context());
        difference.update(&expected.elements, found.data());
    }
    Ok(difference)
}

/// The images of a folder, by name.
fn images_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).context("expected a folder of images")? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.is_file() && ssl_images::is_named_as_image(path));
    paths.sort();
    ensure!(!paths.is_empty(), "expected at least one image (a file named .png, .jpg, .webp, .gif, .bmp or .tiff), found none");
    Ok(paths)
}

fn sessions(models: &[Model; 2], options: &Options) -> Result<[Session; 2]> {
    Ok([models[0].prepare(options)?.session(), models[1].prepare(options)?.session()])
}

/// Runs both models on one set of inputs and takes their outputs into `difference`.
fn compare(sessions: &mut [Session; 2], shapes: &[Vec<usize>], inputs: &[Vec<f32>], difference: &mut Difference) -> Result<()> {
    let views: Vec<TensorView> = shapes.iter().zip(inputs).map(|(s, x)| TensorView::new(s, x)).collect::<Result<_, _>>()?;
    let [dense, written] = sessions;
    for ((name, expected), (_, found)) in dense.run_all(&views)?.iter().zip(written.run_all(&views)?.iter()) {
        let shapes = [expected.shape(), found.shape()];
        ensure!(shapes[0] == shapes[1], "output '{name}': expected shape {:?}, found {:?}", shapes[0], shapes[1]);
        difference.update(expected.data(), found.data());
    }
    difference.inputs += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulps_count_representable_numbers() {
        let next = f32::from_bits(1f32.to_bits() + 1);
        let smallest = f32::from_bits(1);
        let cases = [(1.0, 1.0, 0), (1.0, next, 1), (next, 1.0, 1), (0.0, -0.0, 0), (smallest, -smallest, 2), (-1.0, -next, 1)];
        for (a, b, expected) in cases {
            assert_eq!(ulps(a, b), expected, "{a} {b}");
        }
        assert_eq!(ulps(f32::NAN, f32::NAN), 0);
        assert_eq!(ulps(f32::NAN, 1.0), u32::MAX);
        assert!(ulps(f32::NEG_INFINITY, f32::INFINITY) > 1 << 31);
    }

    #[test]
    fn differences_are_relative_to_the_largest_output() {
        let mut d = Difference::default();
        d.update(&[0.0, -4.0, 1.0], &[0.5, -4.0, 1.0]);
        assert_eq!((d.max_abs, d.max_relative), (0.5, 0.125));
        d.update(&[100.0], &[99.0]);
        assert_eq!((d.max_abs, d.max_relative), (1.0, 0.125), "the largest of each");
    }

    #[test]
    fn what_is_no_number_must_be_so_in_both() {
        let mut d = Difference::default();
        d.update(&[f32::NAN, f32::INFINITY, 1.0], &[f32::NAN, f32::INFINITY, 1.0]);
        assert_eq!(d, Difference::default());
        for (expected, found) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::INFINITY, 1.0), (0.0, 1.0)] {
            let mut d = Difference::default();
            d.update(&[expected], &[found]);
            assert_eq!(d.max_relative, f64::INFINITY, "{expected} {found}");
        }
    }
}
