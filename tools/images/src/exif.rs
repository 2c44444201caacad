//! Which way up a camera was held: the one entry of EXIF that changes what a network sees.

use crate::pixels::Pixels;

/// How stored pixels become an image that is upright, as EXIF numbers it: 1 for those that are, to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orientation(u16);

impl Orientation {
    /// Pixels are stored as they are meant to be seen.
    pub(crate) const UPRIGHT: Orientation = Orientation(1);

    /// By the number that a file holds; what is none counts as upright, as for all that show images.
    pub(crate) fn of_number(number: u16) -> Orientation {
        if (1..=8).contains(&number) { Orientation(number) } else { Orientation::UPRIGHT }
    }

    /// What a block of EXIF says: a TIFF file of entries, in some formats with its name before it.
    pub(crate) fn of_exif(block: Option<&[u8]>) -> Orientation {
        let block = block.map(|block| block.strip_prefix(b"Exif\0\0").unwrap_or(block));
        block.and_then(stored).map_or(Orientation::UPRIGHT, Orientation::of_number)
    }

    /// The image as it is meant to be seen.
    pub(crate) fn upright(self, image: Pixels) -> Pixels {
        let Orientation(number) = self;
        if number == 1 {
            return image;
        }
        let Pixels { width, height, channels, bytes } = image;
        let (is_turned, mirrors_x, mirrors_y) = (number >= 5, [2, 3, 7, 8].contains(&number), [3, 4, 6, 7].contains(&number));
        let [across, down] = if is_turned { [height, width] } else { [width, height] };
        let mut seen = Vec::with_capacity(bytes.len());
        for y in 0..down {
            for x in 0..across {
                let (x, y) = if is_turned { (y, x) } else { (x, y) };
                let (x, y) = (if mirrors_x { width - 1 - x } else { x }, if mirrors_y { height - 1 - y } else { y });
                let at = (y as usize * width as usize + x as usize) * channels;
                seen.extend_from_slice(&bytes[at..at + channels]);
            }
        }
        Pixels { width: across, height: down, channels, bytes: seen }
    }
}

/// The number of the orientation, if the entries are sound as far as it and it is among them.
fn stored(block: &[u8]) -> Option<u16> {
    const ORIENTATION: u16 = 0x112;
    const SHORT: u16 = 3;
    let is_big_endian = match block.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = *block.get(at..)?.first_chunk()?;
        Some(if is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let [first, second] = [short(4)?, short(6)?].map(usize::from);
    let entries = if is_big_endian { first << 16 | second } else { second << 16 | first };
    let count = usize::from(short(entries)?);
    let entry = (0..count).map(|i| entries + 2 + 12 * i).find(|&at| short(at) == Some(ORIENTATION))?;
    (short(entry + 2)? == SHORT).then(|| short(entry + 8)).flatten()
}

/// A block of EXIF that says so, for tests.
#[cfg(test)]
pub(crate) fn block(orientation: u16) -> Vec<u8> {
    let entry: [&[u8]; 5] = [b"\x01\x12\0\x03", b"\0\0\0\x01", &orientation.to_be_bytes(), b"\0\0", b"\0\0\0\0"];
    [b"MM\0*\0\0\0\x08\0\x01", &entry.concat()[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_become_upright() {
        // a b
        // c d
        // e f
        let stored = Pixels { width: 2, height: 3, channels: 1, bytes: b"abcdef".to_vec() };
        for (number, width, expected) in [
            (1, 2, b"abcdef"),
            (2, 2, b"badcfe"),
            (3, 2, b"fedcba"),
            (4, 2, b"efcdab"),
            (5, 3, b"acebdf"),
            (6, 3, b"ecafdb"),
            (7, 3, b"fdbeca"),
            (8, 3, b"bdface"),
        ] {
            let seen = Orientation::of_exif(Some(&block(number))).upright(stored.clone());
            assert_eq!((seen.width, seen.height, &seen.bytes[..]), (width, 6 / width, &expected[..]), "{number}");
        }
    }

    #[test]
    fn what_says_nothing_is_upright() {
        let sound = block(6);
        let named = [b"Exif\0\0", &sound[..]].concat();
        let little: &[u8] = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        for block in [&sound[..], &named, little] {
            assert_eq!(Orientation::of_exif(Some(block)), Orientation(6));
        }
        let far = [b"MM\0*\xff\xff\xff\xff", &sound[8..]].concat();
        for block in [None, Some(&[][..]), Some(&far[..]), Some(&block(0)[..]), Some(&block(9)[..])] {
            assert_eq!(Orientation::of_exif(block), Orientation::UPRIGHT);
        }
        // Without the last bytes, which no entry needs, the orientation is still there.
        for len in 0..sound.len() - 6 {
            assert_eq!(Orientation::of_exif(Some(&sound[..len])), Orientation::UPRIGHT, "{len}");
        }
    }
}
