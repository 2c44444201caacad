//! Cutting a graph at tensors that are named: what follows them is not imported. So the network of a detector runs, and its caller
//! does what cannot be converted, such as NonMaxSuppression.

use crate::onnx::proto::{GraphProto, NodeProto, ValueInfoProto};
use anyhow::{Result, ensure};
use std::collections::HashSet;

/// Operators whose outputs are as long as the elements of their inputs say.
const SIZED_BY_ELEMENTS: [&str; 4] = ["NonMaxSuppression", "NonZero", "Unique", "Compress"];

/// How many near names an error lists.
const NEAR: usize = 3;

/// Makes these tensors the outputs of the graph, in this order.
///
/// # Errors
/// If one of them does not exist, naming tensors that are called nearly so, or is named twice.
pub(crate) fn at(graph: &mut GraphProto, names: &[String]) -> Result<()> {
    let computed = graph.node.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty());
    let known: Vec<&str> = computed.chain(graph.input.iter().map(|input| &input.name)).map(String::as_str).collect();
    for (i, name) in names.iter().enumerate() {
        ensure!(!names[..i].contains(name), "--outputs: expected different tensors, found '{name}' twice");
        ensure!(
            known.contains(&name.as_str()),
            "--outputs: expected a tensor of the model, found '{name}'{}",
            near(name, &known)
        );
    }
    let info = |name: &String| ValueInfoProto { name: name.clone(), r#type: None };
    graph.output = names.iter().map(info).collect();
    Ok(())
}

/// What to do about a node whose outputs are sized by elements: the tensors before it.
pub(crate) fn advice(graph: &GraphProto, node: &NodeProto) -> Option<String> {
    if !SIZED_BY_ELEMENTS.contains(&node.op_type.as_str()) {
        return None;
    }
    let stored: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let constants = graph.node.iter().filter(|node| node.op_type == "Constant").flat_map(|node| &node.output);
    let known: HashSet<&str> = stored.into_iter().chain(constants.map(String::as_str)).collect();
    let mut before: Vec<&str> = Vec::new();
    for name in node.input.iter().map(String::as_str).filter(|name| !name.is_empty() && !known.contains(name)) {
        if !before.contains(&name) {
            before.push(name);
        }
    }
    let before = before.join(",");
    Some(format!("how much it yields depends on elements, not on shapes; --outputs {before} ends the model before it"))
}

/// The known names that are most like `name`.
fn near(name: &str, known: &[&str]) -> String {
    let mut near: Vec<(usize, &str)> = known.iter().map(|known| (distance(name, known), *known)).collect();
    near.sort_unstable();
    near.dedup();
    let list: Vec<String> = near.iter().take(NEAR).map(|(_, name)| format!("'{name}'")).collect();
    if list.is_empty() {
        String::new()
    } else {
        format!("; there are {} and {} others", list.join(", "), near.len() - list.len())
    }
}

/// How many letters have to be changed, added or left out to make one name of the other, whatever their case.
fn distance(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|name| name.to_lowercase().chars().collect::<Vec<char>>());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        for (a, b, expected) in [("", "", 0), ("", "ab", 2), ("boxes", "boxes", 0), ("Boxes", "box", 2), ("scores", "score_", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
