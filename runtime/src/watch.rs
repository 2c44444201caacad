//! What is noted of the steps of a run, if somebody asks: their times, or the first one whose output is not finite.

use crate::report::NotFinite;
use sslm_kernels::layout::Extents;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a run is to note.
pub(crate) enum Watch<'a> {
    /// The time of each step.
    Times(&'a mut [Duration]),
    /// The first step whose output is not finite, if there is one.
    Finite(&'a mut Option<NotFinite>),
}

impl Watch<'_> {
    /// Forgets what an earlier run was noted for.
    pub(crate) fn begin(&mut self) {
        match self {
            Watch::Times(times) => times.fill(Duration::ZERO),
            Watch::Finite(found) => **found = None,
        }
    }

    /// Of the first `count` steps, whose times so many threads have added to side by side, what one of them took.
    pub(crate) fn share_times(self, count: usize, threads: usize) {
        if let Watch::Times(times) = self {
            times[..count].iter_mut().for_each(|time| *time /= threads as u32);
        }
    }
}

/// A [`Watch`] that threads share, for steps that follow one another.
#[derive(Clone, Copy)]
pub(crate) struct Notes<'a, 'w> {
    pub(crate) watch: &'a Mutex<Watch<'w>>,
    /// The index of the first of these steps among all.
    pub(crate) first: usize,
    /// The image of the batch, if they compute one alone.
    pub(crate) image: Option<usize>,
}

impl Notes<'_, '_> {
    /// Notes the time since `start` of the step of this index among these, and looks at what it has written, if it computes a node of the
    /// graph: other steps just move elements.
    pub(crate) fn note(self, index: usize, start: Instant, written: Option<Written<'_>>) {
        let Notes { watch, first, image } = self;
        let (time, step) = (start.elapsed(), first + index);
        let lock = || watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Watch::Times(times) = &mut *lock() {
            times[step] += time;
            return;
        }
        // Not while others wait.
        if let Some(new) = written.and_then(|written| written.not_finite(step, image)) {
            lock().take(new);
        }
    }
}

impl Watch<'_> {
    /// Remembers what was found, if nothing before it was. Threads that take images find things in any order.
    pub(crate) fn take(&mut self, new: NotFinite) {
        if let Watch::Finite(found) = self {
            let place = |found: &NotFinite| (found.step, found.image);
            if found.as_ref().is_none_or(|found| place(&new) < place(found)) {
                **found = Some(new);
            }
        }
    }
}

/// What a step has written.
pub(crate) struct Written<'a> {
    pub(crate) elements: &'a [f32],
    /// Sizes, and channels of a block, where it lies in blocks: what stands behind the last channel does not count.
    pub(crate) blocks: Option<(Extents, usize)>,
}

impl Written<'_> {
    /// What of it is not finite, if something is.
    pub(crate) fn not_finite(&self, step: usize, image: Option<usize>) -> Option<NotFinite> {
        let (mut nan, mut infinite, mut of) = (0, 0, 0);
        let mut count = |x: &f32| {
            nan += usize::from(x.is_nan());
            infinite += usize::from(x.is_infinite());
            of += 1;
        };
        match self.blocks {
            None => self.elements.iter().for_each(count),
            Some((Extents { channels, plane, .. }, lanes)) => {
                let blocks = channels.div_ceil(lanes);
                for (i, block) in self.elements.chunks_exact((plane * lanes).max(1)).enumerate() {
                    let own = lanes.min(channels - i % blocks * lanes);
                    block.chunks_exact(lanes).flat_map(|x| &x[..own]).for_each(&mut count);
                }
            }
        }
        (nan + infinite > 0).then_some(NotFinite { step, image, nan, infinite, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_in_blocks() {
        // Two images of three channels of two elements, in blocks of two.
        let mut elements = vec![0.0; 2 * 2 * 2 * 2];
        let blocks = Some((Extents { images: 2, channels: 3, plane: 2 }, 2));
        let look = |elements: &[f32]| Written { elements, blocks }.not_finite(7, Some(1));
        assert_eq!(look(&elements), None);
        for (image, element) in [(0, 5), (0, 7), (1, 5), (1, 7)] {
            elements[image * 8 + element] = f32::NAN;
        }
        assert_eq!(look(&elements), None, "behind the last channel");
        elements[8 + 4] = f32::INFINITY;
        elements[2] = f32::NAN;
        assert_eq!(look(&elements), Some(NotFinite { step: 7, image: Some(1), nan: 1, infinite: 1, of: 12 }));
    }

    #[test]
    fn the_first_step_counts_and_of_that_the_first_image() {
        let new = |step, image| NotFinite { step, image: Some(image), nan: 1, infinite: 0, of: 1 };
        let mut found = None;
        let mut watch = Watch::Finite(&mut found);
        for (step, image) in [(3, 0), (2, 5), (2, 4), (2, 6), (4, 1)] {
            watch.take(new(step, image));
        }
        assert_eq!(found, Some(new(2, 4)));
    }
}
