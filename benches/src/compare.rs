//! Forms of the same work against each other, through Criterion, which brings names, filters and statistics. What it cannot do is
//! done here: samples are taken in quiet moments, and those of forms that are compared in turns, so that whatever slows the machine
//! for a while slows all of them. A table at the end says how far the times are from what the machine can do, and whether less work
//! is as much less time; `SSLM_RECORD` keeps what it is made of.

use crate::ceiling::Ceiling;
use crate::isa;
use crate::machine;
use crate::table::Table;
use criterion::{BenchmarkId, Criterion};
use ssl_quiet::cores::Cores;
use ssl_quiet::{Calls, Quartiles, Quiet, Sample};
use ssl_report::record::{Measure, Record, Row};
use sslm_kernels::Isa;
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::time::Duration;

/// Whether benchmarks run once each, to see that they do: as `cargo test` and `cargo bench -- --test` run them.
pub fn as_test() -> bool {
    given("--test") || !given("--bench")
}

/// Whether benchmarks are to take little time: those that take the most of it for what they say are left out then.
pub fn quick() -> bool {
    given("--quick")
}

fn given(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

/// Work that can be done again and again, and how much it is.
pub struct Work<'a> {
    /// The kernel that computes it, where that is one.
    pub kernel: String,
    /// Multiply-accumulates of a call.
    pub macs: usize,
    /// The least count of bytes that it reads and writes.
    pub bytes: usize,
    /// Does it.
    pub call: Box<dyn FnMut() + 'a>,
}

/// One way to do some work.
pub struct Form<'a> {
    name: String,
    prepare: Box<dyn Fn() -> Work<'a> + 'a>,
}

impl<'a> Form<'a> {
    /// A form with a name for filters and tables; `prepare` is called when it is about to be timed.
    pub fn new(name: impl Into<String>, prepare: impl Fn() -> Work<'a> + 'a) -> Self {
        Form { name: name.into(), prepare: Box::new(prepare) }
    }
}

/// What is computed in several forms.
pub struct Case<'a> {
    /// The network's name.
    pub net: &'a str,
    /// The layer's name.
    pub layer: &'a str,
    /// What is timed.
    pub measure: Measure,
    /// Count of images.
    pub batch: usize,
}

/// Comparisons on some cores, and what they found.
pub struct Comparisons<'c> {
    criterion: &'c mut Criterion,
    isa: Isa,
    cores: &'c Cores,
    measured: Option<(Ceiling<'c>, Quiet<'c>)>,
    rows: Vec<Row>,
}

/// Runs `all` comparisons on one core and on two, as Criterion's command line says, and prints and yields what they found.
pub fn run(all: impl Fn(&mut Comparisons<'_>)) -> Record {
    let mut record = Record { notes: machine::notes(), rows: Vec::new() };
    let time = Duration::from_millis(500);
    let criterion = Criterion::default().sample_size(10).nresamples(10_000).warm_up_time(time / 10).measurement_time(time);
    let criterion = &mut criterion.configure_from_args();
    for count in [1, 2] {
        let Some(cores) = &Cores::new(count) else {
            println!("{count} threads are left out: there are fewer cores");
            continue;
        };
        let isa = isa::measured();
        let mut comparisons = Comparisons { criterion: &mut *criterion, isa, cores, measured: None, rows: Vec::new() };
        all(&mut comparisons);
        if let Some((ceiling, _)) = &comparisons.measured {
            println!("\nThreads: {count}. Instruction set: {isa}. At most {ceiling}.\n{}", Table(&comparisons.rows));
            ceiling.notes().into_iter().for_each(|(key, value)| record.note(&format!("{key}, threads {count}"), &value));
        }
        record.rows.extend(comparisons.rows);
    }
    criterion.final_summary();
    record
}

/// Work on its way to a row of the table.
struct Timed<'a> {
    work: RefCell<Work<'a>>,
    calls: Calls,
}

impl Timed<'_> {
    fn sample(&self, quiet: &mut Quiet) -> Sample {
        quiet.sample(self.calls, &mut self.work.borrow_mut().call)
    }
}

impl<'c> Comparisons<'c> {
    /// What runs.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Where it runs.
    pub fn cores(&self) -> &'c Cores {
        self.cores
    }

    /// Times each form as `net layer measure/form/threads`, in turns with those before it that are among the first `dense` ones.
    pub fn compare(&mut self, case: &Case<'_>, forms: &[Form<'_>], dense: usize) {
        let all: Vec<OnceCell<Timed>> = forms.iter().map(|_| OnceCell::new()).collect();
        let timed = |i: usize| {
            all[i].get_or_init(|| {
                let mut work = slowed((forms[i].prepare)());
                let calls = if as_test() { Calls::ONE } else { Calls::new(&mut work.call) };
                Timed { work: RefCell::new(work), calls }
            })
        };
        let threads = self.cores.count();
        let mut group = self.criterion.benchmark_group(case.to_string());
        for (i, form) in forms.iter().enumerate() {
            let others = 0..i.min(dense);
            let (mut times, mut other_times) = (Vec::new(), vec![Vec::new(); others.len()]);
            group.bench_function(BenchmarkId::new(&form.name, threads), |bencher| {
                let own = timed(i);
                if as_test() {
                    bencher.iter(&mut own.work.borrow_mut().call);
                    return;
                }
                let (_, quiet) = self.measured.get_or_insert_with(|| {
                    let ceiling = Ceiling::measure(self.isa, self.cores);
                    (ceiling, Quiet::new(self.cores))
                });
                bencher.iter_custom(|calls| {
                    let before = times.len();
                    for _ in 0..calls.div_ceil(own.calls.of_a_sample as u64) {
                        for (other, times) in others.clone().zip(&mut other_times) {
                            times.push(timed(other).sample(quiet));
                        }
                        times.push(own.sample(quiet));
                    }
                    let median = Quartiles::of(&times[before..]).map_or(0.0, |quartiles| quartiles.seconds[1]);
                    Duration::from_secs_f64(median * calls as f64)
                });
            });
            let Some((ceiling, _)) = &self.measured else { continue };
            let row = |timed_form: usize, beside: &str, times: &[Sample]| {
                let Quartiles { seconds, quiet, samples } = Quartiles::of(times)?;
                let work = timed(timed_form).work.borrow();
                let floor = ceiling.seconds(2 * work.macs, work.bytes);
                let [floor_us, lower_quartile_us, median_us, upper_quartile_us] =
                    [floor, seconds[0], seconds[1], seconds[2]].map(microseconds);
                Some(Row {
                    net: case.net.to_owned(),
                    layer: case.layer.to_owned(),
                    measure: case.measure,
                    form: forms[timed_form].name.clone(),
                    beside: beside.to_owned(),
                    threads,
                    batch: case.batch,
                    kernel: work.kernel.clone(),
                    macs: work.macs as u64,
                    bytes: work.bytes as u64,
                    floor_us,
                    lower_quartile_us,
                    median_us,
                    upper_quartile_us,
                    quiet,
                    samples,
                })
            };
            self.rows.extend(row(i, "", &times));
            self.rows.extend(others.zip(&other_times).filter_map(|(other, times)| row(other, &form.name, times)));
        }
        group.finish();
    }
}

/// Does the work twice in each call if the environment names a part of its kernel's name as `SSLM_SLOWED`: to see that comparisons of
/// records find out.
fn slowed(work: Work<'_>) -> Work<'_> {
    match std::env::var("SSLM_SLOWED") {
        Ok(name) if !name.is_empty() && work.kernel.contains(&name) => {
            let mut call = work.call;
            let twice = move || {
                call();
                call();
            };
            Work { call: Box::new(twice), ..work }
        }
        _ => work,
    }
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.net, self.layer, self.measure)?;
        if self.batch > 1 { write!(f, " batch {}", self.batch) } else { Ok(()) }
    }
}

/// Microseconds, rounded to tenths of a nanosecond: less cannot be told apart.
fn microseconds(seconds: f64) -> f64 {
    (seconds * 1e10).round() / 1e4
}
