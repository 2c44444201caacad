//! `ssl-inspect`: header, sections, layers, kept counts and sizes of a `.sslm` file, after checking all of its checksums.

mod json;

use anyhow::Result;
use clap::Parser;
use ssl_cli::{kept_of, printable, short, table, thousands};
use sslm::{Dim, ElementType, KeptCount, LayerInfo, Model};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// Show what a .sslm file holds: version, sections, inputs, and what each layer keeps.
///
/// Every checksum is verified, the weights' too. Of nodes, 3x3/2 is a window with stride 2.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  ssl-inspect lenet.sslm\n  ssl-inspect lenet.sslm | less    # what each layer keeps, one a line\n  ssl-inspect lenet.sslm --json    # for programs: whole names, exact counts\n\nExit codes: 0 the file is sound, 2 error."
)]
struct Arguments {
    /// The file
    model: PathBuf,
    /// Print all of it as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the tool as a program of this name and these arguments would, and yields its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    ssl_cli::main("ssl-inspect", arguments, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    let model = ssl_cli::open_model(&arguments.model)?;
    let mut out = ssl_cli::stdout();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json::of(&model))?)?;
        return Ok(());
    }
    header(&mut out, arguments, &model)?;

    let mut layers = table(&["node", "op", "window", "filters", "columns", "weights", "channels"], 3);
    for layer in model.layers() {
        layers.add_row(row(&layer));
    }
    writeln!(out, "{}", layers.fitted())?;
    let removed = model.layers().filter(is_removed).count();
    if removed > 0 {
        let all = model.layers().len();
        writeln!(out, "{removed} of {all} nodes compute nothing: what remains of them are constants in the layers behind.")?;
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
            "made by {} ({how}) from {}, {} bytes\n  sha256 {hash}",
            printable(&p.tool),
            printable(&p.source),
            thousands(p.source_bytes)
        )?;
    }
    for input in model.inputs() {
        let dims: Vec<String> = input.dims.iter().map(Dim::to_string).collect();
        let dims = printable(&dims.join(", "));
        writeln!(out, "input '{}' [{dims}]{}", printable(&input.name), other_type(input.element_type))?;
    }
    let outputs = model.output_names().into_iter().zip(model.output_types());
    let outputs: Vec<String> = outputs.map(|(name, of)| format!("'{}'{}", printable(name), other_type(of))).collect();
    writeln!(out, "output {}", outputs.join(", "))?;
    if let Some(p) = model.preprocessing() {
        writeln!(out, "preprocessing: {}, {}, scale {}, mean {:?}, std {:?}", p.color, p.resize, p.scale, p.mean, p.std)?;
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

/// A type of elements, where it is not the usual one.
fn other_type(of: ElementType) -> String {
    if of == ElementType::F32 { String::new() } else { format!(" {of}") }
}

fn is_removed(layer: &LayerInfo<'_>) -> bool {
    layer.channels.is_some_and(|channels| channels.kept == 0)
}

fn row(layer: &LayerInfo<'_>) -> [String; 7] {
    let LayerInfo { name, op, sizes, channels, .. } = layer;
    let dash = || "-".to_owned();
    let count = |count: Option<KeptCount>| count.map_or_else(dash, |c| kept_of(c.kept, c.of));
    let border = if sizes.has_border_constants { "+borders" } else { "" };
    [
        printable(name),
        format!("{op}{border}"),
        sizes.window.as_ref().map_or_else(dash, |window| window.replace(" stride ", "/")),
        count(sizes.filters),
        count(sizes.columns),
        sizes.weights.map_or_else(dash, |weights| short(weights as u64)),
        match channels {
            None => "all".to_owned(),
            Some(_) if is_removed(layer) => "removed".to_owned(),
            Some(c) => kept_of(c.kept, c.of),
        },
    ]
}
