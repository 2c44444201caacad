//! Recognises a value that is multiplied by a function of itself: Swish and HardSwish, which exporters write as what they are made of.

use crate::fold::{affine, drop_unread_constants};
use crate::graph::{Graph, drop_unused_values, retain_nodes};
use crate::operator::Affine;
use sslm_format::{Activation, ValueId};

/// Most nodes between a value and what it is multiplied by.
const MOST_NODES: usize = 4;

/// How far constants may be from those of HardSwish: exporters round a sixth differently.
const TOLERANCE: f32 = 1e-5;

/// Replaces every such product whose parts nobody else reads.
pub fn fold_gates(g: &mut Graph) {
    let links = Links { producers: g.producers(), readers: g.readers() };
    let mut gone = vec![false; g.graph.nodes.len()];
    for product in 0..g.graph.nodes.len() {
        let Some(found) = links.recognise(g, product) else { continue };
        found.parts.into_iter().for_each(|part| gone[part] = true);
        let last = &mut g.graph.nodes[found.last];
        (last.op, last.inputs) = (found.function.into(), vec![found.x]);
    }
    retain_nodes(g, |i, _| !gone[i]);
    drop_unread_constants(g);
    drop_unused_values(g);
}

/// Nodes that are one function.
struct Found {
    x: ValueId,
    function: Activation,
    /// The node that yields it.
    last: usize,
    /// The others.
    parts: Vec<usize>,
}

/// What a value is multiplied by, as a function of that value.
#[derive(Clone, Copy)]
enum Gate {
    /// `slope x + offset`, kept between two bounds.
    Clamped { slope: f32, offset: f32, bounds: [f32; 2] },
    /// `1 / (1 + exp(-slope x))`.
    Sigmoid { slope: f32 },
}

/// The value itself.
const ITSELF: Gate = Gate::Clamped { slope: 1.0, offset: 0.0, bounds: [f32::NEG_INFINITY, f32::INFINITY] };

impl Gate {
    /// `scale` times it, and `shift` added. Scales are positive.
    fn scaled(self, scale: f32, shift: f32) -> Option<Self> {
        match self {
            Gate::Clamped { slope, offset, bounds } if scale > 0.0 => Some(Gate::Clamped {
                slope: slope * scale,
                offset: offset * scale + shift,
                bounds: bounds.map(|bound| bound * scale + shift),
            }),
            Gate::Clamped { .. } | Gate::Sigmoid { .. } => None,
        }
    }

    fn clamped(self, low: f32, high: f32) -> Option<Self> {
        match self {
            Gate::Clamped { slope, offset, bounds } => {
                Some(Gate::Clamped { slope, offset, bounds: bounds.map(|bound| bound.max(low).min(high)) })
            }
            Gate::Sigmoid { .. } => None,
        }
    }

    /// `function` of it.
    fn then(self, function: Activation) -> Option<Self> {
        match (function, self) {
            (Activation::Relu, _) => self.clamped(0.0, f32::INFINITY),
            (Activation::Clip { low, high }, _) => self.clamped(low, high),
            (Activation::HardSigmoid { alpha, beta }, _) => self.scaled(alpha, beta)?.clamped(0.0, 1.0),
            (Activation::Sigmoid, Gate::Clamped { slope, offset: 0.0, bounds: [f32::NEG_INFINITY, f32::INFINITY] }) => {
                Some(Gate::Sigmoid { slope })
            }
            _ => None,
        }
    }

    /// The function that `scale x` times it is.
    fn times_value(self, scale: f32) -> Option<Activation> {
        match self {
            Gate::Sigmoid { slope } => (scale == 1.0).then_some(Activation::Swish { alpha: slope }),
            Gate::Clamped { slope, offset, bounds: [low, high] } => {
                let is = |found: f32, expected: f32| (found * scale - expected).abs() <= TOLERANCE;
                let all = is(slope, 1.0 / 6.0) && is(offset, 0.5) && is(low, 0.0) && is(high, 1.0);
                all.then_some(Activation::HardSwish)
            }
        }
    }
}

/// Who defines and who reads each value.
struct Links {
    producers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
}

impl Links {
    /// The function that a product is, by itself or with a constant factor behind it.
    fn recognise(&self, g: &Graph, product: usize) -> Option<Found> {
        let node = &g.graph.nodes[product];
        let &[a, b] = &node.inputs[..] else { return None };
        if !g.op(product).is_product() {
            return None;
        }
        let gated = |x: ValueId, by: ValueId| {
            let mut parts = Vec::new();
            let gate = self.gate(g, by, x, &mut parts).filter(|_| g.shape(x) == g.shape(node.output))?;
            Some((x, gate, parts))
        };
        let (x, gate, mut parts) = gated(a, b).or_else(|| gated(b, a))?;
        if let Some(function) = gate.times_value(1.0) {
            return Some(Found { x, function, last: product, parts });
        }
        let last = self.only_reader(g, node.output)?;
        let [scale, shift] = uniform(affine(g, &self.producers, last)?)?;
        let function = gate.times_value(scale).filter(|_| shift == 0.0 && g.shape(x) == g.shape(g.graph.nodes[last].output))?;
        parts.push(product);
        Some(Found { x, function, last, parts })
    }

    /// `value` as a function of `x`; its nodes are added to `parts`.
    fn gate(&self, g: &Graph, value: ValueId, x: ValueId, parts: &mut Vec<usize>) -> Option<Gate> {
        if value == x {
            return Some(ITSELF);
        }
        let index = self.producers[value.index()].filter(|_| self.only_reader(g, value).is_some() && parts.len() < MOST_NODES)?;
        parts.push(index);
        let inputs = &g.graph.nodes[index].inputs;
        if let Some(function) = g.op(index).function() {
            return self.gate(g, inputs[0], x, parts)?.then(function);
        }
        let affine = affine(g, &self.producers, index)?;
        let input = inputs[affine.input];
        let [scale, shift] = uniform(affine)?;
        self.gate(g, input, x, parts)?.scaled(scale, shift)
    }

    /// The node that reads `value`, if it is the only one.
    fn only_reader(&self, g: &Graph, value: ValueId) -> Option<usize> {
        let &[reader] = &self.readers[value.index()][..] else { return None };
        (!g.graph.outputs.contains(&value)).then_some(reader)
    }
}

/// Factor and term, if all channels have the same.
fn uniform(affine: Affine) -> Option<[f32; 2]> {
    let same = |all: &[f32]| all.first().copied().filter(|first| all.iter().all(|x| x == first));
    let scale = affine.scale.map_or(Some(1.0), |scale| same(&scale));
    Some([scale?, same(&affine.shift)?])
}
