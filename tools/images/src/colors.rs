//! How samples become pixels of 8 bits a channel, gray or of three colors; alpha is dropped.

/// What each color gives to gray: the luminance of sRGB's red, green and blue.
const LUMINANCE: [f32; 3] = [0.212_647_84, 0.715_179_2, 0.072_173_04];

/// Pixels of `channels` samples, of so many bytes each, of which `level` is in 0..1, as bytes of 1 or 3 `colors`. Where these take no more
/// room than the samples, they take theirs: large images have no memory for both.
pub(crate) fn convert<const BYTES: usize>(
    mut samples: Vec<u8>,
    channels: usize,
    colors: usize,
    level: impl Fn([u8; BYTES]) -> f32,
) -> Vec<u8> {
    let byte = |level: f32| (level * 255.0).round() as u8;
    let color = |pixel: &[u8]| -> [u8; 3] {
        let levels = pixel.as_chunks().0.iter().map(|&sample| level(sample));
        match (channels, colors) {
            (3 | 4, 1) => [byte(levels.zip(LUMINANCE).fold(0.0, |sum, (level, l)| sum + level * l)); 3],
            (3 | 4, _) => {
                let mut found = [0; 3];
                found.iter_mut().zip(levels).for_each(|(found, level)| *found = byte(level));
                found
            }
            _ => [levels.map(byte).next().unwrap_or_default(); 3],
        }
    };
    let stride = channels * BYTES;
    if colors > stride {
        let mut bytes = Vec::with_capacity(samples.len() / stride * colors);
        samples.chunks_exact(stride).for_each(|pixel| bytes.extend_from_slice(&color(pixel)[..colors]));
        return bytes;
    }
    let count = samples.len() / stride;
    for index in 0..count {
        let found = color(&samples[index * stride..][..stride]);
        samples[index * colors..][..colors].copy_from_slice(&found[..colors]);
    }
    samples.truncate(count * colors);
    samples
}

/// As [`convert`], of samples that are bytes already.
pub(crate) fn of_eight_bits(samples: Vec<u8>, channels: usize, colors: usize) -> Vec<u8> {
    if channels == colors {
        return samples;
    }
    convert(samples, channels, colors, |[sample]| f32::from(sample) * (1.0 / 255.0))
}
