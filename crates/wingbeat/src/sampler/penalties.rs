//! Penalties on what was already said: presence, frequency (with RWKV's decay) and repetition.
//!
//! The one part of the chain with a memory. Presence and frequency are RWKV's: every token that ever
//! occurred loses `presence + count·frequency`, where all counts are multiplied by `penalty_decay` at each
//! token before that token's own count grows by 1; old words become free again, yet presence stays.
//! Repetition is the classic one over a window: a positive logit is divided by it, another multiplied, once
//! for each distinct token among the last `repetition_window`. Repetition comes first, on the model's own
//! logits, as its effect depends on where zero is.

use std::collections::{HashMap, VecDeque};

use super::SamplerConfig;
use super::logit_bias::logit_of;

/// A count below this is 0: it changes no logit, and subnormal numbers are slow to multiply.
const NEGLIGIBLE: f64 = 1e-30;

/// What was said so far, as far as the penalties want to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Penalties {
    /// Each token that occurred, with its decayed count; kept even at 0, for the presence penalty.
    counts: Vec<(u32, f64)>,
    /// Where in `counts` a token is.
    places: HashMap<u32, usize>,
    /// The last tokens, oldest first, at most the window.
    recent: VecDeque<u32>,
    /// How often each token of `recent` occurs in it.
    in_window: HashMap<u32, usize>,
}

impl Penalties {
    /// Lowers the logits of what was said.
    pub(super) fn apply(&self, config: &SamplerConfig, logits: &mut [f32]) {
        for &token in self.in_window.keys() {
            if let Some(logit) = logit_of(logits, token) {
                *logit = if *logit > 0.0 {
                    *logit / config.repetition_penalty
                } else {
                    *logit * config.repetition_penalty
                };
            }
        }
        let (presence, frequency) = (f64::from(config.presence_penalty), f64::from(config.frequency_penalty));
        for &(token, count) in &self.counts {
            if let Some(logit) = logit_of(logits, token) {
                *logit = (f64::from(*logit) - (presence + count * frequency)) as f32;
            }
        }
    }

    /// Counts a token as said. What no penalty of `config` reads is not kept.
    pub(super) fn record(&mut self, config: &SamplerConfig, token: u32) {
        if config.presence_penalty != 0.0 || config.frequency_penalty != 0.0 {
            self.count(f64::from(config.penalty_decay), token);
        }
        if config.repetition_penalty != 1.0 && config.repetition_window > 0 {
            self.slide(config.repetition_window, token);
        }
    }

    /// Each token that occurred with its decayed count, where presence or frequency penalties read them.
    pub(super) fn counts(&self) -> &[(u32, f64)] {
        &self.counts
    }

    /// Forgets everything, keeping the room.
    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.places.clear();
        self.recent.clear();
        self.in_window.clear();
    }

    fn count(&mut self, decay: f64, token: u32) {
        for (_, count) in &mut self.counts {
            *count *= decay;
            if *count < NEGLIGIBLE {
                *count = 0.0;
            }
        }
        let place = *self.places.entry(token).or_insert(self.counts.len());
        match self.counts.get_mut(place) {
            Some((_, count)) => *count += 1.0,
            None => self.counts.push((token, 1.0)),
        }
    }

    fn slide(&mut self, window: usize, token: u32) {
        if self.recent.len() >= window
            && let Some(oldest) = self.recent.pop_front()
            && let Some(n) = self.in_window.get_mut(&oldest)
        {
            *n -= 1;
            if *n == 0 {
                self.in_window.remove(&oldest);
            }
        }
        self.recent.push_back(token);
        *self.in_window.entry(token).or_insert(0) += 1;
    }
}
