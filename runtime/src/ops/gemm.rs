//! Fully connected layers.

use crate::error::Result;
use crate::planning::{Emit, Lower, Lowering};
use crate::report::{KeptCount, LayerSizes};
use sslm_format::{Blob, Gemm, Value};
use sslm_kernels::Activation;
use sslm_kernels::fully_connected::GemmTask;

impl Lower for Gemm {
    /// It reads what its input keeps, and yields what its output keeps.
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (all, kept) = (self.features as usize, at.compaction(at.x()));
        let features = kept.map_or(all, |c| c.kept.len());
        let physical = |feature: usize| kept.map_or(feature, |c| c.kept.partition_point(|&k| (k as usize) < feature));
        let columns: Vec<usize> = self.columns.iter(all).map(physical).collect();
        let rows = at.kept().map_or(self.rows as usize, <[u32]>::len);
        let len = at.builder.physical_len(at.output);
        let task = GemmTask { batch: len / rows, features, rows, columns, activation: at.activation };
        let macs = task.batch * rows * task.columns.len();
        let (read, parameters) = (at.builder.place_of(at.x()), vec![self.weights, self.bias]);
        let place = at.emit_with(task, vec![read], len, |step| Emit { macs, parameters, ..step });
        at.builder.define(at.output, place);
        Ok(())
    }

    fn applies(&self, _: Activation) -> bool {
        true
    }

    /// Its weights are then read once for all images.
    fn wants_batch(&self) -> bool {
        true
    }

    fn sizes(&self, output: &Value, blobs: &[Blob]) -> LayerSizes {
        let features = self.features as usize;
        LayerSizes {
            filters: Some(KeptCount { kept: self.kept_rows(output), of: self.rows as usize }),
            columns: Some(KeptCount { kept: self.columns.count(features), of: features }),
            weights: Some(blobs[self.weights.index()].len as usize),
            ..Default::default()
        }
    }
}
