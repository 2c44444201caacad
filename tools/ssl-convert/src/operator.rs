//! What conversion asks an operator between import and export. Each record answers in the file of its family, beside its import and
//! export; the default answers walk the operator's axis map, so an operator without weights mostly has nothing to add.

use crate::blobs::Blobs;
use crate::onnx::tensor::{Floats, Tensor};
use crate::order::Order;
use crate::slices::{Reads, Slices, follow, reads};
use crate::weights::{Layer, Matrix, Op};
use anyhow::Result;
use sslm_format::shape::Shape;
use sslm_format::{Activation, Binary, Operator, Value, dispatch};

/// What conversion asks an operator.
pub trait Convert: Operator {
    /// Whether all of its weights are finite.
    fn is_finite(&self) -> bool {
        true
    }

    /// Its weights as filters and columns, if it has such.
    fn layer(&self) -> Option<Layer<'_>> {
        None
    }

    /// The matrix of [`Self::layer`], to change it.
    fn matrix_mut(&mut self) -> Option<&mut Matrix> {
        None
    }

    /// Multiply-accumulates for one image: of all its logical filters and columns, and of those that it keeps. `None` for operators
    /// without weights, or where the output's size is symbolic.
    fn macs(&self, output: &Value, shape: &Shape) -> Option<(u64, u64)> {
        let _ = (output, shape);
        None
    }

    /// The tensor that it stores, if that is all it does.
    fn tensor(&self) -> Option<&Floats> {
        None
    }

    /// What it does to a tensor, if it does nothing but move or pick elements.
    fn mover(&self) -> Option<Mover<'_>> {
        None
    }

    /// The operator as a factor and a term for each channel of one of its inputs, if it is that. `constants` has for each input the
    /// element that it meets each channel of the other one with, if it is a stored tensor that does so.
    fn affine(&self, constants: &[Option<Vec<f32>>]) -> Option<Affine> {
        let _ = constants;
        None
    }

    /// The function of each element that it is, if it is one.
    fn function(&self) -> Option<Activation> {
        None
    }

    /// The function of two elements that it is, if it is one.
    fn function_of_two(&self) -> Option<Binary> {
        None
    }

    /// The axes that it takes the mean over, if it does that and they stay.
    fn mean_over(&self) -> Option<&[u32]> {
        None
    }

    /// Whether it is the same operator for values that have one more axis, of extent 1, before their last one, which is not axis 1.
    fn ignores_rows(&self) -> bool {
        false
    }

    /// What it does to its operands before and to its result after, if it is a product of computed matrices.
    fn product_mut(&mut self) -> Option<MatrixProduct<'_>> {
        None
    }

    /// The rows and biases of a layer that yields a value of `shape`, if an affine function of each channel can be taken into them.
    fn rows_mut(&mut self, shape: &Shape) -> Option<(&mut Matrix, &mut Vec<f32>)> {
        let _ = shape;
        None
    }

    /// The order of an input's axes, of this shape, in which it is computed fastest and can lose channels, if that is another one.
    fn favourite_order(&self, x: &Shape) -> Option<Order> {
        let _ = x;
        None
    }

    /// The operator that computes the same where values are stored in other orders, which fit by its axis map. `None` if there is none.
    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        let _ = at;
        None
    }

    /// What is known of the slices of the output; weights take in what the constant slices of the inputs contribute.
    fn forward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>) -> Vec<Option<f32>> {
        follow(self, inputs, output)
    }

    /// Which slices of each input are read where these slices of the output are `wanted` (`None`: all of it, which has no slices). Lists of
    /// kept columns become those that are needed for it.
    fn backward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
        reads(self, inputs, output, wanted)
    }

    /// Keeps no columns: nothing of the output is computed.
    fn forget(&mut self) {}

    /// Whether constants that it reads end here without a loss: they go into its weights, or it passes on what it picks.
    fn takes_constants(&self) -> bool {
        false
    }

    /// Why a constant slice of its input does not become a constant slice of its output.
    fn why_lost(&self) -> &'static str {
        "constants cannot be followed through this operator"
    }

    /// The record as the file has it; its weights go to `blobs`, of which the channels that `output` keeps.
    fn stored<'g>(&'g self, output: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op;
}

/// What a product of matrices takes in of what stands around it.
pub struct MatrixProduct<'a> {
    /// Whether the last two axes of each operand are swapped.
    pub transposed: &'a mut [bool; 2],
    /// Factor of the result.
    pub alpha: &'a mut f32,
}

/// What an operator that moves elements makes of a stored tensor.
pub type Mover<'a> = Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>;

/// In which orders of axes an operator finds its inputs and leaves its output.
pub struct Reordering<'a> {
    /// The shape of each input, in its own order; they have equally many axes.
    pub input: &'a Shape,
    /// The shape of the output, in its own order.
    pub output: &'a Shape,
    /// The order in which inputs are stored.
    pub x: &'a Order,
    /// The order in which the output is to be stored.
    pub y: &'a Order,
}

impl Reordering<'_> {
    /// Where an axis of the inputs is stored.
    pub fn axis(&self, axis: u32) -> Option<u32> {
        self.x.place(axis as usize).map(|place| place as u32)
    }
}

/// A factor and a term for each channel.
pub struct Affine {
    /// The index of that input.
    pub input: usize,
    /// Factors; absent where all are 1.
    pub scale: Option<Vec<f32>>,
    /// Terms.
    pub shift: Vec<f32>,
}

/// Why constants are lost where channels are mixed.
pub(crate) const MIXES_CHANNELS: &str = "it mixes channels, so it needs all of them";

/// For records without weights: what the file has is the record itself.
macro_rules! without_weights {
    () => {
        fn stored<'g>(&'g self, _: &sslm_format::Value, _: &mut $crate::blobs::Blobs<'g>) -> sslm_format::Op {
            self.clone().into()
        }
    };
}
pub(crate) use without_weights;

/// The answers of the operator at hand.
pub fn answers(op: &Op) -> &dyn Convert {
    dispatch!(op, record => record)
}

/// As [`answers`], to change it.
pub fn answers_mut(op: &mut Op) -> &mut dyn Convert {
    dispatch!(op, record => record)
}
