//! What the command-line tools share, so that they behave alike: exit codes, tables, numbers, files that appear whole or not,
//! progress.

mod output;
mod progress;
mod signals;

pub use output::{Named, PartialFile, ensure_apart, file_beside};
pub use progress::Progress;

use anyhow::Result;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use std::io::ErrorKind;
use std::process::ExitCode;

/// The work was done, but what it was checked against does not hold. [`finish`] makes it exit code 1.
#[derive(Debug)]
pub struct CheckFailed(pub String);

impl std::fmt::Display for CheckFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CheckFailed {}

/// The end of `main`: 0; or one message on stderr and 1 for [`CheckFailed`], 2 for every other error. A reader that closed our
/// stdout early (`| head`) is no error.
pub fn finish(tool: &str, result: Result<()>) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) if e.chain().any(broken_pipe) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{tool}: {e:#}");
            ExitCode::from(if e.is::<CheckFailed>() { 1 } else { 2 })
        }
    }
}

/// A table with these headings; columns from `first_number` on are aligned right.
pub fn table(headings: &[&str], first_number: usize) -> Table {
    let line = || LineStyle::none().fill('─').junction('─');
    let style = TableStyle::new().header_separator(line()).bottom_border(line());
    let mut table = Table::new();
    table.load_style(style).set_header(headings.iter().copied());
    for i in first_number..headings.len() {
        if let Some(column) = table.column_mut(i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// `1234567` as `1 234 567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut groups: Vec<&str> = (first..digits.len()).step_by(3).map(|i| &digits[i..i + 3]).collect();
    if first > 0 {
        groups.insert(0, &digits[..first]);
    }
    groups.join(" ")
}

/// Text from a file, safe to print on a terminal: control characters are escaped.
pub fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// `kept of all`, or just the number where they are the same.
pub fn kept_of(kept: usize, all: usize) -> String {
    if kept == all { all.to_string() } else { format!("{kept} of {all}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_groups_by_three() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (12345, "12 345"), (1234567, "1 234 567")] {
            assert_eq!(thousands(n), text);
        }
    }

    #[test]
    fn printable_disarms_escapes() {
        assert_eq!(printable("7 \x1b[2J\u{9b}é"), "7 \\u{1b}[2J\\u{9b}é");
    }
}
