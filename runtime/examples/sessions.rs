//! Sessions for requests of any size from a bounded amount of memory: a cache has the plans and the idle sessions, and a budget says who may
//! run. A session's memory is known before it is taken.
//!
//! ```sh
//! cargo run --release -p sslm --example sessions
//! ```

use sslm::{Model, Options, PlanCache, PooledSession, Result, TensorView, Threads};
use std::sync::{Condvar, Mutex};
use std::thread;

/// What sessions that run may take together, in bytes.
const BUDGET: usize = 64 << 10;

struct Sessions {
    cache: PlanCache,
    left: Mutex<usize>,
    returned: Condvar,
}

impl Sessions {
    /// Runs `work` with a session for inputs of this shape, as soon as there is memory for it.
    fn with<T>(&self, shape: [usize; 4], work: impl FnOnce(&mut PooledSession) -> Result<T>) -> Result<T> {
        // One that is larger than all there is runs alone.
        let bytes = self.cache.plan(&[shape])?.session_bytes().min(BUDGET);
        let left = self.left.lock().expect("nobody panics with the lock");
        *self.returned.wait_while(left, |left| *left < bytes).expect("nobody panics with the lock") -= bytes;
        let done = self.cache.session(&[shape]).and_then(|mut session| work(&mut session));
        *self.left.lock().expect("nobody panics with the lock") += bytes;
        self.returned.notify_all();
        done
    }
}

fn main() -> Result<()> {
    let model = Model::from_bytes(include_bytes!("tiny.sslm"))?;
    let cache = PlanCache::new(&model, Options::new().threads(Threads::Single), 4);
    let sessions = Sessions { cache, left: Mutex::new(BUDGET), returned: Condvar::new() };
    thread::scope(|scope| {
        let request = |batch: usize| {
            let sessions = &sessions;
            scope.spawn(move || {
                let (shape, images) = ([batch, 1, 8, 8], vec![0.5; batch * 64]);
                sessions.with(shape, |session| Ok(session.run(TensorView::new(&shape, &images)?)?.data().len() / 2))
            })
        };
        let requests: Vec<_> = [1, 16, 3, 64, 16, 1].map(request).into();
        for request in requests {
            println!("a request of {} images was answered", request.join().expect("it does not panic")?);
        }
        Ok(())
    })
}
