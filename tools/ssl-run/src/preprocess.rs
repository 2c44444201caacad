//! The preprocessing of images: the model's own, overridden by flags.

use anyhow::{Context, Result};
use ssl_images::{Flags, Layout};
use sslm::{Model, Preprocessing, TensorInfo};

/// The rule to apply, and how images lie in the input. Where nothing says how pixels become elements, a note on stderr says so.
pub(crate) fn rule(model: &Model, input: &TensorInfo, flags: &Flags) -> Result<(Preprocessing, Layout)> {
    let layout = Layout::of(&input.dims, input.element_type).context("images do not fit (use --input for other tensors)")?;
    let (rule, note) = flags.rule(model.preprocessing(), layout)?;
    if let Some(note) = note {
        ssl_cli::note("ssl-run", note);
    }
    Ok((rule, layout))
}
