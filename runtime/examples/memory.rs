//! How much memory a process has (its resident set, and how much of that is its own rather than of files) before a model is read, with
//! the model, with a plan, and after a run of one image on one thread. Linux only. `tests/scripts/sizes.sh` makes a table of it:
//!
//! ```sh
//! cargo run --profile small -p sslm --example memory -- tools/models/lenet/lenet.sslm
//! ```

use sslm::{Model, Options, TensorView, Threads};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("expected a model")?;
    print("before")?;
    let model = Model::read(&path)?;
    print("read")?;
    let plan = model.prepare(&Options::new().batch(1).threads(Threads::Single))?;
    print("prepared")?;
    let shape = plan.input_shapes().next().ok_or("expected a model with an input")?.to_vec();
    let image = vec![0.5; shape.iter().product()];
    let mut session = plan.session();
    session.run(TensorView::new(&shape, &image)?)?;
    print("run")
}

/// Prints when this is, and the KiB of the resident set and of what is the process's own.
fn print(when: &str) -> Result<(), Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
    let (all, own) = (of("VmRSS:").ok_or("no VmRSS")?, of("RssAnon:").ok_or("no RssAnon")?);
    println!("{when} {all} {own}");
    Ok(())
}
