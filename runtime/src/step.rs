//! One step of a plan: a kernel, what it reads, where it writes.

use crate::model::Model;
use sslm_format::BlobId;
use sslm_kernels::axis::{self, Remap, StridedCopy};
use sslm_kernels::channels::{self, Source};
use sslm_kernels::conv::Conv;
use sslm_kernels::elementwise::{self, Broadcast, Function, Operation};
use sslm_kernels::fully_connected::FullyConnected;
use sslm_kernels::normalize::{self, Lrn};
use sslm_kernels::pool::{self, Pool};
use sslm_kernels::{Exec, Threading};
use std::ops::Range;

/// Where numbers are read from.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The session's arena.
    Arena(Range<usize>),
    /// The model file.
    Blob(BlobId),
}

/// A kernel with what it needs besides its inputs.
pub(crate) enum Kernel {
    /// A second input is what the output starts from; without one it holds that already, if sums are added at all.
    Conv {
        conv: Box<Conv>,
        weights: BlobId,
        bias: BlobId,
        /// Number of the node in the graph.
        node: usize,
        /// Whether its method was measured to be fastest.
        timed: bool,
    },
    FullyConnected {
        layer: FullyConnected,
        weights: BlobId,
        bias: BlobId,
    },
    Pool(Pool),
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
    Select {
        channels: usize,
        plane: usize,
        sources: Vec<Source>,
    },
    Remap(Remap),
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

impl Kernel {
    /// What computes it, for reports.
    pub(crate) fn describe(&self) -> String {
        let name = match self {
            Kernel::Conv { conv, timed, .. } => return conv.describe() + if *timed { ", timed" } else { "" },
            Kernel::FullyConnected { .. } => "fully connected",
            Kernel::Pool(_) => "pool",
            Kernel::GlobalAverage { .. } | Kernel::GlobalMax { .. } => "global pool",
            Kernel::Lrn(_) => "lrn",
            Kernel::Softmax { .. } => "softmax",
            Kernel::ScaleShift { .. } => "scale and shift",
            Kernel::InstanceNorm { .. } => "instance norm",
            Kernel::Activation(_) => "elementwise",
            Kernel::Binary { .. } => "broadcast",
            Kernel::Concat { .. } => "concat",
            Kernel::Select { .. } => "select",
            Kernel::Remap(_) => "remap",
            Kernel::Mean { .. } => "mean",
            Kernel::ArgMax { .. } => "arg max",
            Kernel::StridedCopy(_) => "strided copy",
        };
        name.to_owned()
    }

    /// What it reads besides its inputs.
    pub(crate) fn parameters(&self) -> [Option<BlobId>; 2] {
        match *self {
            Kernel::Conv { weights, bias, .. } | Kernel::FullyConnected { weights, bias, .. } => [Some(weights), Some(bias)],
            Kernel::ScaleShift { scale, shift, .. } | Kernel::InstanceNorm { scale, shift, .. } => [Some(scale), Some(shift)],
            _ => [None, None],
        }
    }
}

/// A kernel applied to places.
pub(crate) struct Step<P = Place, W = Range<usize>> {
    pub(crate) name: String,
    /// What runs, in ONNX's words.
    pub(crate) op: String,
    pub(crate) kernel: Kernel,
    pub(crate) macs: usize,
    /// Numbers of its inputs, its parameters and its output.
    pub(crate) numbers: usize,
    /// Threads that share it.
    pub(crate) threads: usize,
    pub(crate) reads: Vec<P>,
    pub(crate) write: W,
}

impl<P, W> Step<P, W> {
    /// What it costs in multiply-accumulates. A number that is read or written takes as long as eight of them: that is 50 GB/s,
    /// between what comes from memory and what from the second-level cache.
    pub(crate) fn work(&self) -> usize {
        self.macs.saturating_add(self.numbers.saturating_mul(8))
    }
}

impl Step {
    /// Reads and writes the places of this step. `arena` and `scratch` are as long as the plan says.
    pub(crate) fn run(&self, model: &Model, arena: &mut [f32], scratch: &mut [f32], exec: Exec) {
        let threading = if self.threads > 1 { exec.threading } else { Threading::Single };
        let exec = Exec { threading, ..exec };
        // The planner gave the output a range of its own, so every input lies wholly before or behind it.
        let (before, rest) = arena.split_at_mut(self.write.start);
        let (out, behind) = rest.split_at_mut(self.write.len());
        let read = |i: usize| match &self.reads[i] {
            Place::Blob(id) => model.blob(*id),
            Place::Arena(range) if range.end <= self.write.start => &before[range.clone()],
            Place::Arena(range) => &behind[range.start - self.write.end..range.end - self.write.end],
        };
        match &self.kernel {
            Kernel::Conv { conv, weights, bias, .. } => {
                if self.reads.len() > 1 {
                    out.copy_from_slice(read(1));
                }
                conv.run(read(0), model.blob(*weights), model.blob(*bias), out, scratch, threading);
            }
            Kernel::FullyConnected { layer, weights, bias } => {
                layer.run(read(0), model.blob(*weights), model.blob(*bias), out, scratch, threading);
            }
            Kernel::Pool(pool) => pool.run(read(0), out, scratch, exec),
            Kernel::GlobalAverage { plane } => axis::mean(read(0), *plane, 1, out, exec),
            Kernel::GlobalMax { plane } => pool::global_max(read(0), *plane, out, exec),
            Kernel::InstanceNorm { plane, scale, shift, epsilon } => {
                let parameters = [model.blob(*scale), model.blob(*shift)];
                normalize::instance_norm(read(0), *plane, parameters, *epsilon, out, exec);
            }
            Kernel::Lrn(lrn) => lrn.run(read(0), out, exec),
            Kernel::Softmax { axis, inner } => normalize::softmax(read(0), *axis, *inner, out, exec),
            Kernel::ScaleShift { plane, scale, shift } => {
                normalize::scale_shift(read(0), *plane, model.blob(*scale), model.blob(*shift), out, exec);
            }
            Kernel::Activation(function) => elementwise::map(read(0), out, *function, exec),
            Kernel::Binary { operation, broadcast, relu } => broadcast.run([read(0), read(1)], out, *operation, *relu, exec),
            Kernel::Remap(remap) => remap.run(read(0), out, exec),
            Kernel::Mean { extent, inner } => axis::mean(read(0), *extent, *inner, out, exec),
            Kernel::ArgMax { extent, inner, last } => axis::arg_max(read(0), *extent, *inner, *last, out, exec),
            Kernel::StridedCopy(copy) => copy.run(read(0), out, exec),
            Kernel::Concat { lens } => {
                let total = lens.iter().sum();
                let mut offset = 0;
                for (i, &len) in lens.iter().enumerate() {
                    channels::insert(read(i), len, out, offset, total);
                    offset += len;
                }
            }
            Kernel::Select { channels, plane, sources } => channels::select(read(0), *channels, *plane, sources, out, exec),
        }
    }
}
