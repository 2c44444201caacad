//! Normalisations against their definitions in `f64`: the edges of LRN's windows, softmax of elements whose exponentials overflow,
//! and scales that go with channels, not with images.

use crate::common::{
    Expected, Guarded, check_all, compare, elements, every, plainly, refuses, refuses_other_lengths, run_everywhere,
    task_on_devices,
};
use fastrand::Rng;
use sslm_kernels::normalize::{GroupNormTask, LayerNormTask, LrnTask, ScaleShiftTask, SoftmaxTask, scale_shift};

#[test]
fn lrn() {
    let cases = every(|c| {
        let (alpha, bias) = c.of(&[(1.5, 1.0), (1e-4, 2.0)]);
        let (channels, plane) = (c.of(&[1, 2, 5, 9]), c.of(&[1, 7, 16, 67]));
        let lrn = LrnTask { channels, plane, size: c.of(&[1, 2, 3, 4, 5, 6]), alpha, beta: c.of(&[0.75, 0.5, 1.0, 2.3]), bias };
        (c.of(&[1, 3]), lrn)
    });
    check_all(&cases, |(batch, lrn)| {
        let x: Guarded = elements(&mut Rng::with_seed(11), batch * lrn.channels * lrn.plane);
        let mut expected = Vec::new();
        for image in x.chunks_exact(lrn.channels * lrn.plane) {
            let channels: Vec<&[f32]> = image.chunks_exact(lrn.plane).collect();
            for (c, channel) in channels.iter().enumerate() {
                // In ONNX's words: from c - floor((size - 1) / 2) to c + ceil((size - 1) / 2), both included.
                let reach = (lrn.size - 1) as f64 / 2.0;
                let is_near = |other: usize| {
                    let distance = other as f64 - c as f64;
                    -reach.floor() <= distance && distance <= reach.ceil()
                };
                let near: Vec<&&[f32]> = channels.iter().enumerate().filter(|(o, _)| is_near(*o)).map(|(_, o)| o).collect();
                expected.extend(channel.iter().enumerate().map(|(i, &x)| {
                    let squares: f64 = near.iter().map(|other| f64::from(other[i]).powi(2)).sum();
                    let base = f64::from(lrn.bias) + f64::from(lrn.alpha) / lrn.size as f64 * squares;
                    let value = f64::from(x) / base.powf(f64::from(lrn.beta));
                    // An error of the base counts beta times.
                    Expected::near(value, value.abs() * (1.0 + f64::from(lrn.beta)))
                }));
            }
        }
        compare(&run_everywhere(x.len(), |out, exec| lrn.run(&x, out, exec))?, &expected)?;
        task_on_devices(&expected, 1.0, lrn, &[&x], &[])
    });
}

#[derive(Clone, Copy, Debug)]
struct SoftmaxCase {
    outer: usize,
    axis: usize,
    inner: usize,
    scale: f32,
    offset: f32,
    log: bool,
}

#[test]
fn softmax_of_any_magnitude() {
    let cases = every(|c| {
        let (scale, offset) = c.of(&[(1.0, 0.0), (20.0, 0.0), (20.0, 1e4), (20.0, -1e4), (1e4, 0.0), (f32::MAX, 0.0)]);
        SoftmaxCase {
            outer: c.of(&[0, 1, 3]),
            axis: c.of(&[1, 2, 10, 16, 300]),
            inner: c.of(&[1, 5, 70]),
            scale,
            offset,
            log: c.of(&[false, true]),
        }
    });
    check_all(&cases, |&SoftmaxCase { outer, axis, inner, scale, offset, log }| {
        let x: Vec<f32> = elements(&mut Rng::with_seed(12), outer * axis * inner);
        let x: Guarded = x.iter().map(|x| x * scale + offset).collect();
        let mut expected = vec![Expected::exactly(0.0); x.len()];
        for first in (0..outer).flat_map(|outer| (0..inner).map(move |i| outer * axis * inner + i)) {
            let line: Vec<usize> = (0..axis).map(|i| first + i * inner).collect();
            let max = line.iter().map(|&i| f64::from(x[i])).fold(f64::NEG_INFINITY, f64::max);
            let exponent = |i: usize| f64::from(x[i]) - max;
            let sum: f64 = line.iter().map(|&i| exponent(i).exp()).sum();
            for &i in &line {
                // What rounds the exponent off by a part of its size does so to the result as often as the exponent says.
                let value = exponent(i).exp() / sum;
                let log_of_value = exponent(i) - sum.ln();
                expected[i] = match log {
                    true if log_of_value < f64::from(f32::MIN) => Expected::exactly(f32::NEG_INFINITY),
                    // What the sum is rounded by, its logarithm is off by.
                    true => Expected::near(log_of_value, 1.0 + exponent(i).abs() + sum.ln()),
                    false => Expected::near(value, value * (1.0 + exponent(i).abs())),
                };
            }
        }
        let task = SoftmaxTask { axis, inner, log };
        compare(&run_everywhere(x.len(), |out, exec| task.run(&x, out, exec))?, &expected)?;
        task_on_devices(&expected, 1.0, &task, &[&x], &[])
    });
}

#[test]
fn scale_and_shift() {
    let cases = every(|c| (c.of(&[0, 1, 3]), c.of(&[1, 2, 9]), c.of(&[1, 7, 64])));
    check_all(&cases, |&(batch, channels, plane)| {
        let rng = &mut Rng::with_seed(13);
        let x: Guarded = elements(rng, batch * channels * plane);
        let (scale, shift): (Guarded, Guarded) = (elements(rng, channels), elements(rng, channels));
        let mut expected = Vec::new();
        for image in x.chunks_exact(channels * plane) {
            for (c, channel) in image.chunks_exact(plane).enumerate() {
                let terms = |x: &f32| [f64::from(scale[c]) * f64::from(*x), f64::from(shift[c])];
                expected.extend(channel.iter().map(|x| Expected::sum(terms(x))));
            }
        }
        let out = run_everywhere(x.len(), |out, exec| scale_shift(&x, plane, &scale, &shift, out, exec))?;
        compare(&out, &expected)?;
        task_on_devices(&expected, 1.0, &ScaleShiftTask { plane }, &[&x], &[&scale, &shift])
    });
}

#[test]
fn groups_of_mean_0_and_variance_1() {
    let cases = every(|c| {
        let (groups, group) = (c.of(&[1, 2, 3]), c.of(&[1, 2, 5]));
        (c.of(&[1, 3]), groups, group, c.of(&[1, 2, 15, 16, 17, 49, 300]), c.of(&[0.0, 100.0]))
    });
    check_all(&cases, |&(batch, groups, group, plane, offset)| {
        let (rng, channels) = (&mut Rng::with_seed(22), groups * group);
        let (scale, shift): (Guarded, Guarded) = (elements(rng, channels), elements(rng, channels));
        let x: Guarded = elements::<Vec<f32>>(rng, batch * channels * plane).iter().map(|x| x + offset).collect();
        let mut expected = Vec::new();
        for (i, x) in x.chunks_exact(group * plane).enumerate() {
            let mean_of = |f: &dyn Fn(f64) -> f64| x.iter().map(|&x| f(f64::from(x))).sum::<f64>() / x.len() as f64;
            let mean = mean_of(&|x| x);
            let deviation = (mean_of(&|x| (x - mean).powi(2)) + 0.01).sqrt();
            for (c, plane) in x.chunks_exact(plane).enumerate() {
                let c = i % groups * group + c;
                let terms = |x: &f32| [(f64::from(*x) - mean) / deviation * f64::from(scale[c]), f64::from(shift[c])];
                expected.extend(plane.iter().map(|x| Expected::sum(terms(x))));
            }
        }
        let task = GroupNormTask { group, plane, epsilon: 0.01 };
        compare(&run_everywhere(x.len(), |out, exec| task.run(&x, [&scale, &shift], out, exec))?, &expected)?;
        task_on_devices(&expected, 1.0, &task, &[&x], &[&scale, &shift])
    });
}

#[test]
fn lines_of_mean_0_and_variance_1() {
    let cases = every(|c| {
        let (line, inner) = (c.of(&[1, 2, 15, 16, 17, 96, 300]), c.of(&[1, 2, 5, 256, 260]));
        (c.of(&[0, 1, 3]), LayerNormTask { line, inner, epsilon: 0.01 }, c.of(&[0.0, 100.0]))
    });
    check_all(&cases, |&(outer, task, offset)| {
        let LayerNormTask { line, inner, .. } = task;
        let rng = &mut Rng::with_seed(23);
        let (scale, shift): (Guarded, Guarded) = (elements(rng, line), elements(rng, line));
        let x: Guarded = elements::<Vec<f32>>(rng, outer * line * inner).iter().map(|x| x + offset).collect();
        let mut expected = vec![Expected::exactly(0.0); x.len()];
        for first in (0..outer).flat_map(|outer| (0..inner).map(move |i| outer * line * inner + i)) {
            let along = || (0..line).map(|i| f64::from(x[first + i * inner]));
            let mean = along().sum::<f64>() / line as f64;
            let deviation = (along().map(|x| (x - mean).powi(2)).sum::<f64>() / line as f64 + 0.01).sqrt();
            for (i, x) in along().enumerate() {
                let terms = [(x - mean) / deviation * f64::from(scale[i]), f64::from(shift[i])];
                expected[first + i * inner] = Expected::sum(terms);
            }
        }
        compare(&run_everywhere(x.len(), |out, exec| task.run(&x, [&scale, &shift], out, exec))?, &expected)?;
        task_on_devices(&expected, 1.0, &task, &[&x], &[&scale, &shift])
    });
}

#[test]
fn refuses_wrong_lengths() {
    type Kernel = fn(&[f32], &mut [f32]);
    let kernels: [(&str, Kernel); 5] = [
        ("lrn", |x, out| {
            let lrn = LrnTask { channels: 3, plane: 4, size: 1, alpha: 1.0, beta: 0.75, bias: 1.0 };
            lrn.run(x, out, plainly());
        }),
        ("softmax", |x, out| SoftmaxTask { axis: 3, inner: 4, log: false }.run(x, out, plainly())),
        ("group_norm", |x, out| {
            let norm = GroupNormTask { group: 3, plane: 4, epsilon: 0.1 };
            norm.run(x, [&[1.0; 3]; 2], out, plainly());
        }),
        ("layer_norm", |x, out| {
            let task = LayerNormTask { line: 3, inner: 4, epsilon: 0.1 };
            task.run(x, [&[1.0; 3]; 2], out, plainly());
        }),
        ("scale_shift", |x, out| scale_shift(x, 4, &[1.0; 3], &[1.0; 3], out, plainly())),
    ];
    for (_, kernel) in kernels {
        refuses_other_lengths([("input", 24), ("output", 24)], |[x, mut out]| kernel(&x, &mut out));
    }
    // Input and output agree, but on one channel more than whole images.
    check_all(&kernels, |(_, kernel)| refuses(|| kernel(&[1.0; 28], &mut [0.0; 28])));
    refuses_other_lengths([("scale", 3), ("shift", 3)], |[scale, shift]| {
        scale_shift(&[1.0; 24], 4, &scale, &shift, &mut [0.0; 24], plainly());
    });
}
