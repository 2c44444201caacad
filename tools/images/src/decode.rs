//! PNG and JPEG files as pixels of 8 bits a channel, gray or of three colors. The decoders are used as they are: a library of many
//! formats brings color management that takes longer to compile than `ssl-run` itself, and nothing here uses it.

use crate::jpeg::ensure_whole;
use crate::pixels::Pixels;
use crate::size::ensure_size;
use anyhow::{Context, Result, ensure};
use std::io::{Cursor, Read, Seek};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

/// Files of images are read whole: they may have so many bytes.
const MAX_FILE: u64 = 1 << 29;

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
pub(crate) fn decode(mut file: impl Read + Seek, colors: usize) -> Result<Pixels> {
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).context("cannot read")?;
    let is_png = start == b"\x89PNG\r\n\x1a\n";
    ensure!(is_png || start.starts_with(b"\xff\xd8\xff"), "expected a PNG or JPEG image, found another kind of file");
    file.rewind().context("cannot read")?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).context("cannot read")?;
    ensure!(bytes.len() as u64 <= MAX_FILE, "expected an image file of at most {MAX_FILE} bytes, found more");
    let decoded = if is_png { decode_png(&bytes) } else { decode_jpeg(&bytes) };
    Ok(decoded.context("expected a sound PNG or JPEG image")?.of_colors(colors))
}

fn decode_png(file: &[u8]) -> Result<Decoded> {
    let mut options = png::DecodeOptions::default();
    // What is damaged anywhere may be damaged elsewhere.
    options.set_skip_ancillary_crc_failures(false);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(file), options);
    // Palettes become colors, and samples of less than 8 bits become 8.
    decoder.set_transformations(png::Transformations::EXPAND);
    let (width, height) = decoder.read_header_info()?.size();
    ensure_size(width, height, file)?;
    let mut reader = decoder.read_info()?;
    let (color, depth) = reader.output_color_type();
    let mut bytes = buffer(reader.output_buffer_size())?;
    reader.next_frame(&mut bytes)?;
    // Up to the end marker: the file is whole.
    reader.finish()?;
    let samples = match depth {
        png::BitDepth::Sixteen => Samples::Sixteen(bytes),
        _ => Samples::Eight(bytes),
    };
    Ok(Decoded { width, height, samples, channels: color.samples() })
}

fn decode_jpeg(file: &[u8]) -> Result<Decoded> {
    ensure_whole(file)?;
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers()?;
    let stored = decoder.input_colorspace().context("the headers name no colors")?;
    let (color, channels) = if stored == ColorSpace::Luma { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    decoder.set_options(options.jpeg_set_out_colorspace(color));
    let (width, height) = decoder.dimensions().context("the headers name no size")?;
    // JPEG has sizes of 16 bits.
    let [width, height] = [width, height].map(|size| size as u32);
    ensure_size(width, height, file)?;
    let mut samples = buffer(decoder.output_buffer_size())?;
    decoder.decode_into(&mut samples)?;
    Ok(Decoded { width, height, samples: Samples::Eight(samples), channels })
}

/// Room for an image.
fn buffer(bytes: Option<usize>) -> Result<Vec<u8>> {
    let bytes = bytes.context("its pixels take more memory than there is")?;
    // Where there is none, this is an error and the next line would be the end. Zeros from the system are no memory until they are
    // written to, so a file that only says that it has many pixels takes none.
    let has_room = Vec::<u8>::new().try_reserve_exact(bytes);
    has_room.with_context(|| format!("memory for its {bytes} bytes of pixels cannot be had"))?;
    Ok(vec![0; bytes])
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels of some contrast.
    fn pixels(width: u16, height: u16, channels: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(1);
        let len = usize::from(width) * usize::from(height) * channels;
        (0..len).map(|i| ((i as f32 * 0.01).sin() * 60.0 + 128.0) as u8 ^ random.u8(0..16)).collect()
    }

    /// A JPEG file of every kind that the encoder makes.
    fn jpegs() -> Vec<(String, Vec<u8>)> {
        use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
        let (width, height, mut files) = (45, 29, Vec::new());
        for (color, channels) in [(ColorType::Luma, 1), (ColorType::Rgb, 3), (ColorType::Cmyk, 4)] {
            for is_progressive in [false, true] {
                for restart in [0, 3] {
                    for sampling in [SamplingFactor::F_1_1, SamplingFactor::F_2_2, SamplingFactor::F_2_1] {
                        // The decoder knows CMYK only with all components of one size.
                        if channels == 4 && sampling != SamplingFactor::F_1_1 {
                            continue;
                        }
                        let mut file = Vec::new();
                        let mut encoder = Encoder::new(&mut file, 80);
                        encoder.set_progressive(is_progressive);
                        encoder.set_restart_interval(restart);
                        encoder.set_sampling_factor(sampling);
                        encoder.encode(&pixels(width, height, channels), width, height, color).expect("memory takes everything");
                        files.push((format!("{color:?} {is_progressive} {restart} {sampling:?}"), file));
                    }
                }
            }
        }
        files
    }

    fn pngs() -> Vec<(String, Vec<u8>)> {
        use png::{BitDepth, ColorType};
        let (width, height, mut files) = (21u16, 13u16, Vec::new());
        for (color, channels) in [(ColorType::Grayscale, 1), (ColorType::Rgb, 3), (ColorType::Rgba, 4), (ColorType::Indexed, 1)] {
            for (depth, bytes) in [(BitDepth::Eight, 1), (BitDepth::Sixteen, 2)] {
                if color == ColorType::Indexed && bytes == 2 {
                    continue;
                }
                let mut file = Vec::new();
                let mut encoder = png::Encoder::new(&mut file, width.into(), height.into());
                encoder.set_color(color);
                encoder.set_depth(depth);
                encoder.set_palette(pixels(256, 1, 3));
                encoder.add_text_chunk("Title".to_owned(), "of no use".to_owned()).expect("text");
                let pixels = pixels(width, height, channels * bytes);
                encoder.write_header().and_then(|mut file| file.write_image_data(&pixels)).expect("memory takes everything");
                files.push((format!("{color:?} {depth:?}"), file));
            }
        }
        files
    }

    /// Lengths to which a file is cut: every third one, and all of the last ones.
    fn lengths(file: &[u8]) -> impl Iterator<Item = usize> {
        let last = file.len() - 30;
        (0..last).step_by(3).chain(last..file.len())
    }

    fn refused(name: &str, result: &Result<Decoded>) -> Option<String> {
        result.is_ok().then(|| name.to_owned())
    }

    #[test]
    fn files_that_were_cut_off_are_refused() {
        let mut taken = Vec::new();
        for (name, file) in jpegs() {
            assert!(decode_jpeg(&file).is_ok(), "{name}: {:#}", decode_jpeg(&file).err().expect("an error"));
            taken.extend(lengths(&file).filter_map(|len| refused(&format!("{name} to {len}"), &decode_jpeg(&file[..len]))));
        }
        for (name, file) in pngs() {
            assert!(decode_png(&file).is_ok(), "{name}: {:#}", decode_png(&file).err().expect("an error"));
            taken.extend(lengths(&file).filter_map(|len| refused(&format!("{name} to {len}"), &decode_png(&file[..len]))));
        }
        assert!(taken.is_empty(), "{taken:#?}");
    }

    /// An end marker does not make up for what is missing. A progressive file that ends between two scans is one of fewer scans.
    #[test]
    fn an_early_end_marker_is_no_end() {
        let mut taken = Vec::new();
        for (name, file) in jpegs().into_iter().filter(|(name, _)| name.contains("false")) {
            let scan = file.windows(2).position(|pair| pair == [0xff, 0xda]).expect("a scan");
            // Of the last byte of a scan, some bits fill up.
            for len in scan + 14..file.len() - 4 {
                let ended = [&file[..len], b"\xff\xd9"].concat();
                taken.extend(refused(&format!("{name} to {len}"), &decode_jpeg(&ended)));
            }
            let more = [&file[..file.len() - 2], &[0x55; 40], b"\xff\xd9"].concat();
            taken.extend(refused(&format!("{name} with more"), &decode_jpeg(&more)));
        }
        assert!(taken.is_empty(), "{taken:#?}");
    }

    /// Each bit of a PNG file is covered by a checksum, but for the magic and the lengths, which lead elsewhere when they change.
    #[test]
    fn damaged_png_files_are_refused() {
        let mut taken = Vec::new();
        for (name, file) in pngs() {
            for at in 0..file.len() {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << (at % 8);
                taken.extend(refused(&format!("{name} at {at}"), &decode_png(&damaged)));
            }
        }
        assert!(taken.is_empty(), "{taken:#?}");
    }

    /// Whatever a file holds, decoding it is an image or an error.
    #[test]
    fn no_file_is_too_much_for_decoders() {
        let mut random = fastrand::Rng::with_seed(2);
        let files = jpegs().into_iter().map(|(_, file)| (decode_jpeg as fn(&[u8]) -> Result<Decoded>, file));
        let files = files.chain(pngs().into_iter().map(|(_, file)| (decode_png as fn(&[u8]) -> Result<Decoded>, file)));
        for (decode, file) in files {
            for _ in 0..60 {
                let mut changed = file.clone();
                for _ in 0..random.usize(1..6) {
                    if changed.is_empty() {
                        break;
                    }
                    let at = random.usize(..changed.len());
                    match random.u8(0..4) {
                        0 => changed[at] ^= 1 << random.u8(0..8),
                        1 => changed[at] = *random.choice(&[0, 1, 0x7f, 0x80, 0xff]).expect("one of them"),
                        2 => drop(changed.drain(at..(at + random.usize(1..9)).min(changed.len()))),
                        _ => changed.truncate(at.max(1)),
                    }
                }
                // Headers may then say that it is large: that alone must not take memory.
                let _ = decode(&changed);
            }
        }
    }

    #[test]
    fn sizes_beyond_measure_are_refused_by_the_headers() {
        let (_, mut jpeg) = jpegs().swap_remove(0);
        let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("a frame");
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
        let (_, mut png) = pngs().swap_remove(0);
        png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let header = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&header.to_be_bytes());
        for (result, found) in [(decode_jpeg(&jpeg), "65500x65500 (4290250000)"), (decode_png(&png), "65536x65536 (4294967296)")]
        {
            let message = format!("{:#}", result.err().expect("too many pixels"));
            assert!(message.contains("expected at most 67108864 pixels") && message.contains(found), "{message}");
        }
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let bit = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc)))
    }
}
