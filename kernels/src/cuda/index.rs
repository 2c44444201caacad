//! Computed indices on a device: as [`crate::index`] on the CPU.

use super::device::{Result, Stream, View};
use super::fits;
use super::launch::{Arguments, Axes, Floats, Output, Source, arguments, count_pieces, each_axis, int, launch_each};
use super::task::{Call, Kernel, Preparing, Task};
use crate::index::{GatherAlongTask, GatherAtTask, Meeting, ScatterAlongTask, ScatterAtTask, TopKTask};

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[TOP_K, INDEXED];

arguments! {
    /// A search along an axis.
    TopKArguments { x: Floats, out: Output, count: i32, extent: i32, inner: i32, k: i32, largest: i32, positions: i32 }
}

const TOP_K: Source = Source {
    declaration: TopKArguments::DECLARATION,
    kernels: &["top_k"],
    text: r#"
// An integer that orders elements: zeros of either sign are equal, and NaN, of either sign, lies beyond all others.
DEVICE int order_of(float x) {
    if (x != x) return 0x7fffffff;
    union { float element; int bits; } both;
    both.element = x + 0.0f;
    return both.bits ^ (int)((unsigned)(both.bits >> 31) >> 1);
}

// [outer][extent][inner] to [outer][k][inner]. A thread has an element of the input, and counts those that come before it.
KERNEL(top_k, TopKArguments) {
    EACH(i, a.count)
    unsigned inner = i % a.inner, outer = i / a.inner / a.extent;
    int position = i / a.inner % a.extent, rank = 0, own = order_of(a.x[i]);
    const float *line = a.x + outer * a.extent * a.inner + inner;
    for (int other = 0; other < a.extent && rank < a.k; other++) {
        int key = order_of(line[(unsigned)other * a.inner]);
        rank += (a.largest ? key > own : key < own) || (key == own && other < position);
    }
    if (rank < a.k) a.out[(outer * a.k + rank) * a.inner + inner] = a.positions ? (float)position : a.x[i];
}
"#,
};

arguments! {
    /// Elements at computed indices. Each kernel uses some of these; axes begin with the innermost one.
    IndexedArguments {
        x: Floats, indices: Floats, updates: Floats, out: Output, count: i32, points: i32, extent: i32, inner: i32, rank: i32,
        meeting: i32, extents: Axes,
    }
}

const INDEXED: Source = Source {
    declaration: IndexedArguments::DECLARATION,
    kernels: &["gather_at", "gather_along", "scatter_copy", "scatter_at", "scatter_along"],
    text: r#"
// The place that an index means, which may lie outside.
DEVICE int index_place(float index, int extent) {
    int i = index != index ? 0 : (int)fminf(fmaxf(index, -1.0e9f), 1.0e9f);
    return i < 0 ? i + extent : i;
}

// What becomes of an element that is there and one that comes to it.
DEVICE float meet(float there, float comes, int meeting) {
    if (meeting == 1) return there + comes;
    if (meeting == 2) return there * comes;
    if (meeting == 3) return maximum(there, comes);
    if (meeting == 4) return -maximum(-there, -comes);
    return comes;
}

// [batches][extents][inner] with [batches][points][rank] to [batches][points][inner]; `extent` is the product of the extents.
KERNEL(gather_at, IndexedArguments) {
    EACH(i, a.count)
    unsigned point = i / a.inner, at = 0, step = 1;
    UNROLL for (int axis = 0; axis < 8; axis++) {
        if (axis >= a.rank) break;
        int place = index_place(a.indices[point * a.rank + a.rank - 1 - axis], a.extents[axis]);
        at += min(max(place, 0), a.extents[axis] - 1) * step;
        step *= a.extents[axis];
    }
    a.out[i] = a.x[(point / a.points * a.extent + at) * a.inner + i % a.inner];
}

// [outer][extent][inner] with [outer][points][inner] to as many elements.
KERNEL(gather_along, IndexedArguments) {
    EACH(i, a.count)
    int at = min(max(index_place(a.indices[i], a.extent), 0), a.extent - 1);
    a.out[i] = a.x[(i / a.inner / a.points * a.extent + at) * a.inner + i % a.inner];
}

KERNEL(scatter_copy, IndexedArguments) {
    EACH(i, a.count)
    a.out[i] = a.x[i];
}

// [points][inner] to [extents][inner]. A thread has an element of all slices, so that they come one after the other.
KERNEL(scatter_at, IndexedArguments) {
    EACH(i, a.count)
    for (int point = 0; point < a.points; point++) {
        unsigned at = 0, step = 1;
        int exists = 1;
        UNROLL for (int axis = 0; axis < 8; axis++) {
            if (axis >= a.rank) break;
            int place = index_place(a.indices[(unsigned)point * a.rank + a.rank - 1 - axis], a.extents[axis]);
            exists = exists && place >= 0 && place < a.extents[axis];
            at += place * step;
            step *= a.extents[axis];
        }
        if (!exists) continue;
        float *out = a.out + at * a.inner + i;
        *out = meet(*out, a.updates[(unsigned)point * a.inner + i], a.meeting);
    }
}

// [outer][points][inner] to [outer][extent][inner]. A thread has a line.
KERNEL(scatter_along, IndexedArguments) {
    EACH(i, a.count)
    unsigned outer = i / a.inner, inner = i % a.inner;
    for (int point = 0; point < a.points; point++) {
        unsigned from = (outer * a.points + point) * a.inner + inner;
        int place = index_place(a.indices[from], a.extent);
        float *out = a.out + (outer * a.extent + max(place, 0)) * a.inner + inner;
        if (place >= 0 && place < a.extent) *out = meet(*out, a.updates[from], a.meeting);
    }
}
"#,
};

impl Kernel for TopKTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let Self { outer, extent, inner, k, largest, positions } = *self;
        let x = reads[0];
        out.expect_len("output", outer * k * inner);
        x.expect_len("input", outer * extent * inner);
        let arguments = TopKArguments {
            x: x.address(),
            out: out.address(),
            count: int(x.len()),
            extent: int(extent),
            inner: int(inner),
            k: int(k),
            largest: largest.into(),
            positions: positions.into(),
        };
        // SAFETY: both have `outer` tensors of these extents, and every rank below `k` is taken by one element.
        unsafe { launch_each(stream, "top_k", x.len(), &arguments) }
    }
}

/// What the kernels of computed indices have in common.
fn arguments(reads: &[View<'_>], out: View<'_>, count: usize, sizes: [usize; 3]) -> IndexedArguments {
    let [points, extent, inner] = sizes.map(int);
    let (x, indices) = (reads[0].address(), reads[1].address());
    IndexedArguments { x, indices, out: out.address(), count: int(count), points, extent, inner, ..Default::default() }
}

impl Task for GatherAtTask {
    fn prepare(&self, _: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        fits("indexed axes", self.extents.iter().product::<usize>().saturating_mul(self.inner))?;
        Ok(Box::new(Prepared(self.clone())))
    }
}

impl Task for ScatterAtTask {
    fn prepare(&self, _: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        fits("indexed axes", self.extents.iter().product::<usize>().saturating_mul(self.inner))?;
        Ok(Box::new(Prepared(self.clone())))
    }
}

/// A task whose sizes the kernel can count.
#[derive(Debug)]
struct Prepared<T>(T);

impl Kernel for Prepared<GatherAtTask> {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let GatherAtTask { batches, points, ref extents, inner } = self.0;
        let len = extents.iter().product();
        reads[0].expect_len("input", batches * len * inner);
        reads[1].expect_len("indices", batches * points * extents.len());
        out.expect_len("output", batches * points * inner);
        let arguments = IndexedArguments {
            rank: int(extents.len()),
            extents: each_axis(extents.iter().rev().copied()),
            ..arguments(reads, out, out.len(), [points, len, inner])
        };
        // SAFETY: the views have these lengths, and the kernel leaves no axis.
        unsafe { launch_each(stream, "gather_at", out.len(), &arguments) }
    }
}

impl Kernel for GatherAlongTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let Self { extent, positions, inner } = *self;
        let outer = count_pieces("output", out, positions * inner);
        reads[0].expect_len("input", outer * extent * inner);
        reads[1].expect_len("indices", out.len());
        let arguments = arguments(reads, out, out.len(), [positions, extent, inner]);
        // SAFETY: the views have these lengths, and the kernel does not leave the axis.
        unsafe { launch_each(stream, "gather_along", out.len(), &arguments) }
    }
}

impl Kernel for Prepared<ScatterAtTask> {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let ScatterAtTask { points, ref extents, inner, meeting } = self.0;
        let len: usize = extents.iter().product();
        out.expect_len("output", len * inner);
        reads[1].expect_len("indices", points * extents.len());
        let arguments = IndexedArguments {
            rank: int(extents.len()),
            extents: each_axis(extents.iter().rev().copied()),
            ..arguments(reads, out, inner, [points, len, inner])
        };
        scatter(stream, "scatter_at", [reads[0], reads[2], out], points * inner, meeting, arguments)
    }
}

impl Kernel for ScatterAlongTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let Self { extent, positions, inner, meeting } = *self;
        let outer = count_pieces("output", out, extent * inner);
        reads[1].expect_len("indices", outer * positions * inner);
        let arguments = arguments(reads, out, outer * inner, [positions, extent, inner]);
        scatter(stream, "scatter_along", [reads[0], reads[2], out], outer * positions * inner, meeting, arguments)
    }
}

/// Copies what there is, then brings `count` updates to their places.
fn scatter(
    stream: &mut dyn Stream,
    kernel: &'static str,
    [x, updates, out]: [View<'_>; 3],
    count: usize,
    meeting: Meeting,
    arguments: IndexedArguments,
) -> Result<()> {
    x.expect_len("input", out.len());
    updates.expect_len("updates", count);
    let copy = IndexedArguments { count: int(out.len()), ..arguments };
    // SAFETY: both have as many elements.
    unsafe { launch_each(stream, "scatter_copy", out.len(), &copy) }?;
    let lines = arguments.count as usize;
    let arguments = IndexedArguments { updates: updates.address(), meeting: meeting as i32, ..arguments };
    // SAFETY: there are as many updates as indices call for, and the kernel writes to none outside of the axes.
    unsafe { launch_each(stream, kernel, lines, &arguments) }
}
