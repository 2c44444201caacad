//! Progress on stderr, for people who watch: large models take seconds. Nothing is shown where stderr is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Shows what a tool is doing. The default shows nothing.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Default for Progress {
    fn default() -> Self {
        Progress(ProgressBar::hidden())
    }
}

impl Progress {
    /// One line on stderr, if that is a terminal.
    pub fn on_terminal() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }

    /// The next step, whose parts are not counted.
    pub fn step(&self, what: impl Into<String>) {
        self.0.set_style(ProgressStyle::default_spinner());
        self.0.set_message(what.into());
    }

    /// The next step, of `parts` parts.
    pub fn start(&self, what: &'static str, parts: usize) {
        // First, since each of the others draws.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {pos}/{len} [{bar:20}] {eta} left") {
            self.0.set_style(style);
        }
        self.0.set_length(parts as u64);
        self.0.set_position(0);
        self.0.set_message(what);
    }

    /// One part of the step is done.
    pub fn advance(&self) {
        self.0.inc(1);
    }

    /// Prints something, which appears above the line.
    pub fn around<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// Clears the line.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
