//! Threads that share the caller's work. A loop is handed over by a few atomic operations: without a lock, an allocation or, as
//! long as the helpers are awake, a system call.

use std::cell::UnsafeCell;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};

/// How often a thread looks before it lets others run, and before a helper goes to sleep: that is some tens of microseconds, longer
/// than most layers that do not share their work.
const LOOKS: [u32; 2] = [64, 2048];

/// Pieces that a loop is cut into for each thread: threads that were late get fewer of them.
const PIECES: usize = 4;

/// The calling thread and others that help it. Several callers may share a team: one is helped at a time, the others work alone
/// rather than wait.
#[derive(Debug)]
pub struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

/// One loop: `call(body, range)` runs some of its `count` indices.
#[derive(Clone, Copy, Debug)]
struct Loop {
    call: unsafe fn(*const (), Range<usize>),
    body: *const (),
    count: usize,
    piece: usize,
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
    /// The first index that nobody took yet.
    next: Apart<AtomicUsize>,
    /// Invariant: written only by the caller that holds `taken`, while the gate is shut and nobody is inside; read by helpers
    /// inside.
    current: UnsafeCell<Loop>,
    /// Whether a caller is being helped.
    taken: AtomicBool,
    /// Whether a helper panicked in the current loop.
    panicked: AtomicBool,
    /// Whether the team is dissolved.
    over: AtomicBool,
    /// Helpers that sleep or are about to. They hold `bed` from looking at the gate for the last time until they sleep.
    asleep: AtomicUsize,
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

    /// A team of `threads` threads, the caller's included.
    ///
    /// # Errors
    /// If there are more than [`Self::MAX`], or the others cannot be started.
    pub fn new(threads: usize) -> io::Result<Self> {
        const { assert!(Self::MAX as u64 <= INSIDE) };
        if threads > Self::MAX {
            let message = format!("expected at most {} threads, found {threads}", Self::MAX);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        unsafe fn nothing(_: *const (), _: Range<usize>) {}
        let shared = Shared {
            gate: Apart::default(),
            next: Apart::default(),
            current: UnsafeCell::new(Loop { call: nothing, body: std::ptr::null(), count: 0, piece: 1 }),
            taken: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            over: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            bed: Mutex::new(()),
            bell: Condvar::new(),
        };
        // Helpers that were started before one could not be are sent home by the team's end.
        let mut team = Team { shared: Arc::new(shared), helpers: Vec::new() };
        let (started, starts) = mpsc::channel();
        for i in 1..threads {
            let (shared, started) = (team.shared.clone(), started.clone());
            let life = move || {
                drop(started);
                shared.help();
            };
            team.helpers.push(thread::Builder::new().name(format!("sslm-{i}")).spawn(life)?);
        }
        // What starting a thread costs is over when the first loop comes: there is nobody left who could send.
        drop(started);
        let _: Result<(), _> = starts.recv();
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

    /// Calls `f` once for each index below `count`, on any thread of the team, and returns when all calls have.
    ///
    /// # Panics
    /// If `f` does on any thread.
    pub(crate) fn for_each<F: Fn(usize) + Sync>(&self, count: usize, f: F) {
        /// # Safety
        /// `body` must point to an `F`.
        unsafe fn call<F: Fn(usize)>(body: *const (), range: Range<usize>) {
            // SAFETY: the caller's promise.
            let f = unsafe { &*body.cast::<F>() };
            range.for_each(f);
        }
        let shared = &*self.shared;
        if count <= 1 || self.helpers.is_empty() || shared.taken.swap(true, Ordering::Acquire) {
            return (0..count).for_each(f);
        }
        let piece = (count / self.pieces()).max(1);
        let current = Loop { call: call::<F>, body: (&raw const f).cast(), count, piece };
        // SAFETY: this thread just took the team, and whoever had it before left the gate shut and nobody inside.
        unsafe { *shared.current.get() = current };
        shared.next.0.store(0, Ordering::Relaxed);
        shared.panicked.store(false, Ordering::Relaxed);
        shared.gate.0.fetch_add(OPEN, Ordering::SeqCst);
        // A panic goes no further before all helpers are outside: they use `f`.
        let own = catch_unwind(AssertUnwindSafe(|| {
            if shared.asleep.load(Ordering::SeqCst) > 0 {
                shared.wake();
            }
            shared.work(current);
        }));
        let panicked = shared.end();
        own.unwrap_or_else(|panic| resume_unwind(panic));
        assert!(!panicked, "a thread that shared the work panicked");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.wake();
        for helper in self.helpers.drain(..) {
            // What a loop panics with was caught: a helper ends well.
            let _ = helper.join();
        }
    }
}

/// Passes a moment, and now and then the processor to another thread.
fn pause(looks: &mut u32) {
    *looks += 1;
    if looks.is_multiple_of(LOOKS[0]) {
        thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

impl Shared {
    /// The life of a helper.
    fn help(&self) {
        let (mut last, mut looks) = (0, 0);
        while !self.over.load(Ordering::Relaxed) {
            if let Some(gate) = self.opened_since(last) {
                looks = 0;
                // Fails where another helper came or went just now, or the gate was shut.
                if self.gate.0.compare_exchange_weak(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    // SAFETY: this helper is inside, so `current` is not written.
                    let current = unsafe { *self.current.get() };
                    if catch_unwind(AssertUnwindSafe(|| self.work(current))).is_err() {
                        self.panicked.store(true, Ordering::Relaxed);
                    }
                    last = gate & !INSIDE;
                    self.gate.0.fetch_sub(1, Ordering::Release);
                }
            } else if looks < LOOKS[1] {
                pause(&mut looks);
            } else {
                looks = 0;
                self.sleep(last);
            }
        }
    }

    /// The gate, if it is open for another loop than `last`.
    fn opened_since(&self, last: u64) -> Option<u64> {
        let gate = self.gate.0.load(Ordering::SeqCst);
        (gate & OPEN != 0 && gate & !INSIDE != last).then_some(gate)
    }

    /// Until the gate is open for another loop than `last`, or the team is over. A caller that opens the gate either sees this
    /// helper in `asleep` afterwards, or was seen by it: both orders are sequentially consistent.
    fn sleep(&self, last: u64) {
        let mut bed = self.bed.lock().expect("nobody panics in bed");
        self.asleep.fetch_add(1, Ordering::SeqCst);
        while !self.over.load(Ordering::SeqCst) && self.opened_since(last).is_none() {
            bed = self.bell.wait(bed).expect("nobody panics in bed");
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

    /// Piece by piece, what nobody else takes of a loop.
    fn work(&self, current: Loop) {
        loop {
            let first = self.next.0.fetch_add(current.piece, Ordering::Relaxed);
            if first >= current.count {
                return;
            }
            // SAFETY: `for_each` made the pair of `call` and `body`, and what `body` points to lives until nobody is inside.
            unsafe { (current.call)(current.body, first..(first + current.piece).min(current.count)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of `count` indices was visited.
    fn visits(team: &Team, count: usize) -> Vec<usize> {
        let visits: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        team.for_each(count, |i| {
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
    fn helpers_that_fell_asleep_wake_up() {
        let team = Team::new(3).expect("threads start");
        for _ in 0..5 {
            while team.shared.asleep.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            // Each thread waits for the other two.
            let arrived = AtomicUsize::new(0);
            team.for_each(3, |_| {
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
        team.for_each(5, |i| assert_eq!(visits(&team, i), vec![1; i]));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(2).expect("threads start");
        for bad in [0, 1, 7] {
            let panics = || team.for_each(8, |i| assert_ne!(i, bad));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
            assert_eq!(visits(&team, 100), [1; 100]);
        }
    }
}
