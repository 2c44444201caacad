//! Functions of one element and of two against their definitions in `f64`, and broadcasting as it is defined: index by index. The
//! functions are those of the table in `sslm_basics::functions`: whoever declares one there has to give its definition here. Long
//! tensors make the kernels split their work.

use crate::common::{
    Choices, Expected, Guarded, check_all, compare, defined, element, elements, every, in_blocks, plainly, refuses_other_lengths,
    run_everywhere, sample, task_on_devices,
};
use fastrand::Rng;
use sslm_kernels::elementwise::{BinaryTask, Broadcast, GateTask, MapTask, WhereTask, map};
use sslm_kernels::layout::Extents;
use sslm_kernels::{Binary, Unary};

/// What the functions get as their first and second parameter, if they have any.
const PARAMETERS: [[f32; 2]; 3] = [[0.25, 0.5], [-0.5, 6.0], [1.5, 2.0]];

/// Each function of one element, with several parameters if it has any.
fn functions() -> Vec<Unary> {
    let mut all = Vec::new();
    for code in 0..=u8::MAX {
        for parameters in PARAMETERS {
            let mut parameters = parameters.into_iter();
            let function = Unary::from_code(code, || parameters.next().ok_or("a third parameter"));
            let function = function.expect("at most two parameters");
            all.extend(function.filter(|function| !all.contains(function)));
        }
    }
    all
}

/// An element that the function has a result for, made of any.
fn within_domain(function: Unary, x: f32) -> f32 {
    match function {
        Unary::Sqrt | Unary::Log => x.abs(),
        Unary::Asin | Unary::Acos | Unary::Atanh => x.fract(),
        Unary::Acosh => 1.0 + x.abs(),
        // Beyond it, neighbours are further apart than a period.
        Unary::Sin | Unary::Cos | Unary::Tan => x % 134_217_728.0,
        _ => x,
    }
}

/// The scale of what is rounded on the way to `value`, which `function` makes of `x`.
fn magnitude(function: Unary, x: f64, value: f64) -> f64 {
    // A sum is rounded as its terms are. Where they are larger than this, it is clamped, and has no error.
    let terms = match function {
        Unary::HardSigmoid { alpha, beta } => (f64::from(alpha) * x).abs().min(1.0 + f64::from(beta).abs()),
        Unary::HardSwish => x.abs().min(3.0),
        Unary::Shrink { bias, .. } => f64::from(bias).abs(),
        // The factor of x is a difference of numbers of about 1.
        Unary::Gelu | Unary::GeluTanh => x.abs(),
        // The exponent is rounded, and the factor of x is 0 where it is no normal number.
        Unary::Swish { alpha } => (f64::from(alpha) * x * value).abs() + x.abs() * f64::from(f32::MIN_POSITIVE / f32::EPSILON),
        _ => 0.0,
    };
    value.abs() + terms
}

#[test]
fn functions_of_elements_of_any_magnitude() {
    let special = [0.0, -0.0, f32::MIN_POSITIVE / 2.0, -f32::MIN_POSITIVE / 2.0, 1e-6, -1e-6, f32::MAX, f32::MIN];
    let cases = every(|c| (c.of(&functions()), c.of(&[0, 1, 7, 8, 9, 15, 16, 17, 500, 4095, 4096, 4097, 20000])));
    check_all(&cases, |&(function, len)| {
        let rng = &mut Rng::with_seed(14);
        let some = (0..500).map(|i| element(rng) * [1.0, 5.0, 20.0, 300.0][i % 4]);
        let some: Vec<f32> = special.into_iter().chain(some).collect();
        let x: Guarded = some.into_iter().map(|x| within_domain(function, x)).cycle().take(len).collect();
        let expected: Vec<Expected> = x
            .iter()
            .map(|&x| {
                let value = defined(function, f64::from(x));
                match value as f32 {
                    beyond if beyond.is_infinite() => Expected::exactly(beyond),
                    _ => Expected::near(value, magnitude(function, f64::from(x), value)),
                }
            })
            .collect();
        compare(&run_everywhere(len, |out, exec| map(&x, out, function, exec))?, &expected)?;
        task_on_devices(&expected, 1.0, &MapTask { function }, &[&x], &[])
    });
}

#[test]
fn functions_of_what_is_no_number() {
    let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let of = |function: Unary| {
        let mut out = [0.0; 3];
        map(&x, &mut out, function, plainly());
        out.map(f64::from)
    };
    for function in functions() {
        let [high, low, nan] = of(function);
        let expected = f64::from(defined(function, f64::INFINITY) as f32);
        assert!(high == expected || high.is_nan() && expected.is_nan(), "{function:?} of infinity is {high}");
        let expected = f64::from(defined(function, f64::NEG_INFINITY) as f32);
        assert!(low == expected || low.is_nan() && expected.is_nan(), "{function:?} of minus infinity is {low}");
        match function {
            Unary::ThresholdedRelu { .. } | Unary::Shrink { .. } => assert_eq!(nan, 0.0),
            _ => assert!(nan.is_nan(), "{function:?} of NaN is {nan}"),
        }
    }
}

/// What a function of two elements is.
fn defined_of_two(function: Binary, a: f64, b: f64) -> f64 {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => a.powf(b),
        Binary::Modulus => {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        }
        Binary::Equal => f64::from(u8::from(a == b)),
        Binary::PRelu => {
            if a < 0.0 {
                a * b
            } else {
                a
            }
        }
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::Remainder => a % b,
        Binary::Less => f64::from(u8::from(a < b)),
        Binary::LessOrEqual => f64::from(u8::from(a <= b)),
    }
}

#[test]
fn truth_and_extremes_of_what_is_no_number() {
    let (nan, one) = (f32::NAN, 1.0);
    for (function, expected) in [
        (Binary::Max, [nan, nan, one]),
        (Binary::Min, [nan, nan, one]),
        (Binary::Equal, [0.0, 0.0, 1.0]),
        (Binary::Less, [0.0; 3]),
        (Binary::LessOrEqual, [0.0, 0.0, 1.0]),
    ] {
        let mut out = [7.0; 3];
        let task = BinaryTask { function, broadcast: Broadcast::new([&[3], &[3]]), relu: false };
        task.run([&[nan, one, one], &[one, nan, one]], &mut out, plainly());
        assert!(out.iter().zip(&expected).all(|(o, e)| o == e || o.is_nan() && e.is_nan()), "{function:?}: {out:?}");
    }
}

#[test]
fn functions_of_two_elements() {
    let lens = [1, 15, 16, 17, 4095, 4096, 4097, 20000];
    let cases = every(|c| (c.of(Binary::ALL), c.of(&lens), c.of(&[false, true]), c.of(&[false, true]), c.of(&[false, true])));
    check_all(&cases, |&(function, len, relu, a_repeats, b_repeats)| {
        let rng = &mut Rng::with_seed(18);
        let mut operand = |repeats: bool| -> Guarded { elements(rng, if repeats { 1 } else { len }) };
        let (mut a, b) = (operand(a_repeats), operand(b_repeats));
        if function == Binary::Pow {
            a.iter_mut().for_each(|a| *a = a.abs());
        }
        let task = BinaryTask { function, broadcast: Broadcast::new([&[a.len()], &[b.len()]]), relu };
        let expected = |i: usize| {
            let [a, b] = [&a, &b].map(|x| f64::from(x[i % x.len()]));
            let value = defined_of_two(function, a, b);
            Expected::near(value, value.abs() + a.abs() + b.abs()).relu(relu)
        };
        let expected: Vec<Expected> = (0..a.len().max(b.len())).map(expected).collect();
        compare(&run_everywhere(expected.len(), |out, exec| task.run([&a, &b], out, exec))?, &expected)?;
        task_on_devices(&expected, 1.0, &task, &[&a, &b], &[])
    });
}

/// One element for each channel, in planes and in blocks.
#[test]
fn functions_of_elements_and_their_channels() {
    let cases = every(|c| {
        let extents = Extents { images: c.of(&[1, 2]), channels: c.of(&[1, 4, 8, 15, 16, 17, 40]), plane: c.of(&[2, 3, 4, 35]) };
        (extents, c.of(&[Binary::Mul, Binary::Add, Binary::Div]), c.of(&[false, true]))
    });
    check_all(&cases, |&(extents, function, relu)| {
        let rng = &mut Rng::with_seed(24);
        let Extents { images, channels, plane } = extents;
        let (x, gates): (Guarded, Guarded) = (elements(rng, images * channels * plane), elements(rng, images * channels));
        let expected = |i: usize| {
            let value = defined_of_two(function, f64::from(x[i]), f64::from(gates[i / plane]));
            Expected::near(value, value.abs() + 2.0).relu(relu)
        };
        let expected: Vec<Expected> = (0..x.len()).map(expected).collect();
        let task = GateTask { function, extents, relu };
        if images * channels > 1 {
            in_blocks(&task, &[&x, &gates], &expected)?;
        }
        task_on_devices(&expected, 1.0, &task, &[&x, &gates], &[])
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

/// The element of a tensor at an index of the sum, axes counted from the last.
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
    let a: Guarded = elements(rng, case.a.iter().product());
    let b: Guarded = elements(rng, case.b.iter().product());
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
    let task = BinaryTask { function: Binary::Add, broadcast: Broadcast::new([&case.a, &case.b]), relu: case.relu };
    compare(&run_everywhere(expected.len(), |out, exec| task.run([&a, &b], out, exec))?, &expected)?;
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

/// Three shapes that agree in every axis, counted from the last, unless one of them is 1 there or has ended.
fn three_shapes(c: &mut Choices) -> [Vec<usize>; 3] {
    let shape: Vec<usize> = (0..c.of(&[1, 2, 3, 4])).map(|_| c.of(&[1, 2, 3, 5, 300])).collect();
    let shape = if shape.iter().product::<usize>() > 20_000 { vec![3, 300] } else { shape };
    [(); 3].map(|()| {
        let ended = c.of(&[0, 0, 0, 1, 2]).min(shape.len());
        shape[ended..].iter().map(|&extent| c.of(&[extent, extent, 1])).collect()
    })
}

#[test]
fn choices_of_random_shapes() {
    let elementwise = [[&[5000][..], &[5000], &[5000]], [&[5000], &[1], &[5000]], [&[1], &[5000], &[]], [&[], &[], &[]]];
    let mut cases: Vec<[Vec<usize>; 3]> = elementwise.iter().map(|shapes| shapes.map(<[usize]>::to_vec)).collect();
    cases.extend(sample(300, three_shapes));
    check_all(&cases, |shapes| {
        let rng = &mut Rng::with_seed(19);
        let mut operands: [Guarded; 3] = shapes.each_ref().map(|shape| elements(rng, shape.iter().product()));
        // Some are what no arithmetic with a condition would leave alone.
        operands[0].iter_mut().enumerate().for_each(|(i, condition)| *condition = [0.0, 1.0, -0.0, f32::NAN][i % 4]);
        operands[1].iter_mut().step_by(3).for_each(|x| *x = f32::INFINITY);
        operands[2].iter_mut().step_by(5).for_each(|y| *y = f32::NEG_INFINITY);
        let rank = shapes.iter().map(Vec::len).max().unwrap_or(0);
        let extent = |axis: usize| {
            let of = |shape: &Vec<usize>| shape.iter().rev().nth(axis).copied().unwrap_or(1);
            shapes.iter().map(of).max().unwrap_or(1)
        };
        let extents: Vec<usize> = (0..rank).map(extent).collect();
        let chosen = |mut i: usize| {
            let mut index = Vec::new();
            for extent in &extents {
                index.push(i % extent);
                i /= extent;
            }
            let [condition, x, y] = [0, 1, 2].map(|operand| at(&operands[operand], &shapes[operand], &index));
            Expected::exactly(if condition != 0.0 { x } else { y })
        };
        let expected: Vec<Expected> = (0..extents.iter().product()).map(chosen).collect();
        let task = WhereTask { broadcast: Broadcast::new(shapes.each_ref().map(Vec::as_slice)) };
        let operands: [&[f32]; 3] = operands.each_ref().map(|operand| &operand[..]);
        compare(&run_everywhere(expected.len(), |out, exec| task.run(operands, out, exec))?, &expected)?;
        task_on_devices(&expected, 1.0, &task, &operands, &[])
    });
}

#[test]
fn refuses_wrong_lengths() {
    refuses_other_lengths([("input", 5), ("output", 5)], |[x, mut out]| map(&x, &mut out, Unary::Tanh, plainly()));
    let shapes: [([&[usize]; 2], [usize; 3]); 4] = [
        ([&[2, 3], &[2, 3]], [6, 6, 6]),
        ([&[2, 3], &[1]], [6, 1, 6]),
        ([&[2, 3], &[2, 1]], [6, 2, 6]),
        ([&[2, 1, 3], &[4, 1]], [6, 4, 24]),
    ];
    let lens = [("condition", 3), ("x", 4), ("y", 1), ("output", 12)];
    refuses_other_lengths(lens, |[condition, x, y, mut out]| {
        WhereTask { broadcast: Broadcast::new([&[3], &[4, 1], &[]]) }.run([&condition, &x, &y], &mut out, plainly());
    });
    for ([a, b], [a_len, b_len, out_len]) in shapes {
        refuses_other_lengths([("a", a_len), ("b", b_len), ("output", out_len)], |[x, y, mut out]| {
            let task = BinaryTask { function: Binary::Add, broadcast: Broadcast::new([a, b]), relu: false };
            task.run([&x, &y], &mut out, plainly());
        });
    }
}

#[test]
#[should_panic(expected = "cannot be broadcast")]
fn refuses_shapes_that_do_not_match() {
    Broadcast::new([&[2, 3], &[2]]);
}
