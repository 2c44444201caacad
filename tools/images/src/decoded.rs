//! What decoders of all formats yield, and how it becomes pixels of 8 bits a channel, gray or of three colors.

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
    pub(crate) fn of_colors(self, colors: usize) -> Pixels {
        let Decoded { width, height, samples, channels, orientation } = self;
        let bytes = match samples {
            Samples::Eight(samples) if channels == colors => samples,
            Samples::Eight(samples) => convert(&samples, channels, colors, |&sample| f32::from(sample) * (1.0 / 255.0)),
            Samples::Sixteen(samples) => {
                let (samples, _) = samples.as_chunks::<2>();
                convert(samples, channels, colors, |&sample| f32::from(u16::from_be_bytes(sample)) * (1.0 / 65535.0))
            }
        };
        orientation.upright(Pixels { width, height, channels: colors, bytes })
    }
}

/// What each color gives to gray: the luminance of sRGB's red, green and blue.
const LUMINANCE: [f32; 3] = [0.212_647_84, 0.715_179_2, 0.072_173_04];

/// Pixels of `channels` samples, of which `level` is in 0..1, as bytes of 1 or 3 `colors`.
fn convert<T>(samples: &[T], channels: usize, colors: usize, level: impl Fn(&T) -> f32) -> Vec<u8> {
    let byte = |level: f32| (level * 255.0).round() as u8;
    let mut bytes = Vec::with_capacity(samples.len() / channels * colors);
    for pixel in samples.chunks_exact(channels) {
        match (channels, colors) {
            (3 | 4, 1) => bytes.push(byte(pixel.iter().zip(LUMINANCE).fold(0.0, |sum, (sample, l)| sum + level(sample) * l))),
            (3 | 4, _) => bytes.extend(pixel[..3].iter().map(|sample| byte(level(sample)))),
            _ => bytes.extend(std::iter::repeat_n(byte(level(&pixel[0])), colors)),
        }
    }
    bytes
}
