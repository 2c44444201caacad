//! Measures which method is fastest for each convolution: whole networks run with every method in turn, so that each layer finds
//! caches as it does in real runs, and what disturbs the machine for a while disturbs all of them.

use crate::error::Result;
use crate::model::Model;
use crate::options::{Backend, Methods, Options};
use crate::plan::Plan;
use crate::session::Session;
use crate::tensor::TensorView;
use crate::tuning::{TunedLayer, Tuning};
use sslm_kernels::conv::Method;
use std::time::{Duration, Instant};

/// About how long the measurement takes, as far as it can be kept to.
const WHOLE: Duration = Duration::from_secs(8);
/// Rounds in which each candidate has one turn, at least and at most.
const ROUNDS: [usize; 2] = [8, 1000];
/// Runs of a turn that are measured, after one that brings the candidate's memory into the caches.
const RUNS: usize = 3;
/// Another method than the expected one is taken if its time is at most this part of that one's: less can be noise.
const CLEARLY_FASTER: f64 = 0.97;

impl Model {
    /// Measures which of the CPU's methods is fastest for each convolution, with the options' threads, instruction set and shapes. It
    /// takes some ten seconds, more for networks whose runs are long, and memory for the activations of several plans. `progress` is
    /// told how many parts of how many are done.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn tune(&self, options: &Options, progress: impl FnMut(usize, usize)) -> Result<Tuning> {
        tune(self, options, progress)
    }
}

fn tune(model: &Model, options: &Options, mut progress: impl FnMut(usize, usize)) -> Result<Tuning> {
    let prepare = |methods| model.prepare(&Options { methods, backend: Backend::Cpu, ..options.clone() });
    let plan = prepare(Methods::Expected)?;
    let mut candidates = vec![Candidate::new(&plan, None, true)];
    for method in Method::ALL {
        let forced = prepare(Methods::Forced(method))?;
        // Where a method does not apply, another one takes its place.
        if convolutions(&forced).zip(convolutions(&plan)).any(|(f, e)| f.method == method && e.method != method) {
            candidates.push(Candidate::new(&forced, Some(method), true));
        }
    }

    let shapes: Vec<&[usize]> = plan.input_shapes().collect();
    // Between -1 and 1: some machines are slow where elements are tiny.
    let elements = |shape: &&[usize]| (0..shape.iter().product()).map(|i: usize| (i % 255) as f32 / 127.0 - 1.0).collect();
    let elements: Vec<Vec<f32>> = shapes.iter().map(elements).collect();
    let inputs: Vec<TensorView> = shapes.iter().zip(&elements).map(|(s, x)| TensorView::new(s, x)).collect::<Result<_>>()?;

    let mut once = Duration::ZERO;
    for _ in 0..2 {
        let start = Instant::now();
        candidates.iter_mut().try_for_each(|c| c.session.run_all(&inputs).map(drop))?;
        once = start.elapsed();
    }
    let affordable = WHOLE.as_secs_f64() / (once.as_secs_f64() * (1 + RUNS) as f64);
    let rounds = (affordable as usize).clamp(ROUNDS[0], ROUNDS[1]);
    let (mut done, total) = (0, rounds * (candidates.len() + 2));
    let mut measure = |candidates: &mut [Candidate]| -> Result<()> {
        for _ in 0..rounds {
            for candidate in &mut *candidates {
                candidate.take_turn(&inputs)?;
                done += 1;
                progress(done, total);
            }
        }
        Ok(())
    };
    measure(&mut candidates)?;
    let layers = convolutions(&plan).enumerate().map(|(i, expected)| fastest(&mut candidates, i, &expected)).collect();
    drop(candidates);

    let mut tuning = Tuning { made_for: plan.made_for(), expected_us: 0.0, tuned_us: 0.0, layers };
    let tuned = prepare(Methods::Tuned(tuning.clone()))?;
    let mut both = [&plan, &tuned].map(|plan| Candidate::new(plan, None, false));
    measure(&mut both)?;
    [tuning.expected_us, tuning.tuned_us] = both.map(|mut candidate| typical(&mut candidate.runs));
    Ok(tuning)
}

/// A convolution of a plan.
struct Convolution<'a> {
    step: usize,
    node: usize,
    name: &'a str,
    method: Method,
}

fn convolutions(plan: &Plan) -> impl Iterator<Item = Convolution<'_>> {
    plan.steps().enumerate().filter_map(|(step, info)| {
        let (node, method) = plan.inner.program.method(step)?;
        Some(Convolution { step, node, name: info.name, method })
    })
}

/// A plan that is measured.
struct Candidate {
    session: Session,
    /// The method that all convolutions have to which it applies.
    forced: Option<Method>,
    /// For each convolution its step, method and times, if they are asked for.
    convolutions: Vec<(usize, Method, Vec<Duration>)>,
    /// Times of whole runs.
    runs: Vec<Duration>,
}

impl Candidate {
    fn new(plan: &Plan, forced: Option<Method>, by_layer: bool) -> Self {
        let mut session = plan.session();
        session.set_timing(by_layer);
        let convolutions = convolutions(plan).filter(|_| by_layer).map(|c| (c.step, c.method, Vec::new())).collect();
        Candidate { session, forced, convolutions, runs: Vec::new() }
    }

    fn take_turn(&mut self, inputs: &[TensorView<'_>]) -> Result<()> {
        self.session.run_all(inputs)?;
        for _ in 0..RUNS {
            let start = Instant::now();
            self.session.run_all(inputs)?;
            self.runs.push(start.elapsed());
            for (step, _, times) in &mut self.convolutions {
                times.push(self.session.step_times()[*step]);
            }
        }
        Ok(())
    }
}

/// What was measured of the convolution of this index; the first candidate has the `expected` methods.
fn fastest(candidates: &mut [Candidate], index: usize, expected: &Convolution<'_>) -> TunedLayer {
    let (own, others) = candidates.split_first_mut().expect("the plan itself is a candidate");
    let us = |candidate: &mut Candidate| typical(&mut candidate.convolutions[index].2);
    let expected_us = us(own);
    let mut best = (expected.method, expected_us);
    for candidate in others {
        let (_, method, _) = candidate.convolutions[index];
        let us = us(candidate);
        let is_candidate = candidate.forced == Some(method) && method != expected.method;
        if is_candidate && us <= expected_us * CLEARLY_FASTER && us < best.1 {
            best = (method, us);
        }
    }
    let Convolution { node, name, method, .. } = *expected;
    TunedLayer { name: name.to_owned(), node, expected: method, expected_us, tuned: best.0, tuned_us: best.1 }
}

/// The lower quartile, in microseconds: what disturbs a run makes it longer.
fn typical(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 4].as_nanos() as f64 / 1e3
}
