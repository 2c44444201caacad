//! Normalisations.

use crate::error::{Error, Result};
use crate::planning::{Emit, Lower, Lowering};
use sslm_format::{BatchNorm, BlobId, ChannelNorm, GroupNorm, InstanceNorm, LayerNorm, LogSoftmax, Lrn, Softmax};
use sslm_kernels::Task;
use sslm_kernels::normalize::{GroupNormTask, LayerNormTask, LrnTask, ScaleShiftTask, SoftmaxTask};
use std::ops::Range;

impl Lower for Lrn {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let Lrn { size, alpha, beta, bias } = *self;
        at.unary(|shape| LrnTask {
            channels: shape[1],
            plane: shape[2..].iter().product(),
            size: size as usize,
            alpha,
            beta,
            bias,
        });
        Ok(())
    }
}

impl Lower for BatchNorm {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (plane, channels) = (at.builder.plane(at.x()), at.builder.physical_channels(at.output));
        with_scale_and_shift(at, ScaleShiftTask { plane }, channels, [self.scale, self.shift])
    }
}

impl Lower for InstanceNorm {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (plane, channels) = (at.builder.plane(at.x()), at.builder.physical_channels(at.output));
        let task = GroupNormTask { group: 1, plane, epsilon: self.epsilon };
        with_scale_and_shift(at, task, channels, [self.scale, self.shift])
    }
}

impl Lower for GroupNorm {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (plane, channels) = (at.builder.plane(at.x()), at.shape(at.x())[1]);
        let task = GroupNormTask { group: channels / self.groups as usize, plane, epsilon: self.epsilon };
        with_scale_and_shift(at, task, channels, [self.scale, self.shift])
    }
}

impl Lower for LayerNorm {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let line = at.builder.shape(at.x())[self.axis as usize..].iter().product();
        let task = LayerNormTask { line, inner: 1, epsilon: self.epsilon };
        with_scale_and_shift(at, task, line, [self.scale, self.shift])
    }
}

impl Lower for ChannelNorm {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let x = at.x();
        let (line, inner) = (at.shape(x)[1], at.builder.plane(x));
        with_scale_and_shift(at, LayerNormTask { line, inner, epsilon: self.epsilon }, line, [self.scale, self.shift])
    }
}

impl Lower for Softmax {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        softmax(at, self.start as usize..self.end as usize, false);
        Ok(())
    }

    fn yields_probabilities(&self) -> bool {
        true
    }
}

impl Lower for LogSoftmax {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        softmax(at, self.start as usize..self.end as usize, true);
        Ok(())
    }
}

fn softmax(at: &mut Lowering<'_, '_>, axes: Range<usize>, log: bool) {
    at.unary(|shape| SoftmaxTask { axis: shape[axes.clone()].iter().product(), inner: shape[axes.end..].iter().product(), log });
}

/// A step whose parameters are `expected` scales and as many shifts.
fn with_scale_and_shift<T: Task + 'static>(
    at: &mut Lowering<'_, '_>,
    task: T,
    expected: usize,
    parameters: [BlobId; 2],
) -> Result<()> {
    let found = at.builder.model.blob(parameters[0]).len();
    if expected != found {
        return Err(Error::input("elements of scale", expected, found));
    }
    let ((read, _), len) = (at.input(), at.seen(at.output).iter().product());
    let place = at.emit_with(task, vec![read], len, |step| Emit { parameters: parameters.to_vec(), ..step });
    at.define(place);
    Ok(())
}
