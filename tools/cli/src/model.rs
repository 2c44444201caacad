//! How tools open models: small files are copied, so that nothing that becomes of them can do harm; large ones are mapped.

use crate::kind::{Kind, ensure_kind};
use anyhow::Result;
use sslm::Model;
use std::path::Path;

/// Files up to this size are copied, in bytes. That takes some 15 ms, about as long as to compare their checksum.
const COPIED: u64 = 64 << 20;

/// Opens a model and compares the checksum of its weights. Whoever runs a larger one than is copied calls [`Model::ensure_unchanged`]
/// before results go anywhere.
///
/// # Errors
/// If the file is none of a model, or damaged, or cannot be read.
pub fn open_model(path: &Path) -> Result<Model> {
    ensure_kind(path, Kind::Sslm)?;
    let len = path.metadata().map_or(0, |metadata| metadata.len());
    let model = if len <= COPIED {
        Model::read(path)?
    } else {
        // SAFETY: that nobody changes the file meanwhile cannot be enforced, and README asks for it. A file that is cut off ends the
        // process, and one that is overwritten is found out by `ensure_unchanged`.
        unsafe { Model::open_mapped(path) }?
    };
    model.verify_weights()?;
    Ok(model)
}
