//! How large an image may be, known before anything is asked for: a file of a few bytes can say that it has more pixels than fit into
//! memory.

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
