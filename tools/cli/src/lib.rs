//! What the command-line tools share, so that they behave alike: exit codes, messages, tables, how counts are printed, files that
//! appear whole or not at all, files of the wrong kind, how models are opened and limited, work that is
//! done ahead, progress, completions and manual pages.

mod ahead;
mod figures;
mod kind;
mod limits;
mod manual;
mod model;
mod output;
mod progress;
mod signals;
mod table;

pub use ahead::{MORE_UNDER_WAY, in_order};
pub use figures::{kept_of, rate, short, thousands, time};
pub use kind::{Kind, ensure_kind};
pub use limits::Limits;
pub use model::open_model;
pub use output::{Named, PartialFile, ensure_apart, file_beside, put_in_place};
pub use progress::Progress;
pub use table::{Table, table};

use anyhow::Result;
use clap::Parser;
use manual::Asked;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{ErrorKind, StdoutLock, Write};

/// The work was done, but what it was checked against does not hold. [`main`] makes it exit code 1.
#[derive(Debug)]
pub struct CheckFailed(pub String);

impl std::fmt::Display for CheckFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CheckFailed {}

/// `main` of a tool: reads the command line and calls `run`. Yields the exit code: 0; or, after one message on stderr, 1 for
/// [`CheckFailed`] and 2 for every other error.
///
/// The process may go on afterwards, as one that runs tools as functions does: nothing here ends it, and what was printed is written.
pub fn main<A: Parser>(tool: &str, arguments: impl IntoIterator<Item = OsString>, run: impl FnOnce(&A) -> Result<()>) -> u8 {
    signals::end_tools();
    let result = match manual::read(arguments) {
        Ok(Asked::Run(arguments)) => run(&arguments),
        Ok(Asked::Text(text)) => stdout().write_all(&text).map_err(Into::into),
        Err(e) if e.use_stderr() => {
            // Where nobody can be told, the exit code has to do.
            let _ = e.print();
            return 2;
        }
        // What was asked for with --help or --version.
        Err(e) => on_stdout(e.print(), ()).map_err(Into::into),
    };
    match result.and_then(|()| Ok(stdout().flush()?)) {
        Ok(()) => 0,
        Err(e) => {
            note(tool, message(&e));
            if e.is::<CheckFailed>() { 1 } else { 2 }
        }
    }
}

/// What happened, why, and what to do about it.
pub fn message(error: &anyhow::Error) -> String {
    let is_limit = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref().is_some_and(|e: &sslm::Error| *e.kind() == sslm::ErrorKind::Limit)
    };
    let hint = if error.chain().any(is_limit) { format!(" ({})", Limits::HINT) } else { String::new() };
    causes(error) + &hint
}

/// What happened, and why, as far as each cause says more than what it caused.
pub fn causes(error: &anyhow::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.last().is_none_or(|last| !last.contains(&cause)) {
            said.push(cause);
        }
    }
    said.join(": ")
}

/// Tells something on stderr. Names in it may come from files: a terminal obeys none of them.
pub fn note(tool: &str, text: impl Display) {
    let lines: Vec<String> = text.to_string().split('\n').map(printable).collect();
    eprintln!("{tool}: {}", lines.join("\n"));
}

/// Standard output. Its errors say that they are its own. A reader that has seen enough (`| head`) is none: the rest goes nowhere.
pub fn stdout() -> impl Write {
    Stdout(std::io::stdout().lock())
}

struct Stdout(StdoutLock<'static>);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        on_stdout(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        on_stdout(self.0.flush(), ())
    }
}

/// What a write to stdout yielded; where its reader is gone, it counts as written: `all`.
fn on_stdout<T>(result: std::io::Result<T>, all: T) -> std::io::Result<T> {
    match result {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(all),
        result => result.map_err(|e| std::io::Error::new(e.kind(), format!("cannot write to standard output: {e}"))),
    }
}

/// Text from a file, safe to print on a terminal: control characters are escaped.
pub fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let io = || std::io::Error::other("Not a directory");
        let error = anyhow::Error::new(io()).context("failed to persist: Not a directory").context("cannot write m/");
        assert_eq!(message(&error), "cannot write m/: failed to persist: Not a directory");
        assert_eq!(message(&anyhow::Error::new(io()).context("Not a directory").context("m")), "m: Not a directory");
        assert_eq!(message(&anyhow::Error::new(io()).context("a")), "a: Not a directory", "short names stay");
    }

    #[test]
    fn printable_disarms_escapes() {
        assert_eq!(printable("7 \x1b[2J\u{9b}é"), "7 \\u{1b}[2J\\u{9b}é");
    }
}
