//! Min-p: the tokens at least `min_p` times as probable as the most probable one.
//!
//! A cut which follows the model's confidence: narrow where one token leads, wide where many are close.

use super::candidates::Candidates;
use super::{SamplerConfig, portable_exp::exp};

/// Whether the filter cuts anything.
pub(super) fn is_on(config: &SamplerConfig) -> bool {
    config.min_p > 0.0
}

/// Fills the list with a superset of what [`apply`] keeps, by id, without a sum over the vocabulary: the
/// share relative to the best needs none. max: the largest logit, finite.
pub(super) fn gather(min_p: f32, logits: &[f32], max: f32, candidates: &mut Candidates) {
    let mut depth = 1.0f32;
    // Twice, so that the last bits of two exponentials cannot matter; `exp` is 0 from 87 on, so this ends.
    while 2.0 * exp(-depth) >= min_p {
        depth *= 2.0;
    }
    candidates.gather_above(logits, max, max - depth);
    candidates.sum();
}

/// Drops the tokens below the threshold; the order stays.
pub(super) fn apply(config: &SamplerConfig, candidates: &mut Candidates) {
    if is_on(config) {
        let best = candidates.items.iter().fold(0.0f32, |best, c| best.max(c.weight));
        let least = best * config.min_p;
        candidates.items.retain(|c| c.weight >= least);
        candidates.sum();
    }
}
