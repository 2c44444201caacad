//! All whole-system tests in one program: each program more would be linked with everything again. One file is one subject; what needs
//! a program of its own, because it counts allocations or forks, is `memory.rs` and `fork.rs`.

mod batch;
mod c;
mod certificate;
mod channels_first;
mod cli;
mod corpus;
mod cuda;
mod driver;
mod embedding;
mod export;
mod finite;
mod frozen;
mod fusion;
mod fuzz_corpora;
mod golden;
mod hostile;
mod import;
mod indices;
mod inline;
mod kept;
mod layering;
mod mapped;
mod numerics;
mod onnxruntime;
mod opsets;
mod parity;
mod partial;
mod products;
mod random_graphs;
mod recurrent;
mod serve;
mod structure;
mod transformed_weights;
mod tuning;
mod types;
