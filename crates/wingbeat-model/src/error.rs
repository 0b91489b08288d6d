//! The errors of a model.

use wingbeat_backend::BackendError;

/// What can be wrong with a model file or a request to a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Not an RWKV model at all.
    #[error("{file}: not an RWKV model: {why}")]
    NotRwkv {
        /// The file.
        file: String,
        /// What was looked for.
        why: String,
    },
    /// An RWKV model of a kind that is not read.
    #[error("{file}: {found} is not supported; this version of Wingbeat runs {supported}")]
    Unsupported {
        /// The file.
        file: String,
        /// What it is.
        found: String,
        /// What can be run.
        supported: String,
    },
    /// A tensor that the version needs is not there.
    #[error("{file}: tensor `{tensor}` is missing")]
    MissingTensor {
        /// The file.
        file: String,
        /// Its name in the file's own naming.
        tensor: String,
    },
    /// A tensor has another shape than the rest of the model asks for.
    #[error("{file}: tensor `{tensor}` should have shape {expected}, found {found}")]
    Shape {
        /// The file.
        file: String,
        /// Tensor name.
        tensor: String,
        /// Expected shape, in words.
        expected: String,
        /// The shape found.
        found: String,
    },
    /// Vectors must be of a float type.
    #[error("{file}: tensor `{tensor}` is a vector and should be F32, F16 or BF16, found {found}")]
    VectorType {
        /// The file.
        file: String,
        /// Tensor name.
        tensor: String,
        /// Its type.
        found: &'static str,
    },
    /// A metadata value that contradicts the tensors or makes no sense.
    #[error("{file}: {key} is {found}, expected {expected}")]
    Metadata {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A token id outside the vocabulary.
    #[error(
        "token {token} at position {position} of sequence {sequence} is outside the vocabulary of {vocab} tokens"
    )]
    TokenOutOfRange {
        /// The sequence in the request.
        sequence: usize,
        /// The token's position in the request.
        position: usize,
        /// The token.
        token: u32,
        /// Vocabulary size.
        vocab: usize,
    },
    /// Layers that are not there, or logits of a part of the layers.
    #[error("{found} layers cannot be run: the model has {n_layers}, and logits need all of them")]
    PartOfLayers {
        /// Layers asked for.
        found: usize,
        /// Layers there are.
        n_layers: usize,
    },
    /// The caller's progress callback asked to stop. States hold the tokens processed so far.
    #[error("stopped after {done} of {total} tokens")]
    Stopped {
        /// Tokens processed.
        done: usize,
        /// Tokens asked for.
        total: usize,
    },
    /// The device's own error.
    #[error(transparent)]
    Backend(#[from] BackendError),
}
