//! `.bin`, the format of rwkv.cpp: reading versions 100 and 101, writing 101.
//!
//! All numbers are little-endian:
//!
//! ```text
//! magic 0x67676d66 ("fmgg")  version u32  n_vocab u32  n_embed u32  n_layer u32  data_type u32
//! until the end of the file, one tensor after the other:
//!     n_dims u32  n_name u32  data_type u32  dims u32 … (innermost first)  name  data, aligned to nothing
//! ```
//!
//! Blocks of version 101 are those of today's ggml; version 100 had others, of which nothing is read but floats.
//! Tensors have the official names; some are not what the official checkpoints have (decays are stored after their
//! exponential, low-rank matrices transposed): that is for the model crate to know. Sources: rwkv.cpp's
//! `docs/FILE_FORMAT.md`, `rwkv_file_format.inc` and `convert_pytorch_to_ggml.py`.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use read::{looks_like, read};
pub use write::{Header, Writer};

use crate::quant::DType;

/// How every file begins: `ggmf` as a number, with its bytes in this order.
pub(crate) const MAGIC: &[u8; 4] = b"fmgg";
/// The version from before ggml's blocks changed, and the one written here.
const VERSIONS: [u32; 2] = [100, 101];
const VERSION: u32 = VERSIONS[1];
/// rwkv.cpp's own bound.
const MAX_DIMS: usize = 3;
/// No tensor of any model has a longer name; the bound keeps messages short.
const MAX_NAME_BYTES: u32 = 255;

/// The format's numbers for types, by their names; those without a type have been given up by rwkv.cpp too.
const TYPES: [(&str, Option<DType>); 10] = [
    ("FP32", Some(DType::F32)),
    ("FP16", Some(DType::F16)),
    ("Q4_0", Some(DType::Q4_0)),
    ("Q4_1", Some(DType::Q4_1)),
    ("Q4_1_O", None),
    ("Q4_2", None),
    ("Q4_3", None),
    ("Q5_0", Some(DType::Q5_0)),
    ("Q5_1", Some(DType::Q5_1)),
    ("Q8_0", Some(DType::Q8_0)),
];

/// The format's number for a type, if it has one.
fn type_id(dtype: DType) -> Option<u32> {
    TYPES.iter().position(|(_, known)| *known == Some(dtype)).map(|id| id as u32)
}

/// Whether files can hold a type.
pub fn holds(dtype: DType) -> bool {
    type_id(dtype).is_some()
}

/// The names of the types that can be stored, for messages.
fn type_names() -> String {
    TYPES.iter().filter_map(|(_, dtype)| dtype.map(DType::name)).collect::<Vec<_>>().join(", ")
}
