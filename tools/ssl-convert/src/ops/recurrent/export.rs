//! A recurrent layer as ONNX has it.

use super::compact::{of_feature, row_of};
use crate::export::existing::Existing;
use crate::export::exporter::{Export, Exporter};
use crate::export::writer::{int, ints, text, texts};
use crate::weights::{Node, Unpacked};
use anyhow::{Result, ensure};
use sslm_format::{Cell, Direction, Operator, Recurrent};

/// In ONNX both directions have equally many units, and what reads them counts them, so all of them exist. Features may be missing.
impl Export for Recurrent<Unpacked> {
    fn settle(&self, existing: &mut Existing<'_>, node: &Node) {
        let x = node.inputs[0];
        node.inputs[1..].iter().chain([&node.output]).for_each(|&v| existing.fill(v));
        if existing.is_empty(x) {
            existing.add(x, 0);
        }
    }

    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        ensure!(!self.yields_cells, "ONNX has the states of an LSTM's cells behind the last position only");
        let (directions, gates, hidden) = (self.direction.count(), self.cell.gates(), self.hidden as usize);
        let (x, features) = (node.inputs[0], e.physical(node.inputs[0])?);
        let missing: Vec<Option<f32>> = e.existing.missing_constants(x).unwrap_or_default();
        let missing: Vec<(usize, f32)> = (0..).zip(missing).filter_map(|(feature, c)| Some((feature, c?))).collect();
        let rows: Vec<(usize, usize)> = (0..directions)
            .flat_map(|direction| (0..gates).flat_map(move |gate| (0..hidden).map(move |unit| (direction * hidden + unit, gate))))
            .collect();
        let weights = rows.iter().flat_map(|&(unit, gate)| features.iter().map(move |&f| of_feature(self, unit, gate, f)));
        let w = e.w.floats(&[directions, gates * hidden, features.len()], weights);
        let r = e.w.stored(&[directions, gates * hidden, hidden], &self.recurrent);
        let bias_of = |&(unit, gate): &(usize, usize)| {
            let contributed =
                missing.iter().map(|&(f, c)| f64::from(of_feature(self, unit, gate, f)) * f64::from(c)).sum::<f64>();
            (f64::from(self.bias[row_of(self, unit, gate)]) + contributed) as f32
        };
        let of_state = |&(unit, gate): &(usize, usize)| {
            self.reset_bias.as_ref().filter(|_| gate + 1 == gates).map_or(0.0, |bias| bias[unit])
        };
        let biases = rows.chunks(gates * hidden).flat_map(|rows| rows.iter().map(bias_of).chain(rows.iter().map(of_state)));
        let b = e.w.floats(&[directions, 2 * gates * hidden], biases);

        let from = e.tensor(x)?;
        let sequences = e.w.make("Transpose", &[&from], vec![ints("perm", &[2i64, 0, 1])]);
        let mut inputs = vec![sequences, w, r, b];
        for &state in &node.inputs[1..] {
            let state = e.tensor(state)?;
            let dims = e.w.integers(&[0, directions as i64, hidden as i64]);
            let apart = e.w.make("Reshape", &[&state, &dims], vec![]);
            inputs.push(e.w.make("Transpose", &[&apart], vec![ints("perm", &[1i64, 0, 2])]));
        }
        if inputs.len() > 4 {
            inputs.insert(4, String::new());
        }
        let direction = match self.direction {
            Direction::Forward => "forward",
            Direction::Backward => "reverse",
            Direction::Both => "bidirectional",
        };
        let mut attributes = vec![int("hidden_size", hidden as i64), text("direction", direction)];
        if self.reset_bias.is_some() {
            attributes.push(int("linear_before_reset", 1));
        }
        if self.cell == Cell::Relu {
            attributes.push(texts("activations", &vec!["Relu"; directions]));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = e.w.make(self.name(), &inputs, attributes);
        // As most exporters have it, so that Transposes which follow cancel.
        let beside = e.w.make("Transpose", &[&y], vec![ints("perm", &[0i64, 2, 1, 3])]);
        let dims = e.w.integers(&[0, 0, (directions * hidden) as i64]);
        let joined = e.w.make("Reshape", &[&beside, &dims], vec![]);
        let output = e.name(node.output);
        e.w.push("Transpose", &[&joined], &output, vec![ints("perm", &[1i64, 2, 0])]);
        Ok(())
    }
}
