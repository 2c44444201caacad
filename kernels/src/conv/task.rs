//! A convolution as a task: how the CPU prepares it and runs it as a step of a plan.

use super::{ConvTask, Method, PreparedConv};
use crate::Task;
use crate::cpu::{self, Call, Kernel};
use crate::layout::Forms;

impl ConvTask<'_> {
    /// Multiply-accumulates of all images.
    pub fn macs(&self) -> usize {
        let weights: usize = self.groups.iter().map(|group| group.filters * group.columns.len()).sum();
        weights * self.geometry.output_len() * self.images
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
        let [reads, writes] = self.extents();
        Forms::Some { reads, writes, costs: self.costs(target.isa, target.threads, target.method) }
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        let threads = target.threads_for(self.macs());
        Box::new(PreparedConv::in_layouts(*self, target.isa, threads, target.method, target.layouts))
    }
}

impl Kernel for PreparedConv {
    fn scratch_len(&self) -> usize {
        self.scratch_len()
    }

    fn compute(&self, Call { reads, parameters, out, scratch, exec }: Call<'_>) {
        if reads.len() > 1 {
            out.copy_from_slice(reads.get(1));
        }
        self.run(reads.get(0), parameters.get(0), parameters.get(1), out, scratch, exec.threading);
    }

    fn describe(&self) -> Option<String> {
        Some(self.describe())
    }

    fn method(&self) -> Option<Method> {
        Some(self.method())
    }
}
