//! The extension module of the Python package `sslm`: the runtime, the converter and the command-line tools in one library. What is
//! comfort rather than substance (which sources a model has, tables, how onnxruntime's interface looks) stands in the package's own
//! Python files, which call what is here.

mod arrays;
mod conversion;
mod error;
mod model;
mod pixels;
mod shapes;
mod signals;
mod tools;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _sslm {
    #[pymodule_export]
    use crate::conversion::convert;
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::tools::run_tool;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
