//! Extents of axes, and what is computed of them. An extent is known, or it is an expression of the symbolic dims of the network's
//! inputs: a sum of products of symbols, quotients, minima and maxima. Expressions are kept in one canonical form, so that equal ones
//! mostly look equal: `2 * (h / 2 + 1)` and `2 + h / 2 * 2` are the same thing.
//!
//! Symbols are at least 1. Quotients are rounded down. Results beyond 2^62 are 2^62, which no tensor's extent may be.

use crate::codec::{Field, Reader};
use crate::error::{Error, Result};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

/// Results are cut off here on both sides.
const LIMIT: i64 = 1 << 62;
/// No extent is larger than this; symbols are not.
pub(crate) const MAX_EXTENT: i64 = 1 << 40;
/// Expressions of more symbols and operations than this are not followed.
const MAX_SIZE: usize = 256;
/// Remainders are recognised within at most so many quotients, minima and maxima less one.
const REMAINDERS: usize = 2;
/// In files, stands before an expression in the place of an integer.
const OPEN: i64 = i64::MIN;

/// The extent of an axis, or an integer that is computed from extents.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    /// The integer.
    Known(i64),
    /// An expression with a symbol at least.
    Open(Arc<Sum>),
    /// A quotient by zero, or an expression that is too long to be followed.
    Undefined,
}

/// A sum of at least one term, and a constant.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Sum {
    constant: i64,
    /// Largest first, none with the factors of another one.
    terms: Vec<Term>,
    /// How many symbols and operations there are.
    size: usize,
}

/// A product.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Term {
    /// At least one, in increasing order.
    factors: Vec<Factor>,
    /// Not 0.
    coefficient: i64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Factor {
    /// A symbolic dim of an input.
    Symbol(Arc<str>),
    /// `floor(a / b)`.
    Quotient(Extent, Extent),
    /// The smaller one.
    Least(Extent, Extent),
    /// The larger one.
    Greatest(Extent, Extent),
    /// `floor(a * factor)` in the precision of f32, whose bits are the factor's.
    Scaled(Extent, u32),
}

impl Extent {
    /// A symbolic dim.
    pub fn symbol(name: &str) -> Self {
        Self::of_factor(Factor::Symbol(name.into()))
    }

    /// The extent, if it is known and could be one.
    pub fn known(&self) -> Option<usize> {
        self.integer().and_then(|i| usize::try_from(i).ok())
    }

    /// The integer, if it is known.
    pub fn integer(&self) -> Option<i64> {
        match self.0 {
            Form::Known(i) => Some(i),
            Form::Open(_) | Form::Undefined => None,
        }
    }

    /// Whether it has a value for all values of its symbols, and is short enough to be followed.
    pub fn is_defined(&self) -> bool {
        self.0 != Form::Undefined
    }

    /// The least and the greatest integer that it can be, or less and more than those.
    pub fn bounds(&self) -> (i64, i64) {
        self.bounds_within(REMAINDERS)
    }

    /// As [`Self::bounds`], where remainders are seen so deep within quotients, minima and maxima.
    fn bounds_within(&self, remainders: usize) -> (i64, i64) {
        let bounds = self.bounds_of_terms(remainders);
        let remainder = self.terms().iter().filter(|_| remainders > 0).find_map(|term| self.remainder(term));
        let Some((rest, most)) = remainder else { return bounds };
        let (low, high) = rest.bounds_of_terms(remainders);
        let ends = [low, high].map(i128::from);
        (bounds.0.max(cut(ends[0] + i128::from(most.min(0)))), bounds.1.min(cut(ends[1] + i128::from(most.max(0)))))
    }

    /// If there is a multiple of `a - n floor(a / n)`, of which `term` is the quotient: what is left without it, and the multiple of `n - 1`,
    /// between which and 0 it lies. Where `a` is `floor(b / k) + c` itself, `floor(a / n)` is `floor((b + c k) / (k n))`.
    fn remainder(&self, term: &Term) -> Option<(Extent, i64)> {
        let (a, divisor) = term.as_quotient()?;
        let of_quotient = |other: &Term| {
            let (b, k) = other.as_quotient()?;
            let n = (divisor % k == 0).then_some(divisor / k)?;
            let c = (a - b).integer().filter(|i| i % k == 0)? / k;
            (n > 1 && i128::from(other.coefficient) * i128::from(n) == -i128::from(term.coefficient))
                .then(|| (n, Self::of_terms(cut(i128::from(other.coefficient) * i128::from(c)), vec![other.clone()])))
        };
        let (n, counterpart) = match self.terms().iter().find_map(of_quotient) {
            Some(found) => found,
            None => (divisor, (term.coefficient % divisor == 0).then(|| a * -(term.coefficient / divisor))?),
        };
        let most = cut(-i128::from(term.coefficient) / i128::from(n) * i128::from(n - 1));
        Some((self - &(&counterpart + &Self::of_terms(0, vec![term.clone()])), most))
    }

    /// As [`Self::bounds_within`], as if nothing were known of terms together.
    fn bounds_of_terms(&self, remainders: usize) -> (i64, i64) {
        let (mut low, mut high) = (i128::from(self.constant()), i128::from(self.constant()));
        if !self.is_defined() {
            return (-LIMIT, LIMIT);
        }
        for term in self.terms() {
            let mut product = (i128::from(term.coefficient), i128::from(term.coefficient));
            for factor in &term.factors {
                let (a, b) = factor.bounds(remainders.saturating_sub(1));
                let ends = [product.0, product.1].map(|p| [p * i128::from(a), p * i128::from(b)]).concat();
                let [least, most] = [ends.iter().min(), ends.iter().max()].map(|end| cut(*end.expect("four of them")));
                product = (least.into(), most.into());
            }
            (low, high) = (low + product.0, high + product.1);
        }
        (cut(low), cut(high))
    }

    /// `floor(self / divisor)`.
    pub fn quotient(&self, divisor: &Extent) -> Extent {
        if !self.is_defined() || !divisor.is_defined() || divisor.integer() == Some(0) {
            return Extent(Form::Undefined);
        }
        if let (Some(a), Some(b)) = (self.integer(), divisor.integer()) {
            return Extent::from(a.div_euclid(b) - i64::from(b < 0 && a.rem_euclid(b) != 0));
        }
        let (quotient, rest) = self.divided(divisor);
        let (low, high) = rest.bounds();
        // What is left is less than the divisor.
        if (low, high) == (0, 0) || (low >= 0 && high < divisor.bounds().0) {
            return quotient;
        }
        let part = rest.quotient_of_quotient(divisor).unwrap_or_else(|| Self::of_factor(Factor::Quotient(rest, divisor.clone())));
        &quotient + &part
    }

    /// `floor(self / divisor)`, if it is `floor((floor(a / k) + c) / n)`, which is `floor((a + c k) / (k n))`: what several strides one after
    /// the other make of an extent.
    fn quotient_of_quotient(&self, divisor: &Extent) -> Option<Extent> {
        let n = divisor.integer().filter(|&n| n > 0)?;
        let [term] = self.terms() else { return None };
        let (a, k) = term.as_quotient().filter(|_| term.coefficient == 1)?;
        let product = k.checked_mul(n).filter(|&product| product <= MAX_EXTENT)?;
        Some((a + &(&Extent::from(self.constant()) * k)).quotient(&Extent::from(product)))
    }

    /// `ceil(self / divisor)`, of a positive divisor.
    pub fn quotient_up(&self, divisor: &Extent) -> Extent {
        (&(self + divisor) - &Extent::from(1i64)).quotient(divisor)
    }

    /// The smaller one.
    pub fn least(&self, other: &Extent) -> Extent {
        match (self - other).bounds() {
            _ if self.is_least_with(other) => self.clone(),
            _ if other.is_least_with(self) => other.clone(),
            (_, high) if high <= 0 => self.clone(),
            (low, _) if low >= 0 => other.clone(),
            _ if !self.is_defined() || !other.is_defined() => Extent(Form::Undefined),
            _ if self < other => Self::of_factor(Factor::Least(self.clone(), other.clone())),
            _ => Self::of_factor(Factor::Least(other.clone(), self.clone())),
        }
    }

    /// The larger one.
    pub fn greatest(&self, other: &Extent) -> Extent {
        match (self - other).bounds() {
            _ if self.is_greatest_with(other) => self.clone(),
            _ if other.is_greatest_with(self) => other.clone(),
            (_, high) if high <= 0 => other.clone(),
            (low, _) if low >= 0 => self.clone(),
            _ if !self.is_defined() || !other.is_defined() => Extent(Form::Undefined),
            _ if self < other => Self::of_factor(Factor::Greatest(self.clone(), other.clone())),
            _ => Self::of_factor(Factor::Greatest(other.clone(), self.clone())),
        }
    }

    /// What becomes of the extents of two operands that are broadcast: equal ones, or the one that is not 1. Of two that are
    /// never 1, so equal, it is the shorter expression.
    pub fn joined(&self, other: &Extent) -> Extent {
        match (self.bounds().0 > 1, other.bounds().0 > 1) {
            (true, true) if other.size() < self.size() => other.clone(),
            (true, _) => self.clone(),
            (_, true) => other.clone(),
            _ => self.greatest(other),
        }
    }

    /// `floor(self * factor)` in the precision of f32, of a positive factor.
    pub fn scaled(&self, factor: f32) -> Extent {
        match self.0 {
            Form::Known(i) => Extent::from((i as f32 * factor).floor() as i64),
            // Of no more digits than f32 has, such products are exact.
            _ if factor.fract() == 0.0 && (1.0..=4096.0).contains(&factor) => self * &Extent::from(factor as i64),
            Form::Open(_) => Self::of_factor(Factor::Scaled(self.clone(), factor.to_bits())),
            Form::Undefined => Extent(Form::Undefined),
        }
    }

    /// The same with symbols replaced by what `value` says of them; symbols that it does not know stay.
    pub fn bind(&self, value: &dyn Fn(&str) -> Option<usize>) -> Extent {
        if self.is_defined() { self.evaluate(&mut Binding(value)) } else { self.clone() }
    }

    /// What it is in another algebra. Of an extent that is not defined, that is 0.
    pub fn evaluate<A: Algebra>(&self, algebra: &mut A) -> A::Element {
        let mut sum = None;
        for term in self.terms() {
            let mut product = (term.coefficient != 1).then(|| algebra.integer(term.coefficient));
            for factor in &term.factors {
                let factor = factor.evaluate(algebra);
                product = Some(match product {
                    Some(product) => algebra.product(product, factor),
                    None => factor,
                });
            }
            sum = match (sum, product) {
                (Some(sum), Some(product)) => Some(algebra.sum(sum, product)),
                (sum, product) => sum.or(product),
            };
        }
        match sum {
            Some(sum) if self.constant() == 0 => sum,
            Some(sum) => {
                let constant = algebra.integer(self.constant());
                algebra.sum(sum, constant)
            }
            None => algebra.integer(self.constant()),
        }
    }

    /// The names of its symbols.
    pub fn symbols(&self) -> BTreeSet<&str> {
        self.terms().iter().flat_map(|term| &term.factors).flat_map(Factor::symbols).collect()
    }

    /// Whether it is the other one, or the smaller one of that and more.
    fn is_least_with(&self, other: &Extent) -> bool {
        self == other || matches!(self.as_factor(), Some(Factor::Least(a, b)) if a.is_least_with(other) || b.is_least_with(other))
    }

    /// Whether it is the other one, or the larger one of that and more.
    fn is_greatest_with(&self, other: &Extent) -> bool {
        self == other
            || matches!(self.as_factor(), Some(Factor::Greatest(a, b)) if a.is_greatest_with(other) || b.is_greatest_with(other))
    }

    /// The factor that it is, if it is one alone.
    fn as_factor(&self) -> Option<&Factor> {
        match self.terms() {
            [Term { factors, coefficient: 1 }] if self.constant() == 0 && factors.len() == 1 => factors.first(),
            _ => None,
        }
    }

    fn of_factor(factor: Factor) -> Extent {
        Self::of_terms(0, vec![Term { factors: vec![factor], coefficient: 1 }])
    }

    /// Terms of equal factors are joined.
    fn of_terms(constant: i64, mut terms: Vec<Term>) -> Extent {
        terms.sort_by(Term::order);
        let mut joined: Vec<Term> = Vec::with_capacity(terms.len());
        for term in terms {
            match joined.last_mut() {
                Some(last) if last.factors == term.factors => {
                    last.coefficient = cut(i128::from(last.coefficient) + i128::from(term.coefficient));
                }
                _ => joined.push(term),
            }
        }
        joined.retain(|term| term.coefficient != 0);
        if joined.is_empty() {
            return Extent::from(constant);
        }
        let size = joined.iter().flat_map(|term| &term.factors).map(Factor::size).sum();
        if size > MAX_SIZE {
            return Extent(Form::Undefined);
        }
        Extent(Form::Open(Arc::new(Sum { constant, terms: joined, size })))
    }

    fn constant(&self) -> i64 {
        match &self.0 {
            Form::Known(i) => *i,
            Form::Open(sum) => sum.constant,
            Form::Undefined => 0,
        }
    }

    fn terms(&self) -> &[Term] {
        match &self.0 {
            Form::Open(sum) => &sum.terms,
            Form::Known(_) | Form::Undefined => &[],
        }
    }

    fn size(&self) -> usize {
        match &self.0 {
            Form::Open(sum) => sum.size,
            Form::Known(_) | Form::Undefined => 1,
        }
    }

    /// Quotient and rest of a division of polynomials, term by term from the largest one.
    fn divided(&self, divisor: &Extent) -> (Extent, Extent) {
        let (mut left, mut quotient, mut rest) = (self.clone(), Extent::from(0i64), Extent::from(0i64));
        for _ in 0..MAX_SIZE {
            let Some(first) = left.terms().first().cloned() else { break };
            let taken = match divisor.terms().first() {
                Some(by) => first.clone().divided_by(&by.factors, by.coefficient),
                None => first.clone().divided_by(&[], divisor.constant()),
            };
            match taken {
                Some(part) => {
                    left = &left - &(&part * divisor);
                    quotient = &quotient + &part;
                }
                None => {
                    let term = Self::of_terms(0, vec![first]);
                    left = &left - &term;
                    rest = &rest + &term;
                }
            }
        }
        rest = &rest + &left;
        // A known divisor goes into the constant, too.
        if let (Some(by), Some(constant)) = (divisor.integer().filter(|by| *by > 0), Some(rest.constant())) {
            let whole = constant.div_euclid(by);
            quotient = &quotient + &Extent::from(whole);
            rest = &rest - &Extent::from(whole * by);
        }
        (quotient, rest)
    }
}

impl Term {
    /// Larger terms first: those of more factors, then those of smaller ones. Products keep this order, as divisions need it.
    fn order(&self, other: &Term) -> Ordering {
        other.factors.len().cmp(&self.factors.len()).then_with(|| self.factors.cmp(&other.factors))
    }

    /// This one without these factors and this coefficient, if it has them.
    fn divided_by(mut self, factors: &[Factor], coefficient: i64) -> Option<Extent> {
        if self.coefficient % coefficient != 0 {
            return None;
        }
        for factor in factors {
            let place = self.factors.binary_search(factor).ok()?;
            self.factors.remove(place);
        }
        let coefficient = self.coefficient / coefficient;
        Some(match self.factors.is_empty() {
            true => Extent::from(coefficient),
            false => Extent::of_terms(0, vec![Term { coefficient, ..self }]),
        })
    }

    /// What is divided and the known divisor above 0, if it is a multiple of such a quotient.
    fn as_quotient(&self) -> Option<(&Extent, i64)> {
        match &self.factors[..] {
            [Factor::Quotient(a, divisor)] => Some((a, divisor.integer().filter(|&divisor| divisor > 0)?)),
            _ => None,
        }
    }

    /// The product.
    fn times(&self, other: &Term) -> Term {
        let mut factors = [&self.factors[..], &other.factors[..]].concat();
        factors.sort_unstable();
        Term { factors, coefficient: cut(i128::from(self.coefficient) * i128::from(other.coefficient)) }
    }
}

impl Factor {
    fn bounds(&self, remainders: usize) -> (i64, i64) {
        let of = |extent: &Extent| extent.bounds_within(remainders);
        match self {
            Factor::Symbol(_) => (1, MAX_EXTENT),
            Factor::Quotient(a, b) => match (of(a), of(b)) {
                ((low, high), (least, most)) if least >= 1 => {
                    let end = |a: i64, small: i64, large: i64| a.div_euclid(if a >= 0 { large } else { small });
                    (end(low, least, most), end(high, most, least))
                }
                _ => (-LIMIT, LIMIT),
            },
            Factor::Least(a, b) => (of(a).0.min(of(b).0), of(a).1.min(of(b).1)),
            Factor::Greatest(a, b) => (of(a).0.max(of(b).0), of(a).1.max(of(b).1)),
            Factor::Scaled(a, factor) => {
                let (low, high) = of(a);
                // Products that are rounded may be off in the last digits of f32.
                let end = |a: i64, share: f64| (a as f64 * f64::from(f32::from_bits(*factor)) * share).floor() as i64;
                if low >= 0 { (end(low, 0.999_999), end(high, 1.000_001).min(LIMIT)) } else { (-LIMIT, LIMIT) }
            }
        }
    }

    fn operands(&self) -> Vec<&Extent> {
        match self {
            Factor::Symbol(_) => Vec::new(),
            Factor::Quotient(a, b) | Factor::Least(a, b) | Factor::Greatest(a, b) => vec![a, b],
            Factor::Scaled(a, _) => vec![a],
        }
    }

    fn size(&self) -> usize {
        1 + self.operands().into_iter().map(Extent::size).sum::<usize>()
    }

    fn symbols(&self) -> BTreeSet<&str> {
        match self {
            Factor::Symbol(name) => BTreeSet::from([&**name]),
            _ => self.operands().into_iter().flat_map(Extent::symbols).collect(),
        }
    }

    fn evaluate<A: Algebra>(&self, algebra: &mut A) -> A::Element {
        let mut pair = |a: &Extent, b: &Extent| (a.evaluate(algebra), b.evaluate(algebra));
        match self {
            Factor::Symbol(name) => algebra.symbol(name),
            Factor::Quotient(a, b) => {
                let (a, b) = pair(a, b);
                algebra.quotient(a, b)
            }
            Factor::Least(a, b) => {
                let (a, b) = pair(a, b);
                algebra.least(a, b)
            }
            Factor::Greatest(a, b) => {
                let (a, b) = pair(a, b);
                algebra.greatest(a, b)
            }
            Factor::Scaled(a, factor) => {
                let a = a.evaluate(algebra);
                algebra.scaled(a, f32::from_bits(*factor))
            }
        }
    }
}

/// What extents are computed in.
pub trait Algebra {
    /// What there is one of for each extent.
    type Element;
    /// An integer.
    fn integer(&mut self, integer: i64) -> Self::Element;
    /// A symbolic dim.
    fn symbol(&mut self, name: &str) -> Self::Element;
    /// `a + b`.
    fn sum(&mut self, a: Self::Element, b: Self::Element) -> Self::Element;
    /// `a b`.
    fn product(&mut self, a: Self::Element, b: Self::Element) -> Self::Element;
    /// `floor(a / b)`.
    fn quotient(&mut self, a: Self::Element, b: Self::Element) -> Self::Element;
    /// The smaller one.
    fn least(&mut self, a: Self::Element, b: Self::Element) -> Self::Element;
    /// The larger one.
    fn greatest(&mut self, a: Self::Element, b: Self::Element) -> Self::Element;
    /// `floor(a factor)`, in the precision of f32.
    fn scaled(&mut self, a: Self::Element, factor: f32) -> Self::Element;
}

/// Extents, with symbols replaced by what is known of them.
struct Binding<'a>(&'a dyn Fn(&str) -> Option<usize>);

impl Algebra for Binding<'_> {
    type Element = Extent;

    fn integer(&mut self, integer: i64) -> Extent {
        Extent::from(integer)
    }

    fn symbol(&mut self, name: &str) -> Extent {
        self.0(name).map_or_else(|| Extent::symbol(name), Extent::from)
    }

    fn sum(&mut self, a: Extent, b: Extent) -> Extent {
        &a + &b
    }

    fn product(&mut self, a: Extent, b: Extent) -> Extent {
        &a * &b
    }

    fn quotient(&mut self, a: Extent, b: Extent) -> Extent {
        a.quotient(&b)
    }

    fn least(&mut self, a: Extent, b: Extent) -> Extent {
        a.least(&b)
    }

    fn greatest(&mut self, a: Extent, b: Extent) -> Extent {
        a.greatest(&b)
    }

    fn scaled(&mut self, a: Extent, factor: f32) -> Extent {
        a.scaled(factor)
    }
}

fn cut(i: i128) -> i64 {
    i.clamp((-LIMIT).into(), LIMIT.into()) as i64
}

impl From<i64> for Extent {
    fn from(integer: i64) -> Self {
        Extent(Form::Known(integer.clamp(-LIMIT, LIMIT)))
    }
}

impl From<usize> for Extent {
    fn from(extent: usize) -> Self {
        Extent::from(i64::try_from(extent).unwrap_or(LIMIT))
    }
}

impl Add for &Extent {
    type Output = Extent;
    fn add(self, other: &Extent) -> Extent {
        if !self.is_defined() || !other.is_defined() {
            return Extent(Form::Undefined);
        }
        let constant = cut(i128::from(self.constant()) + i128::from(other.constant()));
        Extent::of_terms(constant, [self.terms(), other.terms()].concat())
    }
}

impl Sub for &Extent {
    type Output = Extent;
    fn sub(self, other: &Extent) -> Extent {
        self + &(other * &Extent::from(-1i64))
    }
}

impl Mul for &Extent {
    type Output = Extent;
    fn mul(self, other: &Extent) -> Extent {
        let [a, b] = [self, other];
        let many = (a.terms().len() + 1) * (b.terms().len() + 1) > MAX_SIZE;
        if many || !a.is_defined() || !b.is_defined() {
            return Extent(Form::Undefined);
        }
        let by = |terms: &[Term], constant: i64| -> Vec<Term> {
            let scaled = |t: &Term| Term { coefficient: cut(i128::from(t.coefficient) * i128::from(constant)), ..t.clone() };
            terms.iter().map(scaled).collect()
        };
        let products = a.terms().iter().flat_map(|t| b.terms().iter().map(move |u| t.times(u)));
        let terms = products.chain(by(a.terms(), b.constant())).chain(by(b.terms(), a.constant())).collect();
        Extent::of_terms(cut(i128::from(a.constant()) * i128::from(b.constant())), terms)
    }
}

impl Add<i64> for &Extent {
    type Output = Extent;
    fn add(self, other: i64) -> Extent {
        self + &Extent::from(other)
    }
}

impl Mul<i64> for &Extent {
    type Output = Extent;
    fn mul(self, other: i64) -> Extent {
        self * &Extent::from(other)
    }
}

/// As people write it.
impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_defined() {
            return f.write_str("?");
        }
        for (i, term) in self.terms().iter().enumerate() {
            let sign = ["", " + ", "-", " - "][usize::from(i > 0) + 2 * usize::from(term.coefficient < 0)];
            f.write_str(sign)?;
            if term.coefficient.unsigned_abs() != 1 {
                write!(f, "{}*", term.coefficient.unsigned_abs())?;
            }
            for (i, factor) in term.factors.iter().enumerate() {
                f.write_str(if i > 0 { "*" } else { "" })?;
                match factor {
                    Factor::Symbol(name) => f.write_str(name)?,
                    Factor::Quotient(a, b) => write!(f, "floor(({a})/({b}))")?,
                    Factor::Least(a, b) => write!(f, "min({a}, {b})")?,
                    Factor::Greatest(a, b) => write!(f, "max({a}, {b})")?,
                    Factor::Scaled(a, factor) => write!(f, "floor(({a})*{})", f32::from_bits(*factor))?,
                }
            }
        }
        match self.constant() {
            0 if !self.terms().is_empty() => Ok(()),
            constant if self.terms().is_empty() => write!(f, "{constant}"),
            constant if constant < 0 => write!(f, " - {}", -constant),
            constant => write!(f, " + {constant}"),
        }
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Eight bytes of an integer; before an expression stands the least one.
impl Field for Extent {
    const MIN_SIZE: usize = 8;

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(integer) = self.integer() {
            return integer.write(out);
        }
        OPEN.write(out);
        self.constant().write(out);
        u32::try_from(self.terms().len()).unwrap_or(u32::MAX).write(out);
        for term in self.terms() {
            term.coefficient.write(out);
            term.factors.write(out);
        }
    }

    fn read(r: &mut Reader) -> Result<Self> {
        let place = r.place();
        match i64::read(r)? {
            OPEN if r.has_symbols() => {}
            integer => return Ok(Extent::from(integer)),
        }
        r.deeper()?;
        let mut sum = Extent::from(i64::read(r)?);
        for _ in 0..u32::read(r)? {
            let coefficient = Extent::from(i64::read(r)?);
            let product = |product: Extent, factor: Factor| &product * &Extent::of_factor(factor);
            sum = &sum + &Vec::<Factor>::read(r)?.into_iter().fold(coefficient, product);
        }
        r.shallower();
        if sum.is_defined() { Ok(sum) } else { Err(Error::invalid(place, format!("at most {MAX_SIZE} operations"), "more")) }
    }
}

impl Field for Factor {
    const MIN_SIZE: usize = 5;

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Factor::Symbol(name) => {
                out.push(0);
                name.to_string().write(out);
            }
            Factor::Quotient(a, b) => write_pair(1, a, b, out),
            Factor::Least(a, b) => write_pair(2, a, b, out),
            Factor::Greatest(a, b) => write_pair(3, a, b, out),
            Factor::Scaled(a, factor) => {
                out.push(4);
                a.write(out);
                f32::from_bits(*factor).write(out);
            }
        }
    }

    fn read(r: &mut Reader) -> Result<Self> {
        let place = r.place();
        let code = u8::read(r)?;
        Ok(match code {
            0 => Factor::Symbol(String::read(r)?.into()),
            1 => Factor::Quotient(Extent::read(r)?, Extent::read(r)?),
            2 => Factor::Least(Extent::read(r)?, Extent::read(r)?),
            3 => Factor::Greatest(Extent::read(r)?, Extent::read(r)?),
            4 => Factor::Scaled(Extent::read(r)?, f32::read(r)?.to_bits()),
            other => return Err(Error::new(crate::ErrorKind::Version, place, "a known factor", format!("code {other}"))),
        })
    }
}

fn write_pair(code: u8, a: &Extent, b: &Extent, out: &mut Vec<u8>) {
    out.push(code);
    a.write(out);
    b.write(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(integer: i64) -> Extent {
        Extent::from(integer)
    }

    #[test]
    fn equal_expressions_look_equal() {
        let (h, w) = (&Extent::symbol("h"), &Extent::symbol("w"));
        let half = &h.quotient(&n(2));
        let cases = [
            (&(half + 1) * 2, &(half * 2) + 2),
            ((h * w).quotient(w), h.clone()),
            ((&(h + -2) * &(w + -3)).quotient(&(w + -3)), h + -2),
            ((&(h * 4) + 7).quotient(&n(4)), h + 1),
            ((&(h * 4) + 2).quotient(&n(4)), h.clone()),
            (h.quotient_up(&n(2)), (h + 1).quotient(&n(2))),
            (h.least(&(h + 1)), h.clone()),
            (h.greatest(&n(0)), h.clone()),
            (h.least(w), w.least(h)),
            (h - h, n(0)),
            (h.scaled(2.0), h * 2),
            ((&(h + 1).quotient(&n(2)) + 1).quotient(&n(2)), (h + 3).quotient(&n(4))),
            ((&(h + -1).quotient(&n(4)) + -1).quotient(&n(2)), (h + -5).quotient(&n(8))),
            (h.greatest(w), w.greatest(h)),
            (h.greatest(w).greatest(h), h.greatest(w)),
            (h.greatest(&h.greatest(w)), h.greatest(w)),
            (w.least(&h.least(w)), h.least(w)),
            (h.least(w).least(h), h.least(w)),
            (&(h * 2) * &(w * 3), &(h * w) * 6),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
        assert_ne!(h.quotient(&n(2)), h.quotient(&n(3)));
        assert_eq!(n(-7).quotient(&n(2)), n(-4));
        assert_eq!(n(7).quotient(&n(-2)), n(-4));
    }

    /// Of extents of which neither is ever 1, it is the shorter expression, or the first one.
    #[test]
    fn what_is_never_1_is_what_others_become() {
        let (h, w) = (&Extent::symbol("h"), &Extent::symbol("w"));
        let (product, three) = (&(h * w) + 1, &(h + w) + &Extent::symbol("c"));
        let (half, half_of_sum) = (&h.quotient(&n(2)) + 2, (&(h + w) + 5).quotient(&n(2)));
        let cases = [
            (&product, &(w + 1), w + 1),
            (&(w + 1), &product, w + 1),
            (&(h + 1), &(w + 1), h + 1),
            (&(h + 1), w, h + 1),
            (w, &(h + 1), h + 1),
            (&half_of_sum, &product, product.clone()),
            (&half, &three, half.clone()),
            (h, w, h.greatest(w)),
        ];
        for (a, b, expected) in cases {
            assert_eq!(a.joined(b), expected, "{a} and {b}");
        }
    }

    #[test]
    fn bounds_hold_for_all_values_of_symbols() {
        let (h, w) = (&Extent::symbol("h"), &Extent::symbol("w"));
        let (few, anything) = (&h.least(&n(100)), (-LIMIT, LIMIT));
        let cases = [
            (n(100).quotient(w), (0, 100)),
            (n(-100).quotient(w), (-100, -1)),
            (few.quotient(&w.least(&n(5))), (0, 100)),
            (h.quotient(&(w + -3)), anything),
            (few.scaled(1.5), (1, 150)),
            ((few + -5).scaled(1.5), anything),
            (n(4).quotient(&n(0)), anything),
            // As a file may have it.
            (Extent::of_factor(Factor::Quotient(h.clone(), n(0))), anything),
        ];
        for (e, expected) in cases {
            assert_eq!(e.bounds(), expected, "{e}");
        }
    }

    #[test]
    fn remainders_are_less_than_their_divisor() {
        let h = &Extent::symbol("h");
        let up = &(&(h * -1).quotient(&n(32)) * -32) - h; // what is missing to a multiple of 32
        assert_eq!(up.bounds(), (0, 31));
        assert_eq!((&up * -3).bounds(), (-93, 0));
        assert_eq!(up.quotient(&n(2)).bounds(), (0, 15));
        assert_eq!(up.least(&n(31)), up);
        assert_eq!((&(h + 5) + &up).bounds().0, 37);
        let rest = &(h + 3) - &(&(h + 3).quotient(&n(4)) * 4);
        assert_eq!(rest.bounds(), (0, 3));
        assert_eq!(rest.bind(&|_| Some(6)), n(1));
        assert_eq!((&h.quotient(&n(4)) * 3).bounds().0, 0);
        let next = &h.quotient(&n(2)) + 3;
        assert_eq!((&next - &(&next.quotient(&n(4)) * 4)).bounds(), (0, 3));
    }

    #[test]
    fn binding_computes() {
        let (h, w) = (&Extent::symbol("h"), &Extent::symbol("w"));
        let e = &(&(h + 1).quotient(&n(2)) * w) + &h.least(w).greatest(&n(5)).scaled(0.5);
        let value = |name: &str| if name == "h" { Some(9) } else { Some(20) };
        assert_eq!(e.bind(&value), n(5 * 20 + 4));
        assert_eq!(e.symbols().into_iter().collect::<Vec<_>>(), ["h", "w"]);
        assert_eq!(e.bind(&|name| (name == "h").then_some(9)).bind(&value), n(104));
        assert_eq!(h.least(&n(4)).quotient(&n(4)).bind(&value), n(1));
        assert_eq!(h.scaled(2.5).bind(&value), n(22));
        // What is more than the smaller one, or a multiple of it, is not that.
        assert_eq!((&h.least(w) + 1).least(h).bind(&value), n(9));
        assert_eq!((&h.least(w) * &h.greatest(w)).least(h).bind(&value), n(9));
    }

    /// What an expression takes is counted: nothing is added where there is nothing to add.
    #[test]
    fn evaluation_takes_no_more_than_there_is() {
        struct Operations;
        impl Algebra for Operations {
            type Element = usize;
            fn integer(&mut self, _: i64) -> usize {
                0
            }
            fn symbol(&mut self, _: &str) -> usize {
                0
            }
            fn sum(&mut self, a: usize, b: usize) -> usize {
                a + b + 1
            }
            fn product(&mut self, a: usize, b: usize) -> usize {
                a + b + 1
            }
            fn quotient(&mut self, a: usize, b: usize) -> usize {
                a + b + 1
            }
            fn least(&mut self, a: usize, b: usize) -> usize {
                a + b + 1
            }
            fn greatest(&mut self, a: usize, b: usize) -> usize {
                a + b + 1
            }
            fn scaled(&mut self, a: usize, _: f32) -> usize {
                a + 1
            }
        }
        let (h, w) = (&Extent::symbol("h"), &Extent::symbol("w"));
        for (e, expected) in
            [(h.clone(), 0), (h + 1, 1), (h + w, 1), (&(h * w) * 3, 2), (&(h * 2).quotient(&n(3)) + 4, 3), (n(5), 0)]
        {
            assert_eq!(e.evaluate(&mut Operations), expected, "{e}");
        }
    }

    /// Whatever form an expression is brought into, it has the value of what it was made from, within its bounds.
    #[test]
    fn forms_keep_values() {
        let mut state = 1u64;
        let mut below = |count: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % count
        };
        for _ in 0..2000 {
            let (h, w) = (below(40) + 1, below(40) + 1);
            let value = |name: &str| Some(if name == "h" { h } else { w });
            let mut made = vec![(Extent::symbol("h"), h as i64), (Extent::symbol("w"), w as i64)];
            for _ in 0..8 {
                let [(a, x), (b, y)] = [0, 1].map(|_| made[below(made.len())].clone());
                let k = below(5) as i64 + 2;
                let next = match below(7) {
                    0 => (&a + &b, x + y),
                    1 => (&a - &b, x - y),
                    2 => (a.least(&b), x.min(y)),
                    3 => (a.greatest(&b), x.max(y)),
                    4 => (&a * k, x * k),
                    _ => ((&a + (k - 4)).quotient(&n(k)), (x + k - 4).div_euclid(k)),
                };
                if next.0.is_defined() {
                    assert_eq!(next.0.bind(&value), n(next.1), "{} for h = {h}, w = {w}", next.0);
                    let (low, high) = next.0.bounds();
                    assert!((low..=high).contains(&next.1), "{low} to {high} of {} for h = {h}, w = {w}: {}", next.0, next.1);
                    made.push(next);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_followed_is_said_so() {
        let undefined = &n(4).quotient(&n(0));
        assert!(!undefined.is_defined());
        let h = &Extent::symbol("h");
        let operations: [fn(&Extent, &Extent) -> Extent; 6] =
            [|a, b| a + b, |a, b| a - b, |a, b| a * b, Extent::quotient, Extent::least, Extent::greatest];
        for (i, operation) in operations.iter().enumerate() {
            assert!(!operation(undefined, h).is_defined() && !operation(h, undefined).is_defined(), "operation {i}");
        }
        // The longest sum, and one that is longer.
        let sum = (1..MAX_SIZE).fold(h.clone(), |sum, i| &sum + &Extent::symbol(&format!("s{i}")));
        assert!(sum.is_defined() && (&(&sum - h) * 2).is_defined());
        assert!(!(&sum + &Extent::symbol("another")).is_defined());
        let mut e = Extent::symbol("a");
        for name in ["b", "c", "d", "e", "f", "g", "h", "i"] {
            e = &e * &(&Extent::symbol(name) + 1);
        }
        assert!(!(&e * &e).is_defined());
        assert_eq!(&n(LIMIT) * &n(4), n(LIMIT));
    }

    #[test]
    fn expressions_go_there_and_back() {
        let (h, w) = (&Extent::symbol("h"), &Extent::symbol("w"));
        let e = &(&(&h.quotient(&n(3)) * w) - &h.greatest(w)) + &h.scaled(1.5);
        for e in [e, n(-1), n(5), h.least(w)] {
            let mut bytes = Vec::new();
            e.write(&mut bytes);
            let mut reader = Reader::new("TEST", &bytes);
            assert_eq!(Extent::read(&mut reader).expect("what was written"), e);
            reader.finish().expect("all of it");
        }
    }

    #[test]
    fn deep_expressions_are_refused() {
        let mut bytes = Vec::new();
        for _ in 0..100_000 {
            OPEN.write(&mut bytes);
            0i64.write(&mut bytes);
            1u32.write(&mut bytes);
            1i64.write(&mut bytes);
            1u32.write(&mut bytes);
            bytes.push(4);
        }
        assert!(Extent::read(&mut Reader::new("TEST", &bytes)).is_err());
    }

    #[test]
    fn expressions_read_as_people_write_them() {
        let (h, w) = (&Extent::symbol("h"), &Extent::symbol("w"));
        assert_eq!((&(h * w) + -3).to_string(), "h*w - 3");
        assert_eq!((&h.quotient(&n(2)) * -2).to_string(), "-2*floor((h)/(2))");
        assert_eq!(n(7).to_string(), "7");
        assert_eq!(n(0).to_string(), "0");
        assert_eq!((&(h * w) - h).to_string(), "h*w - h");
        assert_eq!((&(&(h * w) + h) + 3).to_string(), "h*w + h + 3");
        assert_eq!(format!("{:?}", h * -2), "-2*h");
    }
}
