//! Everything that can go wrong with a model file, as one enum.
//!
//! Every message is one line that names the file, the item in it, what was expected and what was found. What
//! to do about it (try another file, give up) is the caller's business.

use std::io;

use crate::quant::DType;

/// Why a file could not be read or written, or a row not encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The system refused: missing file, no permission, disk full.
    #[error("{file}: cannot {action}: {source}")]
    Io {
        /// Path or label of the file.
        file: String,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The path names something that is not a regular file, or cannot become one.
    #[error("{file}: expected {expected}, found {found}")]
    NotAFile {
        /// Path of the thing.
        file: String,
        /// What the path should have named.
        expected: &'static str,
        /// What it names.
        found: &'static str,
    },
    /// A file of no bytes at all.
    #[error("{file}: expected a GGUF, safetensors, .pth or rwkv.cpp file, found an empty file (0 bytes)")]
    Empty {
        /// Path or label of the file.
        file: String,
    },
    /// None of the formats that are read.
    #[error("{file}: not a GGUF, safetensors, .pth or rwkv.cpp file (first bytes {first_bytes}){hint}")]
    UnknownFormat {
        /// Path or label of the file.
        file: String,
        /// The first bytes, as hexadecimal and text.
        first_bytes: String,
        /// What the file seems to be instead, starting with ": ", or empty.
        hint: &'static str,
    },
    /// The right format in a version, byte order, size or part that is not read here.
    #[error("{file}: {format}: expected {expected}, found {found}")]
    UnsupportedVersion {
        /// Path or label of the file.
        file: String,
        /// The format's name.
        format: &'static str,
        /// The versions that are read.
        expected: &'static str,
        /// The version found.
        found: String,
    },
    /// The file was shortened while it was in use.
    #[error(
        "{file}: was shortened while it was in use: of its {mapped} bytes some are gone, and what was computed from it is worthless"
    )]
    Shortened {
        /// Path of the file.
        file: String,
        /// Its length in bytes when it was opened.
        mapped: u64,
    },
    /// The file ends before what it announces does.
    #[error(
        "{file}: truncated in {item}: expected {expected} bytes, found {found}: {} bytes are missing",
        .expected.saturating_sub(*.found)
    )]
    Truncated {
        /// Path or label of the file.
        file: String,
        /// What was being read.
        item: String,
        /// File length in bytes that the item needs.
        expected: u64,
        /// File length in bytes.
        found: u64,
    },
    /// A value in the file that cannot be right.
    #[error("{file}: {item}: expected {expected}, found {found}")]
    Malformed {
        /// Path or label of the file.
        file: String,
        /// Tensor, metadata key or header field.
        item: String,
        /// What the format demands.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A name that occurs twice.
    #[error("{file}: {item}: expected one entry of this name, found a second")]
    Duplicate {
        /// Path or label of the file.
        file: String,
        /// The tensor or metadata key.
        item: String,
    },
    /// A pickle that wants something else than tensors built. Nothing of it has been run.
    #[error("{file}: {item}: refuses to run `{name}`: expected nothing but tensors in dicts")]
    Refused {
        /// Path or label of the file.
        file: String,
        /// The entry that is the pickle.
        item: String,
        /// The function or class, with its module.
        name: String,
    },
    /// A tensor in a storage type that is not known here, or not in this format.
    #[error("{file}: tensor {tensor:?}: expected one of the types {expected}, found {found}")]
    UnsupportedType {
        /// Path or label of the file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The types that would do.
        expected: String,
        /// The type's name or number.
        found: String,
    },
    /// Two tensors that claim the same bytes.
    #[error(
        "{file}: tensor {second:?}: expected to start at data byte {expected} or later, where tensor \
         {first:?} ends, found {found}"
    )]
    Overlap {
        /// Path or label of the file.
        file: String,
        /// The tensor that comes first in the file.
        first: String,
        /// The tensor that begins inside it.
        second: String,
        /// Where the first one ends.
        expected: u64,
        /// Where the second one begins.
        found: u64,
    },
    /// A writer was given too many or too few bytes.
    #[error("{file}: {item}: expected {expected} bytes, found {found}")]
    WrongLength {
        /// Path of the file being written.
        file: String,
        /// The tensor.
        item: String,
        /// Bytes that the tensor has.
        expected: u64,
        /// Bytes that were written.
        found: u64,
    },
    /// The type can be read but not written from f32.
    #[error("{}: expected a type with an encoder, found one that can only be read", .dtype.name())]
    NoEncoder {
        /// The type.
        dtype: DType,
    },
    /// A row that does not consist of whole blocks.
    #[error("{}: expected rows of a multiple of {} values, found {found}", .dtype.name(), .dtype.block_len())]
    RowLength {
        /// The type.
        dtype: DType,
        /// Values in the row.
        found: usize,
    },
    /// A value that the type cannot hold.
    #[error(
        "{}: value {index} of the row: expected a finite number the type can scale, found {found}",
        .dtype.name()
    )]
    NotRepresentable {
        /// The type.
        dtype: DType,
        /// Where in the row.
        index: usize,
        /// The value.
        found: f32,
    },
}

impl FormatError {
    /// [`FormatError::Malformed`], from anything that can be displayed.
    pub(crate) fn malformed(
        file: &str,
        item: impl Into<String>,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> FormatError {
        FormatError::Malformed {
            file: file.to_owned(),
            item: item.into(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    /// [`FormatError::Io`] for a path or label.
    pub(crate) fn io(file: &str, action: &'static str, source: io::Error) -> FormatError {
        FormatError::Io { file: file.to_owned(), action, source }
    }
}
