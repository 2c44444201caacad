//! Volumes as stacks of their slices, and back, against the definitions written out.

use crate::common::{
    Expected, Guarded, check_all, compare_within, elements, every, plainly, refuses_other_lengths, run_everywhere, sample,
    task_on_devices,
};
use fastrand::Rng;
use sslm_kernels::conv::Geometry;
use sslm_kernels::volume::{StackTask, UnstackTask, VolumeBorders};
use sslm_kernels::{Activation, Unary};

#[test]
fn slices_below_one_another() {
    let cases = sample(120, |c| {
        let input = [c.of(&[1, 2, 5]), c.of(&[1, 3]), c.of(&[1, 4, 17])];
        let before = [c.of(&[0, 1, 3]), c.of(&[0, 2]), c.of(&[0, 1])];
        let pitch = input[1] + c.of(&[0, 1, 2]);
        let (stride, phases) = c.of(&[(1, 1), (2, 1), (2, 2), (3, 2)]);
        let (rows, columns) = (c.of(&[1, 2, 7, 20]), input[2] + c.of(&[0, 1, 3]));
        (StackTask { input, stride, phases, pitch, rows, columns, before }, c.of(&[1, 3]))
    });
    check_all(&cases, |(task, volumes)| {
        let [depth, height, width] = task.input;
        let x: Guarded = elements(&mut Rng::with_seed(5), volumes * depth * height * width);
        let mut expected = Vec::new();
        for (volume, phase) in (0..*volumes).flat_map(|volume| (0..task.phases).map(move |phase| (volume, phase))) {
            for (row, column) in (0..task.rows).flat_map(|row| (0..task.columns).map(move |column| (row, column))) {
                let at = [row / task.pitch * task.stride + phase, row % task.pitch, column];
                let exists = (0..3).all(|axis| (task.before[axis]..task.before[axis] + task.input[axis]).contains(&at[axis]));
                let [d, h, w] = [0, 1, 2].map(|axis| at[axis].wrapping_sub(task.before[axis]));
                let element = if exists { x[((volume * depth + d) * height + h) * width + w] } else { 0.0 };
                expected.push(Expected::exactly(element));
            }
        }
        let out = run_everywhere(expected.len(), |out, exec| task.run(&x, out, exec))?;
        compare_within(&out, &expected, 0.0)?;
        task_on_devices(&expected, 0.0, task, &[&x], &[])
    });
}

/// Of one axis, with as many positions as fit.
fn axis(c: &mut crate::common::Choices) -> [usize; 5] {
    let (input, kernel, stride) = (c.of(&[1, 3, 6]), c.of(&[1, 2, 3]), c.of(&[1, 2]));
    let (dilation, pad) = (c.of(&[1, 2]), c.of(&[0, 1, 2]));
    [input + 4, kernel, stride, dilation, pad]
}

/// A window along two axes.
fn geometry(axes: [[usize; 5]; 2]) -> Geometry {
    let of = |i: usize| axes.map(|axis| axis[i]);
    let count = |[input, kernel, stride, dilation, pad]: [usize; 5]| (input + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
    Geometry {
        channels: 1,
        input: of(0),
        output: axes.map(count),
        kernel: of(1),
        strides: of(2),
        dilations: of(3),
        pad_before: of(4),
        transposed: false,
    }
}

#[test]
fn slices_taken_apart() {
    let cases = sample(80, |c| {
        let axes = [axis(c), axis(c), axis(c)];
        let activation = c.of(&[Activation::None, Activation::Relu, Activation::Other(Unary::Sigmoid)]);
        (axes, c.of(&[false, true]), c.of(&[0, 1, 3]), activation, c.of(&[false, true]), [c.of(&[1, 2]), c.of(&[1, 3])])
    });
    check_all(&cases, |&(axes, has_borders, between, activation, accumulate, [images, filters])| {
        let rng = &mut Rng::with_seed(6);
        let (along, plane) = (geometry([axes[0], [1, 1, 1, 1, 0]]), geometry([axes[1], axes[2]]));
        let output = [along.output[0], plane.output[0], plane.output[1]];
        let [depth, height, width] = output;
        let kernel = axes.map(|axis| axis[1]);
        let taps: Vec<f32> = elements(rng, filters * kernel.iter().product::<usize>());
        let pitch = height + between;
        let borders = has_borders.then(|| VolumeBorders::new(&along, &plane, &taps));
        let task = UnstackTask { output, pitch, rows: depth * pitch, borders, activation, accumulate };
        let sums: Guarded = elements(rng, images * filters * depth * pitch * width);
        let residual: Guarded = elements(rng, images * filters * depth * height * width);
        let mut expected = Vec::new();
        for volume in 0..images * filters {
            for at in every(|c| [0, 1, 2].map(|axis| c.of(&(0..output[axis]).collect::<Vec<_>>()))) {
                let mut sum = f64::from(sums[(volume * depth * pitch + at[0] * pitch + at[1]) * width + at[2]]);
                if accumulate {
                    sum += f64::from(residual[((volume * depth + at[0]) * height + at[1]) * width + at[2]]);
                }
                for tap in every(|c| [0, 1, 2].map(|axis| c.of(&(0..kernel[axis]).collect::<Vec<_>>()))) {
                    let inside = (0..3).all(|axis| {
                        let [input, _, stride, dilation, pad] = axes[axis];
                        (pad..pad + input).contains(&(at[axis] * stride + tap[axis] * dilation))
                    });
                    if has_borders && inside {
                        let place = ((volume % filters * kernel[0] + tap[0]) * kernel[1] + tap[1]) * kernel[2] + tap[2];
                        sum += f64::from(taps[place]);
                    }
                }
                let value = match activation {
                    Activation::Relu => sum.max(0.0),
                    Activation::None => sum,
                    _ => 1.0 / (1.0 + (-sum).exp()),
                };
                expected.push(Expected::near(value, 8.0));
            }
        }
        let out = run_everywhere(expected.len(), |out, exec| {
            if accumulate {
                out.copy_from_slice(&residual);
            }
            task.run(&sums, out, exec);
        })?;
        compare_within(&out, &expected, 8.0)?;
        let reads: &[&[f32]] = if accumulate { &[&sums, &residual] } else { &[&sums] };
        task_on_devices(&expected, 8.0, &task, reads, &[])
    });
}

#[test]
fn refuses_wrong_lengths() {
    let stack = StackTask { input: [2, 3, 4], stride: 1, phases: 1, pitch: 4, rows: 8, columns: 5, before: [0, 1, 1] };
    refuses_other_lengths([("input", 3 * 24), ("output", 3 * 40)], |[x, mut out]| stack.run(&x, &mut out, plainly()));
    let unstack =
        UnstackTask { output: [2, 3, 4], pitch: 4, rows: 7, borders: None, activation: Activation::None, accumulate: false };
    refuses_other_lengths([("sums", 3 * 28), ("output", 3 * 24)], |[x, mut out]| unstack.run(&x, &mut out, plainly()));
}
