//! Serves many images from several threads: one plan is shared by all of them, and each has a session of its own.
//!
//! ```sh
//! cargo run --release -p sslm --example threads
//! ```
//!
//! This is the way to the most images a second: sessions never wait for each other. Threads within one run ([`Threads::Count`]) make a
//! single run of a large network shorter instead.

use sslm::{Model, Options, Plan, Result, TensorView, Threads};
use std::thread;

/// Images that each thread runs.
const IMAGES: usize = 1000;

fn main() -> Result<()> {
    let model = Model::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/models/lenet/lenet.sslm"))?;
    // A plan is immutable, so threads share it by reference; cloning it is cheap, too. Weights stay in the memory map, which all threads and processes share.
    let plan = model.prepare(&Options::new().batch(1).threads(Threads::Single))?;

    let count = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<Vec<usize>>> = thread::scope(|scope| {
        let plan = &plan;
        let workers: Vec<_> = (0..count).map(|worker| scope.spawn(move || work(plan, worker))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });

    for (worker, result) in results.into_iter().enumerate() {
        println!("thread {worker}: how many images of each class: {:?}", result?);
    }
    Ok(())
}

/// Runs images of noise, which differ from thread to thread, and counts how many are taken for each class.
fn work(plan: &Plan, worker: usize) -> Result<Vec<usize>> {
    let mut session = plan.session();
    let mut counts = Vec::new();
    let mut state = worker as u32 + 1;
    for _ in 0..IMAGES {
        let image: Vec<f32> = (0..28 * 28).map(|_| noise(&mut state)).collect();
        let scores = session.run(TensorView::new(&[1, 1, 28, 28], &image)?)?.data();
        counts.resize(scores.len(), 0);
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        counts[best.expect("a score for each class")] += 1;
    }
    Ok(counts)
}

/// An element between 0 and 1, by a linear congruential generator.
fn noise(state: &mut u32) -> f32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*state >> 8) as f32 / (1 << 24) as f32
}
