//! The program `ssl-report`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssl_report::main(std::env::args_os()).into()
}
