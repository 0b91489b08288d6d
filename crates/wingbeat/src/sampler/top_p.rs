//! Top-p (nucleus): the smallest set of most probable tokens whose probability reaches p.
//!
//! As in RWKV's own sampler, probabilities are those at temperature 1, and at least one token stays, so
//! p = 0 is greedy. Among equals at the edge the lowest ids stay (the reference keeps all equals, or in
//! its newest form takes the excess over p off the last ones; neither matters but for ties and tiny sets).

use super::candidates::{Candidate, Candidates};
use super::{SamplerConfig, portable_exp::sum_exp};

/// How far below the best logit tokens are looked for, in turn: a nucleus seldom reaches beyond the first
/// two, and a pass over the logits costs far less than ranking a vocabulary.
const DEPTHS: [f32; 5] = [4.0, 8.0, 16.0, 32.0, f32::INFINITY];

/// Whether the filter cuts anything.
pub(super) fn is_on(config: &SamplerConfig) -> bool {
    config.top_p < 1.0
}

/// Fills the list with a superset of the nucleus, by id, and sets `total` to the sum over all tokens;
/// [`apply`] then cuts it to size. max: the largest logit, finite.
pub(super) fn gather(p: f32, logits: &[f32], max: f32, candidates: &mut Candidates) {
    let total = sum_exp(logits, max);
    for depth in DEPTHS {
        // Every token at or above some logit: with any member of the nucleus it holds all better ones.
        candidates.gather_above(logits, max, max - depth);
        candidates.sum();
        if candidates.total >= f64::from(p) * total {
            break;
        }
    }
    candidates.total = total;
}

/// Cuts the list to the nucleus, best first.
pub(super) fn apply(config: &SamplerConfig, candidates: &mut Candidates) {
    if is_on(config) {
        let target = f64::from(config.top_p) * candidates.total;
        candidates.keep_reaching(target, Candidate::likelihood_rank);
    }
}
