//! The program `ssl-run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssl_run::main(std::env::args_os()).into()
}
