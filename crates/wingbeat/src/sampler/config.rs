//! The sampler's settings: meaning, defaults, RWKV's presets, and the ranges that are accepted.
//!
//! Plain data, made by the caller (a flag, a request, a Python argument) and checked once, when a sampler is
//! made from it.

use super::SamplerError;

/// The widest repetition window: a bound on memory (4 MiB of ids), far beyond any use.
const LONGEST_WINDOW: usize = 1 << 20;

/// How the next token is chosen. The order in which the settings act is told at the [module](super).
///
/// The default is temperature 1 and `top_p` 0.7 without penalties: enough of a cut that a small model stays
/// on its subject, and nothing that would bend code or JSON, in which repetition is right. For talk,
/// [`SamplerConfig::chat`] is what RWKV's author recommends.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerConfig {
    /// 0: greedy, all filters aside; below 1: sharper; above: flatter. 0 to 100.
    pub temperature: f32,
    /// Keep the this many most probable tokens; 0: off.
    pub top_k: usize,
    /// Keep the smallest set of most probable tokens that reaches this probability; 1: off. 0 to 1.
    pub top_p: f32,
    /// Keep tokens at least this many times as probable as the most probable one; 0: off. 0 to 1.
    pub min_p: f32,
    /// Keep the smallest set of most typical tokens that reaches this probability; 1: off. 0 to 1.
    pub typical_p: f32,
    /// Taken off the logit of each token that occurred; 0: off. −100 to 100.
    pub presence_penalty: f32,
    /// Taken off the logit of a token for each of its (decayed) occurrences; 0: off. −100 to 100.
    pub frequency_penalty: f32,
    /// What every occurrence count is multiplied by at each token; 1: counts never fade. 0 to 1.
    pub penalty_decay: f32,
    /// Divides positive and multiplies other logits of the tokens in the window; 1: off. 0.01 to 100.
    pub repetition_penalty: f32,
    /// How many of the last tokens the repetition penalty looks at; 0: off. At most 2²⁰.
    pub repetition_window: usize,
    /// Token ids with what is added to their logits; several for one id add up; ids beyond the vocabulary
    /// are passed over. Each −1000 to 1000.
    pub logit_bias: Vec<(u32, f32)>,
    /// Tokens never to be chosen.
    pub banned: Vec<u32>,
    /// Seed of the draws: the same seed, settings and logits give the same tokens on every platform.
    pub seed: u64,
}

impl Default for SamplerConfig {
    fn default() -> SamplerConfig {
        SamplerConfig {
            temperature: 1.0,
            top_k: 0,
            top_p: 0.7,
            min_p: 0.0,
            typical_p: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_decay: 0.996,
            repetition_penalty: 1.0,
            repetition_window: 64,
            logit_bias: Vec::new(),
            banned: Vec::new(),
            seed: 0,
        }
    }
}

impl SamplerConfig {
    /// RWKV's recommendation for conversation: a narrow nucleus, half a point of each penalty.
    pub fn chat() -> SamplerConfig {
        SamplerConfig {
            temperature: 1.0,
            top_p: 0.3,
            presence_penalty: 0.5,
            frequency_penalty: 0.5,
            penalty_decay: 0.996,
            ..SamplerConfig::default()
        }
    }

    /// RWKV's recommendation for stories: a wide nucleus, cooled, with a strong dislike of what was said.
    pub fn creative() -> SamplerConfig {
        SamplerConfig {
            temperature: 0.6,
            top_p: 0.8,
            presence_penalty: 2.0,
            frequency_penalty: 0.2,
            penalty_decay: 0.99,
            ..SamplerConfig::default()
        }
    }

    /// RWKV's recommendation for facts, code and extraction: near greedy, no penalties.
    pub fn conservative() -> SamplerConfig {
        SamplerConfig { temperature: 0.3, top_p: 0.3, ..SamplerConfig::default() }
    }

    /// Always the most probable token.
    pub fn greedy() -> SamplerConfig {
        SamplerConfig { temperature: 0.0, ..SamplerConfig::default() }
    }

    /// Checks every setting against its range; the first outside it is the error.
    pub fn validate(&self) -> Result<(), SamplerError> {
        let ranges = [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("typical_p", self.typical_p, 0.0, 1.0),
            ("presence_penalty", self.presence_penalty, -100.0, 100.0),
            ("frequency_penalty", self.frequency_penalty, -100.0, 100.0),
            ("penalty_decay", self.penalty_decay, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0),
        ];
        // Finite bounds everywhere: then no arithmetic of the chain can make a NaN of a logit.
        let biases = self.logit_bias.iter().map(|&(_, bias)| ("logit_bias", bias, -1000.0, 1000.0));
        for (field, value, least, most) in ranges.into_iter().chain(biases) {
            if !(least..=most).contains(&value) {
                return Err(SamplerError::OutOfRange { field, value, least, most });
            }
        }
        if self.repetition_window > LONGEST_WINDOW {
            return Err(SamplerError::WindowTooLong { found: self.repetition_window, most: LONGEST_WINDOW });
        }
        Ok(())
    }
}
