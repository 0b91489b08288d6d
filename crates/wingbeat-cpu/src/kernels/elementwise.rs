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
    let n = x.len();
    assert!(weight.len() == n && bias.len() == n && y.len() == n);
    let whole = n - n % S::LANES;
    // SAFETY: indices stay below the equal lengths.
    unsafe {
        let mut sum = S::splat(0.0);
        let mut i = 0;
        while i < whole {
            sum = S::add(sum, S::load(x.as_ptr().add(i)));
            i += S::LANES;
        }
        let mean = (S::sum(sum) + x[whole..].iter().sum::<f32>()) / n as f32;
        let mut squares = S::splat(0.0);
        i = 0;
        while i < whole {
            let d = S::sub(S::load(x.as_ptr().add(i)), S::splat(mean));
            squares = S::fma(d, d, squares);
            i += S::LANES;
        }
        let tail: f32 = x[whole..].iter().map(|x| (x - mean) * (x - mean)).sum();
        let scale = 1.0 / ((S::sum(squares) + tail) / n as f32 + eps).sqrt();
        i = 0;
        while i < whole {
            let d = S::mul(S::sub(S::load(x.as_ptr().add(i)), S::splat(mean)), S::splat(scale));
            S::store(
                y.as_mut_ptr().add(i),
                S::fma(d, S::load(weight.as_ptr().add(i)), S::load(bias.as_ptr().add(i))),
            );
            i += S::LANES;
        }
        for i in whole..n {
            y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
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
