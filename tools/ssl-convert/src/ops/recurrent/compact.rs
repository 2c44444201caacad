//! What compaction asks a recurrent layer: biases take in constants, and units that nobody reads or that are always 0 go with the weights
//! that meet them.

use crate::blobs::Blobs;
use crate::operator::Convert;
use crate::slices::{Reads, Slices};
use crate::weights::{Layer, Unpacked};
use rayon::prelude::*;
use sslm_format::shape::Shape;
use sslm_format::{Kept, Recurrent, Value, panels};
use std::ops::Range;

/// The row of gates that belongs to a gate of a unit.
pub(super) fn row_of(layer: &Recurrent<Unpacked>, unit: usize, gate: usize) -> usize {
    let hidden = layer.hidden as usize;
    (unit / hidden * layer.cell.gates() + gate) * hidden + unit % hidden
}

/// The weight of a feature in a gate of a unit.
pub(super) fn of_feature(layer: &Recurrent<Unpacked>, unit: usize, gate: usize, feature: usize) -> f32 {
    layer.weights.at(unit, feature * layer.cell.gates() + gate)
}

/// The weight of another unit of the same direction in a gate of a unit.
pub(super) fn of_unit(layer: &Recurrent<Unpacked>, unit: usize, gate: usize, other: usize) -> f32 {
    let hidden = layer.hidden as usize;
    layer.recurrent.at(row_of(layer, unit, gate) * hidden + other % hidden)
}

/// The units of the direction of a unit.
fn beside(layer: &Recurrent<Unpacked>, unit: usize) -> Range<usize> {
    let hidden = layer.hidden as usize;
    unit / hidden * hidden..(unit / hidden + 1) * hidden
}

impl Convert for Recurrent<Unpacked> {
    fn is_finite(&self) -> bool {
        let biases = self.bias.iter().chain(self.reset_bias.iter().flatten());
        self.weights.is_finite() && self.recurrent.is_finite() && biases.into_iter().all(|x| x.is_finite())
    }

    /// The weights of the inputs, with units as filters and gates as taps.
    fn layer(&self) -> Option<Layer<'_>> {
        let (gates, matrix) = (self.cell.gates(), &self.weights);
        let features = self.columns.iter(self.features as usize);
        let columns = features.flat_map(|feature| feature * gates..(feature + 1) * gates).map(|column| column as u32).collect();
        let kept = vec![Kept::from_list(columns, matrix.columns)].into();
        Some(Layer { groups: 1, filters: matrix.rows, columns: matrix.columns, taps: gates, kept, matrix })
    }

    /// At each position.
    fn macs(&self, _: &Value, shape: &Shape) -> Option<(u64, u64)> {
        let (gates, positions) = (self.cell.gates(), shape[2].known()?);
        let of = |units: usize, features: usize, beside: usize| ((units * features + beside) * gates * positions) as u64;
        let (all, directions) = (self.all_units(), self.direction.count());
        let beside = |units: usize| units * units;
        let kept = (0..directions).map(|direction| beside(self.count_of(direction))).sum();
        let features = self.features as usize;
        let before = of(all, features, directions * beside(self.hidden as usize));
        Some((before, of(self.units.count(all), self.columns.count(features), kept)))
    }

    /// Biases take in what constant features contribute. A unit stays 0 that begins with 0 and whose candidate always is: that reads
    /// nothing but other such units.
    fn forward(&mut self, inputs: &[Slices<'_>], _: &Slices<'_>) -> Vec<Option<f32>> {
        let (all, gates, x) = (self.all_units(), self.cell.gates(), inputs[0].constants());
        let of_row = |unit: usize, gate: usize| {
            let (mut live, mut sum) = (false, f64::from(self.bias[row_of(self, unit, gate)]));
            for feature in 0..self.features as usize {
                let w = of_feature(self, unit, gate, feature);
                if w != 0.0 {
                    match x.and_then(|x| x[feature]) {
                        Some(value) => sum += f64::from(w) * f64::from(value),
                        None => live = true,
                    }
                }
            }
            (sum as f32, live)
        };
        let rows: Vec<Vec<(f32, bool)>> =
            (0..all).into_par_iter().map(|unit| (0..gates).map(|gate| of_row(unit, gate)).collect()).collect();
        for (unit, gates) in rows.iter().enumerate() {
            for (gate, (sum, _)) in gates.iter().enumerate() {
                let row = row_of(self, unit, gate);
                self.bias[row] = *sum;
            }
        }
        let candidate = gates - 1;
        let reset = |unit: usize| self.reset_bias.as_ref().is_none_or(|bias| bias[unit] == 0.0);
        let silent = |unit: usize| rows[unit][candidate] == (0.0, false) && reset(unit);
        let begins_with_0 =
            |unit: usize| inputs[1..].iter().all(|state| state.constants().is_some_and(|constants| constants[unit] == Some(0.0)));
        let mut zero: Vec<bool> = (0..all).map(|unit| begins_with_0(unit) && silent(unit)).collect();
        let mut awake: Vec<usize> = (0..all).filter(|&unit| !zero[unit]).collect();
        while let Some(other) = awake.pop() {
            for unit in beside(self, other) {
                if zero[unit] && of_unit(self, unit, candidate, other) != 0.0 {
                    zero[unit] = false;
                    awake.push(unit);
                }
            }
        }
        zero.into_iter().map(|zero| zero.then_some(0.0)).collect()
    }

    /// Units are computed that are wanted, or that those read which are computed.
    fn backward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
        let (all, gates, features) = (self.all_units(), self.cell.gates(), self.features as usize);
        let mut computed: Vec<bool> = wanted.map_or_else(|| vec![true; all], <[bool]>::to_vec);
        let mut queue: Vec<usize> = (0..all).filter(|&unit| computed[unit]).collect();
        while let Some(unit) = queue.pop() {
            for other in beside(self, unit) {
                let reads = || (0..gates).any(|gate| of_unit(self, unit, gate, other) != 0.0);
                if !computed[other] && output.is_live(other) && reads() {
                    computed[other] = true;
                    queue.push(other);
                }
            }
        }
        let units: Vec<usize> = (0..all).filter(|&unit| computed[unit]).collect();
        let used = |feature: usize| {
            let uses = |&unit: &usize| (0..gates).any(|gate| of_feature(self, unit, gate, feature) != 0.0);
            inputs[0].is_live(feature) && units.iter().any(uses)
        };
        let read: Vec<bool> = (0..features).into_par_iter().map(used).collect();
        let columns = (0..).zip(&read).filter(|(_, read)| **read).map(|(feature, _)| feature).collect();
        self.columns = Kept::from_list(columns, features);
        self.units = Kept::from_list(units.iter().map(|&unit| unit as u32).collect(), all);
        std::iter::once(Reads::Some(read)).chain(inputs[1..].iter().map(|_| Reads::Some(computed.clone()))).collect()
    }

    fn forget(&mut self) {
        self.columns = Kept::List(Vec::new());
        self.units = Kept::List(Vec::new());
    }

    fn takes_constants(&self) -> bool {
        true
    }

    fn stored<'g>(&'g self, _: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        let (hidden, columns) = (self.hidden as usize, self.columns.iter(self.features as usize).collect::<Vec<_>>());
        // Rows by direction, gate and unit.
        let (mut rows, mut recurrent) = (Vec::new(), Vec::new());
        for direction in 0..self.direction.count() {
            let units: Vec<usize> = self.units.iter(self.all_units()).filter(|unit| unit / hidden == direction).collect();
            let mut first = 0;
            for count in self.matrices() {
                let of_gates: Vec<(usize, usize)> =
                    (first..first + count).flat_map(|gate| units.iter().map(move |&unit| (unit, gate))).collect();
                let at = |row: usize, column: usize| of_unit(self, of_gates[row].0, of_gates[row].1, units[column]);
                panels::pack(of_gates.len(), units.len(), at, &mut recurrent);
                rows.extend(of_gates);
                first += count;
            }
        }
        let mut weights = Vec::new();
        let at = |row: usize, column: usize| of_feature(self, rows[row].0, rows[row].1, columns[column]);
        panels::pack(rows.len(), columns.len(), at, &mut weights);
        let bias = rows.iter().map(|&(unit, gate)| self.bias[row_of(self, unit, gate)]).collect();
        let reset_bias = self.reset_bias.as_ref().map(|bias| self.units.iter(self.all_units()).map(|unit| bias[unit]).collect());
        Recurrent {
            cell: self.cell.clone(),
            direction: self.direction.clone(),
            yields_cells: self.yields_cells,
            features: self.features,
            hidden: self.hidden,
            columns: self.columns.clone(),
            units: self.units.clone(),
            weights: blobs.elements(weights),
            recurrent: blobs.elements(recurrent),
            bias: blobs.elements(bias),
            reset_bias: reset_bias.map(|bias| blobs.elements(bias)),
        }
        .into()
    }
}
