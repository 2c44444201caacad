//! Functions that work element by element. The table in `sslm_basics::functions` lists them.

use crate::cpu::{self, Call, Kernel};
use crate::layout::{Extents, Forms, Layout, Layouts};
use crate::simd::Isa;
use crate::{Binary, Exec, Task, Unary, count_pieces, expect_len};
use sslm_basics::functions::{BinaryVisitor, UnaryVisitor};

/// Elements that are handled at a time where nothing else divides them.
const CHUNK: usize = 1 << 12;

/// A function of each element.
#[derive(Clone, Copy, Debug)]
pub struct MapTask {
    /// The function.
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
    function.dispatch(Map { x, out, exec });
}

/// What [`map`] reads and writes.
struct Map<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
    exec: Exec<'a>,
}

impl UnaryVisitor for Map<'_> {
    fn visit(self, f: impl Fn(f32) -> f32 + Copy + Sync) {
        self.exec.for_each_chunk(
            self.out,
            CHUNK,
            #[inline(always)]
            |i, out| {
                for (o, &x) in out.iter_mut().zip(&self.x[i * CHUNK..]) {
                    *o = f(x);
                }
            },
        );
    }
}

/// A function of the elements of two tensors, followed by a Relu or not.
#[derive(Clone, Debug)]
pub struct BinaryTask {
    /// The function.
    pub function: Binary,
    /// Which elements meet.
    pub broadcast: Broadcast,
    /// Whether a Relu follows.
    pub relu: bool,
}

impl Task for BinaryTask {
    fn kind(&self) -> &'static str {
        "broadcast"
    }
}

impl Kernel for BinaryTask {
    fn compute(&self, call: Call<'_>) {
        let operands = [0, 1].map(|i| call.reads.get(i));
        self.broadcast.run(operands, call.out, self.function, self.relu, call.exec);
    }

    fn is_elementwise(&self) -> bool {
        self.broadcast.is_elementwise()
    }
}

/// A function of the elements of a tensor and of one element for each of its channels, `[images][channels]`, followed by a Relu or not.
#[derive(Clone, Debug)]
pub struct GateTask {
    /// The function.
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
        BinaryTask { function, broadcast: Broadcast::new(&[images, channels, plane], &[images, channels, 1]), relu }
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
#[derive(Debug)]
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
        function.dispatch(Gates { x, gates, out: call.out, len, lanes, relu, exec: call.exec });
    }
}

/// What a [`GateOfBlocks`] reads and writes, in blocks of `len` elements.
struct Gates<'a> {
    x: &'a [f32],
    gates: &'a [f32],
    out: &'a mut [f32],
    len: usize,
    lanes: usize,
    relu: bool,
    exec: Exec<'a>,
}

impl BinaryVisitor for Gates<'_> {
    fn visit(self, f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
        let Gates { x, gates, out, len, lanes, relu, exec } = self;
        exec.for_each_chunk(
            out,
            len,
            #[inline(always)]
            |i, out| {
                let (f, relu) = (f, relu);
                // They recur, so that a loop over them is long enough to be made vectors.
                let mut own = [0.0; GATES];
                for own in own.chunks_exact_mut(lanes) {
                    own.copy_from_slice(&gates[i * lanes..][..lanes]);
                }
                for (out, x) in out.chunks_mut(GATES).zip(x[i * len..][..len].chunks(GATES)) {
                    for ((o, &x), &gate) in out.iter_mut().zip(x).zip(&own) {
                        *o = relu_if(relu, f(x, gate));
                    }
                }
            },
        );
    }
}

/// Two tensors side by side with numpy's broadcasting, as runs over the innermost axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// Outer axes, merged as far as possible: extent, stride in a, stride in b.
    outer: Vec<(usize, usize, usize)>,
    /// Length of a run, and whether a and b move along it (or repeat one element).
    run: (usize, bool, bool),
    /// Elements of a, of b and of the result.
    lens: [usize; 3],
}

impl Broadcast {
    /// For operands of shapes `a` and `b`, which must be broadcastable.
    ///
    /// # Panics
    /// If they are not.
    pub fn new(a: &[usize], b: &[usize]) -> Self {
        let rank = a.len().max(b.len());
        let padded = |s: &[usize]| [vec![1; rank - s.len()], s.to_vec()].concat();
        let (a, b) = (padded(a), padded(b));
        let (mut stride_a, mut stride_b, mut total) = (1, 1, 1);
        // Innermost first; an axis joins the one inside it if both operands step through the two as through one.
        let mut axes: Vec<(usize, usize, usize)> = Vec::new();
        for (&x, &y) in a.iter().zip(&b).rev() {
            assert!(x == y || x == 1 || y == 1, "{a:?} and {b:?} cannot be broadcast");
            let (extent, sa, sb) =
                (if x == 1 { y } else { x }, if x == 1 { 0 } else { stride_a }, if y == 1 { 0 } else { stride_b });
            (stride_a, stride_b, total) = (stride_a * x, stride_b * y, total * extent);
            match axes.last_mut() {
                _ if extent == 1 => {}
                Some((inner, ia, ib)) if sa == *inner * *ia && sb == *inner * *ib => *inner *= extent,
                _ => axes.push((extent, sa, sb)),
            }
        }
        let mut axes = axes.into_iter();
        let (len, sa, sb) = axes.next().unwrap_or((1, 1, 1));
        Broadcast { outer: axes.collect(), run: (len, sa == 1, sb == 1), lens: [stride_a, stride_b, total] }
    }

    /// `function` of a and b, element by element, followed by a Relu or not.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for; where elements at the same places meet, whatever their count, if the
    /// slices' lengths differ.
    pub fn run(&self, [a, b]: [&[f32]; 2], out: &mut [f32], function: Binary, relu: bool, exec: Exec) {
        let lens = if self.is_elementwise() { self.lens.map(|len| if len == 1 { 1 } else { out.len() }) } else { self.lens };
        for (what, slice, len) in [("a", a, lens[0]), ("b", b, lens[1]), ("output", &*out, lens[2])] {
            expect_len(what, slice, len);
        }
        function.dispatch(Pairs { broadcast: self, a, b, out, relu, exec });
    }

    /// Whether the elements at a place of the result depend on those at the same place alone, or on the one that there is.
    fn is_elementwise(&self) -> bool {
        self.outer.is_empty()
    }

    /// Elements of a, of b and of the result.
    #[cfg(feature = "cuda")]
    pub(crate) fn lens(&self) -> [usize; 3] {
        self.lens
    }

    /// Extent, stride in a and stride in b of each axis, innermost first.
    #[cfg(feature = "cuda")]
    pub(crate) fn axes(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (len, a_moves, b_moves) = self.run;
        [(len, usize::from(a_moves), usize::from(b_moves))].into_iter().chain(self.outer.iter().copied())
    }

    /// Where run `i` begins in a and in b.
    #[inline(always)]
    fn start_of(&self, mut i: usize) -> [usize; 2] {
        let [mut a, mut b] = [0, 0];
        for &(extent, stride_a, stride_b) in &self.outer {
            let position = i % extent;
            i /= extent;
            a += position * stride_a;
            b += position * stride_b;
        }
        [a, b]
    }
}

/// What [`Broadcast::run`] reads and writes.
struct Pairs<'a> {
    broadcast: &'a Broadcast,
    a: &'a [f32],
    b: &'a [f32],
    out: &'a mut [f32],
    relu: bool,
    exec: Exec<'a>,
}

impl BinaryVisitor for Pairs<'_> {
    fn visit(self, f: impl Fn(f32, f32) -> f32 + Copy + Sync) {
        let Pairs { broadcast, a, b, out, relu, exec } = self;
        let (run, a_moves, b_moves) = broadcast.run;
        // Where all is one run, any part of it will do.
        let one_run = broadcast.is_elementwise();
        let len = if one_run { CHUNK } else { run };
        exec.for_each_chunk(
            out,
            len,
            #[inline(always)]
            |i, out| {
                // Copies, which no write to `out` can change.
                let (f, relu) = (f, relu);
                let [at_a, at_b] = match one_run {
                    true => [a_moves, b_moves].map(|moves| if moves { i * len } else { 0 }),
                    false => broadcast.start_of(i),
                };
                let (a, b) = (&a[at_a..], &b[at_b..]);
                match (a_moves, b_moves) {
                    (true, true) => {
                        for (o, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                            *o = relu_if(relu, f(a, b));
                        }
                    }
                    (true, false) => {
                        let b = b[0];
                        for (o, &a) in out.iter_mut().zip(a) {
                            *o = relu_if(relu, f(a, b));
                        }
                    }
                    (false, true) => {
                        let a = a[0];
                        for (o, &b) in out.iter_mut().zip(b) {
                            *o = relu_if(relu, f(a, b));
                        }
                    }
                    (false, false) => out.fill(relu_if(relu, f(a[0], b[0]))),
                }
            },
        );
    }
}

#[inline(always)]
fn relu_if(relu: bool, x: f32) -> f32 {
    if !relu || x > 0.0 { x } else { 0.0 }
}
