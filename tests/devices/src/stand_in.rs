//! A stand-in for the NVIDIA driver and cuBLAS (`driver.c`, `cublas.c`), which the backend loads in their place, so that what talks
//! to a real GPU runs without one. The system looks for libraries where a process was told to when it began: a test runs its own
//! program once more.

use crate::compile::library;
use crate::emulated::kernels;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Set in the processes that run on a stand-in.
const MARK: &str = "SSLM_STAND_IN";

/// The driver's library, without `lib` and `.so`.
const DRIVER: &str = "cuda";
/// The library of cuBLAS, likewise.
const CUBLAS: &str = "cublas";

/// A folder in which the libraries are found.
pub struct StandIn {
    folder: TempDir,
}

/// What a process on a stand-in said on stderr.
pub struct Said {
    text: String,
}

impl StandIn {
    /// # Errors
    /// If there is no C compiler.
    ///
    /// # Panics
    /// If the source is no C.
    pub fn new() -> Result<Self, String> {
        let source = concat!(include_str!("driver.c"), include_str!("cublas.c"));
        let (kernels, driver) = (kernels()?, library("driver", source)?);
        let folder = driver.parent().expect("it lies beside the program");
        let folder = tempfile::tempdir_in(folder).map_err(|e| e.to_string())?;
        // Two names of one file are one library.
        for (library, name) in [(&driver, DRIVER), (&driver, CUBLAS), (&kernels, "emulated")] {
            std::fs::hard_link(library, file(&folder, name, "")).map_err(|e| e.to_string())?;
        }
        Ok(StandIn { folder })
    }

    /// Whether this process runs on one.
    pub fn is_here() -> bool {
        std::env::var_os(MARK).is_some()
    }

    /// Without the driver, and so without cuBLAS.
    #[must_use]
    pub fn without_driver(self) -> Self {
        self.without_cublas().without(DRIVER)
    }

    /// Without cuBLAS.
    #[must_use]
    pub fn without_cublas(self) -> Self {
        self.without(CUBLAS)
    }

    /// Hides what the system has, too: the search ends at a file of that name, even if it is no library.
    fn without(self, name: &str) -> Self {
        std::fs::remove_file(file(&self.folder, name, "")).expect("the stand-in lies there");
        for version in ["", ".1", ".11", ".12", ".13"] {
            std::fs::write(file(&self.folder, name, version), "").expect("a file can be written");
        }
        self
    }

    /// Runs tests of this very program, chosen by `arguments`, on the stand-in, under settings that `driver.c` names.
    ///
    /// # Panics
    /// If one fails.
    pub fn run(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Said {
        let program = std::env::current_exe().expect("the test's own path");
        let mut command = Command::new(program);
        command.args(arguments).args(["--nocapture", "--test-threads=2"]);
        command
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env(MARK, "1")
            .env("SSLM_REQUIRE", "cuda")
            .envs(settings.iter().copied());
        let output = command.output().expect("the test's own program starts");
        let [out, text] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{arguments:?} on a stand-in, {settings:?}: {}\n{out}\n{text}", output.status);
        assert!(out.contains(" passed") && !out.contains("running 0 tests"), "{arguments:?}: no tests\n{out}");
        Said { text }
    }
}

impl Said {
    /// Checks that only what was allowed was called, and that nothing was left at the end but what `accepted` names.
    ///
    /// # Panics
    /// If not.
    pub fn check(self, accepted: &[&str]) -> Self {
        let complaints: Vec<&str> = self.text.lines().filter_map(|line| Some(line.split_once("stand-in: ")?.1)).collect();
        assert_eq!(complaints, accepted, "complaints of the stand-in\n{}", self.text);
        self
    }

    /// How often the driver was called after it was last initialised.
    ///
    /// # Panics
    /// If it was not.
    pub fn calls(&self) -> usize {
        let count = self.text.lines().find_map(|line| line.strip_prefix("stand-in was called ")?.split(' ').next()?.parse().ok());
        count.unwrap_or_else(|| panic!("no count of calls in\n{}", self.text))
    }
}

/// A library as the system names it.
fn file(folder: &TempDir, name: &str, version: &str) -> PathBuf {
    folder.path().join(format!("lib{name}.so{version}"))
}
