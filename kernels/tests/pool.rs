//! Pooling against the list of numbers that each window sees. Windows hang over every edge, some lie outside altogether.

mod common;

use common::{
    Expected, Guarded, POINTWISE, Window, check_all, compare, every, looks_at, numbers, pixel, positions, refuses_other_lengths,
    run,
};
use fastrand::Rng;
use sslm_kernels::Threading;
use sslm_kernels::pool::{Pool, Reduce, global_average};

#[derive(Clone, Copy, Debug)]
struct Case {
    planes: usize,
    window: Window,
    reduce: Reduce,
}

fn check(case: &Case) -> Result<(), String> {
    let rng = &mut Rng::with_seed(9);
    let g = case.window.geometry(case.planes);
    let planes: Vec<Vec<f32>> = (0..case.planes).map(|_| numbers(rng, g.input[0] * g.input[1])).collect();
    let x: Guarded = planes.concat().into_iter().collect();

    let reduce = |plane: &Vec<f32>, out: [usize; 2]| {
        let at: Vec<[isize; 2]> = positions(g.kernel).map(|tap| looks_at(&g, out, tap)).collect();
        let seen: Vec<f64> = at.iter().filter_map(|&at| pixel(plane, g.input, at)).map(f64::from).collect();
        let counted = match case.reduce {
            Reduce::Max => return Expected::near(seen.iter().copied().fold(f64::NEG_INFINITY, f64::max), 0.0),
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
    let pool = Pool::new(g.clone(), case.reduce);
    compare(&run(expected.len(), |out, threading| pool.run(&x, out, threading))?, &expected)
}

#[test]
fn every_window() {
    let mut cases = every(|c| {
        let window = Window { overhang: c.of(&[0, 1]), ..Window::choose(c) };
        let with_padding = Reduce::MeanWithPadding { pad_after: window.pad_after };
        Case { planes: 3, window, reduce: c.of(&[Reduce::Max, Reduce::Mean, with_padding]) }
    });
    cases.retain(|case| case.window.fits());
    check_all(&cases, check);
}

/// Five taps: one lies before the input, two inside, two behind it, of which the padding counts none, one or both.
#[test]
fn means_count_what_they_should() {
    let padded = Window { input: [1, 2], kernel: [1, 5], pad_before: [0, 1], pad_after: [0, 2], ..POINTWISE };
    let mean = |reduce| {
        let mut out = [0.0];
        Pool::new(padded.geometry(1), reduce).run(&[1.0, 2.0], &mut out, Threading::Single);
        out[0]
    };
    assert_eq!(mean(Reduce::Mean), 3.0 / 2.0);
    assert_eq!([0, 1, 2].map(|after| mean(Reduce::MeanWithPadding { pad_after: [0, after] })), [3.0 / 3.0, 3.0 / 4.0, 3.0 / 5.0]);
}

#[test]
fn global() {
    let cases = every(|c| (c.of(&[0, 1, 2, 7]), c.of(&[1, 2, 49, 300])));
    check_all(&cases, |&(planes, plane)| {
        let x: Guarded = numbers(&mut Rng::with_seed(10), planes * plane);
        let mean = |x: &[f32]| Expected::sum(x.iter().map(|&x| f64::from(x) / plane as f64));
        let expected: Vec<Expected> = x.chunks_exact(plane).map(mean).collect();
        compare(&run(planes, |out, threading| global_average(&x, plane, out, threading))?, &expected)
    });
}

#[test]
fn refuses_wrong_lengths() {
    let pool = Pool::new(Window { kernel: [2, 2], ..POINTWISE }.geometry(1), Reduce::Max);
    refuses_other_lengths([("input", 3 * 30), ("output", 3 * 20)], |[x, mut out]| pool.run(&x, &mut out, Threading::Single));
    refuses_other_lengths([("input", 3 * 30), ("output", 3)], |[x, mut out]| {
        global_average(&x, 30, &mut out, Threading::Single);
    });
}
