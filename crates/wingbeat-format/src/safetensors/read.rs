//! Reads a safetensors file's header and checks it against the file.
//!
//! Gives metadata and tensors; that tensor names occur once is checked by the caller, for all formats alike.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_NAME, VERSION};
use crate::bytes::Bytes;
use crate::error::FormatError;
use crate::file::Contents;
use crate::metadata::Metadata;
use crate::quant::DType;
use crate::tensor::{Tensor, bad_shape, n_bytes};

/// Whether the file has a JSON object where the format wants one. That its length is right is checked by
/// [`read`].
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    bytes.get(LENGTH_BYTES) == Some(&b'{')
}

/// The header as it is written, repetitions and all: serde's own maps would drop them.
#[derive(Default)]
struct Header {
    metadata: Vec<TextMap>,
    tensors: Vec<(String, Info)>,
}

/// An object of strings as it is written: folders have such maps too.
#[derive(Default)]
pub(crate) struct TextMap(pub(crate) Vec<(String, String)>);

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// Reads the contents of a file that [`looks_like`] one.
pub(crate) fn read(file: &str, bytes: &Bytes) -> Result<Contents, FormatError> {
    let (json, data_start) = split_header(file, bytes)?;
    let header: Header = serde_json::from_slice(json)
        .map_err(|e| FormatError::malformed(file, "safetensors header", "JSON that describes tensors", e))?;
    let metadata = metadata(file, header.metadata)?;
    let mut ranges = Vec::with_capacity(header.tensors.len());
    for (name, info) in &header.tensors {
        ranges.push(range(file, name, info)?);
    }
    check_ends(file, &header.tensors, data_start, bytes.len())?;
    check_overlaps(file, &header.tensors)?;
    let tensors = header.tensors.into_iter().zip(ranges).map(|((name, info), (dtype, range))| {
        let range = data_start + range.start..data_start + range.end;
        let data = bytes.slice(range).expect("check_ends has seen to it");
        Tensor { name, dtype, shape: info.shape, data }
    });
    Ok(Contents { version: VERSION, metadata, tensors: tensors.collect() })
}

/// The JSON, and where the data begin.
fn split_header<'a>(file: &str, bytes: &'a [u8]) -> Result<(&'a [u8], usize), FormatError> {
    let truncated = |expected| FormatError::Truncated {
        file: file.to_owned(),
        item: "safetensors header".to_owned(),
        expected,
        found: bytes.len() as u64,
    };
    let (length, rest) =
        bytes.split_first_chunk::<LENGTH_BYTES>().ok_or_else(|| truncated(LENGTH_BYTES as u64))?;
    let n_header = u64::from_le_bytes(*length);
    if n_header > MAX_HEADER_BYTES {
        let expected = format!("a header of at most {MAX_HEADER_BYTES} bytes");
        return Err(FormatError::malformed(file, "safetensors header", expected, n_header));
    }
    // Fits: it is at most a hundred million.
    let n_header = n_header as usize;
    let json = rest.get(..n_header).ok_or_else(|| truncated((LENGTH_BYTES + n_header) as u64))?;
    Ok((json, LENGTH_BYTES + n_header))
}

fn metadata(file: &str, maps: Vec<TextMap>) -> Result<Metadata, FormatError> {
    let duplicate = |item| FormatError::Duplicate { file: file.to_owned(), item };
    if maps.len() > 1 {
        return Err(duplicate(format!("header entry {METADATA_NAME:?}")));
    }
    let mut metadata = Metadata::new();
    for (key, text) in maps.into_iter().flat_map(|TextMap(entries)| entries) {
        let item = format!("metadata key {key:?}");
        if metadata.insert(key, text).is_some() {
            return Err(duplicate(item));
        }
    }
    Ok(metadata)
}

/// A tensor's type and the range of its data, which agrees with its shape.
fn range(file: &str, name: &str, info: &Info) -> Result<(DType, Range<usize>), FormatError> {
    let dtype = DType::from_safetensors_name(&info.dtype).ok_or_else(|| {
        let known: Vec<&str> = DType::all().filter_map(DType::safetensors_name).collect();
        FormatError::UnsupportedType {
            file: file.to_owned(),
            tensor: name.to_owned(),
            expected: known.join(", "),
            // Anything may be in there, line ends too.
            found: info.dtype.escape_debug().to_string(),
        }
    })?;
    let n_bytes = n_bytes(dtype, &info.shape).ok_or_else(|| bad_shape(file, name, dtype, &info.shape))?;
    let (start, end) = info.data_offsets;
    if end.checked_sub(start) != Some(n_bytes) {
        let item = format!("tensor {name:?}");
        let expected = format!("{n_bytes} bytes for shape {:?} in {}", info.shape, dtype.name());
        return Err(FormatError::malformed(file, item, expected, format!("data_offsets [{start}, {end}]")));
    }
    Ok((dtype, start..end))
}

/// All data must lie in the file. Where they do not, the tensor that ends last says how much is missing.
fn check_ends(
    file: &str,
    tensors: &[(String, Info)],
    data_start: usize,
    n_file: usize,
) -> Result<(), FormatError> {
    match tensors.iter().max_by_key(|(_, info)| info.data_offsets.1) {
        Some((name, Info { data_offsets: (_, end), .. })) if *end > n_file - data_start => {
            Err(FormatError::Truncated {
                file: file.to_owned(),
                item: format!("tensor {name:?}"),
                expected: (data_start as u64).saturating_add(*end as u64),
                found: n_file as u64,
            })
        }
        _ => Ok(()),
    }
}

/// No two tensors may share bytes. Empty tensors have none.
fn check_overlaps(file: &str, tensors: &[(String, Info)]) -> Result<(), FormatError> {
    let mut in_order: Vec<(usize, usize, &str)> = tensors
        .iter()
        .map(|(name, info)| (info.data_offsets.0, info.data_offsets.1, name.as_str()))
        .filter(|(start, end, _)| start < end)
        .collect();
    in_order.sort_unstable();
    for pair in in_order.windows(2) {
        let ((_, end, first), (start, _, second)) = (pair[0], pair[1]);
        if start < end {
            return Err(FormatError::Overlap {
                file: file.to_owned(),
                first: first.to_owned(),
                second: second.to_owned(),
                expected: end as u64,
                found: start as u64,
            });
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header::default();
                while let Some(name) = map.next_key::<String>()? {
                    // serde names the place in the text, not the entry.
                    let named = |e: A::Error| A::Error::custom(format_args!("{name:?}: {e}"));
                    if name == METADATA_NAME {
                        header.metadata.push(map.next_value().map_err(named)?);
                    } else {
                        let info = map.next_value().map_err(named)?;
                        header.tensors.push((name, info));
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

impl<'de> Deserialize<'de> for TextMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextMap, D::Error> {
        struct TextMapVisitor;

        impl<'de> Visitor<'de> for TextMapVisitor {
            type Value = TextMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextMap, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(TextMap(entries))
            }
        }

        deserializer.deserialize_map(TextMapVisitor)
    }
}
