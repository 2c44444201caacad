//! `--bench` and `--profile`: how long a run and each of its layers take. Both time the same: the plan that a plain run would use, on the
//! same input, once caches and clocks have settled; a profile runs as often as a moment allows.

use crate::answers::Format;
use crate::{Arguments, Precision, options, prepare, sample};
use anyhow::Result;
use serde::Serialize;
use ssl_cli::{printable, rate, short, table, time};
use sslm::{Model, Session};
use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

/// Runs before measuring: pages of weights come in, caches and clocks settle.
const WARM_UP: Duration = Duration::from_millis(200);
/// How long a profile measures, and how many runs at most.
const PROFILE: Duration = Duration::from_millis(300);
const MOST_PROFILED: usize = 1000;

/// How long a session's runs and their steps take, for programs as it is.
#[derive(Serialize)]
pub struct Timing {
    /// `null` for the CPU.
    device: Option<String>,
    threads: usize,
    batch: usize,
    /// Of the inputs.
    shapes: Vec<Vec<usize>>,
    runs: usize,
    run_ms: RunMs,
    /// Memory that the session owns, and that the plan owns for tables and transformed weights.
    session_bytes: usize,
    prepared_bytes: usize,
    /// How far a device's output is from the CPU's, if the device rounds more.
    difference: Option<Difference>,
    layers: Vec<LayerMs>,
}

/// The largest difference between a device's outputs and the CPU's, which is in `f32`.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    absolute: f32,
    /// Relative to the largest magnitude of the CPU's output.
    relative: f32,
}

impl Difference {
    /// What is greater in either.
    fn or_greater(self, other: Difference) -> Self {
        Difference { absolute: self.absolute.max(other.absolute), relative: self.relative.max(other.relative) }
    }

    /// Infinite (`null` in JSON) where only one of two elements is a number.
    fn between(expected: &[f32], found: &[f32]) -> Self {
        let apart = |(e, f): (&f32, &f32)| match (e == f || e.is_nan() && f.is_nan(), (e - f).abs()) {
            (true, _) => 0.0,
            (false, apart) => {
                if apart.is_nan() {
                    f32::INFINITY
                } else {
                    apart
                }
            }
        };
        let absolute = expected.iter().zip(found).map(apart).fold(0.0, f32::max);
        let largest = expected.iter().filter(|e| e.is_finite()).fold(0f32, |largest, e| largest.max(e.abs()));
        Difference { absolute, relative: if absolute == 0.0 { 0.0 } else { absolute / largest } }
    }
}

#[derive(Serialize)]
struct RunMs {
    min: f64,
    median: f64,
    p90: f64,
}

#[derive(Serialize)]
struct LayerMs {
    name: String,
    op: String,
    kernel: String,
    min_ms: f64,
    median_ms: f64,
    macs: usize,
    bytes: usize,
    threads: usize,
}

impl LayerMs {
    /// How fast: by its arithmetic, or by the memory that it goes through if there is more of that.
    fn rate(&self) -> String {
        let per_second = |count: usize| count as f64 / self.median_ms * 1e3;
        if 2 * self.macs >= self.bytes { rate(per_second(2 * self.macs), "FLOP") } else { rate(per_second(self.bytes), "B") }
    }
}

/// The times of whole runs, and of each step in as many others.
struct Times {
    whole: Vec<Duration>,
    steps: Vec<Vec<Duration>>,
}

impl Times {
    /// Times `runs` of each; none: as many as a profile takes.
    fn of<E>(session: &mut Session, mut run: impl FnMut(&mut Session) -> Result<(), E>, runs: Option<usize>) -> Result<Times, E> {
        let (start, mut warm_runs) = (Instant::now(), 0u32);
        while warm_runs == 0 || start.elapsed() < WARM_UP {
            run(session)?;
            warm_runs += 1;
        }
        let runs = runs.unwrap_or_else(|| {
            // Half of them are of whole runs.
            let affordable = PROFILE.as_secs_f64() / 2.0 / (start.elapsed() / warm_runs).as_secs_f64();
            (affordable as usize).clamp(1, MOST_PROFILED)
        });
        let mut times = Times { whole: Vec::with_capacity(runs), steps: Vec::new() };
        times.steps.resize_with(session.plan().steps().len(), || Vec::with_capacity(runs));
        // Whole runs are timed without the clock calls between layers, in turns with those of layers, so that both meet the same machine.
        for _ in 0..runs {
            session.set_timing(false);
            let start = Instant::now();
            run(session)?;
            times.whole.push(start.elapsed());
            session.set_timing(true);
            run(session)?;
            times.steps.iter_mut().zip(session.step_times()).for_each(|(all, &time)| all.push(time));
        }
        times.whole.sort();
        times.steps.iter_mut().for_each(|step| step.sort());
        Ok(times)
    }
}

impl Timing {
    /// Times what `run` runs by `session`, so many times, or as often as a moment allows.
    ///
    /// # Errors
    /// As `run`.
    pub fn of<E>(session: &mut Session, run: impl FnMut(&mut Session) -> Result<(), E>, runs: Option<usize>) -> Result<Self, E> {
        let Times { whole, steps } = Times::of(session, run, runs)?;
        let plan = session.plan();
        let shapes: Vec<Vec<usize>> = plan.input_shapes().map(<[usize]>::to_vec).collect();
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        Ok(Timing {
            device: plan.device(),
            threads: plan.threads(),
            batch: shapes.first().and_then(|shape| shape.first()).copied().unwrap_or(1),
            shapes,
            runs: whole.len(),
            run_ms: RunMs { min: ms(whole[0]), median: ms(quantile(&whole, 0.5)), p90: ms(quantile(&whole, 0.9)) },
            session_bytes: plan.session_bytes(),
            prepared_bytes: plan.prepared_bytes(),
            difference: None,
            layers: plan
                .steps()
                .zip(&steps)
                .map(|(step, times)| LayerMs {
                    name: step.name.to_owned(),
                    op: step.op.to_owned(),
                    kernel: step.kernel,
                    min_ms: ms(times[0]),
                    median_ms: ms(quantile(times, 0.5)),
                    macs: step.macs,
                    bytes: step.bytes,
                    threads: step.threads,
                })
                .collect(),
        })
    }
}

pub(crate) fn run(arguments: &Arguments, model: &Model) -> Result<()> {
    let sample = sample::inputs(arguments, model)?;
    let plan = prepare(arguments, model, &sample.shapes)?;
    let mut session = plan.session();
    let inputs = sample.views()?;
    let mut timing = Timing::of(&mut session, |session| session.run_all(&inputs).map(drop), arguments.bench)?;
    if plan.device().is_some() && arguments.precision != Precision::Fp32 {
        let on_cpu = options(arguments, model, &sample.shapes)?.backend(sslm::Backend::Cpu);
        let mut cpu = model.prepare(&on_cpu)?.session();
        let both = cpu.run_all(&inputs)?.iter().zip(session.run_all(&inputs)?.iter());
        let differences = both.map(|((_, expected), (_, found))| Difference::between(expected.data(), found.data()));
        timing.difference = Some(differences.fold(Difference { absolute: 0.0, relative: 0.0 }, Difference::or_greater));
    }
    print(arguments, &timing)
}

/// The smallest sample that at least `q` of all samples do not exceed.
fn quantile(sorted: &[Duration], q: f64) -> Duration {
    sorted[((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len()) - 1]
}

fn print(arguments: &Arguments, timing: &Timing) -> Result<()> {
    let mut out = ssl_cli::stdout();
    if arguments.format() == Format::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(timing)?)?;
        return Ok(());
    }
    print_layers(&timing.layers, &mut out)?;
    let RunMs { min, median, p90 } = &timing.run_ms;
    let Timing { threads, batch, runs, .. } = timing;
    let place = timing.device.clone().unwrap_or_else(|| format!("threads {threads}"));
    let [min, median, p90] = [min, median, p90].map(|ms| time(ms / 1e3));
    writeln!(out, "run: min {min}, median {median}, p90 {p90} ({runs} runs, batch {batch}, {place})")?;
    let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    writeln!(
        out,
        "memory: activations {}, tables and transformed weights {}",
        mib(timing.session_bytes),
        mib(timing.prepared_bytes)
    )?;
    if let Some(Difference { absolute, relative }) = timing.difference {
        writeln!(out, "largest difference from float32 on the CPU: {absolute:.1e}, {relative:.1e} of the largest output")?;
    }
    Ok(())
}

/// A row for each layer. What their kernels have in common, the instruction set, stands below.
fn print_layers(layers: &[LayerMs], out: &mut impl Write) -> Result<()> {
    let headings = ["layer", "op", "kernel", "MACs", "min", "median", "share", "rate"];
    let mut rows = table(&headings, 3).leaving_out(&["MACs", "min"]);
    let total: f64 = layers.iter().map(|l| l.median_ms).sum();
    let suffixes: BTreeSet<&str> = layers.iter().filter_map(|l| isa_of(&l.kernel)).collect();
    let common = if let [isa] = suffixes.iter().copied().collect::<Vec<_>>()[..] { Some(isa) } else { None };
    for l in layers {
        let kernel = match (isa_of(&l.kernel), common) {
            (Some(isa), Some(_)) => l.kernel[..l.kernel.len() - isa.len()].trim_end(),
            _ => &l.kernel,
        };
        rows.add_row([
            printable(&l.name),
            l.op.clone(),
            kernel.to_owned(),
            short(l.macs as u64),
            time(l.min_ms / 1e3),
            time(l.median_ms / 1e3),
            format!("{:.0} %", 100.0 * l.median_ms / total),
            l.rate(),
        ]);
    }
    writeln!(out, "{}", rows.fitted())?;
    let isa = common.map_or(String::new(), |isa| format!(", kernels for {isa}"));
    writeln!(out, "layers: {} in all, medians{isa}", time(total / 1e3))?;
    Ok(())
}

/// The instruction set that a kernel's description ends with.
fn isa_of(kernel: &str) -> Option<&str> {
    kernel.rsplit(' ').next().filter(|last| last.parse::<sslm::Isa>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::Difference;

    #[test]
    fn differences() {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        for (expected, found, absolute, relative) in [
            (&[1.0, -4.0][..], &[1.5, -4.0][..], 0.5, 0.125),
            (&[0.0, nan, infinity], &[0.0, nan, infinity], 0.0, 0.0),
            (&[2.0, nan], &[2.0, 1.0], infinity, infinity),
            (&[2.0, 1.0], &[2.0, infinity], infinity, infinity),
            (&[0.0], &[1.0], 1.0, infinity),
        ] {
            assert_eq!(Difference::between(expected, found), Difference { absolute, relative }, "{expected:?}, {found:?}");
        }
    }
}
