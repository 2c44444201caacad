//! What decoders of all formats yield, and how it becomes pixels of 8 bits a channel, gray or of three colors.

use crate::Admit;
use crate::colors::{convert, of_eight_bits};
use crate::exif::Orientation;
use crate::pixels::Pixels;
use anyhow::{Context, Result};

/// What a file holds, before it becomes [`Pixels`].
pub(crate) struct Decoded {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) samples: Samples,
    /// 1 or 3 colors, which alpha may follow.
    pub(crate) channels: usize,
    pub(crate) orientation: Orientation,
}

pub(crate) enum Samples {
    Eight(Vec<u8>),
    /// Big-endian, as PNG stores them.
    Sixteen(Vec<u8>),
}

/// Room for an image.
pub(crate) fn buffer(bytes: Option<usize>) -> Result<Vec<u8>> {
    let bytes = bytes.context("its pixels take more memory than there is")?;
    // Where there is none, this is an error and the next line would be the end. Zeros from the system are no memory until they are
    // written to, so a file that only says that it has many pixels takes none.
    let has_room = Vec::<u8>::new().try_reserve_exact(bytes);
    has_room.with_context(|| format!("memory for its {bytes} bytes of pixels cannot be had"))?;
    Ok(vec![0; bytes])
}

impl Decoded {
    /// As 1 or 3 `colors`, the way up that it is meant to be seen; alpha is dropped.
    pub(crate) fn of_colors(self, colors: usize, admit: &mut Admit<'_>) -> Result<Pixels> {
        let Decoded { width, height, samples, channels, orientation } = self;
        let (Samples::Eight(stored) | Samples::Sixteen(stored)) = &samples;
        let (stored, bytes) = (stored.len() as u64, u64::from(width) * u64::from(height) * colors as u64);
        if stored < bytes {
            admit(stored + bytes)?;
        }
        if orientation != Orientation::UPRIGHT {
            admit(stored.max(bytes) + bytes)?;
        }
        let bytes = match samples {
            Samples::Eight(samples) => of_eight_bits(samples, channels, colors),
            Samples::Sixteen(samples) => {
                convert(samples, channels, colors, |sample| f32::from(u16::from_be_bytes(sample)) * (1.0 / 65535.0))
            }
        };
        Ok(orientation.upright(Pixels { width, height, channels: colors, bytes }))
    }
}

#[cfg(test)]
impl Decoded {
    /// The same, whatever it takes.
    pub(crate) fn in_colors(self, colors: usize) -> Pixels {
        self.of_colors(colors, &mut |_| Ok(())).expect("there is room")
    }
}
