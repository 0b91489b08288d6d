//! Writes checkpoints that `torch.load` reads: the pickle at once, then the tensors' bytes as they come.
//!
//! The archive's layout is `archive.rs`'s business, everything about the file on disk (temporary name, counting,
//! renaming) the stream's.

use std::path::Path;

use super::METADATA_ENTRY;
use super::archive::Archive;
use super::crc::Crc;
use super::pickle;
use super::values::Element;
use crate::error::FormatError;
use crate::metadata::Metadata;
use crate::safetensors;
use crate::stream::{Stream, StreamTensor};
use crate::tensor::{TensorSpec, bad_shape};

/// The folder that all entries lie in, as torch names it.
const FOLDER: &str = "archive";
/// The archive format's version that torch writes today.
const VERSION: &[u8] = b"3\n";

/// Writes a checkpoint tensor by tensor.
///
/// Nothing is seen at the path until [`finish`](Writer::finish); a writer that is dropped before leaves
/// nothing behind.
#[derive(Debug)]
pub struct Writer {
    stream: Stream,
    archive: Archive,
    /// The entries of the tensors that have bytes, by their places in the archive, and how many.
    tensors: Vec<(usize, u64)>,
    /// The tensor whose bytes come next.
    current: usize,
    written: u64,
    crc: Crc,
}

impl Writer {
    /// Begins a file at `path` with a dict of `tensors`, whose bytes must follow in that order.
    ///
    /// Metadata lie beside the dict, where torch passes over them; their values become texts, as in safetensors.
    ///
    /// # Errors
    /// A type that torch does not have, a shape that cannot be, or the system's refusal.
    pub fn create(path: &Path, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Writer, FormatError> {
        let file = path.display().to_string();
        let mut typed = Vec::with_capacity(tensors.len());
        for spec in tensors {
            let element = Element::of(spec.dtype).ok_or_else(|| FormatError::UnsupportedType {
                file: file.clone(),
                tensor: spec.name.clone(),
                expected: "of PyTorch".to_owned(),
                found: spec.dtype.name().to_owned(),
            })?;
            typed.push((spec, element));
        }
        let mut archive = Archive::default();
        let mut header = Vec::new();
        let mut whole = |archive: &mut Archive, name: &str, data: &[u8]| {
            let name = format!("{FOLDER}/{name}");
            header.extend(archive.add(&file, name, data.len() as u64, Crc::of(data))?);
            header.extend(data);
            Ok::<(), FormatError>(())
        };
        whole(&mut archive, "data.pkl", &pickle::of_tensors(&typed))?;
        whole(&mut archive, "byteorder", b"little")?;
        whole(&mut archive, "version", VERSION)?;
        if !metadata.is_empty() {
            let texts = serde_json::Value::Object(safetensors::texts(&file, metadata)?);
            whole(&mut archive, METADATA_ENTRY, texts.to_string().as_bytes())?;
        }
        let mut stream_tensors = Vec::with_capacity(tensors.len());
        let mut with_bytes = Vec::new();
        for (key, spec) in tensors.iter().enumerate() {
            let TensorSpec { name, dtype, shape } = spec;
            let n_bytes = spec.n_bytes().ok_or_else(|| bad_shape(&file, name, *dtype, shape))? as u64;
            if n_bytes > 0 {
                with_bytes.push((archive.entries.len(), n_bytes));
            }
            let before = archive.add(&file, format!("{FOLDER}/data/{key}"), n_bytes, 0)?;
            stream_tensors.push(StreamTensor { name: name.clone(), n_bytes, before });
        }
        let stream = Stream::create(path, &header, stream_tensors, 1)?;
        Ok(Writer { stream, archive, tensors: with_bytes, current: 0, written: 0, crc: Crc::new() })
    }

    /// Writes the next bytes of the current tensor: all of it or a part. The next call goes on where this one
    /// ended.
    ///
    /// # Errors
    /// More bytes than were announced, or the system's refusal.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.stream.write(bytes)?;
        self.crc.add(bytes);
        self.written += bytes.len() as u64;
        if let Some(&(entry, n_bytes)) = self.tensors.get(self.current)
            && self.written == n_bytes
            && let Some(entry) = self.archive.entries.get_mut(entry)
        {
            entry.sum = self.crc.sum();
            self.stream.patch(entry.sum_at(), &entry.sum.to_le_bytes())?;
            self.current += 1;
            (self.written, self.crc) = (0, Crc::new());
        }
        Ok(())
    }

    /// Puts the complete file in its place, over one that may be there.
    ///
    /// # Errors
    /// Bytes are missing, or the system refuses.
    pub fn finish(self) -> Result<(), FormatError> {
        self.stream.finish_with(&self.archive.end())
    }
}
