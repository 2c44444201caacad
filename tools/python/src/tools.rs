//! The command-line tools as functions: what the package's console scripts call.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::ffi::OsString;

/// Runs a tool with these arguments, the first of which is its own name, and yields its exit code.
#[pyfunction]
pub(crate) fn run_tool(py: Python<'_>, name: &str, arguments: Vec<OsString>) -> PyResult<u8> {
    let main: fn(Vec<OsString>) -> u8 = match name {
        "ssl-convert" => |arguments| ssl_convert::main(arguments),
        "ssl-inspect" => |arguments| ssl_inspect::main(arguments),
        "ssl-report" => |arguments| ssl_report::main(arguments),
        "ssl-run" => |arguments| ssl_run::main(arguments),
        _ => return Err(PyValueError::new_err(format!("tool: expected the name of one, found '{name}'"))),
    };
    Ok(py.detach(|| main(arguments)))
}
