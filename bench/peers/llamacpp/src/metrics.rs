//! What is timed: one method a group of figures. The ways that llama.cpp offers are in `ways.rs`.

use crate::{
    arguments::Arguments,
    measure::{Spread, glance, time},
    report::Report,
    ways::{FieldWay, Greedy, Place, greedy, prompt},
};
use anyhow::{Context as _, Result, ensure};
use bench_llamacpp::llama::{self, Batch, Context, ContextOptions, Model, Pooling, Token};
use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

/// The text that prompts are cut from, Wingbeat's own.
pub(crate) const TEXT: &str = include_str!("../../../../crates/wingbeat-cli/src/commands/bench/text.txt");
/// Tokens between start and first token.
const START_TOKENS: usize = 16;
/// Tokens of a document.
const DOCUMENT: usize = 512;
/// Prompts continued from a document, and the tokens of each.
const FIELDS: (usize, usize) = (8, 64);
/// Tokens generated between two looks at the clock.
const BLOCK: usize = 10;
/// Tokens whose logits are compared.
const AGREE_TOKENS: usize = 64;
/// Lengths of micro-batches to choose from; 512 is llama.cpp's own choice.
const MICRO_BATCHES: [usize; 4] = [512, 256, 1024, 2048];

/// `load_ms`, `start_to_first_token_ms`: the first opening in the process; `vocab_load_ms`: the vocabulary alone, after that.
/// Leaves the model open.
pub(crate) fn load(arguments: &Arguments, report: &mut Report) -> Result<Model> {
    let started = Instant::now();
    let model = Model::open(&arguments.model, arguments.device)?;
    let mut context = Context::new(&model, one_sequence(arguments.n_threads))?;
    let load = started.elapsed();
    let tokens = take(&text_tokens(&model)?, 0, START_TOKENS);
    let mut batch = prompt(&tokens);
    context.decode(&mut batch)?;
    std::hint::black_box(greedy(context.logits()?));
    let first_token = started.elapsed();
    report.note("load_ms", load.as_secs_f64() * 1e3);
    report.note("start_to_first_token_ms", first_token.as_secs_f64() * 1e3);
    drop(context);
    let started = Instant::now();
    drop(Model::open_vocabulary(&arguments.model)?);
    report.note("vocab_load_ms", started.elapsed().as_secs_f64() * 1e3);
    Ok(model)
}

/// What one sequence needs.
fn one_sequence(n_threads: usize) -> ContextOptions {
    ContextOptions {
        n_sequences: 1,
        n_batch: DOCUMENT,
        n_ubatch: DOCUMENT,
        n_outputs: 1,
        n_threads,
        pooling: None,
        choose_tokens: false,
    }
}

/// Tokens to run: the text's; where there is no vocabulary, any.
fn text_tokens(model: &Model) -> Result<Vec<Token>> {
    if !model.has_vocabulary() {
        return Ok(any_tokens(model.n_vocab()));
    }
    let mut tokens = Vec::new();
    model.tokenize(TEXT, &mut tokens)?;
    ensure!(!tokens.is_empty(), "the vocabulary makes no tokens of the text");
    Ok(tokens)
}

/// The tokens that `wingbeat bench` runs of a model without a vocabulary: 251 spread over it by a linear congruence
/// (Knuth's constants), without token 0.
pub(crate) fn any_tokens(n_vocab: usize) -> Vec<Token> {
    let above_zero = (n_vocab as u64).saturating_sub(1).max(1);
    let mut x = 1u64;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((1 + (x >> 33) % above_zero) as Token).min(n_vocab as Token - 1)
    };
    (0..251).map(|_| next()).collect()
}

/// `n` tokens from token `start` on, over and over.
fn take(tokens: &[Token], start: usize, n: usize) -> Vec<Token> {
    tokens.iter().copied().cycle().skip(start % tokens.len().max(1)).take(n).collect()
}

/// The most memory that the process has held, in MiB; none where Linux does not say.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// The model under test, open and ready.
pub(crate) struct Subject<'a> {
    model: &'a Model,
    /// The text's tokens.
    tokens: Vec<Token>,
    n_threads: usize,
    budget: Duration,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(model: &'a Model, arguments: &Arguments) -> Result<Subject<'a>> {
        let tokens = text_tokens(model)?;
        Ok(Subject { model, tokens, n_threads: arguments.n_threads, budget: arguments.budget })
    }

    fn take(&self, start: usize, n: usize) -> Vec<Token> {
        take(&self.tokens, start, n)
    }

    /// `tokenize_us`, `tokenize_mb_s`.
    pub(crate) fn tokenize(&self, report: &mut Report) -> Result<()> {
        if !self.model.has_vocabulary() {
            report.cannot("tokenize_us", "the model has no vocabulary");
            report.cannot("tokenize_mb_s", "the model has no vocabulary");
            return Ok(());
        }
        let mut tokens = Vec::new();
        let seconds = time(
            self.budget,
            || {
                self.model.tokenize(std::hint::black_box(TEXT), &mut tokens)?;
                std::hint::black_box(&tokens);
                Ok(())
            },
            |seconds| seconds,
        )?;
        report.figure("tokenize_us", seconds.map(|seconds| seconds * 1e6));
        report.figure("tokenize_mb_s", seconds.map(|seconds| TEXT.len() as f64 / seconds / 1e6));
        Ok(())
    }

    /// `prefill512_tok_s`, `prefill2048_tok_s`.
    pub(crate) fn prefill(&self, report: &mut Report) -> Result<()> {
        for n in [512, 2048] {
            let mut best: Option<(f64, usize)> = None;
            for n_ubatch in MICRO_BATCHES.into_iter().filter(|&n_ubatch| n_ubatch <= n) {
                let seconds = glance(self.budget, self.prefill_run(n, n_ubatch)?)?;
                if best.is_none_or(|(least, _)| seconds < least) {
                    best = Some((seconds, n_ubatch));
                }
            }
            let (_, n_ubatch) = best.context("no length of micro-batches to choose from")?;
            let spread = time(self.budget, self.prefill_run(n, n_ubatch)?, |seconds| n as f64 / seconds)?;
            let key = format!("prefill{n}_tok_s");
            report.figure(&key, spread);
            report.way(&key, &format!("micro-batches of {n_ubatch} tokens"));
        }
        Ok(())
    }

    /// A prompt of `n` tokens from a fresh state to its last token's logits.
    fn prefill_run(&self, n: usize, n_ubatch: usize) -> Result<impl FnMut() -> Result<()> + use<'a>> {
        let options = ContextOptions { n_batch: n, n_ubatch, ..one_sequence(self.n_threads) };
        let mut context = Context::new(self.model, options)?;
        let mut batch = prompt(&self.take(0, n));
        Ok(move || {
            context.clear();
            context.decode(&mut batch)?;
            std::hint::black_box(context.logits()?);
            Ok(())
        })
    }

    /// `gen_tok_s`, and both ways to it.
    pub(crate) fn generate(&self, report: &mut Report) -> Result<()> {
        const PROMPT: usize = 32;
        let prompts = [self.take(0, PROMPT)];
        let rate = |seconds| BLOCK as f64 / seconds;
        self.by_both_places("gen", &prompts, BLOCK, rate, report)
    }

    /// `parN_tok_s`, and both ways to it.
    pub(crate) fn parallel(&self, n: usize, report: &mut Report) -> Result<()> {
        const PROMPT: usize = 8;
        let most = llama::max_sequences();
        if n > most {
            report.cannot(&format!("par{n}_tok_s"), &format!("a context holds {most} sequences at most"));
            return Ok(());
        }
        let prompts: Vec<Vec<Token>> = (0..n).map(|i| self.take(i * PROMPT, PROMPT)).collect();
        self.by_both_places(&format!("par{n}"), &prompts, 1, |seconds| n as f64 / seconds, report)
    }

    /// Greedy texts, timed in blocks of `n_steps`: tokens picked by the caller from logits, and by llama.cpp where the
    /// model computes.
    fn by_both_places(
        &self,
        name: &str,
        prompts: &[Vec<Token>],
        n_steps: usize,
        rate: impl Fn(f64) -> f64,
        report: &mut Report,
    ) -> Result<()> {
        let measure = |place| {
            let mut texts = Greedy::new(self.model, prompts, place, self.n_threads)?;
            // Steps for buffers and caches.
            for _ in 0..3 {
                texts.step()?;
            }
            time(self.budget, || (0..n_steps).try_for_each(|_| texts.step()), &rate)
        };
        let by_logits = measure(Place::Caller)?;
        report.figure(&format!("{name}_logits_tok_s"), by_logits);
        let mut ways = vec![(Place::Caller.name(), by_logits)];
        // Not every part of llama.cpp that computes has what it takes.
        let key = format!("{name}_backend_sampler_tok_s");
        match measure(Place::Device) {
            Ok(spread) => {
                report.figure(&key, spread);
                ways.push((Place::Device.name(), spread));
            }
            Err(error) => report.cannot(&key, &format!("{error:#}")),
        }
        report.best(&format!("{name}_tok_s"), &ways, |a, b| a > b);
        Ok(())
    }

    /// `doc_state_ms`.
    pub(crate) fn document_state(&self, report: &mut Report) -> Result<()> {
        let mut context = Context::new(self.model, one_sequence(self.n_threads))?;
        let mut batch = self.document();
        let mut state = Vec::new();
        let run = || {
            context.clear();
            context.decode(&mut batch)?;
            context.read_state(0, &mut state)
        };
        report.figure("doc_state_ms", time(self.budget, run, |seconds| seconds * 1e3)?);
        report.note("state_bytes", state.len());
        Ok(())
    }

    /// A document's tokens, of which nothing is wanted but the state.
    fn document(&self) -> Batch {
        let mut batch = Batch::default();
        batch.extend(&self.take(0, DOCUMENT), 0, 0, false);
        batch
    }

    /// `field_analysis_ms`, and the ways to it.
    pub(crate) fn fields(&self, report: &mut Report) -> Result<()> {
        let (n_fields, n_tokens) = FIELDS;
        let fields: Vec<Vec<Token>> =
            (0..n_fields).map(|field| self.take(1000 + 37 * field, n_tokens)).collect();
        // One more than there are fields, for the document.
        let mut context = Context::new(
            self.model,
            ContextOptions { n_sequences: n_fields + 1, n_outputs: n_fields, ..one_sequence(self.n_threads) },
        )?;
        let mut state = Vec::new();
        context.decode(&mut self.document())?;
        context.read_state(0, &mut state)?;
        let mut ways: Vec<(&str, Spread)> = Vec::new();
        for way in FieldWay::ALL {
            let run = || way.run(&mut context, &state, DOCUMENT, &fields);
            let spread = time(self.budget, run, |seconds| seconds * 1e3)?;
            report.figure(way.key(), spread);
            ways.push((way.name(), spread));
        }
        report.best("field_analysis_ms", &ways, |a, b| a < b);
        Ok(())
    }

    /// `embed_ms`, and the ways to it.
    pub(crate) fn embed(&self, report: &mut Report) -> Result<()> {
        let tokens = self.take(0, DOCUMENT);
        let options = |pooling, n_outputs| ContextOptions {
            n_outputs,
            pooling: Some(pooling),
            ..one_sequence(self.n_threads)
        };
        let ms = |seconds| seconds * 1e3;
        let mut batch = prompt(&tokens);
        let mut mean = Context::new(self.model, options(Pooling::Mean, DOCUMENT))?;
        let by_mean = time(
            self.budget,
            || {
                mean.clear();
                mean.decode(&mut batch)?;
                std::hint::black_box(mean.vector(0)?);
                Ok(())
            },
            ms,
        )?;
        drop(mean);
        // Where vectors are on, llama.cpp computes every token's logits, too: only the last token runs with them.
        let (before, end) = tokens.split_at(DOCUMENT - 1);
        let (mut before_it, mut last) = (Batch::default(), Batch::default());
        before_it.extend(before, 0, 0, false);
        last.extend(end, before.len(), 0, true);
        let mut context = Context::new(self.model, options(Pooling::Last, 1))?;
        let by_last = time(
            self.budget,
            || {
                context.clear();
                context.set_vectors(false);
                context.decode(&mut before_it)?;
                context.set_vectors(true);
                context.decode(&mut last)?;
                std::hint::black_box(context.vector(0)?);
                Ok(())
            },
            ms,
        )?;
        report.figure("embed_last_ms", by_last);
        report.figure("embed_mean_ms", by_mean);
        let ways = [("last token, vectors switched on for it alone", by_last), ("mean", by_mean)];
        report.best("embed_ms", &ways, |a, b| a < b);
        Ok(())
    }

    /// `agree_tokens`, `agree_vocab`, and the logits of those tokens in a file: (64, V), little-endian f32.
    pub(crate) fn agree(&self, path: Option<&Path>, report: &mut Report) -> Result<()> {
        let path = path.context("--logits FILE is missing")?;
        let tokens = self.take(0, AGREE_TOKENS);
        let options = ContextOptions { n_outputs: AGREE_TOKENS, ..one_sequence(self.n_threads) };
        let mut context = Context::new(self.model, options)?;
        let mut batch = Batch::default();
        for (position, &token) in tokens.iter().enumerate() {
            batch.push(token, position, 0, true);
        }
        context.decode(&mut batch)?;
        let unfinished = path.with_added_extension("unfinished");
        let write = |logits: &[f32]| -> std::io::Result<()> {
            let mut file = std::io::BufWriter::new(std::fs::File::create(&unfinished)?);
            for logit in logits {
                file.write_all(&logit.to_le_bytes())?;
            }
            file.flush()?;
            std::fs::rename(&unfinished, path)
        };
        write(context.logits()?).with_context(|| path.display().to_string())?;
        report.note("agree_tokens", tokens);
        report.note("agree_vocab", self.model.n_vocab());
        Ok(())
    }
}
