//! Functions that work element by element. The table in `sslm_basics::functions` lists them.

pub use crate::broadcast::Broadcast;
use crate::cpu::{self, Call, Kernel};
use crate::layout::{Extents, Forms, Layout, Layouts};
use crate::simd::Isa;
use crate::{Binary, Exec, Task, Unary, activation, count_pieces, expect_len};
use get_size2::GetSize;
use sslm_basics::functions::BinaryVisitor;

/// Elements that are handled at a time where nothing else divides them.
const CHUNK: usize = 1 << 12;

/// Elements of a run that a choice is made for at a time.
const PART: usize = 256;

/// A function of each element.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct MapTask {
    /// The function.
    #[get_size(ignore)]
    pub function: Unary,
}

impl Task for MapTask {
    fn kind(&self) -> &'static str {
        "elementwise"
    }
}

impl Kernel for MapTask {
    fn compute(&self, call: Call<'_>) {
        map(call.reads.get(0), call.out, self.function, call.exec);
    }

    fn is_elementwise(&self) -> bool {
        true
    }
}

/// `function` of each element.
///
/// # Panics
/// If the slices differ in length.
pub fn map(x: &[f32], out: &mut [f32], function: Unary, exec: Exec) {
    expect_len("input", x, out.len());
    exec.threading.for_each_piece(out, CHUNK, |first, out| {
        activation::of_each(exec.isa, function, &x[first..][..out.len()], out);
    });
}

/// A function of the elements of two tensors, followed by a Relu or not.
#[derive(GetSize, Clone, Debug)]
pub struct BinaryTask {
    /// The function.
    #[get_size(ignore)]
    pub function: Binary,
    /// Which elements meet.
    pub broadcast: Broadcast<2>,
    /// Whether a Relu follows.
    pub relu: bool,
}

impl BinaryTask {
    /// The function of a and b, element by element.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for; where elements at the same places meet, whatever their count, if the
    /// slices' lengths differ.
    pub fn run(&self, [a, b]: [&[f32]; 2], out: &mut [f32], exec: Exec) {
        self.broadcast.expect_lens([a, b], out);
        self.function.dispatch(Pairs { broadcast: &self.broadcast, a, b, out, least: least(self.relu), exec });
    }
}

impl Task for BinaryTask {
    fn kind(&self) -> &'static str {
        "broadcast"
    }
}

impl Kernel for BinaryTask {
    fn compute(&self, call: Call<'_>) {
        self.run([0, 1].map(|i| call.reads.get(i)), call.out, call.exec);
    }

    fn is_elementwise(&self) -> bool {
        self.broadcast.is_elementwise()
    }
}

/// A function of the elements of a tensor and of one element for each of its channels, `[images][channels]`, followed by a Relu or not.
#[derive(GetSize, Clone, Debug)]
pub struct GateTask {
    /// The function.
    #[get_size(ignore)]
    pub function: Binary,
    /// Sizes of the tensor.
    pub extents: Extents,
    /// Whether a Relu follows.
    pub relu: bool,
}

impl GateTask {
    /// The same with all in planes.
    pub(crate) fn in_planes(&self) -> BinaryTask {
        let &GateTask { function, extents: Extents { images, channels, plane }, relu } = self;
        BinaryTask { function, broadcast: Broadcast::new([&[images, channels, plane], &[images, channels, 1]]), relu }
    }
}

impl Task for GateTask {
    fn kind(&self) -> &'static str {
        "gate"
    }
}

impl cpu::Task for GateTask {
    fn forms(&self, target: &cpu::Target) -> Forms {
        let (extents, gates) = (self.extents, Extents { plane: 1, ..self.extents });
        let cost = (extents.len(Layout::Blocks, target.isa) / target.isa.lanes()) as f64;
        let costs = vec![(Layouts::PLANES, cost), (Layouts::BLOCKS, cost)];
        Forms::Some { reads: vec![extents, gates], writes: extents, costs }
    }

    fn most_table_bytes(&self, _: &cpu::Target) -> usize {
        cpu::KERNEL
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        match target.layouts.reads {
            Layout::Planes => Box::new(self.in_planes()),
            Layout::Blocks => Box::new(GateOfBlocks { task: *self, isa: target.isa }),
        }
    }
}

/// Elements of a block that gates are written out for: a multiple of all vectors' lanes.
const GATES: usize = 128;

/// A gate where channels lie in blocks.
#[derive(GetSize, Debug)]
struct GateOfBlocks {
    task: GateTask,
    isa: Isa,
}

impl Kernel for GateOfBlocks {
    fn compute(&self, call: Call<'_>) {
        let GateTask { function, extents, relu } = self.task;
        let (x, gates, lanes) = (call.reads.get(0), call.reads.get(1), self.isa.lanes());
        let len = extents.plane * lanes;
        expect_len("input", x, call.out.len());
        expect_len("gates", gates, count_pieces("output", call.out, len) * lanes);
        function.dispatch(Gates { x, gates, out: call.out, len, lanes, least: least(relu), exec: call.exec });
    }
}

/// What a [`GateOfBlocks`] reads and writes, in blocks of `len` elements.
struct Gates<'a> {
    x: &'a [f32],
    gates: &'a [f32],
    out: &'a mut [f32],
    len: usize,
    lanes: usize,
    least: f32,
    exec: Exec<'a>,
}

impl BinaryVisitor for Gates<'_> {
    fn visit(self, f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
        let Gates { x, gates, out, len, lanes, least, exec } = self;
        exec.for_each_chunk(
            out,
            len,
            #[inline(always)]
            |i, out| {
                let (f, least) = (f, least);
                // They recur, so that a loop over them is long enough to be made vectors.
                let mut own = [0.0; GATES];
                for own in own.chunks_exact_mut(lanes) {
                    own.copy_from_slice(&gates[i * lanes..][..lanes]);
                }
                for (out, x) in out.chunks_mut(GATES).zip(x[i * len..][..len].chunks(GATES)) {
                    for ((o, &x), &gate) in out.iter_mut().zip(x).zip(&own) {
                        *o = at_least(least, f(x, gate));
                    }
                }
            },
        );
    }
}

/// What a [`BinaryTask`] reads and writes.
struct Pairs<'a> {
    broadcast: &'a Broadcast<2>,
    a: &'a [f32],
    b: &'a [f32],
    out: &'a mut [f32],
    least: f32,
    exec: Exec<'a>,
}

impl BinaryVisitor for Pairs<'_> {
    fn visit(self, f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
        let Pairs { broadcast, a, b, out, least, exec } = self;
        let [a_moves, b_moves] = broadcast.moves();
        // Where all is one run, any part of it will do.
        let one_run = broadcast.is_elementwise();
        let len = if one_run { CHUNK } else { broadcast.run() };
        exec.for_each_chunk(
            out,
            len,
            #[inline(always)]
            |i, out| {
                // Copies, which no write to `out` can change.
                let (f, least) = (f, least);
                let [at_a, at_b] = match one_run {
                    true => [a_moves, b_moves].map(|moves| if moves { i * len } else { 0 }),
                    false => broadcast.start_of(i),
                };
                let (a, b) = (&a[at_a..], &b[at_b..]);
                match (a_moves, b_moves) {
                    (true, true) => {
                        for (o, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                            *o = at_least(least, f(a, b));
                        }
                    }
                    (true, false) => {
                        let b = b[0];
                        for (o, &a) in out.iter_mut().zip(a) {
                            *o = at_least(least, f(a, b));
                        }
                    }
                    (false, true) => {
                        let a = a[0];
                        for (o, &b) in out.iter_mut().zip(b) {
                            *o = at_least(least, f(a, b));
                        }
                    }
                    (false, false) => out.fill(at_least(least, f(a[0], b[0]))),
                }
            },
        );
    }
}

/// The least result of a function that a Relu follows or not.
fn least(relu: bool) -> f32 {
    if relu { 0.0 } else { f32::NEG_INFINITY }
}

/// The larger one; NaN stays.
#[inline(always)]
fn at_least(least: f32, x: f32) -> f32 {
    if x < least { least } else { x }
}

/// The elements of `[condition, x, y]`: x where the condition is not 0, else y.
#[derive(GetSize, Clone, Debug)]
pub struct WhereTask {
    /// Which elements meet.
    pub broadcast: Broadcast<3>,
}

impl Task for WhereTask {
    fn kind(&self) -> &'static str {
        "where"
    }
}

impl Kernel for WhereTask {
    fn compute(&self, call: Call<'_>) {
        self.run([0, 1, 2].map(|i| call.reads.get(i)), call.out, call.exec);
    }

    fn is_elementwise(&self) -> bool {
        self.broadcast.is_elementwise()
    }
}

impl WhereTask {
    /// `operands` are condition, x and y.
    ///
    /// # Panics
    /// As [`BinaryTask::run`].
    pub fn run(&self, operands: [&[f32]; 3], out: &mut [f32], exec: Exec) {
        self.broadcast.expect_lens(operands, out);
        let (moves, one_run) = (self.broadcast.moves(), self.broadcast.is_elementwise());
        let len = if one_run { CHUNK } else { self.broadcast.run() };
        exec.for_each_chunk(
            out,
            len,
            #[inline(always)]
            |i, out| {
                let starts =
                    if one_run { moves.map(|moves| if moves { i * len } else { 0 }) } else { self.broadcast.start_of(i) };
                for (block, out) in out.chunks_mut(PART).enumerate() {
                    // One loop for all: an element that is repeated is written out.
                    let mut repeated = [[0.0; PART]; 3];
                    let mut parts: [&[f32]; 3] = [&[]; 3];
                    for (operand, (part, repeated)) in parts.iter_mut().zip(&mut repeated).enumerate() {
                        let x = &operands[operand][starts[operand]..];
                        *part = if moves[operand] {
                            &x[block * PART..][..out.len()]
                        } else {
                            repeated[..out.len()].fill(x[0]);
                            &repeated[..out.len()]
                        };
                    }
                    let [condition, x, y] = parts;
                    for ((o, &condition), (&x, &y)) in out.iter_mut().zip(condition).zip(x.iter().zip(y)) {
                        *o = if condition != 0.0 { x } else { y };
                    }
                }
            },
        );
    }
}
