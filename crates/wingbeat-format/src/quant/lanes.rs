//! Eight groups side by side: the arithmetic that the searches for scales ([`affine`](super::affine),
//! [`signed`](super::signed)) share.
//!
//! A group's sums run over its values, so lane g of an array belongs to group g and value i of all groups lies
//! in one array. Then every loop is over lanes, without a sum across them or a branch, and compilers turn it
//! into vector instructions. The order of the sums is written down here: results are the same on every
//! platform.

use half::f16;

/// Groups in an array.
pub(super) const N_LANES: usize = 8;

/// A figure of each of eight groups.
pub(super) type Lanes = [f32; N_LANES];

/// What a difference of squares must exceed to be divided by: below, the values are one value.
pub(super) const TINY: f32 = 1e-30;

/// 1.5 · 2²³: adding it leaves no bits for a fraction.
const NO_FRACTION: f32 = 12_582_912.0;

/// The integer nearest to `x`, of which the magnitude is below 2²², halves to even.
#[inline(always)]
pub(super) fn nearest(x: f32) -> f32 {
    (x + NO_FRACTION) - NO_FRACTION
}

/// The smaller one, the first where they cannot be compared.
#[inline(always)]
pub(super) fn lower(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

/// The larger one, the first where they cannot be compared.
#[inline(always)]
pub(super) fn upper(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// `x`, or what of `low` to `high` is nearest to it.
#[inline(always)]
pub(super) fn within(x: f32, low: f32, high: f32) -> f32 {
    lower(upper(x, low), high)
}

/// `a / b`, or 0 where `b` is not above [`TINY`].
#[inline(always)]
pub(super) fn over(a: f32, b: f32) -> f32 {
    let quotient = a / upper(b, TINY);
    if b > TINY { quotient } else { 0.0 }
}

/// `f` of each lane.
#[inline(always)]
pub(super) fn each(f: impl FnMut(usize) -> f32) -> Lanes {
    std::array::from_fn(f)
}

/// The values of eight groups of `N`, value by value.
pub(super) fn by_value<const N: usize>(groups: &[[f32; N]]) -> [Lanes; N] {
    let mut values = [[0.0; N_LANES]; N];
    for (lane, group) in groups.iter().take(N_LANES).enumerate() {
        for (value, x) in values.iter_mut().zip(group) {
            value[lane] = *x;
        }
    }
    values
}

/// What the squared error of each value counts: its importance, where that is known, else its magnitude and the group's root
/// mean square. Large values are what products are made of, and a plain sum of squares would round them as the small ones.
pub(super) fn weights<const N: usize>(x: &[Lanes; N], importance: Option<&[[f32; N]]>) -> [Lanes; N] {
    if let Some(importance) = importance {
        return by_value(importance);
    }
    let mut squares = [0.0; N_LANES];
    for x in x {
        for (sum, x) in squares.iter_mut().zip(x) {
            *sum += x * x;
        }
    }
    let typical = squares.map(|sum| (sum / N as f32).sqrt());
    x.map(|x| each(|l| x[l].abs() + typical[l]))
}

/// The largest finite number of type `F16`.
pub(super) const F16_MAX: f32 = 65504.0;

/// The finite `F16` nearest to `x`.
pub(super) fn to_f16(x: f32) -> f16 {
    f16::from_f32(within(x, -F16_MAX, F16_MAX))
}

/// An `F16` that the highest integer has to multiply to reach `x`: the nearest one, or the next larger magnitude where
/// that one is far below. Small numbers of the type are few, and what is above the highest integer is cut off.
pub(super) fn factor(x: f32) -> f16 {
    let near = to_f16(x);
    let reaches = near.to_f32().abs() >= lower(x.abs() * (1.0 - 1.0 / 512.0), F16_MAX);
    // Numbers of one sign have their bits in order of magnitude.
    if reaches { near } else { f16::from_bits(near.to_bits() + 1) }
}

/// Where the value of the largest magnitude is, or (as an error) the first one that is no finite number.
pub(super) fn largest(x: &[f32]) -> Result<usize, usize> {
    if let Some(i) = x.iter().position(|x| !x.is_finite()) {
        return Err(i);
    }
    let mut largest = 0;
    for (i, value) in x.iter().enumerate() {
        if value.abs() > x[largest].abs() {
            largest = i;
        }
    }
    Ok(largest)
}
