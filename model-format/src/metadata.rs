//! What a file says besides the network: how images become inputs, and where the file came from.

use crate::codec::{choice, record};
use std::fmt;

record! {
    /// How pixels become elements: `(pixel * scale - mean[c]) / std[c]`, pixel 0..=255.
    pub struct Preprocessing {
        /// Channels and their order.
        pub color: Color,
        /// How an image of another size is fitted.
        pub resize: Resize,
        /// Applied to 0..=255 before `mean` and `std`.
        pub scale: f32,
        /// One per channel.
        pub mean: Vec<f32>,
        /// One per channel, none zero.
        pub std: Vec<f32>,
    }

    /// What the file was made from and by what.
    pub struct Provenance {
        /// Program and version.
        pub tool: String,
        /// File name (no folders) of the source model.
        pub source: String,
        /// Size of the source model in bytes.
        pub source_bytes: u64,
        /// SHA-256 of the source model.
        pub source_sha256: [u8; 32],
        /// Whether zeros were kept in place on request.
        pub dense: bool,
    }
}

choice! {
    /// Channels of an image and their order.
    pub enum Color: "colour order" {
        /// One channel.
        0 => Gray,
        /// Red, green, blue.
        1 => Rgb,
        /// Blue, green, red.
        2 => Bgr,
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Color::Gray => "gray",
            Color::Rgb => "rgb",
            Color::Bgr => "bgr",
        })
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resize::Stretch => f.write_str("stretched"),
            Resize::CenterCrop { short_side } => write!(f, "centre of a short side of {short_side} pixels"),
        }
    }
}

choice! {
    /// How an image of another size is fitted to the input's height and width.
    pub enum Resize: "resize rule" {
        /// Both sides are scaled to fit, whatever that does to the proportions.
        0 => Stretch,
        /// The shorter side is scaled to `short_side`, then the centre is cut out.
        1 => CenterCrop {
            /// Pixels.
            short_side: u32,
        },
    }
}
