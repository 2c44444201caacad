//! A builder of masked networks in several spellings that are to be compacted alike.

use crate::onnx::{Net, Value::*};
use crate::random::{Random, mask};
use ssl_convert::onnx::proto::ModelProto;
use sslm_format::{Graph, Op, Operator};

/// Moves channels from axis 1 to the last of four axes.
pub const TO_LAST: [i64; 4] = [0, 2, 3, 1];

/// Moves channels from the last of four axes to axis 1.
pub const TO_FIRST: [i64; 4] = [0, 3, 1, 2];

/// A network in the making, with channels where it wants them. Two that are made by the same calls have the same weights.
pub struct Twin {
    /// The model.
    pub net: Net,
    /// Whether channels are on the last axis.
    pub last: bool,
    /// What weights are made of.
    pub random: Random,
}

impl Twin {
    /// A network whose input `x` has these dims, with channels on axis 1.
    pub fn new(dims: &[&str], last: bool) -> Self {
        Twin { net: Net::new(dims), last, random: Random::of_seed(5) }
    }

    /// The axes in another order.
    pub fn transpose(&mut self, x: &str, axes: &[i64]) -> String {
        self.net.node("Transpose", &[x], &[("perm", Ints(axes))])
    }

    /// Masked weights `[rows, columns, kernel, kernel]`.
    pub fn masked(&mut self, dims: [usize; 4]) -> Vec<f32> {
        let mut weights = self.random.elements(dims.iter().product(), 1.0);
        // Some of each kind, never all of it.
        mask(&mut self.random, &mut weights, dims);
        weights[..dims[1] * dims[2] * dims[3]].fill(0.5);
        weights
    }

    /// A 3x3 convolution, which wants its channels on axis 1.
    pub fn conv(&mut self, x: &str, filters: usize, channels: usize, group: usize) -> String {
        let weights = self.masked([filters, channels / group, 3, 3]);
        let bias = self.random.elements(filters, 1.0);
        let attributes = [("pads", Ints(&[1; 4])), ("group", Int(group as i64))];
        self.net.conv(x, [filters, channels / group, 3, 3], &weights, &bias, &attributes)
    }

    /// A layer that sees one position: MatMul and Add on the last axis, or a 1x1 convolution.
    pub fn linear(&mut self, x: &str, rows: usize, channels: usize) -> String {
        let weights = self.masked([rows, channels, 1, 1]);
        let bias = self.random.elements(rows, 1.0);
        if !self.last {
            return self.net.conv(x, [rows, channels, 1, 1], &weights, &bias, &[]);
        }
        let transposed: Vec<f32> = (0..rows * channels).map(|i| weights[i % rows * channels + i / rows]).collect();
        let (w, b) = (self.net.weights(&[channels, rows], &transposed), self.net.weights(&[rows], &bias));
        let product = self.net.node("MatMul", &[x, &w], &[]);
        self.net.node("Add", &[&b, &product], &[])
    }

    /// An element for each channel.
    pub fn per_channel(&mut self, channels: usize) -> String {
        let elements = self.random.elements(channels, 1.0);
        let dims = if self.last { vec![channels] } else { vec![channels, 1, 1] };
        self.net.weights(&dims, &elements)
    }

    /// A normalisation over the channels.
    pub fn layer_norm(&mut self, x: &str, channels: usize) -> String {
        let parameters = [0; 2].map(|_| self.random.elements(channels, 1.0));
        let [scale, shift] = parameters.map(|p| self.net.weights(&[channels], &p));
        let epsilon = [("epsilon", Float(0.1))];
        if self.last {
            return self.net.node("LayerNormalization", &[x, &scale, &shift], &epsilon);
        }
        let y = self.transpose(x, &TO_LAST);
        let y = self.net.node("LayerNormalization", &[&y, &scale, &shift], &epsilon);
        self.transpose(&y, &TO_FIRST)
    }

    /// From axis 1 to where this twin has its channels.
    pub fn enter(&mut self, x: &str) -> String {
        if self.last { self.transpose(x, &TO_LAST) } else { x.to_owned() }
    }

    /// From where this twin has its channels to axis 1.
    pub fn leave(&mut self, x: &str) -> String {
        if self.last { self.transpose(x, &TO_FIRST) } else { x.to_owned() }
    }

    /// The finished message, whose output is `y`.
    pub fn finish(self, y: &str) -> ModelProto {
        self.net.finish(&[y])
    }
}

/// Of each layer with weights, the filters and columns that it keeps, in order.
pub fn kept(graph: &Graph) -> Vec<[usize; 2]> {
    let of_node = |node: &sslm_format::Node| {
        let output = &graph.values[node.output.index()];
        match &node.op {
            Op::Conv(conv) => {
                let columns = conv.columns.iter().map(|c| c.count(conv.columns_per_group())).sum();
                Some([conv.kept_filters(output).iter().sum(), columns])
            }
            Op::Gemm(gemm) => Some([gemm.kept_rows(output), gemm.columns.count(gemm.features as usize)]),
            _ => None,
        }
    };
    graph.nodes.iter().filter_map(of_node).collect()
}

/// How many nodes are of operator `op`.
pub fn count(graph: &Graph, op: &str) -> usize {
    graph.nodes.iter().filter(|node| node.op.name() == op).count()
}
