//! Arithmetic with sizes that depend on symbolic dims, as shapes are computed from shapes: by integers, and by float32 where exporters
//! multiply sizes with scales and round.

use anyhow::{Context, Result, bail, ensure};
use sslm_format::shape::Shape;
use sslm_format::{Activation, Binary, Extent, Operator};
use std::collections::HashSet;

/// A size as float32: an extent times a factor.
pub(crate) type Scaled = (Extent, f64);

/// The extents of all values, which are not negative, whatever their expressions look like: a layer that would make them so cannot run.
#[derive(Default)]
pub(crate) struct Extents(HashSet<Extent>);

impl Extents {
    /// Those of one more value.
    pub(crate) fn add(&mut self, shape: &Shape) {
        self.0.extend(shape.iter().filter(|extent| extent.integer().is_none()).cloned());
    }

    /// Whether an integer is at least 0 for all inputs.
    pub(crate) fn hold_no_less_than(&self, size: &Extent) -> bool {
        size.bounds().0 >= 0 || self.0.contains(size)
    }
}

/// A function of two integers.
pub(crate) fn combined(function: Binary, a: &Extent, b: &Extent, extents: &Extents) -> Result<Extent> {
    let found = match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => quotient(a, b, extents)?,
        Binary::Max => a.greatest(b),
        Binary::Min => a.least(b),
        Binary::Modulus => a - &(&a.quotient(b) * b),
        Binary::Remainder => a - &(&quotient(a, b, extents)? * b),
        other => bail!("expected known integers for {}, found '{a}' and '{b}'", other.name()),
    };
    ensure!(found.is_defined(), "expected sizes that can be followed, found {} of '{a}' and '{b}'", function.name());
    Ok(found)
}

/// `a / b` rounded towards 0, as ONNX has it. Extents have quotients that are rounded down.
fn quotient(a: &Extent, b: &Extent, extents: &Extents) -> Result<Extent> {
    let negative = |size: &Extent| size * -1;
    let down = a.quotient(b);
    if &(&down * b) == a {
        return Ok(down);
    }
    let (a, b) = match b.bounds() {
        _ if extents.hold_no_less_than(b) => (a.clone(), b.clone()),
        (_, ..0) => (negative(a), negative(b)),
        _ => bail!("expected a divisor of one sign for all inputs, found '{b}'"),
    };
    let opposite = negative(&a);
    Ok(if extents.hold_no_less_than(&a) {
        a.quotient(&b)
    } else if extents.hold_no_less_than(&opposite) {
        negative(&opposite.quotient(&b))
    } else {
        // One of them is 0.
        let [above, below] = [&a, &opposite].map(|size| size.greatest(&Extent::from(0i64)).quotient(&b));
        &above - &below
    })
}

/// Whether a comparison of two integers holds, if that is so, or not so, whatever the symbols are.
pub(crate) fn compared(function: Binary, a: &Extent, b: &Extent, extents: &Extents) -> Result<bool> {
    let (low, high) = (a - b).bounds();
    let are_apart = |a: &Extent, b: &Extent| a.bounds().1 < 0 && extents.hold_no_less_than(b);
    let known = match function {
        Binary::Equal if are_apart(a, b) || are_apart(b, a) => Some(false),
        Binary::Equal if low > 0 || high < 0 => Some(false),
        Binary::Equal if (low, high) == (0, 0) => Some(true),
        Binary::Less if high < 0 => Some(true),
        Binary::Less if low >= 0 => Some(false),
        Binary::LessOrEqual if high <= 0 => Some(true),
        Binary::LessOrEqual if low > 0 => Some(false),
        _ => None,
    };
    let depends = || format!("{}: expected sizes that compare alike for all inputs, found '{a}' and '{b}'", function.name());
    known.with_context(depends)
}

/// A function of two elements of float32. What is known has an extent of 1.
pub(crate) fn combined_scaled(function: Binary, a: &Scaled, b: &Scaled, extents: &Extents) -> Result<Scaled> {
    let one = Extent::from(1usize);
    Ok(match function {
        Binary::Mul if a.0 == one => (b.0.clone(), a.1 * b.1),
        Binary::Mul if b.0 == one => (a.0.clone(), a.1 * b.1),
        Binary::Div if b.0 == one => (a.0.clone(), a.1 / b.1),
        // 0 / 0 is no number.
        Binary::Div if a.0 == b.0 && (a.0.bounds().0 > 0 || a.0.bounds().1 < 0) => (one, a.1 / b.1),
        Binary::Add | Binary::Sub => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => (combined(function, &a, &b, extents)?, 1.0),
            _ => bail!("expected sizes that can be followed, found {} of fractions of '{}' and '{}'", function.name(), a.0, b.0),
        },
        other => bail!("expected sizes that can be followed, found {} of '{}' and '{}'", other.name(), a.0, b.0),
    })
}

/// The integer that it is, if it is one whatever the symbols are.
fn whole((extent, factor): &Scaled) -> Option<Extent> {
    (factor.fract() == 0.0 && factor.abs() < 1e15).then(|| extent * *factor as i64)
}

/// A function that makes integers of float32.
pub(crate) fn rounded(function: Activation, size: &Scaled, extents: &Extents) -> Result<Extent> {
    match function {
        Activation::Floor => floor(size),
        Activation::Trunc => truncated(size, extents),
        Activation::Ceil => ceil(size),
        other => bail!("expected known elements for {}, found fractions of '{}'", other.name(), size.0),
    }
}

/// The next integer towards 0.
pub(crate) fn truncated(size: &Scaled, extents: &Extents) -> Result<Extent> {
    let (extent, factor) = size;
    let opposite = (extent * -1, *factor);
    if *factor < 0.0 {
        return truncated(&(opposite.0, -factor), extents);
    }
    match (whole(size), divisor(*factor)) {
        (Some(whole), _) => Ok(whole),
        (None, Some(divisor)) => quotient(extent, &divisor, extents),
        _ if extents.hold_no_less_than(extent) => floor(size),
        _ if extents.hold_no_less_than(&opposite.0) => Ok(&floor(&opposite)? * -1),
        // One of them is 0.
        _ => {
            let [above, below] = [extent, &opposite.0].map(|size| floor(&(size.greatest(&Extent::from(0i64)), *factor)));
            Ok(&above? - &below?)
        }
    }
}

/// The largest integer that is not above it.
fn floor(size: &Scaled) -> Result<Extent> {
    let (extent, factor) = size;
    if *factor < 0.0 {
        return floor(&(extent * -1, -factor));
    }
    match (whole(size), divisor(*factor)) {
        (Some(whole), _) => Ok(whole),
        (None, Some(divisor)) => Ok(extent.quotient(&divisor)),
        (None, None) => {
            ensure!(*factor > 0.0, "expected a factor of '{extent}' that is a number, found {factor}");
            Ok(extent.scaled(*factor as f32))
        }
    }
}

/// The smallest integer that is not below it.
fn ceil(size: &Scaled) -> Result<Extent> {
    let (extent, factor) = size;
    if *factor < 0.0 {
        return ceil(&(extent * -1, -factor));
    }
    match (whole(size), divisor(*factor)) {
        (Some(whole), _) => Ok(whole),
        (None, Some(divisor)) => Ok(extent.quotient_up(&divisor)),
        (None, None) => bail!("expected '{extent}' times or over an integer, found {factor} times it"),
    }
}

/// The integer that one is divided by where this is the factor; such divisions are exact for all sizes that f32 has.
fn divisor(factor: f64) -> Option<Extent> {
    let divisor = (1.0 / factor).round();
    let exact = divisor > 0.0 && divisor < 1e9 && (1.0 / divisor - factor).abs() <= 1e-7 * factor;
    exact.then(|| Extent::from(divisor as i64))
}
