//! Runs convolutional networks pruned with Structured Sparsity Learning from `.sslm` files.
//!
//! ```
//! use sslm::{Model, Options, TensorView, Threads};
//!
//! let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/models/lenet/lenet.sslm");
//! let model = Model::read(path)?; // validated; `open_mapped` copies no weight
//! let plan = model.prepare(&Options::new().batch(1).threads(Threads::Single))?; // Send + Sync
//! let mut session = plan.session(); // memory of its own; one per thread
//! let image = vec![0.0; 28 * 28];
//! let scores = session.run(TensorView::new(&[1, 1, 28, 28], &image)?)?; // borrowed from the session
//! assert_eq!(scores.shape(), [1, 10]);
//! # Ok::<(), sslm::Error>(())
//! ```
//!
//! - A [`Model`] is an open file: what it takes and yields, its labels, how an image becomes its input.
//! - A [`Plan`] is a model with everything decided that can be decided once: shapes, which kernel runs each node, where every activation
//!   lies. It is immutable, and shared by reference or by cheap clones.
//! - A [`Session`] has the memory of one caller. Its first run takes it; [`Session::run`] allocates nothing afterwards, and only computes.
//!
//! One plan serves many threads, each with a session of its own:
//!
//! ```
//! # use sslm::{Model, Options, TensorView, Threads};
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/models/lenet/lenet.sslm");
//! # let plan = Model::read(path)?.prepare(&Options::new().threads(Threads::Single))?;
//! std::thread::scope(|scope| {
//!     for _ in 0..2 {
//!         scope.spawn(|| {
//!             let mut session = plan.session();
//!             let image = vec![0.5; 28 * 28];
//!             let input = TensorView::new(&[1, 1, 28, 28], &image).expect("as many elements as the shape says");
//!             println!("{:?}", session.run(input).expect("there is memory for a session").data());
//!         });
//!     }
//! });
//! # Ok::<(), sslm::Error>(())
//! ```
//!
//! Networks compute with `f32` elements. A model whose inputs or outputs are of other types says so ([`TensorInfo::element_type`],
//! [`Model::output_types`]); [`Session::run_typed`] and [`Outputs::typed`] take and yield those:
//!
//! ```no_run
//! # use sslm::{Model, Options, TypedView};
//! # let pixels = vec![0u8; 224 * 224 * 3];
//! let mut session = Model::read("segmentation.sslm")?.prepare(&Options::new())?.session();
//! let outputs = session.run_typed(&[TypedView::new(&[1, 224, 224, 3], &pixels)?])?;
//! let classes: Vec<i64> = outputs.typed(0)?;
//! # Ok::<(), sslm::Error>(())
//! ```
//!
//! Features, none of which is on by default:
//!
//! - `cuda`: [`Backend::Cuda`]. The driver and cuBLAS are loaded when a device is opened, so building needs neither.
//! - `ndarray`: [`TensorView`] from and to arrays of that crate.
//! - `tuning`: a [`Tuning`] from and to its file.
//!
//! Results do not depend on the thread count. There is no global state, and no environment variable is read. More in `examples/`.

mod backend;
mod backends;
mod error;
mod layers;
mod limits;
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
mod turns;
mod watch;

// All that is public. What a network consists of is the format's business, and no part of this: new operators break nobody.
pub use error::{Error, ErrorKind, Result};
pub use model::{Model, TensorInfo};
pub use options::{Backend, Options, Threads, TransformedWeights};
pub use plan::Plan;
pub use report::{KeptCount, LayerInfo, LayerSizes, NotFinite, StepInfo};
pub use session::{Outputs, Session};
pub use sslm_format::{Color, Dim, ElementType, ErrorKind as FormatErrorKind, Preprocessing, Provenance, Resize, Section};
pub use sslm_kernels::conv::Method;
#[cfg(feature = "cuda")]
pub use sslm_kernels::cuda::{Device, Gpu};
pub use sslm_kernels::{Isa, Precision};
pub use tensor::{Element, TensorView, TypedView};
pub use tuning::{TunedLayer, Tuning};
pub use turns::Turns;
