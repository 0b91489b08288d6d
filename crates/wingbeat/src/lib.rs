//! RWKV inference: any model file opened at once, text generated on any processor, and a document's recurrent state
//! as a value.
//!
//! This crate is the engine that programs use; it puts the others together. A [`Model`] is a file on a device, a
//! [`State`] is what a model remembers of a text, a [`Session`] is a conversation or a continuation under way, a
//! [`Batch`] has many of them generate together, a [`Sampler`](sampler::Sampler) picks tokens; [`Model::embed`] makes
//! vectors of texts, [`Model::continue_batch`] asks a document's state many things at once. The path from file to text:
//!
//! ```text
//! file ─▶ weights ─▶ model ─▶ backend ─▶ logits · hidden vectors · state ─▶ session (sampler, stops) ─▶ text
//! ```
//!
//! ```
//! use wingbeat::{GenerateOptions, Model, sampler::SamplerConfig};
//!
//! let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf");
//! let model = Model::open(demo)?;
//! let mut session = model.session(SamplerConfig::greedy())?;
//! session.feed_text("It was a dark and stormy night", &mut |_| true)?;
//! let mut text = Vec::new();
//! let options = GenerateOptions { max_tokens: 8, ..GenerateOptions::default() };
//! session.generate(&options, &mut |bytes| {
//!     text.extend_from_slice(bytes);
//!     true
//! })?;
//! assert!(!String::from_utf8(text)?.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod adapter;
mod ahead;
mod batch;
mod cache;
pub mod chat;
pub mod convert;
mod device;
mod documents;
mod embed;
mod engine;
mod error;
mod fingerprint;
mod generated;
mod importance;
mod model;
mod perplexity;
pub mod sampler;
mod session;
mod state;
pub mod stop;
pub mod synthetic;
mod timeline;
mod trail;

pub use adapter::Adapter;
pub use batch::{Batch, BatchEnd, BatchEvent};
pub use cache::{Cache, CacheOptions, CacheStats};
pub use device::Device;
pub use documents::{Answer, Choice};
pub use embed::{EmbedOptions, EmbeddingOf, Embeddings, Pooling};
pub use error::Error;
pub use importance::Importance;
#[cfg(feature = "demo")]
pub use model::demo_file;
pub use model::{Model, ModelOptions, Sequence, read_vocabulary, vocabulary_of};
pub use perplexity::{Divergence, Perplexity};
pub use session::{GenerateOptions, Generation, Session, StopReason};
pub use state::{Slab, State};
pub use timeline::Step;

pub use wingbeat_backend::{KernelTime, SlabView};
pub use wingbeat_cpu::{CpuOptions, Level};
pub use wingbeat_format::{DType, FileFormat, FormatError, ModelFile};
pub use wingbeat_gpu::{
    AdapterChoice, AdapterKind, AdapterSummary, Capabilities, GpuError, GpuOptions, Without, adapters,
    user_cache_folder,
};
pub use wingbeat_model::{Config, ForwardOptions, ModelError, Output, Progress, Rows, Version, Want};
pub use wingbeat_tokenizer::{StreamDecoder, Tokenizer, TokenizerError, Vocabulary};
