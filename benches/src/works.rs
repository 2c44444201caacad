//! What layers do, on random numbers: by our kernels, and in other ways that pruned ones compete with.

use crate::compare::Work;
use crate::cores::Cores;
use crate::library;
use crate::shapes::FullyConnectedShape;
use crate::sparse::Sparse;
use fastrand::Rng;
use sslm_kernels::conv::{Column, Conv, Geometry, Group, Layer, Method};
use sslm_kernels::fully_connected::{self, FullyConnected};
use sslm_kernels::{Activation, Isa};
use std::collections::BTreeSet;

/// Where work runs.
#[derive(Clone, Copy)]
pub struct On<'c> {
    /// Instructions.
    pub isa: Isa,
    /// Cores.
    pub cores: &'c Cores,
}

/// A convolution with everything it needs.
struct Prepared {
    conv: Conv,
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    out: Vec<f32>,
    scratch: Vec<f32>,
    /// Numbers of the input that are read.
    read: usize,
}

impl Prepared {
    fn new(geometry: Geometry, groups: Vec<Group>, activation: Activation, method: Option<Method>, on: On<'_>) -> Self {
        let rng = &mut Rng::with_seed(7);
        let image = geometry.input[0] * geometry.input[1];
        let filters: usize = groups.iter().map(|g| g.filters).sum();
        let read: BTreeSet<usize> = groups.iter().flat_map(|g| &g.columns).map(|c| c.channel).collect();
        let x = numbers(rng, geometry.channels * image);
        let weights = numbers(rng, groups.iter().map(|g| g.filters * g.columns.len()).sum());
        let bias = numbers(rng, filters);
        let out = vec![0.0; filters * positions(&geometry)];
        let layer = Layer { geometry, groups, taps: None, activation, accumulate: false };
        let conv = match method {
            None => Conv::new(layer, on.isa, on.cores.count()),
            Some(method) => Conv::with_method(layer, on.isa, on.cores.count(), method),
        };
        let scratch = vec![0.0; conv.scratch_len()];
        Prepared { conv, x, weights, bias, out, scratch, read: read.len() * image }
    }

    fn bytes(&self) -> usize {
        (self.read + self.weights.len() + self.bias.len() + self.out.len()) * size_of::<f32>()
    }

    fn run(&mut self, on: On<'_>) {
        let Prepared { conv, x, weights, bias, out, scratch, .. } = self;
        conv.run(x, weights, bias, out, scratch, on.cores.threading());
    }
}

/// A convolution with bias and Relu, by `method` or by whatever is expected to be fastest.
pub fn convolution<'c>(geometry: Geometry, groups: Vec<Group>, method: Option<Method>, on: On<'c>) -> Work<'c> {
    let mut conv = Prepared::new(geometry, groups, Activation::Relu, method, on);
    Work { kernel: conv.conv.describe(), macs: conv.conv.macs(), bytes: conv.bytes(), call: Box::new(move || conv.run(on)) }
}

/// The matrix product of a convolution, with the lowered matrix already there: a 1x1 convolution of as many channels as there are
/// columns.
pub fn product<'c>(geometry: Geometry, groups: &[Group], on: On<'c>) -> Work<'c> {
    let mut channels = 0;
    let lowered = |group: &Group| {
        let columns = (channels..channels + group.columns.len()).map(|channel| Column { channel, kh: 0, kw: 0 });
        channels += group.columns.len();
        Group { filters: group.filters, columns: columns.collect() }
    };
    let groups: Vec<Group> = groups.iter().map(lowered).collect();
    let mut conv = Prepared::new(pointwise(&geometry, channels), groups, Activation::None, None, on);
    Work { kernel: conv.conv.describe(), macs: conv.conv.macs(), bytes: conv.bytes(), call: Box::new(move || conv.run(on)) }
}

/// A convolution as two: one to `rank` channels of each group, as a singular value decomposition of its weights leaves them, and a
/// 1x1 convolution of these. Bias and Relu at the end.
pub fn low_rank<'c>(geometry: Geometry, groups: Vec<Group>, rank: usize, on: On<'c>) -> Work<'c> {
    let second = |(i, group): (usize, &Group)| {
        let columns = (i * rank..(i + 1) * rank).map(|channel| Column { channel, kh: 0, kw: 0 });
        Group { filters: group.filters, columns: columns.collect() }
    };
    let second = groups.iter().enumerate().map(second).collect();
    let first = groups.into_iter().map(|group| Group { filters: rank, ..group }).collect::<Vec<_>>();
    let between = pointwise(&geometry, first.len() * rank);
    let mut first = Prepared::new(geometry, first, Activation::None, None, on);
    let mut second = Prepared::new(between, second, Activation::Relu, None, on);
    Work {
        kernel: format!("{}, {}", first.conv.describe(), second.conv.describe()),
        macs: first.conv.macs() + second.conv.macs(),
        bytes: first.bytes() + second.bytes() - (first.out.len() + second.x.len()) * size_of::<f32>(),
        call: Box::new(move || {
            first.run(on);
            second.x.copy_from_slice(&first.out);
            second.run(on);
        }),
    }
}

/// As [`product`], by the library, on one thread.
pub fn library_product(geometry: Geometry, groups: &[Group]) -> Work<'static> {
    let mut product = Lowered::new(&geometry, groups);
    Work {
        kernel: library::NAME.to_owned(),
        macs: product.macs(),
        bytes: product.bytes(),
        call: Box::new(move || product.multiply()),
    }
}

/// As [`convolution`], by writing out the lowered matrix and multiplying with the library, on one thread.
pub fn library_convolution(geometry: Geometry, groups: Vec<Group>) -> Work<'static> {
    let rng = &mut Rng::with_seed(7);
    let x = numbers(rng, geometry.channels * geometry.input[0] * geometry.input[1]);
    let bias = numbers(rng, groups.iter().map(|g| g.filters).sum());
    let mut product = Lowered::new(&geometry, &groups);
    Work {
        kernel: format!("im2col, {}", library::NAME),
        macs: product.macs(),
        bytes: product.bytes(),
        call: Box::new(move || {
            for (group, lowered) in groups.iter().zip(&mut product.lowered) {
                library::lower(&geometry, &group.columns, &x, lowered);
            }
            product.multiply();
            for (plane, bias) in product.out.chunks_mut(product.positions).zip(&bias) {
                plane.iter_mut().for_each(|sum| *sum = (*sum + bias).max(0.0));
            }
        }),
    }
}

/// Row-major matrices of each group.
struct Lowered {
    positions: usize,
    weights: Vec<Vec<f32>>,
    lowered: Vec<Vec<f32>>,
    out: Vec<f32>,
}

impl Lowered {
    fn new(geometry: &Geometry, groups: &[Group]) -> Self {
        let (rng, positions) = (&mut Rng::with_seed(7), positions(geometry));
        Lowered {
            positions,
            weights: groups.iter().map(|g| numbers(rng, g.filters * g.columns.len())).collect(),
            lowered: groups.iter().map(|g| numbers(rng, g.columns.len() * positions)).collect(),
            out: vec![0.0; groups.iter().map(|g| g.filters).sum::<usize>() * positions],
        }
    }

    fn macs(&self) -> usize {
        self.weights.iter().map(Vec::len).sum::<usize>() * self.positions
    }

    fn bytes(&self) -> usize {
        let len = |parts: &[Vec<f32>]| parts.iter().map(Vec::len).sum::<usize>();
        (len(&self.weights) + len(&self.lowered) + self.out.len()) * size_of::<f32>()
    }

    fn multiply(&mut self) {
        let mut rest = &mut self.out[..];
        for (weights, lowered) in self.weights.iter().zip(&self.lowered) {
            let len = weights.len() * self.positions * self.positions / lowered.len();
            let out = rest.split_off_mut(..len).expect("it has the planes of all groups");
            library::multiply(weights, lowered, out, self.positions);
        }
    }
}

/// The matrix product of a convolution whose weights are zero anywhere, each with probability `zeros`, on one thread: compressed
/// sparse rows of weights.
pub fn sparse_product<'c>(geometry: Geometry, groups: &[Group], zeros: f64, on: On<'c>) -> Work<'c> {
    let (rng, positions) = (&mut Rng::with_seed(7), positions(&geometry));
    let mut product = |group: &Group| {
        let columns = group.columns.len();
        let weights = (0..group.filters * columns).map(|_| if rng.f64() < zeros { 0.0 } else { rng.f32() + 0.1 });
        let weights = Sparse::new(&weights.collect::<Vec<_>>(), columns);
        let lowered = numbers(rng, weights.lowered_len(positions, on.isa));
        (weights, lowered, vec![0.0; group.filters * positions])
    };
    let mut products: Vec<_> = groups.iter().map(&mut product).collect();
    let count: usize = products.iter().map(|(weights, ..)| weights.count()).sum();
    // Of each weight that is not zero, its column, too.
    let numbers = products.iter().map(|(_, lowered, out)| lowered.len() + out.len()).sum::<usize>() + 2 * count;
    Work {
        kernel: format!("CSR {}", on.isa),
        macs: count * positions,
        bytes: numbers * size_of::<f32>(),
        call: Box::new(move || products.iter_mut().for_each(|(weights, x, out)| weights.multiply(x, out, positions, on.isa))),
    }
}

/// A fully connected layer of one image.
pub fn fully_connected<'c>(shape: &FullyConnectedShape, on: On<'c>) -> Work<'c> {
    let FullyConnectedShape { features, rows, .. } = *shape;
    let rng = &mut Rng::with_seed(8);
    let (x, weights, bias) = (numbers(rng, features), numbers(rng, rows * features), numbers(rng, rows));
    let mut out = vec![0.0; rows];
    let bytes = (x.len() + weights.len() + bias.len() + out.len()) * size_of::<f32>();
    let layer =
        fully_connected::Layer { batch: 1, features, rows, columns: (0..features).collect(), activation: Activation::Relu };
    let layer = FullyConnected::new(layer, on.isa, on.cores.count());
    let mut scratch = vec![0.0; layer.scratch_len()];
    Work {
        kernel: String::new(),
        macs: layer.macs(),
        bytes,
        call: Box::new(move || layer.run(&x, &weights, &bias, &mut out, &mut scratch, on.cores.threading())),
    }
}

fn numbers(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.f32() - 0.5).collect()
}

fn positions(geometry: &Geometry) -> usize {
    geometry.output[0] * geometry.output[1]
}

/// A 1x1 convolution of the outputs of `geometry`.
fn pointwise(geometry: &Geometry, channels: usize) -> Geometry {
    let (input, output) = (geometry.output, geometry.output);
    Geometry {
        channels,
        input,
        output,
        kernel: [1; 2],
        strides: [1; 2],
        dilations: [1; 2],
        pad_before: [0; 2],
        transposed: false,
    }
}
