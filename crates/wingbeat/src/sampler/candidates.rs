//! The tokens still in play for one draw, with their shares.
//!
//! Filled from the logits by the first filter that cuts (so that a vocabulary of 65 536 seldom becomes a
//! list of 65 536), narrowed by the filters after it, read by the draw. The buffer lives as long as its
//! sampler: after the first tokens nothing is allocated. Which tokens stay is the filters' business.

use super::portable_exp::{LANES, exp, exp_lanes};

/// One token in play.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// The token's id, its index in the logits.
    pub(super) id: u32,
    /// Its logit, after penalties and biases.
    pub(super) logit: f32,
    /// e^(logit − max) at temperature 1, unnormalised; the temperature filter rewrites it.
    pub(super) weight: f32,
}

impl Candidate {
    /// A token with the weight that its logit has at temperature 1. max: the largest logit, finite.
    pub(super) fn new(id: u32, logit: f32, max: f32) -> Candidate {
        Candidate { id, logit, weight: exp(logit - max) }
    }

    /// A key that is the smaller the more probable the token, and among equals the lower its id.
    pub(super) fn likelihood_rank(&self) -> u64 {
        // The bits of a float rise with it where it is positive and fall where it is negative. −0 + 0 = 0.
        let bits = (self.logit + 0.0).to_bits();
        let falling = if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits };
        self.rank(falling)
    }

    /// The key of a token by some measure, then by id.
    pub(super) fn rank(&self, measure: u32) -> u64 {
        u64::from(measure) << 32 | u64::from(self.id)
    }
}

/// The tokens in play. Their order is fixed by the configuration alone, as a draw walks it: by id where
/// nothing was ranked, else by rank.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    /// The tokens, each at most once.
    pub(super) items: Vec<Candidate>,
    /// The sum of all weights of the distribution that the next filter sees.
    pub(super) total: f64,
}

impl Candidates {
    /// Fills the list with every token whose logit is above −∞, by id.
    pub(super) fn gather_all(&mut self, logits: &[f32], max: f32) {
        self.items.clear();
        self.items.reserve(logits.len());
        let mut ids = 0u32..;
        let mut add = |logit: f32, weight: f32| {
            if let Some(id) = ids.next()
                && logit > f32::NEG_INFINITY
            {
                self.items.push(Candidate { id, logit, weight });
            }
        };
        let (chunks, tail) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            for (&logit, weight) in chunk.iter().zip(exp_lanes(chunk, max)) {
                add(logit, weight);
            }
        }
        for &logit in tail {
            add(logit, exp(logit - max));
        }
        self.sum();
    }

    /// Fills the list with every token whose logit is at least `floor` and above −∞, by id; leaves `total`.
    pub(super) fn gather_above(&mut self, logits: &[f32], max: f32, floor: f32) {
        let floor = floor.max(f32::MIN);
        self.items.clear();
        for (id, &logit) in (0u32..).zip(logits) {
            if logit >= floor {
                self.items.push(Candidate::new(id, logit, max));
            }
        }
    }

    /// Sets `total` to the sum of the weights in the list.
    pub(super) fn sum(&mut self) {
        self.total = self.items.iter().map(|c| f64::from(c.weight)).sum();
    }

    /// Keeps the shortest run of candidates, by rising `rank`, whose weights sum to `target` or more; at
    /// least one, and all where the whole list sums to less. Ranks must differ.
    ///
    /// Halves the part in which the run ends until that is small, so that only what is kept gets sorted.
    pub(super) fn keep_reaching(&mut self, target: f64, rank: impl Fn(&Candidate) -> u64) {
        const SMALL: usize = 32;
        let mut kept = 0; // How many surely stay: the best ones, at the front.
        let mut end = self.items.len(); // All from here on surely go.
        let mut mass = 0.0; // What those that stay sum to.
        while let Some(open) = self.items.get_mut(kept..end).filter(|open| open.len() > SMALL) {
            let half = open.len() / 2;
            let (better, _, _) = open.select_nth_unstable_by_key(half, &rank);
            let with_better = mass + better.iter().map(|c| f64::from(c.weight)).sum::<f64>();
            if with_better >= target {
                end = kept + half;
            } else {
                kept += half;
                mass = with_better;
            }
        }
        if let Some(open) = self.items.get_mut(kept..end) {
            open.sort_unstable_by_key(&rank);
            for candidate in open {
                kept += 1;
                mass += f64::from(candidate.weight);
                if mass >= target {
                    break;
                }
            }
        }
        self.items.truncate(kept);
        self.items.sort_unstable_by_key(&rank);
        self.sum();
    }

    /// The token at `unit`, in [0, 1), of the way through the weights; none where the list is empty.
    pub(super) fn at(&self, unit: f64) -> Option<u32> {
        let mut left = unit * self.total;
        for candidate in &self.items {
            left -= f64::from(candidate.weight);
            if left < 0.0 {
                return Some(candidate.id);
            }
        }
        // Rounding alone led past the end: the last token that has a share.
        self.items.iter().rev().find(|c| c.weight > 0.0).or(self.items.first()).map(|c| c.id)
    }
}
