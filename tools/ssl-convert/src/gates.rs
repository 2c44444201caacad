//! Recognises a value that is multiplied by a function of itself: Swish, HardSwish, Gelu and Mish, which exporters write as what they
//! are made of.

use crate::fold::{affine, drop_unread_constants, stored_element};
use crate::graph::{Graph, drop_unused_values, retain_nodes};
use crate::operator::Affine;
use sslm_format::{Activation, Binary, ValueId};
use std::f32::consts::FRAC_1_SQRT_2;

/// Most nodes between a value and what it is multiplied by.
const MOST_NODES: usize = 5;

/// How far constants may be from those of a function: exporters round a sixth, or a root, differently.
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
#[derive(Clone, Copy, PartialEq)]
enum Gate {
    /// `slope x + offset`, kept between two bounds.
    Clamped { slope: f32, offset: f32, bounds: [f32; 2] },
    /// `1 / (1 + exp(-slope x))`.
    Sigmoid { slope: f32 },
    /// `scale erf(slope x) + offset`.
    Erf { slope: f32, scale: f32, offset: f32 },
    /// `ln(1 + exp(x))`.
    Softplus,
    /// Its tangent.
    TanhOfSoftplus,
}

/// The value itself.
const ITSELF: Gate = Gate::Clamped { slope: 1.0, offset: 0.0, bounds: [f32::NEG_INFINITY, f32::INFINITY] };

impl Gate {
    /// `scale` times it, and `shift` added. A negative scale swaps the bounds, and in that order they are
    /// those of no function that is recognised.
    fn scaled(self, scale: f32, shift: f32) -> Option<Self> {
        match self {
            Gate::Clamped { slope, offset, bounds } => Some(Gate::Clamped {
                slope: slope * scale,
                offset: offset * scale + shift,
                bounds: bounds.map(|bound| bound * scale + shift),
            }),
            Gate::Erf { slope, scale: own, offset } => {
                Some(Gate::Erf { slope, scale: own * scale, offset: offset * scale + shift })
            }
            Gate::Sigmoid { .. } | Gate::Softplus | Gate::TanhOfSoftplus => None,
        }
    }

    fn clamped(self, low: f32, high: f32) -> Option<Self> {
        match self {
            Gate::Clamped { slope, offset, bounds } => {
                Some(Gate::Clamped { slope, offset, bounds: bounds.map(|bound| bound.max(low).min(high)) })
            }
            Gate::Sigmoid { .. } | Gate::Erf { .. } | Gate::Softplus | Gate::TanhOfSoftplus => None,
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
            (Activation::Erf, Gate::Clamped { slope, offset: 0.0, bounds: [f32::NEG_INFINITY, f32::INFINITY] }) => {
                Some(Gate::Erf { slope, scale: 1.0, offset: 0.0 })
            }
            (Activation::Softplus, gate) if gate == ITSELF => Some(Gate::Softplus),
            (Activation::Tanh, Gate::Softplus) => Some(Gate::TanhOfSoftplus),
            _ => None,
        }
    }

    /// The function that `scale x` times it is.
    fn times_value(self, scale: f32) -> Option<Activation> {
        let is = |found: f32, expected: f32| (found * scale - expected).abs() <= TOLERANCE;
        match self {
            Gate::Sigmoid { slope } => (scale == 1.0).then_some(Activation::Swish { alpha: slope }),
            Gate::TanhOfSoftplus => (scale == 1.0).then_some(Activation::Mish),
            Gate::Softplus => None,
            Gate::Erf { slope, scale: own, offset } => {
                let all = is(own, 0.5) && is(offset, 0.5) && (slope - FRAC_1_SQRT_2).abs() <= TOLERANCE;
                all.then_some(Activation::Gelu)
            }
            Gate::Clamped { slope, offset, bounds: [low, high] } => {
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
        if g.op(product).function_of_two() != Some(Binary::Mul) {
            return None;
        }
        let (x, own, gate, mut parts) = self.gated(g, node.output, a, b).or_else(|| self.gated(g, node.output, b, a))?;
        if let Some(function) = gate.times_value(own) {
            return Some(Found { x, function, last: product, parts });
        }
        let last = self.only_reader(g, node.output)?;
        let (_, [scale, shift]) = self.uniform(g, last)?;
        let same_shape = g.shape(x) == g.shape(g.graph.nodes[last].output);
        let function = gate.times_value(own * scale).filter(|_| shift == 0.0 && same_shape)?;
        parts.push(product);
        Some(Found { x, function, last, parts })
    }

    /// What `product`, that of `value` and `by`, is made of: `x`, its factor in `value`, what it is multiplied by, and all nodes for that.
    fn gated(&self, g: &Graph, product: ValueId, value: ValueId, by: ValueId) -> Option<(ValueId, f32, Gate, Vec<usize>)> {
        let of = |x: ValueId, mut parts: Vec<usize>| {
            let gate = self.gate(g, by, x, &mut parts).filter(|_| g.shape(x) == g.shape(product))?;
            Some((gate, parts))
        };
        if let Some((gate, parts)) = of(value, Vec::new()) {
            return Some((value, 1.0, gate, parts));
        }
        // The factor may come first.
        let scaling = self.producers[value.index()].filter(|_| self.only_reader(g, value).is_some())?;
        let (x, [scale, shift]) = self.uniform(g, scaling)?;
        let (gate, parts) = of(x, vec![scaling]).filter(|_| shift == 0.0)?;
        Some((x, scale, gate, parts))
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
        let (input, [scale, shift]) = self.uniform(g, index)?;
        self.gate(g, input, x, parts)?.scaled(scale, shift)
    }

    /// Node `i` as a factor and a term for all elements of a value, if it is that.
    fn uniform(&self, g: &Graph, i: usize) -> Option<(ValueId, [f32; 2])> {
        let node = &g.graph.nodes[i];
        // A stored element goes for all channels, even where nobody knows how many there are.
        let one = |&v: &ValueId| stored_element(g, &self.producers, v).map(|element| vec![element]);
        let of_elements = g.op(i).affine(&node.inputs.iter().map(one).collect::<Vec<_>>());
        let Affine { input, scale, shift } = of_elements.or_else(|| affine(g, &self.producers, i))?;
        let same = |all: &[f32]| all.first().copied().filter(|first| all.iter().all(|x| x == first));
        let x = node.inputs[input];
        let factor = scale.map_or(Some(1.0), |scale| same(&scale))?;
        Some((x, [factor, same(&shift)?])).filter(|_| g.shape(x) == g.shape(node.output))
    }

    /// The node that reads `value`, if it is the only one.
    fn only_reader(&self, g: &Graph, value: ValueId) -> Option<usize> {
        let &[reader] = &self.readers[value.index()][..] else { return None };
        (!g.graph.outputs.contains(&value)).then_some(reader)
    }
}
