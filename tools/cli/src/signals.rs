//! What an interrupted tool leaves behind: nothing. Partial files that have names are removed before a signal ends the process; a limit
//! on the size of files is an error of the write that meets it, and no signal. A process that is no tool, as a Python interpreter that
//! converts a model, does with signals what it likes.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;

/// Whether signals end this process as they end a tool.
static IS_A_TOOL: AtomicBool = AtomicBool::new(false);

/// The files that a signal removes, if signals are watched.
static PARTIAL: Mutex<Partial> = Mutex::new(Partial { files: BTreeSet::new(), are_watched: false });

struct Partial {
    files: BTreeSet<PathBuf>,
    are_watched: bool,
}

/// A file that a signal removes, until this is dropped.
#[derive(Debug)]
pub(crate) struct Registered(PathBuf);

impl Registered {
    /// What `make` makes, with no moment between in which a signal would leave it.
    ///
    /// # Errors
    /// If `make` fails, or signals cannot be watched.
    pub(crate) fn new<F>(make: impl FnOnce() -> io::Result<NamedTempFile<F>>) -> io::Result<(NamedTempFile<F>, Self)> {
        let mut partial = partial();
        if !partial.are_watched && IS_A_TOOL.load(Relaxed) {
            watch()?;
            partial.are_watched = true;
        }
        let file = make()?;
        partial.files.insert(file.path().to_owned());
        let registered = Registered(file.path().to_owned());
        Ok((file, registered))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        partial().files.remove(&self.0);
    }
}

fn partial() -> MutexGuard<'static, Partial> {
    PARTIAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This process is a tool, from now on.
pub(crate) fn end_tools() {
    IS_A_TOOL.store(true, Relaxed);
    limits_are_errors();
}

/// Makes a write beyond the limit on the size of files (`ulimit -f`) fail like one to a full disk, instead of ending the process.
#[cfg(unix)]
fn limits_are_errors() {
    use std::sync::{Arc, Once};
    static ONCE: Once = Once::new();
    // With a handler, whatever it does, the system goes on to yield the error. There is none to be had where signals cannot be caught.
    ONCE.call_once(|| _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()));
}

#[cfg(not(unix))]
fn limits_are_errors() {}

/// Lets a thread wait for the signals that end a tool, to do what they would have done and to remove files before.
#[cfg(unix)]
fn watch() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM].into_iter().filter(|&s| !is_ignored(s)))?;
    let wait = move || {
        for signal in signals.forever() {
            // Held to the end: nothing new is made.
            let partial = partial();
            for file in &partial.files {
                let _ = std::fs::remove_file(file);
            }
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

#[cfg(not(unix))]
fn watch() -> io::Result<()> {
    Ok(())
}

/// Whether whoever started the process wants a signal to be ignored, as `nohup` does. Only Linux tells.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
