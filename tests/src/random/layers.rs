//! Layers of random graphs beyond those of plain CNNs: reductions, sums along axes, indices, and shapes that are computed from shapes.
//! What jumps, such as the place of a largest element, is computed of the graph's input alone: rounded sums before it would decide.

use super::{Graph, Image};
use crate::onnx::Value::{Int, Ints, Text};
use ssl_convert::onnx::proto::data_type;

impl Graph {
    /// One of them, or `x` itself where that does not fit.
    pub(super) fn other_layer(&mut self, x: &Image) -> Image {
        match self.random.between(0..=9) {
            0 => self.reduced(x),
            1 => self.running_sum(x),
            2 => self.side_of_diagonal(x),
            3 => self.einsum(x),
            4 => self.picked_elements(x),
            5 => self.scattered(x),
            6 => self.shuffle_of_any_size(x),
            7 => self.half(x),
            8 => self.grid(x),
            _ => self.expanded(x),
        }
    }

    /// With a reduction of it added.
    fn reduced(&mut self, x: &Image) -> Image {
        let axes: &[i64] = self.random.of(&[&[1][..], &[2], &[3], &[2, 3], &[1, 2, 3]]);
        let op = self.random.of(&[
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceSum",
            "ReduceL1",
            "ReduceLogSumExp",
            "ReduceSumSquare",
        ]);
        let (bounded, list) = (self.net.node("Tanh", &[&x.name], &[]), self.net.integers(axes));
        let keep = self.random.between(0..=1) as i64;
        let mut y = self.net.node(op, &[&bounded, &list], &[("keepdims", Int(keep))]);
        if keep == 0 {
            y = self.net.node("Unsqueeze", &[&y, &list], &[]);
        }
        let factor = self.net.weights(&[], &[0.1]);
        let y = self.net.node("Mul", &[&y, &factor], &[]);
        Image { name: self.net.node("Add", &[&x.name, &y], &[]), ..x.clone() }
    }

    fn running_sum(&mut self, x: &Image) -> Image {
        let axis = self.random.of(&[1, 2, 3]);
        let along = self.net.integers(&[axis]);
        let [exclusive, reverse] = [(); 2].map(|()| Int(self.random.between(0..=1) as i64));
        let y = self.net.node("CumSum", &[&x.name, &along], &[("exclusive", exclusive), ("reverse", reverse)]);
        let factor = self.net.weights(&[], &[0.2]);
        Image { name: self.net.node("Mul", &[&y, &factor], &[]), ..x.clone() }
    }

    fn side_of_diagonal(&mut self, x: &Image) -> Image {
        let k = self.random.between(0..=4) as i64 - 2;
        let (k, upper) = (self.net.integers(&[k]), self.random.between(0..=1) as i64);
        Image { name: self.net.node("Trilu", &[&x.name, &k], &[("upper", Int(upper))]), ..x.clone() }
    }

    /// A masked layer of channels, or the channels as shares of each other.
    fn einsum(&mut self, x: &Image) -> Image {
        let c = x.channels;
        if self.random.chance(0.6) {
            let filters = self.random.between(1..=8);
            let mut weights = self.random.elements(filters * c, 2.0 / (c as f32).sqrt());
            super::mask(&mut self.random, &mut weights, [filters, c, 1, 1]);
            let weights = self.net.weights(&[filters, c], &weights);
            let name = self.net.node("Einsum", &[&x.name, &weights], &[("equation", Text("nchw,dc->ndhw"))]);
            return Image { name, channels: filters, sizes: x.sizes.clone() };
        }
        let bounded = self.net.node("Tanh", &[&x.name], &[]);
        let alike = self.net.node("Einsum", &[&bounded, &bounded], &[("equation", Text("nchw,ndhw->ncd"))]);
        let factor = self.net.weights(&[], &[0.02]);
        let alike = self.net.node("Mul", &[&alike, &factor], &[]);
        let shares = self.net.node("Softmax", &[&alike], &[("axis", Int(2))]);
        let name = self.net.node("Einsum", &[&shares, &x.name], &[("equation", Text("ncd,ndhw->nchw"))]);
        Image { name, ..x.clone() }
    }

    /// Of the first channel of the graph's input, where the largest element of each column stands, if `x` is as large.
    fn places(&mut self, x: &Image) -> Option<String> {
        if x.sizes != self.images[0].sizes {
            return None;
        }
        let first = self.net.integers(&[0]);
        let raw = self.net.node("Gather", &["x", &first], &[("axis", Int(1))]);
        Some(self.net.node("ArgMax", &[&raw], &[("axis", Int(2))]))
    }

    /// For each column, the element at one place.
    fn picked_elements(&mut self, x: &Image) -> Image {
        let Some(places) = self.places(x) else { return x.clone() };
        let channels = self.net.integers(&[1, x.channels as i64, 1, 1]);
        let places = self.net.node("Expand", &[&places, &channels], &[]);
        let row = self.net.node("GatherElements", &[&x.name, &places], &[("axis", Int(2))]);
        let name = if self.random.chance(0.5) {
            self.net.node("Add", &[&x.name, &row], &[])
        } else {
            let negative = self.net.node("Neg", &[&row], &[]);
            let meeting = self.random.of(&["none", "add"]);
            let attributes = [("axis", Int(2)), ("reduction", Text(meeting))];
            self.net.node("ScatterElements", &[&x.name, &places, &negative], &attributes)
        };
        Image { name, ..x.clone() }
    }

    /// One channel takes the place of another, or is added to it.
    fn scattered(&mut self, x: &Image) -> Image {
        let channels = self.net.node("Transpose", &[&x.name], &[("perm", Ints(&[1, 0, 2, 3]))]);
        let zero = self.net.integers(&[0]);
        let row = self.net.node("Gather", &[&channels, &zero], &[]);
        let row = self.net.node("Sin", &[&row], &[]);
        let at = self.random.between(0..=x.channels - 1) as i64;
        let (at, shape) = (self.net.integers(&[at]), self.net.integers(&[1, 1]));
        let at = self.net.node("Reshape", &[&at, &shape], &[]);
        let meeting = self.random.of(&["none", "add"]);
        let y = self.net.node("ScatterND", &[&channels, &at, &row], &[("reduction", Text(meeting))]);
        Image { name: self.net.node("Transpose", &[&y], &[("perm", Ints(&[1, 0, 2, 3]))]), ..x.clone() }
    }

    /// One extent of `x`, as a list.
    fn extent(&mut self, x: &str, axis: i64) -> String {
        let (shape, axis) = (self.net.node("Shape", &[x], &[]), self.net.integers(&[axis]));
        self.net.node("Gather", &[&shape, &axis], &[])
    }

    fn list(&mut self, parts: &[&str]) -> String {
        self.net.node("Concat", parts, &[("axis", Int(0))])
    }

    /// A channel shuffle, whose shapes are computed.
    fn shuffle_of_any_size(&mut self, x: &Image) -> Image {
        let groups: Vec<usize> = (1..=x.channels).filter(|g| x.channels.is_multiple_of(*g)).collect();
        let group = self.random.of(&groups) as i64;
        let [n, c, h, w] = [0, 1, 2, 3].map(|axis| self.extent(&x.name, axis));
        let (group, open) = (self.net.integers(&[group]), self.net.integers(&[-1]));
        let rest = self.net.node("Div", &[&c, &group], &[]);
        let (apart, together) = (self.list(&[&n, &group, &rest, &h, &w]), self.list(&[&n, &open, &h, &w]));
        let y = self.net.node("Reshape", &[&x.name, &apart], &[]);
        let y = self.net.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 1, 3, 4]))]);
        Image { name: self.net.node("Reshape", &[&y, &together], &[]), ..x.clone() }
    }

    /// The rows before or behind the middle.
    fn half(&mut self, x: &Image) -> Image {
        if x.sizes.iter().any(|size| size[0] < 4) {
            return x.clone();
        }
        let (height, two) = (self.extent(&x.name, 2), self.net.integers(&[2]));
        let middle = self.net.node("Div", &[&height, &two], &[]);
        let [zero, most] = [0, i64::MAX].map(|n| self.net.integers(&[n]));
        let behind = self.random.chance(0.5);
        let [start, end] = if behind { [&middle, &most] } else { [&zero, &middle] };
        let name = self.net.node("Slice", &[&x.name, start, end, &two], &[]);
        let rows = |rows: usize| if behind { rows - rows / 2 } else { rows / 2 };
        Image { name, channels: x.channels, sizes: x.sizes.iter().map(|&[h, w]| [rows(h), w]).collect() }
    }

    /// The index of each row or column, added to it.
    fn grid(&mut self, x: &Image) -> Image {
        let axis = self.random.of(&[2, 3]);
        let (extent, zero) = (self.extent(&x.name, axis), self.net.integers(&[0]));
        let [count, start] = [&extent, &zero].map(|list| self.net.node("Squeeze", &[list], &[]));
        let one = self.net.integers(&[1]);
        let step = self.net.node("Squeeze", &[&one], &[]);
        let places = self.net.node("Range", &[&start, &count, &step], &[]);
        let places = self.net.node("Cast", &[&places], &[("to", Int(data_type::FLOAT.into()))]);
        let factor = self.net.weights(&[], &[0.05]);
        let mut places = self.net.node("Mul", &[&places, &factor], &[]);
        if axis == 2 {
            places = self.net.node("Unsqueeze", &[&places, &one], &[]);
        }
        Image { name: self.net.node("Add", &[&x.name, &places], &[]), ..x.clone() }
    }

    /// Means, as often as there are positions.
    fn expanded(&mut self, x: &Image) -> Image {
        let mean = self.mean(x);
        let shape = self.net.node("Shape", &[&x.name], &[]);
        let y = self.net.node("Expand", &[&mean.name, &shape], &[]);
        Image { name: self.net.node("Sub", &[&x.name, &y], &[]), ..x.clone() }
    }
}
