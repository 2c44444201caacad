//! The shapes of all values, once options have fixed what the model leaves open.

use crate::error::{Error, Result};
use crate::model::{Model, TensorInfo};
use crate::options::Options;
use sslm_format::shape::{Shape, describe};
use sslm_format::{Dim, Value, infer};

/// The shapes of the inputs.
pub(crate) fn of_inputs(model: &Model, options: &Options) -> Result<Vec<Vec<usize>>> {
    let inputs = model.inputs();
    let mut symbols = options.dims.clone();
    for input in &inputs {
        if let (Some(Dim::Symbolic { name }), Some(batch)) = (input.dims.first(), options.batch) {
            match symbols.insert(name.clone(), batch) {
                Some(other) if other != batch => return Err(Error::input(format!("dimension '{name}'"), batch, other)),
                _ => {}
            }
        }
    }
    let known = |name: &String| inputs.iter().flat_map(|i| &i.dims).any(|d| matches!(d, Dim::Symbolic { name: n } if n == name));
    if let Some(name) = options.dims.keys().find(|name| !known(name)) {
        return Err(Error::input("options", "the name of a symbolic dimension of the model", format!("'{name}'")));
    }
    let extent = |input: &TensorInfo, axis: usize, dim: &Dim| match dim {
        Dim::Fixed { size } => match options.batch {
            Some(batch) if axis == 0 && batch as u64 != *size => {
                Err(Error::input(format!("batch of input '{}'", input.name), format!("{size} (the model fixes it)"), batch))
            }
            _ => Ok(usize::try_from(*size).unwrap_or(usize::MAX)),
        },
        Dim::Symbolic { name } => match symbols.get(name) {
            Some(&extent) => Ok(extent),
            None if axis == 0 => Ok(1),
            None => {
                Err(Error::input(format!("dimension '{name}' of input '{}'", input.name), "an extent in the options", "none"))
            }
        },
    };
    let shape = |input: &TensorInfo| input.dims.iter().enumerate().map(|(axis, dim)| extent(input, axis, dim)).collect();
    inputs.iter().map(shape).collect()
}

/// The shapes of all values, for inputs of these shapes.
pub(crate) fn of_all(model: &Model, inputs: &[Vec<usize>]) -> Result<Vec<Vec<usize>>> {
    let graph = model.graph();
    let known: Vec<Shape> = inputs.iter().map(|s| s.iter().copied().map(Some).collect()).collect();
    let concrete = |(value, inferred): (&Value, Shape)| {
        let extents: Option<Vec<usize>> = inferred.iter().copied().collect();
        extents
            .filter(|s| s.iter().all(|&e| e > 0))
            .ok_or_else(|| Error::input(format!("shape of '{}'", value.name), "extents of at least 1", describe(&inferred)))
    };
    graph.values.iter().zip(infer::infer(graph, &known)?).map(concrete).collect()
}
