//! Pooling over windows and over whole planes.

use super::window::{describe, geometry, padding};
use crate::error::{Error, Result};
use crate::planning::{Lower, Lowering};
use crate::report::LayerSizes;
use sslm_format::{AveragePool, Blob, GlobalAveragePool, GlobalMaxPool, MaxPool, Value, Window};
use sslm_kernels::Activation;
use sslm_kernels::conv::Geometry;
use sslm_kernels::pool::{GlobalPoolTask, GlobalReduce, PoolTask, Reduce};

impl Lower for MaxPool {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        pool(at, &self.window, Reduce::Max)
    }

    fn applies(&self, _: Activation) -> bool {
        true
    }

    fn sizes(&self, _: &Value, _: &[Blob]) -> LayerSizes {
        LayerSizes { window: Some(describe(&self.window, 1)), ..Default::default() }
    }
}

impl Lower for AveragePool {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let [_, _, bottom, right] = padding(at, &self.window);
        let with_padding = Reduce::MeanWithPadding { pad_after: [bottom, right] };
        pool(at, &self.window, if self.count_include_pad { with_padding } else { Reduce::Mean })
    }

    fn applies(&self, _: Activation) -> bool {
        true
    }

    fn sizes(&self, _: &Value, _: &[Blob]) -> LayerSizes {
        LayerSizes { window: Some(describe(&self.window, 1)), ..Default::default() }
    }
}

impl Lower for GlobalAveragePool {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        global(at, GlobalReduce::Mean);
        Ok(())
    }
}

impl Lower for GlobalMaxPool {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        global(at, GlobalReduce::Max);
        Ok(())
    }
}

fn pool(at: &mut Lowering<'_, '_>, window: &Window, reduce: Reduce) -> Result<()> {
    let (geometry, activation) = (geometry(at, window), at.activation);
    if !geometry.every_window_sees_input() {
        let [height, width] = geometry.input;
        let found = format!("dilated windows that lie wholly in the padding of an input of {height} x {width}");
        return Err(Error::input("window", "at least one position of the input in every window", found));
    }
    at.unary(|shape| PoolTask { images: shape[0], geometry: Geometry { channels: shape[1], ..geometry }, reduce, activation });
    Ok(())
}

fn global(at: &mut Lowering<'_, '_>, reduce: GlobalReduce) {
    at.unary(|shape| GlobalPoolTask { images: shape[0], channels: shape[1], plane: shape[2..].iter().product(), reduce });
}
