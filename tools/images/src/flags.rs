//! Flags by which a tool's user overrides what a model says of preprocessing, alike for all tools that run images.

use crate::Layout;
use anyhow::{Result, bail};
use clap::Args;
use sslm_format::{Color, Preprocessing, Resize};
use std::str::FromStr;

/// Flags that override single parts of the preprocessing.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Preprocessing (instead of what the model says): value = (pixel * scale - mean) / std")]
pub struct Flags {
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

impl Flags {
    /// The rule to apply for inputs of this layout: the model's, if it has `stored` one, overridden by flags. Where neither says anything,
    /// pixels become 0..1, and a note says so, which is for the tool's user; a model that takes integers takes pixels as they are.
    ///
    /// # Errors
    /// If the rule does not fit the layout.
    pub fn rule(&self, stored: Option<&Preprocessing>, layout: Layout) -> Result<(Preprocessing, Option<&'static str>)> {
        let channels = layout.channels;
        let is_unknown = stored.is_none() && self.scale.is_none() && self.mean.is_none() && !layout.element_type.is_integer();
        let mut rule = stored.cloned().unwrap_or_else(|| layout.plain());
        rule.color = self.color.clone().unwrap_or(rule.color);
        rule.resize = self.resize.clone().unwrap_or(rule.resize);
        rule.scale = self.scale.unwrap_or(rule.scale);
        let per_channel = |numbers: &Vec<f32>| if numbers.len() == 1 { vec![numbers[0]; channels] } else { numbers.clone() };
        rule.mean = self.mean.as_ref().map_or(rule.mean, per_channel);
        rule.std = self.std.as_ref().map_or(rule.std, per_channel);
        layout.check(&rule)?;
        let note = "note: the model says nothing about preprocessing; pixels are scaled to 0..1 (see --scale, --mean, --std)";
        Ok((rule, is_unknown.then_some(note)))
    }
}
