//! `wingbeat embed`: a vector for each text, into a file.
//!
//! Texts are gone through in blocks that bound the memory, whatever their number; each block is one call of the library,
//! and its rows are written before the next begins.

use crate::{
    args::{EmbeddingArgs, Global, ModelArgs, ProfileArgs, count},
    embeddings::{Format, Label, Recipe, Target, Writer},
    failure,
    interrupt::Interrupt,
    new_file::check_destination,
    progress::Progress,
    texts::{Cut, Text, Texts},
};
use anyhow::{Context, bail};
use clap::Args;
use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
    time::Instant,
};
use wingbeat::{EmbedOptions, Model};

/// What a block holds at most: texts, their tokens, and bytes of their embeddings.
const BLOCK_TEXTS: usize = 1 << 14;
const BLOCK_TOKENS: usize = 1 << 18;
const BLOCK_BYTES: usize = 64 << 20;

/// Turn texts into vectors
#[derive(Args)]
#[command(after_help = "\
Each FILE is one text, byte for byte, or with --lines each of its lines is one; standard input (-, or no FILE) has a text \
a line. A text may be of any length, nothing is cut off it, and bytes that are no UTF-8 are fine where the vocabulary has \
them. An empty text is an error.

The ending of OUT says the format. .npy has the numbers only, (B, C) float32. A line of .jsonl is {\"index\": N, \"file\": \
NAME, \"line\": N, \"text\": TEXT, \"embedding\": [X, …]}: `line` where the text is one, `text` with --with-text (bytes that \
are no UTF-8 are shown as U+FFFD there). .safetensors has the tensor `embeddings` (B, C) F32, and in its metadata the \
model and its fingerprint, what the embeddings are of, and the texts' names. Texts themselves are kept by .jsonl only.

Examples:
  wingbeat embed chapter-*.txt -o chapters.safetensors
  wingbeat embed --lines notes.txt -o notes.npy --normalize
  wingbeat embed --pooling last --layer -2 --with-text < notes.txt > notes.jsonl
  wingbeat embed --of state --slab wkv --layer 3 book.txt -o book.npy")]
pub(crate) struct Embed {
    /// Files to embed; - is standard input [default: -]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Each line of a FILE is a text
    #[arg(long)]
    lines: bool,
    /// Pass over empty texts
    #[arg(long)]
    skip_empty: bool,
    /// File to write: .npy, .jsonl or .safetensors; - is standard output [default: -]
    #[arg(long, short, value_name = "OUT")]
    out: Option<PathBuf>,
    /// Format of OUT [default: what its ending says, jsonl on standard output]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Keep the texts beside their embeddings: .jsonl only
    #[arg(long)]
    with_text: bool,
    /// Scale every vector to length 1
    #[arg(long)]
    normalize: bool,
    /// Texts under way at once at most [default: as many as there is room for]
    #[arg(long, value_name = "N", value_parser = count)]
    batch: Option<usize>,
    #[command(flatten)]
    embedding: EmbeddingArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    profile: ProfileArgs,
}

impl Embed {
    pub(crate) fn run(self, global: Global) -> anyhow::Result<ExitCode> {
        let (target, format) = target_of(self.out.as_deref(), self.format)?;
        if self.with_text && format != Format::Jsonl {
            bail!("--with-text: only .jsonl files keep texts");
        }
        self.embedding.check()?;
        let mut texts = Texts::find(&self.files, Cut { lines: self.lines, skip_empty: self.skip_empty })?;
        let model = self.model.open()?;
        let kind = self.embedding.kind(&model)?;
        self.profile.begin(&model)?;
        let names = match format {
            Format::Safetensors => names_of(&mut texts)?,
            _ => Vec::new(),
        };
        let interrupt = Interrupt::heed()?;
        let options = EmbedOptions {
            normalize: self.normalize,
            batch_texts: self.batch,
            ..kind.options().unwrap_or_default()
        };
        let width = model.embedding_width(&options.of)?;
        let recipe = Recipe::new(&model, kind, self.normalize);
        let mut work = Work {
            writer: Writer::create(&target, format, (texts.len(), width), &recipe, &names)?,
            model: &model,
            options,
            width,
            with_text: self.with_text,
            bar: Progress::new(!global.quiet, "embedding", "bytes", size(texts.n_bytes())),
            interrupt: &interrupt,
            n_bytes: size(texts.n_bytes()),
            n_bytes_done: 0,
            n_tokens: 0,
            block: Block::default(),
        };
        let started = Instant::now();
        let n_texts = texts.len();
        texts.each(&mut |text| {
            work.take(text)?;
            Ok(!interrupt.requested())
        })?;
        work.run_block()?;
        if interrupt.requested() {
            return Ok(interrupt.exit_code());
        }
        let Work { writer, bar, n_tokens, .. } = work;
        writer.finish()?;
        drop(bar);
        if !global.quiet {
            let seconds = started.elapsed().as_secs_f64();
            let rate = n_tokens as f64 / seconds.max(1e-9);
            let file = match &target {
                Target::File(path) => format!("{}: ", path.display()),
                Target::Stdout => String::new(),
            };
            failure::note(&format!(
                "{file}{n_texts} embeddings of {width} values; {n_tokens} tokens, {seconds:.2} s, {rate:.1} tok/s"
            ));
        }
        self.profile.end(&model)?;
        Ok(interrupt.exit_code())
    }
}

/// Where embeddings go, and how, by a path and a flag.
pub(super) fn target_of(out: Option<&Path>, format: Option<Format>) -> anyhow::Result<(Target, Format)> {
    let Some(path) = out.filter(|path| path.as_os_str() != "-") else {
        let format = format.unwrap_or(Format::Jsonl);
        if format != Format::Jsonl && io::stdout().is_terminal() {
            bail!("standard output is a terminal, which cannot show a binary file; name one with -o OUT");
        }
        return Ok((Target::Stdout, format));
    };
    check_destination(path)?;
    match format.or_else(|| Format::of(path)) {
        Some(format) => Ok((Target::File(path.to_owned()), format)),
        None => bail!(
            "{}: expected a name that ends in .npy, .jsonl or .safetensors, or --format",
            path.display()
        ),
    }
}

/// The names of all texts, for a file that says them at its beginning.
fn names_of(texts: &mut Texts) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    texts.each(&mut |text| {
        names.push(text.name());
        Ok(true)
    })?;
    Ok(names)
}

/// A number of bytes, for a progress bar.
fn size(n_bytes: u64) -> usize {
    usize::try_from(n_bytes).unwrap_or(usize::MAX)
}

/// What is under way.
struct Work<'a> {
    model: &'a Model,
    options: EmbedOptions,
    width: usize,
    with_text: bool,
    writer: Writer,
    bar: Progress,
    interrupt: &'a Interrupt,
    n_bytes: usize,
    n_bytes_done: usize,
    n_tokens: usize,
    block: Block,
}

/// Texts that are embedded together.
#[derive(Default)]
struct Block {
    tokens: Vec<Vec<u32>>,
    /// Of each: file, line, and what is kept of the text.
    origins: Vec<(Rc<str>, Option<u64>, Option<String>)>,
    n_tokens: usize,
    n_bytes: usize,
}

impl Work<'_> {
    /// Takes the next text, and runs the block if that fills it.
    fn take(&mut self, text: Text) -> anyhow::Result<()> {
        let tokens = self.model.tokenizer()?.encode(&text.bytes).with_context(|| text.name())?;
        let block = &mut self.block;
        block.n_tokens += tokens.len();
        block.n_bytes += text.bytes.len();
        block.tokens.push(tokens);
        let kept = self.with_text.then(|| String::from_utf8_lossy(&text.bytes).into_owned());
        block.origins.push((text.file, text.line, kept));
        let n_texts = block.tokens.len();
        let is_full = n_texts >= BLOCK_TEXTS
            || block.n_tokens >= BLOCK_TOKENS
            || n_texts.saturating_mul(self.width).saturating_mul(size_of::<f32>()) >= BLOCK_BYTES;
        if is_full { self.run_block() } else { Ok(()) }
    }

    fn run_block(&mut self) -> anyhow::Result<()> {
        let block = std::mem::take(&mut self.block);
        if block.tokens.is_empty() || self.interrupt.requested() {
            return Ok(());
        }
        let result = self.model.embed_tokens(&block.tokens, &self.options, &mut |progress| {
            let part = progress.done as f64 / progress.total.max(1) as f64;
            self.bar.set(self.n_bytes_done + (part * block.n_bytes as f64) as usize, self.n_bytes);
            !self.interrupt.requested()
        });
        let embeddings = match result {
            Err(_) if self.interrupt.requested() => return Ok(()),
            Err(wingbeat::Error::NotFinite { text, index, value }) => {
                let (file, line, _) = &block.origins[text];
                let line = line.map_or_else(String::new, |line| format!(":{line}"));
                bail!("{file}{line}: the embedding is not finite: value {index} is {value}")
            }
            result => result?,
        };
        for (row, (file, line, text)) in embeddings.rows().zip(&block.origins) {
            self.writer.push(Label::Text { file, line: *line }, text.as_deref(), row)?;
        }
        self.writer.flush()?;
        self.n_tokens += block.n_tokens;
        self.n_bytes_done += block.n_bytes;
        Ok(())
    }
}
