//! The program `ssl-serve`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssl_serve::main(std::env::args_os()).into()
}
