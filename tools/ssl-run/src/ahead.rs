//! Images are decoded on other threads while the network runs, in the order in which they are taken. So many wait at most that memory is
//! bounded, however many there are.

use anyhow::{Context, Result};
use rayon::ThreadPoolBuilder;
use std::collections::VecDeque;
use std::sync::mpsc::sync_channel;
use std::thread::available_parallelism;

/// More threads would decode faster than networks run, and take an image's memory each.
const MOST_THREADS: usize = 8;
/// How many more items than there are threads may be under way, so that no thread waits for one to be taken.
const MORE: usize = 2;

/// Makes something of each item, on other threads, and gives it to `take`, on this one and in order. Ends with its first error.
pub(crate) fn in_order<'a, T: Sync, R: Send>(
    items: &'a [T],
    make: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(&'a T, R) -> Result<()>,
) -> Result<()> {
    // One alone has nothing to wait for.
    if let [only] = items {
        return take(only, make(only));
    }
    let threads = available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(items.len().max(1));
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("decode {i}")).build();
    let pool = pool.context("threads that decode images cannot be had")?;
    let make = &make;
    pool.in_place_scope(|scope| {
        let (mut items, mut under_way) = (items.iter(), VecDeque::new());
        loop {
            for item in items.by_ref().take(threads + MORE - under_way.len()) {
                let (send, receive) = sync_channel(1);
                // Nobody listens when an earlier one was an error.
                scope.spawn(move |_| _ = send.send(make(item)));
                under_way.push_back((item, receive));
            }
            let Some((item, receive)) = under_way.pop_front() else { return Ok(()) };
            take(item, receive.recv().context("decoding ended early")?)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn order_is_kept_and_few_wait() {
        let items: Vec<usize> = (0..60).collect();
        let (made, taken, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let make = |&item: &usize| {
            // Those that come first take longest.
            std::thread::sleep(Duration::from_millis((3 - item % 4) as u64));
            let waiting = made.fetch_add(1, Ordering::SeqCst) + 1 - taken.load(Ordering::SeqCst);
            most.fetch_max(waiting, Ordering::SeqCst);
            item * item
        };
        let mut found = Vec::new();
        let take = |&item: &usize, square| {
            taken.fetch_add(1, Ordering::SeqCst);
            found.push((item, square));
            Ok(())
        };
        in_order(&items, make, take).expect("no errors");
        assert_eq!(found, items.iter().map(|&i| (i, i * i)).collect::<Vec<_>>());
        let most = most.into_inner();
        assert!(most <= MOST_THREADS + MORE, "{most} were made and not taken");
    }

    #[test]
    fn the_first_error_ends_it() {
        let items: Vec<usize> = (0..1000).collect();
        let made = AtomicUsize::new(0);
        let result = in_order(
            &items,
            |&item| {
                made.fetch_add(1, Ordering::SeqCst);
                item
            },
            |_, item| if item == 3 { anyhow::bail!("enough") } else { Ok(()) },
        );
        assert_eq!(result.expect_err("an error").to_string(), "enough");
        assert!(made.into_inner() <= 4 + MOST_THREADS + MORE);
        in_order(&[], |&(): &()| (), |_, ()| anyhow::bail!("nothing is taken")).expect("nothing to do");
    }
}
