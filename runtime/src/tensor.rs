//! Tensors at the border of the runtime: a shape and a row-major slice, of `f32` or of the type that a model says.

use crate::error::{Error, Result};
use bytemuck::{AnyBitPattern, NoUninit};
#[cfg(feature = "ndarray")]
use ndarray::{ArrayBase, ArrayViewD, Data, Dimension};
use sslm_format::ElementType;

/// A borrowed row-major `f32` tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    shape: &'a [usize],
    data: &'a [f32],
}

impl<'a> TensorView<'a> {
    /// One without elements.
    pub(crate) const EMPTY: TensorView<'static> = TensorView { shape: &[0], data: &[] };

    /// A view of `data` as `shape`.
    ///
    /// # Errors
    /// If `data` has not as many elements as `shape` says.
    pub fn new(shape: &'a [usize], data: &'a [f32]) -> Result<Self> {
        check_len(shape, data.len())?;
        Ok(TensorView { shape, data })
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

/// A row-major `f32` tensor of the caller's, to be written ([`crate::Session::run_into`]).
#[derive(Debug, PartialEq)]
pub struct TensorViewMut<'a> {
    shape: &'a [usize],
    data: &'a mut [f32],
}

impl<'a> TensorViewMut<'a> {
    /// A view of `data` as `shape`.
    ///
    /// # Errors
    /// If `data` has not as many elements as `shape` says.
    pub fn new(shape: &'a [usize], data: &'a mut [f32]) -> Result<Self> {
        check_len(shape, data.len())?;
        Ok(TensorViewMut { shape, data })
    }

    /// Extents of the axes.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Elements, last axis fastest.
    pub fn data_mut(&mut self) -> &mut [f32] {
        self.data
    }
}

/// A borrowed row-major tensor whose elements are of the type that a model declares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TypedView<'a> {
    shape: &'a [usize],
    element_type: ElementType,
    bytes: &'a [u8],
}

impl<'a> TypedView<'a> {
    /// A view of `data` as `shape`.
    ///
    /// # Errors
    /// If `data` has not as many elements as `shape` says.
    pub fn new<T: Element>(shape: &'a [usize], data: &'a [T]) -> Result<Self> {
        Self::from_bytes(shape, T::TYPE, bytemuck::cast_slice(data))
    }

    /// A view of elements of any type, by their bytes in the machine's order: float16 has no type in Rust.
    ///
    /// # Errors
    /// If there are not as many bytes as `shape` says.
    pub fn from_bytes(shape: &'a [usize], element_type: ElementType, bytes: &'a [u8]) -> Result<Self> {
        let is_whole = bytes.len().is_multiple_of(element_type.size());
        if !is_whole {
            return Err(Error::input("tensor", format!("whole elements of {element_type}"), format!("{} bytes", bytes.len())));
        }
        check_len(shape, bytes.len() / element_type.size())?;
        Ok(TypedView { shape, element_type, bytes })
    }

    /// Extents of the axes.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// The elements, last axis fastest, as bytes in the machine's order.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements as they lie, if they are `f32`, and their address is one that an `f32` may have.
    pub(crate) fn as_f32(&self) -> Option<&'a [f32]> {
        if self.element_type == ElementType::F32 { bytemuck::try_cast_slice(self.bytes).ok() } else { None }
    }
}

/// A type of Rust whose values are elements of inputs and outputs.
pub trait Element: NoUninit + sealed::Sealed {
    /// What models call it.
    const TYPE: ElementType;

    /// Elements from their bytes in the machine's order. Bytes of a bool are 0 or 1.
    #[doc(hidden)]
    fn of_bytes(bytes: &[u8]) -> Vec<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($t:ty = $variant:ident, $of_bytes:expr;)*) => { $(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const TYPE: ElementType = ElementType::$variant;

            fn of_bytes(bytes: &[u8]) -> Vec<Self> {
                $of_bytes(bytes)
            }
        }
    )* };
}

elements! {
    f32 = F32, collect;
    f64 = F64, collect;
    u8 = U8, collect;
    i8 = I8, collect;
    u16 = U16, collect;
    i16 = I16, collect;
    u32 = U32, collect;
    i32 = I32, collect;
    u64 = U64, collect;
    i64 = I64, collect;
    bool = Bool, |bytes: &[u8]| bytes.iter().map(|&byte| byte != 0).collect();
}

/// Elements whose every pattern of bits is one.
fn collect<T: AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

/// That a tensor of this shape has `len` elements.
fn check_len(shape: &[usize], len: usize) -> Result<()> {
    match shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e)) {
        Some(n) if n == len => Ok(()),
        _ => Err(Error::input("tensor", format!("as many elements as shape {shape:?} has"), len)),
    }
}
