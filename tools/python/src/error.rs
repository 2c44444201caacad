//! Errors of the library and of the converter, as exceptions with the message that the command-line tools print.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::fmt::Display;

/// The exception of this kind; the package's `_errors.py` says which class that is.
pub(crate) fn exception(py: Python<'_>, kind: &str, message: impl Display) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE.get_or_try_init(py, || Ok(py.import("sslm._errors")?.getattr("exception")?.unbind()));
    match make.and_then(|make| make.bind(py).call1((kind, message.to_string()))) {
        Ok(exception) => PyErr::from_value(exception),
        Err(e) => e,
    }
}

/// Something that the caller gave does not fit.
pub(crate) fn input(py: Python<'_>, what: impl Display, expected: impl Display, found: impl Display) -> PyErr {
    exception(py, "input", format!("{what}: expected {expected}, found {found}"))
}

/// Adds what to do about a limit, in Python's words.
fn with_hint(kind: &str, message: String) -> String {
    let hint = " (if that is meant to be, max_memory, max_macs or max_time allows more)";
    if kind == "limit" { message + hint } else { message }
}

/// The exception for an error of the library.
pub(crate) fn of_library(py: Python<'_>, error: &sslm::Error) -> PyErr {
    let kind = error.kind().name();
    exception(py, kind, with_hint(kind, error.to_string()))
}

/// The exception for an error of the converter or of reading an image. What has no kind of its own is of the kind `otherwise`.
pub(crate) fn of_tools(py: Python<'_>, error: &anyhow::Error, otherwise: &str) -> PyErr {
    let of = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<sslm::Error>() {
        Some(e) => Some(e.kind().name()),
        None => cause.is::<std::io::Error>().then_some("io"),
    };
    let kind = error.chain().find_map(of).unwrap_or(otherwise);
    exception(py, kind, with_hint(kind, ssl_cli::causes(error)))
}
