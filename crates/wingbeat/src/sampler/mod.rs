//! From logits to the next token.
//!
//! The last step of the data path on the host: it takes the logits (V) of one sequence and gives one token
//! id. Running the model, stop conditions and text are left to others.
//!
//! # The order in which things act
//!
//! 1. **Penalties** on what was said: repetition, then presence and frequency.
//! 2. **Logit bias**, then **banned** tokens.
//! 3. At temperature 0, or where a logit is +∞: the most probable token, lowest id among equals. Done.
//! 4. **top_k**, **typical_p**, **top_p**, **min_p**: each sees the distribution that the one before it left,
//!    renormalised, at temperature 1, and leaves at least one token.
//! 5. **Temperature**, as p^(1/T) of what is left, where RWKV's own sampler has it too.
//! 6. One **draw** (ChaCha8 seeded with `seed`), exactly one for each token chosen at a temperature above 0,
//!    so that a seed and a number of tokens say where the random stream is.
//!
//! A setting at its "off" value takes no part, so combinations never interfere by accident. With NaN among
//! the logits, or nothing left to choose from, the answer is an error and nothing is recorded.
//!
//! The same seed, settings and logits give the same tokens on every platform: the generator, the exponential
//! and the order of every sum are fixed here, not by the system.
//!
//! # Adding a filter
//!
//! One file with an `apply`, one row in `FILTERS`, one field in the configuration. One that acts before top-p
//! also needs an arm in `gather`, as it must see more tokens than top-p's own short cut collects.

mod candidates;
mod config;
mod greedy;
mod logit_bias;
mod min_p;
mod on_device;
mod penalties;
mod portable_exp;
mod temperature;
mod top_k;
mod top_p;
mod typical;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use candidates::Candidates;
use penalties::Penalties;

pub use config::SamplerConfig;
pub(crate) use on_device::Units;

/// The filters after top-k, in the order in which they act.
const FILTERS: [fn(&SamplerConfig, &mut Candidates); 4] =
    [typical::apply, top_p::apply, min_p::apply, temperature::apply];

/// Why no sampler could be made, or no token chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// A setting is NaN or outside its range.
    #[error("sampler setting {field}: expected {least} to {most}, found {value}")]
    OutOfRange {
        /// The setting's name.
        field: &'static str,
        /// What it was.
        value: f32,
        /// The least value accepted.
        least: f32,
        /// The largest value accepted.
        most: f32,
    },
    /// The repetition window is longer than any sampler keeps.
    #[error("sampler setting repetition_window: expected at most {most} tokens, found {found}")]
    WindowTooLong {
        /// What it was, in tokens.
        found: usize,
        /// The longest accepted, in tokens.
        most: usize,
    },
    /// There are no logits, or more than there are token ids.
    #[error("logits: expected 1 to {} of them, found {found}", u32::MAX - 1)]
    LogitCount {
        /// How many there were.
        found: usize,
    },
    /// A logit is not a number: the model's weights or its arithmetic are broken.
    #[error("logit of token {token}: expected a number, found NaN")]
    NotANumber {
        /// The first token with such a logit.
        token: usize,
    },
    /// Every token is at −∞, by the model or by bans.
    #[error("logits: expected at least one token above -inf, found {found} logits all at -inf or banned")]
    NothingLeft {
        /// How many logits there were.
        found: usize,
    },
}

/// Chooses tokens, and remembers those chosen where a penalty needs it. One for each sequence; a clone goes
/// on exactly as the original would.
#[derive(Clone)]
pub struct Sampler {
    config: SamplerConfig,
    rng: ChaCha8Rng,
    penalties: Penalties,
    candidates: Candidates,
}

impl Sampler {
    /// A sampler that has seen nothing yet. Fails where a setting is outside its range.
    pub fn new(config: SamplerConfig) -> Result<Sampler, SamplerError> {
        config.validate()?;
        let rng = seeded(config.seed);
        Ok(Sampler { config, rng, penalties: Penalties::default(), candidates: Candidates::default() })
    }

    /// Picks the next token and records it. logits: (V), of any length from 1; penalties and biases are
    /// applied in place, so on return they are the logits as chosen from.
    ///
    /// On an error nothing is recorded or drawn.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<u32, SamplerError> {
        // Below u32::MAX, so that counting ids never passes the end of their type.
        if !u32::try_from(logits.len()).is_ok_and(|n| (1..u32::MAX).contains(&n)) {
            return Err(SamplerError::LogitCount { found: logits.len() });
        }
        if let Some(token) = first_nan(logits) {
            return Err(SamplerError::NotANumber { token });
        }
        self.penalties.apply(&self.config, logits);
        logit_bias::apply(&self.config, logits);
        let nothing_left = SamplerError::NothingLeft { found: logits.len() };
        let Some((best, max)) = greedy::pick(logits) else { return Err(nothing_left) };
        let token = if self.config.temperature == 0.0 {
            best
        } else {
            let unit = unit_interval(self.rng.next_u64());
            if max == f32::INFINITY { best } else { self.draw(logits, max, unit).ok_or(nothing_left)? }
        };
        self.accept(token);
        Ok(token)
    }

    /// Counts a token as said without choosing it: one that came from elsewhere, such as forced text.
    ///
    /// RWKV practice counts generated tokens only, so prompts are not passed here; whoever wants the
    /// penalties to cover a prompt may do so. No random number is drawn.
    pub fn accept(&mut self, token: u32) {
        self.penalties.record(&self.config, token);
    }

    /// Back to the beginning: nothing said, the random stream at its seed.
    pub fn reset(&mut self) {
        self.penalties.clear();
        self.rng = seeded(self.config.seed);
    }

    /// The settings.
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// The token at `unit` of the way through the filtered distribution. max: the largest logit, finite.
    fn draw(&mut self, logits: &[f32], max: f32, unit: f64) -> Option<u32> {
        gather(&self.config, logits, max, &mut self.candidates);
        for filter in FILTERS {
            filter(&self.config, &mut self.candidates);
        }
        self.candidates.at(unit)
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the candidates: a buffer whose contents mean nothing between two tokens.
        f.debug_struct("Sampler").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Fills the list by the first filter that cuts; it may hold a superset, which that filter then narrows.
fn gather(config: &SamplerConfig, logits: &[f32], max: f32, candidates: &mut Candidates) {
    if (1..logits.len()).contains(&config.top_k) {
        top_k::gather(config.top_k, logits, max, candidates);
    } else if typical::is_on(config) {
        candidates.gather_all(logits, max);
    } else if top_p::is_on(config) {
        top_p::gather(config.top_p, logits, max, candidates);
    } else if min_p::is_on(config) {
        min_p::gather(config.min_p, logits, max, candidates);
    } else {
        candidates.gather_all(logits, max);
    }
}

/// ChaCha8 keyed with the seed itself, so that the stream depends on the cipher alone and on no crate's way
/// of stretching a small seed.
fn seeded(seed: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    if let Some(low) = key.first_chunk_mut::<8>() {
        *low = seed.to_le_bytes();
    }
    ChaCha8Rng::from_seed(key)
}

/// A number in [0, 1) from the 53 high bits, as many as an f64 holds.
fn unit_interval(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The first NaN, by a search only where a vectorised pass says that there is one.
fn first_nan(logits: &[f32]) -> Option<usize> {
    let any = logits.iter().fold(false, |any, logit| any | logit.is_nan());
    if any { logits.iter().position(|logit| logit.is_nan()) } else { None }
}
