//! Planes of another size: padding and resizing.

use super::rebuild::{positions, rebuild};
use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{Coordinates, Fill, Interpolation, Pad, Resize2d, Target};
use sslm_kernels::axis::From;

impl Lower for Pad {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let axes = (0..self.amounts.len()).filter(|&axis| self.amounts[axis] != [0, 0]);
        let rebuilt = |axis: usize| {
            positions(at.shape(at.output)[axis])?;
            Ok((axis, padded(at.shape(at.x())[axis], self.amounts[axis], &self.fill)))
        };
        let axes = axes.map(rebuilt).collect::<Result<_>>()?;
        rebuild(at, axes)
    }
}

impl Lower for Resize2d {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let mut axes = Vec::new();
        for axis in 0..2 {
            let (old, new) = (at.shape(at.x())[2 + axis], at.shape(at.output)[2 + axis]);
            let scale = match &self.target {
                Target::Scales { factors } => f64::from(factors[axis]),
                Target::Sizes { .. } | Target::Open { .. } => new as f64 / old as f64,
            };
            let sources = resized(old, positions(new)?, scale, &self.coordinates, &self.interpolation);
            if !is_identity(&sources, old) {
                axes.push((2 + axis, sources));
            }
        }
        // Rows that there will be more of are cheaper to rebuild before.
        if at.shape(at.output)[2] > at.shape(at.x())[2] {
            axes.reverse();
        }
        rebuild(at, axes)
    }
}

/// The positions of a padded axis.
fn padded(extent: usize, [before, after]: [u32; 2], fill: &Fill) -> Vec<From> {
    let (before, after) = (before as i64, after as i64);
    let last = extent as i64 - 1;
    let source = |i: i64| match fill {
        _ if (0..=last).contains(&i) => From::Position(i as usize),
        Fill::Constant { value } => From::Constant(*value),
        Fill::Edge => From::Position(i.clamp(0, last) as usize),
        // The shape rules keep the mirror image within one reflection.
        Fill::Reflect => From::Position((if i < 0 { -i } else { 2 * last - i }) as usize),
    };
    (-before..extent as i64 + after).map(source).collect()
}

/// The positions of a resized axis.
fn resized(old: usize, new: usize, scale: f64, coordinates: &Coordinates, interpolation: &Interpolation) -> Vec<From> {
    let last = old - 1;
    let at = |i: usize| match coordinates {
        Coordinates::HalfPixel => (i as f64 + 0.5) / scale - 0.5,
        Coordinates::PytorchHalfPixel => {
            if new > 1 {
                (i as f64 + 0.5) / scale - 0.5
            } else {
                0.0
            }
        }
        Coordinates::Asymmetric => i as f64 / scale,
        Coordinates::AlignCorners => {
            if new > 1 {
                i as f64 * last as f64 / (new - 1) as f64
            } else {
                0.0
            }
        }
    };
    let nearest = |position: f64| From::Position(position.clamp(0.0, last as f64) as usize);
    let source = |i: usize| {
        let position = at(i);
        match interpolation {
            Interpolation::Linear => {
                let position = position.clamp(0.0, last as f64);
                let first = position.floor();
                let share = (position - first) as f32;
                // Nothing of a neighbour is nothing, even if the neighbour is infinite.
                if share == 0.0 {
                    From::Position(first as usize)
                } else {
                    From::Between(first as usize, first as usize + 1, share)
                }
            }
            Interpolation::NearestPreferFloor => nearest((position - 0.5).ceil()),
            Interpolation::NearestPreferCeil => nearest((position + 0.5).floor()),
            Interpolation::Floor => nearest(position.floor()),
            Interpolation::Ceil => nearest(position.ceil()),
        }
    };
    (0..new).map(source).collect()
}

fn is_identity(sources: &[From], extent: usize) -> bool {
    let own = |(i, from): (usize, &From)| match *from {
        From::Position(p) => p == i,
        From::Between(..) | From::Constant(_) => false,
    };
    sources.len() == extent && sources.iter().enumerate().all(own)
}
