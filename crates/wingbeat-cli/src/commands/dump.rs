//! `wingbeat dump`: everything a model says of some tokens, as safetensors, for comparing with other programs.

use crate::{
    args::{Global, ModelArgs, ProfileArgs},
    input,
    interrupt::Interrupt,
    progress::Progress,
};
use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use std::{path::PathBuf, process::ExitCode};
use wingbeat::{DType, Model, Sequence, State, Want};
use wingbeat_format::{Metadata, TensorSpec, safetensors::Writer};

/// Bytes of logits in memory at once; longer dumps are made in several calls.
const CHUNK_BYTES: usize = 256 << 20;

/// Write logits, hidden vectors and the state after some tokens to a file
#[derive(Args)]
#[command(group = ArgGroup::new("what").args(["tokens", "tokens_file"]).required(true))]
#[command(after_help = "\
From the zero state. The file (safetensors) has `tokens` (T) I32, `logits` (T, V) F32, `hidden` (T, C) F32, \
which are the vectors after the last layer norm, and `state.NAME` F32 for each part of the state after the last token.

Examples:
  wingbeat dump --tokens 1,2,3 --out out.safetensors
  wingbeat tokenize < text.txt | wingbeat dump --tokens-file - --chunk 1 --out out.safetensors")]
pub(crate) struct Dump {
    /// Token ids, separated by commas or white space
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    tokens: Option<String>,
    /// Read the token ids from a file; - is standard input
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Tokens to run at a time [default: all, or as many as 256 MiB hold the logits of]
    #[arg(long, value_name = "N", value_parser = chunk)]
    chunk: Option<usize>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    profile: ProfileArgs,
}

impl Dump {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let tokens = self.tokens()?;
        let model = self.model.open()?;
        self.profile.begin(&model)?;
        let n_vocab = model.config().n_vocab;
        if let Some(at) = tokens.iter().position(|&token| token as usize >= n_vocab) {
            let token = tokens[at];
            bail!("token {token} at position {at} is outside the vocabulary of {n_vocab} tokens");
        }
        let mut writer = Writer::create(&self.out, &Metadata::new(), &specs(&model, tokens.len()))?;
        for &token in &tokens {
            let token = i32::try_from(token).context("a token id is too large for I32")?;
            writer.write(&token.to_le_bytes())?;
        }
        let interrupt = Interrupt::heed()?;
        let bar = Progress::new(!global.quiet, "running", "tokens", tokens.len());
        let most = (CHUNK_BYTES / (n_vocab * size_of::<f32>()).max(1)).max(1);
        let mut state = model.new_state()?;
        let (mut hidden, mut done) = (Vec::new(), 0);
        for chunk in tokens.chunks(self.chunk.unwrap_or(most).min(most)) {
            let sequence = Sequence { state: &mut state, tokens: chunk, want: Want::ALL };
            let result = model.forward_with_progress(&mut [sequence], &mut |progress| {
                bar.set(done + progress.done, tokens.len());
                !interrupt.requested()
            });
            let output = match result {
                Err(_) if interrupt.requested() => return Ok(interrupt.exit_code()),
                result => result?.pop().unwrap_or_default(),
            };
            writer.write(&le_bytes(&output.logits))?;
            hidden.extend_from_slice(&le_bytes(&output.hidden));
            done += chunk.len();
        }
        writer.write(&hidden)?;
        write_state(&mut writer, &state)?;
        writer.finish()?;
        self.profile.end(&model)?;
        Ok(interrupt.exit_code())
    }

    fn tokens(&self) -> anyhow::Result<Vec<u32>> {
        let (from, text) = match (&self.tokens, &self.tokens_file) {
            (Some(text), _) => ("--tokens".to_owned(), text.clone().into_bytes()),
            (None, Some(path)) => (path.display().to_string(), input::read(path)?),
            (None, None) => bail!("one of --tokens and --tokens-file is needed"),
        };
        let tokens = input::token_ids(&text).with_context(|| from.clone())?;
        if tokens.is_empty() {
            bail!("{from}: expected at least one token id, found none");
        }
        Ok(tokens)
    }
}

/// What the file holds, in order.
fn specs(model: &Model, n_tokens: usize) -> Vec<TensorSpec> {
    let spec = |name: &str, dtype, shape| TensorSpec { name: name.to_owned(), dtype, shape };
    let config = model.config();
    let mut specs = vec![
        spec("tokens", DType::I32, vec![n_tokens]),
        spec("logits", DType::F32, vec![n_tokens, config.n_vocab]),
        spec("hidden", DType::F32, vec![n_tokens, config.n_channels]),
    ];
    specs.extend(
        model
            .state_layout()
            .slabs
            .iter()
            .map(|slab| spec(&format!("state.{}", slab.name), DType::F32, slab.shape.clone())),
    );
    specs
}

fn write_state(writer: &mut Writer, state: &State) -> anyhow::Result<()> {
    for slab in state.read_all()? {
        writer.write(&le_bytes(&slab.values))?;
    }
    Ok(())
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn chunk(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a number of tokens from 1".to_owned()),
    }
}
