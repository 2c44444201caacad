//! Pools over windows, and over all of height and width.

use super::window;
use crate::import::node::Node;
use crate::import::registry::Import;
use anyhow::{Result, ensure};
use sslm_format::{AveragePool, MaxPool, Op, Window};

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("MaxPool", |node| {
        ensure!(node.outputs().get(1).is_none_or(String::is_empty), "expected one output, found Indices");
        let (window, ceil_mode) = window_and_rounding(node)?;
        node.unary(Op::MaxPool(MaxPool { window, ceil_mode }))
    }),
    Import::computing("AveragePool", |node| {
        let (window, ceil_mode) = window_and_rounding(node)?;
        let count_include_pad = node.flag("count_include_pad", false)?;
        node.unary(Op::AveragePool(AveragePool { window, ceil_mode, count_include_pad }))
    }),
    Import::computing("GlobalAveragePool", |node| node.unary(Op::GlobalAveragePool)),
    Import::computing("GlobalMaxPool", |node| node.unary(Op::GlobalMaxPool)),
];

/// The window, and whether sizes are rounded up.
fn window_and_rounding(node: &Node<'_>) -> Result<(Window, bool)> {
    ensure!(!node.flag("storage_order", false)?, "storage_order: expected 0, found 1");
    Ok((window::of_attributes(node)?, node.flag("ceil_mode", false)?))
}
