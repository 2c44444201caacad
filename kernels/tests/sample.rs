//! Planes at the positions of a grid, and all over regions, against the definitions written out in f64.

use crate::common::{
    Expected, Guarded, check_all, compare_within, elements, every, plainly, refuses_other_lengths, run_everywhere,
    task_on_devices,
};
use fastrand::Rng;
use sslm_kernels::sample::{Between, GridSampleTask, Outside, RoiAlignTask};

/// The weights and indices that an axis of `extent` contributes to `position`.
fn taps(task: &GridSampleTask, position: f32, extent: usize) -> Vec<(f64, Option<usize>)> {
    let (position, len) = (f64::from(position), extent as f64);
    let at = if task.align_corners { (position + 1.0) / 2.0 * (len - 1.0) } else { ((position + 1.0) * len - 1.0) / 2.0 };
    let first = at.floor();
    let cubic = |d: f64| match d {
        d if d <= 1.0 => 1.25 * d * d * d - 2.25 * d * d + 1.0,
        d => -0.75 * (d * d * d - 5.0 * d * d + 8.0 * d - 4.0),
    };
    let weighted: Vec<(f64, f64)> = match task.between {
        Between::Nearest => vec![(1.0, at.round_ties_even())],
        Between::Linear => vec![(1.0 - (at - first), first), (at - first, first + 1.0)],
        Between::Cubic => (-1..3).map(|i| f64::from(i) + first).map(|place| (cubic((at - place).abs()), place)).collect(),
    };
    let index = |place: f64| -> Option<usize> {
        let mut place = place as i64;
        match task.outside {
            Outside::Zeros => {}
            Outside::Border => place = place.clamp(0, extent as i64 - 1),
            // One step of the mirrors after the other: they stand on the outermost elements or beside them.
            Outside::Reflection if extent == 1 => place = 0,
            Outside::Reflection => {
                let last = extent as i64 - 1;
                let edge = i64::from(!task.align_corners);
                while !(0..=last).contains(&place) {
                    place = if place < 0 { -place - edge } else { 2 * last - place + edge };
                }
            }
        }
        usize::try_from(place).ok().filter(|&place| place < extent)
    };
    weighted.into_iter().map(|(weight, place)| (weight, index(place))).collect()
}

#[test]
fn planes_at_any_position() {
    let cases = every(|c| {
        let between = c.of(&[Between::Linear, Between::Nearest, Between::Cubic]);
        let outside = c.of(&[Outside::Zeros, Outside::Border, Outside::Reflection]);
        let (input, positions) = (c.of(&[[1, 1], [1, 4], [3, 5], [8, 17]]), c.of(&[1, 7, 40]));
        let (channels, images) = (c.of(&[1, 3]), c.of(&[1, 2]));
        (GridSampleTask { channels, input, positions, between, outside, align_corners: c.of(&[false, true]) }, images)
    });
    check_all(&cases, |&(task, images)| {
        let rng = &mut Rng::with_seed(41);
        let plane = task.input[0] * task.input[1];
        let x: Guarded = elements(rng, images * task.channels * plane);
        // Positions inside and some way outside, none of them near the middle between two elements.
        let position = |i: usize| ((i * 37 % 101) as f32 / 101.0 - 0.5) * 3.3 + 0.0037;
        let grid: Guarded = (0..images * task.positions * 2).map(position).collect();
        let mut expected = Vec::new();
        for image in 0..images {
            for channel in 0..task.channels {
                let x = &x[(image * task.channels + channel) * plane..][..plane];
                for p in 0..task.positions {
                    let place = &grid[(image * task.positions + p) * 2..][..2];
                    let (columns, rows) = (taps(&task, place[0], task.input[1]), taps(&task, place[1], task.input[0]));
                    let products = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
                    let (mut sum, mut magnitude) = (0.0, 0.0);
                    for ((w, row), (v, column)) in products {
                        let Some((row, column)) = row.zip(*column) else { continue };
                        let x = f64::from(x[row * task.input[1] + column]);
                        (sum, magnitude) = (sum + w * v * x, magnitude + x.abs());
                    }
                    expected.push(Expected::near(sum, magnitude));
                }
            }
        }
        // Positions are computed in f32, so that weights are off by as much as these are.
        let out = run_everywhere(expected.len(), |out, exec| task.run(&x, &grid, out, exec))?;
        compare_within(&out, &expected, 16.0)?;
        task_on_devices(&expected, 16.0, &task, &[&x, &grid], &[])
    });
}

#[test]
fn refuses_wrong_lengths() {
    let task = GridSampleTask {
        channels: 3,
        input: [4, 5],
        positions: 6,
        between: Between::Linear,
        outside: Outside::Zeros,
        align_corners: false,
    };
    refuses_other_lengths([("input", 2 * 3 * 20), ("grid", 2 * 6 * 2), ("output", 2 * 3 * 6)], |[x, grid, mut out]| {
        task.run(&x, &grid, &mut out, plainly());
    });
}

/// Nothing is read outside, whatever the grid says.
#[test]
fn positions_that_are_no_numbers() {
    for outside in [Outside::Zeros, Outside::Border, Outside::Reflection] {
        for between in [Between::Linear, Between::Nearest, Between::Cubic] {
            for align_corners in [false, true] {
                for input in [[1, 1], [2, 3]] {
                    let task = GridSampleTask { channels: 1, input, positions: 3, between, outside, align_corners };
                    let grid = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -3e9, f32::MAX];
                    let mut out = [f32::NAN; 3];
                    task.run(&vec![1.0; input[0] * input[1]], &grid, &mut out, plainly());
                    assert!(out.iter().all(|x| x.is_finite()), "{task:?}: {out:?}");
                }
            }
        }
    }
}

/// The positions and weights of sample `sample` of element `element` on an axis, `None` outside; and how many samples there are.
fn samples_of(task: &RoiAlignTask, bounds: [f32; 2], axis: usize, element: usize) -> Vec<Option<[(usize, f64); 2]>> {
    let (extent, offset) = (task.input[axis], if task.half_pixel { 0.5 } else { 0.0 });
    let [start, end] = bounds.map(|at| f64::from(at * task.scale) - offset);
    let len = if task.half_pixel { end - start } else { (end - start).max(1.0) } / task.output[axis] as f64;
    let count = if task.samples > 0 { task.samples } else { len.ceil().max(0.0) as usize };
    let place = |sample: usize| {
        let at = start + element as f64 * len + (sample as f64 + 0.5) * len / count as f64;
        let inside = (-1.0..=extent as f64).contains(&at);
        let at = at.clamp(0.0, extent as f64 - 1.0);
        let first = at.floor() as usize;
        inside.then(|| [(first, 1.0 - at.fract()), ((first + 1).min(extent - 1), at.fract())])
    };
    (0..count).map(place).collect()
}

#[test]
fn regions_of_any_size() {
    let cases = every(|c| {
        let (input, output) = (c.of(&[[1, 1], [5, 9]]), c.of(&[[1, 1], [3, 2]]));
        let (samples, scale) = (c.of(&[0, 1, 2]), c.of(&[1.0, 0.25]));
        let (half_pixel, largest) = (c.of(&[false, true]), c.of(&[false, true]));
        RoiAlignTask { images: 2, channels: 3, input, output, samples, scale, half_pixel, largest }
    });
    check_all(&cases, |task| {
        let [height, width] = task.input;
        let x: Guarded = elements(&mut Rng::with_seed(43), 2 * 3 * height * width);
        // Within, beyond every side, empty, reversed, far outside; the last two are of no image.
        let regions: [[f32; 4]; 8] = [
            [0.13, 0.27, 7.31, 4.43],
            [-9.31, -8.12, 33.77, 41.35],
            [2.2, 2.3, 2.2, 2.3],
            [5.1, 4.1, 2.7, 1.3],
            [-70.2, -80.4, -60.3, -70.1],
            [-900.4, -10.3, 3000.9, 12.1],
            [0.13, 0.27, 7.31, 4.43],
            [0.13, 0.27, 7.31, 4.43],
        ];
        let images = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 2.0, f32::NAN];
        let mut expected = Vec::new();
        for ((region, image), channel) in regions.iter().zip(images).flat_map(|r| (0..3).map(move |channel| (r, channel))) {
            for (row, column) in (0..task.output[0]).flat_map(|row| (0..task.output[1]).map(move |column| (row, column))) {
                if !(0.0..2.0).contains(&image) {
                    expected.push(Expected::exactly(0.0));
                    continue;
                }
                let x = &x[(image as usize * 3 + channel) * height * width..][..height * width];
                let rows = samples_of(task, [region[1], region[3]], 0, row);
                let columns = samples_of(task, [region[0], region[2]], 1, column);
                let mut weighted = Vec::new();
                for (down, right) in rows.iter().flat_map(|down| columns.iter().map(move |right| (down, right))) {
                    let Some((down, right)) = down.zip(*right) else {
                        weighted.push(0.0);
                        continue;
                    };
                    for ((row, a), (column, b)) in down.iter().flat_map(|down| right.iter().map(move |right| (*down, *right))) {
                        weighted.push(a * b * f64::from(x[row * width + column]));
                    }
                }
                let count = (rows.len() * columns.len()).max(1) as f64;
                let value = match task.largest {
                    false => weighted.iter().sum::<f64>() / count,
                    true => weighted.iter().copied().reduce(f64::max).unwrap_or(0.0),
                };
                expected.push(Expected::near(value, 1.0));
            }
        }
        let regions: Guarded = regions.iter().flatten().copied().collect();
        let out = run_everywhere(expected.len(), |out, exec| task.run([&x, &regions, &images], out, exec))?;
        // Places are computed in f32, in thousands of positions.
        compare_within(&out, &expected, 4096.0)?;
        task_on_devices(&expected, 4096.0, task, &[&x, &regions, &images], &[])
    });
}

/// Nothing is read outside, and nothing takes long, whatever regions there are.
#[test]
fn regions_that_are_no_numbers() {
    for (samples, half_pixel) in [(0, false), (0, true), (3, false), (3, true)] {
        let (input, output) = ([2, 3], [2, 2]);
        let task = RoiAlignTask { images: 1, channels: 1, input, output, samples, scale: 1.0, half_pixel, largest: false };
        let far = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -3e9, f32::MAX, 0.0, -1e30];
        let mut out = [f32::NAN; 8];
        task.run([&[1.0; 6], &far, &[0.0; 2]], &mut out, plainly());
        assert!(out.iter().all(|x| x.is_finite()), "{task:?}: {out:?}");
    }
}
