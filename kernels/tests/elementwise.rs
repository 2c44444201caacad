//! Functions of one number and of two against their definitions in `f64`, and broadcasting as it is defined: index by index. Long
//! tensors make the kernels split their work.

mod common;

use common::{
    Choices, Expected, Guarded, check_all, compare, every, number, numbers, plainly, refuses_other_lengths, run_everywhere,
    sample, task_on_devices,
};
use fastrand::Rng;
use sslm_kernels::Activation;
use sslm_kernels::elementwise::{BinaryTask, Broadcast, Function, MapTask, Operation, map};

/// What a function of one number is, in f64.
type Definition = fn(f64) -> f64;

/// Each function with its definition.
const FUNCTIONS: [(Function, Definition); 10] = [
    (Function::Activation(Activation::Relu), |x| x.max(0.0)),
    (Function::Activation(Activation::LeakyRelu { alpha: 0.25 }), |x| if x < 0.0 { 0.25 * x } else { x }),
    (Function::Activation(Activation::Clip { low: -0.5, high: 6.0 }), |x| x.clamp(-0.5, 6.0)),
    (Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
    (Function::Tanh, f64::tanh),
    (Function::HardSigmoid { alpha: 0.25, beta: 0.5 }, |x| (0.25 * x + 0.5).clamp(0.0, 1.0)),
    (Function::HardSwish, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
    (Function::Elu { alpha: 1.5 }, |x| if x < 0.0 { 1.5 * x.exp_m1() } else { x }),
    (Function::Mish, |x| x * x.min(700.0).exp().ln_1p().tanh()),
    (Function::Sqrt, f64::sqrt),
];

#[test]
fn functions_of_numbers_of_any_magnitude() {
    let special = [0.0, -0.0, f32::MIN_POSITIVE / 2.0, -f32::MIN_POSITIVE / 2.0, 1e-6, -1e-6, f32::MAX, f32::MIN];
    let cases = every(|c| (c.of(&FUNCTIONS), c.of(&[0, 1, 7, 8, 9, 15, 16, 17, 500, 4095, 4096, 4097, 20000])));
    check_all(&cases, |&((function, definition), len)| {
        let rng = &mut Rng::with_seed(14);
        let some = (0..500).map(|i| number(rng) * [1.0, 5.0, 20.0, 300.0][i % 4]);
        let some: Vec<f32> = special.into_iter().chain(some).collect();
        let sign = if function == Function::Sqrt { f32::abs } else { |x: f32| x };
        let x: Guarded = some.into_iter().map(sign).cycle().take(len).collect();
        let expected: Vec<Expected> = x
            .iter()
            .map(|&x| {
                let value = definition(f64::from(x));
                // A sum of 1/2 and a small product is rounded as 1/2 is.
                let hard = matches!(function, Function::HardSigmoid { .. } | Function::HardSwish);
                Expected::near(value, value.abs() + if hard { f64::from(x).abs().min(3.0) } else { 0.0 })
            })
            .collect();
        compare(&run_everywhere(len, |out, exec| map(&x, out, function, exec))?, &expected)?;
        task_on_devices(&expected, 1.0, &MapTask { function }, &[&x], &[])
    });
}

#[test]
fn functions_of_what_is_no_number() {
    let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let of = |function: Function| {
        let mut out = [0.0; 3];
        map(&x, &mut out, function, plainly());
        out.map(f64::from)
    };
    for (function, definition) in FUNCTIONS {
        let [high, low, nan] = of(function);
        assert_eq!(high, definition(f64::INFINITY), "{function:?} of infinity");
        let expected = definition(f64::NEG_INFINITY);
        assert!(low == expected || low.is_nan() && expected.is_nan(), "{function:?} of minus infinity is {low}");
        match function {
            Function::Activation(Activation::Relu) => assert_eq!(nan, 0.0),
            Function::Activation(Activation::Clip { low, .. }) => assert_eq!(nan, f64::from(low)),
            _ => assert!(nan.is_nan(), "{function:?} of NaN is {nan}"),
        }
    }
}

/// What a function of two numbers is, in f64.
type PairDefinition = fn(f64, f64) -> f64;

/// Each operation with its definition.
const OPERATIONS: [(Operation, PairDefinition); 6] = [
    (Operation::Add, |a, b| a + b),
    (Operation::Sub, |a, b| a - b),
    (Operation::Mul, |a, b| a * b),
    (Operation::Div, |a, b| a / b),
    (Operation::Pow, f64::powf),
    (Operation::PRelu, |a, b| if a < 0.0 { a * b } else { a }),
];

#[test]
fn operations() {
    let lens = [1, 15, 16, 17, 4095, 4096, 4097, 20000];
    let cases = every(|c| (c.of(&OPERATIONS), c.of(&lens), c.of(&[false, true]), c.of(&[false, true]), c.of(&[false, true])));
    check_all(&cases, |&((operation, definition), len, relu, a_repeats, b_repeats)| {
        let rng = &mut Rng::with_seed(18);
        let mut operand = |repeats: bool| -> Guarded { numbers(rng, if repeats { 1 } else { len }) };
        let (mut a, b) = (operand(a_repeats), operand(b_repeats));
        if operation == Operation::Pow {
            a.iter_mut().for_each(|a| *a = a.abs());
        }
        let broadcast = Broadcast::new(&[a.len()], &[b.len()]);
        let expected = |i: usize| {
            let [a, b] = [&a, &b].map(|x| f64::from(x[i % x.len()]));
            let value = definition(a, b);
            Expected::near(value, value.abs() + a.abs() + b.abs()).relu(relu)
        };
        let expected: Vec<Expected> = (0..a.len().max(b.len())).map(expected).collect();
        let out = run_everywhere(expected.len(), |out, exec| broadcast.run([&a, &b], out, operation, relu, exec))?;
        compare(&out, &expected)?;
        task_on_devices(&expected, 1.0, &BinaryTask { operation, broadcast, relu }, &[&a, &b], &[])
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
    let broadcast = Broadcast::new(&case.a, &case.b);
    let out = run_everywhere(expected.len(), |out, exec| broadcast.run([&a, &b], out, Operation::Add, case.relu, exec))?;
    compare(&out, &expected)?;
    let task = BinaryTask { operation: Operation::Add, broadcast, relu: case.relu };
    task_on_devices(&expected, 1.0, &task, &[&a, &b], &[])
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
    refuses_other_lengths([("input", 5), ("output", 5)], |[x, mut out]| map(&x, &mut out, Function::Tanh, plainly()));
    let shapes: [([&[usize]; 2], [usize; 3]); 4] = [
        ([&[2, 3], &[2, 3]], [6, 6, 6]),
        ([&[2, 3], &[1]], [6, 1, 6]),
        ([&[2, 3], &[2, 1]], [6, 2, 6]),
        ([&[2, 1, 3], &[4, 1]], [6, 4, 24]),
    ];
    for ([a, b], [a_len, b_len, out_len]) in shapes {
        refuses_other_lengths([("a", a_len), ("b", b_len), ("output", out_len)], |[x, y, mut out]| {
            Broadcast::new(a, b).run([&x, &y], &mut out, Operation::Add, false, plainly());
        });
    }
}

#[test]
#[should_panic(expected = "cannot be broadcast")]
fn refuses_shapes_that_do_not_match() {
    Broadcast::new(&[2, 3], &[2]);
}
