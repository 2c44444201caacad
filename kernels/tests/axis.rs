//! Rebuilding, averaging and searching one axis, and reordering all of them, against index arithmetic written out.

mod common;

use common::{Choices, Expected, Guarded, check_all, compare, numbers, run, sample};
use fastrand::Rng;
use sslm_kernels::axis::{From, arg_max, mean, remap, strided_copy};
use sslm_kernels::normalize::instance_norm;
use sslm_kernels::pool::{global_average, global_max};

/// A tensor seen as `[outer][extent][inner]`.
#[derive(Debug)]
struct Axis {
    outer: usize,
    extent: usize,
    inner: usize,
    sources: Vec<From>,
}

impl Axis {
    fn choose(c: &mut Choices) -> Self {
        let extent = c.of(&[1, 2, 3, 8, 17]);
        let positions: Vec<usize> = (0..extent).collect();
        let sources = (0..c.of(&[0, 1, 4, 11])).map(|_| match c.of(&[0, 1, 2]) {
            0 => From::Position(c.of(&positions)),
            1 => From::Constant(c.of(&[0.0, -1.5])),
            _ => From::Between(c.of(&positions), c.of(&positions), c.of(&[0.0, 0.25, 1.0])),
        });
        let sources = sources.collect();
        Axis { outer: c.of(&[1, 2, 5]), extent, inner: c.of(&[1, 2, 9]), sources }
    }

    fn input(&self) -> Guarded {
        numbers(&mut Rng::with_seed(21), self.outer * self.extent * self.inner)
    }

    /// The numbers along the axis at each (outer, inner), in the order of an output of one number each.
    fn lines(&self, x: &[f32]) -> Vec<Vec<f64>> {
        let at = |o: usize, e: usize, i: usize| f64::from(x[(o * self.extent + e) * self.inner + i]);
        let line = |o: usize, i: usize| (0..self.extent).map(|e| at(o, e, i)).collect();
        (0..self.outer).flat_map(|o| (0..self.inner).map(move |i| (o, i))).map(|(o, i)| line(o, i)).collect()
    }
}

#[test]
fn an_axis_is_rebuilt() {
    check_all(&sample(400, Axis::choose), |case| {
        let x = case.input();
        let lines = case.lines(&x);
        let mut expected = Vec::new();
        for outer in lines.chunks(case.inner) {
            for source in &case.sources {
                expected.extend(outer.iter().map(|line| match *source {
                    From::Position(p) => Expected::near(line[p], 0.0),
                    From::Constant(value) => Expected::exactly(value),
                    From::Between(a, b, share) => Expected::sum([line[a] * (1.0 - f64::from(share)), line[b] * f64::from(share)]),
                }));
            }
        }
        let out = run(expected.len(), |out, threading| remap(&x, case.extent, case.inner, &case.sources, out, threading))?;
        compare(&out, &expected)
    });
}

#[test]
fn means_and_largest_positions() {
    check_all(&sample(200, Axis::choose), |case| {
        let x: Guarded = case.input().iter().map(|v| (v * 4.0).round()).collect(); // with many equal ones
        let lines = case.lines(&x);
        let means: Vec<Expected> = lines.iter().map(|l| Expected::sum(l.iter().map(|v| v / case.extent as f64))).collect();
        let out = run(means.len(), |out, threading| mean(&x, case.extent, case.inner, out, threading))?;
        compare(&out, &means)?;
        for last in [false, true] {
            let position = |line: &Vec<f64>| {
                let largest = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let found = |v: &f64| *v == largest;
                let position = if last { line.iter().rposition(found) } else { line.iter().position(found) };
                Expected::exactly(position.expect("the largest is one of them") as f32)
            };
            let out = run(lines.len(), |out, threading| arg_max(&x, case.extent, case.inner, last, out, threading))?;
            compare(&out, &lines.iter().map(position).collect::<Vec<_>>())?;
        }
        Ok(())
    });
}

#[test]
fn planes_as_wholes() {
    check_all(&sample(60, Axis::choose), |case| {
        // [outer images][inner channels][extent]: each line is a plane.
        let (planes, plane, channels) = (case.outer * case.inner, case.extent, case.inner);
        let rng = &mut Rng::with_seed(22);
        let x: Guarded = numbers(rng, planes * plane);
        let (scale, shift): (Vec<f32>, Vec<f32>) = (numbers(rng, channels), numbers(rng, channels));
        let all: Vec<Vec<f64>> = x.chunks(plane).map(|p| p.iter().map(|&v| f64::from(v)).collect()).collect();
        let largest: Vec<Expected> =
            all.iter().map(|p| Expected::near(p.iter().copied().fold(f64::MIN, f64::max), 0.0)).collect();
        compare(&run(planes, |out, threading| global_max(&x, plane, out, threading))?, &largest)?;
        let means: Vec<Expected> = all.iter().map(|p| Expected::sum(p.iter().map(|v| v / plane as f64))).collect();
        compare(&run(planes, |out, threading| global_average(&x, plane, out, threading))?, &means)?;
        let mut expected = Vec::new();
        for (i, p) in all.iter().enumerate() {
            let mean = p.iter().sum::<f64>() / plane as f64;
            let variance = p.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / plane as f64;
            let (scale, shift) = (f64::from(scale[i % channels]), f64::from(shift[i % channels]));
            expected.extend(p.iter().map(|v| Expected::sum([(v - mean) / (variance + 0.01).sqrt() * scale, shift])));
        }
        let parameters = [scale.as_slice(), shift.as_slice()];
        compare(&run(x.len(), |out, threading| instance_norm(&x, plane, parameters, 0.01, out, threading))?, &expected)
    });
}

#[derive(Debug)]
struct Order {
    /// Extents of the input.
    from: Vec<usize>,
    /// For each output axis: the input axis that it is, or how often all is repeated along it.
    axes: Vec<Result<usize, usize>>,
}

impl Order {
    fn choose(c: &mut Choices) -> Self {
        let rank = c.of(&[1, 2, 3, 4]);
        let from: Vec<usize> = (0..rank).map(|_| c.of(&[1, 2, 3, 5])).collect();
        let mut left: Vec<usize> = (0..rank).collect();
        let mut axes = Vec::new();
        while !left.is_empty() {
            if c.of(&[true, true, false]) {
                let axis = c.of(&left);
                left.retain(|&a| a != axis);
                axes.push(Ok(axis));
            } else {
                axes.push(Err(c.of(&[1, 2, 4])));
            }
        }
        Order { from, axes }
    }
}

#[test]
fn axes_in_another_order() {
    check_all(&sample(400, Order::choose), |case| {
        let x: Guarded = numbers(&mut Rng::with_seed(23), case.from.iter().product());
        let stride = |axis: usize| case.from[axis + 1..].iter().product::<usize>();
        let shape: Vec<usize> = case.axes.iter().map(|a| a.map_or_else(|times| times, |axis| case.from[axis])).collect();
        let strides: Vec<usize> = case.axes.iter().map(|a| a.map_or(0, stride)).collect();
        let mut expected = vec![0];
        for (extent, stride) in shape.iter().zip(&strides) {
            expected = expected.iter().flat_map(|at| (0..*extent).map(move |i| at + i * stride)).collect();
        }
        let expected: Vec<Expected> = expected.into_iter().map(|at| Expected::exactly(x[at])).collect();
        let out = run(expected.len(), |out, threading| strided_copy(&x, &shape, &strides, out, threading))?;
        compare(&out, &expected)
    });
}
