//! Planes of another size: padding and resizing.

use super::rebuild::{Positions, rebuild, rebuilt};
use super::resample;
use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{Coordinates, Fill, Interpolation, Pad, Resample, Resize2d, Target};
use sslm_kernels::remap::{From, Sources};

impl Lower for Pad {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let padded: Vec<usize> = (0..self.amounts.len()).filter(|&axis| self.amounts[axis] != [0, 0]).collect();
        at.builder.list(padded.iter().map(|&axis| Sources::most_bytes(at.shape(at.output)[axis])).sum())?;
        let of_axis = |&axis: &usize| {
            let fill = match self.fill {
                Fill::Constant { value } => From::Constant(value),
                Fill::Reflect | Fill::Edge | Fill::Wrap => From::Constant(0.0),
            };
            let sources = self.sources(axis, at.shape(at.x())[axis]).map(|source| source.map_or(fill, From::Position));
            (axis, sources.collect::<Sources>())
        };
        let mut axes: Vec<(usize, Sources)> = padded.iter().map(of_axis).collect();
        let channels = axes.iter().position(|(axis, _)| *axis == 1);
        let kept = channels.and_then(|i| kept_of_input(at.kept()?, &axes[i].1));
        let remapped = |axes: Vec<(usize, Sources)>| -> Vec<(usize, Positions)> {
            axes.into_iter().map(|(axis, sources)| (axis, Positions::Remapped(sources))).collect()
        };
        let (Some(kept), Some(i)) = (kept, channels) else { return rebuild(at, remapped(axes)) };
        // All channels that are kept are some of the input.
        axes.remove(i);
        let mut shape = at.shape(at.x()).to_vec();
        shape[1] = kept.len();
        let x = at.x();
        let place = at.builder.channels_of(x, Some(&kept));
        let place = rebuilt(at, place, shape, remapped(axes))?;
        at.builder.define(at.output, place);
        Ok(())
    }
}

/// The channels of the input that the kept ones of the output are, if all of them are such.
fn kept_of_input(kept: &[u32], sources: &Sources) -> Option<Vec<u32>> {
    let channel = |source: From| match source {
        From::Position(channel) => Some(channel as u32),
        From::Constant(_) | From::Between(..) => None,
    };
    let is_kept = |channel: usize| kept.binary_search(&(channel as u32)).is_ok();
    (0..).zip(sources.iter()).filter(|(i, _)| is_kept(*i)).map(|(_, source)| channel(source)).collect()
}

impl Lower for Resize2d {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let mut axes = Vec::new();
        for axis in 0..2 {
            let (old, new) = (at.shape(at.x())[2 + axis], at.shape(at.output)[2 + axis]);
            let scale = match &self.target {
                Target::Scales { factors } => f64::from(factors[axis]),
                Target::Sizes { .. } => new as f64 / old as f64,
            };
            at.builder.list(Sources::most_bytes(new))?;
            let sources = resized(old, new, scale, &self.coordinates, &self.interpolation);
            if !is_identity(&sources, old) {
                axes.push((2 + axis, Positions::Remapped(sources)));
            }
        }
        // Rows that there will be more of are cheaper to rebuild before.
        if at.shape(at.output)[2] > at.shape(at.x())[2] {
            axes.reverse();
        }
        rebuild(at, axes)
    }
}

impl Lower for Resample {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let mut axes = Vec::new();
        for (i, resampled) in self.axes.iter().enumerate() {
            let axis = resampled.axis as usize;
            let extents = [at.shape(at.x())[axis], at.shape(at.output)[axis]];
            at.builder.list(resample::listed(self, i, extents))?;
            if let Some(positions) = resample::axis(self, i, extents)? {
                axes.push((axis, positions));
            }
        }
        // What there will be more of is cheaper to rebuild before.
        let grows = |axis: usize| at.shape(at.output)[axis] > at.shape(at.x())[axis];
        if axes.first().is_some_and(|(axis, _)| grows(*axis)) {
            axes.reverse();
        }
        rebuild(at, axes)
    }
}

/// The positions of an axis that a Resize2d resizes.
fn resized(old: usize, new: usize, scale: f64, coordinates: &Coordinates, interpolation: &Interpolation) -> Sources {
    let last = old - 1;
    let at = |i: usize| match coordinates {
        Coordinates::Asymmetric => i as f64 / scale,
        Coordinates::AlignCorners if new > 1 => i as f64 * last as f64 / (new - 1) as f64,
        Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if new == 1 => 0.0,
        // The rules leave a Resize2d no other ones.
        _ => (i as f64 + 0.5) / scale - 0.5,
    };
    (0..new).map(|i| resample::between(at(i), last, interpolation)).collect()
}

fn is_identity(sources: &Sources, extent: usize) -> bool {
    let own = |(i, from): (usize, From)| match from {
        From::Position(p) => p == i,
        From::Between(..) | From::Constant(_) => false,
    };
    sources.len() == extent && sources.iter().enumerate().all(own)
}
