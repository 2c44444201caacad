//! `--tune`: which method is fastest for each layer on this machine, stored beside the model, and used from there by later runs.

use crate::{Arguments, options, sample};
use anyhow::{Context, Result};
use ssl_cli::{Progress, printable, table};
use sslm::{ErrorKind, Model, Options, Plan, Tuning};
use std::io::Write;
use std::path::Path;

pub(crate) fn run(arguments: &Arguments, model: &Model) -> Result<()> {
    let (shape, _) = sample::input(arguments, model)?;
    // Before the work, so that a bad path costs no time.
    let target = Tuning::path_for(&arguments.model);
    let mut file = ssl_cli::file_beside(&target)?;
    let bar = Progress::on_terminal();
    bar.step("warm up");
    let tuning = model.tune(&options(arguments, model, &shape)?, |done, total| {
        if done == 1 {
            bar.start("time each method", total);
        }
        bar.advance();
    })?;
    bar.finish();
    let text = tuning.to_json();
    writeln!(file, "{text}").and_then(|()| file.flush()).with_context(|| format!("cannot write {}", target.display()))?;
    let mut out = ssl_cli::stdout();
    if arguments.json {
        writeln!(out, "{text}")?;
    } else {
        print(&tuning, &mut out)?;
    }
    // Last, so that nothing is written by a call that fails.
    file.put_in_place()?;
    ssl_cli::note("ssl-run", format!("wrote {}", target.display()));
    Ok(())
}

fn print(tuning: &Tuning, out: &mut impl Write) -> Result<()> {
    let ms = |us: f64| format!("{:.4}", us / 1e3);
    let mut layers = table(&["layer", "expected", "fastest", "expected ms", "fastest ms", "gain"], 3);
    for l in &tuning.layers {
        let gain = if l.tuned == l.expected { "-".to_owned() } else { percent(l.expected_us, l.tuned_us) };
        let methods = [l.expected, l.tuned].map(|m| m.to_string());
        let [expected, tuned] = methods;
        layers.add_row([printable(&l.name), expected, tuned, ms(l.expected_us), ms(l.tuned_us), gain]);
    }
    writeln!(out, "{layers}")?;
    let Tuning { expected_us, tuned_us, .. } = *tuning;
    writeln!(out, "run: expected {} ms, fastest {} ms, gain {}", ms(expected_us), ms(tuned_us), percent(expected_us, tuned_us))?;
    Ok(())
}

fn percent(before: f64, after: f64) -> String {
    format!("{:.1} %", 100.0 * (1.0 - after / before))
}

/// A plan by the tuning that lies beside the model at `path`, if there is one that fits; stderr says so.
pub(crate) fn prepare(path: &Path, model: &Model, options: &Options) -> Result<Plan> {
    let file = Tuning::path_for(path);
    if matches!(file.try_exists(), Ok(false)) {
        return Ok(model.prepare(options)?);
    }
    let not_used = |why: String| {
        ssl_cli::note("ssl-run", format!("tuning is not used: {why} (--tune makes a new one)"));
        Ok(model.prepare(options)?)
    };
    let tuning = match Tuning::open(&file) {
        Ok(tuning) => tuning,
        Err(e) => return not_used(e.to_string()),
    };
    match model.prepare(&options.clone().tuning(tuning)) {
        Err(e) if e.kind() == ErrorKind::Tuning => not_used(format!("{}: {e}", file.display())),
        Err(e) => Err(e.into()),
        Ok(plan) => {
            ssl_cli::note("ssl-run", format!("methods as timed in {}", file.display()));
            Ok(plan)
        }
    }
}
