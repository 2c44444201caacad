//! The wording of rules that records have to keep, and what a rule about an operator may look at.

use crate::error::{Error, Result};
use crate::value::{Blob, BlobId, Value};
use std::fmt::Display;

/// The surroundings of an operator: the values that it reads and defines, and the file's blobs.
pub(crate) struct Site<'g> {
    /// As many as the operator's arity says.
    pub(crate) inputs: Vec<&'g Value>,
    pub(crate) output: &'g Value,
    pub(crate) blobs: &'g [Blob],
}

impl Site<'_> {
    /// How many elements a blob has, which must exist.
    pub(crate) fn blob_len(&self, what: &str, id: BlobId) -> Result<usize> {
        match self.blobs.get(id.index()) {
            Some(blob) => Ok(blob.len as usize),
            None => Err(Error::invalid(what, format!("a blob below {}", self.blobs.len()), id.0)),
        }
    }

    /// The channels of `value` are `logical` before compaction, if it is compacted.
    pub(crate) fn expect_logical(what: &str, value: &Value, logical: u32) -> Result<()> {
        match &value.compaction {
            Some(c) => equal(&format!("logical channels of the {what}"), logical as usize, c.logical as usize),
            None => Ok(()),
        }
    }
}

/// Strictly increasing indices below `total`.
pub(crate) fn check_list(what: &str, list: &[u32], total: usize) -> Result<()> {
    if let Some(w) = list.windows(2).find(|w| w[0] >= w[1]) {
        return Err(Error::invalid(what, "strictly increasing indices", format!("{} before {}", w[0], w[1])));
    }
    match list.last() {
        Some(&last) if last as usize >= total => Err(Error::invalid(what, format!("indices below {total}"), last)),
        _ => Ok(()),
    }
}

pub(crate) fn equal(what: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::invalid(what, expected, found)) }
}

pub(crate) fn below<T: PartialOrd + Display>(what: &str, n: T, limit: T) -> Result<()> {
    if n < limit { Ok(()) } else { Err(Error::invalid(what, format!("less than {limit}"), n)) }
}

pub(crate) fn at_least_one(what: &str, n: u32) -> Result<()> {
    if n > 0 { Ok(()) } else { Err(Error::invalid(what, "at least 1", n)) }
}
