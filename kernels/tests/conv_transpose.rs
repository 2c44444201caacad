//! Transposed convolutions over kept columns against their definition: every input position scatters through every tap. Constant
//! channels are there as planes of their value in the reference, and as `taps` in the kernel.

use crate::common::{
    Choices, Expected, Guarded, check_all, compare, element, elements, on_devices, panels, put, run, sample, some_methods,
};
use fastrand::Rng;
use sslm_devices::isas;
use sslm_kernels::conv::{Column, ConvParameters, ConvTask, Geometry, KeptGroup, PreparedConv};
use sslm_kernels::{Activation, cuda};

#[derive(Debug)]
struct Case {
    batch: usize,
    filters: usize,
    channels: usize,
    /// Values of channels that are not there.
    constants: Vec<f32>,
    geometry: Geometry,
    relu: bool,
}

impl Case {
    fn choose(c: &mut Choices) -> Self {
        let channels = c.of(&[0, 1, 3]);
        let mut pair = |options: &[usize]| [c.of(options), c.of(options)];
        let (input, kernel, strides) = (pair(&[1, 2, 5]), pair(&[1, 2, 3]), pair(&[1, 2, 3]));
        let (dilations, cut, extra) = (pair(&[1, 2]), pair(&[0, 1, 2]), pair(&[0, 1]));
        let spread = [0, 1].map(|a| (input[a] - 1) * strides[a] + (kernel[a] - 1) * dilations[a] + 1 + extra[a]);
        // Padding is cut off before; at least one position stays.
        let pad_before = [0, 1].map(|a| cut[a].min(spread[a] - 1));
        let output = [0, 1].map(|a| spread[a] - pad_before[a]);
        let geometry = Geometry { channels, input, output, kernel, strides, dilations, pad_before, transposed: true };
        let constants = (0..c.of(&[0, 2])).map(|i| i as f32 + 0.5).collect();
        Case { batch: c.of(&[1, 2]), filters: c.of(&[1, 8, 9]), channels, constants, geometry, relu: c.of(&[false, true]) }
    }
}

fn check(case: &Case) -> Result<(), String> {
    let (g, rng) = (&case.geometry, &mut Rng::with_seed(24));
    let ([height, width], [out_height, out_width], [kernel_height, kernel_width]) = (g.input, g.output, g.kernel);
    let all_channels = case.channels + case.constants.len();
    let taps = kernel_height * kernel_width;
    let columns: Vec<Column> = (0..all_channels * taps)
        .map(|i| Column { channel: i / taps, kh: i % taps / kernel_width, kw: i % kernel_width })
        .collect();
    let weights: Vec<Vec<f32>> = (0..case.filters).map(|_| columns.iter().map(|_| element(rng)).collect()).collect();
    let bias: Vec<f32> = elements(rng, case.filters);
    let x: Guarded = elements(rng, case.batch * case.channels * height * width);

    let mut expected = Vec::new();
    for image in 0..case.batch {
        for (weights, bias) in weights.iter().zip(&bias) {
            let mut terms = vec![vec![f64::from(*bias)]; out_height * out_width];
            for (column, weight) in columns.iter().zip(weights) {
                for (ih, iw) in (0..height).flat_map(|ih| (0..width).map(move |iw| (ih, iw))) {
                    let value = match column.channel.checked_sub(case.channels) {
                        Some(constant) => case.constants[constant],
                        None => x[((image * case.channels + column.channel) * height + ih) * width + iw],
                    };
                    let oh = (ih * g.strides[0] + column.kh * g.dilations[0]).wrapping_sub(g.pad_before[0]);
                    let ow = (iw * g.strides[1] + column.kw * g.dilations[1]).wrapping_sub(g.pad_before[1]);
                    if oh < out_height && ow < out_width {
                        terms[oh * out_width + ow].push(f64::from(value) * f64::from(*weight));
                    }
                }
            }
            expected.extend(terms.into_iter().map(|terms| Expected::sum(terms).relu(case.relu)));
        }
    }

    let live = case.channels * taps;
    let border: Vec<f32> = weights
        .iter()
        .flat_map(|w| (0..taps).map(move |t| (w, t)))
        .map(|(w, t)| case.constants.iter().enumerate().map(|(c, value)| value * w[live + c * taps + t]).sum())
        .collect();
    let layer = ConvTask {
        images: case.batch,
        geometry: g.clone(),
        groups: vec![KeptGroup { filters: case.filters, columns: columns[..live].to_vec() }],
        taps: (!case.constants.is_empty()).then_some(border.as_slice()),
        activation: if case.relu { Activation::Relu } else { Activation::None },
        accumulate: false,
    };
    let kept: Vec<Vec<f32>> = weights.iter().map(|w| w[..live].to_vec()).collect();
    let panels = panels(&kept);
    for isa in isas() {
        let conv = PreparedConv::new(layer.clone(), isa, 2);
        let out = run(expected.len(), |out, threading| {
            let parameters = ConvParameters { weights: &panels, kept: &[], bias: &bias };
            conv.run(&x, parameters, out, &mut vec![f32::NAN; conv.scratch_len()], threading);
        })?;
        compare(&out, &expected).map_err(|e| format!("{isa}: {e}"))?;
    }
    for method in some_methods(expected.len()) {
        on_devices(&expected, 1.0, |device, stream, out| {
            let choice = cuda::Choice { method: Some(method), ..Default::default() };
            let conv = cuda::PreparedConv::new(&layer, [&panels, &bias], choice, device, stream)?;
            let (x, scratch) = (put(device, stream, &x)?, device.allocate(conv.scratch_len())?);
            conv.run(stream, cuda::Tensors { x: x.view(), residual: None, out, scratch: scratch.view() })?;
            stream.wait() // before all is freed
        })?;
    }
    Ok(())
}

#[test]
fn every_position_scatters() {
    check_all(&sample(600, Case::choose), check);
}
