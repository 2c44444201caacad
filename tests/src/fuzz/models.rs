//! Running small models that came from anywhere, under limits, and comparing what two forms of one model answer.

use sslm::{Isa, Model, Options, Plan, TensorView, Threads};
use sslm_format::shape::{self, Shape};
use sslm_format::{Graph, Weights, infer};
use std::collections::BTreeMap;

/// Elements of all values together, at most: larger models only take longer.
const MOST_ELEMENTS: usize = 1 << 16;

/// Their product with the elements of weights, at most.
const MOST_WORK: usize = 1 << 26;

/// Bytes of a session, at most: steps need memory besides values.
const MOST_SESSION_BYTES: usize = 1 << 26;

/// Differences below this, relative to the largest element of an output or [`SMALL`], are rounding.
const TOLERANCE: f32 = 1e-4;

/// What is left of larger elements that cancel carries their rounding.
const SMALL: f32 = 0.1;

/// How far inputs are moved to find out how much a model amplifies.
const NUDGE: f32 = 1e-6;

/// The options to run a model with, if it is small: `setup` chooses the extents of symbolic dims and the instruction set.
pub fn options<W: Weights>(graph: &Graph<W>, weights: usize, setup: [u8; 2]) -> Option<Options> {
    let mut extents = BTreeMap::new();
    for dim in graph.inputs.iter().flat_map(|input| &input.dims).filter_map(sslm_format::Dim::symbol) {
        let place = extents.len() as u32;
        extents.entry(dim).or_insert_with(|| 1 + usize::from(setup[0].rotate_right(2 * place)) % 12);
    }
    let bound = graph.bind(&|name| extents.get(name).copied());
    let graph = bound.as_ref().unwrap_or(graph);
    let input = |input| infer::of_input(input).iter().map(|e| e.bind(&|name| extents.get(name).copied())).collect();
    let inputs: Vec<Shape> = graph.inputs.iter().map(input).collect();
    let elements = |shape: &Shape| shape::known(shape)?.iter().try_fold(1usize, |all, &extent| all.checked_mul(extent));
    let mut all = 0usize;
    for shape in infer::infer(graph, &inputs).ok()? {
        all = all.checked_add(elements(&shape)?)?;
    }
    if all > MOST_ELEMENTS || all.checked_mul(weights.max(1))? > MOST_WORK {
        return None;
    }
    let isas: Vec<Isa> = Isa::available().collect();
    let options = Options::new().threads(Threads::Single).isa(isas[usize::from(setup[1]) % isas.len()]);
    let options = options.max_memory(MOST_SESSION_BYTES).max_macs(MOST_WORK as u64);
    Some(extents.into_iter().fold(options, |options, (name, extent)| options.dim(name, extent)))
}

/// A plan of a model that needs little memory.
pub fn plan(model: &Model, options: &Options) -> Option<Plan> {
    model.prepare(options).ok().filter(|plan| plan.session_bytes() <= MOST_SESSION_BYTES)
}

/// Elements for each input of a plan: between -1 and 1, and moved by as much as `nudge`.
pub fn inputs(plan: &Plan, nudge: f32) -> Vec<(Vec<usize>, Vec<f32>)> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut element = |i: usize| (random.f32() * 2.0 - 1.0) * if i.is_multiple_of(2) { 1.0 + nudge } else { 1.0 - nudge };
    let mut input = |shape: &[usize]| (shape.to_vec(), (0..shape.iter().product()).map(&mut element).collect());
    plan.input_shapes().map(&mut input).collect()
}

/// Shape and elements of every output.
pub type Outputs = Vec<(Vec<usize>, Vec<f32>)>;

/// What a plan answers.
///
/// # Panics
/// If it does not: a plan that could be prepared runs.
pub fn run(plan: &Plan, inputs: &[(Vec<usize>, Vec<f32>)]) -> Outputs {
    let view = |(shape, elements)| TensorView::new(shape, elements).expect("as many elements as the shape says");
    let views: Vec<TensorView> = inputs.iter().map(|(shape, elements)| view((shape, elements))).collect();
    let mut session = plan.session();
    let outputs = session.run_all(&views).expect("what was prepared runs");
    let outputs: Outputs = outputs.iter().map(|(_, y)| (y.shape().to_vec(), y.data().to_vec())).collect();
    assert!(outputs.iter().map(|(shape, _)| &shape[..]).eq(plan.output_shapes()), "shapes of outputs are those of the plan");
    outputs
}

/// Compares what another plan of the same network answers with the first `outputs` outputs of `reference`, all of whose elements have to
/// be finite: compaction does not keep others. A network that amplifies rounding may differ by as much.
///
/// # Panics
/// If they differ.
pub fn same(what: &str, reference: &Plan, other: &Plan, outputs: usize) {
    let (given, moved) = (inputs(reference, 0.0), inputs(reference, NUDGE));
    let (expected, nearby, found) = (run(reference, &given), run(reference, &moved), run(other, &given));
    if !expected.iter().chain(&nearby).all(|(_, elements)| elements.iter().all(|x| x.abs() < 1e18)) {
        return;
    }
    assert_eq!(found.len(), outputs, "{what}: outputs");
    for (i, (shape, found)) in found.iter().enumerate() {
        let ((expected_shape, expected), (_, nearby)) = (&expected[i], &nearby[i]);
        assert_eq!(expected_shape, shape, "{what}: shape of output {i}");
        let largest = expected.iter().fold(SMALL, |m, x| m.max(x.abs()));
        let apart = |a: &[f32], b: &[f32]| {
            let differences = a.iter().zip(b).map(|(a, b)| if b.is_nan() { f32::MAX } else { (a - b).abs() });
            differences.fold(0f32, f32::max)
        };
        let (difference, amplified) = (apart(expected, found) / largest, apart(expected, nearby) / largest);
        assert!(
            difference <= TOLERANCE + 100.0 * amplified,
            "{what}: output {i}: relative difference {difference:e}, and {amplified:e} where inputs differ by {NUDGE:e}"
        );
    }
}
