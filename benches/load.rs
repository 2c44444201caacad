//! From a file to the first answer: opening a model, preparing it, and all of that with a first run; and how much memory a process
//! needs for it that it does not share with others.
//!
//! ```sh
//! cargo bench -p sslm-benches --bench load
//! ```
//!
//! Files are in the page cache, as they are when a program starts again. Memory is that of a process of its own (Linux), in MB behind
//! what it had before: after opening, preparing and the first run. Weights stay in the file and are not in it.

use ssl_report::record::Measure;
use sslm::{Model, Options, TensorView, Threads};
use sslm_benches::compare::{self, Case, Form, Work, as_test};
use sslm_benches::isa;
use sslm_benches::machine;
use sslm_benches::nets::{NETS, Net};
use std::path::Path;
use std::process::Command;
use tempfile::TempPath;

/// With this argument and a model's file, the program does nothing but load it, and says what memory that took.
const MEMORY_OF: &str = "--memory-of";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, path] = &arguments[..]
        && flag == MEMORY_OF
    {
        return println!("{}", memory_of(Path::new(path)));
    }
    let files: Vec<(&Net, &str, TempPath)> = NETS
        .iter()
        .filter(|net| net.name == "LeNet" || net.name == "AlexNet" && !as_test())
        .flat_map(|net| net.forms.iter().map(move |form| (net, *form)))
        .filter(|(net, form)| *form == net.forms[0] || *form == net.forms[2])
        .map(|(net, form)| (net, form, net.file(form)))
        .collect();
    let mut record = compare::run(|comparisons| {
        // Loading is not shared.
        if comparisons.cores().count() > 1 {
            return;
        }
        for (net, form, file) in &files {
            let mut time = |what, macs, bytes, load: fn(&Path)| {
                let work = || Work { kernel: String::new(), macs, bytes, call: Box::new(move || load(file)) };
                let case = Case { net: net.name, layer: what, measure: Measure::Load, batch: 1 };
                comparisons.compare(&case, &[Form::new(*form, work)], 1);
            };
            let model = open(file).expect("it opens");
            let macs = model.prepare(&options()).expect("it prepares").steps().map(|step| step.macs).sum();
            time("open", 0, 0, |path| drop(open(path).expect("it opens")));
            time("open, prepare", 0, 0, |path| {
                drop(open(path).and_then(|model| model.prepare(&options())).expect("it prepares"))
            });
            time("open, prepare, first run", macs, model.weight_bytes(), first_run);
        }
    });
    for (net, form, file) in &files {
        let own = std::env::current_exe().expect("a program knows where it lies");
        let output = Command::new(own).arg(MEMORY_OF).arg(file.as_os_str()).output().expect("a program can run itself");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let value = format!("{}, {form}: {}", net.name, String::from_utf8_lossy(&output.stdout).trim());
        println!("private memory: {value}");
        record.note("private memory", &value);
    }
    machine::keep(record);
}

fn options() -> Options {
    isa::options().threads(Threads::Single)
}

fn first_run(path: &Path) {
    let plan = open(path).and_then(|model| model.prepare(&options())).expect("it prepares");
    let shape = plan.input_shapes().next().expect("it has an input").to_vec();
    let image = vec![0.5; shape.iter().product()];
    plan.session().run(TensorView::new(&shape, &image).expect("it fits")).expect("it runs");
}

/// Private memory after each stage, and the file's size.
fn memory_of(path: &Path) -> String {
    let file = std::fs::metadata(path).map_or(0, |file| file.len());
    let Some(before) = private_bytes() else { return "not known here".to_owned() };
    let since = || megabytes(private_bytes().unwrap_or(before).saturating_sub(before));
    let model = open(path).expect("it opens");
    let opened = since();
    let plan = model.prepare(&options()).expect("it prepares");
    let prepared = since();
    let mut session = plan.session();
    let shape = plan.input_shapes().next().expect("it has an input").to_vec();
    let image = vec![0.5; shape.iter().product()];
    session.run(TensorView::new(&shape, &image).expect("it fits")).expect("it runs");
    format!("opened {opened} MB, prepared {prepared}, first run {}; file {}", since(), megabytes(file))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// Bytes of memory that this process wrote: they are neither the file's nor shared with other processes.
fn private_bytes() -> Option<u64> {
    let all = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = all.lines().find_map(|line| line.strip_prefix("Private_Dirty:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// A model in the map of its file.
fn open(file: &Path) -> sslm::Result<Model> {
    // SAFETY: the file is a temporary one of this program, which writes it no more.
    unsafe { Model::open_mapped(file) }
}
