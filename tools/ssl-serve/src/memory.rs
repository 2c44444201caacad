//! Memory of requests: what bodies, answers and images take is counted, so that all of them together take no more than was agreed to.

use crate::failure::{Failure, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;

/// Bytes that memory is counted in.
pub(crate) const KIB: usize = 1024;

/// What requests may take together.
#[derive(Debug)]
pub(crate) struct Memory {
    /// All of it, and what is free, in KiB.
    all: usize,
    free: AtomicUsize,
    freed: Notify,
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        let all = bytes.div_ceil(KIB);
        Arc::new(Memory { all, free: AtomicUsize::new(all), freed: Notify::new() })
    }

    /// Nothing of it yet.
    pub(crate) fn none(self: &Arc<Self>) -> Taken {
        Taken { memory: Arc::clone(self), kib: 0 }
    }

    /// So much of it, as soon as others have left so much: whoever needs little may overtake whoever needs much. It is never there for
    /// what is larger than all.
    pub(crate) async fn wait_for(self: &Arc<Self>, kib: usize) -> Taken {
        let mut taken = self.none();
        loop {
            // From here on nothing that is freed is missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if taken.grow_to(kib).is_ok() {
                return taken;
            }
            freed.await;
        }
    }

    /// How much there is, in KiB.
    pub(crate) fn all(&self) -> usize {
        self.all
    }
}

/// Some of the memory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    memory: Arc<Memory>,
    kib: usize,
}

impl Taken {
    /// How much it is, in KiB.
    pub(crate) fn kib(&self) -> usize {
        self.kib
    }

    /// Takes as much more as makes it so much, if it is less.
    pub(crate) fn grow_to(&mut self, kib: usize) -> Result<(), Failure> {
        let more = kib.saturating_sub(self.kib);
        let left = self.memory.free.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(more));
        left.map_err(|_| Failure::new(Kind::Busy, "other requests take all memory: try again later"))?;
        self.kib += more;
        Ok(())
    }

    /// Gives back what is more than so much.
    pub(crate) fn shrink_to(&mut self, kib: usize) {
        let less = self.kib.saturating_sub(kib);
        if less > 0 {
            self.kib -= less;
            self.memory.free.fetch_add(less, Relaxed);
            self.memory.freed.notify_waiters();
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let memory = Memory::new(10 * KIB - 1);
        let [mut one, mut other] = [memory.none(), memory.none()];
        assert!(one.grow_to(6).is_ok() && other.grow_to(5).is_err() && other.grow_to(4).is_ok());
        assert!(one.grow_to(7).is_err() && one.kib() == 6);
        other.shrink_to(3);
        assert!(one.grow_to(7).is_ok() && one.grow_to(2).is_ok() && one.kib() == 7);
        drop(one);
        assert!(other.grow_to(10).is_ok() && other.grow_to(usize::MAX).is_err());
    }

    #[tokio::test]
    async fn who_waits_gets_what_others_leave() {
        let memory = Memory::new(10 * KIB);
        let mut one = memory.none();
        one.grow_to(8).expect("there is as much");
        let soon = |kib| tokio::time::timeout(Duration::from_millis(20), memory.wait_for(kib));
        assert!(soon(3).await.is_err());
        // Whoever needs little does not wait for those who need much.
        let (much, little) = tokio::join!(soon(3), soon(2));
        assert!(much.is_err() && little.is_ok_and(|taken| taken.kib() == 2));
        let leaves = async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            one.shrink_to(7);
        };
        let (much, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(60), memory.wait_for(3)), leaves);
        assert_eq!(much.expect("there is as much now").kib(), 3);
    }
}
