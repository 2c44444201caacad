//! How an operator is exported: as one node on tensors that have the channels which [`Existing`] says. Which channels have to exist
//! together follows from the operator's axis map, that is from how axis 1 of the output comes about. Operators whose weights have
//! channels see to that themselves.

use crate::export::existing::{Existing, block_in_groups};
use crate::export::writer::{Writer, int};
use crate::graph::Graph;
use crate::weights::{Matrix, Node};
use anyhow::{Context, Result};
use sslm_format::shape::{self, Shape};
use sslm_format::{AxisMap, Compaction, ElementType, Extent, Link, Operator, Pick, ValueId, dispatch};
use std::collections::HashMap;

/// How an operator is said in ONNX, with what was removed left out.
pub(crate) trait Export {
    /// Brings those channels back without which what `node` defines, of which something exists, would take more than one node.
    fn settle(&self, existing: &mut Existing<'_>, node: &Node);

    /// Adds the node, which yields the existing channels of what it defines.
    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()>;
}

/// An operator that ONNX has, too, and whose weights do not meet channels of its input. Which channels it is given follows from its
/// axis map.
pub(crate) trait Write: Operator {
    /// Adds the operator itself.
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()>;

    /// Whether the elements of input `input` are repeated along axes where it has an extent of 1 and the output has more.
    fn repeats(&self, input: usize) -> bool {
        let _ = input;
        false
    }
}

/// One application of an operator to tensors of the exported graph.
pub(crate) struct Call<'a> {
    /// The tensors that it reads.
    pub(crate) inputs: &'a [&'a str],
    /// The tensor that it defines.
    pub(crate) output: &'a str,
    /// The shape of the first input in the original.
    pub(crate) input_shape: &'a Shape,
    /// How many axes each input has.
    pub(crate) ranks: &'a [usize],
    /// How many axes the output has.
    pub(crate) rank: usize,
    /// The channels that the output has; `None` where those are all.
    pub(crate) kept: Option<&'a [usize]>,
}

impl Call<'_> {
    /// The channels of the output, of which there are `count` in the whole.
    pub(crate) fn channels(&self, count: usize) -> Vec<usize> {
        self.kept.map_or_else(|| (0..count).collect(), <[usize]>::to_vec)
    }
}

impl<T: Write> Export for T {
    fn settle(&self, existing: &mut Existing<'_>, node: &Node) {
        let out = node.output;
        let rule = channel_rule(self, existing.g, node);
        for (i, &v) in node.inputs.iter().enumerate().filter(|(_, v)| !existing.is_stored(**v)).collect::<Vec<_>>() {
            match &rule {
                Rule::Alike(alike) if alike[i] && is_constant(self, existing, node, i) => {}
                Rule::Alike(alike) if alike[i] => existing.join(v, out, 0, existing.count(out).unwrap_or(0)),
                Rule::Alike(_) => existing.fill(v),
                Rule::Picked(pick) => {
                    let kept = existing.list(out, existing.count(out).unwrap_or(0));
                    kept.into_iter().for_each(|channel| existing.add(v, pick.index(channel)));
                }
                Rule::Joined(first) => {
                    let count = existing.count(v).unwrap_or(0);
                    existing.round_up(v, block_in_groups(count));
                    existing.join(v, out, first[i], count);
                }
                Rule::All => [v, out].into_iter().for_each(|v| existing.fill(v)),
            }
        }
    }

    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let mut inputs = Vec::new();
        match channel_rule(self, e.g(), node) {
            Rule::Picked(pick) if !(e.existing.is_whole(node.inputs[0]) && e.existing.is_whole(node.output)) => {
                return e.pick(node, &pick);
            }
            Rule::Alike(alike) => {
                for (i, &v) in node.inputs.iter().enumerate() {
                    inputs.push(match alike[i] {
                        true if e.existing.is_stored(v) => e.stored(v, e.kept(node.output).as_deref())?,
                        true if is_constant(self, &e.existing, node, i) => e.constants_of(v, node.output)?,
                        _ => e.tensor(v)?,
                    });
                }
            }
            Rule::Picked(_) | Rule::All => {
                inputs = node.inputs.iter().map(|&v| e.tensor(v)).collect::<Result<_>>()?;
            }
            Rule::Joined(first) => {
                for (&v, first) in node.inputs.iter().zip(first) {
                    let there = e.channels(v)?.filter(|&c| e.existing.has(node.output, first + c)).collect::<Vec<_>>();
                    if e.existing.is_stored(v) && !there.is_empty() {
                        inputs.push(e.stored(v, Some(&there))?);
                    } else if !there.is_empty() {
                        inputs.push(e.tensor(v)?);
                    }
                }
            }
        }
        let (inputs, output): (Vec<&str>, String) = (inputs.iter().map(String::as_str).collect(), e.name(node.output));
        let kept = e.kept(node.output);
        let g = e.g();
        let no_input = Shape::new();
        let input_shape = node.inputs.first().map_or(&no_input, |&v| g.shape(v));
        let rank = g.shape(node.output).len();
        let ranks: Vec<usize> = node.inputs.iter().map(|&v| g.shape(v).len()).collect();
        let kept = kept.as_deref();
        self.write(&mut e.w, &Call { inputs: &inputs, output: &output, input_shape, ranks: &ranks, rank, kept })
    }
}

/// How the operator of a node is exported.
pub(crate) fn export_of(node: &Node) -> &dyn Export {
    dispatch!(&node.op, record => record)
}

/// How the channels of an operator's inputs become those of its output.
enum Rule {
    /// Channel i of the output is computed from channel i of those inputs for which it is true; the others are whole.
    Alike(Vec<bool>),
    /// Channel i of the output is one of the input.
    Picked(Pick),
    /// The channels of the inputs are one behind the other, from these on.
    Joined(Vec<usize>),
    /// Anything else: all channels of all of them exist.
    All,
}

fn channel_rule(op: &impl Operator, g: &Graph, node: &Node) -> Rule {
    let shapes: Vec<&Shape> = node.inputs.iter().map(|&v| g.shape(v)).collect();
    let out = g.shape(node.output);
    let maps: Vec<AxisMap> = op.axes(&shapes, out);
    if out.len() < 2 {
        return Rule::Alike(vec![false; node.inputs.len()]);
    }
    // Channels are moved by themselves only where nothing else changes.
    let only_channels =
        maps.iter().all(|map| map.links.iter().enumerate().all(|(axis, link)| axis == 1 || link.alike() == Some(axis)));
    let parts = shapes.iter().map(|shape| shape.get(1).and_then(Extent::known));
    let all_joined = parts.sum::<Option<usize>>() == out[1].known();
    let (mut alike, mut joined) = (Vec::new(), Vec::new());
    for (map, x) in maps.iter().zip(shapes) {
        // An axis that is axis 1 of the output, but none of the input's, would be that of another input's channels.
        let elsewhere = |(axis, link): (usize, &Link)| axis != 1 && link.targets().contains(&1);
        if map.links.iter().enumerate().any(elsewhere) {
            return Rule::All;
        }
        alike.push(match map.links.get(1) {
            Some(Link::Alike { to: 1 }) => true,
            Some(Link::Picked { to: 1, pick }) if only_channels => return Rule::Picked(pick.clone()),
            Some(Link::Joined { to: 1, first }) if only_channels && all_joined => {
                joined.push(*first);
                false
            }
            // One channel for each, or as many where nobody knows how many there are.
            Some(Link::Broadcast { to: 1 }) if x[1] == out[1] => true,
            Some(Link::Broadcast { to: 1 }) if x[1].known() == Some(1) => false,
            Some(link) if link.targets().contains(&1) => return Rule::All,
            Some(_) | None => false,
        });
    }
    match (joined.len() == maps.len() && !joined.is_empty(), alike.contains(&true)) {
        (true, _) => Rule::Joined(joined),
        (_, true) => Rule::Alike(alike),
        _ => Rule::All,
    }
}

/// Whether input `i` of a node has no channel and need not, since it can be given as one element for each channel: the operator repeats
/// them, and another input has all extents of the output.
fn is_constant(op: &impl Write, existing: &Existing<'_>, node: &Node, i: usize) -> bool {
    let out = existing.g.shape(node.output);
    let full = |(j, &v): (usize, &ValueId)| j != i && !existing.is_empty(v) && existing.g.shape(v) == out;
    existing.is_empty(node.inputs[i]) && op.repeats(i) && node.inputs.iter().enumerate().any(full)
}

/// The exported graph in the making, and what it says.
pub(crate) struct Exporter<'a> {
    /// Which channels the tensors have.
    pub(crate) existing: Existing<'a>,
    /// The tensor that holds each value's existing channels.
    names: Vec<String>,
    /// What is written so far.
    pub(crate) w: Writer,
}

impl<'a> Exporter<'a> {
    /// An empty graph.
    pub(crate) fn new(dense: &Graph, g: &'a Graph) -> Self {
        let existing = settled(dense, g);
        let mut w = Writer::new(symbols(g));
        let mut names: Vec<Option<String>> = vec![None; g.graph.values.len()];
        // What users of the model know keeps its name. Where its elements are no float32, that is the name before, or behind, a Cast.
        for (input, element_type) in g.graph.inputs.iter().zip(&g.types.inputs) {
            let name = w.fresh(&g.graph.values[input.value.index()].name);
            names[input.value.index()] = (*element_type == ElementType::F32).then_some(name);
        }
        for ((&value, name), element_type) in g.graph.outputs.iter().zip(&g.output_names).zip(&g.types.outputs) {
            let name = w.fresh(name);
            if names[value.index()].is_none() && !existing.is_stored(value) && *element_type == ElementType::F32 {
                names[value.index()] = Some(name);
            }
        }
        let own = |(name, value): (Option<String>, &sslm_format::Value)| name.unwrap_or_else(|| w.fresh(&value.name));
        let names = names.into_iter().zip(&g.graph.values).map(own).collect();
        Exporter { existing, names, w }
    }

    /// The compacted graph.
    pub(crate) fn g(&self) -> &'a Graph {
        self.existing.g
    }

    /// The tensor that a node defines as `v`.
    pub(crate) fn name(&self, v: ValueId) -> String {
        self.names[v.index()].clone()
    }

    /// The tensor that holds the existing channels of `v`, to be read.
    pub(crate) fn tensor(&mut self, v: ValueId) -> Result<String> {
        if self.existing.is_stored(v) { self.stored(v, None) } else { Ok(self.name(v)) }
    }

    /// The logical shape of `v`.
    pub(crate) fn shape(&self, v: ValueId) -> &'a Shape {
        self.g().shape(v)
    }

    /// All channels of `v`.
    fn channels(&self, v: ValueId) -> Result<std::ops::Range<usize>> {
        Ok(0..self.existing.count(v).context("expected a known count of channels, found a symbolic one")?)
    }

    /// The channels of `v` that exist, if those are not all.
    pub(crate) fn kept(&self, v: ValueId) -> Option<Vec<usize>> {
        let count = self.existing.count(v).filter(|_| !self.existing.is_whole(v))?;
        Some(self.existing.list(v, count))
    }

    /// The channels of `v` that exist.
    pub(crate) fn physical(&self, v: ValueId) -> Result<Vec<usize>> {
        Ok(self.existing.list(v, self.channels(v)?.end))
    }

    /// A stored tensor, or these channels of it.
    fn stored(&mut self, v: ValueId, channels: Option<&[usize]>) -> Result<String> {
        let g = self.g();
        let mut dims = shape::known(g.shape(v)).context("expected a stored tensor of known extents, found symbolic ones")?;
        let node = g.graph.nodes.iter().position(|node| node.output == v);
        let data = node.and_then(|i| g.op(i).tensor()).context("expected a stored tensor, found none")?;
        let channels = channels.filter(|channels| dims.len() > 1 && dims[1] > 1 && channels.len() < dims[1]);
        let Some(channels) = channels else { return Ok(self.w.stored(&dims, data)) };
        let (all, plane) = (dims[1], dims[2..].iter().product::<usize>());
        dims[1] = channels.len();
        let place = |i: usize| {
            let (image, channel) = (i / plane / channels.len(), channels[i / plane % channels.len()]);
            (image * all + channel) * plane + i % plane
        };
        let count = dims.iter().product();
        Ok(self.w.floats(&dims, (0..count).map(|i| data.at(place(i)))))
    }

    /// The constants of `v`, of which nothing exists: one element for each channel that `out` has.
    fn constants_of(&mut self, v: ValueId, out: ValueId) -> Result<String> {
        let (channels, constants) = (self.physical(out)?, constants(self.g(), v));
        let rank = self.shape(v).len();
        let dims: Vec<usize> = [1, channels.len()].into_iter().chain(vec![1; rank - 2]).collect();
        Ok(self.w.floats(&dims, channels.iter().map(|&c| constants.get(c).copied().flatten().unwrap_or(0.0))))
    }

    /// Defines the output, whose channel c is channel `pick.index(c)` of the input.
    fn pick(&mut self, node: &Node, pick: &Pick) -> Result<()> {
        let physical = self.physical(node.inputs[0])?;
        let wanted: Vec<usize> = self.physical(node.output)?.into_iter().map(|c| pick.index(c)).collect();
        let at: Vec<i64> = wanted.iter().map(|&c| physical.partition_point(|&p| p < c) as i64).collect();
        let (x, output) = (self.tensor(node.inputs[0])?, self.name(node.output));
        if at.windows(2).all(|pair| pair[1] == pair[0] + 1) {
            let [start, end, axis] = [at[0], at[0] + at.len() as i64, 1].map(|n| self.w.integers(&[n]));
            self.w.push("Slice", &[&x, &start, &end, &axis], &output, vec![]);
        } else {
            let indices = self.w.integers(&at);
            self.w.push("Gather", &[&x, &indices], &output, vec![int("axis", 1)]);
        }
        Ok(())
    }
}

/// For each symbolic dim, the input that has it and the axis.
fn symbols(g: &Graph) -> HashMap<String, (String, i64)> {
    let of_input = |input: &sslm_format::Input| {
        let name = g.graph.values[input.value.index()].name.clone();
        let symbol = |(axis, dim): (i64, &sslm_format::Dim)| Some((dim.symbol()?.to_owned(), (name.clone(), axis)));
        (0..).zip(&input.dims).filter_map(symbol).collect::<Vec<_>>()
    };
    // Of several that have it, the first one.
    g.graph.inputs.iter().rev().flat_map(of_input).collect()
}

/// What has to exist for each node of `dense` to be one node, if `g` is its compact form.
fn settled<'a>(dense: &Graph, g: &'a Graph) -> Existing<'a> {
    let (nodes, shared) = (&dense.graph.nodes, shared_weights(dense));
    let mut existing = Existing::new(g);
    loop {
        for node in nodes.iter().rev().chain(nodes) {
            if !existing.is_empty(node.output) {
                export_of(node).settle(&mut existing, node);
            }
        }
        for [a, b] in shared.iter().map(|pair| pair.map(|i| &nodes[i])) {
            if !existing.is_empty(a.output) && !existing.is_empty(b.output) {
                existing.join(a.inputs[0], b.inputs[0], 0, existing.count(a.inputs[0]).unwrap_or(0));
                existing.join(a.output, b.output, 0, existing.count(a.output).unwrap_or(0));
            }
        }
        if !existing.has_changed() {
            return existing;
        }
    }
}

/// Pairs of layers that have the same weights: they are stored once if both take the same of them. A matrix alone does not say how many
/// channels its columns are of, as groups and kernels have it.
fn shared_weights(g: &Graph) -> Vec<[usize; 2]> {
    let layers: Vec<(usize, &Matrix)> = (0..g.graph.nodes.len()).filter_map(|i| Some((i, g.layer(i)?.matrix))).collect();
    let kind = |i: usize| {
        let node = &g.graph.nodes[i];
        (node.op.name(), [node.inputs[0], node.output].map(|v| g.shape(v).get(1).and_then(Extent::known)))
    };
    let same = |(at, &(i, matrix)): (usize, &(usize, &Matrix))| {
        let before = layers[..at].iter().rev().find(|(before, other)| *other == matrix && kind(*before) == kind(i))?;
        Some([before.0, i])
    };
    layers.iter().enumerate().filter_map(same).collect()
}

/// The constant of each channel of `v` that the file removed.
pub(crate) fn constants(g: &Graph, v: ValueId) -> Vec<Option<f32>> {
    g.graph.values[v.index()].compaction.as_ref().map(Compaction::constant_of).unwrap_or_default()
}
