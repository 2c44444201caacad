//! `--bench` and `--profile`: how long a run and each of its layers take.

use crate::answers::Format;
use crate::{Arguments, Precision, options, prepare, sample};
use anyhow::Result;
use serde::Serialize;
use ssl_cli::{printable, table, thousands};
use sslm::Model;
use std::io::Write;
use std::time::{Duration, Instant};

/// Runs before measuring: pages of weights come in, caches and clocks settle.
const WARM_UP: Duration = Duration::from_millis(200);

#[derive(Serialize)]
struct Report {
    /// `null` for the CPU.
    device: Option<String>,
    threads: usize,
    batch: usize,
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
        let per_second = |count: usize| count as f64 / self.median_ms / 1e6;
        if 2 * self.macs >= self.bytes {
            format!("{:.1} GFLOP/s", per_second(2 * self.macs))
        } else {
            format!("{:.1} GB/s", per_second(self.bytes))
        }
    }
}

pub(crate) fn run(arguments: &Arguments, model: &Model) -> Result<()> {
    let runs = arguments.bench.unwrap_or(1);
    let sample = sample::inputs(arguments, model)?;
    let plan = prepare(arguments, model, &sample.shapes)?;
    let mut session = plan.session();
    let inputs = sample.views()?;
    let start = Instant::now();
    let mut warm_runs = 0;
    while warm_runs == 0 || start.elapsed() < WARM_UP && warm_runs < runs.max(3) {
        session.run_all(&inputs)?;
        warm_runs += 1;
    }
    // Whole runs are timed without the clock calls between layers, then layers on their own.
    let mut whole = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        session.run_all(&inputs)?;
        whole.push(start.elapsed());
    }
    session.set_timing(true);
    let mut layers: Vec<Vec<Duration>> = plan.steps().map(|_| Vec::with_capacity(runs)).collect();
    for _ in 0..runs {
        session.run_all(&inputs)?;
        layers.iter_mut().zip(session.step_times()).for_each(|(all, &time)| all.push(time));
    }
    let rounds = plan.device().is_some() && arguments.precision != Precision::Fp32;
    let difference = rounds.then(|| -> Result<_> {
        let on_cpu = options(arguments, model, &sample.shapes)?.backend(sslm::Backend::Cpu);
        let mut cpu = model.prepare(&on_cpu)?.session();
        let both = cpu.run_all(&inputs)?.iter().zip(session.run_all(&inputs)?.iter());
        let differences = both.map(|((_, expected), (_, found))| Difference::between(expected.data(), found.data()));
        Ok(differences.fold(Difference { absolute: 0.0, relative: 0.0 }, Difference::or_greater))
    });
    let difference = difference.transpose()?;
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    whole.sort();
    layers.iter_mut().for_each(|l| l.sort());
    let report = Report {
        device: plan.device(),
        threads: plan.threads(),
        batch: sample.shapes[0].first().copied().unwrap_or(1),
        runs,
        run_ms: RunMs { min: ms(whole[0]), median: ms(quantile(&whole, 0.5)), p90: ms(quantile(&whole, 0.9)) },
        session_bytes: plan.session_bytes(),
        prepared_bytes: plan.prepared_bytes(),
        difference,
        layers: plan
            .steps()
            .zip(&layers)
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
    };
    print(arguments, &report)
}

/// The smallest sample that at least `q` of all samples do not exceed.
fn quantile(sorted: &[Duration], q: f64) -> Duration {
    sorted[((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len()) - 1]
}

fn print(arguments: &Arguments, report: &Report) -> Result<()> {
    let mut out = ssl_cli::stdout();
    if arguments.format() == Format::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(());
    }
    let mut layers = table(&["layer", "op", "kernel", "MACs", "min ms", "median ms", "share", "rate"], 3);
    let total: f64 = report.layers.iter().map(|l| l.median_ms).sum();
    for l in &report.layers {
        layers.add_row([
            printable(&l.name),
            l.op.clone(),
            l.kernel.clone(),
            thousands(l.macs as u64),
            format!("{:.4}", l.min_ms),
            format!("{:.4}", l.median_ms),
            format!("{:.0} %", 100.0 * l.median_ms / total),
            l.rate(),
        ]);
    }
    writeln!(out, "{layers}")?;
    let RunMs { min, median, p90 } = report.run_ms;
    let Report { threads, batch, runs, .. } = report;
    let place = report.device.clone().unwrap_or_else(|| format!("threads {threads}"));
    writeln!(out, "run: min {min:.4} ms, median {median:.4} ms, p90 {p90:.4} ms ({runs} runs, batch {batch}, {place})")?;
    let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    writeln!(
        out,
        "memory: activations {}, tables and transformed weights {}",
        mib(report.session_bytes),
        mib(report.prepared_bytes)
    )?;
    if let Some(Difference { absolute, relative }) = report.difference {
        writeln!(out, "largest difference from float32 on the CPU: {absolute:.1e}, {relative:.1e} of the largest output")?;
    }
    Ok(())
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
