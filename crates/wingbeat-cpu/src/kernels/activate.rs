//! What happens to a product before it is stored.

use super::exp::{exp, sigmoid, tanh};
use crate::simd::{Simd, scalar::Scalar};
use wingbeat_backend::WKV7_DECAY_SCALE;

/// An elementwise function of a product, with the bias's part for the rows at hand.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<'a> {
    Tanh,
    Sigmoid,
    ReluSquared,
    BiasSigmoid(&'a [f32]),
    BiasDecay(&'a [f32]),
    Silu,
    BiasExpDecay(&'a [f32]),
}

impl<'a> Epilogue<'a> {
    /// The bias, if there is one.
    #[inline(always)]
    fn bias(self) -> Option<&'a [f32]> {
        match self {
            Epilogue::BiasSigmoid(bias) | Epilogue::BiasDecay(bias) | Epilogue::BiasExpDecay(bias) => {
                Some(bias)
            }
            Epilogue::Tanh | Epilogue::Sigmoid | Epilogue::ReluSquared | Epilogue::Silu => None,
        }
    }

    /// The same function with another bias.
    #[inline(always)]
    fn with_bias(self, bias: &[f32]) -> Epilogue<'_> {
        match self {
            Epilogue::BiasSigmoid(_) => Epilogue::BiasSigmoid(bias),
            Epilogue::BiasDecay(_) => Epilogue::BiasDecay(bias),
            Epilogue::BiasExpDecay(_) => Epilogue::BiasExpDecay(bias),
            Epilogue::Tanh => Epilogue::Tanh,
            Epilogue::Sigmoid => Epilogue::Sigmoid,
            Epilogue::ReluSquared => Epilogue::ReluSquared,
            Epilogue::Silu => Epilogue::Silu,
        }
    }
}

/// `z ← f(z)`
#[inline(always)]
pub(super) unsafe fn activate<S: Simd>(z: &mut [f32], epilogue: Epilogue<'_>) {
    assert!(epilogue.bias().is_none_or(|bias| bias.len() == z.len()));
    let whole = z.len() - z.len() % S::LANES;
    // SAFETY: indices stay below the lengths, equal as checked; a tail shorter than the portable lanes is padded.
    unsafe {
        let mut i = 0;
        while i < whole {
            let p = z.as_mut_ptr().add(i);
            S::store(p, apply::<S>(S::load(p), epilogue, i));
            i += S::LANES;
        }
        while i < z.len() {
            let n = (z.len() - i).min(Scalar::LANES);
            let (mut tail, mut bias_tail) = ([0.0; Scalar::LANES], [0.0; Scalar::LANES]);
            tail[..n].copy_from_slice(&z[i..i + n]);
            if let Some(bias) = epilogue.bias() {
                bias_tail[..n].copy_from_slice(&bias[i..i + n]);
            }
            let done = apply::<Scalar>(tail, epilogue.with_bias(&bias_tail), 0);
            z[i..i + n].copy_from_slice(&done[..n]);
            i += n;
        }
    }
}

/// One vector; `at` is its place in the bias.
#[inline(always)]
unsafe fn apply<S: Simd>(z: S::V, epilogue: Epilogue<'_>, at: usize) -> S::V {
    // SAFETY: the caller checked that the bias reaches to `at + LANES`.
    unsafe {
        match epilogue {
            Epilogue::Tanh => tanh::<S>(z),
            Epilogue::Sigmoid => sigmoid::<S>(z),
            Epilogue::ReluSquared => {
                // In this order a NaN stays one.
                let z = S::max(S::splat(0.0), z);
                S::mul(z, z)
            }
            Epilogue::BiasSigmoid(bias) => sigmoid::<S>(S::add(z, S::load(bias.as_ptr().add(at)))),
            Epilogue::BiasDecay(bias) => {
                let s = sigmoid::<S>(S::add(z, S::load(bias.as_ptr().add(at))));
                exp::<S>(S::mul(s, S::splat(-WKV7_DECAY_SCALE)))
            }
            // Below -90 the sigmoid is as good as zero, but not zero. In this order a NaN stays one.
            Epilogue::Silu => S::mul(S::max(S::splat(-90.0), z), sigmoid::<S>(z)),
            Epilogue::BiasExpDecay(bias) => {
                let rate = exp::<S>(S::add(z, S::load(bias.as_ptr().add(at))));
                exp::<S>(S::sub(S::splat(0.0), rate))
            }
        }
    }
}
