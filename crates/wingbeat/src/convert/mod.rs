//! Conversion between file formats and storage types.
//!
//! A weight is read through the model's catalog, whatever the file's layout, and written in the target's layout:
//! GGUF as llama.cpp's converter lays it out, safetensors with the official names. Where type and orientation agree
//! the bytes are copied, so nothing is lost that the target type can hold. Weights are streamed, some megabytes at a time.

mod gguf;
mod safetensors;

use crate::{Error, model::vocabulary_of};
use std::path::Path;
use wingbeat_backend::Orientation;
use wingbeat_format::{DType, FileFormat, ModelFile, TensorSpec};
use wingbeat_model::{Catalog, Version, Weight};
use wingbeat_tokenizer::Vocabulary;

/// What to convert to.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// Type of the weight matrices; none keeps each one's.
    pub dtype: Option<DType>,
    /// A vocabulary to put into the file, instead of the source's own.
    pub vocabulary: Option<Vocabulary>,
    /// The model's name in the metadata, instead of the source's own.
    pub name: Option<String>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Format of the file.
    pub format: FileFormat,
    /// Tensors in it.
    pub n_tensors: usize,
    /// Whether it carries a vocabulary.
    pub has_vocabulary: bool,
}

/// Converts a model to the format that `target`'s ending names: `.gguf`, `.safetensors` or `.st`.
///
/// The file is written under a temporary name and renamed when complete. `progress(done, total)` counts tensors and
/// stops the conversion by returning false.
///
/// # Errors
/// The source is no model that can be read, the target's format cannot hold the type, the file cannot be written, or
/// `progress` stopped it.
pub fn convert(
    source: &ModelFile,
    target: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Converted, Error> {
    let refuse = |why: String| Error::Convert { target: target.display().to_string(), why };
    if let Some(dtype) = options.dtype.filter(|dtype| !dtype.has_encoder()) {
        return Err(refuse(format!(
            "cannot encode to {}; types to convert to are F32, F16, BF16, Q8_0",
            dtype.name()
        )));
    }
    let format = match target.extension().and_then(|e| e.to_str()) {
        Some("gguf") => FileFormat::Gguf,
        Some("safetensors" | "st") => FileFormat::Safetensors,
        _ => return Err(refuse("the ending should be .gguf, .safetensors or .st".to_owned())),
    };
    let mut config = Version::detect(source)?.config(source)?;
    if let Some(name) = &options.name {
        config.name.clone_from(name);
    }
    let catalog = Catalog::new(source, &config)?;
    let vocabulary = match &options.vocabulary {
        Some(vocabulary) => Some(vocabulary.clone()),
        None => vocabulary_of(source)?,
    };
    if let Some(vocabulary) = vocabulary.as_ref().filter(|v| v.len() > config.n_vocab) {
        return Err(Error::VocabularyMismatch {
            vocabulary: "the vocabulary".to_owned(),
            highest: vocabulary.len() - 1,
            model: source.label().to_owned(),
            vocab: config.n_vocab,
        });
    }
    let job = Job {
        source,
        target,
        config: &config,
        catalog: &catalog,
        vocabulary,
        replaces_vocabulary: options.vocabulary.is_some(),
        dtype: options.dtype,
    };
    match format {
        FileFormat::Gguf => gguf::write(&job, progress),
        _ => safetensors::write(&job, progress),
    }
}

/// A conversion under way.
struct Job<'a> {
    source: &'a ModelFile,
    target: &'a Path,
    config: &'a wingbeat_model::Config,
    catalog: &'a Catalog,
    vocabulary: Option<Vocabulary>,
    /// Whether the vocabulary takes the place of the source's own.
    replaces_vocabulary: bool,
    dtype: Option<DType>,
}

/// A tensor to be written: parts of the source that follow each other.
struct Item<'a> {
    spec: TensorSpec,
    parts: Vec<Part<'a>>,
}

/// One weight, and how it is to lie.
struct Part<'a> {
    weight: &'a Weight,
    orientation: Orientation,
}

impl Job<'_> {
    /// The type of a matrix in the target: the one asked for, or its own; where its rows are no whole blocks of a
    /// quantized type, F16.
    fn matrix_type(&self, weight: &Weight) -> DType {
        let dtype = self.dtype.unwrap_or(weight.dtype);
        let cols = weight.shape.get(1).copied().unwrap_or(1);
        if dtype.row_bytes(cols).is_some() { dtype } else { DType::F16 }
    }

    /// The type of a low-rank matrix: never quantized (they are small and sensitive).
    fn low_rank_type(&self, weight: &Weight) -> DType {
        match self.dtype {
            Some(dtype) if !dtype.is_quantized() => dtype,
            Some(_) if weight.dtype == DType::F32 => DType::F16,
            _ => weight.dtype,
        }
    }

    fn stopped(&self, done: usize, total: usize) -> Error {
        Error::Convert {
            target: self.target.display().to_string(),
            why: format!("stopped after {done} of {total} tensors"),
        }
    }
}

/// Bytes handed on at a time.
const BLOCK_BYTES: usize = 4 << 20;

type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

impl Part<'_> {
    /// Hands the part's bytes in type `dtype` to `sink`: the file's own where nothing changes.
    fn encode(&self, dtype: DType, sink: Sink<'_>) -> Result<(), Error> {
        let weight = self.weight;
        if weight.dtype == dtype && weight.orientation == self.orientation {
            return sink(&weight.data);
        }
        let (rows, cols) = match *weight.shape {
            [rows, cols] => (rows, cols),
            _ => (1, weight.shape.iter().product()),
        };
        let (stored_rows, stored_cols) = match weight.orientation {
            Orientation::RowMajor => (rows, cols),
            Orientation::Transposed => (cols, rows),
        };
        let mut rows = Rows { dtype, bytes: Vec::new(), sink };
        let mut row = vec![0.0; stored_cols];
        let stored = weight.data.chunks_exact((weight.data.len() / stored_rows.max(1)).max(1));
        if weight.orientation == self.orientation {
            for bytes in stored {
                weight.dtype.decode_row(bytes, &mut row);
                rows.push(&row)?;
            }
        } else {
            // Only low-rank matrices are ever transposed: small enough to be held whole.
            let mut transposed = vec![0.0; stored_rows * stored_cols];
            for (i, bytes) in stored.enumerate() {
                weight.dtype.decode_row(bytes, &mut row);
                row.iter().enumerate().for_each(|(j, &value)| transposed[j * stored_rows + i] = value);
            }
            for row in transposed.chunks_exact(stored_rows) {
                rows.push(row)?;
            }
        }
        rows.flush()
    }
}

/// Rows being encoded, handed on in blocks.
struct Rows<'a> {
    dtype: DType,
    bytes: Vec<u8>,
    sink: Sink<'a>,
}

impl Rows<'_> {
    fn push(&mut self, row: &[f32]) -> Result<(), Error> {
        self.dtype.encode_row(row, &mut self.bytes)?;
        if self.bytes.len() < BLOCK_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Error> {
        (self.sink)(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}

/// Encodes every item and hands its bytes to `sink`, a block at a time.
fn stream(
    job: &Job<'_>,
    items: &[Item<'_>],
    progress: &mut dyn FnMut(usize, usize) -> bool,
    sink: Sink<'_>,
) -> Result<(), Error> {
    for (done, item) in items.iter().enumerate() {
        if !progress(done, items.len()) {
            return Err(job.stopped(done, items.len()));
        }
        for part in &item.parts {
            part.encode(item.spec.dtype, sink)?;
        }
        job.source.check_intact()?;
    }
    progress(items.len(), items.len());
    Ok(())
}
