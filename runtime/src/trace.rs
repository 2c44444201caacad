//! What observers see of the library, with the feature `tracing`: spans around opening, preparing and running a model, and around each
//! step of a run. Without the feature, nothing of it is compiled.

#[cfg(feature = "tracing")]
mod spans {
    use crate::step::About;
    use tracing::Level;
    use tracing::span::EnteredSpan;

    pub(crate) fn open(origin: &str) -> EnteredSpan {
        tracing::span!(Level::DEBUG, "open", model = origin).entered()
    }

    pub(crate) fn prepare(origin: &str, inputs: &[Vec<usize>]) -> EnteredSpan {
        tracing::span!(Level::DEBUG, "prepare", model = origin, ?inputs).entered()
    }

    pub(crate) fn run() -> EnteredSpan {
        tracing::span!(Level::DEBUG, "run").entered()
    }

    /// Of one thread: steps that several images run side by side have one for each image.
    pub(crate) fn step(about: &About) -> EnteredSpan {
        tracing::span!(Level::TRACE, "step", name = about.name, kind = about.kind).entered()
    }
}

#[cfg(not(feature = "tracing"))]
mod spans {
    use crate::step::About;

    /// A span that nobody sees.
    pub(crate) struct Nothing;

    pub(crate) fn open(_: &str) -> Nothing {
        Nothing
    }

    pub(crate) fn prepare(_: &str, _: &[Vec<usize>]) -> Nothing {
        Nothing
    }

    pub(crate) fn run() -> Nothing {
        Nothing
    }

    #[inline(always)]
    pub(crate) fn step(_: &About) -> Nothing {
        Nothing
    }
}

pub(crate) use spans::{open, prepare, run, step};
