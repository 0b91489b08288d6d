//! Which vocabulary, where no model is to run.

use clap::Args;
use std::path::{Path, PathBuf};
use wingbeat::{Vocabulary, read_vocabulary};

/// The word for the World vocabulary; a file of that name is `./world`.
const WORLD: &str = "world";

/// The vocabulary flag of the commands that don't run a model.
#[derive(Args)]
pub(crate) struct VocabularyArgs {
    /// Vocabulary file in the official text format, or the word `world` for the one of the World models
    #[arg(long, value_name = "FILE|world")]
    vocab: Option<PathBuf>,
}

impl VocabularyArgs {
    /// The vocabulary, if one was named.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Vocabulary>> {
        match self.vocab.as_deref() {
            None => Ok(None),
            Some(name) if name == Path::new(WORLD) => Ok(Some(Vocabulary::world())),
            Some(path) => Ok(Some(read_vocabulary(path)?)),
        }
    }
}
