//! Top-k: the k most probable tokens, equals by lowest id.
//!
//! The first filter of the chain where it is on, hence it works on the logits, not on a list.

use super::candidates::{Candidate, Candidates};

/// Below this many tokens collecting more than k costs less than splitting more often.
const LEAST_ROOM: usize = 1024;

/// Fills the list with the k tokens of the largest logits, best first. k > 0; max: the largest logit.
///
/// One pass: a token enters where it beats the k-th best of the last split, and when the list has twice the
/// room it needs, it is split again and the rest dropped.
pub(super) fn gather(k: usize, logits: &[f32], max: f32, candidates: &mut Candidates) {
    let room = k.saturating_mul(2).max(LEAST_ROOM);
    let mut floor = f32::NEG_INFINITY;
    let items = &mut candidates.items;
    items.clear();
    for (id, &logit) in (0u32..).zip(logits) {
        // Strictly above: an equal one comes later, so its id is higher, and −∞ never enters.
        if logit > floor {
            items.push(Candidate::new(id, logit, max));
            if items.len() >= room {
                floor = keep_best(k, items).unwrap_or(floor);
            }
        }
    }
    keep_best(k, items);
    items.sort_unstable_by_key(Candidate::likelihood_rank);
    candidates.sum();
}

/// Drops all but the k best, in no order; the k-th best logit where any was dropped.
fn keep_best(k: usize, items: &mut Vec<Candidate>) -> Option<f32> {
    let last = k.checked_sub(1)?;
    if items.len() <= k {
        return None;
    }
    let (_, kth, _) = items.select_nth_unstable_by_key(last, Candidate::likelihood_rank);
    let floor = kth.logit;
    items.truncate(k);
    Some(floor)
}
