//! Computed indices against lookups written out, with indices that count from the end and such as lead outside.

use crate::common::{Choices, Expected, Guarded, check_all, compare, elements, maximum, run_everywhere, sample, task_on_devices};
use fastrand::Rng;
use sslm_kernels::cpu::{Call, Slices, Target};
use sslm_kernels::index::{GatherAlongTask, GatherAtTask, Meeting, ScatterAlongTask, ScatterAtTask, TopKTask};
use sslm_kernels::{Task, cuda};

/// What the task's kernels write, on the CPU and on devices, against what is expected.
fn compute<T: Task + cuda::Task + Clone + 'static>(task: &T, reads: &[&[f32]], expected: &[Expected]) -> Result<(), String> {
    let out = run_everywhere(expected.len(), |out, exec| {
        let kernel = Box::new(task.clone()).prepare(&Target::new(exec.isa, 3));
        let scratch = &mut Guarded::poisoned(kernel.scratch_len());
        let (reads, parameters) = (Slices::Listed(reads), Slices::Listed(&[]));
        kernel.compute(Call { reads, parameters, kept: &[], out, scratch, exec });
    })?;
    compare(&out, expected)?;
    task_on_devices(expected, 1.0, task, reads, &[])
}

#[derive(Debug)]
struct Lines {
    outer: usize,
    extent: usize,
    positions: usize,
    inner: usize,
    meeting: Meeting,
}

const MEETINGS: [Meeting; 5] = [Meeting::Last, Meeting::Sum, Meeting::Product, Meeting::Larger, Meeting::Smaller];

impl Lines {
    fn choose(c: &mut Choices) -> Self {
        Lines {
            outer: c.of(&[1, 2, 5]),
            extent: c.of(&[1, 2, 7, 33]),
            positions: c.of(&[1, 2, 8, 40]),
            inner: c.of(&[1, 2, 9]),
            meeting: c.of(&MEETINGS),
        }
    }
}

/// Indices of an axis, some of which count from the end; one in ten leads outside, or is no number.
fn indices(rng: &mut Rng, len: usize, extent: usize) -> Guarded {
    let index = |rng: &mut Rng| match rng.usize(..10) {
        0 => [extent as f32, -(extent as f32) - 1.0, 1e30, -1e30, f32::NAN][rng.usize(..5)],
        _ => rng.i64(-(extent as i64)..extent as i64) as f32,
    };
    (0..len).map(|_| index(rng)).collect()
}

/// The place that an index means, and whether it lies inside.
fn place(index: f32, extent: usize) -> (usize, bool) {
    let index = if index.is_nan() { 0 } else { index as i128 };
    let place = if index < 0 { index + extent as i128 } else { index };
    (place.clamp(0, extent as i128 - 1) as usize, (0..extent as i128).contains(&place))
}

fn meet(meeting: Meeting, there: &mut Expected, comes: f32) {
    *there = match meeting {
        Meeting::Last => Expected::exactly(comes),
        Meeting::Sum => there.plus(comes),
        Meeting::Product => there.map(|x| x * f64::from(comes)),
        Meeting::Larger => there.map(|x| maximum(x, f64::from(comes))),
        Meeting::Smaller => there.map(|x| -maximum(-x, -f64::from(comes))),
    };
}

#[test]
fn the_largest_and_the_smallest() {
    let case = |c: &mut Choices| (Lines::choose(c), c.of(&[1, 2, 7, 33]), c.of(&[true, false]));
    check_all(&sample(60, case), |(lines, k, largest)| {
        let &Lines { outer, extent, inner, .. } = lines;
        let (k, largest) = ((*k).min(extent), *largest);
        let rng = &mut Rng::with_seed(3);
        // With many equal ones, among them zeros of either sign.
        let x: Guarded = (0..outer * extent * inner).map(|_| [1.5, -2.0, 0.0, -0.0, 7.0, -1e30][rng.usize(..6)]).collect();
        for positions in [false, true] {
            let mut expected = vec![Expected::exactly(f32::NAN); outer * k * inner];
            for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
                let at = |position: usize| x[(o * extent + position) * inner + i];
                let mut order: Vec<usize> = (0..extent).collect();
                order.sort_by(|&a, &b| {
                    if largest { at(b).partial_cmp(&at(a)) } else { at(a).partial_cmp(&at(b)) }.expect("numbers")
                });
                for (rank, &position) in order[..k].iter().enumerate() {
                    let element = if positions { position as f32 } else { at(position) };
                    expected[(o * k + rank) * inner + i] = Expected::exactly(element);
                }
            }
            compute(&TopKTask { outer, extent, inner, k, largest, positions }, &[&x], &expected)?;
        }
        Ok(())
    });
}

#[test]
fn indices_on_one_axis() {
    check_all(&sample(60, Lines::choose), |case| {
        let &Lines { outer, extent, positions, inner, meeting } = case;
        let rng = &mut Rng::with_seed(4);
        let (x, updates): (Guarded, Guarded) = (elements(rng, outer * extent * inner), elements(rng, outer * positions * inner));
        let indices = indices(rng, updates.len(), extent);
        let mut gathered = Vec::new();
        let mut scattered: Vec<Expected> = x.iter().map(|&x| Expected::near(x.into(), 1.0)).collect();
        for (i, (&index, &update)) in indices.iter().zip(&*updates).enumerate() {
            let (at, inside) = place(index, extent);
            let to = (i / inner / positions * extent + at) * inner + i % inner;
            gathered.push(Expected::exactly(x[to]));
            if inside {
                meet(meeting, &mut scattered[to], update);
            }
        }
        compute(&GatherAlongTask { extent, positions, inner }, &[&x, &indices], &gathered)?;
        compute(&ScatterAlongTask { extent, positions, inner, meeting }, &[&x, &indices, &updates], &scattered)
    });
}

#[test]
fn indices_on_several_axes() {
    let extents = |c: &mut Choices| c.of(&[vec![1], vec![5], vec![3, 2], vec![2, 3, 4], vec![]]);
    check_all(&sample(60, |c| (Lines::choose(c), extents(c))), |(case, extents)| {
        let &Lines { outer, positions: points, inner, meeting, .. } = case;
        let (rng, len) = (&mut Rng::with_seed(4), extents.iter().product::<usize>());
        let x: Guarded = elements(rng, outer * len * inner);
        let indices: Guarded =
            (0..outer * points).flat_map(|_| extents.iter().map(|&e| indices(rng, 1, e)[0]).collect::<Vec<_>>()).collect();
        let updates: Guarded = elements(rng, points * inner);
        let mut gathered = Vec::new();
        let mut scattered: Vec<Expected> = x[..len * inner].iter().map(|&x| Expected::near(x.into(), 1.0)).collect();
        for point in 0..outer * points {
            let places =
                extents.iter().zip(&indices[point * extents.len()..]).map(|(&extent, &index)| (place(index, extent), extent));
            let (at, inside) =
                places.fold((0, true), |(at, all), ((place, inside), extent)| (at * extent + place, all && inside));
            let slice = (point / points * len + at) * inner;
            gathered.extend(x[slice..slice + inner].iter().map(|&x| Expected::exactly(x)));
            if inside && point < points {
                let there = scattered[at * inner..].iter_mut().zip(&updates[point * inner..][..inner]);
                there.for_each(|(there, &comes)| meet(meeting, there, comes));
            }
        }
        compute(&GatherAtTask { batches: outer, points, extents: extents.clone(), inner }, &[&x, &indices], &gathered)?;
        let (x, indices) = (&x[..len * inner], &indices[..points * extents.len()]);
        compute(&ScatterAtTask { points, extents: extents.clone(), inner, meeting }, &[x, indices, &updates], &scattered)
    });
}
