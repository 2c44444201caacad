//! From a model to a plan, by the first of the backends that options name which can be used.

use crate::backend::Program;
use crate::backends::{self, OneByOne, Open};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Deadline;
use crate::model::Model;
use crate::options::{Backend, Methods, Options};
use crate::plan::Plan;
use crate::planning::{self, Signature, shapes};
use crate::trace;
use std::sync::Arc;

impl Model {
    /// Fixes batch, symbolic dims and threads, chooses kernels, plans memory.
    ///
    /// # Errors
    /// If the options or the resulting shapes do not fit the model, or memory or threads cannot be had, or more is needed than the
    /// options allow ([`ErrorKind::Limit`]), or the options' tuning was made for something else ([`ErrorKind::Tuning`]), or the backend
    /// is not there ([`ErrorKind::BackendUnavailable`]).
    pub fn prepare(&self, options: &Options) -> Result<Plan> {
        let inputs = shapes::of_inputs(self, options)?;
        let _span = trace::prepare(self.origin(), &inputs);
        let bound = self.bind(&inputs);
        let deadline = options.limits.deadline();
        let ((signature, program), fallback) = if options.reproducible {
            (self.reproducible(&inputs, &bound, options, deadline)?, None)
        } else {
            let prepare = |open: Open| open(options)?.prepare(&bound, options, deadline);
            let (first, instead) = backends::named(options.backend);
            match (prepare(first), instead) {
                (Err(e), Some(instead)) if matches!(e.kind(), ErrorKind::BackendUnavailable | ErrorKind::Resources) => {
                    (prepare(instead)?, Some(e.to_string()))
                }
                (prepared, _) => (prepared?, None),
            }
        };
        let plan = Plan::new(self.clone(), signature, program, fallback, options.limits);
        if let Methods::Tuned(tuning) = &options.methods {
            tuning.check(&plan.made_for())?;
        }
        Ok(plan)
    }

    /// What computes the same bits everywhere: `bound` is the model for inputs of these shapes.
    fn reproducible(
        &self,
        inputs: &[Vec<usize>],
        bound: &Model,
        options: &Options,
        deadline: Deadline,
    ) -> Result<(Signature, Arc<dyn Program>)> {
        if options.backend == Backend::Cuda {
            return Err(Error::input("backend of reproducible results", "the CPU", "CUDA"));
        }
        let (open, _) = backends::named(Backend::Cpu);
        let backend = open(options)?;
        let Some((one, batch)) = planning::one_of_batch(self, bound, inputs)? else {
            return backend.prepare(bound, options, deadline);
        };
        let mut of_one = Options { limits: options.limits.of_one_image(batch), batch: Some(1), ..options.clone() };
        let inputs = self.inputs();
        let names_of_batch: Vec<&str> = inputs.iter().filter_map(|input| input.dims.first()?.symbol()).collect();
        of_one.dims.retain(|name, _| !names_of_batch.contains(&&**name));
        let (signature, program) = backend.prepare(&one, &of_one, deadline)?;
        let (signature, program) = OneByOne::new(program, signature, batch);
        Ok((signature, Arc::new(program)))
    }
}
