//! Recurrent layers against their definition, step by step and unit by unit in `f64`: all cells, around the sizes of panels, vectors
//! and tiles, on one way and on two of different sizes.

use crate::common::{
    Expected, Guarded, check_all, compare, element, every, panels, refuses, run, same_bits, sample, task_on_devices,
};
use fastrand::Rng;
use sslm_devices::isas;
use sslm_kernels::cpu::{Call, Kernel, Slices};
use sslm_kernels::recurrent::{Cell, PreparedRecurrent, RecurrentTask, Way};
use sslm_kernels::{Exec, Isa, Threading};

const CELLS: [Cell; 5] = [Cell::Lstm, Cell::GruOfProducts, Cell::GruOfStates, Cell::Tanh, Cell::Relu];

#[derive(Clone, Debug)]
struct Case {
    task: RecurrentTask,
    /// How many states are given.
    states: usize,
}

/// What a layer reads.
struct Operands {
    reads: Vec<Guarded>,
    /// For each way, gate and unit a weight of each unit.
    rows: Vec<Vec<Vec<Vec<f32>>>>,
    weights: Guarded,
    reset_bias: Guarded,
}

impl Operands {
    fn of(Case { task, states }: &Case) -> Self {
        let rng = &mut Rng::with_seed(8);
        let (cell, units) = (task.cell, task.units());
        let mut some = |len: usize, scale: f32| (0..len).map(|_| element(rng) * scale).collect::<Vec<f32>>();
        let sums = some(task.steps * task.batch * units * cell.gates(), 1.0);
        let given: Vec<Vec<f32>> = (0..*states).map(|_| some(task.batch * units, 1.0)).collect();
        let rows: Vec<Vec<Vec<Vec<f32>>>> = task
            .ways
            .iter()
            .map(|way| {
                let scale = 1.0 / (way.units.max(1) as f32).sqrt();
                (0..cell.gates()).map(|_| (0..way.units).map(|_| some(way.units, scale)).collect()).collect()
            })
            .collect();
        let reset_bias = if cell == Cell::GruOfProducts { some(units, 1.0) } else { Vec::new() };
        let mut weights = Vec::new();
        for gates in &rows {
            let mut first = 0;
            for count in cell.matrices() {
                weights.extend(panels(&gates[first..first + count].concat()));
                first += count;
            }
        }
        let guarded = |elements: Vec<f32>| elements.into_iter().collect::<Guarded>();
        let reads = std::iter::once(sums).chain(given).map(guarded).collect();
        Operands { reads, rows, weights: guarded(weights), reset_bias: guarded(reset_bias) }
    }

    fn parameters(&self) -> Vec<&[f32]> {
        let bias: Option<&[f32]> = (!self.reset_bias.is_empty()).then_some(&self.reset_bias);
        std::iter::once(&*self.weights).chain(bias).collect()
    }

    /// What the definition yields.
    fn expected(&self, task: &RecurrentTask) -> Vec<Expected> {
        let RecurrentTask { cell, steps, batch, ways, yields_cells } = task;
        let (all, gates) = (task.units(), cell.gates());
        let mut expected = vec![Expected::exactly(f32::NAN); steps * batch * all];
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut first = 0;
        for (way, rows) in ways.iter().zip(&self.rows) {
            for image in 0..*batch {
                let given = |i: usize| -> Vec<f64> {
                    let of = |unit: usize| self.reads.get(i).map_or(0.0, |x| f64::from(x[image * all + first + unit]));
                    (0..way.units).map(of).collect()
                };
                let (mut state, mut cells) = (given(1), given(2));
                for i in 0..*steps {
                    let step = if way.backward { steps - 1 - i } else { i };
                    let x = |gate: usize, unit: usize| {
                        let place = (step * batch + image) * all * gates + first * gates + gate * way.units + unit;
                        f64::from(self.reads[0][place])
                    };
                    let product = |gate: usize, unit: usize, state: &[f64]| -> f64 {
                        rows[gate][unit].iter().zip(state).map(|(w, h)| f64::from(*w) * h).sum()
                    };
                    let sum = |gate: usize, unit: usize| x(gate, unit) + product(gate, unit, &state);
                    let reset: Vec<f64> = match cell {
                        Cell::GruOfStates => (0..way.units).map(|unit| sigmoid(sum(1, unit)) * state[unit]).collect(),
                        _ => Vec::new(),
                    };
                    let mut next = Vec::new();
                    for unit in 0..way.units {
                        let mixed = |candidate: f64| {
                            let update = sigmoid(sum(0, unit));
                            (1.0 - update) * candidate + update * state[unit]
                        };
                        next.push(match cell {
                            Cell::Lstm => {
                                let forgotten = sigmoid(sum(2, unit)) * cells[unit];
                                cells[unit] = forgotten + sigmoid(sum(0, unit)) * sum(3, unit).tanh();
                                sigmoid(sum(1, unit)) * cells[unit].tanh()
                            }
                            Cell::GruOfProducts => {
                                let inner = product(2, unit, &state) + f64::from(self.reset_bias[first + unit]);
                                mixed((x(2, unit) + sigmoid(sum(1, unit)) * inner).tanh())
                            }
                            Cell::GruOfStates => mixed((x(2, unit) + product(2, unit, &reset)).tanh()),
                            Cell::Tanh => sum(0, unit).tanh(),
                            Cell::Relu => sum(0, unit).max(0.0),
                        });
                    }
                    state = next;
                    let out = &mut expected[(step * batch + image) * all + first..][..way.units];
                    // Errors of earlier steps go on; those of a Relu, whose states have no bound, with the states.
                    for (unit, out) in out.iter_mut().enumerate() {
                        let value = if *yields_cells { cells[unit] } else { state[unit] };
                        *out = Expected::near(value, (i + 1) as f64 * (2.0 + value.abs()));
                    }
                }
            }
            first += way.units;
        }
        expected
    }
}

fn check(case: &Case) -> Result<(), String> {
    let (operands, task) = (Operands::of(case), &case.task);
    let expected = operands.expected(task);
    let (reads, parameters): (Vec<&[f32]>, Vec<&[f32]>) = (operands.reads.iter().map(|x| &**x).collect(), operands.parameters());
    for isa in isas() {
        let mut first: Option<Guarded> = None;
        for threads in [1, 2, 5] {
            let kernel = PreparedRecurrent::new(task.clone(), isa, threads);
            let out = run(expected.len(), |out, threading| {
                let mut scratch = Guarded::poisoned(kernel.scratch_len());
                let (reads, parameters) = (Slices::Listed(&reads), Slices::Listed(&parameters));
                let exec = Exec { isa, threading };
                kernel.compute(Call { reads, parameters, kept: &[], out, scratch: &mut scratch, exec });
            })?;
            compare(&out, &expected).map_err(|e| format!("{isa}, {threads} threads: {e}"))?;
            let first = first.get_or_insert_with(|| out.iter().copied().collect());
            same_bits(first, &out).map_err(|e| format!("{isa}, planned for {threads} threads: {e}"))?;
        }
    }
    task_on_devices(&expected, 2.0, task, &reads, &parameters)
}

fn one_way(units: usize, backward: bool) -> Vec<Way> {
    vec![Way { units, backward }]
}

/// Every rest of a panel and a vector.
#[test]
fn any_count_of_units() {
    let cases = every(|c| {
        let (cell, units) = (c.of(&CELLS), c.of(&[1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 48, 65]));
        let batch = c.of(&[1, 3]);
        let task = RecurrentTask { cell, steps: 3, batch, ways: one_way(units, false), yields_cells: false };
        Case { task, states: 0 }
    });
    check_all(&cases, check);
}

/// Two ways of any sizes, one of which may be empty, more sequences than a tile has, and given states.
#[test]
fn mixtures() {
    let cases = sample(200, |c| {
        let units: Vec<usize> = (0..c.of(&[1, 2])).map(|_| c.of(&[0, 1, 5, 8, 20, 40])).collect();
        let ways = units.into_iter().map(|units| Way { units, backward: c.of(&[false, true]) }).collect();
        let cell = c.of(&CELLS);
        let (steps, batch) = (c.of(&[0, 1, 2, 9]), c.of(&[0, 1, 2, 4, 8, 9, 19]));
        let yields_cells = cell == Cell::Lstm && c.of(&[false, true]);
        let states = c.of(&[0, 1, if cell == Cell::Lstm { 2 } else { 1 }]);
        Case { task: RecurrentTask { cell, steps, batch, ways, yields_cells }, states }
    });
    check_all(&cases, check);
}

#[test]
fn refuses_wrong_lengths() {
    let ways = vec![Way { units: 3, backward: false }, Way { units: 2, backward: true }];
    let task = RecurrentTask { cell: Cell::GruOfProducts, steps: 2, batch: 2, ways, yields_cells: false };
    let kernel = PreparedRecurrent::new(task, Isa::best(), 1);
    let lens = [60, 10, 3 * 13, 5, 20];
    let compute = |lens: [usize; 5]| {
        let [x, state, weights, bias, mut out] = lens.map(|len| vec![0.5; len]);
        let (reads, parameters) = ([&*x, &*state], [&*weights, &*bias]);
        let mut scratch = vec![0.0; kernel.scratch_len()];
        let exec = Exec { isa: Isa::best(), threading: Threading::Single };
        let (reads, parameters) = (Slices::Listed(&reads), Slices::Listed(&parameters));
        kernel.compute(Call { reads, parameters, kept: &[], out: &mut out, scratch: &mut scratch, exec });
    };
    compute(lens);
    let cases = every(|c| (c.of(&[0, 1, 2, 3, 4]), c.of(&[-1isize, 1])));
    check_all(&cases, |&(which, change)| {
        let mut lens = lens;
        lens[which] = lens[which].wrapping_add_signed(change);
        refuses(|| compute(lens))
    });
}
