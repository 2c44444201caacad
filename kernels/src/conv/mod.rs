//! Convolution over kept columns: only the columns of the lowered matrix that some filter uses are read from the input, and the
//! product runs over just those. Groups may keep different counts of filters and of columns.
//!
//! [`PreparedConv::new`] decides everything that shapes decide: which [`Method`] computes each group, and whatever tables that
//! method needs, for all groups that it computes together. [`PreparedConv::run`] then hands each image to these methods, one after
//! the other. What a method has to say of itself is in `method.rs`, and each of them is a file in `methods/`.

mod blocks;
mod border;
mod cost;
mod finish;
mod geometry;
mod lowering;
mod method;
mod methods;
mod packing;
mod phased;
mod phases;
mod share;
mod spread;
mod stage;
mod task;
mod tiled;
mod tiling;

pub use crate::target::Method;
pub(crate) use border::{Border, coverage, sums_along};
pub use geometry::{Column, Geometry, KeptGroup};

use crate::layout::{Extents, Layouts};
use crate::simd::Isa;
use crate::target::Target;
use crate::{Activation, Threading, count_pieces, expect_len};
use cost::CostModel;
use get_size2::GetSize;
use method::{ConvKernel, GroupPlace, Operands, PlacedGroup, Problem};
use phases::{Phases, Rows};
use std::borrow::Cow;
use std::cell::OnceCell;
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

impl ConvTask<'_> {
    /// Filters of all groups.
    fn filters(&self) -> usize {
        self.groups.iter().map(|group| group.filters).sum()
    }

    /// Weights of all groups.
    fn weights_len(&self) -> usize {
        self.groups.iter().map(|group| group.filters * group.columns.len()).sum()
    }

    /// Sizes of the input and of the output.
    pub(crate) fn extents(&self) -> [Extents; 2] {
        let ConvTask { images, ref geometry, .. } = *self;
        let input = Extents { images, channels: geometry.channels, plane: geometry.input_len() };
        [input, Extents { images, channels: self.filters(), plane: geometry.output_len() }]
    }

    /// The same as an ordinary convolution, but for what constant channels add: a transposed one without strides is one of mirrored
    /// taps. `None` if it has phases.
    fn ordinary(&self) -> Option<Cow<'_, Self>> {
        if !self.geometry.transposed {
            return Some(Cow::Borrowed(self));
        }
        let phases = Phases::new(&self.geometry, &self.groups);
        let ordinary = || phases.convolution(self, Rows::All, 1, self.activation);
        phases.is_plain(&self.groups).then(|| Cow::Owned(ConvTask { accumulate: self.accumulate, ..ordinary() }))
    }

    /// What all images are expected to cost in each of the layouts in which they can be computed: by the target's method where it
    /// applies.
    pub(crate) fn costs(&self, target: &Target) -> Vec<ConvCost> {
        let Some(task) = self.ordinary() else { return phased::costs(self, target) };
        let (places, tiled) = (places(&task.groups), OnceCell::new());
        task.costs_of(&Problem::new(&task, &places, target, &tiled), &places, target.method)
    }

    fn costs_of(&self, problem: &Problem<'_>, places: &[GroupPlace], wanted: Option<Method>) -> Vec<ConvCost> {
        let cost_in = |layouts: Layouts| {
            let problem = Problem { layouts, ..*problem };
            let mut all = ConvCost { layouts, cost: 0.0, kept_len: 0 };
            for group in placed(&self.groups, places) {
                let method = Method::choose(&problem, group, wanted)?.plug_in();
                all.cost += method.cost(&problem, group)? * self.images as f64;
                all.kept_len += if problem.keeps_weights { method.kept_len(&problem, group) } else { 0 };
            }
            Some(all)
        };
        Layouts::ALL.into_iter().filter_map(cost_in).collect()
    }

    /// The cheapest ways without kept weights and with them, if some are kept then.
    pub(crate) fn without_and_with_kept_weights(&self, target: &Target) -> Option<[ConvCost; 2]> {
        let cheapest = |costs: Vec<ConvCost>| costs.into_iter().min_by(|a, b| a.cost.total_cmp(&b.cost));
        let Some(task) = self.ordinary() else {
            let [without, with] = [false, true].map(|keeps_weights| self.costs(&Target { keeps_weights, ..*target }));
            return Some([cheapest(without)?, cheapest(with)?]);
        };
        let (places, tiled) = (places(&task.groups), OnceCell::new());
        let problem = Problem::new(&task, &places, target, &tiled);
        let ways = || Layouts::ALL.into_iter().flat_map(|layouts| Method::ALL.map(|method| (method.plug_in(), layouts)));
        let keeps = |group| ways().any(|(method, layouts)| method.kept_len(&Problem { layouts, ..problem }, group) > 0);
        if !placed(&task.groups, &places).any(keeps) {
            return None;
        }
        let [without, with] =
            [false, true].map(|keeps_weights| task.costs_of(&Problem { keeps_weights, ..problem }, &places, target.method));
        Some([cheapest(without)?, cheapest(with)?])
    }
}

/// What a convolution is expected to cost in some layouts.
pub(crate) struct ConvCost {
    pub(crate) layouts: Layouts,
    /// In multiply-adds of vectors.
    pub(crate) cost: f64,
    /// Elements of transformed weights that are kept.
    pub(crate) kept_len: usize,
}

/// What a convolution multiplies its input with, and what it adds.
#[derive(Clone, Copy, Debug)]
pub struct ConvParameters<'a> {
    /// Group after group, kept filters x kept columns in [panels](sslm_basics::panels).
    pub weights: &'a [f32],
    /// What [`PreparedConv::transform_weights`] made of them.
    pub kept: &'a [f32],
    /// One element for each kept filter.
    pub bias: &'a [f32],
}

/// A convolution with everything decided that shapes decide.
#[derive(GetSize, Debug)]
pub struct PreparedConv {
    isa: Isa,
    layouts: Layouts,
    geometry: Geometry,
    /// Planes of the output.
    filters: usize,
    /// Weights of all groups.
    weights: usize,
    border: Option<Border>,
    #[get_size(ignore)]
    activation: Activation,
    accumulate: bool,
    /// Each computes some of the groups.
    #[get_size(size_fn = of_kernels)]
    kernels: Vec<Box<dyn ConvKernel<f32>>>,
    /// What those of them that go tile by tile share.
    #[get_size(size_fn = of_shared)]
    tiling: Option<Arc<Tiling>>,
    scratch_len: usize,
    /// What computes the largest group.
    method: Method,
    /// Which methods compute some group, in the order of [`Method::ALL`].
    used: [bool; Method::ALL.len()],
    description: String,
}

impl PreparedConv {
    /// For `threads` threads at most, by the method that is expected to be fastest.
    ///
    /// # Panics
    /// If `taps` has another length than filters and kernel call for, a column lies outside the input or the kernel, or it is a
    /// transposed convolution with strides, which [prepares](crate::cpu::Task::prepare) another kernel.
    pub fn new(task: ConvTask<'_>, isa: Isa, threads: usize) -> Self {
        Self::on_target(task, &Target::new(isa, threads))
    }

    /// As [`Self::new`], but by `method` wherever it applies.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn with_method(task: ConvTask<'_>, isa: Isa, threads: usize, method: Method) -> Self {
        Self::on_target(task, &Target { method: Some(method), ..Target::new(isa, threads) })
    }

    /// By the target's method wherever that applies, with input and output in its layouts, which must be [some in which it can be
    /// computed](crate::cpu::Task::forms).
    ///
    /// # Panics
    /// As [`Self::new`], or if no method can compute it in these layouts.
    pub fn on_target(task: ConvTask<'_>, target: &Target) -> Self {
        for column in task.groups.iter().flat_map(|group| &group.columns) {
            let Geometry { channels, kernel, .. } = task.geometry;
            let fits = column.channel < channels && column.kh < kernel[0] && column.kw < kernel[1];
            assert!(fits, "{column:?} lies outside {:?}", task.geometry);
        }
        let border = task.taps.map(|taps| Border::new(&task.geometry, task.filters(), taps));
        let task = task.ordinary().expect("no strides of a transposed convolution");
        let places = places(&task.groups);
        let (filters, weights) = (task.filters(), task.weights_len());
        let tiled = OnceCell::new();
        let problem = Problem::new(&task, &places, target, &tiled);
        let &Target { isa, layouts, method: wanted, .. } = target;
        let groups: Vec<PlacedGroup<'_>> = placed(&task.groups, &places).collect();
        let choose = |&group| Method::choose(&problem, group, wanted).expect("layouts in which it can be computed");
        let methods: Vec<Method> = groups.iter().map(choose).collect();
        // Of equally large groups the last one.
        let largest = groups.iter().zip(&methods).max_by_key(|(group, _)| group.place.weights.len());
        let (mut kernels, mut described, mut used) = (Vec::new(), String::new(), [false; Method::ALL.len()]);
        for (method, used) in Method::ALL.into_iter().zip(&mut used) {
            let chosen = groups.iter().zip(&methods).filter(|(_, chosen)| **chosen == method);
            let chosen: Vec<PlacedGroup<'_>> = chosen.map(|(group, _)| *group).collect();
            *used = !chosen.is_empty();
            if *used {
                let kernel = method.plug_in().prepare(&problem, &chosen);
                if let Some((group, _)) = largest.filter(|(_, largest)| **largest == method) {
                    described = kernel.describe(group.place.index);
                }
                kernels.push(kernel);
            }
        }
        let method = largest.map_or(Method::Packed, |(_, method)| *method);
        let separator = if described.is_empty() { "" } else { " " };
        let description = format!("{method}{separator}{described}{} {isa}", layouts.describe());
        let scratch_len = kernels.iter().map(|kernel| kernel.scratch_len()).max().unwrap_or(0);
        let ConvTask { ref geometry, activation, accumulate, .. } = *task;
        PreparedConv {
            isa,
            layouts,
            geometry: geometry.clone(),
            filters,
            weights,
            border,
            activation,
            accumulate,
            kernels,
            tiling: tiled.into_inner().filter(|tiling| Arc::strong_count(tiling) > 1),
            scratch_len,
            method,
            used,
            description,
        }
    }

    /// Multiply-accumulates of one image.
    pub fn macs(&self) -> usize {
        self.weights * self.geometry.output_len()
    }

    /// Elements of scratch memory that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// Elements of transformed weights that [`Self::run`] needs, beside those of the file.
    pub fn kept_len(&self) -> usize {
        self.kernels.iter().map(|kernel| kernel.kept_len()).sum()
    }

    /// Transforms weights for all runs, which `weights` are as for [`Self::run`].
    ///
    /// # Panics
    /// If a slice has another length than the shapes and [`Self::kept_len`] call for.
    pub fn transform_weights(&self, weights: &[f32], kept: &mut [f32]) {
        expect_len("weights", weights, self.weights);
        expect_len("kept weights", kept, self.kept_len());
        let mut rest = kept;
        for kernel in &self.kernels {
            let of_kernel;
            (of_kernel, rest) = rest.split_at_mut(kernel.kept_len());
            kernel.transform_weights(weights, of_kernel);
        }
    }

    /// What computes its largest group.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Whether some group is computed by this method.
    pub fn uses(&self, method: Method) -> bool {
        Method::ALL.into_iter().zip(self.used).any(|(own, used)| own == method && used)
    }

    /// What computes it, for reports: method, largest register tile (filters x positions) and instruction set.
    pub fn describe(&self) -> String {
        self.description.clone()
    }

    /// Sizes of one image's input and output.
    fn extents(&self) -> [Extents; 2] {
        let input = Extents { images: 1, channels: self.geometry.channels, plane: self.geometry.input_len() };
        [input, Extents { images: 1, channels: self.filters, plane: self.geometry.output_len() }]
    }

    /// `x` is `[batch][channels][H][W]`, `out` is `[batch][kept filters][OH][OW]`, each in its layout.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], parameters: ConvParameters<'_>, out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let ([input, output], ConvParameters { weights, kept, bias }) = (self.extents(), parameters);
        let (image_len, out_len) = (input.len(self.layouts.reads, self.isa), output.len(self.layouts.writes, self.isa));
        if out_len == 0 {
            return;
        }
        let batch = count_pieces("output", out, out_len);
        expect_len("input", x, batch * image_len);
        expect_len("weights", weights, self.weights);
        expect_len("bias", bias, self.filters);
        expect_len("kept weights", kept, self.kept_len());
        let scratch = &mut scratch[..self.scratch_len];
        let (border, activation, accumulate) = (self.border.as_ref(), self.activation, self.accumulate);
        for (i, out) in out.chunks_exact_mut(out_len).enumerate() {
            let image = &x[i * image_len..][..image_len];
            let mut rest = kept;
            for kernel in &self.kernels {
                let (kept, others) = rest.split_at(kernel.kept_len());
                rest = others;
                let operands = Operands { weights, kept, bias, border, activation, accumulate };
                kernel.run(operands, image, out, scratch, threading);
            }
        }
    }
}

/// Bytes of kernels and all that they own.
fn of_kernels(kernels: &Vec<Box<dyn ConvKernel<f32>>>) -> usize {
    let of_each = kernels.iter().map(|kernel| size_of_val(&**kernel) + kernel.table_bytes());
    kernels.capacity() * size_of::<Box<dyn ConvKernel<f32>>>() + of_each.sum::<usize>()
}

/// Bytes of what is shared: two counts, and the tiling with all that it owns.
fn of_shared(tiling: &Option<Arc<Tiling>>) -> usize {
    tiling.as_ref().map_or(0, |tiling| 2 * size_of::<usize>() + size_of::<Tiling>() + Tiling::get_heap_size(tiling))
}

impl<'a> Problem<'a> {
    fn new(task: &'a ConvTask<'_>, places: &'a [GroupPlace], target: &Target, tiled: &'a OnceCell<Arc<Tiling>>) -> Self {
        let &Target { isa, threads, layouts, keeps_weights, weights_from, .. } = target;
        Problem {
            geometry: &task.geometry,
            layouts,
            filters: places.last().map_or(0, |place| place.filters.end),
            isa,
            threads,
            keeps_weights,
            weights_from,
            costs: CostModel::of(isa),
            groups: &task.groups,
            tiled,
        }
    }
}

/// The groups that compute something.
fn placed<'a>(groups: &'a [KeptGroup], places: &'a [GroupPlace]) -> impl Iterator<Item = PlacedGroup<'a>> {
    let all = places.iter().zip(groups).map(|(place, group)| PlacedGroup { place, columns: &group.columns });
    all.filter(|group| !group.place.filters.is_empty())
}

/// Where each group lies among the others.
fn places(groups: &[KeptGroup]) -> Vec<GroupPlace> {
    let (mut filter, mut weight) = (0, 0);
    let place = |(index, group): (usize, &KeptGroup)| {
        let columns = group.columns.len();
        let place = GroupPlace {
            index,
            filters: filter..filter + group.filters,
            columns,
            weights: weight..weight + group.filters * columns,
        };
        (filter, weight) = (place.filters.end, place.weights.end);
        place
    };
    groups.iter().enumerate().map(place).collect()
}
