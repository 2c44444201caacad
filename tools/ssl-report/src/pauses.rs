//! Calls after pauses: the files that the bench `pauses` and, for other runtimes, `tests/scripts/peers.py` write.

use crate::document::{Part, Section, Table};
use crate::json;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// On what machine, when and of what: keys and values.
    #[serde(default)]
    pub notes: Vec<(String, String)>,
    /// Times.
    pub rows: Vec<Row>,
}

/// Times of a network's calls in one pattern.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What computed it, with its version.
    pub runtime: String,
    /// The network's name.
    pub net: String,
    /// What is left of it.
    pub form: String,
    /// The file that has it as ONNX, beside this one.
    pub model: String,
    /// How many threads computed it.
    pub threads: usize,
    /// Whether they had but one core together.
    pub one_core: bool,
    /// The pattern's name: `back to back`, `after 1 ms asleep`.
    pub pause: String,
    /// How long each pause was, in microseconds.
    pub pause_us: u64,
    /// Whether the caller slept in it.
    pub asleep: bool,
    /// How many calls the times are of.
    pub calls: usize,
    /// The median time, in microseconds.
    pub median_us: f64,
    /// A tenth of the calls took more than this, in microseconds.
    pub p90_us: f64,
    /// How long all threads computed, for a call and in the pause before it, but for what the caller itself did in the pause; in
    /// microseconds.
    pub processor_us: f64,
}

impl Report {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self> {
        let report: Report = json::read(path)?;
        json::check(path, report.rows.iter().flat_map(|row| [row.median_us, row.p90_us]))?;
        Ok(report)
    }
}

/// What files say, side by side.
pub(crate) fn section(reports: &[Report]) -> Option<Section> {
    let rows: Vec<&Row> = reports.iter().flat_map(|report| &report.rows).collect();
    // In the order in which they were measured.
    let mut runtimes: Vec<&str> = Vec::new();
    for row in &rows {
        if !runtimes.contains(&row.runtime.as_str()) {
            runtimes.push(&row.runtime);
        }
    }
    let text = "Programs seldom call a network back to back. Times in microseconds: the median, in brackets what a tenth of the calls \
                exceeded, and behind it the processor time of all threads for a call and in the pause before it, without what the \
                caller itself did in the pause. Helper threads that sleep when a call comes are late; those that look for work until \
                it comes take a core from others meanwhile.";
    let mut parts = vec![Part::Text(text.to_owned())];
    let nets: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row.net.as_str(), row.form.as_str())).collect();
    for (net, form) in nets {
        let headings: Vec<&str> = ["threads", "calls"].into_iter().chain(runtimes.iter().copied()).collect();
        let mut table = Table::new(format!("{net}, {form}: calls and pauses"), &headings, 2);
        let of_net: Vec<&&Row> = rows.iter().filter(|row| (row.net.as_str(), row.form.as_str()) == (net, form)).collect();
        for first in of_net.iter().filter(|row| row.runtime == of_net[0].runtime) {
            let pattern = |row: &Row| (row.threads, row.one_core, row.pause_us, row.asleep);
            let times = |runtime: &&str| {
                let found = of_net.iter().find(|row| row.runtime == *runtime && pattern(row) == pattern(first));
                found.map_or("-".to_owned(), |r| format!("{:.1} ({:.1}), {:.1}", r.median_us, r.p90_us, r.processor_us))
            };
            let place = if first.one_core { " on one core" } else { "" };
            let names = [format!("{}{place}", first.threads), first.pause.clone()];
            table.rows.push(names.into_iter().chain(runtimes.iter().map(times)).collect());
        }
        parts.push(Part::Table(table));
    }
    (!rows.is_empty()).then(|| Section { title: "Calls after pauses".to_owned(), parts })
}
