//! Files of times that benches and scripts write as JSON.

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Larger files are not read: they are something else.
const MOST_BYTES: u64 = 64 << 20;

/// What a file holds.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let name = || path.display().to_string();
    let len = path.metadata().with_context(|| format!("cannot read {}", name()))?.len();
    ensure!(len <= MOST_BYTES, "{}: expected times of at most {MOST_BYTES} bytes, found {len}", name());
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", name()))?;
    serde_json::from_str(&text).with_context(name)
}

/// Refuses what is no time.
pub(crate) fn check(path: &Path, mut times: impl Iterator<Item = f64>) -> Result<()> {
    let wrong = times.find(|us| !us.is_finite() || *us <= 0.0);
    ensure!(wrong.is_none(), "{}: expected microseconds above 0, found {}", path.display(), wrong.unwrap_or_default());
    Ok(())
}
