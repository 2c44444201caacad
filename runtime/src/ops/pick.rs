//! Indices of one axis that are picked.

use super::rebuild::{Positions, rebuild};
use crate::error::{Error, Result};
use crate::planning::{Lower, Lowering};
use sslm_format::{Gather, Slice};
use sslm_kernels::remap::{From, Sources};

impl Lower for Slice {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        pick(at, self.axis as usize, |extent| Some(self.picked(extent)?.collect()))
    }
}

impl Lower for Gather {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        pick(at, self.axis as usize, |extent| self.picked(extent))
    }
}

/// `picked` says which indices of an axis of so many are picked, unless one lies outside.
fn pick(at: &mut Lowering<'_, '_>, axis: usize, picked: impl Fn(usize) -> Option<Vec<usize>>) -> Result<()> {
    let extent = at.shape(at.x())[axis];
    let picked_len = at.shape(at.output)[axis];
    at.builder.list(Sources::most_bytes(picked_len).saturating_add(picked_len.saturating_mul(2 * size_of::<usize>())))?;
    let picked = picked(extent).ok_or_else(|| Error::input("indices", format!("below {extent}"), "others"))?;
    if axis != 1 {
        let sources = picked.into_iter().map(From::Position).collect();
        return rebuild(at, vec![(axis, Positions::Remapped(sources))]);
    }
    // Channels are taken from what is kept, and constants from what is known.
    let place = match at.kept() {
        Some(kept) => at.select(kept.iter().map(|&c| picked[c as usize])),
        None => at.select(picked.into_iter()),
    };
    at.builder.define(at.output, place);
    Ok(())
}
