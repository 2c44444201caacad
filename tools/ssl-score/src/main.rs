//! The program `ssl-score`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssl_score::main(std::env::args_os()).into()
}
