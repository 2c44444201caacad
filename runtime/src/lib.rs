//! Runs convolutional networks pruned with Structured Sparsity Learning from `.sslm` files, which `ssl-convert` makes of ONNX files.
//!
//! ```
//! use sslm::{Model, Options, TensorView};
//!
//! let model = Model::from_bytes(include_bytes!("../examples/tiny.sslm"))?; // or `read`, or `open_mapped`, which copies no weight
//! let plan = model.prepare(&Options::new())?; // shapes, kernels and memory decided; Send + Sync
//! let mut session = plan.session(); // memory of its own; one per thread
//! let image: Vec<f32> = (0..64).map(|i| if i % 8 == 3 { 1.0 } else { 0.0 }).collect(); // a vertical line
//! let scores = session.run(TensorView::new(&[1, 1, 8, 8], &image)?)?; // borrowed from the session
//! assert_eq!(model.labels(), ["horizontal", "vertical"]);
//! assert!(scores.data()[1] > scores.data()[0]);
//! # Ok::<(), sslm::Error>(())
//! ```
//!
//! - A [`Model`] is an open file: what it takes and yields, its labels, how an image becomes its input.
//! - A [`Plan`] is a model with everything decided that can be decided once: shapes, which kernel runs each node, where every activation
//!   lies. It is immutable, and shared by reference or by cheap clones.
//! - A [`Session`] has the memory of one caller. Its first run takes it; [`Session::run`] allocates nothing afterwards, and only computes.
//!
//! # Batches and sizes
//!
//! A model names the extents that it leaves open, such as its batch or the size of images. A plan fixes them: by [`Options::batch`],
//! [`Options::dim`], or all at once by [`Options::shapes`]. Where they change from call to call, a [`PlanCache`] prepares each shape once:
//!
//! ```
//! # use sslm::{Model, Options, PlanCache, TensorView};
//! # let model = Model::from_bytes(include_bytes!("../examples/tiny.sslm"))?;
//! assert_eq!(model.inputs()[0].dims[0].symbol(), Some("N"));
//! let plan = model.prepare(&Options::new().batch(16))?; // or .dim("N", 16)
//! assert_eq!(plan.output_shapes().next(), Some(&[16, 2][..]));
//!
//! let cache = PlanCache::new(&model, Options::new(), 8); // the last eight shapes
//! let (shape, images) = ([5, 1, 8, 8], vec![0.0; 5 * 64]);
//! let mut session = cache.session(&[shape])?;
//! session.run(TensorView::new(&shape, &images)?)?;
//! # Ok::<(), sslm::Error>(())
//! ```
//!
//! # Threads
//!
//! One plan serves many threads, each with a session of its own, which is the way to the most images a second:
//!
//! ```
//! # use sslm::{Model, Options, TensorView, Threads};
//! # let model = Model::from_bytes(include_bytes!("../examples/tiny.sslm"))?;
//! let plan = model.prepare(&Options::new().threads(Threads::Single))?;
//! std::thread::scope(|scope| {
//!     for _ in 0..2 {
//!         scope.spawn(|| {
//!             let mut session = plan.session();
//!             let image = vec![0.5; 64];
//!             let input = TensorView::new(&[1, 1, 8, 8], &image).expect("as many elements as the shape says");
//!             println!("{:?}", session.run(input).expect("there is memory for a session").data());
//!         });
//!     }
//! });
//! # Ok::<(), sslm::Error>(())
//! ```
//!
//! Threads within a run ([`Options::threads`]) make one run of a large network shorter. Results do not depend on how many there are.
//!
//! # Several inputs and outputs, other types than `f32`
//!
//! [`Session::run_all`] takes all inputs and yields all outputs, by index or by name; [`Session::run_into`] writes them to memory of the
//! caller's. Networks compute with `f32` elements. A model whose inputs or outputs are of other types says so
//! ([`TensorInfo::element_type`], [`Model::output_types`]); [`Session::run_typed`] and [`Outputs::typed`] take and yield those:
//!
//! ```
//! # use sslm::{Model, Options, TensorView, TensorViewMut, TypedView};
//! # let model = Model::from_bytes(include_bytes!("../examples/tiny.sslm"))?;
//! let mut session = model.prepare(&Options::new())?.session();
//! let image = vec![0.5; 64];
//! let input = TensorView::new(&[1, 1, 8, 8], &image)?;
//! let outputs = session.run_all(&[input])?;
//! for (name, output) in outputs.iter() {
//!     println!("{name}: {:?}", output.shape());
//! }
//! let scores = outputs.named("scores").expect("the model has this output").data().to_vec();
//!
//! let mut own = [0.0; 2];
//! session.run_into(&[input], &mut [TensorViewMut::new(&[1, 2], &mut own)?])?;
//! assert_eq!(own, *scores);
//!
//! let outputs = session.run_typed(&[TypedView::new(&[1, 1, 8, 8], &image)?])?; // `&[u8]` for a model that takes bytes
//! let scores: Vec<f32> = outputs.typed(0)?; // `Vec<i64>` of one that yields indices
//! # Ok::<(), sslm::Error>(())
//! ```
//!
//! # Where the time goes
//!
//! ```
//! # use sslm::{Model, Options, TensorView};
//! # let model = Model::from_bytes(include_bytes!("../examples/tiny.sslm"))?;
//! let mut session = model.prepare(&Options::new())?.session();
//! session.set_timing(true);
//! let image = vec![0.5; 64];
//! session.run(TensorView::new(&[1, 1, 8, 8], &image)?)?;
//! for (step, time) in session.plan().steps().zip(session.step_times()) {
//!     println!("{time:>10.2?}  {} ({})", step.name, step.kernel);
//! }
//! # Ok::<(), sslm::Error>(())
//! ```
//!
//! [`Session::set_checking`] finds the first step that yields NaN or infinities instead. [`Model::tune`] measures which method computes
//! each convolution fastest on this machine. With the feature `tracing`, subscribers see spans of opening, preparing, running and steps.
//!
//! # Limits, and ending a run
//!
//! [`Options::max_memory`], [`Options::max_macs`] and [`Options::max_time`] bound what a plan may take: set them for files of strangers.
//! An [`Interrupt`] ends runs from another thread, at once or at a deadline.
//!
//! # Errors
//!
//! There is one type of error. Its message is for people; programs look at its [`ErrorKind`]:
//!
//! ```
//! use sslm::{ErrorKind, Model};
//!
//! let error = Model::from_bytes(b"GIF89a").expect_err("that is an image");
//! match error.kind() {
//!     ErrorKind::NotSslm => println!("not a model: {error}"),
//!     ErrorKind::Version => println!("made by a newer sslm: {error}"),
//!     ErrorKind::Corrupt { offset: Some(byte) } => println!("damaged at byte {byte}"),
//!     _ => println!("{error}"),
//! }
//! # assert_eq!(*error.kind(), ErrorKind::NotSslm);
//! ```
//!
//! # Features
//!
//! None is on by default.
//!
//! - `cuda`: [`Backend::Cuda`]. The driver and cuBLAS are loaded when a device is opened, so building needs neither.
//! - `ndarray`: [`TensorView`] from and to arrays of that crate.
//! - `tracing`: spans for subscribers of that crate.
//! - `tuning`: a [`Tuning`] from and to its file.
//!
//! There is no global state, and no environment variable is read. More in `examples/`.

mod backend;
mod backends;
mod cache;
mod error;
mod interrupt;
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
mod trace;
mod tune;
mod tuning;
mod turns;
mod watch;

// All that is public. What a network consists of is the format's business, and no part of this: new operators break nobody.
pub use cache::{PlanCache, PooledSession};
pub use error::{Error, ErrorKind, Result};
pub use interrupt::Interrupt;
pub use model::{Model, TensorInfo};
pub use options::{Backend, Options, Threads, TransformedWeights};
pub use plan::Plan;
pub use report::{KeptCount, LayerInfo, LayerSizes, NotFinite, StepInfo};
pub use session::{Outputs, Session};
pub use sslm_format::{Color, Dim, ElementType, Preprocessing, Provenance, Resize, Section};
pub use sslm_kernels::conv::Method;
#[cfg(feature = "cuda")]
pub use sslm_kernels::cuda::{Device, Gpu};
pub use sslm_kernels::{Isa, Precision};
pub use tensor::{Element, TensorView, TensorViewMut, TypedView};
pub use tuning::{TunedLayer, Tuning};
pub use turns::Turns;
