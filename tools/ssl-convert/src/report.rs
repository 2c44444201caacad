//! The certificate on a terminal: a table of layers, and a few lines that say what matters first.

use crate::certificate::{Certificate, Change, Cost, Count, LayerReport, Rule, Scattered};
use crate::export::LayerExport;
use crate::verify::Difference;
use ssl_cli::{Table, kept_of, printable, short, thousands};
use std::collections::BTreeMap;

/// Layers with at least this share of zeros among the weights that they keep are named.
const MUCH: f64 = 0.1;

/// So many of them, those with the most zeros.
const MOST_NAMED: usize = 3;

/// One line for each layer with weights, and their sum.
pub fn table(certificate: &Certificate) -> Table {
    let headings = ["layer", "op", "filters", "channels", "columns", "MACs", "after", "less"];
    let mut table = ssl_cli::table(&headings, 2).leaving_out(&["channels"]);
    let of = |count: &Count| kept_of(count.kept, count.original);
    for layer in &certificate.layers {
        let [before, after, less] = macs(&layer.cost);
        let less = if layer.removed { "removed".to_owned() } else { less };
        let kept = [of(&layer.filters), of(&layer.channels), of(&layer.columns)];
        let [filters, channels, columns] = kept;
        table.add_row([printable(&layer.name), layer.op.to_owned(), filters, channels, columns, before, after, less]);
    }
    let [before, after, less] = macs(&certificate.total);
    let none = String::new;
    table.add_row(["total".to_owned(), none(), none(), none(), none(), before, after, less]);
    table
}

fn macs(cost: &Cost) -> [String; 3] {
    match cost.macs {
        None => ["symbolic".into(), "symbolic".into(), String::new()],
        Some(Change { before, after: 0 }) => [short(before), "0".into(), String::new()],
        Some(Change { before, after }) => [short(before), short(after), format!("{:.2}x", before as f64 / after as f64)],
    }
}

/// What the export keeps of layers although the file does not.
fn dense_in_export(certificate: &Certificate) -> Option<String> {
    let named = |layer: &LayerReport| {
        let LayerExport { dense_filters, dense_channels, .. } = layer.export.unwrap_or_default();
        let kinds = [(dense_filters, "filters"), (dense_channels, "channels")].into_iter().filter(|(count, _)| *count > 0);
        let kinds: Vec<String> = kinds.map(|(count, what)| format!("{count} {what}")).collect();
        (!kinds.is_empty()).then(|| format!("{} ({})", printable(&layer.name), kinds.join(", ")))
    };
    certificate.export.as_ref().filter(|export| export.refused.is_none())?;
    let mut names: Vec<String> = certificate.layers.iter().filter_map(named).collect();
    if names.len() > MOST_NAMED {
        let more = names.len() - MOST_NAMED;
        names.truncate(MOST_NAMED);
        names.push(format!("{more} more layers"));
    }
    (!names.is_empty()).then(|| format!("zeros that stay in the export: {}", names.join(", ")))
}

/// What was removed by which rule, what was refused, and how the outputs compare: one line each.
pub fn notes(certificate: &Certificate) -> Vec<String> {
    let mut notes = Vec::new();
    for (what, removed) in ["filters", "columns"].into_iter().zip(certificate.removed()) {
        if !removed.is_empty() {
            notes.push(format!("{what} removed: {}", rules(&removed)));
        }
    }
    let large: Vec<String> = certificate.sizes.iter().filter(|(_, size)| **size > 1).map(|(n, s)| format!("{n} = {s}")).collect();
    if !large.is_empty() {
        notes.push(format!("multiply-accumulates are those of an image of {}", printable(&large.join(", "))));
    }
    notes.extend(dense_in_export(certificate));
    notes.extend(scattered_zeros(certificate));
    notes.extend(narrowest_gap(certificate));
    for refusal in &certificate.refused {
        let (op, node, reason) = (refusal.op, printable(&refusal.node), &refusal.reason);
        let channels = if refusal.channels > 0 { format!(" ({} constant channels)", refusal.channels) } else { String::new() };
        notes.push(format!("not followed through {op} '{node}'{channels}: {reason}"));
    }
    if let Some(verification) = &certificate.verification {
        let kinds = [
            ("the original on", "random inputs", &verification.random),
            ("the original on", "images", &verification.images),
            ("given outputs for", "given inputs", &verification.with),
        ];
        for (what, kind, difference) in kinds.into_iter().filter_map(|(what, kind, d)| d.as_ref().map(|d| (what, kind, d))) {
            notes.push(compared("", what, kind, difference));
        }
        if let Some(found) = &verification.onnxruntime {
            let what = format!("onnxruntime {} on", printable(&found.version));
            notes.push(compared("", &what, "random inputs", &found.difference));
        }
    }
    let export = certificate.export.iter().flat_map(|export| &export.verification);
    for difference in export.flat_map(|v| v.random.iter().chain(&v.images)) {
        notes.push(compared("export ", "the original on", "inputs", difference));
    }
    notes
}

fn rules(removed: &BTreeMap<Rule, usize>) -> String {
    let text = |(rule, n): (&Rule, &usize)| {
        let rule = match rule {
            Rule::Zero => "zero",
            Rule::Cut => "cut by the threshold",
            Rule::Constant => "constant",
            Rule::Unread => "unread",
            Rule::ChannelRemoved => "of constant channels",
            Rule::FiltersRemoved => "used by removed filters only",
        };
        format!("{} {rule}", thousands(*n as u64))
    };
    removed.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Which layers have zeros that nothing is gained by, and which zeros would be: for users of unstructured or 2:4 pruning.
fn scattered_zeros(certificate: &Certificate) -> Option<String> {
    let mut layers: Vec<&LayerReport> = certificate.layers.iter().filter(|l| l.scattered.share() >= MUCH).collect();
    if certificate.dense || layers.is_empty() {
        return None;
    }
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.scattered.zeros));
    let named = |layer: &&LayerReport| {
        let Scattered { weights, zeros } = layer.scattered;
        let share = 100.0 * layer.scattered.share();
        format!("{} ({share:.0} %: {} of {} weights)", printable(&layer.name), thousands(zeros), thousands(weights))
    };
    let mut names: Vec<String> = layers.iter().take(MOST_NAMED).map(named).collect();
    if layers.len() > MOST_NAMED {
        names.push(format!("{} more layers", layers.len() - MOST_NAMED));
    }
    Some(format!(
        "zeros that stay, and are computed with like other weights: {}. They are scattered; what can be removed is whole filters, whole \
         input channels, and kernel positions of a channel that are zero in all filters",
        names.join(", ")
    ))
}

/// Where a threshold came closest to cutting something else: the one figure to look at before the outputs.
fn narrowest_gap(certificate: &Certificate) -> Option<String> {
    let kinds = certificate.layers.iter().flat_map(|l| [(l, "filters", &l.norms.filters), (l, "columns", &l.norms.columns)]);
    let gaps = kinds.filter_map(|(l, kind, norms)| norms.gap.as_ref().and_then(|gap| Some((l, kind, gap, gap.ratio?))));
    let (layer, kind, gap, ratio) = gaps.min_by(|a, b| a.3.total_cmp(&b.3))?;
    Some(format!(
        "narrowest gap at the cut: {kind} of {}, largest norm removed {:.1e}, smallest kept {:.1e} ({ratio:.2}x)",
        printable(&layer.name),
        gap.largest_removed,
        gap.smallest_kept
    ))
}

fn compared(of: &str, what: &str, kind: &str, difference: &Difference) -> String {
    let Difference { inputs, shapes, max_abs, max_relative, max_ulp } = difference;
    let shapes: Vec<String> =
        shapes.iter().map(|all| all.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(" and ")).collect();
    format!(
        "{of}compared with {what} {inputs} {kind} ({}): largest difference {max_relative:.1e} relative, {max_abs:.1e} \
         absolute, {} ULP",
        shapes.join(", "),
        thousands(u64::from(*max_ulp))
    )
}
