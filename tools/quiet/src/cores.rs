//! The cores that benchmarks run on: threads that move, or share a core, measure the scheduler.

use sslm_kernels::{Team, Threading};
use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io;
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// One CPU of each core that this process may use.
static ALL: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let core = |cpu: &usize| {
        let siblings = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        fs::read_to_string(siblings).unwrap_or_else(|_| cpu.to_string())
    };
    let mut seen = BTreeSet::new();
    system::allowed().into_iter().filter(|cpu| seen.insert(core(cpu))).collect()
});

/// Some cores, of which the first one is the calling thread's.
pub struct Cores {
    cpus: &'static [usize],
    /// A thread on each of the other cores, which sleeps until it is sent something to do.
    others: Vec<Sender<Box<dyn FnOnce() + Send>>>,
    team: Team,
}

impl Cores {
    /// Takes `count` cores, and pins the calling thread to the first one. `None` where there are fewer.
    ///
    /// # Panics
    /// If threads cannot be started.
    pub fn new(count: usize) -> Option<Self> {
        let cpus = ALL.get(..count)?;
        let other = |cpu: &[usize]| {
            let (sender, receiver) = channel::<Box<dyn FnOnce() + Send>>();
            started_on(cpu, cpus, || thread::spawn(|| receiver.into_iter().for_each(|work| work())));
            sender
        };
        let others = cpus[1..].chunks(1).map(other).collect();
        let team = started_on(&cpus[1..], cpus, || Team::new(count)).expect("threads can be started");
        Some(Cores { cpus, others, team })
    }

    /// How many cores these are.
    pub fn count(&self) -> usize {
        self.cpus.len()
    }

    /// For kernels that share their work between these cores.
    pub fn threading(&self) -> Threading<'_> {
        if self.count() == 1 { Threading::Single } else { Threading::Team(&self.team) }
    }

    /// What `f` yields on each of them, at the same time.
    pub fn each<T: Send + 'static>(&self, f: impl Fn() -> T + Clone + Send + 'static) -> Vec<T> {
        let (done, results) = channel();
        for other in &self.others {
            let (f, done) = (f.clone(), done.clone());
            // Fails if a thread panicked before; its result is missing then.
            let _ = other.send(Box::new(move || _ = done.send(f())));
        }
        drop(done);
        let own = f();
        results.into_iter().chain([own]).collect()
    }

    /// Runs `start`; the threads that it starts run on the cores that are not the calling thread's.
    pub fn adopt<T>(&self, start: impl FnOnce() -> T) -> T {
        started_on(&self.cpus[1..], self.cpus, start)
    }
}

/// How long threads of this process have waited for a core so far: it grows while somebody else runs on theirs.
pub fn waited() -> Duration {
    // The second field of the kernel's scheduling statistics: nanoseconds that a thread was ready to run and did not.
    let of_thread = |thread: io::Result<DirEntry>| {
        let statistics = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        statistics.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Duration::from_nanos(fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(of_thread).sum())
}

/// How long threads of this process have computed so far, all together; 0 where the system is not asked.
pub fn processor_time() -> Duration {
    system::processor_time()
}

/// Runs `f` where it, and the threads that it starts, may use one core only.
///
/// # Panics
/// If `f` does.
pub fn on_one_core<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let core = ALL.get(..1).expect("a process has a core");
    let alone = || {
        system::pin(core);
        f()
    };
    thread::scope(|scope| scope.spawn(alone).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs `start` on one of `cpus`, where the threads that it starts stay, and goes on on the first one of `all`.
fn started_on<T>(cpus: &[usize], all: &[usize], start: impl FnOnce() -> T) -> T {
    system::pin(if cpus.is_empty() { &all[..1] } else { cpus });
    let result = start();
    system::pin(&all[..1]);
    result
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use rustix::time::{ClockId, clock_gettime};
    use std::time::Duration;

    /// CPUs that this process may use.
    pub(super) fn allowed() -> Vec<usize> {
        let set = sched_getaffinity(None).expect("the calling thread has CPUs");
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    }

    /// The calling thread, and those that it starts, run nowhere else.
    pub(super) fn pin(cpus: &[usize]) {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|&cpu| set.set(cpu));
        sched_setaffinity(None, &set).expect("allowed CPUs");
    }

    /// Unlike statistics in `/proc`, it counts what threads that run just now have done since the last tick.
    pub(super) fn processor_time() -> Duration {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// Elsewhere threads run where the system puts them.
#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn allowed() -> Vec<usize> {
        (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
    }

    pub(super) fn pin(_: &[usize]) {}

    pub(super) fn processor_time() -> std::time::Duration {
        std::time::Duration::ZERO
    }
}
