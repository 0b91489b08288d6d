//! Writes safetensors: the header at once, then the tensors' bytes as they come.
//!
//! Everything about the file on disk (temporary name, counting, renaming) is the stream's business.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::{LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_NAME};
use crate::error::FormatError;
use crate::metadata::{Array, Metadata, Value};
use crate::stream::{Stream, StreamTensor};
use crate::tensor::{TensorSpec, bad_shape};

/// The header is filled up with spaces to a multiple of this, so that the data begin at one.
const HEADER_ALIGNMENT: usize = 8;

/// The bytes before the tensors of a file: those of `tensors` follow in that order, nothing between them. `label` is for
/// messages. [`Writer`] writes files; this is for bytes that become none.
pub fn header(label: &str, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Vec<u8>, FormatError> {
    Ok(header_of(label, metadata, tensors)?.0)
}

/// Writes a safetensors file tensor by tensor.
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
    /// The format's metadata are strings: other values are written as their text, arrays as JSON.
    pub fn create(path: &Path, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Writer, FormatError> {
        let (bytes, stream_tensors) = header_of(&path.display().to_string(), metadata, tensors)?;
        // The format allows no gaps, hence no padding: an alignment of 1.
        Ok(Writer { stream: Stream::create(path, &bytes, stream_tensors, 1)? })
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

fn header_of(
    file: &str,
    metadata: &Metadata,
    tensors: &[TensorSpec],
) -> Result<(Vec<u8>, Vec<StreamTensor>), FormatError> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA_NAME.to_owned(), Json::Object(texts(file, metadata)?));
    }
    let stream_tensors = put_tensors(file, &mut header, tensors)?;
    let mut json = Json::Object(header).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(HEADER_ALIGNMENT), b' ');
    if json.len() as u64 > MAX_HEADER_BYTES {
        let expected = format!("a header of at most {MAX_HEADER_BYTES} bytes");
        return Err(FormatError::malformed(file, "safetensors header", expected, json.len()));
    }
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + json.len());
    bytes.extend((json.len() as u64).to_le_bytes());
    bytes.extend(json);
    Ok((bytes, stream_tensors))
}

fn put_tensors(
    file: &str,
    header: &mut Map<String, Json>,
    tensors: &[TensorSpec],
) -> Result<Vec<StreamTensor>, FormatError> {
    let mut start = 0u64;
    let mut stream_tensors = Vec::with_capacity(tensors.len());
    for spec in tensors {
        let TensorSpec { name, dtype, shape } = spec;
        let item = || format!("tensor {name:?}");
        if name == METADATA_NAME {
            return Err(FormatError::malformed(file, item(), "another name", "the one of the metadata"));
        }
        let type_name = dtype.safetensors_name().ok_or_else(|| FormatError::UnsupportedType {
            file: file.to_owned(),
            tensor: name.clone(),
            expected: "of safetensors".to_owned(),
            found: dtype.name().to_owned(),
        })?;
        let n_bytes = spec.n_bytes().ok_or_else(|| bad_shape(file, name, *dtype, shape))? as u64;
        let end = start.checked_add(n_bytes).ok_or_else(|| {
            FormatError::malformed(file, item(), "an end below 2^64", format!("shape {shape:?}"))
        })?;
        // A second tensor of the same name replaces the first here and is refused by the stream.
        header
            .insert(name.clone(), json!({"dtype": type_name, "shape": shape, "data_offsets": [start, end]}));
        stream_tensors.push(StreamTensor { name: name.clone(), n_bytes, before: Vec::new() });
        start = end;
    }
    Ok(stream_tensors)
}

/// All values as texts, as [`Writer::create`] says.
pub(crate) fn texts(file: &str, metadata: &Metadata) -> Result<Map<String, Json>, FormatError> {
    metadata
        .iter()
        .map(|(key, value)| match text(value) {
            Some(text) => Ok((key.to_owned(), Json::String(text))),
            None => {
                Err(FormatError::malformed(file, format!("metadata key {key:?}"), "UTF-8", "other bytes"))
            }
        })
        .collect()
}

/// A value as text; `None` where a string in it is not UTF-8.
fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::U8(x) => x.to_string(),
        Value::I8(x) => x.to_string(),
        Value::U16(x) => x.to_string(),
        Value::I16(x) => x.to_string(),
        Value::U32(x) => x.to_string(),
        Value::I32(x) => x.to_string(),
        Value::F32(x) => x.to_string(),
        Value::U64(x) => x.to_string(),
        Value::I64(x) => x.to_string(),
        Value::F64(x) => x.to_string(),
        Value::Bool(x) => x.to_string(),
        Value::String(x) => std::str::from_utf8(x).ok()?.to_owned(),
        Value::Array(x) => json(x)?.to_string(),
    })
}

/// An array as JSON; numbers that are not finite become null.
fn json(array: &Array) -> Option<Json> {
    Some(match array {
        Array::U8(x) => json!(x),
        Array::I8(x) => json!(x),
        Array::U16(x) => json!(x),
        Array::I16(x) => json!(x),
        Array::U32(x) => json!(x),
        Array::I32(x) => json!(x),
        Array::F32(x) => json!(x),
        Array::U64(x) => json!(x),
        Array::I64(x) => json!(x),
        Array::F64(x) => json!(x),
        Array::Bool(x) => json!(x),
        Array::Strings(x) => {
            x.iter().map(|s| std::str::from_utf8(s).ok().map(Json::from)).collect::<Option<Vec<_>>>()?.into()
        }
        Array::Nested(x) => x.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
    })
}
