//! Where activations lie: buffers whose lifetimes do not overlap share memory.

use crate::map::Line;
use std::ops::Range;

/// One activation: `len` elements that must exist from step `first` (which writes it) to step `last` (which reads it last).
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub(crate) len: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// An earlier buffer of the same length, whose memory with all that it holds becomes this one's at step `first`.
    pub(crate) takes_over: Option<usize>,
}

/// A place for each buffer, and the length of all together. Largest first, each at the lowest place that is free for its whole
/// life: within a few per cent of the best on chains and residual networks, and simple.
pub(crate) fn place(buffers: &[Buffer]) -> (Vec<Range<usize>>, usize) {
    // Buffers that take over from one another live one life, in the place of the first one.
    let mut owners: Vec<usize> = Vec::with_capacity(buffers.len());
    let mut lives: Vec<Buffer> = buffers.to_vec();
    for (i, buffer) in buffers.iter().enumerate() {
        let owner = buffer.takes_over.map_or(i, |earlier| owners[earlier]);
        debug_assert_eq!(lives[owner].len, buffer.len, "a buffer takes over one of its own length");
        lives[owner].last = lives[owner].last.max(buffer.last);
        owners.push(owner);
    }
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&i| owners[i] == i).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].len), i));
    let mut places: Vec<Range<usize>> = vec![0..0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut end = 0;
    for i in order {
        let buffer = &lives[i];
        let mut taken: Vec<Range<usize>> = placed
            .iter()
            .filter(|&&j| lives[j].first <= buffer.last && buffer.first <= lives[j].last)
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
    (owners.iter().map(|&owner| places[owner].clone()).collect(), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_alive_together_do_not_overlap_and_others_share() {
        let chain: Vec<Buffer> = (0..6).map(|i| Buffer { len: 100 + i, first: i, last: i + 1, takes_over: None }).collect();
        let (places, end) = place(&chain);
        for i in 0..chain.len() {
            for j in 0..i {
                let together = chain[i].first <= chain[j].last && chain[j].first <= chain[i].last;
                let overlap = places[i].start < places[j].end && places[j].start < places[i].end;
                assert!(!(together && overlap), "{i} and {j}: {places:?}");
            }
            assert_eq!(places[i].start % Line::FLOATS, 0);
        }
        assert!(end < 3 * 112, "a chain needs two buffers at a time, not {end} elements");
    }

    #[test]
    fn a_buffer_that_takes_over_keeps_the_place_for_both_lives() {
        let buffer = |first: usize, last: usize, takes_over: Option<usize>| Buffer { len: 100, first, last, takes_over };
        let buffers = [buffer(0, 2, None), buffer(1, 3, None), buffer(2, 5, Some(0)), buffer(4, 6, None), buffer(5, 7, Some(2))];
        let (places, end) = place(&buffers);
        assert_eq!([&places[2], &places[4]], [&places[0]; 2]);
        assert_eq!(places[1], places[3]);
        assert!(places[1].start >= places[0].end || places[1].end <= places[0].start, "{places:?}");
        assert!(end <= 2 * 112, "two at a time, not {end} elements");
    }
}
