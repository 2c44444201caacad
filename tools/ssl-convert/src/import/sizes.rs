//! Arithmetic with sizes that depend on symbolic dims, as shapes are computed from shapes: by integers, and by float32 where exporters
//! multiply sizes with scales and round.

use anyhow::{Context, Result, bail, ensure};
use sslm_format::{Activation, Binary, Extent, Operator};

/// A size as float32: an extent times a factor.
pub(crate) type Scaled = (Extent, f64);

/// A function of two integers.
pub(crate) fn combined(function: Binary, a: &Extent, b: &Extent) -> Result<Extent> {
    let found = match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a.quotient(b),
        Binary::Max => a.greatest(b),
        Binary::Min => a.least(b),
        // Sizes are not negative, so that both are the same.
        Binary::Modulus | Binary::Remainder => a - &(&a.quotient(b) * b),
        other => bail!("expected known integers for {}, found '{a}' and '{b}'", other.name()),
    };
    ensure!(found.is_defined(), "expected sizes that can be followed, found {} of '{a}' and '{b}'", function.name());
    Ok(found)
}

/// Whether a comparison of two integers holds, if that is so, or not so, whatever the symbols are.
pub(crate) fn compared(function: Binary, a: &Extent, b: &Extent) -> Result<bool> {
    let (low, high) = (a - b).bounds();
    // Sizes are not negative.
    let is_negative = |extent: &Extent| extent.integer().is_some_and(|n| n < 0);
    let known = match function {
        Binary::Equal if is_negative(a) != is_negative(b) => Some(false),
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
pub(crate) fn combined_scaled(function: Binary, a: &Scaled, b: &Scaled) -> Result<Scaled> {
    let one = Extent::from(1usize);
    Ok(match function {
        Binary::Mul if a.0 == one => (b.0.clone(), a.1 * b.1),
        Binary::Mul if b.0 == one => (a.0.clone(), a.1 * b.1),
        Binary::Div if b.0 == one => (a.0.clone(), a.1 / b.1),
        Binary::Div if a.0 == b.0 => (one, a.1 / b.1),
        Binary::Add | Binary::Sub => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => (combined(function, &a, &b)?, 1.0),
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
pub(crate) fn rounded(function: Activation, size: &Scaled) -> Result<Extent> {
    match function {
        // Sizes are not negative.
        Activation::Floor | Activation::Trunc => floor(size),
        Activation::Ceil => ceil(size),
        other => bail!("expected known elements for {}, found fractions of '{}'", other.name(), size.0),
    }
}

/// The largest integer that is not above it.
pub(crate) fn floor(size: &Scaled) -> Result<Extent> {
    let (extent, factor) = size;
    match (whole(size), divisor(*factor)) {
        (Some(whole), _) => Ok(whole),
        (None, Some(divisor)) => Ok(extent.quotient(&divisor)),
        (None, None) => {
            ensure!(*factor > 0.0, "expected a positive factor of '{extent}', found {factor}");
            Ok(extent.scaled(*factor as f32))
        }
    }
}

/// The smallest integer that is not below it.
fn ceil(size: &Scaled) -> Result<Extent> {
    let (extent, factor) = size;
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
