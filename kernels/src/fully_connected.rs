//! Fully connected layers over kept columns: `y = x W^T + bias`.

use crate::filter_tile::Product;
use crate::parallel::{Part, Partition};
use crate::simd::Isa;
use crate::{Activation, PANEL_ROWS, Threading, balanced, expect_len};
use std::ops::Range;

/// Most tiles of images whose sums are computed together: for each of them all weights are read once.
const TILES: usize = 16;

/// What a fully connected layer computes.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Images.
    pub batch: usize,
    /// Physical inputs of each.
    pub features: usize,
    /// Outputs of each.
    pub rows: usize,
    /// The features that are read.
    pub columns: Vec<usize>,
    /// Applied last.
    pub activation: Activation,
}

/// A fully connected layer with everything decided that shapes decide.
#[derive(Debug)]
pub struct FullyConnected {
    isa: Isa,
    batch: usize,
    features: usize,
    activation: Activation,
    product: Product,
    /// In order of the partition's parts.
    items: Vec<Item>,
    partition: Partition,
}

/// Some rows of some images.
#[derive(Clone, Debug)]
struct Item {
    /// Of images.
    tiles: Range<usize>,
    rows: Range<usize>,
}

impl FullyConnected {
    /// For `threads` threads at most.
    ///
    /// # Panics
    /// If a column lies outside the features.
    pub fn new(layer: Layer, isa: Isa, threads: usize) -> Self {
        let Layer { batch, features, rows, columns, activation } = layer;
        assert!(columns.iter().all(|&c| c < features), "a column lies outside the {features} features");
        let product = Product::new(isa, rows, columns, (0..batch).map(|image| image * features).collect());
        let tiles = product.tiles();
        // Threads share the rows, so that each weight is read by one of them, or the images where that leaves them less apart.
        let unit = isa.lanes().max(PANEL_ROWS);
        let part = |count: usize, thread: usize| thread * count / threads..(thread + 1) * count / threads;
        let share_rows = |thread: usize| {
            let units = part(rows.div_ceil(unit), thread);
            Item { tiles: 0..tiles.len(), rows: (units.start * unit).min(rows)..(units.end * unit).min(rows) }
        };
        let share_images = |thread: usize| Item { tiles: part(tiles.len(), thread), rows: 0..rows };
        let images = |tiles: &[Range<usize>]| tiles.first().map_or(0, |t| t.start)..tiles.last().map_or(0, |t| t.end);
        let slowest = |item: &dyn Fn(usize) -> Item| {
            (0..threads).map(item).map(|i| i.rows.len().next_multiple_of(unit) * images(&tiles[i.tiles]).len()).max()
        };
        let by_rows = slowest(&share_rows) <= slowest(&share_images);
        let item = |thread| if by_rows { share_rows(thread) } else { share_images(thread) };
        let items: Vec<Item> = (0..threads).map(item).filter(|i| !i.rows.is_empty() && !i.tiles.is_empty()).collect();
        let part = |item: &Item| vec![Part { planes: images(&tiles[item.tiles.clone()]), positions: item.rows.clone() }];
        let partition = Partition::new(batch, rows, items.iter().map(part).collect());
        FullyConnected { isa, batch, features, activation, product, items, partition }
    }

    fn sums_len(&self) -> usize {
        self.product.scratch_len(TILES.min(self.product.tiles().len())).max(1)
    }

    /// Numbers of scratch memory that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.partition.lanes() * self.sums_len()
    }

    /// Multiply-accumulates of the batch.
    pub fn macs(&self) -> usize {
        self.batch * self.product.rows() * self.product.columns()
    }

    /// `x` is `[batch][features]`, `out` is `[batch][rows]`, `weights` rows x columns in panels of 8 rows.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        expect_len("input", x, self.batch * self.features);
        expect_len("bias", bias, self.product.rows());
        self.partition.for_each(out, scratch, self.sums_len(), threading, |i, mut window, sums| {
            let Item { tiles, rows } = &self.items[i];
            for part in balanced(tiles.len(), TILES) {
                let tiles = tiles.start + part.start..tiles.start + part.end;
                let first = self.product.tiles()[tiles.start].start;
                self.product.run(weights, rows.clone(), x, tiles, sums, |rows, sums, width| {
                    for (image, sums) in (first..).zip(sums.chunks_exact(width)) {
                        self.finish(sums, &bias[rows.clone()], window.part(image, rows.clone()));
                    }
                });
            }
        });
    }

    fn finish(&self, sums: &[f32], bias: &[f32], out: &mut [f32]) {
        self.isa.vectorize(
            #[inline(always)]
            || out.iter_mut().zip(sums).zip(bias).for_each(|((out, sum), bias)| *out = self.activation.of(sum + bias)),
        );
    }
}
