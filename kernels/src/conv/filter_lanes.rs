//! Convolutions whose planes are so small that vectors of positions would be half empty. Lanes are filters instead, and each output
//! position is what an image of a batch is to a fully connected layer.

use super::geometry::{Column, Geometry};
use super::stage::{Padding, Stage};
use super::{GroupKernel, Method, Weighted};
use crate::filter_tile::{Item, Product, Sums};
use crate::parallel::{Part, Partition, Window};
use crate::simd::{Isa, Simd, Vectorized};
use crate::tile::each_column;
use crate::{Threading, activation, expect_len};

/// One group's convolution.
#[derive(Debug)]
pub(crate) struct FilterLanes {
    geometry: Geometry,
    isa: Isa,
    stage: Stage,
    product: Product,
    /// In order of the partition's parts.
    items: Vec<Item>,
    partition: Partition,
}

impl FilterLanes {
    pub(crate) fn new(geometry: &Geometry, filters: usize, columns: &[Column], isa: Isa, threads: usize) -> Self {
        let stage = Stage::new(geometry, columns.iter().copied(), Padding::Written);
        let offset = |(i, &column): (usize, &Column)| {
            // Padding is written out, so nothing lies before the input's first number.
            usize::try_from(stage.offset(geometry, i, column)).expect("a place inside the staged input")
        };
        let offsets = columns.iter().enumerate().map(offset).collect();
        let ([height, width], pitch) = (geometry.output, stage.pitch(geometry));
        let positions = (0..height).flat_map(|row| (0..width).map(move |column| row * pitch + column)).collect();
        let product = Product::new(isa, filters, offsets, positions);
        let items = product.share(threads);
        let part = |item: &Item| vec![Part { planes: item.rows.clone(), positions: product.positions(&item.tiles) }];
        let partition = Partition::new(filters, geometry.output_len(), items.iter().map(part).collect());
        FilterLanes { geometry: geometry.clone(), isa, stage, product, items, partition }
    }

    /// What one image is expected to cost, in multiply-adds of vectors (see `choice.rs`).
    pub(super) fn cost(&self) -> f64 {
        let vectors = self.product.rows().div_ceil(self.isa.lanes()) as f64;
        let positions = self.geometry.output_len();
        // Tiles have eight positions or a little fewer.
        let products = self.product.columns() * positions.next_multiple_of(8);
        vectors * (1.07 * products as f64 + 30.0 * positions as f64) + 50.0 * self.stage.rows() as f64
    }

    fn stage_len(&self) -> usize {
        self.stage.len(&self.geometry).next_multiple_of(16)
    }
}

impl GroupKernel for FilterLanes {
    fn method(&self) -> Method {
        Method::FilterLanes
    }

    fn describe(&self) -> String {
        self.product.describe()
    }

    fn scratch_len(&self) -> usize {
        self.stage_len().saturating_add(self.partition.lanes() * self.product.scratch_len())
    }

    fn run(&self, layer: Weighted<'_>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        expect_len("bias", layer.bias, self.product.rows());
        let (planes, scratch) = scratch.split_at_mut(self.stage_len());
        let x = self.stage.of(&self.geometry, self.isa, image, planes, threading);
        self.partition.for_each(out, scratch, self.product.scratch_len(), threading, |i, mut window, scratch| {
            self.product.run(layer.weights, &self.items[i], x, scratch, |sums| {
                self.isa.dispatch(Finish { layer, sums, window: &mut window });
            });
        });
    }
}

/// Makes outputs of sums.
pub(super) struct Finish<'a, 'w> {
    pub(super) layer: Weighted<'a>,
    pub(super) sums: Sums<'a>,
    pub(super) window: &'a mut Window<'w>,
}

impl Vectorized for Finish<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Finish { layer, sums: Sums { rows, positions, numbers, width }, window } = self;
        simd.vectorize(
            #[inline(always)]
            || {
                for (first, numbers) in positions.clone().step_by(S::LANES).zip(numbers.chunks(S::LANES * width)) {
                    let here = first..positions.end.min(first + S::LANES);
                    for (vector, first_row) in rows.clone().step_by(S::LANES).enumerate() {
                        let rows = first_row..rows.end.min(first_row + S::LANES);
                        let mut planes = window.planes(rows.clone(), here.clone());
                        each_column(
                            simd,
                            &numbers[vector * S::LANES..],
                            width,
                            #[inline(always)]
                            |lane, x| {
                                if let Some(out) = planes.get(lane) {
                                    let x = if layer.add { simd.add(x, simd.get_first(out)) } else { x };
                                    let x = simd.add(x, simd.splat(layer.bias[rows.start + lane]));
                                    simd.put_first(out, activation::of_vector(simd, layer.activation, x));
                                }
                            },
                        );
                    }
                }
            },
        );
    }
}
