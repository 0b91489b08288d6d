//! Reads an rwkv.cpp file from its header to its end: there is no table of contents.
//!
//! Gives metadata and tensors; that tensor names occur once is checked by the caller, for all formats alike.

use super::{MAGIC, MAX_DIMS, MAX_NAME_BYTES, TYPES, VERSION, VERSIONS, type_names};
use crate::bytes::Bytes;
use crate::error::FormatError;
use crate::file::Contents;
use crate::metadata::Metadata;
use crate::quant::DType;
use crate::tensor::{Tensor, bad_shape, n_bytes};

/// Whether the file begins as one of rwkv.cpp does: llama.cpp's first files have the same magic and version 1.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    let version = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) != 1;
    bytes.strip_prefix(MAGIC).is_some_and(|rest| rest.first_chunk().is_none_or(version))
}

/// Reads the contents of a file that [`looks_like`] one.
pub(crate) fn read(file: &str, bytes: &Bytes) -> Result<Contents, FormatError> {
    let mut cursor = Cursor { file, bytes, at: MAGIC.len() };
    let version = cursor.u32("header")?;
    if !VERSIONS.contains(&version) {
        return Err(FormatError::UnsupportedVersion {
            file: file.to_owned(),
            format: "rwkv.cpp",
            expected: "version 100 or 101",
            found: format!("version {version}"),
        });
    }
    let mut metadata = Metadata::new();
    for key in ["n_vocab", "n_embed", "n_layer"] {
        metadata.insert(format!("rwkv.cpp.{key}"), cursor.u32("header")?);
    }
    let data_type = cursor.u32("header")?;
    let name = TYPES.get(data_type as usize).map_or("unknown", |(name, _)| *name);
    metadata.insert("rwkv.cpp.data_type", name);
    let mut tensors = Vec::new();
    while cursor.at < bytes.len() {
        tensors.push(tensor(&mut cursor, version)?);
    }
    Ok(Contents { version, metadata, tensors })
}

fn tensor(cursor: &mut Cursor, version: u32) -> Result<Tensor, FormatError> {
    let file = cursor.file;
    let item = format!("tensor at byte {}", cursor.at);
    let malformed =
        |item: &str, expected: String, found: String| FormatError::malformed(file, item, expected, found);
    let n_dims = cursor.u32(&item)?;
    let n_name = cursor.u32(&item)?;
    let type_id = cursor.u32(&item)?;
    if n_dims == 0 || n_dims as usize > MAX_DIMS {
        return Err(malformed(&item, format!("1 to {MAX_DIMS} dimensions"), n_dims.to_string()));
    }
    if n_name == 0 || n_name > MAX_NAME_BYTES {
        return Err(malformed(&item, format!("a name of 1 to {MAX_NAME_BYTES} bytes"), n_name.to_string()));
    }
    let mut shape = Vec::with_capacity(n_dims as usize);
    for _ in 0..n_dims {
        shape.push(cursor.u32(&item)? as usize);
    }
    shape.reverse();
    let name = cursor.take(n_name as usize, &item)?;
    let name =
        std::str::from_utf8(name).map_err(|e| malformed(&item, "a name in UTF-8".into(), e.to_string()))?;
    let item = format!("tensor {name:?}");
    if shape.contains(&0) {
        return Err(malformed(&item, "dimensions above zero".to_owned(), format!("shape {shape:?}")));
    }
    let dtype = dtype(file, name, type_id, version)?;
    let n_bytes = n_bytes(dtype, &shape).ok_or_else(|| bad_shape(file, name, dtype, &shape))?;
    let start = cursor.at;
    cursor.take(n_bytes, &item)?;
    let data = cursor.bytes.slice(start..cursor.at).expect("the cursor is inside the file");
    Ok(Tensor { name: name.to_owned(), dtype, shape, data })
}

/// The type of a number, where its blocks in this version are the ones that are known here.
fn dtype(file: &str, tensor: &str, id: u32, version: u32) -> Result<DType, FormatError> {
    let unsupported = |expected: String, found: String| FormatError::UnsupportedType {
        file: file.to_owned(),
        tensor: tensor.to_owned(),
        expected,
        found,
    };
    match TYPES.get(id as usize) {
        Some((name, Some(dtype))) if dtype.is_quantized() && version != VERSION => Err(unsupported(
            "F32, F16 in a file of version 100, whose blocks ggml has given up".to_owned(),
            (*name).to_owned(),
        )),
        Some((_, Some(dtype))) => Ok(*dtype),
        Some((name, None)) => Err(unsupported(type_names(), format!("{name}, which ggml has given up"))),
        None => Err(unsupported(type_names(), format!("number {id}"))),
    }
}

/// A place in the file from which the next thing is read.
struct Cursor<'a> {
    file: &'a str,
    bytes: &'a Bytes,
    /// Always inside `bytes`.
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n_bytes: usize, item: &str) -> Result<&'a [u8], FormatError> {
        let end = self.at.checked_add(n_bytes);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += n_bytes;
                Ok(taken)
            }
            None => Err(FormatError::Truncated {
                file: self.file.to_owned(),
                item: item.to_owned(),
                expected: (self.at as u64).saturating_add(n_bytes as u64),
                found: self.bytes.len() as u64,
            }),
        }
    }

    fn u32(&mut self, item: &str) -> Result<u32, FormatError> {
        let mut number = [0; 4];
        number.copy_from_slice(self.take(4, item)?);
        Ok(u32::from_le_bytes(number))
    }
}
