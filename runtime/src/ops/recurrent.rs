//! Recurrent layers.

use super::layout::row_major_strides;
use crate::error::Result;
use crate::planning::{Emit, Lower, Lowering, Operand};
use crate::report::{KeptCount, LayerSizes};
use sslm_format::{Blob, Cell, Recurrent, Value};
use sslm_kernels::Activation;
use sslm_kernels::axis::StridedCopy;
use sslm_kernels::channels::{SelectTask, Source};
use sslm_kernels::fully_connected::GemmTask;
use sslm_kernels::recurrent::{Cell as Computed, RecurrentTask, Way};

impl Lower for Recurrent {
    /// The sums of the inputs of all positions are one product of matrices, for which positions come first. What goes from position to
    /// position is a step of its own.
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let &[images, _, positions] = at.shape(at.x()) else { unreachable!("validation lets no other rank pass") };
        let (all, kept) = (self.features as usize, at.compaction(at.x()));
        let features = kept.map_or(all, |c| c.kept.len());
        let physical = |feature: usize| kept.map_or(feature, |c| c.kept.partition_point(|&k| (k as usize) < feature));
        let columns: Vec<usize> = self.columns.iter(all).map(physical).collect();
        let x = at.builder.place_of(at.x());
        let x = moved(at, x, [images, features, positions], [2, 0, 1]);

        let ways = self.direction.backward().iter().enumerate();
        let ways: Vec<Way> = ways.map(|(i, &backward)| Way { units: self.count_of(i), backward }).collect();
        let cell = match self.cell {
            Cell::Lstm => Computed::Lstm,
            Cell::Gru if self.reset_bias.is_some() => Computed::GruOfProducts,
            Cell::Gru => Computed::GruOfStates,
            Cell::Tanh => Computed::Tanh,
            Cell::Relu => Computed::Relu,
        };
        let task = RecurrentTask { cell, steps: positions, batch: images, ways, yields_cells: self.yields_cells };
        let (units, rows) = (task.units(), task.units() * cell.gates());
        let batch = positions * images;
        let macs = batch * rows * columns.len();
        let gemm = GemmTask { batch, features, rows, columns, activation: Activation::None };
        let parameters = vec![self.weights, self.bias];
        let sums = at.emit_with(gemm, vec![x], batch * rows, |step| Emit { macs, parameters, ..step });

        let computed: Vec<u32> = self.units.iter(self.all_units()).map(|unit| unit as u32).collect();
        let states: Vec<_> = at.node.inputs[1..].to_vec();
        let wanted = (units < self.all_units()).then_some(&*computed);
        let states = states.into_iter().map(|state| at.builder.channels_of(state, wanted));
        let reads = std::iter::once(sums).chain(states).collect();
        let macs = task.macs();
        let parameters = std::iter::once(self.recurrent).chain(self.reset_bias).collect();
        let y = at.emit_with(task, reads, batch * units, |step| Emit { macs, parameters, ..step });

        let mut place = moved(at, y, [positions, images, units], [1, 2, 0]);
        // Units that only others of the same layer read.
        let kept = at.kept().unwrap_or(&computed);
        if kept != computed {
            let source = |unit: &u32| Source::Channel(computed.partition_point(|computed| computed < unit));
            let sources: Vec<Source> = kept.iter().map(source).collect();
            let len = images * sources.len() * positions;
            let select = SelectTask { images, channels: units, plane: positions, sources };
            place = at.emit(select, vec![place], len);
        }
        at.builder.define(at.output, place);
        Ok(())
    }

    /// Its weights are then read once for all sequences.
    fn wants_batch(&self) -> bool {
        true
    }

    fn sizes(&self, _: &Value, blobs: &[Blob]) -> LayerSizes {
        let (features, units) = (self.features as usize, self.all_units());
        let weights = [self.weights, self.recurrent].map(|blob| blobs[blob.index()].len as usize);
        LayerSizes {
            filters: Some(KeptCount { kept: self.units.count(units), of: units }),
            columns: Some(KeptCount { kept: self.columns.count(features), of: features }),
            weights: Some(weights.iter().sum()),
            ..Default::default()
        }
    }
}

/// What lies at `x`, of these extents, with its axes in another order.
fn moved(at: &mut Lowering<'_, '_>, x: Operand, from: [usize; 3], axes: [usize; 3]) -> Operand {
    let strides = row_major_strides(&from);
    let copy = StridedCopy::new(&axes.map(|axis| from[axis]), &axes.map(|axis| strides[axis]));
    at.emit(copy, vec![x], from.iter().product())
}
