//! Takes what stands around products of computed matrices into them: a Transpose of the last two axes of an operand, and a factor that
//! goes for all elements of an operand or of the result. Attention has all of these, and each would be a copy of a whole tensor.

use crate::fold::drop_unread_constants;
use crate::graph::{Graph, drop_unused_values, retain_nodes};
use sslm_format::{Operator, ValueId};

/// What a node does that a product of matrices can do itself.
#[derive(Clone, Copy)]
enum Change {
    /// It swaps the last two axes.
    Swap,
    /// It multiplies every element by this.
    Factor(f32),
}

/// Folds until nothing changes.
pub fn fold_products(g: &mut Graph) {
    let count = g.graph.nodes.len();
    let (mut gone, mut passed_over) = (vec![false; count], vec![false; count]);
    let mut producers = g.producers();
    let readers = g.readers();
    for product in 0..count {
        if g.op_mut(product).product_mut().is_none() {
            continue;
        }
        for operand in [0, 1] {
            while let Some(node) = producers[g.graph.nodes[product].inputs[operand].index()]
                && let Some((x, change)) = change(g, &producers, node)
            {
                g.graph.nodes[product].inputs[operand] = x;
                passed_over[node] = true;
                apply(g, product, operand, change);
            }
        }
        let only_reader = |g: &Graph, v: ValueId| match readers[v.index()][..] {
            [reader] if !g.graph.outputs.contains(&v) => Some(reader),
            _ => None,
        };
        while let Some(reader) = only_reader(g, g.graph.nodes[product].output)
            && let Some((_, factor @ Change::Factor(_))) = change(g, &producers, reader)
        {
            g.graph.nodes[product].output = g.graph.nodes[reader].output;
            producers[g.graph.nodes[product].output.index()] = Some(product);
            gone[reader] = true;
            apply(g, product, 0, factor);
        }
    }
    drop_unread(g, gone, &passed_over);
}

/// What node `i` does to the value that it reads, if a product can do that.
fn change(g: &Graph, producers: &[Option<usize>], i: usize) -> Option<(ValueId, Change)> {
    let node = &g.graph.nodes[i];
    let output = g.shape(node.output);
    match node.inputs[..] {
        [x] if node.op.only_moves() => {
            let [map] = &node.op.axes(&[g.shape(x)], output)[..] else { return None };
            let rank = output.len();
            let swapped = |axis: usize| if axis + 2 < rank { axis } else { 2 * rank - 3 - axis };
            let swaps =
                rank >= 2 && map.links.len() == rank && (0..rank).all(|axis| map.links[axis].alike() == Some(swapped(axis)));
            swaps.then_some((x, Change::Swap))
        }
        [a, b] => {
            let single = |v: ValueId| {
                let elements = g.op(producers[v.index()]?).tensor().filter(|elements| elements.len() == 1)?;
                Some(vec![elements.at(0)])
            };
            let affine = g.op(i).affine(&[single(a), single(b)])?;
            let (x, factor) = (node.inputs[affine.input], *affine.scale?.first()?);
            let same = g.shape(x) == output && affine.shift.iter().all(|shift| *shift == 0.0) && factor.is_finite();
            same.then_some((x, Change::Factor(factor)))
        }
        _ => None,
    }
}

fn apply(g: &mut Graph, product: usize, operand: usize, change: Change) {
    let Some(product) = g.op_mut(product).product_mut() else { return };
    match change {
        Change::Swap => product.transposed[operand] = !product.transposed[operand],
        Change::Factor(factor) => *product.alpha *= factor,
    }
}

/// Drops the nodes that are `gone`, and of those that were passed over the ones that nothing else reads.
fn drop_unread(g: &mut Graph, mut gone: Vec<bool>, passed_over: &[bool]) {
    let mut read = vec![false; g.graph.values.len()];
    g.graph.outputs.iter().for_each(|v| read[v.index()] = true);
    for (i, node) in g.graph.nodes.iter().enumerate().rev() {
        gone[i] |= passed_over[i] && !read[node.output.index()];
        if !gone[i] {
            node.inputs.iter().for_each(|v| read[v.index()] = true);
        }
    }
    retain_nodes(g, |i, _| !gone[i]);
    drop_unread_constants(g);
    drop_unused_values(g);
}
