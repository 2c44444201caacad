//! Tensors stored in a model: elements are left where they are in the mapped file, if they are `f32`, and read one by one.

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use sslm_format::Extent;
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
    /// Weights, of any type of floating-point numbers.
    Floats(Floats),
    /// Shapes, axes, quantised weights and the like: integers of any type, and bool.
    Ints(Arc<[i64]>),
    /// Integers of which some depend on symbolic dims.
    Sizes(Arc<[Extent]>),
    /// The same as float32, with a factor each.
    Scaled(Arc<[(Extent, f64)]>),
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
    /// A tensor of given extents.
    ///
    /// # Errors
    /// If `data` has another count of elements.
    pub fn new(dims: Vec<usize>, data: Data) -> Result<Self> {
        let expected = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let found = match &data {
            Data::Floats(floats) => floats.len(),
            Data::Ints(ints) => ints.len(),
            Data::Sizes(sizes) => sizes.len(),
            Data::Scaled(sizes) => sizes.len(),
        };
        ensure!(expected == Some(found), "expected as many elements as dims {dims:?} say, found {found}");
        Ok(Tensor { dims, data })
    }

    /// A tensor of extents, and what is computed of them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_sizes(dims: Vec<usize>, sizes: Vec<Extent>) -> Result<Self> {
        let known: Option<Vec<i64>> = sizes.iter().map(Extent::integer).collect();
        Self::new(dims, known.map_or_else(|| Data::Sizes(sizes.into()), |known| Data::Ints(known.into())))
    }

    /// As [`Self::of_sizes`], as float32 and with a factor each.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_scaled(dims: Vec<usize>, sizes: Vec<(Extent, f64)>) -> Result<Self> {
        let known = |(extent, factor): &(Extent, f64)| Some((extent.integer()? as f64 * factor) as f32);
        let known: Option<Vec<f32>> = sizes.iter().map(known).collect();
        Self::new(dims, known.map_or_else(|| Data::Scaled(sizes.into()), |known| Data::Floats(known.into())))
    }

    /// Its elements as extents, if they are integers.
    pub fn sizes(&self) -> Option<Vec<Extent>> {
        match &self.data {
            Data::Ints(ints) => Some(ints.iter().map(|&i| Extent::from(i)).collect()),
            Data::Sizes(sizes) => Some(sizes.to_vec()),
            Data::Floats(_) | Data::Scaled(_) => None,
        }
    }

    /// Its elements as extents with factors, if they are float32.
    pub fn scaled(&self) -> Option<Vec<(Extent, f64)>> {
        match &self.data {
            Data::Floats(floats) => Some(floats.iter().map(|x| (Extent::from(1usize), f64::from(x))).collect()),
            Data::Scaled(sizes) => Some(sizes.to_vec()),
            Data::Ints(_) | Data::Sizes(_) => None,
        }
    }

    /// Whether its elements are known, and do not depend on symbolic dims.
    pub fn is_known(&self) -> bool {
        matches!(self.data, Data::Floats(_) | Data::Ints(_))
    }

    /// Whether its elements are integers.
    pub fn is_integers(&self) -> bool {
        matches!(self.data, Data::Ints(_) | Data::Sizes(_))
    }

    /// Its elements, if they are float32.
    ///
    /// # Errors
    /// If they are integers, or depend on symbolic dims.
    pub fn floats(&self) -> Result<&Floats> {
        match &self.data {
            Data::Floats(floats) => Ok(floats),
            Data::Ints(_) => bail!("expected float32, found integers"),
            Data::Sizes(_) | Data::Scaled(_) => bail!("expected known elements, found {}", self.symbolic()),
        }
    }

    /// The same as floats: integers become those, if they are exact.
    ///
    /// # Errors
    /// If one is beyond 2^24, or depends on symbolic dims.
    pub fn as_floats(&self) -> Result<Tensor> {
        let Data::Ints(ints) = &self.data else {
            self.floats()?;
            return Ok(self.clone());
        };
        let exact = |&n: &i64| {
            ensure!(n.unsigned_abs() <= 1 << 24, "expected integers of magnitude at most 2^24, which float32 holds, found {n}");
            Ok(n as f32)
        };
        let floats: Vec<f32> = ints.iter().map(exact).collect::<Result<_>>()?;
        Self::new(self.dims.clone(), Data::Floats(floats.into()))
    }

    /// Its elements, if they are integers.
    ///
    /// # Errors
    /// If they are float32, or depend on symbolic dims.
    pub fn ints(&self) -> Result<&[i64]> {
        match &self.data {
            Data::Ints(ints) => Ok(ints),
            Data::Floats(_) => bail!("expected integers, found float32"),
            Data::Sizes(_) | Data::Scaled(_) => bail!("expected known integers, found {}", self.symbolic()),
        }
    }

    /// What it depends on, for messages.
    fn symbolic(&self) -> String {
        let extents: Vec<&Extent> = match &self.data {
            Data::Sizes(sizes) => sizes.iter().collect(),
            Data::Scaled(sizes) => sizes.iter().map(|(extent, _)| extent).collect(),
            Data::Floats(_) | Data::Ints(_) => Vec::new(),
        };
        let open = extents.into_iter().find(|extent| extent.integer().is_none());
        let name = open.and_then(|extent| extent.symbols().into_iter().next());
        match (open, name) {
            (Some(open), Some(name)) => format!("'{open}', which depends on a symbolic dim (--dim {name}=N would fix it)"),
            _ => "others".to_owned(),
        }
    }
}
