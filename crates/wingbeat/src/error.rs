//! Everything that can go wrong, in one type.

use crate::{sampler::SamplerError, stop::StopError};
use std::{io, path::PathBuf};
use wingbeat_backend::BackendError;
use wingbeat_format::FormatError;
use wingbeat_model::ModelError;
use wingbeat_tokenizer::TokenizerError;

/// An error of the engine. Messages are one line and name the file, the thing, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A file is no model that can be run, or a request to a model is wrong.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A device failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// There is no such GPU, or it cannot be opened.
    #[error(transparent)]
    Gpu(#[from] wingbeat_gpu::GpuError),
    /// A vocabulary is broken, or a text or id does not fit it.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A sampler's setting is out of range, or logits cannot be sampled.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// A stop string is empty.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// A file of ours cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The model has no vocabulary and none was given.
    #[error(
        "{model}: no vocabulary: the file carries none and its {vocab} tokens are not the World vocabulary's 65536; give one with --vocab FILE"
    )]
    NoVocabulary {
        /// The model file.
        model: String,
        /// Its vocabulary size.
        vocab: usize,
    },
    /// The vocabulary is another model's.
    #[error("{vocabulary}: holds token ids up to {highest}, but {model} has only {vocab} tokens")]
    VocabularyMismatch {
        /// Where the vocabulary comes from.
        vocabulary: String,
        /// Its highest id.
        highest: usize,
        /// The model file.
        model: String,
        /// The model's vocabulary size.
        vocab: usize,
    },
    /// A state of another model.
    #[error("{state}: is a state of `{found_name}` ({found}), not of `{expected_name}` ({expected})")]
    ForeignState {
        /// The state's file, or words for a state in memory.
        state: String,
        /// The model it was made by.
        found_name: String,
        /// That model's fingerprint.
        found: String,
        /// The model that was asked to take it.
        expected_name: String,
        /// Its fingerprint.
        expected: String,
    },
    /// A file is not a state.
    #[error("{path}: not a Wingbeat state: {why}", path = path.display())]
    NotAState {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// An adapter that is none, is of an unknown kind, or does not fit the model.
    #[error("{file}: adapter: {why}")]
    Adapter {
        /// The file.
        file: String,
        /// What is missing or wrong.
        why: String,
    },
    /// A tuned state that does not fit the model.
    #[error("{file}: tuned state: {why}")]
    TunedState {
        /// The file.
        file: String,
        /// What is missing or wrong.
        why: String,
    },
    /// A slab that the model's states don't have.
    #[error("states of {version} have no slab `{slab}`; they have {slabs}")]
    NoSlab {
        /// RWKV version.
        version: &'static str,
        /// The name asked for.
        slab: String,
        /// The names there are.
        slabs: String,
    },
    /// Values of more or fewer slabs than a state has.
    #[error("values of {found} slabs: expected those of all {expected}")]
    SlabCount {
        /// Slabs of a state.
        expected: usize,
        /// Slabs given.
        found: usize,
    },
    /// Generation was asked for before any token was run.
    #[error("nothing to continue: the session has not run a token since it was made or last stopped")]
    NothingToContinue,
    /// A text, prompt or choice without a token.
    #[error("{what} {index} (counted from 0) is empty: expected at least one token")]
    EmptyInput {
        /// text, prompt or choice.
        what: &'static str,
        /// Which of them.
        index: usize,
    },
    /// A layer that the model does not have.
    #[error("there is no layer {layer}: the model has {n_layers}, counted from 0")]
    NoLayer {
        /// The layer asked for.
        layer: usize,
        /// How many there are.
        n_layers: usize,
    },
    /// An embedding with a value that is no number, or infinite.
    #[error("the embedding of text {text} is not finite: value {index} is {value}")]
    NotFinite {
        /// Which text, from 0.
        text: usize,
        /// Which value of its embedding.
        index: usize,
        /// The value.
        value: f32,
    },
    /// More embeddings than there is memory for.
    #[error("no memory for the embeddings of {texts} texts: {bytes} bytes")]
    NoRoomForEmbeddings {
        /// Texts.
        texts: usize,
        /// Bytes that their embeddings need.
        bytes: usize,
    },
    /// Perplexity of an empty text.
    #[error("the text is empty: there is no token to predict")]
    EmptyText,
    /// Two models that cannot be compared.
    #[error("{model} and {reference} have different vocabularies: their predictions cannot be compared")]
    OtherVocabulary {
        /// The model.
        model: String,
        /// What it was to be compared with.
        reference: String,
    },
    /// A model that computes no finite numbers on a calibration text.
    #[error("{model}: what `{matrix}` is multiplied with on the calibration text are not finite numbers")]
    CalibrationNotFinite {
        /// The model file.
        model: String,
        /// The matrix.
        matrix: String,
    },
    /// A conversion that the target format cannot hold.
    #[error("{target}: {why}")]
    Convert {
        /// The file to be written.
        target: String,
        /// The reason in words.
        why: String,
    },
    /// A synthetic model that cannot be made.
    #[error("synthetic model: {what}: expected {expected}, found {found}")]
    Synthetic {
        /// The setting.
        what: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A value of a state that is not a number, or infinite.
    #[error("{what}: state slab `{slab}`, value {index}: expected a finite number, found {found}")]
    StateNotFinite {
        /// Where the values come from: a file, or words for what was given.
        what: String,
        /// The slab.
        slab: &'static str,
        /// Which of its values, counted row-major.
        index: usize,
        /// The value.
        found: f32,
    },
    /// A folder that cannot be made, read or written to.
    #[error("{path}: the cache cannot use this folder: {source}", path = path.display())]
    CacheFolder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// States that cannot be blended.
    #[error("blending states: {why}")]
    Blend {
        /// What is missing or wrong.
        why: String,
    },
}
