//! Winograd's minimal filtering for dense 3x3 and 5x5 convolutions: six by six, or eight by eight, elements of an image
//! yield 4x4 outputs by 36, or 64, products where the definition takes 144, or 400 (Lavin and Gray 2016, "Fast Algorithms for
//! Convolutional Neural Networks").
//!
//! A strided layer is one of stride 1 over planes that hold every so many elements of its input, in rows and columns. AlexNet's first
//! one has 11x11 taps that lie 4 apart on 3 planes of 227x227: 3x3 taps on 48 planes of 57x57, so that 4x4 outputs take 1728 products
//! where the definition takes 5808.
//!
//! Lanes are channels of the transformed image and filters of the transformed weights, so that tiles need not fill vectors. Where
//! channels lie in blocks, input and output are such vectors; of planes, rows become vectors of channels, and vectors of filters
//! become rows, by transposing squares of elements.
//!
//! Transformed weights are four times as large as those of the file (1.8 to 2.6 times, with 5x5 kernels). Where a plan has room for
//! them, they are transformed once and kept; else they are transformed anew in every run, some filters and channels at a time.
//! Columns that are not kept count as zeros.

mod blocks;
mod filters;
mod image;
mod magnitudes;
mod plain;
mod sizes;
mod transforms;
mod weights;

use super::each_group::{EachGroup, GroupKernel, GroupOperands};
use crate::conv::method::{ConvKernel, ConvMethod, PlacedGroup, Problem};
use crate::layout::{Layout, Layouts};
use crate::parallel::{FAR, Part, Partition};
use crate::simd::{MAX_LANES, Stored};
use crate::{Threading, balanced};
use blocks::TransformBlock;
use filters::{Filters, Transformed};
use get_size2::GetSize;
use image::TransformImage;
use magnitudes::SquaresOfRows;
use sizes::Sizes;
use sslm_basics::panels::{Panels, ROWS as PANEL_ROWS};
use std::ops::Range;
use transforms::OUTPUTS;
use weights::TransformWeights;

pub(super) struct Winograd;

impl ConvMethod for Winograd {
    fn supports(&self, _: Layouts) -> bool {
        true
    }

    fn applies(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> bool {
        group.has_whole_blocks(problem) && Sizes::new(problem, group).is_some()
    }

    fn cost(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<f64> {
        Some(Sizes::new(problem, group)?.cost())
    }

    fn kept_len(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> usize {
        let lanes = problem.isa.lanes();
        let filters = group.place.filters.len().next_multiple_of(lanes);
        Sizes::new(problem, group).map_or(0, |sizes| (sizes.products() * sizes.channels.len() + 1) * filters)
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
#[derive(GetSize, Debug)]
struct WinogradGroup {
    sizes: Sizes,
    /// Where the elements of each channel, and of each tile, lie in a transformed image.
    places: [Vec<usize>; 2],
    strips: Vec<Strip>,
    /// What each thread computes, by itself from the image on.
    items: Vec<WinogradItem>,
    partition: Partition,
}

/// Filters that are multiplied together: as many vectors as a register tile has, or fewer.
#[derive(GetSize, Clone, Debug)]
struct Strip {
    filters: Range<usize>,
    /// Where their transformed weights lie among those that are kept, if they are.
    kept: Option<Range<usize>>,
}

/// Some strips of filters at some rows of tiles.
#[derive(GetSize, Clone, Debug)]
struct WinogradItem {
    strips: Range<usize>,
    rows: Range<usize>,
}

impl WinogradGroup {
    fn new(sizes: Sizes, threads: usize) -> Self {
        let (strips, items) = share(&sizes, threads);
        let partition = partition(&sizes, &strips, &items);
        WinogradGroup { places: sizes.places(), strips, items, partition, sizes }
    }

    /// Transforms the tiles of some rows.
    fn transform(&self, image: &[f32], rows: &Range<usize>, to: &mut [f32], scratch: &mut [f32]) {
        let (sizes, lanes) = (&self.sizes, self.sizes.isa.lanes());
        let vectors = to.chunks_exact_mut(sizes.vector_len());
        match sizes.layouts.reads {
            Layout::Planes => {
                for (first, to) in (0..sizes.channels.len()).step_by(lanes).zip(vectors) {
                    let channels = first..sizes.channels.len().min(first + lanes);
                    sizes.dispatch(TransformImage { sizes, image, rows: rows.clone(), channels, to, scratch });
                }
            }
            Layout::Blocks => {
                let block_len = sizes.geometry.input_len() * lanes;
                for (block, to) in sizes.blocks.iter().zip(vectors) {
                    let block = &image[block * block_len..][..block_len];
                    sizes.dispatch(TransformBlock { sizes, block, rows: rows.clone(), to, scratch });
                }
            }
        }
    }

    /// Scratch memory of one thread: a transformed image, and what transforms and products need in turns.
    fn thread_len(&self) -> usize {
        let of_image = match self.sizes.layouts.reads {
            Layout::Planes => image::scratch_len(&self.sizes),
            Layout::Blocks => blocks::scratch_len(&self.sizes),
        };
        let longer = of_image.max(filters::scratch_len(&self.sizes));
        let squares_len = self.sizes.rows.next_multiple_of(MAX_LANES);
        self.sizes.image_len().saturating_add(squares_len).saturating_add(longer.next_multiple_of(MAX_LANES))
    }
}

/// Decides who computes what: threads share the filters, rows of tiles or both, whichever is expected to cost least. Each
/// transforms what it needs of the image, and of weights that are not kept, as some other does, too: that takes less than reading what
/// others have just written.
fn share(sizes: &Sizes, threads: usize) -> (Vec<Strip>, Vec<WinogradItem>) {
    // Whole vectors of filters, and whole panels.
    let unit = sizes.isa.lanes().max(PANEL_ROWS);
    let shares_of_filters = |of_rows: usize| {
        let each = sizes.filters.div_ceil(unit).div_ceil(threads / of_rows) * unit;
        (0..sizes.filters).step_by(each.max(1)).map(move |first| first..sizes.filters.min(first + each))
    };
    let shares_of_rows = |of_rows: usize| balanced(sizes.grid[0], sizes.grid[0].div_ceil(of_rows));
    let slowest = |of_rows: usize| {
        let rows = shares_of_rows(of_rows).map(|rows| rows.len()).max().unwrap_or(0);
        let filters = shares_of_filters(of_rows).map(|filters| filters.len()).max().unwrap_or(0);
        // Of the rows that it reads, a thread has written those of its filters, if the layer before was shared as this one is.
        let read = (sizes.channels.len() * rows * OUTPUTS * sizes.geometry.input[1]) as f64;
        sizes.cost_of(rows, filters) + FAR * read * (1.0 - of_rows as f64 / threads as f64)
    };
    let best = (1..=threads.min(sizes.grid[0])).map(|of_rows| (slowest(of_rows), of_rows)).min_by(|a, b| a.0.total_cmp(&b.0));
    let (mut strips, mut items) = (Vec::new(), Vec::new());
    let Some((_, of_rows)) = best else { return (strips, items) };
    let mut kept = 0;
    for filters in shares_of_filters(of_rows) {
        let first = strips.len();
        strips.extend(strips_of(sizes, filters).map(|filters| {
            let start = kept;
            let vectors = filters.len().div_ceil(sizes.isa.lanes());
            // Behind them, the sums of the squares of each filter's weights.
            kept += sizes.products() * sizes.weights_len(vectors) + vectors * sizes.isa.lanes();
            Strip { filters, kept: sizes.keeps_weights.then_some(start..kept) }
        }));
        items.extend(shares_of_rows(of_rows).map(|rows| WinogradItem { strips: first..strips.len(), rows }));
    }
    (strips, items)
}

/// Some filters in parts that are multiplied together.
fn strips_of(sizes: &Sizes, filters: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let lanes = sizes.isa.lanes();
    let vectors = balanced(filters.len().div_ceil(lanes), sizes.isa.filter_tile()[1]);
    vectors.map(move |v| filters.start + v.start * lanes..filters.end.min(filters.start + v.end * lanes))
}

/// The outputs of each item.
fn partition(sizes: &Sizes, strips: &[Strip], items: &[WinogradItem]) -> Partition {
    // Of blocks, planes are what is one block's.
    let lanes = sizes.layouts.writes.lanes(sizes.isa);
    let [height, width] = sizes.geometry.output;
    let position = |row: usize| (row * OUTPUTS).min(height) * width * lanes;
    let share = |WinogradItem { strips: of_item, rows }: &WinogradItem| {
        let strips = &strips[of_item.clone()];
        let [start, end] = [strips.first().map_or(0, |s| s.filters.start), strips.last().map_or(0, |s| s.filters.end)];
        vec![Part { planes: start / lanes..end.div_ceil(lanes), positions: position(rows.start)..position(rows.end) }]
    };
    Partition::new(sizes.filters.div_ceil(lanes), height * width * lanes, items.iter().map(share).collect())
}

impl<E: Stored> GroupKernel<E> for WinogradGroup {
    fn describe(&self) -> String {
        format!("{OUTPUTS}x{OUTPUTS}")
    }

    fn scratch_len(&self) -> usize {
        self.sizes.stage_len().saturating_add(self.items.len().saturating_mul(self.thread_len()))
    }

    fn kept_len(&self) -> usize {
        self.strips.iter().filter_map(|strip| strip.kept.as_ref()).map(|kept| kept.len()).sum()
    }

    fn transform_weights(&self, panels: Panels<'_, E>, kept: &mut [f32]) {
        let sizes = &self.sizes;
        for (filters, place) in self.strips.iter().filter_map(|strip| Some((&strip.filters, strip.kept.as_ref()?))) {
            let (filters, channels, kept) = (filters.clone(), 0..sizes.channels.len(), &mut kept[place.clone()]);
            let squares_len = filters.len().next_multiple_of(sizes.isa.lanes());
            let (to, squares) = kept.split_at_mut(kept.len() - squares_len);
            squares.fill(0.0);
            sizes.dispatch(TransformWeights { sizes, panels, filters, channels, to, squares });
        }
    }

    fn run(&self, operands: GroupOperands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let (sizes, places) = (&self.sizes, &self.places);
        let (planes, scratch) = scratch.split_at_mut(sizes.stage_len());
        let image = sizes.planes_of(image, planes, threading);
        self.partition.for_each(out, scratch, self.thread_len(), threading, |i, mut window, scratch| {
            let (transformed, scratch) = scratch.split_at_mut(sizes.image_len());
            let (squares, scratch) = scratch.split_at_mut(sizes.rows.next_multiple_of(MAX_LANES));
            for rows in sizes.passes(&self.items[i].rows) {
                sizes.isa.dispatch(SquaresOfRows { sizes, image, rows: rows.clone(), to: squares });
                self.transform(image, &rows, transformed, scratch);
                for Strip { filters, kept } in &self.strips[self.items[i].strips.clone()] {
                    let (source, rows) = (image, rows.clone());
                    let image = Transformed { elements: transformed, places, rows, squares };
                    let kept = kept.clone().map(|place| &operands.kept[place]);
                    let (filters, out) = (filters.clone(), &mut window);
                    sizes.dispatch(Filters { sizes, operands, kept, image, source, filters, out, scratch });
                }
            }
        });
    }
}
