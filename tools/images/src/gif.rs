//! GIF files: the first image, on the background that it leaves free.

use crate::Admit;
use crate::decoded::{Decoded, Samples, buffer};
use crate::exif::Orientation;
use crate::size::{ask, ensure_size};
use anyhow::{Context, Result, bail};
use gif::{DecodeOptions, MemoryLimit};

pub(crate) fn decode(file: &[u8], admit: &mut Admit<'_>) -> Result<Decoded> {
    ensure_whole(file)?;
    let mut options = DecodeOptions::new();
    options.check_frame_consistency(true);
    options.allow_unknown_blocks(true);
    // Images are within the whole, whose size is looked at before there is room for any.
    options.set_memory_limit(MemoryLimit::Unlimited);
    let mut decoder = options.read_info(file)?;
    let [width, height] = [decoder.width(), decoder.height()].map(u32::from);
    ensure_size(width, height, file)?;
    // Its indices, twice, and their colors.
    ask(admit, file, u64::from(width) * u64::from(height) * (2 + 3))?;
    let background = decoder.global_palette().zip(decoder.bg_color()).and_then(|(colors, index)| colors.as_chunks().0.get(index));
    let background: [u8; 3] = background.copied().unwrap_or_default();
    let frame = decoder.read_next_frame()?.context("expected an image, found none")?;
    let (left, top, across) = (usize::from(frame.left), usize::from(frame.top), usize::from(frame.width));
    let indices = frame.buffer.to_vec();
    let colors = decoder.palette()?.as_chunks::<3>().0;
    let mut samples = buffer((width as usize * height as usize).checked_mul(3))?;
    let (pixels, _) = samples.as_chunks_mut::<3>();
    pixels.fill(background);
    for (row, indices) in pixels.chunks_exact_mut(width as usize).skip(top).zip(indices.chunks_exact(across.max(1))) {
        for (pixel, &index) in row[left..].iter_mut().zip(indices) {
            *pixel = *colors
                .get(usize::from(index))
                .with_context(|| format!("expected an index of one of its {} colors, found {index}", colors.len()))?;
        }
    }
    Ok(Decoded { width, height, samples: Samples::Eight(samples), channels: 3, orientation: Orientation::UPRIGHT })
}

/// Refuses a file that was cut off behind its first image, too: whoever lost its end may have lost what is not noticed.
fn ensure_whole(file: &[u8]) -> Result<()> {
    let ends = "the file ends before its images do";
    let colors = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + colors(*file.get(10).context(ends)?);
    loop {
        match file.get(at).context(ends)? {
            0x3b => return Ok(()),
            0x21 => at += 2,
            0x2c => at += 11 + colors(*file.get(at + 9).context(ends)?),
            // Bytes of no meaning that some writers leave.
            0 => {
                at += 1;
                continue;
            }
            other => bail!("expected an image, an extension or the end, found {other:#04x}"),
        }
        loop {
            let len = usize::from(*file.get(at).context(ends)?);
            at += 1 + len;
            if len == 0 {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gif::{Encoder, Frame};
    use std::borrow::Cow;

    fn decode(file: &[u8]) -> Result<Decoded> {
        super::decode(file, &mut |_| Ok(()))
    }

    /// Two images, the first of which leaves a border of two pixels of the background, which is blue.
    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        let palette = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9];
        let mut encoder = Encoder::new(&mut file, 9, 8, &palette).expect("memory takes everything");
        for index in [0, 1] {
            let buffer = Cow::Owned(vec![index; 5 * 4]);
            let frame = Frame { left: 2, top: 2, width: 5, height: 4, buffer, ..Frame::default() };
            encoder.write_frame(&frame).expect("memory takes everything");
        }
        drop(encoder);
        file[11] = 2;
        file
    }

    #[test]
    fn the_first_image_lies_on_its_background() {
        let image = decode(&file()).expect("a sound image").in_colors(3);
        let is_within = |i: usize| (2..7).contains(&(i % 9)) && (2..6).contains(&(i / 9));
        let expected: Vec<u8> = (0..72).flat_map(|i| if is_within(i) { [255, 0, 0] } else { [0, 0, 255] }).collect();
        assert_eq!((image.width, image.height, image.bytes), (9, 8, expected));
    }

    #[test]
    fn files_that_were_cut_off_are_refused() {
        let file = file();
        let taken: Vec<usize> = (0..file.len()).filter(|&len| decode(&file[..len]).is_ok()).collect();
        assert!(taken.is_empty(), "cut to {taken:?} of {} bytes", file.len());
    }

    #[test]
    fn no_file_is_too_much() {
        crate::changed::decode_changed(decode, &file(), 6..10);
    }

    #[test]
    fn an_image_beyond_the_whole_is_refused() {
        let mut file = file();
        file[6] = 6;
        assert!(decode(&file).is_err());
    }
}
