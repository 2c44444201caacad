//! Transposed convolutions over kept columns against their definition: every input position scatters through every tap. Constant
//! channels are there as planes of their value in the reference, and as `taps` in the kernel.

use crate::common::{
    Choices, Expected, Guarded, activated, blocks, check_all, compare_within, element, elements, on_devices, panels, positions,
    put, run, same_bits, sample, some_methods,
};
use fastrand::Rng;
use sslm_devices::isas;
use sslm_kernels::conv::{Column, ConvTask, Geometry, KeptGroup, Method};
use sslm_kernels::cpu::{Call, Slices, Target, Task};
use sslm_kernels::layout::{Extents, Forms, Layout, Layouts};
use sslm_kernels::reorder::reorder;
use sslm_kernels::{Activation, Exec, Threading, cuda};
use std::collections::HashMap;

/// One convolution group.
#[derive(Clone, Copy, Debug)]
struct Part {
    filters: usize,
    channels: usize,
    /// Channels that are not there.
    constants: usize,
    /// Whether all columns are kept, or about half of them.
    all: bool,
}

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    groups: Vec<Part>,
    /// Without channels.
    geometry: Geometry,
    activation: Activation,
    accumulate: bool,
    /// By which phases are computed on the CPU where it applies.
    method: Option<Method>,
}

/// One axis: input, kernel, stride, dilation, padding before the first and behind the last position of the output, and positions more.
type Axis = [usize; 7];

/// A geometry whose channels are not known yet. Padding is cut off the output; at least one position stays.
fn geometry(axes: [Axis; 2]) -> Geometry {
    let [rows, columns] = axes.map(|[input, kernel, stride, dilation, before, behind, more]| {
        let spread = (input - 1) * stride + (kernel - 1) * dilation + 1 + more;
        let before = before.min(spread - 1);
        let output = spread - before - behind.min(spread - before - 1);
        [input, output, kernel, stride, dilation, before]
    });
    let [input, output, kernel, strides, dilations, pad_before] = std::array::from_fn(|i| [rows[i], columns[i]]);
    Geometry { channels: 0, input, output, kernel, strides, dilations, pad_before, transposed: true }
}

impl Case {
    fn choose(c: &mut Choices) -> Self {
        let mut axis = || {
            let [input, kernel, stride] = [c.of(&[1, 2, 5, 9]), c.of(&[1, 2, 3, 4, 5]), c.of(&[1, 2, 2, 3, 4, 7])];
            [input, kernel, stride, c.of(&[1, 1, 2, 3]), c.of(&[0, 0, 1, 2, 5]), c.of(&[0, 0, 1, 2]), c.of(&[0, 0, 1])]
        };
        let geometry = geometry([axis(), axis()]);
        let groups = c.of(&[1, 1, 2, 9]);
        let part = |c: &mut Choices| Part {
            filters: c.of(&[0, 1, 1, 8, 9, 16, 32]),
            channels: c.of(&[0, 1, 3]),
            constants: c.of(&[0, 0, 2]),
            all: c.of(&[false, true]),
        };
        // All alike, as in depthwise layers, or not.
        let alike = c.of(&[false, true]);
        let first = part(c);
        Case {
            batch: c.of(&[1, 2]),
            groups: (0..groups).map(|_| if alike { first } else { part(c) }).collect(),
            geometry,
            activation: c.of(&[Activation::None, Activation::Relu, Activation::LeakyRelu { alpha: 0.1 }]),
            accumulate: c.of(&[false, true]),
            method: c.of(&[false, true]).then(|| c.of(&Method::ALL)),
        }
    }
}

/// A case with values, and what is to come of them.
struct Problem {
    geometry: Geometry,
    groups: Vec<KeptGroup>,
    x: Guarded,
    weights: Guarded,
    bias: Guarded,
    /// What the constants add through each tap of each filter.
    border: Vec<f32>,
    /// What the output holds before.
    before: Vec<f32>,
    expected: Vec<Expected>,
}

/// A filter of the reference: what it reads, of a plane of the input or of a constant, and its weights.
type Filter = Vec<(Column, Option<f32>, f32)>;

impl Problem {
    fn new(case: &Case) -> Self {
        let rng = &mut Rng::with_seed(24);
        let channels = case.groups.iter().map(|part| part.channels).sum();
        let geometry = Geometry { channels, ..case.geometry.clone() };
        let x: Guarded = elements(rng, case.batch * channels * geometry.input.iter().product::<usize>());
        let (mut groups, mut filters, mut weights, mut border) = (Vec::new(), Vec::<Filter>::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for part in &case.groups {
            let columns = |channel: usize| positions(geometry.kernel).map(move |[kh, kw]| Column { channel, kh, kw });
            let live = (first..first + part.channels).flat_map(columns);
            let kept: Vec<Column> = live.filter(|_| part.all || rng.bool()).collect();
            let constants: Vec<f32> = (0..part.constants).map(|_| element(rng)).collect();
            let rows: Vec<Vec<f32>> = (0..part.filters).map(|_| elements(rng, kept.len())).collect();
            weights.extend(panels(&rows));
            for row in rows {
                let of_constants = constants.iter().flat_map(|&value| columns(0).map(move |column| (column, Some(value))));
                let of_constants: Filter = of_constants.map(|(column, value)| (column, value, element(rng))).collect();
                border.extend(positions(geometry.kernel).map(|tap| {
                    let here = of_constants.iter().filter(|(column, ..)| [column.kh, column.kw] == tap);
                    here.map(|(_, value, weight)| value.expect("a constant") * weight).sum::<f32>()
                }));
                let of_columns = kept.iter().zip(row).map(|(&column, weight)| (column, None, weight));
                filters.push(of_columns.chain(of_constants).collect());
            }
            groups.push(KeptGroup { filters: part.filters, columns: kept });
            first += part.channels;
        }
        let bias: Guarded = elements(rng, filters.len());
        let image_len = x.len() / case.batch;
        let images = (0..case.batch).map(|image| &x[image * image_len..][..image_len]);
        let sums = images.flat_map(|image| filters.iter().zip(&*bias).flat_map(|(f, &bias)| scatter(&geometry, image, f, bias)));
        let sums: Vec<Expected> = sums.collect();
        let before: Vec<f32> = elements(rng, sums.len());
        let finish = |(sum, &before): (Expected, &f32)| {
            let sum = if case.accumulate { sum.plus(before) } else { sum };
            sum.map(|x| activated(case.activation, x))
        };
        let expected = sums.into_iter().zip(&before).map(finish).collect();
        let weights = weights.into_iter().collect();
        Problem { geometry, groups, x, weights, bias, border, before, expected }
    }

    fn task(&self, case: &Case) -> ConvTask<'_> {
        ConvTask {
            images: case.batch,
            geometry: self.geometry.clone(),
            groups: self.groups.clone(),
            taps: case.groups.iter().any(|part| part.constants > 0).then_some(&*self.border),
            activation: case.activation,
            accumulate: case.accumulate,
        }
    }
}

/// One plane of the output.
fn scatter(g: &Geometry, image: &[f32], filter: &Filter, bias: f32) -> Vec<Expected> {
    let ([height, width], [out_height, out_width]) = (g.input, g.output);
    let mut terms = vec![vec![f64::from(bias)]; out_height * out_width];
    for (column, constant, weight) in filter {
        for [ih, iw] in positions(g.input) {
            let x = constant.unwrap_or_else(|| image[(column.channel * height + ih) * width + iw]);
            let oh = (ih * g.strides[0] + column.kh * g.dilations[0]).wrapping_sub(g.pad_before[0]);
            let ow = (iw * g.strides[1] + column.kw * g.dilations[1]).wrapping_sub(g.pad_before[1]);
            if oh < out_height && ow < out_width {
                terms[oh * out_width + ow].push(f64::from(x) * f64::from(*weight));
            }
        }
    }
    terms.into_iter().map(Expected::sum).collect()
}

fn check(case: &Case) -> Result<(), String> {
    let problem = Problem::new(case);
    check_on_cpu(case, &problem)?;
    let Problem { x, weights, bias, before, expected, .. } = &problem;
    for method in some_methods(expected.len()) {
        on_devices(expected, 1.0, |device, stream, out| {
            let choice = cuda::Choice { method: Some(method), ..Default::default() };
            let conv = cuda::PreparedConv::new(&problem.task(case), [weights, bias], choice, device, stream)?;
            let (x, scratch) = (put(device, stream, x)?, device.allocate(conv.scratch_len())?);
            if case.accumulate {
                stream.upload(before, out)?;
            }
            conv.run(stream, cuda::Tensors { x: x.view(), residual: None, out, scratch: scratch.view() })?;
            stream.wait() // before all is freed
        })?;
    }
    Ok(())
}

/// With every instruction set, in all layouts in which it can be computed, with kept weights and without, for one thread and for three.
fn check_on_cpu(case: &Case, problem: &Problem) -> Result<(), String> {
    let (Problem { x, weights, bias, before, expected, .. }, method) = (problem, case.method);
    let task = problem.task(case);
    let ways = [(1, false), (3, false), (1, true), (3, true)];
    // The same for any count of threads.
    let mut first: HashMap<String, Guarded> = HashMap::new();
    for (isa, (threads, keeps_weights)) in isas().flat_map(|isa| ways.map(|way| (isa, way))) {
        let target = Target { method, keeps_weights, ..Target::new(isa, threads) };
        let Forms::Some { reads, writes, costs } = task.forms(&target) else {
            return Err("a convolution knows its channels".to_owned());
        };
        if !costs.iter().any(|(layouts, _)| *layouts == Layouts::PLANES) {
            return Err("not in planes".to_owned());
        }
        let cheapest = costs.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(layouts, _)| *layouts);
        let said = task.kept_weights(&target).map_or(0, |kept| kept.len);
        for (layouts, _) in costs {
            let kernel = Box::new(task.clone()).prepare(&Target { layouts, ..target });
            let described = kernel.describe().unwrap_or_default();
            let here = |e| format!("{isa}, {layouts:?}, {described}, kept {keeps_weights}, for {threads} threads: {e}");
            if keeps_weights && said > 0 && Some(layouts) == cheapest && kernel.kept_len() != said {
                return Err(here(format!("{} elements of weights are kept, where {said} were told", kernel.kept_len())));
            }
            let parameters = [&**weights, &**bias];
            let mut kept = Guarded::poisoned(kernel.kept_len());
            kernel.transform_weights(Slices::Listed(&parameters), &mut kept);
            let to = |layout: Layout, extents: Extents, planes: &[f32]| match layout {
                Layout::Planes => planes.iter().copied().collect(),
                Layout::Blocks => blocks(planes, extents, isa),
            };
            let (x, residual) = (to(layouts.reads, reads[0], x), to(layouts.writes, writes, before));
            let reads: [&[f32]; 2] = [&x, &residual];
            let out = run(expected.len(), |out, threading| {
                let mut written = Guarded::poisoned(writes.len(layouts.writes, isa));
                kernel.compute(Call {
                    reads: Slices::Listed(&reads[..1 + usize::from(case.accumulate)]),
                    parameters: Slices::Listed(&parameters),
                    kept: &kept,
                    out: &mut written,
                    scratch: &mut Guarded::poisoned(kernel.scratch_len()),
                    exec: Exec { isa, threading },
                });
                match layouts.writes {
                    Layout::Planes => out.copy_from_slice(&written),
                    Layout::Blocks => reorder(&written, writes, Layout::Planes, out, Exec { isa, threading: Threading::Single }),
                }
            })
            .map_err(here)?;
            // Transforms round a few times more than sums do.
            let slack = if kernel.method() == Some(Method::Winograd) { 16.0 } else { 1.0 };
            compare_within(&out, expected, slack).map_err(here)?;
            let first = first.entry(format!("{isa} {layouts:?} {keeps_weights}"));
            same_bits(first.or_insert_with(|| out.iter().copied().collect()), &out).map_err(here)?;
        }
    }
    Ok(())
}

#[test]
fn every_position_scatters() {
    check_all(&sample(600, Case::choose), check);
}

/// Outputs that are not computed at once: some rows at a time, of which threads share parts.
#[test]
fn many_outputs() {
    let part = |filters: usize, all: bool| Part { filters, channels: 2, constants: 1, all };
    let case = |axes: [Axis; 2], groups: Vec<Part>, method: Option<Method>| Case {
        batch: 1,
        groups,
        geometry: geometry(axes),
        activation: Activation::Relu,
        accumulate: true,
        method,
    };
    let plain = |case: Case| Case { groups: vec![Part { constants: 0, ..case.groups[0] }], accumulate: false, ..case };
    let axis = |kernel: usize, stride: usize, before: usize, behind: usize| [45, kernel, stride, 1, before, behind, 0];
    let cases = [
        case([axis(2, 2, 0, 0); 2], vec![part(32, true)], None),
        case([axis(4, 2, 1, 1); 2], vec![part(17, true)], None),
        case([axis(3, 2, 1, 0); 2], vec![part(16, false), part(9, true)], Some(Method::InPlace)),
        // Phases of other counts of rows, and taps that read far from where they write.
        case([[45, 3, 2, 9, 0, 0, 1], axis(3, 3, 2, 1)], vec![part(16, true)], Some(Method::FilterLanes)),
        case([[45, 3, 2, 9, 20, 19, 0], axis(1, 2, 0, 0)], vec![part(17, true)], None),
        // More phases than each has positions, and some that no tap reaches.
        case([[4, 9, 16, 1, 3, 0, 0], [5, 16, 17, 1, 0, 0, 1]], vec![part(32, true)], None),
    ];
    check_all(&cases.iter().flat_map(|case| [case.clone(), plain(case.clone())]).collect::<Vec<_>>(), check);
}
