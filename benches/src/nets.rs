//! Networks as ONNX with random weights, built in code: the published architectures, dense, or masked as pruning leaves them.

use crate::shapes;
use fastrand::Rng;
use ssl_convert::onnx::proto::ModelProto;
use sslm::Model;
use sslm_tests::onnx::{Net as Onnx, Value, encode};
use tempfile::TempPath;

/// A network and the forms that it comes in.
pub struct Net {
    /// Its name.
    pub name: &'static str,
    /// Channels, height and width of its input.
    pub input: [usize; 3],
    /// Names, of which the first is the dense one. See [`is_masked`] for those that keep their zeros.
    pub forms: &'static [&'static str],
    build: fn(Builder, Planes, &str) -> ModelProto,
}

/// Ends the name of a form whose zeros stay where they are.
const MASKED: &str = ", masked";

/// Whether a form keeps its zeros in place. It does the same work as the dense one.
pub fn is_masked(form: &str) -> bool {
    form.ends_with(MASKED)
}

/// All of them. Of the last three there are no published sparsities; half of their (inner) filters is an example.
pub const NETS: [Net; 7] = [
    Net {
        name: "LeNet",
        input: [1, 28, 28],
        forms: &["dense", "LeNet 2", "LeNet 3", "LeNet 4", "LeNet 5", "LeNet 5, masked"],
        build: lenet,
    },
    Net {
        name: "ConvNet",
        input: [3, 32, 32],
        forms: &["dense", "ConvNet 1", "ConvNet 2", "ConvNet 3", "ConvNet 2, masked"],
        build: convnet,
    },
    Net {
        name: "ResNet-20",
        input: [3, 32, 32],
        forms: &["dense", "18 layers", "14 layers", "14 layers, masked"],
        build: resnet_20,
    },
    Net { name: "AlexNet", input: [3, 227, 227], forms: &["dense", "entry 2", "entry 5", "entry 2, masked"], build: alexnet },
    Net { name: "ResNet-50", input: [3, 224, 224], forms: &["dense", "half", "half, masked"], build: resnet_50 },
    Net { name: "MobileNetV2", input: [3, 224, 224], forms: &["dense", "half", "half, masked"], build: mobilenet_v2 },
    Net { name: "VGG-16", input: [3, 224, 224], forms: &["dense", "half", "half, masked"], build: vgg_16 },
];

impl Net {
    /// One of its forms, converted.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn model(&self, form: &str) -> Model {
        let file = self.file(form);
        // The map outlives the file's name.
        Model::read(&file).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// One of its forms as ONNX, with zeros for what is not kept.
    pub fn onnx(&self, form: &str) -> impl AsRef<[u8]> {
        let (builder, x) = Builder::new(self.input);
        encode(&(self.build)(builder, x, form.strip_suffix(MASKED).unwrap_or(form)))
    }

    /// The file of one of its forms, which is gone when this is dropped.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, form: &str) -> TempPath {
        let onnx = tempfile::NamedTempFile::new().expect("a temporary file").into_temp_path();
        let file = tempfile::NamedTempFile::new().expect("a temporary file").into_temp_path();
        std::fs::write(&onnx, self.onnx(form)).expect("the file can be written");
        let options = ssl_convert::Options { dense: is_masked(form), ..Default::default() };
        ssl_convert::convert(&onnx, &file, &options).unwrap_or_else(|e| panic!("{}: {e:#}", self.name));
        file
    }
}

struct Builder {
    onnx: Onnx,
    rng: Rng,
}

/// A convolution, and how much of it is kept.
#[derive(Clone, Copy)]
struct Conv {
    filters: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    groups: usize,
    kept_filters: usize,
    /// Columns that are kept of each group; at most those of live channels.
    kept_columns: usize,
}

impl Conv {
    /// A convolution that keeps everything, padded so that a stride of 1 keeps the image's size.
    fn whole(filters: usize, kernel: usize, stride: usize) -> Self {
        Conv { filters, kernel, stride, pad: kernel / 2, groups: 1, kept_filters: filters, kept_columns: usize::MAX }
    }
}

/// A value, and which of its channels are not constant.
struct Planes {
    name: String,
    live: Vec<bool>,
}

impl Builder {
    fn new([channels, height, width]: [usize; 3]) -> (Self, Planes) {
        let onnx = Onnx::new(&["N", &channels.to_string(), &height.to_string(), &width.to_string()]);
        (Builder { onnx, rng: Rng::with_seed(2016) }, Planes { name: "x".to_owned(), live: vec![true; channels] })
    }

    /// Zeros stand for what is not kept: filters at equal distances, and columns at random.
    fn conv(&mut self, x: &Planes, conv: Conv) -> Planes {
        let Conv { filters, kernel, stride, pad, groups, kept_filters, kept_columns } = conv;
        let (channels, taps, per_group) = (x.live.len() / groups, kernel * kernel, filters / groups);
        let live: Vec<bool> = (0..filters).map(|f| (f + 1) * kept_filters / filters > f * kept_filters / filters).collect();
        let mut weights = vec![0.0; filters * channels * taps];
        for (group, rows) in weights.chunks_mut(per_group * channels * taps).enumerate() {
            let candidates: Vec<usize> = (0..channels * taps).filter(|column| x.live[group * channels + column / taps]).collect();
            let columns = self.rng.choose_multiple(candidates.iter(), kept_columns.min(candidates.len()));
            let bound = scale(columns.len());
            for (row, _) in rows.chunks_mut(channels * taps).zip(&live[group * per_group..]).filter(|(_, live)| **live) {
                columns.iter().for_each(|&&column| row[column] = self.between(bound));
            }
        }
        let bias: Vec<f32> = live.iter().map(|&live| if live { self.between(0.1) } else { 0.0 }).collect();
        let (strides, pads) = ([stride as i64; 2], [pad as i64; 4]);
        let attributes = [("strides", Value::Ints(&strides)), ("pads", Value::Ints(&pads)), ("group", Value::Int(groups as i64))];
        Planes { name: self.onnx.conv(&x.name, [filters, channels, kernel, kernel], &weights, &bias, &attributes), live }
    }

    fn fully_connected(&mut self, x: &str, features: usize, rows: usize) -> String {
        let bound = scale(features);
        let weights: Vec<f32> = (0..rows * features).map(|_| self.between(bound)).collect();
        let bias: Vec<f32> = (0..rows).map(|_| self.between(0.1)).collect();
        let (w, b) = (self.onnx.weights(&[rows, features], &weights), self.onnx.weights(&[rows], &bias));
        self.onnx.node("Gemm", &[x, &w, &b], &[("transB", Value::Int(1))])
    }

    /// Fully connected layers, with a Relu between two.
    fn classifier(&mut self, x: &Planes, mut features: usize, rows: &[usize]) -> String {
        let mut name = self.onnx.node("Flatten", &[&x.name], &[]);
        for (i, &rows) in rows.iter().enumerate() {
            if i > 0 {
                name = self.onnx.node("Relu", &[&name], &[]);
            }
            name = self.fully_connected(&name, features, rows);
            features = rows;
        }
        name
    }

    /// A node whose channels are those of its input.
    fn each_channel(&mut self, op: &str, x: &Planes, attributes: &[(&str, Value)]) -> Planes {
        Planes { name: self.onnx.node(op, &[&x.name], attributes), live: x.live.clone() }
    }

    fn relu(&mut self, x: &Planes) -> Planes {
        self.each_channel("Relu", x, &[])
    }

    /// As Caffe pools: a last window that hangs over the edge counts.
    fn pool(&mut self, op: &str, x: &Planes, kernel: i64, stride: i64) -> Planes {
        let attributes =
            [("kernel_shape", Value::Ints(&[kernel; 2])), ("strides", Value::Ints(&[stride; 2])), ("ceil_mode", Value::Int(1))];
        self.each_channel(op, x, &attributes)
    }

    fn relu6(&mut self, x: &Planes) -> Planes {
        let [low, high] = [0.0, 6.0].map(|bound| self.onnx.weights(&[], &[bound]));
        Planes { name: self.onnx.node("Clip", &[&x.name, &low, &high], &[]), live: x.live.clone() }
    }

    fn sum(&mut self, x: &Planes, y: &Planes) -> Planes {
        let live = x.live.iter().zip(&y.live).map(|(x, y)| *x || *y).collect();
        Planes { name: self.onnx.node("Add", &[&x.name, &y.name], &[]), live }
    }

    fn between(&mut self, bound: f32) -> f32 {
        (self.rng.f32() * 2.0 - 1.0) * bound
    }

    fn finish(self, output: &str) -> ModelProto {
        self.onnx.finish(&[output])
    }
}

/// Bound of weights on so many inputs that neither lets sums grow from layer to layer nor vanish.
fn scale(inputs: usize) -> f32 {
    (6.0 / inputs.max(1) as f32).sqrt()
}

/// The convolutions of a network of `layers.json`, in one of its forms.
fn convolutions(net: &str, form: &str) -> Vec<Conv> {
    let net = shapes::nets().into_iter().find(|n| n.net == net).expect("a network of layers.json");
    let pruned = net.pruned.iter().find(|p| p.name == form);
    let conv = |(i, shape): (usize, &shapes::ConvShape)| {
        let &shapes::ConvShape { filters, kernel, stride, pad, groups, .. } = shape;
        let (kept_filters, kept_columns) = pruned.map_or((filters, usize::MAX), |p| (p.filters[i], p.columns[i]));
        Conv { filters, kernel, stride, pad, groups, kept_filters, kept_columns }
    };
    net.layers.iter().enumerate().map(conv).collect()
}

fn lenet(mut net: Builder, mut x: Planes, form: &str) -> ModelProto {
    for conv in convolutions("LeNet", form) {
        let sums = net.conv(&x, conv);
        x = net.pool("MaxPool", &sums, 2, 2);
    }
    let output = net.classifier(&x, 50 * 4 * 4, &[500, 10]);
    net.finish(&output)
}

fn convnet(mut net: Builder, mut x: Planes, form: &str) -> ModelProto {
    for (i, conv) in convolutions("ConvNet", form).into_iter().enumerate() {
        x = net.conv(&x, conv);
        x = if i == 0 {
            let pooled = net.pool("MaxPool", &x, 3, 2);
            net.relu(&pooled)
        } else {
            let activated = net.relu(&x);
            net.pool("AveragePool", &activated, 3, 2)
        };
    }
    let output = net.classifier(&x, 64 * 4 * 4, &[64, 10]);
    net.finish(&output)
}

fn alexnet(mut net: Builder, mut x: Planes, form: &str) -> ModelProto {
    for (i, conv) in convolutions("AlexNet", form).into_iter().enumerate() {
        let sums = net.conv(&x, conv);
        x = net.relu(&sums);
        if [0, 1, 4].contains(&i) {
            x = net.pool("MaxPool", &x, 3, 2);
        }
        if i < 2 {
            x = net.each_channel(
                "LRN",
                &x,
                &[("size", Value::Int(5)), ("alpha", Value::Float(1e-4)), ("beta", Value::Float(0.75))],
            );
        }
    }
    let output = net.classifier(&x, 256 * 6 * 6, &[4096, 4096, 1000]);
    net.finish(&output)
}

/// Three stages of three blocks. Those that go have zero weights: the paper does not say which, here they are the last ones of stages.
fn resnet_20(mut net: Builder, x: Planes, form: &str) -> ModelProto {
    let stem = net.conv(&x, Conv::whole(16, 3, 1));
    let mut x = net.relu(&stem);
    for (stage, filters) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let gone = block == 2 && (form == "14 layers" || form == "18 layers" && stage == 2);
            let kept_filters = if gone { 0 } else { filters };
            let first = net.conv(&x, Conv { kept_filters, ..Conv::whole(filters, 3, stride) });
            let first = net.relu(&first);
            let second = net.conv(&first, Conv { kept_filters, ..Conv::whole(filters, 3, 1) });
            let shortcut = if stride == 2 { net.conv(&x, Conv::whole(filters, 1, 2)) } else { x };
            let sum = net.sum(&shortcut, &second);
            x = net.relu(&sum);
        }
    }
    let pooled = net.each_channel("GlobalAveragePool", &x, &[]);
    let output = net.classifier(&pooled, 64, &[10]);
    net.finish(&output)
}

fn resnet_50(mut net: Builder, x: Planes, form: &str) -> ModelProto {
    let stem = net.conv(&x, Conv::whole(64, 7, 2));
    let stem = net.relu(&stem);
    let pooling =
        [("kernel_shape", Value::Ints(&[3, 3])), ("strides", Value::Ints(&[2, 2])), ("pads", Value::Ints(&[1, 1, 1, 1]))];
    let mut x = net.each_channel("MaxPool", &stem, &pooling);
    for (stage, (filters, blocks)) in [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let kept_filters = if form == "half" { filters / 2 } else { filters };
            let first = net.conv(&x, Conv { kept_filters, ..Conv::whole(filters, 1, 1) });
            let first = net.relu(&first);
            let second = net.conv(&first, Conv { kept_filters, ..Conv::whole(filters, 3, stride) });
            let second = net.relu(&second);
            let third = net.conv(&second, Conv::whole(4 * filters, 1, 1));
            let shortcut = if block == 0 { net.conv(&x, Conv::whole(4 * filters, 1, stride)) } else { x };
            let sum = net.sum(&shortcut, &third);
            x = net.relu(&sum);
        }
    }
    let pooled = net.each_channel("GlobalAveragePool", &x, &[]);
    let output = net.classifier(&pooled, 2048, &[1000]);
    net.finish(&output)
}

/// Inverted residuals: channels are expanded, each is filtered by itself, and all are projected to few.
fn mobilenet_v2(mut net: Builder, x: Planes, form: &str) -> ModelProto {
    let stem = net.conv(&x, Conv::whole(32, 3, 2));
    let mut x = net.relu6(&stem);
    let stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    for (factor, filters, blocks, first_stride) in stages {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let channels = x.live.len();
            let expanded = factor * channels;
            let kept_filters = if form == "half" && factor > 1 { expanded / 2 } else { expanded };
            let mut inner = Planes { name: x.name.clone(), live: x.live.clone() };
            if factor > 1 {
                let sums = net.conv(&x, Conv { kept_filters, ..Conv::whole(expanded, 1, 1) });
                inner = net.relu6(&sums);
            }
            let sums = net.conv(&inner, Conv { kept_filters, groups: expanded, ..Conv::whole(expanded, 3, stride) });
            inner = net.relu6(&sums);
            let projected = net.conv(&inner, Conv::whole(filters, 1, 1));
            x = if block > 0 { net.sum(&x, &projected) } else { projected };
        }
    }
    let sums = net.conv(&x, Conv::whole(1280, 1, 1));
    let last = net.relu6(&sums);
    let pooled = net.each_channel("GlobalAveragePool", &last, &[]);
    let output = net.classifier(&pooled, 1280, &[1000]);
    net.finish(&output)
}

fn vgg_16(mut net: Builder, mut x: Planes, form: &str) -> ModelProto {
    for (filters, layers) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)] {
        for _ in 0..layers {
            let kept_filters = if form == "half" { filters / 2 } else { filters };
            let sums = net.conv(&x, Conv { kept_filters, ..Conv::whole(filters, 3, 1) });
            x = net.relu(&sums);
        }
        x = net.pool("MaxPool", &x, 2, 2);
    }
    let output = net.classifier(&x, 512 * 7 * 7, &[4096, 4096, 1000]);
    net.finish(&output)
}
