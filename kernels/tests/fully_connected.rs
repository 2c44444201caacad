//! Fully connected layers against sums taken term by term, around the sizes of panels (8 rows) and of blocks (32 images).
//! Features that no column reads are poison.

mod common;

use common::{Expected, Guarded, POISON, check_all, compare, every, number, numbers, panels, refuses_other_lengths, run};
use fastrand::Rng;
use sslm_kernels::Threading;
use sslm_kernels::fully_connected::FullyConnected;

#[derive(Clone, Copy, Debug)]
enum Keep {
    All,
    Nothing,
    Half,
    AllButTheLast,
}

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    features: usize,
    keep: Keep,
    rows: usize,
    relu: bool,
}

fn check(case: &Case) -> Result<(), String> {
    let rng = &mut Rng::with_seed(6);
    let mut columns: Vec<usize> = (0..case.features).collect();
    columns.retain(|&column| match case.keep {
        Keep::All => true,
        Keep::Nothing => false,
        Keep::Half => rng.bool(),
        Keep::AllButTheLast => column + 1 < case.features,
    });
    let rows: Vec<Vec<f32>> = (0..case.rows).map(|_| numbers(rng, columns.len())).collect();
    let weights: Guarded = panels(&rows).into_iter().collect();
    let bias: Guarded = numbers(rng, case.rows);
    let mut feature = |i: usize| if columns.contains(&i) { number(rng) } else { POISON };
    let images: Vec<Vec<f32>> = (0..case.batch).map(|_| (0..case.features).map(&mut feature).collect()).collect();
    let x: Guarded = images.concat().into_iter().collect();

    let mut expected = Vec::new();
    for image in &images {
        expected.extend(rows.iter().zip(&*bias).map(|(row, &bias)| {
            let products = row.iter().zip(&columns).map(|(weight, &column)| f64::from(*weight) * f64::from(image[column]));
            Expected::sum(products.chain([f64::from(bias)])).relu(case.relu)
        }));
    }

    let layer = FullyConnected::new(case.features, case.rows, columns.clone(), case.relu);
    let out = run(expected.len(), |out, threading| {
        layer.run(&x, &weights, &bias, out, &mut Guarded::poisoned(layer.scratch_len(case.batch)), threading);
    })?;
    compare(&out, &expected)?;
    assert_eq!((layer.rows(), layer.macs()), (case.rows, case.rows * columns.len()));
    Ok(())
}

#[test]
fn every_size() {
    let cases = every(|c| Case {
        batch: c.of(&[0, 1, 2, 31, 32, 33, 65]),
        features: c.of(&[1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 70]),
        keep: c.of(&[Keep::All, Keep::Nothing, Keep::Half, Keep::AllButTheLast]),
        rows: c.of(&[0, 1, 7, 8, 9, 23]),
        relu: c.of(&[false, true]),
    });
    check_all(&cases, check);
}

#[test]
fn refuses_wrong_lengths() {
    for batch in [1, 2] {
        let layer = FullyConnected::new(5, 3, vec![0, 2], false);
        let lengths = [("input", batch * 5), ("weights", 3 * 2), ("bias", 3), ("output", batch * 3)];
        refuses_other_lengths(lengths, |[x, weights, bias, mut out]| {
            layer.run(&x, &weights, &bias, &mut out, &mut vec![0.0; layer.scratch_len(batch)], Threading::Single);
        });
    }
}

#[test]
#[should_panic(expected = "outside the 5 features")]
fn refuses_columns_outside() {
    FullyConnected::new(5, 3, vec![0, 5], false);
}
