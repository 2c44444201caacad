//! Layers that carry a state from one position of a sequence to the next.

use super::conv::check_columns;
use super::{Check, Operator};
use crate::axes::{AxisMap, Link};
use crate::codec::{choice, record};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, at_least_one, below, check_list, equal};
use crate::shape::{MAX_CHANNELS, Shape, expect_extent, expect_rank};
use crate::value::Kept;
use crate::weights::Weights;
use std::ops::RangeInclusive;

record! {
    /// ONNX `LSTM`, `GRU` and `RNN` with their usual activations. The first operand is a sequence `[N, features, T]`; the result is the
    /// state of every unit behind each position, `[N, directions * hidden, T]`. Further operands are the states before the first position,
    /// `[N, directions * hidden]`: that of the units, then, of an LSTM, that of its cells. Without them, these are 0.
    pub struct Recurrent<W> {
        /// What a unit computes at a position.
        pub cell: Cell,
        /// In which order positions come.
        pub direction: Direction,
        /// Whether the result are the states of an LSTM's cells instead of those of its units.
        pub yields_cells: bool,
        /// Logical input features.
        pub features: u32,
        /// Logical units of one direction.
        pub hidden: u32,
        /// The input features that are read.
        pub columns: Kept,
        /// The units of all directions that are computed.
        pub units: Kept,
        /// For each direction, gate and computed unit a row of a weight for each feature that is read, in panels ([`crate::panels`]).
        pub weights: W::Matrix,
        /// For each direction, a row for each gate and computed unit of a weight for each computed unit of that direction, in panels. Of
        /// a Gru without `reset_bias`, the rows of the last gate are panels of their own.
        pub recurrent: W::Tensor,
        /// One element per row of `weights`.
        pub bias: W::Vector,
        /// One element per computed unit of a Gru, that is added to the candidate's products with the state before they are reset.
        /// Absent where the state is reset before it is multiplied.
        pub reset_bias: Option<W::Vector>,
    }
}

choice! {
    /// What a unit computes. Gates are in ONNX's order.
    pub enum Cell: "cell" {
        /// Gates: input, output, forget, cell.
        0 => Lstm,
        /// Gates: update, reset, candidate.
        1 => Gru,
        /// The hyperbolic tangent of its sum.
        2 => Tanh,
        /// Its sum, if that is positive.
        3 => Relu,
    }
}

choice! {
    /// In which order a recurrent layer meets the positions of a sequence.
    pub enum Direction: "direction" {
        /// The first one first.
        0 => Forward,
        /// The last one first.
        1 => Backward,
        /// The first half of the units meets the first one first, the second half the last one.
        2 => Both,
    }
}

impl Cell {
    /// Rows of weights of a unit.
    pub fn gates(&self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru => 3,
            Cell::Tanh | Cell::Relu => 1,
        }
    }
}

impl Direction {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Direction::Forward | Direction::Backward => 1,
            Direction::Both => 2,
        }
    }

    /// For each of them, whether it begins with the last position.
    pub fn backward(&self) -> &'static [bool] {
        match self {
            Direction::Forward => &[false],
            Direction::Backward => &[true],
            Direction::Both => &[false, true],
        }
    }
}

impl<W: Weights> Recurrent<W> {
    /// Logical units of all directions.
    pub fn all_units(&self) -> usize {
        self.direction.count() * self.hidden as usize
    }

    /// How many units a direction computes.
    pub fn count_of(&self, direction: usize) -> usize {
        let first = direction * self.hidden as usize;
        match &self.units {
            Kept::All => self.hidden as usize,
            Kept::List(units) => {
                let before = |end: usize| units.partition_point(|&unit| (unit as usize) < end);
                before(first + self.hidden as usize) - before(first)
            }
        }
    }

    /// How many rows of gates each matrix of recurrent weights has for a unit, one matrix after the other.
    pub fn matrices(&self) -> &'static [usize] {
        match self.cell {
            Cell::Lstm => &[4],
            Cell::Gru if self.reset_bias.is_some() => &[3],
            Cell::Gru => &[2, 1],
            Cell::Tanh | Cell::Relu => &[1],
        }
    }
}

impl<W: Weights> Operator for Recurrent<W> {
    fn name(&self) -> &'static str {
        match self.cell {
            Cell::Lstm => "LSTM",
            Cell::Gru => "GRU",
            Cell::Tanh | Cell::Relu => "RNN",
        }
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=if self.cell == Cell::Lstm { 3 } else { 2 }
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let x = inputs[0];
        expect_rank(x, 3)?;
        expect_extent("input features", &x[1], self.features as usize)?;
        for state in &inputs[1..] {
            expect_rank(state, 2)?;
            if let Some(images) = x[0].known() {
                expect_extent("states", &state[0], images)?;
            }
            expect_extent("units of a state", &state[1], self.all_units())?;
        }
        Ok(vec![x[0].clone(), Extent::from(self.all_units()), x[2].clone()])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let link = |axis: usize| match axis {
            0 => Link::Alike { to: 0 },
            1 => Link::Summed,
            _ => Link::Whole { to: axis },
        };
        inputs.iter().map(|x| (0..x.len()).map(link).collect()).collect()
    }
}

impl Check for Recurrent {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        let directions = self.direction.count();
        for (what, n) in [("features", self.features), ("hidden", self.hidden)] {
            at_least_one(what, n)?;
            below(what, n, MAX_CHANNELS / directions as u32)?;
        }
        let (features, all) = (self.features as usize, self.all_units());
        Site::expect_logical("input", site.inputs[0], self.features)?;
        for value in site.inputs[1..].iter().chain([&site.output]) {
            Site::expect_logical("units", value, all as u32)?;
        }
        check_columns(&self.columns, features, 1, 0..features, site.inputs[0])?;
        if let Kept::List(list) = &self.units {
            check_list("units", list, all)?;
        }
        let yields_units = |channels: &[u32]| channels.iter().all(|&channel| self.units.contains(channel as usize));
        let computed = match &site.output.compaction {
            Some(c) => yields_units(&c.kept),
            None => self.units.count(all) == all,
        };
        if !computed {
            return Err(Error::invalid("units", "those that the output keeps", "others"));
        }
        if self.yields_cells && self.cell != Cell::Lstm {
            return Err(Error::invalid("yields_cells", "0 unless the cell is that of an LSTM", 1));
        }
        if self.reset_bias.is_some() && self.cell != Cell::Gru {
            return Err(Error::invalid("reset_bias", "none unless the cell is that of a GRU", "one"));
        }
        self.check_weights(site)
    }
}

impl Recurrent {
    /// That there are as many weights as rows and columns.
    fn check_weights(&self, site: &Site<'_>) -> Result<()> {
        let (gates, units) = (self.cell.gates(), self.units.count(self.all_units()));
        let rows = units.saturating_mul(gates);
        let weights = rows.saturating_mul(self.columns.count(self.features as usize));
        equal("elements of weights", weights, site.blob_len("weights", self.weights)?)?;
        let squares = (0..self.direction.count()).map(|direction| {
            let units = self.count_of(direction);
            units.saturating_mul(units).saturating_mul(gates)
        });
        let recurrent = squares.fold(0, usize::saturating_add);
        equal("elements of recurrent", recurrent, site.blob_len("recurrent", self.recurrent)?)?;
        equal("elements of bias", rows, site.blob_len("bias", self.bias)?)?;
        match self.reset_bias {
            Some(bias) => equal("elements of reset_bias", units, site.blob_len("reset_bias", bias)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::shape;
    use crate::value::{Blob, BlobId, Compaction, Value};

    /// A layer of two directions with three units each, of which the second direction computes but one, and the lengths of its blobs.
    fn layer() -> (Recurrent, Vec<u64>) {
        let layer = Recurrent {
            cell: Cell::Lstm,
            direction: Direction::Both,
            yields_cells: false,
            features: 5,
            hidden: 3,
            columns: Kept::List(vec![0, 2]),
            units: Kept::List(vec![0, 1, 2, 4]),
            weights: BlobId(0),
            recurrent: BlobId(1),
            bias: BlobId(2),
            reset_bias: None,
        };
        (layer, vec![16 * 2, 4 * (9 + 1), 16, 4])
    }

    fn check(layer: &Recurrent, lens: &[u64], kept: Option<&[u32]>) -> std::result::Result<(), String> {
        let compaction = |logical: u32, kept: &[u32]| Compaction {
            logical,
            kept: kept.to_vec(),
            constants: vec![0.0; logical as usize - kept.len()],
        };
        let value = |compaction| Value { name: String::new(), compaction };
        let (x, y) = (value(Some(compaction(5, &[0, 2, 3]))), value(kept.map(|kept| compaction(6, kept))));
        let blobs: Vec<Blob> = lens.iter().map(|&len| Blob { offset: 0, len }).collect();
        layer.check(&Site { inputs: vec![&x], output: &y, blobs: &blobs }).map_err(|e| e.to_string())
    }

    #[test]
    fn rules_of_a_record() {
        let (sound, lens) = layer();
        assert_eq!(check(&sound, &lens, Some(&[0, 2, 4])), Ok(()));
        type Change = fn(&mut Recurrent);
        let broken: [(&str, Change); 9] = [
            ("features", |r| r.features = 0),
            ("hidden", |r| r.hidden = 1 << 27),
            ("kept columns", |r| r.columns = Kept::List(vec![0, 1])),
            ("units", |r| r.units = Kept::List(vec![0, 1, 2, 6])),
            ("units", |r| r.units = Kept::List(vec![0, 1, 2, 3])),
            ("yields_cells", |r| (r.cell, r.yields_cells) = (Cell::Gru, true)),
            ("reset_bias", |r| r.reset_bias = Some(BlobId(3))),
            ("elements of weights", |r| r.cell = Cell::Tanh),
            ("elements of recurrent", |r| r.recurrent = BlobId(0)),
        ];
        for (part, change) in broken {
            let (mut layer, lens) = layer();
            change(&mut layer);
            let message = check(&layer, &lens, Some(&[0, 2, 4])).expect_err(part);
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(check(&sound, &lens, None).is_err(), "units that nobody computes");
        assert_eq!([0, 1].map(|direction| sound.count_of(direction)), [3, 1]);
        let gru = Recurrent { cell: Cell::Gru, reset_bias: Some(BlobId(3)), ..sound };
        assert_eq!(check(&gru, &[12 * 2, 3 * 10, 12, 4], Some(&[0])), Ok(()));
        assert!(check(&gru, &[12 * 2, 3 * 10, 12, 5], Some(&[0])).is_err(), "a bias too many");
    }

    #[test]
    fn shapes_of_sequences_and_states() {
        let (layer, _) = layer();
        let (n, t) = (Extent::symbol("n"), Extent::symbol("t"));
        let x = vec![n.clone(), Extent::from(5usize), t.clone()];
        let state = vec![n.clone(), Extent::from(6usize)];
        assert_eq!(layer.shape(&[&x, &state, &state]).unwrap(), vec![n, Extent::from(6usize), t]);
        for (x, state) in [([2, 4, 7], [2, 6]), ([2, 5, 7], [3, 6]), ([2, 5, 7], [2, 3])] {
            let refused = layer.shape(&[&shape::of(&x), &shape::of(&state)]).expect_err("another shape");
            assert_eq!(refused.kind(), ErrorKind::Shape);
        }
    }
}
