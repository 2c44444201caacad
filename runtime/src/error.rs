//! The one error type of the runtime.

#[cfg(feature = "cuda")]
use sslm_kernels::cuda;
use std::fmt::Display;

/// Result of a runtime call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Broad class of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file could not be read.
    Io,
    /// A file is not a valid model.
    Format(sslm_format::ErrorKind),
    /// Options or inputs do not fit the model.
    Input,
    /// A tuning is damaged, or was made under other conditions.
    Tuning,
    /// Memory or threads could not be had.
    Resources,
    /// More memory, work or time is needed than the options allow.
    Limit,
    /// There is no device of the backend, or not what it needs: the message names what is missing.
    BackendUnavailable,
    /// A device failed.
    Device,
}

/// What went wrong, where, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Display) -> Self {
        Error { kind, message: message.to_string() }
    }

    /// Something that the caller gave does not fit.
    pub(crate) fn input(what: impl Display, expected: impl Display, found: impl Display) -> Self {
        Self::new(ErrorKind::Input, format!("{what}: expected {expected}, found {found}"))
    }

    pub(crate) fn within(self, outer: impl Display) -> Self {
        Error { message: format!("{outer}: {}", self.message), ..self }
    }
}

impl From<sslm_format::Error> for Error {
    fn from(e: sslm_format::Error) -> Self {
        Error::new(ErrorKind::Format(e.kind()), &e)
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
