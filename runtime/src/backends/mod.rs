//! The backends, and the one place that knows which of them an option names.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod one_by_one;

pub(crate) use one_by_one::OneByOne;

use crate::backend::Backend;
use crate::error::Result;
use crate::options::{self, Options};

/// Opens a backend.
pub(crate) type Open = fn(&Options) -> Result<Box<dyn Backend>>;

/// What `choice` names, and what takes its place where it is not there or has no room.
pub(crate) fn named(choice: options::Backend) -> (Open, Option<Open>) {
    match choice {
        options::Backend::Cpu => (open_cpu, None),
        options::Backend::Cuda => (open_cuda, None),
        options::Backend::Auto => (open_cuda, Some(open_cpu)),
    }
}

fn open_cpu(_: &Options) -> Result<Box<dyn Backend>> {
    Ok(Box::new(cpu::Cpu))
}

#[cfg(feature = "cuda")]
fn open_cuda(options: &Options) -> Result<Box<dyn Backend>> {
    Ok(Box::new(cuda::Cuda::open(options)?))
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_: &Options) -> Result<Box<dyn Backend>> {
    use crate::error::{Error, ErrorKind};
    Err(Error::new(ErrorKind::BackendUnavailable, "CUDA is not available: sslm was built without its feature `cuda`"))
}

#[cfg(all(test, not(feature = "cuda")))]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn without_the_feature_cuda_is_not_available() {
        let error = open_cuda(&Options::new()).err().expect("no device");
        assert_eq!(*error.kind(), ErrorKind::BackendUnavailable);
        assert!(error.to_string().contains("feature"), "{error}");
    }
}
