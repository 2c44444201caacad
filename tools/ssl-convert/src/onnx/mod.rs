//! Reading ONNX files: messages ([`proto`]), files and external data ([`load`]), tensors ([`tensor`]), attributes ([`attributes`]).

pub mod attributes;
pub mod load;
pub mod proto;
pub mod tensor;
