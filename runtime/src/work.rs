//! What a step computes, whoever computes it: here planning ends and a backend begins. The planner describes each [`Work`]; a backend
//! turns those into kernels of its own that shapes decide something about, and takes the others as they are.

use crate::error::Result;
use sslm_format::BlobId;
use sslm_kernels::axis::{From, StridedCopy};
use sslm_kernels::channels::Source;
use sslm_kernels::conv::{ConvTask, Geometry};
use sslm_kernels::elementwise::{Broadcast, Function, Operation};
use sslm_kernels::normalize::Lrn;
use sslm_kernels::pool::Reduce;
use sslm_kernels::{Activation, fully_connected};

/// What stands for the kernels of which there is something to decide.
pub(crate) trait Form {
    type Conv;
    type FullyConnected;
    type Pool;
    type Select;
    type Remap;
}

/// A backend's way from descriptions to kernels.
pub(crate) trait Prepare: Form {
    fn conv(&mut self, conv: Convolution<'_>) -> Result<Self::Conv>;
    fn fully_connected(&mut self, layer: fully_connected::GemmTask, parameters: [BlobId; 2]) -> Result<Self::FullyConnected>;
    fn pool(&mut self, pool: Pooling) -> Result<Self::Pool>;
    fn select(&mut self, selection: Selection) -> Result<Self::Select>;
    fn remap(&mut self, axis: RebuiltAxis) -> Result<Self::Remap>;
}

/// What the planner says.
pub(crate) struct Described<'m>(std::marker::PhantomData<&'m ()>);

impl<'m> Form for Described<'m> {
    type Conv = Convolution<'m>;
    type FullyConnected = fully_connected::GemmTask;
    type Pool = Pooling;
    type Select = Selection;
    type Remap = RebuiltAxis;
}

pub(crate) struct Convolution<'m> {
    pub(crate) layer: ConvTask<'m>,
    pub(crate) images: usize,
    /// Of all images.
    pub(crate) macs: usize,
    /// Weights and bias.
    pub(crate) parameters: [BlobId; 2],
    /// Number of the node in the graph.
    pub(crate) node: usize,
}

pub(crate) struct Pooling {
    pub(crate) geometry: Geometry,
    pub(crate) reduce: Reduce,
    pub(crate) activation: Activation,
}

/// Channels of `[batch][channels][plane]`, in another order, some of them constants.
pub(crate) struct Selection {
    pub(crate) channels: usize,
    pub(crate) plane: usize,
    pub(crate) sources: Vec<Source>,
}

/// The middle axis of `[outer][extent][inner]`.
pub(crate) struct RebuiltAxis {
    pub(crate) extent: usize,
    pub(crate) inner: usize,
    pub(crate) sources: Vec<From>,
}

/// What is computed from the inputs of a step, and from parameters where some are named.
pub(crate) enum Work<F: Form> {
    /// A second input is what the output starts from; without one it holds that already, if sums are added at all.
    Conv {
        conv: F::Conv,
        weights: BlobId,
        bias: BlobId,
    },
    FullyConnected {
        layer: F::FullyConnected,
        weights: BlobId,
        bias: BlobId,
    },
    Pool(F::Pool),
    GlobalAverage {
        plane: usize,
    },
    GlobalMax {
        plane: usize,
    },
    Lrn(Lrn),
    Softmax {
        axis: usize,
        inner: usize,
    },
    ScaleShift {
        plane: usize,
        scale: BlobId,
        shift: BlobId,
    },
    InstanceNorm {
        plane: usize,
        scale: BlobId,
        shift: BlobId,
        epsilon: f32,
    },
    Activation(Function),
    /// Followed by a Relu or not.
    Binary {
        operation: Operation,
        broadcast: Broadcast,
        relu: bool,
    },
    /// Length along the joined axis (times all inner axes) of each input.
    Concat {
        lens: Vec<usize>,
    },
    Select(F::Select),
    Remap(F::Remap),
    Mean {
        extent: usize,
        inner: usize,
    },
    ArgMax {
        extent: usize,
        inner: usize,
        last: bool,
    },
    StridedCopy(StridedCopy),
}

impl<F: Form> Work<F> {
    /// What kind of kernel computes it, for reports.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Work::Conv { .. } => "convolution",
            Work::FullyConnected { .. } => "fully connected",
            Work::Pool(_) => "pool",
            Work::GlobalAverage { .. } | Work::GlobalMax { .. } => "global pool",
            Work::Lrn(_) => "lrn",
            Work::Softmax { .. } => "softmax",
            Work::ScaleShift { .. } => "scale and shift",
            Work::InstanceNorm { .. } => "instance norm",
            Work::Activation(_) => "elementwise",
            Work::Binary { .. } => "broadcast",
            Work::Concat { .. } => "concat",
            Work::Select { .. } => "select",
            Work::Remap(_) => "remap",
            Work::Mean { .. } => "mean",
            Work::ArgMax { .. } => "arg max",
            Work::StridedCopy(_) => "strided copy",
        }
    }

    /// What it reads besides its inputs.
    pub(crate) fn parameters(&self) -> [Option<BlobId>; 2] {
        match *self {
            Work::Conv { weights, bias, .. } | Work::FullyConnected { weights, bias, .. } => [Some(weights), Some(bias)],
            Work::ScaleShift { scale, shift, .. } | Work::InstanceNorm { scale, shift, .. } => [Some(scale), Some(shift)],
            _ => [None, None],
        }
    }
}

impl Work<Described<'_>> {
    pub(crate) fn prepare<B: Prepare>(self, backend: &mut B) -> Result<Work<B>> {
        Ok(match self {
            Work::Conv { conv, weights, bias } => Work::Conv { conv: backend.conv(conv)?, weights, bias },
            Work::FullyConnected { layer, weights, bias } => {
                Work::FullyConnected { layer: backend.fully_connected(layer, [weights, bias])?, weights, bias }
            }
            Work::Pool(pool) => Work::Pool(backend.pool(pool)?),
            Work::Select(selection) => Work::Select(backend.select(selection)?),
            Work::Remap(axis) => Work::Remap(backend.remap(axis)?),
            Work::GlobalAverage { plane } => Work::GlobalAverage { plane },
            Work::GlobalMax { plane } => Work::GlobalMax { plane },
            Work::Lrn(lrn) => Work::Lrn(lrn),
            Work::Softmax { axis, inner } => Work::Softmax { axis, inner },
            Work::ScaleShift { plane, scale, shift } => Work::ScaleShift { plane, scale, shift },
            Work::InstanceNorm { plane, scale, shift, epsilon } => Work::InstanceNorm { plane, scale, shift, epsilon },
            Work::Activation(function) => Work::Activation(function),
            Work::Binary { operation, broadcast, relu } => Work::Binary { operation, broadcast, relu },
            Work::Concat { lens } => Work::Concat { lens },
            Work::Mean { extent, inner } => Work::Mean { extent, inner },
            Work::ArgMax { extent, inner, last } => Work::ArgMax { extent, inner, last },
            Work::StridedCopy(copy) => Work::StridedCopy(copy),
        })
    }
}
