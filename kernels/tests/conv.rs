//! Convolutions over kept columns against one that leaves nothing out: every channel is there, constant ones as planes of their
//! number, and each tap of each filter is looked up on its own. Planes that no column reads are poison.

mod common;

use common::{
    Choices, Expected, Guarded, POINTWISE, POISON, Window, check_all, compare, every, looks_at, number, numbers, panels, pixel,
    positions, refuses, refuses_other_lengths, run, sample,
};
use fastrand::Rng;
use sslm_kernels::Threading;
use sslm_kernels::conv::{Column, Conv, Geometry, Group};
use std::ops::Range;

/// Which columns of its live channels a group keeps.
#[derive(Clone, Copy, Debug)]
enum Keep {
    All,
    Nothing,
    Half,
    /// All, the last one first.
    Backwards,
    /// One column of each channel.
    LastTap,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    filters: usize,
    live_channels: usize,
    constant_channels: usize,
    keep: Keep,
}

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    window: Window,
    groups: Vec<Part>,
    relu: bool,
}

const PART: Part = Part { filters: 3, live_channels: 2, constant_channels: 0, keep: Keep::All };

impl Part {
    fn choose(c: &mut Choices) -> Self {
        Part {
            filters: c.of(&[0, 1, 7, 8, 9, 16, 17]),
            live_channels: c.of(&[1, 4]),
            constant_channels: c.of(&[0, 2]),
            keep: c.of(&[Keep::All, Keep::Nothing, Keep::Half, Keep::Backwards]),
        }
    }
}

/// A layer with all its channels, and what the kernel is told of it.
#[derive(Default)]
struct Layer {
    /// For every channel its number, if it is constant.
    constants: Vec<Option<f32>>,
    /// The taps of every filter.
    filters: Vec<Vec<(Column, f32)>>,
    groups: Vec<Group>,
    weights: Vec<f32>,
    /// What the constants add through each tap of each filter.
    border: Vec<f32>,
}

impl Layer {
    fn random(case: &Case, rng: &mut Rng) -> Self {
        let mut layer = Layer::default();
        case.groups.iter().for_each(|part| layer.add_group(part, case.window.kernel, rng));
        layer
    }

    fn add_group(&mut self, part: &Part, kernel: [usize; 2], rng: &mut Rng) {
        let columns_of = |channels: Range<usize>| {
            channels.flat_map(move |channel| positions(kernel).map(move |[kh, kw]| Column { channel, kh, kw }))
        };
        let (first_constant, first_physical) = (self.constants.len(), self.live_channels());
        let first_live = first_constant + part.constant_channels;
        self.constants.extend((0..part.constant_channels).map(|_| Some(number(rng))));
        self.constants.extend((0..part.live_channels).map(|_| None));

        let mut kept: Vec<Column> = columns_of(first_live..self.constants.len()).collect();
        match part.keep {
            Keep::All => {}
            Keep::Nothing => kept.clear(),
            Keep::Half => kept.retain(|_| rng.bool()),
            Keep::Backwards => kept.reverse(),
            Keep::LastTap => kept.retain(|c| [c.kh + 1, c.kw + 1] == kernel),
        }
        let rows: Vec<Vec<f32>> = (0..part.filters).map(|_| numbers(rng, kept.len())).collect();
        self.weights.extend(panels(&rows));
        for row in rows {
            let on_constants: Vec<(Column, f32)> = columns_of(first_constant..first_live).map(|c| (c, number(rng))).collect();
            let constant = |channel: usize| self.constants[channel].expect("it is constant");
            self.border.extend(positions(kernel).map(|tap| {
                let here = on_constants.iter().filter(|(c, _)| [c.kh, c.kw] == tap);
                here.map(|(c, weight)| weight * constant(c.channel)).sum::<f32>()
            }));
            self.filters.push(kept.iter().copied().zip(row).chain(on_constants).collect());
        }
        let physical = |c: &Column| Column { channel: c.channel - first_live + first_physical, ..*c };
        self.groups.push(Group { filters: part.filters, columns: kept.iter().map(physical).collect() });
    }

    fn live_channels(&self) -> usize {
        self.constants.iter().filter(|c| c.is_none()).count()
    }

    /// An image with all channels.
    fn image(&self, pixels: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
        let is_read = |channel: usize| self.groups.iter().flat_map(|g| &g.columns).any(|c| c.channel == channel);
        let mut physical = 0..;
        let plane = |constant: &Option<f32>| match constant {
            Some(constant) => vec![*constant; pixels],
            None if physical.next().is_some_and(is_read) => numbers(rng, pixels),
            None => vec![POISON; pixels],
        };
        self.constants.iter().map(plane).collect()
    }

    fn expected(&self, image: &[Vec<f32>], geometry: &Geometry, bias: &[f32]) -> Vec<Expected> {
        let output = |filter: &[(Column, f32)], bias: f32, out: [usize; 2]| {
            let product = |(c, weight): &(Column, f32)| {
                let x = pixel(&image[c.channel], geometry.input, looks_at(geometry, out, [c.kh, c.kw]))?;
                Some(f64::from(*weight) * f64::from(x))
            };
            Expected::sum(filter.iter().filter_map(product).chain([f64::from(bias)]))
        };
        let plane = |(filter, &bias)| positions(geometry.output).map(move |out| output(filter, bias, out));
        self.filters.iter().map(Vec::as_slice).zip(bias).flat_map(plane).collect()
    }
}

/// Runs a case and hands out its kernel for further questions.
fn check(case: &Case) -> Result<Conv, String> {
    let rng = &mut Rng::with_seed(5);
    let layer = Layer::random(case, rng);
    let geometry = case.window.geometry(layer.live_channels());
    let images: Vec<_> = (0..case.batch).map(|_| layer.image(geometry.input.iter().product(), rng)).collect();
    let bias: Guarded = numbers(rng, layer.filters.len());
    let expected: Vec<Expected> = images.iter().flat_map(|image| layer.expected(image, &geometry, &bias)).collect();
    let expected: Vec<Expected> = expected.into_iter().map(|e| e.relu(case.relu)).collect();

    let is_live = |(plane, constant): (_, &Option<f32>)| constant.is_none().then_some(plane);
    let live_planes = images.iter().flat_map(|image| image.iter().zip(&layer.constants).filter_map(is_live));
    let x: Guarded = live_planes.flatten().copied().collect();
    let weights: Guarded = layer.weights.iter().copied().collect();
    let macs = layer.groups.iter().map(|g| g.filters * g.columns.len() * geometry.output[0] * geometry.output[1]).sum();
    let taps = (layer.live_channels() < layer.constants.len()).then_some(&*layer.border);
    let conv = Conv::new(geometry, layer.groups, taps, case.relu);
    let out = run(expected.len(), |out, threading| {
        conv.run(&x, &weights, &bias, out, &mut Guarded::poisoned(conv.scratch_len()), threading);
    })?;
    compare(&out, &expected)?;
    if conv.macs() == macs { Ok(conv) } else { Err(format!("{} MACs instead of {macs}", conv.macs())) }
}

#[test]
fn every_window() {
    let mut cases = every(|c| Case {
        batch: 1,
        window: Window::choose(c),
        groups: vec![Part { constant_channels: c.of(&[0, 2]), keep: Keep::Half, ..PART }],
        relu: false,
    });
    cases.retain(|case| case.window.fits());
    check_all(&cases, |case| check(case).map(drop));
}

#[test]
fn every_shape_of_the_weights() {
    let window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..POINTWISE };
    let cases = every(|c| Case { batch: c.of(&[1, 3]), window, groups: vec![Part::choose(c)], relu: c.of(&[false, true]) });
    check_all(&cases, |case| check(case).map(drop));
}

/// Random windows, groups of unequal filters and columns, of which some keep none.
#[test]
fn mixtures() {
    let mut cases = sample(600, |c| Case {
        batch: c.of(&[1, 2, 3]),
        window: Window::choose(c),
        groups: (0..c.of(&[1, 2, 3])).map(|_| Part::choose(c)).collect(),
        relu: c.of(&[false, true]),
    });
    cases.retain(|case| case.window.fits());
    check_all(&cases, |case| check(case).map(drop));
}

/// A pointwise convolution whose columns are a run of planes multiplies the input where it lies; all that nearly is one gathers.
#[test]
fn in_place() {
    let windows = [
        (true, POINTWISE),
        (true, Window { dilations: [2, 3], ..POINTWISE }),
        (true, Window { input: [1, 1], ..POINTWISE }),
        (false, Window { strides: [2, 2], ..POINTWISE }),
        (false, Window { pad_after: [1, 0], ..POINTWISE }),
        // Input and output of one size, yet not the same numbers: read with gaps, shifted, through another tap than the first.
        (false, Window { strides: [2, 2], pad_after: [4, 5], ..POINTWISE }),
        (false, Window { pad_before: [1, 1], overhang: -1, ..POINTWISE }),
        (false, Window { kernel: [1, 3], pad_after: [0, 2], ..POINTWISE }),
    ];
    let groups = [
        (true, vec![PART]),
        (true, vec![PART, Part { filters: 9, live_channels: 5, constant_channels: 1, ..PART }]),
        (true, vec![PART, Part { keep: Keep::Nothing, ..PART }]),
        (true, vec![Part { keep: Keep::LastTap, ..PART }]),
        (false, vec![PART, Part { live_channels: 9, keep: Keep::Half, ..PART }]),
        (false, vec![Part { keep: Keep::Backwards, ..PART }, PART]),
    ];
    let cases = every(|c| {
        let ((window_allows, window), (groups_allow, groups)) = (c.of(&windows), c.of(&groups));
        (window_allows && groups_allow, Case { batch: 2, window, groups, relu: false })
    });
    check_all(&cases, |(in_place, case)| {
        let gathered = check(case)?.scratch_len();
        if *in_place == (gathered == 0) { Ok(()) } else { Err(format!("gathers {gathered} numbers")) }
    });
}

fn small(taps: Option<&[f32]>) -> Conv {
    let column = |channel| Column { channel, kh: 0, kw: 1 };
    let groups = vec![Group { filters: 3, columns: vec![column(0), column(1)] }];
    Conv::new(Window { kernel: [1, 2], ..POINTWISE }.geometry(2), groups, taps, false)
}

#[test]
fn refuses_wrong_lengths() {
    let conv = small(None);
    let lengths = [("input", 2 * 30), ("weights", 3 * 2), ("bias", 3), ("output", 3 * 25)];
    refuses_other_lengths(lengths, |[x, weights, bias, mut out]| {
        conv.run(&x, &weights, &bias, &mut out, &mut vec![0.0; conv.scratch_len()], Threading::Single);
    });
}

#[test]
#[should_panic(expected = "out of range")]
fn refuses_too_little_scratch() {
    let conv = small(None);
    let scratch = &mut vec![0.0; conv.scratch_len() - 1];
    conv.run(&[1.0; 60], &[1.0; 6], &[1.0; 3], &mut [0.0; 75], scratch, Threading::Single);
}

#[test]
#[should_panic(expected = "taps: expected 6 elements, found 5")]
fn refuses_taps_of_another_kernel() {
    small(Some(&[1.0; 5]));
}

#[test]
fn refuses_columns_outside() {
    let inside = Column { channel: 1, kh: 2, kw: 3 };
    let outside = [Column { channel: 2, ..inside }, Column { kh: 3, ..inside }, Column { kw: 4, ..inside }];
    let conv = |column: Column| {
        let geometry = Window { kernel: [3, 4], ..POINTWISE }.geometry(2);
        Conv::new(geometry, vec![Group { filters: 1, columns: vec![column] }], None, false)
    };
    conv(inside);
    check_all(&outside, |&column| refuses(|| conv(column)));
}
