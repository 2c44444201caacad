//! Recurrent layers: what a text reader keeps of masked weights, every form in which ONNX says such a layer against its definition, and
//! what is refused.

use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::{ModelProto, TensorProto, data_type};
use sslm::Model;
use sslm_format::{Graph, Kept, Op, Recurrent};
use sslm_tests::compare::{compact_equals_dense, convert, graph_of, input, kept_channels, prepare, run, run_session};
use sslm_tests::onnx::{Net, Value, Value::*, encode};
use std::path::PathBuf;

/// The layers of a graph.
fn layers(graph: &Graph) -> Vec<&Recurrent> {
    graph.nodes.iter().filter_map(|node| if let Op::Recurrent(layer) = &node.op { Some(layer) } else { None }).collect()
}

/// The weights of a layer of an LSTM, in which some features are not read, and some units are 0.
fn lstm(net: &mut Net, x: &str, features: usize, hidden: usize, unread: &[usize], zero: &[usize], with_states: bool) -> String {
    let rows = 2 * 4 * hidden;
    let (mut w, mut r, mut b) = (net.random(rows * features), net.random(rows * hidden), net.random(2 * rows));
    for (i, w) in w.iter_mut().enumerate() {
        *w *= if unread.contains(&(i % features)) || zero.contains(&(i / features % hidden)) { 0.0 } else { 0.5 };
    }
    for (i, r) in r.iter_mut().enumerate() {
        *r *= if zero.contains(&(i / hidden % hidden)) { 0.0 } else { 0.5 };
    }
    b.iter_mut().enumerate().filter(|(i, _)| zero.contains(&(i % hidden))).for_each(|(_, b)| *b = 0.0);
    let (w, r, b) = (
        net.weights(&[2, 4 * hidden, features], &w),
        net.weights(&[2, 4 * hidden, hidden], &r),
        net.weights(&[2, 8 * hidden], &b),
    );
    let attributes = [("hidden_size", Int(hidden as i64)), ("direction", Text("bidirectional"))];
    let mut inputs = vec![x, &w, &r, &b];
    let zeros;
    if with_states {
        // Zeros for each sequence, whose count is open.
        let shape = net.node("Shape", &[x], &[("start", Int(1)), ("end", Int(2))]);
        let (two, units) = (net.integers(&[2]), net.integers(&[hidden as i64]));
        let shape = net.node("Concat", &[&two, &shape, &units], &[("axis", Int(0))]);
        zeros = net.node("ConstantOfShape", &[&shape], &[]);
        inputs.extend(["", &zeros, &zeros]);
    }
    let y = net.node("LSTM", &inputs, &attributes);
    let y = net.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 1, 3]))]);
    let joined = net.integers(&[0, 0, -1]);
    net.node("Reshape", &[&y, &joined], &[])
}

/// A small text reader: a convolution down to one row, two LSTMs of two directions, and a layer for each position. Their states begin with
/// 0, said or not.
fn reader(with_states: bool) -> ModelProto {
    let mut net = Net::new(&["batch", "1", "4", "width"]);
    let mut w = net.random(6 * 12);
    w[12..36].fill(0.0);
    let bias = [0.1, 0.7, -0.3, 0.2, 0.0, 0.4];
    let y = net.conv("x", [6, 1, 4, 3], &w, &bias, &[("pads", Ints(&[0, 1, 0, 1]))]);
    let y = net.node("Relu", &[&y], &[]);
    let rows = net.integers(&[2]);
    let y = net.node("Squeeze", &[&y, &rows], &[]);
    let y = net.node("Transpose", &[&y], &[("perm", Ints(&[2, 0, 1]))]);
    // Of the first layer, the units 1 of both directions are 0, and unit 2 of both is read by nobody else but units of it.
    let y = lstm(&mut net, &y, 6, 4, &[5], &[1], with_states);
    let y = lstm(&mut net, &y, 8, 3, &[2, 6], &[], with_states);
    let mut w = net.random(6 * 5);
    w[5 * 4..5 * 5].fill(0.0);
    let (w, b) = (net.weights(&[6, 5], &w), net.weights(&[5], &[0.1, 0.2, 0.3, 0.4, 0.5]));
    let y = net.node("MatMul", &[&y, &w], &[]);
    let y = net.node("Add", &[&y, &b], &[]);
    let y = net.node("LogSoftmax", &[&y], &[("axis", Int(2))]);
    net.finish(&[&y])
}

/// The graph without names, which count the nodes of the model it was made of.
fn unnamed(mut graph: Graph) -> Graph {
    graph.nodes.iter_mut().for_each(|node| node.name.clear());
    graph.values.iter_mut().for_each(|value| value.name.clear());
    graph
}

#[test]
fn a_text_reader_loses_channels_features_and_units() {
    let graph = compact_equals_dense(&reader(false), &[&[1, 1, 4, 9], &[3, 1, 4, 6]]);
    let with_states = graph_of(&convert(&reader(true), false));
    assert_eq!(unnamed(graph.clone()), unnamed(with_states), "states that are zeros are not made");
    // Filters 1 and 2 are constants; nothing reads 5.
    assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![0, 3, 4]));
    let layers = layers(&graph);
    assert_eq!(layers[0].columns, Kept::List(vec![0, 3, 4]));
    assert_eq!(layers[0].units, Kept::List(vec![0, 2, 3, 4, 6, 7]), "units that only others of the layer read stay");
    assert_eq!(layers[1].columns, Kept::List(vec![0, 3, 4, 7]));
    assert_eq!(layers[1].units, Kept::All);
}

/// A layer whose state begins with what a fully connected layer makes of the first position, as those do that describe images. One unit
/// is 0 in both; another one is 0 in the recurrent layer alone, and so forgets.
#[test]
fn a_unit_stays_0_if_it_begins_with_it() {
    let mut net = Net::new(&["time", "batch", "3"]);
    let (mut of_state, mut w, mut r) = (net.random(3 * 5), net.random(5 * 3), net.random(5 * 5));
    (0..15).filter(|i| i % 5 == 2).for_each(|i| of_state[i] = 0.0);
    (0..15).filter(|i| [2, 4].contains(&(i / 3))).for_each(|i| w[i] = 0.0);
    (0..25).filter(|i| [2, 4].contains(&(i / 5)) || i % 5 == 2).for_each(|i| r[i] = 0.0);
    let first = net.integers(&[0]);
    net.graph().initializer.last_mut().expect("one was added").dims.clear();
    let first = net.node("Gather", &["x", &first], &[("axis", Int(0))]);
    let of_state = net.weights(&[3, 5], &of_state);
    let state = net.node("MatMul", &[&first, &of_state], &[]);
    let front = net.integers(&[0]);
    let state = net.node("Unsqueeze", &[&state, &front], &[]);
    let (w, r) = (net.weights(&[1, 5, 3], &w), net.weights(&[1, 5, 5], &r));
    let y = net.node("RNN", &["x", &w, &r, "", "", &state], &[]);
    let graph = compact_equals_dense(&net.finish(&[&y]), &[&[1, 1, 3], &[6, 2, 3]]);
    assert_eq!(layers(&graph)[0].units, Kept::List(vec![0, 1, 3, 4]));
}

/// The compact form as ONNX, and what its nodes are.
fn exported(model: &ModelProto) -> (ModelProto, Vec<String>) {
    let mut file = OnnxFile::decode(encode(model), PathBuf::new()).expect("it decodes");
    let [dense, compact] = [true, false].map(|dense| ssl_convert::network(&mut file, dense).expect("it converts"));
    let model = ssl_convert::export::export(&dense, &compact, &[]).expect("it can be exported").model;
    let nodes = model.graph.as_ref().expect("a graph").node.iter().map(|node| node.op_type.clone()).collect();
    (model, nodes)
}

#[test]
fn a_text_reader_is_exported_with_its_layers() {
    let model = reader(true);
    let (small, nodes) = exported(&model);
    let before = model.graph.as_ref().expect("a graph").node.len();
    assert_eq!(nodes.iter().filter(|op| *op == "LSTM").count(), 2, "{nodes:?}");
    assert!(nodes.len() <= before, "{} nodes instead of {before}: {nodes:?}", nodes.len());
    let shape = [2, 1, 4, 7];
    let [a, b] = [&model, &small].map(|m| run(&Model::from_bytes(&convert(m, true)).expect("valid"), &shape, &input(&shape)));
    assert_eq!(a.0, b.0);
    let worst = a.1.iter().zip(&b.1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "off by {worst}");
}

/// A layer as ONNX says it.
#[derive(Clone, Debug)]
struct Layer {
    op: &'static str,
    direction: &'static str,
    batch_first: bool,
    /// How many initial states are given.
    states: usize,
    linear_before_reset: bool,
    relu: bool,
}

const POSITIONS: usize = 4;
const BATCH: usize = 2;
const FEATURES: usize = 3;
const HIDDEN: usize = 5;

impl Layer {
    fn gates(&self) -> usize {
        [("LSTM", 4), ("GRU", 3), ("RNN", 1)].into_iter().find(|(op, _)| *op == self.op).map_or(0, |(_, gates)| gates)
    }

    fn backward(&self) -> &'static [bool] {
        match self.direction {
            "forward" => &[false],
            "reverse" => &[true],
            _ => &[false, true],
        }
    }

    /// The model, whose outputs are all those of the layer, and its weights, biases and states.
    fn model(&self) -> (ModelProto, [Vec<f32>; 5]) {
        let (directions, gates) = (self.backward().len(), self.gates());
        let dims = if self.batch_first { ["batch", "4", "3"] } else { ["4", "batch", "3"] };
        let mut net = Net::new(&dims);
        net.model.opset_import[0].version = 14;
        let rows = directions * gates * HIDDEN;
        let elements = [rows * FEATURES, rows * HIDDEN, 2 * rows, directions * BATCH * HIDDEN, directions * BATCH * HIDDEN];
        let elements = elements.map(|len| net.random(len));
        let state = if self.batch_first { [BATCH, directions, HIDDEN] } else { [directions, BATCH, HIDDEN] };
        let stored = [
            net.weights(&[directions, gates * HIDDEN, FEATURES], &elements[0]),
            net.weights(&[directions, gates * HIDDEN, HIDDEN], &elements[1]),
            net.weights(&[directions, 2 * gates * HIDDEN], &elements[2]),
            net.weights(&state, &elements[3]),
            net.weights(&state, &elements[4]),
        ];
        let lengths = TensorProto {
            name: "lengths".into(),
            dims: vec![BATCH as i64],
            data_type: data_type::INT32,
            int32_data: vec![POSITIONS as i32; BATCH],
            ..Default::default()
        };
        net.graph().initializer.push(lengths);
        let [w, r, b, h, c] = stored.each_ref().map(String::as_str);
        let inputs = ["x", w, r, b, "lengths", h, c];
        let direction = ("direction", Text(self.direction));
        let mut attributes: Vec<(&str, Value)> = vec![direction, ("layout", Int(self.batch_first.into()))];
        if self.op == "GRU" {
            attributes.push(("linear_before_reset", Int(self.linear_before_reset.into())));
        }
        let relu = ["Relu", "Relu"];
        if self.relu {
            attributes.push(("activations", Texts(&relu[..directions])));
        }
        let y = net.node(self.op, &inputs[..5 + self.states], &attributes);
        let further = ["Yh", "Yc"];
        let further = &further[..if self.op == "LSTM" { 2 } else { 1 }];
        net.last_node().output.extend(further.iter().map(|name| (*name).to_owned()));
        (net.finish(&[&[y.as_str()], further].concat()), elements)
    }

    /// All outputs by the definition, for an input of `[positions][batch][features]`.
    fn expected(&self, x: &[f32], [w, r, b, h, c]: &[Vec<f32>; 5]) -> Vec<Vec<f64>> {
        let (ways, gates) = (self.backward(), self.gates());
        let mut outputs = vec![vec![0.0; POSITIONS * ways.len() * BATCH * HIDDEN]];
        outputs.extend(vec![vec![0.0; ways.len() * BATCH * HIDDEN]; if self.op == "LSTM" { 2 } else { 1 }]);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        for (way, n) in (0..ways.len()).flat_map(|way| (0..BATCH).map(move |n| (way, n))) {
            let of_unit = |unit: usize| (if self.batch_first { n * ways.len() + way } else { way * BATCH + n }) * HIDDEN + unit;
            let given = |i: usize, state: &[f32]| -> Vec<f64> {
                (0..HIDDEN).map(|unit| if i < self.states { f64::from(state[of_unit(unit)]) } else { 0.0 }).collect()
            };
            let (mut state, mut cells) = (given(0, h), given(1, c));
            for i in 0..POSITIONS {
                let step = if ways[way] { POSITIONS - 1 - i } else { i };
                let row = |gate: usize, unit: usize| (way * gates + gate) * HIDDEN + unit;
                let bias = |of_state: usize, gate: usize, unit: usize| {
                    f64::from(b[((2 * way + of_state) * gates + gate) * HIDDEN + unit])
                };
                let of_input = |gate: usize, unit: usize| -> f64 {
                    let features = &x[(step * BATCH + n) * FEATURES..][..FEATURES];
                    let weights = &w[row(gate, unit) * FEATURES..][..FEATURES];
                    features.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>() + bias(0, gate, unit)
                };
                let of_state = |gate: usize, unit: usize, state: &[f64]| -> f64 {
                    let weights = &r[row(gate, unit) * HIDDEN..][..HIDDEN];
                    state.iter().zip(weights).map(|(h, w)| h * f64::from(*w)).sum::<f64>() + bias(1, gate, unit)
                };
                let sum = |gate: usize, unit: usize| of_input(gate, unit) + of_state(gate, unit, &state);
                let reset: Vec<f64> = match self.op {
                    "GRU" => (0..HIDDEN).map(|unit| sigmoid(sum(1, unit))).collect(),
                    _ => vec![0.0; HIDDEN],
                };
                let after_reset: Vec<f64> = reset.iter().zip(&state).map(|(r, h)| r * h).collect();
                let mut next = vec![0.0; HIDDEN];
                for unit in 0..HIDDEN {
                    next[unit] = match self.op {
                        "LSTM" => {
                            cells[unit] = sigmoid(sum(2, unit)) * cells[unit] + sigmoid(sum(0, unit)) * sum(3, unit).tanh();
                            sigmoid(sum(1, unit)) * cells[unit].tanh()
                        }
                        "GRU" => {
                            let inner = match self.linear_before_reset {
                                true => reset[unit] * of_state(2, unit, &state),
                                false => of_state(2, unit, &after_reset),
                            };
                            let update = sigmoid(sum(0, unit));
                            (1.0 - update) * (of_input(2, unit) + inner).tanh() + update * state[unit]
                        }
                        _ if self.relu => sum(0, unit).max(0.0),
                        _ => sum(0, unit).tanh(),
                    };
                    let at = match self.batch_first {
                        true => (n * POSITIONS + step) * ways.len() + way,
                        false => (step * ways.len() + way) * BATCH + n,
                    };
                    outputs[0][at * HIDDEN + unit] = next[unit];
                }
                state = next;
            }
            for unit in 0..HIDDEN {
                outputs[1][of_unit(unit)] = state[unit];
                if let Some(output) = outputs.get_mut(2) {
                    output[of_unit(unit)] = cells[unit];
                }
            }
        }
        outputs
    }
}

#[test]
fn every_form_is_what_onnx_defines() {
    let usual =
        Layer { op: "LSTM", direction: "forward", batch_first: false, states: 0, linear_before_reset: false, relu: false };
    let mut cases = Vec::new();
    for direction in ["forward", "reverse", "bidirectional"] {
        for batch_first in [false, true] {
            for op in ["LSTM", "GRU", "RNN"] {
                for states in 0..=if op == "LSTM" { 2 } else { 1 } {
                    cases.push(Layer { op, direction, batch_first, states, ..usual.clone() });
                }
            }
            cases.push(Layer { op: "GRU", direction, batch_first, states: 1, linear_before_reset: true, ..usual.clone() });
            cases.push(Layer { op: "RNN", direction, batch_first, relu: true, ..usual.clone() });
        }
    }
    for layer in &cases {
        let (model, weights) = layer.model();
        let (ways, first) = (layer.backward().len(), [BATCH, POSITIONS, FEATURES]);
        let shape = if layer.batch_first { first } else { [POSITIONS, BATCH, FEATURES] };
        let x = input(&shape);
        let at = |i: usize| match layer.batch_first {
            true => x[((i / FEATURES % BATCH) * POSITIONS + i / FEATURES / BATCH) * FEATURES + i % FEATURES],
            false => x[i],
        };
        let by_position: Vec<f32> = (0..x.len()).map(at).collect();
        let expected = layer.expected(&by_position, &weights);
        let file = Model::from_bytes(&convert(&model, false)).expect("valid");
        let found = run_session(&mut prepare(&file, &shape, sslm::Threads::Single).session(), &shape, &x);
        assert_eq!(found.len(), expected.len(), "{layer:?}");
        for ((name, found_shape, found), expected) in found.iter().zip(&expected) {
            assert_eq!(found_shape.iter().product::<usize>(), expected.len(), "{layer:?}: {name} of {ways} ways");
            let worst = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-5, "{layer:?}: {name} is off by {worst}");
        }
    }
}

/// How a layer is refused that `change` makes of a usual one.
fn refusal(change: impl Fn(&mut Net)) -> String {
    let mut net = Net::new(&["time", "2", "3"]);
    let (w, r) = (net.random(20 * 3), net.random(20 * 5));
    let (w, r) = (net.weights(&[1, 20, 3], &w), net.weights(&[1, 20, 5], &r));
    let y = net.node("LSTM", &["x", &w, &r], &[]);
    change(&mut net);
    let model = net.finish(&[&y]);
    let mut file = OnnxFile::decode(encode(&model), PathBuf::new()).expect("it decodes");
    ssl_convert::network(&mut file, false).map_or_else(|e| format!("{e:#}"), |_| String::new())
}

#[test]
fn what_is_not_computed_is_refused() {
    type Change = fn(&mut Net);
    let with = |net: &mut Net, name: &str, value: Value| {
        net.last_node().attribute.push(sslm_tests::onnx::attribute(name, &value));
    };
    assert_eq!(refusal(|_| {}), "");
    assert_eq!(refusal(|net| with(net, "activations", Texts(&["Sigmoid", "Tanh", "Tanh"]))), "");
    for (name, value, expected) in [
        ("clip", Float(3.0), "clip: expected none, found 3"),
        ("input_forget", Int(1), "input_forget: expected 0, found 1"),
        ("direction", Text("sideways"), "direction: expected forward, reverse or bidirectional, found sideways"),
        ("activations", Texts(&["HardSigmoid", "Tanh", "Tanh"]), "activations: expected sigmoid, tanh, tanh for each direction"),
        ("hidden_size", Int(4), "W: expected dims [1, 16, 3], found [1, 20, 3]"),
    ] {
        let message = refusal(|net| with(net, name, value));
        assert!(message.contains(expected), "{name}: {message}");
    }
    let others: [(&str, Change); 5] = [
        ("initial state (input 5): expected 5 units, found 4", |net| {
            let state = net.weights(&[1, 2, 4], &[0.5; 8]);
            net.last_node().input.extend([String::new(), String::new(), state]);
        }),
        ("activations: expected tanh or relu, the same for each direction, found relu, tanh", |net| {
            let (w, r) = (net.weights(&[2, 5, 3], &[0.5; 30]), net.weights(&[2, 5, 5], &[0.5; 50]));
            let attributes = [("activations", Texts(&["Relu", "Tanh"])), ("direction", Text("bidirectional"))];
            let node = net.last_node();
            node.op_type = "RNN".into();
            node.input = vec!["x".into(), w, r];
            node.attribute = attributes.map(|(name, value)| sslm_tests::onnx::attribute(name, &value)).to_vec();
        }),
        ("sequence_lens (input 4): expected the length of the whole sequence (time) for all, found others", |net| {
            let lengths = net.integers(&[3, 2]);
            net.last_node().input.extend([String::new(), lengths]);
        }),
        ("P (input 7): expected none or zeros, found others", |net| {
            let peepholes = net.weights(&[1, 15], &[0.5; 15]);
            net.last_node().input.extend([const { String::new() }; 4]);
            net.last_node().input.push(peepholes);
        }),
        ("W (input 1): expected a constant, found a computed tensor", |net| {
            net.last_node().input[1] = "x".into();
        }),
    ];
    for (expected, change) in others {
        let message = refusal(change);
        assert!(message.contains(expected), "{message}");
    }
}
