//! What functions return, and the message of the last error of each thread.

use sslm::{Error, ErrorKind};
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of a call. Values stay as they are; new ones may come.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslmStatus {
    /// All is well.
    Ok = 0,
    /// A file could not be read.
    Io = 1,
    /// A file is no .sslm file.
    NotSslm = 2,
    /// A file needs a newer sslm.
    Version = 3,
    /// A file is cut off or damaged.
    Corrupt = 4,
    /// A file has an operator that this sslm does not know.
    Unsupported = 5,
    /// An input has a shape that the model does not take.
    Shape = 6,
    /// Options or inputs do not fit the model in another way.
    Input = 7,
    /// Memory or threads could not be had.
    Resources = 8,
    /// More memory, work or time is needed than the options allow.
    Limit = 9,
    /// The run was cancelled.
    Cancelled = 10,
    /// A pointer is null that must not be, or a text is not UTF-8.
    Argument = 11,
    /// Something else, which the message names.
    Other = 12,
}

/// An error on its way out.
pub(crate) struct Failure {
    status: SslmStatus,
    message: String,
}

impl Failure {
    /// An argument that the caller must not give.
    pub(crate) fn argument(what: &str, expected: &str, found: &str) -> Self {
        Failure { status: SslmStatus::Argument, message: format!("{what}: expected {expected}, found {found}") }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let status = match e.kind() {
            ErrorKind::Io => SslmStatus::Io,
            ErrorKind::NotSslm => SslmStatus::NotSslm,
            ErrorKind::Version => SslmStatus::Version,
            ErrorKind::Corrupt { .. } => SslmStatus::Corrupt,
            ErrorKind::Unsupported { .. } => SslmStatus::Unsupported,
            ErrorKind::Shape { .. } => SslmStatus::Shape,
            ErrorKind::Input => SslmStatus::Input,
            ErrorKind::Resources => SslmStatus::Resources,
            ErrorKind::Limit => SslmStatus::Limit,
            ErrorKind::Cancelled => SslmStatus::Cancelled,
            _ => SslmStatus::Other,
        };
        Failure { status, message: e.to_string() }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs what a function does. Neither errors nor panics leave it but as a status, with a message for [`sslm_last_error`].
pub(crate) fn guarded(work: impl FnOnce() -> Result<(), Failure>) -> SslmStatus {
    // Nothing is used after a panic that it may have left half done: handles are made last, and sessions that were in use go.
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(Failure { status: SslmStatus::Other, message: format!("internal error: {}", text_of(&*panic)) })
    });
    match done {
        Ok(()) => SslmStatus::Ok,
        Err(Failure { status, message }) => {
            // A name in it may have a zero byte.
            let text: Vec<u8> = message.bytes().filter(|&byte| byte != 0).collect();
            LAST.with_borrow_mut(|last| *last = CString::new(text).unwrap_or_default());
            status
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}

/// What went wrong in the last call of this thread that returned an error: what, where, what was expected and what was found. Empty if
/// there was none. Valid until the next call of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn sslm_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}

/// The version of the library, such as "0.2.0".
#[unsafe(no_mangle)]
pub extern "C" fn sslm_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
