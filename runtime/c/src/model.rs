//! Models: opening them, and what they take and yield.

use super::handles::{free, hand_out, place, reference, slice, text};
use super::status::{Failure, SslmStatus, guarded};
use sslm::{Dim, ElementType, Model, TensorInfo};
use std::ffi::{CString, c_char};

/// Types of elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslmType {
    /// float
    F32 = 1,
    /// double
    F64 = 2,
    /// IEEE 754 half precision, as 16 bits
    F16 = 3,
    /// uint8_t
    U8 = 4,
    /// int8_t
    I8 = 5,
    /// uint16_t
    U16 = 6,
    /// int16_t
    I16 = 7,
    /// uint32_t
    U32 = 8,
    /// int32_t
    I32 = 9,
    /// uint64_t
    U64 = 10,
    /// int64_t
    I64 = 11,
    /// A byte that is 0 or 1
    Bool = 12,
}

const TYPES: [(SslmType, ElementType); 12] = [
    (SslmType::F32, ElementType::F32),
    (SslmType::F64, ElementType::F64),
    (SslmType::F16, ElementType::F16),
    (SslmType::U8, ElementType::U8),
    (SslmType::I8, ElementType::I8),
    (SslmType::U16, ElementType::U16),
    (SslmType::I16, ElementType::I16),
    (SslmType::U32, ElementType::U32),
    (SslmType::I32, ElementType::I32),
    (SslmType::U64, ElementType::U64),
    (SslmType::I64, ElementType::I64),
    (SslmType::Bool, ElementType::Bool),
];

/// What C calls a type of elements.
pub(crate) fn type_of(element_type: ElementType) -> Result<SslmType, Failure> {
    let found = TYPES.iter().find(|(_, own)| *own == element_type);
    found.map(|(c, _)| *c).ok_or_else(|| Failure::argument("type of elements", "one that C knows", &element_type.to_string()))
}

/// The type of elements that a value of C's enumeration means, which may be any integer.
pub(crate) fn element_type_of(value: i32) -> Result<ElementType, Failure> {
    let found = TYPES.iter().find(|(c, _)| *c as i32 == value);
    found.map(|(_, own)| *own).ok_or_else(|| Failure::argument("type of elements", "an SslmType", &value.to_string()))
}

/// An open model. Threads may share it.
pub struct SslmModel {
    pub(crate) model: Model,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    labels: Vec<CString>,
}

/// What C sees of an input or output points into this.
struct Port {
    name: CString,
    element_type: SslmType,
    dims: Vec<i64>,
}

impl SslmModel {
    fn new(model: Model) -> Result<Self, Failure> {
        let dim = |dim: &Dim| match dim {
            Dim::Fixed { size } => i64::try_from(*size).unwrap_or(i64::MAX),
            Dim::Symbolic { .. } => -1,
        };
        let port = |info: TensorInfo| {
            let element_type = type_of(info.element_type)?;
            Ok(Port { name: c_text(&info.name), element_type, dims: info.dims.iter().map(dim).collect() })
        };
        let inputs = model.inputs().into_iter().map(port).collect::<Result<_, Failure>>()?;
        let outputs = model.outputs().into_iter().map(port).collect::<Result<_, Failure>>()?;
        let labels = model.labels().iter().map(|label| c_text(label)).collect();
        Ok(SslmModel { model, inputs, outputs, labels })
    }
}

/// Text for C, without zero bytes.
fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

/// An input or an output of a model. What it points to lives as long as the model.
#[repr(C)]
pub struct SslmPort {
    /// Its name in the source model.
    pub name: *const c_char,
    /// The type of its elements.
    pub element_type: SslmType,
    /// How many axes it has.
    pub rank: usize,
    /// Extents, axis 0 (the batch) first; -1 of an input where the caller chooses, and of an output where that depends on such.
    pub dims: *const i64,
}

/// Reads the .sslm file at `path` (UTF-8) and checks it. Whatever becomes of the file afterwards, the model stays as it is.
///
/// # Safety
/// `path` is a text that ends with a zero byte; `model` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_model_read(path: *const c_char, model: *mut *mut SslmModel) -> SslmStatus {
    guarded(|| {
        // SAFETY: the caller's promises.
        let (path, model) = unsafe { (text(path, "path")?, place(model, "model")?) };
        hand_out(model, SslmModel::new(Model::read(path)?)?);
        Ok(())
    })
}

/// A model from the `len` bytes of a .sslm file in memory, which are copied.
///
/// # Safety
/// There are `len` bytes at `bytes`; `model` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_model_from_bytes(bytes: *const u8, len: usize, model: *mut *mut SslmModel) -> SslmStatus {
    guarded(|| {
        // SAFETY: the caller's promises.
        let (bytes, model) = unsafe { (slice(bytes, len, "bytes")?, place(model, "model")?) };
        hand_out(model, SslmModel::new(Model::from_bytes(bytes)?)?);
        Ok(())
    })
}

/// Frees a model; runners made of it live on. NULL is nothing.
///
/// # Safety
/// `model` is NULL or was not freed before, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_model_free(model: *mut SslmModel) {
    // SAFETY: the caller's promise.
    unsafe { free(model) }
}

/// What the input of this index takes. Returns false if there is none, or a pointer is NULL.
///
/// # Safety
/// `model` is valid; `port` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_model_input(model: *const SslmModel, index: usize, port: *mut SslmPort) -> bool {
    // SAFETY: the caller's promises.
    unsafe { describe(model, |model| model.inputs.get(index), port) }
}

/// What the output of this index yields. Returns false if there is none, or a pointer is NULL.
///
/// # Safety
/// `model` is valid; `port` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_model_output(model: *const SslmModel, index: usize, port: *mut SslmPort) -> bool {
    // SAFETY: the caller's promises.
    unsafe { describe(model, |model| model.outputs.get(index), port) }
}

/// # Safety
/// `model` is null or valid; `port` is null or may be written.
unsafe fn describe(model: *const SslmModel, of: impl Fn(&SslmModel) -> Option<&Port>, port: *mut SslmPort) -> bool {
    // SAFETY: the caller's promises.
    let (Ok(model), Ok(port)) = (unsafe { (reference(model, "model"), place(port, "port")) }) else { return false };
    let Some(Port { name, element_type, dims }) = of(model) else { return false };
    *port = SslmPort { name: name.as_ptr(), element_type: *element_type, rank: dims.len(), dims: dims.as_ptr() };
    true
}

/// The name of the class of this index, in the order of the output's last axis; NULL if the model names no such class. Valid as long as
/// the model.
///
/// # Safety
/// `model` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_model_label(model: *const SslmModel, index: usize) -> *const c_char {
    // SAFETY: the caller's promise.
    let label = unsafe { reference(model, "model") }.ok().and_then(|model| model.labels.get(index));
    label.map_or(std::ptr::null(), |label| label.as_ptr())
}
