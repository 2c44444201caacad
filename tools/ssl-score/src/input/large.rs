//! How many bytes a chunk may have. Files that are larger than that are in memory one at a time.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The images of a chunk have at most so many bytes together, or there is just one: as many as a batch of photos has.
pub(crate) const CHUNK_BYTES: u64 = 64 << 20;

/// Whose turn it is.
#[derive(Default)]
pub(crate) struct Turns(Arc<(Mutex<bool>, Condvar)>);

/// While there is one, no other is taken.
pub(crate) struct Turn(Arc<(Mutex<bool>, Condvar)>);

impl Turns {
    /// Waits until there is no turn.
    pub(crate) fn take(&self) -> Turn {
        let (is_taken, given_back) = &*self.0;
        let guard = is_taken.lock().unwrap_or_else(PoisonError::into_inner);
        *given_back.wait_while(guard, |is_taken| *is_taken).unwrap_or_else(PoisonError::into_inner) = true;
        Turn(Arc::clone(&self.0))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (is_taken, given_back) = &*self.0;
        *is_taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        given_back.notify_one();
    }
}
