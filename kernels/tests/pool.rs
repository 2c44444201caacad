//! Pooling against the list of elements that each window sees. Windows hang over every edge, some lie outside altogether.

use crate::common::{
    Expected, Guarded, POINTWISE, POISON, Window, activated, check_all, compare, elements, every, in_blocks, looks_at, maximum,
    pixel, plainly, positions, refuses_other_lengths, run_everywhere, task_on_devices,
};
use fastrand::Rng;
use sslm_kernels::pool::{GlobalPoolTask, GlobalReduce, PoolTask, PreparedPool, Reduce, global_max};
use sslm_kernels::{Activation, Unary};

#[derive(Clone, Copy, Debug)]
struct Case {
    planes: usize,
    window: Window,
    reduce: Reduce,
    activation: Activation,
}

fn check(case: &Case) -> Result<(), String> {
    let rng = &mut Rng::with_seed(9);
    let g = case.window.geometry(case.planes);
    let mut planes: Vec<Vec<f32>> = (0..case.planes).map(|_| elements(rng, g.input[0] * g.input[1])).collect();
    if case.reduce == Reduce::Max {
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
        for x in planes.iter_mut().flatten() {
            *x = special.get(rng.usize(..64)).copied().unwrap_or(*x);
        }
    }
    let x: Guarded = planes.concat().into_iter().collect();

    let reduce = |plane: &Vec<f32>, out: [usize; 2]| {
        let at: Vec<[isize; 2]> = positions(g.kernel).map(|tap| looks_at(&g, out, tap)).collect();
        let seen: Vec<f64> = at.iter().filter_map(|&at| pixel(plane, g.input, at)).map(f64::from).collect();
        let counted = match case.reduce {
            Reduce::Max => return Expected::near(seen.iter().copied().fold(f64::NEG_INFINITY, maximum), 0.0),
            Reduce::Mean => seen.len(),
            Reduce::MeanWithPadding { pad_after } => {
                let is_counted = |at: &[isize; 2]| [0, 1].iter().all(|&a| at[a] < (g.input[a] + pad_after[a]) as isize);
                at.iter().filter(|at| is_counted(at)).count()
            }
        };
        Expected::sum(seen.iter().map(|x| x / counted as f64))
    };
    let expected: Vec<Expected> =
        planes.iter().flat_map(|plane| positions(g.output).map(move |out| reduce(plane, out))).collect();
    let task = PoolTask { images: 1, geometry: g.clone(), reduce: case.reduce, activation: case.activation };
    let pool = PreparedPool::new(task.clone(), 3);
    let out = run_everywhere(expected.len(), |out, exec| {
        pool.run(&x, out, &mut Guarded::poisoned(pool.scratch_len()), exec);
    })?;
    let expected: Vec<Expected> = expected.into_iter().map(|e| e.map(|x| activated(case.activation, x)).rounded()).collect();
    compare(&out, &expected)?;
    in_blocks(&task, &[&x], &expected)?;
    task_on_devices(&expected, 1.0, &task, &[&x], &[])
}

#[test]
fn every_window() {
    let mut cases = every(|c| {
        let window = Window { overhang: c.of(&[0, 1]), ..Window::choose(c) };
        let with_padding = Reduce::MeanWithPadding { pad_after: window.pad_after };
        Case {
            planes: 3,
            window,
            reduce: c.of(&[Reduce::Max, Reduce::Mean, with_padding]),
            activation: c.of(&[Activation::None, Activation::Relu, Unary::HardSigmoid { alpha: 0.25, beta: 0.5 }.into()]),
        }
    });
    cases.retain(|case| case.window.fits());
    check_all(&cases, check);
}

/// Rows that end at every place of a vector, and more of them than are begun at a time.
#[test]
fn rows_of_every_length() {
    let mut cases = every(|c| {
        let (kernel, stride) = c.of(&[(2, 2), (3, 2), (3, 1), (5, 1), (4, 2), (3, 3)]);
        let width: usize = c.of(&(1..=36).collect::<Vec<_>>());
        let window = Window {
            input: [c.of(&[3, 35]), width],
            kernel: [kernel; 2],
            strides: [stride; 2],
            pad_before: [c.of(&[0, 1]); 2],
            pad_after: [1; 2],
            ..POINTWISE
        };
        Case {
            planes: 4,
            window,
            reduce: c.of(&[Reduce::Max, Reduce::Mean]),
            activation: Activation::Clip { low: -0.5, high: 0.5 },
        }
    });
    cases.retain(|case| case.window.fits());
    check_all(&cases, check);
}

/// Five taps: one lies before the input, two inside, two behind it, of which the padding counts none, one or both.
#[test]
fn means_count_what_they_should() {
    let padded = Window { input: [1, 2], kernel: [1, 5], pad_before: [0, 1], pad_after: [0, 2], ..POINTWISE };
    let mean = |reduce| {
        let task = PoolTask { images: 1, geometry: padded.geometry(1), reduce, activation: Activation::None };
        let (pool, mut out) = (PreparedPool::new(task, 1), [0.0]);
        pool.run(&[1.0, 2.0], &mut out, &mut vec![POISON; pool.scratch_len()], plainly());
        out[0]
    };
    assert_eq!(mean(Reduce::Mean), 3.0 / 2.0);
    assert_eq!([0, 1, 2].map(|after| mean(Reduce::MeanWithPadding { pad_after: [0, after] })), [3.0 / 3.0, 3.0 / 4.0, 3.0 / 5.0]);
}

#[test]
fn global() {
    let cases = every(|c| (c.of(&[0, 1, 2, 7]), c.of(&[1, 2, 15, 16, 17, 49, 300]), c.of(&[false, true])));
    check_all(&cases, |&(planes, plane, with_nan)| {
        let mut x: Guarded = elements(&mut Rng::with_seed(10), planes * plane);
        if with_nan {
            x.iter_mut().skip(2).step_by(17).for_each(|x| *x = f32::NAN);
        }
        let largest = |x: &[f32]| Expected::near(x.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, maximum), 0.0);
        let expected: Vec<Expected> = x.chunks_exact(plane).map(largest).collect();
        compare(&run_everywhere(planes, |out, exec| global_max(&x, plane, 1, out, exec))?, &expected)?;
        let task = GlobalPoolTask { images: 1, channels: planes, plane, reduce: GlobalReduce::Max };
        in_blocks(&task, &[&x], &expected)?;
        task_on_devices(&expected, 1.0, &task, &[&x], &[])
    });
}

#[test]
fn refuses_wrong_lengths() {
    let geometry = Window { kernel: [2, 2], ..POINTWISE }.geometry(1);
    let pool = PreparedPool::new(PoolTask { images: 1, geometry, reduce: Reduce::Max, activation: Activation::None }, 1);
    refuses_other_lengths([("input", 3 * 30), ("output", 3 * 20)], |[x, mut out]| {
        pool.run(&x, &mut out, &mut vec![POISON; pool.scratch_len()], plainly());
    });
    refuses_other_lengths([("input", 3 * 30), ("output", 3)], |[x, mut out]| global_max(&x, 30, 1, &mut out, plainly()));
}
