//! Work that is done ahead on other threads, such as decoding while the network runs, in the order in which it is taken. So little waits
//! at most that memory is bounded, however much there is.

use anyhow::{Context, Result};
use rayon::ThreadPoolBuilder;
use std::collections::VecDeque;
use std::sync::mpsc::sync_channel;

/// How many more items than there are threads may be under way, so that no thread waits for one to be taken.
pub const MORE_UNDER_WAY: usize = 2;

/// Makes something of each item, on as many other threads, and gives it to `take`, on this one and in order. At most [`MORE_UNDER_WAY`]
/// more items than there are threads have been begun and not been taken.
///
/// # Errors
/// The first one of `take`, which ends it; or if threads cannot be had.
pub fn in_order<T: Send, R: Send>(
    threads: usize,
    items: impl IntoIterator<Item = T>,
    make: impl Fn(T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let mut items = items.into_iter();
    // One alone has nothing to wait for.
    if items.size_hint() == (1, Some(1)) {
        return items.next().map_or(Ok(()), |only| take(make(only)));
    }
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("ahead {i}")).build();
    let pool = pool.context("threads that work ahead cannot be had")?;
    let make = &make;
    pool.in_place_scope(|scope| {
        let mut under_way = VecDeque::new();
        loop {
            for item in items.by_ref().take(threads + MORE_UNDER_WAY - under_way.len()) {
                let (send, receive) = sync_channel(1);
                // Nobody listens when an earlier one was an error.
                scope.spawn(move |_| _ = send.send(make(item)));
                under_way.push_back(receive);
            }
            let Some(receive) = under_way.pop_front() else { return Ok(()) };
            take(receive.recv().context("work ahead ended early")?)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const THREADS: usize = 3;

    #[test]
    fn order_is_kept_and_few_wait() {
        let (made, taken, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let make = |item: usize| {
            // Those that come first take longest.
            std::thread::sleep(Duration::from_millis((3 - item % 4) as u64));
            let waiting = made.fetch_add(1, Ordering::SeqCst) + 1 - taken.load(Ordering::SeqCst);
            most.fetch_max(waiting, Ordering::SeqCst);
            (item, item * item)
        };
        let mut found = Vec::new();
        let take = |square| {
            taken.fetch_add(1, Ordering::SeqCst);
            found.push(square);
            Ok(())
        };
        in_order(THREADS, 0..60, make, take).expect("no errors");
        assert_eq!(found, (0..60).map(|i| (i, i * i)).collect::<Vec<_>>());
        let most = most.into_inner();
        assert!(most <= THREADS + MORE_UNDER_WAY, "{most} were made and not taken");
    }

    #[test]
    fn the_first_error_ends_it() {
        let made = AtomicUsize::new(0);
        let make = |item| {
            made.fetch_add(1, Ordering::SeqCst);
            item
        };
        let result = in_order(THREADS, 0..1000, make, |item| if item == 3 { anyhow::bail!("enough") } else { Ok(()) });
        assert_eq!(result.expect_err("an error").to_string(), "enough");
        assert!(made.into_inner() <= 4 + THREADS + MORE_UNDER_WAY);
        in_order(THREADS, [], |()| (), |()| anyhow::bail!("nothing is taken")).expect("nothing to do");
    }
}
