//! Plans by the shapes of inputs, and idle sessions of each, so that changing batches and sizes cost one preparation each.

use sslm::{Model, Options, Plan, Result, Session};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Plans of a model by the shapes of its inputs: so many, those that were used last.
pub(crate) struct PlanCache {
    model: Model,
    options: Options,
    capacity: usize,
    /// That which was used last comes last.
    plans: Mutex<Vec<Arc<Planned>>>,
}

/// A plan, and sessions that nobody uses at the moment.
struct Planned {
    shapes: Vec<Vec<usize>>,
    plan: Plan,
    idle: Mutex<Vec<Session>>,
}

/// A session that goes back when it is dropped.
pub(crate) struct PooledSession {
    planned: Arc<Planned>,
    /// Absent in `drop` alone.
    session: Option<Session>,
}

impl PlanCache {
    /// A cache without a plan yet.
    pub(crate) fn new(model: Model, options: Options, capacity: usize) -> Self {
        PlanCache { model, options, capacity: capacity.max(1), plans: Mutex::default() }
    }

    /// A session for inputs of these shapes.
    pub(crate) fn session<S: AsRef<[usize]>>(&self, shapes: &[S]) -> Result<PooledSession> {
        let planned = self.planned(shapes)?;
        let session = lock(&planned.idle).pop().unwrap_or_else(|| planned.plan.session());
        Ok(PooledSession { planned, session: Some(session) })
    }

    fn planned<S: AsRef<[usize]>>(&self, shapes: &[S]) -> Result<Arc<Planned>> {
        let mut plans = lock(&self.plans);
        let is = |planned: &Arc<Planned>| planned.shapes.iter().map(Vec::as_slice).eq(shapes.iter().map(AsRef::as_ref));
        if let Some(at) = plans.iter().rposition(is) {
            plans[at..].rotate_left(1);
        } else {
            let plan = self.model.prepare(&self.options.clone().shapes(&self.model, shapes)?)?;
            if plans.len() == self.capacity {
                plans.remove(0);
            }
            let shapes = shapes.iter().map(|shape| shape.as_ref().to_vec()).collect();
            plans.push(Arc::new(Planned { shapes, plan, idle: Mutex::default() }));
        }
        Ok(Arc::clone(&plans[plans.len() - 1]))
    }
}

impl Deref for PooledSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("it goes when this is dropped")
    }
}

impl DerefMut for PooledSession {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("it goes when this is dropped")
    }
}

impl Drop for PooledSession {
    fn drop(&mut self) {
        lock(&self.planned.idle).extend(self.session.take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
