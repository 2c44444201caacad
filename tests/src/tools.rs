//! Running the command-line tools as a user would, and libraries for other languages. All are built once, in the profile that the tests run in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// The repository: where the tests were compiled, or where `SSLM_ROOT` says that a copy of it lies.
pub fn root() -> PathBuf {
    if let Some(root) = std::env::var_os("SSLM_ROOT") {
        return root.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_path_buf()
}

/// The shipped LeNet's folder.
pub fn lenet() -> PathBuf {
    root().join("tools/models/lenet")
}

static BINARIES: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut cargo = Command::new(env!("CARGO"));
    // Of the whole workspace, as the tests themselves, so that dependencies have the features with which they were compiled.
    cargo.current_dir(root()).args(["build", "--quiet", "--workspace", "--bins", "--lib"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo starts").success(), "the tools build");
    // A test program lies in target/<profile>/deps.
    let test = std::env::current_exe().expect("the test's own path");
    test.ancestors().nth(2).expect("target/<profile>").to_path_buf()
});

/// What one run of a tool gave.
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Where libraries for other languages lie.
pub fn libraries() -> PathBuf {
    BINARIES.clone()
}

/// A tool, to be started.
pub fn command(tool: &str) -> Command {
    Command::new(BINARIES.join(tool))
}

/// Runs a tool.
///
/// # Panics
/// If it cannot be started or is killed by a signal.
pub fn run(tool: &str, arguments: &[&str]) -> Run {
    let Output { status, stdout, stderr } = command(tool).args(arguments).output().expect("the tool starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    let (stdout, stderr) = (text(stdout), text(stderr));
    let code = status.code().unwrap_or_else(|| panic!("{tool} was killed: {status}\n{stderr}"));
    Run { code, stdout, stderr }
}

/// A path, as arguments of tools are given here.
///
/// # Panics
/// If it is no UTF-8.
pub fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().expect("a UTF-8 path").to_owned()
}

/// Makes a pipe with this path, which nobody ever writes into.
///
/// # Panics
/// If the system has none, or something has this path.
#[cfg(unix)]
pub fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo starts").success(), "{}", path.display());
}

/// Runs a tool that must succeed. Yields what it prints.
///
/// # Panics
/// If it does not.
pub fn succeeds(tool: &str, arguments: &[&str]) -> String {
    let Run { code, stdout, stderr } = run(tool, arguments);
    assert_eq!(code, 0, "{tool} {arguments:?}: {stderr}");
    stdout
}

/// Runs a tool that must refuse: exit code 2, nothing on stdout, and one message on stderr that names `expected`. Yields it.
///
/// # Panics
/// If it does anything else.
pub fn refuses(tool: &str, arguments: &[&str], expected: &[&str]) -> String {
    let Run { code, stdout, stderr } = run(tool, arguments);
    assert_eq!(code, 2, "{tool}: exit code\n{stdout}\n{stderr}");
    assert_eq!(stdout, "", "{tool}: nothing on stdout");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for part in expected {
        assert!(stderr.contains(part), "{tool}: expected '{part}' in the message, found: {stderr}");
    }
    stderr
}
