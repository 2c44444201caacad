//! Where activations lie: buffers whose lifetimes do not overlap share memory.

use crate::map::Line;
use std::ops::Range;

/// One activation: `len` numbers that must exist from step `first` (which writes it) to step `last` (which reads it last).
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub(crate) len: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// A place for each buffer, and the length of all together. Largest first, each at the lowest place that is free for its whole
/// life: within a few per cent of the best on chains and residual networks, and simple.
pub(crate) fn place(buffers: &[Buffer]) -> (Vec<Range<usize>>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].len), i));
    let mut places: Vec<Range<usize>> = vec![0..0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut end = 0;
    for i in order {
        let buffer = &buffers[i];
        let mut taken: Vec<Range<usize>> = placed
            .iter()
            .filter(|&&j| buffers[j].first <= buffer.last && buffer.first <= buffers[j].last)
            .map(|&j| places[j].clone())
            .collect();
        taken.sort_by_key(|r| r.start);
        let mut start = 0;
        for range in taken {
            if start + buffer.len <= range.start {
                break;
            }
            start = start.max(range.end.next_multiple_of(Line::FLOATS));
        }
        places[i] = start..start + buffer.len;
        end = end.max(start + buffer.len);
        placed.push(i);
    }
    (places, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_alive_together_do_not_overlap_and_others_share() {
        let chain: Vec<Buffer> = (0..6).map(|i| Buffer { len: 100 + i, first: i, last: i + 1 }).collect();
        let (places, end) = place(&chain);
        for i in 0..chain.len() {
            for j in 0..i {
                let together = chain[i].first <= chain[j].last && chain[j].first <= chain[i].last;
                let overlap = places[i].start < places[j].end && places[j].start < places[i].end;
                assert!(!(together && overlap), "{i} and {j}: {places:?}");
            }
            assert_eq!(places[i].start % Line::FLOATS, 0);
        }
        assert!(end < 3 * 112, "a chain needs two buffers at a time, not {end} numbers");
    }
}
