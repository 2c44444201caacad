//! Shapes of values. Extents may be unknown ([`Extent`] `None`) where an input dimension is symbolic; with concrete inputs everything
//! is known. What an operator makes of shapes stands with its record; here is what those rules have in common.

use crate::error::{Error, Result};

/// One dimension: `None` while it depends on a symbolic one.
pub type Extent = Option<usize>;
/// Extents of all axes.
pub type Shape = Vec<Extent>;

/// No axis is longer than this, and no tensor has more elements: every index fits in an `i64` with room to spare.
pub const MAX_ELEMENTS: usize = 1 << 40;
/// Channels, filters, features and groups are below this.
pub const MAX_CHANNELS: u32 = 1 << 28;
/// Most axes a value has.
pub const MAX_RANK: usize = 8;

/// A shape in words: `?` stands for an extent that depends on a symbolic dimension.
pub fn describe(shape: &[Extent]) -> String {
    let extents: Vec<String> = shape.iter().map(|e| e.map_or_else(|| "?".to_owned(), |e| e.to_string())).collect();
    format!("[{}]", extents.join(", "))
}

/// The shape of `x` with another extent on one axis.
pub(crate) fn on_axis(x: &Shape, axis: u32, extent: &mut dyn FnMut(Extent) -> Result<Extent>) -> Result<Shape> {
    let mut out = x.clone();
    match out.get_mut(axis as usize) {
        Some(e) => *e = extent(*e)?,
        None => return Err(Error::shape("axis", format!("below the rank {}", x.len()), axis)),
    }
    Ok(out)
}

/// Shape of an elementwise operation on `a` and `b` by numpy's rules.
pub(crate) fn broadcast(a: &Shape, b: &Shape) -> Result<Shape> {
    let rank = a.len().max(b.len());
    let padded = |s: &Shape, i: usize| if i + s.len() < rank { Some(1) } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (padded(a, i), padded(b, i)) {
            (Some(1), other) | (other, Some(1)) => Ok(other),
            (Some(p), Some(q)) if p != q => Err(Error::shape(format!("axis {i}"), format!("{p} or 1"), q)),
            (None, known) | (known, _) => Ok(known),
        })
        .collect()
}

pub(crate) fn expect_rank(x: &Shape, rank: usize) -> Result<()> {
    if x.len() == rank { Ok(()) } else { Err(Error::shape("input rank", rank, x.len())) }
}

pub(crate) fn expect_extent(what: &str, found: Extent, expected: usize) -> Result<()> {
    match found {
        Some(n) if n != expected => Err(Error::shape(what, expected, n)),
        _ => Ok(()),
    }
}

pub(crate) fn product(extents: &[Extent]) -> Result<Extent> {
    let mut total = Some(1usize);
    for e in extents {
        total = match total.zip(*e) {
            Some((t, e)) => Some(t.checked_mul(e).ok_or_else(too_large)?),
            None => None,
        };
    }
    Ok(total)
}

pub(crate) fn too_large() -> Error {
    Error::shape("tensor", format!("at most {MAX_ELEMENTS} elements"), "more")
}

/// Checks that a value may have this shape. Counts unknown extents as 1.
///
/// # Errors
/// [`crate::ErrorKind::Shape`] if it has more than [`MAX_RANK`] axes or [`MAX_ELEMENTS`] elements.
pub fn check_size(shape: &Shape) -> Result<()> {
    if shape.len() > MAX_RANK {
        return Err(Error::shape("rank", format!("at most {MAX_RANK}"), shape.len()));
    }
    let elements = shape.iter().try_fold(1usize, |n, e| n.checked_mul(e.unwrap_or(1).max(1)));
    if elements.is_some_and(|n| n <= MAX_ELEMENTS) { Ok(()) } else { Err(too_large()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_is_numpys() {
        assert_eq!(broadcast(&vec![None, Some(4)], &vec![Some(4)]).unwrap(), vec![None, Some(4)]);
        assert_eq!(broadcast(&vec![Some(3), Some(1)], &vec![Some(1), Some(5)]).unwrap(), vec![Some(3), Some(5)]);
        assert!(broadcast(&vec![Some(3)], &vec![Some(2)]).is_err());
    }

    #[test]
    fn sizes_are_capped() {
        assert!(check_size(&vec![Some(1 << 30), Some(1 << 30)]).is_err());
        assert!(check_size(&vec![Some(usize::MAX), Some(usize::MAX)]).is_err());
        assert!(check_size(&vec![Some(1); 9]).is_err());
        assert!(check_size(&vec![None, Some(1 << 20)]).is_ok());
    }
}
