//! Walks a GGUF header: numbers, strings and metadata values, each checked against the bytes that remain.
//!
//! What is read in which order is the reader's business.

use std::fmt;

use super::MAX_ARRAY_DEPTH;
use super::kinds::Kind;
use crate::bytes::Bytes;
use crate::error::FormatError;
use crate::metadata::{Array, StringArray, Value};

/// What is being read, for messages.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    Header,
    /// The name of the key that comes after so many others.
    Key(u64),
    Value(&'a str),
    /// The name of the tensor that comes after so many others.
    TensorName(u64),
    Tensor(&'a str),
}

impl fmt::Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Header => write!(f, "GGUF header"),
            Item::Key(i) => write!(f, "name of metadata key {i}"),
            Item::Value(key) => write!(f, "metadata key {key:?}"),
            Item::TensorName(i) => write!(f, "name of tensor {i}"),
            Item::Tensor(name) => write!(f, "tensor {name:?}"),
        }
    }
}

/// A place in the file from which the next thing is read.
pub(super) struct Cursor<'a> {
    pub(super) file: &'a str,
    bytes: &'a Bytes,
    /// Always inside `bytes`.
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a str, bytes: &'a Bytes) -> Cursor<'a> {
        Cursor { file, bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, n_bytes: u64, item: Item) -> Result<&'a [u8], FormatError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(n_bytes).ok().and_then(|n| rest.get(..n)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.truncated(n_bytes, item)),
        }
    }

    /// The error that `n_bytes` more from here are not there.
    fn truncated(&self, n_bytes: u64, item: Item) -> FormatError {
        FormatError::Truncated {
            file: self.file.to_owned(),
            item: item.to_string(),
            expected: (self.at as u64).saturating_add(n_bytes),
            found: self.bytes.len() as u64,
        }
    }

    fn take_array<const N: usize>(&mut self, item: Item) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, item)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, item: Item) -> Result<u32, FormatError> {
        self.take_array(item).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, item: Item) -> Result<u64, FormatError> {
        self.take_array(item).map(u64::from_le_bytes)
    }

    /// A length and that many bytes.
    pub(super) fn string(&mut self, item: Item) -> Result<&'a [u8], FormatError> {
        let n_bytes = self.u64(item)?;
        self.take(n_bytes, item)
    }

    /// A string that must be UTF-8: a key or a tensor's name.
    pub(super) fn name(&mut self, item: Item) -> Result<&'a str, FormatError> {
        let bytes = self.string(item)?;
        std::str::from_utf8(bytes)
            .map_err(|e| FormatError::malformed(self.file, item.to_string(), "UTF-8", format!("{e}")))
    }

    fn kind(&mut self, item: Item) -> Result<Kind, FormatError> {
        let id = self.u32(item)?;
        Kind::from_id(id).ok_or_else(|| {
            FormatError::malformed(self.file, item.to_string(), "a value type from 0 to 12", id)
        })
    }

    /// The type and value of a metadata key.
    pub(super) fn value(&mut self, item: Item) -> Result<Value, FormatError> {
        Ok(match self.kind(item)? {
            Kind::U8 => Value::U8(u8::from_le_bytes(self.take_array(item)?)),
            Kind::I8 => Value::I8(i8::from_le_bytes(self.take_array(item)?)),
            Kind::U16 => Value::U16(u16::from_le_bytes(self.take_array(item)?)),
            Kind::I16 => Value::I16(i16::from_le_bytes(self.take_array(item)?)),
            Kind::U32 => Value::U32(u32::from_le_bytes(self.take_array(item)?)),
            Kind::I32 => Value::I32(i32::from_le_bytes(self.take_array(item)?)),
            Kind::F32 => Value::F32(f32::from_le_bytes(self.take_array(item)?)),
            Kind::U64 => Value::U64(u64::from_le_bytes(self.take_array(item)?)),
            Kind::I64 => Value::I64(i64::from_le_bytes(self.take_array(item)?)),
            Kind::F64 => Value::F64(f64::from_le_bytes(self.take_array(item)?)),
            Kind::Bool => {
                let [byte] = self.take_array(item)?;
                Value::Bool(self.bool(byte, item)?)
            }
            Kind::String => Value::String(self.string(item)?.to_vec()),
            Kind::Array => Value::Array(self.array(item, 1)?),
        })
    }

    fn bool(&self, byte: u8, item: Item) -> Result<bool, FormatError> {
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FormatError::malformed(self.file, item.to_string(), "a truth value of 0 or 1", byte)),
        }
    }

    fn array(&mut self, item: Item, depth: usize) -> Result<Array, FormatError> {
        if depth > MAX_ARRAY_DEPTH {
            let expected = format!("arrays nested at most {MAX_ARRAY_DEPTH} deep");
            return Err(FormatError::malformed(self.file, item.to_string(), expected, "deeper ones"));
        }
        let kind = self.kind(item)?;
        let n = self.u64(item)?;
        Ok(match kind {
            Kind::U8 => Array::U8(self.take(n, item)?.to_vec()),
            Kind::I8 => Array::I8(self.numbers(n, item, i8::from_le_bytes)?),
            Kind::U16 => Array::U16(self.numbers(n, item, u16::from_le_bytes)?),
            Kind::I16 => Array::I16(self.numbers(n, item, i16::from_le_bytes)?),
            Kind::U32 => Array::U32(self.numbers(n, item, u32::from_le_bytes)?),
            Kind::I32 => Array::I32(self.numbers(n, item, i32::from_le_bytes)?),
            Kind::F32 => Array::F32(self.numbers(n, item, f32::from_le_bytes)?),
            Kind::U64 => Array::U64(self.numbers(n, item, u64::from_le_bytes)?),
            Kind::I64 => Array::I64(self.numbers(n, item, i64::from_le_bytes)?),
            Kind::F64 => Array::F64(self.numbers(n, item, f64::from_le_bytes)?),
            Kind::Bool => {
                let bytes = self.take(n, item)?;
                Array::Bool(bytes.iter().map(|&byte| self.bool(byte, item)).collect::<Result<_, _>>()?)
            }
            Kind::String => Array::Strings(self.strings(n, item)?),
            Kind::Array => {
                // Grows as elements are really found: the count alone is not to be trusted.
                let mut arrays = Vec::new();
                for _ in 0..n {
                    arrays.push(self.array(item, depth + 1)?);
                }
                Array::Nested(arrays)
            }
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        n: u64,
        item: Item,
        parse: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, FormatError> {
        // Where the count overflows, no file is long enough.
        let bytes = self.take(n.saturating_mul(N as u64), item)?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|&bytes| parse(bytes)).collect())
    }

    fn strings(&mut self, n: u64, item: Item) -> Result<StringArray, FormatError> {
        let rest = self.bytes.slice(self.at..self.bytes.len()).expect("the cursor is inside the bytes");
        let strings = usize::try_from(n).ok().and_then(|n| StringArray::parse(&rest, n));
        match strings {
            Some(strings) => {
                self.at += strings.encoded().len();
                Ok(strings)
            }
            None => {
                let expected = format!("{n} strings");
                let found = format!("{} bytes to the end of the file, too few for them", rest.len());
                Err(FormatError::malformed(self.file, item.to_string(), expected, found))
            }
        }
    }
}
