//! Logit bias and banned tokens: the caller's own say, added after the penalties, before any choice.
//!
//! Ids beyond the logits are passed over: the same request may be sent to models of several vocabularies.

use super::SamplerConfig;

/// Adds each bias to its token's logit (several for one token add up), then sets the banned ones to −∞.
pub(super) fn apply(config: &SamplerConfig, logits: &mut [f32]) {
    for &(token, bias) in &config.logit_bias {
        if let Some(logit) = logit_of(logits, token) {
            *logit += bias;
        }
    }
    for &token in &config.banned {
        if let Some(logit) = logit_of(logits, token) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// The logit of a token, where the vocabulary has it.
pub(super) fn logit_of(logits: &mut [f32], token: u32) -> Option<&mut f32> {
    logits.get_mut(usize::try_from(token).ok()?)
}
