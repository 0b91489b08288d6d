//! How well a model predicts a text, and how far its predictions are from another model's.

use crate::{Error, Model, Progress, Sequence, Want};
use std::ops::Range;

/// A text's perplexity under a model: one stream from the zero state, id 0 (end of document) before the first token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// Tokens predicted: all of the text's.
    pub tokens: usize,
    /// Bytes of the text.
    pub bytes: usize,
    /// Mean of `-ln p(token)`.
    pub nats_per_token: f64,
}

impl Perplexity {
    /// `e^nats_per_token`
    pub fn perplexity(&self) -> f64 {
        self.nats_per_token.exp()
    }

    /// Bits that the model needs for a byte of the text.
    pub fn bits_per_byte(&self) -> f64 {
        self.nats_per_token * self.tokens as f64 / std::f64::consts::LN_2 / self.bytes as f64
    }
}

/// Tokens whose logits are asked for at once, as far as their memory permits.
const CHUNK_TOKENS: usize = 256;
/// Bytes of logits asked for at once.
const CHUNK_BYTES: usize = 64 << 20;

/// How far a model's predictions of a text are from those of another one of the same vocabulary, whose distribution at
/// a position is `p` and this model's `q`.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// This model's own perplexity.
    pub perplexity: Perplexity,
    /// The other model's.
    pub reference: Perplexity,
    /// Part of the positions at which both think the same token the most likely.
    pub top1_agreement: f64,
    /// `KL(p‖q) = Σ p ln(p/q)` in nats at each position, in ascending order.
    kl: Vec<f32>,
}

impl Divergence {
    /// Mean of the Kullback-Leibler divergence, in nats a token.
    pub fn kl_mean(&self) -> f64 {
        self.kl.iter().map(|&kl| f64::from(kl)).sum::<f64>() / self.kl.len().max(1) as f64
    }

    /// The divergence that a part of the positions (0 to 1) do not exceed, in nats.
    pub fn kl_quantile(&self, part: f64) -> f64 {
        let at = (part.clamp(0.0, 1.0) * self.kl.len() as f64).ceil() as usize;
        self.kl.get(at.saturating_sub(1)).map_or(0.0, |&kl| f64::from(kl))
    }

    /// This model's perplexity over the other's.
    pub fn perplexity_ratio(&self) -> f64 {
        (self.perplexity.nats_per_token - self.reference.nats_per_token).exp()
    }
}

impl Model {
    /// The perplexity of a text. `progress` may stop it by returning false.
    ///
    /// # Errors
    /// The text is empty or has bytes that the vocabulary lacks, the device fails, or `progress` stopped it.
    pub fn perplexity(
        &self,
        text: &[u8],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Perplexity, Error> {
        let (inputs, targets) = stream(self, text)?;
        let n_vocab = self.config().n_vocab;
        let (mut nats, mut done) = (0.0, 0);
        each_chunk(&[self], &inputs, &mut |range, logits| {
            for (logits, &target) in logits[0].chunks_exact(n_vocab).zip(&targets[range.clone()]) {
                nats += surprise(logits, target);
            }
            done = range.end;
            progress(Progress { done, total: targets.len() })
        })?;
        Ok(Perplexity { tokens: done, bytes: text.len(), nats_per_token: nats / done as f64 })
    }

    /// How far this model's predictions of a text are from `reference`'s, which both are given token by token from the zero
    /// state. The tokens are this model's; of the logits, only those of some hundred tokens are in memory at a time.
    /// `progress` may stop it by returning false.
    ///
    /// # Errors
    /// As [`Model::perplexity`], and [`Error::OtherVocabulary`].
    pub fn divergence(
        &self,
        reference: &Model,
        text: &[u8],
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Divergence, Error> {
        let (inputs, targets) = stream(self, text)?;
        let n_vocab = self.config().n_vocab;
        // A file may well carry no vocabulary; one that does must mean the same tokens.
        let same = reference.tokenizer().map_or(true, |other| other.encode(text).is_ok_and(|t| t == targets));
        if reference.config().n_vocab != n_vocab || !same {
            return Err(Error::OtherVocabulary {
                model: self.file().label().to_owned(),
                reference: reference.file().label().to_owned(),
            });
        }
        let mut totals = Comparison::default();
        let mut kl = Vec::with_capacity(targets.len());
        each_chunk(&[self, reference], &inputs, &mut |range, logits| {
            let rows = logits[0].chunks_exact(n_vocab).zip(logits[1].chunks_exact(n_vocab));
            let rows: Vec<_> = rows.zip(&targets[range.clone()]).collect();
            for row in compare_all(&rows) {
                totals.nats += row.nats;
                totals.reference_nats += row.reference_nats;
                totals.agreements += row.agreements;
                kl.push(row.kl as f32);
            }
            progress(Progress { done: range.end, total: targets.len() })
        })?;
        kl.sort_by(f32::total_cmp);
        let (tokens, bytes) = (targets.len(), text.len());
        let of = |nats: f64| Perplexity { tokens, bytes, nats_per_token: nats / tokens as f64 };
        Ok(Divergence {
            perplexity: of(totals.nats),
            reference: of(totals.reference_nats),
            top1_agreement: totals.agreements as f64 / tokens as f64,
            kl,
        })
    }
}

/// What goes into a model for a text, id 0 before its first token, and what is to come out.
fn stream(model: &Model, text: &[u8]) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let targets = model.tokenizer()?.encode(text)?;
    if targets.is_empty() {
        return Err(Error::EmptyText);
    }
    let mut inputs = vec![0];
    inputs.extend_from_slice(&targets[..targets.len() - 1]);
    Ok((inputs, targets))
}

/// Takes the logits of each model for a range of tokens; false ends it.
type Take<'a> = dyn FnMut(Range<usize>, &[&[f32]]) -> bool + 'a;

/// Runs models of one vocabulary side by side from the zero state, and hands on the logits of each for a range of tokens,
/// as many as fit into [`CHUNK_BYTES`].
fn each_chunk(models: &[&Model], inputs: &[u32], take: &mut Take<'_>) -> Result<(), Error> {
    let n_vocab = models.iter().map(|model| model.config().n_vocab).max().unwrap_or(1);
    let chunk = (CHUNK_BYTES / (n_vocab * size_of::<f32>())).clamp(1, CHUNK_TOKENS);
    let mut states = models.iter().map(|model| model.new_state()).collect::<Result<Vec<_>, _>>()?;
    let mut outputs = vec![Vec::new(); models.len()];
    let mut done = 0;
    for tokens in inputs.chunks(chunk) {
        for ((model, state), outputs) in models.iter().zip(&mut states).zip(&mut outputs) {
            let sequence = Sequence { state, tokens, want: Want::ALL_LOGITS };
            model.forward_into(&mut [sequence], outputs, &mut |_| true)?;
        }
        let logits: Vec<&[f32]> =
            outputs.iter().map(|outputs| outputs.first().map_or(&[][..], |o| &o.logits)).collect();
        let range = done..done + tokens.len();
        done = range.end;
        if !take(range, &logits) {
            return Err(crate::ModelError::Stopped { done, total: inputs.len() }.into());
        }
    }
    Ok(())
}

/// What two models say at one position, or a sum of it.
#[derive(Clone, Copy, Debug, Default)]
struct Comparison {
    nats: f64,
    reference_nats: f64,
    agreements: usize,
    kl: f64,
}

/// This model's logits, the reference's, and the token that came.
type Row<'a> = ((&'a [f32], &'a [f32]), &'a u32);

/// All rows, on all cores: a vocabulary of 65536 takes longer than many a model.
fn compare_all(rows: &[Row<'_>]) -> Vec<Comparison> {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = rows.len().div_ceil(n_threads).max(1);
    let all = |rows: &[Row<'_>]| rows.iter().map(compare).collect::<Vec<_>>();
    let all = &all;
    std::thread::scope(|scope| {
        let spawn =
            |rows| std::thread::Builder::new().spawn_scoped(scope, move || all(rows)).map_err(|_| rows);
        let threads: Vec<_> = rows.chunks(part).map(spawn).collect();
        // A thread that could not be started: its rows are compared here.
        let join = |thread: Result<std::thread::ScopedJoinHandle<'_, _>, &[Row<'_>]>| match thread {
            Ok(thread) => thread.join().expect("numbers of any kind can be compared"),
            Err(rows) => all(rows),
        };
        threads.into_iter().flat_map(join).collect()
    })
}

fn compare(&((logits, reference), &target): &Row<'_>) -> Comparison {
    // ln Σ e^x, and where the largest is.
    let partition = |logits: &[f32]| {
        let mut best = 0;
        for (i, x) in logits.iter().enumerate() {
            if *x > logits[best] {
                best = i;
            }
        }
        let largest = logits.get(best).copied().unwrap_or(0.0);
        let sum: f64 = logits.iter().map(|&x| f64::from((x - largest).exp())).sum();
        (sum.ln() + f64::from(largest), best)
    };
    let ((log_q, best_q), (log_p, best_p)) = (partition(logits), partition(reference));
    let kl: f64 = logits
        .iter()
        .zip(reference)
        .map(|(&q, &p)| {
            let (ln_q, ln_p) = (f64::from(q) - log_q, f64::from(p) - log_p);
            f64::from((ln_p as f32).exp()) * (ln_p - ln_q)
        })
        .sum();
    Comparison {
        nats: surprise(logits, target),
        reference_nats: surprise(reference, target),
        agreements: usize::from(best_q == best_p),
        // Not below 0 but for rounding.
        kl: kl.max(0.0),
    }
}

/// `-ln softmax(logits)[target]`, in f64.
pub(crate) fn surprise(logits: &[f32], target: u32) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - largest).exp()).sum();
    sum.ln() + f64::from(largest) - logits.get(target as usize).map_or(f64::NEG_INFINITY, |&x| f64::from(x))
}
