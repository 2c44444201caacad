//! Products of matrices against sums taken term by term, around the sizes of vectors, register tiles and blocks of every instruction
//! set, with operands in both orders and axes that are broadcast.

use crate::common::{
    Choices, Expected, Guarded, check_all, compare, elements, refuses_other_lengths, run, same_bits, sample, task_on_devices,
};
use fastrand::Rng;
use sslm_devices::isas;
use sslm_kernels::cpu::{Call, Kernel, Slices};
use sslm_kernels::matmul::{BatchAxis, MatMulTask, PreparedMatMul};
use sslm_kernels::{Exec, Isa, Threading};

#[derive(Clone, Debug)]
struct Case {
    /// Extents of the axes before the matrices.
    batches: [Vec<usize>; 2],
    rows: usize,
    inner: usize,
    columns: usize,
    transposed: [bool; 2],
    alpha: f32,
}

impl Case {
    fn shapes(&self) -> [Vec<usize>; 2] {
        let matrices = [[self.rows, self.inner], [self.inner, self.columns]];
        [0, 1].map(|i| {
            let [first, second] = matrices[i];
            let matrix = if self.transposed[i] { [second, first] } else { [first, second] };
            [&self.batches[i][..], &matrix].concat()
        })
    }

    /// Where the matrices of each product begin.
    fn starts(&self) -> Vec<[usize; 2]> {
        let rank = self.batches[0].len().max(self.batches[1].len());
        let extent =
            |i: usize, axis: usize| (axis + self.batches[i].len()).checked_sub(rank).map_or(1, |own| self.batches[i][own]);
        let mut starts = vec![[0; 2]];
        for axis in 0..rank {
            let both = [extent(0, axis), extent(1, axis)];
            let count = if both[0] == 1 { both[1] } else { both[0] };
            let index = |start: usize, i: usize, at: usize| start * both[i] + if both[i] == 1 { 0 } else { at };
            let next =
                |start: &[usize; 2]| (0..count).map(|at| [index(start[0], 0, at), index(start[1], 1, at)]).collect::<Vec<_>>();
            starts = starts.iter().flat_map(next).collect();
        }
        starts.iter().map(|[a, b]| [a * self.rows * self.inner, b * self.inner * self.columns]).collect()
    }

    fn expected(&self, a: &[f32], b: &[f32]) -> Vec<Expected> {
        let mut expected = Vec::new();
        for [a_start, b_start] in self.starts() {
            for (row, column) in (0..self.rows).flat_map(|row| (0..self.columns).map(move |column| (row, column))) {
                let product = |k: usize| {
                    let a_at = if self.transposed[0] { k * self.rows + row } else { row * self.inner + k };
                    let b_at = if self.transposed[1] { column * self.inner + k } else { k * self.columns + column };
                    f64::from(self.alpha) * f64::from(a[a_start + a_at]) * f64::from(b[b_start + b_at])
                };
                expected.push(Expected::sum((0..self.inner).map(product)));
            }
        }
        expected
    }
}

fn check(case: &Case) -> Result<(), String> {
    let rng = &mut Rng::with_seed(5);
    let shapes = case.shapes();
    let [a, b]: [Guarded; 2] = shapes.each_ref().map(|shape| elements(rng, shape.iter().product()));
    let expected = case.expected(&a, &b);
    let task = MatMulTask::new([&shapes[0], &shapes[1]], case.transposed, case.alpha);
    for isa in isas() {
        let mut first: Option<Guarded> = None;
        for threads in [1, 2, 5] {
            let kernel = PreparedMatMul::new(task.clone(), isa, threads);
            let out = run(expected.len(), |out, threading| {
                let (reads, scratch) = ([&*a, &*b], &mut Guarded::poisoned(kernel.scratch_len()));
                let (reads, parameters, kept) = (Slices::Listed(&reads), Slices::Listed(&[]), &[][..]);
                kernel.compute(Call { reads, parameters, kept, out, scratch, exec: Exec { isa, threading } });
            })?;
            compare(&out, &expected).map_err(|e| format!("{isa}, {threads} threads: {e}"))?;
            let first = first.get_or_insert_with(|| out.iter().copied().collect());
            same_bits(first, &out).map_err(|e| format!("{isa}, planned for {threads} threads: {e}"))?;
        }
    }
    task_on_devices(&expected, 1.0, &task, &[&a, &b], &[])
}

fn some_case(c: &mut Choices) -> Case {
    let none = Vec::new;
    let batches = [
        [none(), none()],
        [vec![3], none()],
        [none(), vec![3]],
        [vec![2, 3], vec![2, 3]],
        [vec![2, 1], vec![2, 3]],
        [vec![2, 3], vec![2, 1]],
        [vec![2, 1, 3], vec![4, 1]],
        [vec![1, 3], vec![2, 1]],
        [vec![30], vec![30]],
        [vec![0], vec![1]],
    ];
    Case {
        batches: c.of(&batches),
        rows: c.of(&[0, 1, 2, 7, 8, 9, 17, 63, 64, 65, 70]),
        inner: c.of(&[0, 1, 2, 7, 8, 15, 16, 17, 33]),
        columns: c.of(&[0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 33, 48, 49, 64, 65]),
        transposed: [c.of(&[false, true]), c.of(&[false, true])],
        alpha: c.of(&[1.0, 0.125, -2.5]),
    }
}

#[test]
fn every_size() {
    check_all(&sample(400, some_case), check);
}

/// More rows than a strip is multiplied with at a time.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn long_sums() {
    let cases = sample(12, |c| Case {
        rows: c.of(&[1, 9, 66]),
        inner: c.of(&[511, 512, 513, 1100]),
        batches: [vec![], vec![]],
        ..some_case(c)
    });
    check_all(&cases, check);
}

#[test]
fn axes_along_which_nothing_changes_are_merged() {
    let task = |a: &[usize], b: &[usize], transposed| MatMulTask::new([a, b], transposed, 1.0);
    let one = |extent, strides| vec![BatchAxis { extent, strides }];
    assert_eq!(task(&[2, 3, 4, 5], &[2, 3, 5, 6], [false; 2]).batch, one(6, [20, 30]));
    assert_eq!(task(&[2, 1, 4, 5], &[1, 5, 6], [false; 2]).rows, 8);
    assert_eq!(task(&[2, 3, 4, 5], &[5, 6], [false; 2]).batch, []);
    assert_eq!(task(&[2, 3, 5, 4], &[5, 6], [true, false]).batch, one(6, [20, 0]));
    let both = vec![BatchAxis { extent: 2, strides: [20, 0] }, BatchAxis { extent: 3, strides: [0, 30] }];
    assert_eq!(task(&[2, 1, 4, 5], &[3, 5, 6], [false; 2]).batch, both);
}

#[test]
fn refuses_wrong_lengths() {
    let kernel = PreparedMatMul::new(MatMulTask::new([&[2, 3, 4], &[2, 4, 5]], [false; 2], 1.0), Isa::best(), 1);
    let exec = Exec { isa: Isa::best(), threading: Threading::Single };
    refuses_other_lengths([("A", 24), ("B", 40), ("output", 30)], |[a, b, mut out]| {
        let (reads, scratch) = ([&a[..], &b[..]], &mut vec![0.0; kernel.scratch_len()][..]);
        let (reads, parameters, kept) = (Slices::Listed(&reads), Slices::Listed(&[]), &[][..]);
        kernel.compute(Call { reads, parameters, kept, out: &mut out, scratch, exec });
    });
}
