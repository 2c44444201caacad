//! `ssl-inspect`: header, sections, layers, kept counts and sizes of a `.sslm` file, after checking all of its checksums.

use anyhow::Result;
use clap::Parser;
use ssl_cli::{kept_of, printable, table, thousands};
use sslm::Model;
use sslm::format::{ConvTranspose, Dim, Graph, Node, Op, Padding, Window};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show what a .sslm file holds: version, sections, inputs, and what each layer keeps.
///
/// Every checksum is verified, the weights' too.
#[derive(Parser)]
#[command(version, after_help = "Example:\n  ssl-inspect lenet.sslm\n\nExit codes: 0 the file is sound, 2 error.")]
struct Arguments {
    /// The file
    model: PathBuf,
}

fn main() -> ExitCode {
    ssl_cli::main("ssl-inspect", run)
}

fn run(arguments: &Arguments) -> Result<()> {
    let model = Model::open(&arguments.model)?;
    model.verify_weights()?;
    let mut out = ssl_cli::stdout();
    header(&mut out, arguments, &model)?;

    let graph = model.graph();
    let mut layers = table(&["node", "op", "window", "filters", "columns", "weights", "output channels"], 3);
    for node in &graph.nodes {
        layers.add_row(row(graph, node));
    }
    writeln!(out, "{layers}")?;
    let removed = graph.nodes.iter().filter(|n| is_removed(graph, n)).count();
    if removed > 0 {
        writeln!(
            out,
            "{removed} of {} nodes compute nothing: what remains of them are constants in the layers behind.",
            graph.nodes.len()
        )?;
    }
    Ok(())
}

fn header(out: &mut impl Write, arguments: &Arguments, model: &Model) -> Result<()> {
    let [major, minor] = model.version();
    let path = printable(&arguments.model.display().to_string());
    writeln!(out, "{path}: sslm {major}.{minor}, {} bytes", thousands(model.file_bytes() as u64))?;
    for section in model.sections() {
        let (name, len) = (section.name(), thousands(section.len));
        writeln!(out, "  section {name}  offset {:>8}  {len:>12} bytes  crc {:08x}", section.offset, section.crc)?;
    }
    if let Some(p) = model.provenance() {
        let hash: String = p.source_sha256.iter().map(|b| format!("{b:02x}")).collect();
        let how = if p.dense { "dense, zeros kept on request" } else { "compact" };
        writeln!(
            out,
            "made by {} ({how}) from {}, {} bytes, sha256 {hash}",
            printable(&p.tool),
            printable(&p.source),
            thousands(p.source_bytes)
        )?;
    }
    for input in model.inputs() {
        let dim = |d: &Dim| match d {
            Dim::Fixed { size } => size.to_string(),
            Dim::Symbolic { name } => printable(name),
        };
        writeln!(out, "input '{}' [{}]", printable(&input.name), input.dims.iter().map(dim).collect::<Vec<_>>().join(", "))?;
    }
    writeln!(out, "output '{}'", printable(&model.output_names().join("', '")))?;
    if let Some(p) = model.preprocessing() {
        writeln!(
            out,
            "preprocessing {:?}, resize {:?}, scale {}, mean {:?}, std {:?}",
            p.color, p.resize, p.scale, p.mean, p.std
        )?;
    }
    match model.labels() {
        [] => writeln!(out, "no labels")?,
        labels => writeln!(
            out,
            "{} labels: {}{}",
            labels.len(),
            printable(&labels[..labels.len().min(10)].join(", ")),
            if labels.len() > 10 { ", ..." } else { "" }
        )?,
    }
    Ok(())
}

fn is_removed(graph: &Graph, node: &Node) -> bool {
    graph.values[node.output.index()].compaction.as_ref().is_some_and(|c| c.kept.is_empty())
}

fn row(graph: &Graph, node: &Node) -> [String; 7] {
    let output = &graph.values[node.output.index()];
    let dash = || "-".to_owned();
    let (mut filters, mut columns, mut weights) = (dash(), dash(), dash());
    match &node.op {
        Op::Conv(conv) | Op::ConvTranspose(ConvTranspose { conv, .. }) => {
            let per_group = conv.columns_per_group();
            filters = kept_of(conv.kept_filters(output).iter().sum(), conv.filters as usize);
            columns = kept_of(conv.columns.iter().map(|c| c.count(per_group)).sum(), per_group * conv.columns.len());
            weights = thousands(graph.blobs[conv.weights.index()].len);
        }
        Op::Gemm(gemm) => {
            filters = kept_of(gemm.kept_rows(output), gemm.rows as usize);
            columns = kept_of(gemm.columns.count(gemm.features as usize), gemm.features as usize);
            weights = thousands(graph.blobs[gemm.weights.index()].len);
        }
        _ => {}
    }
    let op = match &node.op {
        Op::Conv(conv) if conv.taps.is_some() => "Conv with border constants",
        op => op.name(),
    };
    let window = match &node.op {
        Op::Conv(conv) | Op::ConvTranspose(ConvTranspose { conv, .. }) => describe(&conv.window, conv.group),
        Op::MaxPool(pool) => describe(&pool.window, 1),
        Op::AveragePool(pool) => describe(&pool.window, 1),
        _ => dash(),
    };
    let channels = output.compaction.as_ref().map_or("all".to_owned(), |c| kept_of(c.kept.len(), c.logical as usize));
    let channels = if is_removed(graph, node) { "none: removed".to_owned() } else { channels };
    [printable(&node.name), op.to_owned(), window, filters, columns, weights, channels]
}

/// `5x5 stride 2 pad 1,1,2,2`, leaving out what is as usual.
fn describe(w: &Window, group: u32) -> String {
    let mut text = format!("{}x{}", w.kernel[0], w.kernel[1]);
    let mut pair = |name: &str, [a, b]: [u32; 2]| match (a, b) {
        (1, 1) => {}
        (a, b) if a == b => text += &format!(" {name} {a}"),
        (a, b) => text += &format!(" {name} {a},{b}"),
    };
    pair("stride", w.strides);
    pair("dilation", w.dilations);
    match w.padding {
        Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 } => {}
        Padding::Explicit { top, left, bottom, right } if [left, bottom, right] == [top; 3] => text += &format!(" pad {top}"),
        Padding::Explicit { top, left, bottom, right } => text += &format!(" pad {top},{left},{bottom},{right}"),
        Padding::SameUpper => text += " pad same",
        Padding::SameLower => text += " pad same-lower",
    }
    if group > 1 {
        text += &format!(" group {group}");
    }
    text
}
