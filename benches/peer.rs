//! sslm as a peer of a harness that measures runtimes beside each other: loads models once and times runs when it is asked to.
//! `tests/scripts/peers.py` starts it; it speaks that harness's protocol, lines of JSON on standard input and output.
//!
//! ```text
//! sslm-peer --threads N
//! {"cmd": "load", "name": NAME, "model": SSLM, "x": FILE, "out": FILE}     tensors are float32 elements without a header
//! {"cmd": "run", "name": NAME, "n": N}                                     after a warm-up of 2 ms
//! {"cmd": "unload"}
//! ```
//!
//! Answers have `ok` and either `error` or what was asked for: `load_s`, `call_s` and `version`; or `calls`, of each its seconds, its
//! seconds of computing, and whether its threads waited for a core for less than 2 % of the time.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use sslm::{Model, Options, Session, TensorView, Threads};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Deserialize)]
#[serde(tag = "cmd", rename_all = "lowercase")]
enum Request {
    Load { name: String, model: PathBuf, x: PathBuf, out: PathBuf },
    Run { name: String, n: usize },
    Unload,
}

struct Net {
    session: Session,
    shape: Vec<usize>,
    x: Vec<f32>,
}

impl Net {
    fn run(&mut self) -> Result<&[f32]> {
        Ok(self.session.run(TensorView::new(&self.shape, &self.x)?)?.data())
    }

    fn seconds(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.run()?;
        Ok(start.elapsed().as_secs_f64())
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, threads] = &arguments[..] else { bail!("expected --threads N, found {arguments:?}") };
    ensure!(flag == "--threads", "expected --threads N, found {arguments:?}");
    let threads = Threads::Count(threads.parse().with_context(|| format!("--threads: expected a count, found '{threads}'"))?);
    let mut nets = HashMap::new();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request = serde_json::from_str(&line?).map_err(anyhow::Error::from);
        let answer = request.and_then(|request| answer(request, threads, &mut nets));
        let answer = answer.unwrap_or_else(|error| json!({ "ok": false, "error": format!("{error:#}") }));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(request: Request, threads: Threads, nets: &mut HashMap<String, Net>) -> Result<Value> {
    match request {
        Request::Load { name, model, x, out } => {
            let bytes = fs::read(&x).with_context(|| x.display().to_string())?;
            let elements = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let start = Instant::now();
            let plan = Model::open(&model)?.prepare(&Options::new().threads(threads))?;
            let shape = plan.input_shapes().next().context("expected a model with an input")?.to_vec();
            let mut net = Net { session: plan.session(), shape, x: elements };
            let load = start.elapsed().as_secs_f64();
            let y: Vec<u8> = net.run()?.iter().flat_map(|y| y.to_le_bytes()).collect();
            fs::write(&out, y).with_context(|| out.display().to_string())?;
            net.run()?;
            let call = net.seconds()?;
            nets.insert(name, net);
            Ok(json!({ "ok": true, "load_s": load, "call_s": call, "version": env!("CARGO_PKG_VERSION") }))
        }
        Request::Run { name, n } => {
            let net = nets.get_mut(&name).with_context(|| format!("expected a model that was loaded, found '{name}'"))?;
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(2) {
                net.run()?;
            }
            let call = |_| {
                let before = Scheduled::now();
                let seconds = net.seconds()?;
                let after = Scheduled::now();
                let [computed, waited] = [after.computed - before.computed, after.waited - before.waited];
                Ok(json!([seconds, computed, waited < 0.02 * seconds]))
            };
            Ok(json!({ "ok": true, "calls": (0..n).map(call).collect::<Result<Vec<_>>>()? }))
        }
        Request::Unload => {
            nets.clear();
            Ok(json!({ "ok": true }))
        }
    }
}

/// Seconds that all threads of this process computed, and waited for a core.
struct Scheduled {
    computed: f64,
    waited: f64,
}

impl Scheduled {
    fn now() -> Self {
        let mut all = Scheduled { computed: 0.0, waited: 0.0 };
        for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let mut seconds = text.split(' ').map(|ns| ns.parse::<f64>().unwrap_or(0.0) / 1e9);
            all.computed += seconds.next().unwrap_or(0.0);
            all.waited += seconds.next().unwrap_or(0.0);
        }
        all
    }
}
