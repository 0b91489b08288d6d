//! How well a model predicts a text.

use crate::{Error, Model, Progress, Sequence, Want};

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
        let targets = self.tokenizer()?.encode(text)?;
        if targets.is_empty() {
            return Err(Error::EmptyText);
        }
        let mut inputs = vec![0];
        inputs.extend_from_slice(&targets[..targets.len() - 1]);
        let (n_vocab, total) = (self.config().n_vocab, targets.len());
        let chunk = (CHUNK_BYTES / (n_vocab * size_of::<f32>())).clamp(1, CHUNK_TOKENS);
        let mut state = self.new_state()?;
        let (mut nats, mut done) = (0.0, 0);
        for (inputs, targets) in inputs.chunks(chunk).zip(targets.chunks(chunk)) {
            let sequence = Sequence { state: &mut state, tokens: inputs, want: Want::ALL_LOGITS };
            let outputs = self.forward(&mut [sequence])?;
            for (logits, &target) in outputs[0].logits.chunks_exact(n_vocab).zip(targets) {
                nats += surprise(logits, target);
            }
            done += inputs.len();
            if !progress(Progress { done, total }) {
                return Err(crate::ModelError::Stopped { done, total }.into());
            }
        }
        Ok(Perplexity { tokens: done, bytes: text.len(), nats_per_token: nats / done as f64 })
    }
}

/// `-ln softmax(logits)[target]`, in f64.
pub(crate) fn surprise(logits: &[f32], target: u32) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - largest).exp()).sum();
    sum.ln() + f64::from(largest) - logits.get(target as usize).map_or(f64::NEG_INFINITY, |&x| f64::from(x))
}
