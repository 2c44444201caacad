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
//! Everything that can be decided once is decided in [`Model::prepare`]: shapes, which kernel runs each node, where every
//! activation lies. [`Session::run`] only computes. There is no global state, and no environment variable is read.

mod arena;
mod build;
mod cpu;
mod cuda;
mod error;
mod fuse;
mod images;
mod map;
mod memory;
mod model;
mod operators;
mod options;
mod plan;
mod prepare;
mod session;
mod step;
mod tensor;
mod tune;
mod tuning;
mod work;

pub use error::{Error, ErrorKind, Result};
pub use model::{Model, TensorInfo};
pub use options::{Backend, Options, Threads};
pub use plan::{Plan, StepInfo};
pub use session::{Outputs, Session};
/// The file format's own types: graph, kept lists, preprocessing, provenance.
pub use sslm_format as format;
pub use sslm_kernels::Isa;
pub use sslm_kernels::conv::Method;
pub use sslm_kernels::cuda::{Device, Gpu, Precision};
pub use tensor::TensorView;
pub use tuning::{TunedLayer, Tuning};
