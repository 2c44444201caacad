//! TIFF files: of those of several pages, the first. Pixels are gray, of three colors or of four inks, of up to 16 bits a sample, plain or
//! packed without loss. What else there is of TIFF (JPEG within, palettes, floating point) is refused by name.

use crate::Admit;
use crate::decoded::{Decoded, Samples, buffer};
use crate::exif::Orientation;
use crate::size::{ask, ensure_size};
use anyhow::{Context, Result, bail, ensure};
use std::io::Cursor;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

pub(crate) fn decode(file: &[u8], admit: &mut Admit<'_>) -> Result<Decoded> {
    let mut decoder = Decoder::new(Cursor::new(file))?;
    let (width, height) = decoder.dimensions()?;
    ensure_size(width, height, file)?;
    let (stored, bits) = match decoder.colortype()? {
        ColorType::Gray(bits @ (1 | 2 | 4 | 8 | 16)) => (1, bits),
        ColorType::GrayA(bits @ (8 | 16)) => (2, bits),
        ColorType::RGB(bits @ (8 | 16)) => (3, bits),
        ColorType::RGBA(bits @ (8 | 16)) => (4, bits),
        ColorType::CMYK(bits @ (8 | 16)) => (INKS, bits),
        _ => bail!("expected gray, colored or inked (CMYK) pixels of 8 or 16 bits a sample, found others"),
    };
    let number: Option<u16> = decoder.find_tag_unsigned(Tag::Orientation)?;
    let orientation = number.map_or(Orientation::UPRIGHT, Orientation::of_number);
    let in_memory = if stored == INKS { 4 } else { stored };
    let (wide, high) = (width as usize, height as usize);
    let row = (wide * in_memory * usize::from(bits)).div_ceil(8);
    let bytes = row.checked_mul(high).context("its pixels take more memory than there is")?;
    // Samples as they are stored and as they become, and a row of what they are stored in, which may have more of them.
    let all: u64 = decoder.find_tag_unsigned(Tag::SamplesPerPixel)?.unwrap_or(1);
    let stored_row = u64::from(decoder.chunk_dimensions().0).saturating_mul(all).saturating_mul(2);
    ask(admit, file, stored_row.saturating_add(2 * bytes as u64 + u64::from(width) * u64::from(height)))?;
    drop(buffer(Some(bytes))?);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = bytes;
    let mut decoder = decoder.with_limits(limits);
    let mut samples = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut samples)?;
    ensure!(layout.planes == 1, "expected the samples of a pixel beside each other, found {} planes", layout.planes);
    let samples = match (samples, bits) {
        (DecodingResult::U8(samples), 8) => Samples::Eight(samples),
        (DecodingResult::U8(packed), _) => Samples::Eight(unpacked(&packed, row, wide, bits)),
        (DecodingResult::U16(samples), _) => Samples::Sixteen(samples.into_iter().flat_map(u16::to_be_bytes).collect()),
        _ => bail!("expected samples that are integers of no sign, found others"),
    };
    let (samples, channels) = if stored == INKS { (of_inks(samples), 3) } else { (samples, stored) };
    Ok(Decoded { width, height, samples, channels, orientation })
}

/// Stands for four samples that are inks, not colors and alpha.
const INKS: usize = 0;

/// Samples of less than 8 bits as such of 8, from black to white.
fn unpacked(packed: &[u8], row: usize, width: usize, bits: u8) -> Vec<u8> {
    let bits = usize::from(bits);
    let most = (1u8 << bits) - 1;
    let sample = |row: &[u8], x: usize| (row[x * bits / 8] >> (8 - bits - x * bits % 8) & most) * (255 / most);
    packed.chunks_exact(row).flat_map(|row| (0..width).map(move |x| sample(row, x))).collect()
}

/// Red, green and blue of cyan, magenta, yellow and black: what the inks leave of white.
fn of_inks(samples: Samples) -> Samples {
    match samples {
        Samples::Eight(inks) => {
            let left = |ink: u8, black: u8| ((255 - u32::from(ink)) * (255 - u32::from(black)) + 127) / 255;
            let color = |&[c, m, y, k]: &[u8; 4]| [c, m, y].map(|ink| left(ink, k) as u8);
            Samples::Eight(inks.as_chunks().0.iter().flat_map(color).collect())
        }
        Samples::Sixteen(inks) => {
            let left = |ink: u16, black: u16| ((65535 - u64::from(ink)) * (65535 - u64::from(black)) + 32767) / 65535;
            let level = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
            let color = |pixel: &[u8; 8]| {
                let [c, m, y, k] = [0, 2, 4, 6].map(|at| level(&pixel[at..]));
                [c, m, y].map(|ink| (left(ink, k) as u16).to_be_bytes())
            };
            Samples::Sixteen(inks.as_chunks().0.iter().flat_map(color).flatten().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiff::encoder::colortype::{self, ColorType};
    use tiff::encoder::{Compression, DeflateLevel, TiffEncoder, TiffValue};

    fn decode(file: &[u8]) -> Result<Decoded> {
        super::decode(file, &mut |_| Ok(()))
    }

    const SIZE: (u32, u32) = (7, 5);

    /// A file of these samples, packed or not, with an orientation or none.
    fn file<C: ColorType>(samples: &[C::Inner], compression: Compression, orientation: Option<u16>) -> Vec<u8>
    where
        [C::Inner]: TiffValue,
    {
        let mut file = Cursor::new(Vec::new());
        let encoder = TiffEncoder::new(&mut file).expect("memory takes everything");
        let mut encoder = encoder.with_compression(compression);
        let mut image = encoder.new_image::<C>(SIZE.0, SIZE.1).expect("memory takes everything");
        orientation.iter().for_each(|number| image.encoder().write_tag(Tag::Orientation, *number).expect("a tag"));
        image.write_data(samples).expect("memory takes everything");
        file.into_inner()
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|i| (i * 41 % 256) as u8).collect()
    }

    const WAYS: [Compression; 4] =
        [Compression::Uncompressed, Compression::Lzw, Compression::Deflate(DeflateLevel::Fast), Compression::Packbits];

    #[test]
    fn pixels_are_as_they_were() {
        let wide: Vec<u16> = bytes(105).into_iter().map(|byte| u16::from(byte) * 257).collect();
        for way in WAYS {
            for file in [file::<colortype::RGB8>(&bytes(105), way, None), file::<colortype::RGB16>(&wide, way, None)] {
                let image = decode(&file).expect("a sound image").in_colors(3);
                assert_eq!((image.width, image.height, image.bytes), (7, 5, bytes(105)));
            }
        }
        let gray = file::<colortype::Gray8>(&bytes(35), Compression::Uncompressed, None);
        assert_eq!(decode(&gray).expect("a sound image").in_colors(1).bytes, bytes(35));
    }

    #[test]
    fn inks_leave_colors() {
        let pixel = |[c, m, y, k]: [u8; 4], expected: [u8; 3]| {
            let inks = [c, m, y, k].repeat(35);
            let wide: Vec<u16> = inks.iter().map(|&ink| u16::from(ink) * 257).collect();
            let files = [
                file::<colortype::CMYK8>(&inks, Compression::Uncompressed, None),
                file::<colortype::CMYK16>(&wide, Compression::Uncompressed, None),
            ];
            for file in files {
                assert_eq!(decode(&file).expect("a sound image").in_colors(3).bytes[..3], expected);
            }
        };
        pixel([0, 0, 0, 0], [255, 255, 255]);
        pixel([255, 0, 0, 0], [0, 255, 255]);
        pixel([0, 128, 255, 0], [255, 127, 0]);
        pixel([0, 0, 0, 255], [0, 0, 0]);
        pixel([51, 0, 0, 128], [102, 127, 127]);
    }

    #[test]
    fn samples_of_few_bits() {
        assert_eq!(unpacked(&[0b1010_0000, 0b0100_0000], 1, 3, 1), [255, 0, 255, 0, 255, 0]);
        assert_eq!(unpacked(&[0b0001_1011], 1, 4, 2), [0, 85, 170, 255]);
        assert_eq!(unpacked(&[0x0f], 1, 2, 4), [0, 255]);
    }

    #[test]
    fn orientation_is_obeyed() {
        let image = decode(&file::<colortype::RGB8>(&bytes(105), WAYS[0], Some(6))).expect("a sound image").in_colors(3);
        assert_eq!((image.width, image.height, &image.bytes[..3]), (5, 7, &bytes(105)[84..87]));
    }

    #[test]
    fn files_that_were_cut_off_are_refused() {
        for way in WAYS {
            let file = file::<colortype::RGB8>(&bytes(105), way, None);
            let taken: Vec<usize> = (0..file.len() - 4).filter(|&len| decode(&file[..len]).is_ok()).collect();
            assert!(taken.is_empty(), "cut to {taken:?} of {} bytes", file.len());
        }
    }

    #[test]
    fn no_file_is_too_much() {
        let file = |way| file::<colortype::RGB8>(&bytes(105), way, Some(3));
        WAYS.into_iter().for_each(|way| crate::changed::decode_changed(decode, &file(way), 0..0));
    }
}
