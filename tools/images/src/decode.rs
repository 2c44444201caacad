//! PNG and JPEG files as pixels of 8 bits a channel, gray or of three colors. The decoders are used as they are: a library of many
//! formats brings color management that takes longer to compile than `ssl-run` itself, and nothing here uses it.

use crate::pixels::Pixels;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

/// Decoded samples take at most this.
const MAX_BYTES: usize = 512 << 20;

/// What a file holds, before it becomes [`Pixels`].
struct Decoded {
    width: u32,
    height: u32,
    samples: Samples,
    /// 1 or 3 colors, which alpha may follow.
    channels: usize,
}

enum Samples {
    Eight(Vec<u8>),
    /// Big-endian, as PNG stores them.
    Sixteen(Vec<u8>),
}

/// Reads an image, and converts it to 1 or 3 `colors`; alpha is dropped.
pub(crate) fn decode(path: &Path, colors: usize) -> Result<Pixels> {
    let mut file = BufReader::new(File::open(path).context("cannot open")?);
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).context("cannot read")?;
    file.rewind().context("cannot read")?;
    let decoded = if start == b"\x89PNG\r\n\x1a\n" {
        decode_png(file)
    } else if start.starts_with(b"\xff\xd8\xff") {
        decode_jpeg(file)
    } else {
        bail!("expected a PNG or JPEG image, found another kind of file");
    };
    let decoded = decoded.context("expected a sound PNG or JPEG image")?;
    ensure!(decoded.width > 0 && decoded.height > 0, "expected at least one pixel, found none");
    Ok(decoded.of_colors(colors))
}

fn decode_png(file: impl BufRead + Seek) -> Result<Decoded> {
    let mut decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: MAX_BYTES });
    // Palettes become colors, and samples of less than 8 bits become 8.
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let (width, height) = reader.info().size();
    let (color, depth) = reader.output_color_type();
    let mut bytes = buffer(reader.output_buffer_size())?;
    reader.next_frame(&mut bytes)?;
    let samples = match depth {
        png::BitDepth::Sixteen => Samples::Sixteen(bytes),
        _ => Samples::Eight(bytes),
    };
    Ok(Decoded { width, height, samples, channels: color.samples() })
}

fn decode_jpeg(mut file: impl Read) -> Result<Decoded> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&bytes[..]), options);
    decoder.decode_headers()?;
    let stored = decoder.input_colorspace().context("the headers name no colors")?;
    let (color, channels) = if stored == ColorSpace::Luma { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    decoder.set_options(options.jpeg_set_out_colorspace(color));
    let (width, height) = decoder.dimensions().context("the headers name no size")?;
    let mut samples = buffer(decoder.output_buffer_size())?;
    decoder.decode_into(&mut samples)?;
    // JPEG has sizes of 16 bits.
    let [width, height] = [width, height].map(|size| size as u32);
    Ok(Decoded { width, height, samples: Samples::Eight(samples), channels })
}

/// Room for an image, if it is not too large.
fn buffer(bytes: Option<usize>) -> Result<Vec<u8>> {
    let bytes = bytes.filter(|&bytes| bytes <= MAX_BYTES);
    Ok(vec![0; bytes.with_context(|| format!("its pixels take more than {} MiB", MAX_BYTES >> 20))?])
}

impl Decoded {
    fn of_colors(self, colors: usize) -> Pixels {
        let Decoded { width, height, samples, channels } = self;
        let bytes = match samples {
            Samples::Eight(samples) if channels == colors => samples,
            Samples::Eight(samples) => convert(&samples, channels, colors, |&sample| f32::from(sample) * (1.0 / 255.0)),
            Samples::Sixteen(samples) => {
                let (samples, _) = samples.as_chunks::<2>();
                convert(samples, channels, colors, |&sample| f32::from(u16::from_be_bytes(sample)) * (1.0 / 65535.0))
            }
        };
        Pixels { width, height, channels: colors, bytes }
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
