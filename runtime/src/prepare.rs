//! From a model to a plan, by the first of the backends that options name which can be used.

use crate::backends::{self, Open};
use crate::error::{ErrorKind, Result};
use crate::model::Model;
use crate::options::{Methods, Options};
use crate::plan::Plan;
use crate::planning::shapes;
use crate::trace;

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
        let prepare = |open: Open| open(options)?.prepare(&bound, options, deadline);
        let (first, instead) = backends::named(options.backend);
        let ((signature, program), fallback) = match (prepare(first), instead) {
            (Err(e), Some(instead)) if matches!(e.kind(), ErrorKind::BackendUnavailable | ErrorKind::Resources) => {
                (prepare(instead)?, Some(e.to_string()))
            }
            (prepared, _) => (prepared?, None),
        };
        let plan = Plan::new(self.clone(), signature, program, fallback, options.limits);
        if let Methods::Tuned(tuning) = &options.methods {
            tuning.check(&plan.made_for())?;
        }
        Ok(plan)
    }
}
