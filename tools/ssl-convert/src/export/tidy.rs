//! Transposes of an exported graph that follow each other: together they are one, or none.

use crate::export::writer::ints;
use crate::onnx::proto::{GraphProto, NodeProto};
use std::collections::{HashMap, HashSet};

/// Joins each Transpose with the one before it, and drops those that nothing reads any more.
pub(crate) fn join_transposes(graph: &mut GraphProto) {
    // What each Transpose so far reads, and in which order of axes.
    let mut transposes: HashMap<String, (String, Vec<i64>)> = HashMap::new();
    for node in &mut graph.node {
        for input in &mut node.input {
            // Axes that are back in their order.
            if let Some((x, perm)) = transposes.get(input)
                && perm.iter().zip(0..).all(|(axis, i)| *axis == i)
            {
                input.clone_from(x);
            }
        }
        let Some(mut perm) = permutation(node) else { continue };
        if let Some((x, before)) = transposes.get(&node.input[0]) {
            perm = perm.into_iter().map(|axis| before[axis as usize]).collect();
            node.input[0].clone_from(x);
            node.attribute = vec![ints("perm", &perm)];
        }
        transposes.insert(node.output[0].clone(), (node.input[0].clone(), perm));
    }
    let mut read: HashSet<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let mut needed = Vec::new();
    for node in graph.node.iter().rev() {
        needed.push(permutation(node).is_none() || read.contains(node.output[0].as_str()));
        if needed.last() == Some(&true) {
            read.extend(node.input.iter().map(String::as_str));
        }
    }
    graph.node.retain(|_| needed.pop() == Some(true));
}

/// The axis of its input that each axis of the output is, of a Transpose as they are written here.
fn permutation(node: &NodeProto) -> Option<Vec<i64>> {
    (node.op_type == "Transpose").then(|| node.attribute.first().map(|perm| perm.ints.clone())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::ValueInfoProto;

    fn node(op: &str, x: &str, y: &str, perm: &[i64]) -> NodeProto {
        let attribute = if perm.is_empty() { Vec::new() } else { vec![ints("perm", perm)] };
        NodeProto { op_type: op.into(), input: vec![x.into()], output: vec![y.into()], attribute, ..Default::default() }
    }

    #[test]
    fn transposes_become_one_or_none() {
        let output = ["f", "e", "g"].map(|name| ValueInfoProto { name: name.into(), ..Default::default() }).to_vec();
        let node = vec![
            node("Transpose", "x", "a", &[1, 2, 0]),
            node("Transpose", "a", "b", &[2, 0, 1]),
            node("Relu", "b", "c", &[]),
            node("Transpose", "c", "d", &[1, 0, 2]),
            node("Transpose", "d", "e", &[0, 2, 1]),
            node("Relu", "d", "f", &[]),
            node("Transpose", "e", "g", &[2, 0, 1]),
        ];
        let mut graph = GraphProto { node, output, ..Default::default() };
        join_transposes(&mut graph);
        let found: Vec<(&str, &str, &str, Vec<i64>)> =
            graph.node.iter().map(|n| (&*n.op_type, &*n.input[0], &*n.output[0], permutation(n).unwrap_or_default())).collect();
        let expected = [
            ("Relu", "x", "c", vec![]),
            ("Transpose", "c", "d", vec![1, 0, 2]),
            ("Transpose", "c", "e", vec![1, 2, 0]),
            ("Relu", "d", "f", vec![]),
            ("Transpose", "c", "g", vec![0, 1, 2]),
        ];
        assert_eq!(found, expected);
    }
}
