//! Flags that several commands share: each group is one struct, flattened into the commands that have it.

mod adapters;
mod cache;
mod embedding;
mod model;
mod profile;
mod sampler;
mod vocabulary;

pub(crate) use adapters::AdapterArgs;
pub(crate) use cache::{CacheArgs, bytes, note_trouble};
pub(crate) use embedding::{EmbeddingArgs, count};
pub(crate) use model::ModelArgs;
pub(crate) use profile::ProfileArgs;
pub(crate) use sampler::SamplerArgs;
pub(crate) use vocabulary::VocabularyArgs;

/// Flags of every command.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Global {
    /// No summaries, notes and progress bars on standard error
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}
