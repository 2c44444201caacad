//! Plans for inputs of many shapes: each shape is prepared once, as long as it is among those that were used last, and sessions are used
//! again.

use crate::error::Result;
use crate::model::Model;
use crate::options::Options;
use crate::plan::Plan;
use crate::session::Session;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A model with plans for the input shapes that were used last, made when a shape is met first, and with sessions that wait for their next
/// use. All threads share it.
///
/// ```
/// use sslm::{Model, Options, PlanCache, TensorView};
///
/// let model = Model::from_bytes(include_bytes!("../examples/tiny.sslm"))?;
/// let cache = PlanCache::new(&model, Options::new(), 4);
/// for batch in [1, 8, 3, 8] {
///     let shape = [batch, 1, 8, 8];
///     let images = vec![0.5; batch * 64];
///     let mut session = cache.session(&[shape])?; // the second 8 prepares nothing
///     let scores = session.run(TensorView::new(&shape, &images)?)?;
///     assert_eq!(scores.shape()[0], batch);
/// }
/// # Ok::<(), sslm::Error>(())
/// ```
#[derive(Debug)]
pub struct PlanCache {
    model: Model,
    options: Options,
    capacity: usize,
    /// Those used last stand last.
    entries: Mutex<Vec<Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    shapes: Vec<Vec<usize>>,
    /// Locked while it is prepared, so that others who want it wait.
    plan: Mutex<Option<Plan>>,
    idle: Mutex<Vec<Session>>,
}

impl Entry {
    fn has<S: AsRef<[usize]>>(&self, shapes: &[S]) -> bool {
        self.shapes.len() == shapes.len() && self.shapes.iter().zip(shapes).all(|(own, other)| own == other.as_ref())
    }
}

impl PlanCache {
    /// For `model`, with options that hold for all plans, of which at most `capacity` (but at least one) are kept. A plan keeps its
    /// threads, which sleep while they have nothing to do, and one session for each thread that ran it at the same time.
    pub fn new(model: &Model, options: Options, capacity: usize) -> Self {
        PlanCache { model: model.clone(), options, capacity: capacity.max(1), entries: Mutex::default() }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The plan for inputs of these shapes, in the model's order. Where several threads ask for a new one, it is prepared once.
    ///
    /// # Errors
    /// If the shapes do not fit the model, or it cannot be prepared for them ([`Model::prepare`]). Nothing of that is kept.
    pub fn plan<S: AsRef<[usize]>>(&self, shapes: &[S]) -> Result<Plan> {
        self.entry(shapes).map(|(_, plan)| plan)
    }

    /// A session for inputs of these shapes, which goes back to the cache when it is dropped.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn session<S: AsRef<[usize]>>(&self, shapes: &[S]) -> Result<PooledSession> {
        let (entry, plan) = self.entry(shapes)?;
        let idle = lock(&entry.idle).pop();
        Ok(PooledSession { session: Some(idle.unwrap_or_else(|| plan.session())), entry })
    }

    fn entry<S: AsRef<[usize]>>(&self, shapes: &[S]) -> Result<(Arc<Entry>, Plan)> {
        let entry = self.place(shapes);
        let mut plan = lock(&entry.plan);
        let prepare = || self.model.prepare(&self.options.clone().shapes(&self.model, shapes)?);
        let prepared = match &*plan {
            Some(plan) => plan.clone(),
            None => prepare().inspect_err(|_| lock(&self.entries).retain(|other| !Arc::ptr_eq(other, &entry)))?,
        };
        *plan = Some(prepared.clone());
        drop(plan);
        Ok((entry, prepared))
    }

    /// Where the plan for these shapes is or will be. The one that was used longest ago makes room for a new one.
    fn place<S: AsRef<[usize]>>(&self, shapes: &[S]) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        let entry = match entries.iter().position(|entry| entry.has(shapes)) {
            Some(index) => entries.remove(index),
            None => {
                let shapes = shapes.iter().map(|shape| shape.as_ref().to_vec()).collect();
                Arc::new(Entry { shapes, plan: Mutex::default(), idle: Mutex::default() })
            }
        };
        entries.push(Arc::clone(&entry));
        let surplus = entries.len().saturating_sub(self.capacity);
        // Ending threads takes a while, in which others may look.
        let dropped: Vec<Arc<Entry>> = entries.drain(..surplus).collect();
        drop(entries);
        drop(dropped);
        entry
    }
}

/// A session that goes back to its [`PlanCache`] when it is dropped.
#[derive(Debug)]
pub struct PooledSession {
    /// There until it is dropped.
    session: Option<Session>,
    entry: Arc<Entry>,
}

impl Deref for PooledSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for PooledSession {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for PooledSession {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take() {
            session.forget_requests();
            lock(&self.entry.idle).push(session);
        }
    }
}

/// Nothing that is done under these locks leaves half of it behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
