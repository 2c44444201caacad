//! From a model and options to steps for any backend: shapes, what is fused, what is computed image by image, and where every
//! activation lies. What a step computes is a [`Task`](sslm_kernels::Task); nothing here knows a backend or a kernel.

mod arena;
mod build;
mod fuse;
mod images;
mod layouts;
mod lower;
pub(crate) mod shapes;

pub(crate) use build::{Emit, Operand};
pub(crate) use images::{mixes_images, one_of_batch};
pub(crate) use layouts::LayoutRules;
pub(crate) use lower::{Lower, Lowering, axes_of};

use crate::error::Result;
use crate::limits::Meter;
use crate::model::Model;
use crate::options::Options;
use crate::step::{Place, Step};
use build::{BufferId, Builder, Places};
use fuse::fuse;
use get_size2::GetSize;
use images::Beginning;
use lower::Fused;
use sslm_format::{ElementType, Node, Operator, ValueId};
use sslm_kernels::Task;
use std::ops::Range;

/// A tensor that a network takes or yields.
#[derive(GetSize)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// Of its elements, outside of the network.
    #[get_size(ignore)]
    pub(crate) element_type: ElementType,
}

/// What a plan takes and yields.
pub(crate) struct Signature {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

/// What a backend makes a program of.
pub(crate) struct Planned<'m> {
    /// What comes first, where a batch begins image by image.
    pub(crate) images: Option<PlannedImages<'m>>,
    /// The steps that compute the whole batch.
    pub(crate) rest: Steps<'m>,
    /// Where the network's inputs lie: one image of them, where images are computed one by one.
    pub(crate) inputs: Vec<Place>,
    pub(crate) outputs: Vec<Place>,
}

/// Steps with places for all that they read and write.
pub(crate) struct Steps<'m> {
    pub(crate) steps: Vec<Step<'m>>,
    pub(crate) arena_len: usize,
}

/// What is computed image by image.
pub(crate) struct PlannedImages<'m> {
    /// The steps for one image.
    pub(crate) steps: Steps<'m>,
    pub(crate) batch: usize,
    /// What all images cost, in multiply-accumulates.
    pub(crate) work: usize,
    /// Where what an image yields lies in its own arena.
    pub(crate) yields: Place,
    /// Where that of all images lies in the batch's arena.
    pub(crate) all: Range<usize>,
}

/// All steps of a plan, before memory is laid out.
pub(crate) struct Draft<'m> {
    model: &'m Model,
    images: Option<ByImage<'m>>,
    /// What is computed of the whole batch.
    rest: Builder<'m>,
    inputs: Vec<Operand>,
    outputs: Vec<Operand>,
}

/// What is computed image by image.
struct ByImage<'m> {
    /// The steps for one image.
    builder: Builder<'m>,
    batch: usize,
    /// Where what it yields lies for one image.
    one: Operand,
    /// Where that of all images lies.
    all: BufferId,
}

impl<'m> Draft<'m> {
    /// Whether images are computed one by one, as far as that is possible, is for `by_image` to say. `can_be_had` says whether there is
    /// room for so many elements, `meter` what the plan may take.
    pub(crate) fn new(
        model: &'m Model,
        options: &Options,
        by_image: bool,
        can_be_had: fn(usize) -> Result<()>,
        meter: &'m Meter,
    ) -> Result<Self> {
        let graph = model.graph();
        let input_shapes = shapes::of_inputs(model, options)?;
        let shapes = shapes::of_all(model, &input_shapes)?;
        let chains = fuse(graph, &shapes);
        let builder = |shapes| Builder::new(model, shapes, can_be_had, meter);
        let given = |builder: &mut Builder<'m>| graph.inputs.iter().map(|input| builder.given(input.value)).collect();
        let beginning = if by_image { beginning(model, &input_shapes, &shapes, &chains) } else { None };
        let mut rest = builder(shapes)?;
        let (mut alone, mut images) = (0, None);
        let inputs = if let Some((batch, one, Beginning { chains: end, yields })) = beginning {
            let mut builder = builder(one)?;
            let inputs = given(&mut builder);
            add_all(&mut builder, &chains[..end])?;
            let one = builder.place_of(yields);
            builder.keep(one);
            images = Some(ByImage { builder, batch, one, all: rest.room_for(yields) });
            alone = end;
            inputs
        } else {
            given(&mut rest)
        };
        // Both parts may read them.
        let mut constants = chains[..alone].iter().filter(|chain| chain.node.inputs.is_empty());
        constants.try_for_each(|chain| add(&mut rest, chain))?;
        add_all(&mut rest, &chains[alone..])?;
        let output = |&value: &ValueId| {
            let place = rest.all_channels_of(value);
            rest.keep(place);
            place
        };
        let outputs = graph.outputs.iter().map(output).collect();
        let draft = Draft { model, images, rest, inputs, outputs };
        meter.expect_work(draft.counted() as u64)?;
        Ok(draft)
    }

    /// What a run takes, as [`crate::step::About::counted`] has it.
    fn counted(&self) -> usize {
        let of_images = self.images.as_ref().map_or(0, |images| images.builder.counted().saturating_mul(images.batch));
        self.rest.counted().saturating_add(of_images)
    }

    /// What a run costs, as [`crate::step::About::work`] has it.
    pub(crate) fn work(&self) -> usize {
        self.rest.work() + self.images.as_ref().map_or(0, ByImage::work)
    }

    /// What all steps compute, with the index of the node that each one is of.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (Option<usize>, &dyn Task)> {
        let of_images = self.images.iter().flat_map(|images| images.builder.tasks());
        of_images.chain(self.rest.tasks())
    }

    /// Chooses layouts of activations by what a backend says of them.
    pub(crate) fn choose_layouts(&mut self, rules: &dyn LayoutRules) {
        self.rest.choose_layouts(rules);
        if let Some(images) = &mut self.images {
            images.builder.choose_layouts(rules);
        }
    }

    /// Lays out memory.
    pub(crate) fn finish(self) -> (Signature, Planned<'m>) {
        let Draft { model, images, rest, inputs, outputs } = self;
        let graph = model.graph();
        let port = |name: &str, value: ValueId, element_type: ElementType| {
            let shape = rest.shape(value).to_vec();
            Port { name: name.to_owned(), shape, element_type }
        };
        let input_types = model.inputs().into_iter().map(|input| input.element_type);
        let inputs_of = graph.inputs.iter().zip(input_types);
        let outputs_of = model.output_names().into_iter().zip(&graph.outputs).zip(model.output_types());
        let signature = Signature {
            inputs: inputs_of.map(|(input, t)| port(model.name(input.value), input.value, t)).collect(),
            outputs: outputs_of.map(|((name, &value), t)| port(name, value, t)).collect(),
        };
        let (rest, places) = rest.finish();
        let place_all = |places: &Places, operands: Vec<Operand>| operands.into_iter().map(|o| places.of(o)).collect();
        let outputs = place_all(&places, outputs);
        let (inputs, images) = match images {
            None => (place_all(&places, inputs), None),
            Some(images) => {
                let (work, ByImage { builder, batch, one, all }) = (images.work(), images);
                let (steps, of_one) = builder.finish();
                let (yields, all) = (of_one.of(one), places.of_buffer(all));
                (place_all(&of_one, inputs), Some(PlannedImages { steps, batch, work, yields, all }))
            }
        };
        (signature, Planned { images, rest, inputs, outputs })
    }
}

impl ByImage<'_> {
    /// What the whole batch costs.
    fn work(&self) -> usize {
        self.builder.work().saturating_mul(self.batch)
    }
}

/// Appends the steps of all of them.
fn add_all<'m>(builder: &mut Builder<'m>, chains: &[Fused<'m>]) -> Result<()> {
    chains.iter().try_for_each(|chain| add(builder, chain))
}

/// Appends the steps of a node and of what is fused into it; none if nothing of what they yield exists.
fn add<'m>(builder: &mut Builder<'m>, chain: &Fused<'m>) -> Result<()> {
    if builder.compaction(chain.output).is_some_and(|c| c.kept.is_empty()) {
        return Ok(());
    }
    builder.expect_time()?;
    let (Node { name, op, .. }, first) = (chain.node, builder.step_count());
    op.lower(&mut Lowering::new(builder, chain)).map_err(|e| e.within(format!("node '{name}' ({})", op.name())))?;
    builder.settle_lists(first);
    Ok(())
}

/// The part of a network that is computed image by image, with the batch and the shapes of all values for one image. It does not depend on
/// threads, nor do results.
fn beginning(
    model: &Model,
    inputs: &[Vec<usize>],
    shapes: &[Vec<usize>],
    chains: &[Fused<'_>],
) -> Option<(usize, Vec<Vec<usize>>, Beginning)> {
    let batch = *inputs.first()?.first()?;
    if batch < 2 {
        return None;
    }
    let mut one = inputs.to_vec();
    one.iter_mut().filter_map(|shape| shape.first_mut()).for_each(|batch| *batch = 1);
    // A model that fixes its batch in the middle allows no other.
    let one = shapes::of_all(model, &one).ok()?;
    let beginning = images::beginning(model.graph(), chains, [&one, shapes])?;
    Some((batch, one, beginning))
}
