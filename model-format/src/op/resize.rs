//! Planes of another size: padding and resizing.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link, Pick};
use crate::codec::{choice, record};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, check_list, equal};
use crate::shape::{MAX_RANK, Shape, expect_rank, on_axis};
use crate::window::MAX_WINDOW;

record! {
    /// ONNX `Pad`.
    pub struct Pad {
        /// For each axis, how much is put before and after.
        pub amounts: Vec<[u32; 2]>,
        /// With what.
        pub fill: Fill,
    }

    /// ONNX `Resize` of height and width, in the ways that it was first known in.
    pub struct Resize2d {
        /// How a new position maps to an old one.
        pub coordinates: Coordinates,
        /// How elements are found there.
        pub interpolation: Interpolation,
        /// New height and width.
        pub target: Target,
    }

    /// ONNX `Resize` of any axes, one after the other. Positions are computed in binary32, as onnxruntime does.
    pub struct Resample {
        /// The axes, strictly increasing.
        pub axes: Vec<ResampledAxis>,
        /// How a new position maps to an old one. Where the scale is 1, positions stay.
        pub coordinates: Coordinates,
        /// How elements are found there.
        pub interpolation: Interpolation,
        /// Whether linear and cubic windows become as wide as an axis shrinks.
        pub antialias: bool,
        /// Whether what lies outside has no weight in cubic windows and in those that antialias, rather than that of the border.
        pub exclude_outside: bool,
    }

    /// One axis that is resampled.
    pub struct ResampledAxis {
        /// Which one.
        pub axis: u32,
        /// Its new extent.
        pub target: AxisTarget,
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
        /// The other end, again and again.
        3 => Wrap,
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
        /// As half pixel, around the middle of the input where `scale old` is not whole.
        4 => HalfPixelSymmetric,
        /// `(x + 1/2) / scale`.
        5 => TfHalfPixelForNn,
        /// A region of the input, from its first position to its last one; what lies outside of the input is one element.
        6 => TfCropAndResize {
            /// Of each axis, where the region begins and ends; 0 and 1 are the input's first and last position.
            regions: Vec<[f32; 2]>,
            /// The element outside.
            outside: f32,
        },
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
        /// Between the four neighbours, by cubic convolution.
        5 => Cubic {
            /// Its coefficient `a`.
            coefficient: f32,
        },
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
    }
}

choice! {
    /// What a Resize makes of one axis.
    pub enum AxisTarget: "target of an axis" {
        /// `floor(old * factor)`.
        0 => Factor {
            /// New over old.
            factor: f32,
        },
        /// An extent; the scale is new over old.
        1 => Extent {
            /// The extent.
            extent: Extent,
        },
        /// A fixed extent whose scale is another one.
        2 => Scaled {
            /// The extent.
            extent: u32,
            /// The scale.
            scale: f32,
        },
    }
}

impl AxisTarget {
    /// The new extent of an axis of `old` positions.
    fn extent(&self, old: &Extent) -> Extent {
        match self {
            // As the operator's definition has it, in the precision of the factor.
            AxisTarget::Factor { factor } => old.scaled(*factor),
            AxisTarget::Extent { extent } => extent.clone(),
            AxisTarget::Scaled { extent, .. } => Extent::from(*extent as usize),
        }
    }

    /// The scale of an axis of `old` positions that has `new` afterwards.
    pub fn scale(&self, old: usize, new: usize) -> f32 {
        match *self {
            AxisTarget::Factor { factor } => factor,
            AxisTarget::Extent { .. } => new as f32 / old as f32,
            AxisTarget::Scaled { scale, .. } => scale,
        }
    }
}

impl Pad {
    /// How an axis of `extent` becomes one of the output. Channels stay what they are, so that those around them are known.
    fn link(&self, axis: usize, extent: &Extent) -> Option<Link> {
        let &[before, after] = self.amounts.get(axis)?;
        match (axis, extent.known()) {
            _ if [before, after] == [0, 0] => None,
            (1, Some(_)) if matches!(self.fill, Fill::Constant { .. }) => Some(Link::Joined { to: axis, first: before as usize }),
            (1, Some(extent)) if before.max(after) < MAX_WINDOW => {
                let sources: Option<Vec<usize>> = self.sources(axis, extent).collect();
                Some(Link::Picked { to: axis, pick: Pick::Listed(sources?) })
            }
            _ => Some(Link::Windowed { to: axis }),
        }
    }

    /// Where each position of a padded axis of `extent` comes from; `None` for those that are filled with an element. The axis exists,
    /// and the shape is one that the operator takes.
    pub fn sources(&self, axis: usize, extent: usize) -> impl Iterator<Item = Option<usize>> + '_ {
        let [before, after] = self.amounts[axis].map(i64::from);
        let (extent, last) = (extent as i64, extent as i64 - 1);
        let source = move |i: i64| match self.fill {
            _ if (0..extent).contains(&i) => Some(i),
            Fill::Constant { .. } => None,
            Fill::Edge => Some(i.clamp(0, last)),
            // The shape rules keep the mirror image within one reflection.
            Fill::Reflect => Some(if i < 0 { -i } else { 2 * last - i }),
            Fill::Wrap => Some(i.rem_euclid(extent)),
        };
        (-before..extent + after).map(move |i| source(i).map(|i| i as usize))
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
        let x = inputs[0];
        vec![AxisMap::changing(x.len(), |axis| self.link(axis, &x[axis]))]
    }

    fn since(&self) -> u16 {
        if self.fill == Fill::Wrap { 4 } else { 1 }
    }

    /// Channels around the input's are the element; the input's stay constant if what is around them is the same.
    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        let Fill::Constant { value } = self.fill else { return passed_on(sources) };
        let only_channels = (0..).zip(&self.amounts).all(|(axis, amounts)| axis == 1 || *amounts == [0, 0]);
        match sources.first()? {
            Source::Nothing => Some(value),
            source => source.one().filter(|x| only_channels || *x == value),
        }
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
            // As the operator's definition has it, in the precision of the factors.
            Target::Scales { factors } => x[2 + axis].scaled(factors[axis]),
        };
        Ok(vec![x[0].clone(), x[1].clone(), extent(0), extent(1)])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::of_planes(inputs[0].len(), false)]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }
}

impl Operator for Resample {
    fn name(&self) -> &'static str {
        "Resize"
    }

    fn since(&self) -> u16 {
        4
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let mut out = inputs[0].clone();
        for ResampledAxis { axis, target } in &self.axes {
            out = on_axis(&out, *axis, &mut |extent| Ok(target.extent(extent)))?;
        }
        Ok(out)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let resized = |axis: usize| self.axes.iter().any(|resized| resized.axis as usize == axis);
        vec![AxisMap::changing(inputs[0].len(), |axis| resized(axis).then_some(Link::Windowed { to: axis }))]
    }

    fn extents(&self) -> Vec<&Extent> {
        let mut all = Vec::new();
        for resized in &self.axes {
            if let AxisTarget::Extent { extent } = &resized.target {
                all.push(extent);
            }
        }
        all
    }

    fn extents_mut(&mut self) -> Vec<&mut Extent> {
        let mut all = Vec::new();
        for resized in &mut self.axes {
            if let AxisTarget::Extent { extent } = &mut resized.target {
                all.push(extent);
            }
        }
        all
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        let outside = match self.coordinates {
            Coordinates::TfCropAndResize { outside, .. } => Some(outside),
            _ => None,
        };
        passed_on(sources).filter(|x| outside.is_none_or(|outside| outside == *x))
    }
}

impl Check for Pad {}

impl Check for Resize2d {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        if matches!(
            self.coordinates,
            Coordinates::HalfPixelSymmetric | Coordinates::TfHalfPixelForNn | Coordinates::TfCropAndResize { .. }
        ) || matches!(self.interpolation, Interpolation::Cubic { .. })
        {
            return Err(Error::invalid("coordinates and interpolation", "those of operator 22", "some of operator 31"));
        }
        match self.target {
            Target::Scales { factors } => factors.into_iter().try_for_each(check_factor),
            Target::Sizes { .. } => Ok(()),
        }
    }
}

impl Check for Resample {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        let axes: Vec<u32> = self.axes.iter().map(|resized| resized.axis).collect();
        check_list("axes", &axes, MAX_RANK)?;
        for ResampledAxis { target, .. } in &self.axes {
            match target {
                AxisTarget::Factor { factor } | AxisTarget::Scaled { scale: factor, .. } => check_factor(*factor)?,
                AxisTarget::Extent { .. } => {}
            }
        }
        if let Coordinates::TfCropAndResize { regions, outside } = &self.coordinates {
            equal("regions", axes.len(), regions.len())?;
            regions.iter().flatten().chain([outside]).try_for_each(|x| check_finite("region or element outside", *x))?;
        }
        if let Interpolation::Cubic { coefficient } = self.interpolation {
            check_finite("coefficient", coefficient)?;
        }
        let takes_windows = matches!(self.interpolation, Interpolation::Linear | Interpolation::Cubic { .. });
        if self.antialias && !takes_windows {
            return Err(Error::invalid("antialias", "a linear or cubic interpolation", "a nearest one"));
        }
        Ok(())
    }

    /// Nothing can be resized to something.
    fn check_shapes(&self, _: &Site<'_>, inputs: &[&Shape], output: &Shape) -> Result<()> {
        for (axis, (old, new)) in inputs[0].iter().zip(output).enumerate() {
            if old.known() == Some(0) && new.known() != Some(0) {
                return Err(Error::shape(format!("axis {axis}"), "at least one position to resize", 0));
            }
        }
        Ok(())
    }
}

fn check_factor(factor: f32) -> Result<()> {
    if factor.is_finite() && factor > 0.0 { Ok(()) } else { Err(Error::invalid("scale", "a positive factor", factor)) }
}

fn check_finite(what: &str, x: f32) -> Result<()> {
    if x.is_finite() { Ok(()) } else { Err(Error::invalid(what, "a finite element", x)) }
}

fn padded_extent(extent: &Extent, [before, after]: [u32; 2], fill: &Fill) -> Result<Extent> {
    let (before, after) = (before as usize, after as usize);
    let most = match (fill, extent.known()) {
        (Fill::Reflect, Some(extent)) => extent.saturating_sub(1),
        (Fill::Edge | Fill::Wrap, Some(0)) => 0,
        _ => usize::MAX,
    };
    if before.max(after) > most {
        return Err(Error::shape("amounts", format!("at most {most} (of what there is to copy)"), before.max(after)));
    }
    Ok(extent + (before + after) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn refusal(record: &impl Check) -> Option<String> {
        let value = Value { name: "x".into(), compaction: None };
        let site = Site { inputs: vec![&value], output: &value, blobs: &[] };
        record.check(&site).err().map(|e| e.to_string())
    }

    fn factor(axis: u32, factor: f32) -> ResampledAxis {
        ResampledAxis { axis, target: AxisTarget::Factor { factor } }
    }

    #[test]
    fn records_that_break_a_rule_are_refused() {
        let fine = Resample {
            axes: vec![factor(1, 2.0), ResampledAxis { axis: 3, target: AxisTarget::Scaled { extent: 5, scale: 0.5 } }],
            coordinates: Coordinates::HalfPixel,
            interpolation: Interpolation::Linear,
            antialias: true,
            exclude_outside: false,
        };
        assert_eq!(refusal(&fine), None);
        let crop = |regions: Vec<[f32; 2]>, outside: f32| Coordinates::TfCropAndResize { regions, outside };
        let with = |change: &dyn Fn(&mut Resample)| {
            let mut record = fine.clone();
            change(&mut record);
            refusal(&record).expect("refused")
        };
        assert!(with(&|r| r.axes.reverse()).contains("strictly increasing"));
        assert!(with(&|r| r.axes[1].axis = 8).contains("below 8"));
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(with(&|r| r.axes[0] = factor(1, bad)).contains("a positive factor"), "{bad}");
        }
        assert!(with(&|r| r.coordinates = crop(vec![[0.0, 1.0]], 0.0)).contains("regions: expected 2, found 1"));
        assert!(with(&|r| r.coordinates = crop(vec![[0.0, f32::NAN], [0.0, 1.0]], 0.0)).contains("finite"));
        assert!(with(&|r| r.interpolation = Interpolation::Cubic { coefficient: f32::NAN }).contains("finite"));
        assert!(with(&|r| r.interpolation = Interpolation::Ceil).contains("antialias"));
        // What only this record has is not for the older one.
        let older = |coordinates, interpolation| {
            refusal(&Resize2d { coordinates, interpolation, target: Target::Sizes { extents: [1, 2] } })
        };
        assert_eq!(older(Coordinates::HalfPixel, Interpolation::Linear), None);
        assert!(older(Coordinates::TfHalfPixelForNn, Interpolation::Linear).is_some());
        assert!(older(Coordinates::HalfPixel, Interpolation::Cubic { coefficient: -0.75 }).is_some());
    }

    #[test]
    fn padding_of_channels_says_what_they_are() {
        let x = vec![Extent::symbol("n"), Extent::from(3usize), Extent::from(4usize)];
        let pad = |amounts: [u32; 2], fill: Fill| Pad { amounts: vec![[0, 0], amounts, [0, 0]], fill };
        let link = |pad: &Pad| pad.axes(&[&x], &pad.shape(&[&x]).expect("it can be padded"))[0].links[1].clone();
        let constant = pad([2, 1], Fill::Constant { value: 0.5 });
        assert_eq!(link(&constant), Link::Joined { to: 1, first: 2 });
        assert_eq!(constant.constant(&[Source::Nothing]), Some(0.5));
        assert_eq!(constant.constant(&[Source::One(Some(2.0))]), Some(2.0));
        let picked = |fill: Fill| match link(&pad([2, 1], fill)) {
            Link::Picked { to: 1, pick: Pick::Listed(list) } => list,
            other => panic!("{other:?}"),
        };
        assert_eq!(picked(Fill::Edge), [0, 0, 0, 1, 2, 2]);
        assert_eq!(picked(Fill::Reflect), [2, 1, 0, 1, 2, 1]);
        assert_eq!(picked(Fill::Wrap), [1, 2, 0, 1, 2, 0]);
        assert_eq!(link(&pad([0, MAX_WINDOW], Fill::Edge)), Link::Windowed { to: 1 }, "too many to list");
    }
}
