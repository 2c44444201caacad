//! What moved between two records.

use crate::record::{Record, Row};
use serde::Serialize;
use std::collections::HashMap;

/// Medians closer than this say nothing: two runs of the same program differ by up to as much (`docs/benchmarks.md`).
pub const NOISE: f64 = 0.1;

/// Medians of fewer quiet samples than this say nothing, either.
pub const LEAST_QUIET: usize = 5;

/// Notes by whose figures machines are told apart.
const RATES: [&str; 2] = ["Gop/s, threads 1", "Gop/s, threads 2"];

/// What became of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Beyond noise.
    Slower,
    /// Beyond noise.
    Faster,
    /// Within noise.
    Same,
    /// One of the two has fewer than [`LEAST_QUIET`] quiet samples.
    Unclear,
}

/// A row of both records.
pub struct Change<'r> {
    /// The older row.
    pub old: &'r Row,
    /// The newer row.
    pub new: &'r Row,
    /// What became of it.
    pub verdict: Verdict,
}

impl Change<'_> {
    /// How many times as long it takes now.
    pub fn ratio(&self) -> f64 {
        self.new.median_us / self.old.median_us
    }
}

/// Compares all rows that both records hold, in the order of the newer one. A row moved if its medians differ by more than [`NOISE`], and the
/// ranges between its quartiles do not overlap.
pub fn changes<'r>(old: &'r Record, new: &'r Record) -> Vec<Change<'r>> {
    let before: HashMap<_, &Row> = old.rows.iter().map(|row| (row.key(), row)).collect();
    let own = new.rows.iter().filter(|row| row.beside.is_empty());
    let change = |new: &'r Row| {
        let old = *before.get(&new.key())?;
        Some(Change { old, new, verdict: judge(old, new) })
    };
    own.filter_map(change).collect()
}

fn judge(old: &Row, new: &Row) -> Verdict {
    if old.quiet.min(new.quiet) < LEAST_QUIET {
        Verdict::Unclear
    } else if new.median_us > old.median_us * (1.0 + NOISE) && new.lower_quartile_us > old.upper_quartile_us {
        Verdict::Slower
    } else if old.median_us > new.median_us * (1.0 + NOISE) && old.lower_quartile_us > new.upper_quartile_us {
        Verdict::Faster
    } else {
        Verdict::Same
    }
}

/// What says that two records are of different machines, so that times moved with these: the names of their CPUs, and how many
/// operations these did in a second at best, where that differs by more than [`NOISE`]. Virtual machines often hide their CPU's name.
pub fn machines(old: &Record, new: &Record) -> Vec<String> {
    let [before, now] = [old, new].map(|record| record.notes("cpu").next().unwrap_or("an unknown CPU"));
    let names = (before != now).then(|| format!("{before}, then {now}"));
    let best = |record: &Record, key| record.notes(key).filter_map(|value| value.parse::<f64>().ok()).reduce(f64::max);
    let rates = RATES.into_iter().filter_map(|key| {
        let (before, now) = (best(old, key)?, best(new, key)?);
        let apart = before.max(now) > before.min(now) * (1.0 + NOISE);
        apart.then(|| format!("{before} {key}, then {now}"))
    });
    names.into_iter().chain(rates).collect()
}
