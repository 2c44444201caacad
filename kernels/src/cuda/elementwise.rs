//! Functions of elements on a device: as [`crate::elementwise`] on the CPU.

use super::coded;
use super::device::{Result, Stream, View};
use super::launch::{Arguments, Axes, Floats, Output, Source, arguments, each_axis, int, launch_each};
use super::task::{Call, Kernel, Preparing, Task};
use crate::broadcast::Broadcast;
use crate::elementwise::{BinaryTask, GateTask, MapTask, WhereTask};

/// The kernels of this family. What they compute of elements stands before all pieces: `unary` and `binary_of`, by the functions' codes.
pub(super) const SOURCES: &[Source] = &[MAP, BINARY, WHERE];

arguments! {
    /// A function of one element.
    MapArguments { x: Floats, out: Output, count: i32, function: i32, p: f32, q: f32 }
}

const MAP: Source = Source {
    declaration: MapArguments::DECLARATION,
    kernels: &["map"],
    text: r#"
KERNEL(map, MapArguments) {
    EACH(i, a.count)
    a.out[i] = unary(a.function, a.p, a.q, a.x[i]);
}
"#,
};

impl Kernel for MapTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        reads[0].expect_len("input", out.len());
        let (function, p, q) = coded(self.function);
        let arguments = MapArguments { x: reads[0].address(), out: out.address(), count: int(out.len()), function, p, q };
        // SAFETY: both have so many elements.
        unsafe { launch_each(stream, "map", out.len(), &arguments) }
    }
}

arguments! {
    /// A function of two elements.
    BinaryArguments {
        x: Floats, y: Floats, out: Output,
        count: i32, function: i32, relu: i32, rank: i32, extent: Axes, stride_x: Axes, stride_y: Axes,
    }
}

const BINARY: Source = Source {
    declaration: BinaryArguments::DECLARATION,
    kernels: &["binary"],
    text: r#"
// Axes begin with the innermost one.
KERNEL(binary, BinaryArguments) {
    EACH(i, a.count)
    unsigned rest = i, at_x = 0, at_y = 0;
    UNROLL for (int axis = 0; axis < 8; axis++) {
        if (axis >= a.rank) break;
        unsigned position = rest % a.extent[axis];
        rest /= a.extent[axis];
        at_x += position * a.stride_x[axis];
        at_y += position * a.stride_y[axis];
    }
    float z = binary_of(a.function, a.x[at_x], a.y[at_y]);
    a.out[i] = a.relu && z < 0.0f ? 0.0f : z;
}
"#,
};

impl Kernel for BinaryTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        expect_lens(&self.broadcast, reads, out);
        let axes: Vec<_> = self.broadcast.axes().collect();
        let arguments = BinaryArguments {
            x: reads[0].address(),
            y: reads[1].address(),
            out: out.address(),
            count: int(out.len()),
            function: i32::from(self.function.code()),
            relu: i32::from(self.relu),
            rank: int(axes.len()),
            extent: each_axis(axes.iter().map(|axis| axis.0)),
            stride_x: each_axis(axes.iter().map(|(_, strides)| strides[0])),
            stride_y: each_axis(axes.iter().map(|(_, strides)| strides[1])),
        };
        // SAFETY: all have the lengths that the axes were made of.
        unsafe { launch_each(stream, "binary", out.len(), &arguments) }
    }
}

impl Task for GateTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        self.in_planes().prepare(preparing)
    }
}

/// That operands and output have the lengths that the broadcast was made of.
fn expect_lens<const N: usize>(broadcast: &Broadcast<N>, operands: &[View<'_>], out: View<'_>) {
    for (operand, len) in operands.iter().zip(broadcast.lens()) {
        operand.expect_len("operand", len);
    }
    out.expect_len("output", broadcast.output_len());
}

arguments! {
    /// A choice between two elements.
    WhereArguments {
        condition: Floats, x: Floats, y: Floats, out: Output,
        count: i32, rank: i32, extent: Axes, stride_condition: Axes, stride_x: Axes, stride_y: Axes,
    }
}

const WHERE: Source = Source {
    declaration: WhereArguments::DECLARATION,
    kernels: &["where"],
    text: r#"
// Axes begin with the innermost one.
KERNEL(where, WhereArguments) {
    EACH(i, a.count)
    unsigned rest = i, at_condition = 0, at_x = 0, at_y = 0;
    UNROLL for (int axis = 0; axis < 8; axis++) {
        if (axis >= a.rank) break;
        unsigned position = rest % a.extent[axis];
        rest /= a.extent[axis];
        at_condition += position * a.stride_condition[axis];
        at_x += position * a.stride_x[axis];
        at_y += position * a.stride_y[axis];
    }
    a.out[i] = a.condition[at_condition] != 0.0f ? a.x[at_x] : a.y[at_y];
}
"#,
};

impl Kernel for WhereTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        expect_lens(&self.broadcast, reads, out);
        let axes: Vec<_> = self.broadcast.axes().collect();
        let stride = |operand: usize| each_axis(axes.iter().map(|(_, strides)| strides[operand]));
        let arguments = WhereArguments {
            condition: reads[0].address(),
            x: reads[1].address(),
            y: reads[2].address(),
            out: out.address(),
            count: int(out.len()),
            rank: int(axes.len()),
            extent: each_axis(axes.iter().map(|axis| axis.0)),
            stride_condition: stride(0),
            stride_x: stride(1),
            stride_y: stride(2),
        };
        // SAFETY: all have the lengths that the axes were made of.
        unsafe { launch_each(stream, "where", out.len(), &arguments) }
    }
}
