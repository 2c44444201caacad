//! The crate's one error type: what was looked at, what was expected there, what was found.

use std::fmt::Display;

/// Result of reading or writing a `.sslm` file.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Broad class of an [`Error`], for callers that react differently to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes do not start with the `.sslm` magic.
    NotSslm,
    /// The file needs a newer reader: a major version, a section or a kind of record that this one does not know.
    Version,
    /// A node's operator, or the function that it applies, is one that this reader does not know. [`Error::node`] says which node.
    Unsupported,
    /// The file is shorter or longer than it says.
    Truncated,
    /// A checksum does not match.
    Checksum,
    /// A field breaks a rule of the format.
    Invalid,
    /// The shapes of a graph do not fit together.
    Shape,
    /// Writing failed.
    Io,
}

/// Why a file was refused: where, what the format requires, and what stands there.
#[derive(Debug, thiserror::Error)]
#[error("{at}: expected {expected}, found {found}")]
pub struct Error {
    kind: ErrorKind,
    at: String,
    expected: String,
    found: String,
    offset: Option<u64>,
    node: Option<String>,
}

impl Error {
    /// An error of class `kind` at `at` (a path such as `node 'conv1': columns`).
    pub fn new(kind: ErrorKind, at: impl Display, expected: impl Display, found: impl Display) -> Self {
        let (at, expected, found) = (at.to_string(), expected.to_string(), found.to_string());
        Error { kind, at, expected, found, offset: None, node: None }
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    pub(crate) fn invalid(at: impl Display, expected: impl Display, found: impl Display) -> Self {
        Self::new(ErrorKind::Invalid, at, expected, found)
    }

    /// Shorthand for [`ErrorKind::Shape`].
    pub(crate) fn shape(at: impl Display, expected: impl Display, found: impl Display) -> Self {
        Self::new(ErrorKind::Shape, at, expected, found)
    }

    /// The same error, told to be inside `outer`.
    #[must_use]
    pub fn within(mut self, outer: impl Display) -> Self {
        self.at = format!("{outer}: {}", self.at);
        self
    }

    /// The same error, about something that begins at this byte of the file, unless it says so already.
    pub(crate) fn at_offset(self, offset: u64) -> Self {
        Error { offset: self.offset.or(Some(offset)), ..self }
    }

    /// The same error, met in the record of the node of this name.
    pub(crate) fn in_node(self, name: &str) -> Self {
        Error { node: Some(name.to_owned()), ..self.within(format!("node '{name}'")) }
    }

    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was looked at.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// What should have been there.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What was there instead.
    pub fn found(&self) -> &str {
        &self.found
    }

    /// Where in the file the field or section begins that is wrong, in bytes; `None` where a rule is broken that several fields share.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The node whose record could not be read, if it is one's.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Error::new(ErrorKind::Io, "output", "a successful write", e)
    }
}
