//! How samples become pixels of 8 bits a channel, gray or of three colors; alpha is dropped.

/// What each color gives to gray: the luminance of sRGB's red, green and blue.
const LUMINANCE: [f32; 3] = [0.212_647_84, 0.715_179_2, 0.072_173_04];

/// Pixels of `channels` samples, of which `level` is in 0..1, as bytes of 1 or 3 `colors`.
pub(crate) fn convert<T>(samples: &[T], channels: usize, colors: usize, level: impl Fn(&T) -> f32) -> Vec<u8> {
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

/// As [`convert`], of samples that are bytes already.
pub(crate) fn of_eight_bits(samples: Vec<u8>, channels: usize, colors: usize) -> Vec<u8> {
    if channels == colors {
        return samples;
    }
    convert(&samples, channels, colors, |&sample| f32::from(sample) * (1.0 / 255.0))
}
