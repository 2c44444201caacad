//! Convolution over kept columns: only the columns of the lowered matrix that some filter uses are read from the input, and the
//! product runs over just those. Groups may keep different counts of filters and of columns.
//!
//! [`PreparedConv::new`] decides everything that shapes decide: which [`Method`] computes each group, and whatever tables that
//! method needs, for all groups that it computes together. [`PreparedConv::run`] then hands each image to these methods, one after
//! the other. What a method has to say of itself is in `method.rs`, and each of them is a file in `methods/`.

mod border;
mod cost;
mod finish;
mod geometry;
mod lowering;
mod method;
mod methods;
mod packing;
mod share;
mod stage;
mod task;
mod tiled;
mod tiling;

pub(crate) use border::Border;
pub use geometry::{Column, Geometry, KeptGroup};
pub use methods::Method;

use crate::simd::Isa;
use crate::{Activation, Threading, count_pieces, expect_len};
use cost::CostModel;
use method::{ConvKernel, GroupPlace, Layouts, Operands, PlacedGroup, Problem};
use sslm_basics::panels::ROWS;
use std::sync::Arc;
use tiling::Tiling;

/// What a convolution computes.
#[derive(Clone, Debug)]
pub struct ConvTask<'a> {
    /// Images that are computed at once.
    pub images: usize,
    /// Sizes.
    pub geometry: Geometry,
    /// What each group keeps.
    pub groups: Vec<KeptGroup>,
    /// `[kept filters][KH][KW]`: what constant channels add through each tap that lies inside the input.
    pub taps: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
    /// Whether the output holds elements already, to which sums are added before the activation.
    pub accumulate: bool,
}

/// A convolution with everything decided that shapes decide.
#[derive(Debug)]
pub struct PreparedConv {
    geometry: Geometry,
    /// Planes of the output.
    filters: usize,
    /// Weights of all groups.
    weights: usize,
    border: Option<Border>,
    activation: Activation,
    accumulate: bool,
    /// Each computes some of the groups.
    kernels: Vec<Box<dyn ConvKernel<f32>>>,
    scratch_len: usize,
    /// What computes the largest group.
    method: Method,
    description: String,
}

impl PreparedConv {
    /// For `threads` threads at most, by the method that is expected to be fastest.
    ///
    /// # Panics
    /// If `taps` has another length than filters and kernel call for, or a column lies outside the input or the kernel.
    pub fn new(task: ConvTask<'_>, isa: Isa, threads: usize) -> Self {
        Self::prepare(task, isa, threads, None)
    }

    /// As [`Self::new`], but by `method` wherever it applies.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn with_method(task: ConvTask<'_>, isa: Isa, threads: usize, method: Method) -> Self {
        Self::prepare(task, isa, threads, Some(method))
    }

    fn prepare(task: ConvTask<'_>, isa: Isa, threads: usize, wanted: Option<Method>) -> Self {
        let ConvTask { geometry, groups: kept, taps, activation, accumulate, .. } = task;
        let all_columns = || kept.iter().flat_map(|g| &g.columns).copied();
        for column in all_columns() {
            let fits = column.channel < geometry.channels && column.kh < geometry.kernel[0] && column.kw < geometry.kernel[1];
            assert!(fits, "{column:?} lies outside {geometry:?}");
        }
        let places = places(&kept);
        let (filters, weights) = places.last().map_or((0, 0), |place| (place.filters.end, place.weights.end));
        let highest = kept.iter().map(|g| g.filters.min(ROWS)).max().unwrap_or(0);
        let problem = Problem {
            geometry: &geometry,
            layouts: Layouts::NCHW,
            filters,
            isa,
            threads,
            costs: CostModel::of(isa),
            tiling: Arc::new(Tiling::new(&geometry, all_columns(), highest, isa)),
        };

        let columns = kept.iter().map(|group| &*group.columns);
        let groups = places.iter().zip(columns).map(|(place, columns)| PlacedGroup { place, columns });
        // Others compute nothing.
        let groups: Vec<PlacedGroup<'_>> = groups.filter(|group| !group.place.filters.is_empty()).collect();
        let methods: Vec<Method> = groups.iter().map(|&group| Method::choose(&problem, group, wanted)).collect();
        // Of equally large groups the last one.
        let largest = groups.iter().zip(&methods).max_by_key(|(group, _)| group.place.weights.len());
        let (mut kernels, mut described) = (Vec::new(), String::new());
        for method in Method::ALL {
            let chosen = groups.iter().zip(&methods).filter(|(_, chosen)| **chosen == method);
            let chosen: Vec<PlacedGroup<'_>> = chosen.map(|(group, _)| *group).collect();
            if !chosen.is_empty() {
                let kernel = method.plug_in().prepare(&problem, &chosen);
                if let Some((group, _)) = largest.filter(|(_, largest)| **largest == method) {
                    described = kernel.describe(group.place.index);
                }
                kernels.push(kernel);
            }
        }
        let method = largest.map_or(Method::Packed, |(_, method)| *method);
        let separator = if described.is_empty() { "" } else { " " };
        let description = format!("{method}{separator}{described} {isa}");
        let border = taps.map(|taps| Border::new(&geometry, filters, taps));
        let scratch_len = kernels.iter().map(|kernel| kernel.scratch_len()).max().unwrap_or(0);
        PreparedConv { geometry, filters, weights, border, activation, accumulate, kernels, scratch_len, method, description }
    }

    /// Multiply-accumulates of one image.
    pub fn macs(&self) -> usize {
        self.weights * self.geometry.output_len()
    }

    /// Elements of scratch memory that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// Elements of weights that it keeps for itself, beside those that [`Self::run`] is given.
    pub fn prepared_len(&self) -> usize {
        self.kernels.iter().map(|kernel| kernel.prepared_len()).sum()
    }

    /// What computes its largest group.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What computes it, for reports: method, largest register tile (filters x positions) and instruction set.
    pub fn describe(&self) -> String {
        self.description.clone()
    }

    /// `x` is `[batch][channels][H][W]`, `out` is `[batch][kept filters][OH][OW]`. `weights` hold, group after group, kept
    /// filters x kept columns in [panels](sslm_basics::panels); `bias` has one element per kept filter.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let image_len = self.geometry.channels * self.geometry.input_len();
        let out_len = self.filters * self.geometry.output_len();
        if out_len == 0 {
            return;
        }
        let batch = count_pieces("output", out, out_len);
        expect_len("input", x, batch * image_len);
        expect_len("weights", weights, self.weights);
        expect_len("bias", bias, self.filters);
        let scratch = &mut scratch[..self.scratch_len];
        let (border, activation, accumulate) = (self.border.as_ref(), self.activation, self.accumulate);
        let operands = Operands { weights, bias, border, activation, accumulate };
        for (i, out) in out.chunks_exact_mut(out_len).enumerate() {
            let image = &x[i * image_len..][..image_len];
            for kernel in &self.kernels {
                kernel.run(operands, image, out, scratch, threading);
            }
        }
    }
}

/// Where each group lies among the others.
fn places(groups: &[KeptGroup]) -> Vec<GroupPlace> {
    let (mut filter, mut column, mut weight) = (0, 0, 0);
    let place = |(index, group): (usize, &KeptGroup)| {
        let place = GroupPlace {
            index,
            filters: filter..filter + group.filters,
            columns: column..column + group.columns.len(),
            weights: weight..weight + group.filters * group.columns.len(),
        };
        (filter, column, weight) = (place.filters.end, place.columns.end, place.weights.end);
        place
    };
    groups.iter().enumerate().map(place).collect()
}
