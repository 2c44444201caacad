//! Series of calls, back to back or after pauses. What a runtime's threads do while nobody calls decides how long the next call takes,
//! and what they take from others meanwhile: helpers that sleep are late, helpers that look for work keep a core busy.

use ssl_quiet::cores;
use std::fmt;
use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

/// What comes before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The call before.
    None,
    /// The calling thread does something else for so long.
    Busy(Duration),
    /// The calling thread sleeps for so long.
    Asleep(Duration),
}

impl Pause {
    /// Pauses, and returns for how long the calling thread was busy with that.
    fn take(self) -> Duration {
        let start = Instant::now();
        match self {
            Pause::None => return Duration::ZERO,
            Pause::Busy(time) => {
                while start.elapsed() < time {
                    spin_loop();
                }
                return start.elapsed();
            }
            Pause::Asleep(time) => thread::sleep(time),
        }
        Duration::ZERO
    }

    /// How long it is, without what sleepers oversleep.
    pub fn time(self) -> Duration {
        match self {
            Pause::None => Duration::ZERO,
            Pause::Busy(time) | Pause::Asleep(time) => time,
        }
    }
}

/// `back to back`, `after 30 us busy`, `after 1 ms asleep`.
impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self {
            Pause::None => return f.write_str("back to back"),
            Pause::Busy(_) => "busy",
            Pause::Asleep(_) => "asleep",
        };
        match self.time().as_micros() {
            us if us > 0 && us % 1000 == 0 => write!(f, "after {} ms {how}", us / 1000),
            us => write!(f, "after {us} us {how}"),
        }
    }
}

/// Series begin with calls that do not count, for as long at least: they bring caches and threads into their state.
const WARM_UP: Duration = Duration::from_millis(2);

/// What calls took.
pub struct Series {
    /// Seconds of each call.
    pub seconds: Vec<f64>,
    /// Seconds of computing by all threads of this process in a call and the pause before it, but for what the caller itself did in
    /// that; in the mean, since it is told for the whole series only.
    pub processor: f64,
    /// How long threads waited for a core, as a share of the time of all calls.
    pub waited: f64,
}

impl Series {
    /// Calls `count` times, each time after `pause`. Nothing else is done between two calls: asking the system about this process's
    /// threads, for one, takes so long that helpers fall asleep meanwhile.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn take<E>(pause: Pause, count: usize, mut call: impl FnMut() -> Result<(), E>) -> Result<Self, E> {
        let mut one = || {
            let busy = pause.take();
            let start = Instant::now();
            call()?;
            Ok((start.elapsed().as_secs_f64(), busy))
        };
        let begin = Instant::now();
        one()?;
        while begin.elapsed() < WARM_UP {
            one()?;
        }
        let mut seconds = Vec::with_capacity(count);
        let mut busy = Duration::ZERO;
        // Looking at threads takes processor time: it lies outside.
        let (waited, processor) = (cores::waited(), cores::processor_time());
        for _ in 0..count {
            let (time, paused) = one()?;
            seconds.push(time);
            busy += paused;
        }
        let processor = cores::processor_time().saturating_sub(processor);
        let waited = cores::waited().saturating_sub(waited);
        let sum: f64 = seconds.iter().sum();
        Ok(Series {
            processor: processor.saturating_sub(busy).as_secs_f64() / count.max(1) as f64,
            waited: waited.as_secs_f64() / sum.max(f64::MIN_POSITIVE),
            seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn pauses_have_names() {
        let us = Duration::from_micros;
        for (pause, name) in [
            (Pause::None, "back to back"),
            (Pause::Busy(us(30)), "after 30 us busy"),
            (Pause::Busy(us(1000)), "after 1 ms busy"),
            (Pause::Asleep(us(10_000)), "after 10 ms asleep"),
            (Pause::Asleep(us(1500)), "after 1500 us asleep"),
        ] {
            assert_eq!(pause.to_string(), name);
        }
    }

    /// Only lower bounds: how late somebody is woken is the system's affair.
    #[test]
    fn pauses_lie_between_calls_and_do_not_count() {
        let time = Duration::from_millis(3);
        for pause in [Pause::None, Pause::Busy(time), Pause::Asleep(time)] {
            let mut begins = Vec::new();
            let series = Series::take(pause, 4, || {
                begins.push(Instant::now());
                Ok::<(), Infallible>(())
            });
            let Ok(series) = series;
            assert_eq!(series.seconds.len(), 4);
            assert!(begins.len() > 4, "some come before those that count");
            let apart = begins.windows(2).map(|pair| pair[1] - pair[0]).min().expect("there are several");
            assert!(apart >= pause.time(), "{pause}: {apart:?}");
        }
        let failed = Series::take(Pause::None, 4, || Err("no"));
        assert_eq!(failed.err(), Some("no"));
    }
}
