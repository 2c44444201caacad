//! Checks of the integers that attributes and stored tensors hold.

use anyhow::{Context, Result};

/// An axis that is counted from either end, counted from the first.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|&a| a < rank)
        .with_context(|| format!("axis: expected -{rank} to {rank} (exclusive), found {axis}"))
}

/// A count that must be at least 1.
pub(crate) fn positive(n: i64, what: &str) -> Result<u32> {
    u32::try_from(n).ok().filter(|&n| n > 0).with_context(|| format!("{what}: expected a positive number, found {n}"))
}
