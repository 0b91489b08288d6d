//! Temperature: the last filter; it sharpens (T < 1) or flattens (T > 1) what the others left.
//!
//! As in RWKV's own sampler it comes after top-p, as p^(1/T) of the kept probabilities, so that which
//! tokens are kept does not depend on it. (Most other engines divide the logits first.)

use super::{Candidates, SamplerConfig, portable_exp::exp};

/// Rewrites each weight as e^((logit − max)/T), which is p^(1/T) up to the normalisation.
pub(super) fn apply(config: &SamplerConfig, candidates: &mut Candidates) {
    if config.temperature == 1.0 {
        return;
    }
    // The most probable of those left, not of all: typical sampling may have dropped the latter, and a low
    // temperature would then round every weight to 0.
    let max = candidates.items.iter().fold(f32::NEG_INFINITY, |max, c| max.max(c.logit));
    for candidate in &mut candidates.items {
        candidate.weight = exp((candidate.logit - max) / config.temperature);
    }
    candidates.sum();
}
