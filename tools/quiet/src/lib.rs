//! Time taken while nobody else uses the cores: between two pairs of short bursts that all run at full speed, and without having to
//! wait for a core. Neighbours on a shared machine slow samples down two to ten times; this tells such samples from those that count.
//! A neighbour on another hardware thread of the same core may leave all multiply-adds to us and still take its part of the caches. So one
//! burst multiplies, and one reads L2. And virtual cores may be moved to where they no longer share a cache: threads that
//! share work then wait for what the others write, while each by itself is as fast as before. So cores hand a counter around, too.

pub mod bursts;
pub mod cores;

use crate::bursts::Ring;
use crate::cores::Cores;
use sslm_kernels::Isa;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Share of the best multiply-adds seen: slower ones are disturbed. Clocks alone make a difference of some 5 %, neighbours one of 50 % or more.
const FULL_SPEED: f64 = 0.9;

/// Share of a sample's time: waiting for a core any longer disturbs it.
const MOST_WAITED: f64 = 0.02;

/// Share of the reads that last, as far as multiply-adds are from the best, which clocks slow down alike. Measured on a shared core (Zen 4): while
/// both ran at full speed, a layer took 29.4 us in the median of 12,000 samples; while multiply-adds did, and reads at 95 % or less, 39 to
/// 41 us.
const CACHES_FREE: f64 = 0.97;

/// Share of the most turns seen: a counter that takes longer comes from farther away. Measured with two virtual cores (Zen 4): a turn took 28
/// to 40 ns, or 120 to 200 for seconds to minutes, in which a layer took 66 us instead of 27. And now and then 15, while they were
/// threads of one core, at half the multiply-adds each: against those, too, 40 ns must count as near, and 120 ns against 28 as far.
const NEAR: f64 = 0.28;

/// Reads that last are the median of so many bursts in a row, of the best of so many rows. Single ones may be much faster: on a Zen 5, reads run
/// at 240 GB/s for half a millisecond after a rest, and at 200 ever after.
const IN_A_ROW: usize = 40;
const ROWS: usize = 5;

/// Bytes that are read: more than L1 holds, and fewer than L2 does.
const READ: usize = 128 << 10;

/// Passes over these bytes: some 30 us.
const PASSES: usize = 24;

thread_local! {
    static CACHED: Vec<f32> = vec![1.0; READ / size_of::<f32>()];
}

/// How long, and how often at least, a quiet sample is tried for. After that it is taken as it comes, and said to be noisy.
const PATIENCE: Duration = Duration::from_millis(10);
const LEAST_TRIES: usize = 3;

/// Samples are at least so long, by as many calls as that takes.
const LEAST: Duration = Duration::from_micros(200);

/// Calls that take so long need no call before them that brings the caches into their state: filling 32 MB of cache takes some 1.6 ms
/// at 20 GB/s, not even a hundredth of this.
const LONG: Duration = Duration::from_millis(200);

/// Tells quiet moments of some cores from others.
pub struct Quiet<'c> {
    isa: Isa,
    cores: &'c Cores,
    ring: Arc<Ring>,
    /// Rates of the best bursts of multiply-adds, of reads that last, and of the best turns.
    best: [f64; 3],
}

/// A time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How long one call took.
    pub seconds: f64,
    /// Whether nobody interfered.
    pub quiet: bool,
}

/// What some samples say.
pub struct Quartiles {
    /// How long a call takes: the lower quartile, the median and the upper quartile.
    pub seconds: [f64; 3],
    /// How many samples that is of: the quiet ones. 0: there was none, and it is of all.
    pub quiet: usize,
    /// How many were taken.
    pub samples: usize,
}

impl Quartiles {
    /// The times of some samples; `None` if there is no sample.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let seconds = |quiet: bool| samples.iter().filter(move |s| s.quiet || !quiet).map(|s| s.seconds);
        let quiet = seconds(true).count();
        let mut times: Vec<f64> = seconds(quiet > 0).collect();
        times.sort_by(f64::total_cmp);
        let last = times.len().checked_sub(1)?;
        Some(Quartiles { seconds: [1, 2, 3].map(|quarter| times[last * quarter / 4]), quiet, samples: samples.len() })
    }
}

impl<'c> Quiet<'c> {
    /// Looks for the best bursts first.
    pub fn new(cores: &'c Cores) -> Self {
        let mut quiet = Quiet { isa: Isa::best(), cores, ring: Arc::new(Ring::new(cores.count())), best: [0.0; 3] };
        for _ in 0..ROWS {
            let mut row: Vec<f64> = (0..IN_A_ROW).map(|_| quiet.bursts()[1]).collect();
            quiet.best[1] = quiet.best[1].max(median(&mut row));
        }
        quiet
    }

    /// Whether bursts on every core at once run at full speed on all of them.
    fn now(&mut self) -> bool {
        let rates = self.bursts();
        let [multiplied, read, turns] = [0, 1, 2].map(|i| rates[i] / self.best[i]);
        multiplied >= FULL_SPEED && read >= CACHES_FREE * multiplied && (self.cores.count() == 1 || turns >= NEAR)
    }

    /// The rates of bursts on every core at once, each that of the slowest core.
    fn bursts(&mut self) -> [f64; 3] {
        let (isa, ring) = (self.isa, self.ring.clone());
        let rates = move || {
            let start = Instant::now();
            let work = bursts::multiply_add(isa);
            let multiplied = work as f64 / start.elapsed().as_secs_f64();
            let read = CACHED.with(|elements| {
                bursts::read(isa, elements);
                let start = Instant::now();
                (0..PASSES).for_each(|_| bursts::read(isa, elements));
                (PASSES * READ) as f64 / start.elapsed().as_secs_f64()
            });
            [multiplied, read, ring.turns_per_second()]
        };
        let slowest =
            self.cores.each(rates).into_iter().fold([f64::INFINITY; 3], |all, one| [0, 1, 2].map(|i| all[i].min(one[i])));
        for i in [0, 2] {
            self.best[i] = self.best[i].max(slowest[i]);
        }
        slowest
    }

    /// One sample of so many calls, after others that bring caches and threads into their state.
    pub fn sample(&mut self, Calls { of_a_sample: calls, long }: Calls, mut call: impl FnMut()) -> Sample {
        let (start, mut tries) = (Instant::now(), 0);
        loop {
            tries += 1;
            while !self.now() && start.elapsed() < PATIENCE {}
            let (fast, waited) = (self.now(), cores::waited());
            if !long {
                warm(&mut call);
            }
            let begin = Instant::now();
            (0..calls).for_each(|_| call());
            let elapsed = begin.elapsed();
            let waited = cores::waited().saturating_sub(waited);
            let quiet = fast && waited < elapsed.mul_f64(MOST_WAITED) && self.now();
            if quiet || (start.elapsed() >= PATIENCE && tries >= LEAST_TRIES) {
                return Sample { seconds: elapsed.as_secs_f64() / calls as f64, quiet };
            }
        }
    }
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Brings the caches into their state and wakes the threads that share the work, which takes them some 100 us.
fn warm(mut call: impl FnMut()) {
    let begin = Instant::now();
    call();
    while begin.elapsed() < LEAST {
        call();
    }
}

/// How a sample is taken of something.
#[derive(Clone, Copy)]
pub struct Calls {
    /// So many make it long enough.
    pub of_a_sample: usize,
    /// Whether one is so long that what the caches hold before it makes no difference.
    long: bool,
}

impl Calls {
    /// One call, however short it is: where each is looked at, as those of a session that times its steps, and in tests.
    pub const ONE: Self = Calls { of_a_sample: 1, long: false };

    /// One call of which it was found out whether it is long.
    pub fn one(call: impl FnMut()) -> Self {
        Calls { of_a_sample: 1, ..Calls::new(call) }
    }

    /// Finds out by calling.
    pub fn new(mut call: impl FnMut()) -> Self {
        warm(&mut call);
        let mut calls = 1;
        loop {
            let begin = Instant::now();
            (0..calls).for_each(|_| call());
            let elapsed = begin.elapsed();
            if elapsed >= LEAST / 2 {
                let enough = calls as f64 * LEAST.as_secs_f64() / elapsed.as_secs_f64();
                return Calls { of_a_sample: enough.ceil() as usize, long: elapsed / calls >= LONG };
            }
            calls *= 2;
        }
    }
}
