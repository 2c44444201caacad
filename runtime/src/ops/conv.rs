//! Convolutions over kept columns, and their transposes.

use super::window::{describe, geometry};
use crate::error::Result;
use crate::planning::{Emit, Lower, Lowering};
use crate::report::{KeptCount, LayerSizes};
use sslm_format::{Blob, Conv, ConvTranspose, Kept, Value};
use sslm_kernels::Activation;
use sslm_kernels::conv::{Column, ConvTask, Geometry, KeptGroup};

impl Lower for Conv {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let geometry = geometry(at, &self.window);
        add(self, geometry, at);
        Ok(())
    }

    fn applies(&self, _: Activation) -> bool {
        true
    }

    fn adds_to_sum(&self) -> bool {
        true
    }

    fn sizes(&self, output: &Value, blobs: &[Blob]) -> LayerSizes {
        sizes(self, output, blobs)
    }
}

impl Lower for ConvTranspose {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let geometry = Geometry { transposed: true, ..geometry(at, &self.conv.window) };
        add(&self.conv, geometry, at);
        Ok(())
    }

    fn applies(&self, _: Activation) -> bool {
        true
    }

    fn adds_to_sum(&self) -> bool {
        true
    }

    fn sizes(&self, output: &Value, blobs: &[Blob]) -> LayerSizes {
        sizes(&self.conv, output, blobs)
    }
}

/// What reports say of it.
pub(super) fn sizes(conv: &Conv, output: &Value, blobs: &[Blob]) -> LayerSizes {
    let per_group = conv.columns_per_group();
    let columns = conv.columns.iter().map(|columns| columns.count(per_group)).sum();
    LayerSizes {
        window: Some(describe(&conv.window, conv.group)),
        filters: Some(KeptCount { kept: conv.kept_filters(output).iter().sum(), of: conv.filters as usize }),
        columns: Some(KeptCount { kept: columns, of: per_group * conv.columns.len() }),
        weights: Some(blobs[conv.weights.index()].len as usize),
        has_border_constants: conv.taps.is_some(),
    }
}

/// It reads what its input keeps, and yields what its output keeps.
fn add(conv: &Conv, geometry: Geometry, at: &mut Lowering<'_, '_>) {
    let task = ConvTask {
        images: at.shape(at.x())[0],
        geometry,
        groups: groups(conv, at),
        taps: conv.taps.map(|taps| at.builder.model.blob(taps)),
        activation: at.activation,
        accumulate: at.residual.is_some(),
    };
    let (macs, kept) = (task.macs(), at.kept());
    let mut reads = vec![at.builder.place_of(at.x())];
    reads.extend(at.residual.map(|residual| at.builder.channels_of(residual, kept)));
    let (len, parameters) = (at.builder.physical_len(at.output), vec![conv.weights, conv.bias]);
    let adds = at.residual.is_some();
    let place = at.emit_with(task, reads, len, |step| Emit { macs, parameters, adds, ..step });
    at.builder.define(at.output, place);
}

/// What each group keeps, by the input's physical channels.
pub(super) fn groups(conv: &Conv, at: &Lowering<'_, '_>) -> Vec<KeptGroup> {
    let width = conv.window.kernel[1] as usize;
    let input = at.compaction(at.x());
    let filters = conv.kept_filters(&at.builder.model.graph().values[at.output.index()]);
    let group = |(g, (kept, filters)): (usize, (&Kept, usize))| {
        let column = |column: usize| {
            let (channel, tap) = conv.place_of(g, column);
            let channel = input.map_or(channel, |c| c.kept.partition_point(|&k| (k as usize) < channel));
            Column { channel, kh: tap / width, kw: tap % width }
        };
        // A group without filters stores no weights, so nothing in the file bounds the columns that it lists as kept.
        let columns = kept.iter(if filters == 0 { 0 } else { conv.columns_per_group() });
        KeptGroup { filters, columns: columns.map(column).collect() }
    };
    conv.columns.iter().zip(filters).enumerate().map(group).collect()
}
