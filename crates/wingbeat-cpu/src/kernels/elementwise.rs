//! Layer norm, token shift, sums.

use crate::simd::Simd;

/// `y ← y + z`
#[inline(always)]
pub(super) unsafe fn add<S: Simd>(y: &mut [f32], z: &[f32]) {
    assert_eq!(y.len(), z.len());
    let whole = y.len() - y.len() % S::LANES;
    // SAFETY: indices stay below the equal lengths.
    unsafe {
        let mut i = 0;
        while i < whole {
            let p = y.as_mut_ptr().add(i);
            S::store(p, S::add(S::load(p), S::load(z.as_ptr().add(i))));
            i += S::LANES;
        }
    }
    y[whole..].iter_mut().zip(&z[whole..]).for_each(|(y, z)| *y += z);
}

/// `y = (x − mean) / sqrt(variance + eps) ∘ weight + bias`
#[inline(always)]
pub(super) unsafe fn layer_norm<S: Simd>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    // SAFETY: as many values as there are results.
    unsafe { norm::<S>(x.as_ptr(), weight, bias, eps, y.as_mut_ptr()) };
}

/// `y ← (y − mean) / sqrt(variance + eps) ∘ weight + bias`
#[inline(always)]
pub(super) unsafe fn layer_norm_in_place<S: Simd>(weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    assert_eq!(weight.len(), y.len());
    let y = y.as_mut_ptr();
    // SAFETY: as many values as there are weights; every one is read before it is written.
    unsafe { norm::<S>(y, weight, bias, eps, y) };
}

/// A norm of as many values as there are weights.
///
/// # Safety
/// `x` and `y` have so many values; they may be the same.
#[inline(always)]
unsafe fn norm<S: Simd>(x: *const f32, weight: &[f32], bias: &[f32], eps: f32, y: *mut f32) {
    let n = weight.len();
    assert_eq!(bias.len(), n);
    let whole = n - n % S::LANES;
    // SAFETY: indices stay below the lengths, equal as checked or promised.
    unsafe {
        let mut sum = S::splat(0.0);
        let mut i = 0;
        while i < whole {
            sum = S::add(sum, S::load(x.add(i)));
            i += S::LANES;
        }
        let mean = (S::sum(sum) + (whole..n).map(|i| *x.add(i)).sum::<f32>()) / n as f32;
        let mut squares = S::splat(0.0);
        i = 0;
        while i < whole {
            let d = S::sub(S::load(x.add(i)), S::splat(mean));
            squares = S::fma(d, d, squares);
            i += S::LANES;
        }
        let tail: f32 = (whole..n).map(|i| (*x.add(i) - mean) * (*x.add(i) - mean)).sum();
        let scale = 1.0 / ((S::sum(squares) + tail) / n as f32 + eps).sqrt();
        i = 0;
        while i < whole {
            let d = S::mul(S::sub(S::load(x.add(i)), S::splat(mean)), S::splat(scale));
            let weighted = S::fma(d, S::load(weight.as_ptr().add(i)), S::load(bias.as_ptr().add(i)));
            S::store(y.add(i), weighted);
            i += S::LANES;
        }
        for i in whole..n {
            *y.add(i) = (*x.add(i) - mean) * scale * weight[i] + bias[i];
        }
    }
}

/// `y = x + (previous − x) ∘ mix`
#[inline(always)]
pub(super) unsafe fn shift<S: Simd>(x: &[f32], previous: &[f32], mix: &[f32], y: &mut [f32]) {
    let n = x.len();
    assert!(previous.len() == n && mix.len() == n && y.len() == n);
    let whole = n - n % S::LANES;
    // SAFETY: indices stay below the equal lengths.
    unsafe {
        let mut i = 0;
        while i < whole {
            let now = S::load(x.as_ptr().add(i));
            let d = S::sub(S::load(previous.as_ptr().add(i)), now);
            S::store(y.as_mut_ptr().add(i), S::fma(d, S::load(mix.as_ptr().add(i)), now));
            i += S::LANES;
        }
    }
    for i in whole..n {
        y[i] = x[i] + (previous[i] - x[i]) * mix[i];
    }
}

/// `y ← x + (previous − x) ∘ (mix + y)`
#[inline(always)]
pub(super) unsafe fn lerp<S: Simd>(x: &[f32], previous: &[f32], mix: &[f32], y: &mut [f32]) {
    let n = x.len();
    assert!(previous.len() == n && mix.len() == n && y.len() == n);
    let whole = n - n % S::LANES;
    // SAFETY: indices stay below the equal lengths.
    unsafe {
        let mut i = 0;
        while i < whole {
            let now = S::load(x.as_ptr().add(i));
            let d = S::sub(S::load(previous.as_ptr().add(i)), now);
            let p = y.as_mut_ptr().add(i);
            let moved = S::add(S::load(mix.as_ptr().add(i)), S::load(p));
            S::store(p, S::fma(d, moved, now));
            i += S::LANES;
        }
    }
    for i in whole..n {
        y[i] = x[i] + (previous[i] - x[i]) * (mix[i] + y[i]);
    }
}

/// `x ← x + gate ∘ y`
#[inline(always)]
pub(super) unsafe fn add_gated<S: Simd>(x: &mut [f32], gate: &[f32], y: &[f32]) {
    let n = x.len();
    assert!(gate.len() == n && y.len() == n);
    let whole = n - n % S::LANES;
    // SAFETY: indices stay below the equal lengths.
    unsafe {
        let mut i = 0;
        while i < whole {
            let p = x.as_mut_ptr().add(i);
            let product = (S::load(gate.as_ptr().add(i)), S::load(y.as_ptr().add(i)));
            S::store(p, S::fma(product.0, product.1, S::load(p)));
            i += S::LANES;
        }
    }
    for i in whole..n {
        x[i] += gate[i] * y[i];
    }
}
