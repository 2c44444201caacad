//! Tensors of integers that follow from the sizes of inputs alone. Once those are known, they are constants.

use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{Extent, Range, Sizes};
use sslm_kernels::channels::{SelectTask, Source};

impl Lower for Sizes {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        fill(at, self.elements.iter().map(integer));
        Ok(())
    }
}

impl Lower for Range {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (count, [start, step]) = (at.shape(at.output)[0], [&self.start, &self.step].map(integer));
        at.builder.list(count.saturating_mul(2 * size_of::<Source>()))?;
        fill(at, (0..count as i64).map(|i| start.saturating_add(step.saturating_mul(i))));
        Ok(())
    }
}

/// Defines the output by these elements.
fn fill(at: &mut Lowering<'_, '_>, elements: impl Iterator<Item = i64>) {
    let sources: Vec<Source> = elements.map(|element| Source::Constant(element as f32)).collect();
    let len = sources.len();
    let nothing = at.builder.nothing();
    let place = at.emit(SelectTask { images: 1, channels: 0, plane: 1, sources }, vec![nothing], len);
    at.builder.define(at.output, place);
}

/// An extent of a bound model.
fn integer(extent: &Extent) -> i64 {
    extent.integer().unwrap_or(0)
}
