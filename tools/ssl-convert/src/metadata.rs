//! Labels and preprocessing that travel with a model: from the ONNX file's `metadata_props` or from the command line.

use crate::onnx::proto::ModelProto;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sslm_format::{Color, Preprocessing, Resize};

/// Key of a JSON array of class names.
pub const LABELS_KEY: &str = "ssl.labels";
/// Key of a JSON object: see [`parse_preprocessing`].
pub const PREPROCESSING_KEY: &str = "ssl.preprocessing";

fn property<'a>(model: &'a ModelProto, key: &str) -> Option<&'a str> {
    model.metadata_props.iter().find(|p| p.key == key).map(|p| p.value.as_str())
}

/// Class names stored in the model.
///
/// # Errors
/// If they are not a JSON array of strings.
pub fn labels(model: &ModelProto) -> Result<Vec<String>> {
    let Some(json) = property(model, LABELS_KEY) else { return Ok(Vec::new()) };
    serde_json::from_str(json).with_context(|| format!("metadata {LABELS_KEY}: expected a JSON array of strings"))
}

/// Preprocessing stored in the model.
///
/// # Errors
/// As [`parse_preprocessing`].
pub fn preprocessing(model: &ModelProto) -> Result<Option<Preprocessing>> {
    let json = property(model, PREPROCESSING_KEY);
    json.map(|json| parse_preprocessing(json).with_context(|| format!("metadata {PREPROCESSING_KEY}"))).transpose()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    color: String,
    resize: serde_json::Value,
    scale: f32,
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// Reads preprocessing such as
/// `{"color": "rgb", "resize": {"short_side": 256}, "scale": 0.00392157, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}`.
/// `color` is gray, rgb or bgr; `resize` is "stretch" or an object with `short_side` (then the centre is cut out).
///
/// # Errors
/// If it is not such an object.
pub fn parse_preprocessing(json: &str) -> Result<Preprocessing> {
    let Json { color, resize, scale, mean, std } =
        serde_json::from_str(json).context("expected an object with color, resize, scale, mean, std")?;
    let color = match color.as_str() {
        "gray" => Color::Gray,
        "rgb" => Color::Rgb,
        "bgr" => Color::Bgr,
        other => bail!("color: expected gray, rgb or bgr, found {other}"),
    };
    let short_side = resize.get("short_side").and_then(serde_json::Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let resize = match (resize.as_str(), short_side) {
        (Some("stretch"), _) => Resize::Stretch,
        (_, Some(short_side)) => Resize::CenterCrop { short_side },
        _ => bail!("resize: expected \"stretch\" or {{\"short_side\": pixels}}, found {resize}"),
    };
    let channels = if color == Color::Gray { 1 } else { 3 };
    for (what, found) in [("mean", mean.len()), ("std", std.len())] {
        ensure!(found == channels, "{what}: expected {channels} numbers, found {found}");
    }
    Ok(Preprocessing { color, resize, scale, mean, std })
}
