//! Reading ONNX files: messages ([`proto`]), files and external data ([`load`]), tensors ([`tensor`]), attributes ([`attributes`]).

pub mod attributes;
mod elements;
pub mod load;
pub mod proto;
pub mod tensor;
