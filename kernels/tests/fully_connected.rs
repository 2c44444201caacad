//! Fully connected layers against sums taken term by term, around the sizes of panels, vectors, register tiles and blocks of every
//! instruction set. Features that no column reads are poison.

use crate::common::{
    Choices, Expected, Guarded, POISON, activated, check_all, compare, element, elements, every, on_devices, panels, put,
    refuses_other_lengths, run, same_bits, sample, some_methods,
};
use fastrand::Rng;
use sslm_devices::isas;
use sslm_kernels::fully_connected::{GemmTask, PreparedGemm};
use sslm_kernels::{Activation, Isa, Threading, Unary, cuda};

#[derive(Clone, Copy, Debug)]
enum Keep {
    All,
    Nothing,
    Half,
    AllButTheLast,
    /// All, the last one first.
    Backwards,
}

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    features: usize,
    keep: Keep,
    rows: usize,
    activation: Activation,
}

fn check(case: &Case) -> Result<(), String> {
    let rng = &mut Rng::with_seed(6);
    let mut columns: Vec<usize> = (0..case.features).collect();
    match case.keep {
        Keep::All => {}
        Keep::Nothing => columns.clear(),
        Keep::Half => columns.retain(|_| rng.bool()),
        Keep::AllButTheLast => drop(columns.pop()),
        Keep::Backwards => columns.reverse(),
    }
    let rows: Vec<Vec<f32>> = (0..case.rows).map(|_| elements(rng, columns.len())).collect();
    let weights: Guarded = panels(&rows).into_iter().collect();
    let bias: Guarded = elements(rng, case.rows);
    let mut feature = |i: usize| if columns.contains(&i) { element(rng) } else { POISON };
    let images: Vec<Vec<f32>> = (0..case.batch).map(|_| (0..case.features).map(&mut feature).collect()).collect();
    let x: Guarded = images.concat().into_iter().collect();

    let mut expected = Vec::new();
    for image in &images {
        expected.extend(rows.iter().zip(&*bias).map(|(row, &bias)| {
            let products = row.iter().zip(&columns).map(|(weight, &column)| f64::from(*weight) * f64::from(image[column]));
            let sum = Expected::sum(products.chain([f64::from(bias)]));
            sum.map(|x| activated(case.activation, x))
        }));
    }

    for isa in isas() {
        let mut first: Option<Guarded> = None;
        for threads in [1, 2, 3] {
            let &Case { batch, features, activation, .. } = case;
            let layer = GemmTask { batch, features, rows: case.rows, columns: columns.clone(), activation };
            let layer = PreparedGemm::new(layer, isa, threads);
            let out = run(expected.len(), |out, threading| {
                layer.run(&x, &weights, &bias, out, &mut Guarded::poisoned(layer.scratch_len()), threading);
            })?;
            compare(&out, &expected).map_err(|e| format!("{isa}, {threads} threads: {e}"))?;
            assert_eq!(layer.macs(), batch * case.rows * columns.len());
            let first = first.get_or_insert_with(|| out.iter().copied().collect());
            same_bits(first, &out).map_err(|e| format!("{isa}, planned for {threads} threads: {e}"))?;
        }
    }
    let &Case { batch, features, activation, .. } = case;
    let layer = GemmTask { batch, features, rows: case.rows, columns, activation };
    for method in some_methods(expected.len()) {
        on_devices(&expected, 1.0, |device, stream, out| {
            let choice = cuda::Choice { method: Some(method), ..Default::default() };
            let layer = cuda::PreparedConv::fully_connected(&layer, [&weights, &bias], choice, device, stream)?;
            let (x, scratch) = (put(device, stream, &x)?, device.allocate(layer.scratch_len())?);
            layer.run(stream, cuda::Tensors { x: x.view(), residual: None, out, scratch: scratch.view() })?;
            stream.wait() // before all is freed
        })
        .map_err(|e| format!("{method:?}: {e}"))?;
    }
    Ok(())
}

fn some_columns(c: &mut Choices) -> Keep {
    c.of(&[Keep::All, Keep::Nothing, Keep::Half, Keep::AllButTheLast, Keep::Backwards])
}

/// Every height of a panel, every width of a tile and of its last vector, and every rest of columns that sums are taken together.
#[test]
fn every_tile() {
    let rows: Vec<usize> = (0..=20).chain([23, 24, 25, 31, 32, 33, 40, 47, 48, 49, 56, 63, 64, 65, 100]).collect();
    let cases = every(|c| Case {
        batch: c.of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 17]),
        features: c.of(&[1, 2, 7, 36]),
        keep: Keep::All,
        rows: c.of(&rows),
        activation: Activation::None,
    });
    check_all(&cases, check);
}

/// Any columns, of which there are more than a block has, and more images than are computed together.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn mixtures() {
    let cases = sample(300, |c| Case {
        batch: c.of(&[1, 2, 8, 9, 31, 32, 33, 64, 130]),
        features: c.of(&[3, 16, 70, 511, 512, 513, 1100]),
        keep: some_columns(c),
        rows: c.of(&[1, 7, 10, 23, 50, 97]),
        activation: c.of(&[
            Activation::None,
            Activation::Relu,
            Activation::Clip { low: -0.5, high: 1.5 },
            Activation::LeakyRelu { alpha: 0.25 },
            Unary::Sigmoid.into(),
        ]),
    });
    check_all(&cases, check);
}

fn small(batch: usize, columns: Vec<usize>) -> PreparedGemm {
    let layer = GemmTask { batch, features: 5, rows: 3, columns, activation: Activation::None };
    PreparedGemm::new(layer, Isa::best(), 1)
}

#[test]
fn refuses_wrong_lengths() {
    for batch in [1, 2] {
        let layer = small(batch, vec![0, 2]);
        let lengths = [("input", batch * 5), ("weights", 3 * 2), ("bias", 3), ("output", batch * 3)];
        refuses_other_lengths(lengths, |[x, weights, bias, mut out]| {
            layer.run(&x, &weights, &bias, &mut out, &mut vec![0.0; layer.scratch_len()], Threading::Single);
        });
    }
}

#[test]
#[should_panic(expected = "out of range")]
fn refuses_too_little_scratch() {
    let layer = small(1, vec![0]);
    let scratch = &mut vec![0.0; layer.scratch_len() - 1];
    layer.run(&[1.0; 5], &[1.0; 3], &[1.0; 3], &mut [0.0; 3], scratch, Threading::Single);
}

#[test]
#[should_panic(expected = "outside the 5 features")]
fn refuses_columns_outside() {
    small(1, vec![0, 5]);
}
