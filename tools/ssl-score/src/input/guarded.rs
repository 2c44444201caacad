//! Panics of a reader as errors: what Arrow's crate reads of a damaged file it slices as the file says, and that may not be there.

use anyhow::{Result, bail};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread reads, and a panic is an error that is told as one.
    static IS_READING: Cell<bool> = const { Cell::new(false) };
}

/// What `read` yields, or an error if it panics. Whatever it reads from is of no use afterwards.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_READING.get() {
                other(panic);
            }
        }));
    });
    IS_READING.set(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    IS_READING.set(false);
    let panic = match result {
        Ok(result) => return result,
        Err(panic) => panic,
    };
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    bail!("it is damaged: {}", said.unwrap_or("its reader gave up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_errors() {
        let slice = |at: usize| guarded(|| Ok([1, 2, 3][at..].to_vec()));
        assert_eq!(slice(1).expect("a sound slice"), [2, 3]);
        let message = slice(7).expect_err("no such slice").to_string();
        assert!(message.starts_with("it is damaged: range start index 7"), "{message}");
        assert_eq!(guarded::<()>(|| bail!("no")).expect_err("an error").to_string(), "no");
    }
}
