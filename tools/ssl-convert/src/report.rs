//! What a conversion did, layer by layer: the numbers and the table.

use crate::graph::Graph;
use comfy_table::Table;
use ssl_cli::{kept_of, printable, thousands};
use sslm_format::{ConvTranspose, Op};
use std::collections::BTreeSet;

/// One layer with weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Name of the node.
    pub name: String,
    /// Its operator.
    pub op: &'static str,
    /// Kept and original filters (rows).
    pub filters: [usize; 2],
    /// Input channels of which a column is kept, and original ones.
    pub channels: [usize; 2],
    /// Kept and original columns of the lowered matrix, all groups together.
    pub columns: [usize; 2],
    /// Multiply-accumulates for one image before and after; absent where the output's size is symbolic.
    pub macs: Option<[u64; 2]>,
}

/// All layers with weights, in order.
pub fn layers(g: &Graph) -> Vec<Layer> {
    let layer = |(i, node): (usize, &sslm_format::Node)| {
        let output = &g.graph.values[node.output.index()];
        let macs = g.macs(i).map(|(before, after)| [before, after]);
        let (filters, channels, columns) = match &node.op {
            Op::Conv(conv) | Op::ConvTranspose(ConvTranspose { conv, .. }) => {
                let (per_group, taps) = (conv.columns_per_group(), conv.window.taps());
                let group_channels = per_group / taps;
                let columns: usize = conv.columns.iter().map(|c| c.count(per_group)).sum();
                let read = |(g, kept): (usize, &sslm_format::Kept)| {
                    kept.iter(per_group).map(|c| g * group_channels + c / taps).collect::<BTreeSet<_>>().len()
                };
                let channels = conv.columns.iter().enumerate().map(read).sum();
                let filters = conv.kept_filters(output).iter().sum();
                ([filters, conv.filters as usize], [channels, conv.channels as usize], [columns, per_group * conv.columns.len()])
            }
            Op::Gemm(gemm) => {
                let features = gemm.features as usize;
                let columns = [gemm.columns.count(features), features];
                ([gemm.kept_rows(output), gemm.rows as usize], columns, columns)
            }
            _ => return None,
        };
        Some(Layer { name: node.name.clone(), op: node.op.name(), filters, channels, columns, macs })
    };
    g.graph.nodes.iter().enumerate().filter_map(layer).collect()
}

/// The table that `ssl-convert` prints.
pub fn table(layers: &[Layer]) -> Table {
    let mut table = ssl_cli::table(&["layer", "op", "filters", "channels", "columns", "MACs before", "after", "less"], 2);
    let of = |[kept, all]: [usize; 2]| kept_of(kept, all);
    let mut total = Some([0u64; 2]);
    for layer in layers {
        total = total.zip(layer.macs).map(|(t, m)| [t[0] + m[0], t[1] + m[1]]);
        let mut row = vec![printable(&layer.name), layer.op.to_owned(), of(layer.filters), of(layer.channels), of(layer.columns)];
        if layer.filters[0] == 0 {
            row[2] = format!("0 of {}: removed", layer.filters[1]);
        }
        row.extend(macs(layer.macs));
        table.add_row(row);
    }
    let mut row = vec!["total".to_owned(), String::new(), String::new(), String::new(), String::new()];
    row.extend(macs(total));
    table.add_row(row);
    table
}

fn macs(macs: Option<[u64; 2]>) -> [String; 3] {
    match macs {
        None => ["symbolic".into(), "symbolic".into(), String::new()],
        Some([before, 0]) => [thousands(before), "0".into(), String::new()],
        Some([before, after]) => [thousands(before), thousands(after), format!("{:.2}x", before as f64 / after as f64)],
    }
}
