//! The least that a program needs to run a model that is inside it. How small it becomes is measured with it:
//!
//! ```sh
//! cargo build --profile small -p sslm --example minimal && ls -l target/small/examples/minimal
//! ```

use sslm::{Model, Options, TensorView, Threads};
use std::process::ExitCode;

fn main() -> ExitCode {
    let scores = Model::from_bytes(include_bytes!("tiny.sslm")).and_then(|model| {
        let mut session = model.prepare(&Options::new().threads(Threads::Single))?.session();
        Ok(session.run(TensorView::new(&[1, 1, 8, 8], &[0.5; 64])?)?.data().to_vec())
    });
    ExitCode::from(u8::from(scores.is_err()))
}
