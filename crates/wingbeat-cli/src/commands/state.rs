//! `wingbeat state`: what a model remembers of a document, as a file.

use crate::{
    args::{self, CacheArgs, Global, ModelArgs, ProfileArgs},
    failure, input,
    interrupt::Interrupt,
    new_file::check_destination,
    output,
    progress::Progress,
};
use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};
use wingbeat::{Cache, Error, Model, ModelError};

/// Read a document and keep the model's state
#[derive(Args)]
#[command(after_help = "\
The file is safetensors: the state's tensors in F32, and the fingerprint of the model, which alone can go on from it. \
`generate --state` and `fields --state` do, without reading the document again. After Ctrl-C nothing is written, and \
the exit code is 130.

With --cache, a document that was read before is not read again, and one that begins like it is read from there on; \
which documents those are goes by the model, the device and their tokens, not by their names.

--json prints {\"model\", \"file\", \"tokens\", \"cached_tokens\", \"total_tokens\", \"seconds\", \"tok_s\", \"bytes\"}: \
`tokens` are the document's, `cached_tokens` those of them that came from the cache, and `tok_s` counts the others; \
`total_tokens` are those of the state, earlier texts included.

Examples:
  wingbeat state book.txt -o book.state
  wingbeat state book.txt -o book.state --cache
  wingbeat state chapter2.txt --state chapter1.state -o both.state
  curl -s https://example.org/letter.txt | wingbeat state - -o letter.state --json")]
pub(crate) struct State {
    /// The document, byte for byte; - is standard input
    #[arg(value_name = "DOC")]
    document: PathBuf,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Go on from a saved or a tuned state
    #[arg(long, value_name = "FILE", conflicts_with = "cache")]
    state: Option<PathBuf>,
    /// Print a summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    profile: ProfileArgs,
}

impl State {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        check_destination(&self.out)?;
        let cache = self.cache.open()?;
        let text = document(&self.document)?;
        let model = self.model.open()?;
        self.profile.begin(&model)?;
        let before = self.state.as_ref().map(|path| model.load_state(path)).transpose()?;
        let interrupt = Interrupt::heed()?;
        let read = read(&model, before, cache.as_ref(), (&self.document, &text), &interrupt, global)?;
        let Some(Read { state, pace }) = read else {
            return Ok(interrupt.exit_code());
        };
        state.save(&self.out)?;
        let n_bytes = std::fs::metadata(&self.out).with_context(|| self.out.display().to_string())?.len();
        let Pace { n_tokens, n_cached, seconds } = pace;
        if self.json {
            output::print_json(&json!({
                "model": model.file().label(),
                "file": self.out.display().to_string(),
                "tokens": n_tokens,
                "cached_tokens": n_cached,
                "total_tokens": state.n_tokens(),
                "seconds": seconds,
                "tok_s": pace.rate(),
                "bytes": n_bytes,
            }))?;
        } else if !global.quiet {
            let total = match &self.state {
                Some(_) => format!(" ({} in all)", state.n_tokens()),
                None => String::new(),
            };
            let file = self.out.display();
            failure::note(&format!(
                "{file}: {n_tokens} tokens{total}, {seconds:.2} s, {pace}, {n_bytes} bytes"
            ));
        }
        self.profile.end(&model)?;
        Ok(interrupt.exit_code())
    }
}

/// A document that was read.
pub(super) struct Read {
    /// The state after it.
    pub(super) state: wingbeat::State,
    pub(super) pace: Pace,
}

/// What reading took.
#[derive(Clone, Copy, Default)]
pub(super) struct Pace {
    pub(super) n_tokens: usize,
    /// Of these, those that came from the cache.
    pub(super) n_cached: usize,
    pub(super) seconds: f64,
}

impl Pace {
    /// Tokens a second, of those that were computed.
    pub(super) fn rate(&self) -> f64 {
        self.n_tokens.saturating_sub(self.n_cached) as f64 / self.seconds.max(1e-9)
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rate();
        match self.n_cached {
            0 => write!(f, "{rate:.1} tok/s"),
            n if n < self.n_tokens => write!(f, "{n} from the cache, {rate:.1} tok/s"),
            _ => f.write_str("all from the cache"),
        }
    }
}

/// A document's text, which cannot be empty.
pub(super) fn document(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text = input::read(path)?;
    ensure!(!text.is_empty(), "{}: the document is empty", path.display());
    Ok(text)
}

/// Reads a document: after a state that was given, or from its beginning, for which there may be a cache. None where that
/// was interrupted.
pub(super) fn read(
    model: &Model,
    before: Option<wingbeat::State>,
    cache: Option<&Cache>,
    (path, text): (&Path, &[u8]),
    interrupt: &Interrupt,
    global: Global,
) -> anyhow::Result<Option<Read>> {
    let tokens = model.tokenizer()?.encode(text).with_context(|| path.display().to_string())?;
    let n_tokens = tokens.len();
    ensure!(n_tokens > 0, "{}: the document has no tokens", path.display());
    let bar = Progress::new(!global.quiet, "reading", "tokens", n_tokens);
    let mut progress = |progress: wingbeat::Progress| {
        bar.set(progress.done, progress.total);
        !interrupt.requested()
    };
    let started = Instant::now();
    let result = match (cache, before) {
        (Some(cache), None) => cache.states_of_tokens(model, &[tokens], &mut progress),
        (_, before) => before.map_or_else(|| model.new_state(), Ok).and_then(|mut state| {
            state.extend_tokens(&tokens, &mut progress)?;
            Ok(vec![state])
        }),
    };
    let seconds = started.elapsed().as_secs_f64();
    drop(bar);
    let n_cached = cache.map_or(0, |cache| cached_tokens(cache, n_tokens, global));
    let states = match result {
        Err(Error::Model(ModelError::Stopped { .. })) => return Ok(None),
        result => result?,
    };
    if interrupt.requested() {
        return Ok(None);
    }
    Ok(states.into_iter().next().map(|state| Read { state, pace: Pace { n_tokens, n_cached, seconds } }))
}

/// Tokens of the one document that a cache was asked for that were not computed; tells of trouble.
fn cached_tokens(cache: &Cache, n_tokens: usize, global: Global) -> usize {
    let stats = cache.stats();
    args::note_trouble(&stats, global);
    match stats.n_misses {
        0 => n_tokens * usize::from(stats.n_disk_hits > 0),
        _ => usize::try_from(stats.n_prefix_tokens).unwrap_or(n_tokens),
    }
}
