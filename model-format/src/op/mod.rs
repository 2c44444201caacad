//! Operators. The list below is the one place that names them all: it generates [`Op`] with its encoding, and [`crate::dispatch!`], by
//! which every crate reaches its own trait for the operator at hand. What the format knows of an operator is stated where its record
//! stands, in the file of its family, by the traits [`Operator`] and `Check`.
//!
//! An operator that lacks an implementation of one of the traits is a compile error in the crate that has the trait. How to add one:
//! `docs/adding-an-operator.md`.

mod activation;
mod binary;
mod choose;
mod constant;
mod conv;
mod gemm;
mod index;
mod join;
mod layout;
mod matmul;
mod normalize;
mod pick;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod sample;
mod sizes;
mod space;
mod volume;

pub use activation::Activation;
pub use binary::Binary;
pub use choose::Where;
pub use constant::Constant;
pub use conv::{Conv, ConvTranspose};
pub use gemm::Gemm;
pub use index::{GatherElements, GatherNd, Meeting, ScatterElements, ScatterNd, TopK};
pub use join::{Concat, Expand};
pub use layout::{Flatten, Reshape, Transpose};
pub use matmul::MatMul;
pub use normalize::{BatchNorm, ChannelNorm, GroupNorm, InstanceNorm, LayerNorm, LogSoftmax, Lrn, Softmax};
pub use pick::{Gather, Slice};
pub use pool::{AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool};
pub use recurrent::{Cell, Direction, Recurrent};
pub use reduce::{ArgMax, Reduce, ReduceMean, Reduction};
pub use resize::{AxisTarget, Coordinates, Fill, Interpolation, Pad, Resample, ResampledAxis, Resize2d, Target};
pub use sample::{Between, GridSample, Outside, RoiAlign};
pub use sizes::{Range, Sizes};
pub use space::{DepthToSpace, SpaceToDepth};
pub use volume::{Depth, VolumeConv};

use crate::axes::AxisMap;
use crate::error::Result;
use crate::extent::Extent;
use crate::rules::Site;
use crate::shape::Shape;
use crate::weights::{Stored, Weights};
use std::ops::RangeInclusive;

/// Declares the operators: code in the file, and record, which is generic in its weights or not. An operator with two codes has the second
/// one where an extent that it states is symbolic: readers that know the first one alone expect integers there.
macro_rules! operators {
    (($dollar:tt) $($(#[$meta:meta])* $code:literal $(| $open:literal)? => $name:ident $(<$w:ident>)?,)*) => {
        /// An operator with its attributes and weights. Names are ONNX's.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op<W: Weights = Stored> { $($(#[$meta])* $name($name $(<$w>)?),)* }

        impl<W: crate::weights::InFile> crate::codec::Field for Op<W> {
            const MIN_SIZE: usize = 1;
            fn write(&self, out: &mut Vec<u8>) {
                out.push(self.code());
                match self { $(Op::$name(record) => crate::codec::Field::write(record, out),)* }
            }
            fn read(r: &mut crate::codec::Reader) -> Result<Self> {
                let place = r.place();
                Ok(match <u8 as crate::codec::Field>::read(r)? {
                    $(
                        $code => {
                            let code: &[u8] = &[$code $(, $open)?];
                            Op::$name(r.with_symbols(code.len() == 1, crate::codec::Field::read)?)
                        }
                        $($open => Op::$name(r.with_symbols(true, crate::codec::Field::read)?),)?
                    )*
                    other => return Err(crate::Error::new(
                        crate::ErrorKind::Unsupported,
                        place,
                        "a known operator (a newer sslm may read this file)",
                        format!("code {other}"),
                    )),
                })
            }
        }

        impl Op {
            /// All codes that a file may name operators by.
            pub const CODES: &'static [u8] = &[$($code, $($open,)?)*];
        }

        impl<W: Weights> Op<W> {
            /// The code that its record has in a file.
            pub fn code(&self) -> u8 {
                match self { $(
                    Op::$name(record) => {
                        let code: &[u8] = &[$code $(, $open)?];
                        code[usize::from(code.len() > 1 && is_open(record))]
                    }
                )* }
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
    11 | 44 => Reshape,
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
    19 | 45 => Slice,
    /// Chosen indices of an axis.
    20 => Gather,
    /// More elements around.
    21 => Pad,
    /// Another height and width.
    22 => Resize2d,
    /// Mean over axes.
    23 => ReduceMean,
    /// Broadcast.
    24 | 46 => Expand,
    /// Index of the largest element.
    25 => ArgMax,
    /// Normalisation over the last axes.
    26 => LayerNorm<W>,
    /// The elements of one of two values.
    27 => Where,
    /// Sum, maximum and the like over axes.
    28 => Reduce,
    /// Logarithm of a softmax.
    29 => LogSoftmax,
    /// Normalisation of groups of channels of each image.
    30 => GroupNorm<W>,
    /// Other extents of any axes.
    31 => Resample,
    /// Channels that become positions.
    32 => DepthToSpace,
    /// Positions that become channels.
    33 => SpaceToDepth,
    /// Planes at the positions of a grid.
    34 => GridSample,
    /// Products of computed matrices.
    35 => MatMul,
    /// The largest or smallest elements of an axis, or where they stand.
    36 => TopK,
    /// Elements at computed indices.
    37 => GatherNd,
    /// Elements at an index of an axis that is computed for each of them.
    38 => GatherElements,
    /// Elements brought to computed indices.
    39 => ScatterNd,
    /// Elements brought to an index of an axis that is computed for each of them.
    40 => ScatterElements,
    /// Normalisation over the channels of each position.
    41 => ChannelNorm<W>,
    /// Extents as elements.
    42 => Sizes,
    /// Equally spaced integers.
    43 => Range,
    /// A state that goes along a sequence.
    47 => Recurrent<W>,
    /// Regions of planes, sampled.
    48 => RoiAlign,
    /// Convolution over volumes.
    49 => VolumeConv<W>,
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

    /// The extents that it states, which may be symbolic.
    fn extents(&self) -> Vec<&Extent> {
        Vec::new()
    }

    /// As [`Self::extents`], to replace them.
    fn extents_mut(&mut self) -> Vec<&mut Extent> {
        Vec::new()
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

/// Whether an extent that an operator states is symbolic.
pub(crate) fn is_open(op: &impl Operator) -> bool {
    op.extents().iter().any(|extent| extent.integer().is_none())
}

impl<W: Weights> Operator for Op<W> {
    fn name(&self) -> &'static str {
        dispatch!(self, record => record.name())
    }

    /// Symbolic extents are of version 4.
    fn since(&self) -> u16 {
        let open = if is_open(self) { 4 } else { 1 };
        dispatch!(self, record => record.since()).max(open)
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

    fn extents(&self) -> Vec<&Extent> {
        dispatch!(self, record => record.extents())
    }

    fn extents_mut(&mut self) -> Vec<&mut Extent> {
        dispatch!(self, record => record.extents_mut())
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
