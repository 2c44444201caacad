//! The one error type of the runtime.

#[cfg(feature = "cuda")]
use sslm_kernels::cuda;
use std::fmt::Display;

/// Result of a runtime call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong, with what a program may want to know of it. People read the [`Error`] itself, whose message says more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read.
    Io,
    /// A file is no `.sslm` file.
    NotSslm,
    /// A file needs a newer sslm.
    Version,
    /// A file was cut off or damaged, or breaks a rule of the format.
    Corrupt {
        /// Where in the file the field or section begins that is wrong, in bytes; `None` where a rule is broken that several fields
        /// share.
        offset: Option<u64>,
    },
    /// A file has an operator that this sslm does not know.
    Unsupported {
        /// What the file calls it.
        op: String,
        /// The node that applies it.
        node: String,
    },
    /// An input has another shape than the model or the plan takes, or no output shape follows from it.
    Shape {
        /// The input, or where in the network shapes do not fit.
        name: String,
        /// The shape or the extent that is expected.
        expected: String,
        /// What is there instead.
        found: String,
    },
    /// Options or inputs do not fit the model in another way.
    Input,
    /// A tuning is damaged, or was made under other conditions.
    Tuning,
    /// Memory or threads could not be had.
    Resources,
    /// More memory, work or time is needed than the options allow, or a deadline has passed.
    Limit,
    /// The caller ended it ([`crate::Interrupt::cancel`]).
    Cancelled,
    /// There is no device of the backend, or not what it needs: the message names what is missing.
    BackendUnavailable,
    /// A device failed.
    Device,
}

impl ErrorKind {
    /// Its name for other languages and for logs, such as `not_sslm`. Names stay as they are.
    pub fn name(&self) -> &'static str {
        match self {
            ErrorKind::Io => "io",
            ErrorKind::NotSslm => "not_sslm",
            ErrorKind::Version => "version",
            ErrorKind::Corrupt { .. } => "corrupt",
            ErrorKind::Unsupported { .. } => "unsupported",
            ErrorKind::Shape { .. } => "shape",
            ErrorKind::Input => "input",
            ErrorKind::Tuning => "tuning",
            ErrorKind::Resources => "resources",
            ErrorKind::Limit => "limit",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::BackendUnavailable => "backend_unavailable",
            ErrorKind::Device => "device",
        }
    }
}

/// What went wrong, where, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// The kind of this error.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Display) -> Self {
        Error { kind, message: message.to_string() }
    }

    /// Something that the caller gave does not fit.
    pub(crate) fn input(what: impl Display, expected: impl Display, found: impl Display) -> Self {
        Self::new(ErrorKind::Input, format!("{what}: expected {expected}, found {found}"))
    }

    /// A shape that the caller gave for the input of this name does not fit.
    pub(crate) fn shape(name: &str, expected: impl Display, shape: &[usize]) -> Self {
        let kind = ErrorKind::Shape { name: name.to_owned(), expected: expected.to_string(), found: format!("{shape:?}") };
        Self::new(kind, format!("shape of input '{name}': expected {expected}, found {shape:?}"))
    }

    pub(crate) fn within(self, outer: impl Display) -> Self {
        Error { message: format!("{outer}: {}", self.message), ..self }
    }
}

impl From<sslm_format::Error> for Error {
    fn from(e: sslm_format::Error) -> Self {
        use sslm_format::ErrorKind as Format;
        let kind = match e.kind() {
            Format::Io => ErrorKind::Io,
            Format::NotSslm => ErrorKind::NotSslm,
            Format::Version => ErrorKind::Version,
            Format::Unsupported => {
                ErrorKind::Unsupported { op: e.found().to_owned(), node: e.node().unwrap_or_default().to_owned() }
            }
            Format::Shape => {
                let [name, expected, found] = [e.at(), e.expected(), e.found()].map(str::to_owned);
                ErrorKind::Shape { name, expected, found }
            }
            // Truncated, Checksum, Invalid, and what may come.
            _ => ErrorKind::Corrupt { offset: e.offset() },
        };
        Error::new(kind, &e)
    }
}

#[cfg(feature = "cuda")]
impl From<cuda::Error> for Error {
    fn from(e: cuda::Error) -> Self {
        let kind = match e {
            cuda::Error::Unavailable(_) => ErrorKind::BackendUnavailable,
            cuda::Error::OutOfMemory { .. } | cuda::Error::TooLarge { .. } => ErrorKind::Resources,
            _ => ErrorKind::Device,
        };
        Error::new(kind, &e)
    }
}
