//! The program `ssl-inspect`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssl_inspect::main(std::env::args_os()).into()
}
