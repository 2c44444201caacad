//! From pointers of C to references and back: the one place that decides what a pointer may be.
//!
//! C keeps the promises that the header states: a handle comes from this library and is not used after it was freed; a pointer to data is
//! null, or points to as many elements as is said beside it, aligned, and not written meanwhile. Only null can be checked.

use super::status::Failure;
use std::ffi::{CStr, c_char};

/// What a pointer points to.
///
/// # Safety
/// It is null, or valid for reads for as long as the caller uses what it gets.
pub(crate) unsafe fn reference<'a, T>(pointer: *const T, what: &str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise; null is told apart here.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::argument(what, "a pointer", "NULL"))
}

/// The place that a result goes to.
///
/// # Safety
/// It is null, or valid for writes, and nobody else's for as long as the caller uses what it gets.
pub(crate) unsafe fn place<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's promise; null is told apart here.
    unsafe { pointer.as_mut() }.ok_or_else(|| Failure::argument(what, "a pointer", "NULL"))
}

/// The elements that a pointer points to, of which there are `len`. Null is fine for none.
///
/// # Safety
/// It is null, or valid for reads of `len` elements for as long as the caller uses what it gets.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, len: usize, what: &str) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(Failure::argument(what, "a pointer to aligned elements", if pointer.is_null() { "NULL" } else { "another" }));
    }
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Failure::argument(what, "a length in memory", "more"));
    }
    // SAFETY: the caller's promise; null, alignment and what exceeds memory are told apart above.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Text of C.
///
/// # Safety
/// It is null, or points to bytes of which one is zero.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(Failure::argument(what, "a text", "NULL"));
    }
    // SAFETY: the caller's promise; null is told apart above.
    unsafe { CStr::from_ptr(pointer) }.to_str().map_err(|_| Failure::argument(what, "UTF-8", "other bytes"))
}

/// Hands a value to C, as a handle that [`free`] takes back.
pub(crate) fn hand_out<T>(place: &mut *mut T, value: T) {
    *place = Box::into_raw(Box::new(value));
}

/// Ends what a handle stands for; null is nothing.
///
/// # Safety
/// It is null or comes from [`hand_out`], and nobody uses it any more.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: it comes from `Box::into_raw` and was not freed before, as the caller promises.
        let value = unsafe { Box::from_raw(handle) };
        // A panic must not reach C.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(value)));
    }
}
