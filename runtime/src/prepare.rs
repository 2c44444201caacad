//! From a model and options to a plan: shapes, threads, what is computed image by image, and what everything needs.

use crate::build::{Builder, Operand, Planned};
use crate::error::{Error, ErrorKind, Result};
use crate::fuse::{Fused, fuse};
use crate::images::{self, Beginning};
use crate::model::Model;
use crate::options::{Backend, Methods, Options, Threads};
use crate::plan::{Binding, Inner, Plan, Program};
use crate::step::Place;
use crate::{cpu, cuda};
use sslm_format::{self as format, Dim, Op, ValueId, infer, shape};
use sslm_kernels::Team;
use sslm_kernels::cuda::fits;
use std::ops::Range;
use std::sync::Arc;

/// Runs of less work stay on one thread under [`Threads::Auto`], in multiply-accumulates: about 100 us. Waking helpers that fell
/// asleep between runs costs the caller 5 us, and they come so late that runs of 45 us gain nothing; at 80 us they gain a fifth, at
/// 240 us a third.
const SHARE_FROM: usize = 10_000_000;

/// A batch is computed image by image if its images are at least this part of what all threads could compute in the same time.
const EQUAL: f64 = 0.9;

pub(crate) fn plan(model: &Model, options: &Options) -> Result<Plan> {
    match options.backend {
        Backend::Cpu => on_cpu(model, options, None),
        Backend::Cuda => on_device(model, options),
        Backend::Auto => match on_device(model, options) {
            Err(e) if matches!(e.kind(), ErrorKind::BackendUnavailable | ErrorKind::Resources) => {
                on_cpu(model, options, Some(e.to_string()))
            }
            plan => plan,
        },
    }
}

fn on_cpu(model: &Model, options: &Options, fallback: Option<String>) -> Result<Plan> {
    let threads = match options.threads {
        Threads::Single => 1,
        // Before plans are made for so many.
        Threads::Count(n) if n > Team::MAX => return Err(Error::input("threads", format!("at most {}", Team::MAX), n)),
        Threads::Count(n) => n.max(1),
        Threads::Auto => std::thread::available_parallelism().map_or(1, |n| usize::from(n).min(Team::MAX)),
    };
    let draft = |threads| Draft::new(model, options, Some(threads), cpu::can_be_had).map(|draft| (draft, threads));
    let (mut draft_and_threads, auto) = (draft(threads)?, options.threads == Threads::Auto);
    if auto && threads > 1 && draft_and_threads.0.work() < SHARE_FROM {
        draft_and_threads = draft(1)?;
    }
    let (draft, threads) = draft_and_threads;
    let plan = draft.finish(fallback, |drafted| Ok(Program::Cpu(cpu::Program::new(drafted, options, threads)?)))?;
    if let Methods::Tuned(tuning) = &options.methods {
        tuning.check(&plan)?;
    }
    Ok(plan)
}

/// A device computes the whole batch in every step.
fn on_device(model: &Model, options: &Options) -> Result<Plan> {
    let device = cuda::device(options)?;
    if matches!(options.methods, Methods::Tuned(_)) {
        let what = format!("tuning made for another backend: expected {}, found a CPU", device.name());
        return Err(Error::new(ErrorKind::Tuning, what));
    }
    let draft = Draft::new(model, options, None, |numbers| Ok(fits("activation", numbers)?))?;
    draft.finish(None, |drafted| Ok(Program::Cuda(cuda::Program::new(drafted.rest, model, options, device)?)))
}

/// What a backend makes a program of.
pub(crate) struct Drafted<'m> {
    pub(crate) images: Option<DraftedImages<'m>>,
    /// Of the whole batch.
    pub(crate) rest: Planned<'m>,
}

/// What is computed image by image.
pub(crate) struct DraftedImages<'m> {
    /// For one image.
    pub(crate) one: Planned<'m>,
    pub(crate) batch: usize,
    /// What all images cost, in multiply-accumulates.
    pub(crate) work: usize,
    /// What they yield: where that lies for one image, and for all of them.
    pub(crate) yields: [Range<usize>; 2],
}

/// All steps of a plan, before memory is laid out.
struct Draft<'m> {
    model: &'m Model,
    images: Option<ByImage<'m>>,
    /// What is computed of the whole batch.
    rest: Builder<'m>,
    /// Where the network's inputs lie: one image of them, where images are computed one by one.
    inputs: Vec<Operand>,
    outputs: Vec<Operand>,
}

/// What is computed image by image.
struct ByImage<'m> {
    /// For one image.
    builder: Builder<'m>,
    batch: usize,
    /// What it yields: where that lies for one image, and for all of them.
    yields: [Operand; 2],
}

impl<'m> Draft<'m> {
    /// For at most `threads` threads, or for what computes no images one by one. `can_be_had` says whether there is room for so many
    /// numbers.
    fn new(model: &'m Model, options: &Options, threads: Option<usize>, can_be_had: fn(usize) -> Result<()>) -> Result<Self> {
        let graph = model.graph();
        let input_shapes = model.input_shapes(options)?;
        let shapes = all_shapes(model, &input_shapes)?;
        let groups = fuse(graph, &shapes);
        let builder = |shapes| Builder::new(model, shapes, can_be_had);
        let given = |builder: &mut Builder<'m>| graph.inputs.iter().map(|input| builder.given(input.value)).collect();
        let beginning = threads.and_then(|threads| beginning(model, &input_shapes, &shapes, &groups, threads));
        let mut rest = builder(shapes)?;
        let (mut alone, mut images) = (0, None);
        let inputs = if let Some((batch, one, Beginning { groups: end, yields })) = beginning {
            let mut builder = builder(one)?;
            let inputs = given(&mut builder);
            builder.add_all(&groups[..end])?;
            let place = builder.place_of(yields);
            builder.keep(place);
            images = Some(ByImage { builder, batch, yields: [place, rest.given(yields)] });
            alone = end;
            inputs
        } else {
            given(&mut rest)
        };
        for group in groups[..alone].iter().filter(|group| matches!(group.node.op, Op::Constant(_))) {
            rest.add(group)?;
        }
        rest.add_all(&groups[alone..])?;
        let output = |&value: &ValueId| {
            let place = rest.all_channels_of(value);
            rest.keep(place);
            place
        };
        let outputs = graph.outputs.iter().map(output).collect();
        Ok(Draft { model, images, rest, inputs, outputs })
    }

    /// Of a run, as [`crate::step::About::work`] has it.
    fn work(&self) -> usize {
        self.rest.work() + self.images.as_ref().map_or(0, ByImage::work)
    }

    /// A plan of the program that a backend makes of it.
    fn finish(self, fallback: Option<String>, program: impl FnOnce(Drafted<'m>) -> Result<Program>) -> Result<Plan> {
        let Draft { model, images, rest, inputs, outputs } = self;
        let graph = model.graph();
        let name_and_shape = |value: ValueId| (model.name(value).to_owned(), rest.shape(value).to_vec());
        let named_inputs: Vec<_> = graph.inputs.iter().map(|input| name_and_shape(input.value)).collect();
        let named_outputs: Vec<_> = graph.outputs.iter().map(|&value| name_and_shape(value)).collect();
        let bind = |named: Vec<(String, Vec<usize>)>, places: Vec<Place>| -> Vec<Binding> {
            named.into_iter().zip(places).map(|((name, shape), place)| Binding { name, shape, place }).collect()
        };
        let (rest, place) = rest.finish();
        let outputs = bind(named_outputs, outputs.into_iter().map(&place).collect());
        let (inputs, images) = match images {
            None => (bind(named_inputs, inputs.into_iter().map(&place).collect()), None),
            Some(images) => {
                let (work, ByImage { builder, batch, yields: [one, all] }) = (images.work(), images);
                let all = range(place(all));
                let (planned, place) = builder.finish();
                let images = DraftedImages { one: planned, batch, work, yields: [range(place(one)), all] };
                (bind(named_inputs, inputs.into_iter().map(&place).collect()), Some(images))
            }
        };
        let program = program(Drafted { images, rest })?;
        Ok(Plan { inner: Arc::new(Inner { model: model.clone(), inputs, outputs, program, fallback }) })
    }
}

impl ByImage<'_> {
    /// Of the whole batch.
    fn work(&self) -> usize {
        self.builder.work().saturating_mul(self.batch)
    }
}

/// The part of a network that is computed image by image, with the batch and the shapes of all values for one image. There is none
/// where threads would have no equal shares.
fn beginning(
    model: &Model,
    inputs: &[Vec<usize>],
    shapes: &[Vec<usize>],
    groups: &[Fused<'_>],
    threads: usize,
) -> Option<(usize, Vec<Vec<usize>>, Beginning)> {
    let batch = *inputs.first()?.first()?;
    let rounds = batch.div_ceil(threads);
    if batch < 2 || (batch as f64) < EQUAL * (rounds * threads) as f64 {
        return None;
    }
    let mut one = inputs.to_vec();
    one.iter_mut().for_each(|shape| shape[..1].fill(1));
    // A model that fixes its batch in the middle allows no other.
    let one = all_shapes(model, &one).ok()?;
    let beginning = images::beginning(model.graph(), groups, [&one, shapes])?;
    Some((batch, one, beginning))
}

/// Whether an image of the outputs may depend on other images of a batch of `inputs`.
pub(crate) fn mixes_images(model: &Model, mut inputs: Vec<Vec<usize>>) -> bool {
    let graph = model.graph();
    let fixes_one = |input: &format::Input| matches!(input.dims.first(), Some(Dim::Fixed { size: 1 }));
    if graph.inputs.iter().all(fixes_one) {
        return false;
    }
    let apart = |inputs: &[Vec<usize>]| all_shapes(model, inputs).map(|shapes| images::are_apart(graph, &shapes));
    let own = apart(&inputs);
    // Where the batch is one, so may be other axes: only two images show which of them is the batch.
    inputs.iter_mut().flat_map(|shape| shape.first_mut()).filter(|batch| **batch == 1).for_each(|batch| *batch = 2);
    !apart(&inputs).or(own).unwrap_or(false)
}

/// The shapes of all values.
fn all_shapes(model: &Model, inputs: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
    let graph = model.graph();
    let known: Vec<shape::Shape> = inputs.iter().map(|s| s.iter().copied().map(Some).collect()).collect();
    let concrete = |(value, inferred): (&format::Value, shape::Shape)| {
        let extents: Option<Vec<usize>> = inferred.iter().copied().collect();
        extents
            .filter(|s| s.iter().all(|&e| e > 0))
            .ok_or_else(|| Error::input(format!("shape of '{}'", value.name), "extents of at least 1", format!("{inferred:?}")))
    };
    graph.values.iter().zip(infer::infer(graph, &known)?).map(concrete).collect()
}

/// Of what a node computes.
fn range(place: Place) -> Range<usize> {
    match place {
        Place::Arena(range) => range,
        Place::Blob(_) => unreachable!("only constants lie in the file"),
    }
}
