//! How large an image may be, and what decoding it takes, known before anything is allocated: a file of a few bytes can say that it has more
//! pixels than fit into memory.

use crate::Admit;
use anyhow::{Result, ensure};

/// How many pixels an image may have: so many for each byte of its file, since no photo takes less than an eighth of a bit for one, but
/// never less than the first count, which plain surfaces of a few bytes may have, and never more than the second.
const PIXELS_PER_BYTE: u64 = 64;
const PIXELS_OF_ANY: u64 = 1 << 26;
const MAX_PIXELS: u64 = 1 << 28;

/// Refuses what has no pixels, or more than an image of so long a file may have, before there is room for any.
///
/// # Errors
/// If it has, naming how many it has and may have.
pub(crate) fn ensure_size(width: u32, height: u32, file: &[u8]) -> Result<()> {
    let found = u64::from(width) * u64::from(height);
    let most = (file.len() as u64 * PIXELS_PER_BYTE).clamp(PIXELS_OF_ANY, MAX_PIXELS);
    ensure!(found > 0, "expected at least one pixel, found {width}x{height}");
    ensure!(found <= most, "expected at most {most} pixels in a file of {} bytes, found {width}x{height} ({found})", file.len());
    Ok(())
}

/// What decoders take for tables and rows, however small an image is.
const TABLES: u64 = 1 << 19;

/// Asks for the memory of decoding a file: so many `bytes` for pixels, and what else it takes, of which some may be copies of parts of the
/// file.
///
/// # Errors
/// If there is no room for it.
pub(crate) fn ask(admit: &mut Admit<'_>, file: &[u8], bytes: u64) -> Result<()> {
    admit(bytes.saturating_add(file.len() as u64 + TABLES))
}
