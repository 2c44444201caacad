//! Einsum: sums over axes and transpositions of one operand, and products of two, which are products of matrices once axes stand in
//! groups: those of both operands and the result, which make many products, those of one operand and the result, which are rows or
//! columns, and those of both operands alone, which are summed over. Of more operands, each is multiplied with what comes of those before.

use super::layout;
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{Extent, MatMul, Reduce, Reduction, Reshape, Slice, Transpose, ValueId};
use std::cmp::Reverse;
use std::collections::BTreeSet;

pub(super) const IMPORTS: &[Import] = &[Import::computing("Einsum", einsum).of_integers()];

/// A letter of the equation, or the index of an axis of its ellipsis, counted from the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(Reverse<usize>),
    Letter(char),
}

/// A value and the labels of its axes.
struct Operand {
    value: ValueId,
    labels: Vec<Label>,
}

fn einsum(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let equation: String = node.text("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = equation.split_once("->").map_or((&*equation, None), |(left, right)| (left, Some(right)));
    let values = node.values()?;
    let terms: Vec<&str> = left.split(',').collect();
    ensure!(terms.len() == values.len(), "equation: expected {} operands, found '{equation}'", values.len());
    let mut operands = Vec::new();
    for (&value, term) in values.iter().zip(&terms) {
        let operand = Operand { value, labels: labels(term, node.rank(value))? };
        operands.push(diagonal(node, operand)?);
    }
    let output = output(right, &operands, terms.concat())?;
    ensure!(
        output.iter().all(|label| operands.iter().any(|operand| operand.labels.contains(label))),
        "equation: expected letters of the operands in the result, found '{equation}'"
    );
    operands.reverse();
    let mut all = operands.pop().context("inputs: expected one at least")?;
    while let Some(mut next) = operands.pop() {
        let later = || output.iter().chain(operands.iter().flat_map(|operand| &operand.labels));
        let is_read = |other: &Operand, label: &Label| other.labels.contains(label) || later().any(|l| l == label);
        let [of_all, of_next] = [(&all, &next), (&next, &all)]
            .map(|(own, other)| own.labels.iter().copied().filter(|label| is_read(other, label)).collect::<Vec<_>>());
        let in_all: BTreeSet<Label> = of_all.iter().chain(&of_next).copied().collect();
        let last = operands.is_empty();
        let wanted = if last { output.clone() } else { in_all.into_iter().filter(|label| later().any(|l| l == label)).collect() };
        (all, next) = (summed(node, all, &of_all)?, summed(node, next, &of_next)?);
        all = product(node, [all, next], &wanted).with_context(|| format!("equation '{equation}'"))?;
    }
    let all = summed(node, all, &output)?;
    let y = reordered(node, all, &output)?;
    Ok(node.computed(y))
}

/// The labels of the result: what stands behind the arrow, or without one, letters that occur once, in the alphabet's order.
fn output(right: Option<&str>, operands: &[Operand], letters: String) -> Result<Vec<Label>> {
    let all = || operands.iter().flat_map(|operand| operand.labels.iter().copied());
    let ellipsis: BTreeSet<Label> = all().filter(|label| matches!(label, Label::Ellipsis(_))).collect();
    let Some(right) = right else {
        let once = |label: &Label| matches!(label, Label::Letter(l) if letters.chars().filter(|c| c == l).count() == 1);
        return Ok(ellipsis.into_iter().chain(all().filter(once).collect::<BTreeSet<_>>()).collect());
    };
    let count = right.chars().filter(char::is_ascii_alphabetic).count();
    labels(right, count + if right.contains('.') { ellipsis.len() } else { 0 })
}

/// The labels of a term for a value of `rank` axes.
fn labels(term: &str, rank: usize) -> Result<Vec<Label>> {
    let letters = term.chars().filter(char::is_ascii_alphabetic).count();
    let count = if term.contains("...") { rank.checked_sub(letters) } else { (rank == letters).then_some(0) };
    let count = count.with_context(|| format!("equation: expected letters for {rank} axes, found '{term}'"))?;
    let (before, behind) = term.split_once("...").unwrap_or((term, ""));
    let letters = |part: &str| -> Result<Vec<Label>> {
        let letter = |c: char| {
            if c.is_ascii_alphabetic() { Ok(Label::Letter(c)) } else { bail!("equation: expected letters, found '{c}'") }
        };
        part.chars().map(letter).collect()
    };
    let ellipsis = (0..count).rev().map(|i| Label::Ellipsis(std::cmp::Reverse(i)));
    Ok(letters(before)?.into_iter().chain(ellipsis).chain(letters(behind)?).collect())
}

/// An operand whose letters occur once each: of two equal ones, the elements count whose indices are equal, which lie equally far apart.
fn diagonal(node: &mut OnnxNode<'_>, mut x: Operand) -> Result<Operand> {
    let twice = |labels: &[Label]| {
        (1..labels.len()).find_map(|i| labels[..i].iter().position(|label| *label == labels[i]).map(|first| (first, i)))
    };
    while let Some((first, second)) = twice(&x.labels) {
        let extents = [first, second].map(|axis| node.extent(x.value, axis));
        let [Some(count), Some(other)] = extents else {
            bail!("equation: expected known extents of a diagonal, found symbolic ones")
        };
        ensure!(count == other, "equation: expected equal extents of a diagonal, found {count} and {other}");
        let rest: Vec<u32> = (0..x.labels.len()).filter(|&i| i != first && i != second).map(|i| i as u32).collect();
        let axes = [&rest[..], &[first as u32, second as u32]].concat();
        x.labels = axes[..axes.len() - 1].iter().map(|&axis| x.labels[axis as usize]).collect();
        let last = node.inner(Transpose { axes }, vec![x.value])?;
        let dims = [vec![0; rest.len()], vec![(count * count) as i64]].concat();
        let flat = node.inner(Reshape::to(&dims), vec![last])?;
        x.value = node.inner(Slice::of(rest.len() as u32, 0, i64::MAX, count as i64 + 1), vec![flat])?;
    }
    Ok(x)
}

/// `x` without the axes whose labels are none of those: the sums over them.
fn summed(node: &mut OnnxNode<'_>, x: Operand, wanted: &[Label]) -> Result<Operand> {
    let goes = |i: &usize| !wanted.contains(&x.labels[*i]);
    let axes: Vec<u32> = (0..x.labels.len()).filter(goes).map(|i| i as u32).collect();
    if axes.is_empty() {
        return Ok(x);
    }
    let value = node.inner(Reduce { reduction: Reduction::Sum, axes, keep: false }, vec![x.value])?;
    Ok(Operand { value, labels: x.labels.into_iter().filter(|label| wanted.contains(label)).collect() })
}

/// `x` with its axes in the order of `labels`.
fn reordered(node: &mut OnnxNode<'_>, x: Operand, labels: &[Label]) -> Result<ValueId> {
    if x.labels == labels {
        return Ok(x.value);
    }
    let place = |label: &Label| x.labels.iter().position(|l| l == label).context("expected its letters in the other order");
    let axes: Vec<u32> = labels.iter().map(|label| place(label).map(|axis| axis as u32)).collect::<Result<_>>()?;
    node.inner(Transpose { axes }, vec![x.value])
}

/// The product of two operands, of which every label is one of the other one or of the `output`.
fn product(node: &mut OnnxNode<'_>, [a, b]: [Operand; 2], output: &[Label]) -> Result<Operand> {
    let [of_a, of_b] = [&a.labels, &b.labels].map(|labels| labels.clone());
    let common: Vec<Label> = output.iter().copied().filter(|l| of_a.contains(l) && of_b.contains(l)).collect();
    let [rows, columns] =
        [&of_a, &of_b].map(|own| output.iter().copied().filter(|l| own.contains(l) && !common.contains(l)).collect::<Vec<_>>());
    let summed: Vec<Label> = of_a.iter().copied().filter(|l| of_b.contains(l) && !output.contains(l)).collect();
    let extents: Vec<(Label, Extent)> =
        [&a, &b].into_iter().flat_map(|x| x.labels.iter().copied().zip(node.extents_of(x.value).to_vec())).collect();
    let mut matrices = Vec::new();
    for (x, [first, second]) in [(a, [&rows, &summed]), (b, [&summed, &columns])] {
        let order = [&common[..], first, second].concat();
        let own: Vec<(Label, Extent)> = x.labels.iter().copied().zip(node.extents_of(x.value).to_vec()).collect();
        let value = reordered(node, x, &order)?;
        let groups: Vec<&[Label]> = common.chunks(1).chain([&first[..], &second[..]]).collect();
        let one_each = first.len() == 1 && second.len() == 1;
        // Extents of 1 are broadcast later.
        matrices.push(if one_each { value } else { regrouped(node, value, &groups, &own)? });
    }
    let mut value = node.inner(MatMul { transposed: [false; 2], alpha: 1.0 }, matrices)?;
    let labels = [&common[..], &rows, &columns].concat();
    if rows.len() != 1 || columns.len() != 1 {
        value = regrouped(node, value, &labels.chunks(1).collect::<Vec<_>>(), &extents)?;
    }
    Ok(Operand { value, labels })
}

/// `value` with one axis for each group of labels.
fn regrouped(node: &mut OnnxNode<'_>, value: ValueId, groups: &[&[Label]], extents: &[(Label, Extent)]) -> Result<ValueId> {
    // Of extents that are broadcast, the one that is not 1.
    let extent = |label: &Label| {
        let mut all = extents.iter().filter(|(l, _)| l == label).map(|(_, extent)| extent.clone());
        let one = Extent::from(1usize);
        all.clone().find(|e| *e != one).or_else(|| all.next()).unwrap_or(one)
    };
    let product = |group: &&[Label]| group.iter().fold(Extent::from(1usize), |product, label| &product * &extent(label));
    let own = node.extents_of(value).to_vec();
    let dims = layout::dims_to(&own, &groups.iter().map(product).collect::<Vec<Extent>>());
    node.inner(Reshape { dims }, vec![value])
}
