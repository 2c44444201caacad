//! Threads that share the caller's work. A loop is handed over by a few atomic operations: without a lock, an allocation or, as
//! long as the helpers are awake, a system call.
//!
//! A helper looks for the next loop for some time and then sleeps. Waking it costs the caller 5 to 20 us, and it comes 40 to 80 us
//! later. So callers announce a run of loops ([`crate::Threading::begin`]), which wakes helpers where that is likely to pay; the
//! caller starts alone, and takes what helpers who are late have not taken.
//!
//! A process that is forked has a copy of the team, but none of its helpers: there, callers work alone.

use crate::affinity::{self, current_cpu};
use get_size2::GetSize;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize as Count};
use std::time::Duration;
use sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Condvar, Instant, JoinHandle, Mutex, Ordering, UnsafeCell, mpsc, thread};
use waking::Waking;

#[cfg_attr(loom, path = "team/modelled.rs")]
#[cfg_attr(not(loom), path = "team/system.rs")]
mod sync;
mod waking;

/// How often a thread looks before it lets others run and, if it is a helper, sees whether it is time to sleep.
const LOOKS: u32 = if cfg!(loom) { 1 } else { 64 };

/// Pieces that each thread's part of a loop is cut into: threads that were late get fewer of them.
const PIECES: usize = 4;

/// Callers in this process that are in a run of loops: they share the cores evenly.
static CALLERS: Count = Count::new(0);

/// The process that [`CALLERS`] are counted in.
static COUNTED_IN: AtomicU32 = AtomicU32::new(0);

/// The calling thread and others that help it. Several callers may share a team: one is helped at a time, the others work alone
/// rather than wait.
#[derive(Debug)]
pub struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Where these run, and the CPU that they stay off.
    places: Vec<affinity::Thread>,
    off: AtomicUsize,
    /// The process that they are threads of, and whether a caller has found itself in another one.
    process: u32,
    forked: AtomicBool,
    /// When the team was made, and when, in nanoseconds since, a run of loops ended last.
    made: Instant,
    ended: AtomicU64,
    waking: Waking,
}

/// A run of loops of one caller, until it is dropped.
#[derive(GetSize, Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Run<'a> {
    helped: Option<Helped<'a>>,
}

/// What helps with a run.
#[derive(GetSize, Debug)]
struct Helped<'a> {
    team: &'a Team,
    /// When the run began, in nanoseconds since the team was made.
    began: u64,
    /// Where helpers slept, whether they were woken.
    woken: Option<bool>,
}

impl Run<'_> {
    /// One that nobody helps with.
    pub(crate) fn alone() -> Self {
        CALLERS.fetch_add(1, Ordering::Relaxed);
        Run { helped: None }
    }
}

/// What a loop calls with each of its indices. It is compiled once, behind a pointer, and so are loops, for all kernels: a call takes
/// much longer than the jump to it.
pub(crate) type Body<'a> = &'a (dyn Fn(usize) + Sync + 'a);

/// One loop, over the indices below `count`.
#[derive(Clone, Copy, Debug)]
struct Loop {
    /// Lives as long as helpers may be inside; `'static` only stands for that.
    body: *const Body<'static>,
    count: usize,
}

/// A value on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

#[derive(Debug)]
struct Shared {
    /// Helpers that are inside the current loop (the [`INSIDE`] bits), whether others may enter it ([`OPEN`]), and above that the
    /// loop's index among all loops.
    gate: Apart<AtomicU64>,
    /// Of each thread's part of the loop, the first index that nobody took yet: reset under the rule of `current`.
    next: Box<[Apart<AtomicUsize>]>,
    /// Invariant: written only by the caller that holds `taken`, while the gate is shut and nobody is inside; read by helpers
    /// inside.
    current: UnsafeCell<Loop>,
    /// Whether a caller is being helped.
    taken: AtomicBool,
    /// Whether a helper panicked in the current loop.
    panicked: AtomicBool,
    /// Whether the team is dissolved.
    over: AtomicBool,
    /// How long a helper looks for a loop before it sleeps.
    spin: Duration,
    /// CPUs that this process may use.
    cpus: usize,
    /// Helpers that sleep or are about to. They hold `bed` from looking at the gate for the last time until they sleep.
    asleep: AtomicUsize,
    /// Whether a loop wakes them.
    wakes: AtomicBool,
    bed: Mutex<()>,
    bell: Condvar,
}

const INSIDE: u64 = 0xffff;
/// Added once, it opens the gate; added twice, it shuts it and counts the loop.
const OPEN: u64 = INSIDE + 1;

// SAFETY: `current` is the only part that is not shared safely by itself; its invariant keeps writes apart from everything else.
// What its pointer leads to is shared between threads only as a closure that is `Sync` (see `Team::for_each`).
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Shared {}

impl Team {
    /// Threads that a team may have: more than help anyone, and not so many that the system has no room for what each of them
    /// needs.
    pub const MAX: usize = 1024;

    /// How long helpers look for a loop before they sleep, unless a team is made for another time: longer than a program usually
    /// takes from one run to the next.
    pub const SPIN: Duration = Duration::from_micros(100);

    /// A team of `threads` threads, the caller's included.
    ///
    /// # Errors
    /// If there are more than [`Self::MAX`], or the others cannot be started.
    pub fn new(threads: usize) -> io::Result<Self> {
        Self::with_spin(threads, Self::SPIN)
    }

    /// The same, whose helpers look for a loop for so long before they sleep.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_spin(threads: usize, spin: Duration) -> io::Result<Self> {
        const { assert!(Self::MAX as u64 <= INSIDE) };
        if threads > Self::MAX {
            let message = format!("expected at most {} threads, found {threads}", Self::MAX);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let process = std::process::id();
        // Callers that a fork left behind will not end their runs here.
        if COUNTED_IN.swap(process, Ordering::Relaxed) != process {
            CALLERS.store(0, Ordering::Relaxed);
        }
        let shared = Shared {
            gate: Apart::default(),
            next: (0..threads.max(1)).map(|_| Apart::default()).collect(),
            current: UnsafeCell::new(Loop { body: std::ptr::null(), count: 0 }),
            taken: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            over: AtomicBool::new(false),
            spin,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            asleep: AtomicUsize::new(0),
            wakes: AtomicBool::new(true),
            bed: Mutex::new(()),
            bell: Condvar::new(),
        };
        // Helpers that were started before one could not be are sent home by the team's end.
        let mut team = Team {
            shared: Arc::new(shared),
            helpers: Vec::new(),
            places: Vec::new(),
            off: AtomicUsize::new(usize::MAX),
            process,
            forked: AtomicBool::new(false),
            made: Instant::now(),
            ended: AtomicU64::new(0),
            waking: Waking::default(),
        };
        let (started, starts) = mpsc::channel();
        for i in 1..threads {
            let (shared, started) = (team.shared.clone(), started.clone());
            let life = move || {
                // Fails if the team could not be made.
                let _ = started.send(affinity::Thread::current());
                drop(started);
                shared.help(i);
            };
            team.helpers.push(thread::Builder::new().name(format!("sslm-{i}")).spawn(life)?);
        }
        // What starting a thread costs is over when the first loop comes: all of them have said where they are.
        drop(started);
        team.places = (1..threads).map_while(|_| starts.recv().ok()).collect();
        Ok(team)
    }

    /// Threads of the team, the caller's included.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Pieces that a loop is best cut into.
    pub(crate) fn pieces(&self) -> usize {
        PIECES * self.threads()
    }

    /// Announces loops of the calling thread, until what it returns is dropped. Helpers that sleep are woken if that [pays](Waking), or
    /// the last run was over so recently that they will find the next one without sleeping; and all of them leave the caller's core.
    pub(crate) fn begin(&self) -> Run<'_> {
        let mut run = Run::alone();
        let (began, mut woken) = (self.now(), None);
        if self.process != std::process::id() {
            self.forked.store(true, Ordering::Relaxed);
        } else if !self.helpers.is_empty() && self.shared.helps(1) {
            let cpu = current_cpu();
            if self.off.swap(cpu, Ordering::Relaxed) != cpu {
                self.places.iter().for_each(|place| place.keep_off(cpu));
            }
            let since_last = Duration::from_nanos(began.saturating_sub(self.ended.load(Ordering::Relaxed)));
            let sleep = self.shared.asleep.load(Ordering::SeqCst) > 0;
            woken = (sleep && since_last >= self.shared.spin).then(|| self.waking.pays());
            let wakes = woken.unwrap_or(true);
            self.shared.wakes.store(wakes, Ordering::Relaxed);
            if wakes && sleep {
                self.shared.wake();
            }
        }
        run.helped = Some(Helped { team: self, began, woken });
        run
    }

    /// Nanoseconds since the team was made.
    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Calls `f` once for each index below `count`, on any thread of the team, and returns when all calls have.
    ///
    /// # Panics
    /// If `f` does on any thread.
    pub(crate) fn for_each(&self, count: usize, f: Body<'_>) {
        let shared = &*self.shared;
        let alone = count <= 1 || self.helpers.is_empty() || self.forked.load(Ordering::Relaxed) || !shared.helps(1);
        if alone || shared.taken.swap(true, Ordering::Acquire) {
            return (0..count).for_each(f);
        }
        let current = Loop { body: (&raw const f).cast(), count };
        // SAFETY: this thread just took the team, and whoever had it before left the gate shut and nobody inside.
        shared.current.with_mut(|place| unsafe { *place = current });
        for (thread, next) in shared.next.iter().enumerate() {
            next.0.store(shared.part(thread, count).start, Ordering::Relaxed);
        }
        shared.panicked.store(false, Ordering::Relaxed);
        shared.gate.0.fetch_add(OPEN, Ordering::SeqCst);
        // A panic goes no further before all helpers are outside: they use `f`.
        let own = catch_unwind(AssertUnwindSafe(|| {
            if shared.asleep.load(Ordering::SeqCst) > 0 && shared.wakes.load(Ordering::Relaxed) {
                shared.wake();
            }
            shared.work(current, 0);
        }));
        let panicked = shared.end();
        own.unwrap_or_else(|panic| resume_unwind(panic));
        assert!(!panicked, "a thread that shared the work panicked");
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if let Some(Helped { team, began, woken }) = self.helped {
            let now = team.now();
            team.ended.store(now, Ordering::Relaxed);
            if let Some(woken) = woken {
                team.waking.took(woken, Duration::from_nanos(now.saturating_sub(began)));
            }
        }
        // A run that began before the count was started anew is not among them.
        let _ = CALLERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |callers| callers.checked_sub(1));
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // Nobody is there to wake or to wait for, and the lock of their bed may have been held when the process was forked.
            return self.helpers.drain(..).for_each(std::mem::forget);
        }
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.wake();
        for helper in self.helpers.drain(..) {
            // What a loop panics with was caught: a helper ends well.
            let _ = helper.join();
        }
    }
}

/// Passes a moment, and now and then the processor to another thread: then it says so.
fn pause(looks: &mut u32) -> bool {
    *looks += 1;
    let yields = looks.is_multiple_of(LOOKS);
    if yields {
        thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
    yields
}

/// Whether the thread of this index works for its caller, where so many callers share so many CPUs.
fn helps_among(callers: usize, cpus: usize, thread: usize) -> bool {
    callers <= 1 || thread < cpus / callers
}

impl Shared {
    /// The life of the helper of this index.
    fn help(&self, thread: usize) {
        let (mut last, mut looks, mut since) = (0, 0, None);
        while !self.over.load(Ordering::Relaxed) {
            if let Some(gate) = self.opened_since(last, thread) {
                // Fails where another helper came or went just now, or the gate was shut.
                if self.gate.0.compare_exchange_weak(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    // SAFETY: this helper is inside, so `current` is not written.
                    let current = self.current.with(|place| unsafe { *place });
                    if catch_unwind(AssertUnwindSafe(|| self.work(current, thread))).is_err() {
                        self.panicked.store(true, Ordering::Relaxed);
                    }
                    last = gate & !INSIDE;
                    self.gate.0.fetch_sub(1, Ordering::Release);
                    (looks, since) = (0, None);
                }
            } else if pause(&mut looks) {
                let since_then: &mut Instant = since.get_or_insert_with(Instant::now);
                if since_then.elapsed() >= self.spin || !self.helps(thread) {
                    self.sleep(last, thread);
                    (looks, since) = (0, None);
                }
            }
        }
    }

    /// Whether this thread works for a caller: where there are several, they share the CPUs evenly.
    fn helps(&self, thread: usize) -> bool {
        helps_among(CALLERS.load(Ordering::Relaxed), self.cpus, thread)
    }

    /// The gate, if it is open to this thread for another loop than `last`.
    fn opened_since(&self, last: u64, thread: usize) -> Option<u64> {
        let gate = self.gate.0.load(Ordering::SeqCst);
        (gate & OPEN != 0 && gate & !INSIDE != last && self.helps(thread)).then_some(gate)
    }

    /// Until the gate is open to this thread for another loop than `last`, the bell rings, or the team is over. A caller that opens the
    /// gate either sees this helper in `asleep` afterwards, or was seen by it: both orders are sequentially consistent.
    fn sleep(&self, last: u64, thread: usize) {
        let bed = self.bed.lock().expect("nobody panics in bed");
        self.asleep.fetch_add(1, Ordering::SeqCst);
        if !self.over.load(Ordering::SeqCst) && self.opened_since(last, thread).is_none() {
            // It may wake for no reason, and looks for some time before it sleeps again.
            drop(self.bell.wait(bed).expect("nobody panics in bed"));
        }
        self.asleep.fetch_sub(1, Ordering::SeqCst);
    }

    /// Ends a loop: shuts the gate, waits until all helpers have left, and gives the team back. Whether one of them panicked.
    fn end(&self) -> bool {
        self.gate.0.fetch_add(OPEN, Ordering::AcqRel);
        let mut looks = 0;
        while self.gate.0.load(Ordering::Acquire) & INSIDE != 0 {
            pause(&mut looks);
        }
        let panicked = self.panicked.load(Ordering::Relaxed);
        self.taken.store(false, Ordering::Release);
        panicked
    }

    fn wake(&self) {
        // Whoever is about to sleep does so first, or it would not hear the bell.
        drop(self.bed.lock().expect("nobody panics in bed"));
        self.bell.notify_all();
    }

    /// The indices of a loop that a thread takes first: the same ones in every loop of so many, so that it reads what it wrote itself.
    fn part(&self, thread: usize, count: usize) -> Range<usize> {
        let threads = self.next.len();
        // As `count * thread / threads`, rounded up, but without a product that could be too large.
        let start = |thread: usize| count / threads * thread + (count % threads * thread).div_ceil(threads);
        start(thread)..start(thread + 1)
    }

    /// Computes a thread's part of a loop, and then what others have not taken of theirs, piece by piece.
    fn work(&self, current: Loop, thread: usize) {
        let threads = self.next.len();
        for of in (thread..threads).chain(0..thread) {
            let (part, next) = (self.part(of, current.count), &self.next[of].0);
            let piece = (part.len() / PIECES).max(1);
            // Looking before taking: of most loops others' parts are taken, and a look takes no cache line from anyone.
            while next.load(Ordering::Relaxed) < part.end {
                let first = next.fetch_add(piece, Ordering::Relaxed);
                if first < part.end {
                    // SAFETY: `for_each` made `body` of its `f`, which lives until nobody is inside.
                    let f = unsafe { *current.body };
                    (first..(first + piece).min(part.end)).for_each(f);
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    /// How often each of `count` indices was visited.
    fn visits(team: &Team, count: usize) -> Vec<usize> {
        let visits: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        team.for_each(count, &|i| {
            visits[i].fetch_add(1, Ordering::Relaxed);
        });
        visits.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_index_is_visited_once() {
        for threads in 1..=4 {
            let team = Team::new(threads).expect("threads start");
            assert_eq!(team.threads(), threads);
            for count in (0..40).chain([1000, 4099]).filter(|&count| !cfg!(miri) || count < 40) {
                assert_eq!(visits(&team, count), vec![1; count], "{count} indices, {threads} threads");
            }
        }
    }

    #[test]
    fn parts_are_all_of_a_loop() {
        for threads in 1..=5 {
            let team = Team::new(threads).expect("threads start");
            for count in (0..40).chain([usize::MAX / 2, usize::MAX]) {
                let parts: Vec<Range<usize>> = (0..threads).map(|thread| team.shared.part(thread, count)).collect();
                assert_eq!((parts[0].start, parts[threads - 1].end), (0, count));
                assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{count} in {parts:?}");
                assert!(count == 0 || !parts[0].is_empty(), "the caller has something to do");
            }
        }
    }

    #[test]
    fn callers_share_the_cpus_evenly() {
        let helping = |callers: usize, cpus: usize| (1..8).filter(|&thread| helps_among(callers, cpus, thread)).count();
        assert_eq!([1, 2, 3, 4, 8, 9].map(|callers| helping(callers, 8)), [7, 3, 1, 1, 0, 0]);
        assert_eq!([0, 1, 2, 3].map(|callers| helping(callers, 2)), [7, 7, 0, 0]);
    }

    // Nowhere else in these tests, lest runs of two tests share the CPUs, and threads that wait for each other do not meet.
    #[test]
    fn runs_of_loops_follow_each_other() {
        let team = Team::with_spin(3, Duration::ZERO).expect("threads start");
        for _ in 0..20 {
            let _run = team.begin();
            (0..5).for_each(|_| assert_eq!(visits(&team, 50), [1; 50]));
        }
    }

    #[test]
    fn helpers_that_fell_asleep_wake_up() {
        let team = Team::new(3).expect("threads start");
        for _ in 0..5 {
            while team.shared.asleep.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            // Each thread waits for the other two.
            let arrived = AtomicUsize::new(0);
            team.for_each(3, &|_| {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 3 {
                    thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn callers_share_a_team_and_loops_nest() {
        let team = Team::new(3).expect("threads start");
        let loops = if cfg!(miri) { 10 } else { 200 };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..loops).for_each(|i| assert_eq!(visits(&team, i), vec![1; i])));
            }
        });
        team.for_each(5, &|i| assert_eq!(visits(&team, i), vec![1; i]));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(2).expect("threads start");
        for bad in [0, 1, 7] {
            let panics = || team.for_each(8, &|i| assert_ne!(i, bad));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
            assert_eq!(visits(&team, 100), [1; 100]);
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use std::sync::PoisonError;

    /// Callers are counted in the whole process ([`CALLERS`]): those of another model would be there in some executions of this one only.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

    /// Every way in which a team of so many threads can compute `loops` loops of `count` indices, where threads are interrupted so often.
    fn check(threads: usize, count: usize, loops: usize, interruptions: usize) {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(interruptions);
        model.check(move || {
            let team = Team::with_spin(threads, Duration::from_nanos(1)).expect("threads start");
            for _ in 0..loops {
                let visits: Vec<Count> = (0..count).map(|_| Count::new(0)).collect();
                let run = team.begin();
                team.for_each(count, &|i| _ = visits[i].fetch_add(1, Ordering::Relaxed));
                drop(run);
                assert!(visits.into_iter().all(|visits| visits.into_inner() == 1));
            }
        });
    }

    #[test]
    fn two_threads_share_loops() {
        check(2, 2, 2, 3);
    }

    #[test]
    fn helpers_sleep_between_loops() {
        check(2, 3, 3, 3);
    }

    #[test]
    fn three_threads_share_a_loop() {
        check(3, 3, 1, 1);
    }
}
