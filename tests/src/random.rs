//! Random zero-masked graphs. One seed gives one graph, always the same; so do the bytes that a fuzzer chooses.

mod choices;
mod layers;

pub use choices::Random;

use crate::onnx::{Net, Value};
use ssl_convert::onnx::proto::{ModelProto, TensorProto, data_type};
use sslm_format::half;

/// A graph and what to feed it.
pub struct Case {
    /// The masked model, with input `x` and one to three outputs.
    pub model: ModelProto,
    /// Shapes of the input to run it at.
    pub shapes: Vec<Vec<usize>>,
}

/// The graph of a seed: a few layers that each read any earlier value, masks of all kinds, weights that two layers share, and
/// outputs taken from anywhere, so that some layers are read by nobody.
pub fn case(seed: u64) -> Case {
    case_of(Random::of_seed(seed))
}

/// As [`case`], by these choices.
pub fn case_of(mut random: Random) -> Case {
    let channels = random.between(1..=8);
    let fixed = random.chance(0.4);
    let sizes: Vec<Size> = (0..if fixed { 1 } else { 3 }).map(|_| [random.between(5..=13), random.between(5..=13)]).collect();
    let dims = match fixed {
        true => sizes[0].map(|n| n.to_string()),
        false => ["height", "width"].map(str::to_owned),
    };
    let mut net = Net::new(&["batch", &channels.to_string(), &dims[0], &dims[1]]);
    net.model.opset_import[0].version = 20; // Gelu
    let shape = |i: usize| vec![i + 1, channels, sizes[i % sizes.len()][0], sizes[i % sizes.len()][1]];
    let shapes = (0..sizes.len().max(2)).map(shape).collect();
    let input = Image { name: "x".into(), channels, sizes };
    let mut graph = Graph { random, net, images: vec![input], shared: Vec::new() };
    for _ in 0..graph.random.between(2..=10) {
        let image = graph.layer();
        graph.images.push(image);
    }
    let outputs = graph.outputs();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    Case { model: graph.net.finish(&outputs), shapes }
}

/// Zeros of every kind in weights of `dims`: whole layers, filters, channels, columns; some of them are -0.0.
pub fn mask(random: &mut Random, weights: &mut [f32], dims: [usize; 4]) {
    let [filters, channels, height, width] = dims;
    let columns = channels * height * width;
    let mut zero = |share: f64, filter: &dyn Fn(usize) -> usize, count: usize| {
        let gone = random.chances(share, count);
        let zero = if random.chance(0.3) { -0.0 } else { 0.0 };
        (0..filters * columns).filter(|&i| gone[filter(i)]).for_each(|i| weights[i] = zero);
    };
    let shares: [f64; 4] = [0.08, 0.4, 0.3, 0.3];
    zero(shares[0], &|_| 0, 1);
    zero(shares[1], &|i| i / columns, filters);
    zero(shares[2], &|i| i % columns / (height * width), channels);
    zero(shares[3], &|i| i % columns, columns);
}

type Size = [usize; 2];

/// A value of four axes, with its height and width for each image size that the graph runs at.
#[derive(Clone)]
struct Image {
    name: String,
    channels: usize,
    sizes: Vec<Size>,
}

impl Image {
    fn largest(&self) -> usize {
        self.sizes.iter().flatten().copied().max().unwrap_or(0)
    }
}

struct Graph {
    random: Random,
    net: Net,
    /// Every value so far.
    images: Vec<Image>,
    /// Weights and bias of earlier convolutions, by their dims.
    shared: Vec<([usize; 4], String, String)>,
}

impl Graph {
    /// An earlier value, more often a late one.
    fn pick(&mut self) -> Image {
        let newest = self.images.len() - 1;
        let at = if self.random.chance(0.6) { newest } else { self.random.between(0..=newest) };
        self.images[at].clone()
    }

    fn layer(&mut self) -> Image {
        let x = self.pick();
        if self.random.chance(0.12) {
            return self.other_layer(&x);
        }
        match self.random.between(0..=99) {
            0..28 => {
                let filters = self.random.between(1..=10);
                let window = Window::random(&mut self.random, &x.sizes, false);
                self.conv(&x, filters, &window)
            }
            28..40 => self.residual_block(&x),
            40..47 => self.join(&x),
            47..54 => self.concat(&x),
            54..64 => self.activation(&x),
            64..69 => self.batch_norm(&x),
            69..73 => self.lrn(&x),
            73..74 => self.instance_norm(&x),
            74..75 if self.random.chance(0.5) => self.layer_norm(&x),
            74..75 => self.group_norm(&x),
            75..78 => self.channels_last(&x),
            78..79 if x.sizes.len() == 1 => self.tokens(&x),
            78..82 => self.pool(&x),
            82..86 => self.arithmetic(&x),
            86..90 => self.some_channels(&x),
            90..91 => self.squeeze_and_excite(&x),
            91..92 if self.random.chance(0.5) => self.recurrent(&x),
            91..92 => self.mean(&x),
            92..93 => self.pad(&x),
            93..94 if self.random.chance(0.5) => self.space(&x),
            93..94 if self.random.chance(0.3) => self.grid_sample(&x),
            93..94 if x.sizes.iter().flatten().all(|&n| n > 2) => self.crop(&x),
            93..94 => self.pad(&x),
            94..95 if x.largest() <= 16 => self.resample(&x),
            95..98 if x.largest() <= 16 => self.upsample(&x),
            94..98 => self.activation(&x),
            98.. if x.sizes.len() == 1 && x.largest() <= 16 && self.random.chance(0.5) => self.attention(&x),
            98..99 if x.sizes.len() == 1 && self.random.chance(0.4) => self.volume(&x),
            98..99 if x.sizes.len() == 1 => self.line(&x),
            _ if x.sizes.len() == 1 => self.shuffle(&x),
            _ => self.unary("Identity", &x, &[]),
        }
    }

    fn unary(&mut self, op: &str, x: &Image, attributes: &[(&str, Value)]) -> Image {
        Image { name: self.net.node(op, &[&x.name], attributes), ..x.clone() }
    }

    /// A masked convolution, often grouped or depthwise; `wanted` filters become a multiple of the groups.
    fn conv(&mut self, x: &Image, wanted: usize, window: &Window) -> Image {
        let groups: Vec<usize> = [1, 1, 2, 3, 4, x.channels].into_iter().filter(|g| x.channels.is_multiple_of(*g)).collect();
        let group = self.random.of(&groups);
        let filters = wanted.div_ceil(group) * group;
        let name = self.conv_of(x, filters, group, window);
        Image { name, channels: filters, sizes: window.sizes(&x.sizes) }
    }

    fn conv_of(&mut self, x: &Image, filters: usize, group: usize, window: &Window) -> String {
        let dims = [filters, x.channels / group, window.kernel[0] as usize, window.kernel[1] as usize];
        let known = self.shared.iter().find(|(d, ..)| *d == dims).cloned();
        let (w, b) = match known.filter(|_| self.random.chance(0.5)) {
            Some((_, w, b)) => (w, b),
            None => {
                let columns = dims[1] * dims[2] * dims[3];
                let mut weights = self.random.elements(filters * columns, 2.0 / (columns as f32).sqrt());
                mask(&mut self.random, &mut weights, dims);
                let (w, b) = (self.stored(&dims, &weights), self.bias(filters));
                self.shared.push((dims, w.clone(), b.clone()));
                (w, b)
            }
        };
        let mut attributes = window.attributes();
        attributes.push(("group", Value::Int(group as i64)));
        let inputs: &[&str] = if self.random.chance(0.15) { &[&x.name, &w] } else { &[&x.name, &w, &b] };
        self.net.node("Conv", inputs, &attributes)
    }

    /// Weights as they are, quantised, or in half precision; zeros stay zeros.
    fn stored(&mut self, dims: &[usize; 4], weights: &[f32]) -> String {
        if self.random.chance(0.8) {
            return self.net.weights(dims, weights);
        }
        let name = format!("stored{}", self.net.graph().initializer.len());
        let dims_of = dims.iter().map(|&d| d as i64).collect();
        let mut store = |name: String, dims: Vec<i64>, data_type: i32, raw: Vec<u8>| {
            self.net.graph().initializer.push(TensorProto { name, dims, data_type, raw_data: raw.into(), ..Default::default() });
        };
        if self.random.chance(0.5) {
            let halves = weights.iter().flat_map(|&w| half::to_f16(w).to_le_bytes()).collect();
            store(name.clone(), dims_of, data_type::FLOAT16, halves);
            return self.net.node("Cast", &[&name], &[("to", Value::Int(data_type::FLOAT.into()))]);
        }
        // Each filter has a zero point of its own.
        let zero_points: Vec<i8> = (0..dims[0]).map(|filter| (filter % 5) as i8 - 2).collect();
        let per_filter = weights.len() / dims[0];
        let quantised = weights.iter().enumerate().map(|(i, w)| (w * 32.0).round() as i8 + zero_points[i / per_filter]);
        store(name.clone(), dims_of, data_type::INT8, quantised.map(|q| q as u8).collect());
        let zero_point = format!("{name}.zero_point");
        store(zero_point.clone(), vec![dims[0] as i64], data_type::INT8, zero_points.iter().map(|&z| z as u8).collect());
        let scale = self.net.weights(&[dims[0]], &vec![1.0 / 32.0; dims[0]]);
        self.net.node("DequantizeLinear", &[&name, &scale, &zero_point], &[("axis", Value::Int(0))])
    }

    /// Some elements are 0, most are not.
    fn bias(&mut self, len: usize) -> String {
        let mut bias = self.random.elements(len, 1.0);
        bias.iter_mut().for_each(|b| *b = if self.random.chance(0.3) { 0.0 } else { *b });
        self.net.weights(&[len], &bias)
    }

    /// One or two convolutions to the same shape, perhaps BatchNormalization, and a shortcut, perhaps with a convolution, too.
    fn residual_block(&mut self, x: &Image) -> Image {
        let (kernel, dilation) = (self.random.of(&[1, 3]), self.random.of(&[1, 2]));
        let pad = (kernel - 1) / 2 * dilation;
        let window = Window { kernel: [kernel; 2], dilations: [dilation; 2], pads: [pad; 4], ..Window::default() };
        let mut branch = x.clone();
        if self.random.chance(0.5) {
            branch = self.conv(x, x.channels, &window);
            branch = self.unary("Relu", &branch, &[]);
        }
        let shortcut = if self.random.chance(0.3) { self.conv(x, x.channels, &Window::default()) } else { x.clone() };
        branch = self.conv(&branch, x.channels, &window);
        if self.random.chance(0.5) {
            branch = self.batch_norm(&branch);
        }
        let operands = if self.random.chance(0.5) { [&branch.name, &shortcut.name] } else { [&shortcut.name, &branch.name] };
        let sum = self.net.node("Add", &operands.map(String::as_str), &[]);
        let sum = Image { name: sum, ..x.clone() };
        match self.random.between(0..=5) {
            0..=2 => self.unary("Relu", &sum, &[]),
            3 => self.clip(&sum),
            4 => self.unary("LeakyRelu", &sum, &[]),
            _ => sum,
        }
    }

    fn clip(&mut self, x: &Image) -> Image {
        let bounds = [self.random.share() - 1.0, self.random.share()].map(|b| self.net.weights(&[], &[b]));
        Image { name: self.net.node("Clip", &[&x.name, &bounds[0], &bounds[1]], &[]), ..x.clone() }
    }

    /// The sum or difference with any value of the same shape, perhaps itself, or of fewer channels or pixels, or gated by it.
    fn join(&mut self, x: &Image) -> Image {
        let fits = |i: &&Image| {
            [1, x.channels].contains(&i.channels) && (i.sizes == x.sizes || i.sizes.iter().flatten().all(|&n| n == 1))
        };
        let fitting: Vec<Image> = self.images.iter().filter(fits).cloned().collect();
        let (other, third) = (self.random.of(&fitting), self.random.of(&fitting));
        let name = match self.random.of(&["Add", "Add", "Add", "Sub", "Sum", "Mul", "Max", "Min", "Where"]) {
            "Where" => {
                let condition = self.net.node("Less", &[&other.name, &third.name], &[]);
                self.net.node("Where", &[&condition, &other.name, &x.name], &[])
            }
            "Sum" => self.net.node("Sum", &[&other.name, &x.name, &third.name], &[]),
            "Mul" => {
                let gate = self.net.node("Sigmoid", &[&other.name], &[]);
                self.net.node("Mul", &[&x.name, &gate], &[])
            }
            op => {
                let operands = if self.random.chance(0.5) { [&other.name, &x.name] } else { [&x.name, &other.name] };
                self.net.node(op, &operands.map(String::as_str), &[])
            }
        };
        Image { name, ..x.clone() }
    }

    /// Joined with one or two values of the same size, perhaps itself, mostly along channels.
    fn concat(&mut self, x: &Image) -> Image {
        let axis = self.random.of(&[1, 1, 1, 1, 2, 3]);
        let fits = |i: &&Image| i.sizes == x.sizes && if axis == 1 { i.channels <= 16 } else { i.channels == x.channels };
        let fitting: Vec<Image> = self.images.iter().filter(fits).cloned().collect();
        let mut parts = vec![x.clone()];
        if !fitting.is_empty() && x.largest() <= 32 {
            (0..self.random.between(1..=2)).for_each(|_| parts.push(self.random.of(&fitting)));
        }
        self.random.shuffle(&mut parts);
        let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
        let name = self.net.node("Concat", &names, &[("axis", Value::Int(axis))]);
        if axis == 1 {
            return Image { name, channels: parts.iter().map(|p| p.channels).sum(), sizes: x.sizes.clone() };
        }
        let mut sizes = x.sizes.clone();
        sizes.iter_mut().for_each(|s| s[axis as usize - 2] *= parts.len());
        Image { name, channels: x.channels, sizes }
    }

    fn batch_norm(&mut self, x: &Image) -> Image {
        let c = x.channels;
        let mut scale = self.random.elements(c, 2.0);
        scale.iter_mut().for_each(|s| *s = if self.random.chance(0.2) { 0.0 } else { *s });
        let (beta, mean) = (self.random.elements(c, 1.0), self.random.elements(c, 0.5));
        let variance: Vec<f32> = (0..c).map(|_| 0.3 + self.random.share()).collect();
        let parameters = [scale, beta, mean, variance].map(|p| self.net.weights(&[c], &p));
        let [scale, beta, mean, variance] = parameters.each_ref().map(String::as_str);
        Image { name: self.net.node("BatchNormalization", &[&x.name, scale, beta, mean, variance], &[]), ..x.clone() }
    }

    fn lrn(&mut self, x: &Image) -> Image {
        let (size, alpha) = (self.random.of(&[1, 3, 3, 4, 5, 5, 5]), self.random.share());
        let attributes = [("size", Value::Int(size)), ("alpha", Value::Float(alpha)), ("bias", Value::Float(1.0))];
        self.unary("LRN", x, &attributes)
    }

    fn pool(&mut self, x: &Image) -> Image {
        let window = Window::random(&mut self.random, &x.sizes, true);
        let mut attributes = window.attributes();
        // An AveragePool knows no dilations before opset 19.
        let op = if self.random.chance(0.5) || window.dilations != [1, 1] {
            "MaxPool"
        } else {
            attributes.push(("count_include_pad", Value::Int(self.random.of(&[0, 1]))));
            "AveragePool"
        };
        Image { sizes: window.sizes(&x.sizes), ..self.unary(op, x, &attributes) }
    }

    fn activation(&mut self, x: &Image) -> Image {
        let plain = [
            "Relu",
            "Relu",
            "Relu",
            "LeakyRelu",
            "Elu",
            "Sigmoid",
            "Tanh",
            "HardSigmoid",
            "HardSwish",
            "Mish",
            "Gelu",
            "Swish",
            "Dropout",
            "Erf",
            "Abs",
            "Neg",
            "Softplus",
            "Softsign",
            "Selu",
            "Celu",
            "Atan",
            "Sin",
            "Asinh",
        ];
        match self.random.between(0..=plain.len() + 1) {
            at if at < plain.len() && plain[at] == "Gelu" => {
                let approximate = self.random.of(&["none", "tanh"]);
                self.unary("Gelu", x, &[("approximate", Value::Text(approximate))])
            }
            // Before opset 24, by its definition.
            at if at < plain.len() && plain[at] == "Swish" => {
                let gate = self.unary("Sigmoid", x, &[]);
                Image { name: self.net.node("Mul", &[&x.name, &gate.name], &[]), ..x.clone() }
            }
            at if at < plain.len() => self.unary(plain[at], x, &[]),
            at if at == plain.len() => self.clip(x),
            _ => {
                let slopes = self.random.elements(x.channels, 1.0);
                let slopes = self.net.weights(&[x.channels, 1, 1], &slopes);
                Image { name: self.net.node("PRelu", &[&x.name, &slopes], &[]), ..x.clone() }
            }
        }
    }

    fn instance_norm(&mut self, x: &Image) -> Image {
        let parameters = [0; 2].map(|_| self.random.elements(x.channels, 1.0));
        let [scale, bias] = parameters.map(|p| self.net.weights(&[x.channels], &p));
        // Large, or rounding alone would be blown up where a channel is constant.
        let epsilon = [("epsilon", Value::Float(0.1))];
        Image { name: self.net.node("InstanceNormalization", &[&x.name, &scale, &bias], &epsilon), ..x.clone() }
    }

    /// Over channels, which are the last axis for a while.
    fn layer_norm(&mut self, x: &Image) -> Image {
        let parameters = [0; 2].map(|_| self.random.elements(x.channels, 1.0));
        let [scale, bias] = parameters.map(|p| self.net.weights(&[x.channels], &p));
        let y = self.net.node("Transpose", &[&x.name], &[("perm", Value::Ints(&[0, 2, 3, 1]))]);
        // Large, or rounding alone would be blown up where channels are alike.
        let y = self.net.node("LayerNormalization", &[&y, &scale, &bias], &[("epsilon", Value::Float(0.1))]);
        Image { name: self.net.node("Transpose", &[&y], &[("perm", Value::Ints(&[0, 3, 1, 2]))]), ..x.clone() }
    }

    /// Channels in as many groups as divide them.
    fn group_norm(&mut self, x: &Image) -> Image {
        let groups: Vec<usize> = (1..=x.channels).filter(|g| x.channels.is_multiple_of(*g)).collect();
        let groups = self.random.of(&groups);
        let parameters = [0; 2].map(|_| self.random.elements(groups, 1.0));
        let [scale, bias] = parameters.map(|p| self.net.weights(&[groups], &p));
        // Large, or rounding alone would be blown up where channels are alike.
        let attributes = [("num_groups", Value::Int(groups as i64)), ("epsilon", Value::Float(0.1))];
        Image { name: self.net.node("GroupNormalization", &[&x.name, &scale, &bias], &attributes), ..x.clone() }
    }

    /// A block of ConvNeXt, or what exporters of Keras write: some layers between Transposes, perhaps with a shortcut.
    fn channels_last(&mut self, x: &Image) -> Image {
        let mut y = self.net.node("Transpose", &[&x.name], &[("perm", Value::Ints(&[0, 2, 3, 1]))]);
        let shortcut = y.clone();
        let mut channels = x.channels;
        for _ in 0..self.random.between(1..=4) {
            y = self.on_last_axis(&y, &mut channels);
        }
        if channels == x.channels && self.random.chance(0.5) {
            y = self.net.node("Add", &[&shortcut, &y], &[]);
        }
        let name = self.net.node("Transpose", &[&y], &[("perm", Value::Ints(&[0, 3, 1, 2]))]);
        Image { name, channels, sizes: x.sizes.clone() }
    }

    /// The same on three axes, as transformers have it.
    fn tokens(&mut self, x: &Image) -> Image {
        let [height, width] = x.sizes[0].map(|n| n as i64);
        let flat = self.net.integers(&[0, x.channels as i64, height * width]);
        let y = self.net.node("Reshape", &[&x.name, &flat], &[]);
        let mut y = self.net.node("Transpose", &[&y], &[("perm", Value::Ints(&[0, 2, 1]))]);
        let mut channels = x.channels;
        for _ in 0..self.random.between(1..=4) {
            y = self.on_last_axis(&y, &mut channels);
        }
        let y = self.net.node("Transpose", &[&y], &[("perm", Value::Ints(&[0, 2, 1]))]);
        let image = self.net.integers(&[0, channels as i64, height, width]);
        Image { name: self.net.node("Reshape", &[&y, &image], &[]), channels, sizes: x.sizes.clone() }
    }

    /// A layer whose channels are the last axis of `x`.
    fn on_last_axis(&mut self, x: &str, channels: &mut usize) -> String {
        let c = *channels;
        match self.random.between(0..=7) {
            0..=3 => {
                let other = self.random.between(1..=9);
                let rows = self.random.of(&[c, other]);
                let mut weights = self.random.elements(rows * c, 2.0 / (c as f32).sqrt());
                mask(&mut self.random, &mut weights, [c, rows, 1, 1]);
                let (w, b) = (self.net.weights(&[c, rows], &weights), self.bias(rows));
                *channels = rows;
                let y = self.net.node("MatMul", &[x, &w], &[]);
                self.net.node("Add", &[&y, &b], &[])
            }
            4 => {
                let parameters = [0; 2].map(|_| self.random.elements(c, 1.0));
                let [scale, bias] = parameters.map(|p| self.net.weights(&[c], &p));
                // Large, or rounding alone would be blown up where channels are alike.
                self.net.node("LayerNormalization", &[x, &scale, &bias], &[("epsilon", Value::Float(0.1))])
            }
            5 => {
                let factors = self.random.elements(c, 1.0);
                let factors = self.net.weights(&[c], &factors);
                self.net.node("Mul", &[x, &factors], &[])
            }
            6 => self.net.node("Softmax", &[x], &[("axis", Value::Int(-1))]),
            _ => {
                let function = self.random.of(&["Relu", "Gelu", "Sigmoid"]);
                self.net.node(function, &[x], &[])
            }
        }
    }

    /// With stored elements on either side: one for all, or one for each channel.
    fn arithmetic(&mut self, x: &Image) -> Image {
        let c = x.channels;
        let dims = self.random.of(&[vec![1], vec![c, 1, 1], vec![1, c, 1, 1]]);
        // Not near 0, for Div.
        let elements: Vec<f32> =
            self.random.elements(dims.iter().product(), 1.0).iter().map(|n| n + 0.5f32.copysign(*n)).collect();
        let elements = self.net.weights(&dims, &elements);
        let op = self.random.of(&["Add", "Sub", "Mul", "Div"]);
        let swap = op != "Div" && self.random.chance(0.3);
        let operands = if swap { [&elements, &x.name] } else { [&x.name, &elements] };
        Image { name: self.net.node(op, &operands.map(String::as_str), &[]), ..x.clone() }
    }

    /// Some of the channels: a range, a list with repetitions, the largest elements of all, or one of two parts, of which the other may be
    /// used later.
    fn some_channels(&mut self, x: &Image) -> Image {
        let c = x.channels;
        let (first, step) = (self.random.between(0..=c - 1), self.random.between(1..=2));
        let (name, channels) = match self.random.between(0..=3) {
            3 => {
                let (k, largest) = (self.random.between(1..=c), self.random.between(0..=1) as i64);
                let count = self.net.integers(&[k as i64]);
                let largest = [("axis", Value::Int(1)), ("largest", Value::Int(largest))];
                let name = self.net.node("TopK", &[&x.name, &count], &largest);
                self.net.last_node().output.push(format!("{name}_places"));
                (name, k)
            }
            0 => {
                let end = self.random.between(first + 1..=c);
                let range = [first, end, 1, step].map(|n| self.net.integers(&[n as i64]));
                let [start, end_at, axis, step_by] = range.each_ref().map(String::as_str);
                (self.net.node("Slice", &[&x.name, start, end_at, axis, step_by], &[]), (end - first).div_ceil(step))
            }
            1 => {
                let indices: Vec<i64> = (0..self.random.between(1..=8)).map(|_| self.random.between(0..=c - 1) as i64).collect();
                let list = self.net.integers(&indices);
                (self.net.node("Gather", &[&x.name, &list], &[("axis", Value::Int(1))]), indices.len())
            }
            _ if first > 0 => {
                let parts = self.net.integers(&[first as i64, (c - first) as i64]);
                let name = self.net.node("Split", &[&x.name, &parts], &[("axis", Value::Int(1))]);
                let rest = format!("{name}_rest");
                self.net.last_node().output.push(rest.clone());
                self.images.push(Image { name: rest, channels: c - first, sizes: x.sizes.clone() });
                (name, first)
            }
            _ => (self.net.node("Identity", &[&x.name], &[]), c),
        };
        Image { name, channels, sizes: x.sizes.clone() }
    }

    /// Every channel scaled by an element that a small network computes from the means of all channels.
    fn squeeze_and_excite(&mut self, x: &Image) -> Image {
        let means = self.mean(x);
        let scale = self.conv_of(&means, x.channels, 1, &Window::default());
        let scale = self.net.node("Sigmoid", &[&scale], &[]);
        Image { name: self.net.node("Mul", &[&x.name, &scale], &[]), ..x.clone() }
    }

    /// One element for each channel.
    fn mean(&mut self, x: &Image) -> Image {
        let name =
            match self.random.of(&["GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"]) {
                op if op.starts_with("Reduce") => {
                    let axes = self.net.integers(&[2, 3]);
                    self.net.node(op, &[&x.name, &axes], &[])
                }
                op => self.net.node(op, &[&x.name], &[]),
            };
        Image { name, channels: x.channels, sizes: vec![[1, 1]; x.sizes.len()] }
    }

    /// More around, of channels as well, and less where an amount is negative.
    fn pad(&mut self, x: &Image) -> Image {
        let least = if x.sizes.iter().flatten().all(|&n| n > 4) { -1 } else { 0 };
        let [top, left, bottom, right] = [0; 4].map(|_| self.random.between(0..=3) as i64 + least);
        let [before, after] = if self.random.chance(0.4) { [0; 2].map(|_| self.random.between(0..=2) as i64) } else { [0, 0] };
        let modes: &[&'static str] =
            if least < 0 && x.channels > 2 { &["constant", "reflect", "edge", "wrap"] } else { &["constant"] };
        let mode = self.random.of(modes);
        let pads = self.net.integers(&[0, before, top, left, 0, after, bottom, right]);
        let value = self.random.of(&[0.0, 0.7]);
        let value = self.net.weights(&[], &[value]);
        let sum = |n: usize, a: i64, b: i64| (n as i64 + a + b) as usize;
        let sizes = x.sizes.iter().map(|&[h, w]| [sum(h, top, bottom), sum(w, left, right)]).collect();
        let name = self.net.node("Pad", &[&x.name, &pads, &value], &[("mode", Value::Text(mode))]);
        Image { name, channels: sum(x.channels, before, after), sizes }
    }

    /// Channels become positions, or positions channels.
    fn space(&mut self, x: &Image) -> Image {
        let even = x.sizes.iter().flatten().all(|n| n.is_multiple_of(2)) && x.channels <= 8;
        if even && self.random.chance(0.5) {
            let name = self.net.node("SpaceToDepth", &[&x.name], &[("blocksize", Value::Int(2))]);
            return Image { name, channels: 4 * x.channels, sizes: x.sizes.iter().map(|s| s.map(|n| n / 2)).collect() };
        }
        let x = self.conv(x, 4, &Window::default());
        let block = if x.channels.is_multiple_of(4) && x.largest() <= 16 { 2 } else { 1 };
        let mode = self.random.of(&["DCR", "CRD"]);
        let attributes = [("blocksize", Value::Int(block)), ("mode", Value::Text(mode))];
        let (name, block) = (self.net.node("DepthToSpace", &[&x.name], &attributes), block as usize);
        Image { name, channels: x.channels / (block * block), sizes: x.sizes.iter().map(|s| s.map(|n| n * block)).collect() }
    }

    /// Another height and width, in a way that not every reader knows, with weights for several neighbours or none.
    fn resample(&mut self, x: &Image) -> Image {
        let factors = [0; 2].map(|_| self.random.of(&[0.6f32, 1.0, 1.5, 1.3, 2.0]));
        let scales = self.net.weights(&[4], &[1.0, 1.0, factors[0], factors[1]]);
        let mode = self.random.of(&["nearest", "linear", "cubic"]);
        let coordinates = self.random.of(&["half_pixel_symmetric", "half_pixel", "align_corners", "tf_crop_and_resize"]);
        let mut attributes = vec![("mode", Value::Text(mode)), ("coordinate_transformation_mode", Value::Text(coordinates))];
        if mode == "cubic" {
            attributes.push(("exclude_outside", Value::Int(self.random.of(&[0, 1]))));
        }
        let roi = self.net.weights(&[8], &[0.0, 0.0, 0.1, -0.2, 1.0, 1.0, 0.9, 1.0]);
        let scaled = |size: &Size| [0, 1].map(|axis| (size[axis] as f32 * factors[axis]).floor() as usize);
        let sizes: Vec<Size> = x.sizes.iter().map(scaled).collect();
        if sizes.iter().flatten().any(|&n| n == 0) {
            return self.unary("Identity", x, &[]);
        }
        Image { name: self.net.node("Resize", &[&x.name, &roi, &scales], &attributes), channels: x.channels, sizes }
    }

    /// Looked at where a layer of its own says.
    fn grid_sample(&mut self, x: &Image) -> Image {
        let grid = self.conv_of(x, 2, 1, &Window::default());
        let grid = self.net.node("Tanh", &[&grid], &[]);
        let grid = self.net.node("Transpose", &[&grid], &[("perm", Value::Ints(&[0, 2, 3, 1]))]);
        let mode = self.random.of(&["linear", "cubic"]);
        let outside = self.random.of(&["zeros", "border", "reflection"]);
        let attributes = [("mode", Value::Text(mode)), ("padding_mode", Value::Text(outside)), ("align_corners", Value::Int(1))];
        Image { name: self.net.node("GridSample", &[&x.name, &grid], &attributes), ..x.clone() }
    }

    /// A convolution over the line of all positions.
    fn line(&mut self, x: &Image) -> Image {
        let [height, width] = x.sizes[0];
        let (apart, together) =
            (self.net.integers(&[0, x.channels as i64, -1]), self.net.integers(&[0, 4, height as i64, width as i64]));
        let line = self.net.node("Reshape", &[&x.name, &apart], &[]);
        let mut weights = self.random.elements(4 * x.channels * 3, 0.5);
        mask(&mut self.random, &mut weights, [4, x.channels, 1, 3]);
        let (w, b) = (self.net.weights(&[4, x.channels, 3], &weights), self.bias(4));
        let line = self.net.node("Conv", &[&line, &w, &b], &[("pads", Value::Ints(&[1, 1]))]);
        let line = self.net.node("Relu", &[&line], &[]);
        let name = self.net.node("Reshape", &[&line, &together], &[]);
        Image { name, channels: 4, sizes: x.sizes.clone() }
    }

    /// Masked convolutions over a volume of some slices, which are channels before and after.
    fn volume(&mut self, x: &Image) -> Image {
        let [depth, mut channels] = self.random.of(&[[2, 3], [3, 2], [2, 4]]);
        let slices = self.conv_of(x, depth * channels, 1, &Window::default());
        let [height, width] = x.sizes[0];
        let mut size = [depth, height, width];
        let mut y = self.reshaped(&slices, channels, &size);
        for _ in 0..self.random.between(1..=2) {
            let plane = loop {
                let plane = Window::random(&mut self.random, &[[size[1], size[2]]], false);
                if plane.auto_pad == "NOTSET" {
                    break plane;
                }
            };
            let kernel = self.random.between(1..=size[0].min(2));
            let (stride, pads) = (self.random.between(1..=2), [0; 2].map(|_| self.random.between(0..=1)));
            let group = self.random.of(&[1, channels]);
            let filters = group * self.random.between(1..=3);
            let [[kh, kw], [sh, sw], [dh, dw]] = [plane.kernel, plane.strides, plane.dilations];
            let dims = [filters, channels / group, kernel, kh as usize, kw as usize];
            let mut weights = self.random.elements(dims.iter().product(), 0.5);
            mask(&mut self.random, &mut weights, [dims[0], dims[1], kernel * dims[3], dims[4]]);
            let (w, b) = (self.net.weights(&dims, &weights), self.bias(filters));
            let [top, left, bottom, right] = plane.pads;
            let attributes = [
                ("strides", Value::Ints(&[stride as i64, sh, sw])),
                ("dilations", Value::Ints(&[1, dh, dw])),
                ("pads", Value::Ints(&[pads[0] as i64, top, left, pads[1] as i64, bottom, right])),
                ("group", Value::Int(group as i64)),
            ];
            y = self.net.node("Conv", &[&y, &w, &b], &attributes);
            y = self.net.node("Relu", &[&y], &[]);
            let [height, width] = plane.sizes(&[[size[1], size[2]]])[0];
            (size, channels) = ([(size[0] + pads[0] + pads[1] - kernel) / stride + 1, height, width], filters);
        }
        if self.random.chance(0.3) {
            let window = [("kernel_shape", Value::Ints(&[2, 3, 3])), ("pads", Value::Ints(&[1, 1, 1, 0, 1, 1]))];
            y = self.net.node(self.random.of(&["MaxPool", "AveragePool"]), &[&y], &window);
        } else if self.random.chance(0.3) && size.iter().product::<usize>() < 100 {
            let mut weights = self.random.elements(channels * 2 * 27, 0.5);
            mask(&mut self.random, &mut weights, [channels, 2, 9, 3]);
            let w = self.net.weights(&[channels, 2, 3, 3, 3], &weights);
            let window = [("strides", Value::Ints(&[2; 3])), ("pads", Value::Ints(&[1; 6]))];
            (y, channels) = (self.net.node("ConvTranspose", &[&y, &w], &window), 2);
            size = size.map(|n| 2 * n - 1);
        }
        let name = self.reshaped(&y, channels * size[0], &size[1..]);
        Image { name, channels: channels * size[0], sizes: vec![[size[1], size[2]]] }
    }

    /// The same elements as so many channels of these extents.
    fn reshaped(&mut self, x: &str, channels: usize, extents: &[usize]) -> String {
        let dims: Vec<i64> = [0, channels].iter().chain(extents).map(|&n| n as i64).collect();
        let dims = self.net.integers(&dims);
        self.net.node("Reshape", &[x, &dims], &[])
    }

    /// A recurrent layer over columns, whose elements are means, as text readers have it; some of its units are always 0.
    fn recurrent(&mut self, x: &Image) -> Image {
        let (op, gates) = self.random.of(&[("LSTM", 4), ("GRU", 3), ("RNN", 1)]);
        let (direction, directions) = self.random.of(&[("forward", 1), ("reverse", 1), ("bidirectional", 2)]);
        let (hidden, features) = (self.random.between(1..=9), x.channels);
        let rows = directions * gates * hidden;
        let mut w = self.random.elements(rows * features, 1.0 / (features as f32).sqrt());
        mask(&mut self.random, &mut w, [rows, features, 1, 1]);
        let mut r = self.random.elements(rows * hidden, 1.0 / (hidden as f32).sqrt());
        let mut b = self.random.elements(2 * rows, 0.5);
        for unit in (0..hidden).filter(|_| self.random.chance(0.3)).collect::<Vec<_>>() {
            let of_unit = |row: usize| row % hidden == unit;
            (0..w.len()).filter(|i| of_unit(i / features)).for_each(|i| w[i] = 0.0);
            (0..r.len()).filter(|i| of_unit(i / hidden) || of_unit(i % hidden)).for_each(|i| r[i] = 0.0);
            (0..b.len()).filter(|i| of_unit(*i)).for_each(|i| b[i] = 0.0);
        }
        let weights = [
            self.net.weights(&[directions, gates * hidden, features], &w),
            self.net.weights(&[directions, gates * hidden, hidden], &r),
            self.net.weights(&[directions, 2 * gates * hidden], &b),
        ];
        let height = self.net.integers(&[2]);
        let columns = self.net.node("ReduceMean", &[&x.name, &height], &[("keepdims", Value::Int(0))]);
        let sequence = self.net.node("Transpose", &[&columns], &[("perm", Value::Ints(&[2, 0, 1]))]);
        let mut attributes = vec![("direction", Value::Text(direction)), ("hidden_size", Value::Int(hidden as i64))];
        if op == "GRU" {
            attributes.push(("linear_before_reset", Value::Int(self.random.of(&[0, 1]))));
        }
        let [w, r, b] = weights.each_ref().map(String::as_str);
        let y = self.net.node(op, &[&sequence, w, r, b], &attributes);
        let y = self.net.node("Transpose", &[&y], &[("perm", Value::Ints(&[0, 2, 1, 3]))]);
        let joined = self.net.integers(&[0, 0, -1]);
        let y = self.net.node("Reshape", &[&y, &joined], &[]);
        let y = self.net.node("Transpose", &[&y], &[("perm", Value::Ints(&[1, 2, 0]))]);
        let name = self.net.node("Unsqueeze", &[&y, &height], &[]);
        let sizes = x.sizes.iter().map(|&[_, width]| [1, width]).collect();
        Image { name, channels: directions * hidden, sizes }
    }

    /// Without the first row and the last column.
    fn crop(&mut self, x: &Image) -> Image {
        let range = [[1, 0], [i64::MAX, -1], [2, 3]].map(|n| self.net.integers(&n));
        let [starts, ends, axes] = range.each_ref().map(String::as_str);
        let sizes = x.sizes.iter().map(|[h, w]| [h - 1, w - 1]).collect();
        Image { name: self.net.node("Slice", &[&x.name, starts, ends, axes], &[]), channels: x.channels, sizes }
    }

    /// A larger image: by a masked transposed convolution, or interpolated.
    fn upsample(&mut self, x: &Image) -> Image {
        if self.random.chance(0.4) {
            let scales = self.net.weights(&[4], &[1.0, 1.0, 2.0, 2.0]);
            let mode = [("mode", Value::Text(self.random.of(&["nearest", "linear"])))];
            let sizes = x.sizes.iter().map(|s| s.map(|n| 2 * n)).collect();
            return Image { name: self.net.node("Resize", &[&x.name, "", &scales], &mode), channels: x.channels, sizes };
        }
        let group = self.random.of(&[1, if x.channels.is_multiple_of(2) { 2 } else { 1 }, x.channels]);
        let (per_group, kernel, stride) = (self.random.between(1..=4), self.random.between(1..=3), self.random.between(1..=2));
        let (pad, extra) = (self.random.between(0..=(kernel - 1) / 2), self.random.between(0..=stride - 1));
        let dims = [x.channels, per_group, kernel, kernel];
        let mut weights = self.random.elements(dims.iter().product(), 1.0);
        mask(&mut self.random, &mut weights, dims);
        let (w, b) = (self.net.weights(&dims, &weights), self.bias(per_group * group));
        let [pads, strides, extras] = [pad, stride, extra].map(|n| [n as i64; 4]);
        let attributes = [
            ("group", Value::Int(group as i64)),
            ("pads", Value::Ints(&pads)),
            ("strides", Value::Ints(&strides[..2])),
            ("output_padding", Value::Ints(&extras[..2])),
        ];
        let sizes = x.sizes.iter().map(|s| s.map(|n| (n - 1) * stride + kernel + extra - 2 * pad)).collect();
        Image { name: self.net.node("ConvTranspose", &[&x.name, &w, &b], &attributes), channels: per_group * group, sizes }
    }

    /// The channel shuffle of grouped networks.
    fn shuffle(&mut self, x: &Image) -> Image {
        let groups: Vec<usize> = (1..=x.channels).filter(|g| x.channels.is_multiple_of(*g)).collect();
        let group = self.random.of(&groups) as i64;
        let (c, [height, width]) = (x.channels as i64, x.sizes[0].map(|n| n as i64));
        let (apart, together) =
            (self.net.integers(&[0, group, c / group, height, width]), self.net.integers(&[0, c, height, width]));
        let y = self.net.node("Reshape", &[&x.name, &apart], &[]);
        let y = self.net.node("Transpose", &[&y], &[("perm", Value::Ints(&[0, 2, 1, 3, 4]))]);
        Image { name: self.net.node("Reshape", &[&y, &together], &[]), ..x.clone() }
    }

    /// Every channel, or every position, as a mixture of all of them, by how alike they are.
    fn attention(&mut self, x: &Image) -> Image {
        let (c, [height, width]) = (x.channels as i64, x.sizes[0].map(|n| n as i64));
        let (lines, image) = (self.net.integers(&[0, c, height * width]), self.net.integers(&[0, c, height, width]));
        let lines = self.net.node("Reshape", &[&x.name, &lines], &[]);
        let positions = self.net.node("Transpose", &[&lines], &[("perm", Value::Ints(&[0, 2, 1]))]);
        let [a, b] = if self.random.chance(0.5) { [&lines, &positions] } else { [&positions, &lines] };
        let alike = self.net.node("MatMul", &[a, b], &[]);
        let scale = self.net.weights(&[], &[0.1 / (height * width) as f32]);
        let alike = self.net.node("Mul", &[&alike, &scale], &[]);
        let shares = self.net.node("Softmax", &[&alike], &[("axis", Value::Int(2))]);
        // As many shares as channels, or as positions.
        let operands = if *a == lines { [&shares, &lines] } else { [&lines, &shares] };
        let y = self.net.node("MatMul", &operands.map(String::as_str), &[]);
        Image { name: self.net.node("Reshape", &[&y, &image], &[]), ..x.clone() }
    }

    /// One to three outputs: often a classifier behind the last value, and values from the middle of the graph.
    fn outputs(&mut self) -> Vec<String> {
        let last = self.images[self.images.len() - 1].clone();
        let mut outputs = vec![if self.random.chance(0.6) { self.classifier(last) } else { last.name }];
        while self.random.chance(0.25) && outputs.len() < 3 {
            let more = self.pick().name;
            if !outputs.contains(&more) {
                outputs.push(more);
            }
        }
        outputs
    }

    /// Fully connected layers. Where the image's size is open, a mean over it comes first.
    fn classifier(&mut self, x: Image) -> String {
        let open = x.sizes.len() > 1;
        let (x, mut features) = match open || self.random.chance(0.3) {
            true => (self.mean(&x), x.channels),
            false => (x.clone(), x.channels * x.sizes[0][0] * x.sizes[0][1]),
        };
        let mut y = match self.random.between(0..=2) {
            0 => self.net.node("Flatten", &[&x.name], &[]),
            1 if x.largest() == 1 => {
                let axes = self.net.integers(&[2, 3]);
                self.net.node("Squeeze", &[&x.name, &axes], &[])
            }
            _ => {
                let shape = self.net.integers(&[0, -1]);
                self.net.node("Reshape", &[&x.name, &shape], &[])
            }
        };
        for _ in 0..self.random.between(1..=2) {
            let rows = self.random.between(1..=12);
            let mut weights = self.random.elements(rows * features, 2.0 / (features as f32).sqrt());
            mask(&mut self.random, &mut weights, [rows, features, 1, 1]);
            let (w, b) = (self.net.weights(&[rows, features], &weights), self.bias(rows));
            y = self.net.node("Gemm", &[&y, &w, &b], &[("transB", Value::Int(1))]);
            if self.random.chance(0.5) {
                y = self.net.node("Relu", &[&y], &[]);
            }
            features = rows;
        }
        let last = self.random.of(&["Softmax", "LogSoftmax"]);
        if self.random.chance(0.3) { self.net.node(last, &[&y], &[("axis", Value::Int(1))]) } else { y }
    }
}

/// Where a convolution or a pool looks.
struct Window {
    kernel: [i64; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    pads: [i64; 4],
    auto_pad: &'static str,
    ceil_mode: bool,
}

impl Default for Window {
    fn default() -> Self {
        Window { kernel: [1; 2], strides: [1; 2], dilations: [1; 2], pads: [0; 4], auto_pad: "NOTSET", ceil_mode: false }
    }
}

impl Window {
    /// A window that fits all of `sizes`. Every window of a pool sees some of the input, not padding only.
    fn random(random: &mut Random, sizes: &[Size], pool: bool) -> Self {
        loop {
            let mut window = Window {
                kernel: [(); 2].map(|()| random.of(&[1, 2, 3])),
                strides: [(); 2].map(|()| random.of(&[1, 1, 2])),
                dilations: if random.chance(0.3) { [(); 2].map(|()| random.of(&[1, 2])) } else { [1, 1] },
                ..Window::default()
            };
            if random.chance(0.2) {
                window.auto_pad = random.of(&["SAME_UPPER", "SAME_LOWER", "VALID"]);
            } else if random.chance(0.7) {
                window.pads = [(); 4].map(|()| random.between(0..=2) as i64);
            }
            window.ceil_mode = pool && random.chance(0.2) && window.auto_pad == "NOTSET";
            let padded = window.pads != [0; 4] || window.auto_pad.starts_with("SAME");
            let pads_fit = (0..4).all(|i| window.pads[i] < window.kernel[i % 2]);
            let legal = !pool || (pads_fit && (!padded || window.dilations == [1, 1]));
            if legal && sizes.iter().flatten().zip([0, 1].iter().cycle()).all(|(&n, &axis)| window.extent(n, axis).is_some()) {
                return window;
            }
        }
    }

    fn attributes(&self) -> Vec<(&'static str, Value<'_>)> {
        let mut attributes = vec![("kernel_shape", Value::Ints(&self.kernel)), ("strides", Value::Ints(&self.strides))];
        if self.dilations != [1, 1] {
            attributes.push(("dilations", Value::Ints(&self.dilations)));
        }
        match self.auto_pad {
            "NOTSET" => attributes.push(("pads", Value::Ints(&self.pads))),
            auto_pad => attributes.push(("auto_pad", Value::Text(auto_pad))),
        }
        if self.ceil_mode {
            attributes.push(("ceil_mode", Value::Int(1)));
        }
        attributes
    }

    /// How many places the window has along an axis of `n`; `None` if it does not fit.
    fn extent(&self, n: usize, axis: usize) -> Option<usize> {
        let (n, stride) = (n as i64, self.strides[axis]);
        if self.auto_pad.starts_with("SAME") {
            return Some((n as usize).div_ceil(stride as usize));
        }
        let (before, after) = (self.pads[axis], self.pads[axis + 2]);
        let room = n + before + after - (self.kernel[axis] - 1) * self.dilations[axis] - 1;
        let mut places = room.div_euclid(stride) + 1;
        // Rounded up, but the last window starts inside the input or the padding before it.
        if self.ceil_mode && room % stride != 0 && places * stride < n + before {
            places += 1;
        }
        (room >= 0).then_some(places as usize)
    }

    fn sizes(&self, sizes: &[Size]) -> Vec<Size> {
        let extent = |n: usize, axis: usize| self.extent(n, axis).expect("the window was chosen to fit");
        sizes.iter().map(|&[height, width]| [extent(height, 0), extent(width, 1)]).collect()
    }
}
