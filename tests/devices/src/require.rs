//! What tests need and not every machine has: instruction sets, a C compiler, a GPU, NVRTC, onnxruntime. A test program whose tests went without
//! something ends with a line on stderr that says so, since what a test prints is hidden if it passes.
//!
//! What `SSLM_REQUIRE` names, separated by commas, must not be missing: tests that need it fail without it.

use sslm_kernels::Isa;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

const VARIABLE: &str = "SSLM_REQUIRE";
/// Names besides those of instruction sets; `cc` are the compilers of C and C++ of the emulation and of programs that use the library, `onnxruntime` a `python3` that has it.
const OTHERS: [&str; 4] = ["cc", "cuda", "nvrtc", "onnxruntime"];

/// What tests went without, by its name, and why it is not there.
static MISSING: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());

// SAFETY: so the C library of every platform that Rust's standard library runs on declares it.
unsafe extern "C" {
    safe fn atexit(function: extern "C" fn()) -> std::ffi::c_int;
}

/// What was looked for under this name. If it is not there, the program's last line says so.
///
/// # Panics
/// If it is not there, and it is required.
pub(crate) fn or_say<T>(name: &'static str, outcome: Result<T, String>) -> Option<T> {
    match outcome {
        Ok(found) => Some(found),
        Err(why) if required().contains(name) => panic!("{VARIABLE} names {name}: {why}"),
        Err(why) => {
            let mut missing = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
            // Miri knows no `atexit`.
            if missing.is_empty() && !cfg!(miri) {
                atexit(say);
            }
            missing.insert(name, why);
            None
        }
    }
}

/// Says that no machine of this architecture has what goes by this name.
///
/// # Panics
/// If it is required.
pub(crate) fn of_another_machine(name: &str) {
    assert!(!required().contains(name), "{VARIABLE} names {name}: no machine of this architecture has it");
}

/// What must not be missing.
fn required() -> &'static BTreeSet<String> {
    static REQUIRED: OnceLock<BTreeSet<String>> = OnceLock::new();
    REQUIRED.get_or_init(|| {
        names(&std::env::var(VARIABLE).unwrap_or_default()).unwrap_or_else(|e| {
            // Once, instead of in every test.
            let _ = writeln!(std::io::stderr(), "error: {e}");
            std::process::exit(2)
        })
    })
}

/// The names in a text like `avx2, cuda`.
fn names(text: &str) -> Result<BTreeSet<String>, String> {
    let known: Vec<&str> = Isa::NAMES.into_iter().chain(OTHERS).collect();
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    match names.clone().find(|name| !known.contains(name)) {
        None => Ok(names.map(str::to_owned).collect()),
        Some(name) => Err(format!("{VARIABLE}: expected some of {}, separated by commas, found '{name}'", known.join(", "))),
    }
}

extern "C" fn say() {
    let missing = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
    let all: Vec<String> = missing.iter().map(|(name, why)| format!("{name} ({why})")).collect();
    // Nobody is left to tell that stderr is closed.
    let _ = writeln!(std::io::stderr(), "NOT TESTED on this machine: {}", all.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn texts_are_lists_of_known_names() {
        let set = |all: &[&str]| Ok(all.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(names(""), set(&[]));
        assert_eq!(names("avx512,avx2"), set(&["avx2", "avx512"]));
        assert_eq!(names(" cc, cuda ,nvrtc,portable,"), set(&["cc", "cuda", "nvrtc", "portable"]));
        let message = "SSLM_REQUIRE: expected some of avx512, avx2, neon, simd128, portable, cc, cuda, nvrtc, onnxruntime, separated by commas, found 'avx521'";
        assert_eq!(names("cc,avx521,avx2"), Err(message.to_owned()));
    }

    /// As a test of a machine without a GPU does; in the programs that `a_program` starts.
    #[test]
    #[ignore = "it needs what no machine has"]
    fn needs_what_is_missing() {
        assert_eq!(or_say("cc", Ok(1)), Some(1));
        for name in ["avx512", "cuda", "avx512"] {
            assert_eq!(or_say::<()>(name, Err(format!("no {name} here"))), None);
        }
    }

    #[test]
    fn a_program_says_last_what_it_went_without() {
        let run = |required: Option<&str>| {
            let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
            command.args(["--ignored", "needs_what_is_missing"]).env_remove(VARIABLE);
            let output = command.envs(required.map(|names| (VARIABLE, names))).output().expect("it starts");
            (output.status.code(), [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()))
        };
        let line = "NOT TESTED on this machine: avx512 (no avx512 here), cuda (no cuda here)\n";
        for required in [None, Some("cc,avx2,nvrtc")] {
            let (code, [out, err]) = run(required);
            assert!(code == Some(0) && out.contains("1 passed") && err == line, "{required:?}: {out}{err}");
        }
        let (code, [out, err]) = run(Some("cuda"));
        assert!(code == Some(101) && out.contains("SSLM_REQUIRE names cuda: no cuda here"), "{out}{err}");
        let (code, [out, err]) = run(Some("cuda,gpu"));
        assert!(code == Some(2) && err.starts_with("error: SSLM_REQUIRE: ") && err.lines().count() == 1, "{out}{err}");
    }
}
