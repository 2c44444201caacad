//! Other shapes and orders of the same elements.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::shape::{Shape, product};
use std::ops::Range;

record! {
    /// ONNX `Flatten`: axes before `axis` become one, the others become one.
    pub struct Flatten {
        /// First axis of the second part.
        pub axis: u32,
    }

    /// ONNX `Reshape` to fixed dims: 0 copies the input's extent on that axis, one -1 takes what is left.
    pub struct Reshape {
        /// Target dims.
        pub dims: Vec<i64>,
    }

    /// ONNX `Transpose`: output axis `i` is input axis `axes[i]`.
    pub struct Transpose {
        /// Each axis of the input once.
        pub axes: Vec<u32>,
    }
}

impl Operator for Flatten {
    fn name(&self) -> &'static str {
        "Flatten"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, axis) = (inputs[0], self.axis as usize);
        if axis > x.len() {
            return Err(Error::shape("axis", format!("at most {}", x.len()), axis));
        }
        Ok(vec![product(&x[..axis])?, product(&x[axis..])?])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let (rank, first) = (inputs[0].len(), self.axis as usize);
        let link = |from: Range<usize>, to: usize| match from.len() {
            1 => Link::Alike { to },
            _ => Link::Regrouped { from, to: to..to + 1 },
        };
        vec![(0..rank).map(|axis| if axis < first { link(0..first, 0) } else { link(first..rank, 1) }).collect()]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }

    fn is_view(&self) -> bool {
        true
    }
}

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        "Reshape"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        reshaped(inputs[0], &self.dims)
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        let copied = self.dims.iter().take_while(|dim| **dim == 0).count();
        vec![AxisMap::regrouped_behind(copied, inputs[0], output)]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }

    fn is_view(&self) -> bool {
        true
    }
}

impl Operator for Transpose {
    fn name(&self) -> &'static str {
        "Transpose"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let x = inputs[0];
        let mut axes = self.axes.clone();
        axes.sort_unstable();
        if axes.len() != x.len() || axes.iter().enumerate().any(|(i, &a)| a as usize != i) {
            return Err(Error::shape("axes", format!("each of 0..{} once", x.len()), format!("{} others", self.axes.len())));
        }
        Ok(self.axes.iter().map(|&a| x[a as usize]).collect())
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let to = |axis: usize| self.axes.iter().position(|&a| a as usize == axis).unwrap_or(axis);
        vec![(0..inputs[0].len()).map(|axis| Link::Alike { to: to(axis) }).collect()]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }

    fn only_moves(&self) -> bool {
        true
    }
}

impl Check for Flatten {}
impl Check for Reshape {}
impl Check for Transpose {}

/// The shape of `x` under new dims, by the rules of ONNX.
fn reshaped(x: &Shape, dims: &[i64]) -> Result<Shape> {
    let mut out = Shape::new();
    let mut inferred = None;
    for (axis, &dim) in dims.iter().enumerate() {
        out.push(match dim {
            0 => *x.get(axis).ok_or_else(|| Error::shape("dims", format!("0 only on the input's {} axes", x.len()), axis))?,
            -1 if inferred.is_none() => {
                inferred = Some(axis);
                Some(1)
            }
            d => Some(usize::try_from(d).map_err(|_| Error::shape("dims", "positive extents, 0, or one -1", d))?),
        });
    }
    let (have, want) = (product(x)?, product(&out)?);
    match (inferred, have, want) {
        (Some(axis), Some(have), Some(want)) => {
            if want == 0 || have % want != 0 {
                return Err(Error::shape("elements", format!("a multiple of {want}"), have));
            }
            out[axis] = Some(have / want);
        }
        (Some(axis), ..) => {
            // An unknown axis copied by 0 cancels: what is left may still be known.
            let cancels = |axis: usize| dims.get(axis) == Some(&0) && x[axis].is_none();
            let rest =
                |s: &Shape| product(&s.iter().enumerate().filter(|&(i, _)| !cancels(i)).map(|(_, &e)| e).collect::<Vec<_>>());
            out[axis] = match (rest(x)?, rest(&out)?) {
                (Some(have), Some(want)) if want > 0 && have.is_multiple_of(want) => Some(have / want),
                _ => None,
            };
        }
        (None, Some(have), Some(want)) if have != want => return Err(Error::shape("elements", want, have)),
        _ => {}
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_batch_survives_reshape() {
        let x = vec![None, Some(50), Some(4), Some(4)];
        assert_eq!(reshaped(&x, &[0, -1]).unwrap(), vec![None, Some(800)]);
        assert_eq!(reshaped(&x, &[-1, 800]).unwrap(), vec![None, Some(800)]);
        assert_eq!(reshaped(&x, &[1, 800]).unwrap(), vec![Some(1), Some(800)]);
        let known = vec![Some(2), Some(3)];
        assert_eq!(reshaped(&known, &[-1]).unwrap(), vec![Some(6)]);
        assert!(reshaped(&known, &[4, -1]).is_err());
        assert!(reshaped(&known, &[7]).is_err());
        assert!(reshaped(&known, &[2, 3, 0]).is_err());
    }
}
