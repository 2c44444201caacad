//! Resampled axes against sums written out in f64.

use crate::common::{
    Choices, Expected, Guarded, check_all, compare, elements, in_blocks, plainly, refuses_other_lengths, run_everywhere, sample,
    task_on_devices,
};
use fastrand::Rng;
use sslm_kernels::layout::Extents;
use sslm_kernels::resample::{ResampleTask, Windows, resample};

/// One position: what it starts from, the first old position, and the weights.
type Window = (f32, usize, Vec<f32>);

/// A tensor seen as `[outer][extent][inner]`.
#[derive(Debug)]
struct Axis {
    outer: usize,
    extent: usize,
    inner: usize,
    windows: Vec<Window>,
}

impl Axis {
    fn choose(c: &mut Choices) -> Self {
        let extent = c.of(&[1, 2, 3, 8, 17, 33]);
        let positions: Vec<usize> = (0..extent).collect();
        let mut window = || -> Window {
            let (first, most) = (c.of(&positions), c.of(&[0, 1, 2, 4, 9]));
            let weights = (0..most.min(extent - first)).map(|_| c.of(&[0.25, -0.1, 0.7, 1.0])).collect();
            (c.of(&[0.0, 0.0, -1.5]), first, weights)
        };
        let mut windows = Vec::new();
        for _ in 0..extent % 5 * 3 {
            windows.push(window());
        }
        Axis { outer: c.of(&[1, 2, 5]), extent, inner: c.of(&[1, 2, 8, 9, 16, 300]), windows }
    }

    fn windows(&self) -> Windows {
        let mut windows = Windows::default();
        for (start, first, weights) in &self.windows {
            windows.push(*start, *first, weights.iter().copied());
        }
        windows
    }

    fn input(&self) -> Guarded {
        elements(&mut Rng::with_seed(31), self.outer * self.extent * self.inner)
    }

    fn resampled(&self, x: &[f32]) -> Vec<Expected> {
        let at = |outer: usize, position: usize, inner: usize| x[(outer * self.extent + position) * self.inner + inner];
        let mut expected = Vec::new();
        for outer in 0..self.outer {
            for (start, first, weights) in &self.windows {
                for inner in 0..self.inner {
                    let products =
                        weights.iter().enumerate().map(|(tap, w)| f64::from(*w) * f64::from(at(outer, first + tap, inner)));
                    expected.push(Expected::sum(std::iter::once(f64::from(*start)).chain(products)));
                }
            }
        }
        expected
    }
}

#[test]
fn an_axis_is_resampled() {
    check_all(&sample(300, Axis::choose), |case| {
        let (x, windows) = (case.input(), case.windows());
        let expected = case.resampled(&x);
        let &Axis { extent, inner, .. } = case;
        let out = run_everywhere(expected.len(), |out, exec| resample(&x, extent, inner, &windows, out, exec))?;
        compare(&out, &expected)?;
        task_on_devices(&expected, 1.0, &ResampleTask { extent, inner, windows, in_planes: None }, &[&x], &[])
    });
}

/// An axis of planes, whose channels may lie in blocks.
#[test]
fn an_axis_of_planes_is_resampled_in_blocks() {
    let plane = |c: &mut Choices| ([c.of(&[1, 2]), c.of(&[1, 4, 8, 9, 16, 17]), c.of(&[1, 5])], Axis::choose(c));
    check_all(&sample(150, plane), |(sizes, axis)| {
        let &[images, channels, outer] = sizes;
        let (inner, positions) = (axis.inner.min(9), axis.windows.len());
        let case = Axis { outer: images * channels * outer, extent: axis.extent, inner, windows: axis.windows.clone() };
        let x = case.input();
        let expected = case.resampled(&x);
        let of = |extent: usize| Extents { images, channels, plane: outer * extent * inner };
        if positions == 0 {
            return Ok(());
        }
        let in_planes = Some([axis.extent, positions].map(of));
        in_blocks(&ResampleTask { extent: axis.extent, inner, windows: case.windows(), in_planes }, &[&x], &expected)
    });
}

#[test]
fn refuses_wrong_lengths() {
    let mut windows = Windows::default();
    windows.push(0.0, 1, [0.5, 0.5]);
    windows.push(1.0, 0, []);
    for inner in [1, 4] {
        refuses_other_lengths([("input", 5 * 3 * inner), ("output", 5 * 2 * inner)], |[x, mut out]| {
            resample(&x, 3, inner, &windows, &mut out, plainly());
        });
    }
}

#[test]
#[should_panic(expected = "a window up to 4 of 3 positions")]
fn refuses_windows_outside() {
    let mut windows = Windows::default();
    windows.push(0.0, 2, [0.5, 0.5]);
    let task = Box::new(ResampleTask { extent: 3, inner: 1, windows, in_planes: None });
    sslm_kernels::cpu::Task::prepare(task, &sslm_kernels::cpu::Target::new(sslm_kernels::Isa::best(), 1));
}
