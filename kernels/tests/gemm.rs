//! The three matrix products against sums taken term by term, at sizes around the tiles of any instruction set, zero included:
//! a product over nothing is zero, and must be written as such.

mod common;

use common::{Expected, Guarded, check_all, compare, every, numbers, panels, refuses_other_lengths, written};
use fastrand::Rng;
use sslm_kernels::gemm::{panel_times_matrix, panel_times_transposed, panel_times_vector};

#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    k: usize,
    n: usize,
    /// Numbers between two columns of a transposed result.
    gap: usize,
}

fn every_size(gaps: &[usize]) -> Vec<Case> {
    every(|c| Case {
        rows: c.of(&[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        k: c.of(&[0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 64, 300]),
        n: c.of(&[0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49]),
        gap: c.of(gaps),
    })
}

/// A as a panel, the columns of B, and for each of them that of C.
struct Problem {
    a: Guarded,
    columns: Vec<Vec<f32>>,
    products: Vec<Vec<Expected>>,
}

fn problem(case: &Case) -> Problem {
    let rng = &mut Rng::with_seed(7);
    let rows: Vec<Vec<f32>> = (0..case.rows).map(|_| numbers(rng, case.k)).collect();
    let columns: Vec<Vec<f32>> = (0..case.n).map(|_| numbers(rng, case.k)).collect();
    let dot = |(x, y): (&f32, &f32)| f64::from(*x) * f64::from(*y);
    let column_of_c = |column: &Vec<f32>| rows.iter().map(|row| Expected::sum(row.iter().zip(column).map(dot))).collect();
    Problem { a: panels(&rows).into_iter().collect(), products: columns.iter().map(column_of_c).collect(), columns }
}

#[test]
fn matrix() {
    check_all(&every_size(&[0]), |case| {
        let Problem { a, columns, products } = problem(case);
        let b: Guarded = (0..case.k).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
        let c: Vec<Expected> = (0..case.rows).flat_map(|row| products.iter().map(move |column| column[row])).collect();
        compare(&written(c.len(), |out| panel_times_matrix(case.rows, case.k, case.n, &a, &b, out))?, &c)
    });
}

/// The result's columns stand apart in a larger matrix, whose other numbers belong to someone else.
#[test]
fn transposed() {
    check_all(&every_size(&[0, 3]), |case| {
        let Problem { a, columns, products } = problem(case);
        let x: Guarded = columns.concat().into_iter().collect();
        let stride = case.rows + case.gap;
        let out = written(case.n * stride, |out| panel_times_transposed(case.rows, case.k, case.n, &a, &x, out, stride))?;
        for (found, expected) in out.chunks_exact(stride.max(1)).zip(&products) {
            let (found, gap) = found.split_at(case.rows);
            compare(found, expected)?;
            if gap.iter().any(|number| !number.is_nan()) {
                return Err("wrote between the columns".into());
            }
        }
        Ok(())
    });
}

#[test]
fn vector() {
    let cases = every(|c| Case {
        rows: c.of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        k: c.of(&(0..=70).chain([300]).collect::<Vec<_>>()),
        n: 1,
        gap: 0,
    });
    check_all(&cases, |case| {
        let rng = &mut Rng::with_seed(8);
        let rows: Vec<Vec<f32>> = (0..case.rows).map(|_| numbers(rng, case.k)).collect();
        let x: Guarded = numbers(rng, case.k);
        let dot = |row: &Vec<f32>| Expected::sum(row.iter().zip(&*x).map(|(w, x)| f64::from(*w) * f64::from(*x)));
        let y: Vec<Expected> = rows.iter().map(dot).collect();
        let a: Guarded = (0..case.k).flat_map(|column| rows.iter().map(move |row| row[column])).collect();
        compare(&written(case.rows, |out| panel_times_vector(case.rows, &a, &x, out))?, &y)
    });
}

#[test]
fn refuses_wrong_lengths() {
    let (rows, k, n) = (3, 4, 5);
    refuses_other_lengths([("A", rows * k), ("B", k * n), ("C", rows * n)], |[a, b, mut c]| {
        panel_times_matrix(rows, k, n, &a, &b, &mut c);
    });
    refuses_other_lengths([("A", rows * k), ("X", n * k)], |[a, x]| {
        panel_times_transposed(rows, k, n, &a, &x, &mut vec![0.0; n * rows], rows);
    });
    refuses_other_lengths([("A", rows * k), ("x", k), ("y", rows)], |[a, x, mut y]| panel_times_vector(rows, &a, &x, &mut y));
}

#[test]
#[should_panic(expected = "C: too short for 3 x 5")]
fn refuses_a_transposed_result_that_ends_early() {
    panel_times_transposed(3, 4, 5, &[1.0; 12], &[1.0; 20], &mut [0.0; 4 * 7 + 2], 7);
}

#[test]
#[should_panic(expected = "C: expected a stride of at least 3, found 2")]
fn refuses_a_transposed_result_that_overlaps_itself() {
    panel_times_transposed(3, 4, 5, &[1.0; 12], &[1.0; 20], &mut [0.0; 15], 2);
}
