//! Notes for a record (on which machine, when, and of what it is), and the file that it is kept in.

use crate::isa;
use ssl_report::record::Record;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The notes of a record: keys and values.
pub fn notes() -> Vec<(String, String)> {
    // Cargo says `--bench` itself.
    let quoted = |word: String| if word.starts_with('-') { word } else { format!("'{word}'") };
    let command: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").map(quoted).collect();
    let bench = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    // Cargo adds a hash to the name.
    let bench = bench.as_deref().and_then(|name| name.rsplit_once('-')).map_or(String::new(), |(name, _)| name.to_owned());
    let load = fs::read_to_string("/proc/loadavg").ok();
    let notes = [
        ("date", Some(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string())),
        ("cpu", Some(cpu())),
        ("cores", std::thread::available_parallelism().ok().map(|cores| cores.to_string())),
        ("system", output("uname", &["-srm"])),
        ("load before", load.and_then(|load| Some(load.split_whitespace().next()?.to_owned()))),
        ("sslm", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("revision", output("git", &["describe", "--always", "--dirty", "--exclude=*"])),
        ("compiler", output("rustc", &["--version"])),
        ("gemm", locked("gemm-f32")),
        ("slowed", std::env::var("SSLM_SLOWED").ok()),
        ("command", Some(format!("cargo bench -p sslm-benches --bench {bench} -- {}", command.join(" ")))),
    ];
    notes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// The notes of a record of the first GPU, which has been opened.
pub fn gpu_notes() -> Vec<(String, String)> {
    let driver = output("nvidia-smi", &["--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]);
    let versions = [("driver", driver), ("cuBLAS", loaded("libcublas.so."))];
    notes().into_iter().chain(versions.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)))).collect()
}

/// What stands behind `name` in the name of a library that this process has loaded: its version.
fn loaded(name: &str) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| Some(line.rsplit_once('/')?.1.strip_prefix(name)?.to_owned()))
}

/// The version of a crate that all of this was built with.
fn locked(name: &str) -> Option<String> {
    let lines = include_str!("../../Cargo.lock").lines();
    let version = lines.skip_while(|line| *line != format!("name = \"{name}\"")).nth(1)?;
    Some(version.strip_prefix("version = ")?.trim_matches('"').to_owned())
}

/// Adds `record`, unless nothing was measured, to the file that the environment names as `SSLM_RECORD`, if it does: a path from the
/// repository's root, or `auto` for `benches/record/CPU/DATE.csv`.
///
/// # Panics
/// If the file is no record or cannot be written.
pub fn keep(record: Record) {
    let Some(name) = std::env::var_os("SSLM_RECORD").filter(|_| !record.rows.is_empty()) else { return };
    let path = in_repository(if name == "auto" { usual(&record) } else { name.into() });
    let mut all = if path.exists() { Record::read(&path).unwrap_or_else(|e| panic!("{e:#}")) } else { Record::default() };
    all.merge(record);
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    all.write(&path).unwrap_or_else(|e| panic!("{e:#}"));
    println!("recorded in {}", path.display());
}

/// A path from the repository's root: benches are started in their own folder.
pub fn in_repository(path: PathBuf) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the benches lie in the repository").join(path)
}

fn usual(record: &Record) -> PathBuf {
    let note = |key| record.notes(key).next().unwrap_or("unknown");
    let words: Vec<String> = note("cpu").split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase).collect();
    let cpu: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    let date = note("date").split('T').next().unwrap_or_default();
    Path::new("benches/record").join(cpu.join("-")).join(format!("{date}.csv"))
}

/// The CPU's name, where the system tells it, and on x86 its family and model: virtual machines often hide all of the name but these. An
/// instruction set that was chosen makes it another one.
fn cpu() -> String {
    let all = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key| all.lines().find_map(|line| Some(line.split_once(':').filter(|(found, _)| found.trim() == key)?.1.trim()));
    let name = value("model name").unwrap_or(std::env::consts::ARCH);
    let numbers = match (value("cpu family"), value("model")) {
        (Some(family), Some(model)) => format!(", family {family}, model {model}"),
        _ => String::new(),
    };
    let set = isa::forced().map_or(String::new(), |isa| format!(", {isa}"));
    format!("{name}{numbers}{set}")
}

/// What a program prints; `None` where it is missing or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
