//! Elements of every type as ONNX files store them: as raw bytes, here or in another file, or one by one in a field of the message,
//! which small types share. They become `f32` or integers of 64 bits; `f32` elements stay where they are.

use crate::onnx::load::ExternalData;
use crate::onnx::proto::{SparseTensorProto, TensorProto, data_type};
use crate::onnx::tensor::{Data, Floats, Tensor};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use sslm_format::half;

/// A sparse tensor has at most this many elements, zeros included, for each one that it stores, or [`SMALL`] in all: a small file must
/// not ask for much memory.
const MOST_ZEROS: usize = 1 << 10;
const SMALL: usize = 1 << 24;

impl Tensor {
    /// Reads a stored tensor.
    ///
    /// # Errors
    /// If its type is none that `f32` or 64 bits hold, or its data does not fit its dims.
    pub fn from_proto(proto: &TensorProto, external: &mut ExternalData) -> Result<Self> {
        let read = |external| Self::new(extents(&proto.dims)?, read(proto, external)?);
        read(external).with_context(|| format!("tensor '{}'", proto.name))
    }

    /// Reads a stored tensor of which only some elements are there; the others are 0.
    ///
    /// # Errors
    /// As [`Self::from_proto`]; or if it would be much larger than what is stored.
    pub fn from_sparse(proto: &SparseTensorProto, external: &mut ExternalData) -> Result<Self> {
        let name = proto.values.as_ref().map_or("", |values| &values.name);
        read_sparse(proto, external).with_context(|| format!("sparse tensor '{name}'"))
    }
}

/// Extents that a message states.
fn extents(dims: &[i64]) -> Result<Vec<usize>> {
    let extent = |&d: &i64| usize::try_from(d).with_context(|| format!("dims: expected no negative extent, found {d}"));
    dims.iter().map(extent).collect()
}

/// The elements of a tensor.
fn read(proto: &TensorProto, external: &mut ExternalData) -> Result<Data> {
    let raw = if proto.data_location == 1 { Some(external.bytes_of(proto)?) } else { None };
    let raw = raw.or_else(|| (!proto.raw_data.is_empty()).then(|| proto.raw_data.clone()));
    let TensorProto { float_data, int32_data, int64_data, double_data, uint64_data, .. } = proto;
    let fields = [float_data.len(), int32_data.len(), int64_data.len(), double_data.len(), uint64_data.len()];
    let filled = fields.iter().filter(|&&len| len > 0).count() + usize::from(raw.is_some());
    ensure!(filled <= 1, "expected elements in one place, found them in {filled}: raw, in another file or by type");
    let raw = raw.as_ref();
    Ok(match proto.data_type {
        data_type::FLOAT => match raw {
            Some(raw) => Data::Floats(Floats::Raw(whole::<4>(raw)?.clone())),
            None => Data::Floats(float_data.clone().into()),
        },
        data_type::DOUBLE => floats(raw, f64::from_le_bytes, double_data, Some, narrow)?,
        data_type::FLOAT16 => floats(raw, u16::from_le_bytes, int32_data, small, |bits| Ok(half::from_f16(bits)))?,
        data_type::BFLOAT16 => floats(raw, u16::from_le_bytes, int32_data, small, |bits| Ok(half::from_bf16(bits)))?,
        data_type::INT8 => integers(raw, i8::from_le_bytes, int32_data, small)?,
        data_type::UINT8 => integers(raw, u8::from_le_bytes, int32_data, small)?,
        data_type::INT16 => integers(raw, i16::from_le_bytes, int32_data, small)?,
        data_type::UINT16 => integers(raw, u16::from_le_bytes, int32_data, small)?,
        data_type::INT32 => integers(raw, i32::from_le_bytes, int32_data, Some)?,
        data_type::BOOL => integers(raw, |[byte]| u8::from(byte != 0), int32_data, |b| Some(u8::from(b != 0)))?,
        data_type::UINT32 => integers(raw, u32::from_le_bytes, uint64_data, |n| u32::try_from(n).ok())?,
        data_type::INT64 => integers(raw, i64::from_le_bytes, int64_data, Some)?,
        data_type::UINT64 => integers(raw, u64::from_le_bytes, uint64_data, Some)?,
        other => {
            bail!("expected elements of float16, float32, float64, bfloat16, bool or integers, found {}", data_type::name(other))
        }
    })
}

/// A sparse tensor with its zeros in place.
fn read_sparse(proto: &SparseTensorProto, external: &mut ExternalData) -> Result<Tensor> {
    let stored = |part: &Option<TensorProto>| part.clone().context("expected values and indices, found none");
    let (values, indices) = (stored(&proto.values)?, stored(&proto.indices)?);
    let dims = extents(&proto.dims)?;
    let values = Tensor::from_proto(&values, external).context("values")?;
    let indices = Tensor::from_proto(&indices, external).context("indices")?;
    let count: usize = values.dims.iter().product();
    let most = count.saturating_mul(MOST_ZEROS).max(SMALL);
    let len = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&len| len <= most);
    let len = len.with_context(|| format!("expected at most {most} elements for {count} stored ones, found dims {dims:?}"))?;

    // By position, or by an index for each axis.
    let per_value = match indices.dims[..] {
        [n] if n == count => 1,
        [n, rank] if n == count && rank == dims.len() => rank,
        _ => bail!("indices: expected one, or one for each axis, for {count} values, found dims {:?}", indices.dims),
    };
    let extents: &[usize] = if per_value == 1 { &[len] } else { &dims };
    let place = |value: usize| {
        let indices = &indices.ints()?[value * per_value..][..per_value];
        indices.iter().zip(extents).try_fold(0, |at, (&index, &extent)| {
            let index = usize::try_from(index).ok().filter(|&index| index < extent);
            Ok(at * extent + index.with_context(|| format!("indices: expected ones within {extents:?}, found {indices:?}"))?)
        })
    };
    let places: Vec<usize> = (0..count).map(place).collect::<Result<_>>()?;
    ensure!(places.is_sorted_by(|a, b| a < b), "indices: expected increasing ones");
    let data = match &values.data {
        Data::Floats(floats) => Data::Floats(scattered(len, &places, floats.iter()).into()),
        _ => Data::Ints(scattered(len, &places, values.ints()?.iter().copied()).into()),
    };
    Tensor::new(dims, data)
}

/// `len` elements, zero but for `values` at `places`.
fn scattered<T: Clone + Default>(len: usize, places: &[usize], values: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = vec![T::default(); len];
    places.iter().zip(values).for_each(|(&place, value)| all[place] = value);
    all
}

/// Floating-point elements: raw ones of `N` bytes by `of_bytes`, or those of a field by `of_field`, made `f32` by `convert`.
fn floats<const N: usize, F: Copy + ToString, T>(
    raw: Option<&Bytes>,
    of_bytes: fn([u8; N]) -> T,
    field: &[F],
    of_field: fn(F) -> Option<T>,
    convert: fn(T) -> Result<f32>,
) -> Result<Data> {
    let floats: Vec<f32> = each(raw, of_bytes, field, of_field, convert)?;
    Ok(Data::Floats(floats.into()))
}

/// As [`floats`], of integers.
fn integers<const N: usize, F: Copy + ToString, T: TryInto<i64> + Copy + ToString>(
    raw: Option<&Bytes>,
    of_bytes: fn([u8; N]) -> T,
    field: &[F],
    of_field: fn(F) -> Option<T>,
) -> Result<Data> {
    let long = |n: T| n.try_into().ok().with_context(|| format!("expected integers below 2^63, found {}", n.to_string()));
    each(raw, of_bytes, field, of_field, long).map(|ints: Vec<i64>| Data::Ints(ints.into()))
}

fn each<const N: usize, F: Copy + ToString, T, E>(
    raw: Option<&Bytes>,
    of_bytes: fn([u8; N]) -> T,
    field: &[F],
    of_field: fn(F) -> Option<T>,
    convert: impl Fn(T) -> Result<E>,
) -> Result<Vec<E>> {
    if let Some(raw) = raw {
        return whole::<N>(raw)?.as_chunks().0.iter().map(|&bytes| convert(of_bytes(bytes))).collect();
    }
    let stored = |&n: &F| of_field(n).with_context(|| format!("expected elements of the tensor's type, found {}", n.to_string()));
    field.iter().map(|n| convert(stored(n)?)).collect()
}

/// Raw bytes, if they are whole elements of `N` bytes.
fn whole<const N: usize>(raw: &Bytes) -> Result<&Bytes> {
    ensure!(raw.len().is_multiple_of(N), "data: expected a multiple of {N} bytes, found {}", raw.len());
    Ok(raw)
}

/// An element of a small type from the field of `i32` that such types share.
fn small<T: TryFrom<i32>>(n: i32) -> Option<T> {
    T::try_from(n).ok()
}

fn narrow(x: f64) -> Result<f32> {
    let narrow = x as f32;
    ensure!(narrow.is_finite() || !x.is_finite(), "expected float64 elements that float32 holds, found {x:e}");
    Ok(narrow)
}
