//! `wingbeat state`: what a model remembers of a document, as a file.

use crate::{
    args::{Global, ModelArgs, ProfileArgs},
    failure, input,
    interrupt::Interrupt,
    new_file::check_destination,
    output,
    progress::Progress,
};
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};
use wingbeat::{Error, Model, ModelError};

/// Read a document and keep the model's state
#[derive(Args)]
#[command(after_help = "\
The file is safetensors: the state's tensors in F32, and the fingerprint of the model, which alone can go on from it. \
`generate --state` and `fields --state` do, without reading the document again. After Ctrl-C nothing is written, and \
the exit code is 130.

Examples:
  wingbeat state book.txt -o book.state
  wingbeat state chapter2.txt --state chapter1.state -o both.state
  curl -s https://example.org/letter.txt | wingbeat state - -o letter.state --json")]
pub(crate) struct State {
    /// The document, byte for byte; - is standard input
    #[arg(value_name = "DOC")]
    document: PathBuf,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Go on from a saved state
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Print {model, file, tokens, total_tokens, seconds, tok_s, bytes}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    profile: ProfileArgs,
}

impl State {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        check_destination(&self.out)?;
        let text = document(&self.document)?;
        let model = self.model.open()?;
        self.profile.begin(&model)?;
        let mut state = match &self.state {
            Some(path) => model.load_state(path)?,
            None => model.new_state()?,
        };
        let interrupt = Interrupt::heed()?;
        let read = read(&model, &mut state, (&self.document, &text), &interrupt, global)?;
        let Some(Read { n_tokens, seconds }) = read else {
            return Ok(interrupt.exit_code());
        };
        state.save(&self.out)?;
        let n_bytes = std::fs::metadata(&self.out).with_context(|| self.out.display().to_string())?.len();
        let rate = n_tokens as f64 / seconds.max(1e-9);
        if self.json {
            output::print_json(&json!({
                "model": model.file().label(),
                "file": self.out.display().to_string(),
                "tokens": n_tokens,
                "total_tokens": state.n_tokens(),
                "seconds": seconds,
                "tok_s": rate,
                "bytes": n_bytes,
            }))?;
        } else if !global.quiet {
            let total = match &self.state {
                Some(_) => format!(" ({} in all)", state.n_tokens()),
                None => String::new(),
            };
            let file = self.out.display();
            failure::note(&format!(
                "{file}: {n_tokens} tokens{total}, {seconds:.2} s, {rate:.1} tok/s, {n_bytes} bytes"
            ));
        }
        self.profile.end(&model)?;
        Ok(interrupt.exit_code())
    }
}

/// What reading a document took.
pub(super) struct Read {
    pub(super) n_tokens: usize,
    pub(super) seconds: f64,
}

/// A document's text, which cannot be empty.
pub(super) fn document(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text = input::read(path)?;
    ensure!(!text.is_empty(), "{}: the document is empty", path.display());
    Ok(text)
}

/// Moves a state on by a document; none where that was interrupted.
pub(super) fn read(
    model: &Model,
    state: &mut wingbeat::State,
    (path, text): (&Path, &[u8]),
    interrupt: &Interrupt,
    global: Global,
) -> anyhow::Result<Option<Read>> {
    let tokens = model.tokenizer()?.encode(text).with_context(|| path.display().to_string())?;
    let bar = Progress::new(!global.quiet, "reading", "tokens", tokens.len());
    let started = Instant::now();
    let result = state.extend_tokens(&tokens, &mut |progress| {
        bar.set(progress.done, progress.total);
        !interrupt.requested()
    });
    match result {
        Err(Error::Model(ModelError::Stopped { .. })) => return Ok(None),
        result => result?,
    }
    if interrupt.requested() {
        return Ok(None);
    }
    if tokens.is_empty() {
        bail!("{}: the document has no tokens", path.display());
    }
    Ok(Some(Read { n_tokens: tokens.len(), seconds: started.elapsed().as_secs_f64() }))
}
