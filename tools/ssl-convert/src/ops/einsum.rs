//! Einsum of one operand, whose axes come in another order, and of two, whose product of matrices it is once axes stand in groups: those
//! of both operands and the result, which make many products, those of one operand and the result, which are rows or columns, and those
//! of both operands alone, which are summed over.

use super::layout;
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{Extent, MatMul, Reshape, Transpose, ValueId};

pub(super) const IMPORTS: &[Import] = &[Import::computing("Einsum", einsum)];

/// A letter of the equation, or the index of an axis of its ellipsis, counted from the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(std::cmp::Reverse<usize>),
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
    let operand = |(&value, term): (&ValueId, &&str)| -> Result<Operand> {
        let labels = labels(term, node.rank(value))?;
        let twice = (1..labels.len()).any(|i| labels[..i].contains(&labels[i]));
        ensure!(!twice, "equation: expected each letter once in an operand, found '{term}'");
        Ok(Operand { value, labels })
    };
    let mut operands: Vec<Operand> = values.iter().zip(&terms).map(operand).collect::<Result<_>>()?;
    let all = || operands.iter().flat_map(|operand| operand.labels.iter().copied());
    let ellipsis = all().filter(|label| matches!(label, Label::Ellipsis(_))).collect::<std::collections::BTreeSet<_>>();
    let output = match right {
        Some(right) => labels(
            right,
            right.chars().filter(char::is_ascii_alphabetic).count() + if right.contains('.') { ellipsis.len() } else { 0 },
        )?,
        // Without an arrow, the letters that occur once, in the alphabet's order.
        None => {
            let letters = all().filter(|label| matches!(label, Label::Letter(_)));
            let once: std::collections::BTreeSet<Label> =
                letters.filter(|label| all().filter(|l| l == label).count() == 1).collect();
            ellipsis.into_iter().chain(once).collect()
        }
    };
    ensure!(
        output.iter().all(|label| all().any(|l| l == *label)),
        "equation: expected letters of the operands in the result, found '{equation}'"
    );
    match operands.len() {
        1 => {
            let x = operands.remove(0);
            let summed = x.labels.iter().any(|label| !output.contains(label));
            ensure!(!summed, "equation: expected no sums over axes of one operand, found '{equation}'");
            let name = node.outputs()[0].clone();
            let y = reordered(node, &name, x, &output, true)?;
            Ok(node.computed(y))
        }
        2 => {
            let (b, a) = (operands.remove(1), operands.remove(0));
            product(node, [a, b], &output).with_context(|| format!("equation '{equation}'"))
        }
        count => bail!("inputs: expected one or two, found {count}"),
    }
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

/// `x` with its axes in the order of `labels`; `last` says that this is what the node yields, so that it must be a node of its own.
fn reordered(node: &mut OnnxNode<'_>, name: &str, x: Operand, labels: &[Label], last: bool) -> Result<ValueId> {
    let place = |label: &Label| x.labels.iter().position(|l| l == label).context("expected its letters in the other order");
    let axes: Vec<u32> = labels.iter().map(|label| place(label).map(|axis| axis as u32)).collect::<Result<_>>()?;
    if !last && axes.iter().enumerate().all(|(i, &axis)| i as u32 == axis) {
        return Ok(x.value);
    }
    node.push_as(name, Transpose { axes }, vec![x.value])
}

/// The product of two operands.
fn product(node: &mut OnnxNode<'_>, [a, b]: [Operand; 2], output: &[Label]) -> Result<Binding> {
    let [of_a, of_b] = [&a.labels, &b.labels].map(|labels| labels.clone());
    let common: Vec<Label> = output.iter().copied().filter(|l| of_a.contains(l) && of_b.contains(l)).collect();
    let [rows, columns] =
        [&of_a, &of_b].map(|own| output.iter().copied().filter(|l| own.contains(l) && !common.contains(l)).collect::<Vec<_>>());
    let summed: Vec<Label> = of_a.iter().copied().filter(|l| of_b.contains(l) && !output.contains(l)).collect();
    let of_one = of_a.iter().chain(&of_b).find(|l| !output.contains(l) && !summed.contains(l));
    ensure!(
        of_one.is_none(),
        "expected no sums over axes of one operand, found {}",
        of_one.map_or(String::new(), |l| name_of(*l))
    );
    let extents: Vec<(Label, Extent)> =
        [&a, &b].into_iter().flat_map(|x| x.labels.iter().copied().zip(node.extents_of(x.value).to_vec())).collect();
    let mut matrices = Vec::new();
    for (i, (x, [first, second])) in [(a, [&rows, &summed]), (b, [&summed, &columns])].into_iter().enumerate() {
        let order = [&common[..], first, second].concat();
        let value = reordered(node, &node.inner_name(&format!("operand{i}")), x, &order, false)?;
        let own = node.extents_of(value).to_vec();
        let groups: Vec<&[Label]> = common.chunks(1).chain([&first[..], &second[..]]).collect();
        let one_each = first.len() == 1 && second.len() == 1;
        matrices.push(match one_each {
            true => value,
            false => regrouped(node, &node.inner_name(&format!("matrix{i}")), (value, &own), &groups, &extents)?,
        });
    }
    // The last of these nodes yields the output.
    let order = [&common[..], &rows, &columns].concat();
    let (one_each, in_order) = (rows.len() == 1 && columns.len() == 1, order == output);
    let output_name = node.outputs()[0].clone();
    let name = |suffix: &str, last: bool| if last { output_name.clone() } else { format!("{output_name}.{suffix}") };
    let mut y = node.push_as(&name("product", one_each && in_order), MatMul { transposed: [false; 2], alpha: 1.0 }, matrices)?;
    if !one_each {
        let (own, groups) = (node.extents_of(y).to_vec(), order.chunks(1).collect::<Vec<_>>());
        y = regrouped(node, &name("axes", in_order), (y, &own), &groups, &extents)?;
    }
    let y = reordered(node, &output_name, Operand { value: y, labels: order }, output, false)?;
    Ok(node.computed(y))
}

fn name_of(label: Label) -> String {
    match label {
        Label::Letter(letter) => letter.to_string(),
        Label::Ellipsis(_) => "...".to_owned(),
    }
}

/// `value`, whose extents are `own`, with one axis for each group of labels.
fn regrouped(
    node: &mut OnnxNode<'_>,
    name: &str,
    (value, own): (ValueId, &[Extent]),
    groups: &[&[Label]],
    extents: &[(Label, Extent)],
) -> Result<ValueId> {
    // Of extents that are broadcast, the one that is not 1.
    let extent = |label: &Label| {
        let mut all = extents.iter().filter(|(l, _)| l == label).map(|(_, extent)| extent.clone());
        let one = Extent::from(1usize);
        all.clone().find(|e| *e != one).or_else(|| all.next()).unwrap_or(one)
    };
    let product = |group: &&[Label]| group.iter().fold(Extent::from(1usize), |product, label| &product * &extent(label));
    let dims = layout::dims_to(own, &groups.iter().map(product).collect::<Vec<Extent>>());
    node.push_as(name, Reshape { dims }, vec![value])
}
