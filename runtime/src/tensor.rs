//! Tensors at the border of the runtime: a shape and a row-major slice.

use crate::error::{Error, Result};
#[cfg(feature = "ndarray")]
use ndarray::{ArrayBase, ArrayViewD, Data, Dimension};

/// A borrowed row-major `f32` tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    shape: &'a [usize],
    data: &'a [f32],
}

impl<'a> TensorView<'a> {
    /// A view of `data` as `shape`.
    ///
    /// # Errors
    /// If `data` has not as many elements as `shape` says.
    pub fn new(shape: &'a [usize], data: &'a [f32]) -> Result<Self> {
        match shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e)) {
            Some(n) if n == data.len() => Ok(TensorView { shape, data }),
            _ => Err(Error::input("tensor", format!("as many elements as shape {shape:?} has"), data.len())),
        }
    }

    /// Extents of the axes.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Elements, last axis fastest.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// The same tensor for ndarray.
    #[cfg(feature = "ndarray")]
    pub fn to_array(&self) -> ArrayViewD<'a, f32> {
        ArrayViewD::from_shape(self.shape, self.data).expect("the constructors checked the length")
    }
}

#[cfg(feature = "ndarray")]
impl<'a, S: Data<Elem = f32>, D: Dimension> TryFrom<&'a ArrayBase<S, D>> for TensorView<'a> {
    type Error = Error;

    /// # Errors
    /// If the array is not contiguous in row-major order (`as_standard_layout` makes it so).
    fn try_from(array: &'a ArrayBase<S, D>) -> Result<Self> {
        let data = array.as_slice().ok_or_else(|| Error::input("array", "row-major contiguous elements", "another layout"))?;
        TensorView::new(array.shape(), data)
    }
}
