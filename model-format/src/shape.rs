//! Shapes of values. What an operator makes of shapes stands with its record; here is what those rules have in common.

use crate::error::{Error, Result};
use crate::extent::{Extent, MAX_EXTENT};

/// Extents of all axes. With symbolic dims among a network's inputs, they are expressions of those.
pub type Shape = Vec<Extent>;

/// No axis is longer than this, and no tensor has more elements: every index fits in an `i64` with room to spare. Where addresses have 32
/// bits, it is as many elements as can be addressed.
pub const MAX_ELEMENTS: usize = if MAX_EXTENT < ADDRESSABLE { MAX_EXTENT } else { ADDRESSABLE } as usize;
const ADDRESSABLE: i64 = (isize::MAX as usize / size_of::<f32>()) as i64;
/// Channels, filters, features and groups are below this.
pub const MAX_CHANNELS: u32 = 1 << 28;
/// Most axes a value has.
pub const MAX_RANK: usize = 8;

/// A shape of known extents.
pub fn of(extents: &[usize]) -> Shape {
    extents.iter().map(|&e| Extent::from(e)).collect()
}

/// The extents, if all of them are known.
pub fn known(shape: &[Extent]) -> Option<Vec<usize>> {
    shape.iter().map(Extent::known).collect()
}

/// The shape of `x` with another extent on one axis.
pub(crate) fn on_axis(x: &Shape, axis: u32, extent: &mut dyn FnMut(&Extent) -> Result<Extent>) -> Result<Shape> {
    let mut out = x.clone();
    match out.get_mut(axis as usize) {
        Some(e) => *e = extent(e)?,
        None => return Err(Error::shape("axis", format!("below the rank {}", x.len()), axis)),
    }
    Ok(out)
}

/// Shape of an elementwise operation on `a` and `b` by numpy's rules.
pub(crate) fn broadcast(a: &Shape, b: &Shape) -> Result<Shape> {
    let (rank, one) = (a.len().max(b.len()), Extent::from(1usize));
    let padded = |s: &Shape, i: usize| if i + s.len() < rank { one.clone() } else { s[i + s.len() - rank].clone() };
    let joined = |i: usize| {
        let (a, b) = (padded(a, i), padded(b, i));
        match (a.known(), b.known()) {
            _ if a == b => Ok(a),
            (Some(1), _) => Ok(b),
            (_, Some(1)) => Ok(a),
            (Some(p), Some(q)) => Err(Error::shape(format!("axis {i}"), format!("{p} or 1"), q)),
            (Some(_), None) => Ok(a),
            (None, Some(_)) => Ok(b),
            (None, None) => Ok(a.joined(&b)),
        }
    };
    (0..rank).map(joined).collect()
}

pub(crate) fn expect_rank(x: &Shape, rank: usize) -> Result<()> {
    if x.len() == rank { Ok(()) } else { Err(Error::shape("input rank", rank, x.len())) }
}

pub(crate) fn expect_extent(what: &str, found: &Extent, expected: usize) -> Result<()> {
    match found.known() {
        Some(n) if n != expected => Err(Error::shape(what, expected, n)),
        _ => Ok(()),
    }
}

pub(crate) fn product(extents: &[Extent]) -> Extent {
    extents.iter().fold(Extent::from(1usize), |product, e| &product * e)
}

pub(crate) fn too_large() -> Error {
    Error::shape("tensor", format!("at most {MAX_ELEMENTS} elements"), "more")
}

/// Checks that a value may have this shape. Counts symbolic extents as 1.
///
/// # Errors
/// [`crate::ErrorKind::Shape`] if it has more than [`MAX_RANK`] axes or [`MAX_ELEMENTS`] elements, a negative extent, or one that is
/// not defined.
pub fn check_size(shape: &Shape) -> Result<()> {
    if shape.len() > MAX_RANK {
        return Err(Error::shape("rank", format!("at most {MAX_RANK}"), shape.len()));
    }
    for (axis, extent) in shape.iter().enumerate() {
        let legal = extent.is_defined() && extent.integer().is_none_or(|e| e >= 0);
        if !legal {
            return Err(Error::shape(format!("axis {axis}"), "an extent of at least 0", extent));
        }
    }
    let elements = shape.iter().try_fold(1i64, |n, e| n.checked_mul(e.integer().unwrap_or(1).max(1)));
    if elements.is_some_and(|n| n <= MAX_ELEMENTS as i64) { Ok(()) } else { Err(too_large()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_is_numpys() {
        let (n, m) = (Extent::symbol("n"), Extent::symbol("m"));
        let four = Extent::from(4usize);
        assert_eq!(broadcast(&vec![n.clone(), four.clone()], &of(&[4])).unwrap(), vec![n.clone(), four.clone()]);
        assert_eq!(broadcast(&of(&[3, 1]), &of(&[1, 5])).unwrap(), of(&[3, 5]));
        assert_eq!(broadcast(&vec![n.clone()], &vec![n.clone()]).unwrap(), vec![n.clone()]);
        assert_eq!(broadcast(&vec![n.clone()], &vec![four.clone()]).unwrap(), vec![four]);
        assert_eq!(broadcast(&vec![n.clone()], &vec![m.clone()]).unwrap(), vec![n.greatest(&m)]);
        // One that cannot be 1 is what the other one is, or what it becomes.
        let even = &Extent::from(2i64) * &m;
        assert_eq!(broadcast(&vec![n.clone()], &vec![even.clone()]).unwrap(), vec![even]);
        assert!(broadcast(&of(&[3]), &of(&[2])).is_err());
    }

    #[test]
    fn ranks_and_extents_are_what_is_expected() {
        assert!(expect_rank(&of(&[1, 2, 3]), 3).is_ok());
        assert!(expect_rank(&of(&[1, 2, 3]), 4).is_err() && expect_rank(&of(&[1, 2, 3]), 2).is_err());
        assert!(expect_extent("channels", &Extent::from(3usize), 3).is_ok());
        assert!(expect_extent("channels", &Extent::from(3usize), 4).is_err());
        assert!(expect_extent("channels", &Extent::symbol("n"), 4).is_ok());
    }

    #[test]
    fn sizes_are_capped() {
        assert!(check_size(&of(&[1 << 30, 1 << 30])).is_err());
        assert!(check_size(&of(&[usize::MAX, usize::MAX])).is_err());
        assert!(check_size(&of(&[1; 9])).is_err());
        assert!(check_size(&vec![Extent::symbol("n"), Extent::from(1usize << 20)]).is_ok());
        assert!(check_size(&vec![Extent::from(-1i64)]).is_err());
    }
}
