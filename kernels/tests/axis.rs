//! Rebuilding, reducing and searching one axis, and reordering all of them, against index arithmetic written out.

use crate::common::{
    Choices, Expected, Guarded, check_all, compare, elements, in_blocks, maximum, plainly, refuses_other_lengths, run_everywhere,
    sample, task_on_devices,
};
use fastrand::Rng;
use sslm_kernels::axis::{ArgMaxTask, ReduceTask, Reduction, StridedCopy, arg_max};
use sslm_kernels::layout::Extents;
use sslm_kernels::remap::{From, Remap, RemapTask};

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
        let extent = c.of(&[1, 2, 3, 8, 17, 33]);
        let positions: Vec<usize> = (0..extent).collect();
        let mut sources = Vec::new();
        for _ in 0..c.of(&[0, 1, 4, 11]) {
            match c.of(&[0, 1, 2, 3, 4]) {
                0 => sources.push(From::Position(c.of(&positions))),
                1 => sources.push(From::Constant(c.of(&[0.0, -1.5]))),
                2 if extent > 1 => sources.push(From::Between(c.of(&positions[1..]) - 1, c.of(&[0.0, 0.25, 1.0]))),
                3 => {
                    // As slices and enlargements have them.
                    let (first, step, repeats) = (c.of(&positions), c.of(&[1, 2, 3]), c.of(&[1, 1, 2, 3, 4]));
                    let run = (first..extent).step_by(step);
                    sources.extend(run.flat_map(|p| std::iter::repeat_n(From::Position(p), repeats)));
                }
                _ => {
                    // As enlargements that mix neighbours have them.
                    let (shares, step) =
                        (c.of(&[&[0.25, 0.75][..], &[0.5], &[0.125, 0.5, 0.75, 0.25], &[0.1, 0.4, 0.9]]), c.of(&[1, 2]));
                    let starts = (0..extent - 1).step_by(step);
                    sources.extend(starts.flat_map(|p| shares.iter().map(move |&share| From::Between(p, share))));
                    if c.of(&[false, true]) {
                        sources.iter_mut().step_by(2).for_each(|source| *source = From::Position(extent - 1));
                    }
                }
            }
        }
        Axis { outer: c.of(&[1, 2, 5]), extent, inner: c.of(&[1, 2, 8, 9, 16, 300]), sources }
    }

    fn input(&self) -> Guarded {
        elements(&mut Rng::with_seed(21), self.outer * self.extent * self.inner)
    }

    /// The elements along the axis at each (outer, inner), in the order of an output of one element each.
    fn lines(&self, x: &[f32]) -> Vec<Vec<f64>> {
        let at = |o: usize, e: usize, i: usize| f64::from(x[(o * self.extent + e) * self.inner + i]);
        let line = |o: usize, i: usize| (0..self.extent).map(|e| at(o, e, i)).collect();
        (0..self.outer).flat_map(|o| (0..self.inner).map(move |i| (o, i))).map(|(o, i)| line(o, i)).collect()
    }

    /// What the new axis holds.
    fn rebuilt(&self, x: &[f32]) -> Vec<Expected> {
        let mut expected = Vec::new();
        for lines in self.lines(x).chunks(self.inner) {
            for source in &self.sources {
                expected.extend(lines.iter().map(|line| match *source {
                    From::Position(p) => Expected::near(line[p], 0.0),
                    From::Constant(value) => Expected::exactly(value),
                    From::Between(at, share) => {
                        Expected::sum([line[at] * (1.0 - f64::from(share)), line[at + 1] * f64::from(share)])
                    }
                }));
            }
        }
        expected
    }
}

#[test]
fn an_axis_is_rebuilt() {
    check_all(&sample(400, Axis::choose), |case| {
        let x = case.input();
        let expected = case.rebuilt(&x);
        let remap = Remap::new(case.extent, case.inner, case.sources.iter().copied().collect());
        let out = run_everywhere(expected.len(), |out, exec| remap.run(&x, out, exec))?;
        compare(&out, &expected)?;
        let &Axis { extent, inner, .. } = case;
        let task = RemapTask { extent, inner, sources: case.sources.iter().copied().collect(), in_planes: None };
        task_on_devices(&expected, 1.0, &task, &[&x], &[])
    });
}

/// An axis of planes, whose channels may lie in blocks.
#[test]
fn an_axis_of_planes_is_rebuilt_in_blocks() {
    let plane = |c: &mut Choices| ([c.of(&[1, 2]), c.of(&[1, 4, 8, 9, 16, 17]), c.of(&[1, 5])], Axis::choose(c));
    check_all(&sample(200, plane), |(sizes, axis)| {
        let &[images, channels, outer] = sizes;
        let (inner, positions) = (axis.inner.min(9), axis.sources.len());
        let case = Axis { outer: images * channels * outer, extent: axis.extent, inner, sources: axis.sources.clone() };
        let x = case.input();
        let expected = case.rebuilt(&x);
        let of = |extent: usize| Extents { images, channels, plane: outer * extent * inner };
        let in_planes = Some([axis.extent, positions].map(of));
        if positions == 0 {
            return Ok(());
        }
        in_blocks(
            &RemapTask { extent: axis.extent, inner, sources: axis.sources.iter().copied().collect(), in_planes },
            &[&x],
            &expected,
        )
    });
}

#[test]
fn lines_become_one_element() {
    let of_line = |reduction: Reduction, line: &[f64]| {
        let count = line.len() as f64;
        match reduction {
            Reduction::Mean => Expected::sum(line.iter().map(|x| x / count)),
            Reduction::Sum => Expected::sum(line.iter().copied()),
            Reduction::Product => {
                let product: f64 = line.iter().product();
                Expected::near(product, product.abs())
            }
            Reduction::Max => Expected::near(line.iter().copied().fold(f64::NEG_INFINITY, maximum), 0.0),
            Reduction::Min => Expected::near(-line.iter().map(|x| -x).fold(f64::NEG_INFINITY, maximum), 0.0),
            Reduction::SumOfMagnitudes => Expected::sum(line.iter().map(|x| x.abs())),
            Reduction::SumOfSquares => Expected::sum(line.iter().map(|x| x * x)),
        }
    };
    let all = [
        Reduction::Mean,
        Reduction::Sum,
        Reduction::Product,
        Reduction::Max,
        Reduction::Min,
        Reduction::SumOfMagnitudes,
        Reduction::SumOfSquares,
    ];
    check_all(&sample(400, |c| (c.of(&all), Axis::choose(c))), |(reduction, case)| {
        let mut x = case.input();
        if matches!(reduction, Reduction::Max | Reduction::Min) {
            x.iter_mut().skip(3).step_by(23).for_each(|x| *x = f32::NAN);
        }
        let expected: Vec<Expected> = case.lines(&x).iter().map(|line| of_line(*reduction, line)).collect();
        let task = ReduceTask { reduction: *reduction, extent: case.extent, inner: case.inner };
        compare(&run_everywhere(expected.len(), |out, exec| task.run(&x, out, exec))?, &expected)?;
        task_on_devices(&expected, 1.0, &task, &[&x], &[])
    });
}

#[test]
fn largest_positions() {
    check_all(&sample(200, Axis::choose), |case| {
        let mut x: Guarded = case.input().iter().map(|v| (v * 4.0).round()).collect(); // with many equal ones
        let &Axis { extent, inner, .. } = case;
        x.iter_mut().step_by(7).for_each(|x| *x = f32::NAN);
        let lines = case.lines(&x);
        for last in [false, true] {
            let position = |line: &Vec<f64>| {
                let largest = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let found = |v: &f64| *v == largest;
                let position = if last { line.iter().rposition(found) } else { line.iter().position(found) };
                // Nothing is larger than NaN at position 0; where all are NaN, none is found.
                let found = position.filter(|_| !line[0].is_nan()).unwrap_or(0);
                Expected::exactly(found as f32)
            };
            let out = run_everywhere(lines.len(), |out, exec| arg_max(&x, case.extent, case.inner, last, out, exec))?;
            let expected: Vec<Expected> = lines.iter().map(position).collect();
            compare(&out, &expected)?;
            task_on_devices(&expected, 1.0, &ArgMaxTask { extent, inner, last }, &[&x], &[])?;
        }
        Ok(())
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
        let from: Vec<usize> = (0..rank).map(|_| c.of(&[1, 2, 3, 5, 16, 17, 19, 33])).collect();
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
        let x: Guarded = elements(&mut Rng::with_seed(23), case.from.iter().product());
        let stride = |axis: usize| case.from[axis + 1..].iter().product::<usize>();
        let shape: Vec<usize> = case.axes.iter().map(|a| a.map_or_else(|times| times, |axis| case.from[axis])).collect();
        let strides: Vec<usize> = case.axes.iter().map(|a| a.map_or(0, stride)).collect();
        let mut expected = vec![0];
        for (extent, stride) in shape.iter().zip(&strides) {
            expected = expected.iter().flat_map(|at| (0..*extent).map(move |i| at + i * stride)).collect();
        }
        let expected: Vec<Expected> = expected.into_iter().map(|at| Expected::exactly(x[at])).collect();
        let copy = StridedCopy::new(&shape, &strides);
        let out = run_everywhere(expected.len(), |out, exec| copy.run(&x, out, exec))?;
        compare(&out, &expected)?;
        task_on_devices(&expected, 1.0, &copy, &[&x], &[])
    });
}

#[test]
fn refuses_wrong_lengths() {
    let remap = Remap::new(3, 4, [From::Position(2), From::Constant(1.0)].into_iter().collect());
    refuses_other_lengths([("input", 5 * 3 * 4), ("output", 5 * 2 * 4)], |[x, mut out]| remap.run(&x, &mut out, plainly()));
    for inner in [1, 4] {
        let lens = [("input", 5 * 3 * inner), ("output", 5 * inner)];
        let sum = ReduceTask { reduction: Reduction::Sum, extent: 3, inner };
        refuses_other_lengths(lens, |[x, mut out]| sum.run(&x, &mut out, plainly()));
        refuses_other_lengths(lens, |[x, mut out]| arg_max(&x, 3, inner, false, &mut out, plainly()));
    }
}

#[test]
#[should_panic(expected = "Position(3) of 3 positions")]
fn refuses_positions_outside() {
    Remap::new(3, 1, [From::Position(3)].into_iter().collect());
}
