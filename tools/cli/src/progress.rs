//! Progress on stderr, for people who watch: large models take seconds. Nothing is shown where stderr is no terminal. And whoever calls
//! tools as functions may end them between two steps.

use crate::figures::short;
use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use sslm::Interrupt;
use std::fmt;
use std::time::Duration;

/// Shows what a tool is doing. The default shows nothing.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: ProgressBar,
    interrupt: Interrupt,
}

impl Default for Progress {
    fn default() -> Self {
        Self::until(&Interrupt::new())
    }
}

impl Progress {
    /// One line on stderr, if that is a terminal.
    pub fn on_terminal() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress { bar, ..Self::default() }
    }

    /// Shows nothing, and ends the tool at its next step once it is interrupted.
    pub fn until(interrupt: &Interrupt) -> Self {
        Progress { bar: ProgressBar::hidden(), interrupt: interrupt.clone() }
    }

    /// The next step, whose parts are not counted.
    ///
    /// # Errors
    /// If there is to be none.
    pub fn step(&self, what: impl Into<String>) -> Result<()> {
        self.bar.set_style(ProgressStyle::default_spinner());
        self.bar.set_message(what.into());
        self.check()
    }

    /// The next step, of `parts` parts.
    pub fn start(&self, what: &'static str, parts: usize) {
        // First, since each of the others draws.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {pos}/{len} [{bar:20}] {eta} left") {
            self.bar.set_style(style);
        }
        self.bar.set_length(parts as u64);
        self.bar.set_position(0);
        self.bar.set_message(what);
    }

    /// The next step, of which `done` parts are done already, of `all` of them where that is known. Their rate is shown, too.
    pub fn start_at_rate(&self, what: &'static str, done: u64, all: Option<u64>) {
        let counts = if all.is_some() { "{pos}/{len} [{bar:20}] {rate}/s, {eta} left" } else { "{pos}, {rate}/s" };
        if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} {{msg}} {counts}")) {
            let rate = |state: &ProgressState, to: &mut dyn fmt::Write| _ = to.write_str(&short(state.per_sec() as u64));
            self.bar.set_style(style.with_key("rate", rate));
        }
        all.inspect(|&all| self.bar.set_length(all));
        self.bar.set_position(done);
        self.bar.reset_eta();
        self.bar.set_message(what);
    }

    /// So many parts of the step are done.
    pub fn advance_by(&self, parts: u64) {
        self.bar.inc(parts);
    }

    /// One part of the step is done.
    pub fn advance(&self) {
        self.advance_by(1);
    }

    /// Whether the tool is to go on.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.interrupt.is_cancelled(), "cancelled");
        Ok(())
    }

    /// Prints something, which appears above the line.
    pub fn around<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Clears the line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
