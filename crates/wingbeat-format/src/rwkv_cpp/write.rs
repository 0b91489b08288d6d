//! Writes an rwkv.cpp file of version 101: each tensor's description just before its data.
//!
//! Everything about the file on disk (temporary name, counting, renaming) is the stream's business.

use std::path::Path;

use super::{MAGIC, MAX_DIMS, MAX_NAME_BYTES, VERSION, type_id, type_names};
use crate::error::FormatError;
use crate::quant::DType;
use crate::stream::{Stream, StreamTensor};
use crate::tensor::{TensorSpec, bad_shape};

/// What the file says about the model: there is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Tokens.
    pub n_vocab: usize,
    /// Channels.
    pub n_embed: usize,
    /// Layers.
    pub n_layer: usize,
    /// The type of most matrices.
    pub dtype: DType,
}

/// Writes an rwkv.cpp file tensor by tensor.
///
/// Nothing is seen at the path until [`finish`](Writer::finish); a writer that is dropped before leaves
/// nothing behind.
#[derive(Debug)]
pub struct Writer {
    stream: Stream,
}

impl Writer {
    /// Begins a file at `path` with the description of `tensors`, whose bytes must follow in that order.
    ///
    /// # Errors
    /// A type, name or shape that the format has no place for, or the system's refusal.
    pub fn create(path: &Path, header: &Header, tensors: &[TensorSpec]) -> Result<Writer, FormatError> {
        let file = path.display().to_string();
        let number = |what: &str, n: usize| {
            u32::try_from(n).map_err(|_| FormatError::malformed(&file, what, "a number below 2^32", n))
        };
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        for (what, n) in
            [("n_vocab", header.n_vocab), ("n_embed", header.n_embed), ("n_layer", header.n_layer)]
        {
            bytes.extend(number(what, n)?.to_le_bytes());
        }
        bytes.extend(
            type_id(header.dtype).ok_or_else(|| unsupported(&file, "most", header.dtype))?.to_le_bytes(),
        );
        let tensors = tensors.iter().map(|spec| describe(&file, spec)).collect::<Result<Vec<_>, _>>()?;
        Ok(Writer { stream: Stream::create(path, &bytes, tensors, 1)? })
    }

    /// Writes the next bytes of the current tensor: all of it or a part. The next call goes on where this one
    /// ended.
    ///
    /// # Errors
    /// More bytes than were announced, or the system's refusal.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.stream.write(bytes)
    }

    /// Puts the complete file in its place, over one that may be there.
    ///
    /// # Errors
    /// Bytes are missing, or the system refuses.
    pub fn finish(self) -> Result<(), FormatError> {
        self.stream.finish()
    }
}

fn unsupported(file: &str, tensor: &str, dtype: DType) -> FormatError {
    FormatError::UnsupportedType {
        file: file.to_owned(),
        tensor: tensor.to_owned(),
        expected: type_names(),
        found: dtype.name().to_owned(),
    }
}

/// The bytes before a tensor's data.
fn describe(file: &str, spec: &TensorSpec) -> Result<StreamTensor, FormatError> {
    let TensorSpec { name, dtype, shape } = spec;
    let malformed = |expected: String, found: String| {
        FormatError::malformed(file, format!("tensor {name:?}"), expected, found)
    };
    if name.is_empty() || name.len() > MAX_NAME_BYTES as usize {
        return Err(malformed(format!("a name of 1 to {MAX_NAME_BYTES} bytes"), name.len().to_string()));
    }
    let dims: Option<Vec<u32>> =
        shape.iter().rev().map(|&dim| u32::try_from(dim).ok().filter(|&dim| dim > 0)).collect();
    let dims = dims.filter(|dims| (1..=MAX_DIMS).contains(&dims.len())).ok_or_else(|| {
        malformed(format!("1 to {MAX_DIMS} dimensions from 1 to 2^32 - 1"), format!("shape {shape:?}"))
    })?;
    let type_id = type_id(*dtype).ok_or_else(|| unsupported(file, name, *dtype))?;
    let n_bytes = spec.n_bytes().ok_or_else(|| bad_shape(file, name, *dtype, shape))? as u64;
    let mut before = Vec::new();
    for number in [dims.len() as u32, name.len() as u32, type_id].into_iter().chain(dims) {
        before.extend(number.to_le_bytes());
    }
    before.extend(name.as_bytes());
    Ok(StreamTensor { name: name.clone(), n_bytes, before })
}
