//! Pad: more positions around a tensor.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, text};
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::node::Node;
use crate::import::registry::Import;
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{Fill, Pad};

pub(super) const IMPORTS: &[Import] = &[Import::computing("Pad", pad)];

fn pad(node: &mut Node<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let rank = node.rank(x);
    let pads = node.integers("pads", 1)?.context("pads: expected constant integers, found none")?;
    let axes: Vec<usize> = match node.integers("axes", 3)? {
        Some(axes) => axes.iter().map(|&a| checks::axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    ensure!(pads.len() == 2 * axes.len(), "pads: expected {} numbers, found {}", 2 * axes.len(), pads.len());
    let mut amounts = vec![[0; 2]; rank];
    for (i, &pad) in pads.iter().enumerate() {
        let amount = u32::try_from(pad).map_err(|_| anyhow!("pads: expected no negative amount, found {pad}"))?;
        amounts[axes[i % axes.len()]][i / axes.len()] = amount;
    }
    let fill = match node.text("mode", "constant")? {
        "constant" => {
            let value = match node.element(2, "constant_value")? {
                Some(value) => value,
                None => node.float("value", 0.0)?,
            };
            Fill::Constant { value }
        }
        "reflect" => Fill::Reflect,
        "edge" => Fill::Edge,
        other => bail!("mode: expected constant, reflect or edge, found {other}"),
    };
    node.push(Pad { amounts, fill }, vec![x])
}

impl Write for Pad {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let amounts: Vec<i64> = (0..2).flat_map(|side| self.amounts.iter().map(move |a| i64::from(a[side]))).collect();
        let (mode, value) = match self.fill {
            Fill::Constant { value } => ("constant", value),
            Fill::Reflect => ("reflect", 0.0),
            Fill::Edge => ("edge", 0.0),
        };
        let (amounts, value) = (w.integers(&amounts), w.floats(&[], [value]));
        w.push("Pad", &[call.inputs[0], &amounts, &value], call.output, vec![text("mode", mode)]);
        Ok(())
    }
}
