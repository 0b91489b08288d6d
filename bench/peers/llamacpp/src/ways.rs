//! llama.cpp's ways to greedy texts and to prompts that continue a document.

use anyhow::Result;
use bench_llamacpp::llama::{Batch, Context, ContextOptions, Model, Token};

/// One sequence's tokens from the start, with the last one's output.
pub(crate) fn prompt(tokens: &[Token]) -> Batch {
    let mut batch = Batch::default();
    batch.extend(tokens, 0, 0, true);
    batch
}

/// The most likely token; of equal ones the first, and 0 where nothing can be compared.
pub(crate) fn greedy(logits: &[f32]) -> Token {
    // Independent lanes, which the compiler turns into vectors; then one look for where the greatest is.
    let mut lanes = [f32::NEG_INFINITY; 32];
    let (blocks, rest) = logits.as_chunks::<32>();
    for block in blocks {
        for (lane, &logit) in lanes.iter_mut().zip(block) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    let greatest = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&logit| logit == greatest).map_or(0, |token| token as Token)
}

/// Where a text's next token is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// By the caller, from logits in its memory.
    Caller,
    /// By llama.cpp's sampler, where the model computes.
    Device,
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Place::Caller => "picked from logits in the caller's memory",
            Place::Device => "picked by llama.cpp's sampler on the device",
        }
    }
}

/// Greedy texts side by side.
pub(crate) struct Greedy<'a> {
    context: Context<'a>,
    batch: Batch,
    /// Each sequence's next token.
    next: Vec<Token>,
    /// Each sequence's length.
    lengths: Vec<usize>,
    place: Place,
    n_vocab: usize,
    n_threads: usize,
}

impl<'a> Greedy<'a> {
    /// Runs the prompts and picks the first tokens.
    pub(crate) fn new(
        model: &'a Model,
        prompts: &[Vec<Token>],
        place: Place,
        n_threads: usize,
    ) -> Result<Greedy<'a>> {
        let n = prompts.len();
        let n_tokens: usize = prompts.iter().map(Vec::len).sum();
        let options = ContextOptions {
            n_sequences: n,
            n_batch: n_tokens.max(512),
            n_ubatch: 512,
            n_outputs: n,
            n_threads,
            pooling: None,
            choose_tokens: place == Place::Device,
        };
        let mut batch = Batch::default();
        let mut last = Vec::new();
        for (sequence, prompt) in prompts.iter().enumerate() {
            batch.extend(prompt, 0, sequence, true);
            last.push(batch.len() - 1);
        }
        let mut texts = Greedy {
            context: Context::new(model, options)?,
            batch,
            next: vec![0; n],
            lengths: prompts.iter().map(Vec::len).collect(),
            place,
            n_vocab: model.n_vocab(),
            n_threads,
        };
        texts.context.decode(&mut texts.batch)?;
        texts.pick(|sequence| last.get(sequence).copied().unwrap_or(usize::MAX))?;
        Ok(texts)
    }

    /// A token each.
    pub(crate) fn step(&mut self) -> Result<()> {
        self.batch.clear();
        for (sequence, (&token, length)) in self.next.iter().zip(&mut self.lengths).enumerate() {
            self.batch.push(token, *length, sequence, true);
            *length += 1;
        }
        self.context.decode(&mut self.batch)?;
        self.pick(|sequence| sequence)
    }

    /// The next tokens; `index` says where in the batch a sequence's last one is.
    fn pick(&mut self, index: impl Fn(usize) -> usize) -> Result<()> {
        match self.place {
            Place::Device => {
                for (sequence, next) in self.next.iter_mut().enumerate() {
                    *next = self.context.chosen(index(sequence))?;
                }
            }
            Place::Caller => {
                // Outputs come in the order of the batch, which is that of the sequences.
                let logits = self.context.logits()?;
                pick_each(logits, self.n_vocab, &mut self.next, self.n_threads);
            }
        }
        Ok(())
    }
}

/// Each sequence's most likely token, by several threads where that is worth their start.
fn pick_each(logits: &[f32], n_vocab: usize, next: &mut [Token], n_threads: usize) {
    /// Sequences a thread has at least.
    const SHARE: usize = 4;
    let pick = |logits: &[f32], next: &mut [Token]| {
        for (logits, next) in logits.chunks(n_vocab).zip(next) {
            *next = greedy(logits);
        }
    };
    let share = next.len().div_ceil(n_threads.max(1)).max(SHARE);
    let mut shares = logits.chunks(share * n_vocab).zip(next.chunks_mut(share));
    std::thread::scope(|scope| {
        let own = shares.next();
        for (logits, next) in shares {
            scope.spawn(move || pick(logits, next));
        }
        if let Some((logits, next)) = own {
            pick(logits, next);
        }
    });
}

/// How prompts continue a document whose state is in the caller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldWay {
    /// One after the other, the state written before each.
    OneByOne,
    /// All in one call, the state written into each one's sequence.
    Written,
    /// All in one call, the state written once and copied to each one's sequence.
    Copied,
}

impl FieldWay {
    pub(crate) const ALL: [FieldWay; 3] = [FieldWay::OneByOne, FieldWay::Written, FieldWay::Copied];

    pub(crate) fn name(self) -> &'static str {
        match self {
            FieldWay::OneByOne => "one after the other, the state written before each",
            FieldWay::Written => "in one call, the state written into each sequence",
            FieldWay::Copied => "in one call, the state written once and copied between sequences",
        }
    }

    pub(crate) fn key(self) -> &'static str {
        match self {
            FieldWay::OneByOne => "fields_one_by_one_ms",
            FieldWay::Written => "fields_written_ms",
            FieldWay::Copied => "fields_copied_ms",
        }
    }

    /// Runs all fields from the state of a document of `n_document` tokens; the logits of each one's last token are in the
    /// caller's memory. The context has one sequence more than there are fields.
    pub(crate) fn run(
        self,
        context: &mut Context<'_>,
        state: &[u8],
        n_document: usize,
        fields: &[Vec<Token>],
    ) -> Result<()> {
        let mut batch = Batch::default();
        context.clear();
        if self == FieldWay::OneByOne {
            for field in fields {
                context.clear();
                context.write_state(0, state)?;
                batch.clear();
                batch.extend(field, n_document, 0, true);
                context.decode(&mut batch)?;
                std::hint::black_box(context.logits()?);
            }
            return Ok(());
        }
        let document = fields.len();
        if self == FieldWay::Copied {
            context.write_state(document, state)?;
        }
        for (sequence, field) in fields.iter().enumerate() {
            match self {
                FieldWay::Copied => context.copy_state(document, sequence)?,
                _ => context.write_state(sequence, state)?,
            }
            batch.extend(field, n_document, sequence, true);
        }
        context.decode(&mut batch)?;
        std::hint::black_box(context.logits()?);
        Ok(())
    }
}
