//! A logical graph: nodes in topological order over values, of which channels may be missing.

use crate::codec::{Field, Reader, choice, record};
use crate::element::{ElementType, ElementTypes};
use crate::error::Result;
use crate::metadata::{Preprocessing, Provenance};
use crate::op::{Op, Operator, is_open};
use crate::value::{Blob, Value, ValueId};
use crate::weights::{InFile, Stored, Weights};
use std::fmt;

/// Everything in a file except the weights themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The network.
    pub graph: Graph,
    /// Of which types the elements of its inputs and outputs are outside of it. Absent: all are `f32`.
    pub types: Option<ElementTypes>,
    /// Names of the outputs, in order, where they are not those of their values: one value may be two outputs. Else empty.
    pub output_names: Vec<String>,
    /// Class names, in the order of the output's last axis. Empty if unknown.
    pub labels: Vec<String>,
    /// How an image becomes the network's input.
    pub preprocessing: Option<Preprocessing>,
    /// Where the file came from.
    pub provenance: Option<Provenance>,
}

impl Model {
    /// The type of the elements of input `i`.
    pub fn input_type(&self, i: usize) -> ElementType {
        self.types.as_ref().map_or(ElementType::F32, |types| types.inputs[i])
    }

    /// The type of the elements of output `i`.
    pub fn output_type(&self, i: usize) -> ElementType {
        self.types.as_ref().map_or(ElementType::F32, |types| types.outputs[i])
    }

    /// The name of output `index`.
    ///
    /// # Panics
    /// If the graph has no such output.
    pub fn output_name(&self, index: usize) -> &str {
        let own = || &self.graph.values[self.graph.outputs[index].index()].name;
        self.output_names.get(index).unwrap_or_else(own)
    }
}

record! {
    /// A network: nodes in topological order over single-assignment values.
    pub struct Graph<W> {
        /// Stretches of the weight section; none where weights are in memory.
        pub blobs: Vec<Blob>,
        /// Every tensor that flows, inputs included.
        pub values: Vec<Value>,
        /// What the caller supplies.
        pub inputs: Vec<Input>,
        /// What the caller receives, always in full logical shape.
        pub outputs: Vec<ValueId>,
        /// Operators; each reads only inputs and the outputs of earlier nodes.
        pub nodes: Vec<Node<W>>,
    }

    /// An input of the network.
    pub struct Input {
        /// The value it defines.
        pub value: ValueId,
        /// Its shape; axis 0 is the batch.
        pub dims: Vec<Dim>,
    }
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<W: Weights = Stored> {
    /// Name, unique enough for people to find the layer in the source model.
    pub name: String,
    /// What it reads.
    pub inputs: Vec<ValueId>,
    /// The one value it defines.
    pub output: ValueId,
    /// What it does.
    pub op: Op<W>,
}

/// The fields in order, as of other records; what cannot be read of the operator is told with the node's name.
impl<W: InFile> Field for Node<W> {
    const MIN_SIZE: usize = String::MIN_SIZE + Vec::<ValueId>::MIN_SIZE + ValueId::MIN_SIZE + Op::<W>::MIN_SIZE;

    fn write(&self, out: &mut Vec<u8>) {
        let Node { name, inputs, output, op } = self;
        name.write(out);
        inputs.write(out);
        output.write(out);
        op.write(out);
    }

    fn read(r: &mut Reader) -> Result<Self> {
        let (name, inputs, output) = (String::read(r)?, Vec::read(r)?, ValueId::read(r)?);
        let op = Op::read(r).map_err(|e| e.in_node(&name))?;
        Ok(Node { name, inputs, output, op })
    }
}

choice! {
    /// A dimension of an input.
    pub enum Dim: "kind of dimension" {
        /// The same in every use.
        0 => Fixed {
            /// Extent.
            size: u64,
        },
        /// Chosen when the model is prepared; equal names are equal extents.
        1 => Symbolic {
            /// Name in the source model.
            name: String,
        },
    }
}

impl Dim {
    /// Its name, if it is symbolic.
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Dim::Fixed { .. } => None,
            Dim::Symbolic { name } => Some(name),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed { size } => write!(f, "{size}"),
            Dim::Symbolic { name } => f.write_str(name),
        }
    }
}

impl<W: Weights> Graph<W> {
    /// The graph with the symbolic extents that operators state replaced by what they are for these values of symbols; `None` where there
    /// are none.
    pub fn bind(&self, value: &dyn Fn(&str) -> Option<usize>) -> Option<Graph<W>> {
        if !self.nodes.iter().any(|node| is_open(&node.op)) {
            return None;
        }
        let mut bound = self.clone();
        for extent in bound.nodes.iter_mut().flat_map(|node| node.op.extents_mut()) {
            *extent = extent.bind(value);
        }
        Some(bound)
    }
}

impl<W: Weights> Default for Graph<W> {
    fn default() -> Self {
        Graph { blobs: Vec::new(), values: Vec::new(), inputs: Vec::new(), outputs: Vec::new(), nodes: Vec::new() }
    }
}
