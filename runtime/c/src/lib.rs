//! The C interface of sslm. Handles are boxes that C owns; every function checks the pointers that it is given against null, turns panics
//! into errors, and leaves the message of an error to [`sslm_last_error`]. `include/sslm.h` is made of this file: its comments are the
//! documentation that C programmers read.

mod handles;
mod model;
mod runner;
mod status;

pub use model::*;
pub use runner::*;
pub use status::*;
