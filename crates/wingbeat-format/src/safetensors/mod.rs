//! safetensors, Hugging Face's format for tensors: reading and writing.
//!
//! ```text
//! n_header u64, little-endian
//! n_header bytes of JSON:
//!     { "__metadata__": { key: text … },
//!       name: { "dtype": …, "shape": [outermost … innermost], "data_offsets": [start, end] } … }
//! tensor data, offsets counting from here
//! ```
//!
//! Source: the format section of the safetensors README. Data that no tensor claims are tolerated here.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use read::{TextMap, looks_like, read};
pub(crate) use write::texts;
pub use write::{Writer, header};

/// The format's own bound on its header.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes of the header's length.
const LENGTH_BYTES: usize = size_of::<u64>();
/// The entry that is no tensor.
const METADATA_NAME: &str = "__metadata__";
/// There are no versions; something has to be said.
const VERSION: u32 = 1;
