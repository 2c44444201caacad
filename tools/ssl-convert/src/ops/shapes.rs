//! Shape: the extents of a tensor as integers. What else computes with shapes are operators on lists of extents, see
//! [`Import::or_extents`].

use crate::import::binding::Binding;
use crate::import::extent::Extent;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use anyhow::{Result, bail};
use sslm_format::ElementType;

pub(super) const IMPORTS: &[Import] = &[Import::moving("Shape", shape)];

fn shape(node: &mut OnnxNode<'_>) -> Result<Binding> {
    node.yields(0, ElementType::I64);
    let extents: Vec<Extent> = match node.first()? {
        Binding::Tensor(t) => Extent::of_dims(&t.dims),
        Binding::Value(v) | Binding::Integers(v) => node.extents_of(v).to_vec(),
        Binding::Extents(_) | Binding::Missing => bail!("input 0: expected a tensor, found a shape"),
    };
    let rank = extents.len() as i64;
    let bound = |name: &str, default: i64| -> Result<usize> {
        let bound = node.int(name, default)?;
        Ok((if bound < 0 { bound + rank } else { bound }).clamp(0, rank) as usize)
    };
    let (start, end) = (bound("start", 0)?, bound("end", rank)?);
    Binding::of_extents(extents[start..end.max(start)].to_vec())
}
