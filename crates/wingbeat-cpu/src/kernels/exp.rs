//! The exponential, and what is made of it.

use crate::simd::Simd;

/// `e^x` to about one unit in the last place: `2^n · e^r` with `|r| ≤ ln2/2`, a degree-6 polynomial whose coefficients
/// are the Taylor series' (its remainder there is below 1.2e-7). Arguments are clamped to ±87.3, where e^x stays normal.
#[inline(always)]
pub(super) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the trait's contract; no pointers.
    unsafe {
        let x = S::min(S::max(x, S::splat(-87.3)), S::splat(87.3));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        // ln2 in two parts, so that n·ln2 is exact enough: Cody and Waite's constants.
        let r = S::fma(n, S::splat(-0.693_359_4), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.0 / 720.0);
        p = S::fma(p, r, S::splat(1.0 / 120.0));
        p = S::fma(p, r, S::splat(1.0 / 24.0));
        p = S::fma(p, r, S::splat(1.0 / 6.0));
        p = S::fma(p, r, S::splat(0.5));
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
