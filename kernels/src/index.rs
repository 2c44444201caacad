//! Elements at indices that are computed, and the indices of the largest elements. An index is an element: a whole number, negative
//! where it counts from the end. None leads outside of a tensor: what is read there is what lies nearest, what is written there is lost.

use crate::cpu::{self, Call, Kernel};
use crate::{Task, expect_len, math};
use get_size2::GetSize;
use std::cmp::Reverse;

/// The place that `index` means among `extent` ones, which may lie outside.
fn place(index: f32, extent: usize) -> i64 {
    let index = index as i64;
    if index < 0 { index.saturating_add(extent as i64) } else { index }
}

/// As [`place`], or what lies nearest.
#[inline(always)]
fn nearest(index: f32, extent: usize) -> usize {
    place(index, extent).clamp(0, extent.saturating_sub(1) as i64) as usize
}

/// As [`place`], if it lies inside.
#[inline(always)]
fn inside(index: f32, extent: usize) -> Option<usize> {
    usize::try_from(place(index, extent)).ok().filter(|&i| i < extent)
}

/// The largest or smallest elements along the middle axis of `[outer][extent][inner]`, or where they stand. Of equal ones the first
/// comes first.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct TopKTask {
    /// How often there are such lines.
    pub outer: usize,
    /// Elements that are compared.
    pub extent: usize,
    /// Elements from one of them to the next.
    pub inner: usize,
    /// How many are taken.
    pub k: usize,
    /// Whether the largest are meant.
    pub largest: bool,
    /// Whether positions are wanted.
    pub positions: bool,
}

impl Task for TopKTask {
    fn kind(&self) -> &'static str {
        "top k"
    }

    fn operations(&self, _: usize) -> usize {
        let comparisons = self.extent.max(2).ilog2() as usize + 1;
        (self.outer * self.extent * self.inner).saturating_mul(comparisons)
    }
}

impl cpu::Task for TopKTask {
    fn most_table_bytes(&self, _: &cpu::Target) -> usize {
        cpu::KERNEL
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        let threads = target.threads_for(self.outer * self.extent * self.inner).min(self.outer.max(1));
        Box::new(TopK { task: *self, threads })
    }
}

/// The search, shared by so many threads at most.
#[derive(GetSize, Debug)]
struct TopK {
    task: TopKTask,
    threads: usize,
}

impl Kernel for TopK {
    fn scratch_len(&self) -> usize {
        self.threads * self.task.extent
    }

    fn compute(&self, Call { reads, out, scratch, exec, .. }: Call<'_>) {
        let TopKTask { outer, extent, inner, k, largest, positions } = self.task;
        let x = reads.get(0);
        expect_len("output", out, outer * k * inner);
        expect_len("input", x, outer * extent * inner);
        let each = outer.div_ceil(self.threads);
        exec.threading.zip_with_scratch(out, each * k * inner, scratch, extent, |piece, out, order| {
            for (i, out) in out.chunks_exact_mut(k * inner).enumerate() {
                let x = &x[(piece * each + i) * extent * inner..][..extent * inner];
                for line in 0..inner {
                    let at = |position: f32| x[position.to_bits() as usize * inner + line];
                    // Whole numbers in the memory of elements, and an order in which no two are equal.
                    order.iter_mut().enumerate().for_each(|(i, o)| *o = f32::from_bits(i as u32));
                    let rank = |position: &f32| {
                        let key = key(at(*position));
                        (if largest { Reverse(key) } else { Reverse(!key) }, position.to_bits())
                    };
                    if k < extent {
                        order.select_nth_unstable_by_key(k - 1, rank);
                    }
                    order[..k].sort_unstable_by_key(rank);
                    for (o, &position) in out[line..].iter_mut().step_by(inner).zip(&*order) {
                        *o = if positions { position.to_bits() as f32 } else { at(position) };
                    }
                }
            }
        });
    }
}

/// An integer that orders elements: zeros of either sign are equal, and NaN, of either sign, lies beyond all others.
fn key(x: f32) -> i32 {
    if x.is_nan() {
        return i32::MAX;
    }
    let bits = (x + 0.0).to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

/// Slices at computed indices: from `[batches][extents..][inner]`, with the indices `[batches][points][extents.len()]`, to
/// `[batches][points][inner]`.
#[derive(GetSize, Clone, Debug)]
pub struct GatherAtTask {
    /// How often there are slices and indices of their own.
    pub batches: usize,
    /// Slices that are taken.
    pub points: usize,
    /// Extents of the axes that the indices are on.
    pub extents: Vec<usize>,
    /// Elements of a slice.
    pub inner: usize,
}

impl Task for GatherAtTask {
    fn kind(&self) -> &'static str {
        "gather"
    }
}

impl Kernel for GatherAtTask {
    fn compute(&self, Call { reads, out, exec, .. }: Call<'_>) {
        let Self { batches, points, ref extents, inner } = *self;
        let (x, indices, len) = (reads.get(0), reads.get(1), extents.iter().product::<usize>());
        expect_len("input", x, batches * len * inner);
        expect_len("indices", indices, batches * points * extents.len());
        expect_len("output", out, batches * points * inner);
        exec.for_each_chunk(
            out,
            inner,
            #[inline(always)]
            |i, out| {
                let indices = &indices[i * extents.len()..][..extents.len()];
                let at = indices.iter().zip(extents).fold(0, |at, (&index, &extent)| at * extent + nearest(index, extent));
                out.copy_from_slice(&x[(i / points * len + at) * inner..][..inner]);
            },
        );
    }
}

/// Elements whose index on the middle axis is computed: from `[outer][extent][inner]`, with the indices `[outer][positions][inner]`, to
/// as many elements.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct GatherAlongTask {
    /// Extent of the axis that the indices are on.
    pub extent: usize,
    /// Extent of that axis in the output.
    pub positions: usize,
    /// Elements behind each.
    pub inner: usize,
}

impl Task for GatherAlongTask {
    fn kind(&self) -> &'static str {
        "gather"
    }
}

impl Kernel for GatherAlongTask {
    fn compute(&self, Call { reads, out, exec, .. }: Call<'_>) {
        let Self { extent, positions, inner } = *self;
        let (x, indices, outer) = (reads.get(0), reads.get(1), out.len() / (positions * inner).max(1));
        expect_len("output", out, outer * positions * inner);
        expect_len("input", x, outer * extent * inner);
        expect_len("indices", indices, out.len());
        exec.for_each_chunk(
            out,
            inner,
            #[inline(always)]
            |i, out| {
                let x = &x[i / positions * extent * inner..][..extent * inner];
                for (j, (o, &index)) in out.iter_mut().zip(&indices[i * inner..]).enumerate() {
                    *o = x[nearest(index, extent) * inner + j];
                }
            },
        );
    }
}

/// What becomes of an element that is there and one that comes to it.
#[derive(GetSize, Clone, Copy, Debug, PartialEq)]
pub enum Meeting {
    /// The one that comes last.
    Last,
    /// Their sum.
    Sum,
    /// Their product.
    Product,
    /// The larger one; NaN if either is.
    Larger,
    /// The smaller one; NaN if either is.
    Smaller,
}

impl Meeting {
    #[inline(always)]
    fn of(self, there: f32, comes: f32) -> f32 {
        match self {
            Meeting::Last => comes,
            Meeting::Sum => there + comes,
            Meeting::Product => there * comes,
            Meeting::Larger => math::maximum(there, comes),
            Meeting::Smaller => -math::maximum(-there, -comes),
        }
    }
}

/// `[extents..][inner]`, with slices `[points][inner]` brought to the indices `[points][extents.len()]`, one after the other.
#[derive(GetSize, Clone, Debug)]
pub struct ScatterAtTask {
    /// Slices that are brought.
    pub points: usize,
    /// Extents of the axes that the indices are on.
    pub extents: Vec<usize>,
    /// Elements of a slice.
    pub inner: usize,
    /// What becomes of elements that meet.
    pub meeting: Meeting,
}

impl Task for ScatterAtTask {
    fn kind(&self) -> &'static str {
        "scatter"
    }
}

impl Kernel for ScatterAtTask {
    fn compute(&self, Call { reads, out, .. }: Call<'_>) {
        let Self { points, ref extents, inner, meeting } = *self;
        let [x, indices, updates] = [0, 1, 2].map(|i| reads.get(i));
        expect_len("output", out, extents.iter().product::<usize>() * inner);
        expect_len("input", x, out.len());
        expect_len("indices", indices, points * extents.len());
        expect_len("updates", updates, points * inner);
        out.copy_from_slice(x);
        for point in 0..points {
            let indices = &indices[point * extents.len()..][..extents.len()];
            let at = indices.iter().zip(extents).try_fold(0, |at, (&index, &extent)| Some(at * extent + inside(index, extent)?));
            let Some(at) = at else { continue };
            let updates = &updates[point * inner..][..inner];
            out[at * inner..][..inner].iter_mut().zip(updates).for_each(|(o, &update)| *o = meeting.of(*o, update));
        }
    }
}

/// `[outer][extent][inner]`, with each element of `[outer][positions][inner]` brought to the index on the middle axis that is given for
/// it.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct ScatterAlongTask {
    /// Extent of the axis that the indices are on.
    pub extent: usize,
    /// Extent of that axis in indices and updates.
    pub positions: usize,
    /// Elements behind each.
    pub inner: usize,
    /// What becomes of elements that meet.
    pub meeting: Meeting,
}

impl Task for ScatterAlongTask {
    fn kind(&self) -> &'static str {
        "scatter"
    }
}

impl Kernel for ScatterAlongTask {
    fn compute(&self, Call { reads, out, exec, .. }: Call<'_>) {
        let Self { extent, positions, inner, meeting } = *self;
        let ([x, indices, updates], len) = ([0, 1, 2].map(|i| reads.get(i)), positions * inner);
        let outer = out.len() / (extent * inner).max(1);
        expect_len("output", out, outer * extent * inner);
        expect_len("input", x, out.len());
        expect_len("indices", indices, outer * len);
        expect_len("updates", updates, outer * len);
        exec.for_each_chunk(out, extent * inner, |i, out| {
            out.copy_from_slice(&x[i * extent * inner..][..extent * inner]);
            let (indices, updates) = (&indices[i * len..][..len], &updates[i * len..][..len]);
            for (place, (&index, &update)) in indices.iter().zip(updates).enumerate() {
                if let Some(at) = inside(index, extent) {
                    let o = &mut out[at * inner + place % inner];
                    *o = meeting.of(*o, update);
                }
            }
        });
    }
}
