//! A loop as behind a camera: an image comes every ten milliseconds, and what matters is how late answers are, and how late the latest is.
//! An image that would be answered after the next one has come is given up.
//!
//! ```sh
//! cargo run --release -p sslm --example camera
//! ```

use sslm::{ErrorKind, Interrupt, Model, Options, TensorView, Threads};
use std::thread;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(10);
const IMAGES: u32 = 500;
const SHAPE: [usize; 4] = [1, 3, 32, 32];

fn main() -> sslm::Result<()> {
    let model = Model::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/models/resnet20/resnet20.sslm"))?;
    let mut session = model.prepare(&Options::new().batch(1).threads(Threads::Single))?.session();
    let interrupt = Interrupt::new();
    session.set_interrupt(&interrupt);
    let mut image = vec![0.0; SHAPE.iter().product()];
    // The first run takes the session's memory: do it before anybody waits.
    session.run(TensorView::new(&SHAPE, &image)?)?;

    let (mut times, mut late) = (Vec::new(), 0);
    let first = Instant::now();
    for i in 0..IMAGES {
        let due = first + PERIOD * i;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        image.fill(i as f32 / IMAGES as f32);
        interrupt.set_deadline(Some(due + PERIOD));
        match session.run(TensorView::new(&SHAPE, &image)?) {
            Ok(_) => times.push(due.elapsed()),
            Err(e) if *e.kind() == ErrorKind::Limit => late += 1,
            Err(e) => return Err(e),
        }
    }
    times.sort();
    println!("{} images answered, {late} given up; from the moment that an image is due to its answer:", times.len());
    for (name, permille) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
        if let Some(time) = times.get(times.len().saturating_sub(1) * permille / 1000) {
            println!("{name:>6} {time:.2?}");
        }
    }
    Ok(())
}
