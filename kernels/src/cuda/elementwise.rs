//! Functions of elements on a device: as [`crate::elementwise`] on the CPU.

use super::activation;
use super::device::{Result, Stream};
use super::launch::{Arguments, Axes, Floats, Output, Source, arguments, each_axis, int, launch_each};
use super::task::{Call, Kernel};
use crate::elementwise::{BinaryTask, Function, MapTask, Operation};

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[MAP, BINARY];

/// A function by the code that kernels know, and its parameters.
fn coded(function: Function) -> (i32, f32, f32) {
    match function {
        Function::Activation(function) => activation(function),
        Function::Sigmoid => (4, 0.0, 0.0),
        Function::Tanh => (5, 0.0, 0.0),
        Function::HardSigmoid { alpha, beta } => (6, alpha, beta),
        Function::HardSwish => (7, 0.0, 0.0),
        Function::Elu { alpha } => (8, alpha, 0.0),
        Function::Mish => (9, 0.0, 0.0),
        Function::Sqrt => (10, 0.0, 0.0),
    }
}

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
    float x = a.x[i];
    float y;
    switch (a.function) {
    case 4: y = 1.0f / (1.0f + expf(-x)); break;
    case 5: y = tanhf(x); break;
    case 6: y = unit(a.p * x + a.q); break;
    case 7: y = x * unit(x * (1.0f / 6.0f) + 0.5f); break;
    case 8: y = x < 0.0f ? a.p * expm1f(x) : x; break;
    case 9: y = mish(x); break;
    case 10: y = sqrtf(x); break;
    default: y = activate(a.function, a.p, a.q, x);
    }
    a.out[i] = y;
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
    float x = a.x[at_x], y = a.y[at_y], z;
    switch (a.function) {
    case 0: z = x + y; break;
    case 1: z = x - y; break;
    case 2: z = x * y; break;
    case 3: z = x / y; break;
    case 4: z = powf(x, y); break;
    default: z = x < 0.0f ? x * y : x;
    }
    a.out[i] = a.relu ? fmaxf(z, 0.0f) : z;
}
"#,
};

impl Kernel for BinaryTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let lens = self.broadcast.lens();
        for (what, view, len) in [("a", reads[0], lens[0]), ("b", reads[1], lens[1]), ("output", out, lens[2])] {
            view.expect_len(what, len);
        }
        let axes: Vec<_> = self.broadcast.axes().collect();
        let arguments = BinaryArguments {
            x: reads[0].address(),
            y: reads[1].address(),
            out: out.address(),
            count: int(out.len()),
            function: match self.operation {
                Operation::Add => 0,
                Operation::Sub => 1,
                Operation::Mul => 2,
                Operation::Div => 3,
                Operation::Pow => 4,
                Operation::PRelu => 5,
            },
            relu: i32::from(self.relu),
            rank: int(axes.len()),
            extent: each_axis(axes.iter().map(|axis| axis.0)),
            stride_x: each_axis(axes.iter().map(|axis| axis.1)),
            stride_y: each_axis(axes.iter().map(|axis| axis.2)),
        };
        // SAFETY: all have the lengths that the axes were made of.
        unsafe { launch_each(stream, "binary", out.len(), &arguments) }
    }
}
