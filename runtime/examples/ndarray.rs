//! Inputs and outputs as arrays of the crate ndarray.
//!
//! ```sh
//! cargo run --release -p sslm --example ndarray --features ndarray
//! ```

use ndarray::{Array4, Axis};
use sslm::{Model, Options, PlanCache, TensorView};

fn main() -> sslm::Result<()> {
    let model = Model::from_bytes(include_bytes!("tiny.sslm"))?;
    let cache = PlanCache::new(&model, Options::new(), 4);

    // Three images: a row, a column, and nothing.
    let mut images = Array4::<f32>::zeros((3, 1, 8, 8));
    images.slice_mut(ndarray::s![0, 0, 4, ..]).fill(1.0);
    images.slice_mut(ndarray::s![1, 0, .., 4]).fill(1.0);

    let mut session = cache.session(&[images.shape()])?;
    let scores = session.run(TensorView::try_from(&images)?)?.to_array();
    for (index, scores) in scores.axis_iter(Axis(0)).enumerate() {
        println!("image {index}: {scores:.3}");
    }
    Ok(())
}
