//! A convolution as a task: how the CPU prepares it and runs it as a step of a plan.

use super::phased::PhasedConv;
use super::{ConvParameters, ConvTask, Geometry, Method, PreparedConv};
use crate::Task;
use crate::cpu::{self, Call, KeptWeights, Kernel, Slices};
use crate::layout::Forms;

impl ConvTask<'_> {
    /// No fewer bytes than tables take, whatever the method: of each position of the output where it and its neighbours lie, of each
    /// column what it reads, of each group where it lies and which thread computes what of it.
    fn most_table_bytes(&self, threads: usize) -> usize {
        let Geometry { output, kernel, strides, transposed, .. } = self.geometry;
        let columns: usize = self.groups.iter().map(|group| group.columns.len()).sum();
        let phases = if transposed { strides[0].min(output[0]) * strides[1].min(output[1]) } else { 1 };
        // A tap lies inside from one position on and up to another one.
        let classes = [0, 1].map(|axis| output[axis].min(2 * kernel[axis] + 1));
        let sums =
            |taps: &&[f32]| (4 * self.filters() * classes[0] + 32 * (kernel[0] + classes[0])) * classes[1] + 32 * taps.len();
        let border = self.taps.as_ref().map_or(0, sums) + 128 * (output[0] + output[1]);
        let of_groups = self.groups.len() * (phases + threads) * 2048;
        cpu::KERNEL + 512 * output[0] * output[1] + 1024 * columns + 128 * self.weights_len() + 2 * border + of_groups
    }

    /// Multiply-accumulates of all images.
    pub fn macs(&self) -> usize {
        let Geometry { output, strides, transposed, .. } = self.geometry;
        // Of a transposed convolution, a tap reaches one of so many positions.
        let positions = [0, 1].map(|axis| if transposed { output[axis].div_ceil(strides[axis]) } else { output[axis] });
        self.weights_len() * positions[0] * positions[1] * self.images
    }
}

/// Its parameters are weights and bias. Where it adds to a tensor, it reads that as its second one, or finds it in its output.
impl Task for ConvTask<'_> {
    fn kind(&self) -> &'static str {
        "convolution"
    }
}

impl cpu::Task for ConvTask<'_> {
    fn forms(&self, target: &cpu::Target) -> Forms {
        let [input, writes] = self.extents();
        let reads = if self.accumulate { vec![input, writes] } else { vec![input] };
        let costs = self.costs(target).into_iter().map(|cost| (cost.layouts, cost.cost)).collect();
        Forms::Some { reads, writes, costs }
    }

    fn kept_weights(&self, target: &cpu::Target) -> Option<KeptWeights> {
        let [without, with] = self.without_and_with_kept_weights(target)?;
        let saves = with.cost < without.cost && with.kept_len > 0;
        saves.then_some(KeptWeights { len: with.kept_len, saving: without.cost - with.cost })
    }

    fn most_table_bytes(&self, target: &cpu::Target) -> usize {
        self.most_table_bytes(target.threads)
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        let target = &cpu::Target { threads: target.threads_for(self.macs()), ..*target };
        match self.ordinary() {
            Some(_) => Box::new(PreparedConv::on_target(*self, target)),
            None => Box::new(PhasedConv::new(&self, target)),
        }
    }
}

impl Kernel for PreparedConv {
    fn scratch_len(&self) -> usize {
        self.scratch_len()
    }

    fn kept_len(&self) -> usize {
        self.kept_len()
    }

    fn transform_weights(&self, parameters: Slices<'_>, kept: &mut [f32]) {
        self.transform_weights(parameters.get(0), kept);
    }

    fn compute(&self, Call { reads, parameters, kept, out, scratch, exec }: Call<'_>) {
        if reads.len() > 1 {
            out.copy_from_slice(reads.get(1));
        }
        let parameters = ConvParameters { weights: parameters.get(0), kept, bias: parameters.get(1) };
        self.run(reads.get(0), parameters, out, scratch, exec.threading);
    }

    fn describe(&self) -> Option<String> {
        Some(self.describe())
    }

    fn method(&self) -> Option<Method> {
        Some(self.method())
    }
}
