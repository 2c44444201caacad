//! The network while it is converted: a `.sslm` graph whose weights are still where the ONNX file has them. Importing yields a
//! dense one; folding and compaction change it in place; emission packs what is left.

use crate::operator::{self, Convert};
use crate::weights::{Layer, Node, Unpacked};
use sslm_format::shape::Shape;
use sslm_format::{ElementTypes, Extent, ValueId};
use std::collections::BTreeMap;

/// Height and width of an image where inputs leave them open: what most networks are trained with.
const REFERENCE: usize = 224;

/// A network with its weights. Clones share the weights themselves.
#[derive(Clone)]
pub struct Graph {
    /// Values, inputs, outputs, nodes. There are no blobs.
    pub graph: sslm_format::Graph<Unpacked>,
    /// Of which types the elements of its inputs and outputs are in the source model.
    pub types: ElementTypes,
    /// Logical shape of each value.
    pub shapes: Vec<Shape>,
    /// The name of each output. That of its value is another one where a value is two outputs, or an input is one.
    pub output_names: Vec<String>,
}

impl Graph {
    /// What conversion asks node `i`.
    pub fn op(&self, i: usize) -> &dyn Convert {
        operator::answers(&self.graph.nodes[i].op)
    }

    /// As [`Self::op`], to change it.
    pub fn op_mut(&mut self, i: usize) -> &mut dyn Convert {
        operator::answers_mut(&mut self.graph.nodes[i].op)
    }

    /// Node `i` as a layer, if it has weights.
    pub fn layer(&self, i: usize) -> Option<Layer<'_>> {
        self.op(i).layer()
    }

    /// Positions in `graph.nodes` of those that read each value.
    pub fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.graph.values.len()];
        for (i, node) in self.graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|v| readers[v.index()].push(i));
        }
        readers
    }

    /// Position of the node that defines each value; `None` for inputs.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.graph.values.len()];
        self.graph.nodes.iter().enumerate().for_each(|(i, node)| producers[node.output.index()] = Some(i));
        producers
    }

    /// Shape of a value.
    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.shapes[value.index()]
    }

    /// The sizes that costs are stated for where inputs leave them open: batches of one, and 224 on all other axes.
    pub fn reference(&self) -> BTreeMap<&str, usize> {
        let dims = self.graph.inputs.iter().flat_map(|input| input.dims.iter().enumerate());
        let symbols = dims.filter_map(|(axis, dim)| Some((dim.symbol()?, axis)));
        let mut sizes = BTreeMap::new();
        for (name, axis) in symbols {
            let size = if axis == 0 { 1 } else { REFERENCE };
            sizes.entry(name).and_modify(|known: &mut usize| *known = size.min(*known)).or_insert(size);
        }
        sizes
    }

    /// Multiply-accumulates of node `i` for one image of the [`Self::reference`] sizes: of all its logical filters and columns, and of
    /// those that it keeps. `None` for operators without weights.
    pub fn macs(&self, i: usize) -> Option<(u64, u64)> {
        let node = &self.graph.nodes[i];
        let (output, reference) = (&self.graph.values[node.output.index()], self.reference());
        let bind = |extent: &Extent| extent.bind(&|name| reference.get(name).copied());
        self.op(i).macs(output, &self.shape(node.output).iter().map(bind).collect())
    }
}

/// Drops nodes for which `keep` is false. Values stay; see [`drop_unused_values`].
pub fn retain_nodes(g: &mut Graph, keep: impl Fn(usize, &Node) -> bool) {
    let nodes = std::mem::take(&mut g.graph.nodes).into_iter().enumerate();
    g.graph.nodes = nodes.filter(|(i, node)| keep(*i, node)).map(|(_, node)| node).collect();
}

/// Drops nodes whose results nothing reads, and their values.
pub fn drop_unread(g: &mut Graph) {
    let mut read = vec![false; g.graph.values.len()];
    g.graph.outputs.iter().for_each(|v| read[v.index()] = true);
    let mut needed = vec![false; g.graph.nodes.len()];
    for (i, node) in g.graph.nodes.iter().enumerate().rev() {
        needed[i] = read[node.output.index()];
        if needed[i] {
            node.inputs.iter().for_each(|v| read[v.index()] = true);
        }
    }
    retain_nodes(g, |i, _| needed[i]);
    drop_unused_values(g);
}

/// Drops values that no input or node defines, and renumbers the others.
pub fn drop_unused_values(g: &mut Graph) {
    let mut new_id = vec![None; g.graph.values.len()];
    let defined = g.graph.inputs.iter().map(|i| i.value).chain(g.graph.nodes.iter().map(|n| n.output));
    defined.for_each(|v| new_id[v.index()] = Some(ValueId(0)));
    let used: Vec<usize> = (0..new_id.len()).filter(|&i| new_id[i].is_some()).collect();
    used.iter().enumerate().for_each(|(new, &old)| new_id[old] = Some(ValueId(new as u32)));
    let renumber = |v: &mut ValueId| {
        if let Some(new) = new_id[v.index()] {
            *v = new;
        }
    };
    g.graph.values = used.iter().map(|&i| g.graph.values[i].clone()).collect();
    g.shapes = used.iter().map(|&i| g.shapes[i].clone()).collect();
    g.graph.inputs.iter_mut().for_each(|i| renumber(&mut i.value));
    g.graph.outputs.iter_mut().for_each(renumber);
    for node in &mut g.graph.nodes {
        node.inputs.iter_mut().for_each(renumber);
        renumber(&mut node.output);
    }
}
