//! Logical shapes of all values of a graph, from the shapes of its inputs. These rules are part of the format: they fix how many
//! channels each value has and which graphs are legal.

use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::graph::{Dim, Graph, Input};
use crate::op::{Op, Operator};
use crate::shape::{Shape, check_size};
use crate::weights::Weights;

/// The input's own dims. Those of one name are equal.
pub fn of_input(input: &Input) -> Shape {
    let extent = |d: &Dim| match d {
        Dim::Fixed { size } => Extent::from(usize::try_from(*size).unwrap_or(usize::MAX)),
        Dim::Symbolic { name } => Extent::symbol(name),
    };
    input.dims.iter().map(extent).collect()
}

/// Shapes of all values, by [`crate::ValueId`]. `inputs` are the shapes of `graph.inputs`, in order.
///
/// # Errors
/// [`crate::ErrorKind::Shape`], naming the node, if shapes do not fit the operator that reads them. The graph itself must have
/// passed [`crate::validate`], or come from code that keeps the same rules.
pub fn infer<W: Weights>(graph: &Graph<W>, inputs: &[Shape]) -> Result<Vec<Shape>> {
    let mut shapes = vec![Shape::new(); graph.values.len()];
    for (input, shape) in graph.inputs.iter().zip(inputs) {
        check_size(shape).map_err(|e| e.within(format!("input '{}'", graph.values[input.value.index()].name)))?;
        shapes[input.value.index()].clone_from(shape);
    }
    for node in &graph.nodes {
        let operands: Vec<&Shape> = node.inputs.iter().map(|v| &shapes[v.index()]).collect();
        let shape = of_node(&node.op, &operands)
            .and_then(|s| check_size(&s).map(|()| s))
            .map_err(|e| e.within(format!("node '{}' ({})", node.name, node.op.name())))?;
        shapes[node.output.index()] = shape;
    }
    Ok(shapes)
}

/// The shape of what `op` yields for inputs of these shapes.
///
/// # Errors
/// [`crate::ErrorKind::Shape`] if `op` cannot be applied to them, or there are more or fewer than it reads.
pub fn of_node<W: Weights>(op: &Op<W>, inputs: &[&Shape]) -> Result<Shape> {
    let arity = op.arity();
    if !arity.contains(&inputs.len()) {
        return Err(Error::shape("inputs", format!("{} to {}", arity.start(), arity.end()), inputs.len()));
    }
    op.shape(inputs)
}
