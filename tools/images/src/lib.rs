//! From an image file to a network's input, by the preprocessing that a `.sslm` file stores: what `ssl-run` classifies and what
//! `ssl-convert` verifies with must be the same elements, so both read images here.

mod decode;
mod pixels;

use anyhow::{Context, Result, bail, ensure};
use pixels::Pixels;
use sslm_format::{Color, Dim, Preprocessing, Resize};
use std::path::Path;

/// Images are not enlarged beyond this.
const MAX_PIXELS: u64 = 1 << 26;

/// The dims of an input, as messages show them.
pub fn describe(dims: &[Dim]) -> String {
    let dim = |d: &Dim| match d {
        Dim::Fixed { size } => size.to_string(),
        Dim::Symbolic { name } => name.clone(),
    };
    format!("[{}]", dims.iter().map(dim).collect::<Vec<_>>().join(", "))
}

/// How many channels an input of these dims expects of an image.
///
/// # Errors
/// If no image can become such an input.
pub fn channels(dims: &[Dim]) -> Result<usize> {
    match dims {
        [_, Dim::Fixed { size: 1 }, _, _] => Ok(1),
        [_, Dim::Fixed { size: 3 }, _, _] => Ok(3),
        _ => bail!("the model's input is {}: expected [batch, 1 or 3, height, width] for images", describe(dims)),
    }
}

/// The rule where a model stores none: pixels become 0..1.
pub fn plain(channels: usize) -> Preprocessing {
    Preprocessing {
        color: if channels == 1 { Color::Gray } else { Color::Rgb },
        resize: Resize::Stretch,
        scale: 1.0 / 255.0,
        mean: vec![0.0; channels],
        std: vec![1.0; channels],
    }
}

/// Checks that `rule` yields finite elements for an input of `channels` channels.
///
/// # Errors
/// If it does not, naming the part that does not fit.
pub fn check(rule: &Preprocessing, channels: usize) -> Result<()> {
    let of_color = if rule.color == Color::Gray { 1 } else { 3 };
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
    Ok(())
}

/// Decodes an image and applies `rule`: the shape (batch 1) and the elements. Where the model leaves height or width open, the
/// image's own size is taken.
///
/// # Errors
/// If the file is not a sound PNG or JPEG image, or the rule would enlarge it beyond measure.
pub fn load(path: &Path, rule: &Preprocessing, dims: &[Dim]) -> Result<(Vec<usize>, Vec<f32>)> {
    let colors = match rule.color {
        Color::Gray => 1,
        Color::Rgb | Color::Bgr => 3,
    };
    let image = decode::decode(path, colors).with_context(|| format!("{}", path.display()))?;
    let extent = |axis: usize, own: u32| match &dims[axis] {
        Dim::Fixed { size } => u32::try_from(*size).unwrap_or(u32::MAX),
        Dim::Symbolic { .. } => own,
    };
    let image = match rule.resize {
        Resize::Stretch => image,
        Resize::CenterCrop { short_side } => {
            let factor = f64::from(short_side) / f64::from(image.width.min(image.height));
            let [width, height] = [image.width, image.height].map(|side| (f64::from(side) * factor).round() as u32);
            let rule = || format!("{}: the rule crop:{short_side}", path.display());
            let image = scale(&image, width, height).with_context(rule)?;
            let (width, height) = (extent(3, image.width).min(image.width), extent(2, image.height).min(image.height));
            image.crop((image.width - width) / 2, (image.height - height) / 2, width, height)
        }
    };
    let (width, height) = (extent(3, image.width), extent(2, image.height));
    let image =
        scale(&image, width, height).with_context(|| format!("{}: the model's input is {}", path.display(), describe(dims)))?;

    let (channels, bytes) = (rule.mean.len(), &image.bytes);
    let plane = width as usize * height as usize;
    let mut elements = vec![0.0; channels * plane];
    for (c, out) in elements.chunks_exact_mut(plane).enumerate() {
        let stored = if rule.color == Color::Bgr { channels - 1 - c } else { c };
        let pixels = bytes[stored..].iter().step_by(channels);
        out.iter_mut().zip(pixels).for_each(|(o, &p)| *o = (f32::from(p) * rule.scale - rule.mean[c]) / rule.std[c]);
    }
    Ok((vec![1, channels, height as usize, width as usize], elements))
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
