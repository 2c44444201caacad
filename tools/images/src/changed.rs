//! For tests of decoders: whatever a file holds, decoding it is an image or an error.

use crate::decoded::Decoded;
use anyhow::Result;
use std::ops::Range;

/// Decodes a file with some bytes changed, thousands of times. Those of `kept` stay: where sizes stand, since an image may be large.
pub(crate) fn decode_changed(decode: fn(&[u8]) -> Result<Decoded>, file: &[u8], kept: Range<usize>) {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..2000 {
        let mut changed = file.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..changed.len());
            if !kept.contains(&at) {
                changed[at] = random.u8(..);
            }
        }
        let _ = decode(&changed);
    }
}
