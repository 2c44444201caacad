//! What layers do, on random elements: by our kernels, and in other ways that pruned layers compete with.

use crate::compare::Work;
use crate::library;
use crate::shapes::FullyConnectedShape;
use crate::sparse::Sparse;
use fastrand::Rng;
use memmap2::MmapMut;
use ssl_quiet::cores::Cores;
use sslm_kernels::conv::{Column, ConvParameters, ConvTask, Geometry, KeptGroup, Method, PreparedConv};
use sslm_kernels::cpu::{Target, Task};
use sslm_kernels::fully_connected::{self, PreparedGemm};
use sslm_kernels::layout::{Forms, Layout, Layouts};
use sslm_kernels::{Activation, Isa};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

/// Where work runs.
#[derive(Clone, Copy)]
pub struct On<'c> {
    /// The instruction set.
    pub isa: Isa,
    /// The cores, one for each thread.
    pub cores: &'c Cores,
}

/// Elements in memory as plans have it: from a page's beginning on, in huge pages where the system has them. Where elements happen to
/// lie would otherwise make a difference of 10 to 20 % between two runs.
struct Elements {
    memory: MmapMut,
    len: usize,
}

impl Elements {
    fn zeros(len: usize) -> Self {
        let memory = MmapMut::map_anon((len * size_of::<f32>()).max(1)).expect("memory for what is timed");
        // Advice: without huge pages everything works as well.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        Elements { memory, len }
    }

    fn random(rng: &mut Rng, len: usize) -> Self {
        let mut elements = Self::zeros(len);
        elements.iter_mut().for_each(|element| *element = rng.f32() - 0.5);
        elements
    }
}

impl Deref for Elements {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.memory[..self.len * size_of::<f32>()])
    }
}

impl DerefMut for Elements {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.memory[..self.len * size_of::<f32>()])
    }
}

/// A convolution with everything it needs.
struct Prepared {
    conv: PreparedConv,
    /// How its output lies.
    writes: Layout,
    /// Elements of its input.
    input_len: usize,
    weights: Elements,
    kept: Elements,
    bias: Elements,
    out: Elements,
    scratch: Elements,
    /// Count of the input's elements that are read.
    read: usize,
}

impl Prepared {
    fn new(geometry: Geometry, groups: Vec<KeptGroup>, activation: Activation, method: Option<Method>, on: On<'_>) -> Self {
        Self::of(ConvTask { images: 1, geometry, groups, taps: None, activation, accumulate: false }, None, method, on)
    }

    /// Its input lies in a layout, or in whichever is expected to be fastest.
    fn of(task: ConvTask<'_>, reads_from: Option<Layout>, method: Option<Method>, on: On<'_>) -> Self {
        let rng = &mut Rng::with_seed(7);
        let ConvTask { images, geometry, groups, .. } = &task;
        let image = geometry.input[0] * geometry.input[1];
        let filters: usize = groups.iter().map(|g| g.filters).sum();
        let read: BTreeSet<usize> = groups.iter().flat_map(|g| &g.columns).map(|c| c.channel).collect();
        let read = images * read.len() * image;
        let weights = Elements::random(rng, groups.iter().map(|g| g.filters * g.columns.len()).sum());
        let bias = Elements::random(rng, filters);
        // As in the middle of a network: in the layouts that are expected to be fastest, with weights that were transformed before.
        let target = Target { method, keeps_weights: true, ..Target::new(on.isa, on.cores.count()) };
        let Forms::Some { reads, writes, costs } = task.forms(&target) else { unreachable!("a convolution knows its channels") };
        let usable = costs.into_iter().filter(|(layouts, _)| reads_from.is_none_or(|layout| layouts.reads == layout));
        let fastest = usable.min_by(|a, b| a.1.total_cmp(&b.1));
        let target = Target { layouts: fastest.map_or(Layouts::PLANES, |(layouts, _)| layouts), ..target };
        let out = Elements::zeros(writes.len(target.layouts.writes, on.isa));
        let conv = PreparedConv::on_target(task, &target);
        let (scratch, mut kept) = (Elements::zeros(conv.scratch_len()), Elements::zeros(conv.kept_len()));
        conv.transform_weights(&weights, &mut kept);
        let Layouts { reads: from, writes: to } = target.layouts;
        Prepared { conv, writes: to, input_len: reads[0].len(from, on.isa), weights, kept, bias, out, scratch, read }
    }

    fn bytes(&self) -> usize {
        (self.read + self.weights.len() + self.bias.len() + self.out.len()) * size_of::<f32>()
    }

    /// An input for it.
    fn input(&self) -> Elements {
        Elements::random(&mut Rng::with_seed(8), self.input_len)
    }

    fn run(&mut self, x: &[f32], on: On<'_>) {
        let Prepared { conv, weights, kept, bias, out, scratch, .. } = self;
        conv.run(x, ConvParameters { weights, kept, bias }, out, scratch, on.cores.threading());
    }
}

/// A convolution with bias and Relu of some images, by `method` or by whatever is expected to be fastest.
pub fn convolution<'c>(batch: usize, geometry: Geometry, groups: Vec<KeptGroup>, method: Option<Method>, on: On<'c>) -> Work<'c> {
    let task = ConvTask { images: batch, geometry, groups, taps: None, activation: Activation::Relu, accumulate: false };
    let mut conv = Prepared::of(task, None, method, on);
    let (kernel, macs, bytes, x) = (conv.conv.describe(), batch * conv.conv.macs(), conv.bytes(), conv.input());
    Work { kernel, macs, bytes, call: Box::new(move || conv.run(&x, on)) }
}

/// The matrix product of a convolution, with the lowered matrix already there: a 1x1 convolution of as many channels as there are
/// columns.
pub fn product<'c>(geometry: Geometry, groups: &[KeptGroup], on: On<'c>) -> Work<'c> {
    let mut channels = 0;
    let lowered = |group: &KeptGroup| {
        let columns = (channels..channels + group.columns.len()).map(|channel| Column { channel, kh: 0, kw: 0 });
        channels += group.columns.len();
        KeptGroup { filters: group.filters, columns: columns.collect() }
    };
    let groups: Vec<KeptGroup> = groups.iter().map(lowered).collect();
    let mut conv = Prepared::new(pointwise(&geometry, channels), groups, Activation::None, None, on);
    let (kernel, macs, bytes, x) = (conv.conv.describe(), conv.conv.macs(), conv.bytes(), conv.input());
    Work { kernel, macs, bytes, call: Box::new(move || conv.run(&x, on)) }
}

/// A convolution as two: one to `rank` channels of each group, as a singular value decomposition of its weights leaves them, and a
/// 1x1 convolution of these. Bias and Relu at the end.
pub fn low_rank<'c>(geometry: Geometry, groups: Vec<KeptGroup>, rank: usize, on: On<'c>) -> Work<'c> {
    let second = |(i, group): (usize, &KeptGroup)| {
        let columns = (i * rank..(i + 1) * rank).map(|channel| Column { channel, kh: 0, kw: 0 });
        KeptGroup { filters: group.filters, columns: columns.collect() }
    };
    let second = groups.iter().enumerate().map(second).collect();
    let first = groups.into_iter().map(|group| KeptGroup { filters: rank, ..group }).collect::<Vec<_>>();
    let between = pointwise(&geometry, first.len() * rank);
    let mut first = Prepared::new(geometry, first, Activation::None, None, on);
    let (activation, accumulate) = (Activation::Relu, false);
    let second = ConvTask { images: 1, geometry: between, groups: second, taps: None, activation, accumulate };
    let mut second = Prepared::of(second, Some(first.writes), None, on);
    let x = first.input();
    Work {
        kernel: format!("{}, {}", first.conv.describe(), second.conv.describe()),
        macs: first.conv.macs() + second.conv.macs(),
        bytes: first.bytes() + second.bytes() - (first.out.len() + second.input_len) * size_of::<f32>(),
        call: Box::new(move || {
            first.run(&x, on);
            second.run(&first.out, on);
        }),
    }
}

/// As [`product`], by the library, on one thread.
pub fn library_product(geometry: Geometry, groups: &[KeptGroup]) -> Work<'static> {
    let mut product = Lowered::new(&geometry, groups);
    Work {
        kernel: library::NAME.to_owned(),
        macs: product.macs(),
        bytes: product.bytes(),
        call: Box::new(move || product.multiply()),
    }
}

/// As [`convolution`], by writing out the lowered matrix and multiplying with the library, on one thread.
pub fn library_convolution(geometry: Geometry, groups: Vec<KeptGroup>) -> Work<'static> {
    let rng = &mut Rng::with_seed(7);
    let x = Elements::random(rng, geometry.channels * geometry.input[0] * geometry.input[1]);
    let bias = Elements::random(rng, groups.iter().map(|g| g.filters).sum());
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
            for (plane, bias) in product.out.chunks_mut(product.positions).zip(bias.iter()) {
                plane.iter_mut().for_each(|sum| *sum = (*sum + bias).max(0.0));
            }
        }),
    }
}

/// Row-major matrices of each group.
struct Lowered {
    positions: usize,
    weights: Vec<Elements>,
    lowered: Vec<Elements>,
    out: Elements,
}

impl Lowered {
    fn new(geometry: &Geometry, groups: &[KeptGroup]) -> Self {
        let (rng, positions) = (&mut Rng::with_seed(7), positions(geometry));
        Lowered {
            positions,
            weights: groups.iter().map(|g| Elements::random(rng, g.filters * g.columns.len())).collect(),
            lowered: groups.iter().map(|g| Elements::random(rng, g.columns.len() * positions)).collect(),
            out: Elements::zeros(groups.iter().map(|g| g.filters).sum::<usize>() * positions),
        }
    }

    fn macs(&self) -> usize {
        self.weights.iter().map(|weights| weights.len()).sum::<usize>() * self.positions
    }

    fn bytes(&self) -> usize {
        let len = |parts: &[Elements]| parts.iter().map(|part| part.len()).sum::<usize>();
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
pub fn sparse_product<'c>(geometry: Geometry, groups: &[KeptGroup], zeros: f64, on: On<'c>) -> Work<'c> {
    let (rng, positions) = (&mut Rng::with_seed(7), positions(&geometry));
    let mut product = |group: &KeptGroup| {
        let columns = group.columns.len();
        let weights = (0..group.filters * columns).map(|_| if rng.f64() < zeros { 0.0 } else { rng.f32() + 0.1 });
        let weights = Sparse::new(&weights.collect::<Vec<_>>(), columns);
        let lowered = Elements::random(rng, weights.lowered_len(positions, on.isa));
        (weights, lowered, Elements::zeros(group.filters * positions))
    };
    let mut products: Vec<_> = groups.iter().map(&mut product).collect();
    let count: usize = products.iter().map(|(weights, ..)| weights.count()).sum();
    // Of each weight that is not zero, its column, too.
    let elements = products.iter().map(|(_, lowered, out)| lowered.len() + out.len()).sum::<usize>() + 2 * count;
    Work {
        kernel: format!("CSR {}", on.isa),
        macs: count * positions,
        bytes: elements * size_of::<f32>(),
        call: Box::new(move || products.iter_mut().for_each(|(weights, x, out)| weights.multiply(x, out, positions, on.isa))),
    }
}

/// A fully connected layer of one image.
pub fn fully_connected<'c>(shape: &FullyConnectedShape, on: On<'c>) -> Work<'c> {
    let FullyConnectedShape { features, rows, .. } = *shape;
    let rng = &mut Rng::with_seed(8);
    let (x, weights, bias) =
        (Elements::random(rng, features), Elements::random(rng, rows * features), Elements::random(rng, rows));
    let mut out = Elements::zeros(rows);
    let bytes = (x.len() + weights.len() + bias.len() + out.len()) * size_of::<f32>();
    let layer =
        fully_connected::GemmTask { batch: 1, features, rows, columns: (0..features).collect(), activation: Activation::Relu };
    let layer = PreparedGemm::new(layer, on.isa, on.cores.count());
    let mut scratch = Elements::zeros(layer.scratch_len());
    Work {
        kernel: String::new(),
        macs: layer.macs(),
        bytes,
        call: Box::new(move || layer.run(&x, &weights, &bias, &mut out, &mut scratch, on.cores.threading())),
    }
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
