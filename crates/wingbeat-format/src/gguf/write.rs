//! Writes GGUF version 3: the header at once, then the tensors' bytes as they come.
//!
//! Everything about the file on disk (temporary name, padding, counting, renaming) is the stream's business.

use std::path::Path;

use super::kinds::Kind;
use super::{MAGIC, MAX_ARRAY_DEPTH, MAX_DIMS, VERSION, alignment};
use crate::error::FormatError;
use crate::metadata::{Array, Metadata, Value};
use crate::stream::{Stream, StreamTensor};
use crate::tensor::{TensorSpec, bad_shape};

/// llama.cpp refuses longer names (`GGML_MAX_NAME`, less the final zero).
const MAX_NAME_BYTES: usize = 63;

/// Writes a GGUF file tensor by tensor.
///
/// Nothing is seen at the path until [`finish`](Writer::finish); a writer that is dropped before leaves
/// nothing behind.
#[derive(Debug)]
pub struct Writer {
    stream: Stream,
}

impl Writer {
    /// Begins a file at `path` with a header of `metadata` and `tensors`, whose bytes must follow in that
    /// order.
    ///
    /// Data are aligned to 32 bytes, or to `general.alignment` where the metadata have it.
    pub fn create(path: &Path, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Writer, FormatError> {
        let (header, stream_tensors, alignment) = header(&path.display().to_string(), metadata, tensors)?;
        Ok(Writer { stream: Stream::create(path, &header, stream_tensors, alignment)? })
    }

    /// Writes the next bytes of the current tensor: all of it or a part. The next call goes on where this one
    /// ended.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.stream.write(bytes)
    }

    /// Puts the complete file in its place, over one that may be there, even if that one is mapped (but
    /// Windows lets nobody replace a mapped file: there this is an error).
    pub fn finish(self) -> Result<(), FormatError> {
        self.stream.finish()
    }
}

/// The length of the file that a [`Writer`] at `path` would write.
pub fn file_bytes(path: &Path, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<u64, FormatError> {
    let (header, tensors, alignment) = header(&path.display().to_string(), metadata, tensors)?;
    let data = tensors.iter().map(|tensor| tensor.n_bytes.next_multiple_of(alignment));
    Ok(data.fold(header.len() as u64, u64::saturating_add))
}

/// The header's bytes, padded to where data begin, what follows it, and the alignment.
fn header(
    file: &str,
    metadata: &Metadata,
    tensors: &[TensorSpec],
) -> Result<(Vec<u8>, Vec<StreamTensor>, u64), FormatError> {
    let alignment = alignment(file, metadata)?;
    let mut header = Vec::new();
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        put_string(&mut header, key.as_bytes());
        header.extend((Kind::of_value(value) as u32).to_le_bytes());
        put_value(&mut header, value).map_err(|(expected, found)| {
            FormatError::malformed(file, format!("key {key:?}"), expected, found)
        })?;
    }
    let stream_tensors = put_tensors(file, &mut header, tensors, alignment)?;
    header.resize(header.len().next_multiple_of(alignment as usize), 0);
    Ok((header, stream_tensors, alignment))
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

/// Why a value cannot be written: what was expected and what was found.
type Refusal = (String, String);

fn put_value(out: &mut Vec<u8>, value: &Value) -> Result<(), Refusal> {
    match value {
        Value::U8(x) => out.extend(x.to_le_bytes()),
        Value::I8(x) => out.extend(x.to_le_bytes()),
        Value::U16(x) => out.extend(x.to_le_bytes()),
        Value::I16(x) => out.extend(x.to_le_bytes()),
        Value::U32(x) => out.extend(x.to_le_bytes()),
        Value::I32(x) => out.extend(x.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::U64(x) => out.extend(x.to_le_bytes()),
        Value::I64(x) => out.extend(x.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
        Value::Bool(x) => out.push((*x).into()),
        Value::String(x) => put_string(out, x),
        Value::Array(x) => put_array(out, x, 1)?,
    }
    Ok(())
}

fn put_array(out: &mut Vec<u8>, array: &Array, depth: usize) -> Result<(), Refusal> {
    if depth > MAX_ARRAY_DEPTH {
        return Err((format!("arrays nested at most {MAX_ARRAY_DEPTH} deep"), "deeper ones".to_owned()));
    }
    out.extend((Kind::of_elements(array) as u32).to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(x) => out.extend(x),
        Array::I8(x) => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
        Array::U16(x) => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
        Array::I16(x) => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
        Array::U32(x) => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
        Array::I32(x) => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
        Array::F32(x) => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
        Array::U64(x) => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
        Array::I64(x) => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
        Array::F64(x) => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
        Array::Bool(x) => out.extend(x.iter().map(|&x| u8::from(x))),
        Array::Strings(x) => out.extend(x.encoded()),
        Array::Nested(x) => x.iter().try_for_each(|x| put_array(out, x, depth + 1))?,
    }
    Ok(())
}

/// Appends the tensor descriptions, with data one after the other at multiples of `alignment`.
fn put_tensors(
    file: &str,
    header: &mut Vec<u8>,
    tensors: &[TensorSpec],
    alignment: u64,
) -> Result<Vec<StreamTensor>, FormatError> {
    let mut offset = 0u64;
    let mut stream_tensors = Vec::with_capacity(tensors.len());
    for spec in tensors {
        let TensorSpec { name, dtype, shape } = spec;
        let malformed = |expected: String, found: String| {
            FormatError::malformed(file, format!("tensor {name:?}"), expected, found)
        };
        if name.len() > MAX_NAME_BYTES {
            return Err(malformed(
                format!("a name of at most {MAX_NAME_BYTES} bytes"),
                name.len().to_string(),
            ));
        }
        if shape.len() > MAX_DIMS || shape.contains(&0) {
            return Err(malformed(
                format!("at most {MAX_DIMS} dimensions above zero"),
                format!("shape {shape:?}"),
            ));
        }
        let type_id = dtype.ggml_id().ok_or_else(|| FormatError::UnsupportedType {
            file: file.to_owned(),
            tensor: name.clone(),
            expected: "of GGUF".to_owned(),
            found: dtype.name().to_owned(),
        })?;
        let n_bytes = spec.n_bytes().ok_or_else(|| bad_shape(file, name, *dtype, shape))? as u64;
        put_string(header, name.as_bytes());
        header.extend((shape.len() as u32).to_le_bytes());
        header.extend(shape.iter().rev().flat_map(|&dim| (dim as u64).to_le_bytes()));
        header.extend(type_id.to_le_bytes());
        header.extend(offset.to_le_bytes());
        stream_tensors.push(StreamTensor { name: name.clone(), n_bytes, before: Vec::new() });
        offset = offset
            .checked_add(n_bytes)
            .and_then(|end| end.checked_next_multiple_of(alignment))
            .ok_or_else(|| malformed("an end below 2^64".to_owned(), format!("shape {shape:?}")))?;
    }
    Ok(stream_tensors)
}
