//! Volumes, on their way through a convolution over planes: the slices of a volume are put below one another, and what comes out is taken
//! apart again.
//!
//! A window over depth, height and width of a volume is one over height and width of such a stack, whose taps lie as many rows apart as
//! slices do. Between two slices the stack has the rows of zeros that a window may reach. So volumes need no kernels of their own, no
//! element is copied more than once, and only the positions between two slices are computed in vain.

use crate::conv::{Geometry, coverage, sums_along};
use crate::cpu::{Call, Kernel};
use crate::{Activation, Exec, Task, activation, count_pieces, expect_len};
use get_size2::GetSize;

/// Volumes `[volumes][depth][height][width]` as stacks `[volumes][phases][rows][columns]`. Row r of phase p is row `r % pitch - before[1]`
/// of slice `r / pitch * stride + p - before[0]`, behind `before[2]` zeros; what does not exist is zero.
#[derive(GetSize, Clone, Debug)]
pub struct StackTask {
    /// Depth, height and width.
    pub input: [usize; 3],
    /// Slices from one in a stack to the next.
    pub stride: usize,
    /// Stacks of a volume, which begin with slices that follow each other.
    pub phases: usize,
    /// Rows from one slice of a stack to the next, at least 1.
    pub pitch: usize,
    /// Rows of a stack.
    pub rows: usize,
    /// Columns of a stack.
    pub columns: usize,
    /// Zeros before each axis.
    pub before: [usize; 3],
}

impl Task for StackTask {
    fn kind(&self) -> &'static str {
        "stack"
    }
}

impl Kernel for StackTask {
    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), call.out, call.exec);
    }
}

impl StackTask {
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], out: &mut [f32], exec: Exec) {
        let Self { input: [depth, height, width], stride, phases, pitch, rows, columns, before } = *self;
        let stacks = count_pieces("output", out, rows * columns);
        expect_len("input", x, stacks / phases.max(1) * depth * height * width);
        // Columns of a stack's row that exist in the volume, and the first of them there.
        let first = before[2].min(columns);
        let end = (before[2] + width).min(columns);
        exec.for_each_chunk(
            out,
            rows * columns,
            #[inline(always)]
            |i, out| {
                let x = &x[i / phases * depth * height * width..][..depth * height * width];
                for (r, out) in out.chunks_exact_mut(columns.max(1)).enumerate() {
                    let slice = (r / pitch * stride + i % phases).checked_sub(before[0]).filter(|&slice| slice < depth);
                    let row = (r % pitch).checked_sub(before[1]).filter(|&row| row < height);
                    let Some((slice, row)) = slice.zip(row) else {
                        out.fill(0.0);
                        continue;
                    };
                    out[..first].fill(0.0);
                    out[first..end].copy_from_slice(&x[(slice * height + row) * width..][..end - first]);
                    out[end..].fill(0.0);
                }
            },
        );
    }
}

/// Volumes `[volumes][depth][height][width]` of what was computed of stacks, `[volumes][rows][width]`: row h of slice d is row
/// `d * pitch + h` there. Where it adds to a tensor, it reads that as its second one, or finds it in its output.
#[derive(GetSize, Clone, Debug)]
pub struct UnstackTask {
    /// Depth, height and width.
    pub output: [usize; 3],
    /// Rows from one slice of a stack to the next.
    pub pitch: usize,
    /// Rows of a stack.
    pub rows: usize,
    /// What is added to each element.
    pub borders: Option<VolumeBorders>,
    /// Applied last.
    #[get_size(ignore)]
    pub activation: Activation,
    /// Whether the output holds elements already, to which others are added before the activation.
    pub accumulate: bool,
}

/// What constant channels add to each position of a filter's volume: it depends only on which taps lie inside the input there.
#[derive(GetSize, Clone, Debug)]
pub struct VolumeBorders {
    /// The class of each position along depth, height and width.
    pub(crate) classes: [Vec<usize>; 3],
    /// How many classes each axis has.
    pub(crate) counts: [usize; 3],
    /// `[filters][classes of depth][of height][of width]`.
    pub(crate) sums: Vec<f32>,
}

impl VolumeBorders {
    /// No fewer bytes than [`Self::new`] takes, of so many taps.
    pub fn most_bytes(depth: &Geometry, plane: &Geometry, taps: usize) -> usize {
        let axes = [(depth, 0), (plane, 0), (plane, 1)];
        let classes = axes.map(|(g, axis)| g.output[axis].min(2 * g.kernel[axis] + 1));
        let of_filter = classes.iter().fold(1usize, |all, &classes| all.saturating_mul(classes));
        let volume = depth.kernel[0] * plane.kernel[0] * plane.kernel[1];
        let kernel = volume.saturating_mul(8);
        let positions: usize = axes.iter().map(|(g, axis)| g.output[*axis]).sum();
        // Each filter's sums, and while they are made, those of one filter in twice their size, axis by axis.
        let sums = (taps / volume.max(1) * 2).saturating_mul(of_filter).saturating_mul(size_of::<f32>());
        sums.saturating_add(of_filter.max(kernel).saturating_mul(4 * size_of::<f64>())).saturating_add(128 * positions)
    }

    /// Of `taps`, `[filters][KD][KH][KW]`. The axes are those of a window over depth alone (its rows) and of one over height and width.
    ///
    /// # Panics
    /// If there are other than whole filters of taps.
    pub fn new(depth: &Geometry, plane: &Geometry, taps: &[f32]) -> Self {
        let axes = [coverage(depth, 0), coverage(plane, 0), coverage(plane, 1)];
        let [kd, kh, kw] = [depth.kernel[0], plane.kernel[0], plane.kernel[1]];
        count_pieces("taps", taps, kd * kh * kw);
        let [slices, rows, columns] = &axes.each_ref().map(|axis| &axis.1);
        let mut sums = Vec::new();
        for taps in taps.chunks_exact(kd * kh * kw) {
            let taps: Vec<f64> = taps.iter().copied().map(f64::from).collect();
            let of_rows = sums_along(&taps, [kw, 1], columns);
            let of_slices = sums_along(&of_rows, [kh, columns.len()], rows);
            let all = sums_along(&of_slices, [kd, rows.len() * columns.len()], slices);
            sums.extend(all.into_iter().map(|sum| sum as f32));
        }
        let counts = [0, 1, 2].map(|axis: usize| axes[axis].1.len());
        VolumeBorders { classes: axes.map(|axis| axis.0), counts, sums }
    }
}

impl Task for UnstackTask {
    fn kind(&self) -> &'static str {
        "unstack"
    }
}

impl Kernel for UnstackTask {
    fn compute(&self, Call { reads, out, exec, .. }: Call<'_>) {
        if reads.len() > 1 {
            out.copy_from_slice(reads.get(1));
        }
        self.run(reads.get(0), out, exec);
    }
}

impl UnstackTask {
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, sums: &[f32], out: &mut [f32], exec: Exec) {
        let UnstackTask { output: [depth, height, width], pitch, rows, ref borders, activation, accumulate } = *self;
        let volumes = count_pieces("output", out, depth * height * width);
        expect_len("sums", sums, volumes * rows * width);
        exec.for_each_chunk(
            out,
            height * width,
            #[inline(always)]
            |i, out| {
                let (volume, slice) = (i / depth, i % depth);
                let sums = &sums[(volume * rows + slice * pitch) * width..][..height * width];
                if accumulate {
                    out.iter_mut().zip(sums).for_each(|(o, sum)| *o += sum);
                } else {
                    out.copy_from_slice(sums);
                }
                if let Some(borders) = borders {
                    borders.add(volume, slice, out);
                }
                if let Some(function) = activation.function() {
                    activation::in_place(exec.isa, function, out);
                }
            },
        );
    }
}

impl VolumeBorders {
    /// Adds to the elements of one slice of a volume, which is that of filter `volume` of any image.
    #[inline(always)]
    fn add(&self, volume: usize, slice: usize, out: &mut [f32]) {
        let [slices, rows, columns] = self.counts;
        let filter = volume % (self.sums.len() / (slices * rows * columns));
        let sums = &self.sums[(filter * slices + self.classes[0][slice]) * rows * columns..][..rows * columns];
        for (out, &row) in out.chunks_exact_mut(self.classes[2].len()).zip(&self.classes[1]) {
            let sums = &sums[row * columns..][..columns];
            out.iter_mut().zip(&self.classes[2]).for_each(|(o, &column)| *o += sums[column]);
        }
    }
}
