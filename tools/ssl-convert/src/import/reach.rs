//! How large integers may be that are computed at run time. Networks compute with `f32`, which has all integers up to 2^24: what may lie
//! beyond is an error where it leaves the network, and must not be computed with before.

use anyhow::{Result, bail};
use sslm_format::{ElementType, ValueId};
use std::collections::HashMap;

/// The largest magnitude that integers may have which are computed with.
pub(crate) const EXACT: f64 = sslm_format::EXACT as f64;

/// Of which magnitude the integers of values may be, as far as that is known: infinite where unsigned ones may be negative.
#[derive(Default)]
pub(crate) struct Reaches(HashMap<ValueId, f64>);

impl Reaches {
    /// What is known of `v`, whose elements are of type `of`; 0 if that is nothing.
    pub(crate) fn of(&self, v: ValueId, of: ElementType) -> f64 {
        self.0.get(&v).copied().unwrap_or_else(|| of_type(of))
    }

    /// Says what is known of `v`.
    pub(crate) fn set(&mut self, v: ValueId, reach: f64) {
        self.0.insert(v, reach);
    }

    /// Says of `v` what is not yet said of it.
    pub(crate) fn set_if_new(&mut self, v: ValueId, reach: f64) {
        self.0.entry(v).or_insert(reach);
    }

    /// Forgets what is known of values from this place on.
    pub(crate) fn forget(&mut self, from: usize) {
        self.0.retain(|v, _| v.index() < from);
    }
}

/// The largest magnitude of a type of few bits; 0 of others.
fn of_type(of: ElementType) -> f64 {
    match of.integers() {
        _ if of == ElementType::Bool => 1.0,
        Some((least, most)) if of.size() < 4 => least.unsigned_abs().max(most.unsigned_abs()) as f64,
        _ => 0.0,
    }
}

/// That integers of type `of` that reach so far may be computed with.
pub(crate) fn expect_exact(reach: f64, of: ElementType) -> Result<()> {
    match reach {
        f64::INFINITY => bail!("expected {of} that is not negative for sure, found a difference"),
        reach if reach > EXACT => {
            bail!("expected {of} of magnitude at most {EXACT} (what is computed with is float32), found what may be {reach}")
        }
        _ => Ok(()),
    }
}
