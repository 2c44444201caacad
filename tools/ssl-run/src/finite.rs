//! `--check-finite`: which layer is the first whose output holds NaN or infinities.

use crate::Arguments;
use anyhow::{Result, bail};
use ssl_cli::{CheckFailed, printable};
use sslm::{NotFinite, Outputs, Plan, Session, TensorView};

/// A session of a plan, which looks at what each of its layers yields if that is asked for.
pub(crate) fn session(arguments: &Arguments, plan: &Plan) -> Session {
    let mut session = plan.session();
    session.set_checking(arguments.check_finite);
    session
}

/// Fails if a layer yielded NaN or infinities in a run of `plan` on `inputs`; `given` says what these are.
pub(crate) fn check(plan: &Plan, outputs: Outputs<'_>, inputs: &[TensorView<'_>], given: impl FnOnce() -> String) -> Result<()> {
    let Some(NotFinite { step, image, nan, infinite, of, .. }) = outputs.not_finite() else { return Ok(()) };
    let layer = plan.steps().nth(*step).map_or_else(String::new, |step| format!("'{}' ({})", printable(step.name), step.op));
    let image = image.map_or_else(String::new, |image| format!(", image {image} of its batch"));
    let are_finite = inputs.iter().all(|input| input.data().iter().all(|x| x.is_finite()));
    let inputs = if are_finite { "the input is finite" } else { "so does the input" };
    bail!(CheckFailed(format!(
        "{}{image}: the first layer whose output is not finite is {layer}: {nan} of {of} elements are NaN, {infinite} infinite; {inputs}",
        printable(&given())
    )))
}

/// Says that nothing was found, where something was looked for.
pub(crate) fn say_finite(arguments: &Arguments) {
    if arguments.check_finite {
        ssl_cli::note("ssl-run", "every element that a layer yielded is finite");
    }
}
