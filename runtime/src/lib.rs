//! Runs convolutional networks pruned with Structured Sparsity Learning from `.sslm` files.
//!
//! ```no_run
//! use sslm::{Model, Options, TensorView, Threads};
//!
//! let model = Model::open("lenet.sslm")?; // memory-mapped and validated; no weight is copied
//! let plan = model.prepare(&Options::new().batch(1).threads(Threads::Single))?; // Send + Sync
//! let mut session = plan.session(); // memory of its own; one per thread
//! let image = vec![0.0; 28 * 28];
//! let output = session.run(TensorView::new(&[1, 1, 28, 28], &image)?)?;
//! println!("{:?}", output.data());
//! # Ok::<(), sslm::Error>(())
//! ```
//!
//! Features, none of which is on by default:
//!
//! - `cuda`: [`Backend::Cuda`]. The driver and cuBLAS are loaded when a device is opened, so building needs neither.
//! - `ndarray`: [`TensorView`] from and to arrays of that crate.
//! - `tuning`: a [`Tuning`] from and to its file.
//!
//! Everything that can be decided once is decided in [`Model::prepare`]: shapes, which kernel runs each node, where every
//! activation lies. [`Session::run`] only computes. There is no global state, and no environment variable is read.

mod backend;
mod backends;
mod error;
mod layers;
mod map;
mod memory;
mod model;
mod ops;
mod options;
mod plan;
mod planning;
mod prepare;
mod report;
mod session;
mod step;
mod tensor;
mod tune;
mod tuning;

// All that is public. What a network consists of is the format's business, and no part of this: new operators break nobody.
pub use error::{Error, ErrorKind, Result};
pub use model::{Model, TensorInfo};
pub use options::{Backend, Options, Threads};
pub use plan::Plan;
pub use report::{KeptCount, LayerInfo, LayerSizes, StepInfo};
pub use session::{Outputs, Session};
pub use sslm_format::{Color, Dim, ErrorKind as FormatErrorKind, Preprocessing, Provenance, Resize, Section};
pub use sslm_kernels::conv::Method;
#[cfg(feature = "cuda")]
pub use sslm_kernels::cuda::{Device, Gpu};
pub use sslm_kernels::{Isa, Precision};
pub use tensor::TensorView;
pub use tuning::{TunedLayer, Tuning};
