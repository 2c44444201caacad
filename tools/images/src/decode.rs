//! Files of images of all formats as pixels, gray or of three colors. The decoders are used as they are: a library of many formats brings
//! color management that takes longer to compile than `ssl-run` itself, and nothing here uses it.

use crate::Admit;
use crate::decoded::{Decoded, Samples, buffer};
use crate::exif::Orientation;
use crate::jpeg::ensure_whole;
use crate::pixels::Pixels;
use crate::size::{ask, ensure_size};
#[cfg(feature = "codecs")]
use crate::{bmp, gif, tiff, webp};
use anyhow::{Context, Result, ensure};
use std::io::{self, Cursor, Read};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

/// Files of images are read whole: they may have so many bytes.
pub const MAX_FILE: u64 = 1 << 29;

/// What makes an image of a file's bytes.
type Decoder = fn(&[u8], &mut Admit<'_>) -> Result<Decoded>;

/// A format by the first bytes of its files: its name, and what reads it.
fn format(file: &[u8]) -> Option<(&'static str, Decoder)> {
    const MAGIC: &[(&[u8], &str, Decoder)] = &[
        (b"\x89PNG\r\n\x1a\n", "PNG", decode_png),
        (b"\xff\xd8\xff", "JPEG", decode_jpeg),
        #[cfg(feature = "codecs")]
        (b"GIF87a", "GIF", gif::decode),
        #[cfg(feature = "codecs")]
        (b"GIF89a", "GIF", gif::decode),
        #[cfg(feature = "codecs")]
        (b"BM", "BMP", bmp::decode),
        #[cfg(feature = "codecs")]
        (b"II*\0", "TIFF", tiff::decode),
        #[cfg(feature = "codecs")]
        (b"MM\0*", "TIFF", tiff::decode),
        #[cfg(feature = "codecs")]
        (b"RIFF", "WebP", webp::decode),
    ];
    let found = MAGIC.iter().find(|(magic, ..)| file.starts_with(magic));
    // Sounds and films are RIFF files, too.
    let is_other = file.starts_with(b"RIFF") && file.get(8..12) != Some(b"WEBP");
    found.filter(|_| !is_other).map(|(_, name, decoder)| (*name, *decoder))
}

/// All bytes of an image file, or its first few where these are those of none: enough to be told so.
///
/// # Errors
/// If it cannot be read.
pub fn bytes_of(mut file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.by_ref().take(16).read_to_end(&mut bytes)?;
    if format(&bytes).is_some() {
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The image of a file, converted to 1 or 3 `colors`; alpha is dropped.
pub(crate) fn decode(file: &[u8], colors: usize, admit: &mut Admit<'_>) -> Result<Pixels> {
    let expected = if cfg!(feature = "codecs") {
        "expected a PNG, JPEG, WebP, GIF, BMP or TIFF image, found another kind of file"
    } else {
        "expected a PNG or JPEG image (this build decodes no other), found another kind of file"
    };
    let (name, decoder) = format(file).context(expected)?;
    ensure!(file.len() as u64 <= MAX_FILE, "expected an image file of at most {MAX_FILE} bytes, found more");
    let decoded = decoder(file, admit).with_context(|| format!("expected a sound {name} image"))?;
    decoded.of_colors(colors, admit)
}

fn decode_png(file: &[u8], admit: &mut Admit<'_>) -> Result<Decoded> {
    let mut options = png::DecodeOptions::default();
    // What is damaged anywhere may be damaged elsewhere.
    options.set_skip_ancillary_crc_failures(false);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(file), options);
    // Palettes become colors, and samples of less than 8 bits become 8.
    decoder.set_transformations(png::Transformations::EXPAND);
    // Of no use here, and small ones may become large.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let (width, height) = decoder.read_header_info()?.size();
    ensure_size(width, height, file)?;
    let mut reader = decoder.read_info()?;
    let (color, depth) = reader.output_color_type();
    let len = reader.output_buffer_size();
    // Rows are unpacked some at a time, into what grows.
    let rows = reader.output_line_size(width).map_or(0, |row| row.saturating_mul(20));
    ask(admit, file, len.map_or(u64::MAX, |len| len.saturating_add(rows.min(len.saturating_mul(4))) as u64))?;
    let mut bytes = buffer(len)?;
    reader.next_frame(&mut bytes)?;
    // Up to the end marker: the file is whole.
    reader.finish()?;
    let orientation = Orientation::of_exif(reader.info().exif_metadata.as_deref());
    let samples = match depth {
        png::BitDepth::Sixteen => Samples::Sixteen(bytes),
        _ => Samples::Eight(bytes),
    };
    Ok(Decoded { width, height, samples, channels: color.samples(), orientation })
}

fn decode_jpeg(file: &[u8], admit: &mut Admit<'_>) -> Result<Decoded> {
    ensure_whole(file, admit)?;
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
    let orientation = Orientation::of_exif(decoder.exif().map(Vec::as_slice));
    Ok(Decoded { width, height, samples: Samples::Eight(samples), channels, orientation })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_png(file: &[u8]) -> Result<Decoded> {
        super::decode_png(file, &mut |_| Ok(()))
    }

    fn decode_jpeg(file: &[u8]) -> Result<Decoded> {
        super::decode_jpeg(file, &mut |_| Ok(()))
    }

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
        for (color, channels) in [(ColorType::Luma, 1), (ColorType::Rgb, 3), (ColorType::Cmyk, 4), (ColorType::CmykAsYcck, 4)] {
            for is_progressive in [false, true] {
                for restart in [0, 3] {
                    for sampling in [SamplingFactor::F_1_1, SamplingFactor::F_2_2, SamplingFactor::F_2_1] {
                        // Of these, the encoder stores the last component larger than the first.
                        if color == ColorType::Cmyk && sampling != SamplingFactor::F_1_1 {
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

    /// Four inks, as printers have them and as most cameras' programs code them, leave the colors that they leave on paper.
    #[test]
    fn inks_of_jpeg_leave_colors() {
        use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
        for color in [ColorType::Cmyk, ColorType::CmykAsYcck] {
            for sampling in [SamplingFactor::F_1_1, SamplingFactor::F_2_2] {
                for (inks, expected) in [
                    ([0, 0, 0, 0], [255, 255, 255]),
                    ([255, 0, 0, 0], [0, 255, 255]),
                    ([0, 255, 255, 0], [255, 0, 0]),
                    ([0, 0, 0, 255], [0, 0, 0]),
                    ([0, 128, 0, 128], [127, 64, 127]),
                ] {
                    let mut file = Vec::new();
                    let mut encoder = Encoder::new(&mut file, 95);
                    encoder.set_sampling_factor(sampling);
                    encoder.encode(&inks.repeat(40 * 24), 40, 24, color).expect("memory takes everything");
                    if color == ColorType::Cmyk && sampling == SamplingFactor::F_2_2 {
                        let message = format!("{:#}", decode_jpeg(&file).err().expect("a larger last component"));
                        assert!(message.contains("expected no component larger than the first"), "{message}");
                        continue;
                    }
                    let image = decode_jpeg(&file).expect("a sound image").in_colors(3);
                    let is_near = |pixel: &[u8]| pixel.iter().zip(expected).all(|(&found, e)| found.abs_diff(e) <= 3);
                    let all = image.bytes.chunks(3).all(is_near);
                    assert!(all, "{color:?} {sampling:?} {inks:?}: expected {expected:?}, found {:?}", &image.bytes[..3]);
                }
            }
        }
    }

    #[test]
    fn orientation_is_obeyed() {
        let (pixels, exif) = (pixels(16, 8, 3), crate::exif::block(8));
        let mut jpeg = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 90);
        encoder.add_exif_metadata(&exif).expect("a short block");
        encoder.encode(&pixels, 16, 8, jpeg_encoder::ColorType::Rgb).expect("memory takes everything");
        let mut info = png::Info::with_size(16, 8);
        (info.color_type, info.bit_depth) = (png::ColorType::Rgb, png::BitDepth::Eight);
        info.exif_metadata = Some(exif.into());
        let mut png = Vec::new();
        let encoder = png::Encoder::with_info(&mut png, info).expect("a sound header");
        encoder.write_header().and_then(|mut file| file.write_image_data(&pixels)).expect("memory takes everything");
        for (name, decoded) in [("JPEG", decode_jpeg(&jpeg)), ("PNG", decode_png(&png))] {
            let image = decoded.expect("a sound image").in_colors(3);
            let is_near = |(&found, &e): (&u8, &u8)| name == "JPEG" || found == e;
            assert_eq!((image.width, image.height), (8, 16), "{name}");
            assert!(image.bytes[..3].iter().zip(&pixels[15 * 3..]).all(is_near), "{name}");
        }
    }

    #[test]
    fn other_files_are_told_from_images() {
        for file in [&b"RIFF\x24\0\0\0WAVEfmt "[..], b"RIFF", b"GIF90a", b"", b"this is no image"] {
            let message = format!("{:#}", decode(file, 3, &mut |_| Ok(())).err().expect("none of an image"));
            assert!(message.contains("expected a PNG, JPEG, WebP, GIF, BMP or TIFF image"), "{message}");
        }
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
