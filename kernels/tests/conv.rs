//! Convolutions over kept columns against one that leaves nothing out: every channel is there, constant ones as planes of their
//! value, and each tap of each filter is looked up on its own. Planes that no column reads are poison.

use crate::common::{
    Choices, Expected, Guarded, POINTWISE, POISON, Window, activated, blocks, check_all, compare_within, element, elements,
    every, few_digits, looks_at, on_devices, panels, pixel, positions, put, refuses, refuses_other_lengths, run, same_bits,
    sample, some_methods,
};
use fastrand::Rng;
use sslm_devices::{StandIn, isas, stand_in};
use sslm_kernels::conv::{self, Column, ConvParameters, Geometry, KeptGroup, Method, PreparedConv};
use sslm_kernels::cpu::{Target, Task};
use sslm_kernels::cuda::{self, Precision};
use sslm_kernels::layout::{Extents, Forms, Layout, Layouts};
use sslm_kernels::reorder::reorder;
use sslm_kernels::{Activation, Exec, Isa, Threading, Unary};
use std::collections::HashMap;
use std::ops::Range;

/// Which columns of its live channels a group keeps.
#[derive(Clone, Copy, Debug)]
enum Keep {
    All,
    Nothing,
    Half,
    /// All, the last one first.
    Backwards,
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
    activation: Activation,
    accumulate: bool,
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
    /// For every channel its value, if it is constant.
    constants: Vec<Option<f32>>,
    /// The taps of every filter.
    filters: Vec<Vec<(Column, f32)>>,
    groups: Vec<KeptGroup>,
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
        self.constants.extend((0..part.constant_channels).map(|_| Some(element(rng))));
        self.constants.extend((0..part.live_channels).map(|_| None));

        let mut kept: Vec<Column> = columns_of(first_live..self.constants.len()).collect();
        match part.keep {
            Keep::All => {}
            Keep::Nothing => kept.clear(),
            Keep::Half => kept.retain(|_| rng.bool()),
            Keep::Backwards => kept.reverse(),
        }
        let rows: Vec<Vec<f32>> = (0..part.filters).map(|_| elements(rng, kept.len())).collect();
        self.weights.extend(panels(&rows));
        for row in rows {
            let on_constants: Vec<(Column, f32)> = columns_of(first_constant..first_live).map(|c| (c, element(rng))).collect();
            let constant = |channel: usize| self.constants[channel].expect("it is constant");
            self.border.extend(positions(kernel).map(|tap| {
                let here = on_constants.iter().filter(|(c, _)| [c.kh, c.kw] == tap);
                here.map(|(c, weight)| weight * constant(c.channel)).sum::<f32>()
            }));
            self.filters.push(kept.iter().copied().zip(row).chain(on_constants).collect());
        }
        let physical = |c: &Column| Column { channel: c.channel - first_live + first_physical, ..*c };
        self.groups.push(KeptGroup { filters: part.filters, columns: kept.iter().map(physical).collect() });
    }

    fn live_channels(&self) -> usize {
        self.constants.iter().filter(|c| c.is_none()).count()
    }

    /// With other weights on live channels, each made of the one that was there.
    fn with_weights(mut self, of: impl Fn(f32) -> f32) -> Self {
        let Layer { constants, filters, weights, .. } = &mut self;
        let on_live = filters.iter_mut().flatten().filter(|(column, _)| constants[column.channel].is_none());
        on_live.map(|(_, weight)| weight).chain(weights).for_each(|weight| *weight = of(*weight));
        self
    }

    /// An image with all channels.
    fn image(&self, pixels: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
        let is_read = |channel: usize| self.groups.iter().flat_map(|g| &g.columns).any(|c| c.channel == channel);
        let mut physical = 0..;
        let plane = |constant: &Option<f32>| match constant {
            Some(constant) => vec![*constant; pixels],
            None if physical.next().is_some_and(is_read) => elements(rng, pixels),
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

/// A case with values, and what is to come of them.
struct Problem {
    layer: Layer,
    geometry: Geometry,
    x: Guarded,
    weights: Guarded,
    bias: Guarded,
    /// What the output holds before.
    before: Vec<f32>,
    expected: Vec<Expected>,
}

impl Problem {
    fn new(case: &Case) -> Self {
        let rng = &mut Rng::with_seed(5);
        Self::of(case, Layer::random(case, rng), rng, |x| x)
    }

    /// With images and weights of few digits.
    fn with_few_digits(case: &Case) -> Self {
        let rng = &mut Rng::with_seed(5);
        Self::of(case, Layer::random(case, rng).with_weights(few_digits), rng, few_digits)
    }

    /// With pixels and weights that are made of usual ones.
    fn with(case: &Case, pixel: impl FnMut(f32) -> f32, weight: impl Fn(f32) -> f32) -> Self {
        let rng = &mut Rng::with_seed(5);
        Self::of(case, Layer::random(case, rng).with_weights(weight), rng, pixel)
    }

    fn of(case: &Case, layer: Layer, rng: &mut Rng, mut pixel: impl FnMut(f32) -> f32) -> Self {
        let geometry = case.window.geometry(layer.live_channels());
        let mut images: Vec<_> = (0..case.batch).map(|_| layer.image(geometry.input.iter().product(), rng)).collect();
        for (plane, constant) in images.iter_mut().flat_map(|image| image.iter_mut().zip(&layer.constants)) {
            // Constants are no factors of products on devices.
            if constant.is_none() {
                plane.iter_mut().for_each(|x| *x = pixel(*x));
            }
        }
        let bias: Guarded = elements(rng, layer.filters.len());
        let expected: Vec<Expected> = images.iter().flat_map(|image| layer.expected(image, &geometry, &bias)).collect();
        let before: Vec<f32> = elements(rng, expected.len());
        let finish = |(e, &before): (Expected, &f32)| {
            let e = if case.accumulate { e.plus(before) } else { e };
            e.map(|x| activated(case.activation, x))
        };
        let expected: Vec<Expected> = expected.into_iter().zip(&before).map(finish).collect();

        let is_live = |(plane, constant): (_, &Option<f32>)| constant.is_none().then_some(plane);
        let live_planes = images.iter().flat_map(|image| image.iter().zip(&layer.constants).filter_map(is_live));
        let x: Guarded = live_planes.flatten().copied().collect();
        let weights: Guarded = layer.weights.iter().copied().collect();
        Problem { layer, geometry, x, weights, bias, before, expected }
    }

    /// What the kernels are told.
    fn description(&self, case: &Case) -> conv::ConvTask<'_> {
        let Problem { layer, geometry, .. } = self;
        conv::ConvTask {
            images: case.batch,
            geometry: geometry.clone(),
            groups: layer.groups.clone(),
            taps: (layer.live_channels() < layer.constants.len()).then_some(&*layer.border),
            activation: case.activation,
            accumulate: case.accumulate,
        }
    }
}

fn check(case: &Case) -> Result<(), String> {
    let problem = Problem::new(case);
    check_on_cpu(case, &problem)?;
    check_in_blocks(case, &problem)?;
    check_on_devices(case, &problem, some_methods(problem.expected.len()))
}

/// By these methods, and with factors of halves.
fn check_on_devices(case: &Case, problem: &Problem, methods: impl Iterator<Item = cuda::Method>) -> Result<(), String> {
    for method in methods {
        check_on_devices_by(case, problem, method, Precision::Fp32)?;
    }
    check_on_devices_by(case, &Problem::with_few_digits(case), cuda::Method::Library, Precision::Fp16)
}

/// With what sums are added to in the output and apart from it.
fn check_on_devices_by(case: &Case, problem: &Problem, method: cuda::Method, precision: Precision) -> Result<(), String> {
    let Problem { x, weights, bias, before, expected, .. } = problem;
    let description = problem.description(case);
    for apart in [false, true] {
        if apart && !case.accumulate {
            continue;
        }
        on_devices(expected, 1.0, |device, stream, out| {
            let choice = cuda::Choice { method: Some(method), precision };
            let conv = cuda::PreparedConv::new(&description, [weights, bias], choice, device, stream)?;
            let [x, residual] = [put(device, stream, x)?, put(device, stream, before)?];
            let scratch = device.allocate(conv.scratch_len())?;
            if case.accumulate && !apart {
                stream.upload(before, out)?;
            }
            let (x, residual, scratch) = (x.view(), apart.then_some(residual.view()), scratch.view());
            conv.run(stream, cuda::Tensors { x, residual, out, scratch })?;
            stream.wait() // before all is freed
        })
        .map_err(|e| format!("{method} {precision:?}: {e}"))?;
    }
    Ok(())
}

/// With every instruction set, planned for one thread and for three or four.
fn check_on_cpu(case: &Case, problem: &Problem) -> Result<(), String> {
    let Problem { layer, geometry, x, weights, bias, before, expected } = problem;
    let description = problem.description(case);
    let macs = layer.groups.iter().map(|g| g.filters * g.columns.len() * geometry.output[0] * geometry.output[1]).sum();
    let methods = || Method::ALL.into_iter().map(Some).chain([None]);
    for (isa, method) in isas().flat_map(|isa| methods().map(move |method| (isa, method))) {
        let mut first: Option<Guarded> = None;
        // Four are a grid of rows by filters, three are not.
        for threads in [1, 3 + expected.len() % 2] {
            let conv = match method {
                None => PreparedConv::new(description.clone(), isa, threads),
                Some(method) => PreparedConv::with_method(description.clone(), isa, threads, method),
            };
            let here = |e| format!("{isa}, {method:?} ({}), planned for {threads} threads: {e}", conv.describe());
            let out = run(expected.len(), |out, threading| {
                if case.accumulate {
                    out.copy_from_slice(before);
                }
                let parameters = ConvParameters { weights, kept: &[], bias };
                conv.run(x, parameters, out, &mut Guarded::poisoned(conv.scratch_len()), threading);
            })
            .map_err(here)?;
            compare_within(&out, expected, slack(&conv, geometry)).map_err(here)?;
            if !conv.describe().starts_with(&conv.method().to_string()) {
                return Err(here("described as another method than its own".to_owned()));
            }
            if conv.macs() != macs {
                return Err(format!("{} MACs instead of {macs}", conv.macs()));
            }
            same_bits(first.get_or_insert_with(|| out.iter().copied().collect()), &out).map_err(here)?;
        }
    }
    Ok(())
}

/// Transforms round a few times more than sums do, be it those of one group among others.
fn slack(conv: &PreparedConv, geometry: &Geometry) -> f64 {
    match conv.uses(Method::Winograd) {
        // Eight points of evaluation instead of six.
        true if geometry.kernel[0].div_ceil(geometry.strides[0]) > 3 => 16.0,
        true => 8.0,
        false => 1.0,
    }
}

/// In every layout in which it can be computed, besides planes throughout, and with weights that are kept; yields how many ways there
/// were.
fn check_in_blocks(case: &Case, problem: &Problem) -> Result<usize, String> {
    let Problem { geometry, x, weights, bias, before, expected, .. } = problem;
    let description = problem.description(case);
    let mut found = 0;
    let ways =
        [(None, false), (Some(Method::FilterLanes), false), (Some(Method::Winograd), false), (Some(Method::Winograd), true)];
    for isa in isas() {
        // Each way the same for any count of threads.
        let mut first: HashMap<String, Guarded> = HashMap::new();
        for (threads, (method, keeps_weights)) in [1, 3].into_iter().flat_map(|threads| ways.map(|way| (threads, way))) {
            let target = Target { method, keeps_weights, ..Target::new(isa, threads) };
            let Forms::Some { reads, writes, costs } = description.forms(&target) else {
                return Err("a convolution knows its channels".to_owned());
            };
            let cheapest = costs.iter().min_by(|a, b| a.1.total_cmp(&b.1));
            if let (true, Some(said), Some(&(layouts, _))) = (keeps_weights, description.kept_weights(&target), cheapest) {
                let kept = PreparedConv::on_target(description.clone(), &Target { layouts, ..target }).kept_len();
                if kept != said.len {
                    return Err(format!("{isa}, {layouts:?}: {kept} elements of weights are kept, where {} were told", said.len));
                }
            }
            for (layouts, _) in costs {
                let conv = PreparedConv::on_target(description.clone(), &Target { layouts, ..target });
                let is_new = method.is_none_or(|wanted| conv.method() == wanted) && keeps_weights == (conv.kept_len() > 0);
                if !is_new || layouts == Layouts::PLANES && !keeps_weights {
                    continue;
                }
                let way = || if keeps_weights { ", weights kept" } else { "" };
                let here = |e| format!("{isa}, {layouts:?} ({}{}), planned for {threads} threads: {e}", conv.describe(), way());
                let mut kept = Guarded::poisoned(conv.kept_len());
                conv.transform_weights(weights, &mut kept);
                let to = |layout: Layout, extents: Extents, planes: &[f32]| match layout {
                    Layout::Planes => planes.iter().copied().collect(),
                    Layout::Blocks => blocks(planes, extents, isa),
                };
                let x = to(layouts.reads, reads[0], x);
                let out = run(expected.len(), |out, threading| {
                    let mut written = match case.accumulate {
                        true => to(layouts.writes, writes, before),
                        false => Guarded::poisoned(writes.len(layouts.writes, isa)),
                    };
                    let parameters = ConvParameters { weights, kept: &kept, bias };
                    conv.run(&x, parameters, &mut written, &mut Guarded::poisoned(conv.scratch_len()), threading);
                    match layouts.writes {
                        Layout::Planes => out.copy_from_slice(&written),
                        Layout::Blocks => {
                            reorder(&written, writes, Layout::Planes, out, Exec { isa, threading: Threading::Single });
                        }
                    }
                })
                .map_err(here)?;
                compare_within(&out, expected, slack(&conv, geometry)).map_err(here)?;
                let first = first.entry(format!("{layouts:?} {method:?} {keeps_weights}"));
                same_bits(first.or_insert_with(|| out.iter().copied().collect()), &out).map_err(here)?;
                found += 1;
            }
        }
    }
    Ok(found)
}

#[test]
fn methods_have_names() {
    for method in Method::ALL {
        assert_eq!(method.to_string().parse(), Ok(method));
    }
    let unknown = "Packed".parse::<Method>().expect_err("names are lower case");
    assert!(unknown.contains("packed, in place, winograd") && unknown.contains("'Packed'"), "{unknown}");
}

/// For each method layers that it computes in every instruction set.
fn cases_of_methods() -> Vec<(Method, Case)> {
    let square = |kernel: usize| Window {
        input: [9, 11],
        kernel: [kernel; 2],
        pad_before: [kernel / 2; 2],
        pad_after: [kernel / 2; 2],
        ..POINTWISE
    };
    let strided =
        |kernel: usize, stride: usize| Window { input: [9 * stride, 11 * stride], strides: [stride; 2], ..square(kernel) };
    let case = |window: Window, groups: Vec<Part>| {
        let (activation, accumulate) = (Activation::Relu, true);
        Case { batch: 2, window, groups, activation, accumulate }
    };
    let (part, plane) = (Part { constant_channels: 1, ..PART }, Part { live_channels: 1, ..PART });
    vec![
        (Method::Packed, case(square(3), vec![Part { filters: 17, ..part }, part])),
        (Method::InPlace, case(square(3), vec![part; 2])),
        (Method::Winograd, case(square(3), vec![Part { filters: 17, live_channels: 17, ..part }, part])),
        (Method::Winograd, case(square(5), vec![part])),
        (Method::Winograd, case(strided(11, 4), vec![Part { filters: 17, keep: Keep::Half, ..part }, part])),
        (Method::Winograd, case(strided(7, 2), vec![part])),
        (Method::Winograd, case(strided(5, 2), vec![part])),
        (Method::FilterLanes, case(square(3), vec![Part { filters: 17, keep: Keep::Half, ..part }, part])),
        (Method::Depthwise, case(square(3), vec![plane; 5])),
        (Method::ChannelLanes, case(square(3), vec![Part { filters: 1, ..plane }; 17])),
    ]
}

/// A method without a line in the table above fails, so that whoever declares a method declares what it is tested with.
#[test]
fn every_method_has_cases() {
    let cases = cases_of_methods();
    for method in Method::ALL {
        assert!(cases.iter().any(|(of, _)| *of == method), "no layer is tested that is computed by {method}");
    }
    check_all(&cases, |(method, case)| {
        let problem = Problem::new(case);
        for isa in isas() {
            let conv = PreparedConv::with_method(problem.description(case), isa, 2, *method);
            if conv.method() != *method {
                return Err(format!("computed by {} ({isa})", conv.method()));
            }
            // Without leave, weights stay in the file, and only there.
            if conv.kept_len() > 0 {
                return Err(format!("{} elements of weights besides those of the file", conv.kept_len()));
            }
        }
        check_on_cpu(case, &problem)
    });
}

/// NaN and infinities reach the outputs whose windows see them, and no others, by any method and in any layout; next to numbers that are
/// far larger, others stay what they are.
#[test]
fn special_pixels_stay_in_their_windows() {
    check_all(&cases_of_methods(), |(_, case)| {
        let mut rng = Rng::with_seed(21);
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30];
        let mut pixel = |x: f32| if rng.u8(..100) == 0 { special[rng.usize(..5)] } else { x };
        check_special(case, &Problem::with(case, &mut pixel, |weight| weight))
    });
}

/// Sums that `f32` holds come out, however large or small their factors are.
#[test]
fn magnitudes_at_the_ends_of_the_range() {
    let scales = [(1e36, 1.0), (1.0, 1e36), (1e-3, 1e38), (1e38, 1e-38), (1e-38, 1e38), (1e20, 1e16), (1e14, 1e11)];
    let cases: Vec<_> = cases_of_methods().into_iter().flat_map(|(_, case)| scales.map(|scale| (case.clone(), scale))).collect();
    check_all(&cases, |(case, (pixels, weights))| {
        check_special(case, &Problem::with(case, |x| x * pixels, |weight| weight * weights))
    });
}

fn check_special(case: &Case, problem: &Problem) -> Result<(), String> {
    check_on_cpu(case, problem)?;
    check_in_blocks(case, problem)?;
    cuda::Method::ALL.into_iter().try_for_each(|method| check_on_devices_by(case, problem, method, Precision::Fp32))
}

/// Depthwise layers of rows that are cut into tiles of any width, with kernels of usual and of other sizes.
#[test]
fn depthwise_layers_in_blocks() {
    let mut cases = every(|c| {
        // Threads share many rows, and then the border, too.
        let input = c.of(&[[5, 7], [5, 14], [5, 16], [5, 29], [23, 9]]);
        let plane = Part { filters: 1, live_channels: 1, constant_channels: usize::from(input[0] > 5), keep: Keep::All };
        let (kernel, pad) =
            c.of(&[([3, 3], [1, 1]), ([5, 5], [2, 2]), ([2, 3], [1, 0]), ([3, 5], [0, 1]), ([3, 3], [1, 2]), ([1, 9], [0, 4])]);
        let window = Window {
            input,
            kernel,
            pad_before: pad,
            pad_after: [pad[0], c.of(&[0, 1]) * pad[1]],
            strides: c.of(&[[1, 1], [2, 2]]),
            dilations: c.of(&[[1, 1], [1, 2]]),
            ..POINTWISE
        };
        let accumulate = c.of(&[false, true]);
        Case { batch: 1, window, groups: vec![plane; 17], activation: Activation::Relu, accumulate }
    });
    cases.retain(|case| case.window.fits());
    check_all(&cases, |case| match check_in_blocks(case, &Problem::new(case))? {
        0 => Err("computed in planes alone".to_owned()),
        _ => Ok(()),
    });
}

/// Where some groups of a depthwise layer keep nothing, blocks are shared by groups that different methods compute, or none are used.
#[test]
fn empty_groups_among_depthwise_ones() {
    let plane = Part { filters: 1, live_channels: 1, constant_channels: 0, keep: Keep::All };
    let window = Window { kernel: [3, 3], pad_before: [1; 2], pad_after: [1; 2], input: [9, 11], ..POINTWISE };
    let case = |empty: &[usize]| {
        let mut groups = vec![plane; 19];
        empty.iter().for_each(|&group| groups[group].keep = Keep::Nothing);
        Case { batch: 2, window, groups, activation: Activation::Relu, accumulate: false }
    };
    let cases = [&[0][..], &[3], &[15], &[16], &[18], &[0, 8, 16]].map(case);
    check_all(&cases, |case| check_in_blocks(case, &Problem::new(case)).map(drop));
}

/// Convolutions whose blocks of filters belong to one group each, and depthwise ones, whatever channels are constant.
#[test]
fn layers_in_blocks() {
    let square = |kernel: usize, strides: [usize; 2]| Window {
        kernel: [kernel; 2],
        pad_before: [kernel / 2; 2],
        pad_after: [kernel / 2; 2],
        strides,
        input: [9, 11],
        ..POINTWISE
    };
    let sizes = [(1, [1, 1]), (1, [2, 2]), (3, [1, 1]), (3, [2, 1]), (5, [1, 1]), (5, [2, 2])];
    let windows = sizes.map(|(kernel, strides)| square(kernel, strides));
    let wide = Part { filters: 33, live_channels: 19, constant_channels: 1, keep: Keep::Half };
    let halves = vec![Part { filters: 16, ..wide }, Part { filters: 5, live_channels: 3, ..wide }];
    let depthwise = |count: usize| vec![Part { filters: 1, live_channels: 1, constant_channels: 0, keep: Keep::All }; count];
    let all_groups = [vec![Part { keep: Keep::All, ..wide }], vec![wide], halves, depthwise(1), depthwise(16), depthwise(37)];
    let mut cases = Vec::new();
    for window in windows {
        for groups in &all_groups {
            for accumulate in [false, true] {
                let (window, groups, activation) = (window, groups.clone(), Activation::Relu);
                cases.push(Case { batch: 2, window, groups, activation, accumulate });
            }
        }
    }
    check_all(&cases, |case| match check_in_blocks(case, &Problem::new(case))? {
        0 => Err("computed in planes alone".to_owned()),
        _ => Ok(()),
    });
}

#[test]
fn every_window() {
    let mut cases = every(|c| Case {
        batch: 1,
        window: Window::choose(c),
        groups: vec![Part { constant_channels: c.of(&[0, 2]), keep: Keep::Half, ..PART }],
        activation: Activation::None,
        accumulate: false,
    });
    cases.retain(|case| case.window.fits());
    check_all(&cases, check);
}

#[test]
fn every_shape_of_the_weights() {
    let window = Window { kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..POINTWISE };
    let cases = every(|c| Case {
        batch: c.of(&[1, 3]),
        window,
        groups: vec![Part::choose(c)],
        activation: c.of(&[Activation::None, Activation::Clip { low: -0.5, high: 1.5 }, Unary::HardSwish.into()]),
        accumulate: c.of(&[false, true]),
    });
    check_all(&cases, check);
}

/// Random windows, groups of unequal filters and columns, of which some keep none.
#[test]
fn mixtures() {
    let mut cases = sample(600, |c| Case {
        batch: c.of(&[1, 2, 3]),
        window: Window::choose(c),
        groups: (0..c.of(&[1, 2, 3])).map(|_| Part::choose(c)).collect(),
        activation: c.of(&[Activation::None, Activation::Relu, Unary::Swish { alpha: 1.0 }.into()]),
        accumulate: c.of(&[false, true]),
    });
    cases.retain(|case| case.window.fits());
    check_all(&cases, check);
}

/// Sizes below, at and above those of tiles and vectors of every instruction set, with rows longer and shorter than a vector.
#[test]
fn sizes_around_tiles() {
    let filters: Vec<usize> = (1..=9).chain([15, 16, 17, 25]).collect();
    let wide = [23, 24, 25, 31, 32, 33, 47, 48, 49, 50, 63, 64, 65, 97, 130];
    let widths: Vec<usize> = (1..=20).chain(wide.into_iter().filter(|_| !cfg!(miri))).collect();
    let cases = every(|c| {
        let (padding, width) = (c.of(&[[0, 0], [1, 1]]), c.of(&widths));
        Case {
            batch: 1,
            window: Window {
                input: [c.of(&[3, 4, 5]), width + 2 - 2 * padding[1]],
                kernel: [3, 3],
                pad_before: padding,
                pad_after: padding,
                ..POINTWISE
            },
            groups: vec![Part { filters: c.of(&filters), live_channels: 3, ..PART }],
            activation: Activation::Relu,
            accumulate: false,
        }
    });
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.window.fits()).collect();
    check_all(&cases, |case| check_on_cpu(case, &Problem::new(case)));
}

/// By the code that talks to the driver. The device that all cases share is never closed.
#[test]
#[cfg_attr(miri, ignore = "it runs no foreign code")]
fn mixtures_on_a_stand_in() {
    if let Some(stand_in) = stand_in().filter(|_| !StandIn::is_here()) {
        stand_in.run(&["--exact", "conv::mixtures"], &[]).check(&["left: module", "left: context"]);
    }
}

/// Sizes below, at and above those of the device's tiles, which run on from image to image.
#[test]
fn sizes_around_tiles_of_devices() {
    let cases = every(|c| {
        let (live_channels, keep) = c.of(&[(1, Keep::All), (16, Keep::All), (17, Keep::Backwards)]);
        let filters = c.of(&[1, 8, 9, 32, 64, 65, 130]);
        Case {
            batch: c.of(&[1, 3]),
            window: Window { input: [1, c.of(&[1, 42, 43, 127, 128, 129, 255, 256, 257])], ..POINTWISE },
            groups: vec![Part { filters, live_channels, keep, ..PART }],
            activation: Activation::Relu,
            accumulate: false,
        }
    });
    check_all(&cases, |case| check_on_devices(case, &Problem::new(case), cuda::Method::ALL.into_iter()));
}

/// Groups of one channel on planes of every size, beside groups of several.
#[test]
fn planes() {
    let sizes = [[1, 1], [1, 16], [2, 17], [7, 7], [8, 15], [9, 33], [70, 3], [31, 20], [17, 131], [3, 300]];
    let sizes = if cfg!(miri) { &sizes[..5] } else { &sizes[..] };
    let one = |filters: usize, keep: Keep| Part { filters, live_channels: 1, constant_channels: 0, keep };
    let mut cases = every(|c| {
        let (kernel, keep) = (c.of(&[3, 5]), c.of(&[Keep::All, Keep::Half]));
        let several = [one(1, keep), one(2, Keep::Backwards), one(0, keep), Part { keep, ..PART }, one(9, keep), one(1, keep)];
        Case {
            batch: 2,
            window: Window {
                input: c.of(sizes),
                kernel: [kernel; 2],
                strides: c.of(&[[1, 1], [2, 2], [4, 3]]),
                dilations: c.of(&[[1, 1], [2, 5]]),
                pad_before: [kernel / 2; 2],
                pad_after: [kernel / 2; 2],
                overhang: 0,
            },
            groups: c.of(&[vec![one(1, keep); 7], several.to_vec()]),
            activation: Activation::Relu,
            accumulate: false,
        }
    });
    cases.retain(|case| case.window.fits());
    check_all(&cases, |case| check_on_cpu(case, &Problem::new(case)));
}

/// More columns than a block holds, and more positions than are packed at a time.
#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn columns_and_positions_in_blocks() {
    let cases = every(|c| Case {
        batch: 1,
        window: Window { input: c.of(&[[5, 5], [30, 47]]), kernel: [3, 3], pad_before: [1, 1], pad_after: [1, 1], ..POINTWISE },
        groups: vec![Part { filters: c.of(&[5, 11]), live_channels: c.of(&[56, 57, 58, 114, 115]), ..PART }],
        activation: Activation::LeakyRelu { alpha: 0.25 },
        accumulate: c.of(&[false, true]),
    });
    check_all(&cases, check);
}

fn small(taps: Option<&[f32]>) -> PreparedConv {
    let column = |channel| Column { channel, kh: 0, kw: 1 };
    let groups = vec![KeptGroup { filters: 3, columns: vec![column(0), column(1)] }];
    let geometry = Window { kernel: [1, 2], ..POINTWISE }.geometry(2);
    PreparedConv::new(
        conv::ConvTask { images: 1, geometry, groups, taps, activation: Activation::None, accumulate: false },
        Isa::best(),
        1,
    )
}

#[test]
fn refuses_wrong_lengths() {
    let conv = small(None);
    let lengths = [("input", 2 * 30), ("weights", 3 * 2), ("bias", 3), ("output", 3 * 25)];
    refuses_other_lengths(lengths, |[x, weights, bias, mut out]| {
        let kept: [f32; 0] = [];
        let parameters = ConvParameters { weights: &weights, kept: &kept, bias: &bias };
        conv.run(&x, parameters, &mut out, &mut vec![0.0; conv.scratch_len()], Threading::Single);
    });
}

#[test]
#[should_panic(expected = "out of range")]
fn refuses_too_little_scratch() {
    let conv = small(None);
    let scratch = &mut vec![0.0; conv.scratch_len() - 1];
    let parameters = ConvParameters { weights: &[1.0; 6], kept: &[], bias: &[1.0; 3] };
    conv.run(&[1.0; 60], parameters, &mut [0.0; 75], scratch, Threading::Single);
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
        let groups = vec![KeptGroup { filters: 1, columns: vec![column] }];
        PreparedConv::new(
            conv::ConvTask { images: 1, geometry, groups, taps: None, activation: Activation::None, accumulate: false },
            Isa::best(),
            1,
        )
    };
    conv(inside);
    check_all(&outside, |&column| refuses(|| conv(column)));
}
