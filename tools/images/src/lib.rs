//! From an image to a network's input, by the preprocessing that a `.sslm` file stores, and from its output to classes: what `ssl-run`
//! classifies, what `ssl-convert` verifies with and what a browser shows must be the same elements, so all of them come here. Images are
//! files (features `files` and, for more formats, `codecs`, which is on by default; of moving ones, the first image), or pixels of a canvas.
//! Tools have flags for the preprocessing (feature `flags`).

#[cfg(feature = "codecs")]
mod bmp;
#[cfg(all(test, feature = "codecs"))]
mod changed;
mod classes;
mod colors;
#[cfg(feature = "files")]
mod decode;
#[cfg(feature = "files")]
mod decoded;
#[cfg(feature = "files")]
mod exif;
#[cfg(feature = "flags")]
mod flags;
#[cfg(feature = "files")]
mod folder;
#[cfg(feature = "codecs")]
mod gif;
#[cfg(feature = "files")]
mod jpeg;
mod pixels;
#[cfg(feature = "files")]
mod size;
#[cfg(feature = "codecs")]
mod tiff;
#[cfg(feature = "codecs")]
mod webp;

use anyhow::{Context, Result, bail, ensure};
use pixels::Pixels;
use sslm_format::{Color, Dim, ElementType, Preprocessing, Resize};
#[cfg(feature = "files")]
use std::{fs::File, io::Read, path::Path};

pub use classes::{Class, is_one_a_class, likeliest};
#[cfg(feature = "files")]
pub use decode::{MAX_FILE, bytes_of};
#[cfg(feature = "flags")]
pub use flags::Flags;
#[cfg(feature = "files")]
pub use folder::{Hidden, ImagesBelow, images_below, not_utf8, open_found};

/// Asked before an image takes memory, for as many bytes as it then has altogether: whoever has no room for them refuses. It is asked
/// several times, and the greatest count is what the image takes.
pub type Admit<'a> = dyn FnMut(u64) -> Result<()> + 'a;

/// Images are not enlarged beyond this.
const MAX_PIXELS: u64 = 1 << 26;

/// How names of images end, in small letters.
#[cfg(feature = "files")]
const EXTENSIONS: &[&str] =
    if cfg!(feature = "codecs") { &["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"] } else { &["png", "jpg", "jpeg"] };

/// Whether a file is an image, as far as its name says.
#[cfg(feature = "files")]
pub fn is_named_as_image(path: &Path) -> bool {
    path.extension().is_some_and(|own| EXTENSIONS.iter().any(|extension| own.eq_ignore_ascii_case(extension)))
}

/// The dims of an input, as messages show them.
pub fn describe(dims: &[Dim]) -> String {
    format!("[{}]", dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
}

/// How an image lies in an input.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Colors: 1 or 3.
    pub channels: usize,
    /// The axes of height and width.
    size_axes: [usize; 2],
    /// Of which type its elements are.
    element_type: ElementType,
}

impl Layout {
    /// What an input of these dims and elements expects of an image.
    ///
    /// # Errors
    /// If no image can become such an input.
    pub fn of(dims: &[Dim], element_type: ElementType) -> Result<Self> {
        let (channels, size_axes) = match dims {
            [_, Dim::Fixed { size: channels @ (1 | 3) }, _, _] => (*channels as usize, [2, 3]),
            [_, _, _, Dim::Fixed { size: channels @ (1 | 3) }] => (*channels as usize, [1, 2]),
            _ => bail!(
                "the model's input is {}: expected [batch, 1 or 3, height, width] or [batch, height, width, 1 or 3] for images",
                describe(dims)
            ),
        };
        let holds_pixels = !matches!(element_type, ElementType::I8 | ElementType::Bool);
        ensure!(holds_pixels, "the model's input is {element_type}: expected elements of 0 to 255 for images");
        Ok(Layout { channels, size_axes, element_type })
    }

    /// Whether channels come last, and are beside each other.
    fn is_channels_last(self) -> bool {
        self.size_axes == [1, 2]
    }

    /// How an image becomes such an input: as the model stores it, or plainly where it stores nothing.
    ///
    /// # Errors
    /// If the stored rule does not fit, as [`Self::check`].
    pub fn rule(self, stored: Option<&Preprocessing>) -> Result<Preprocessing> {
        let rule = stored.cloned().unwrap_or_else(|| self.plain());
        self.check(&rule)?;
        Ok(rule)
    }

    /// The rule where a model stores none: pixels become 0..1, or stay 0..255 where the model takes integers.
    pub fn plain(self) -> Preprocessing {
        Preprocessing {
            color: if self.channels == 1 { Color::Gray } else { Color::Rgb },
            resize: Resize::Stretch,
            scale: if self.element_type.is_integer() { 1.0 } else { 1.0 / 255.0 },
            mean: vec![0.0; self.channels],
            std: vec![1.0; self.channels],
        }
    }

    /// Checks that `rule` yields elements that such an input has.
    ///
    /// # Errors
    /// If it does not, naming the part that does not fit.
    pub fn check(self, rule: &Preprocessing) -> Result<()> {
        let (channels, of_color) = (self.channels, if rule.color == Color::Gray { 1 } else { 3 });
        ensure!(
            of_color == channels,
            "preprocessing: expected {channels} channels (the model's input), found {of_color} ({})",
            rule.color
        );
        for (what, entries) in [("mean", &rule.mean), ("std", &rule.std)] {
            ensure!(entries.len() == channels, "preprocessing: {what}: expected {channels} entries, found {}", entries.len());
            ensure!(entries.iter().all(|x| x.is_finite()), "preprocessing: {what}: expected finite entries, found {entries:?}");
        }
        ensure!(rule.std.iter().all(|&s| s != 0.0), "preprocessing: std: expected no 0, found {:?}", rule.std);
        ensure!(
            rule.scale.is_finite() && rule.scale != 0.0,
            "preprocessing: scale: expected a finite number other than 0, found {}",
            rule.scale
        );
        let is_plain = rule.scale == 1.0 && rule.mean.iter().all(|&m| m == 0.0) && rule.std.iter().all(|&s| s == 1.0);
        ensure!(
            !self.element_type.is_integer() || is_plain,
            "preprocessing: expected pixels as they are (scale 1, mean 0, std 1), since the model's input is {}",
            self.element_type
        );
        Ok(())
    }
}

/// Decodes an image and applies `rule`: the shape (batch 1) and the elements. Where the model leaves height or width open, the
/// image's own size is taken.
///
/// # Errors
/// If the file is not a whole and sound image of a known format (PNG, JPEG, WebP, GIF, BMP, TIFF), has more pixels than it may, or the rule would enlarge it beyond measure.
#[cfg(feature = "files")]
pub fn load(path: &Path, rule: &Preprocessing, dims: &[Dim], layout: Layout) -> Result<(Vec<usize>, Vec<f32>)> {
    let file = File::open(path).context("cannot open");
    file.and_then(|file| read(file, rule, dims, layout)).with_context(|| format!("{}", path.display()))
}

/// As [`load`], of an image that need not be a file.
///
/// # Errors
/// As [`load`].
#[cfg(feature = "files")]
pub fn read(image: impl Read, rule: &Preprocessing, dims: &[Dim], layout: Layout) -> Result<(Vec<usize>, Vec<f32>)> {
    read_within(&bytes_of(image).context("cannot read")?, rule, dims, layout, &mut |_| Ok(()))
}

/// As [`load`], of a file in memory, for those who have to know what it takes beside the file.
///
/// # Errors
/// As [`load`], or if `admit` refuses.
#[cfg(feature = "files")]
pub fn read_within(
    file: &[u8],
    rule: &Preprocessing,
    dims: &[Dim],
    layout: Layout,
    admit: &mut Admit<'_>,
) -> Result<(Vec<usize>, Vec<f32>)> {
    prepared(decode::decode(file, layout.channels, admit)?, rule, dims, layout, admit)
}

/// As [`load`], of pixels as arrays and canvases have them: row by row, the `samples` of a pixel beside each other. One is gray, three are
/// red, green and blue, and four have alpha besides, which is dropped.
///
/// # Errors
/// If there are more or fewer bytes than the size says, none at all, or the rule would enlarge the image beyond measure.
pub fn of_pixels(
    [width, height]: [u32; 2],
    samples: usize,
    bytes: Vec<u8>,
    rule: &Preprocessing,
    dims: &[Dim],
    layout: Layout,
) -> Result<(Vec<usize>, Vec<f32>)> {
    ensure!(width > 0 && height > 0, "pixels: expected a width and a height of at least 1, found {width} and {height}");
    ensure!(matches!(samples, 1 | 3 | 4), "pixels: expected 1, 3 or 4 samples of each, found {samples}");
    let expected = u128::from(width) * u128::from(height) * samples as u128;
    ensure!(
        bytes.len() as u128 == expected,
        "pixels: expected {expected} bytes ({samples} for each of {width}x{height}), found {}",
        bytes.len()
    );
    let channels = layout.channels;
    let image = Pixels { width, height, channels, bytes: colors::of_eight_bits(bytes, samples, channels) };
    prepared(image, rule, dims, layout, &mut |_| Ok(()))
}

/// The shape and the elements of an input made of `image`, which has the colors of the layout.
fn prepared(
    image: Pixels,
    rule: &Preprocessing,
    dims: &[Dim],
    layout: Layout,
    admit: &mut Admit<'_>,
) -> Result<(Vec<usize>, Vec<f32>)> {
    let (channels, [y, x]) = (layout.channels, layout.size_axes);
    let extent = |axis: usize, own: u32| match &dims[axis] {
        Dim::Fixed { size } => u32::try_from(*size).unwrap_or(u32::MAX),
        Dim::Symbolic { .. } => own,
    };
    let image = match rule.resize {
        Resize::Stretch => image,
        Resize::CenterCrop { short_side } => {
            let factor = f64::from(short_side) / f64::from(image.width.min(image.height));
            let [width, height] = [image.width, image.height].map(|side| (f64::from(side) * factor).round() as u32);
            let rule = || format!("the rule crop:{short_side}");
            let image = scale(image, width, height, admit).with_context(rule)?;
            let (width, height) = (extent(x, image.width).min(image.width), extent(y, image.height).min(image.height));
            admit(2 * image.bytes.capacity() as u64)?;
            image.crop((image.width - width) / 2, (image.height - height) / 2, width, height)
        }
    };
    let (width, height) = (extent(x, image.width), extent(y, image.height));
    let image = scale(image, width, height, admit).with_context(|| format!("the model's input is {}", describe(dims)))?;
    admit((image.bytes.capacity() + image.bytes.len() * size_of::<f32>()) as u64)?;

    let plane = width as usize * height as usize;
    let element = |pixel: usize, c: usize| {
        let stored = if rule.color == Color::Bgr { channels - 1 - c } else { c };
        (f32::from(image.bytes[pixel * channels + stored]) * rule.scale - rule.mean[c]) / rule.std[c]
    };
    let (width, height) = (width as usize, height as usize);
    let mut elements = Vec::with_capacity(plane * channels);
    Ok(if layout.is_channels_last() {
        (0..plane).for_each(|pixel| elements.extend((0..channels).map(|c| element(pixel, c))));
        (vec![1, height, width, channels], elements)
    } else {
        (0..channels).for_each(|c| elements.extend((0..plane).map(|pixel| element(pixel, c))));
        (vec![1, channels, height, width], elements)
    })
}

fn scale(image: Pixels, width: u32, height: u32, admit: &mut Admit<'_>) -> Result<Pixels> {
    let own = (image.width, image.height);
    if own == (width, height) {
        return Ok(image);
    }
    let pixels = |(width, height)| u64::from(width) * u64::from(height);
    ensure!(
        pixels((width, height)) <= pixels(own).max(MAX_PIXELS),
        "{}x{} pixels would become {width}x{height}: expected at most {MAX_PIXELS} pixels",
        own.0,
        own.1
    );
    admit(image.bytes.capacity() as u64 + image.scaling(width, height))?;
    Ok(image.scale(width, height))
}

#[cfg(all(test, feature = "files"))]
mod tests {
    use super::*;

    fn dims(channels: u64, side: u64) -> [Dim; 4] {
        [1, channels, side, side].map(|size| Dim::Fixed { size })
    }

    #[test]
    fn pixels_become_what_a_file_of_them_does() {
        let (width, height) = (37u32, 23u32);
        let colors = [(1u32, png::ColorType::Grayscale), (3, png::ColorType::Rgb), (4, png::ColorType::Rgba)];
        for ((samples, color), channels) in colors.into_iter().flat_map(|color| [(color, 1), (color, 3)]) {
            let resize = if channels == 1 { Resize::Stretch } else { Resize::CenterCrop { short_side: 20 } };
            let bytes: Vec<u8> = (0..width * height * samples).map(|i| (i * i % 251) as u8).collect();
            let mut file = Vec::new();
            let mut encoder = png::Encoder::new(&mut file, width, height);
            encoder.set_color(color);
            encoder.set_depth(png::BitDepth::Eight);
            encoder.write_header().and_then(|mut file| file.write_image_data(&bytes)).expect("memory takes everything");
            let dims = dims(channels, 16);
            let layout = Layout::of(&dims, ElementType::F32).expect("dims of images");
            let rule = Preprocessing { resize, ..layout.plain() };
            let of_file = read(&file[..], &rule, &dims, layout).expect("a sound image");
            let of_pixels = of_pixels([width, height], samples as usize, bytes, &rule, &dims, layout).expect("a sound image");
            assert!(of_file == of_pixels, "{samples} samples, {channels} channels: expected the same elements, found others");
        }
    }

    #[test]
    fn pixels_have_the_bytes_that_their_size_says() {
        let dims = dims(1, 28);
        let layout = Layout::of(&dims, ElementType::F32).expect("dims of images");
        for (size, samples, bytes, expected) in [
            ([0, 1], 4, 0, "expected a width and a height of at least 1, found 0 and 1"),
            ([2, 3], 4, 23, "expected 24 bytes (4 for each of 2x3), found 23"),
            ([2, 3], 2, 12, "expected 1, 3 or 4 samples of each, found 2"),
            ([u32::MAX, u32::MAX], 4, 4, "expected 73786976260478468100 bytes"),
        ] {
            let result = of_pixels(size, samples, vec![0; bytes], &layout.plain(), &dims, layout);
            let message = result.expect_err("a wrong size").to_string();
            assert!(message.contains(expected), "expected '{expected}', found '{message}'");
        }
    }
}
