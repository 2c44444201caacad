//! C source to a shared library, by the machine's C compiler.

use std::path::PathBuf;
use std::process::Command;

/// Compiled once for all test programs: the library lies beside them, under a name that tells its source.
///
/// # Errors
/// If there is no C compiler, or it compiles for another architecture than these tests are of, as where they are emulated.
///
/// # Panics
/// If the source is no C.
pub(crate) fn library(name: &str, source: &str) -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let folder = program.parent().map(PathBuf::from).unwrap_or_default();
    let path = folder.join(format!("{name}-{:08x}.so", crc32fast::hash(source.as_bytes())));
    if !path.exists() {
        expect_same_architecture()?;
        let new = tempfile::tempdir_in(&folder).map_err(|e| e.to_string())?;
        let [text, library] = ["source.c", "library.so"].map(|name| new.path().join(name));
        std::fs::write(&text, source).map_err(|e| e.to_string())?;
        let flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-pthread", "-Wall", "-Werror", "-U_FORTIFY_SOURCE"];
        let compiler = Command::new("cc").args(flags).arg(&text).arg("-o").arg(&library).args(["-lm", "-ldl"]).output();
        let output = compiler.map_err(|e| format!("the C compiler `cc` is missing ({e})"))?;
        assert!(output.status.success(), "{name}: the source is no C:\n{}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&library, &path).map_err(|e| e.to_string())?;
    }
    Ok(path)
}

fn expect_same_architecture() -> Result<(), String> {
    let output = Command::new("cc").arg("-dumpmachine").output().map_err(|e| format!("the C compiler `cc` is missing ({e})"))?;
    let machine = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (found, expected) = (machine.split('-').next().unwrap_or_default(), std::env::consts::ARCH);
    let is_same = if expected == "x86" { found.starts_with('i') } else { found == expected };
    if is_same { Ok(()) } else { Err(format!("the C compiler `cc` compiles for {machine}, and these tests are of {expected}")) }
}
