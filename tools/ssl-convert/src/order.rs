//! The order in which the axes of a value are stored, and how that runs through an operator. Layers that have their channels on the
//! last axis compute the same on values whose channels lie on axis 1, where a file can leave some out.

use sslm_format::shape::Shape;
use sslm_format::{AxisMap, Extent, Link};

/// For each axis as it is stored, which axis of the value it is; `None` is an axis of extent 1 that only the stored form has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order(Vec<Option<usize>>);

impl Order {
    /// Every axis where it is.
    pub fn identity(rank: usize) -> Self {
        (0..rank).map(Some).collect()
    }

    /// The last axis as axis 1 of four, as a convolution has its channels. `None` of other ranks than 3 and 4.
    pub fn channels_first(shape: &Shape) -> Option<Self> {
        match shape[..] {
            // Sequences may come first: then what has one index, or an unknown count of them, is the batch.
            [ref first, ref second, _] if matches!((first.known(), second.known()), (Some(2..), None | Some(1))) => {
                Some(Order(vec![Some(1), Some(2), None, Some(0)]))
            }
            [_, _, _] => Some(Order(vec![Some(0), Some(2), None, Some(1)])),
            [_, _, _, _] => Some(Order(vec![Some(0), Some(3), Some(1), Some(2)])),
            _ => None,
        }
    }

    /// The axes of the value in the order in which they are stored.
    pub fn axes(&self) -> impl ExactSizeIterator<Item = Option<usize>> + DoubleEndedIterator + '_ {
        self.0.iter().copied()
    }

    /// Whether every axis is where it is.
    pub fn is_identity(&self) -> bool {
        self.axes().enumerate().all(|(i, axis)| axis == Some(i))
    }

    /// Where `axis` of the value is stored.
    pub fn place(&self, axis: usize) -> Option<usize> {
        self.axes().position(|a| a == Some(axis))
    }

    /// The order by which the same is said of another value, of which axis `name(a)` is axis a of this one.
    pub fn renamed(&self, name: impl Fn(usize) -> usize) -> Self {
        self.axes().map(|axis| axis.map(&name)).collect()
    }

    /// The shape as it is stored.
    pub fn shape(&self, shape: &Shape) -> Shape {
        self.axes().map(|axis| axis.map_or(Extent::from(1usize), |axis| shape[axis].clone())).collect()
    }

    /// The axes that decide where elements lie: those whose extent is not known to be 1.
    pub fn significant(&self, shape: &Shape) -> Vec<usize> {
        self.axes().flatten().filter(|&axis| shape[axis].known() != Some(1)).collect()
    }

    /// The order of the output of an operator, of `shape`, whose input is stored in this order and whose axes run by `map`. `None` if
    /// the elements would not lie in one.
    pub fn behind(&self, map: &AxisMap, shape: &Shape) -> Option<Self> {
        let blocks = blocks(map, shape.len());
        self.translated(blocks.iter().map(|(from, to)| (&from[..], &to[..])), shape)
    }

    /// The order of the input, of `shape`, of an operator whose output, of `rank` axes, is stored in this order.
    pub fn before(&self, map: &AxisMap, shape: &Shape, rank: usize) -> Option<Self> {
        let blocks = blocks(map, rank);
        self.translated(blocks.iter().map(|(from, to)| (&to[..], &from[..])), shape)
    }

    /// With each block of axes replaced by another one, which are axes of a value of `shape`.
    fn translated<'b>(&self, blocks: impl Iterator<Item = (&'b [usize], &'b [usize])> + Clone, shape: &Shape) -> Option<Self> {
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(&place) = self.0.get(at) {
            let Some(axis) = place else {
                found.push(None);
                at += 1;
                continue;
            };
            let (from, to) = blocks.clone().find(|(from, _)| from.first() == Some(&axis))?;
            // The axes of a block must lie one behind the other.
            let stretch = self.0.get(at..at + from.len())?;
            if !stretch.iter().zip(from).all(|(place, axis)| *place == Some(*axis)) {
                return None;
            }
            found.extend(to.iter().copied().map(Some));
            at += from.len();
        }
        // Axes that come from nowhere have one index, and lie behind the one before them.
        for (axis, extent) in shape.iter().enumerate() {
            if !found.contains(&Some(axis)) {
                let before = axis.checked_sub(1).and_then(|before| found.iter().position(|place| *place == Some(before)));
                (extent.known() == Some(1)).then(|| found.insert(before.map_or(0, |before| before + 1), Some(axis)))?;
            }
        }
        Some(Order(found))
    }
}

impl FromIterator<Option<usize>> for Order {
    fn from_iter<I: IntoIterator<Item = Option<usize>>>(axes: I) -> Self {
        Order(axes.into_iter().collect())
    }
}

/// Axes of an input, and the axes of the output, of `rank` axes, that they become. Those that are summed over become the ones that
/// come from nowhere, if these are as many.
fn blocks(map: &AxisMap, rank: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut blocks: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    let mut summed = Vec::new();
    for (axis, link) in map.links.iter().enumerate() {
        match link {
            Link::Summed => summed.push(axis),
            Link::Regrouped { from, to } if from.start == axis => blocks.push((from.clone().collect(), to.clone().collect())),
            Link::Regrouped { .. } => {}
            Link::Alike { .. }
            | Link::Broadcast { .. }
            | Link::Near { .. }
            | Link::Whole { .. }
            | Link::Windowed { .. }
            | Link::Picked { .. }
            | Link::Joined { .. } => blocks.push((vec![axis], link.targets().collect())),
        }
    }
    let new: Vec<usize> = (0..rank).filter(|axis| !blocks.iter().any(|(_, to)| to.contains(axis))).collect();
    let as_many = new.len() == summed.len();
    let pair = |(i, axis): (usize, usize)| (vec![axis], if as_many { vec![new[i]] } else { Vec::new() });
    blocks.extend(summed.into_iter().enumerate().map(pair));
    blocks
}

/// The dims of a Reshape to `shape`, where axis i is axis i of the input if `same(i)`. `None` if there are no elements.
pub fn reshape_dims(shape: &Shape, same: impl Fn(usize) -> bool) -> Option<Vec<Extent>> {
    let dim = |(axis, extent): (usize, &Extent)| match extent.known() {
        Some(0) => None,
        None if same(axis) => Some(Extent::from(0usize)),
        _ => Some(extent.clone()),
    };
    let mut dims: Vec<Extent> = shape.iter().enumerate().map(dim).collect::<Option<_>>()?;
    // One other symbolic extent follows from the rest.
    let mut open = dims.iter_mut().filter(|dim| dim.integer().is_none());
    if let (Some(only), None) = (open.next(), open.next()) {
        *only = Extent::from(-1i64);
    }
    Some(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(extents: &[usize]) -> Shape {
        sslm_format::shape::of(extents)
    }

    fn n() -> Extent {
        Extent::symbol("n")
    }

    fn order(axes: &[i64]) -> Order {
        axes.iter().map(|&axis| usize::try_from(axis).ok()).collect()
    }

    #[test]
    fn orders_run_through_a_reshape_whose_blocks_stay_together() {
        // [N, T, C] -> [N, T, heads, C / heads], and back.
        let (x, y) = (shape(&[2, 6, 8]), shape(&[2, 6, 4, 2]));
        let map = AxisMap::regrouped(&x, &y);
        let first = Order::channels_first(&x).expect("three axes");
        assert_eq!(first.behind(&map, &y), Some(order(&[0, 2, 3, -1, 1])));
        assert_eq!(order(&[0, 2, 3, -1, 1]).before(&map, &x, 4), Some(first));
        assert_eq!(order(&[0, 2, 1, 3]).before(&map, &x, 4), None, "the axes of a block are apart");
        // [N, H, W, C] -> [N, H W, C].
        let (x, y) = (shape(&[2, 3, 4, 5]), shape(&[2, 12, 5]));
        let map = AxisMap::regrouped(&x, &y);
        assert_eq!(order(&[0, 3, 1, 2]).behind(&map, &y), Some(order(&[0, 2, 1])));
        assert_eq!(order(&[0, 1, 3, 2]).behind(&map, &y), None);
    }

    #[test]
    fn axes_that_are_summed_over_stay_in_their_place_or_go() {
        let x = shape(&[2, 3, 4, 5]);
        let summed =
            |axes: &[usize], keep: bool| -> AxisMap {
                let mut to = 0..;
                let mut link = |axis: usize| if axes.contains(&axis) { None } else { to.next().map(|to| Link::Alike { to }) };
                (0..4)
                    .map(|axis| {
                        if keep && !axes.contains(&axis) { Link::Alike { to: axis } } else { link(axis).unwrap_or(Link::Summed) }
                    })
                    .collect()
            };
        let first = order(&[0, 3, 1, 2]);
        assert_eq!(first.behind(&summed(&[1, 2], true), &shape(&[2, 1, 1, 5])), Some(first.clone()));
        assert_eq!(first.behind(&summed(&[1, 2], false), &shape(&[2, 5])), Some(order(&[0, 1])));
        assert_eq!(order(&[0, 1]).before(&summed(&[1, 2], false), &x, 2), None, "nobody knows where they were");
    }

    #[test]
    fn positions_of_a_sequence_are_beside_each_other() {
        for (x, expected) in [
            ([vec![n()], shape(&[26, 8])].concat(), [0, 2, -1, 1]),
            (shape(&[1, 26, 8]), [0, 2, -1, 1]),
            (shape(&[26, 1, 8]), [1, 2, -1, 0]),
            (vec![Extent::from(26usize), n(), Extent::from(8usize)], [1, 2, -1, 0]),
        ] {
            assert_eq!(Order::channels_first(&x), Some(order(&expected)), "{x:?}");
        }
    }

    #[test]
    fn dims_of_a_reshape_say_what_is_known() {
        let dims = |dims: &[i64]| Some(dims.iter().map(|&dim| Extent::from(dim)).collect::<Vec<_>>());
        let open = [vec![n()], shape(&[8, 1]), vec![Extent::symbol("h")]].concat();
        assert_eq!(reshape_dims(&open, |axis| axis == 0), dims(&[0, 8, 1, -1]));
        assert_eq!(reshape_dims(&open, |_| false), Some(open.clone()));
        assert_eq!(reshape_dims(&shape(&[2, 0]), |_| true), None);
    }
}
