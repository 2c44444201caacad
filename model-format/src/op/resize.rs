//! Planes of another size: padding and resizing.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link};
use crate::codec::{choice, record};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::Site;
use crate::shape::{Shape, expect_rank};

record! {
    /// ONNX `Pad`.
    pub struct Pad {
        /// For each axis, how much is put before and after.
        pub amounts: Vec<[u32; 2]>,
        /// With what.
        pub fill: Fill,
    }

    /// ONNX `Resize`. Axes 0 and 1 keep their extents.
    pub struct Resize2d {
        /// How a new position maps to an old one.
        pub coordinates: Coordinates,
        /// How elements are found there.
        pub interpolation: Interpolation,
        /// New height and width.
        pub target: Target,
    }
}

choice! {
    /// What a Pad puts around its input.
    pub enum Fill: "kind of filling" {
        /// An element.
        0 => Constant {
            /// The element.
            value: f32,
        },
        /// The mirror image without the border itself.
        1 => Reflect,
        /// The border.
        2 => Edge,
    }
}

choice! {
    /// How a Resize maps position `x` of `new` to one of `old` positions; `scale` is new over old.
    pub enum Coordinates: "coordinate transformation" {
        /// `(x + 1/2) / scale - 1/2`.
        0 => HalfPixel,
        /// As half pixel, but 0 where `new` is 1.
        1 => PytorchHalfPixel,
        /// `x / scale`.
        2 => Asymmetric,
        /// `x (old - 1) / (scale old - 1)`, 0 where `scale old` is 1.
        3 => AlignCorners,
    }
}

choice! {
    /// How a Resize finds an element between positions.
    pub enum Interpolation: "interpolation" {
        /// Between the two neighbours, in proportion.
        0 => Linear,
        /// The nearest one; of two equally near, the one before.
        1 => NearestPreferFloor,
        /// The nearest one; of two equally near, the one behind.
        2 => NearestPreferCeil,
        /// The one before.
        3 => Floor,
        /// The one behind.
        4 => Ceil,
    }
}

choice! {
    /// What a Resize makes of height and width.
    pub enum Target: "target of a Resize" {
        /// `floor(old * scale)`, vertical and horizontal.
        0 => Scales {
            /// Factors.
            factors: [f32; 2],
        },
        /// Fixed extents.
        1 => Sizes {
            /// Height, width.
            extents: [u32; 2],
        },
        /// Extents that depend on symbolic dims.
        2 => Open {
            /// Height, width.
            extents: [Extent; 2],
        },
    }
}

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        expect_rank(inputs[0], self.amounts.len())?;
        inputs[0].iter().zip(&self.amounts).map(|(extent, amounts)| padded_extent(extent, *amounts, &self.fill)).collect()
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let padded = |axis: usize| self.amounts.get(axis).is_some_and(|amounts| *amounts != [0, 0]);
        vec![AxisMap::changing(inputs[0].len(), |axis| padded(axis).then_some(Link::Windowed { to: axis }))]
    }

    /// What is around it is the same.
    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources).filter(|x| !matches!(self.fill, Fill::Constant { value } if value != *x))
    }
}

impl Operator for Resize2d {
    fn name(&self) -> &'static str {
        "Resize"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let x = inputs[0];
        expect_rank(x, 4)?;
        let extent = |axis: usize| match &self.target {
            Target::Sizes { extents } => Extent::from(extents[axis] as usize),
            Target::Open { extents } => extents[axis].clone(),
            // As the operator's definition has it, in the precision of the factors.
            Target::Scales { factors } => x[2 + axis].scaled(factors[axis]),
        };
        Ok(vec![x[0].clone(), x[1].clone(), extent(0), extent(1)])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::of_planes(inputs[0].len(), false)]
    }

    fn extents(&self) -> Vec<&Extent> {
        match &self.target {
            Target::Open { extents } => extents.iter().collect(),
            Target::Scales { .. } | Target::Sizes { .. } => Vec::new(),
        }
    }

    fn extents_mut(&mut self) -> Vec<&mut Extent> {
        match &mut self.target {
            Target::Open { extents } => extents.iter_mut().collect(),
            Target::Scales { .. } | Target::Sizes { .. } => Vec::new(),
        }
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }
}

impl Check for Pad {}

impl Check for Resize2d {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        let Target::Scales { factors } = &self.target else { return Ok(()) };
        match factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
            Some(f) => Err(Error::invalid("scale", "a positive factor", f)),
            None => Ok(()),
        }
    }
}

fn padded_extent(extent: &Extent, [before, after]: [u32; 2], fill: &Fill) -> Result<Extent> {
    let (before, after) = (before as usize, after as usize);
    let most = match (fill, extent.known()) {
        (Fill::Reflect, Some(extent)) => extent.saturating_sub(1),
        (Fill::Edge, Some(0)) => 0,
        _ => usize::MAX,
    };
    if before.max(after) > most {
        return Err(Error::shape("amounts", format!("at most {most} (of what there is to copy)"), before.max(after)));
    }
    Ok(extent + (before + after) as i64)
}
