//! Channels that become positions (DepthToSpace), and positions that become channels (SpaceToDepth).

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int, text};
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::operator::{Convert, without_weights};
use crate::slices::{Reads, Slices, reads};
use anyhow::{Context, Result, bail};
use sslm_format::{DepthToSpace, Gather, SpaceToDepth};

pub(super) const IMPORTS: &[Import] = &[
    Import::moving("DepthToSpace", |node| {
        let neighbours = match node.text("mode", "DCR")? {
            "DCR" => false,
            "CRD" => true,
            other => bail!("mode: expected DCR or CRD, found {other}"),
        };
        node.unary(DepthToSpace { block: positive(node.int("blocksize", 0)?, "blocksize")?, neighbours })
    }),
    Import::moving("SpaceToDepth", space_to_depth),
];

/// Positions of a block stay together, or, in another order of channels, those that become one channel each.
fn space_to_depth(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let block = positive(node.int("blocksize", 0)?, "blocksize")?;
    let (x, record) = (node.value(0)?, SpaceToDepth { block });
    match node.text("mode", "DCR")? {
        "DCR" => node.push(record, vec![x]),
        "CRD" => {
            let channels = node.extent(x, 1).context("input: expected a known count of channels, found a symbolic one")?;
            let y = node.inner(record, vec![x])?;
            let places = node.extent(y, 1).unwrap_or(0) / channels.max(1);
            let indices = (0..channels).flat_map(|c| (0..places).map(move |place| (place * channels + c) as i64)).collect();
            node.push(Gather { axis: 1, indices }, vec![y])
        }
        other => bail!("mode: expected DCR or CRD, found {other}"),
    }
}

impl Convert for DepthToSpace {
    without_weights!();

    /// A channel is constant if all that it is made of are one constant.
    fn forward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>) -> Vec<Option<f32>> {
        let count = output.constants().map_or(0, <[_]>::len);
        let of_channel = |channel: usize| {
            let x = inputs[0].constants()?;
            let mut all = self.origins(count, channel).map(|origin| x[origin]);
            let first = all.next()??;
            all.all(|other| other == Some(first)).then_some(first)
        };
        (0..count).map(of_channel).collect()
    }

    fn backward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
        let (Some(x), Some(wanted)) = (inputs[0].constants(), wanted) else { return reads(self, inputs, output, wanted) };
        let mut read = vec![false; x.len()];
        for channel in (0..wanted.len()).filter(|&channel| wanted[channel]) {
            self.origins(wanted.len(), channel).for_each(|origin| read[origin] = true);
        }
        vec![Reads::Some(read)]
    }

    fn takes_constants(&self) -> bool {
        true
    }
}

impl Convert for SpaceToDepth {
    without_weights!();
}

impl Write for DepthToSpace {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let mode = text("mode", if self.neighbours { "CRD" } else { "DCR" });
        w.push("DepthToSpace", call.inputs, call.output, vec![int("blocksize", self.block.into()), mode]);
        Ok(())
    }
}

impl Write for SpaceToDepth {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push("SpaceToDepth", call.inputs, call.output, vec![int("blocksize", self.block.into())]);
        Ok(())
    }
}
