//! The door from untrusted to trusted: checks every rule that the runtime relies on, so that nothing behind it has to.
//! The same rules are checked before writing ([`check_model`]), so this crate never writes what it would not read.

use crate::codec::{Field, Reader};
use crate::container::{ALIGN, Section, check_crc, sections, tag};
use crate::error::{Error, ErrorKind, Result};
use crate::model::*;
use crate::shape::{self, MAX_CHANNELS, Shape};
use std::fmt::Display;
use std::ops::Range;

/// Kernel sizes, strides, dilations and paddings are below this, so that their products cannot overflow.
const MAX_WINDOW: u32 = 1 << 16;

/// A checked model and where its weights lie in the bytes that it was read from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The metadata.
    pub model: Model,
    /// Version of the format that the file was written in.
    pub version: [u16; 2],
    /// The weight section.
    weights: Range<usize>,
}

impl Loaded {
    /// The numbers of a blob, in place. `bytes` are those that were validated, 4-byte aligned (a memory map is).
    ///
    /// # Panics
    /// If `bytes` or `id` are others than those that [`validate`] saw.
    pub fn blob<'a>(&self, bytes: &'a [u8], id: BlobId) -> &'a [f32] {
        let blob = &self.model.graph.blobs[id.index()];
        let start = self.weights.start + blob.offset as usize;
        bytemuck::cast_slice(&bytes[start..start + blob.len as usize * 4])
    }

    /// Bytes of the weight section.
    pub fn weight_bytes(&self) -> usize {
        self.weights.len()
    }
}

/// Reads a whole `.sslm` file. Everything but the weights' own checksum is checked ([`crate::verify_weights`] does that).
///
/// # Errors
/// One [`Error`] naming the first rule that is broken. No input makes this panic, and memory use is bounded by a small multiple
/// of the metadata's size.
pub fn validate(bytes: &[u8]) -> Result<Loaded> {
    let (version, sections) = sections(bytes)?;
    let mut model = Model::default();
    for s in &sections {
        let body = &bytes[s.range()];
        if tag::METADATA.contains(&s.tag) {
            check_crc(format!("section {}", s.name()), crc32fast::hash(body), s.crc)?;
            read_section(&mut model, s.tag, body)?;
        } else if s.tag != tag::WEIGHTS && s.must_understand() {
            let at = format!("section {}", s.name());
            return Err(Error::new(ErrorKind::Unsupported, at, "a known section", "one that needs a newer sslm"));
        }
    }
    let range_of = |tag: [u8; 4]| {
        let missing = || Error::invalid("section table", format!("a section {}", tag.escape_ascii()), "none");
        sections.iter().find(|s| s.tag == tag).map(Section::range).ok_or_else(missing)
    };
    range_of(tag::GRAPH)?;
    let weights = range_of(tag::WEIGHTS)?;
    check_model(&model, weights.len() as u64)?;
    Ok(Loaded { model, version, weights })
}

/// Decodes one section of [`tag::METADATA`] into its part of `model`.
pub(crate) fn read_section(model: &mut Model, section: [u8; 4], bytes: &[u8]) -> Result<()> {
    fn decode<T: Field>(name: &'static str, bytes: &[u8]) -> Result<T> {
        let mut reader = Reader::new(name, bytes);
        let value = T::read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
    match section {
        tag::GRAPH => model.graph = decode("GRPH", bytes)?,
        tag::LABELS => model.labels = decode("LABL", bytes)?,
        tag::PREPROCESSING => model.preprocessing = Some(decode("PREP", bytes)?),
        _ => model.provenance = Some(decode("PROV", bytes)?),
    }
    Ok(())
}

/// Every rule about a model whose weight section has `weights_len` bytes.
pub(crate) fn check_model(model: &Model, weights_len: u64) -> Result<()> {
    let graph = &model.graph;
    for (i, blob) in graph.blobs.iter().enumerate() {
        let end = blob.len.checked_mul(4).and_then(|bytes| blob.offset.checked_add(bytes));
        if !blob.offset.is_multiple_of(ALIGN) || end.is_none_or(|end| end > weights_len) {
            let expected = format!("a multiple of {ALIGN} and an end within the {weights_len} bytes of weights");
            return Err(Error::invalid(format!("blob {i}"), expected, format!("offset {}, {} numbers", blob.offset, blob.len)));
        }
    }
    for (i, value) in graph.values.iter().enumerate() {
        if let Some(c) = &value.compaction {
            check_compaction(c).map_err(|e| e.within(format!("value {i} '{}'", value.name)))?;
        }
    }
    check_flow(graph)?;
    for node in &graph.nodes {
        check_node(graph, node).map_err(|e| e.within(format!("node '{}' ({})", node.name, node.op.name())))?;
    }
    let input_shapes: Vec<Shape> = graph.inputs.iter().map(shape::of_input).collect();
    let shapes = shape::infer(graph, &input_shapes)?;
    for (value, shape) in graph.values.iter().zip(&shapes) {
        let Some(c) = &value.compaction else { continue };
        if shape.len() < 2 || shape[1] != Some(c.logical as usize) {
            let expected = format!("axis 1 of extent {} (its logical channels)", c.logical);
            return Err(Error::invalid(format!("value '{}'", value.name), expected, format!("shape {shape:?}")));
        }
    }
    for node in &graph.nodes {
        let shape = &shapes[node.output.index()];
        if let (Op::BatchNorm(BatchNorm { scale, .. }) | Op::InstanceNorm(InstanceNorm { scale, .. }), Some(&Some(channels))) =
            (&node.op, shape.get(1))
        {
            let kept = graph.values[node.output.index()].compaction.as_ref().map_or(channels, |c| c.kept.len());
            let what = format!("node '{}' ({}): numbers of scale", node.name, node.op.name());
            equal(&what, kept, blob(graph, "scale", *scale)?)?;
        }
    }
    for node in graph.nodes.iter().filter(|n| matches!(n.op, Op::Gemm(_))) {
        let compact = [node.inputs[0], node.output].iter().any(|v| graph.values[v.index()].compaction.is_some());
        let rank = shapes[node.output.index()].len();
        if compact && rank != 2 {
            let expected = "rank 2, so that the removed channels are its features";
            return Err(Error::invalid(format!("node '{}' (Gemm)", node.name), expected, format!("rank {rank}")));
        }
    }
    model.preprocessing.as_ref().map_or(Ok(()), check_preprocessing)
}

fn check_compaction(c: &Compaction) -> Result<()> {
    below("logical channels", c.logical, MAX_CHANNELS)?;
    check_list("kept channels", &c.kept, c.logical as usize)?;
    equal("constants", c.logical as usize - c.kept.len(), c.constants.len())?;
    match c.constants.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(Error::invalid("constants", "finite numbers", x)),
        None => Ok(()),
    }
}

/// Every value is defined once, before it is used.
fn check_flow(graph: &Graph) -> Result<()> {
    let mut defined = vec![false; graph.values.len()];
    let mut define = |what: &dyn Fn() -> String, id: ValueId| match defined.get_mut(id.index()) {
        Some(d) if !*d => {
            *d = true;
            Ok(())
        }
        Some(_) => Err(Error::invalid(what(), "a value that nothing else defines", format!("value {}", id.0))),
        None => Err(Error::invalid(what(), format!("a value below {}", graph.values.len()), id.0)),
    };
    for (i, input) in graph.inputs.iter().enumerate() {
        define(&|| format!("input {i}"), input.value)?;
        if graph.values[input.value.index()].compaction.is_some() {
            return Err(Error::invalid(format!("input {i}"), "every channel present", "a kept list"));
        }
        if input.dims.iter().any(|d| matches!(d, Dim::Fixed { size: 0 })) {
            return Err(Error::invalid(format!("input {i}"), "extents of at least 1", 0));
        }
    }
    // A node may read what inputs and nodes before it define: the largest position that defines each value decides.
    let mut position = vec![usize::MAX; graph.values.len()];
    graph.inputs.iter().for_each(|input| position[input.value.index()] = 0);
    for (i, node) in graph.nodes.iter().enumerate() {
        let at = || format!("node '{}'", node.name);
        for v in &node.inputs {
            if position.get(v.index()).is_none_or(|&p| p > i) {
                return Err(Error::invalid(at(), "inputs that are defined before it", format!("value {}", v.0)));
            }
        }
        define(&at, node.output)?;
        position[node.output.index()] = i + 1;
    }
    for v in &graph.outputs {
        if position.get(v.index()).is_none_or(|&p| p == usize::MAX) {
            return Err(Error::invalid("outputs", "values that an input or a node defines", format!("value {}", v.0)));
        }
    }
    if graph.inputs.is_empty() || graph.outputs.is_empty() {
        let found = format!("{} inputs, {} outputs", graph.inputs.len(), graph.outputs.len());
        return Err(Error::invalid("graph", "at least one input and one output", found));
    }
    match position.iter().position(|&p| p == usize::MAX) {
        Some(i) => Err(Error::invalid(format!("value {i} '{}'", graph.values[i].name), "a definition", "none")),
        None => Ok(()),
    }
}

fn check_node(graph: &Graph, node: &Node) -> Result<()> {
    let arity = match &node.op {
        Op::Constant(_) => 0..=0,
        Op::Binary(_) => 2..=2,
        Op::Concat(_) => 1..=usize::MAX,
        _ => 1..=1,
    };
    if !arity.contains(&node.inputs.len()) {
        return Err(Error::invalid("inputs", format!("{} to {}", arity.start(), arity.end()), node.inputs.len()));
    }
    let input = node.inputs.first().map(|v| &graph.values[v.index()]);
    let output = &graph.values[node.output.index()];
    match (&node.op, input) {
        (Op::Conv(conv), Some(input)) => check_conv(graph, conv, input, output),
        (Op::ConvTranspose(ConvTranspose { conv, output_padding }), Some(input)) => {
            for (axis, &extra) in output_padding.iter().enumerate() {
                // Where it is not, positions would exist that no input reaches.
                let limit = conv.window.strides[axis].max(conv.window.dilations[axis]).max(1);
                below("output padding", extra, limit)?;
            }
            if !matches!(conv.window.padding, Padding::Explicit { .. }) {
                return Err(Error::invalid("padding", "explicit amounts", format!("{:?}", conv.window.padding)));
            }
            check_conv(graph, conv, input, output)
        }
        (Op::Gemm(gemm), Some(input)) => check_gemm(graph, gemm, input, output),
        // The count of channels is known with the shape.
        (Op::BatchNorm(BatchNorm { scale, shift }) | Op::InstanceNorm(InstanceNorm { scale, shift, .. }), _) => {
            equal("numbers of shift", blob(graph, "scale", *scale)?, blob(graph, "shift", *shift)?)
        }
        (Op::MaxPool(MaxPool { window, .. }), _) | (Op::AveragePool(AveragePool { window, .. }), _) => {
            check_window(window)?;
            // Every window must see the input, or its maximum or mean would be of nothing.
            let Padding::Explicit { top, left, bottom, right } = window.padding else { return Ok(()) };
            for (axis, pad) in [(0, top), (0, bottom), (1, left), (1, right)] {
                below("padding of a pool", pad, shape::reach(window, axis) as u32)?;
            }
            Ok(())
        }
        (Op::Lrn(l), _) => {
            at_least_one("size", l.size)?;
            below("size", l.size, MAX_CHANNELS)
        }
        (Op::Slice(Slice { step: 0, .. }), _) => Err(Error::invalid("step", "not 0", 0)),
        (Op::Slice(Slice { step, .. }), _) => below("step", step.unsigned_abs(), 1 << 40),
        (Op::Gather(g), _) => match g.indices.iter().find(|i| i.unsigned_abs() > 1 << 40) {
            Some(i) => Err(Error::invalid("indices", "positions of an axis", i)),
            None => Ok(()),
        },
        (Op::Resize(Resize2d { target: Target::Scales { factors }, .. }), _) => {
            match factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
                Some(f) => Err(Error::invalid("scale", "a positive number", f)),
                None => Ok(()),
            }
        }
        (Op::ReduceMean(r), _) => check_list("axes", &r.axes, shape::MAX_RANK),
        (Op::Constant(c), _) => {
            if output.compaction.is_some() {
                return Err(Error::invalid("output", "every channel present", "a kept list"));
            }
            let elements = c.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
            match (elements, blob(graph, "data", c.data)?) {
                (Some(n), len) if n == len as u64 => Ok(()),
                (_, len) => Err(Error::invalid("data", format!("as many numbers as dims {:?} say", c.dims), len)),
            }
        }
        _ => Ok(()),
    }
}

fn check_conv(graph: &Graph, conv: &Conv, input: &Value, output: &Value) -> Result<()> {
    for (what, n) in [("group", conv.group), ("channels", conv.channels), ("filters", conv.filters)] {
        at_least_one(what, n)?;
        below(what, n, MAX_CHANNELS)?;
    }
    if !conv.channels.is_multiple_of(conv.group) || !conv.filters.is_multiple_of(conv.group) {
        let found = format!("{} channels, {} filters", conv.channels, conv.filters);
        return Err(Error::invalid("group", format!("channels and filters divisible by {}", conv.group), found));
    }
    check_window(&conv.window)?;
    let columns = u64::from(conv.channels / conv.group) * conv.window.taps() as u64;
    if columns > u64::from(u32::MAX) {
        return Err(Error::invalid("columns per group", format!("at most {}", u32::MAX), columns));
    }
    check_logical("input", input, conv.channels)?;
    check_logical("output", output, conv.filters)?;
    equal("kept-column lists", conv.group as usize, conv.columns.len())?;

    let (columns, channels) = (conv.columns_per_group(), (conv.channels / conv.group) as usize);
    let kept_filters = conv.kept_filters(output);
    let mut weights = 0usize;
    for (g, (kept, &filters)) in conv.columns.iter().zip(&kept_filters).enumerate() {
        check_columns(kept, columns, conv.window.taps(), g * channels..(g + 1) * channels, input)
            .map_err(|e| e.within(format!("group {g}")))?;
        weights = weights.saturating_add(filters.saturating_mul(kept.count(columns)));
    }
    let filters: usize = kept_filters.iter().sum();
    equal("numbers of weights", weights, blob(graph, "weights", conv.weights)?)?;
    equal("numbers of bias", filters, blob(graph, "bias", conv.bias)?)?;
    match conv.taps {
        Some(taps) => equal("numbers of taps", filters.saturating_mul(conv.window.taps()), blob(graph, "taps", taps)?),
        None => Ok(()),
    }
}

fn check_gemm(graph: &Graph, gemm: &Gemm, input: &Value, output: &Value) -> Result<()> {
    for (what, n) in [("features", gemm.features), ("rows", gemm.rows)] {
        at_least_one(what, n)?;
        below(what, n, MAX_CHANNELS)?;
    }
    check_logical("input", input, gemm.features)?;
    check_logical("output", output, gemm.rows)?;
    let features = gemm.features as usize;
    check_columns(&gemm.columns, features, 1, 0..features, input)?;
    let rows = gemm.kept_rows(output);
    let weights = rows.saturating_mul(gemm.columns.count(features));
    equal("numbers of weights", weights, blob(graph, "weights", gemm.weights)?)?;
    equal("numbers of bias", rows, blob(graph, "bias", gemm.bias)?)
}

/// Kept columns are increasing, and the channel of each one (of those in `channels`) exists in `input`.
fn check_columns(kept: &Kept, total: usize, taps: usize, channels: Range<usize>, input: &Value) -> Result<()> {
    if let Kept::List(list) = kept {
        check_list("kept columns", list, total)?;
    }
    let Some(c) = &input.compaction else { return Ok(()) };
    let first = c.kept.partition_point(|&k| (k as usize) < channels.start);
    let mut present = c.kept[first..].iter().copied().peekable();
    let missing = |channel: usize| {
        Err(Error::invalid("kept columns", "only columns of channels that the input keeps", format!("channel {channel}")))
    };
    match kept {
        // All columns of a group need all of its channels.
        Kept::All if total > 0 => {
            let end = c.kept.partition_point(|&k| (k as usize) < channels.end);
            if end - first == channels.len() { Ok(()) } else { missing(channels.start + (end - first)) }
        }
        Kept::All => Ok(()),
        Kept::List(list) => {
            for &column in list {
                let channel = channels.start + column as usize / taps;
                while present.next_if(|&k| (k as usize) < channel).is_some() {}
                if present.peek().is_none_or(|&k| k as usize != channel) {
                    return missing(channel);
                }
            }
            Ok(())
        }
    }
}

fn check_window(w: &Window) -> Result<()> {
    for axis in 0..2 {
        for (what, n) in [("kernel", w.kernel[axis]), ("strides", w.strides[axis]), ("dilations", w.dilations[axis])] {
            at_least_one(what, n)?;
            below(what, n, MAX_WINDOW)?;
        }
    }
    if let Padding::Explicit { top, left, bottom, right } = w.padding {
        for pad in [top, left, bottom, right] {
            below("padding", pad, MAX_WINDOW)?;
        }
    }
    Ok(())
}

fn check_preprocessing(p: &Preprocessing) -> Result<()> {
    let at = "preprocessing";
    let channels = if p.color == Color::Gray { 1 } else { 3 };
    equal("preprocessing: numbers of mean", channels, p.mean.len())?;
    equal("preprocessing: numbers of std", channels, p.std.len())?;
    let usable = |x: &f32| x.is_finite() && *x != 0.0;
    if !usable(&p.scale) || !p.std.iter().all(usable) || !p.mean.iter().all(|x| x.is_finite()) {
        return Err(Error::invalid(at, "finite numbers, and neither scale nor std 0", format!("{p:?}")));
    }
    match p.resize {
        Resize::CenterCrop { short_side } => {
            at_least_one("preprocessing: short_side", short_side)?;
            below("preprocessing: short_side", short_side, MAX_WINDOW)
        }
        Resize::Stretch => Ok(()),
    }
}

fn check_list(what: &str, list: &[u32], total: usize) -> Result<()> {
    if let Some(w) = list.windows(2).find(|w| w[0] >= w[1]) {
        return Err(Error::invalid(what, "strictly increasing numbers", format!("{} before {}", w[0], w[1])));
    }
    match list.last() {
        Some(&last) if last as usize >= total => Err(Error::invalid(what, format!("numbers below {total}"), last)),
        _ => Ok(()),
    }
}

fn check_logical(what: &str, value: &Value, logical: u32) -> Result<()> {
    match &value.compaction {
        Some(c) => equal(&format!("logical channels of the {what}"), logical as usize, c.logical as usize),
        None => Ok(()),
    }
}

/// Count of numbers in a blob that must exist.
fn blob(graph: &Graph, what: &str, id: BlobId) -> Result<usize> {
    match graph.blobs.get(id.index()) {
        Some(blob) => Ok(blob.len as usize),
        None => Err(Error::invalid(what, format!("a blob below {}", graph.blobs.len()), id.0)),
    }
}

fn equal(what: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::invalid(what, expected, found)) }
}

fn below<T: PartialOrd + Display>(what: &str, n: T, limit: T) -> Result<()> {
    if n < limit { Ok(()) } else { Err(Error::invalid(what, format!("less than {limit}"), n)) }
}

fn at_least_one(what: &str, n: u32) -> Result<()> {
    if n > 0 { Ok(()) } else { Err(Error::invalid(what, "at least 1", n)) }
}
