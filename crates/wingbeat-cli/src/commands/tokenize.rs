//! `wingbeat tokenize`: text to token ids and back, with any model's vocabulary and no weights loaded.

use crate::{
    args::{Global, VocabularyArgs},
    demo, hub, input, output,
};
use anyhow::anyhow;
use clap::Args;
use serde_json::json;
use std::{ffi::OsString, fmt::Write, path::PathBuf, process::ExitCode};
use wingbeat::{Error, ModelFile, Tokenizer, vocabulary_of};

/// Tensors `(V, C)` that say how many tokens a model has, by their names in the two formats.
const EMBEDDINGS: [&str; 2] = ["emb.weight", "token_embd.weight"];
/// Size of the World models' vocabulary: theirs needs not be in the file.
const WORLD_TOKENS: usize = 65536;

/// Turn text into token ids, or ids into text
#[derive(Args)]
#[command(after_help = "\
Ids are printed on one line, separated by spaces. With --decode the bytes are printed as they are, nothing added.

Examples:
  wingbeat tokenize \"The Eiffel tower\"
  wingbeat tokenize --vocab world --count < book.txt
  wingbeat tokenize --decode \"33155, 41\"
  wingbeat tokenize -m model.gguf < in.bin | wingbeat tokenize -m model.gguf --decode > out.bin")]
pub(crate) struct Tokenize {
    /// Text, or ids with --decode [default: standard input, byte for byte]
    #[arg(value_name = "TEXT")]
    text: Option<OsString>,
    /// From ids, separated by white space or commas, to bytes
    #[arg(long, short)]
    decode: bool,
    /// Print only the number of tokens
    #[arg(long, conflicts_with = "decode")]
    count: bool,
    /// Print {"count": N, "tokens": [ID, …]}
    #[arg(long, conflicts_with_all = ["decode", "count"])]
    json: bool,
    /// Take the vocabulary of a model file [default: the demo model's]
    #[arg(long, short, value_name = "FILE", conflicts_with = "vocab")]
    model: Option<PathBuf>,
    #[command(flatten)]
    vocabulary: VocabularyArgs,
}

impl Tokenize {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let tokenizer = self.tokenizer(global)?;
        let text = match &self.text {
            Some(text) => text.clone().into_encoded_bytes(),
            None => input::read_stdin()?,
        };
        if self.decode {
            let bytes = tokenizer.decode(&input::token_ids(&text)?)?;
            output::print(bytes)?;
            return Ok(ExitCode::SUCCESS);
        }
        let ids = tokenizer.encode(&text)?;
        if self.json {
            output::print(format!("{}\n", json!({ "count": ids.len(), "tokens": ids })))?;
        } else if self.count {
            output::print(format!("{}\n", ids.len()))?;
        } else {
            output::print(line(&ids))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn tokenizer(&self, global: Global) -> anyhow::Result<Tokenizer> {
        if let Some(vocabulary) = self.vocabulary.read()? {
            return Ok(Tokenizer::new(vocabulary)?);
        }
        let file = match hub::locate_some(&self.model, global.quiet)? {
            Some(path) => ModelFile::open(path)?,
            None => demo::file()?,
        };
        if let Some(vocabulary) = vocabulary_of(&file)? {
            return Ok(Tokenizer::new(vocabulary)?);
        }
        let embedding = EMBEDDINGS.iter().find_map(|name| file.tensor(name));
        match embedding.and_then(|tensor| tensor.shape.first().copied()) {
            Some(WORLD_TOKENS) => Ok(Tokenizer::world()),
            Some(vocab) => Err(Error::NoVocabulary { model: file.label().to_owned(), vocab }.into()),
            None => Err(anyhow!("{}: has neither a vocabulary nor an RWKV model's embedding", file.label())),
        }
    }
}

fn line(ids: &[u32]) -> String {
    let mut line = String::with_capacity(ids.len().saturating_mul(6) + 1);
    for (index, id) in ids.iter().enumerate() {
        let separator = if index == 0 { "" } else { " " };
        let _ = write!(line, "{separator}{id}");
    }
    line.push('\n');
    line
}
