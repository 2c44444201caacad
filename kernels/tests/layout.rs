//! Activations in blocks of channels against the definition of that layout, and back. Lanes behind the last channel are poison.

use crate::common::{Choices, Expected, Guarded, POISON, check_all, compare, elements, every, run_everywhere};
use fastrand::Rng;
use sslm_devices::isas;
use sslm_kernels::layout::{Extents, Layout};
use sslm_kernels::reorder::reorder;
use sslm_kernels::{Exec, Isa, Threading};

fn choose(c: &mut Choices) -> Extents {
    Extents { images: c.of(&[1, 2]), channels: c.of(&[0, 1, 3, 4, 8, 15, 16, 17, 40]), plane: c.of(&[0, 1, 4, 9, 35]) }
}

/// Where each element of the planes lies in blocks.
fn places(Extents { images, channels, plane }: Extents, lanes: usize) -> impl Iterator<Item = usize> {
    let blocks = channels.div_ceil(lanes);
    let of_channel = move |image: usize, c: usize| {
        (0..plane).map(move |position| ((image * blocks + c / lanes) * plane + position) * lanes + c % lanes)
    };
    (0..images).flat_map(move |image| (0..channels).flat_map(move |c| of_channel(image, c)))
}

#[test]
fn there_and_back() {
    check_all(&every(choose), |&extents| {
        let planes: Guarded = elements(&mut Rng::with_seed(31), extents.len(Layout::Planes, Isa::best()));
        let expected: Vec<Expected> = planes.iter().copied().map(Expected::exactly).collect();
        for isa in isas() {
            let mut blocks: Guarded = (0..extents.len(Layout::Blocks, isa)).map(|_| POISON).collect();
            reorder(&planes, extents, Layout::Blocks, &mut blocks, Exec { isa, threading: Threading::Single });
            for (i, place) in places(extents, isa.lanes()).enumerate() {
                if blocks[place] != planes[i] {
                    return Err(format!("{isa}: element {i} is {} in blocks", blocks[place]));
                }
            }
        }
        let out = run_everywhere(planes.len(), |out, exec| {
            let lanes = exec.isa.lanes();
            let mut blocks: Guarded = (0..extents.len(Layout::Blocks, exec.isa)).map(|_| POISON).collect();
            places(extents, lanes).zip(planes.iter()).for_each(|(place, x)| blocks[place] = *x);
            reorder(&blocks, extents, Layout::Planes, out, exec);
        })?;
        compare(&out, &expected)
    });
}
