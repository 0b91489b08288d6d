//! Reads a GGUF file's header and checks it against the file.
//!
//! Gives metadata and tensors; that tensor names occur once is checked by the caller, for all formats alike.

use super::cursor::{Cursor, Item};
use super::kinds::GgmlType;
use super::{MAX_DIMS, SPLIT_COUNT_KEY, SPLIT_NUMBER_KEY, alignment};
use crate::bytes::Bytes;
use crate::error::FormatError;
use crate::file::Contents;
use crate::metadata::Metadata;
use crate::quant::DType;
use crate::tensor::{Tensor, bad_shape, n_bytes};

/// A tensor as the header describes it.
struct Info {
    name: String,
    dtype: DType,
    /// Outermost first.
    shape: Vec<usize>,
    /// Where its data begin, from the start of the data section.
    offset: u64,
    n_bytes: u64,
}

/// Reads the contents of a file that begins with the magic.
pub(crate) fn read(file: &str, bytes: &Bytes) -> Result<Contents, FormatError> {
    let mut cursor = Cursor::new(file, bytes);
    cursor.take(super::MAGIC.len() as u64, Item::Header)?;
    let version = version(&mut cursor)?;
    let n_tensors = cursor.u64(Item::Header)?;
    let n_keys = cursor.u64(Item::Header)?;
    // Neither count is trusted with an allocation: the lists grow as entries are really found.
    let metadata = metadata(&mut cursor, n_keys)?;
    refuse_parts(file, &metadata)?;
    let alignment = alignment(file, &metadata)?;
    let mut infos = Vec::new();
    for i in 0..n_tensors {
        infos.push(tensor_info(&mut cursor, i, alignment)?);
    }
    let data_start = (cursor.position() as u64).next_multiple_of(alignment);
    check_ends(file, &infos, data_start, bytes.len() as u64)?;
    check_overlaps(file, &infos)?;
    let tensors = infos
        .into_iter()
        .map(|Info { name, dtype, shape, offset, n_bytes }| {
            // In range and in usize: the end was compared with the length of the file.
            let start = (data_start + offset) as usize;
            let data = bytes.slice(start..start + n_bytes as usize).expect("check_ends has seen to it");
            Tensor { name, dtype, shape, data }
        })
        .collect();
    Ok(Contents { version, metadata, tensors })
}

fn version(cursor: &mut Cursor) -> Result<u32, FormatError> {
    let version = cursor.u32(Item::Header)?;
    let found = match version {
        2 | 3 => return Ok(version),
        1 => "version 1, of 2023: convert the model again".to_owned(),
        // The lower half is empty only when a small number has its bytes reversed.
        v if v & 0xffff == 0 && v != 0 => format!("version {} in big-endian byte order", v.swap_bytes()),
        v => format!("version {v}"),
    };
    let expected = "version 2 or 3 in little-endian byte order";
    Err(FormatError::UnsupportedVersion { file: cursor.file.to_owned(), format: "GGUF", expected, found })
}

fn metadata(cursor: &mut Cursor, n_keys: u64) -> Result<Metadata, FormatError> {
    let mut metadata = Metadata::new();
    for i in 0..n_keys {
        let key = cursor.name(Item::Key(i))?;
        let value = cursor.value(Item::Value(key))?;
        if metadata.insert(key, value).is_some() {
            let item = Item::Value(key).to_string();
            return Err(FormatError::Duplicate { file: cursor.file.to_owned(), item });
        }
    }
    Ok(metadata)
}

/// A model that `llama-gguf-split` has cut up: one part has only some of the tensors.
fn refuse_parts(file: &str, metadata: &Metadata) -> Result<(), FormatError> {
    let Some(n_parts) = metadata.u64(SPLIT_COUNT_KEY).filter(|&n| n > 1) else {
        return Ok(());
    };
    // Parts count from 0; file names count from 1.
    let part =
        metadata.u64(SPLIT_NUMBER_KEY).map_or_else(|| "?".to_owned(), |no| no.saturating_add(1).to_string());
    Err(FormatError::UnsupportedVersion {
        file: file.to_owned(),
        format: "GGUF",
        expected: "a model in one file",
        found: format!("part {part} of {n_parts}: join them with `llama-gguf-split --merge`"),
    })
}

fn tensor_info(cursor: &mut Cursor, i: u64, alignment: u64) -> Result<Info, FormatError> {
    let file = cursor.file;
    let name = cursor.name(Item::TensorName(i))?;
    let item = Item::Tensor(name);
    let malformed =
        |expected: String, found: String| FormatError::malformed(file, item.to_string(), expected, found);

    let n_dims = cursor.u32(item)?;
    if n_dims as usize > MAX_DIMS {
        return Err(malformed(format!("at most {MAX_DIMS} dimensions"), n_dims.to_string()));
    }
    let mut shape = Vec::with_capacity(n_dims as usize);
    for _ in 0..n_dims {
        let dim = cursor.u64(item)?;
        match usize::try_from(dim) {
            Ok(dim) if dim > 0 => shape.push(dim),
            Ok(_) => {
                return Err(malformed("dimensions above zero".to_owned(), "a dimension of 0".to_owned()));
            }
            Err(_) => {
                return Err(malformed(
                    "a size that fits the address space".to_owned(),
                    format!("a dimension of {dim}"),
                ));
            }
        }
    }
    shape.reverse();

    let type_id = cursor.u32(item)?;
    let dtype = DType::from_ggml_id(type_id).ok_or_else(|| unsupported(file, name, type_id))?;
    let n_bytes = n_bytes(dtype, &shape).ok_or_else(|| bad_shape(file, name, dtype, &shape))?;
    let offset = cursor.u64(item)?;
    if !offset.is_multiple_of(alignment) {
        return Err(malformed(
            format!("a data offset that is a multiple of {alignment}"),
            offset.to_string(),
        ));
    }
    Ok(Info { name: name.to_owned(), dtype, shape, offset, n_bytes: n_bytes as u64 })
}

fn unsupported(file: &str, name: &str, type_id: u32) -> FormatError {
    let known: Vec<&str> = DType::all().filter(|t| t.ggml_id().is_some()).map(DType::name).collect();
    FormatError::UnsupportedType {
        file: file.to_owned(),
        tensor: name.to_owned(),
        expected: known.join(", "),
        found: GgmlType(type_id).to_string(),
    }
}

/// All data must lie in the file. Where they do not, the tensor that ends last says how much is missing.
fn check_ends(file: &str, infos: &[Info], data_start: u64, n_file: u64) -> Result<(), FormatError> {
    let mut last: Option<(u64, &Info)> = None;
    for info in infos {
        let end = data_start.checked_add(info.offset).and_then(|start| start.checked_add(info.n_bytes));
        let end = end.ok_or_else(|| {
            let found = format!("a data offset of {}", info.offset);
            FormatError::malformed(file, Item::Tensor(&info.name).to_string(), "data inside the file", found)
        })?;
        if last.is_none_or(|(latest, _)| end > latest) {
            last = Some((end, info));
        }
    }
    match last {
        Some((end, info)) if end > n_file => Err(FormatError::Truncated {
            file: file.to_owned(),
            item: Item::Tensor(&info.name).to_string(),
            expected: end,
            found: n_file,
        }),
        _ => Ok(()),
    }
}

/// No two tensors may share bytes; the ends have been checked for overflow.
fn check_overlaps(file: &str, infos: &[Info]) -> Result<(), FormatError> {
    let mut in_order: Vec<&Info> = infos.iter().collect();
    in_order.sort_unstable_by_key(|info| info.offset);
    for pair in in_order.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        let end = first.offset + first.n_bytes;
        if second.offset < end {
            return Err(FormatError::Overlap {
                file: file.to_owned(),
                first: first.name.clone(),
                second: second.name.clone(),
                expected: end,
                found: second.offset,
            });
        }
    }
    Ok(())
}
