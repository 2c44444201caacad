//! Images of handwritten digits, and the logits that onnxruntime computed for them from the shipped LeNet's ONNX.

use crate::tools::root;
use ndarray::{Array, Array2, Array4, Dimension};

/// The images and their logits.
///
/// # Panics
/// If the files are not there.
pub fn golden() -> (Array4<f32>, Array2<f32>) {
    (read("images.npy"), read("logits.npy"))
}

fn read<D: Dimension>(name: &str) -> Array<f32, D> {
    let array = ssl_npy::read(&root().join("tests/golden/lenet").join(name)).expect("a golden array");
    let array = Array::from_shape_vec(array.shape, array.elements).expect("an element for each index");
    array.into_dimensionality().expect("the axes of this array")
}
