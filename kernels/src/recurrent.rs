//! Recurrent layers: LSTM, GRU and RNN, once the products of their inputs with weights are there, which a fully connected layer computes
//! for all positions together. What is left is one product of a state with weights behind the other, each with what the gates make of
//! it.
//!
//! Threads take directions, and sequences of a batch. The products are those of fully connected layers, on register tiles whose lanes are
//! rows: of one sequence, they read all weights for each position, from L2 or beyond.
//!
//! Measured on one thread of a Zen 5 core with AVX-512, whole layers of 512 features and two directions of 256 units over 26 positions,
//! in milliseconds:
//!
//! | layer | sequences | this | of which this file | onnxruntime 1.32 |
//! |---|---|---|---|---|
//! | LSTM | 1 | 0.73 | 0.50 | 0.70 |
//! | LSTM | 8 | 2.86 | 1.02 | 3.07 |
//! | GRU | 1 | 0.53 | 0.36 | 0.54 |
//! | GRU | 8 | 2.04 | 0.75 | 2.32 |

use crate::cpu::{self, Call, Kernel};
use crate::filter_tile::{FilterItem, Product};
use crate::parallel::{Part, Partition};
use crate::simd::Isa;
use crate::{Task, expect_len};
use get_size2::GetSize;
use sslm_basics::math::{sigmoid, tanh};
use sslm_basics::panels::Panels;
use std::ops::Range;

/// What a unit computes, of its sums and its state before.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Gates: input, output, forget, cell.
    Lstm,
    /// Gates: update, reset, candidate. Of the candidate, the products with the state are reset.
    GruOfProducts,
    /// As before, but the state itself is reset before it is multiplied for the candidate.
    GruOfStates,
    /// The hyperbolic tangent of the sum.
    Tanh,
    /// The sum, if that is positive.
    Relu,
}

impl Cell {
    /// Rows of weights of a unit.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::GruOfProducts | Cell::GruOfStates => 3,
            Cell::Tanh | Cell::Relu => 1,
        }
    }

    /// How many of these rows each matrix has, one matrix after the other.
    pub fn matrices(self) -> &'static [usize] {
        match self {
            Cell::Lstm => &[4],
            Cell::GruOfProducts => &[3],
            Cell::GruOfStates => &[2, 1],
            Cell::Tanh | Cell::Relu => &[1],
        }
    }
}

/// One way along a sequence.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Units that go it.
    pub units: usize,
    /// Whether it begins with the last position.
    pub backward: bool,
}

/// What a recurrent layer computes. It reads the sums of the inputs and biases, `[steps][batch]`, then for each way `[gates][units]`, and
/// perhaps the states before the first position, `[batch]`, then for each way `[units]`: those of the units, then those of an LSTM's cells.
/// Its result is `[steps][batch]`, then for each way `[units]`.
///
/// Its parameters are, for each way, one or two matrices `[gates][units]` by `[units]` in [panels](sslm_basics::panels), and, of
/// [`Cell::GruOfProducts`], a bias for each unit that is added to the candidate's products before they are reset.
#[derive(GetSize, Clone, Debug, PartialEq)]
pub struct RecurrentTask {
    /// What units compute.
    pub cell: Cell,
    /// Positions of a sequence.
    pub steps: usize,
    /// Sequences.
    pub batch: usize,
    /// Ways along the sequence.
    pub ways: Vec<Way>,
    /// Whether the states of an LSTM's cells are wanted instead of those of its units.
    pub yields_cells: bool,
}

impl RecurrentTask {
    /// Units of all ways.
    pub fn units(&self) -> usize {
        self.ways.iter().map(|way| way.units).sum()
    }

    /// Recurrent weights.
    pub fn weights(&self) -> usize {
        self.ways.iter().map(|way| self.cell.gates() * way.units * way.units).sum()
    }

    /// Multiply-accumulates of the recurrent products.
    pub fn macs(&self) -> usize {
        self.steps * self.batch * self.weights()
    }

    /// Elements of the sums of the inputs, of each state, and of each parameter.
    pub(crate) fn lens(&self) -> [usize; 4] {
        let (units, images) = (self.units(), self.steps * self.batch);
        let reset_bias = if self.cell == Cell::GruOfProducts { units } else { 0 };
        [images * self.cell.gates() * units, self.batch * units, self.weights(), reset_bias]
    }
}

impl Task for RecurrentTask {
    fn kind(&self) -> &'static str {
        "recurrence"
    }
}

impl cpu::Task for RecurrentTask {
    fn most_table_bytes(&self, target: &cpu::Target) -> usize {
        let ways = self.ways.len();
        cpu::KERNEL + 256 * (self.units() + ways * (self.batch + (self.steps + 8) * target.threads))
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        Box::new(PreparedRecurrent::new(*self, target.isa, target.threads))
    }
}

/// A recurrent layer with everything decided that shapes decide.
#[derive(GetSize, Debug)]
pub struct PreparedRecurrent {
    task: RecurrentTask,
    isa: Isa,
    /// In order of the partition's parts.
    items: Vec<Item>,
    /// The products of each way.
    products: Vec<Vec<Product>>,
    partition: Partition,
}

/// Some steps of some sequences on one way. Those of the same sequences come one after the other.
#[derive(GetSize, Clone, Debug)]
struct Item {
    way: usize,
    /// Part `piece` of so many of the tiles of each product, whose positions are the sequences.
    piece: [usize; 2],
    images: Range<usize>,
    /// Counted as the way meets them.
    steps: Range<usize>,
}

impl Item {
    /// Those of a product.
    fn tiles(&self, product: &Product) -> Range<usize> {
        let [piece, pieces] = self.piece;
        piece * product.tiles() / pieces..(piece + 1) * product.tiles() / pieces
    }
}

impl PreparedRecurrent {
    /// For `threads` threads at most.
    pub fn new(task: RecurrentTask, isa: Isa, threads: usize) -> Self {
        let RecurrentTask { cell, steps, batch, ref ways, .. } = task;
        let product = |units: usize, gates: &usize| {
            Product::new(isa, gates * units, (0..units).collect(), (0..batch).map(|image| image * units).collect())
        };
        let of_way = |way: &Way| cell.matrices().iter().map(|gates| product(way.units, gates)).collect();
        let products: Vec<Vec<Product>> = ways.iter().map(of_way).collect();
        let going: Vec<usize> = (0..ways.len()).filter(|&way| ways[way].units > 0).collect();
        let (mut items, mut shares) = (Vec::new(), Vec::new());
        for &way in going.iter().filter(|_| steps * batch > 0) {
            let first = first_unit(ways, way);
            // Products of different sizes have their sequences in different tiles.
            let most = if let [product] = &products[way][..] { product.tiles() } else { 1 };
            let pieces = threads.div_ceil(going.len()).clamp(1, most);
            for piece in 0..pieces {
                let mut item = Item { way, piece: [piece, pieces], images: 0..batch, steps: 0..steps };
                item.images = products[way][0].positions(&item.tiles(&products[way][0]));
                // All sequences of all steps lie side by side, some of them are those of one step.
                let together = if pieces == 1 { steps } else { 1 };
                let of_share = (0..steps).step_by(together).map(|i| Item { steps: i..i + together, ..item.clone() });
                let of_share: Vec<Item> = of_share.collect();
                let part = |item: &Item| {
                    let ends = [item.steps.start, item.steps.end - 1].map(|i| step_of(ways[way], steps, i));
                    let (from, to) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
                    let planes = from * batch + item.images.start..to * batch + item.images.end;
                    Part { planes, positions: first..first + ways[way].units }
                };
                shares.push(of_share.iter().map(part).collect());
                items.extend(of_share);
            }
        }
        let partition = Partition::new(steps * batch, task.units(), shares);
        PreparedRecurrent { task, isa, items, products, partition }
    }

    /// Elements of the states of units and of cells, of what is reset, of sums, and of what the products need.
    fn scratch_lens(&self) -> [usize; 5] {
        let RecurrentTask { cell, batch, ref ways, .. } = self.task;
        let states = batch * ways.iter().map(|way| way.units).max().unwrap_or(0);
        let cells = if cell == Cell::Lstm { states } else { 0 };
        let reset = if cell == Cell::GruOfStates { states } else { 0 };
        let product = self.products.iter().flatten().map(Product::scratch_len).max().unwrap_or(0);
        [states, cells, reset, cell.gates() * states, product]
    }

    /// The recurrent products of an item, for each sequence `[gates][units]`. `row` yields what the inputs add to them.
    fn multiply<'x>(&self, item: &Item, weights: &[f32], memory: &mut Memory<'_>, row: impl Fn(usize) -> &'x [f32]) {
        let units = self.task.ways[item.way].units;
        let pitch = self.task.cell.gates() * units;
        let Memory { state, reset, sums, scratch, .. } = memory;
        let (mut weights, mut first) = (weights, 0);
        for (product, gates) in self.products[item.way].iter().zip(self.task.cell.matrices()) {
            let rows = gates * units;
            let (own, behind) = weights.split_at(rows * units);
            if first > 0 {
                for image in item.images.clone() {
                    let (x, sums) = (&row(image)[units..2 * units], &sums[image * pitch + units..][..units]);
                    let own = image * units..(image + 1) * units;
                    self.isa.vectorize(
                        #[inline(always)]
                        || reset_state(x, sums, &state[own.clone()], &mut reset[own]),
                    );
                }
            }
            let filters = FilterItem { rows: 0..rows, tiles: item.tiles(product) };
            let from = if first > 0 { &**reset } else { &**state };
            product.run(Panels::new(own, rows, units).into(), &filters, from, scratch, |of| {
                for (image, elements) in of.positions.zip(of.elements.chunks_exact(of.width)) {
                    let to = image * pitch + first + of.rows.start;
                    sums[to..to + of.rows.len()].copy_from_slice(&elements[..of.rows.len()]);
                }
            });
            (weights, first) = (behind, first + rows);
        }
    }
}

impl Kernel for PreparedRecurrent {
    fn scratch_len(&self) -> usize {
        self.partition.shares() * self.scratch_lens().iter().sum::<usize>()
    }

    fn compute(&self, Call { reads, parameters, out, scratch, exec, .. }: Call<'_>) {
        let RecurrentTask { cell, steps, batch, ref ways, yields_cells } = self.task;
        let [sums_len, state_len, weights_len, bias_len] = self.task.lens();
        let (x, weights) = (reads.get(0), parameters.get(0));
        expect_len("sums of inputs", x, sums_len);
        expect_len("weights", weights, weights_len);
        let reset_bias = if bias_len > 0 { parameters.get(1) } else { &[] };
        expect_len("bias of what is reset", reset_bias, bias_len);
        let states: [Option<&[f32]>; 2] = [1, 2].map(|i| (i < reads.len()).then(|| reads.get(i)));
        states.iter().flatten().for_each(|state| expect_len("states", state, state_len));
        let (lens, pitch, gates) = (self.scratch_lens(), self.task.units(), cell.gates());
        self.partition.for_each(out, scratch, lens.iter().sum(), exec.threading, |i, mut window, scratch| {
            let item = &self.items[i];
            let (way, first) = (ways[item.way], first_unit(ways, item.way));
            let before: usize = ways[..item.way].iter().map(|way| gates * way.units * way.units).sum();
            let weights = &weights[before..][..gates * way.units * way.units];
            let reset_bias = reset_bias.get(first..first + way.units).unwrap_or_default();
            let mut memory = Memory::of(scratch, lens);
            if item.steps.start == 0 {
                memory.begin(&item.images, states, [first, way.units, pitch]);
            }
            for step in item.steps.clone().map(|i| step_of(way, steps, i)) {
                let row = |image: usize| &x[((step * batch + image) * pitch + first) * gates..][..way.units * gates];
                self.multiply(item, weights, &mut memory, row);
                for image in item.images.clone() {
                    let unit = memory.unit(image, way.units, gates, row(image), reset_bias);
                    let out = window.part(step * batch + image, first..first + way.units);
                    self.isa.vectorize(
                        #[inline(always)]
                        || unit.finish(cell, yields_cells, out),
                    );
                }
            }
        });
    }
}

/// Where the units of a way begin among those of all.
pub(crate) fn first_unit(ways: &[Way], way: usize) -> usize {
    ways[..way].iter().map(|way| way.units).sum()
}

/// The position that a way comes to as its `i`-th.
pub(crate) fn step_of(way: Way, steps: usize, i: usize) -> usize {
    if way.backward { steps - 1 - i } else { i }
}

/// What items of the same sequences remember from one step to the next, and what it works in: for each sequence the elements of one way.
struct Memory<'a> {
    state: &'a mut [f32],
    cells: &'a mut [f32],
    reset: &'a mut [f32],
    sums: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl<'a> Memory<'a> {
    fn of(scratch: &'a mut [f32], [state, cells, reset, sums, _]: [usize; 5]) -> Self {
        let (state, rest) = scratch.split_at_mut(state);
        let (cells, rest) = rest.split_at_mut(cells);
        let (reset, rest) = rest.split_at_mut(reset);
        let (sums, scratch) = rest.split_at_mut(sums);
        Memory { state, cells, reset, sums, scratch }
    }

    /// The states of some sequences before the first step: those that are given, of which `units` from `first` on are of their way, or 0.
    fn begin(&mut self, images: &Range<usize>, given: [Option<&[f32]>; 2], [first, units, pitch]: [usize; 3]) {
        for (to, given) in [&mut *self.state, &mut *self.cells].into_iter().zip(given) {
            for (image, to) in to.chunks_exact_mut(units).enumerate() {
                match given.filter(|_| images.contains(&image)) {
                    Some(given) => to.copy_from_slice(&given[image * pitch + first..][..units]),
                    None => to.fill(0.0),
                }
            }
        }
        // What the product reads of other sequences counts for nothing, but is there.
        self.reset.fill(0.0);
    }

    /// The units of a sequence, of whose cells there are none but those of an LSTM.
    fn unit<'m>(&'m mut self, image: usize, units: usize, gates: usize, x: &'m [f32], reset_bias: &'m [f32]) -> Unit<'m> {
        let own = image * units..(image + 1) * units;
        Unit {
            x,
            sums: &mut self.sums[own.start * gates..own.end * gates],
            reset_bias,
            state: &mut self.state[own.clone()],
            cells: self.cells.get_mut(own).unwrap_or_default(),
        }
    }
}

/// The units of one sequence at one step.
struct Unit<'a> {
    /// What the inputs add to the sums, `[gates][units]`.
    x: &'a [f32],
    /// The products with the state before.
    sums: &'a mut [f32],
    reset_bias: &'a [f32],
    state: &'a mut [f32],
    cells: &'a mut [f32],
}

impl Unit<'_> {
    /// Makes the new state of the sums, in loops that are simple enough to become vectors.
    #[inline(always)]
    fn finish(self, cell: Cell, yields_cells: bool, out: &mut [f32]) {
        let Unit { x, sums, reset_bias, state, cells } = self;
        let units = state.len();
        match cell {
            Cell::Lstm => {
                let (sigmoids, tangents) = sums.split_at_mut(3 * units);
                activate(sigmoids, &x[..3 * units], sigmoid);
                activate(tangents, &x[3 * units..], tanh);
                let (input, rest) = sigmoids.split_at(units);
                let (output, forget) = rest.split_at(units);
                for ((c, f), (i, g)) in cells.iter_mut().zip(forget).zip(input.iter().zip(&*tangents)) {
                    *c = f * *c + i * g;
                }
                for ((h, o), c) in state.iter_mut().zip(output).zip(&*cells) {
                    *h = o * tanh(*c);
                }
            }
            Cell::GruOfProducts => {
                let (gates, products) = sums.split_at_mut(2 * units);
                activate(gates, &x[..2 * units], sigmoid);
                let (update, reset) = gates.split_at(units);
                for (((sum, x), bias), r) in products.iter_mut().zip(&x[2 * units..]).zip(reset_bias).zip(reset) {
                    *sum = tanh(x + r * (*sum + bias));
                }
                mix(state, update, products);
            }
            Cell::GruOfStates => {
                let (gates, candidates) = sums.split_at_mut(2 * units);
                activate(&mut gates[..units], &x[..units], sigmoid);
                activate(candidates, &x[2 * units..], tanh);
                mix(state, &gates[..units], candidates);
            }
            Cell::Tanh => {
                activate(sums, x, tanh);
                state.copy_from_slice(sums);
            }
            Cell::Relu => {
                activate(sums, x, |x| if x < 0.0 { 0.0 } else { x });
                state.copy_from_slice(sums);
            }
        }
        out.copy_from_slice(if yields_cells { cells } else { state });
    }
}

/// A function of both sums.
#[inline(always)]
fn activate(sums: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum = f(*sum + x);
    }
}

/// As much of the state as the update gate says, and the rest of the candidate.
#[inline(always)]
fn mix(state: &mut [f32], update: &[f32], candidates: &[f32]) {
    for ((h, z), candidate) in state.iter_mut().zip(update).zip(candidates) {
        *h = (1.0 - z) * candidate + z * *h;
    }
}

/// The state times the reset gate.
#[inline(always)]
fn reset_state(x: &[f32], sums: &[f32], state: &[f32], reset: &mut [f32]) {
    for ((reset, state), (x, sum)) in reset.iter_mut().zip(state).zip(x.iter().zip(sums)) {
        *reset = sigmoid(x + sum) * state;
    }
}
