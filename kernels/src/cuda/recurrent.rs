//! Recurrent layers on a device: as [`crate::recurrent`] on the CPU. Each step of each way is a launch of its own, since all units have to
//! be there before the next one begins; where the state is reset before it is multiplied, it is two.

use super::device::{Buffer, Result, Stream, View, upload};
use super::fits;
use super::launch::{Arguments, Floats, Output, Source, address_or_null, arguments, int, launch};
use super::task::{Call, Kernel, Preparing, Task};
use crate::expect_len;
use crate::recurrent::{Cell, RecurrentTask, first_unit, step_of};
use sslm_basics::panels::Panels;

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[RECURRENT];

/// Units of a block, each of which has [`SLICES`] threads.
const UNITS: usize = 32;

/// Threads that share the columns of a unit.
const SLICES: u32 = 8;

arguments! {
    /// One step of one way. `weights` are `[units][all gates][units]`; `gates` of them, from `first` on, are multiplied by `state`. From one
    /// sequence to the next, elements of `x`, of the states before and of `out` lie as far apart as the pitches say, all others `units`.
    RecurrentArguments {
        x: Floats, weights: Floats, bias: Floats, state: Floats, before: Floats, cells_before: Floats,
        next: Output, cells: Output, update: Output, out: Output,
        cell: i32, units: i32, rows: i32, first: i32, gates: i32, tiles: i32,
        x_pitch: i32, state_pitch: i32, before_pitch: i32, out_pitch: i32, yields_cells: i32,
    }
}

const RECURRENT: Source = Source {
    declaration: RecurrentArguments::DECLARATION,
    kernels: &["recurrent"],
    text: r#"
DEVICE float of_gate(float x) { return 1.0f / (1.0f + expf(-x)); }

// A block of 32 x 8 threads computes 32 units of one sequence: threads along y share the columns. The cell is 0 for an LSTM, 1 for a GRU
// whose products are reset, 2 for one whose state is reset, of which 3 is what comes before, 4 for tanh, 5 for the positive part.
KERNEL(recurrent, RecurrentArguments) {
    SHARED(float, shared, 1024)
    unsigned image = blockIdx.x / a.tiles, unit = blockIdx.x % a.tiles * 32 + threadIdx.x;
    int exists = unit < (unsigned)a.units;
    const float *state = a.state + image * (unsigned)a.state_pitch;
    UNROLL for (int gate = 0; gate < 4; gate++) {
        float sum = 0.0f;
        if (exists && gate < a.gates && a.state) {
            const float *weights = a.weights + (unsigned)(a.first + gate) * a.units + unit;
            for (unsigned column = threadIdx.y; column < (unsigned)a.units; column += 8)
                sum += weights[column * (unsigned)a.rows] * state[column];
        }
        shared[(gate * 8 + threadIdx.y) * 32 + threadIdx.x] = sum;
    }
    __syncthreads();
    if (!exists || threadIdx.y) return;
    float sums[4], x[4];
    UNROLL for (int gate = 0; gate < 4; gate++) {
        sums[gate] = 0.0f;
        x[gate] = gate < a.gates ? a.x[image * (unsigned)a.x_pitch + (unsigned)(a.first + gate) * a.units + unit] : 0.0f;
        for (int slice = 0; slice < 8; slice++) sums[gate] += shared[(gate * 8 + slice) * 32 + threadIdx.x];
    }
    unsigned own = image * (unsigned)a.units + unit;
    float before = a.before ? a.before[image * (unsigned)a.before_pitch + unit] : 0.0f, h, y;
    if (a.cell == 0) {
        float c = a.cells_before ? a.cells_before[image * (unsigned)a.before_pitch + unit] : 0.0f;
        c = of_gate(x[2] + sums[2]) * c + of_gate(x[0] + sums[0]) * tanhf(x[3] + sums[3]);
        h = of_gate(x[1] + sums[1]) * tanhf(c);
        a.cells[own] = c;
        y = a.yields_cells ? c : h;
    } else if (a.cell == 3) {
        a.update[own] = of_gate(x[0] + sums[0]);
        a.next[own] = of_gate(x[1] + sums[1]) * before;
        return;
    } else {
        h = a.cell == 5 ? activate(RELU, 0.0f, 0.0f, x[0] + sums[0]) : tanhf(x[0] + sums[0]);
        if (a.cell == 1) h = tanhf(x[2] + of_gate(x[1] + sums[1]) * (sums[2] + a.bias[unit]));
        if (a.cell <= 2) {
            float update = a.cell == 1 ? of_gate(x[0] + sums[0]) : a.update[own];
            h = (1.0f - update) * h + update * before;
        }
        y = h;
    }
    a.next[own] = h;
    a.out[image * (unsigned)a.out_pitch + unit] = y;
}
"#,
};

impl Task for RecurrentTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        let [sums, states, weights, bias] = self.lens();
        let blocks = self.batch.saturating_mul(self.units().div_ceil(UNITS) + self.ways.len());
        for (what, size) in [("sums", sums), ("states", states), ("recurrent weights", weights), ("sequences", blocks)] {
            fits(what, size)?;
        }
        fits("output", self.steps.saturating_mul(states))?;
        let packed = preparing.parameters[0];
        expect_len("weights", packed, weights);
        let (mut rest, mut columns) = (packed, Vec::with_capacity(weights));
        for way in &self.ways {
            let mut matrices = Vec::new();
            for gates in self.cell.matrices() {
                let (own, behind) = rest.split_at(gates * way.units * way.units);
                matrices.push(Panels::new(own, gates * way.units, way.units));
                rest = behind;
            }
            for column in 0..way.units {
                for matrix in &matrices {
                    columns.extend((0..matrix.rows()).map(|row| matrix.elements()[matrix.index(row, column)]));
                }
            }
        }
        let reset_bias = if bias > 0 { Some(preparing.upload_parameter(1)?) } else { None };
        reset_bias.iter().for_each(|b| b.view().expect_len("bias of what is reset", bias));
        let weights = upload(preparing.device, preparing.stream, &columns)?;
        Ok(Box::new(PreparedRecurrent { task: self.clone(), weights, reset_bias }))
    }
}

/// A recurrent layer with its weights on the device.
#[derive(Debug)]
struct PreparedRecurrent {
    task: RecurrentTask,
    /// For each way `[units][gates][units]`, the columns first.
    weights: Buffer,
    reset_bias: Option<Buffer>,
}

impl PreparedRecurrent {
    /// Elements of one state of one way.
    fn state_len(&self) -> usize {
        self.task.batch * self.task.ways.iter().map(|way| way.units).max().unwrap_or(0)
    }
}

impl Kernel for PreparedRecurrent {
    /// Two states that take turns, that of cells, what is reset, and how much is updated.
    fn scratch_len(&self) -> usize {
        5 * self.state_len()
    }

    fn start(&self, stream: &mut dyn Stream, Call { reads, out, scratch }: Call<'_>) -> Result<()> {
        let RecurrentTask { cell, steps, batch, ref ways, yields_cells } = self.task;
        let [sums_len, state_len, ..] = self.task.lens();
        reads[0].expect_len("sums of inputs", sums_len);
        reads[1..].iter().for_each(|state| state.expect_len("states", state_len));
        out.expect_len("output", steps * state_len);
        let (gates, all, len) = (cell.gates(), self.task.units(), self.state_len());
        let [even, odd, cells, reset, update] = [0, 1, 2, 3, 4].map(|i| scratch.part(i * len..(i + 1) * len));
        let mut before_weights = 0;
        for (w, way) in ways.iter().enumerate().filter(|(_, way)| way.units > 0 && batch > 0) {
            let (units, first, tiles) = (way.units, first_unit(ways, w), way.units.div_ceil(UNITS));
            let weights = self.weights.view().part(before_weights..before_weights + gates * units * units);
            before_weights += weights.len();
            let behind = |view: View<'_>, at: usize| view.part(at..view.len()).address();
            let given = |i: usize| reads.get(i).map_or(0, |state| behind(*state, first));
            for i in 0..steps {
                let step = step_of(*way, steps, i);
                let (from, to) = if i % 2 == 0 { (odd, even) } else { (even, odd) };
                let [before, cells_before] = if i == 0 { [given(1), given(2)] } else { [from, cells].map(View::address) };
                let before_pitch = int(if i == 0 { all } else { units });
                let arguments = RecurrentArguments {
                    x: behind(reads[0], (step * batch * all + first) * gates),
                    weights: weights.address(),
                    bias: address_or_null(self.reset_bias.as_ref().map(|bias| bias.view().part(first..first + units))),
                    state: before,
                    before,
                    cells_before,
                    next: to.address(),
                    cells: cells.address(),
                    update: update.address(),
                    out: behind(out, step * batch * all + first),
                    cell: code(cell),
                    units: int(units),
                    rows: int(gates * units),
                    first: 0,
                    gates: int(gates),
                    tiles: int(tiles),
                    x_pitch: int(gates * all),
                    state_pitch: before_pitch,
                    before_pitch,
                    out_pitch: int(all),
                    yields_cells: i32::from(yields_cells),
                };
                let mut start = |arguments: RecurrentArguments| {
                    // SAFETY: reads and output have so many steps, sequences and units, as was checked, weights and biases those of
                    // this way, and each part of the scratch memory has a way's units of all sequences.
                    unsafe { launch(stream, "recurrent", [tiles * batch, 1], [UNITS as u32, SLICES], &arguments) }
                };
                if cell == Cell::GruOfStates {
                    let (state, state_pitch) = (reset.address(), int(units));
                    start(RecurrentArguments { cell: 3, gates: 2, next: state, ..arguments })?;
                    start(RecurrentArguments { first: 2, gates: 1, state, state_pitch, ..arguments })?;
                } else {
                    start(arguments)?;
                }
            }
        }
        Ok(())
    }
}

/// The cell as the kernel knows it.
fn code(cell: Cell) -> i32 {
    match cell {
        Cell::Lstm => 0,
        Cell::GruOfProducts => 1,
        Cell::GruOfStates => 2,
        Cell::Tanh => 4,
        Cell::Relu => 5,
    }
}
