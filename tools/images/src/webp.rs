//! WebP files: of moving ones, the first image.

use crate::Admit;
use crate::decoded::{Decoded, Samples, buffer};
use crate::exif::Orientation;
use crate::size::{ask, ensure_size};
use anyhow::{Context, Result, ensure};
use image_webp::WebPDecoder;
use std::io::Cursor;

pub(crate) fn decode(file: &[u8], admit: &mut Admit<'_>) -> Result<Decoded> {
    let lossy = ensure_whole(file)?;
    let mut decoder = WebPDecoder::new(Cursor::new(file))?;
    let (width, height) = decoder.dimensions();
    ensure_size(width, height, file)?;
    // Of a moving image, the canvas, a frame and its alpha; of a still one, alpha, or its colors with alpha and what they are predicted
    // from; in each case what is returned.
    let of_pixel = match (decoder.is_animated(), decoder.is_lossy(), decoder.has_alpha()) {
        (true, ..) => 4 + 4 + 5 + 4,
        (_, true, true) => 5 + 4,
        (_, true, false) => 3,
        (_, false, _) => 5 + 4,
    };
    ask(admit, file, u64::from(width) * u64::from(height) * of_pixel + lossy)?;
    let mut samples = buffer(decoder.output_buffer_size())?;
    decoder.read_image(&mut samples)?;
    let orientation = Orientation::of_exif(decoder.exif_metadata()?.as_deref());
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    Ok(Decoded { width, height, samples: Samples::Eight(samples), channels, orientation })
}

/// Refuses a file that was cut off: WebP has no checksums, but each part says how long it is. The images within may say that they are
/// larger than what they are parts of, so their sizes are looked at here. Yields how many bytes the largest of the lossy ones takes before it
/// has colors: luminance of each pixel, and two more planes of a quarter each, in blocks of 16x16.
fn ensure_whole(file: &[u8]) -> Result<u64> {
    let mut lossy = 0;
    let said = file.get(4..8).and_then(<[u8]>::first_chunk).map_or(0, |len| u32::from_le_bytes(*len) as usize);
    let body = file.get(8..).and_then(|rest| rest.get(..said));
    let mut parts = body.and_then(|body| body.get(4..)).with_context(|| {
        format!("expected {said} bytes behind its header, found {}: it was cut off", file.len().saturating_sub(8))
    })?;
    while !parts.is_empty() {
        let (name, part, rest) = part(parts)?;
        // A frame of a moving image begins with where and how long it is seen.
        let (name, image) = match (name, part.get(16..)) {
            (b"ANMF", Some(image)) => self::part(image).map(|(name, image, _)| (name, image))?,
            _ => (name, part),
        };
        if let (b"VP8 ", Some(&[w0, w1, h0, h1])) = (name, image.get(6..10).and_then(<[u8]>::first_chunk)) {
            let [width, height] = [[w0, w1], [h0, h1]].map(|size| u32::from(u16::from_le_bytes(size) & 0x3fff));
            ensure_size(width, height, file)?;
            let blocks = |size: u32| u64::from(size.div_ceil(16));
            lossy = lossy.max(blocks(width) * blocks(height) * (256 + 128));
        }
        parts = rest;
    }
    Ok(lossy)
}

/// The name of the first part, what it holds, and what follows.
fn part(parts: &[u8]) -> Result<(&[u8; 4], &[u8], &[u8])> {
    let ends = "a part ends early";
    let (name, rest) = parts.split_first_chunk::<4>().context(ends)?;
    let (len, rest) = rest.split_first_chunk().context(ends)?;
    let len = u32::from_le_bytes(*len) as usize;
    ensure!(rest.len() >= len, "expected a part of {len} bytes, found {}", rest.len());
    let (body, rest) = rest.split_at(len);
    // Parts begin at even places.
    Ok((name, body, rest.get(len % 2..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_webp::{ColorType, WebPEncoder};

    fn decode(file: &[u8]) -> Result<Decoded> {
        super::decode(file, &mut |_| Ok(()))
    }

    /// One pixel each: lossy, lossy with alpha, and an animation.
    const LOSSY: &[u8] = b"RIFF\"\0\0\0WEBPVP8 \x16\0\0\0\x30\x01\0\x9d\x01*\x01\0\x01\0\x0e\xc0\xfe%\xa4\0\x03p\0\0\0\0";
    const ALPHA: &[u8] = b"RIFFJ\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\0\0\0\0\0\0ALPH\x0c\0\0\0\x11\x07\x10\x11\xfd\x0fDD\xff\x03\0\0VP8 \x18\0\0\0\x14\x01\0\x9d\x01*\x01\0\x01\0\0\0\xfe\0\0\x0d\xc0\0\xfe\xe6\xb5\0\0\0";
    const MOVING: &[u8] = b"RIFFR\0\0\0WEBPVP8X\x0a\0\0\0\x12\0\0\0\0\0\0\0\0\0ANIM\x06\0\0\0\xff\xff\xff\xff\0\0ANMF&\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0d\0\0\0VP8L\x0d\0\0\0/\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0";

    fn file(color: ColorType, exif: Option<Vec<u8>>) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = WebPEncoder::new(&mut file);
        exif.into_iter().for_each(|exif| encoder.set_exif_metadata(exif));
        let channels = if color == ColorType::Rgb8 { 3 } else { 4 };
        let pixels: Vec<u8> = (0..19 * 7 * channels).map(|i| (i * 37 % 251) as u8).collect();
        encoder.encode(&pixels, 19, 7, color).expect("memory takes everything");
        file
    }

    #[test]
    fn lossless_pixels_are_as_they_were() {
        for (color, channels) in [(ColorType::Rgb8, 3), (ColorType::Rgba8, 4)] {
            let image = decode(&file(color, None)).expect("a sound image").in_colors(3);
            let at = |i: usize| (i * 37 % 251) as u8;
            let expected: Vec<u8> = (0..19 * 7).flat_map(|i| (0..3).map(move |c| at(i * channels + c))).collect();
            assert_eq!((image.width, image.height, image.bytes), (19, 7, expected));
        }
    }

    #[test]
    fn orientation_is_obeyed() {
        let image = decode(&file(ColorType::Rgb8, Some(crate::exif::block(6)))).expect("a sound image").in_colors(3);
        assert_eq!((image.width, image.height), (7, 19));
    }

    fn files() -> [Vec<u8>; 5] {
        let lossless = [file(ColorType::Rgb8, None), file(ColorType::Rgba8, Some(crate::exif::block(1)))];
        let [plain, alpha] = lossless;
        [plain, alpha, LOSSY.to_vec(), ALPHA.to_vec(), MOVING.to_vec()]
    }

    #[test]
    fn lossy_and_moving_images_are_read() {
        for file in [LOSSY, ALPHA, MOVING] {
            let image = decode(file).expect("a sound image").in_colors(3);
            assert_eq!((image.width, image.height, image.bytes.len()), (1, 1, 3));
        }
    }

    #[test]
    fn no_file_is_too_much() {
        // The sizes of frames and canvases stand in the first bytes.
        files().iter().for_each(|file| crate::changed::decode_changed(decode, file, 12..40));
    }

    #[test]
    fn files_that_were_cut_off_are_refused() {
        for file in files() {
            let taken: Vec<usize> = (0..file.len()).filter(|&len| decode(&file[..len]).is_ok()).collect();
            assert!(taken.is_empty(), "cut to {taken:?} of {} bytes", file.len());
        }
    }

    /// A canvas of 16x16 pixels, and in it an image that says that it has the most that there can be.
    #[test]
    fn images_within_are_no_larger_than_they_may() {
        let frame = |name: &[u8], body: &[u8]| [name, &(body.len() as u32).to_le_bytes(), body].concat();
        let huge = frame(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f");
        let canvas = frame(b"VP8X", &[0, 0, 0, 0, 15, 0, 0, 15, 0, 0]);
        let moving = frame(b"ANMF", &[&[0; 16][..], &huge].concat());
        for image in [huge, moving] {
            let file = frame(b"RIFF", &[b"WEBP", &canvas[..], &image].concat());
            let message = format!("{:#}", decode(&file).err().expect("too many pixels"));
            assert!(message.contains("16383x16383"), "{message}");
        }
    }
}
