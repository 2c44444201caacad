//! What a model consists of, for reports.

use crate::model::Model;
use crate::planning::Lower;
use crate::report::{KeptCount, LayerInfo};
use sslm_format::Operator;

impl Model {
    /// The network's nodes as the file stores them, in the order in which they can be computed.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = LayerInfo<'_>> {
        let graph = self.graph();
        graph.nodes.iter().map(move |node| {
            let output = &graph.values[node.output.index()];
            let channels = output.compaction.as_ref();
            LayerInfo {
                name: &node.name,
                op: node.op.name(),
                sizes: node.op.sizes(output, &graph.blobs),
                channels: channels.map(|c| KeptCount { kept: c.kept.len(), of: c.logical as usize }),
            }
        })
    }

    /// Whether the first output consists of probabilities already: the network ends in a Softmax.
    pub fn yields_probabilities(&self) -> bool {
        let graph = self.graph();
        let mut value = graph.outputs.first().copied();
        while let Some(node) = graph.nodes.iter().find(|node| Some(node.output) == value) {
            if !node.op.is_view() {
                return node.op.yields_probabilities();
            }
            value = node.inputs.first().copied();
        }
        false
    }
}
