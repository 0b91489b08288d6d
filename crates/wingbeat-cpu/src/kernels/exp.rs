//! The exponential, and what is made of it.

use crate::simd::Simd;

/// `e^x` to a relative error below 2^-23, the distance from 1 to the next number: `2^n · e^r` with `|r| ≤ ln2/2`, a
/// degree-6 polynomial that begins as the Taylor series does, `1 + r`; its other coefficients make the largest relative
/// error least (Remez's algorithm: 3e-9, where the series cut here errs by 1.7e-7). Arguments are clamped to ±87.3,
/// where e^x stays normal.
#[inline(always)]
pub(super) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the trait's contract; no pointers.
    unsafe {
        // In this order a NaN stays one.
        let x = S::min(S::splat(87.3), S::max(S::splat(-87.3), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        // ln2 in two parts, so that n·ln2 is exact enough: Cody and Waite's constants.
        let r = S::fma(n, S::splat(-0.693_359_4), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.381_454e-3);
        p = S::fma(p, r, S::splat(8.368_745e-3));
        p = S::fma(p, r, S::splat(4.166_839e-2));
        p = S::fma(p, r, S::splat(0.166_665_2));
        p = S::fma(p, r, S::splat(0.499_999_94));
        p = S::fma(p, r, S::splat(1.0));
        p = S::fma(p, r, S::splat(1.0));
        S::mul(p, S::exp2_int(n))
    }
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(super) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the trait's contract; no pointers.
    unsafe { S::div(S::splat(1.0), S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)))) }
}

/// `1 - 2 / (e^2x + 1)`
#[inline(always)]
pub(super) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the trait's contract; no pointers.
    unsafe {
        let e = exp::<S>(S::add(x, x));
        S::sub(S::splat(1.0), S::div(S::splat(2.0), S::add(e, S::splat(1.0))))
    }
}
