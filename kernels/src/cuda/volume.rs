//! Volumes as stacks of their slices, and back, on a device: as [`crate::volume`] on the CPU.

use super::device::{Buffer, Result, Stream, upload};
use super::launch::{Arguments, Floats, Ints, Output, Source, address_or_null, arguments, count_pieces, int, launch_each};
use super::task::{Call, Kernel, Preparing, Task};
use super::{activation, fits, upload_ints};
use crate::volume::{StackTask, UnstackTask};

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[STACK, UNSTACK];

arguments! {
    /// Volumes whose slices are put below one another.
    StackArguments {
        x: Floats, out: Output,
        count: i32, depth: i32, height: i32, width: i32, stride: i32, phases: i32, pitch: i32, rows: i32, columns: i32,
        before_d: i32, before_h: i32, before_w: i32,
    }
}

const STACK: Source = Source {
    declaration: StackArguments::DECLARATION,
    kernels: &["stack"],
    text: r#"
KERNEL(stack, StackArguments) {
    EACH(i, a.count)
    int w = i % a.columns - a.before_w, r = i / a.columns % a.rows;
    int stack = i / (a.columns * a.rows), h = r % a.pitch - a.before_h;
    int d = r / a.pitch * a.stride + stack % a.phases - a.before_d;
    int exists = d >= 0 && d < a.depth && h >= 0 && h < a.height && w >= 0 && w < a.width;
    a.out[i] = exists ? a.x[((stack / a.phases * a.depth + d) * a.height + h) * a.width + w] : 0.0f;
}
"#,
};

impl Kernel for StackTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let stacks = count_pieces("output", out, self.rows * self.columns);
        reads[0].expect_len("input", stacks / self.phases.max(1) * self.input.iter().product::<usize>());
        // What is looked for beyond the volume is counted, too.
        fits("slice", (self.rows / self.pitch + 1).saturating_mul(self.stride).saturating_add(self.phases))?;
        let [depth, height, width] = self.input.map(int);
        let [before_d, before_h, before_w] = self.before.map(int);
        let arguments = StackArguments {
            x: reads[0].address(),
            out: out.address(),
            count: int(out.len()),
            depth,
            height,
            width,
            stride: int(self.stride),
            phases: int(self.phases),
            pitch: int(self.pitch),
            rows: int(self.rows),
            columns: int(self.columns),
            before_d,
            before_h,
            before_w,
        };
        // SAFETY: there are as many volumes as there are stacks of them, and nothing is read that does not exist.
        unsafe { launch_each(stream, "stack", out.len(), &arguments) }
    }
}

arguments! {
    /// Volumes of what was computed of stacks.
    UnstackArguments {
        sums: Floats, residual: Floats, border: Floats, classes: Ints, out: Output,
        count: i32, depth: i32, height: i32, width: i32, pitch: i32, rows: i32,
        filters: i32, slice_classes: i32, row_classes: i32, column_classes: i32,
        activation: i32, p: f32, q: f32,
    }
}

const UNSTACK: Source = Source {
    declaration: UnstackArguments::DECLARATION,
    kernels: &["unstack"],
    text: r#"
// `classes` has those of all slices, then of all rows, then of all columns.
KERNEL(unstack, UnstackArguments) {
    EACH(i, a.count)
    int w = i % a.width, h = i / a.width % a.height, slice = i / (a.width * a.height);
    int d = slice % a.depth, volume = slice / a.depth;
    float sum = a.sums[(volume * a.rows + d * a.pitch + h) * a.width + w];
    if (a.residual) sum += a.residual[i];
    if (a.border) {
        int kind = volume % a.filters * a.slice_classes + a.classes[d];
        kind = kind * a.row_classes + a.classes[a.depth + h];
        sum += a.border[kind * a.column_classes + a.classes[a.depth + a.height + w]];
    }
    a.out[i] = activate(a.activation, a.p, a.q, sum);
}
"#,
};

/// What takes stacks apart, with its tables on the device.
#[derive(Debug)]
struct PreparedUnstack {
    task: UnstackTask,
    /// What is added, by classes, and the class of each position.
    tables: Option<[Buffer; 2]>,
}

impl Task for UnstackTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        let Preparing { device, stream, .. } = preparing;
        let tables = match &self.borders {
            Some(borders) => {
                let classes: Vec<i32> = borders.classes.iter().flatten().map(|&class| int(class)).collect();
                Some([upload(*device, *stream, &borders.sums)?, upload_ints(*device, *stream, &classes)?])
            }
            None => None,
        };
        Ok(Box::new(PreparedUnstack { task: self.clone(), tables }))
    }
}

impl Kernel for PreparedUnstack {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let UnstackTask { output: [depth, height, width], pitch, rows, ref borders, accumulate, .. } = self.task;
        let volumes = count_pieces("output", out, depth * height * width);
        reads[0].expect_len("sums", volumes * rows * width);
        let residual = accumulate.then(|| reads.get(1).copied().unwrap_or(out));
        residual.iter().for_each(|residual| residual.expect_len("residual", out.len()));
        let counts = borders.as_ref().map_or([1; 3], |borders| borders.counts);
        let filters = borders.as_ref().map_or(1, |borders| borders.sums.len() / counts.iter().product::<usize>());
        let [slice_classes, row_classes, column_classes] = counts.map(int);
        let (function, p, q) = activation(self.task.activation);
        let table = |i: usize| address_or_null(self.tables.as_ref().map(|tables| tables[i].view()));
        let arguments = UnstackArguments {
            sums: reads[0].address(),
            residual: address_or_null(residual),
            border: table(0),
            classes: table(1),
            out: out.address(),
            count: int(out.len()),
            depth: int(depth),
            height: int(height),
            width: int(width),
            pitch: int(pitch),
            rows: int(rows),
            filters: int(filters),
            slice_classes,
            row_classes,
            column_classes,
            activation: function,
            p,
            q,
        };
        // SAFETY: the lengths of sums, residual and output were checked, and the tables have a class for each position and a sum for each
        // combination of classes.
        unsafe { launch_each(stream, "unstack", out.len(), &arguments) }
    }
}
