//! The certificate: what a conversion removed and by which rule, what it could not remove and why, and how far the outputs moved.
//! It is derived afterwards from the graphs before and after, so it is a second opinion on compaction, not its diary.

use crate::compact::compact;
use crate::export::{self, LayerExport, LayerExports};
use crate::graph::Graph;
use crate::threshold::{Histogram, Norms};
use crate::verify::Verification;
use crate::weights::Layer;
use rayon::prelude::*;
use serde::Serialize;
use sslm_format::shape::Shape;
use sslm_format::{Extent, Operator, Provenance, Value, ValueId};
use std::collections::BTreeMap;

/// Everything that a conversion did, as `ssl-convert --report` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// Program and version.
    pub tool: String,
    /// What was converted.
    pub source: Source,
    /// Size of the `.sslm` file in bytes.
    pub bytes: u64,
    /// Whether zeros were kept in place on request.
    pub dense: bool,
    /// Filters and columns whose norm is at most this times the largest of their kind in their layer were taken for zero.
    pub zero_tol: f64,
    /// Layers with weights, in order.
    pub layers: Vec<LayerReport>,
    /// All layers together.
    pub total: Cost,
    /// The symbolic dims of the inputs, and the sizes that multiply-accumulates are stated for.
    pub sizes: BTreeMap<String, usize>,
    /// Where zeros had to stay, and why.
    pub refused: Vec<Refusal>,
    /// What happens to elements that are NaN or infinite.
    pub non_finite: NonFinite,
    /// How the file compares with the original when both are run; absent if that was turned off.
    pub verification: Option<Verification>,
    /// What became of the export to ONNX; absent if none was asked for.
    pub export: Option<export::Report>,
}

/// The file that was converted.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// File name, without folders.
    pub name: String,
    /// Size, without external data.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// The policy on NaN and infinities.
#[derive(Clone, Debug, Serialize)]
pub struct NonFinite {
    /// In weights.
    pub weights: &'static str,
    /// In inputs.
    pub inputs: &'static str,
}

/// One layer with weights. Filters and columns are judged after BatchNormalization was folded into them.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// Name of the node.
    pub name: String,
    /// Its operator.
    pub op: &'static str,
    /// Whether nothing of the layer is left.
    pub removed: bool,
    /// Filters (rows).
    pub filters: Count,
    /// Input channels, read by at least one column.
    pub channels: Count,
    /// Columns of the lowered matrix, all groups together.
    pub columns: Count,
    /// Columns that each group keeps.
    pub columns_kept_per_group: Vec<usize>,
    /// What the exported ONNX model has of the layer; absent if none was asked for, or nothing of the layer is left there.
    pub export: Option<LayerExport>,
    /// What the layer costs.
    #[serde(flatten)]
    pub cost: Cost,
    /// How far filters and columns are from zero.
    pub norms: LayerNorms,
    /// Zeros among the weights that are kept.
    pub scattered: Scattered,
}

/// Zeros that lie in no zero filter and no zero column, so that they are stored and computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scattered {
    /// How many weights are kept.
    pub weights: u64,
    /// How many of them are zero.
    pub zeros: u64,
}

impl Scattered {
    /// Of the weights of `layer` in the rows that `filters` keeps and the columns that it keeps itself.
    fn of(layer: &Layer<'_>, filters: &Channels<'_>) -> Self {
        let of_row = |row: usize| {
            let kept = &layer.kept[row / layer.filters];
            let zeros = kept.iter(layer.columns).filter(|&column| layer.matrix.at(row, column) == 0.0).count();
            [kept.count(layer.columns) as u64, zeros as u64]
        };
        let rows = (0..layer.matrix.rows).filter(|&row| filters.keep(row)).map(of_row);
        let [weights, zeros] = rows.fold([0; 2], |[weights, zeros], [more, of_them]| [weights + more, zeros + of_them]);
        Scattered { weights, zeros }
    }

    /// Zeros among the weights, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.zeros as f64 / self.weights.max(1) as f64
    }
}

/// Euclidean norms of a layer's filters and columns, before any cut.
#[derive(Clone, Debug, Serialize)]
pub struct LayerNorms {
    /// Norms of filters.
    pub filters: Histogram,
    /// Norms of columns, per group.
    pub columns: Histogram,
}

/// How many there were originally, how many are kept, and how many each rule removed of those that are missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Count {
    /// In the source model.
    pub original: usize,
    /// In the file.
    pub kept: usize,
    /// How many each rule removed.
    pub removed: BTreeMap<Rule, usize>,
}

/// Why a filter, channel or column is not in the file. The first that applies is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// All its weights are zero. A filter's channel is then the constant of its bias.
    Zero,
    /// Its norm is within the threshold, so its weights were taken for zero.
    Cut,
    /// A filter that reads only constant channels, or a channel that is constant itself.
    Constant,
    /// Nothing that is kept reads it.
    Unread,
    /// A column whose input channel is constant.
    ChannelRemoved,
    /// A column that only removed filters use.
    FiltersRemoved,
}

/// Cost before and after.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cost {
    /// Multiply-accumulates for one image, of [`Certificate::sizes`] where its size is symbolic.
    pub macs: Option<Change>,
    /// Bytes of weights, biases not counted.
    pub weight_bytes: Change,
}

/// A count before and after the conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Change {
    /// In the source model.
    pub before: u64,
    /// In the file.
    pub after: u64,
}

/// A node behind which constants could not be followed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// How many constant channels it reads but does not pass on as constants.
    pub channels: usize,
    /// Why.
    pub reason: String,
}

impl FromIterator<Option<Rule>> for Count {
    /// One item for each of the originals: the rule that removed it, or `None` if it is kept.
    fn from_iter<I: IntoIterator<Item = Option<Rule>>>(items: I) -> Self {
        let mut count = Count::default();
        for item in items {
            count.original += 1;
            match item {
                None => count.kept += 1,
                Some(rule) => *count.removed.entry(rule).or_default() += 1,
            }
        }
        count
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Self {
        let add = |a: Change, b: Change| Change { before: a.before + b.before, after: a.after + b.after };
        let none = Cost { macs: Some(Change::default()), weight_bytes: Change::default() };
        costs.fold(none, |sum, cost| Cost {
            macs: sum.macs.zip(cost.macs).map(|(a, b)| add(a, b)),
            weight_bytes: add(sum.weight_bytes, cost.weight_bytes),
        })
    }
}

impl Certificate {
    /// Compares the graph as it was folded (`before`), after the cut at `zero_tol` (`cut`), and as it was written (`after`, of
    /// `bytes` bytes). All three have the same nodes and values. `exported` is what the exported model has of each layer.
    pub fn new(
        before: &Graph,
        cut: Graph,
        after: &Graph,
        zero_tol: f64,
        provenance: &Provenance,
        bytes: u64,
        exported: &LayerExports,
    ) -> Self {
        let live = if provenance.dense { cut } else { without_constants(cut) };
        let layer = |i: usize| {
            let report = layer_report(i, before, after, &live, zero_tol)?;
            Some(LayerReport { export: exported.get(&i).copied(), ..report })
        };
        let layers: Vec<LayerReport> = (0..before.graph.nodes.len()).into_par_iter().filter_map(layer).collect();
        Certificate {
            tool: provenance.tool.clone(),
            source: Source {
                name: provenance.source.clone(),
                bytes: provenance.source_bytes,
                sha256: provenance.source_sha256.iter().map(|b| format!("{b:02x}")).collect(),
            },
            bytes,
            dense: provenance.dense,
            zero_tol,
            total: layers.iter().map(|l| l.cost.clone()).sum(),
            sizes: live.reference().into_iter().map(|(name, size)| (name.to_owned(), size)).collect(),
            layers,
            refused: if provenance.dense {
                Vec::new()
            } else {
                (0..live.graph.nodes.len()).filter_map(|i| refusal(&live, i)).collect()
            },
            non_finite: NonFinite {
                weights: "refused",
                inputs: "reach only what is kept: where the original computes 0 * NaN = NaN, the compact model computes nothing",
            },
            verification: None,
            export: None,
        }
    }

    /// How many filters and how many columns each rule removed in all layers.
    pub fn removed(&self) -> [BTreeMap<Rule, usize>; 2] {
        let sum = |count: fn(&LayerReport) -> &Count| {
            let mut sum = BTreeMap::new();
            let all = self.layers.iter().flat_map(|l| &count(l).removed);
            all.for_each(|(&rule, &n)| *sum.entry(rule).or_default() += n);
            sum
        };
        [sum(|l| &l.filters), sum(|l| &l.columns)]
    }
}

/// The graph as compaction leaves it where every value is read: what is missing then is constant, and what else is missing from
/// the file is unread.
fn without_constants(mut g: Graph) -> Graph {
    let computed = g.graph.nodes.iter().filter(|n| !n.inputs.is_empty());
    g.graph.outputs = computed.map(|n| n.output).collect();
    compact(&mut g);
    g
}

fn layer_report(i: usize, before: &Graph, after: &Graph, live: &Graph, zero_tol: f64) -> Option<LayerReport> {
    let node = &before.graph.nodes[i];
    let (norms, layer) = (Norms::of(&before.layer(i)?), after.layer(i)?);
    let norms_after = if zero_tol > 0.0 { Norms::of(&layer) } else { norms.clone() };
    let (live_inputs, live_filters) = (Channels::of(live, node.inputs[0]), Channels::of(live, node.output));
    let zero = |before: f64, after: f64| match (before == 0.0, after == 0.0) {
        (true, _) => Some(Rule::Zero),
        (_, true) => Some(Rule::Cut),
        _ => None,
    };

    let kept_filters = Channels::of(after, node.output);
    let filter_rule = |f: usize| {
        let other = || if live_filters.keep(f) { Rule::Unread } else { Rule::Constant };
        (!kept_filters.keep(f)).then(|| zero(norms.filters[f], norms_after.filters[f]).unwrap_or_else(other))
    };
    let filters: Count = (0..layer.matrix.rows).map(filter_rule).collect();

    let kept_columns: Vec<Vec<bool>> = layer.kept.iter().map(|kept| flags(kept.iter(layer.columns), layer.columns)).collect();
    let channels_per_group = layer.columns / layer.taps;
    let column_rule = |(group, column): (usize, usize)| {
        let other = || match live_inputs.keep(group * channels_per_group + column / layer.taps) {
            true => Rule::FiltersRemoved,
            false => Rule::ChannelRemoved,
        };
        let at = group * layer.columns + column;
        (!kept_columns[group][column]).then(|| zero(norms.columns[at], norms_after.columns[at]).unwrap_or_else(other))
    };
    let all = |per_group: usize| (0..layer.groups).flat_map(move |group| (0..per_group).map(move |i| (group, i)));
    let channel_rule = |(group, channel): (usize, usize)| {
        let read = kept_columns[group][channel * layer.taps..(channel + 1) * layer.taps].contains(&true);
        let other = || if live_inputs.keep(group * channels_per_group + channel) { Rule::Unread } else { Rule::Constant };
        (!read).then(other)
    };

    let columns_kept_per_group: Vec<usize> = layer.kept.iter().map(|kept| kept.count(layer.columns)).collect();
    Some(LayerReport {
        name: node.name.clone(),
        op: node.op.name(),
        removed: filters.kept == 0,
        channels: all(channels_per_group).map(channel_rule).collect(),
        columns: all(layer.columns).map(column_rule).collect(),
        cost: Cost {
            macs: after.macs(i).map(|(before, after)| Change { before, after }),
            weight_bytes: weight_bytes(&layer, &kept_filters, &columns_kept_per_group),
        },
        scattered: Scattered::of(&layer, &kept_filters),
        filters,
        columns_kept_per_group,
        export: None,
        norms: LayerNorms {
            filters: Histogram::new(&norms.filters, zero_tol),
            columns: Histogram::new(&norms.columns, zero_tol),
        },
    })
}

fn weight_bytes(layer: &Layer, filters: &Channels, columns_kept: &[usize]) -> Change {
    let kept = |group: usize| (group * layer.filters..(group + 1) * layer.filters).filter(|&f| filters.keep(f)).count();
    let stored: usize = columns_kept.iter().enumerate().map(|(group, columns)| kept(group) * columns).sum();
    let [before, after] = [layer.matrix.rows * layer.matrix.columns, stored].map(|n| (n * size_of::<f32>()) as u64);
    Change { before, after }
}

/// Which channels of a value exist.
struct Channels<'a>(&'a Value);

impl<'a> Channels<'a> {
    fn of(g: &'a Graph, value: ValueId) -> Self {
        Channels(&g.graph.values[value.index()])
    }

    fn keep(&self, channel: usize) -> bool {
        self.0.compaction.as_ref().is_none_or(|c| c.keeps(channel))
    }

    /// How many are missing.
    fn missing(&self) -> usize {
        self.0.compaction.as_ref().map_or(0, |c| c.constants.len())
    }

    /// How many are missing here but exist in `other`, which has as many channels.
    fn missing_from(&self, other: &Channels) -> usize {
        let all = 0..self.0.compaction.as_ref().map_or(0, |c| c.logical as usize);
        all.filter(|&c| !self.keep(c) && other.keep(c)).count()
    }
}

fn flags(set: impl Iterator<Item = usize>, total: usize) -> Vec<bool> {
    let mut flags = vec![false; total];
    set.for_each(|i| flags[i] = true);
    flags
}

/// Where and why node `i` ends the run of constants, in a graph where nothing but constants is missing.
fn refusal(g: &Graph, i: usize) -> Option<Refusal> {
    let node = &g.graph.nodes[i];
    let shape = g.shape(node.output);
    let output = Channels::of(g, node.output);
    let inputs: Vec<Channels> = node.inputs.iter().map(|&v| Channels::of(g, v)).collect();
    // What reads nothing ends no run of constants.
    let first = inputs.first()?;
    let constants: usize = inputs.iter().map(Channels::missing).sum();
    let shapes: Vec<&Shape> = node.inputs.iter().map(|&v| g.shape(v)).collect();
    let (op, needs_whole) = (g.op(i), node.op.needs_whole(&shapes));
    if op.takes_constants() && !needs_whole {
        return None;
    }
    let whole = needs_whole || shape.get(1).and_then(Extent::known).is_none();
    let (channels, reason) = if needs_whole {
        (constants, format!("works on the last of {} axes, so its operands are stored whole", shape.len()))
    } else if whole {
        (constants, format!("no fixed count of channels on axis 1 (shape {shape:?}), so it is stored whole"))
    } else if let [_, _] = shapes[..] {
        let other_axes = inputs.iter().zip(&shapes).filter(|(_, s)| s.len() != shape.len());
        let channels = other_axes.map(|(input, _)| input.missing()).sum();
        (channels, format!("the axes of its operands, {:?} and {:?}, do not line up", shapes[0], shapes[1]))
    } else {
        let lost = match shapes[0].get(1) == shape.get(1) {
            true => first.missing_from(&output),
            false => constants * usize::from(output.missing() == 0),
        };
        (lost, op.why_lost().to_owned())
    };
    (channels > 0 || whole).then(|| Refusal { node: node.name.clone(), op: node.op.name(), channels, reason })
}
