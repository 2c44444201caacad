//! How the axes of an operator's inputs become the axes of its output. Each operator states this once ([`crate::Operator::axes`]);
//! compaction, planning image by image, export and reports walk these statements and know no operator by name.
//!
//! A *slice* of a value is what is left of it when the indices on some axes are fixed. Those axes span the value's [`SliceSpace`];
//! mostly that is axis 1 alone, so that a slice is a channel. [`AxisMap::reach`] says which slices of an input a slice of the output
//! depends on.

use crate::extent::Extent;
use crate::shape::{self, Shape};
use std::ops::Range;

/// How each axis of one input becomes an axis of the output: one [`Link`] for each axis of the input.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisMap {
    /// In the order of the input's axes.
    pub links: Vec<Link>,
}

/// How one axis of an input becomes an axis `to` of the output.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Index i of the output's axis, which is as long, depends on index i alone.
    Alike {
        /// Axis of the output.
        to: usize,
    },
    /// As [`Link::Alike`], or every index depends on the only one where the input's extent is 1.
    Broadcast {
        /// Axis of the output.
        to: usize,
    },
    /// Index i of the output's axis, which is as long, depends on the indices from `i - before` to `i + after` that exist.
    Near {
        /// Axis of the output.
        to: usize,
        /// Indices before its own.
        before: usize,
        /// Indices behind its own.
        after: usize,
    },
    /// Each index of the output's axis, which is as long, depends on all indices.
    Whole {
        /// Axis of the output.
        to: usize,
    },
    /// Each index of the output's axis depends on indices of a window, about which nothing more is said.
    Windowed {
        /// Axis of the output.
        to: usize,
    },
    /// Index i of the output's axis is index `pick.index(i)`.
    Picked {
        /// Axis of the output.
        to: usize,
        /// Which indices, in order.
        pick: Pick,
    },
    /// The indices are those from `first` on of the output's axis; its other ones come from other inputs.
    Joined {
        /// Axis of the output.
        to: usize,
        /// Index of the output's axis that is index 0 of the input's.
        first: usize,
    },
    /// The axes `from` of the input and `to` of the output have the same elements in row-major order.
    Regrouped {
        /// Axes of the input, this one among them.
        from: Range<usize>,
        /// Axes of the output.
        to: Range<usize>,
    },
    /// Every element of the output depends on all indices: the axis is summed over.
    Summed,
}

/// Which indices of an axis are picked.
#[derive(Clone, Debug, PartialEq)]
pub enum Pick {
    /// `start`, `start + step`, and so on.
    Strided {
        /// The first one.
        start: usize,
        /// From one to the next; negative where the order is reversed.
        step: i64,
    },
    /// The listed ones.
    Listed(Vec<usize>),
}

impl Pick {
    /// What index `i` of the result picks.
    pub fn index(&self, i: usize) -> usize {
        match self {
            Pick::Strided { start, step } => (*start as i64 + i as i64 * step) as usize,
            Pick::Listed(indices) => indices[i],
        }
    }
}

impl Link {
    /// The axes of the output that this one becomes, or becomes part of.
    pub fn targets(&self) -> Range<usize> {
        match self {
            Link::Alike { to }
            | Link::Broadcast { to }
            | Link::Near { to, .. }
            | Link::Whole { to }
            | Link::Windowed { to }
            | Link::Picked { to, .. }
            | Link::Joined { to, .. } => *to..to + 1,
            Link::Regrouped { to, .. } => to.clone(),
            Link::Summed => 0..0,
        }
    }

    /// The axis of the output that is as long as this one and whose index i depends on index i alone.
    pub fn alike(&self) -> Option<usize> {
        match self {
            Link::Alike { to } => Some(*to),
            Link::Broadcast { .. }
            | Link::Near { .. }
            | Link::Whole { .. }
            | Link::Windowed { .. }
            | Link::Picked { .. }
            | Link::Joined { .. }
            | Link::Regrouped { .. }
            | Link::Summed => None,
        }
    }
}

impl AxisMap {
    /// Every axis stays what and where it is.
    pub fn identity(rank: usize) -> Self {
        (0..rank).map(|to| Link::Alike { to }).collect()
    }

    /// Every axis stays what and where it is, but for those that `change` names.
    pub fn changing(rank: usize, change: impl Fn(usize) -> Option<Link>) -> Self {
        (0..rank).map(|to| change(to).unwrap_or(Link::Alike { to })).collect()
    }

    /// Height and width (axes 2 and 3) are windowed, or summed over; the others stay.
    pub fn of_planes(rank: usize, summed: bool) -> Self {
        Self::changing(rank, |axis| match axis {
            0 | 1 => None,
            _ if summed => Some(Link::Summed),
            _ => Some(Link::Windowed { to: axis }),
        })
    }

    /// Numpy's broadcasting: axes are aligned at the last one.
    pub fn broadcast(input: &Shape, output: &Shape) -> Self {
        let missing = output.len().saturating_sub(input.len());
        let link = |(axis, own): (usize, &Extent)| {
            let to = axis + missing;
            if output.get(to) == Some(own) { Link::Alike { to } } else { Link::Broadcast { to } }
        };
        input.iter().enumerate().map(link).collect()
    }

    /// The same elements in row-major order, under other extents: the fewest axes that have equally many elements together.
    pub fn regrouped(input: &Shape, output: &Shape) -> Self {
        let mut links = vec![Link::Regrouped { from: 0..input.len(), to: 0..output.len() }; input.len()];
        let Some(blocks) = blocks(input, output) else { return AxisMap { links } };
        for (from, to) in blocks {
            for axis in from.clone() {
                let one_each = from.len() == 1 && to.len() == 1;
                links[axis] =
                    if one_each { Link::Alike { to: to.start } } else { Link::Regrouped { from: from.clone(), to: to.clone() } };
            }
        }
        AxisMap { links }
    }

    /// As [`Self::regrouped`], where the first `copied` axes are known to stay.
    pub fn regrouped_behind(copied: usize, input: &Shape, output: &Shape) -> Self {
        let rest = Self::regrouped(&input[copied..].to_vec(), &output[copied..].to_vec());
        let shifted = |range: Range<usize>| range.start + copied..range.end + copied;
        let behind = |link| match link {
            Link::Alike { to } => Link::Alike { to: to + copied },
            Link::Regrouped { from, to } => Link::Regrouped { from: shifted(from), to: shifted(to) },
            other => other,
        };
        (0..copied).map(|to| Link::Alike { to }).chain(rest.links.into_iter().map(behind)).collect()
    }

    /// The slice of the input, of `shape` and with slices over `own`, that each slice of the output depends on, if that is one each;
    /// `outer` are the output's slices.
    pub fn origins(&self, shape: &Shape, own: &SliceSpace, outer: &SliceSpace) -> Option<Vec<usize>> {
        let origin = |index: usize| match self.reach(shape, own, outer, index) {
            Reach::One(slice) => Some(slice),
            Reach::Nothing | Reach::Near { .. } | Reach::All => None,
        };
        (0..outer.len()).map(origin).collect()
    }

    /// Which slices of the input, of `shape` and with slices over `own`, slice `index` of the output depends on; `outer` are the
    /// output's slices.
    pub fn reach(&self, shape: &Shape, own: &SliceSpace, outer: &SliceSpace, index: usize) -> Reach {
        // The indices of the input on each of its slices' axes: a range, mostly of one.
        let mut ranges: Vec<Range<usize>> = Vec::with_capacity(own.axes.len());
        let mut center = None;
        for (&axis, &extent) in own.axes.iter().zip(&own.extents) {
            let all = 0..extent;
            let Some(link) = self.links.get(axis) else { return Reach::All };
            let only = |i: usize| i..i + 1;
            ranges.push(match link {
                Link::Alike { to } => outer.on(*to, index).map_or(all, only),
                Link::Broadcast { to } => outer.on(*to, index).map_or(all, |i| only(if extent == 1 { 0 } else { i })),
                Link::Near { to, before, after } => match outer.on(*to, index) {
                    Some(i) => {
                        let range = i.saturating_sub(*before)..(i + after + 1).min(extent);
                        center = Some(i - range.start);
                        range
                    }
                    None => all,
                },
                Link::Picked { to, pick } => outer.on(*to, index).map_or(all, |i| only(pick.index(i))),
                Link::Joined { to, first } => match outer.on(*to, index) {
                    Some(i) if (*first..first + extent).contains(&i) => only(i - first),
                    Some(_) => return Reach::Nothing,
                    None => all,
                },
                Link::Regrouped { from, to } => regrouped_index(shape, from, axis, outer, to, index).map_or(all, only),
                Link::Whole { .. } | Link::Windowed { .. } | Link::Summed => all,
            });
        }
        match own.only(&ranges) {
            Some(slice) => Reach::One(slice),
            // Neighbours are those of one axis, the innermost, or they would not be a range of slices.
            None => match (center, own.range(&ranges)) {
                (Some(center), Some(range)) => Reach::Near { own: range.start + center, range },
                _ => Reach::All,
            },
        }
    }
}

impl FromIterator<Link> for AxisMap {
    fn from_iter<I: IntoIterator<Item = Link>>(links: I) -> Self {
        AxisMap { links: links.into_iter().collect() }
    }
}

/// Which slices of an input a slice of the output depends on.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// None of this input's.
    Nothing,
    /// This one.
    One(usize),
    /// Its own one, and those around.
    Near {
        /// Its own one.
        own: usize,
        /// All of them.
        range: Range<usize>,
    },
    /// It may depend on any.
    All,
}

/// The slices of a value: one for each combination of indices on some of its axes, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceSpace {
    /// Axes on which a slice has one index each, increasing.
    axes: Vec<usize>,
    /// Their extents.
    extents: Vec<usize>,
}

impl SliceSpace {
    /// Slices of a value of `shape` along `axes`, which are increasing; `None` where one of them does not exist or its extent is unknown.
    pub fn along(shape: &Shape, axes: &[usize]) -> Option<Self> {
        let extents: Option<Vec<usize>> = axes.iter().map(|&axis| shape.get(axis)?.known()).collect();
        Some(SliceSpace { axes: axes.to_vec(), extents: extents? })
    }

    /// How many slices there are.
    #[allow(clippy::len_without_is_empty, reason = "a count, not a container")]
    pub fn len(&self) -> usize {
        self.extents.iter().product()
    }

    /// The index of slice `slice` on `axis`, if slices have one there.
    fn on(&self, axis: usize, slice: usize) -> Option<usize> {
        let position = self.axes.iter().position(|&a| a == axis)?;
        let inner: usize = self.extents[position + 1..].iter().product();
        Some(slice / inner % self.extents[position])
    }

    /// The one slice with these indices, if each range has one.
    fn only(&self, ranges: &[Range<usize>]) -> Option<usize> {
        let indices = ranges.iter().zip(&self.extents);
        indices.into_iter().try_fold(0, |slice, (range, extent)| (range.len() == 1).then_some(slice * extent + range.start))
    }

    /// The slices with these indices, if only the last range has several.
    fn range(&self, ranges: &[Range<usize>]) -> Option<Range<usize>> {
        let (last, outer) = ranges.split_last()?;
        let extent = self.extents[outer.len()];
        let outer = SliceSpace { axes: Vec::new(), extents: self.extents[..outer.len()].to_vec() }.only(outer)?;
        Some(outer * extent + last.start..outer * extent + last.end)
    }
}

/// Blocks of axes of both shapes with equally many elements, in order; `None` if symbolic extents leave that open.
fn blocks(input: &Shape, output: &Shape) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    let is_one = |extents: &[Extent]| shape::product(extents).known() == Some(1);
    let mut blocks = Vec::new();
    let mut at = [0, 0];
    // Where everything but the first axes is equally much, so are the first axes.
    if let ([first, rest @ ..], [new_first, new_rest @ ..]) = (&input[..], &output[..])
        && (first.known().is_none() || new_first.known().is_none())
        && shape::product(rest) == shape::product(new_rest)
    {
        blocks.push((0..1, 0..1));
        at = [1, 1];
    }
    while at[0] < input.len() && at[1] < output.len() {
        let [mut from, mut to] = [at[0]..at[0] + 1, at[1]..at[1] + 1];
        let (mut have, mut want) = (input[from.start].clone(), output[to.start].clone());
        // An extent of 1 that the other side does not have stands for itself.
        if have != want && have.known() == Some(1) {
            blocks.push((from, at[1]..at[1]));
            at[0] += 1;
            continue;
        }
        if have != want && want.known() == Some(1) {
            at[1] += 1;
            continue;
        }
        while have != want {
            // Which side has less may depend on symbols; then the larger range says nothing more than both to their ends.
            let has_less = (&have - &want).bounds().1 < 0;
            if from.end < input.len() && (has_less || to.end == output.len()) {
                have = &have * &input[from.end];
                from.end += 1;
            } else if to.end < output.len() {
                want = &want * &output[to.end];
                to.end += 1;
            } else {
                return None;
            }
        }
        at = [from.end, to.end];
        blocks.push((from, to));
    }
    // What is left has extents of 1.
    let left = (at[0]..input.len(), at[1]..output.len());
    if !is_one(&input[left.0.clone()]) || !is_one(&output[left.1.clone()]) {
        return None;
    }
    blocks.extend((!left.0.is_empty()).then_some(left));
    Some(blocks)
}

/// The index on `axis`, one of the axes `from` of an input of `shape`, of the elements that slice `slice` of the output has on its axes
/// `to`; `None` where the slice leaves that open.
fn regrouped_index(
    shape: &Shape,
    from: &Range<usize>,
    axis: usize,
    outer: &SliceSpace,
    to: &Range<usize>,
    slice: usize,
) -> Option<usize> {
    let mut position = 0;
    for to in to.clone() {
        let place = outer.axes.iter().position(|&a| a == to)?;
        position = position * outer.extents[place] + outer.on(to, slice)?;
    }
    let inner = shape::product(&shape[axis + 1..from.end]).known()?;
    Some(position / inner % shape[axis].known()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(extents: &[usize]) -> Shape {
        shape::of(extents)
    }

    fn open(symbol: &str, extents: &[usize]) -> Shape {
        [vec![Extent::symbol(symbol)], shape::of(extents)].concat()
    }

    /// What each slice of the output depends on, where slices are taken along these axes.
    fn reaches(map: &AxisMap, input: (&Shape, &[usize]), output: (&Shape, &[usize])) -> Vec<Reach> {
        let own = SliceSpace::along(input.0, input.1).expect("known extents");
        let outer = SliceSpace::along(output.0, output.1).expect("known extents");
        (0..outer.len()).map(|i| map.reach(input.0, &own, &outer, i)).collect()
    }

    #[test]
    fn flattening_makes_a_run_of_each_channel() {
        let (from, to) = (open("n", &[3, 2, 2]), open("n", &[12]));
        let map = AxisMap::regrouped(&from, &to);
        assert_eq!(map.links[0], Link::Alike { to: 0 });
        let expected: Vec<Reach> = (0..12).map(|i| Reach::One(i / 4)).collect();
        assert_eq!(reaches(&map, (&from, &[1]), (&to, &[1])), expected);
    }

    #[test]
    fn blocks_are_as_small_as_can_be() {
        let regrouped = |from: Range<usize>, to: Range<usize>| Link::Regrouped { from, to };
        let cases = [
            (
                shape(&[2, 6, 4, 4]),
                shape(&[2, 3, 2, 4, 4]),
                vec![Link::Alike { to: 0 }, regrouped(1..2, 1..3), Link::Alike { to: 3 }, Link::Alike { to: 4 }],
            ),
            (
                shape(&[2, 5, 1, 1]),
                shape(&[2, 5]),
                vec![Link::Alike { to: 0 }, Link::Alike { to: 1 }, regrouped(2..4, 2..2), regrouped(2..4, 2..2)],
            ),
            (shape(&[2, 3, 4, 5]), shape(&[2, 1, 3, 1, 4, 5]), [0, 2, 4, 5].map(|to| Link::Alike { to }).to_vec()),
            (open("n", &[4]), [shape(&[2]), open("m", &[])].concat(), vec![regrouped(0..2, 0..2); 2]),
            (
                open("n", &[6, 4]),
                open("n", &[2, 3, 4]),
                vec![Link::Alike { to: 0 }, regrouped(1..2, 1..3), Link::Alike { to: 3 }],
            ),
            (
                [open("n", &[6]), open("h", &[]), open("w", &[])].concat(),
                vec![Extent::symbol("n"), Extent::from(6usize), &Extent::symbol("h") * &Extent::symbol("w")],
                vec![Link::Alike { to: 0 }, Link::Alike { to: 1 }, regrouped(2..4, 2..3), regrouped(2..4, 2..3)],
            ),
            (shape(&[4, 6]), shape(&[6, 4]), vec![regrouped(0..2, 0..2); 2]),
            // First axes that are as long as each other, though nothing but the others says so.
            (open("n", &[6]), open("m", &[2, 3]), vec![Link::Alike { to: 0 }, regrouped(1..2, 1..3)]),
            (open("n", &[6]), shape(&[2, 2, 3]), vec![Link::Alike { to: 0 }, regrouped(1..2, 1..3)]),
            (shape(&[2, 6]), open("n", &[2, 3]), vec![Link::Alike { to: 0 }, regrouped(1..2, 1..3)]),
            // An extent that is 1 whenever this is legal, which nothing says.
            ([open("h", &[]), open("w", &[])].concat(), open("h", &[]), vec![regrouped(0..2, 0..1); 2]),
            (open("h", &[]), [open("h", &[]), open("w", &[])].concat(), vec![regrouped(0..1, 0..2)]),
        ];
        for (from, to, expected) in cases {
            assert_eq!(AxisMap::regrouped(&from, &to).links, expected, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_channel_shuffle_is_followed_over_products_of_axes() {
        // [N, 6, H, W] -> [N, 2, 3, H, W] -> [N, 3, 2, H, W] -> [N, 6, H, W].
        let (x, split) = (shape(&[1, 6, 4, 4]), shape(&[1, 2, 3, 4, 4]));
        let swapped = shape(&[1, 3, 2, 4, 4]);
        let first = AxisMap::regrouped(&x, &split);
        assert_eq!(reaches(&first, (&x, &[1]), (&split, &[1, 2])), (0..6).map(Reach::One).collect::<Vec<_>>());
        let transpose: AxisMap = [0, 2, 1, 3, 4].into_iter().map(|to| Link::Alike { to }).collect();
        let expected: Vec<Reach> = [0, 3, 1, 4, 2, 5].map(Reach::One).to_vec();
        assert_eq!(reaches(&transpose, (&split, &[1, 2]), (&swapped, &[1, 2])), expected);
        let last = AxisMap::regrouped(&swapped, &x);
        assert_eq!(reaches(&last, (&swapped, &[1, 2]), (&x, &[1])), (0..6).map(Reach::One).collect::<Vec<_>>());
        // Of one axis alone, a merged index is several.
        assert_eq!(reaches(&first, (&x, &[1]), (&split, &[1])), vec![Reach::All; 2]);
    }

    #[test]
    fn neighbours_joined_and_picked_indices_are_told() {
        let x = shape(&[1, 4]);
        let near = AxisMap::changing(2, |axis| (axis == 1).then_some(Link::Near { to: 1, before: 1, after: 2 }));
        let expected: Vec<Reach> =
            [0..3, 0..4, 1..4, 2..4].into_iter().enumerate().map(|(own, range)| Reach::Near { own, range }).collect();
        assert_eq!(reaches(&near, (&x, &[1]), (&x, &[1])), expected);
        // On the inner one of two axes, they are those within an index of the outer one.
        let rows = shape(&[1, 3, 4]);
        let near_in_rows = AxisMap::changing(3, |axis| (axis == 2).then_some(Link::Near { to: 2, before: 1, after: 2 }));
        let own = |own: usize| {
            let (row, range) = (own / 4 * 4, [0..3, 0..4, 1..4, 2..4][own % 4].clone());
            Reach::Near { own, range: row + range.start..row + range.end }
        };
        assert_eq!(reaches(&near_in_rows, (&rows, &[1, 2]), (&rows, &[1, 2])), (0..12).map(own).collect::<Vec<_>>());
        let joined = AxisMap::changing(2, |axis| (axis == 1).then_some(Link::Joined { to: 1, first: 1 }));
        let expected = [Reach::Nothing, Reach::One(0), Reach::One(1), Reach::One(2), Reach::One(3), Reach::Nothing];
        assert_eq!(reaches(&joined, (&x, &[1]), (&shape(&[1, 6]), &[1])), expected);
        let reversed = Pick::Strided { start: 3, step: -2 };
        let picked = AxisMap::changing(2, |axis| (axis == 1).then_some(Link::Picked { to: 1, pick: reversed.clone() }));
        assert_eq!(reaches(&picked, (&x, &[1]), (&shape(&[1, 2]), &[1])), [Reach::One(3), Reach::One(1)]);
    }

    #[test]
    fn planes_are_windowed_or_summed_over() {
        let channels = [0, 1].map(|to| Link::Alike { to });
        let windowed = [2, 3].map(|to| Link::Windowed { to });
        assert_eq!(AxisMap::of_planes(4, false).links, [channels.clone(), windowed].concat());
        assert_eq!(AxisMap::of_planes(4, true).links, [channels, [Link::Summed, Link::Summed]].concat());
    }

    #[test]
    fn broadcast_axes_are_aligned_at_the_last_one() {
        let (x, out) = (shape(&[3, 1]), shape(&[2, 3, 5]));
        let map = AxisMap::broadcast(&x, &out);
        assert_eq!(map.links, [Link::Alike { to: 1 }, Link::Broadcast { to: 2 }]);
        assert_eq!(reaches(&map, (&x, &[0]), (&out, &[1])), [Reach::One(0), Reach::One(1), Reach::One(2)]);
        assert_eq!(reaches(&map, (&x, &[1]), (&out, &[2])), vec![Reach::One(0); 5]);
        assert_eq!(reaches(&map, (&x, &[0]), (&out, &[2])), vec![Reach::All; 5], "an axis that the slices have no index on");
    }
}
