//! What this machine can do at most: the floor under every time.

use ssl_quiet::bursts::{self, Ring};
use ssl_quiet::cores::Cores;
use sslm_kernels::Isa;
use std::fmt;
use std::sync::{Arc, Barrier};
use std::time::Instant;

/// The least count of bytes that are read for one measurement.
const LEAST_READ: usize = 4 << 20;

/// Bytes that are read at most, as long as that is four bursts: reads of memory, unlike those of caches, differ little.
const MOST_READ: usize = 1 << 30;

/// The sizes that rates of reading are told of.
const READS: [(&str, usize); 2] = [("256 KiB", 256 << 10), ("256 MiB", 256 << 20)];

/// How many bursts of turns are taken: some 2 ms.
const BURSTS_OF_TURNS: usize = 200;

/// Elements of a cache line.
const LINE: usize = 16;

/// The most that some cores reach.
pub struct Ceiling<'c> {
    isa: Isa,
    cores: &'c Cores,
    /// Multiply-adds count as two.
    operations_per_second: f64,
}

impl<'c> Ceiling<'c> {
    /// Measures it, which takes some 50 ms.
    pub fn measure(isa: Isa, cores: &'c Cores) -> Self {
        let operations_per_second = together(cores, 500, || (), move |()| bursts::multiply_add(isa));
        Ceiling { isa, cores, operations_per_second }
    }

    /// So many operations on so many bytes take at least this long: at the rate of the best burst, or as long as it takes to read so
    /// many bytes again and again, out of whichever cache holds them.
    pub fn seconds(&self, operations: usize, bytes: usize) -> f64 {
        let reading = if bytes == 0 { 0.0 } else { bytes as f64 / self.bytes_per_second(bytes) };
        (operations as f64 / self.operations_per_second).max(reading)
    }

    /// How often a counter is handed from core to core in a second, at best.
    fn turns_per_second(&self) -> f64 {
        let ring = Arc::new(Ring::new(self.cores.count()));
        let best = move || (0..BURSTS_OF_TURNS).map(|_| ring.turns_per_second()).fold(0.0, f64::max);
        self.cores.each(best).into_iter().fold(f64::INFINITY, f64::min)
    }

    fn bytes_per_second(&self, bytes: usize) -> f64 {
        let (isa, len) = (self.isa, bytes / size_of::<f32>() / self.cores.count());
        let passes = (LEAST_READ / bytes).max(1);
        let bursts = (MOST_READ / (passes * bytes)).clamp(4, 20);
        let read = move |elements: &mut Vec<f32>| {
            // Vectors that lie across two lines would be read at half the rate.
            let first = elements.as_ptr().align_offset(LINE * size_of::<f32>());
            (0..passes).for_each(|_| bursts::read(isa, &elements[first..][..len]));
            passes * len * size_of::<f32>()
        };
        together(self.cores, bursts, move || vec![1.0; len + LINE], read)
    }
}

/// The sum of each core's best rate of `count` bursts, which return how much work they did. All start at once.
fn together<D>(
    cores: &Cores,
    count: usize,
    data: impl Fn() -> D + Clone + Send + 'static,
    burst: impl Fn(&mut D) -> usize + Clone + Send + 'static,
) -> f64 {
    let barrier = Arc::new(Barrier::new(cores.count()));
    let best = move || {
        let mut data = data();
        barrier.wait();
        let rate = |_| {
            let start = Instant::now();
            let work = burst(&mut data);
            work as f64 / start.elapsed().as_secs_f64()
        };
        (0..count).map(rate).fold(0.0, f64::max)
    };
    cores.each(best).iter().sum()
}

impl Ceiling<'_> {
    /// Notes for records: what was measured, and how much it is.
    pub fn notes(&self) -> Vec<(String, String)> {
        let reads =
            READS.map(|(name, bytes)| (format!("GB/s from {name}"), format!("{:.1}", self.bytes_per_second(bytes) / 1e9)));
        let operations = ("Gop/s".to_owned(), format!("{:.1}", self.operations_per_second / 1e9));
        let turn = || ("ns from core to core".to_owned(), format!("{:.0}", 1e9 / self.turns_per_second()));
        [operations].into_iter().chain(reads).chain((self.cores.count() > 1).then(turn)).collect()
    }
}

impl fmt::Display for Ceiling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.notes().iter().map(|(what, much)| format!("{much} {what}")).collect::<Vec<_>>().join(", "))
    }
}
