//! Products of two values that are both computed.

use super::{Check, Operator, Source};
use crate::axes::{AxisMap, Link};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::shape::{Shape, broadcast};
use std::ops::RangeInclusive;

record! {
    /// Products of the matrices on the last two axes, `y = alpha A B` (ONNX `MatMul` of two computed values). The axes before them are
    /// broadcast.
    pub struct MatMul {
        /// Whether the last two axes of each operand are swapped before.
        pub transposed: [bool; 2],
        /// Factor of the products.
        pub alpha: f32,
    }
}

impl MatMul {
    /// The axes of the matrices of operand `index`, which has `rank` axes: its own one, which becomes one of the result, and the one that
    /// is summed over.
    fn own_and_summed(&self, index: usize, rank: usize) -> [usize; 2] {
        let own_is_last = (index == 1) != self.transposed[index];
        if own_is_last { [rank - 1, rank - 2] } else { [rank - 2, rank - 1] }
    }
}

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [a, b] = [inputs[0], inputs[1]];
        if let Some(x) = inputs.iter().find(|x| x.len() < 2) {
            return Err(Error::shape("input rank", "at least 2", x.len()));
        }
        let [[rows, inner], [columns, other]] =
            [(0, a), (1, b)].map(|(i, x)| self.own_and_summed(i, x.len()).map(|axis| x[axis].clone()));
        if let (Some(inner), Some(other)) = (inner.known(), other.known())
            && inner != other
        {
            return Err(Error::shape("rows of the second matrix", inner, other));
        }
        let mut out = broadcast(&a[..a.len() - 2].to_vec(), &b[..b.len() - 2].to_vec())?;
        out.extend([rows, columns]);
        Ok(out)
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        let batch = output[..output.len() - 2].to_vec();
        let map = |(i, x): (usize, &&Shape)| {
            let mut map = AxisMap::broadcast(&x[..x.len() - 2].to_vec(), &batch);
            let [own, _] = self.own_and_summed(i, x.len());
            let of_matrix = |axis| if axis == own { Link::Alike { to: batch.len() + i } } else { Link::Summed };
            map.links.extend([x.len() - 2, x.len() - 1].map(of_matrix));
            map
        };
        inputs.iter().enumerate().map(map).collect()
    }

    /// Whatever it meets, a zero leaves zero.
    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        sources.iter().any(|source| source.one() == Some(0.0)).then_some(0.0)
    }
}

impl Check for MatMul {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::Extent;
    use crate::shape;

    fn shape(extents: &[usize]) -> Shape {
        shape::of(extents)
    }

    fn open(batch: &str, rows: usize, last: &str) -> Shape {
        vec![Extent::symbol(batch), Extent::from(rows), Extent::symbol(last)]
    }

    #[test]
    fn shapes_are_numpys() {
        let plain = MatMul { transposed: [false; 2], alpha: 1.0 };
        let both = MatMul { transposed: [true; 2], alpha: 1.0 };
        let cases = [
            (&plain, shape(&[3, 4]), shape(&[4, 5]), Some(shape(&[3, 5]))),
            (&plain, shape(&[7, 1, 3, 4]), shape(&[2, 4, 5]), Some(shape(&[7, 2, 3, 5]))),
            (&both, shape(&[6, 4, 3]), shape(&[5, 4]), Some(shape(&[6, 3, 5]))),
            (&plain, open("n", 3, "k"), open("n", 4, "m"), Some(open("n", 3, "m"))),
            (&plain, shape(&[3, 4]), shape(&[5, 4]), None),
            (&plain, shape(&[2, 3, 4]), shape(&[3, 4, 5]), None),
            (&plain, shape(&[4]), shape(&[4, 5]), None),
        ];
        for (op, a, b, expected) in cases {
            assert_eq!(op.shape(&[&a, &b]).ok(), expected, "{a:?} by {b:?}");
        }
    }

    #[test]
    fn rows_and_columns_stay_and_what_is_between_is_summed() {
        let (a, b) = (shape(&[2, 4, 3]), shape(&[6, 2, 5, 4]));
        let op = MatMul { transposed: [true; 2], alpha: 1.0 };
        let maps = op.axes(&[&a, &b], &shape(&[6, 2, 3, 5]));
        assert_eq!(maps[0].links, [Link::Alike { to: 1 }, Link::Summed, Link::Alike { to: 2 }]);
        assert_eq!(maps[1].links, [Link::Alike { to: 0 }, Link::Alike { to: 1 }, Link::Alike { to: 3 }, Link::Summed]);
    }
}
