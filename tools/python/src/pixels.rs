//! Images to classify: files, bytes of files, and pixels.

use anyhow::{Context, Result};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use ssl_images::Layout;
use sslm::{Preprocessing, TensorInfo};
use std::io::Cursor;
use std::path::PathBuf;

/// Where an image comes from.
pub(crate) enum Image {
    /// A file.
    File(PathBuf),
    /// What a file holds.
    Bytes(Vec<u8>),
    /// Height, width and samples of pixels, and their bytes.
    Pixels((u32, u32, u8, Vec<u8>)),
}

impl Image {
    /// Of a path, of bytes, or of a tuple.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Image::Bytes(bytes.as_bytes().to_vec()));
        }
        match object.cast::<PyTuple>() {
            Ok(pixels) => Ok(Image::Pixels(pixels.extract()?)),
            Err(_) => Ok(Image::File(object.extract()?)),
        }
    }
}

/// The shape and the elements of an image as the input of a model.
pub(crate) fn load(image: Image, rule: &Preprocessing, input: &TensorInfo, layout: Layout) -> Result<(Vec<usize>, Vec<f32>)> {
    match image {
        Image::File(path) => ssl_images::load(&path, rule, &input.dims, layout),
        Image::Bytes(bytes) => ssl_images::read(Cursor::new(bytes), rule, &input.dims, layout).context("image in memory"),
        Image::Pixels((height, width, samples, pixels)) => {
            ssl_images::of_pixels([width, height], usize::from(samples), pixels, rule, &input.dims, layout)
        }
    }
}
