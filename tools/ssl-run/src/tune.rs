//! `--tune`: which method is fastest for each layer on this machine, stored beside the model if whole runs are faster by it, and used
//! from there by later runs.

use crate::answers::Format;
use crate::{Arguments, options, sample};
use anyhow::Result;
use serde_json::{Value, json};
use ssl_cli::{Progress, printable, table};
use sslm::{ErrorKind, Model, Options, Plan, TunedLayer, Tuning, Turns};
use std::io::Write;
use std::path::Path;

pub(crate) fn run(arguments: &Arguments, model: &Model) -> Result<()> {
    let shapes = sample::inputs(arguments, model)?.shapes;
    // Before the work, so that a bad path costs no time.
    let target = Tuning::path_for(&arguments.model);
    let mut file = ssl_cli::file_beside(&target)?;
    let bar = Progress::on_terminal();
    bar.step("warm up")?;
    let (tuning, turns) = model.tune(&options(arguments, model, &shapes)?, None, |done, total| {
        if done == 1 {
            bar.start("time each method", total);
        }
        bar.advance();
    })?;
    bar.finish();
    let text = tuning.to_json();
    writeln!(file, "{text}")?;
    let mut out = ssl_cli::stdout();
    if arguments.format() == Format::Json {
        let mut report: Value = serde_json::from_str(&text)?;
        report["kept"] = json!(turns.tuning_is_faster());
        report["turns"] = json!(turns);
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&tuning.layers, &turns, &mut out)?;
    }
    let there = target.exists();
    // Last, so that nothing is written by a call that fails.
    if turns.tuning_is_faster() {
        ssl_cli::put_in_place(vec![file])?;
    }
    ssl_cli::note("ssl-run", outcome(&turns, &target, there));
    Ok(())
}

/// What became of the measurement.
fn outcome(turns: &Turns, target: &Path, there: bool) -> String {
    let target = target.display();
    if turns.tuning_is_faster() {
        return format!("wrote {target}");
    }
    let found = "the default methods are fastest: runs by others were not faster beyond noise, so no tuning was stored";
    if there { format!("{found}; {target} stays as it was (without it, the default methods are used)") } else { found.to_owned() }
}

fn print(tuned: &[TunedLayer], turns: &Turns, out: &mut impl Write) -> Result<()> {
    let time = |us: f64| ssl_cli::time(us / 1e6);
    let mut layers = table(&["layer", "expected", "fastest", "time", "fastest's", "gain"], 3);
    for l in tuned {
        let gain = if l.tuned == l.expected { "-".to_owned() } else { percent(1.0 - l.tuned_us / l.expected_us) };
        let methods = [l.expected, l.tuned].map(|m| m.to_string());
        let [expected, tuned] = methods;
        layers.add_row([printable(&l.name), expected, tuned, time(l.expected_us), time(l.tuned_us), gain]);
    }
    writeln!(out, "{}", layers.fitted())?;
    let Turns { count, expected_us, tuned_us, gain } = turns;
    let quartiles = |[lower, median, upper]: [String; 3]| format!("{median} ({lower} to {upper})");
    writeln!(
        out,
        "run: expected {}, fastest {}, gain {}: median and quartiles of {count} turns",
        quartiles(expected_us.map(time)),
        quartiles(tuned_us.map(time)),
        quartiles(gain.map(percent)),
    )?;
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
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
        Err(e) if *e.kind() == ErrorKind::Tuning => not_used(format!("{}: {e}", file.display())),
        Err(e) => Err(e.into()),
        Ok(plan) => {
            ssl_cli::note("ssl-run", format!("methods as timed in {}", file.display()));
            Ok(plan)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of 100 us with the expected methods, and so many with the others.
    fn turns(tuned_us: [f64; 3]) -> Turns {
        let [lower, median, upper] = tuned_us;
        let gain = [upper, median, lower].map(|us| 1.0 - us / 100.0);
        Turns { count: 40, expected_us: [99.0, 100.0, 102.5], tuned_us, gain }
    }

    #[test]
    fn it_is_said_what_is_kept() {
        let path = Path::new("m.sslm.tuning.json");
        let (faster, noisy, slower) = (turns([91.0, 92.0, 95.0]), turns([90.0, 98.0, 104.0]), turns([101.0, 102.0, 112.0]));
        for there in [false, true] {
            assert_eq!(outcome(&faster, path, there), "wrote m.sslm.tuning.json");
        }
        for turns in [noisy, slower] {
            let said = outcome(&turns, path, false);
            assert_eq!(
                said,
                "the default methods are fastest: runs by others were not faster beyond noise, so no tuning was stored"
            );
            let stays = "; m.sslm.tuning.json stays as it was (without it, the default methods are used)";
            assert_eq!(outcome(&turns, path, true), said + stays);
        }
    }

    #[test]
    fn both_figures_are_printed() {
        let mut out = Vec::new();
        print(&[], &turns([101.0, 102.0, 112.0]), &mut out).expect("a vector takes all");
        let text = String::from_utf8(out).expect("text");
        let line = "run: expected 100 us (99.0 us to 102 us), fastest 102 us (101 us to 112 us), \
                    gain -2.0 % (-12.0 % to -1.0 %): median and quartiles of 40 turns";
        assert_eq!(text.lines().last(), Some(line), "{text}");
    }
}
