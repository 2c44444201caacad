//! How operators become steps: one file a family, as in the format. An operator without [`crate::planning::Lower`] does not compile.

mod activation;
mod binary;
mod constant;
mod conv;
mod gemm;
mod index;
mod join;
mod layout;
mod matmul;
mod normalize;
mod pick;
mod pool;
mod rebuild;
mod recurrent;
mod reduce;
mod resample;
mod resize;
mod sample;
mod sizes;
mod space;
mod volume;
mod window;
