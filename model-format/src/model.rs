//! The records of a `.sslm` file: a logical graph, which of its channels and columns physically exist, and what goes with it
//! (labels, preprocessing, provenance). Field order here is the order on disk.

use crate::codec::{choice, record};
use sslm_basics::functions::{Binary, Unary};

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident)*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);
        impl $name {
            /// As an index into the table this id belongs to.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
        impl crate::codec::Field for $name {
            const MIN_SIZE: usize = 4;
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(r: &mut crate::codec::Reader) -> crate::Result<Self> {
                u32::read(r).map($name)
            }
        }
    )* };
}

ids! {
    /// Index into [`Graph::values`].
    ValueId
    /// Index into [`Graph::blobs`].
    BlobId
}

/// Everything in a file except the weights themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The network.
    pub graph: Graph,
    /// Class names, in the order of the output's last axis. Empty if unknown.
    pub labels: Vec<String>,
    /// How an image becomes the network's input.
    pub preprocessing: Option<Preprocessing>,
    /// Where the file came from.
    pub provenance: Option<Provenance>,
}

record! {
    /// A network: nodes in topological order over single-assignment values.
    #[derive(Default)]
    pub struct Graph {
        /// Stretches of the weight section.
        pub blobs: Vec<Blob>,
        /// Every tensor that flows, inputs included.
        pub values: Vec<Value>,
        /// What the caller supplies.
        pub inputs: Vec<Input>,
        /// What the caller receives, always in full logical shape.
        pub outputs: Vec<ValueId>,
        /// Operators; each reads only inputs and the outputs of earlier nodes.
        pub nodes: Vec<Node>,
    }

    /// `len` f32 numbers at byte `offset` of the weight section; `offset` is a multiple of 64.
    pub struct Blob {
        /// Bytes from the start of the weight section.
        pub offset: u64,
        /// Count of f32 numbers.
        pub len: u64,
    }

    /// One tensor. `compaction` is absent where every position physically exists.
    pub struct Value {
        /// Name, as in the source model where there was one.
        pub name: String,
        /// Which channels (axis 1) exist.
        pub compaction: Option<Compaction>,
    }

    /// Of `logical` channels on axis 1, `kept` are stored; each other one equals its constant at every position.
    pub struct Compaction {
        /// Extent of axis 1 in the original network.
        pub logical: u32,
        /// Channels that physically exist, strictly increasing, in logical numbers.
        pub kept: Vec<u32>,
        /// One number for each channel that is not kept, in increasing channel order. Of a channel that nobody reads it is any.
        pub constants: Vec<f32>,
    }

    /// An input of the network.
    pub struct Input {
        /// The value it defines.
        pub value: ValueId,
        /// Its shape; axis 0 is the batch.
        pub dims: Vec<Dim>,
    }

    /// One application of an operator.
    pub struct Node {
        /// Name, unique enough for people to find the layer in the source model.
        pub name: String,
        /// What it reads.
        pub inputs: Vec<ValueId>,
        /// The one value it defines.
        pub output: ValueId,
        /// What it does.
        pub op: Op,
    }

    /// 2-D convolution over kept columns (ONNX `Conv`). The lowered matrix of group `g` has one column per
    /// (channel, kh, kw), numbered `(channel * KH + kh) * KW + kw` with `channel` counted inside the group.
    pub struct Conv {
        /// Groups.
        pub group: u32,
        /// Logical input channels of all groups.
        pub channels: u32,
        /// Logical filters of all groups. Those that exist are the output value's kept channels.
        pub filters: u32,
        /// Kernel, strides, dilations, padding.
        pub window: Window,
        /// The columns that exist, per group.
        pub columns: Vec<Kept>,
        /// Per group, kept filters x kept columns in panels ([`crate::panels`]), one group after the other.
        pub weights: BlobId,
        /// One number per kept filter.
        pub bias: BlobId,
        /// `[kept filters][KH][KW]`: what the constant input channels add through each kernel tap that lies inside the input.
        /// Absent where it is all zero; taps that can never fall into padding are in `bias` instead.
        pub taps: Option<BlobId>,
    }

    /// Transposed convolution (ONNX `ConvTranspose`): what `conv` says, with the window's taps scattering from the input instead
    /// of gathering: output position o takes tap k from input position `(o + pad - k * dilation) / stride` where that is whole.
    pub struct ConvTranspose {
        /// Sizes, columns and weights, as of a convolution from `channels` to `filters`. Padding is explicit.
        pub conv: Conv,
        /// Rows and columns added behind the output.
        pub output_padding: [u32; 2],
    }

    /// Fully connected layer on the last axis: `y = x W^T + bias` (ONNX `Gemm`, `MatMul`).
    pub struct Gemm {
        /// Logical input features.
        pub features: u32,
        /// Logical output features (rows of W). Those that exist are the output value's kept channels.
        pub rows: u32,
        /// The input features that are read.
        pub columns: Kept,
        /// Kept rows x kept columns in panels ([`crate::panels`]).
        pub weights: BlobId,
        /// One number per kept row.
        pub bias: BlobId,
    }

    /// Geometry of a sliding window over (height, width).
    pub struct Window {
        /// KH, KW.
        pub kernel: [u32; 2],
        /// Vertical, horizontal.
        pub strides: [u32; 2],
        /// Vertical, horizontal; 1 is dense.
        pub dilations: [u32; 2],
        /// What surrounds the input.
        pub padding: Padding,
    }

    /// ONNX `MaxPool`. Padding never wins.
    pub struct MaxPool {
        /// Geometry.
        pub window: Window,
        /// Round the output size up.
        pub ceil_mode: bool,
    }

    /// ONNX `AveragePool`.
    pub struct AveragePool {
        /// Geometry.
        pub window: Window,
        /// Round the output size up.
        pub ceil_mode: bool,
        /// Divide by the window's size, padding included, rather than by the positions inside the input.
        pub count_include_pad: bool,
    }

    /// ONNX `LRN` over channels: `x / (bias + alpha / size * sum of squares)^beta`, over the `size` logical channels around.
    pub struct Lrn {
        /// Channels in the window.
        pub size: u32,
        /// Scale of the sum of squares, before division by `size`.
        pub alpha: f32,
        /// Exponent.
        pub beta: f32,
        /// Added to the scaled sum.
        pub bias: f32,
    }

    /// `y = scale * x + shift` per channel: an inference-time ONNX `BatchNormalization` that no layer before it could absorb.
    /// Both have one number per kept output channel.
    pub struct BatchNorm {
        /// Multiplier.
        pub scale: BlobId,
        /// Added.
        pub shift: BlobId,
    }

    /// ONNX `InstanceNormalization`: each channel of each image is brought to mean 0 and variance 1, then scaled and shifted.
    /// `scale` and `shift` have one number per kept output channel.
    pub struct InstanceNorm {
        /// Multiplier.
        pub scale: BlobId,
        /// Added.
        pub shift: BlobId,
        /// Added to the variance.
        pub epsilon: f32,
    }

    /// Softmax over the axes `start..end` taken together.
    pub struct Softmax {
        /// First axis.
        pub start: u32,
        /// One past the last axis.
        pub end: u32,
    }

    /// ONNX `Flatten`: axes before `axis` become one, the others become one.
    pub struct Flatten {
        /// First axis of the second part.
        pub axis: u32,
    }

    /// ONNX `Reshape` to fixed dims: 0 copies the input's extent on that axis, one -1 takes what is left.
    pub struct Reshape {
        /// Target dims.
        pub dims: Vec<i64>,
    }

    /// ONNX `Concat`.
    pub struct Concat {
        /// Axis.
        pub axis: u32,
    }

    /// ONNX `Transpose`: output axis `i` is input axis `axes[i]`.
    pub struct Transpose {
        /// Each axis of the input once.
        pub axes: Vec<u32>,
    }

    /// ONNX `Slice` along one axis, by the rules of that operator: negative bounds count from the end, then both are clamped.
    pub struct Slice {
        /// Axis.
        pub axis: u32,
        /// First position.
        pub start: i64,
        /// One past the last position.
        pub end: i64,
        /// Not 0.
        pub step: i64,
    }

    /// ONNX `Gather` of fixed positions along one axis, which becomes `indices.len()` long. Negative ones count from the end.
    pub struct Gather {
        /// Axis.
        pub axis: u32,
        /// Positions.
        pub indices: Vec<i64>,
    }

    /// ONNX `Pad`.
    pub struct Pad {
        /// For each axis, how much is put before and after.
        pub amounts: Vec<[u32; 2]>,
        /// With what.
        pub fill: Fill,
    }

    /// ONNX `Resize`. Axes 0 and 1 keep their extents.
    pub struct Resize2d {
        /// How a new position maps to an old one.
        pub coordinates: Coordinates,
        /// How values are found there.
        pub interpolation: Interpolation,
        /// New height and width.
        pub target: Target,
    }

    /// Mean over axes (ONNX `ReduceMean`).
    pub struct ReduceMean {
        /// Axes, strictly increasing.
        pub axes: Vec<u32>,
        /// Whether they stay as extents of 1.
        pub keep: bool,
    }

    /// ONNX `Expand`: broadcast to (at least) these dims.
    pub struct Expand {
        /// Aligned with the input at the last axis.
        pub dims: Vec<u64>,
    }

    /// ONNX `ArgMax`, with the position as an f32.
    pub struct ArgMax {
        /// Axis.
        pub axis: u32,
        /// Whether the axis stays as an extent of 1.
        pub keep: bool,
        /// Of equal largest elements, whether the last one is meant.
        pub last: bool,
    }

    /// A tensor stored in the file, read in place.
    pub struct Constant {
        /// Shape.
        pub dims: Vec<u64>,
        /// Its numbers, row-major.
        pub data: BlobId,
    }

    /// How pixels become numbers: `(pixel * scale - mean[c]) / std[c]`, pixel 0..=255.
    pub struct Preprocessing {
        /// Channels and their order.
        pub color: Color,
        /// How an image of another size is fitted.
        pub resize: Resize,
        /// Applied to 0..=255 before `mean` and `std`.
        pub scale: f32,
        /// One per channel.
        pub mean: Vec<f32>,
        /// One per channel, none zero.
        pub std: Vec<f32>,
    }

    /// What the file was made from and by what.
    pub struct Provenance {
        /// Program and version.
        pub tool: String,
        /// File name (no folders) of the source model.
        pub source: String,
        /// Size of the source model in bytes.
        pub source_bytes: u64,
        /// SHA-256 of the source model.
        pub source_sha256: [u8; 32],
        /// Whether zeros were kept in place on request.
        pub dense: bool,
    }
}

choice! {
    /// A dimension of an input.
    pub enum Dim: "kind of dimension" {
        /// The same in every use.
        0 => Fixed {
            /// Extent.
            size: u64,
        },
        /// Chosen when the model is prepared; equal names are equal extents.
        1 => Symbolic {
            /// Name in the source model.
            name: String,
        },
    }
}

choice! {
    /// Which of a known number of things exist.
    pub enum Kept: "kind of kept list" {
        /// All of them.
        0 => All,
        /// Those listed, strictly increasing.
        1 => List(Vec<u32>),
    }
}

choice! {
    /// Zeros around the input.
    pub enum Padding: "kind of padding" {
        /// Fixed amounts.
        0 => Explicit {
            /// Rows above.
            top: u32,
            /// Columns before.
            left: u32,
            /// Rows below.
            bottom: u32,
            /// Columns after.
            right: u32,
        },
        /// So much that output = ceil(input / stride); the odd one goes after.
        1 => SameUpper,
        /// So much that output = ceil(input / stride); the odd one goes before.
        2 => SameLower,
    }
}

choice! {
    /// Channels of an image and their order.
    pub enum Color: "colour order" {
        /// One channel.
        0 => Gray,
        /// Red, green, blue.
        1 => Rgb,
        /// Blue, green, red.
        2 => Bgr,
    }
}

choice! {
    /// How an image of another size is fitted to the input's height and width.
    pub enum Resize: "resize rule" {
        /// Both sides are scaled to fit, whatever that does to the proportions.
        0 => Stretch,
        /// The shorter side is scaled to `short_side`, then the centre is cut out.
        1 => CenterCrop {
            /// Pixels.
            short_side: u32,
        },
    }
}

choice! {
    /// What a Pad puts around its input.
    pub enum Fill: "kind of filling" {
        /// A number.
        0 => Constant {
            /// The number.
            value: f32,
        },
        /// The mirror image without the border itself.
        1 => Reflect,
        /// The border.
        2 => Edge,
    }
}

choice! {
    /// How a Resize maps position `x` of `new` to one of `old` positions; `scale` is new over old.
    pub enum Coordinates: "coordinate transformation" {
        /// `(x + 1/2) / scale - 1/2`.
        0 => HalfPixel,
        /// As half pixel, but 0 where `new` is 1.
        1 => PytorchHalfPixel,
        /// `x / scale`.
        2 => Asymmetric,
        /// `x (old - 1) / (scale old - 1)`, 0 where `scale old` is 1.
        3 => AlignCorners,
    }
}

choice! {
    /// How a Resize finds a value between positions.
    pub enum Interpolation: "interpolation" {
        /// Between the two neighbours, in proportion.
        0 => Linear,
        /// The nearest one; of two equally near, the one before.
        1 => NearestPreferFloor,
        /// The nearest one; of two equally near, the one behind.
        2 => NearestPreferCeil,
        /// The one before.
        3 => Floor,
        /// The one behind.
        4 => Ceil,
    }
}

choice! {
    /// What a Resize makes of height and width.
    pub enum Target: "target of a Resize" {
        /// `floor(old * scale)`, vertical and horizontal.
        0 => Scales {
            /// Factors.
            factors: [f32; 2],
        },
        /// Fixed extents.
        1 => Sizes {
            /// Height, width.
            extents: [u32; 2],
        },
    }
}

choice! {
    /// An operator with its attributes. Names are ONNX's.
    #[non_exhaustive]
    pub enum Op: "operator (a newer sslm may read this file)" {
        /// Convolution.
        1 => Conv(Conv),
        /// Fully connected.
        2 => Gemm(Gemm),
        /// A function of each element.
        3 => Activation(Unary),
        /// Maximum over windows.
        4 => MaxPool(MaxPool),
        /// Mean over windows.
        5 => AveragePool(AveragePool),
        /// Mean over all of height and width.
        6 => GlobalAveragePool,
        /// Local response normalisation.
        7 => Lrn(Lrn),
        /// Per-channel scale and shift.
        8 => BatchNorm(BatchNorm),
        /// Softmax.
        9 => Softmax(Softmax),
        /// To two axes.
        10 => Flatten(Flatten),
        /// To given dims.
        11 => Reshape(Reshape),
        /// Joins along an axis.
        12 => Concat(Concat),
        /// A function of two values' elements, with ONNX (numpy) broadcasting.
        13 => Binary(Binary),
        /// A stored tensor.
        14 => Constant(Constant),
        /// Maximum over all of height and width.
        15 => GlobalMaxPool,
        /// Transposed convolution.
        16 => ConvTranspose(ConvTranspose),
        /// Normalisation of each channel of each image.
        17 => InstanceNorm(InstanceNorm),
        /// Axes in another order.
        18 => Transpose(Transpose),
        /// A range of an axis.
        19 => Slice(Slice),
        /// Positions of an axis.
        20 => Gather(Gather),
        /// More positions around.
        21 => Pad(Pad),
        /// Another height and width.
        22 => Resize(Resize2d),
        /// Mean over axes.
        23 => ReduceMean(ReduceMean),
        /// Broadcast.
        24 => Expand(Expand),
        /// Position of the largest element.
        25 => ArgMax(ArgMax),
    }
}

impl Op {
    /// The operator's name, as ONNX spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "Conv",
            Op::Gemm(_) => "Gemm",
            Op::Activation(function) => function.onnx_name(),
            Op::MaxPool(_) => "MaxPool",
            Op::AveragePool(_) => "AveragePool",
            Op::GlobalAveragePool => "GlobalAveragePool",
            Op::Lrn(_) => "LRN",
            Op::BatchNorm(_) => "BatchNormalization",
            Op::Softmax(_) => "Softmax",
            Op::Flatten(_) => "Flatten",
            Op::Reshape(_) => "Reshape",
            Op::Concat(_) => "Concat",
            Op::Binary(function) => function.onnx_name(),
            Op::Constant(_) => "Constant",
            Op::GlobalMaxPool => "GlobalMaxPool",
            Op::ConvTranspose(_) => "ConvTranspose",
            Op::InstanceNorm(_) => "InstanceNormalization",
            Op::Transpose(_) => "Transpose",
            Op::Slice(_) => "Slice",
            Op::Gather(_) => "Gather",
            Op::Pad(_) => "Pad",
            Op::Resize(_) => "Resize",
            Op::ReduceMean(_) => "ReduceMean",
            Op::Expand(_) => "Expand",
            Op::ArgMax(_) => "ArgMax",
        }
    }
}

impl Slice {
    /// The positions of an axis of `extent` that the slice takes, in order.
    pub fn positions(&self, extent: usize) -> impl ExactSizeIterator<Item = usize> + use<> {
        let extent = extent as i64;
        let last = (extent - 1).max(0);
        let clamp =
            |bound: i64, low: i64, high: i64| (if bound < 0 { bound.saturating_add(extent) } else { bound }).clamp(low, high);
        let (start, count) = if self.step > 0 {
            let (start, end) = (clamp(self.start, 0, extent), clamp(self.end, 0, extent));
            (start, (end - start).max(0).unsigned_abs().div_ceil(self.step.unsigned_abs()))
        } else if extent == 0 {
            (0, 0)
        } else {
            let (start, end) = (clamp(self.start, 0, last), clamp(self.end, -1, last));
            (start, (start - end).max(0).unsigned_abs().div_ceil(self.step.unsigned_abs()))
        };
        let step = self.step;
        (0..count as usize).map(move |i| (start + i as i64 * step) as usize)
    }
}

impl Gather {
    /// The positions of an axis of `extent`; `None` where an index lies outside.
    pub fn positions(&self, extent: usize) -> Option<Vec<usize>> {
        let position = |&i: &i64| usize::try_from(if i < 0 { i + extent as i64 } else { i }).ok().filter(|&i| i < extent);
        self.indices.iter().map(position).collect()
    }
}

impl Op {
    /// The convolution in a Conv or ConvTranspose.
    pub fn conv(&self) -> Option<&Conv> {
        match self {
            Op::Conv(conv) => Some(conv),
            Op::ConvTranspose(transpose) => Some(&transpose.conv),
            _ => None,
        }
    }

    /// As [`Self::conv`], to change it.
    pub fn conv_mut(&mut self) -> Option<&mut Conv> {
        match self {
            Op::Conv(conv) => Some(conv),
            Op::ConvTranspose(transpose) => Some(&mut transpose.conv),
            _ => None,
        }
    }
}

impl Kept {
    /// How many of `total` are kept.
    pub fn count(&self, total: usize) -> usize {
        match self {
            Kept::All => total,
            Kept::List(list) => list.len(),
        }
    }

    /// The kept ones of `total`, increasing.
    pub fn iter(&self, total: usize) -> impl Iterator<Item = usize> + '_ {
        let (all, list) = match self {
            Kept::All => (0..total, &[][..]),
            Kept::List(list) => (0..0, &list[..]),
        };
        all.chain(list.iter().map(|&i| i as usize))
    }

    /// `All` if nothing of `total` is missing, else the list.
    pub fn from_list(list: Vec<u32>, total: usize) -> Self {
        if list.len() == total { Kept::All } else { Kept::List(list) }
    }
}

impl Compaction {
    /// The constant of every logical channel; `None` where the channel is kept.
    pub fn constant_of(&self) -> Vec<Option<f32>> {
        let mut kept = self.kept.iter().copied().peekable();
        let mut constants = self.constants.iter().copied();
        (0..self.logical).map(|c| if kept.next_if_eq(&c).is_some() { None } else { constants.next().or(Some(0.0)) }).collect()
    }
}

impl Conv {
    /// Columns of the lowered matrix of one group before anything was removed.
    pub fn columns_per_group(&self) -> usize {
        (self.channels / self.group) as usize * self.window.taps()
    }

    /// Filters of one group before anything was removed.
    pub fn filters_per_group(&self) -> usize {
        (self.filters / self.group) as usize
    }

    /// How many filters of each group exist, given the channels that `output` keeps.
    pub fn kept_filters(&self, output: &Value) -> Vec<usize> {
        let per_group = self.filters_per_group();
        match &output.compaction {
            None => vec![per_group; self.group as usize],
            Some(c) => {
                let below = |limit: usize| c.kept.partition_point(|&f| (f as usize) < limit);
                (0..self.group as usize).map(|g| below((g + 1) * per_group) - below(g * per_group)).collect()
            }
        }
    }
}

impl Gemm {
    /// How many rows exist, given the channels that `output` keeps.
    pub fn kept_rows(&self, output: &Value) -> usize {
        output.compaction.as_ref().map_or(self.rows as usize, |c| c.kept.len())
    }
}

impl Window {
    /// Kernel positions, `KH * KW`.
    pub fn taps(&self) -> usize {
        self.kernel[0] as usize * self.kernel[1] as usize
    }
}
