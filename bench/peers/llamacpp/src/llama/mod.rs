//! llama.cpp's C API with its rules kept: what has to live as long as what, what a batch may ask of a context, what
//! each call's result means.
//!
//! All `unsafe` code of this crate is here and in `context.rs`, `model.rs` and `quantize.rs` below. A call costs what the C call
//! costs: the checks are a few comparisons a token, and outputs are views of llama.cpp's own memory.

mod batch;
mod context;
mod model;
mod quantize;

pub use batch::Batch;
pub use context::{Context, ContextOptions, Pooling};
pub use model::{Device, Model};
pub use quantize::quantize;

use anyhow::{Context as _, Result};
use llama_cpp_sys_2 as sys;
use std::{
    ffi::{CStr, CString, c_char, c_void},
    path::Path,
    sync::Once,
};

/// A token's number in the vocabulary, as llama.cpp counts.
pub type Token = i32;

/// The crate that brings llama.cpp: its version, by which the sources can be found.
pub const SYS_VERSION: &str = "0.1.161";

/// llama.cpp's version as it says itself.
pub fn version() -> String {
    // SAFETY: takes nothing and returns a constant string.
    unsafe { text(sys::llama_version()) }
}

/// The most sequences that one context can hold.
pub fn max_sequences() -> usize {
    // SAFETY: takes nothing and returns a constant.
    unsafe { sys::llama_max_parallel_sequences() }
}

/// Sets llama.cpp up, once in a process: warnings and errors go to standard error, a failed assertion ends the process
/// with a message and exit code 1.
fn start() {
    static START: Once = Once::new();
    START.call_once(|| {
        // SAFETY: both callbacks are functions of this module that take any arguments llama.cpp gives them, and no
        // other call into llama.cpp is under way: every way into it goes through here first.
        unsafe {
            sys::llama_log_set(Some(log), std::ptr::null_mut());
            sys::ggml_set_abort_callback(Some(abort));
            sys::llama_backend_init();
        }
    });
}

/// Prints warnings, errors and what continues them.
extern "C" fn log(level: sys::ggml_log_level, line: *const c_char, _: *mut c_void) {
    if level == sys::GGML_LOG_LEVEL_WARN || level == sys::GGML_LOG_LEVEL_ERROR {
        // SAFETY: llama.cpp passes a string that lives as long as the call.
        eprint!("{}", unsafe { text(line) });
    }
}

/// Instead of llama.cpp's own end, which leaves a stack trace as the last lines.
extern "C" fn abort(message: *const c_char) {
    // SAFETY: llama.cpp passes a string that lives as long as the call.
    eprintln!("llama.cpp: {}", unsafe { text(message) });
    std::process::exit(1);
}

/// A C string's text; nothing of none.
///
/// # Safety
///
/// `string` is null or a string that ends with a zero byte.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// A path as llama.cpp takes it.
fn c_path(path: &Path) -> Result<CString> {
    let name = path.to_str().with_context(|| format!("{}: llama.cpp takes UTF-8 names", path.display()))?;
    CString::new(name).with_context(|| format!("{}: a name cannot hold a zero byte", path.display()))
}

#[cfg(test)]
mod tests;
