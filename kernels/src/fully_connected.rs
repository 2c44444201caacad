//! Fully connected layers over kept columns: `y = x W^T + bias`.

use crate::activation::{self, Bounds};
use crate::cpu::{self, Call, Kernel};
use crate::filter_tile::{FilterItem, Product};
use crate::parallel::{Part, Partition};
use crate::simd::{Isa, Simd, Vectorized};
use crate::{Activation, Task, Threading, expect_len};
use get_size2::GetSize;
use sslm_basics::panels::Panels;

/// What a fully connected layer computes.
#[derive(Clone, Debug)]
pub struct GemmTask {
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

/// Its parameters are weights and bias.
impl Task for GemmTask {
    fn kind(&self) -> &'static str {
        "fully connected"
    }
}

impl cpu::Task for GemmTask {
    fn most_table_bytes(&self, target: &cpu::Target) -> usize {
        cpu::KERNEL + 64 * (self.columns.len() + self.batch) + 1024 * target.threads
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        Box::new(PreparedGemm::new(*self, target.isa, target.threads))
    }
}

impl Kernel for PreparedGemm {
    fn scratch_len(&self) -> usize {
        self.scratch_len()
    }

    fn compute(&self, Call { reads, parameters, out, scratch, exec, .. }: Call<'_>) {
        self.run(reads.get(0), parameters.get(0), parameters.get(1), out, scratch, exec.threading);
    }
}

/// A fully connected layer with everything decided that shapes decide.
#[derive(GetSize, Debug)]
pub struct PreparedGemm {
    isa: Isa,
    batch: usize,
    features: usize,
    #[get_size(ignore)]
    activation: Activation,
    product: Product,
    /// In order of the partition's parts.
    items: Vec<FilterItem>,
    partition: Partition,
}

impl PreparedGemm {
    /// For `threads` threads at most.
    ///
    /// # Panics
    /// If a column lies outside the features.
    pub fn new(layer: GemmTask, isa: Isa, threads: usize) -> Self {
        let GemmTask { batch, features, rows, columns, activation } = layer;
        assert!(columns.iter().all(|&c| c < features), "a column lies outside the {features} features");
        let product = Product::new(isa, rows, columns, (0..batch).map(|image| image * features).collect());
        let items = product.share(threads);
        let part = |item: &FilterItem| vec![Part { planes: product.positions(&item.tiles), positions: item.rows.clone() }];
        let partition = Partition::new(batch, rows, items.iter().map(part).collect());
        PreparedGemm { isa, batch, features, activation, product, items, partition }
    }

    /// Elements of scratch memory that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.partition.shares() * self.product.scratch_len()
    }

    /// Multiply-accumulates of the batch.
    pub fn macs(&self) -> usize {
        self.batch * self.product.rows() * self.product.columns()
    }

    /// `x` is `[batch][features]`, `out` is `[batch][rows]`, `weights` rows x columns in [panels](sslm_basics::panels).
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        expect_len("input", x, self.batch * self.features);
        expect_len("bias", bias, self.product.rows());
        let matrix = Panels::new(weights, self.product.rows(), self.product.columns());
        self.partition.for_each(out, scratch, self.product.scratch_len(), threading, |i, mut window, scratch| {
            self.product.run(matrix.into(), &self.items[i], x, scratch, |sums| {
                for (image, elements) in sums.positions.zip(sums.elements.chunks_exact(sums.width)) {
                    self.finish(elements, &bias[sums.rows.clone()], window.part(image, sums.rows.clone()));
                }
            });
        });
    }

    fn finish(&self, sums: &[f32], bias: &[f32], out: &mut [f32]) {
        self.isa.dispatch(Finish { activation: self.activation, sums, bias, out });
    }
}

/// Makes outputs of sums.
struct Finish<'a> {
    activation: Activation,
    sums: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorized for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Finish { activation, sums, bias, out } = self;
        simd.vectorize(
            #[inline(always)]
            || {
                let bounds = Bounds::new(simd, activation);
                for ((out, sums), bias) in out.chunks_mut(S::LANES).zip(sums.chunks(S::LANES)).zip(bias.chunks(S::LANES)) {
                    let x = simd.add(simd.get_first(sums), simd.get_first(bias));
                    simd.put_first(out, bounds.keep(simd, x));
                }
                if let Some(function) = activation::besides_bounds(activation) {
                    activation::of_elements(simd, function, out);
                }
            },
        );
    }
}
