//! RWKV-7's time mix of one head: keys, recurrence, read-out.
//!
//! The state of a head is kept `[key][value]`, so that values run along the lanes: no product of the recurrence needs
//! a horizontal sum.

use crate::{
    buffer::SharedRows,
    simd::{Simd, prefetch},
};
use std::ops::Range;

/// The part of a pass that one call works on: a sequence's rows and a head's channels.
#[derive(Clone)]
pub(crate) struct HeadPart {
    pub(crate) rows: Range<usize>,
    pub(crate) channels: Range<usize>,
}

/// Buffers of [`v7_keys`]; it writes `k v kk v_first`.
pub(crate) struct KeysRows<'a> {
    pub(crate) k: SharedRows<'a>,
    pub(crate) v: SharedRows<'a>,
    pub(crate) kk: SharedRows<'a>,
    pub(crate) v_first: SharedRows<'a>,
    pub(crate) v_gate: Option<SharedRows<'a>>,
    pub(crate) a: SharedRows<'a>,
    pub(crate) k_k: &'a [f32],
    pub(crate) k_a: &'a [f32],
}

/// Buffers of [`wkv7`]; it writes `y`.
pub(crate) struct WkvRows<'a> {
    pub(crate) r: SharedRows<'a>,
    pub(crate) w: SharedRows<'a>,
    pub(crate) k: SharedRows<'a>,
    pub(crate) v: SharedRows<'a>,
    pub(crate) kk: SharedRows<'a>,
    pub(crate) a: SharedRows<'a>,
    pub(crate) y: SharedRows<'a>,
}

/// Buffers of [`v7_readout`]; it writes `y`.
pub(crate) struct ReadoutRows<'a> {
    pub(crate) y: SharedRows<'a>,
    pub(crate) r: SharedRows<'a>,
    pub(crate) k: SharedRows<'a>,
    pub(crate) v: SharedRows<'a>,
    pub(crate) g: SharedRows<'a>,
    pub(crate) r_k: &'a [f32],
    pub(crate) ln_weight: &'a [f32],
    pub(crate) ln_bias: &'a [f32],
    pub(crate) eps: f32,
}

/// See [`Pass::v7_keys`](wingbeat_backend::Pass::v7_keys).
///
/// # Safety
/// The instructions of `S` are there, and no other thread touches the head's channels in the sequence's rows.
#[inline(always)]
pub(super) unsafe fn v7_keys<S: Simd>(args: &KeysRows<'_>, part: &HeadPart) {
    let channels = part.channels.clone();
    let (k_k, k_a) = (&args.k_k[channels.clone()], &args.k_a[channels.clone()]);
    for t in part.rows.clone() {
        // SAFETY: the head's own channels, by the caller's promise; the slices are of different buffers.
        unsafe {
            let at = |rows: &SharedRows<'_>| rows.part(t, channels.clone()).as_mut_ptr();
            let read = |rows: &SharedRows<'_>| rows.read(t, channels.clone()).as_ptr();
            let (k, v, kk, v_first) = (at(&args.k), at(&args.v), at(&args.kk), at(&args.v_first));
            let (a, gate) = (read(&args.a), args.v_gate.as_ref().map(read));
            let n = k_k.len();
            let whole = n - n % S::LANES;
            let mut squares = S::splat(0.0);
            let mut i = 0;
            while i < whole {
                let product = S::mul(S::load(k.add(i)), S::load(k_k.as_ptr().add(i)));
                squares = S::fma(product, product, squares);
                S::store(kk.add(i), product);
                let rate = S::sub(S::load(a.add(i)), S::splat(1.0));
                let scale = S::fma(rate, S::load(k_a.as_ptr().add(i)), S::splat(1.0));
                S::store(k.add(i), S::mul(S::load(k.add(i)), scale));
                let value = S::load(v.add(i));
                match gate {
                    None => S::store(v_first.add(i), value),
                    Some(gate) => {
                        let d = S::sub(S::load(v_first.add(i)), value);
                        S::store(v.add(i), S::fma(d, S::load(gate.add(i)), value));
                    }
                }
                i += S::LANES;
            }
            let mut sum = S::sum(squares);
            for i in whole..n {
                let product = *k.add(i) * k_k[i];
                sum += product * product;
                *kk.add(i) = product;
                *k.add(i) *= 1.0 + (*a.add(i) - 1.0) * k_a[i];
                match gate {
                    None => *v_first.add(i) = *v.add(i),
                    Some(gate) => *v.add(i) += (*v_first.add(i) - *v.add(i)) * *gate.add(i),
                }
            }
            let inverse = 1.0 / sum.sqrt().max(1e-12);
            i = 0;
            while i < whole {
                S::store(kk.add(i), S::mul(S::load(kk.add(i)), S::splat(inverse)));
                i += S::LANES;
            }
            for i in whole..n {
                *kk.add(i) *= inverse;
            }
        }
    }
}

/// See [`Pass::wkv7`](wingbeat_backend::Pass::wkv7); `state (N, N)` is `[key][value]`.
///
/// # Safety
/// As [`v7_keys`].
#[inline(always)]
pub(super) unsafe fn wkv7<S: Simd>(args: &WkvRows<'_>, part: &HeadPart, state: &mut [f32]) {
    const WIDE: usize = 4;
    let n = part.channels.len();
    assert_eq!(state.len(), n * n);
    // Values are independent of each other: a few vectors of them go through all tokens at a time, their part of the
    // state staying in the first-level cache.
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

/// Tokens ahead of which a head's rows are asked for: they lie far apart.
const AHEAD: usize = 4;

/// Values `i..i + W·LANES` through all tokens.
///
/// # Safety
/// As [`v7_keys`]; the values are within the head.
#[inline(always)]
unsafe fn values<S: Simd, const W: usize>(args: &WkvRows<'_>, part: &HeadPart, state: &mut [f32], i: usize) {
    let n = part.channels.len();
    for t in part.rows.clone() {
        // SAFETY: the head's own channels, by the caller's promise; state rows are `n` long.
        unsafe {
            let read = |rows: &SharedRows<'_>| rows.read(t, part.channels.clone()).as_ptr();
            let (r, w, k, v) = (read(&args.r), read(&args.w), read(&args.k), read(&args.v));
            let (kk, a) = (read(&args.kk), read(&args.a));
            let y = args.y.part(t, part.channels.clone()).as_mut_ptr();
            if t + AHEAD < part.rows.end {
                for rows in [&args.r, &args.w, &args.k, &args.v, &args.kk, &args.a] {
                    let next = rows.read(t + AHEAD, part.channels.clone());
                    next.iter().step_by(16).for_each(|value| prefetch(std::ptr::from_ref(value).cast()));
                }
            }
            let mut removed = [S::splat(0.0); W];
            for j in 0..n {
                let s = state.as_ptr().add(j * n + i);
                let kk = S::splat(*kk.add(j));
                for (u, removed) in removed.iter_mut().enumerate() {
                    *removed = S::fma(S::load(s.add(u * S::LANES)), kk, *removed);
                }
            }
            let (mut out, mut value) = ([S::splat(0.0); W], [S::splat(0.0); W]);
            for (u, value) in value.iter_mut().enumerate() {
                *value = S::load(v.add(i + u * S::LANES));
            }
            for j in 0..n {
                let s = state.as_mut_ptr().add(j * n + i);
                let (w, k, r) = (S::splat(*w.add(j)), S::splat(*k.add(j)), S::splat(*r.add(j)));
                let b = S::splat(-*kk.add(j) * *a.add(j));
                for u in 0..W {
                    let s = s.add(u * S::LANES);
                    let kept = S::fma(S::load(s), w, S::mul(value[u], k));
                    let new = S::fma(removed[u], b, kept);
                    S::store(s, new);
                    out[u] = S::fma(new, r, out[u]);
                }
            }
            for (u, out) in out.into_iter().enumerate() {
                S::store(y.add(i + u * S::LANES), out);
            }
        }
    }
}

/// Value `i` through all tokens: what is left where the head is no multiple of the lanes.
///
/// # Safety
/// As [`v7_keys`].
#[inline(always)]
unsafe fn one_value(args: &WkvRows<'_>, part: &HeadPart, state: &mut [f32], i: usize) {
    let n = part.channels.len();
    for t in part.rows.clone() {
        // SAFETY: the head's own channels, by the caller's promise.
        unsafe {
            let (r, w) = (args.r.read(t, part.channels.clone()), args.w.read(t, part.channels.clone()));
            let (k, v) = (args.k.read(t, part.channels.clone()), args.v.read(t, part.channels.clone()));
            let (kk, a) = (args.kk.read(t, part.channels.clone()), args.a.read(t, part.channels.clone()));
            let removed: f32 = (0..n).map(|j| state[j * n + i] * kk[j]).sum();
            let mut out = 0.0;
            for j in 0..n {
                let s = &mut state[j * n + i];
                *s = *s * w[j] - removed * kk[j] * a[j] + v[i] * k[j];
                out += *s * r[j];
            }
            args.y.part(t, part.channels.clone())[i] = out;
        }
    }
}

/// See [`Pass::v7_readout`](wingbeat_backend::Pass::v7_readout).
///
/// # Safety
/// As [`v7_keys`].
#[inline(always)]
pub(super) unsafe fn v7_readout<S: Simd>(args: &ReadoutRows<'_>, part: &HeadPart) {
    let channels = part.channels.clone();
    let n = channels.len();
    let whole = n - n % S::LANES;
    let (r_k, weight, bias) =
        (&args.r_k[channels.clone()], &args.ln_weight[channels.clone()], &args.ln_bias[channels.clone()]);
    for t in part.rows.clone() {
        // SAFETY: the head's own channels, by the caller's promise.
        unsafe {
            let read = |rows: &SharedRows<'_>| rows.read(t, channels.clone()).as_ptr();
            let (r, k, v, g) = (read(&args.r), read(&args.k), read(&args.v), read(&args.g));
            let y = args.y.part(t, channels.clone()).as_mut_ptr();
            let (mut sum, mut bonus) = (S::splat(0.0), S::splat(0.0));
            let mut i = 0;
            while i < whole {
                sum = S::add(sum, S::load(y.add(i)));
                let rk = S::mul(S::load(r.add(i)), S::load(k.add(i)));
                bonus = S::fma(rk, S::load(r_k.as_ptr().add(i)), bonus);
                i += S::LANES;
            }
            let (mut sum, mut bonus) = (S::sum(sum), S::sum(bonus));
            for i in whole..n {
                sum += *y.add(i);
                bonus += *r.add(i) * *k.add(i) * r_k[i];
            }
            let mean = sum / n as f32;
            let mut squares = S::splat(0.0);
            i = 0;
            while i < whole {
                let d = S::sub(S::load(y.add(i)), S::splat(mean));
                squares = S::fma(d, d, squares);
                i += S::LANES;
            }
            let mut variance = S::sum(squares);
            for i in whole..n {
                variance += (*y.add(i) - mean) * (*y.add(i) - mean);
            }
            let scale = 1.0 / (variance / n as f32 + args.eps).sqrt();
            i = 0;
            while i < whole {
                let d = S::mul(S::sub(S::load(y.add(i)), S::splat(mean)), S::splat(scale));
                let normed = S::fma(d, S::load(weight.as_ptr().add(i)), S::load(bias.as_ptr().add(i)));
                let with_bonus = S::fma(S::splat(bonus), S::load(v.add(i)), normed);
                S::store(y.add(i), S::mul(with_bonus, S::load(g.add(i))));
                i += S::LANES;
            }
            for i in whole..n {
                let normed = (*y.add(i) - mean) * scale * weight[i] + bias[i];
                *y.add(i) = (normed + bonus * *v.add(i)) * *g.add(i);
            }
        }
    }
}
