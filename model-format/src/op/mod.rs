//! Operators. The list below is the one place that names them all: it generates [`Op`] with its encoding, and [`crate::dispatch!`], by
//! which every crate reaches its own trait for the operator at hand. What the format knows of an operator is stated where its record
//! stands, in the file of its family, by the traits [`Operator`] and `Check`.
//!
//! An operator that lacks an implementation of one of the traits is a compile error in the crate that has the trait. How to add one:
//! `docs/adding-an-operator.md`.

mod activation;
mod binary;
mod constant;
mod conv;
mod gemm;
mod join;
mod layout;
mod normalize;
mod pick;
mod pool;
mod reduce;
mod resize;

pub use activation::Activation;
pub use binary::Binary;
pub use constant::Constant;
pub use conv::{Conv, ConvTranspose};
pub use gemm::Gemm;
pub use join::{Concat, Expand};
pub use layout::{Flatten, Reshape, Transpose};
pub use normalize::{BatchNorm, ChannelNorm, InstanceNorm, LayerNorm, Lrn, Softmax};
pub use pick::{Gather, Slice};
pub use pool::{AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool};
pub use reduce::{ArgMax, ReduceMean};
pub use resize::{Coordinates, Fill, Interpolation, Pad, Resize2d, Target};

use crate::axes::AxisMap;
use crate::error::Result;
use crate::rules::Site;
use crate::shape::Shape;
use crate::weights::{Stored, Weights};
use std::ops::RangeInclusive;

/// Declares the operators: code in the file, and record, which is generic in its weights or not.
macro_rules! operators {
    (($dollar:tt) $($(#[$meta:meta])* $code:literal => $name:ident $(<$w:ident>)?,)*) => {
        /// An operator with its attributes and weights. Names are ONNX's.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op<W: Weights = Stored> { $($(#[$meta])* $name($name $(<$w>)?),)* }

        impl<W: crate::weights::InFile> crate::codec::Field for Op<W> {
            const MIN_SIZE: usize = 1;
            fn write(&self, out: &mut Vec<u8>) {
                match self { $(
                    Op::$name(record) => {
                        out.push($code);
                        crate::codec::Field::write(record, out);
                    }
                )* }
            }
            fn read(r: &mut crate::codec::Reader) -> Result<Self> {
                let place = r.place();
                Ok(match <u8 as crate::codec::Field>::read(r)? {
                    $($code => Op::$name(crate::codec::Field::read(r)?),)*
                    other => return Err(crate::Error::new(
                        crate::ErrorKind::Unsupported,
                        place,
                        "a known operator (a newer sslm may read this file)",
                        format!("code {other}"),
                    )),
                })
            }
        }

        $(
            impl<W: Weights> From<$name $(<$w>)?> for Op<W> {
                fn from(record: $name $(<$w>)?) -> Self {
                    Op::$name(record)
                }
            }
        )*

        /// Evaluates an expression for the record of an operator, whichever it is: `dispatch!(op, record => Trait::method(record))`.
        #[macro_export]
        macro_rules! dispatch {
            ($dollar op:expr, $dollar record:ident => $dollar body:expr) => {
                match $dollar op { $($crate::Op::$name($dollar record) => $dollar body,)* }
            };
        }
    };
}

operators! { ($)
    /// Convolution.
    1 => Conv<W>,
    /// Fully connected.
    2 => Gemm<W>,
    /// A function of each element.
    3 => Activation,
    /// Maximum over windows.
    4 => MaxPool,
    /// Mean over windows.
    5 => AveragePool,
    /// Mean over all of height and width.
    6 => GlobalAveragePool,
    /// Local response normalisation.
    7 => Lrn,
    /// Scale and shift of each channel.
    8 => BatchNorm<W>,
    /// Softmax.
    9 => Softmax,
    /// To two axes.
    10 => Flatten,
    /// To given dims.
    11 => Reshape,
    /// Joins along an axis.
    12 => Concat,
    /// A function of the elements of two values, with ONNX (numpy) broadcasting.
    13 => Binary,
    /// A stored tensor.
    14 => Constant<W>,
    /// Maximum over all of height and width.
    15 => GlobalMaxPool,
    /// Transposed convolution.
    16 => ConvTranspose<W>,
    /// Normalisation of each channel of each image.
    17 => InstanceNorm<W>,
    /// Axes in another order.
    18 => Transpose,
    /// A range of an axis.
    19 => Slice,
    /// Chosen indices of an axis.
    20 => Gather,
    /// More elements around.
    21 => Pad,
    /// Another height and width.
    22 => Resize2d,
    /// Mean over axes.
    23 => ReduceMean,
    /// Broadcast.
    24 => Expand,
    /// Index of the largest element.
    25 => ArgMax,
    /// Normalisation over the last axes.
    26 => LayerNorm<W>,
    /// Normalisation over the channels of each position.
    65 => ChannelNorm<W>,
}

/// What the format states of an operator, whatever its weights are: its rules are part of the format.
pub trait Operator {
    /// The operator's name, as ONNX spells it.
    fn name(&self) -> &'static str;

    /// The minor version of the format that defines it: readers of older ones do not know it.
    fn since(&self) -> u16 {
        1
    }

    /// How many values it reads.
    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    /// The shape of what it yields for inputs of these shapes, as many as [`Self::arity`] says.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] if it cannot be applied to them.
    fn shape(&self, inputs: &[&Shape]) -> Result<Shape>;

    /// How the axes of each input become those of the output.
    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap>;

    /// The element that a slice of the output consists of, if what it depends on of each input makes it one element everywhere, whatever
    /// the weights and the live slices are. Elements are finite.
    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        let _ = sources;
        None
    }

    /// Whether elements only get another shape, in the same row-major order: then nothing is computed, and what is kept of the input is
    /// what is kept of the output.
    fn is_view(&self) -> bool {
        false
    }

    /// Whether every element of the output is one of the input's, and each of those is there once.
    fn only_moves(&self) -> bool {
        self.is_view()
    }

    /// Whether operands of these shapes have to be stored whole, because axis 1 is not the one that the operator has channels on.
    fn needs_whole(&self, inputs: &[&Shape]) -> bool {
        let _ = inputs;
        false
    }
}

/// The rules that an operator's record keeps in a file, so that nothing behind the reader has to ask again.
pub(crate) trait Check {
    /// Rules that need no shapes.
    fn check(&self, site: &Site<'_>) -> Result<()> {
        let _ = site;
        Ok(())
    }

    /// Rules that need the shapes of inputs and output.
    fn check_shapes(&self, site: &Site<'_>, inputs: &[&Shape], output: &Shape) -> Result<()> {
        let _ = (site, inputs, output);
        Ok(())
    }
}

/// What is known of the slices of one input that a slice of the output depends on: of each, the element that it consists of, or `None`
/// where it is live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source<'a> {
    /// It depends on none of this input's.
    Nothing,
    /// It depends on one.
    One(Option<f32>),
    /// It depends on its own one and those around, in order.
    Near {
        /// All of them.
        slices: &'a [Option<f32>],
        /// Which of them is its own.
        own: usize,
    },
    /// It depends on slices of which nothing is known.
    Unknown,
}

impl Source<'_> {
    /// The element, if it depends on one slice and that is constant.
    pub fn one(&self) -> Option<f32> {
        match self {
            Source::One(constant) => *constant,
            Source::Nothing | Source::Near { .. } | Source::Unknown => None,
        }
    }
}

/// The constant of the one input, if that is passed on as it is.
pub(crate) fn passed_on(sources: &[Source<'_>]) -> Option<f32> {
    sources.first()?.one()
}

impl<W: Weights> Operator for Op<W> {
    fn name(&self) -> &'static str {
        dispatch!(self, record => record.name())
    }

    fn since(&self) -> u16 {
        dispatch!(self, record => record.since())
    }

    fn arity(&self) -> RangeInclusive<usize> {
        dispatch!(self, record => record.arity())
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        dispatch!(self, record => record.shape(inputs))
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        dispatch!(self, record => record.axes(inputs, output))
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        dispatch!(self, record => record.constant(sources))
    }

    fn is_view(&self) -> bool {
        dispatch!(self, record => record.is_view())
    }

    fn only_moves(&self) -> bool {
        dispatch!(self, record => record.only_moves())
    }

    fn needs_whole(&self, inputs: &[&Shape]) -> bool {
        dispatch!(self, record => record.needs_whole(inputs))
    }
}

impl Check for Op {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        dispatch!(self, record => record.check(site))
    }

    fn check_shapes(&self, site: &Site<'_>, inputs: &[&Shape], output: &Shape) -> Result<()> {
        dispatch!(self, record => record.check_shapes(site, inputs, output))
    }
}
