//! All tests of the kernels in one program: each program more would be compiled and linked with everything again. One file is one
//! family of operators.

mod axis;
mod channels;
mod common;
mod conv;
mod conv_transpose;
#[cfg(not(miri))] // which runs no foreign code
mod cuda;
mod elementwise;
mod fully_connected;
mod index;
mod layout;
mod matmul;
mod normalize;
mod pool;
mod recurrent;
mod resample;
mod sample;
mod tables;
mod volume;
