//! Plans in a forked process, as Python's multiprocessing makes them: what the parent prepared still runs there, alone, with the same
//! result, and can be dropped; what the child prepares has helpers of its own. This program has no test harness, because only a process
//! whose other threads are the library's can be forked without harm.

#[cfg(unix)]
fn main() {
    unix::forked_processes_run_and_drop_plans();
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod unix {
    use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
    use sslm::{Model, Options, Plan, Session, TensorView, Threads};
    use sslm_tests::tools::root;
    use std::process::exit;
    use std::time::{Duration, Instant};

    unsafe extern "C" {
        fn fork() -> i32;
    }

    /// Longer than any of the children takes, also on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);
    const SHAPE: [usize; 4] = [1, 3, 32, 32];

    pub(crate) fn forked_processes_run_and_drop_plans() {
        let model = Model::read(root().join("tools/models/convnet/convnet.sslm")).expect("the model opens");
        let prepare = || model.prepare(&Options::new().threads(Threads::Count(3))).expect("it is prepared");
        let plan = prepare();
        let mut session = plan.session();
        let expected = scores(&mut session);
        // Where helpers are at the moment of the fork: looking for work, asleep, and in the middle of a run.
        for pause in [0, 50_000].map(Duration::from_micros) {
            for _ in 0..20 {
                scores(&mut session);
                std::thread::sleep(pause);
                in_child(|| scores(&mut session) == expected, "a session of the parent's");
                in_child(|| scores(&mut plan.session()) == expected, "a plan of the parent's");
            }
        }
        let busy = plan.clone();
        std::thread::scope(|scope| {
            let until = Instant::now() + Duration::from_millis(500);
            let runs = scope.spawn(move || {
                let mut session = busy.session();
                while Instant::now() < until {
                    scores(&mut session);
                }
            });
            while !runs.is_finished() {
                in_child(|| scores(&mut plan.session()) == expected, "a plan that another thread runs");
            }
        });
        in_child(|| scores(&mut prepare().session()) == expected, "a plan of the child's own");
        let clone: Plan = plan.clone();
        drop((plan, session));
        let mut last = Some(clone);
        in_child(|| last.take().is_some(), "the last plan, dropped");
        println!("forked processes: ok");
    }

    fn scores(session: &mut Session) -> Vec<f32> {
        let image: Vec<f32> = (0..SHAPE.iter().product()).map(|i| (i as f32 * 0.37).sin()).collect();
        session.run(TensorView::new(&SHAPE, &image).expect("a tensor")).expect("it runs").data().to_vec()
    }

    /// Forks, and expects `holds` of the child, which drops what it owns before it ends.
    fn in_child(mut holds: impl FnMut() -> bool, what: &str) {
        // SAFETY: the threads of this process other than the calling one are of the library, which is what is tested; the child calls
        // nothing that waits for a lock that one of them may have held, but for the allocator, whose locks survive a fork.
        match unsafe { fork() } {
            0 => exit(if holds() { 0 } else { 1 }),
            id => {
                let id = Pid::from_raw(id).expect("a child");
                let begin = Instant::now();
                let status = loop {
                    if let Some((_, status)) = waitpid(Some(id), WaitOptions::NOHANG).expect("a child") {
                        break status;
                    }
                    if begin.elapsed() > PATIENCE {
                        kill_process(id, Signal::KILL).expect("a child");
                        panic!("{what}: the forked process hangs");
                    }
                    std::thread::sleep(Duration::from_micros(200));
                };
                assert_eq!(status.exit_status(), Some(0), "{what}: the forked process failed: {status:?}");
            }
        }
    }
}
