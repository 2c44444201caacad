//! The same elements again: Tile.

use super::layout;
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::tensor::Tensor;
use anyhow::{Context, Result, anyhow, ensure};
use sslm_format::{Concat, Expand, Extent, Gather, Reshape, shape};

pub(super) const IMPORTS: &[Import] = &[Import::moving("Tile", tile)];

/// As many copies are joined; of more, each index is named.
const MOST_JOINED: usize = 64;

/// Most indices of an axis that are named.
const MOST_INDICES: usize = 1 << 20;

/// How often an axis is repeated depends on symbolic dims: each gets one of extent 1 before it, which is broadcast.
fn tile_by_sizes(node: &mut OnnxNode<'_>, repeats: &[Extent]) -> Result<Binding> {
    let x = node.value(0)?;
    let own = node.extents_of(x).to_vec();
    ensure!(repeats.len() == own.len(), "repeats: expected {} of them, found {}", own.len(), repeats.len());
    let one = Extent::from(1usize);
    let pairs = || repeats.iter().zip(&own);
    let spread = |(count, extent): (&Extent, &Extent)| {
        if *count == one { vec![extent.clone()] } else { vec![one.clone(), extent.clone()] }
    };
    let split: Vec<Extent> = pairs().flat_map(spread).collect();
    let dims = layout::dims_to(&own, &split);
    let x = node.push_as(&node.inner_name("split"), Reshape { dims }, vec![x])?;
    let counts =
        |(count, _): (&Extent, &Extent)| if *count == one { vec![one.clone()] } else { vec![count.clone(), one.clone()] };
    let x = node.push_as(&node.inner_name("repeated"), Expand { dims: pairs().flat_map(counts).collect() }, vec![x])?;
    let target: Vec<Extent> = pairs().map(|(count, extent)| count * extent).collect();
    layout::reshape_to(node, x, &target)
}

/// How often each axis is repeated.
fn repeats(node: &OnnxNode<'_>) -> Result<Vec<Extent>> {
    if node.opset() >= 6 {
        return node.extents(1)?.context("repeats (input 1): expected constant integers, found others");
    }
    // Once only one axis, both inputs of any type of numbers.
    let [count, axis] = [node.element(1, "tiles")?, node.element(2, "axis")?];
    let (count, axis) = (count.context("tiles: expected one number")?, axis.context("axis: expected one number")?);
    let rank = node.rank_of_input(0);
    let mut repeats = vec![Extent::from(1usize); rank];
    repeats[checks::axis(axis as i64, rank)?] = Extent::from(count as i64);
    Ok(repeats)
}

fn tile(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let repeats = repeats(node)?;
    if node.tensor_if_known(0).is_none() && repeats.iter().any(|n| n.integer().is_none()) {
        return tile_by_sizes(node, &repeats);
    }
    let count = |n: &Extent| {
        let count = n.known().filter(|n| (1..=MOST_INDICES).contains(n));
        count.ok_or_else(|| anyhow!("repeats: expected 1 to {MOST_INDICES}, found {n}"))
    };
    let repeats: Vec<usize> = repeats.iter().map(count).collect::<Result<_>>()?;
    let expect = |rank: usize| {
        ensure!(repeats.len() == rank, "repeats: expected {rank} of them, found {}", repeats.len());
        Ok(())
    };
    if let Some(t) = node.tensor_if_known(0) {
        expect(t.dims.len())?;
        let again = |t: Tensor, (axis, &count): (usize, &usize)| stored::joined(&vec![&t; count], axis);
        return repeats.iter().enumerate().filter(|(_, count)| **count > 1).try_fold(t.clone(), again).map(Binding::Tensor);
    }
    let mut x = node.value(0)?;
    expect(node.rank(x))?;
    // Axes of one index are broadcast, all of them at a time.
    let single = |node: &OnnxNode<'_>, axis: usize| node.extent(x, axis) == Some(1);
    let dims: Vec<usize> = repeats.iter().enumerate().map(|(axis, &count)| if single(node, axis) { count } else { 1 }).collect();
    let rest: Vec<usize> = (0..repeats.len()).filter(|&axis| repeats[axis] > 1 && dims[axis] == 1).collect();
    let expands = dims.iter().any(|&count| count > 1);
    let steps = rest.len() + usize::from(expands);
    for (i, &axis) in rest.iter().enumerate() {
        let (count, name) = (repeats[axis], node.part_name(i, steps));
        let extent = node.extent(x, axis).filter(|extent| extent.saturating_mul(count) <= MOST_INDICES);
        x = match extent {
            Some(extent) if count > MOST_JOINED => {
                let indices = (0..count * extent).map(|i| (i % extent) as i64).collect();
                node.push_as(&name, Gather { axis: axis as u32, indices }, vec![x])?
            }
            _ => {
                ensure!(count <= MOST_JOINED, "repeats: expected at most {MOST_JOINED} of axis {axis}, found {count}");
                node.push_as(&name, Concat { axis: axis as u32 }, vec![x; count])?
            }
        };
    }
    if expands {
        x = node.push_as(&node.part_name(steps - 1, steps), Expand { dims: shape::of(&dims) }, vec![x])?;
    }
    Ok(node.computed(x))
}
