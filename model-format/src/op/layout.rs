//! Other shapes and orders of the same elements.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::shape::{Shape, product};
use std::ops::Range;

record! {
    /// ONNX `Flatten`: axes before `axis` become one, the others become one.
    pub struct Flatten {
        /// First axis of the second part.
        pub axis: u32,
    }

    /// ONNX `Reshape`: 0 copies the input's extent on that axis, one -1 takes what is left.
    pub struct Reshape {
        /// Target dims.
        pub dims: Vec<Extent>,
    }

    /// ONNX `Transpose`: output axis `i` is input axis `axes[i]`.
    pub struct Transpose {
        /// Each axis of the input once.
        pub axes: Vec<u32>,
    }
}

impl Reshape {
    /// To dims that are known, 0 or -1.
    pub fn to(dims: &[i64]) -> Self {
        Reshape { dims: dims.iter().map(|&dim| Extent::from(dim)).collect() }
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
        Ok(vec![product(&x[..axis]), product(&x[axis..])])
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
        let copied = self.dims.iter().take_while(|dim| dim.integer() == Some(0)).count();
        vec![AxisMap::regrouped_behind(copied, inputs[0], output)]
    }

    fn extents(&self) -> Vec<&Extent> {
        self.dims.iter().collect()
    }

    fn extents_mut(&mut self) -> Vec<&mut Extent> {
        self.dims.iter_mut().collect()
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
        Ok(self.axes.iter().map(|&a| x[a as usize].clone()).collect())
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
fn reshaped(x: &Shape, dims: &[Extent]) -> Result<Shape> {
    let mut out = Shape::new();
    let mut inferred = None;
    for (axis, dim) in dims.iter().enumerate() {
        out.push(match dim.integer() {
            Some(0) => {
                let none = || Error::shape("dims", format!("0 only on the input's {} axes", x.len()), axis);
                x.get(axis).ok_or_else(none)?.clone()
            }
            Some(-1) if inferred.is_none() => {
                inferred = Some(axis);
                Extent::from(1usize)
            }
            Some(other) if other < 0 => return Err(Error::shape("dims", "positive extents, 0, or one -1", other)),
            _ => dim.clone(),
        });
    }
    let (have, want) = (product(x), product(&out));
    if let Some(axis) = inferred {
        // What an axis that is copied contributes to both cancels.
        let left =
            |s: &Shape| product(&s.iter().zip(0..).filter(|(_, i)| !copies(dims, *i)).map(|(e, _)| e.clone()).collect::<Shape>());
        let (all, known) = (left(x), left(&out));
        if let (Some(have), Some(want)) = (all.known(), known.known())
            && (want == 0 || !have.is_multiple_of(want))
        {
            return Err(Error::shape("elements", format!("a multiple of {want}"), have));
        }
        out[axis] = all.quotient(&known);
    } else if let (Some(have), Some(want)) = (have.known(), want.known())
        && have != want
    {
        return Err(Error::shape("elements", want, have));
    }
    Ok(out)
}

/// Whether `axis` is one of the input's that is copied.
fn copies(dims: &[Extent], axis: usize) -> bool {
    dims.get(axis).is_some_and(|dim| dim.integer() == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape;

    #[test]
    fn symbols_survive_a_reshape() {
        let dims = |dims: &[i64]| dims.iter().map(|&d| Extent::from(d)).collect::<Vec<_>>();
        let n = Extent::symbol("n");
        let x = [vec![n.clone()], shape::of(&[50, 4, 4])].concat();
        let flat = [vec![n.clone()], shape::of(&[800])].concat();
        assert_eq!(reshaped(&x, &dims(&[0, -1])).unwrap(), flat);
        assert_eq!(reshaped(&x, &dims(&[-1, 800])).unwrap(), flat);
        assert_eq!(reshaped(&x, &[n.clone(), Extent::from(-1i64)]).unwrap(), flat);
        assert_eq!(reshaped(&x, &dims(&[1, 800])).unwrap(), shape::of(&[1, 800]));
        let folded = reshaped(&x, &[&n * 5, Extent::from(10usize), Extent::from(-1i64)]).unwrap();
        assert_eq!(folded, [vec![&n * 5], shape::of(&[10, 16])].concat());
        let known = shape::of(&[2, 3]);
        assert_eq!(reshaped(&known, &dims(&[-1])).unwrap(), shape::of(&[6]));
        for refused in [&[4, -1][..], &[7], &[2, 3, 0]] {
            assert!(reshaped(&known, &dims(refused)).is_err(), "{refused:?}");
        }
    }
}
