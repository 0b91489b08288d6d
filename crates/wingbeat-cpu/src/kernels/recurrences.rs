//! The recurrences of RWKV-4 and of RWKV-5 and RWKV-6, and the latter's read-out.
//!
//! The state of a head is `[key][value]`, so that values run along the lanes: no product needs a horizontal sum but the
//! bonus, which is one number a token and head. RWKV-4's channels are independent of each other.

use super::{elementwise::layer_norm_in_place, exp::exp, time_mix::HeadPart};
use crate::{
    buffer::SharedRows,
    simd::{Simd, scalar::Scalar},
};

/// Decay factors of a [`wkv6`].
pub(crate) enum DecayRows<'a> {
    /// A row a token.
    Tokens(SharedRows<'a>),
    /// The same for all tokens `(C)`.
    Channels(&'a [f32]),
}

/// Buffers of [`wkv6`]; it writes `y`.
pub(crate) struct Wkv6Rows<'a> {
    pub(crate) r: SharedRows<'a>,
    pub(crate) w: DecayRows<'a>,
    pub(crate) k: SharedRows<'a>,
    pub(crate) v: SharedRows<'a>,
    pub(crate) y: SharedRows<'a>,
    pub(crate) u: &'a [f32],
}

/// Buffers of [`v6_readout`]; it writes `y`.
pub(crate) struct Readout6Rows<'a> {
    pub(crate) y: SharedRows<'a>,
    pub(crate) g: Option<SharedRows<'a>>,
    pub(crate) ln_weight: &'a [f32],
    pub(crate) ln_bias: &'a [f32],
    pub(crate) eps: f32,
}

/// Buffers of [`wkv4`]; it writes `y`.
pub(crate) struct Wkv4Rows<'a> {
    pub(crate) r: SharedRows<'a>,
    pub(crate) k: SharedRows<'a>,
    pub(crate) v: SharedRows<'a>,
    pub(crate) y: SharedRows<'a>,
    pub(crate) decay: &'a [f32],
    pub(crate) first: &'a [f32],
}

/// The state's part of some channels.
pub(crate) struct Sums<'a> {
    pub(crate) aa: &'a mut [f32],
    pub(crate) bb: &'a mut [f32],
    pub(crate) pp: &'a mut [f32],
}

/// See [`Pass::wkv6`](wingbeat_backend::Pass::wkv6); `state (N, N)` is `[key][value]`.
///
/// # Safety
/// The instructions of `S` are there, and no other thread touches the head's channels in the sequence's rows.
#[inline(always)]
pub(super) unsafe fn wkv6<S: Simd>(args: &Wkv6Rows<'_>, part: &HeadPart, state: &mut [f32]) {
    const WIDE: usize = 4;
    let n = part.channels.len();
    assert_eq!(state.len(), n * n);
    // As in RWKV-7: a few vectors of values go through all tokens at a time.
    let mut i = 0;
    // SAFETY: `i` plus the width stays within the head.
    unsafe {
        while i + WIDE * S::LANES <= n {
            values::<S, WIDE>(args, part, state, i);
            i += WIDE * S::LANES;
        }
        while i + S::LANES <= n {
            values::<S, 1>(args, part, state, i);
            i += S::LANES;
        }
        while i < n {
            one_value(args, part, state, i);
            i += 1;
        }
    }
}

/// The decay factors of a token's head.
///
/// # Safety
/// No other thread writes them.
#[inline(always)]
unsafe fn decay<'a>(args: &'a Wkv6Rows<'_>, part: &HeadPart, t: usize) -> &'a [f32] {
    match &args.w {
        // SAFETY: the caller's promise.
        DecayRows::Tokens(w) => unsafe { w.read(t, part.channels.clone()) },
        DecayRows::Channels(w) => &w[part.channels.clone()],
    }
}

/// Values `i..i + W·LANES` through all tokens.
///
/// # Safety
/// As [`wkv6`]; the values are within the head.
#[inline(always)]
unsafe fn values<S: Simd, const W: usize>(args: &Wkv6Rows<'_>, part: &HeadPart, state: &mut [f32], i: usize) {
    let n = part.channels.len();
    let u = &args.u[part.channels.clone()];
    for t in part.rows.clone() {
        // SAFETY: the head's own channels, by the caller's promise; state rows are `n` long.
        unsafe {
            let read = |rows: &SharedRows<'_>| rows.read(t, part.channels.clone()).as_ptr();
            let (r, k, v) = (read(&args.r), read(&args.k), read(&args.v));
            let w = decay(args, part, t).as_ptr();
            let y = args.y.part(t, part.channels.clone()).as_mut_ptr();
            let mut value = [S::splat(0.0); W];
            for (lane, value) in value.iter_mut().enumerate() {
                *value = S::load(v.add(i + lane * S::LANES));
            }
            let bonus = S::splat(bonus::<S>(r, k, u));
            let mut out = value.map(|value| S::mul(value, bonus));
            for j in 0..n {
                let s = state.as_mut_ptr().add(j * n + i);
                let (w, k, r) = (S::splat(*w.add(j)), S::splat(*k.add(j)), S::splat(*r.add(j)));
                for lane in 0..W {
                    let s = s.add(lane * S::LANES);
                    let old = S::load(s);
                    out[lane] = S::fma(old, r, out[lane]);
                    S::store(s, S::fma(old, w, S::mul(value[lane], k)));
                }
            }
            for (lane, out) in out.into_iter().enumerate() {
                S::store(y.add(i + lane * S::LANES), out);
            }
        }
    }
}

/// `Σ r u k`, by which the current token's value counts.
///
/// # Safety
/// The instructions of `S` are there; `r` and `k` have as many values as `u`.
#[inline(always)]
unsafe fn bonus<S: Simd>(r: *const f32, k: *const f32, u: &[f32]) -> f32 {
    let whole = u.len() - u.len() % S::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = S::splat(0.0);
        let mut i = 0;
        while i < whole {
            let product = S::mul(S::load(k.add(i)), S::load(u.as_ptr().add(i)));
            sum = S::fma(S::load(r.add(i)), product, sum);
            i += S::LANES;
        }
        S::sum(sum) + (whole..u.len()).map(|i| *r.add(i) * (*k.add(i) * u[i])).sum::<f32>()
    }
}

/// Value `i` through all tokens: what is left where the head is no multiple of the lanes.
///
/// # Safety
/// As [`wkv6`].
#[inline(always)]
unsafe fn one_value(args: &Wkv6Rows<'_>, part: &HeadPart, state: &mut [f32], i: usize) {
    let n = part.channels.len();
    let u = &args.u[part.channels.clone()];
    for t in part.rows.clone() {
        // SAFETY: the head's own channels, by the caller's promise.
        unsafe {
            let read = |rows: &SharedRows<'_>| rows.read(t, part.channels.clone()).as_ptr();
            let (r, k, v) = (read(&args.r), read(&args.k), read(&args.v));
            let w = decay(args, part, t);
            let value = *v.add(i);
            let mut out = bonus::<Scalar>(r, k, u) * value;
            for j in 0..n {
                let s = &mut state[j * n + i];
                out += *s * *r.add(j);
                *s = *s * w[j] + *k.add(j) * value;
            }
            args.y.part(t, part.channels.clone())[i] = out;
        }
    }
}

/// See [`Pass::v6_readout`](wingbeat_backend::Pass::v6_readout).
///
/// # Safety
/// As [`wkv6`].
#[inline(always)]
pub(super) unsafe fn v6_readout<S: Simd>(args: &Readout6Rows<'_>, part: &HeadPart) {
    let (weight, bias) = (&args.ln_weight[part.channels.clone()], &args.ln_bias[part.channels.clone()]);
    for t in part.rows.clone() {
        // SAFETY: the head's own channels, by the caller's promise.
        unsafe {
            let y = args.y.part(t, part.channels.clone());
            layer_norm_in_place::<S>(weight, bias, args.eps, y);
            let Some(g) = &args.g else { continue };
            let g = g.read(t, part.channels.clone());
            let whole = y.len() - y.len() % S::LANES;
            let mut i = 0;
            while i < whole {
                let p = y.as_mut_ptr().add(i);
                S::store(p, S::mul(S::load(p), S::load(g.as_ptr().add(i))));
                i += S::LANES;
            }
            y[whole..].iter_mut().zip(&g[whole..]).for_each(|(y, g)| *y *= g);
        }
    }
}

/// See [`Pass::wkv4`](wingbeat_backend::Pass::wkv4), of some channels.
///
/// # Safety
/// The instructions of `S` are there, and no other thread touches these channels in the sequence's rows.
#[inline(always)]
pub(super) unsafe fn wkv4<S: Simd>(args: &Wkv4Rows<'_>, part: &HeadPart, sums: Sums<'_>) {
    let n = part.channels.len();
    assert!(sums.aa.len() == n && sums.bb.len() == n && sums.pp.len() == n);
    let Sums { aa, bb, pp } = sums;
    let mut i = 0;
    // SAFETY: `i` plus the lanes stays within the channels.
    unsafe {
        while i + S::LANES <= n {
            let end = i + S::LANES;
            channels::<S>(args, part, i, [&mut aa[i..end], &mut bb[i..end], &mut pp[i..end]]);
            i = end;
        }
        while i < n {
            // A few more lanes than there are channels.
            let left = (n - i).min(Scalar::LANES);
            let mut padded = [[0.0; Scalar::LANES]; 3];
            for (padded, slab) in padded.iter_mut().zip([&*aa, &*bb, &*pp]) {
                padded[..left].copy_from_slice(&slab[i..i + left]);
            }
            few_channels(args, part, i..i + left, &mut padded);
            for (padded, slab) in padded.iter().zip([&mut *aa, &mut *bb, &mut *pp]) {
                slab[i..i + left].copy_from_slice(&padded[..left]);
            }
            i += left;
        }
    }
}

/// One vector of channels, from the `i`-th of the part on, through all tokens.
///
/// # Safety
/// As [`wkv4`]; the channels are within the part, and the sums are as long as a vector.
#[inline(always)]
unsafe fn channels<S: Simd>(args: &Wkv4Rows<'_>, part: &HeadPart, i: usize, [aa, bb, pp]: [&mut [f32]; 3]) {
    let c = part.channels.start + i;
    let lanes = c..c + S::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        let (decay, first) =
            (S::load(args.decay[lanes.clone()].as_ptr()), S::load(args.first[lanes.clone()].as_ptr()));
        let mut sums = [S::load(aa.as_ptr()), S::load(bb.as_ptr()), S::load(pp.as_ptr())];
        for t in part.rows.clone() {
            let read = |rows: &SharedRows<'_>| S::load(rows.read(t, lanes.clone()).as_ptr());
            let token = [read(&args.r), read(&args.k), read(&args.v)];
            S::store(args.y.part(t, lanes.clone()).as_mut_ptr(), step::<S>(token, decay, first, &mut sums));
        }
        S::store(aa.as_mut_ptr(), sums[0]);
        S::store(bb.as_mut_ptr(), sums[1]);
        S::store(pp.as_mut_ptr(), sums[2]);
    }
}

/// Fewer channels than the portable lanes, through all tokens.
///
/// # Safety
/// As [`wkv4`].
#[inline(always)]
unsafe fn few_channels(
    args: &Wkv4Rows<'_>,
    part: &HeadPart,
    range: std::ops::Range<usize>,
    sums: &mut [[f32; Scalar::LANES]; 3],
) {
    let n = range.len();
    let lanes = part.channels.start + range.start..part.channels.start + range.end;
    let pad = |values: &[f32]| {
        let mut padded = [0.0; Scalar::LANES];
        padded[..n].copy_from_slice(values);
        padded
    };
    let (decay, first) = (pad(&args.decay[lanes.clone()]), pad(&args.first[lanes.clone()]));
    for t in part.rows.clone() {
        // SAFETY: the caller's promise.
        unsafe {
            let read = |rows: &SharedRows<'_>| pad(rows.read(t, lanes.clone()));
            let token = [read(&args.r), read(&args.k), read(&args.v)];
            let y = step::<Scalar>(token, decay, first, sums);
            args.y.part(t, lanes.clone()).copy_from_slice(&y[..n]);
        }
    }
}

/// One token: `r k v` in, `y` out, sums `a b p` moved on.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn step<S: Simd>([r, k, v]: [S::V; 3], decay: S::V, first: S::V, sums: &mut [S::V; 3]) -> S::V {
    // SAFETY: the caller's promise; no pointers.
    unsafe {
        let [a, b, p] = *sums;
        let now = S::add(first, k);
        let q = S::max(p, now);
        let (old, new) = (exp::<S>(S::sub(p, q)), exp::<S>(S::sub(now, q)));
        let average = S::div(S::fma(old, a, S::mul(new, v)), S::fma(old, b, new));
        let p = S::add(p, decay);
        let q = S::max(p, k);
        let (old, new) = (exp::<S>(S::sub(p, q)), exp::<S>(S::sub(k, q)));
        *sums = [S::fma(old, a, S::mul(new, v)), S::fma(old, b, new), q];
        S::mul(r, average)
    }
}
