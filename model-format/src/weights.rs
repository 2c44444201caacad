//! What the weights of an operator are. A file has them as blobs; a program that makes files has them in memory. The records of
//! operators are generic in this, so that a node and its weights are one structure in both.

use crate::value::BlobId;
use std::fmt::Debug;

/// What stands for the weights in an operator's record.
pub trait Weights: Clone + Debug + PartialEq + 'static {
    /// The matrix of a layer, filters by columns.
    type Matrix: Clone + Debug + PartialEq;
    /// One element (or a few) for each channel: biases, scales.
    type Vector: Clone + Debug + PartialEq;
    /// A stored tensor of any shape.
    type Tensor: Clone + Debug + PartialEq;
}

/// Weights are blobs of the weight section, and only what is kept is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {}

impl Weights for Stored {
    type Matrix = BlobId;
    type Vector = BlobId;
    type Tensor = BlobId;
}

/// Weights as a file has them: what the codec can write and read.
pub(crate) trait InFile: Weights<Matrix = BlobId, Vector = BlobId, Tensor = BlobId> {}
impl InFile for Stored {}
