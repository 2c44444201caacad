//! A logical graph: nodes in topological order over values, of which channels may be missing.

use crate::codec::{choice, record};
use crate::metadata::{Preprocessing, Provenance};
use crate::op::Op;
use crate::value::{Blob, Value, ValueId};
use crate::weights::Weights;

/// Everything in a file except the weights themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The network.
    pub graph: Graph,
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

    /// One application of an operator.
    pub struct Node<W> {
        /// Name, unique enough for people to find the layer in the source model.
        pub name: String,
        /// What it reads.
        pub inputs: Vec<ValueId>,
        /// The one value it defines.
        pub output: ValueId,
        /// What it does.
        pub op: Op<W>,
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

impl<W: Weights> Default for Graph<W> {
    fn default() -> Self {
        Graph { blobs: Vec::new(), values: Vec::new(), inputs: Vec::new(), outputs: Vec::new(), nodes: Vec::new() }
    }
}
