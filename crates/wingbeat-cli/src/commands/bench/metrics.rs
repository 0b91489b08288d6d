//! What is timed: one method a group of figures. `bench/README.md` says of each from where to where.

use super::{
    bounds::{self, Demand},
    machine,
    measure::{Clock, Samples, Spread},
    report::{Report, Unit},
};
use crate::args::ModelArgs;
use anyhow::Context;
use std::time::{Duration, Instant};
use wingbeat::{
    Batch, EmbedOptions, GenerateOptions, Model, Output, Pooling, Sequence, State, Want,
    sampler::{Sampler, SamplerConfig},
};
use wingbeat_model::Catalog;

/// The text that prompts are cut from: 1025 bytes, 230 to 260 tokens.
const TEXT: &str = include_str!("text.txt");
/// Tokens between start and first token.
const START_TOKENS: usize = 16;
/// Tokens of a document.
const DOCUMENT: usize = 512;
/// Prompts continued from a document, and the tokens of each.
const FIELDS: (usize, usize) = (8, 64);
/// Tokens generated between two looks at the clock.
const BLOCK: usize = 10;

/// Tokens to run: the text's, over and over; where there is no vocabulary, any.
struct Prompts(Vec<u32>);

impl Prompts {
    fn new(model: &Model) -> Prompts {
        let of_text = model.tokenizer().ok().and_then(|tokenizer| tokenizer.encode(TEXT.as_bytes()).ok());
        Prompts(of_text.filter(|tokens| !tokens.is_empty()).unwrap_or_else(|| any_tokens(model)))
    }

    /// `n` tokens from token `start` on.
    fn take(&self, start: usize, n: usize) -> Vec<u32> {
        self.0.iter().copied().cycle().skip(start % self.0.len()).take(n).collect()
    }
}

/// 251 tokens spread over the vocabulary by a linear congruence (Knuth's constants), without token 0.
fn any_tokens(model: &Model) -> Vec<u32> {
    let above_zero = (model.config().n_vocab as u64).saturating_sub(1).max(1);
    let mut x = 1u64;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A vocabulary of one token has nothing but token 0.
        ((1 + (x >> 33) % above_zero) as u32).min(model.config().n_vocab as u32 - 1)
    };
    (0..251).map(|_| next()).collect()
}

/// The model under test, open and ready.
pub(super) struct Subject {
    model: Model,
    prompts: Prompts,
    n_threads: usize,
}

/// `load_ms`, `start_to_first_token_ms`.
pub(super) fn load(clock: &Clock<'_>, args: &ModelArgs, report: &mut Report) -> anyhow::Result<()> {
    // The very first opening goes on to its first token: both figures of what nothing in this process has warmed.
    let (first_load, first_token) = start(args)?;
    let samples = clock.timed(|| {
        let started = Instant::now();
        let model = open(args)?;
        let time = started.elapsed();
        drop(model);
        Ok(time)
    })?;
    push_ms(report, "load_ms", &samples);
    report.push_one("load_ms_first", Unit::Milliseconds, Some(first_load.as_secs_f64() * 1e3));
    let samples = clock.timed(|| Ok(start(args)?.1))?;
    push_ms(report, "start_to_first_token_ms", &samples);
    report.push_one(
        "start_to_first_token_ms_first",
        Unit::Milliseconds,
        Some(first_token.as_secs_f64() * 1e3),
    );
    Ok(())
}

/// Opens the model, vocabulary included. Without a vocabulary a model runs all the same.
fn open(args: &ModelArgs) -> anyhow::Result<Model> {
    let model = args.open()?;
    std::hint::black_box(model.tokenizer().is_ok());
    Ok(model)
}

/// Opens the model and runs it to its first token; how long until it was open, and until then.
fn start(args: &ModelArgs) -> anyhow::Result<(Duration, Duration)> {
    let started = Instant::now();
    let model = open(args)?;
    let opened = started.elapsed();
    let tokens = Prompts::new(&model).take(0, START_TOKENS);
    let mut state = model.new_state()?;
    let mut logits = run(&model, &mut state, &tokens, Want::LAST_LOGITS)?.logits;
    Sampler::new(SamplerConfig::greedy())?.sample(&mut logits)?;
    Ok((opened, started.elapsed()))
}

impl Subject {
    pub(super) fn new(args: &ModelArgs) -> anyhow::Result<Subject> {
        let model = args.open()?;
        Ok(Subject { prompts: Prompts::new(&model), model, n_threads: args.n_threads() })
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// `tokenize_us`, `tokenize_mb_s`.
    pub(super) fn tokenize(&self, clock: &Clock<'_>, report: &mut Report) -> anyhow::Result<()> {
        let Ok(tokenizer) = self.model.tokenizer() else {
            report.push_one("tokenize_us", Unit::Microseconds, None);
            report.push_one("tokenize_mb_s", Unit::MegabytesPerSecond, None);
            return Ok(());
        };
        let samples = clock.time(|| {
            std::hint::black_box(tokenizer.encode(std::hint::black_box(TEXT.as_bytes()))?);
            Ok(())
        })?;
        let bytes = TEXT.len() as f64;
        report.push("tokenize_us", Unit::Microseconds, Spread::of(samples.figures(|s| s * 1e6)));
        let rates = Spread::of(samples.figures(|seconds| bytes / seconds / 1e6));
        report.push("tokenize_mb_s", Unit::MegabytesPerSecond, rates);
        Ok(())
    }

    /// `prefill512_tok_s`, `prefill2048_tok_s`.
    pub(super) fn prefill(&self, clock: &Clock<'_>, report: &mut Report) -> anyhow::Result<()> {
        for n in [512, 2048] {
            let tokens = self.prompts.take(0, n);
            let samples = clock.time(|| {
                let mut state = self.model.new_state()?;
                run(&self.model, &mut state, &tokens, Want::LAST_LOGITS)?;
                Ok(())
            })?;
            let rates = Spread::of(samples.figures(|seconds| n as f64 / seconds));
            let demand = Demand { tokens: n, sequences: 1, logits: 1 };
            report.push_run(format!("prefill{n}_tok_s"), Unit::TokensPerSecond, rates, demand);
            if n == 512 {
                report.push_llama_bench("pp512", rates);
            }
        }
        Ok(())
    }

    /// `parN_tok_s`, and on a GPU `parN_logits_tok_s`.
    pub(super) fn parallel(&self, clock: &Clock<'_>, n: usize, report: &mut Report) -> anyhow::Result<()> {
        const PROMPT: usize = 8;
        let prompts: Vec<Vec<u32>> = (0..n).map(|i| self.prompts.take(i * PROMPT, PROMPT)).collect();
        let by_logits = self.parallel_by_logits(prompts.clone(), clock)?;
        let demand = Demand { tokens: n, sequences: n, logits: n };
        let rates = match self.model.adapter().and(self.model.tokenizer().ok()) {
            // A GPU chooses tokens itself and need not be waited for.
            Some(_) => {
                report.push_run(format!("par{n}_logits_tok_s"), Unit::TokensPerSecond, by_logits, demand);
                self.parallel_texts(&prompts, clock)?
            }
            None => by_logits,
        };
        report.push_run(format!("par{n}_tok_s"), Unit::TokensPerSecond, rates, demand);
        Ok(())
    }

    /// A token each a step, picked from logits in the caller's memory.
    fn parallel_by_logits(&self, mut tokens: Vec<Vec<u32>>, clock: &Clock<'_>) -> anyhow::Result<Spread> {
        let n = tokens.len();
        let mut states = (0..n).map(|_| self.model.new_state()).collect::<Result<Vec<State>, _>>()?;
        let mut samplers =
            (0..n).map(|_| Sampler::new(SamplerConfig::greedy())).collect::<Result<Vec<_>, _>>()?;
        let mut outputs = Vec::new();
        let mut step = || -> anyhow::Result<()> {
            let mut sequences: Vec<Sequence<'_>> = states
                .iter_mut()
                .zip(&tokens)
                .map(|(state, tokens)| Sequence { state, tokens, want: Want::LAST_LOGITS })
                .collect();
            self.model.forward_into(&mut sequences, &mut outputs, &mut |_| true)?;
            pick(&mut outputs, &mut samplers, &mut tokens, self.n_threads)
        };
        // The prompts, and steps for buffers and caches.
        for _ in 0..3 {
            step()?;
        }
        let samples = clock.time(step)?;
        Ok(Spread::of(samples.figures(|seconds| n as f64 / seconds)))
    }

    /// Greedy texts side by side, as programs ask for them.
    fn parallel_texts(&self, prompts: &[Vec<u32>], clock: &Clock<'_>) -> anyhow::Result<Spread> {
        const STEPS: usize = 64;
        // They go on until nobody asks any more.
        let options = GenerateOptions { max_tokens: usize::MAX, stops: Vec::new(), stop_tokens: Vec::new() };
        let mut batch = Batch::new(&self.model);
        for prompt in prompts {
            batch.add(self.model.session(SamplerConfig::greedy())?, prompt, &options)?;
        }
        // The prompts and the first blocks, which are short, are in the warm-up.
        let n_tokens = STEPS * prompts.len();
        let samples = clock.time(|| {
            let end = batch.n_tokens() + n_tokens;
            while batch.n_tokens() < end {
                batch.next_event()?.context("a sequence without end has ended")?;
            }
            Ok(())
        })?;
        Ok(Spread::of(samples.figures(|seconds| n_tokens as f64 / seconds)))
    }

    /// `doc_state_ms`.
    pub(super) fn document_state(&self, clock: &Clock<'_>, report: &mut Report) -> anyhow::Result<()> {
        let tokens = self.prompts.take(0, DOCUMENT);
        let samples = clock.time(|| {
            std::hint::black_box(self.document(&tokens)?);
            Ok(())
        })?;
        let demand = Demand { tokens: DOCUMENT, sequences: 1, logits: 0 };
        report.push_run("doc_state_ms", Unit::Milliseconds, milliseconds(&samples), demand);
        Ok(())
    }

    /// Reads a document; its state's slabs in the caller's memory.
    fn document(&self, tokens: &[u32]) -> anyhow::Result<Vec<Vec<f32>>> {
        let state = self.model.states_of_tokens(&[tokens], &mut |_| true)?.remove(0);
        Ok(state.read_all()?.into_iter().map(|slab| slab.values).collect())
    }

    /// `field_analysis_ms`, `fields_of_state_ms`.
    pub(super) fn fields(&self, clock: &Clock<'_>, report: &mut Report) -> anyhow::Result<()> {
        let slabs = self.document(&self.prompts.take(0, DOCUMENT))?;
        let (n_fields, n_tokens) = FIELDS;
        let demand = Demand { tokens: n_fields * n_tokens, sequences: n_fields, logits: n_fields };
        let tokens: Vec<Vec<u32>> =
            (0..n_fields).map(|field| self.prompts.take(1000 + 37 * field, n_tokens)).collect();
        let samples = clock.time(|| {
            let mut document = self.model.new_state()?;
            document.write_all(&slabs)?;
            self.continue_with(&document, &tokens)
        })?;
        report.push_run("field_analysis_ms", Unit::Milliseconds, milliseconds(&samples), demand);
        let mut document = self.model.new_state()?;
        document.extend_tokens(&self.prompts.take(0, DOCUMENT), &mut |_| true)?;
        let samples = clock.time(|| self.continue_with(&document, &tokens))?;
        report.push_run("fields_of_state_ms", Unit::Milliseconds, milliseconds(&samples), demand);
        Ok(())
    }

    /// All fields of a document; the logits of each one's last token in the caller's memory.
    fn continue_with(&self, document: &State, fields: &[Vec<u32>]) -> anyhow::Result<()> {
        let want = Want::LAST_LOGITS;
        std::hint::black_box(self.model.continue_batch_tokens(document, fields, want, &mut |_| true)?);
        Ok(())
    }

    /// `embed_ms`, `embed_last_ms`, `embed_mean_ms`.
    pub(super) fn embed(&self, clock: &Clock<'_>, report: &mut Report) -> anyhow::Result<()> {
        let text = [self.prompts.take(0, DOCUMENT)];
        let spread = |pooling| -> anyhow::Result<Spread> {
            let options = EmbedOptions { pooling, ..EmbedOptions::default() };
            let samples = clock.time(|| {
                std::hint::black_box(self.model.embed_tokens(&text, &options, &mut |_| true)?);
                Ok(())
            })?;
            Ok(milliseconds(&samples))
        };
        let (last, mean) = (spread(Pooling::Last)?, spread(Pooling::Mean)?);
        let faster = if mean.median < last.median { mean } else { last };
        let demand = Demand { tokens: DOCUMENT, sequences: 1, logits: 0 };
        for (key, spread) in [("embed_ms", faster), ("embed_last_ms", last), ("embed_mean_ms", mean)] {
            report.push_run(key, Unit::Milliseconds, spread, demand);
        }
        Ok(())
    }

    /// `gen_tok_s`, and on a GPU `gen_logits_tok_s`.
    pub(super) fn generate(&self, clock: &Clock<'_>, report: &mut Report) -> anyhow::Result<()> {
        const PROMPT: usize = 32;
        let prompt = self.prompts.take(0, PROMPT);
        let mut sampler = Sampler::new(SamplerConfig::greedy())?;
        let mut state = self.model.new_state()?;
        let mut logits = run(&self.model, &mut state, &prompt, Want::LAST_LOGITS)?.logits;
        let samples = clock.time(|| {
            for _ in 0..BLOCK {
                let token = sampler.sample(&mut logits)?;
                logits = run(&self.model, &mut state, &[token], Want::LAST_LOGITS)?.logits;
            }
            Ok(())
        })?;
        let by_logits = Spread::of(samples.figures(|seconds| BLOCK as f64 / seconds));
        let demand = Demand { tokens: 1, sequences: 1, logits: 1 };
        let rates = match self.model.adapter().and(self.model.tokenizer().ok()) {
            // A GPU chooses tokens itself and need not be waited for.
            Some(_) => {
                report.push_run("gen_logits_tok_s", Unit::TokensPerSecond, by_logits, demand);
                self.generate_text(&prompt, clock)?
            }
            None => by_logits,
        };
        report.push_run("gen_tok_s", Unit::TokensPerSecond, rates, demand);
        report.push_llama_bench("tg128", rates);
        Ok(())
    }

    /// Greedy generation of text, as programs ask for it.
    fn generate_text(&self, prompt: &[u32], clock: &Clock<'_>) -> anyhow::Result<Spread> {
        const TOKENS: usize = 128;
        let mut session = self.model.session(SamplerConfig::greedy())?;
        session.feed(prompt, &mut |_| true)?;
        let options = GenerateOptions { max_tokens: TOKENS, stops: Vec::new(), stop_tokens: Vec::new() };
        let samples = clock.time(|| {
            session.generate(&options, &mut |_| true)?;
            Ok(())
        })?;
        Ok(Spread::of(samples.figures(|seconds| TOKENS as f64 / seconds)))
    }

    /// `read_gb_s`: the GPU tells its own.
    pub(super) fn read_bandwidth(&self, clock: &Clock<'_>, report: &mut Report) -> anyhow::Result<()> {
        if self.model.adapter().is_none() {
            return machine::read_bandwidth(clock, self.n_threads, report);
        }
        // What a gigabyte takes.
        let samples = clock.timed(|| {
            let rate = self.model.read_bandwidth().context("the GPU's memory could not be measured")?;
            Ok(Duration::from_secs_f64(1e9 / rate))
        })?;
        let spread = Spread::of(samples.figures(|seconds| 1.0 / seconds));
        report.push("read_gb_s", Unit::GigabytesPerSecond, spread);
        Ok(())
    }

    /// `multiply_tops`: in the arithmetic that prompts of this model go through.
    pub(super) fn multiply_rate(&self, clock: &Clock<'_>, report: &mut Report) -> anyhow::Result<()> {
        let catalog = Catalog::new(self.model.file(), self.model.config())?;
        let rate = || self.model.multiply_rate(bounds::main_type(&catalog)?);
        if rate().is_none() {
            report.push_one("multiply_tops", Unit::TeraOperationsPerSecond, None);
            return Ok(());
        }
        // What a thousand tera-operations take.
        let samples = clock.timed(|| {
            let rate = rate().context("the device no longer says how fast it multiplies")?;
            Ok(Duration::from_secs_f64(1e15 / rate))
        })?;
        let spread = Spread::of(samples.figures(|seconds| 1e3 / seconds));
        report.push("multiply_tops", Unit::TeraOperationsPerSecond, spread);
        Ok(())
    }
}

fn push_ms(report: &mut Report, key: &str, samples: &Samples) {
    report.push(key, Unit::Milliseconds, milliseconds(samples));
}

fn milliseconds(samples: &Samples) -> Spread {
    Spread::of(samples.figures(|seconds| seconds * 1e3))
}

/// One sequence's next tokens.
fn run(model: &Model, state: &mut State, tokens: &[u32], want: Want) -> anyhow::Result<Output> {
    Ok(model.forward(&mut [Sequence { state, tokens, want }])?.pop().unwrap_or_default())
}

/// What one sequence's next token is picked from, and where it goes.
type Logits<'a> = ((&'a mut Output, &'a mut Sampler), &'a mut Vec<u32>);

/// Each sequence's next token, by several threads where that is worth their start.
fn pick(
    outputs: &mut [Output],
    samplers: &mut [Sampler],
    tokens: &mut [Vec<u32>],
    n_threads: usize,
) -> anyhow::Result<()> {
    /// Sequences a thread has at least.
    const SHARE: usize = 4;
    let share = outputs.len().div_ceil(n_threads.max(1)).max(SHARE);
    let mut sequences: Vec<_> = outputs.iter_mut().zip(samplers).zip(tokens).collect();
    let mut shares = sequences.chunks_mut(share);
    std::thread::scope(|scope| {
        let own = shares.next();
        let spawn = |share| std::thread::Builder::new().spawn_scoped(scope, move || pick_each(share));
        let threads: Vec<_> = shares.map(spawn).collect();
        own.map_or(Ok(()), pick_each)?;
        for thread in threads {
            thread?.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a sampling thread panicked")))?;
        }
        Ok(())
    })
}

fn pick_each(sequences: &mut [Logits<'_>]) -> anyhow::Result<()> {
    for ((output, sampler), tokens) in sequences {
        **tokens = vec![sampler.sample(&mut output.logits)?];
    }
    Ok(())
}
