//! GGUF, the model format of llama.cpp: reading versions 2 and 3, writing version 3.
//!
//! All numbers are little-endian:
//!
//! ```text
//! "GGUF"  version u32  n_tensors u64  n_keys u64
//! n_keys    × { key: string, type u32, value }
//! n_tensors × { name: string, n_dims u32, dims u64 … (innermost first), type u32, offset u64 }
//! padding to general.alignment
//! tensor data, each at a multiple of general.alignment, offsets counting from here
//! ```
//!
//! A string is its length as u64 and its bytes; an array its element type as u32, its length as u64, its
//! elements. Source: the GGUF specification in ggml's `docs/gguf.md`.

mod cursor;
mod kinds;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use read::read;
pub use write::{Writer, file_bytes};

use crate::error::FormatError;
use crate::metadata::Metadata;

/// How every GGUF file begins.
pub(crate) const MAGIC: &[u8; 4] = b"GGUF";
/// The version written here.
const VERSION: u32 = 3;
const ALIGNMENT_KEY: &str = "general.alignment";
/// How many files the model was cut into, and which of them this is (llama.cpp's `llama-gguf-split`).
const SPLIT_COUNT_KEY: &str = "split.count";
const SPLIT_NUMBER_KEY: &str = "split.no";
const DEFAULT_ALIGNMENT: u64 = 32;
/// The largest page size in use. Files have 32; more than a page serves nobody and would let a header of a
/// few bytes claim any padding.
const MAX_ALIGNMENT: u64 = 65536;
/// ggml's `GGML_MAX_DIMS`.
const MAX_DIMS: usize = 4;
/// Arrays of arrays are rare and none is known to nest deeper than two; the bound keeps recursion off the
/// stack's end.
const MAX_ARRAY_DEPTH: usize = 4;

/// Where tensor data begin at multiples of: what the metadata say, or the default.
fn alignment(file: &str, metadata: &Metadata) -> Result<u64, FormatError> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value.as_u64() {
        Some(alignment) if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT => Ok(alignment),
        _ => {
            let expected = format!("a power of two up to {MAX_ALIGNMENT}");
            Err(FormatError::malformed(
                file,
                format!("key {ALIGNMENT_KEY:?}"),
                expected,
                format!("{value:?}"),
            ))
        }
    }
}
