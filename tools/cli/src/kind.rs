//! Which kind of file a path names, so that a tool that is given another tool's file says which one takes it.

use anyhow::{Result, bail};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Kinds of files that the tools take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A converted model.
    Sslm,
    /// A model to convert.
    Onnx,
    /// An image, of any format that tools read.
    Image,
    /// One array of NumPy, or an archive of them.
    Array,
}

impl Kind {
    /// The kind of a file by its first bytes, or, of an ONNX model, by its name; `None` for all others, and what cannot be read.
    fn of(path: &Path) -> Option<Kind> {
        // Pipes are not read: what they hold would be gone.
        if !path.is_file() {
            return None;
        }
        let mut start = Vec::new();
        File::open(path).ok()?.take(12).read_to_end(&mut start).ok()?;
        let kinds: [(&[u8], Kind); 8] = [
            (b"\x89SSLM", Kind::Sslm),
            (b"\x89PNG", Kind::Image),
            (b"\xff\xd8\xff", Kind::Image),
            (b"GIF8", Kind::Image),
            (b"II*\0", Kind::Image),
            (b"MM\0*", Kind::Image),
            (b"\x93NUMPY", Kind::Array),
            (b"PK\x03\x04", Kind::Array),
        ];
        // Other files begin like these, too.
        let is_image = start.get(8..) == Some(b"WEBP") || start.starts_with(b"BM") && start.get(6..10) == Some(&[0; 4]);
        if is_image {
            return Some(Kind::Image);
        }
        let by_bytes = kinds.into_iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, kind)| kind);
        by_bytes.or_else(|| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")).then_some(Kind::Onnx))
    }

    /// What it is, as messages name it, and which tool takes it.
    fn with_tool(self) -> [&'static str; 2] {
        match self {
            Kind::Sslm => ["a .sslm model", "ssl-run runs it, ssl-inspect shows it"],
            Kind::Onnx => ["an ONNX model", "ssl-convert MODEL.onnx -o MODEL.sslm makes a .sslm model of it"],
            Kind::Image => ["an image", "ssl-run MODEL.sslm IMAGE runs a model on it"],
            Kind::Array => ["an array of NumPy", "ssl-run MODEL.sslm --input ARRAY --output RESULT runs a model on it"],
        }
    }
}

/// Refuses a file of another kind than `wanted`, if its kind is known. Whatever else may be wrong with it is for others to find.
///
/// # Errors
/// If it is of another kind: then the message says which tool takes it.
pub fn ensure_kind(path: &Path, wanted: Kind) -> Result<()> {
    if let Some(found) = Kind::of(path).filter(|&kind| kind != wanted) {
        let ([expected, _], [found, tool]) = (wanted.with_tool(), found.with_tool());
        bail!("{}: expected {expected}, found {found} ({tool})", path.display());
    }
    Ok(())
}
