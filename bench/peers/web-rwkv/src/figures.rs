//! What is timed: one function a group of figures. `bench/README.md` says of each from where to where.

use std::{hint::black_box, time::Instant};

use anyhow::{Context, Result};

use crate::{
    engine::{Engine, Logits, Sequences, Side, Source},
    measure::{Clock, Report},
    parallel::{self, picks},
};

/// The text that prompts are cut from: 1025 bytes, the one that `wingbeat bench` uses.
const TEXT: &str = include_str!("../../../../crates/wingbeat-cli/src/commands/bench/text.txt");
/// Tokens between start and first token.
const START_TOKENS: usize = 16;
/// Tokens of a document.
const DOCUMENT: usize = 512;
/// Prompts continued from a document, and the tokens of each.
const FIELDS: (usize, usize) = (8, 64);
/// Tokens generated between two looks at the clock.
const BLOCK: usize = 10;
/// Tokens whose logits are compared between engines.
const AGREE_TOKENS: usize = 64;
/// The chunk that other ways are compared with: web-rwkv's smallest.
pub(crate) const SMALL_CHUNK: usize = 32;
/// Chunks of one sequence that are tried. From 256 tokens on the state is wrong.
const CHUNKS: [usize; 4] = [64, 128, 192, 224];

/// Tokens to run: the text's, over and over; where there is no vocabulary, any.
pub(crate) struct Prompts(Vec<u32>);

impl Prompts {
    pub(crate) fn new(engine: &Engine) -> Result<Prompts> {
        let Some(tokenizer) = &engine.tokenizer else { return Ok(Prompts(any_tokens(engine.n_vocab()))) };
        Ok(Prompts(tokenizer.encode(TEXT.as_bytes()).context("the text")?))
    }

    /// `n` tokens from token `start` on.
    pub(crate) fn take(&self, start: usize, n: usize) -> Vec<u32> {
        let skipped = start % self.0.len().max(1);
        self.0.iter().copied().cycle().skip(skipped).take(n).collect()
    }
}

/// 251 tokens spread over the vocabulary, as `wingbeat bench` makes them: a linear congruence (Knuth's constants), without
/// token 0.
pub(crate) fn any_tokens(n_vocab: usize) -> Vec<u32> {
    let last = (n_vocab as u64).saturating_sub(1);
    let mut x = 1u64;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (1 + (x >> 33) % last.max(1)).min(last) as u32
    };
    (0..251).map(|_| next()).collect()
}

/// The model under test.
pub(crate) struct Subject {
    pub(crate) engine: Engine,
    prompts: Prompts,
    /// Room for one sequence.
    one: Sequences,
    n_threads: usize,
}

impl Subject {
    /// Opens the model; if `timed`, `load_ms` and `start_to_first_token_ms`.
    pub(crate) fn open(source: &Source<'_>, timed: bool, report: &mut Report) -> Result<Subject> {
        let started = Instant::now();
        let engine = Engine::open(source)?;
        let one = engine.sequences(1)?;
        let load = started.elapsed();
        let prompts = Prompts::new(&engine)?;
        if timed {
            let logits = one.feed(&[prompts.take(0, START_TOKENS)], SMALL_CHUNK)?;
            black_box(picks(&logits, 1)?);
            let first_token = started.elapsed();
            report.put("load_ms", load.as_secs_f64() * 1e3);
            report.put("start_to_first_token_ms", first_token.as_secs_f64() * 1e3);
        }
        Ok(Subject { engine, prompts, one, n_threads: source.n_threads })
    }

    /// `tokenize_us`, `tokenize_mb_s`.
    pub(crate) fn tokenize(&self, clock: Clock, report: &mut Report) -> Result<()> {
        let Some(tokenizer) = &self.engine.tokenizer else {
            for key in ["tokenize_us", "tokenize_mb_s"] {
                report.cannot(key, "no vocabulary: --vocab names it");
            }
            return Ok(());
        };
        let seconds = clock.time(|| {
            black_box(tokenizer.encode(black_box(TEXT.as_bytes()))?);
            Ok(())
        })?;
        report.put_runs("tokenize_us", seconds.iter().map(|seconds| seconds * 1e6));
        report.put_runs("tokenize_mb_s", seconds.iter().map(|seconds| TEXT.len() as f64 / seconds / 1e6));
        Ok(())
    }

    /// `prefill512_tok_s`, `prefill2048_tok_s`.
    pub(crate) fn prefill(&self, clock: Clock, report: &mut Report) -> Result<()> {
        for n in [512, 2048] {
            let tokens = [self.prompts.take(0, n)];
            let way = self.fastest_prompt(&tokens)?;
            let seconds = clock.time(|| {
                black_box(self.prompt(&tokens, way)?);
                Ok(())
            })?;
            let key = format!("prefill{n}_tok_s");
            report.put_runs(&key, seconds.iter().map(|seconds| n as f64 / seconds));
            report.put(format!("prefill{n}_way"), said(way));
        }
        Ok(())
    }

    /// `parN_tok_s`.
    pub(crate) fn parallel(&self, clock: Clock, n: usize, report: &mut Report) -> Result<()> {
        const PROMPT: usize = 8;
        let prompts: Vec<Vec<u32>> = (0..n).map(|i| self.prompts.take(i * PROMPT, PROMPT)).collect();
        let (seconds, size) = parallel::steps(&self.engine, &prompts, self.n_threads, clock)?;
        report.put_runs(&format!("par{n}_tok_s"), seconds.iter().map(|seconds| n as f64 / seconds));
        let grouped =
            if size == n { "all at once".into() } else { format!("groups of {size} at the same time") };
        report.put(format!("par{n}_way"), format!("{grouped}, greedy tokens picked on the host"));
        Ok(())
    }

    /// `doc_state_ms`.
    pub(crate) fn document_state(&self, clock: Clock, report: &mut Report) -> Result<()> {
        let tokens = [self.prompts.take(0, DOCUMENT)];
        let way = self.fastest_prompt(&tokens)?;
        let seconds = clock.time(|| {
            self.prompt(&tokens, way)?;
            black_box(self.one.state()?);
            Ok(())
        })?;
        report.put_runs("doc_state_ms", seconds.iter().map(|seconds| seconds * 1e3));
        report.put("doc_state_way", said(way));
        Ok(())
    }

    /// `field_analysis_ms`.
    pub(crate) fn fields(&self, clock: Clock, report: &mut Report) -> Result<()> {
        self.prompt(&[self.prompts.take(0, DOCUMENT)], (SMALL_CHUNK, Side::Host))?;
        let document = self.one.state()?;
        let (n_fields, n_tokens) = FIELDS;
        let fields: Vec<Vec<u32>> =
            (0..n_fields).map(|field| self.prompts.take(1000 + 37 * field, n_tokens)).collect();
        let beside = self.engine.sequences(n_fields)?;
        // None: one after the other.
        let mut ways = vec![None];
        for chunk in [128, 256, 512] {
            ways.extend([Some((chunk, Side::Host)), Some((chunk, Side::Device))]);
        }
        let run = |way: Option<(usize, Side)>| -> Result<Vec<Logits>> {
            if let Some((chunk, from)) = way {
                beside.set(&document, from)?;
                return beside.feed(&fields, chunk);
            }
            let mut logits = Vec::new();
            for field in &fields {
                self.one.set(&document, Side::Host)?;
                logits.append(&mut self.one.feed(std::slice::from_ref(field), n_tokens)?);
            }
            Ok(logits)
        };
        let way = fastest(&ways, None, run)?;
        let seconds = clock.time(|| {
            black_box(run(way)?);
            Ok(())
        })?;
        report.put_runs("field_analysis_ms", seconds.iter().map(|seconds| seconds * 1e3));
        let way = match way {
            None => "one after the other".to_owned(),
            Some((chunk, from)) => format!("side by side in {}", said((chunk, from))),
        };
        report.put("fields_way", way);
        Ok(())
    }

    /// `gen_tok_s`.
    pub(crate) fn generate(&self, clock: Clock, report: &mut Report) -> Result<()> {
        const PROMPT: usize = 32;
        let mut logits = self.prompt(&[self.prompts.take(0, PROMPT)], (SMALL_CHUNK, Side::Host))?;
        let seconds = clock.time(|| {
            for _ in 0..BLOCK {
                logits = self.one.feed(&[picks(&logits, 1)?], SMALL_CHUNK)?;
            }
            Ok(())
        })?;
        report.put_runs("gen_tok_s", seconds.iter().map(|seconds| BLOCK as f64 / seconds));
        report.put("gen_way", "greedy tokens picked on the host");
        Ok(())
    }

    /// The text's first tokens, and the logits of each as little-endian f32.
    pub(crate) fn agree(&self, report: &mut Report) -> Result<Vec<u8>> {
        let tokens = self.prompts.take(0, AGREE_TOKENS);
        self.one.clear(Side::Host)?;
        let logits = self.one.feed_all(tokens.clone(), SMALL_CHUNK)?;
        report.put("agree_tokens", tokens);
        report.put("agree_vocab", self.engine.n_vocab());
        Ok(logits.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Runs a prompt from a fresh state.
    fn prompt(&self, tokens: &[Vec<u32>; 1], (chunk, zeros): (usize, Side)) -> Result<Vec<Logits>> {
        self.one.clear(zeros)?;
        self.one.feed(tokens, chunk)
    }

    /// The chunk that runs a prompt fastest, and where from its state is best made zero.
    fn fastest_prompt(&self, tokens: &[Vec<u32>; 1]) -> Result<(usize, Side)> {
        let right = self.prompt(tokens, (SMALL_CHUNK, Side::Host))?;
        let run = |way| self.prompt(tokens, way);
        let (chunk, _) = fastest(&CHUNKS.map(|chunk| (chunk, Side::Host)), Some(&right), run)?;
        fastest(&[Side::Host, Side::Device].map(|zeros| (chunk, zeros)), Some(&right), run)
    }
}

/// A way of calling, in words.
fn said((chunk, from): (usize, Side)) -> String {
    let from = if from == Side::Host { "the host" } else { "the GPU" };
    format!("chunks of {chunk} tokens, first states from {from}")
}

/// The way that takes least, by one run each after a first one, among those that give the right logits: `right`, or those
/// of the first way.
fn fastest<W: Copy + std::fmt::Debug>(
    ways: &[W],
    right: Option<&[Logits]>,
    run: impl Fn(W) -> Result<Vec<Logits>>,
) -> Result<W> {
    let mut best: Option<(f64, W)> = None;
    let mut first = None;
    for &way in ways {
        // It makes the pipelines, too.
        let logits = run(way)?;
        let right = right.unwrap_or(first.get_or_insert(logits));
        let started = Instant::now();
        let logits = run(way)?;
        let seconds = started.elapsed().as_secs_f64();
        let difference = right.iter().zip(&logits).map(|(a, b)| difference(a.values(), b.values()));
        let difference = difference.fold(0.0, f32::max);
        // Halves and another order of sums: far below this; a wrong state: far above.
        let is_right = difference < 0.1;
        eprintln!("{way:?}: {:.2} ms, logits differ by {difference:.4}", seconds * 1e3);
        if is_right && best.is_none_or(|(least, _)| seconds < least) {
            best = Some((seconds, way));
        }
    }
    best.map(|(_, way)| way).context("no way of calling web-rwkv gives the same logits as small chunks do")
}

/// The largest difference between `right` and other logits, in standard deviations of `right`; infinite if there are no
/// numbers.
pub(crate) fn difference(right: &[f32], other: &[f32]) -> f32 {
    let n = right.len().max(1) as f32;
    let mean = right.iter().sum::<f32>() / n;
    let deviation = (right.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt();
    let differences = right.iter().zip(other).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, |most: f32, x| if x > most || x.is_nan() { x } else { most });
    let relative = largest / deviation.max(f32::MIN_POSITIVE);
    if relative.is_nan() || right.len() != other.len() { f32::INFINITY } else { relative }
}

/// The token with the greatest logit.
pub(crate) fn pick(logits: &[f32]) -> Result<u32> {
    // Lane by lane: a search for the greatest alone becomes vector instructions.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (whole, rest) = logits.as_chunks::<16>();
    for chunk in whole {
        lanes = std::array::from_fn(|i| if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] });
    }
    let greatest = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    let token = logits.iter().position(|&logit| logit == greatest && logit.is_finite());
    token.map(|token| token as u32).context("logits that are no numbers")
}
