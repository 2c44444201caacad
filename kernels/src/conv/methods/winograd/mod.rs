//! Winograd's minimal filtering for dense 3x3 and 5x5 convolutions of stride 1: six by six, or eight by eight, elements of an image
//! yield 4x4 outputs by 36, or 64, products where the definition takes 144, or 400 (Lavin and Gray 2016, "Fast Algorithms for
//! Convolutional Neural Networks").
//!
//! Lanes are channels of the transformed image and filters of the transformed weights, so that tiles need not fill vectors: rows
//! become vectors of channels, and vectors of filters become rows, by transposing squares of elements.
//!
//! Weights are transformed anew in every run, some filters and channels at a time: a stored copy would be four times as large as
//! they are, and reading that from memory takes about as long. So they stay in the file, and only there. Columns that are not kept
//! count as zeros.

mod filters;
mod image;
mod sizes;
mod transforms;

use super::each_group::{EachGroup, GroupKernel, GroupOperands};
use crate::conv::method::{ConvKernel, ConvMethod, PlacedGroup, Problem};
use crate::parallel::{Part, Partition};
use crate::simd::{MAX_LANES, Stored};
use crate::{Threading, balanced};
use filters::{Filters, Transformed};
use image::TransformImage;
use sizes::Sizes;
use sslm_basics::panels::ROWS as PANEL_ROWS;
use std::ops::Range;
use transforms::OUTPUTS;

pub(super) struct Winograd;

impl ConvMethod for Winograd {
    fn applies(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> bool {
        Sizes::new(problem, group).is_some()
    }

    fn cost(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<f64> {
        Some(Sizes::new(problem, group)?.cost())
    }

    fn prepare(&self, problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Box<dyn ConvKernel<f32>> {
        let prepare = |group: PlacedGroup<'_>| {
            let sizes = Sizes::new(problem, group).expect("prepared for what it applies to");
            WinogradGroup::new(sizes, problem.threads)
        };
        Box::new(EachGroup::new(problem, groups, prepare))
    }
}

/// One group's convolution.
#[derive(Debug)]
struct WinogradGroup {
    sizes: Sizes,
    /// Where the elements of each channel, and of each tile, lie in a transformed image.
    places: [Vec<usize>; 2],
    /// What each thread computes, by itself from the image on.
    items: Vec<WinogradItem>,
    partition: Partition,
}

/// Some filters at some rows of tiles.
#[derive(Clone, Debug)]
struct WinogradItem {
    filters: Range<usize>,
    rows: Range<usize>,
}

impl WinogradGroup {
    fn new(sizes: Sizes, threads: usize) -> Self {
        let items = items(&sizes, threads);
        WinogradGroup { places: sizes.places(), partition: partition(&sizes, &items), items, sizes }
    }

    /// Transforms the tiles of some rows.
    fn transform(&self, image: &[f32], rows: &Range<usize>, to: &mut [f32], scratch: &mut [f32]) {
        let (sizes, lanes) = (&self.sizes, self.sizes.isa.lanes());
        let firsts = (0..sizes.channels.len()).step_by(lanes);
        for (first, to) in firsts.zip(to.chunks_exact_mut(sizes.vector_len())) {
            let channels = first..sizes.channels.len().min(first + lanes);
            sizes.isa.dispatch(TransformImage { sizes, image, rows: rows.clone(), channels, to, scratch });
        }
    }

    /// Scratch memory of one thread: a transformed image, and what transforms and products need in turns.
    fn thread_len(&self) -> usize {
        let longer = image::scratch_len(&self.sizes).max(filters::scratch_len(&self.sizes));
        self.sizes.image_len().saturating_add(longer.next_multiple_of(MAX_LANES))
    }
}

/// Decides who computes what: threads share the filters, rows of tiles or both, whichever is expected to cost least. Each
/// transforms what it needs of image and weights, as some other does, too: that takes less than reading what others have just
/// written.
fn items(sizes: &Sizes, threads: usize) -> Vec<WinogradItem> {
    // Whole vectors of filters, and whole panels.
    let unit = sizes.isa.lanes().max(PANEL_ROWS);
    let parts = |of_rows: usize| {
        let rows = balanced(sizes.grid[0], sizes.grid[0].div_ceil(of_rows));
        let filters = sizes.filters.div_ceil(unit).div_ceil(threads / of_rows) * unit;
        let filters = (0..sizes.filters).step_by(filters).map(move |first| first..sizes.filters.min(first + filters));
        rows.flat_map(move |rows| filters.clone().map(move |filters| WinogradItem { filters, rows: rows.clone() }))
    };
    let slowest = |of_rows: usize| {
        let costs = parts(of_rows).map(|item| sizes.cost_of(item.rows.len(), item.filters.len()));
        costs.fold(0.0, f64::max)
    };
    let best = (1..=threads.min(sizes.grid[0])).map(|of_rows| (slowest(of_rows), of_rows)).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(Vec::new, |(_, of_rows)| parts(of_rows).collect())
}

/// The outputs of each item.
fn partition(sizes: &Sizes, items: &[WinogradItem]) -> Partition {
    let [height, width] = sizes.geometry.output;
    let position = |row: usize| (row * OUTPUTS).min(height) * width;
    let share = |WinogradItem { filters, rows }: &WinogradItem| {
        vec![Part { planes: filters.clone(), positions: position(rows.start)..position(rows.end) }]
    };
    Partition::new(sizes.filters, height * width, items.iter().map(share).collect())
}

impl<E: Stored> GroupKernel<E> for WinogradGroup {
    fn describe(&self) -> String {
        format!("{OUTPUTS}x{OUTPUTS}")
    }

    fn scratch_len(&self) -> usize {
        self.items.len().saturating_mul(self.thread_len())
    }

    fn run(&self, operands: GroupOperands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let (sizes, places) = (&self.sizes, &self.places);
        self.partition.for_each(out, scratch, self.thread_len(), threading, |i, mut window, scratch| {
            let (transformed, scratch) = scratch.split_at_mut(sizes.image_len());
            for rows in sizes.passes(&self.items[i].rows) {
                self.transform(image, &rows, transformed, scratch);
                let (image, filters) = (Transformed { elements: transformed, places, rows }, self.items[i].filters.clone());
                sizes.isa.dispatch(Filters { sizes, operands, image, filters, out: &mut window, scratch });
            }
        });
    }
}
