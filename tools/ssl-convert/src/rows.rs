//! Networks over lines: operators over planes see lines as planes of one row, and each of them makes planes of lines and lines of planes
//! again. Here values stay planes from one to the next, so that what is folded into convolutions finds them.

use crate::graph::{Graph, drop_unread};
use crate::operator::answers;
use crate::weights::Node;
use sslm_format::shape::Shape;
use sslm_format::{Constant, Extent, Link, Operator, Reshape, Value, ValueId, shape};
use std::collections::HashMap;

/// Removes every change between lines and planes of one row that nothing needs.
pub fn keep_rows(g: &mut Graph) {
    let mut rows = Rows { g, nodes: Vec::new(), planes: HashMap::new(), instead: HashMap::new() };
    for node in std::mem::take(&mut rows.g.graph.nodes) {
        rows.add(node);
    }
    let Rows { nodes, .. } = rows;
    g.graph.nodes = nodes;
    drop_unread(g);
}

struct Rows<'g> {
    g: &'g mut Graph,
    /// The nodes so far.
    nodes: Vec<Node>,
    /// Of lines and stored tensors, the planes of one row that have the same elements.
    planes: HashMap<ValueId, ValueId>,
    /// What is read instead of planes that there are already.
    instead: HashMap<ValueId, ValueId>,
}

/// A view that changes between lines and planes of one row.
enum Change {
    ToLines,
    ToPlanes,
}

impl Rows<'_> {
    fn add(&mut self, mut node: Node) {
        node.inputs.iter_mut().for_each(|v| *v = *self.instead.get(v).unwrap_or(v));
        match self.change(&node) {
            Some(Change::ToLines) => {
                self.planes.insert(node.output, node.inputs[0]);
            }
            Some(Change::ToPlanes) if !self.g.graph.outputs.contains(&node.output) => {
                if let Some(&same) = self.planes.get(&node.inputs[0]) {
                    self.instead.insert(node.output, same);
                }
            }
            Some(Change::ToPlanes) => {}
            None => node = self.over_planes(node),
        }
        self.nodes.push(node);
    }

    fn change(&self, node: &Node) -> Option<Change> {
        let (x, y) = (self.g.shape(*node.inputs.first()?), self.g.shape(node.output));
        let one_row = |shape: &Shape| shape.len() == 4 && shape[2].known() == Some(1);
        if !node.op.is_view() {
            return None;
        }
        let [map] = &node.op.axes(&[x], y)[..] else { return None };
        if !(0..2).all(|axis| map.links.get(axis).and_then(Link::alike) == Some(axis)) {
            return None;
        }
        match (x.len(), y.len()) {
            (4, 3) if one_row(x) => Some(Change::ToLines),
            (3, 4) if one_row(y) => Some(Change::ToPlanes),
            _ => None,
        }
    }

    /// The node that yields the lines; where its operator may as well work on planes, it does so, and this is what makes lines of them.
    fn over_planes(&mut self, node: Node) -> Node {
        let has_planes = node.inputs.iter().any(|v| self.planes.contains_key(v));
        if !has_planes || self.g.shape(node.output).len() != 3 || !answers(&node.op).ignores_rows() {
            return node;
        }
        let Some(inputs) = node.inputs.iter().map(|&v| self.planes_of(v)).collect::<Option<Vec<ValueId>>>() else { return node };
        let output = self.new_value(node.output, "in_rows");
        let to_lines = Node {
            name: format!("{}.lines", node.name),
            op: Reshape::to(&[0, 0, -1]).into(),
            inputs: vec![output],
            output: node.output,
        };
        self.planes.insert(node.output, output);
        self.nodes.push(Node { inputs, output, ..node });
        to_lines
    }

    /// The value as planes of one row: what it was made of, or a stored tensor.
    fn planes_of(&mut self, v: ValueId) -> Option<ValueId> {
        if let Some(&planes) = self.planes.get(&v) {
            return Some(planes);
        }
        let node = self.nodes.iter().find(|node| node.output == v)?;
        let (data, name) = (answers(&node.op).tensor()?.clone(), node.name.clone());
        let output = self.new_value(v, "in_row");
        let dims = shape::known(self.g.shape(output))?.into_iter().map(|extent| extent as u64).collect();
        self.nodes.push(Node { name, op: Constant { dims, data }.into(), inputs: Vec::new(), output });
        self.planes.insert(v, output);
        Some(output)
    }

    /// A value like `v`, whose last axis is the row of a plane.
    fn new_value(&mut self, v: ValueId, suffix: &str) -> ValueId {
        let name = format!("{}.{suffix}", self.g.graph.values[v.index()].name);
        let mut shape = self.g.shape(v).clone();
        if shape.len() > 1 {
            shape.insert(shape.len() - 1, Extent::from(1usize));
        }
        let value = ValueId(self.g.graph.values.len() as u32);
        self.g.graph.values.push(Value { name, compaction: None });
        self.g.shapes.push(shape);
        value
    }
}
