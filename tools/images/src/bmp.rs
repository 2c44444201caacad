//! BMP files, of palettes, of 16, 24 or 32 bits a pixel, and run-length coded ones. There is so little to the format that no crate is asked.

use crate::Admit;
use crate::decoded::{Decoded, Samples, buffer};
use crate::exif::Orientation;
use crate::size::{ask, ensure_size};
use anyhow::{Context, Result, bail, ensure};

pub(crate) fn decode(file: &[u8], admit: &mut Admit<'_>) -> Result<Decoded> {
    let header = Header::of(file)?;
    let Header { width, height, bits, .. } = header;
    ensure_size(width, height, file)?;
    let of_pixel = if header.coding == Coding::Runs { 1 + 3 } else { 3 };
    ask(admit, file, u64::from(width) * u64::from(height) * of_pixel)?;
    let rows = match header.coding {
        Coding::Plain => header.rows(file)?,
        Coding::Runs => Rows::Owned(runs(file.get(header.offset..).unwrap_or_default(), bits, width as usize, height as usize)?),
    };
    let mut samples = buffer((width as usize * height as usize).checked_mul(3))?;
    let (pixels, _) = samples.as_chunks_mut::<3>();
    let color = header.colors(file)?;
    for (y, row) in pixels.chunks_exact_mut(width as usize).enumerate() {
        let y = if header.is_top_down { y } else { height as usize - 1 - y };
        let stored = rows.row(y);
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = color.of(word(stored, x, rows.bits(bits)))?;
        }
    }
    Ok(Decoded { width, height, samples: Samples::Eight(samples), channels: 3, orientation: Orientation::UPRIGHT })
}

struct Header {
    width: u32,
    height: u32,
    is_top_down: bool,
    /// Bits of a pixel: 1, 4, 8, 16, 24 or 32.
    bits: usize,
    coding: Coding,
    /// Where the pixels begin.
    offset: usize,
    /// Which bits of a pixel of 16 or more are its red, green and blue.
    masks: [u32; 3],
    /// Where the palette begins, how many colors it has, and how many bytes each takes.
    palette: (usize, usize, usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Coding {
    Plain,
    Runs,
}

fn short(file: &[u8], at: usize) -> Result<u16> {
    let bytes = file.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map(|bytes| u16::from_le_bytes(*bytes)).context("the file ends within its header")
}

fn long(file: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from(short(file, at)?) | u32::from(short(file, at + 2)?) << 16)
}

impl Header {
    fn of(file: &[u8]) -> Result<Header> {
        let [offset, len] = [long(file, 10)?, long(file, 14)?].map(|size| size as usize);
        let is_old = len == 12;
        ensure!(is_old || (40..=124).contains(&len), "expected a header of 12 or 40 to 124 bytes, found {len}");
        let (width, height, bits) = if is_old {
            (u32::from(short(file, 18)?), i32::from(short(file, 20)?), short(file, 24)?)
        } else {
            (long(file, 18)?, long(file, 22)? as i32, short(file, 28)?)
        };
        let [coding, used] = if is_old { [0, 0] } else { [long(file, 30)?, long(file, 46)?] };
        let mut masks = match bits {
            16 => [0x7c00, 0x3e0, 0x1f],
            _ => [0xff_0000, 0xff00, 0xff],
        };
        let has_masks = matches!((coding, bits), (3 | 6, 16 | 32));
        if has_masks {
            masks = [long(file, 54)?, long(file, 58)?, long(file, 62)?];
        }
        let coding = match (coding, bits) {
            (0, 1 | 4 | 8 | 16 | 24 | 32) | (3 | 6, 16 | 32) => Coding::Plain,
            (1, 8) | (2, 4) => Coding::Runs,
            _ => bail!(
                "expected pixels of 1, 4, 8, 16, 24 or 32 bits, plain or run-length coded, found {bits} bits in coding {coding}"
            ),
        };
        let all = if bits <= 8 { 1 << bits } else { 0 };
        let colors = if used == 0 { all } else { all.min(used as usize) };
        // Some writers store fewer colors than they say, and all of them before the pixels.
        let [begins, bytes] = [14 + len, if is_old { 3 } else { 4 }];
        let colors = colors.min(offset.saturating_sub(begins) / bytes);
        Ok(Header {
            width,
            height: height.unsigned_abs(),
            is_top_down: height < 0,
            bits: bits.into(),
            coding,
            offset,
            masks,
            palette: (begins, colors, bytes),
        })
    }

    /// The rows as they are stored, each of which fills whole words of 32 bits.
    fn rows<'a>(&self, file: &'a [u8]) -> Result<Rows<'a>> {
        let stride = (self.width as usize * self.bits).div_ceil(32) * 4;
        let expected = stride * self.height as usize;
        let found = file.get(self.offset..).unwrap_or_default();
        let rows = found.get(..expected);
        let rows = rows.with_context(|| format!("expected {expected} bytes of pixels, found {}: it was cut off", found.len()))?;
        Ok(Rows::Stored(rows, stride))
    }

    fn colors(&self, file: &[u8]) -> Result<Colors> {
        if self.bits > 8 {
            return Ok(Colors::Masks(self.masks));
        }
        let (begins, count, bytes) = self.palette;
        let stored = file.get(begins..begins + count * bytes).context("the file ends within its palette")?;
        Ok(Colors::Palette(stored.chunks_exact(bytes).map(|color| [color[2], color[1], color[0]]).collect()))
    }
}

/// Rows of pixels, from the first that is stored on.
enum Rows<'a> {
    /// As in the file, each of so many bytes.
    Stored(&'a [u8], usize),
    /// One byte a pixel, with the width.
    Owned((Vec<u8>, usize)),
}

impl Rows<'_> {
    fn row(&self, index: usize) -> &[u8] {
        let (bytes, stride) = match self {
            Rows::Stored(bytes, stride) => (*bytes, *stride),
            Rows::Owned((bytes, width)) => (&bytes[..], *width),
        };
        &bytes[index * stride..][..stride]
    }

    /// Bits of a pixel, which has so many where it is stored plainly.
    fn bits(&self, plain: usize) -> usize {
        if matches!(self, Rows::Owned(_)) { 8 } else { plain }
    }
}

/// The pixel at `x` of a row.
fn word(row: &[u8], x: usize, bits: usize) -> u32 {
    if bits < 8 {
        let at = x * bits;
        return u32::from(row[at / 8] >> (8 - bits - at % 8)) & ((1 << bits) - 1);
    }
    let bytes = bits / 8;
    row[x * bytes..][..bytes].iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

/// What a stored pixel means.
enum Colors {
    Palette(Vec<[u8; 3]>),
    Masks([u32; 3]),
}

impl Colors {
    fn of(&self, pixel: u32) -> Result<[u8; 3]> {
        match self {
            Colors::Palette(colors) => colors
                .get(pixel as usize)
                .copied()
                .with_context(|| format!("expected an index of one of its {} colors, found {pixel}", colors.len())),
            Colors::Masks(masks) => Ok(masks.map(|mask| match mask >> mask.trailing_zeros().min(31) {
                0 => 0,
                most => {
                    let level = u64::from((pixel & mask) >> mask.trailing_zeros());
                    ((level * 255 + u64::from(most) / 2) / u64::from(most)) as u8
                }
            })),
        }
    }
}

/// Indices of colors that are coded as runs of 8 or 4 `bits`; what runs leave out is the first color.
fn runs(coded: &[u8], bits: usize, width: usize, height: usize) -> Result<(Vec<u8>, usize)> {
    let mut indices = buffer(width.checked_mul(height))?;
    let (mut at, mut x, mut y) = (0, 0, 0);
    let byte = |at: usize| coded.get(at).copied().context("the file ends before its image does");
    loop {
        let (count, value) = (usize::from(byte(at)?), byte(at + 1)?);
        at += 2;
        let len = match (count, value) {
            (0, 0) => {
                (x, y) = (0, y + 1);
                continue;
            }
            (0, 1) => return Ok((indices, width)),
            (0, 2) => {
                (x, y) = (x + usize::from(byte(at)?), y + usize::from(byte(at + 1)?));
                at += 2;
                continue;
            }
            (0, len) => usize::from(len),
            (len, _) => len,
        };
        ensure!(y < height && x + len <= width, "expected a run within {width}x{height} pixels, found one beyond");
        for i in 0..len {
            let stored = if count > 0 { value } else { byte(at + i * bits / 8)? };
            let two = if bits == 8 { [stored; 2] } else { [stored >> 4, stored & 15] };
            indices[y * width + x + i] = two[i % 2];
        }
        x += len;
        // What is stored pixel by pixel fills whole words of 16 bits.
        at += if count > 0 { 0 } else { (len * bits).div_ceil(16) * 2 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of these bits a pixel, coding, what stands between header and pixels, and pixels.
    fn file(size: [i32; 2], bits: u16, coding: u32, between: &[u8], pixels: &[u8]) -> Vec<u8> {
        let offset = 54 + between.len() as u32;
        let mut file = b"BM\0\0\0\0\0\0\0\0".to_vec();
        file.extend([offset, 40, size[0] as u32, size[1] as u32].into_iter().flat_map(u32::to_le_bytes));
        file.extend([1, bits].into_iter().flat_map(u16::to_le_bytes));
        file.extend([coding, 0, 0, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes));
        [&file[..], between, pixels].concat()
    }

    fn decode(file: &[u8]) -> Result<Decoded> {
        super::decode(file, &mut |_| Ok(()))
    }

    const RED: [u8; 3] = [255, 0, 0];
    const GREEN: [u8; 3] = [0, 255, 0];
    const PALETTE: &[u8] = &[0, 0, 255, 0, 0, 255, 0, 0];

    /// What it is, its bytes, and the pixels that it holds.
    type Case = (&'static str, Vec<u8>, Vec<[u8; 3]>);

    /// Files of every kind.
    fn files() -> Vec<Case> {
        let plain = vec![GREEN, RED, RED, RED, GREEN, GREEN];
        let mut turned = plain.clone();
        turned.rotate_left(3);
        let masks = [0xf800u32, 0x7e0, 0x1f].into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
        vec![
            ("1 bit", file([3, 2], 1, 0, PALETTE, &[0b0110_0000, 0, 0, 0, 0b1000_0000, 0, 0, 0]), plain.clone()),
            ("top down", file([3, -2], 1, 0, PALETTE, &[0b0110_0000, 0, 0, 0, 0b1000_0000, 0, 0, 0]), turned),
            ("4 bits", file([3, 2], 4, 0, PALETTE, &[0x01, 0x10, 0, 0, 0x10, 0x00, 0, 0]), plain.clone()),
            ("8 bits", file([3, 2], 8, 0, PALETTE, &[0, 1, 1, 0, 1, 0, 0, 0]), plain.clone()),
            ("runs", file([3, 2], 8, 1, PALETTE, &[1, 0, 2, 1, 0, 0, 0, 3, 1, 0, 0, 0, 0, 1]), plain.clone()),
            (
                "runs of 4 bits",
                file([3, 2], 4, 2, PALETTE, &[3, 0x01, 0, 0, 0, 3, 0x10, 0x00, 0, 1]),
                vec![GREEN, RED, RED, RED, GREEN, RED],
            ),
            (
                "16 bits",
                file([3, 2], 16, 0, &[], &[0, 0x7c, 0xe0, 3, 0xe0, 3, 0, 0, 0xe0, 3, 0, 0x7c, 0, 0x7c, 0, 0]),
                plain.clone(),
            ),
            (
                "16 bits with masks",
                file([3, 2], 16, 3, &masks, &[0, 0xf8, 0xe0, 7, 0xe0, 7, 0, 0, 0xe0, 7, 0, 0xf8, 0, 0xf8, 0, 0]),
                plain.clone(),
            ),
            (
                "24 bits",
                file([3, 2], 24, 0, &[], &[0, 0, 255, 0, 255, 0, 0, 255, 0, 0, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 255, 0, 0, 0]),
                plain.clone(),
            ),
            (
                "32 bits",
                file([3, 2], 32, 0, &[], &[0, 0, 255, 9, 0, 255, 0, 9, 0, 255, 0, 9, 0, 255, 0, 9, 0, 0, 255, 9, 0, 0, 255, 9]),
                plain,
            ),
        ]
    }

    #[test]
    fn pixels_are_as_they_were() {
        for (name, file, expected) in files() {
            let image = decode(&file).unwrap_or_else(|e| panic!("{name}: {e:#}")).in_colors(3);
            assert_eq!((image.width, image.height, image.bytes), (3, 2, expected.concat()), "{name}");
        }
    }

    #[test]
    fn files_that_were_cut_off_are_refused() {
        for (name, file, _) in files() {
            let taken: Vec<usize> = (0..file.len()).filter(|&len| decode(&file[..len]).is_ok()).collect();
            assert!(taken.is_empty(), "{name} cut to {taken:?} of {} bytes", file.len());
        }
    }

    #[test]
    fn what_is_not_within_is_refused() {
        for (file, expected) in [
            (file([3, 2], 8, 0, PALETTE, &[0, 1, 2, 0, 1, 0, 0, 0]), "one of its 2 colors, found 2"),
            (file([3, 2], 8, 1, PALETTE, &[4, 0, 0, 1]), "a run within 3x2 pixels"),
            (file([3, 2], 8, 1, PALETTE, &[0, 2, 0, 9, 1, 1, 0, 1]), "a run within 3x2 pixels"),
            (file([3, 2], 24, 4, PALETTE, &[]), "found 24 bits in coding 4"),
            (file([0, 2], 24, 0, &[], &[]), "at least one pixel"),
            (file([i32::MAX, i32::MIN], 24, 0, &[], &[]), "2147483647x2147483648"),
        ] {
            let message = format!("{:#}", decode(&file).err().expect("an error"));
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn no_file_is_too_much() {
        // Runs may leave out most of a large image.
        files().iter().for_each(|(_, file, _)| crate::changed::decode_changed(decode, file, 18..26));
    }
}
