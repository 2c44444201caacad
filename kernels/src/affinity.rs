//! Where threads run: helpers stay off their caller's core, where the system allows to say so. A helper that is woken on that core
//! waits until the scheduler moves one of the two, which takes a millisecond or two.

#[cfg(target_os = "linux")]
pub(crate) use linux::{Thread, current_cpu};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{Thread, current_cpu};

#[cfg(target_os = "linux")]
mod linux {
    use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// A thread, and where it may run.
    #[derive(Debug)]
    pub(crate) struct Thread {
        id: Pid,
        /// As its starter's were. `None` where the system does not say.
        allowed: Option<CpuSet>,
    }

    impl Thread {
        /// The calling one.
        pub(crate) fn current() -> Self {
            Thread { id: gettid(), allowed: sched_getaffinity(None).ok() }
        }

        /// From now on it runs on any CPU that it may run on but this one, if there is another.
        pub(crate) fn keep_off(&self, cpu: usize) {
            let Some(mut allowed) = self.allowed.filter(|_| cpu < CpuSet::MAX_CPU) else { return };
            allowed.unset(cpu);
            if allowed.count() > 0 {
                // A wish: where it is refused, the thread runs where it did.
                let _ = sched_setaffinity(Some(self.id), &allowed);
            }
        }
    }

    /// The CPU that the calling thread runs on.
    pub(crate) fn current_cpu() -> usize {
        sched_getcpu()
    }
}

/// Elsewhere threads run where the system puts them.
#[cfg(not(target_os = "linux"))]
mod other {
    #[derive(Debug)]
    pub(crate) struct Thread;

    impl Thread {
        pub(crate) fn current() -> Self {
            Thread
        }

        pub(crate) fn keep_off(&self, _: usize) {}
    }

    pub(crate) fn current_cpu() -> usize {
        0
    }
}
