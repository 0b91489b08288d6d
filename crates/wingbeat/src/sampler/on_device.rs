//! What of a sampler a device needs to choose tokens in its place, and how the host's sampler keeps up.
//!
//! A device chooses by the settings that [`SamplerConfig::on_device`] hands it; typical sampling and the repetition
//! penalty are not among them, and stay on the host. The host's sampler stays the one that counts: it knows the random
//! numbers to come, and takes note of those tokens only that are kept. Devices compute in pairs of f32 where the host has
//! f64, and penalties in f32: a draw within rounding of the edge between two tokens may fall to the other one there.

use super::{Sampler, SamplerConfig, unit_interval};
use rand_chacha::{ChaCha8Rng, rand_core::Rng};
use wingbeat_backend::DeviceSampling;

#[cfg(test)]
mod tests;

impl SamplerConfig {
    /// The settings for a device; none where it would have to know more than it does.
    pub(crate) fn on_device(&self) -> Option<DeviceSampling> {
        let repetition = self.repetition_penalty != 1.0 && self.repetition_window > 0;
        if self.typical_p < 1.0 || repetition {
            return None;
        }
        let banned = self.banned.iter().map(|&token| (token, f32::NEG_INFINITY));
        Some(DeviceSampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            penalty_decay: self.penalty_decay,
            bias: self.logit_bias.iter().copied().chain(banned).collect(),
        })
    }
}

/// The random numbers to come, while the sampler itself stays where it is.
pub(crate) struct Units {
    /// None at temperature 0.
    rng: Option<ChaCha8Rng>,
}

impl Units {
    /// The next one, in [0, 1).
    pub(crate) fn next(&mut self) -> f64 {
        self.rng.as_mut().map_or(0.0, |rng| unit_interval(rng.next_u64()))
    }
}

impl Sampler {
    /// The random numbers of the tokens to come.
    pub(crate) fn units(&self) -> Units {
        Units { rng: (self.config.temperature > 0.0).then(|| self.rng.clone()) }
    }

    /// Decayed counts of what was said, where the settings have penalties on it.
    pub(crate) fn counts(&self) -> &[(u32, f64)] {
        self.penalties.counts()
    }

    /// Records a token that a device chose with the next random number, as if it had been chosen here.
    pub(crate) fn took(&mut self, token: u32) {
        if self.config.temperature > 0.0 {
            self.rng.next_u64();
        }
        self.accept(token);
    }
}
