//! Convolutions in ONNX: groups that keep different counts become convolutions of their own, and what constants add at borders is a
//! convolution of a plane of ones with the taps.

use crate::export::exporter::{Export, Exporter};
use crate::export::writer::{int, ints};
use crate::onnx::proto::AttributeProto;
use crate::ops::window;
use crate::weights::{Node, Unpacked};
use anyhow::Result;
use sslm_format::{Conv, ConvTranspose};
use std::ops::Range;

impl Export for Conv<Unpacked> {
    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        Exported { conv: self, output_padding: None }.export(e, node)
    }

    fn carry(&self, e: &mut Exporter<'_>, node: &Node) -> Result<String> {
        Exported { conv: self, output_padding: None }.carry(e, node)
    }
}

impl Export for ConvTranspose<Unpacked> {
    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        Exported { conv: &self.conv, output_padding: Some(self.output_padding) }.export(e, node)
    }

    fn carry(&self, e: &mut Exporter<'_>, node: &Node) -> Result<String> {
        Exported { conv: &self.conv, output_padding: Some(self.output_padding) }.carry(e, node)
    }
}

/// A convolution that is exported, transposed where it has an output padding.
struct Exported<'a> {
    conv: &'a Conv<Unpacked>,
    output_padding: Option<[u32; 2]>,
}

/// What one convolution of the exported model computes: filters of one group on physical channels.
struct Part {
    /// Logical filters.
    filters: Vec<usize>,
    /// Physical channels of the input, and the logical ones inside the group.
    channels: Vec<(usize, usize)>,
    group: usize,
}

impl Exported<'_> {
    fn name(&self) -> &'static str {
        if self.output_padding.is_some() { "ConvTranspose" } else { "Conv" }
    }

    fn attributes(&self) -> Vec<AttributeProto> {
        window::attributes(&self.conv.window)
    }

    /// The attribute that only a transposed convolution has.
    fn own_attribute(&self) -> Option<AttributeProto> {
        self.output_padding.map(|padding| ints("output_padding", &padding))
    }

    /// The size is that of the same window over one channel.
    fn carry(&self, e: &mut Exporter<'_>, node: &Node) -> Result<String> {
        let channel = e.one_channel(node.inputs[0])?;
        let [height, width] = self.conv.window.kernel.map(|n| n as usize);
        let zeros = e.w.floats(&[1, 1, height, width], vec![0.0; height * width]);
        let attributes = self.attributes().into_iter().chain(self.own_attribute()).collect();
        Ok(e.w.make(self.name(), &[&channel, &zeros], attributes))
    }

    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let (x, output) = (node.inputs[0], e.name(node.output));
        let physical = e.physical(x)?;
        let parts = self.parts(&e.physical(node.output)?, &physical);
        let name = e.carrier(x)?;
        let count = |p: &Part| (p.filters.len(), p.channels.len());
        let alike = parts.iter().all(|p| count(p) == count(&parts[0]));
        if alike && !parts[0].channels.is_empty() && !parts.iter().any(|p| self.has_border(p)) {
            let used: Vec<i64> = parts.iter().flat_map(|p| p.channels.iter().map(|c| c.0 as i64)).collect();
            let from = gathered(e, &name, &used, physical.len());
            self.convolve(e, &parts, &from, false, &output);
            return Ok(());
        }
        let mut results = Vec::new();
        for part in &parts {
            let ones = self.has_border(part) || part.channels.is_empty();
            let indices: Vec<i64> = part.channels.iter().map(|c| c.0 as i64).collect();
            let mut from = Vec::new();
            if !indices.is_empty() {
                from.push(gathered(e, &name, &indices, physical.len()));
            }
            if ones {
                from.push(plane_of_ones(e, &name));
            }
            let from = match &from[..] {
                [one] => one.clone(),
                both => e.w.make("Concat", &both.iter().map(String::as_str).collect::<Vec<_>>(), vec![int("axis", 1)]),
            };
            let result = e.w.fresh("part");
            self.convolve(e, std::slice::from_ref(part), &from, ones, &result);
            results.push(result);
        }
        let results: Vec<&str> = results.iter().map(String::as_str).collect();
        e.w.push("Concat", &results, &output, vec![int("axis", 1)]);
        Ok(())
    }

    /// The groups of which something is left.
    fn parts(&self, filters: &[usize], physical: &[usize]) -> Vec<Part> {
        let (per_group, group_channels) = (self.conv.filters_per_group(), self.conv.channels_per_group());
        let within =
            |range: Range<usize>, list: &[usize]| -> Vec<usize> { list.iter().copied().filter(|c| range.contains(c)).collect() };
        let part = |group: usize| {
            let first = group * group_channels;
            let at = |&c: &usize| (physical.partition_point(|&p| p < c), c - first);
            let channels = within(first..first + group_channels, physical).iter().map(at).collect();
            Part { filters: within(group * per_group..(group + 1) * per_group, filters), channels, group }
        };
        (0..self.conv.group as usize).map(part).filter(|p| !p.filters.is_empty()).collect()
    }

    /// Whether constants add something at the borders of a filter of this part.
    fn has_border(&self, part: &Part) -> bool {
        let Some(taps) = &self.conv.taps else { return false };
        let per_filter = self.conv.window.taps();
        part.filters.iter().any(|&f| taps[f * per_filter..(f + 1) * per_filter].iter().any(|&t| t != 0.0))
    }

    /// One Conv or ConvTranspose of alike parts on `from`; with `ones`, the last channel of `from` is a plane of ones.
    fn convolve(&self, e: &mut Exporter<'_>, parts: &[Part], from: &str, ones: bool, output: &str) {
        let conv = self.conv;
        let [height, width] = conv.window.kernel.map(|n| n as usize);
        let per_filter = conv.window.taps();
        let weight = |p: &Part, filter: usize, channel: usize, tap: usize| match p.channels.get(channel) {
            Some((_, logical)) => {
                let column = logical * per_filter + tap;
                if conv.columns[p.group].contains(column) { conv.weights.at(p.filters[filter], column) } else { 0.0 }
            }
            None => conv.taps.as_ref().map_or(0.0, |taps| taps[p.filters[filter] * per_filter + tap]),
        };
        let (filters, channels) = (parts[0].filters.len(), parts[0].channels.len() + usize::from(ones));
        // OIHW, or for a transposed convolution IOHW.
        let transposed = self.output_padding.is_some();
        let (outer, inner) = if transposed { (channels, filters) } else { (filters, channels) };
        let mut elements = Vec::with_capacity(parts.len() * filters * channels * per_filter);
        for p in parts {
            for (a, b) in (0..outer).flat_map(|a| (0..inner).map(move |b| (a, b))) {
                let (filter, channel) = if transposed { (b, a) } else { (a, b) };
                elements.extend((0..per_filter).map(|tap| weight(p, filter, channel, tap)));
            }
        }
        let weights = e.w.floats(&[parts.len() * outer, inner, height, width], elements);
        let bias = parts.iter().flat_map(|p| p.filters.iter().map(|&f| conv.bias[f]));
        let bias = e.w.floats(&[parts.len() * filters], bias);
        let group = int("group", parts.len() as i64);
        let attributes = self.attributes().into_iter().chain([group]).chain(self.own_attribute()).collect();
        e.w.push(self.name(), &[from, &weights, &bias], output, attributes);
    }
}

/// These physical channels of a tensor that has `count`.
fn gathered(e: &mut Exporter<'_>, name: &str, channels: &[i64], count: usize) -> String {
    if channels.len() == count {
        return name.to_owned();
    }
    let indices = e.w.integers(channels);
    e.w.make("Gather", &[name, &indices], vec![int("axis", 1)])
}

/// One channel of ones, of the size of a tensor.
fn plane_of_ones(e: &mut Exporter<'_>, name: &str) -> String {
    let batch = e.w.make("Shape", &[name], vec![int("start", 0), int("end", 1)]);
    let size = e.w.make("Shape", &[name], vec![int("start", 2)]);
    let one = e.w.integers(&[1]);
    let shape = e.w.make("Concat", &[&batch, &one, &size], vec![int("axis", 0)]);
    let value = e.w.floats(&[1, 1, 1, 1], [1.0]);
    e.w.make("Expand", &[&value, &shape], vec![])
}
