//! A model inside the program: nothing has to lie beside it, and nothing can be missing.
//!
//! ```sh
//! cargo run --release -p sslm --example include_bytes
//! ```

use sslm::{Model, Options, TensorView};

/// Two classes: horizontal and vertical lines in images of 8 by 8 pixels.
static MODEL: &[u8] = include_bytes!("tiny.sslm");

fn main() -> sslm::Result<()> {
    let model = Model::from_bytes(MODEL)?;
    let mut session = model.prepare(&Options::new())?.session();
    for (what, is_line) in [("row 2", (|_, y| y == 2) as fn(usize, usize) -> bool), ("column 5", |x, _| x == 5)] {
        let image: Vec<f32> = (0..64).map(|i| if is_line(i % 8, i / 8) { 1.0 } else { 0.0 }).collect();
        let scores = session.run(TensorView::new(&[1, 1, 8, 8], &image)?)?.data();
        let best = usize::from(scores[1] > scores[0]);
        println!("a line in {what} is {} ({scores:.3?})", model.labels()[best]);
    }
    Ok(())
}
