//! The program `ssl-convert`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssl_convert::main(std::env::args_os()).into()
}
