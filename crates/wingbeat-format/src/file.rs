//! An opened model file of any format: found by its contents, checked, ready to hand out tensors.
//!
//! Maps the file, asks the format's module for its contents, and adds what all formats need: names that
//! occur once, found quickly. A model in several files is put together by `folder.rs`. Tensor data are not touched.

use std::fmt;
use std::path::Path;

use crate::bytes::Bytes;
use crate::error::FormatError;
use crate::map::map_file;
use crate::metadata::Metadata;
use crate::tensor::Tensor;
use crate::{folder, gguf, pth, rwkv_cpp, safetensors};

#[cfg(test)]
mod tests;

/// The formats that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileFormat {
    /// llama.cpp's format.
    Gguf,
    /// Hugging Face's format.
    Safetensors,
    /// PyTorch's checkpoints, which the official RWKV models are.
    Pth,
    /// rwkv.cpp's format.
    RwkvCpp,
}

impl FileFormat {
    /// The name people know it by.
    pub fn name(self) -> &'static str {
        match self {
            FileFormat::Gguf => "GGUF",
            FileFormat::Safetensors => "safetensors",
            FileFormat::Pth => "PyTorch checkpoint",
            FileFormat::RwkvCpp => "rwkv.cpp",
        }
    }
}

/// What a format's reader finds in a file. Names may still occur twice.
pub(crate) struct Contents {
    pub(crate) version: u32,
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<Tensor>,
}

/// A model file: metadata and tensors, the latter's data still where they lie.
pub struct ModelFile {
    label: String,
    format: FileFormat,
    version: u32,
    metadata: Metadata,
    tensors: Vec<Tensor>,
    /// Places in `tensors`, sorted by name.
    by_name: Vec<usize>,
    /// One, or the shards of a folder in order; never none.
    parts: Vec<Part>,
}

/// One of the files that a model lies in.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its path as text, or what was given instead of one.
    pub label: String,
    /// All of it.
    pub bytes: Bytes,
}

impl ModelFile {
    /// Maps and checks the file at `path`; its format is found by its contents, not by its name.
    ///
    /// A folder is opened as the model in it: `model.safetensors`, the shards of an index, or the only model file that
    /// is there; so is one of its shards, its index or its `config.json`. What lies beside a model in Hugging Face's
    /// layout (`config.json`, vocabulary, chat template) becomes metadata.
    ///
    /// The map lasts as long as any tensor of it. Replacing the file by renaming, as the writers here do, is
    /// harmless meanwhile. Where it is shortened in place, the parts that are gone read as zeros on Unix, and
    /// [`check_intact`](ModelFile::check_intact) says so; where it is rewritten in place, the new contents are
    /// read.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFile, FormatError> {
        let path = path.as_ref();
        if let Some(folder) = folder::of(path) {
            return folder::open(&folder);
        }
        let label = path.display().to_string();
        let map = map_file(path, &label)?;
        let file = ModelFile::from_bytes(&label, Bytes::from_map(map))?;
        folder::complete(file, path)
    }

    /// Checks the files of a folder that have been read into memory, each under its name; `label` stands for the
    /// folder's path in messages.
    pub fn from_files(label: &str, files: Vec<(String, Bytes)>) -> Result<ModelFile, FormatError> {
        folder::from_memory(label, files)
    }

    /// Checks a file that is part of the program; `label` stands for its path in messages.
    pub fn from_static(label: &str, bytes: &'static [u8]) -> Result<ModelFile, FormatError> {
        ModelFile::from_bytes(label, Bytes::from_static(bytes))
    }

    /// Checks a file that has been read into memory; `label` stands for its path in messages.
    pub fn from_vec(label: &str, bytes: Vec<u8>) -> Result<ModelFile, FormatError> {
        ModelFile::from_bytes(label, Bytes::from_vec(bytes))
    }

    /// Checks a file that lies in `bytes`; `label` stands for its path in messages.
    pub fn from_bytes(label: &str, bytes: Bytes) -> Result<ModelFile, FormatError> {
        let (format, contents) = read(label, &bytes)?;
        ModelFile::from_parts(label, format, contents, vec![Part { label: label.to_owned(), bytes }])
    }

    /// Puts together what was found in `parts`, which are not none.
    pub(crate) fn from_parts(
        label: &str,
        format: FileFormat,
        Contents { version, metadata, tensors }: Contents,
        parts: Vec<Part>,
    ) -> Result<ModelFile, FormatError> {
        let by_name = sort_by_name(label, &tensors)?;
        Ok(ModelFile { label: label.to_owned(), format, version, metadata, tensors, by_name, parts })
    }

    /// Adds what lies beside the file; what it says itself counts more.
    pub(crate) fn add_metadata(&mut self, metadata: Metadata) {
        folder::merge(&mut self.metadata, metadata);
    }

    /// The path as text, or what was given instead of one: for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Which format the file has.
    pub fn format(&self) -> FileFormat {
        self.format
    }

    /// The version of the format: 2 or 3 for GGUF, what the archive says for `.pth` (3 until now). Safetensors has
    /// no versions: 1.
    pub fn format_version(&self) -> u32 {
        self.version
    }

    /// What the file says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the file's header.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        let found = self.by_name.binary_search_by(|&i| self.tensors[i].name.as_str().cmp(name)).ok()?;
        self.tensors.get(self.by_name[found])
    }

    /// Length of the whole file in bytes, of all its parts if it has several.
    pub fn len_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes.len() as u64).sum()
    }

    /// Whether the file still had all that was read of it.
    ///
    /// # Errors
    /// It was shortened while it was mapped, and what was computed from it since is worthless.
    pub fn check_intact(&self) -> Result<(), FormatError> {
        match self.parts.iter().find(|part| part.bytes.is_damaged()) {
            Some(Part { label, bytes }) => {
                Err(FormatError::Shortened { file: label.clone(), mapped: bytes.len() as u64 })
            }
            None => Ok(()),
        }
    }

    /// The whole file; of a model in several, the first.
    pub fn bytes(&self) -> &Bytes {
        &self.parts[0].bytes
    }

    /// The files that the model lies in: one, or the shards of a folder in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl fmt::Debug for ModelFile {
    /// One line: metadata and tensor tables are long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelFile { label, format, version, metadata, tensors, .. } = self;
        let (n_keys, n_tensors, n_bytes) = (metadata.len(), tensors.len(), self.len_bytes());
        write!(
            f,
            "{label}: {} v{version}, {n_tensors} tensors, {n_keys} keys, {n_bytes} bytes",
            format.name()
        )
    }
}

/// Places in `tensors`, sorted by name, each of which may occur once.
fn sort_by_name(label: &str, tensors: &[Tensor]) -> Result<Vec<usize>, FormatError> {
    let mut by_name: Vec<usize> = (0..tensors.len()).collect();
    by_name.sort_unstable_by(|&a, &b| tensors[a].name.cmp(&tensors[b].name));
    match by_name.windows(2).find(|pair| tensors[pair[0]].name == tensors[pair[1]].name) {
        Some(pair) => Err(FormatError::Duplicate {
            file: label.to_owned(),
            item: format!("tensor {:?}", tensors[pair[0]].name),
        }),
        None => Ok(by_name),
    }
}

/// First bytes of files that people take for models, and what to tell them.
const HINTS: [(&[u8], &str); 8] = [
    (
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        ": it is a PyTorch checkpoint from before 1.6: load it with a newer PyTorch and save it again",
    ),
    (b"\x80", ": it looks like a pickle, which no model is alone"),
    (b"FUGG", ": it looks like a big-endian GGUF file"),
    (b"lmgg", ": it looks like a GGML file from before GGUF, which this version does not read"),
    (b"fmgg", ": it looks like a GGML file from before GGUF, which this version does not read"),
    (b"tjgg", ": it looks like a GGML file from before GGUF, which this version does not read"),
    (b"version https://git-lfs", ": it is a Git LFS pointer, the real file has not been fetched"),
    (b"<", ": it looks like a web page saved in place of a model"),
];

/// Finds the format of a file and reads its contents.
pub(crate) fn read(label: &str, bytes: &Bytes) -> Result<(FileFormat, Contents), FormatError> {
    let format = detect(label, bytes)?;
    let contents = match format {
        FileFormat::Gguf => gguf::read(label, bytes)?,
        FileFormat::Safetensors => safetensors::read(label, bytes)?,
        FileFormat::Pth => pth::read(label, bytes)?,
        FileFormat::RwkvCpp => rwkv_cpp::read(label, bytes)?,
    };
    Ok((format, contents))
}

fn detect(label: &str, bytes: &[u8]) -> Result<FileFormat, FormatError> {
    if bytes.is_empty() {
        return Err(FormatError::Empty { file: label.to_owned() });
    }
    if bytes.starts_with(gguf::MAGIC) {
        return Ok(FileFormat::Gguf);
    }
    if safetensors::looks_like(bytes) {
        return Ok(FileFormat::Safetensors);
    }
    if pth::looks_like(bytes) {
        return Ok(FileFormat::Pth);
    }
    if rwkv_cpp::looks_like(bytes) {
        return Ok(FileFormat::RwkvCpp);
    }
    let first = &bytes[..bytes.len().min(8)];
    let hint = HINTS.iter().find(|(magic, _)| bytes.starts_with(magic)).map_or("", |(_, hint)| hint);
    let first_bytes = first.iter().map(|b| format!("{b:02x} ")).collect::<String>()
        + &format!("\"{}\"", first.escape_ascii());
    Err(FormatError::UnknownFormat { file: label.to_owned(), first_bytes, hint })
}
