//! How a kernel runs: with which instructions, on which threads.

use crate::{Isa, Threading};

/// How a kernel runs. It yields the same bits either way.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    /// With which instructions.
    pub isa: Isa,
    /// On which threads.
    pub threading: Threading<'a>,
}

impl Exec<'_> {
    /// Calls `f(i, chunk)` for the `i`-th chunk of `len` elements of `out`, compiled for the instruction set: `f` must be
    /// `#[inline(always)]`, and so must whatever it calls in a loop.
    pub(crate) fn for_each_chunk(self, out: &mut [f32], len: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
        let len = len.max(1);
        // Each thread takes many chunks at a time.
        self.threading.for_each_piece(out, len, |first, out| {
            self.isa.vectorize(
                #[inline(always)]
                || {
                    for (i, chunk) in out.chunks_mut(len).enumerate() {
                        f(first / len + i, chunk);
                    }
                },
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Team;

    #[test]
    fn every_chunk_comes_once_with_its_index() {
        let team = Team::new(3).expect("threads start");
        for threading in [Threading::Single, Threading::Team(&team)] {
            for (len, chunk_len) in [(0, 4), (1, 4), (4, 4), (5, 4), (1000, 1), (1000, 7), (1000, 1001), (3, 0)] {
                let mut out = vec![-1.0; len];
                let exec = Exec { isa: Isa::best(), threading };
                exec.for_each_chunk(
                    &mut out,
                    chunk_len,
                    #[inline(always)]
                    |i, chunk| chunk.iter_mut().for_each(|o| *o += 1.0 + i as f32),
                );
                let expected: Vec<f32> = (0..len).map(|i| (i / chunk_len.max(1)) as f32).collect();
                assert_eq!(out, expected, "{len} elements in chunks of {chunk_len}, {threading:?}");
            }
        }
    }
}
