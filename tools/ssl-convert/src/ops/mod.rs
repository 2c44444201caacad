//! The operators, one family a file: how each comes from ONNX. `IMPORTS` of each file has a row an operator.

mod activation;
mod binary;
mod cast;
mod constant;
mod conv;
mod einsum;
mod gemm;
mod index;
mod join;
mod layout;
mod matmul;
mod normalize;
mod pass;
mod pick;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod repeat;
mod resize;
mod sample;
mod shapes;
mod space;
mod triangle;
mod volume;
mod window;

use crate::import::registry::Import;

/// The tables of all families.
const FAMILIES: [&[Import]; 24] = [
    activation::IMPORTS,
    binary::IMPORTS,
    cast::IMPORTS,
    constant::IMPORTS,
    conv::IMPORTS,
    einsum::IMPORTS,
    gemm::IMPORTS,
    index::IMPORTS,
    join::IMPORTS,
    layout::IMPORTS,
    matmul::IMPORTS,
    normalize::IMPORTS,
    pass::IMPORTS,
    pick::IMPORTS,
    pool::IMPORTS,
    quantize::IMPORTS,
    recurrent::IMPORTS,
    reduce::IMPORTS,
    repeat::IMPORTS,
    resize::IMPORTS,
    sample::IMPORTS,
    shapes::IMPORTS,
    space::IMPORTS,
    triangle::IMPORTS,
];

fn imports() -> impl Iterator<Item = &'static Import> {
    FAMILIES.into_iter().flatten()
}

/// How the operator of this name is imported; `None` if it is not supported.
pub(crate) fn import_of(name: &str) -> Option<&'static Import> {
    imports().find(|import| import.name == name)
}

/// The names of all operators that are supported, sorted. An If is not one that computes: one of its branches stands for it.
pub(crate) fn supported() -> Vec<&'static str> {
    let mut names: Vec<&str> = imports().map(|import| import.name).chain(["If"]).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_has_one_row() {
        let mut names = supported();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        assert!(names.is_sorted() && names.contains(&"Conv") && names.contains(&"If"), "{names:?}");
    }
}
