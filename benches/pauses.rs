//! Calls of small networks back to back and after pauses, busy and asleep, on one thread, on two, and on two that have one core: how long
//! calls take, and how much processor time they cost. Programs seldom call a network back to back: they wait for a frame or a request,
//! and meanwhile helper threads fall asleep, or keep a core busy looking for work.
//!
//! ```sh
//! cargo bench -p sslm-benches --bench pauses                     # half a minute
//! cargo bench -p sslm-benches --bench pauses -- --into DIR       # the same as DIR/sslm.json, beside it the networks as ONNX
//! python tests/scripts/peers.py --pauses DIR                     # onnxruntime on the same, as DIR/onnxruntime.json
//! ```
//!
//! No thread is pinned to a core: where the system puts helpers when it wakes them is a part of what is measured. How to read the table
//! says `docs/benchmarks.md`.

use fastrand::Rng;
use ssl_quiet::cores;
use ssl_report::pauses::{Report, Row};
use sslm::{Model, Session, TensorView, Threads};
use sslm_benches::compare::as_test;
use sslm_benches::isa;
use sslm_benches::machine;
use sslm_benches::nets::{NETS, Net};
use sslm_benches::pauses::{Pause, Series};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const PAUSES: [Pause; 5] = [
    Pause::None,
    Pause::Busy(Duration::from_micros(30)),
    Pause::Busy(Duration::from_millis(1)),
    Pause::Asleep(Duration::from_millis(1)),
    Pause::Asleep(Duration::from_millis(10)),
];

/// Networks and their forms: runs of some ten microseconds, of a hundred, and of milliseconds.
const MODELS: [(&str, &str); 3] = [("LeNet", "dense"), ("ResNet-20", "14 layers"), ("MobileNetV2", "dense")];

const SETUPS: [Setup; 3] =
    [Setup { threads: 1, one_core: false }, Setup { threads: 2, one_core: false }, Setup { threads: 2, one_core: true }];

/// Each pattern has so many series: what disturbs the machine for a while disturbs all patterns.
const ROUNDS: usize = 5;

/// About how long a series takes, and how many calls it has at least and at most.
const SERIES: Duration = Duration::from_millis(100);
const CALLS: [usize; 2] = [10, 200];

/// Who computes.
#[derive(Clone, Copy)]
struct Setup {
    threads: usize,
    /// Whether all threads have but one core together.
    one_core: bool,
}

impl Setup {
    /// Runs `f` with the cores that there are in this setup.
    fn within<T: Send>(self, f: impl FnOnce() -> T + Send) -> T {
        if self.one_core { cores::on_one_core(f) } else { f() }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let into = match &arguments[..] {
        _ if as_test() => None,
        [] => None,
        [flag, folder] if flag == "--into" => Some(machine::in_repository(folder.into())),
        // Those of other benches, which Cargo hands to all.
        others => return eprintln!("pauses: nothing was measured: expected nothing or --into DIR, found {others:?}"),
    };
    let mut report = Report { notes: machine::notes(), rows: Vec::new() };
    for (name, form) in MODELS {
        let net = NETS.iter().find(|net| net.name == name).expect("a network of the list");
        // Networks for larger images take seconds to build.
        if as_test() && net.input[1] >= 100 {
            continue;
        }
        report.rows.extend(measure(net, form));
        if let Some(folder) = &into {
            let onnx = folder.join(file_name(net, form));
            fs::create_dir_all(folder).and_then(|()| fs::write(&onnx, net.onnx(form))).unwrap_or_else(|e| fail(&onnx, &e));
        }
    }
    print(&report.rows);
    if let Some(folder) = &into {
        let (path, text) = (folder.join("sslm.json"), serde_json::to_string_pretty(&report).expect("text and figures"));
        fs::write(&path, text).unwrap_or_else(|e| fail(&path, &e));
    }
}

fn fail(path: &Path, error: &std::io::Error) -> ! {
    eprintln!("pauses: cannot write {}: {error}", path.display());
    std::process::exit(1)
}

fn file_name(net: &Net, form: &str) -> String {
    format!("{}-{}.onnx", net.name, form.replace(' ', "-"))
}

/// A network that is called again and again.
struct Caller {
    session: Session,
    shape: Vec<usize>,
    image: Vec<f32>,
}

impl Caller {
    fn new(model: &Model, threads: usize) -> Self {
        let plan = model.prepare(&isa::options().threads(Threads::Count(threads))).expect("the model prepares");
        let shape = plan.input_shapes().next().expect("the model has an input").to_vec();
        let mut rng = Rng::with_seed(7);
        let image = (0..shape.iter().product()).map(|_| rng.f32() * 2.0 - 1.0).collect();
        Caller { session: plan.session(), shape, image }
    }

    fn call(&mut self) -> sslm::Result<()> {
        self.session.run(TensorView::new(&self.shape, &self.image)?).map(drop)
    }

    /// How many calls after pauses make a series.
    fn calls(&mut self, pause: Pause) -> usize {
        if as_test() {
            return 1;
        }
        let start = Instant::now();
        self.call().expect("it runs");
        let one = start.elapsed() + pause.time();
        ((SERIES.as_secs_f64() / one.as_secs_f64()) as usize).clamp(CALLS[0], CALLS[1])
    }
}

fn measure(net: &Net, form: &str) -> Vec<Row> {
    let model = net.model(form);
    let mut callers = SETUPS.map(|setup| setup.within(|| Caller::new(&model, setup.threads)));
    let mut found = SETUPS.map(|_| PAUSES.map(|_| Vec::new()));
    for _ in 0..if as_test() { 1 } else { ROUNDS } {
        for ((setup, caller), found) in SETUPS.iter().zip(&mut callers).zip(&mut found) {
            setup.within(|| {
                for (pause, found) in PAUSES.into_iter().zip(found) {
                    let calls = caller.calls(pause);
                    found.push(Series::take(pause, calls, || caller.call()).expect("it runs"));
                }
            });
        }
    }
    let of_setup = |(setup, found): (Setup, [Vec<Series>; PAUSES.len()])| {
        PAUSES.into_iter().zip(found).map(move |(pause, series)| row(net, form, setup, pause, &series))
    };
    SETUPS.into_iter().zip(found).flat_map(of_setup).collect()
}

fn row(net: &Net, form: &str, Setup { threads, one_core }: Setup, pause: Pause, series: &[Series]) -> Row {
    let mut seconds: Vec<f64> = series.iter().flat_map(|series| &series.seconds).copied().collect();
    seconds.sort_by(f64::total_cmp);
    let us = |seconds: f64| (seconds * 1e8).round() / 1e2;
    let quantile = |tenths: usize| us(seconds[(seconds.len() - 1) * tenths / 10]);
    Row {
        runtime: format!("sslm {}", env!("CARGO_PKG_VERSION")),
        net: net.name.to_owned(),
        form: form.to_owned(),
        model: file_name(net, form),
        threads,
        one_core,
        pause: pause.to_string(),
        pause_us: pause.time().as_micros() as u64,
        asleep: matches!(pause, Pause::Asleep(_)),
        calls: seconds.len(),
        median_us: quantile(5),
        p90_us: quantile(9),
        processor_us: us(series.iter().map(|series| series.processor).sum::<f64>() / series.len() as f64),
    }
}

fn print(rows: &[Row]) {
    let mut table = ssl_cli::table(&["net", "form", "threads", "calls", "count", "median us", "p90 us", "processor us"], 4);
    for row in rows {
        let place = if row.one_core { " on one core" } else { "" };
        table.add_row([
            row.net.clone(),
            row.form.clone(),
            format!("{}{place}", row.threads),
            row.pause.clone(),
            row.calls.to_string(),
            format!("{:.1}", row.median_us),
            format!("{:.1}", row.p90_us),
            format!("{:.1}", row.processor_us),
        ]);
    }
    println!("{table}");
}
