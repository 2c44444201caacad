//! Measures which method is fastest for each convolution: whole networks run with every method in turn, so that each layer finds
//! caches as it does in real runs, and what disturbs the machine for a while disturbs all of them. What single layers gain, a whole
//! run may lose, by the layouts between them for example: whole runs are timed after that.

use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::options::{Backend, Methods, Options};
use crate::plan::Plan;
use crate::session::Session;
use crate::tensor::TensorView;
use crate::tuning::{TunedLayer, Tuning};
use crate::turns::Turns;
use sslm_kernels::conv::Method;
use std::time::{Duration, Instant};

/// About how long layers are timed, and whole runs after that, as far as it can be kept to.
const LAYERS: Duration = Duration::from_secs(6);
const WHOLE_RUNS: Duration = Duration::from_secs(3);
/// Rounds in which each candidate has one turn to time its layers, at least and at most.
const ROUNDS: [usize; 2] = [8, 200];
/// Turns for whole runs.
const TURNS: [usize; 2] = [16, 400];
/// A turn begins with runs that do not count, for as long at least: they bring the candidate's memory into the caches and wake its
/// threads, and meanwhile those of the candidate before fall asleep.
const WARM_UP: Duration = Duration::from_millis(1);
/// Runs of a turn that count.
const RUNS: usize = 3;
/// Another method than the expected one is taken if its time is at most this part of that one's: less can be noise.
const CLEARLY_FASTER: f64 = 0.97;

impl Model {
    /// Measures which of the CPU's methods is fastest for each convolution, with the options' threads, instruction set and shapes, and
    /// after that whether whole runs are faster by these methods than by those that are expected to be: the second value says so. It
    /// takes some ten seconds, more for networks whose runs are long, and memory for the activations of several plans. `progress` is
    /// told how many parts of how many are done; `interrupt` ends it, if there is one.
    ///
    /// # Errors
    /// As [`Self::prepare`], or if `interrupt` ends a run.
    pub fn tune(
        &self,
        options: &Options,
        interrupt: Option<&Interrupt>,
        progress: impl FnMut(usize, usize),
    ) -> Result<(Tuning, Turns)> {
        tune(self, options, interrupt, progress)
    }
}

fn tune(
    model: &Model,
    options: &Options,
    interrupt: Option<&Interrupt>,
    mut progress: impl FnMut(usize, usize),
) -> Result<(Tuning, Turns)> {
    let prepare = |methods| model.prepare(&Options { methods, backend: Backend::Cpu, ..options.clone() });
    let plan = prepare(Methods::Expected)?;
    let mut candidates = vec![Candidate::new(&plan, None, true, interrupt)];
    for method in Method::ALL {
        let forced = prepare(Methods::Forced(method))?;
        // Where a method does not apply, another one takes its place.
        if convolutions(&forced).zip(convolutions(&plan)).any(|(f, e)| f.method == method && e.method != method) {
            candidates.push(Candidate::new(&forced, Some(method), true, interrupt));
        }
    }

    let shapes: Vec<&[usize]> = plan.input_shapes().collect();
    // Between -1 and 1: some machines are slow where elements are tiny.
    let elements = |shape: &&[usize]| (0..shape.iter().product()).map(|i: usize| (i % 255) as f32 / 127.0 - 1.0).collect();
    let elements: Vec<Vec<f32>> = shapes.iter().map(elements).collect();
    let inputs: Vec<TensorView> = shapes.iter().zip(&elements).map(|(s, x)| TensorView::new(s, x)).collect::<Result<_>>()?;

    // The first turns take their time to take memory.
    let mut spent = Vec::new();
    for _ in 0..2 {
        spent =
            candidates.iter_mut().map(|candidate| Ok(candidate.take_turn(&inputs)?.spent)).collect::<Result<Vec<Duration>>>()?;
    }
    let rounds = affordable(LAYERS, spent.iter().sum(), ROUNDS);
    let turns = affordable(WHOLE_RUNS, 2 * spent[0], TURNS);
    let (mut done, total) = (0, rounds * candidates.len() + turns * 2);
    let mut turn_of = |candidate: &mut Candidate| -> Result<f64> {
        let turn = candidate.take_turn(&inputs)?;
        done += 1;
        progress(done, total);
        Ok(turn.run_us)
    };
    for _ in 0..rounds {
        for candidate in &mut candidates {
            turn_of(candidate)?;
        }
    }
    let layers = convolutions(&plan).enumerate().map(|(i, expected)| fastest(&mut candidates, i, &expected)).collect();
    drop(candidates);

    let mut tuning = Tuning { made_for: plan.made_for(), expected_us: 0.0, tuned_us: 0.0, layers };
    let tuned = prepare(Methods::Tuned(tuning.clone()))?;
    let mut both = [&plan, &tuned].map(|plan| Candidate::new(plan, None, false, interrupt));
    let mut times = Vec::with_capacity(turns);
    for turn in 0..turns {
        let mut us = [0.0; 2];
        // Either begins as often as the other.
        for i in [turn % 2, (turn + 1) % 2] {
            us[i] = turn_of(&mut both[i])?;
        }
        times.push(us);
    }
    let turns = Turns::of(&times).expect("there are turns");
    [tuning.expected_us, tuning.tuned_us] = [turns.expected_us[1], turns.tuned_us[1]];
    Ok((tuning, turns))
}

/// How many parts that take so long fit into `time`, at least and at most as many as `bounds` say.
fn affordable(time: Duration, part: Duration, [least, most]: [usize; 2]) -> usize {
    ((time.as_secs_f64() / part.as_secs_f64()) as usize).clamp(least, most)
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
}

/// A candidate's turn.
struct Turn {
    /// How long all of it took.
    spent: Duration,
    /// Microseconds of a whole run: the median of those that count.
    run_us: f64,
}

impl Candidate {
    fn new(plan: &Plan, forced: Option<Method>, by_layer: bool, interrupt: Option<&Interrupt>) -> Self {
        let mut session = plan.session();
        session.set_timing(by_layer);
        if let Some(interrupt) = interrupt {
            session.set_interrupt(interrupt);
        }
        let convolutions = convolutions(plan).filter(|_| by_layer).map(|c| (c.step, c.method, Vec::new())).collect();
        Candidate { session, forced, convolutions }
    }

    fn take_turn(&mut self, inputs: &[TensorView<'_>]) -> Result<Turn> {
        let begin = Instant::now();
        self.session.run_all(inputs)?;
        while begin.elapsed() < WARM_UP {
            self.session.run_all(inputs)?;
        }
        let mut runs = [Duration::ZERO; RUNS];
        for run in &mut runs {
            let start = Instant::now();
            self.session.run_all(inputs)?;
            *run = start.elapsed();
            for (step, _, times) in &mut self.convolutions {
                times.push(self.session.step_times()[*step]);
            }
        }
        runs.sort();
        Ok(Turn { spent: begin.elapsed(), run_us: microseconds(runs[RUNS / 2]) })
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
    microseconds(times[times.len() / 4])
}

fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}
