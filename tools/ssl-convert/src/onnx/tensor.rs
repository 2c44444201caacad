//! Tensors stored in a model: elements are left where they are in the mapped file and read one by one.

use crate::onnx::load::ExternalData;
use crate::onnx::proto::{TensorProto, data_type};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use std::sync::Arc;

/// A tensor whose elements are known at conversion.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Extents.
    pub dims: Vec<usize>,
    /// Its elements, row-major.
    pub data: Data,
}

/// Elements of one of the types that inference graphs store.
#[derive(Clone, Debug)]
pub enum Data {
    /// Weights.
    Floats(Floats),
    /// Shapes, axes and the like (int32, int64 or bool).
    Ints(Arc<[i64]>),
}

/// f32 elements: in a mapped file (little-endian, at any alignment), computed, one element repeated, or others with some masked.
#[derive(Clone, Debug, PartialEq)]
pub enum Floats {
    /// In place.
    Raw(Bytes),
    /// In memory.
    Own(Arc<[f32]>),
    /// `len` times `value`.
    Repeated {
        /// The element.
        value: f32,
        /// How many times.
        len: usize,
    },
    /// `elements`, where those whose bit is set read as 0. The elements themselves stay where they are.
    Masked {
        /// All of them.
        elements: Box<Floats>,
        /// Bit `i % 64` of word `i / 64` belongs to element `i`.
        zero: Arc<[u64]>,
    },
}

impl Floats {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Floats::Raw(bytes) => bytes.len() / 4,
            Floats::Own(elements) => elements.len(),
            Floats::Repeated { len, .. } => *len,
            Floats::Masked { elements, .. } => elements.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i`.
    #[inline]
    pub fn at(&self, i: usize) -> f32 {
        match self {
            Floats::Raw(bytes) => {
                let b = &bytes[4 * i..4 * i + 4];
                f32::from_le_bytes([b[0], b[1], b[2], b[3]])
            }
            Floats::Own(elements) => elements[i],
            Floats::Repeated { value, .. } => *value,
            Floats::Masked { zero, .. } if zero[i / 64] >> (i % 64) & 1 == 1 => 0.0,
            Floats::Masked { elements, .. } => elements.at(i),
        }
    }

    /// Whether none is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.iter().all(f32::is_finite)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        (0..self.len()).map(|i| self.at(i))
    }
}

impl From<Vec<f32>> for Floats {
    fn from(elements: Vec<f32>) -> Self {
        Floats::Own(elements.into())
    }
}

impl Tensor {
    /// Reads a stored tensor.
    ///
    /// # Errors
    /// If its type is none of float32, int32, int64 and bool, or its data does not fit its dims.
    pub fn from_proto(proto: &TensorProto, external: &mut ExternalData) -> Result<Self> {
        Self::read(proto, external).with_context(|| format!("tensor '{}'", proto.name))
    }

    fn read(proto: &TensorProto, external: &mut ExternalData) -> Result<Self> {
        let extent = |&d: &i64| usize::try_from(d).with_context(|| format!("dims: expected no negative extent, found {d}"));
        let dims: Vec<usize> = proto.dims.iter().map(extent).collect::<Result<_>>()?;
        let raw = if proto.data_location == 1 { external.bytes_of(proto)? } else { proto.raw_data.clone() };
        let width = match proto.data_type {
            data_type::INT64 => 8,
            data_type::BOOL => 1,
            _ => 4,
        };
        ensure!(raw.len().is_multiple_of(width), "data: expected a multiple of {width} bytes, found {}", raw.len());
        let data = match proto.data_type {
            data_type::FLOAT if raw.is_empty() => Data::Floats(proto.float_data.clone().into()),
            data_type::FLOAT => Data::Floats(Floats::Raw(raw)),
            data_type::INT64 if raw.is_empty() => Data::Ints(proto.int64_data.clone().into()),
            data_type::INT64 => Data::Ints(raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            data_type::BOOL if !raw.is_empty() => Data::Ints(raw.iter().map(|&b| i64::from(b)).collect()),
            data_type::INT32 | data_type::BOOL if raw.is_empty() => {
                Data::Ints(proto.int32_data.iter().map(|&i| i64::from(i)).collect())
            }
            data_type::INT32 => Data::Ints(raw.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()),
            other => bail!("expected float32, int32 or int64, found {}", data_type::name(other)),
        };
        Self::new(dims, data)
    }

    /// A tensor of given extents.
    ///
    /// # Errors
    /// If `data` has another count of elements.
    pub fn new(dims: Vec<usize>, data: Data) -> Result<Self> {
        let expected = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let found = match &data {
            Data::Floats(floats) => floats.len(),
            Data::Ints(ints) => ints.len(),
        };
        ensure!(expected == Some(found), "expected as many elements as dims {dims:?} say, found {found}");
        Ok(Tensor { dims, data })
    }

    /// Its elements, if they are float32.
    ///
    /// # Errors
    /// If they are integers.
    pub fn floats(&self) -> Result<&Floats> {
        match &self.data {
            Data::Floats(floats) => Ok(floats),
            Data::Ints(_) => bail!("expected float32, found integers"),
        }
    }

    /// The tensor with float32 elements.
    ///
    /// # Errors
    /// If they are integers that float32 does not hold.
    pub fn as_floats(&self) -> Result<Tensor> {
        let exact = |&i: &i64| {
            ensure!(i.unsigned_abs() <= 1 << 24, "expected integers of magnitudes up to 2^24, found {i}");
            Ok(i as f32)
        };
        let data = match &self.data {
            Data::Floats(floats) => Data::Floats(floats.clone()),
            Data::Ints(ints) => Data::Floats(ints.iter().map(exact).collect::<Result<Vec<f32>>>()?.into()),
        };
        Ok(Tensor { dims: self.dims.clone(), data })
    }

    /// Its elements, if they are integers.
    ///
    /// # Errors
    /// If they are float32.
    pub fn ints(&self) -> Result<&[i64]> {
        match &self.data {
            Data::Ints(ints) => Ok(ints),
            Data::Floats(_) => bail!("expected integers, found float32"),
        }
    }
}
