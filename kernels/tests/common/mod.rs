//! What the tests of all kernels share: tables of cases, buffers that betray a wrong access, references in `f64`, and checks that
//! report every failing case of a table, not just the first.

pub(crate) mod allocated;
mod defined;
mod guarded;

pub(crate) use defined::{activated, defined};
pub(crate) use guarded::Guarded;

use fastrand::Rng;
use guarded::{edge, with_edge};
use sslm_basics::panels;
use sslm_devices::{Edge, isas};
use sslm_kernels::conv::Geometry;
use sslm_kernels::cpu::{Call, Slices, Target};
use sslm_kernels::cuda::{self, Buffer, Device, Stream, View};
use sslm_kernels::layout::{Extents, Forms, Layout, Layouts};
use sslm_kernels::reorder::reorder;
use sslm_kernels::{Exec, Isa, Precision, Task, Team, Threading};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Stands where nothing may be read, and in outputs until they are written.
pub(crate) const POISON: f32 = f32::NAN;

/// Makes one case of a table out of choices; [`every`] and [`sample`] decide which.
pub(crate) struct Choices {
    /// For each choice so far: which option, of how many.
    digits: Vec<(usize, usize)>,
    next: usize,
    rng: Option<Rng>,
}

impl Choices {
    /// One of the options.
    pub(crate) fn of<T: Clone>(&mut self, options: &[T]) -> T {
        if self.next == self.digits.len() {
            let first = self.rng.as_mut().map_or(0, |rng| rng.usize(..options.len()));
            self.digits.push((first, options.len()));
        }
        self.next += 1;
        options[self.digits[self.next - 1].0].clone()
    }
}

/// The cases that `case` makes of all combinations of its choices.
pub(crate) fn every<C>(case: impl Fn(&mut Choices) -> C) -> Vec<C> {
    let mut cases = Vec::new();
    let mut choices = Choices { digits: Vec::new(), next: 0, rng: None };
    loop {
        choices.next = 0;
        cases.push(case(&mut choices));
        // As an odometer turns: the last choice that has another option takes it, those behind it start anew.
        while choices.digits.pop_if(|(digit, count)| *digit + 1 == *count).is_some() {}
        match choices.digits.last_mut() {
            Some((digit, _)) => *digit += 1,
            None => return cases,
        }
    }
}

/// `count` cases that `case` makes of choices at random, the same in every run.
pub(crate) fn sample<C>(count: usize, case: impl Fn(&mut Choices) -> C) -> Vec<C> {
    let mut rng = Rng::with_seed(2016);
    (0..count).map(|_| case(&mut Choices { digits: Vec::new(), next: 0, rng: Some(rng.fork()) })).collect()
}

/// What `call` returns, or the message it panics with.
fn panic_of<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().map_or_else(|| "no message".into(), |message| (*message).into()),
    })
}

/// A bug in the caller must not pass: `call` has to panic.
pub(crate) fn refuses<T>(call: impl FnOnce() -> T) -> Result<(), String> {
    if panic_of(call).is_err() { Ok(()) } else { Err("accepted".into()) }
}

/// Runs `check` on every case, with buffers at either [`Edge`], and reports all that fail, by an error or by a panic. A step over
/// an edge is a fault that ends the process; a debugger shows where. Miri, which takes ten thousand times as long, gets one case.
pub(crate) fn check_all<C: Debug>(cases: &[C], check: impl Fn(&C) -> Result<(), String>) {
    let mut runs: Vec<(&C, Edge)> = cases.iter().flat_map(|case| [Edge::Before, Edge::Behind].map(|edge| (case, edge))).collect();
    if cfg!(miri) {
        runs = Rng::with_seed(2016).choose_multiple(runs, 1);
    }
    let failure = |&(case, edge): &(&C, Edge)| {
        let outcome = panic_of(|| with_edge(edge, || check(case)));
        let failure = outcome.unwrap_or_else(|panic| Err(format!("panicked: {panic}"))).err()?;
        Some(format!("{case:?}, edge {edge:?}:\n    {failure}"))
    };
    let failures: Vec<String> = runs.iter().filter_map(failure).collect();
    assert!(!cases.is_empty(), "the table is empty");
    assert!(failures.is_empty(), "{} of {} runs fail:\n{}", failures.len(), runs.len(), failures.join("\n"));
    println!("{} cases", cases.len());
}

/// `run` must accept slices of the `right` lengths and panic where one of them is one element shorter or longer.
pub(crate) fn refuses_other_lengths<const N: usize>(right: [(&str, usize); N], run: impl Fn([Vec<f32>; N])) {
    let slices = || right.map(|(_, len)| vec![1.0; len]);
    run(slices());
    let cases = every(|c| (c.of(&right.map(|(name, _)| name)), c.of(&["one less", "one more"])));
    check_all(&cases, |&(name, change)| {
        let mut slices = slices();
        let slice = &mut slices[right.iter().position(|r| r.0 == name).expect("a name of the table")];
        slice.resize(if change == "one more" { slice.len() + 1 } else { slice.len() - 1 }, 1.0);
        refuses(|| run(slices))
    });
}

/// An element of either sign and of magnitude 1/4 to 1: no product of two is so small that it could go missing within a tolerance.
pub(crate) fn element(rng: &mut Rng) -> f32 {
    (0.25 + 0.75 * rng.f32()) * if rng.bool() { 1.0 } else { -1.0 }
}

/// With as few digits as halves keep, so that products of these elements are what they are in `f32`.
pub(crate) fn few_digits(x: f32) -> f32 {
    (x * 1024.0).round() / 1024.0
}

/// Many of [`element`].
pub(crate) fn elements<V: FromIterator<f32>>(rng: &mut Rng, len: usize) -> V {
    (0..len).map(|_| element(rng)).collect()
}

/// The rows of a matrix in the layout of weights.
pub(crate) fn panels(rows: &[Vec<f32>]) -> Vec<f32> {
    let mut packed = Vec::new();
    panels::pack(rows.len(), rows.first().map_or(0, Vec::len), |row, column| rows[row][column], &mut packed);
    packed
}

/// What `kernel` makes of `len` poisoned elements.
pub(crate) fn written(len: usize, kernel: impl FnOnce(&mut [f32])) -> Result<Guarded, String> {
    let mut out = Guarded::poisoned(len);
    kernel(&mut out);
    if out.is_intact() { Ok(out) } else { Err("wrote outside of its output".into()) }
}

/// What `kernel` writes on one thread and, bit for bit the same, in a team of three.
pub(crate) fn run(len: usize, kernel: impl Fn(&mut [f32], Threading)) -> Result<Guarded, String> {
    thread_local!(static TEAM: Team = Team::new(3).expect("three threads can be started"));
    let single = written(len, |out| kernel(out, Threading::Single))?;
    let shared = TEAM.with(|team| written(len, |out| kernel(out, Threading::Team(team))))?;
    same_bits(&single, &shared).map_err(|e| format!("one thread against three: {e}"))?;
    Ok(single)
}

/// What `kernel` writes with the best instruction set and, bit for bit the same, with each other one, on one thread and in a team.
pub(crate) fn run_everywhere(len: usize, kernel: impl Fn(&mut [f32], Exec)) -> Result<Guarded, String> {
    let with = |isa: Isa| run(len, |out, threading| kernel(out, Exec { isa, threading })).map_err(|e| format!("{isa}: {e}"));
    let best = with(Isa::best())?;
    for isa in isas().skip(1) {
        same_bits(&best, &with(isa)?).map_err(|e| format!("{} against {isa}: {e}", Isa::best()))?;
    }
    Ok(best)
}

/// Elements in the memory of a device.
pub(crate) fn put(device: &dyn Device, stream: &mut dyn Stream, elements: &[f32]) -> cuda::Result<Buffer> {
    let buffer = device.allocate(elements.len())?;
    stream.upload(elements, buffer.view())?;
    Ok(buffer)
}

/// Some methods of devices, others for another count of outputs: all of them for all cases would take minutes.
pub(crate) fn some_methods(outputs: usize) -> impl Iterator<Item = cuda::Method> {
    cuda::Method::ALL.into_iter().skip(outputs % 4).step_by(4)
}

/// Compares what the kernel of `task` writes on every device with what is expected.
pub(crate) fn task_on_devices(
    expected: &[Expected],
    slack: f64,
    task: &impl cuda::Task,
    reads: &[&[f32]],
    parameters: &[&[f32]],
) -> Result<(), String> {
    on_devices(expected, slack, |device, stream, out| {
        let reads: Vec<Buffer> = reads.iter().map(|x| put(device, stream, x)).collect::<cuda::Result<_>>()?;
        let views: Vec<View<'_>> = reads.iter().map(Buffer::view).collect();
        let preparing = &mut cuda::Preparing { device, stream, precision: Precision::Fp32, parameters };
        let kernel = task.prepare(preparing)?;
        let scratch = device.allocate(kernel.scratch_len())?;
        kernel.start(stream, cuda::Call { reads: &views, out, scratch: scratch.view() })?;
        stream.wait() // before all is freed
    })
}

/// Compares what `kernel` writes on every device with what is expected. Emulated devices have either edge themselves, so this is done
/// for one edge of the CPU's buffers only.
pub(crate) fn on_devices(
    expected: &[Expected],
    slack: f64,
    kernel: impl Fn(&dyn Device, &mut dyn Stream, View<'_>) -> cuda::Result<()>,
) -> Result<(), String> {
    // Miri runs no foreign code.
    if cfg!(miri) || matches!(edge(), Edge::Before) {
        return Ok(());
    }
    thread_local!(static DEVICES: Vec<Arc<dyn Device>> = sslm_devices::devices());
    DEVICES.with(|devices| {
        let mut first: Option<Vec<f32>> = None;
        for device in devices {
            let run = || -> cuda::Result<Vec<f32>> {
                let mut stream = device.stream()?;
                let out = put(&**device, &mut *stream, &vec![POISON; expected.len()])?;
                kernel(&**device, &mut *stream, out.view())?;
                let mut elements = vec![POISON; expected.len()];
                stream.download(out.view(), &mut elements)?;
                Ok(elements)
            };
            let out = run().map_err(|e| format!("{device:?}: {e}"))?;
            compare_within(&out, expected, slack).map_err(|e| format!("{device:?}: {e}"))?;
            // Whatever the order of threads is.
            if device.name() == "emulated" {
                same_bits(first.get_or_insert_with(|| out.clone()), &out).map_err(|e| format!("{device:?}: {e}"))?;
            }
        }
        Ok(())
    })
}

/// One thread, and the best instruction set.
pub(crate) fn plainly() -> Exec<'static> {
    Exec { isa: Isa::best(), threading: Threading::Single }
}

/// Whether two runs yield the very same values.
pub(crate) fn same_bits(one: &[f32], other: &[f32]) -> Result<(), String> {
    match one.iter().zip(other).position(|(a, b)| a.to_bits() != b.to_bits()) {
        None => Ok(()),
        Some(i) => Err(format!("[{i}] is {} and {}", one[i], other[i])),
    }
}

/// A value that a reference computed, and the scale of the rounding errors on the way to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    value: f64,
    magnitude: f64,
}

impl Expected {
    /// `value`, in whose computation values of about `magnitude` were rounded.
    pub(crate) fn near(value: f64, magnitude: f64) -> Self {
        Expected { value, magnitude }
    }

    /// The same, rounded once more, as by a function of it.
    pub(crate) fn rounded(self) -> Self {
        Expected { magnitude: self.magnitude.max(self.value.abs()), ..self }
    }

    /// The very value.
    pub(crate) fn exactly(value: f32) -> Self {
        Expected::near(f64::from(value), 0.0)
    }

    /// The sum of `terms`, whose magnitudes' sum is the scale: cancellation makes a sum small, but not its rounding errors.
    pub(crate) fn sum(terms: impl IntoIterator<Item = f64>) -> Self {
        let (value, magnitude) = terms.into_iter().fold((0.0, 0.0), |(sum, sizes), term| (sum + term, sizes + term.abs()));
        Expected { value, magnitude }
    }

    /// With one more term in the sum.
    pub(crate) fn plus(self, term: f32) -> Self {
        Expected { value: self.value + f64::from(term), magnitude: self.magnitude + f64::from(term.abs()) }
    }

    /// What a function of slope at most 1 makes of it.
    pub(crate) fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Expected { value: f(self.value), ..self }
    }

    /// What a fused Relu, if there is one, leaves of it.
    pub(crate) fn relu(self, fused: bool) -> Self {
        Expected { value: if fused && self.value < 0.0 { 0.0 } else { self.value }, ..self }
    }

    /// One addition or product in `f32` is off by at most 2^-24 = 6e-8 of its result. Errors have either sign, so those of `n`
    /// operations grow to about sqrt(n) of that; the longest sums here have some 300 terms, which makes 1e-6 of the scale. A
    /// term that goes missing is 2e-4 of it or more (1/16 of 300). 1e-37 lets values at the end of the range be subnormal.
    fn allows(self, found: f32, slack: f64) -> bool {
        let found = f64::from(found);
        if !self.value.is_finite() {
            return found == self.value || found.is_nan() && self.value.is_nan();
        }
        found == self.value || (found - self.value).abs() <= slack * 1e-6 * self.magnitude + 1e-37
    }
}

/// The larger of two; NaN if either is.
pub(crate) fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Compares element by element; NaN, which poison is, too, equals NaN alone.
pub(crate) fn compare(found: &[f32], expected: &[Expected]) -> Result<(), String> {
    compare_within(found, expected, 1.0)
}

/// As [`compare`], with so many times the tolerance.
pub(crate) fn compare_within(found: &[f32], expected: &[Expected], slack: f64) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{} elements instead of {}", found.len(), expected.len()));
    }
    let wrong: Vec<usize> = (0..found.len()).filter(|&i| !expected[i].allows(found[i], slack)).collect();
    let Some(&i) = wrong.first() else { return Ok(()) };
    Err(format!("{} of {} elements are wrong, first [{i}]: {} instead of {:?}", wrong.len(), found.len(), found[i], expected[i]))
}

/// A sliding window over an input, from which the size of the output follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) input: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilations: [usize; 2],
    pub(crate) pad_before: [usize; 2],
    pub(crate) pad_after: [usize; 2],
    /// Output positions more than fit, as with `ceil_mode`, or fewer.
    pub(crate) overhang: isize,
}

/// One tap at every position of a small image.
pub(crate) const POINTWISE: Window = Window {
    input: [5, 6],
    kernel: [1, 1],
    strides: [1, 1],
    dilations: [1, 1],
    pad_before: [0, 0],
    pad_after: [0, 0],
    overhang: 0,
};

impl Window {
    /// Every kind of window: square or not, with and without gaps, and with less padding than a tap, or so much that taps or
    /// whole windows lie in it; also where the input is smaller than the window.
    pub(crate) fn choose(c: &mut Choices) -> Self {
        let (pad_before, pad_after) = c.of(&[([0, 0], [0, 0]), ([1, 0], [2, 1]), ([2, 4], [1, 3])]);
        Window {
            input: c.of(&[[7, 9], [3, 2]]),
            kernel: c.of(&[[1, 1], [2, 2], [3, 3], [4, 4], [5, 5], [1, 4], [3, 1]]),
            strides: c.of(&[[1, 1], [2, 2], [3, 3], [2, 1]]),
            dilations: c.of(&[[1, 1], [2, 2], [3, 3], [1, 3]]),
            pad_before,
            pad_after,
            overhang: 0,
        }
    }

    /// Output sizes; `None` where the window does not fit even once.
    fn output(&self) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let padded = self.pad_before[axis] + self.input[axis] + self.pad_after[axis];
            let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            (padded.checked_sub(reach)? / self.strides[axis] + 1).checked_add_signed(self.overhang)
        };
        Some([along(0)?, along(1)?])
    }

    pub(crate) fn fits(&self) -> bool {
        self.output().is_some()
    }

    /// For an input of so many planes.
    pub(crate) fn geometry(&self, channels: usize) -> Geometry {
        let &Window { input, kernel, strides, dilations, pad_before, .. } = self;
        Geometry {
            channels,
            input,
            output: self.output().expect("it fits"),
            kernel,
            strides,
            dilations,
            pad_before,
            transposed: false,
        }
    }
}

/// Row and column that a tap (kh, kw) of the output position (oh, ow) looks at, negative before the input.
pub(crate) fn looks_at(g: &Geometry, out: [usize; 2], tap: [usize; 2]) -> [isize; 2] {
    [0, 1].map(|a| (out[a] * g.strides[a] + tap[a] * g.dilations[a]) as isize - g.pad_before[a] as isize)
}

/// The element of a plane at a row and column, if they lie in it.
pub(crate) fn pixel(plane: &[f32], size: [usize; 2], [row, column]: [isize; 2]) -> Option<f32> {
    let inside = (0..size[0] as isize).contains(&row) && (0..size[1] as isize).contains(&column);
    inside.then(|| plane[row as usize * size[1] + column as usize])
}

/// All (row, column) of a plane, in order.
pub(crate) fn positions(size: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    (0..size[0]).flat_map(move |row| (0..size[1]).map(move |column| [row, column]))
}

/// What a task makes of its inputs where they and the output lie in blocks of channels, of which lanes behind the last channel are poison,
/// in all instruction sets that let it.
pub(crate) fn in_blocks<T: Task + Clone>(task: &T, reads: &[&[f32]], expected: &[Expected]) -> Result<(), String> {
    for isa in Isa::available() {
        let target = Target { layouts: Layouts::BLOCKS, ..Target::new(isa, 3) };
        let Forms::Some { reads: extents, writes, costs } = task.forms(&target) else { return Err("no sizes".to_owned()) };
        if !costs.iter().any(|(layouts, _)| *layouts == Layouts::BLOCKS) {
            continue;
        }
        let kernel = Box::new(task.clone()).prepare(&target);
        let inputs: Vec<Guarded> = reads.iter().zip(extents).map(|(x, extents)| blocks(x, extents, isa)).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(|x| &**x).collect();
        let out = run(expected.len(), |out, threading| {
            let exec = Exec { isa, threading };
            let mut written = Guarded::poisoned(writes.len(Layout::Blocks, isa));
            let (reads, none) = (Slices::Listed(&inputs), Slices::Listed(&[]));
            kernel.compute(Call { reads, parameters: none, kept: &[], out: &mut written, scratch: &mut [], exec });
            reorder(&written, writes, Layout::Planes, out, exec);
        });
        compare(&out.map_err(|e| format!("{isa}, in blocks: {e}"))?, expected).map_err(|e| format!("{isa}, in blocks: {e}"))?;
    }
    Ok(())
}

/// Planes as blocks of channels. Lanes behind the last channel are poison.
pub(crate) fn blocks(planes: &[f32], extents: Extents, isa: Isa) -> Guarded {
    let mut blocks = Guarded::poisoned(extents.len(Layout::Blocks, isa));
    reorder(planes, extents, Layout::Blocks, &mut blocks, Exec { isa, threading: Threading::Single });
    let (lanes, last) = (isa.lanes(), extents.channels % isa.lanes());
    let image_len = blocks.len() / extents.images.max(1);
    for image in blocks.chunks_exact_mut(image_len.max(1)).filter(|_| last > 0) {
        image[image_len - extents.plane * lanes..].chunks_exact_mut(lanes).for_each(|x| x[last..].fill(POISON));
    }
    blocks
}
