//! What operators say that they become where values are stored in another order of axes, or have one axis more: they are run so, and
//! compared with themselves. How often they say so is compared with the table, since an operator that never does is right, too.

use ssl_convert::emit::{self, Metadata};
use ssl_convert::graph::Graph;
use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::operator::{Reordering, answers};
use ssl_convert::order::Order;
use sslm::Model;
use sslm_format::{Dim, Operator, shape};
use sslm_tests::compare::{input, run};
use sslm_tests::onnx::{Net, Value, Value::*, encode};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;

/// An operator by itself.
struct Case {
    op: &'static str,
    opset: i64,
    dims: Vec<usize>,
    /// Stored inputs behind the first one: extents of random elements, or integers.
    weights: Vec<Vec<usize>>,
    integers: Vec<Vec<i64>>,
    /// The first input is the second one, too.
    twice: bool,
    attributes: Vec<(&'static str, Value<'static>)>,
    /// In how many orders of its axes it can be computed; where it has three, these are ways to put another one of extent 1 among them, too.
    orders: usize,
    /// Whether it is the same over planes of one row.
    ignores_rows: bool,
}

fn case(op: &'static str, dims: &[usize], orders: usize) -> Case {
    Case {
        op,
        opset: 17,
        dims: dims.to_vec(),
        weights: Vec::new(),
        integers: Vec::new(),
        twice: false,
        attributes: Vec::new(),
        orders,
        ignores_rows: false,
    }
}

impl Case {
    fn opset(self, opset: i64) -> Self {
        Case { opset, ..self }
    }

    fn weights(self, weights: &[&[usize]]) -> Self {
        Case { weights: weights.iter().map(|dims| dims.to_vec()).collect(), ..self }
    }

    fn integers(self, integers: &[&[i64]]) -> Self {
        Case { integers: integers.iter().map(|elements| elements.to_vec()).collect(), ..self }
    }

    fn twice(self) -> Self {
        Case { twice: true, ..self }
    }

    fn with(mut self, name: &'static str, value: Value<'static>) -> Self {
        self.attributes.push((name, value));
        self
    }

    fn ignores_rows(self) -> Self {
        Case { ignores_rows: true, ..self }
    }

    /// As it is imported for an input of these dims.
    fn graph(&self, dims: &[usize]) -> Graph {
        let mut net = Net::fixed(dims);
        net.model.opset_import[0].version = self.opset;
        let mut inputs = vec!["x".to_owned(); if self.twice { 2 } else { 1 }];
        for dims in &self.weights {
            // Variances are among them.
            let elements: Vec<f32> = net.random(dims.iter().product()).iter().map(|x| x + 1.5).collect();
            inputs.push(net.weights(dims, &elements));
        }
        inputs.extend(self.integers.iter().map(|elements| net.integers(elements)));
        let y = net.node(self.op, &inputs.iter().map(String::as_str).collect::<Vec<_>>(), &self.attributes);
        let mut file = OnnxFile::decode(encode(&net.finish(&[&y])), PathBuf::new()).expect("it decodes");
        ssl_convert::import::import(&mut file, &BTreeMap::new()).unwrap_or_else(|e| panic!("{}: {e:#}", self.op))
    }
}

fn cases() -> Vec<Case> {
    let (line, plane) = (&[2, 3, 5][..], &[2, 3, 4, 5][..]);
    let (three, five): (&[usize], &[usize]) = (&[3], &[5]);
    vec![
        case("BatchNormalization", plane, 6).weights(&[three; 4]),
        case("BatchNormalization", line, 8).weights(&[three; 4]).ignores_rows(),
        case("InstanceNormalization", plane, 2).weights(&[three; 2]),
        case("InstanceNormalization", line, 3).weights(&[three; 2]).ignores_rows(),
        case("GroupNormalization", plane, 0).opset(21).weights(&[three; 2]).with("num_groups", Int(1)),
        case("LayerNormalization", plane, 12).weights(&[five; 2]),
        case("LayerNormalization", line, 16).weights(&[five; 2]),
        case("LayerNormalization", plane, 0).weights(&[&[4, 5], &[4, 5]]).with("axis", Int(2)),
        case("LRN", plane, 6).with("size", Int(3)),
        case("Softmax", plane, 24).with("axis", Int(1)),
        case("Softmax", plane, 12).opset(11).with("axis", Int(2)),
        case("LogSoftmax", plane, 0).with("axis", Int(1)),
        case("Relu", plane, 24),
        case("Relu", line, 30).ignores_rows(),
        case("Add", plane, 24).twice(),
        case("Add", line, 30).twice().ignores_rows(),
        case("ReduceMean", plane, 24).with("axes", Ints(&[3, 1])),
        case("ReduceMean", plane, 24).with("axes", Ints(&[1, 2])).with("keepdims", Int(0)),
        case("Slice", plane, 24).integers(&[&[1], &[3], &[3]]),
        case("Slice", line, 30).integers(&[&[1], &[3], &[1]]).ignores_rows(),
        case("Slice", line, 30).integers(&[&[1], &[3], &[2]]),
        case("Gather", plane, 24).integers(&[&[2, 0]]).with("axis", Int(3)),
        case("Gather", line, 30).integers(&[&[2, 0]]).with("axis", Int(1)).ignores_rows(),
        case("Gather", line, 30).integers(&[&[2, 0]]).with("axis", Int(2)),
        case("Concat", plane, 24).twice().with("axis", Int(2)),
        case("Concat", line, 30).twice().with("axis", Int(1)).ignores_rows(),
        case("Concat", line, 30).twice().with("axis", Int(2)),
        case("Pad", plane, 24).integers(&[&[0, 1, 0, 2, 0, 0, 3, 0]]),
        case("Expand", &[2, 3, 1, 5], 24).integers(&[&[2, 3, 4, 5]]),
        case("Expand", &[3, 1, 5], 0).integers(&[&[2, 3, 4, 5]]),
        case("Reshape", plane, 6).integers(&[&[2, 3, 20]]),
        case("Reshape", plane, 24).integers(&[&[2, 3, 2, 2, 5]]),
        case("Flatten", plane, 2).with("axis", Int(2)),
        case("MatMul", plane, 6).weights(&[&[5, 6]]),
        case("MatMul", line, 6).weights(&[&[5, 6]]),
    ]
}

/// Every order of so many axes; of three also those with another one of extent 1.
fn orders(rank: usize) -> Vec<Order> {
    let inserted = |all: Vec<Vec<Option<usize>>>, next: Option<usize>| -> Vec<Vec<Option<usize>>> {
        let everywhere =
            |order: Vec<Option<usize>>| (0..=order.len()).map(move |at| [&order[..at], &[next], &order[at..]].concat());
        all.into_iter().flat_map(everywhere).collect()
    };
    let mut all = (0..rank).fold(vec![Vec::new()], |all, axis| inserted(all, Some(axis)));
    if rank == 3 {
        all.extend(inserted(all.clone(), None));
    }
    all.into_iter().map(|order| order.into_iter().collect()).collect()
}

/// Elements of these dims as they are stored in another order.
fn moved(order: &Order, dims: &[usize], x: &[f32]) -> Vec<f32> {
    let stride = |axis: usize| dims[axis + 1..].iter().product::<usize>();
    let places = order.axes().flatten().fold(vec![0], |places, axis| {
        places.into_iter().flat_map(|place| (0..dims[axis]).map(move |i| place + i * stride(axis))).collect()
    });
    places.into_iter().map(|place| x[place]).collect()
}

fn run_graph(g: &Graph, dims: &[usize], x: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let mut file = Cursor::new(Vec::new());
    emit::write(g, Metadata::default(), &mut file).expect("it is written");
    run(&Model::from_bytes(&file.into_inner()).expect("valid"), dims, x)
}

fn are_close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

/// What is wrong with what an operator says of orders.
fn problems(case: &Case) -> Vec<String> {
    let (g, mut count, mut problems) = (case.graph(&case.dims), 0, Vec::new());
    let node = g.graph.nodes.last().expect("a node");
    let shapes: Vec<&shape::Shape> = node.inputs.iter().map(|&v| g.shape(v)).collect();
    let output = g.shape(node.output);
    let (x, out_dims) = (input(&case.dims), shape::known(output).expect("known extents"));
    let (_, whole) = run_graph(&g, &case.dims, &x);
    for order in orders(case.dims.len()) {
        let Some(y) = order.behind(&node.op.axes(&shapes, output)[0], output) else { continue };
        let at = Reordering { input: shapes[0], output, x: &order, y: &y };
        let Some(op) = answers(&node.op).reordered(&at) else { continue };
        count += 1;
        let mut other = g.clone();
        other.graph.nodes.last_mut().expect("a node").op = op;
        let stored = shape::known(&order.shape(shapes[0])).expect("known extents");
        other.graph.inputs[0].dims = stored.iter().map(|&size| Dim::Fixed { size: size as u64 }).collect();
        other.shapes[node.inputs[0].index()] = order.shape(shapes[0]);
        other.shapes[node.output.index()] = y.shape(output);
        let (found_dims, found) = run_graph(&other, &stored, &moved(&order, &case.dims, &x));
        if Some(found_dims) != shape::known(&y.shape(output)) || !are_close(&found, &moved(&y, &out_dims, &whole)) {
            problems.push(format!("stored as {order:?} it computes something else"));
        }
    }
    if count != case.orders {
        problems.push(format!("expected {} orders, found {count}", case.orders));
    }
    if answers(&node.op).ignores_rows() != case.ignores_rows && case.dims.len() == 3 {
        problems.push(format!("expected that it ignores rows: {}", case.ignores_rows));
    }
    if case.ignores_rows {
        let [a, b, c] = case.dims[..] else { panic!("three axes") };
        let mut planes = g.clone();
        planes.graph.inputs[0].dims = [a, b, 1, c].map(|size| Dim::Fixed { size: size as u64 }).to_vec();
        planes.shapes[node.inputs[0].index()] = shape::of(&[a, b, 1, c]);
        planes.shapes[node.output.index()].insert(2, 1usize.into());
        if !are_close(&run_graph(&planes, &[a, b, 1, c], &x).1, &whole) {
            problems.push("over planes of one row it computes something else".to_owned());
        }
    }
    problems
}

#[test]
fn operators_are_the_same_in_other_orders() {
    let wrong: Vec<String> = cases()
        .iter()
        .map(|case| (format!("{} of {:?}, {:?}", case.op, case.dims, case.integers), problems(case)))
        .filter(|(_, problems)| !problems.is_empty())
        .map(|(op, problems)| format!("{op}:\n    {}", problems.join("\n    ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
