//! Axes that are rebuilt position by position, one after the other.

use crate::error::{Error, Result};
use crate::planning::{Lowering, Operand};
use sslm_format::shape::MAX_ELEMENTS;
use sslm_kernels::layout::Extents;
use sslm_kernels::remap::{RemapTask, Sources};
use sslm_kernels::resample::{ResampleTask, Windows};

/// Where the positions of a new axis come from.
pub(super) enum Positions {
    /// Each from two old ones at most.
    Remapped(Sources),
    /// Each from neighbours.
    Resampled(Windows),
}

impl Positions {
    fn len(&self) -> usize {
        match self {
            Positions::Remapped(sources) => sources.len(),
            Positions::Resampled(windows) => windows.len(),
        }
    }
}

/// A step for each axis of the first input, with where each of its positions comes from.
pub(super) fn rebuild(at: &mut Lowering<'_, '_>, axes: Vec<(usize, Positions)>) -> Result<()> {
    let (place, shape) = at.input();
    let place = rebuilt(at, place, shape, axes)?;
    at.define(place);
    Ok(())
}

/// As [`rebuild`], of what lies in `place` and has this shape.
pub(super) fn rebuilt(
    at: &mut Lowering<'_, '_>,
    mut place: Operand,
    mut shape: Vec<usize>,
    axes: Vec<(usize, Positions)>,
) -> Result<Operand> {
    for (axis, positions) in axes {
        let extents = |shape: &[usize]| Extents { images: shape[0], channels: shape[1], plane: shape[2..].iter().product() };
        let (before, in_planes) = (shape.clone(), axis > 1);
        let (extent, inner) = (shape[axis], shape[axis + 1..].iter().product());
        shape[axis] = positions.len();
        // Between two axes' turns a tensor stands that is no value of the graph, so its size was not checked with theirs.
        let len = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e)).filter(|&n| n <= MAX_ELEMENTS);
        let len = len.ok_or_else(|| Error::input("elements", format!("at most {MAX_ELEMENTS}"), "more"))?;
        let in_planes = in_planes.then(|| [&before, &shape].map(|shape| extents(shape)));
        place = match positions {
            Positions::Remapped(sources) => at.emit(RemapTask { extent, inner, sources, in_planes }, vec![place], len),
            Positions::Resampled(windows) => at.emit(ResampleTask { extent, inner, windows, in_planes }, vec![place], len),
        };
    }
    Ok(place)
}
