//! The exponential of the samplers, the same to the last bit on every platform.
//!
//! The system's `exp` may differ by an ulp from one libm to the next, and one ulp at the edge of a nucleus
//! is another token, hence another text for the same seed. This one is made of IEEE additions and
//! multiplications alone (which Rust never fuses), and without branches, so that loops over a whole
//! vocabulary are vectorised.

/// Below this the result is 0: e⁻⁸⁷ ≈ 1.6e-38 is about the least normal f32.
const LOWEST: f32 = -87.0;

/// How many tokens are taken at once: some vector registers of any target, and fixed, so that the order of
/// the additions is the same everywhere.
pub(super) const LANES: usize = 16;

/// eˣ for x ≤ 0, within 2 ulp; 0 where x < −87, and for −∞.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2, so eˣ = 2ⁿ·eʳ; eʳ is its Taylor series up to r⁷, whose remainder
/// (0.347⁸/8! ≈ 5e-9) is below half an ulp.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // ln 2 in two parts: the first has so few bits that its product with any n in use is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    // 1.5·2²³: adding it rounds to an integer, which then lies in the low bits of the sum.
    const ROUNDER: f32 = 12_582_912.0;

    let clamped = if x > LOWEST { x } else { LOWEST };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (clamped - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    let series = series * r + 1.0;
    // The exponent field of 2ⁿ: ROUNDER's own bits leave at the top of the word.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < LOWEST { 0.0 } else { series * power }
}

/// e^(logit − max) of some tokens. max: the largest of all logits, finite.
#[inline(always)]
pub(super) fn exp_lanes(logits: &[f32; LANES], max: f32) -> [f32; LANES] {
    // A loop, as `map` over an array is left a call for each element.
    let mut weights = [0.0; LANES];
    for (weight, &logit) in weights.iter_mut().zip(logits) {
        *weight = exp(logit - max);
    }
    weights
}

/// Σ e^(logit − max), in f64. logits: (V) without NaN; max: their largest, finite.
pub(super) fn sum_exp(logits: &[f32], max: f32) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (chunks, tail) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        // First all the exponentials, then all the additions: each is vectorised, the two in one are not.
        let weights = exp_lanes(chunk, max);
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += f64::from(weight);
        }
    }
    for (sum, &logit) in sums.iter_mut().zip(tail) {
        *sum += f64::from(exp(logit - max));
    }
    sums.iter().sum()
}
