//! How an operator is exported, and which channels it is given. Each value becomes a tensor of just its kept channels. Where an
//! operator needs other ones, they are selected by Gather, or, where constants must be put back, by a 1x1 convolution of zeros and
//! ones.
//!
//! Which channels those are follows from the operator's axis map, that is from how axis 1 of the output comes about. Operators whose
//! weights have channels see to that themselves.

use crate::export::writer::{Writer, int, ints};
use crate::graph::Graph;
use crate::weights::Node;
use anyhow::{Context, Result, bail, ensure};
use sslm_format::shape::Shape;
use sslm_format::{AxisMap, Compaction, Link, Operator, Pick, ValueId, dispatch};

/// How an operator is said in ONNX, with what was removed left out.
pub(crate) trait Export {
    /// Adds nodes that yield the kept channels of what `node` defines, which are some.
    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()>;

    /// A tensor of one channel or more whose other extents are those of what `node` defines, of which nothing exists.
    fn carry(&self, e: &mut Exporter<'_>, node: &Node) -> Result<String>;

    /// Whether what it yields are integers in ONNX.
    fn yields_integers(&self) -> bool {
        false
    }
}

/// An operator without weights that ONNX has, too. Which channels it is given follows from its axis map.
pub(crate) trait Write: Operator {
    /// Adds the operator itself.
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()>;

    /// Whether what it yields are integers in ONNX.
    fn yields_integers(&self) -> bool {
        false
    }
}

/// One application of an operator to tensors of the exported graph.
pub(crate) struct Call<'a> {
    /// The tensors that it reads.
    pub(crate) inputs: &'a [&'a str],
    /// The tensor that it defines.
    pub(crate) output: &'a str,
    /// How many axes that has.
    pub(crate) rank: usize,
    /// The channels that it has; `None` where those are all.
    pub(crate) kept: Option<&'a [usize]>,
}

impl Call<'_> {
    /// The channels of the output, of which there are `count` in the whole.
    pub(crate) fn channels(&self, count: usize) -> Vec<usize> {
        self.kept.map_or_else(|| (0..count).collect(), <[usize]>::to_vec)
    }
}

impl<T: Write> Export for T {
    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        e.ensure_exportable(Write::yields_integers(self), node)?;
        match e.channel_rule(self, node) {
            Channels::Kept(inputs) => {
                let out = node.output;
                let given = |(&v, like): (&ValueId, &bool)| if *like { e.channels_like(v, out) } else { e.all_channels(v) };
                let inputs: Vec<String> = node.inputs.iter().zip(&inputs).map(given).collect::<Result<_>>()?;
                let output = e.name(out);
                e.write(self, &inputs, &output, out)
            }
            Channels::Picked(pick) => e.pick(node, &pick),
            Channels::Joined => {
                let inputs = e.parts(node)?;
                let output = e.name(node.output);
                e.write(self, &inputs, &output, node.output)
            }
            Channels::All => {
                let inputs: Vec<String> = node.inputs.iter().map(|&v| e.all_channels(v)).collect::<Result<_>>()?;
                let all = e.w.fresh(self.name());
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                let rank = e.shape(node.output).len();
                self.write(&mut e.w, &Call { inputs: &inputs, output: &all, rank, kept: None })?;
                e.keep(&all, node.output);
                Ok(())
            }
        }
    }

    fn carry(&self, e: &mut Exporter<'_>, node: &Node) -> Result<String> {
        if let Some(alike) = e.input_of_same_size(self, node) {
            return e.carrier(alike);
        }
        let some_do = matches!(e.channel_rule(self, node), Channels::Kept(_));
        let inputs: Vec<String> = match node.inputs[..] {
            // It may need them all.
            ref all if !some_do => all.iter().map(|&x| e.all_channels(x)).collect::<Result<_>>()?,
            [x] => vec![e.carrier(x)?],
            // Several of them must have equally many channels.
            ref several => several.iter().map(|&x| e.one_channel(x)).collect::<Result<_>>()?,
        };
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let output = e.w.fresh("carrier");
        let rank = e.shape(node.output).len();
        self.write(&mut e.w, &Call { inputs: &inputs, output: &output, rank, kept: Some(&[0]) })?;
        Ok(output)
    }

    fn yields_integers(&self) -> bool {
        Write::yields_integers(self)
    }
}

/// How the operator of a node is exported.
pub(crate) fn export_of(node: &Node) -> &dyn Export {
    dispatch!(&node.op, record => record)
}

/// Which channels an operator is given.
enum Channels {
    /// Those that the output keeps; of inputs for which it is false, all, since it has one that goes for each, or none on that axis.
    Kept(Vec<bool>),
    /// Channel i of the output is one of the input.
    Picked(Pick),
    /// The channels of the inputs are one behind the other.
    Joined,
    /// All; then those that the output keeps are selected.
    All,
}

/// The exported graph in the making, and what it says.
pub(crate) struct Exporter<'a> {
    /// The compacted graph.
    g: &'a Graph,
    /// The tensor that holds each value's kept channels.
    names: Vec<String>,
    /// What is written so far.
    pub(crate) w: Writer,
}

impl<'a> Exporter<'a> {
    /// An empty graph.
    pub(crate) fn new(g: &'a Graph) -> Self {
        let names = g.graph.values.iter().enumerate().map(|(i, v)| {
            // An output that lacks channels is completed under its own name at the end.
            let incomplete = v.compaction.is_some() && g.graph.outputs.contains(&ValueId(i as u32));
            if incomplete { format!("{}.kept", v.name) } else { v.name.clone() }
        });
        Exporter { g, names: names.collect(), w: Writer::default() }
    }

    /// Which channels of `v` exist, if not all.
    pub(crate) fn compaction(&self, v: ValueId) -> Option<&'a Compaction> {
        self.g.graph.values[v.index()].compaction.as_ref()
    }

    /// The tensor that holds the kept channels of `v`.
    pub(crate) fn name(&self, v: ValueId) -> String {
        self.names[v.index()].clone()
    }

    /// The logical shape of `v`.
    pub(crate) fn shape(&self, v: ValueId) -> &'a Shape {
        self.g.shape(v)
    }

    /// Extent of axis 1.
    fn channels(&self, v: ValueId) -> Result<usize> {
        self.shape(v).get(1).copied().flatten().context("expected a known count of channels, found a symbolic one")
    }

    /// The channels of `v` that exist.
    pub(crate) fn physical(&self, v: ValueId) -> Result<Vec<usize>> {
        Ok(match self.compaction(v) {
            Some(c) => kept(c),
            None => (0..self.channels(v)?).collect(),
        })
    }

    /// `v` with all of its channels.
    pub(crate) fn all_channels(&mut self, v: ValueId) -> Result<String> {
        if self.compaction(v).is_none() {
            return Ok(self.name(v));
        }
        let all: Vec<usize> = (0..self.channels(v)?).collect();
        self.select(v, &all)
    }

    /// `v` with the channels that `of` keeps.
    fn channels_like(&mut self, v: ValueId, of: ValueId) -> Result<String> {
        match (self.compaction(v), self.compaction(of)) {
            (None, None) => Ok(self.name(v)),
            (Some(a), Some(b)) if a.kept == b.kept => Ok(self.name(v)),
            (_, None) => self.all_channels(v),
            (_, Some(b)) => self.select(v, &kept(b)),
        }
    }

    /// The given channels of `v`, in the given order.
    fn select(&mut self, v: ValueId, wanted: &[usize]) -> Result<String> {
        let physical = self.physical(v)?;
        let at: Vec<Option<usize>> = wanted.iter().map(|c| physical.binary_search(c).ok()).collect();
        let name = self.name(v);
        if let Some(at) = at.iter().map(|p| p.map(|p| p as i64)).collect::<Option<Vec<i64>>>() {
            let indices = self.w.integers(&at);
            return Ok(self.w.make("Gather", &[&name, &indices], vec![int("axis", 1)]));
        }
        let constants = self.compaction(v).map(Compaction::constant_of).unwrap_or_default();
        let constant = |c: &usize| constants.get(*c).copied().flatten().unwrap_or(0.0);
        let rank = self.shape(v).len();
        if physical.is_empty() {
            let dims: Vec<usize> = [1, wanted.len()].into_iter().chain(vec![1; rank - 2]).collect();
            let elements = self.w.floats(&dims, wanted.iter().map(constant));
            let shape = self.shape_of_removed(v, wanted.len())?;
            return Ok(self.w.make("Expand", &[&elements, &shape], vec![]));
        }
        let columns = physical.len();
        let one = |row: usize, column: usize| if at[row] == Some(column) { 1.0 } else { 0.0 };
        let matrix = (0..wanted.len() * columns).map(|i| one(i / columns, i % columns));
        let bias = self.w.floats(&[wanted.len()], wanted.iter().map(constant));
        match rank {
            3..=5 => {
                let kernel = vec![1; rank - 2];
                let dims = [&[wanted.len(), columns], &kernel[..]].concat();
                let weights = self.w.floats(&dims, matrix);
                let kernel: Vec<i64> = kernel.iter().map(|&n| n as i64).collect();
                Ok(self.w.make("Conv", &[&name, &weights, &bias], vec![ints("kernel_shape", &kernel)]))
            }
            2 => {
                let weights = self.w.floats(&[wanted.len(), columns], matrix);
                Ok(self.w.make("Gemm", &[&name, &weights, &bias], vec![int("transB", 1)]))
            }
            _ => bail!("constants among the channels of a tensor of {rank} axes"),
        }
    }

    /// Defines `out` by its kept channels of a tensor that has all.
    pub(crate) fn keep(&mut self, all: &str, out: ValueId) {
        let output = self.name(out);
        match self.compaction(out) {
            None => self.w.push("Identity", &[all], &output, vec![]),
            Some(c) => {
                let indices = self.w.integers(&c.kept.iter().map(|&c| i64::from(c)).collect::<Vec<_>>());
                self.w.push("Gather", &[all, &indices], &output, vec![int("axis", 1)]);
            }
        }
    }
}

/// What follows from axis maps.
impl Exporter<'_> {
    fn maps(&self, op: &impl Operator, node: &Node) -> Vec<AxisMap> {
        let inputs: Vec<&Shape> = node.inputs.iter().map(|&v| self.shape(v)).collect();
        op.axes(&inputs, self.shape(node.output))
    }

    /// Which channels an operator is given.
    fn channel_rule(&self, op: &impl Operator, node: &Node) -> Channels {
        let maps = self.maps(op, node);
        let out = self.shape(node.output);
        if out.len() < 2 {
            return Channels::Kept(vec![false; node.inputs.len()]);
        }
        // Channels are moved by themselves only where nothing else changes.
        let only_channels =
            maps.iter().all(|map| map.links.iter().enumerate().all(|(axis, link)| axis == 1 || link.alike() == Some(axis)));
        let parts = node.inputs.iter().map(|&v| self.shape(v).get(1).copied().flatten());
        let all_joined = parts.sum::<Option<usize>>() == out[1];
        let mut alike = Vec::new();
        for (map, &v) in maps.iter().zip(&node.inputs) {
            // An axis that is axis 1 of the output, but none of the input's, would be that of another input's channels.
            let elsewhere = |(axis, link): (usize, &Link)| axis != 1 && link.targets().contains(&1);
            if map.links.iter().enumerate().any(elsewhere) {
                return Channels::All;
            }
            alike.push(match map.links.get(1) {
                Some(Link::Alike { to: 1 }) => true,
                Some(Link::Picked { to: 1, pick }) if only_channels => return Channels::Picked(pick.clone()),
                Some(Link::Joined { to: 1, .. }) if only_channels && all_joined => return Channels::Joined,
                // One channel for each, or as many where nobody knows how many there are.
                Some(Link::Broadcast { to: 1 }) if self.shape(v)[1] == out[1] => true,
                Some(Link::Broadcast { to: 1 }) if self.shape(v)[1] == Some(1) => false,
                Some(link) if link.targets().contains(&1) => return Channels::All,
                Some(_) | None => false,
            });
        }
        if alike.contains(&true) { Channels::Kept(alike) } else { Channels::All }
    }

    /// An input whose extents are those of the output, but for channels.
    fn input_of_same_size(&self, op: &impl Operator, node: &Node) -> Option<ValueId> {
        let out = self.shape(node.output);
        let as_long = |(axis, link): (usize, &Link), x: &Shape| match link {
            Link::Alike { to } | Link::Near { to, .. } | Link::Whole { to } => *to == axis,
            Link::Broadcast { to } => *to == axis && x[axis] == out[axis],
            Link::Windowed { .. } | Link::Picked { .. } | Link::Joined { .. } | Link::Regrouped { .. } | Link::Summed => false,
        };
        let same_size = |(map, v): &(AxisMap, &ValueId)| {
            let x = self.shape(**v);
            x.len() == out.len() && map.links.iter().enumerate().filter(|(axis, _)| *axis != 1).all(|link| as_long(link, x))
        };
        self.maps(op, node).into_iter().zip(&node.inputs).find(same_size).map(|(_, v)| *v)
    }

    /// Applies an operator to tensors that have the channels that `out` keeps.
    fn write(&mut self, op: &impl Write, inputs: &[String], output: &str, out: ValueId) -> Result<()> {
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let kept = self.compaction(out).map(kept);
        let rank = self.shape(out).len();
        op.write(&mut self.w, &Call { inputs: &inputs, output, rank, kept: kept.as_deref() })
    }

    /// Defines the output, whose channel c is channel `pick.index(c)` of the input.
    fn pick(&mut self, node: &Node, pick: &Pick) -> Result<()> {
        let wanted: Vec<usize> = self.physical(node.output)?.into_iter().map(|c| pick.index(c)).collect();
        let (picked, output) = (self.select(node.inputs[0], &wanted)?, self.name(node.output));
        self.w.push("Identity", &[&picked], &output, vec![]);
        Ok(())
    }

    /// For each input, its channels among those that the output keeps; inputs without any are left out.
    fn parts(&mut self, node: &Node) -> Result<Vec<String>> {
        let Some(c) = self.compaction(node.output) else {
            return node.inputs.iter().map(|&v| self.all_channels(v)).collect();
        };
        let (kept, mut parts, mut first) = (kept(c), Vec::new(), 0);
        for &v in &node.inputs {
            let range = first..first + self.channels(v)?;
            let wanted: Vec<usize> = kept.iter().filter(|c| range.contains(c)).map(|c| c - first).collect();
            first = range.end;
            if wanted == self.physical(v)? && !wanted.is_empty() {
                parts.push(self.name(v));
            } else if !wanted.is_empty() {
                parts.push(self.select(v, &wanted)?);
            }
        }
        Ok(parts)
    }

    /// Whether what `node` yields is only handed out, where it is integers: elsewhere they are float32.
    fn ensure_exportable(&self, yields_integers: bool, node: &Node) -> Result<()> {
        ensure!(!yields_integers || self.g.readers()[node.output.index()].is_empty(), "positions that are computed with");
        Ok(())
    }
}

/// Values of which nothing exists, but whose size others need.
impl Exporter<'_> {
    /// The shape of a value of which nothing exists, with `channels` channels.
    fn shape_of_removed(&mut self, v: ValueId, channels: usize) -> Result<String> {
        let g = self.g;
        let rest: Option<Vec<i64>> = g.shape(v).iter().skip(2).map(|e| e.map(|e| e as i64)).collect();
        if let Some(rest) = rest {
            // Only the batch may be symbolic, and that is the input's.
            let input = g.graph.inputs.iter().find(|i| g.shape(i.value).first() == g.shape(v).first());
            let input = self.name(input.context("expected an input of the same batch, found none")?.value);
            let batch = self.w.make("Shape", &[&input], vec![int("start", 0), int("end", 1)]);
            let rest = self.w.integers(&[&[channels as i64], rest.as_slice()].concat());
            return Ok(self.w.make("Concat", &[&batch, &rest], vec![int("axis", 0)]));
        }
        let carrier = self.carrier(v)?;
        let batch = self.w.make("Shape", &[&carrier], vec![int("start", 0), int("end", 1)]);
        let size = self.w.make("Shape", &[&carrier], vec![int("start", 2)]);
        let channels = self.w.integers(&[channels as i64]);
        Ok(self.w.make("Concat", &[&batch, &channels, &size], vec![int("axis", 0)]))
    }

    /// A tensor of any channels whose other extents are those of `v`, of which maybe nothing exists: what removed layers do to
    /// sizes is done to one channel that does exist.
    pub(crate) fn carrier(&mut self, v: ValueId) -> Result<String> {
        if !self.physical(v)?.is_empty() {
            return Ok(self.name(v));
        }
        let g = self.g;
        if g.shape(v).iter().skip(2).all(Option::is_some) {
            let (one, shape) = (self.w.floats(&vec![1; g.shape(v).len()], [1.0]), self.shape_of_removed(v, 1)?);
            return Ok(self.w.make("Expand", &[&one, &shape], vec![]));
        }
        let producer = g.producers()[v.index()].context("expected a node, found an input without channels")?;
        let node = &g.graph.nodes[producer];
        export_of(node).carry(self, node)
    }

    /// The first channel of a [`Self::carrier`].
    pub(crate) fn one_channel(&mut self, v: ValueId) -> Result<String> {
        let (carrier, first) = (self.carrier(v)?, self.w.integers(&[0]));
        Ok(self.w.make("Gather", &[&carrier, &first], vec![int("axis", 1)]))
    }
}

/// The kept channels as indices.
fn kept(c: &Compaction) -> Vec<usize> {
    c.kept.iter().map(|&c| c as usize).collect()
}
