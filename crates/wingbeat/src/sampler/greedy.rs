//! Greedy choice: the most probable token, equals by lowest id.
//!
//! Runs after penalties and biases. It alone decides at temperature 0; otherwise its result is the maximum
//! that the softmax of the other filters is relative to.

/// Running maxima kept side by side, so that the pass over the vocabulary is vectorised.
const LANES: usize = 16;

/// The token of the largest logit and that logit; none where every logit is −∞ (or there is none).
/// logits: (V) without NaN.
pub(super) fn pick(logits: &[f32]) -> Option<(u32, f32)> {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let (chunks, tail) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (max, &logit) in maxima.iter_mut().zip(chunk) {
            *max = larger(*max, logit);
        }
    }
    let max = maxima.iter().chain(tail).copied().fold(f32::NEG_INFINITY, larger);
    if max == f32::NEG_INFINITY {
        return None;
    }
    // The first one equal to the maximum: the lowest id.
    (0u32..).zip(logits).find(|&(_, &logit)| logit == max).map(|(id, &logit)| (id, logit))
}

fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}
