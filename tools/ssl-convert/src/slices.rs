//! The walk over axis maps: which slices of an operator's inputs its output's slices depend on, and what that makes of constants. A
//! slice here is a channel (axis 1), because that is what a file can leave out; nothing in the walk depends on that.

use sslm_format::shape::Shape;
use sslm_format::{AxisMap, Operator, Reach, SliceSpace, Source};

/// The axes of slices: those along which a file says what of a value exists.
const AXES: [usize; 1] = [1];

/// What is known of the slices of a value: each is live (`None`) or one element everywhere.
#[derive(Clone, Debug)]
pub struct Slices<'g> {
    /// The value's shape.
    pub shape: &'g Shape,
    /// Its slices; absent where it is always stored whole, for want of a fixed count of channels.
    pub known: Option<Known<'g>>,
}

/// Slices and what they are.
#[derive(Clone, Debug)]
pub struct Known<'g> {
    space: SliceSpace,
    /// One for each slice.
    pub constants: &'g [Option<f32>],
}

/// Which slices of an input are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Reads {
    /// All of them.
    All,
    /// Those whose flag is set.
    Some(Vec<bool>),
}

/// How many slices a value of `shape` has, if it has any.
pub fn count(shape: &Shape) -> Option<usize> {
    SliceSpace::along(shape, &AXES).map(|space| space.len())
}

impl<'g> Slices<'g> {
    /// The slices of a value of `shape`, of which `constants` are known; `None` where it is stored whole.
    pub fn new(shape: &'g Shape, constants: Option<&'g [Option<f32>]>) -> Self {
        let known = constants.zip(SliceSpace::along(shape, &AXES)).map(|(constants, space)| Known { space, constants });
        Slices { shape, known }
    }

    /// The constant of each slice, where the value has slices.
    pub fn constants(&self) -> Option<&'g [Option<f32>]> {
        self.known.as_ref().map(|known| known.constants)
    }

    /// Whether slice `slice` has to be computed.
    pub fn is_live(&self, slice: usize) -> bool {
        self.constants().is_none_or(|constants| constants[slice].is_none())
    }
}

fn maps<O: Operator + ?Sized>(op: &O, inputs: &[Slices<'_>], output: &Shape) -> Vec<AxisMap> {
    let shapes: Vec<&Shape> = inputs.iter().map(|input| input.shape).collect();
    op.axes(&shapes, output)
}

/// What slice `slice` of the output depends on.
fn reach(map: &AxisMap, input: &Slices<'_>, outer: &SliceSpace, slice: usize) -> Reach {
    match &input.known {
        Some(known) => map.reach(input.shape, &known.space, outer, slice),
        None => Reach::All,
    }
}

/// What is known of the slices that slice `slice` of the output depends on.
fn source<'g>(map: &AxisMap, input: &Slices<'g>, outer: &SliceSpace, slice: usize) -> Source<'g> {
    match (reach(map, input, outer, slice), input.constants()) {
        (Reach::Nothing, _) => Source::Nothing,
        (Reach::One(i), Some(constants)) => Source::One(constants[i]),
        (Reach::Near { own, range }, Some(constants)) => Source::Near { own: own - range.start, slices: &constants[range] },
        (Reach::One(_) | Reach::Near { .. } | Reach::All, _) => Source::Unknown,
    }
}

/// The slices of what `op` yields, by its axis map and what it makes of constants.
pub fn follow<O: Operator + ?Sized>(op: &O, inputs: &[Slices<'_>], output: &Slices<'_>) -> Vec<Option<f32>> {
    let Some(outer) = output.known.as_ref().map(|known| &known.space) else { return Vec::new() };
    let maps = maps(op, inputs, output.shape);
    let of_slice = |slice: usize| {
        let source = |(map, input)| source(map, input, outer, slice);
        let sources: Vec<Source<'_>> = maps.iter().zip(inputs).map(source).collect();
        op.constant(&sources)
    };
    (0..outer.len()).map(of_slice).collect()
}

/// Which slices of each input of `op` are read where these slices of the output are wanted, by its axis map.
pub fn reads<O: Operator + ?Sized>(op: &O, inputs: &[Slices<'_>], output: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
    let (Some(known), Some(wanted)) = (&output.known, wanted) else { return vec![Reads::All; inputs.len()] };
    let of_input = |(map, input): (AxisMap, &Slices<'_>)| {
        let mut read = vec![false; input.constants()?.len()];
        for slice in (0..wanted.len()).filter(|&slice| wanted[slice]) {
            match reach(&map, input, &known.space, slice) {
                Reach::Nothing => {}
                Reach::One(i) => read[i] = true,
                Reach::Near { range, .. } => read[range].fill(true),
                Reach::All => return None,
            }
        }
        Some(read)
    };
    let maps = maps(op, inputs, output.shape);
    maps.into_iter().zip(inputs).map(|pair| of_input(pair).map_or(Reads::All, Reads::Some)).collect()
}

/// The slice of the input that each slice of the output is, if `op` is of one input and each slice of its output depends on one.
pub fn origins<O: Operator + ?Sized>(op: &O, input: &Shape, output: &Shape) -> Option<Vec<usize>> {
    let (own, outer) = (SliceSpace::along(input, &AXES)?, SliceSpace::along(output, &AXES)?);
    let [map] = &op.axes(&[input], output)[..] else { return None };
    map.origins(input, &own, &outer)
}
