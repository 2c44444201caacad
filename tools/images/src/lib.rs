//! From an image file to a network's input, by the preprocessing that a `.sslm` file stores; of moving ones, the first image: what `ssl-run` classifies and what
//! `ssl-convert` verifies with must be the same elements, so both read images here.

mod bmp;
#[cfg(test)]
mod changed;
mod decode;
mod decoded;
mod exif;
mod gif;
mod jpeg;
mod pixels;
mod size;
mod tiff;
mod webp;

use anyhow::{Context, Result, bail, ensure};
use pixels::Pixels;
use sslm_format::{Color, Dim, ElementType, Preprocessing, Resize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use decode::MAX_FILE;

/// Images are not enlarged beyond this.
const MAX_PIXELS: u64 = 1 << 26;

/// How names of images end, in small letters.
const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"];

/// Whether a file is an image, as far as its name says.
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
pub fn load(path: &Path, rule: &Preprocessing, dims: &[Dim], layout: Layout) -> Result<(Vec<usize>, Vec<f32>)> {
    let file = File::open(path).context("cannot open");
    file.and_then(|file| read(file, rule, dims, layout)).with_context(|| format!("{}", path.display()))
}

/// As [`load`], of an image that need not be a file.
///
/// # Errors
/// As [`load`].
pub fn read(image: impl Read, rule: &Preprocessing, dims: &[Dim], layout: Layout) -> Result<(Vec<usize>, Vec<f32>)> {
    let (channels, [y, x]) = (layout.channels, layout.size_axes);
    let image = decode::decode(image, channels)?;
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
            let image = scale(&image, width, height).with_context(rule)?;
            let (width, height) = (extent(x, image.width).min(image.width), extent(y, image.height).min(image.height));
            image.crop((image.width - width) / 2, (image.height - height) / 2, width, height)
        }
    };
    let (width, height) = (extent(x, image.width), extent(y, image.height));
    let image = scale(&image, width, height).with_context(|| format!("the model's input is {}", describe(dims)))?;

    let plane = width as usize * height as usize;
    let element = |pixel: usize, c: usize| {
        let stored = if rule.color == Color::Bgr { channels - 1 - c } else { c };
        (f32::from(image.bytes[pixel * channels + stored]) * rule.scale - rule.mean[c]) / rule.std[c]
    };
    let (width, height) = (width as usize, height as usize);
    Ok(if layout.is_channels_last() {
        let elements = (0..plane).flat_map(|pixel| (0..channels).map(move |c| (pixel, c)));
        (vec![1, height, width, channels], elements.map(|(pixel, c)| element(pixel, c)).collect())
    } else {
        let elements = (0..channels).flat_map(|c| (0..plane).map(move |pixel| (pixel, c)));
        (vec![1, channels, height, width], elements.map(|(pixel, c)| element(pixel, c)).collect())
    })
}

fn scale(image: &Pixels, width: u32, height: u32) -> Result<Pixels> {
    let own = (image.width, image.height);
    if own == (width, height) {
        return Ok(image.clone());
    }
    let pixels = |(width, height)| u64::from(width) * u64::from(height);
    ensure!(
        pixels((width, height)) <= pixels(own).max(MAX_PIXELS),
        "{}x{} pixels would become {width}x{height}: expected at most {MAX_PIXELS} pixels",
        own.0,
        own.1
    );
    Ok(image.scale(width, height))
}
