//! Short bursts of work that bound what any kernel can do: multiply-adds in registers, reads of memory, and what cores hand to each
//! other. The first two are plain loops over arrays, which the compiler turns into vectors of the instruction set.

use sslm_kernels::Isa;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Rounds of a burst of multiply-adds: some 50 us.
const ROUNDS: usize = 16_000;

/// Multiply-adds in registers; returns how many operations these were, two for each.
pub fn multiply_add(isa: Isa) -> usize {
    // As many sums as fit the registers, so that none waits for itself.
    match isa.lanes() {
        16 => multiply_adds::<384>(isa, f32::mul_add),
        8 => multiply_adds::<96>(isa, f32::mul_add),
        _ => multiply_adds::<32>(isa, |x, a, b| x * a + b),
    }
}

/// Reads all `elements`, but for a few at the end.
pub fn read(isa: Isa, elements: &[f32]) {
    isa.vectorize(
        #[inline(always)]
        || {
            let mut sums = [0f32; 128];
            for chunk in elements.as_chunks::<128>().0 {
                sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
            }
            black_box(sums);
        },
    );
}

/// A counter that the cores of a ring increase in turns: it goes from cache to cache.
pub struct Ring {
    cores: usize,
    /// How many cores have come so far.
    come: AtomicUsize,
    counter: AtomicUsize,
}

impl Ring {
    /// Rounds of a burst: some 10 us where two cores share a cache.
    const ROUNDS: usize = 200;

    /// A ring of so many cores.
    pub fn new(cores: usize) -> Self {
        Ring { cores, come: AtomicUsize::new(0), counter: AtomicUsize::new(0) }
    }

    /// How often the counter is handed on in a second. Every core of the ring must call this, all at the same time: each waits for the
    /// others.
    pub fn turns_per_second(&self) -> f64 {
        let own = self.come.fetch_add(1, Ordering::Relaxed) % self.cores;
        let rounds = |count: usize| {
            for _ in 0..count {
                while self.counter.load(Ordering::Acquire) % self.cores != own {
                    spin_loop();
                }
                self.counter.fetch_add(1, Ordering::Release);
            }
        };
        // Whoever had its second turn knows that all have come.
        rounds(2);
        let start = Instant::now();
        rounds(Self::ROUNDS);
        (Self::ROUNDS * self.cores) as f64 / start.elapsed().as_secs_f64()
    }
}

#[inline(always)]
fn multiply_adds<const N: usize>(isa: Isa, multiply_add: impl Fn(f32, f32, f32) -> f32) -> usize {
    isa.vectorize(
        #[inline(always)]
        || {
            // With these factors, sums neither grow nor vanish.
            let (a, b) = (black_box(0.999), black_box(1e-3));
            let mut sums = [0.5f32; N];
            for _ in 0..ROUNDS {
                sums.iter_mut().for_each(|x| *x = multiply_add(*x, a, b));
            }
            black_box(sums);
        },
    );
    2 * N * ROUNDS
}
