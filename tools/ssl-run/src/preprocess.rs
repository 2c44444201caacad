//! From an image file to the network's input, by the rule stored in the model or given by flags.

use crate::describe;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use image::{DynamicImage, ImageReader, Limits, imageops::FilterType};
use sslm::Model;
use sslm::format::{Color, Dim, Preprocessing, Resize};
use std::path::Path;
use std::str::FromStr;

/// Images are not enlarged beyond this on the way to a crop.
const MAX_PIXELS: f64 = (1u32 << 26) as f64;

/// Flags that override single parts of the preprocessing.
#[derive(Args)]
#[command(next_help_heading = "Preprocessing (instead of what the model says): value = (pixel * scale - mean) / std")]
pub(crate) struct Flags {
    /// gray, rgb or bgr
    #[arg(long, value_name = "ORDER", value_parser = color)]
    color: Option<Color>,
    /// `stretch` to the input's size, or `crop:N`: scale the shorter side to N pixels and cut out the centre
    #[arg(long, value_name = "RULE", value_parser = resize)]
    resize: Option<Resize>,
    /// Multiplies pixels 0..255
    #[arg(long)]
    scale: Option<f32>,
    /// One number per channel, or one for all
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    mean: Option<Vec<f32>>,
    /// One number per channel, or one for all
    #[arg(long, value_delimiter = ',')]
    std: Option<Vec<f32>>,
}

fn color(text: &str) -> Result<Color> {
    match text {
        "gray" => Ok(Color::Gray),
        "rgb" => Ok(Color::Rgb),
        "bgr" => Ok(Color::Bgr),
        _ => bail!("expected gray, rgb or bgr"),
    }
}

fn resize(text: &str) -> Result<Resize> {
    match (text, text.strip_prefix("crop:").map(u32::from_str)) {
        ("stretch", _) => Ok(Resize::Stretch),
        (_, Some(Ok(short_side))) if short_side > 0 => Ok(Resize::CenterCrop { short_side }),
        _ => bail!("expected stretch or crop:PIXELS"),
    }
}

/// The rule to apply: the model's, overridden by flags. Where neither says anything, pixels become 0..1, and a note on stderr
/// says so.
pub(crate) fn rule(model: &Model, dims: &[Dim], flags: &Flags) -> Result<Preprocessing> {
    let channels = match dims {
        [_, Dim::Fixed { size: 1 }, _, _] => 1,
        [_, Dim::Fixed { size: 3 }, _, _] => 3,
        _ => bail!(
            "the model's input is {}: expected [batch, 1 or 3, height, width] for images (use --input for others)",
            describe(dims)
        ),
    };
    let mut rule = match model.preprocessing() {
        Some(stored) => stored.clone(),
        None => {
            if flags.scale.is_none() && flags.mean.is_none() {
                eprintln!(
                    "ssl-run: note: the model says nothing about preprocessing; pixels are scaled to 0..1 (see --scale, --mean, --std)"
                );
            }
            let color = if channels == 1 { Color::Gray } else { Color::Rgb };
            Preprocessing {
                color,
                resize: Resize::Stretch,
                scale: 1.0 / 255.0,
                mean: vec![0.0; channels],
                std: vec![1.0; channels],
            }
        }
    };
    rule.color = flags.color.clone().unwrap_or(rule.color);
    rule.resize = flags.resize.clone().unwrap_or(rule.resize);
    rule.scale = flags.scale.unwrap_or(rule.scale);
    let per_channel = |numbers: &Vec<f32>| if numbers.len() == 1 { vec![numbers[0]; channels] } else { numbers.clone() };
    rule.mean = flags.mean.as_ref().map_or(rule.mean, per_channel);
    rule.std = flags.std.as_ref().map_or(rule.std, per_channel);
    let of_color = if rule.color == Color::Gray { 1 } else { 3 };
    ensure!(
        of_color == channels,
        "preprocessing: expected {channels} channels (the model's input), found {of_color} ({:?})",
        rule.color
    );
    for (what, numbers) in [("mean", &rule.mean), ("std", &rule.std)] {
        ensure!(numbers.len() == channels, "preprocessing: {what}: expected {channels} numbers, found {}", numbers.len());
        ensure!(numbers.iter().all(|x| x.is_finite()), "preprocessing: {what}: expected finite numbers, found {numbers:?}");
    }
    ensure!(rule.std.iter().all(|&s| s != 0.0), "preprocessing: std: expected no 0, found {:?}", rule.std);
    Ok(rule)
}

/// Decodes an image and applies `rule`: the shape (batch 1) and the numbers. Where the model leaves height or width open, the
/// image's own size is taken.
pub(crate) fn load(path: &Path, rule: &Preprocessing, dims: &[Dim]) -> Result<(Vec<usize>, Vec<f32>)> {
    let image = decode(path).with_context(|| format!("{}", path.display()))?;
    let image = match rule.color {
        Color::Gray => DynamicImage::from(image.to_luma8()),
        Color::Rgb | Color::Bgr => DynamicImage::from(image.to_rgb8()),
    };
    let extent = |axis: usize, own: u32| match &dims[axis] {
        Dim::Fixed { size } => u32::try_from(*size).unwrap_or(u32::MAX),
        Dim::Symbolic { .. } => own,
    };
    let image = match rule.resize {
        Resize::Stretch => image,
        Resize::CenterCrop { short_side } => {
            let factor = f64::from(short_side) / f64::from(image.width().min(image.height()));
            let [width, height] = [image.width(), image.height()].map(|side| (f64::from(side) * factor).round());
            ensure!(
                width * height <= MAX_PIXELS,
                "{}x{} pixels would become {width}x{height} by the rule crop:{short_side}: expected at most {MAX_PIXELS} pixels",
                image.width(),
                image.height()
            );
            let image = scale(&image, width as u32, height as u32);
            let (width, height) = (extent(3, image.width()).min(image.width()), extent(2, image.height()).min(image.height()));
            image.crop_imm((image.width() - width) / 2, (image.height() - height) / 2, width, height)
        }
    };
    let (width, height) = (extent(3, image.width()), extent(2, image.height()));
    let image = scale(&image, width, height);

    let (channels, bytes) = (rule.mean.len(), image.as_bytes());
    let plane = width as usize * height as usize;
    let mut numbers = vec![0.0; channels * plane];
    for (c, out) in numbers.chunks_exact_mut(plane).enumerate() {
        let stored = if rule.color == Color::Bgr { channels - 1 - c } else { c };
        let pixels = bytes[stored..].iter().step_by(channels);
        out.iter_mut().zip(pixels).for_each(|(o, &p)| *o = (f32::from(p) * rule.scale - rule.mean[c]) / rule.std[c]);
    }
    Ok((vec![1, channels, height as usize, width as usize], numbers))
}

fn decode(path: &Path) -> Result<DynamicImage> {
    let mut reader = ImageReader::open(path).context("cannot open")?.with_guessed_format().context("cannot read")?;
    // The crate's defaults: at most 512 MiB for one image.
    reader.limits(Limits::default());
    ensure!(reader.format().is_some(), "expected a PNG or JPEG image, found another kind of file");
    let image = reader.decode().context("expected a sound PNG or JPEG image")?;
    ensure!(image.width() > 0 && image.height() > 0, "expected at least one pixel, found none");
    Ok(image)
}

/// Bilinear, widened when shrinking so that every pixel counts.
fn scale(image: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    if (image.width(), image.height()) == (width, height) {
        image.clone()
    } else {
        image.resize_exact(width, height, FilterType::Triangle)
    }
}
