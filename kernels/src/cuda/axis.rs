//! Along one axis, and in another order of axes, on a device: as [`crate::axis`] on the CPU.

use super::device::{Buffer, Result, Stream, upload};
use super::launch::{Arguments, Axes, Floats, Ints, Output, Source, arguments, count_pieces, each_axis, int, launch_each};
use super::lines::reduce_lines;
use super::task::{Call, Kernel, Preparing, Task};
use super::{fits, upload_ints};
use crate::axis::{ArgMaxTask, ReduceTask, Reduction, StridedCopy};
use crate::remap::{From, RemapTask};

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[REMAP, STRIDED_COPY, REDUCTIONS, ARG_MAX];

arguments! {
    /// An axis rebuilt from positions of the old one.
    RemapArguments { x: Floats, share: Floats, from: Ints, out: Output, count: i32, extent: i32, inner: i32, positions: i32 }
}

const REMAP: Source = Source {
    declaration: RemapArguments::DECLARATION,
    kernels: &["remap"],
    text: r#"
// [outer][extent][inner] to [outer][positions][inner]. Position p is the old one from[2 p], mixed with from[2 p + 1] by its share
// unless that is negative; if both are, it has the value `share` everywhere.
KERNEL(remap, RemapArguments) {
    EACH(i, a.count)
    unsigned inner = i % a.inner, position = i / a.inner % a.positions;
    const float *x = a.x + i / a.inner / a.positions * ((unsigned)a.extent * a.inner) + inner;
    int first = a.from[2 * position], second = a.from[2 * position + 1];
    float share = a.share[position];
    if (first < 0) a.out[i] = share;
    else if (second < 0) a.out[i] = x[(unsigned)first * a.inner];
    else a.out[i] = x[(unsigned)first * a.inner] * (1.0f - share) + x[(unsigned)second * a.inner] * share;
}
"#,
};

/// A rebuilt axis with its tables on the device.
#[derive(Debug)]
struct PreparedRemap {
    extent: usize,
    inner: usize,
    positions: usize,
    from: Buffer,
    share: Buffer,
}

impl Task for RemapTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        let Self { extent, inner, sources, .. } = self;
        fits("axis", extent.saturating_mul(*inner))?;
        let (mut from, mut share) = (Vec::with_capacity(2 * sources.len()), Vec::with_capacity(sources.len()));
        sources.expect_inside(*extent);
        for source in sources.iter() {
            let (a, b, s) = match source {
                From::Position(a) => (Some(a), None, 0.0),
                From::Constant(value) => (None, None, value),
                From::Between(a, s) => (Some(a), Some(a + 1), s),
            };
            from.extend([a, b].map(|p| p.map_or(-1, int)));
            share.push(s);
        }
        let Preparing { device, stream, .. } = preparing;
        let (from, share) = (upload_ints(*device, *stream, &from)?, upload(*device, *stream, &share)?);
        Ok(Box::new(PreparedRemap { extent: *extent, inner: *inner, positions: sources.len(), from, share }))
    }
}

impl Kernel for PreparedRemap {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let outer = count_pieces("output", out, self.positions * self.inner);
        if out.is_empty() {
            return Ok(());
        }
        reads[0].expect_len("input", outer * self.extent * self.inner);
        let arguments = RemapArguments {
            x: reads[0].address(),
            share: self.share.view().address(),
            from: self.from.view().address(),
            out: out.address(),
            count: int(out.len()),
            extent: int(self.extent),
            inner: int(self.inner),
            positions: int(self.positions),
        };
        // SAFETY: both have equally many tensors of these extents, and `prepare` let no position lie outside.
        unsafe { launch_each(stream, "remap", out.len(), &arguments) }
    }
}

arguments! {
    /// A tensor in another order of its axes.
    StridedCopyArguments { x: Floats, out: Output, count: i32, rank: i32, extent: Axes, stride: Axes }
}

const STRIDED_COPY: Source = Source {
    declaration: StridedCopyArguments::DECLARATION,
    kernels: &["strided_copy"],
    text: r#"
// Axes begin with the innermost one.
KERNEL(strided_copy, StridedCopyArguments) {
    EACH(i, a.count)
    unsigned rest = i, at = 0;
    UNROLL for (int axis = 0; axis < 8; axis++) {
        if (axis >= a.rank) break;
        at += rest % a.extent[axis] * a.stride[axis];
        rest /= a.extent[axis];
    }
    a.out[i] = a.x[at];
}
"#,
};

impl Kernel for StridedCopy {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let (x, axes) = (reads[0], self.axes());
        out.expect_len("output", self.output_len());
        let last: usize = axes.iter().map(|(extent, stride)| (extent.max(&1) - 1) * stride).sum();
        assert!(out.is_empty() || last < x.len(), "element {last} of {}", x.len());
        let arguments = StridedCopyArguments {
            x: x.address(),
            out: out.address(),
            count: int(out.len()),
            rank: int(axes.len()),
            extent: each_axis(axes.iter().rev().map(|axis| axis.0)),
            stride: each_axis(axes.iter().rev().map(|axis| axis.1)),
        };
        // SAFETY: the last element that it reads exists, and so all do.
        unsafe { launch_each(stream, "strided_copy", out.len(), &arguments) }
    }
}

const REDUCTIONS: Source = Source {
    declaration: "",
    kernels: &["mean", "reduce_sum", "reduce_product", "reduce_max", "reduce_min", "reduce_magnitudes", "reduce_squares"],
    text: r#"
// Each line becomes one element: `ADD` takes `x` in, `JOIN(mine, other)` puts two results together, `FINISH` makes the last one of `all`.
#define REDUCTION(name, START, ADD, JOIN, FINISH) \
KERNEL(name, LineArguments) { \
    SHARED(double, shared, 256) \
    LINES \
    double all = START; \
    ALONG(i) { \
        double x = a.x[line + (unsigned)i * a.inner]; \
        all = ADD; \
    } \
    shared[slot] = all; \
    REDUCE(shared[slot] = JOIN(shared[slot], shared[other]);) \
    all = shared[threadIdx.x]; \
    if (exists && threadIdx.y == 0) a.out[outer * a.inner + inner] = (float)(FINISH); \
}
#define SUM_OF(p, q) (p + q)
#define PRODUCT_OF(p, q) (p * q)
#define LARGER_OF(p, q) (q > p || q != q ? q : p)
#define SMALLER_OF(p, q) (q < p || q != q ? q : p)

REDUCTION(mean, 0.0, all + x, SUM_OF, all / a.extent)
REDUCTION(reduce_sum, 0.0, all + x, SUM_OF, all)
REDUCTION(reduce_product, 1.0, all * x, PRODUCT_OF, all)
REDUCTION(reduce_max, NONE_LESS, LARGER_OF(all, x), LARGER_OF, all)
REDUCTION(reduce_min, -NONE_LESS, SMALLER_OF(all, x), SMALLER_OF, all)
REDUCTION(reduce_magnitudes, 0.0, all + fabs(x), SUM_OF, all)
REDUCTION(reduce_squares, 0.0, all + x * x, SUM_OF, all)
"#,
};

impl Kernel for ReduceTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let kernel = match self.reduction {
            Reduction::Mean => "mean",
            Reduction::Sum => "reduce_sum",
            Reduction::Product => "reduce_product",
            Reduction::Max => "reduce_max",
            Reduction::Min => "reduce_min",
            Reduction::SumOfMagnitudes => "reduce_magnitudes",
            Reduction::SumOfSquares => "reduce_squares",
        };
        reduce_lines(stream, kernel, reads[0], [self.extent, self.inner], out, false)
    }
}

const ARG_MAX: Source = Source {
    declaration: "",
    kernels: &["arg_max"],
    text: r#"
// Whether `x` at position `i` comes before the best so far; a position of -1 says that there is none.
DEVICE int wins(float x, int i, float best, int position, int last) {
    if (i < 0 || x != x) return 0;
    if (position < 0 || x > best) return 1;
    return x == best && (last ? i > position : i < position);
}

KERNEL(arg_max, LineArguments) {
    SHARED(float, bests, 256)
    SHARED(int, places, 256)
    LINES
    float best = 0.0f;
    int position = -1;
    ALONG(i) {
        float x = a.x[line + (unsigned)i * a.inner];
        if (wins(x, i, best, position, a.last)) {
            best = x;
            position = i;
        }
    }
    bests[slot] = best;
    places[slot] = position;
    REDUCE(if (wins(bests[other], places[other], bests[slot], places[slot], a.last)) {
        bests[slot] = bests[other];
        places[slot] = places[other];
    })
    // Nothing is larger than NaN at position 0; where all are NaN, none is found.
    if (exists && threadIdx.y == 0) a.out[outer * a.inner + inner] = a.x[line] == a.x[line] ? (float)max(places[slot], 0) : 0.0f;
}
"#,
};

impl Kernel for ArgMaxTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        reduce_lines(stream, "arg_max", reads[0], [self.extent, self.inner], out, self.last)
    }
}
