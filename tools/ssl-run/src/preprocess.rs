//! The preprocessing of images: the model's own, overridden by flags.

use anyhow::{Context, Result, bail};
use clap::Args;
use ssl_images::Layout;
use sslm::{Color, Model, Preprocessing, Resize, TensorInfo};
use std::str::FromStr;

/// Flags that override single parts of the preprocessing.
#[derive(Args, Clone)]
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

/// The rule to apply, and how images lie in the input: the model's, overridden by flags. Where neither says anything, pixels become 0..1, and a note on stderr
/// says so; a model that takes integers takes pixels as they are.
pub(crate) fn rule(model: &Model, input: &TensorInfo, flags: &Flags) -> Result<(Preprocessing, Layout)> {
    let layout = Layout::of(&input.dims, input.element_type).context("images do not fit (use --input for other tensors)")?;
    let channels = layout.channels;
    let mut rule = match model.preprocessing() {
        Some(stored) => stored.clone(),
        None => {
            if flags.scale.is_none() && flags.mean.is_none() && !input.element_type.is_integer() {
                ssl_cli::note(
                    "ssl-run",
                    "note: the model says nothing about preprocessing; pixels are scaled to 0..1 (see --scale, --mean, --std)",
                );
            }
            layout.plain()
        }
    };
    rule.color = flags.color.clone().unwrap_or(rule.color);
    rule.resize = flags.resize.clone().unwrap_or(rule.resize);
    rule.scale = flags.scale.unwrap_or(rule.scale);
    let per_channel = |numbers: &Vec<f32>| if numbers.len() == 1 { vec![numbers[0]; channels] } else { numbers.clone() };
    rule.mean = flags.mean.as_ref().map_or(rule.mean, per_channel);
    rule.std = flags.std.as_ref().map_or(rule.std, per_channel);
    layout.check(&rule)?;
    Ok((rule, layout))
}
