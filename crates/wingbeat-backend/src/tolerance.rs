//! The one table of tolerances, each with its derivation. Every comparison of numbers in Wingbeat's tests takes its
//! limit from here.

/// How a matrix product sees its activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationPrecision {
    /// f32, as given.
    Exact,
    /// int8 with one f32 scale, `max |x| / 127`, for every block of this many values.
    Int8 {
        /// Values that share a scale.
        block: usize,
    },
    /// Integers in ±8191 with one f32 scale, `max |x| / 8191`, for every block of this many values; the weights, of a
    /// float matrix, are rounded so too, a scale for at most 512 values of a row.
    Int16 {
        /// Values that share a scale.
        block: usize,
    },
    /// Half precision, weights likewise: both operands rounded to 11 bits, and to steps of 2⁻²⁴ below 2⁻¹⁴.
    Half,
}

/// Unit round-off of f32.
const EPS: f64 = 1.0 / (1u64 << 24) as f64;

/// Unit round-off of half precision, and half its step below the normal range.
const HALF_EPS: f64 = 1.0 / (1u64 << 11) as f64;
const HALF_TINY: f64 = 1.0 / (1u64 << 25) as f64;

/// Limit for one output of a product: `w` and `x` are the exact operands `(K)`.
///
/// *Exact activations.* Summing K products in f32 in any order errs by at most about `K·ε·Σ|wᵢxᵢ|` and, as rounding
/// errors are nearly independent, by about `√K·ε·‖w∘x‖`-sized steps in practice. The limit is `4·√K·ε·Σ|wᵢxᵢ|`, far
/// below the worst case and far above what happens; a wrong index or scale misses it by orders of magnitude.
///
/// *Int8.* Rounding to steps of `d` leaves an error uniform in `±d/2`, standard deviation `d/√12`, so an output's
/// error has standard deviation `√(Σ wᵢ²dᵢ²/12)`. The limit is 6 of these (one in 10⁹), plus the exact limit.
///
/// *Int16.* The same for both operands: `√(Σ (wᵢ²dᵢ² + xᵢ²eᵢ²)/12)`, `e` the step of the weights.
///
/// *Half.* Rounding a value `v` leaves an error within `±h(v)`, `h(v) = max(2⁻¹¹|v|, 2⁻²⁵)`, at worst uniform, so an
/// output's error has variance `Σ (wᵢ²h(xᵢ)² + xᵢ²h(wᵢ)²)/3`; 6 standard deviations again. Products of halves are exact
/// in f32.
pub fn product(w: &[f64], x: &[f64], precision: ActivationPrecision) -> f64 {
    let magnitude: f64 = w.iter().zip(x).map(|(w, x)| (w * x).abs()).sum();
    let exact = 4.0 * (w.len() as f64).sqrt() * EPS * magnitude + 1e-30;
    match precision {
        ActivationPrecision::Exact => exact,
        ActivationPrecision::Int8 { block } => exact + 6.0 * rounding(w, x, block, 127.0).sqrt(),
        ActivationPrecision::Int16 { block } => {
            exact + 6.0 * (rounding(w, x, block, 8191.0) + rounding(x, w, 512, 8191.0)).sqrt()
        }
        ActivationPrecision::Half => {
            let h = |v: f64| (v.abs() * HALF_EPS).max(HALF_TINY);
            let variance = |(w, x): (&f64, &f64)| ((w * h(*x)).powi(2) + (x * h(*w)).powi(2)) / 3.0;
            exact + 6.0 * w.iter().zip(x).map(variance).sum::<f64>().sqrt()
        }
    }
}

/// Variance of an output's error when `x` is rounded to steps of its block's largest value over `most`.
fn rounding(w: &[f64], x: &[f64], block: usize, most: f64) -> f64 {
    w.chunks(block)
        .zip(x.chunks(block))
        .map(|(w, x)| {
            let step = x.iter().fold(0.0f64, |m, x| m.max(x.abs())) / most;
            w.iter().map(|w| w * w).sum::<f64>() * step * step / 12.0
        })
        .sum()
}

/// How far a product's error grows through an [`Activation`](crate::Activation) whose slope is at most 1 (tanh,
/// sigmoid, decay, residual): not at all, plus the function's own error, here 4 units in the last place of 1.
pub const ACTIVATION_ABS: f64 = 4.0 * 2.0 * EPS;

/// Limit for elementwise operations (norms, shifts, keys, read-out) relative to the largest value of the row: a
/// dozen roundings of a unit each, and a reduction over at most some thousand values in f32 lanes, together below
/// `64 ε`.
pub const ELEMENTWISE_REL: f64 = 64.0 * EPS;

/// Limit for the recurrence relative to the largest value of state or output: each token adds a reduction over `N`
/// values and three roundings, and decay keeps old errors from growing: `(32 + 4·√T) ε · 4`.
pub fn recurrence_rel(tokens: usize) -> f64 {
    4.0 * (32.0 + 4.0 * (tokens as f64).sqrt()) * EPS
}

/// What products with such activations add to the limit of a time mix of their results: 6 standard deviations of a step's
/// rounding relative to a block's largest value, `6/(127·√12)` or, for both operands, `6·√2/(8191·√12)`, four times over
/// as a row's norm may enlarge them. Nothing beyond [`recurrence_rel`] where activations are exact.
pub fn low_rank_rel(precision: ActivationPrecision) -> f64 {
    match precision {
        ActivationPrecision::Exact => 0.0,
        ActivationPrecision::Int8 { .. } => 4.0 * 6.0 / (127.0 * 12f64.sqrt()),
        ActivationPrecision::Int16 { .. } => 4.0 * 6.0 * 2f64.sqrt() / (8191.0 * 12f64.sqrt()),
        ActivationPrecision::Half => 4.0 * 6.0 * 2f64.sqrt() * HALF_EPS / 3f64.sqrt(),
    }
}

/// Largest logit or state difference from a float64 reference, relative to the reference's standard deviation, for
/// files whose matrices are F32: the project's promise. Rounding alone gives about 1e-5.
pub const MODEL_F32_REL: f64 = 1e-4;

/// The same for F16 files, whose stored weights the reference uses too; only f32 arithmetic differs, so the promise
/// leaves two orders of magnitude of room for half-precision activations on a GPU.
pub const MODEL_F16_REL: f64 = 2e-3;

/// Largest state difference for F16 files whose products go through 14-bit integers: relative errors of about `1e-4` of
/// a key and a value meet in the recurrence, whose largest entries are a hundred standard deviations in trained models.
pub const MODEL_INT16_STATE_REL: f64 = 2e-2;

/// The same for F16 files whose products see activations in half precision, rounded to 11 bits: a GPU's cooperative
/// matrices.
pub const MODEL_HALF_STATE_REL: f64 = 2e-2;

/// The same for quantized files computed with exact activations (the reference backend, `Precision::Exact`).
pub const MODEL_QUANT_EXACT_REL: f64 = 1e-4;

/// RMS difference of logits relative to their standard deviation for quantized files with int8 activations: each
/// product errs by about `1/(127·√12·…)` of its size, a few per mille; through the layers it stays under one per
/// cent.
pub const MODEL_INT8_RMS: f64 = 1e-2;

/// Two orders of the same arithmetic (chunked or token by token, alone or batched) relative to the logits' standard
/// deviation, exact activations: twice [`MODEL_F32_REL`]'s cause, which is rounding only.
pub const ORDER_REL: f64 = 1e-4;
