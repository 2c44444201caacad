//! Convolutions in ONNX, each of them one node: groups keep equally many filters and channels, and what constants add at borders comes
//! through a channel that is constant itself.

use super::compact::{absorbed, leaving};
use crate::export::existing::{Existing, block, block_in_groups};
use crate::export::exporter::{Export, Exporter, constants};
use crate::export::writer::{int, ints};
use crate::onnx::proto::AttributeProto;
use crate::ops::window;
use crate::weights::{Node, Unpacked};
use anyhow::Result;
use sslm_format::{Conv, ConvTranspose};
use std::ops::Range;

impl Export for Conv<Unpacked> {
    fn settle(&self, existing: &mut Existing<'_>, node: &Node) {
        settle(self, &leaving(&self.window), existing, node);
    }

    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let kernel = self.window.kernel.map(|n| n as usize);
        let form = Form { op: "Conv", kernel: &kernel, attributes: window::attributes(&self.window, false) };
        export(self, &leaving(&self.window), form, e, node)
    }
}

/// A scattered tap reaches every position only if nothing is ever beside it.
impl Export for ConvTranspose<Unpacked> {
    fn settle(&self, existing: &mut Existing<'_>, node: &Node) {
        settle(&self.conv, &vec![true; self.conv.window.taps()], existing, node);
    }

    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let (window, extra) = (&self.conv.window, self.output_padding);
        let mut attributes = window::attributes(window, false);
        attributes.extend((extra != [0, 0]).then(|| ints("output_padding", &extra)));
        let kernel = window.kernel.map(|n| n as usize);
        let form = Form { op: TRANSPOSED, kernel: &kernel, attributes };
        export(&self.conv, &vec![true; window.taps()], form, e, node)
    }
}

/// The name of what scatters its taps.
const TRANSPOSED: &str = "ConvTranspose";

/// How ONNX says a convolution, besides its weights.
pub(super) struct Form<'a> {
    /// The operator.
    pub(super) op: &'a str,
    /// The extents of its kernel.
    pub(super) kernel: &'a [usize],
    /// How that slides.
    pub(super) attributes: Vec<AttributeProto>,
}

/// Filters of one group.
fn filters_of(conv: &Conv<Unpacked>, group: usize) -> Range<usize> {
    group * conv.filters_per_group()..(group + 1) * conv.filters_per_group()
}

/// Channels of one group.
fn channels_of(conv: &Conv<Unpacked>, group: usize) -> Range<usize> {
    group * conv.channels_per_group()..(group + 1) * conv.channels_per_group()
}

/// The channel of a group through which constants reach the borders, with its constant: the largest one, so that factors are small.
fn carrier(conv: &Conv<Unpacked>, group: usize, constants: &[Option<f32>]) -> Option<(usize, f32)> {
    let constant = |channel: usize| constants.get(channel).copied().flatten().filter(|c| *c != 0.0);
    let known = channels_of(conv, group).filter_map(|channel| Some((channel, constant(channel)?)));
    known.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
}

/// The carrier of a group exists where one of its filters needs it, and counts are multiples of blocks.
pub(super) fn settle(conv: &Conv<Unpacked>, leaving: &[bool], existing: &mut Existing<'_>, node: &Node) {
    let (x, out) = (node.inputs[0], node.output);
    let (constants, missing) = (constants(existing.g, x), existing.missing_constants(x));
    for group in 0..conv.group as usize {
        let Some((channel, _)) = carrier(conv, group, &constants) else { continue };
        let has_border = |filter: usize| absorbed(conv, filter, missing.as_deref(), leaving).taps.iter().any(|&t| t != 0.0);
        if !existing.has(x, channel) && filters_of(conv, group).any(|filter| existing.has(out, filter) && has_border(filter)) {
            existing.add(x, channel);
        }
    }
    if conv.group > 1 {
        return settle_groups(conv, existing, node);
    }
    if existing.is_empty(x) {
        existing.add(x, 0);
    }
    existing.round_up(x, block(conv.channels as usize));
    existing.round_up(out, block(conv.filters as usize));
}

/// Filters and channels of a group that do not exist.
struct Missing {
    filters: Vec<usize>,
    channels: Vec<usize>,
}

/// All groups of which something is left have as many filters as the largest, and as many channels.
fn settle_groups(conv: &Conv<Unpacked>, existing: &mut Existing<'_>, node: &Node) {
    let (x, out, groups) = (node.inputs[0], node.output, conv.group as usize);
    let missing = |group: usize| Missing {
        filters: filters_of(conv, group).filter(|&filter| !existing.has(out, filter)).collect(),
        channels: channels_of(conv, group).filter(|&channel| !existing.has(x, channel)).collect(),
    };
    let [filters, channels] = [conv.filters_per_group(), conv.channels_per_group()];
    let (left, gone): (Vec<Missing>, Vec<Missing>) =
        (0..groups).map(missing).partition(|m| m.filters.len() < filters || m.channels.len() < channels);
    let more_groups = left.len().next_multiple_of(block_in_groups(groups)) - left.len();
    // How many of `all` each group has then, if the fullest one misses `fewest`.
    let count = |all: usize, fewest: Option<usize>| (all - fewest.unwrap_or(0)).max(1).next_multiple_of(block_in_groups(all));
    let most_filters = count(filters, left.iter().map(|m| m.filters.len()).min());
    let most_channels = count(channels, left.iter().map(|m| m.channels.len()).min());
    for group in left.iter().chain(gone.iter().take(more_groups)) {
        let (have_filters, have_channels) = (filters - group.filters.len(), channels - group.channels.len());
        group.filters.iter().take(most_filters - have_filters).for_each(|&filter| existing.add(out, filter));
        group.channels.iter().take(most_channels - have_channels).for_each(|&channel| existing.add(x, channel));
    }
}

/// One node.
pub(super) fn export(conv: &Conv<Unpacked>, leaving: &[bool], form: Form<'_>, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
    let (x, out) = (node.inputs[0], node.output);
    let (constants, missing) = (constants(e.g(), x), e.existing.missing_constants(x));
    let (mut groups, mut bias, mut elements) = (0, Vec::new(), Vec::new());
    let mut shape = [&[0, 0], form.kernel].concat();
    for group in 0..conv.group as usize {
        let filters: Vec<usize> = filters_of(conv, group).filter(|&filter| e.existing.has(out, filter)).collect();
        if filters.is_empty() {
            continue;
        }
        let channels: Vec<usize> = channels_of(conv, group).filter(|&channel| e.existing.has(x, channel)).collect();
        let carrier = carrier(conv, group, &constants);
        let mut kernels = Vec::new();
        for &filter in &filters {
            // What channels contribute that are missing goes into the bias, and at borders through the carrier.
            let absorbed = absorbed(conv, filter, missing.as_deref(), leaving);
            let carried = absorbed.taps.iter().any(|&t| t != 0.0);
            let carrier = carrier.filter(|_| carried);
            kernels.push(channels.iter().map(|&c| kernel(conv, filter, c, carrier, &absorbed.taps)).collect::<Vec<_>>());
            bias.push(absorbed.bias);
        }
        // OIHW, or for a transposed convolution IOHW.
        if form.op != TRANSPOSED {
            elements.extend(kernels.into_iter().flatten().flatten());
            (shape[0], shape[1]) = (shape[0] + filters.len(), channels.len());
        } else {
            elements.extend((0..channels.len()).flat_map(|c| kernels.iter().flat_map(move |kernels| kernels[c].iter().copied())));
            (shape[0], shape[1]) = (shape[0] + channels.len(), filters.len());
        }
        groups += 1;
    }
    let (from, output) = (e.tensor(x)?, e.name(out));
    let mut inputs = vec![from, e.w.floats(&shape, elements)];
    if bias.iter().any(|&b| b != 0.0) {
        inputs.push(e.w.floats(&[bias.len()], bias));
    }
    let mut attributes = form.attributes;
    if groups != 1 {
        attributes.push(int("group", groups));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    e.w.push(form.op, &inputs, &output, attributes);
    Ok(())
}

/// What a filter weighs the taps of a channel with; the carrier has `borders` besides.
fn kernel(conv: &Conv<Unpacked>, filter: usize, channel: usize, carrier: Option<(usize, f32)>, borders: &[f32]) -> Vec<f32> {
    let first = channel % conv.channels_per_group() * borders.len();
    let weight = |(tap, border): (usize, &f32)| match carrier {
        Some((carrier, constant)) if carrier == channel => conv.weights.at(filter, first + tap) + border / constant,
        _ => conv.weights.at(filter, first + tap),
    };
    borders.iter().enumerate().map(weight).collect()
}
