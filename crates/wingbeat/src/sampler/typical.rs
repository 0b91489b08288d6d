//! Locally typical sampling (Meister et al., 2022): the tokens whose surprise is nearest the expected one.
//!
//! A token's surprise is −ln p, its expectation the entropy H = −Σ p ln p. As ln p = logit − c with the same
//! c for all tokens, |−ln p − H| = |Σ p·logit − logit|: the distance of the logit from the expected logit.
//! So neither c nor any logarithm is needed.

use super::SamplerConfig;
use super::candidates::{Candidate, Candidates};

/// Whether the filter cuts anything.
pub(super) fn is_on(config: &SamplerConfig) -> bool {
    config.typical_p < 1.0
}

/// Keeps the smallest set of most typical tokens whose probability reaches `typical_p` (at least one),
/// most typical first, equals by lowest id. The most probable token may be among those dropped.
pub(super) fn apply(config: &SamplerConfig, candidates: &mut Candidates) {
    if !is_on(config) {
        return;
    }
    let weighted = candidates.items.iter().map(|c| f64::from(c.weight) * f64::from(c.logit)).sum::<f64>();
    let expected = weighted / candidates.total;
    // A distance is not negative, so its bits rise with it. As f32 it is as exact as the logits are.
    let distance = |c: &Candidate| ((f64::from(c.logit) - expected).abs() as f32).to_bits();
    candidates.keep_reaching(f64::from(config.typical_p) * candidates.total, |c| c.rank(distance(c)));
}
