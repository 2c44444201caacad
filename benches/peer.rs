//! sslm as a peer of a harness that measures runtimes beside each other: loads models once and times runs when it is asked to.
//! `tests/scripts/peers.py` starts it; it speaks that harness's protocol, lines of JSON on standard input and output.
//!
//! ```text
//! sslm-peer --threads N [--asleep-us T]
//! {"cmd": "load", "name": NAME, "model": SSLM, "x": FILE, "out": FILE}     tensors are float32 elements without a header
//! {"cmd": "run", "name": NAME, "n": N}                                     after a warm-up of 2 ms
//! {"cmd": "unload"}
//! ```
//!
//! `SSLM_ISA` names the instruction set, if it shall not be the best. Calls come back to back, or each after so many microseconds of
//! sleep. Answers have `ok` and either `error` or what was asked for:
//! `load_s`, `call_s` and `version`; or `calls`, of each its seconds, its seconds of computing, and whether its threads waited for a
//! core for less than 2 % of the time. The last two are those of all calls that were asked for: to learn them of each, the system had to
//! be asked between two calls, and meanwhile helpers fell asleep.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use sslm::{Model, Session, TensorView, Threads};
use sslm_benches::isa;
use sslm_benches::pauses::{Pause, Series};
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
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (threads, asleep) = match arguments[..] {
        ["--threads", threads] => (threads, None),
        ["--threads", threads, "--asleep-us", us] => (threads, Some(us)),
        _ => bail!("expected --threads N [--asleep-us T], found {arguments:?}"),
    };
    let threads = Threads::Count(threads.parse().with_context(|| format!("--threads: expected a count, found '{threads}'"))?);
    let us = |us: &str| us.parse().with_context(|| format!("--asleep-us: expected microseconds, found '{us}'"));
    let pause = asleep.map(us).transpose()?.map_or(Pause::None, |us| Pause::Asleep(Duration::from_micros(us)));
    let mut nets = HashMap::new();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request = serde_json::from_str(&line?).map_err(anyhow::Error::from);
        let answer = request.and_then(|request| answer(request, threads, pause, &mut nets));
        let answer = answer.unwrap_or_else(|error| json!({ "ok": false, "error": format!("{error:#}") }));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(request: Request, threads: Threads, pause: Pause, nets: &mut HashMap<String, Net>) -> Result<Value> {
    match request {
        Request::Load { name, model, x, out } => {
            let bytes = fs::read(&x).with_context(|| x.display().to_string())?;
            let elements = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let start = Instant::now();
            let plan = Model::read(&model)?.prepare(&isa::options().threads(threads))?;
            let shape = plan.input_shapes().next().context("expected a model with an input")?.to_vec();
            let mut net = Net { session: plan.session(), shape, x: elements };
            let load = start.elapsed().as_secs_f64();
            let y: Vec<u8> = net.run()?.iter().flat_map(|y| y.to_le_bytes()).collect();
            fs::write(&out, y).with_context(|| out.display().to_string())?;
            net.run()?;
            let start = Instant::now();
            net.run()?;
            let call = start.elapsed().as_secs_f64();
            nets.insert(name, net);
            Ok(json!({ "ok": true, "load_s": load, "call_s": call, "version": env!("CARGO_PKG_VERSION") }))
        }
        Request::Run { name, n } => {
            let net = nets.get_mut(&name).with_context(|| format!("expected a model that was loaded, found '{name}'"))?;
            let Series { seconds, processor, waited } = Series::take(pause, n, || net.run().map(drop))?;
            let calls: Vec<Value> = seconds.iter().map(|seconds| json!([seconds, processor, waited < 0.02])).collect();
            Ok(json!({ "ok": true, "calls": calls }))
        }
        Request::Unload => {
            nets.clear();
            Ok(json!({ "ok": true }))
        }
    }
}
