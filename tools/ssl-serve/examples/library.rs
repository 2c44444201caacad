//! How many requests a second the library runs in one thread without a server around it: what those of `load` are compared with.
//!
//! Requests are taken in turns, as every request that comes to a server lies in memory of its own.

use anyhow::{Context, Result};
use clap::Parser;
use sslm::{Model, Options, Threads, TypedView};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Requests that are taken in turns: as many as `load` has connections when it is used as serve_load.py uses it.
const REQUESTS: usize = 4;

/// Run a model again and again on random numbers, and print how many requests a second were run
#[derive(Parser)]
struct Arguments {
    /// The model
    model: PathBuf,
    /// Images of a request
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// How long
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = Model::read(&arguments.model)?;
    let plan = model.prepare(&Options::new().batch(arguments.batch).threads(Threads::Single))?;
    let shape = plan.input_shapes().next().context("the model has no input")?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut request = || (0..shape.iter().product::<usize>()).map(|_| random.f32()).collect::<Vec<f32>>();
    let requests: Vec<Vec<f32>> = (0..REQUESTS).map(|_| request()).collect();
    let mut session = plan.session();
    let mut run = |request: &Vec<f32>| -> Result<()> {
        let outputs = session.run_typed(&[TypedView::new(shape, request)?])?;
        black_box(outputs.typed_bytes(0)?);
        Ok(())
    };
    // The first run takes memory.
    requests.iter().try_for_each(&mut run)?;
    let (begun, mut runs) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs_f64(arguments.seconds) {
        requests.iter().try_for_each(&mut run)?;
        runs += requests.len();
    }
    println!("{:.2}", runs as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}
