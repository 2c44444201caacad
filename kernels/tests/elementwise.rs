//! Relu at the edges of numbers, and sums against broadcasting as it is defined: index by index. Long tensors make the kernels
//! split their work.

mod common;

use common::{Choices, Expected, Guarded, check_all, compare, every, numbers, refuses_other_lengths, run, sample};
use fastrand::Rng;
use sslm_kernels::Threading;
use sslm_kernels::elementwise::{Broadcast, map};

#[test]
fn relu_of_every_kind_of_number() {
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE / 2.0, -f32::MIN_POSITIVE / 2.0, f32::MIN];
    check_all(&[0, 1, 7, 8, 9, 16383, 16384, 16385, 40000], |&len| {
        let some: Vec<f32> = numbers(&mut Rng::with_seed(14), 29);
        let x: Guarded = special.into_iter().chain(some).cycle().take(len).collect();
        // Either zero will do for negative zero.
        let expected: Vec<Expected> = x.iter().map(|&x| Expected::exactly(if x > 0.0 { x } else { 0.0 })).collect();
        compare(&run(len, |out, threading| map(&x, out, |v| v.max(0.0), threading))?, &expected)
    });
}

#[derive(Debug)]
struct Sum {
    a: Vec<usize>,
    b: Vec<usize>,
    relu: bool,
}

impl Sum {
    /// Two shapes that agree in every axis, counted from the last, unless one of them is 1 there or has ended.
    fn choose(c: &mut Choices) -> Self {
        let rank = c.of(&[1, 2, 3, 4, 5]);
        let shape: Vec<usize> = (0..rank).map(|_| c.of(&[1, 2, 3, 4, 5])).collect();
        let mut operand = |ranks: &[usize]| {
            let shape = &shape[rank - c.of(ranks)..];
            shape.iter().map(|&extent| c.of(&[extent, extent, 1])).collect::<Vec<usize>>()
        };
        let (whole, part) = (operand(&[rank]), operand(&(0..=rank).collect::<Vec<_>>()));
        let (a, b) = if c.of(&[false, true]) { (part, whole) } else { (whole, part) };
        Sum { a, b, relu: c.of(&[false, true]) }
    }
}

/// The number of a tensor at an index of the sum, axes counted from the last.
fn at(x: &[f32], shape: &[usize], index: &[usize]) -> f32 {
    let (mut offset, mut stride) = (0, 1);
    for (extent, i) in shape.iter().rev().zip(index) {
        offset += if *extent == 1 { 0 } else { i * stride };
        stride *= extent;
    }
    x[offset]
}

fn check(case: &Sum) -> Result<(), String> {
    let rng = &mut Rng::with_seed(15);
    let a: Guarded = numbers(rng, case.a.iter().product());
    let b: Guarded = numbers(rng, case.b.iter().product());
    let extent = |axis: usize| {
        let of = |shape: &[usize]| shape.iter().rev().nth(axis).copied().unwrap_or(1);
        if of(&case.a) == 1 { of(&case.b) } else { of(&case.a) }
    };
    let shape: Vec<usize> = (0..case.a.len().max(case.b.len())).map(extent).collect();
    let sum = |mut i: usize| {
        let mut index = Vec::new();
        for extent in &shape {
            index.push(i % extent);
            i /= extent;
        }
        let terms = [at(&a, &case.a, &index), at(&b, &case.b, &index)];
        Expected::sum(terms.map(f64::from)).relu(case.relu)
    };
    let expected: Vec<Expected> = (0..shape.iter().product()).map(sum).collect();
    let add = Broadcast::new(&case.a, &case.b);
    let f = |a: f32, b: f32| if case.relu { (a + b).max(0.0) } else { a + b };
    compare(&run(expected.len(), |out, threading| add.run(&a, &b, out, f, threading))?, &expected)
}

#[test]
fn sums_of_random_shapes() {
    check_all(&sample(1500, Sum::choose), check);
}

#[test]
fn sums_of_long_or_empty_tensors() {
    let shapes: [[&[usize]; 2]; 9] = [
        [&[40000], &[40000]],
        [&[40000], &[1]],
        [&[40000], &[]],
        [&[2, 20000], &[20000]],
        [&[2, 20000], &[2, 1]],
        [&[3, 1, 6000], &[3, 1]],
        [&[], &[]],
        [&[0], &[1]],
        [&[2, 0, 3], &[0, 1]],
    ];
    let cases = every(|c| {
        let [a, b] = c.of(&shapes).map(<[usize]>::to_vec);
        let (a, b) = if c.of(&[false, true]) { (b, a) } else { (a, b) };
        Sum { a, b, relu: c.of(&[false, true]) }
    });
    check_all(&cases, check);
}

#[test]
fn refuses_wrong_lengths() {
    refuses_other_lengths([("input", 5), ("output", 5)], |[x, mut out]| map(&x, &mut out, |v| v.max(0.0), Threading::Single));
    let shapes: [([&[usize]; 2], [usize; 3]); 4] = [
        ([&[2, 3], &[2, 3]], [6, 6, 6]),
        ([&[2, 3], &[1]], [6, 1, 6]),
        ([&[2, 3], &[2, 1]], [6, 2, 6]),
        ([&[2, 1, 3], &[4, 1]], [6, 4, 24]),
    ];
    for ([a, b], [a_len, b_len, out_len]) in shapes {
        refuses_other_lengths([("a", a_len), ("b", b_len), ("output", out_len)], |[x, y, mut out]| {
            Broadcast::new(a, b).run(&x, &y, &mut out, |a, b| a + b, Threading::Single);
        });
    }
}

#[test]
#[should_panic(expected = "cannot be broadcast")]
fn refuses_shapes_that_do_not_match() {
    Broadcast::new(&[2, 3], &[2]);
}
