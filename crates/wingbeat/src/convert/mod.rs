//! Conversion between file formats and storage types.
//!
//! A weight is read through the model's catalog, whatever the file's layout, and written in the target's layout:
//! GGUF as llama.cpp's converter lays it out, safetensors and `.pth` with the official names, `.bin` as rwkv.cpp's
//! converter has it, a folder as fla has RWKV-7. Where type and orientation agree
//! the bytes are copied, so nothing is lost that the target type can hold. Weights are streamed, some megabytes at a time.

mod blocks;
mod carried;
mod change;
mod content;
mod gguf;
mod hugging_face;
mod mix;
mod official;
mod plan;
mod pth;
mod quantize;
mod recipe;
mod rwkv_cpp;
mod safetensors;
mod target;

pub(crate) use blocks::in_order;
pub(crate) use content::{Content, Sink};
pub use mix::Mix;
pub use quantize::{Goal, QuantizeOptions, Quantized, TypeShare, quantize};
pub use recipe::Recipe;
pub use target::Target;

use crate::{Adapter, Error, adapter::merge, model::vocabulary_of};
use change::Change;
use plan::{Plan, Planned};
use std::path::Path;
use wingbeat_backend::Orientation;
use wingbeat_format::{DType, FileFormat, FormatError, ModelFile, TensorSpec};
use wingbeat_model::{Catalog, Version, Weight};
use wingbeat_tokenizer::Vocabulary;

/// What to convert to.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// Types of the weight matrices; none keeps each one's.
    pub mix: Option<Mix>,
    /// A vocabulary to put into the file, instead of the source's own.
    pub vocabulary: Option<Vocabulary>,
    /// The model's name in the metadata, instead of the source's own.
    pub name: Option<String>,
    /// What to write, instead of what the target's ending names.
    pub to: Option<Target>,
    /// LoRA adapters, merged into the weights one after the other. All that they change is in memory at once; quantized
    /// matrices that they change are F16 where `mix` says nothing.
    pub adapters: Vec<Adapter>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// What was written.
    pub format: Target,
    /// Tensors in it.
    pub n_tensors: usize,
    /// Whether it carries a vocabulary.
    pub has_vocabulary: bool,
}

/// Converts a model to the format that `target`'s ending names: `.gguf`, `.safetensors` or `.st`, `.pth`, `.bin`; or to
/// a folder in Hugging Face's layout, if the options say so or the path ends in a separator.
///
/// The file or folder is written under a temporary name and renamed when complete. `progress(done, total)` counts tensors and
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
    convert_by(source, target, options, &mut |_| Ok(None), progress)
}

/// As [`convert`]; `planning` sees the job before anything is written, and may say more about its matrices.
fn convert_by(
    source: &ModelFile,
    target: &Path,
    options: &ConvertOptions,
    planning: &mut dyn FnMut(&Job<'_>) -> Result<Option<Plan>, Error>,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Converted, Error> {
    let format = match options.to.or_else(|| Target::of(target)) {
        Some(format) => format,
        None => {
            let why = format!("the ending should be one of {}, or the format be named", Target::endings());
            return Err(refused(target, why));
        }
    };
    let mut config = Version::detect(source)?.config(source)?;
    if let Some(name) = &options.name {
        config.name.clone_from(name);
    }
    let mut catalog = Catalog::new(source, &config)?;
    merge(&mut catalog, &options.adapters)?;
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
        source: Some(source),
        content: source,
        target,
        config: &config,
        weights: catalog.weights(),
        vocabulary,
        replaces_vocabulary: options.vocabulary.is_some(),
        mix: options.mix,
        plan: None,
    };
    match planning(&job)? {
        None => job.write(format, progress),
        Some(plan) => {
            let content = Planned { file: source, plan: &plan };
            Job { content: &content, plan: Some(&plan), ..job }.write(format, progress)
        }
    }
}

fn refused(target: &Path, why: String) -> Error {
    Error::Convert { target: target.display().to_string(), why }
}

/// A model being written.
#[derive(Clone)]
pub(crate) struct Job<'a> {
    /// The file that is converted, for its metadata; none where the model comes from elsewhere.
    pub(crate) source: Option<&'a ModelFile>,
    /// Where the weights' bytes come from.
    pub(crate) content: &'a dyn Content,
    pub(crate) target: &'a Path,
    pub(crate) config: &'a wingbeat_model::Config,
    /// Every weight, in the catalog's order. Only the data of vectors are looked at here.
    pub(crate) weights: &'a [Weight],
    pub(crate) vocabulary: Option<Vocabulary>,
    /// Whether the vocabulary takes the place of the source's own.
    pub(crate) replaces_vocabulary: bool,
    /// Types of the matrices; none keeps each one's.
    pub(crate) mix: Option<Mix>,
    /// Types of single matrices, which go before those.
    pub(crate) plan: Option<&'a Plan>,
}

/// A tensor to be written: parts of the source that follow each other.
struct Item<'a> {
    spec: TensorSpec,
    parts: Vec<Part<'a>>,
}

/// One weight, how it is to lie, and what its values go through.
struct Part<'a> {
    weight: &'a Weight,
    orientation: Orientation,
    change: Change,
}

impl<'a> Part<'a> {
    /// A weight as it is.
    fn new(weight: &'a Weight, orientation: Orientation) -> Part<'a> {
        Part { weight, orientation, change: Change::None }
    }
}

impl Job<'_> {
    /// Writes the file.
    pub(crate) fn write(
        &self,
        format: Target,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Converted, Error> {
        match format {
            Target::Gguf => gguf::write(self, progress),
            Target::Safetensors => safetensors::write(self, progress),
            Target::Pth => pth::write(self, progress),
            Target::RwkvCpp => rwkv_cpp::write(self, progress),
            Target::HuggingFace => hugging_face::write(self, progress),
        }
    }

    /// The source, if it is a GGUF.
    fn gguf_source(&self) -> Option<&ModelFile> {
        self.source.filter(|source| source.format() == FileFormat::Gguf)
    }

    /// The type of a matrix in the target: the one asked for, or its own; where its rows are no whole blocks of a
    /// quantized type, another one.
    fn matrix_type(&self, weight: &Weight) -> DType {
        if let Some(dtype) = self.plan.and_then(|plan| plan.dtype(weight)) {
            return dtype;
        }
        let dtype = self.mix.map_or(weight.dtype, |mix| mix.of(weight));
        let cols = weight.shape.get(1).copied().unwrap_or(1);
        mix::fitting(dtype, cols)
    }

    /// The type of a low-rank matrix: never quantized (they are small and sensitive).
    fn low_rank_type(&self, weight: &Weight) -> DType {
        match self.mix.map(Mix::matrices) {
            Some(dtype) if !dtype.is_quantized() => dtype,
            Some(_) if weight.dtype == DType::F32 => DType::F16,
            _ => weight.dtype,
        }
    }

    /// The same error, with the tensor's name if a row of it is the reason.
    fn unrepresented(&self, weight: &Weight, error: Error) -> Error {
        match error {
            Error::Format(why @ FormatError::NotRepresentable { .. }) => {
                refused(self.target, format!("tensor `{}`: {why}", weight.name))
            }
            error => error,
        }
    }

    /// What a matrix goes through on its way out of the source's layout: weights that were divided, so that halves
    /// don't overflow in the residual stream, are multiplied again.
    fn unscaled(&self, weight: &Weight) -> Change {
        let every = self.config.rescaled_every;
        match (weight.row.name, weight.layer.and_then(|layer| layer.checked_div(every))) {
            ("att.output.weight" | "ffn.value.weight", Some(n)) if n > 0 => Change::Doubled(n as u32),
            _ => Change::None,
        }
    }

    fn stopped(&self, done: usize, total: usize) -> Error {
        refused(self.target, format!("stopped after {done} of {total} tensors"))
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
            let encoded = part.encode(job, item.spec.dtype, sink);
            encoded.map_err(|error| job.unrepresented(part.weight, error))?;
        }
        job.content.check()?;
    }
    progress(items.len(), items.len());
    Ok(())
}
