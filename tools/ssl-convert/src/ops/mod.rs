//! The operators, one family a file: how each comes from ONNX. `IMPORTS` of each file has a row an operator.

mod activation;
mod binary;
mod constant;
mod conv;
mod gemm;
mod join;
mod layout;
mod normalize;
mod pass;
mod pick;
mod pool;
mod reduce;
mod resize;
mod sample;
mod shapes;
mod space;
mod window;

use crate::import::registry::Import;

/// The tables of all families.
const FAMILIES: [&[Import]; 16] = [
    activation::IMPORTS,
    binary::IMPORTS,
    constant::IMPORTS,
    conv::IMPORTS,
    gemm::IMPORTS,
    join::IMPORTS,
    layout::IMPORTS,
    normalize::IMPORTS,
    pass::IMPORTS,
    pick::IMPORTS,
    pool::IMPORTS,
    reduce::IMPORTS,
    resize::IMPORTS,
    sample::IMPORTS,
    shapes::IMPORTS,
    space::IMPORTS,
];

fn imports() -> impl Iterator<Item = &'static Import> {
    FAMILIES.into_iter().flatten()
}

/// How the operator of this name is imported; `None` if it is not supported.
pub(crate) fn import_of(name: &str) -> Option<&'static Import> {
    imports().find(|import| import.name == name)
}

/// The names of all operators that are supported, sorted.
pub(crate) fn supported() -> Vec<&'static str> {
    let mut names: Vec<&str> = imports().map(|import| import.name).collect();
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
    }
}
