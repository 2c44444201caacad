//! Classifies one image with the LeNet of this repository: open a model, prepare it, run it.
//!
//! ```sh
//! cargo run --release -p sslm --example classify
//! ```

use sslm::{Model, Options, TensorView, Threads};

fn main() -> sslm::Result<()> {
    // Memory-mapped and validated. No weight is copied.
    let model = Model::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/models/lenet/lenet.sslm"))?;

    // Everything that can be decided once is decided here: shapes, kernels, memory. So small a network gains nothing from threads.
    let plan = model.prepare(&Options::new().batch(1).threads(Threads::Single))?;

    // A session has memory of its own; its first run takes it, and no other run allocates anything.
    let mut session = plan.session();
    let image = seven();
    let scores = session.run(TensorView::new(&[1, 1, 28, 28], &image)?)?;

    // The output is borrowed from the session. This network's is one score for each class.
    let mut classes: Vec<(usize, f32)> = scores.data().iter().copied().enumerate().collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (class, score) in classes.into_iter().take(3) {
        let label = model.labels().get(class).map_or("a class without a name", String::as_str);
        println!("{score:8.3}  {label}");
    }
    Ok(())
}

/// A seven, drawn with two strokes: elements from 0 (black) to 1 (white), row by row.
fn seven() -> Vec<f32> {
    let mut image = vec![0.0; 28 * 28];
    for x in 7..21 {
        (6..9).for_each(|y| image[y * 28 + x] = 1.0);
    }
    for y in 8..23 {
        let left = 19 - (y - 8) / 2;
        (left..left + 3).for_each(|x| image[y * 28 + x] = 1.0);
    }
    image
}
