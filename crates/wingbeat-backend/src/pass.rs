//! The operations of a pass: equation, shapes and precision of each, and the fused ones with their default bodies.
//!
//! Primitive operations are required. A fused operation has a default body made of primitives; a backend overrides
//! it where it can do better, and no model file changes. All buffers have at least `T = batch.n_rows()` rows, of
//! which the first `T` are read or written; shapes are checked when a model is loaded, so a mismatch here is a bug
//! and asserted.

use crate::{Backend, BackendError, SlabAt};
use std::ops::Range;

/// `e^-½`: the factor in RWKV-7's decay `exp(-e^-½ · σ(·))` (RWKV-LM, rwkv_v7_numpy.py).
pub const WKV7_DECAY_SCALE: f32 = 0.606_530_66;

/// What happens to a product before it is stored.
pub enum Activation<'a, B: Backend> {
    /// `y = z`
    None,
    /// `y ← y + z`, the residual.
    Add,
    /// `y = tanh(z)`
    Tanh,
    /// `y = σ(z)`
    Sigmoid,
    /// `y = max(z, 0)²`
    ReluSquared,
    /// `y = σ(z + bias)`, bias `(rows)`.
    BiasSigmoid(&'a B::Vector),
    /// `y = exp(-e^-½ · σ(z + bias))`, RWKV-7's decay in (0, 1), bias `(rows)`.
    BiasDecay(&'a B::Vector),
    /// `y = z · σ(z)`, RWKV-5's and RWKV-6's gate.
    Silu,
    /// `y = exp(-exp(z + bias))`, RWKV-6's decay in (0, 1), bias `(rows)`.
    BiasExpDecay(&'a B::Vector),
}

impl<B: Backend> Clone for Activation<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Activation<'_, B> {}

/// One product `y = activation(x Wᵀ)` of a [`Pass::linear`] call.
pub struct Linear<'a, B: Backend> {
    /// `W (rows, cols)`.
    pub weight: &'a B::Matrix,
    /// `(T, cols)`.
    pub x: &'a B::Buffer,
    /// `(T, rows)`.
    pub y: &'a mut B::Buffer,
    /// What to do with the product.
    pub activation: Activation<'a, B>,
    /// Most of `x` is expected to be exactly zero (the hidden vector of a relu² FFN): skipping those columns is
    /// lossless and saves their bytes. A hint; the result is the same either way.
    pub sparse_x: bool,
}

impl<'a, B: Backend> Linear<'a, B> {
    /// A dense product.
    pub fn new(
        weight: &'a B::Matrix,
        x: &'a B::Buffer,
        y: &'a mut B::Buffer,
        activation: Activation<'a, B>,
    ) -> Self {
        Linear { weight, x, y, activation, sparse_x: false }
    }
}

/// One product `y = activation(ys[mix] Wᵀ)` of a [`Pass::shift_linear`] call.
pub struct ShiftLinear<'a, B: Backend> {
    /// `W (rows, C)`.
    pub weight: &'a B::Matrix,
    /// Which of the shifted inputs it multiplies.
    pub mix: usize,
    /// `(T, rows)`.
    pub y: &'a mut B::Buffer,
    /// What to do with the product.
    pub activation: Activation<'a, B>,
}

/// Layer norm weights: `(C)`, `(C)`.
pub struct LayerNorm<B: Backend> {
    /// Scale `(C)`.
    pub weight: B::Vector,
    /// Shift `(C)`.
    pub bias: B::Vector,
    /// Added to the variance.
    pub eps: f32,
}

/// Group norm weights, one group a head: `(C)`, `(C)`.
pub struct GroupNorm<B: Backend> {
    /// Scale `(C)`.
    pub weight: B::Vector,
    /// Shift `(C)`.
    pub bias: B::Vector,
    /// Added to the variance.
    pub eps: f32,
}

/// Arguments of [`Pass::v7_keys`].
pub struct V7Keys<'a, B: Backend> {
    /// `(T, C)`: key in, `k ∘ (1 + (a − 1) ∘ k_a)` out.
    pub k: &'a mut B::Buffer,
    /// `(T, C)`: value in, mixed with the first layer's value out.
    pub v: &'a mut B::Buffer,
    /// `(T, C)`: the first layer's value: written when `v_gate` is none, else read.
    pub v_first: &'a mut B::Buffer,
    /// `(T, C)`: how far `v` moves to `v_first`; none in the first layer.
    pub v_gate: Option<&'a B::Buffer>,
    /// `(T, C)`: the in-context learning rate.
    pub a: &'a B::Buffer,
    /// `(T, C)`: removal key out, of unit length in each head.
    pub kk: &'a mut B::Buffer,
    /// `(C)`.
    pub k_k: &'a B::Vector,
    /// `(C)`.
    pub k_a: &'a B::Vector,
    /// `N`.
    pub head_size: usize,
}

/// Arguments of [`Pass::wkv7`]; all buffers `(T, C)` read as `(T, H, N)`.
pub struct Wkv7<'a, B: Backend> {
    /// Receptance.
    pub r: &'a B::Buffer,
    /// Decay factor in (0, 1), not its log.
    pub w: &'a B::Buffer,
    /// Key.
    pub k: &'a B::Buffer,
    /// Value.
    pub v: &'a B::Buffer,
    /// Removal key `k̂`.
    pub kk: &'a B::Buffer,
    /// In-context learning rate.
    pub a: &'a B::Buffer,
    /// Output.
    pub y: &'a mut B::Buffer,
    /// The state: `(H, N, N)` a layer.
    pub state: SlabAt,
    /// `N`.
    pub head_size: usize,
}

/// Arguments of [`Pass::v7_readout`]; buffers `(T, C)`.
pub struct V7Readout<'a, B: Backend> {
    /// Output of the recurrence in, of the whole time mix (before its output matrix) out.
    pub y: &'a mut B::Buffer,
    /// Receptance.
    pub r: &'a B::Buffer,
    /// Key, as the recurrence saw it.
    pub k: &'a B::Buffer,
    /// Value, as the recurrence saw it.
    pub v: &'a B::Buffer,
    /// Gate.
    pub g: &'a B::Buffer,
    /// `(C)`: bonus.
    pub r_k: &'a B::Vector,
    /// The norm after the recurrence.
    pub ln_x: &'a GroupNorm<B>,
    /// `N`.
    pub head_size: usize,
}

/// Arguments of the fused [`Pass::time_mix_v7`]: those of [`Pass::v7_keys`], [`Pass::wkv7`] and
/// [`Pass::v7_readout`], which it runs in this order. `k`, `v` and `kk` are scratch: what they hold afterwards is
/// unspecified.
pub struct TimeMixV7<'a, B: Backend> {
    /// See [`V7Keys`] and [`Wkv7`].
    pub r: &'a B::Buffer,
    /// See [`Wkv7`].
    pub w: &'a B::Buffer,
    /// See [`V7Keys`]; scratch afterwards.
    pub k: &'a mut B::Buffer,
    /// See [`V7Keys`]; scratch afterwards.
    pub v: &'a mut B::Buffer,
    /// See [`V7Keys`].
    pub v_first: &'a mut B::Buffer,
    /// See [`V7Keys`].
    pub v_gate: Option<&'a B::Buffer>,
    /// See [`V7Keys`].
    pub a: &'a B::Buffer,
    /// See [`V7Readout`].
    pub g: &'a B::Buffer,
    /// Scratch `(T, C)`.
    pub kk: &'a mut B::Buffer,
    /// Result `(T, C)`.
    pub y: &'a mut B::Buffer,
    /// See [`V7Keys`].
    pub k_k: &'a B::Vector,
    /// See [`V7Keys`].
    pub k_a: &'a B::Vector,
    /// See [`V7Readout`].
    pub r_k: &'a B::Vector,
    /// See [`V7Readout`].
    pub ln_x: &'a GroupNorm<B>,
    /// See [`Wkv7`].
    pub state: SlabAt,
    /// `N`.
    pub head_size: usize,
}

impl<B: Backend> TimeMixV7<'_, B> {
    /// The three operations one after the other: what a backend does that has nothing better.
    pub fn one_by_one<P: Pass<B> + ?Sized>(self, pass: &mut P) {
        let TimeMixV7 { r, w, k, v, v_first, v_gate, a, g, kk, y, k_k, k_a, r_k, ln_x, state, head_size } =
            self;
        pass.v7_keys(V7Keys {
            k: &mut *k,
            v: &mut *v,
            v_first,
            v_gate,
            a,
            kk: &mut *kk,
            k_k,
            k_a,
            head_size,
        });
        pass.wkv7(Wkv7 { r, w, k: &*k, v: &*v, kk: &*kk, a, y: &mut *y, state, head_size });
        pass.v7_readout(V7Readout { y, r, k: &*k, v: &*v, g, r_k, ln_x, head_size });
    }
}

/// Arguments of the fused [`Pass::low_rank_mix_v7`]: the products that end the low-rank paths, with weights `(C, R)`, and
/// a time mix of what they give. Their `y (T, C)`, `k`, `v` and `kk` are scratch: what they hold afterwards is
/// unspecified.
pub struct LowRankMixV7<'a, B: Backend> {
    /// Gives [`TimeMixV7::w`].
    pub w: Linear<'a, B>,
    /// Gives [`TimeMixV7::a`].
    pub a: Linear<'a, B>,
    /// Gives [`TimeMixV7::g`].
    pub g: Linear<'a, B>,
    /// Gives [`TimeMixV7::v_gate`]; none in the first layer.
    pub v_gate: Option<Linear<'a, B>>,
    /// See [`TimeMixV7`].
    pub r: &'a B::Buffer,
    /// See [`TimeMixV7`].
    pub k: &'a mut B::Buffer,
    /// See [`TimeMixV7`].
    pub v: &'a mut B::Buffer,
    /// See [`TimeMixV7`].
    pub v_first: &'a mut B::Buffer,
    /// Scratch `(T, C)`.
    pub kk: &'a mut B::Buffer,
    /// Result `(T, C)`.
    pub y: &'a mut B::Buffer,
    /// See [`TimeMixV7`].
    pub k_k: &'a B::Vector,
    /// See [`TimeMixV7`].
    pub k_a: &'a B::Vector,
    /// See [`TimeMixV7`].
    pub r_k: &'a B::Vector,
    /// See [`TimeMixV7`].
    pub ln_x: &'a GroupNorm<B>,
    /// See [`TimeMixV7`].
    pub state: SlabAt,
    /// `N`.
    pub head_size: usize,
}

impl<B: Backend> LowRankMixV7<'_, B> {
    /// The products, then the time mix: what a backend does that has nothing better.
    pub fn one_by_one<P: Pass<B> + ?Sized>(self, pass: &mut P) {
        let LowRankMixV7 { w, a, g, v_gate, r, k, v, v_first, kk, y, k_k, k_a, r_k, ln_x, state, head_size } =
            self;
        let (w_y, a_y, g_y) = (&mut *w.y, &mut *a.y, &mut *g.y);
        let up = [Linear { y: &mut *w_y, ..w }, Linear { y: &mut *a_y, ..a }, Linear { y: &mut *g_y, ..g }];
        let v_gate = match v_gate {
            None => {
                pass.linear(&mut { up });
                None
            }
            Some(gate) => {
                let gate_y = &mut *gate.y;
                let [w, a, g] = up;
                pass.linear(&mut [w, a, g, Linear { y: &mut *gate_y, ..gate }]);
                Some(&*gate_y)
            }
        };
        pass.time_mix_v7(TimeMixV7 {
            r,
            w: &*w_y,
            k,
            v,
            v_first,
            v_gate,
            a: &*a_y,
            g: &*g_y,
            kk,
            y,
            k_k,
            k_a,
            r_k,
            ln_x,
            state,
            head_size,
        });
    }
}

/// Arguments of [`Pass::wkv4`]; all buffers and vectors `(T, C)` and `(C)`.
pub struct Wkv4<'a, B: Backend> {
    /// Receptance, in (0, 1).
    pub r: &'a B::Buffer,
    /// Key.
    pub k: &'a B::Buffer,
    /// Value.
    pub v: &'a B::Buffer,
    /// Output.
    pub y: &'a mut B::Buffer,
    /// `ln w`, the logarithm of the decay factor: negative.
    pub decay: &'a B::Vector,
    /// `u`, what the current token's exponent has beside its key.
    pub first: &'a B::Vector,
    /// The state's weighted sum of values, `(C)` a layer, over `exp(pp)`.
    pub aa: SlabAt,
    /// The state's sum of weights, over `exp(pp)`.
    pub bb: SlabAt,
    /// The state's largest exponent, a slab of [`SlabKind::Exponents`](crate::SlabKind).
    pub pp: SlabAt,
}

/// The decay factor of a [`Wkv6`].
pub enum Decay<'a, B: Backend> {
    /// One for each token and channel, `(T, C)`: RWKV-6.
    Tokens(&'a B::Buffer),
    /// One for each channel, `(C)`: RWKV-5.
    Channels(&'a B::Vector),
}

/// Arguments of [`Pass::wkv6`]; all buffers `(T, C)` read as `(T, H, N)`.
pub struct Wkv6<'a, B: Backend> {
    /// Receptance.
    pub r: &'a B::Buffer,
    /// Decay factor in (0, 1), not its log.
    pub w: Decay<'a, B>,
    /// Key.
    pub k: &'a B::Buffer,
    /// Value.
    pub v: &'a B::Buffer,
    /// Output.
    pub y: &'a mut B::Buffer,
    /// `(C)`: bonus of the current token.
    pub u: &'a B::Vector,
    /// The state: `(H, N, N)` a layer, a slab of [`SlabKind::KeyMatrices`](crate::SlabKind).
    pub state: SlabAt,
    /// `N`.
    pub head_size: usize,
}

/// Arguments of [`Pass::v6_readout`]; buffers `(T, C)`.
pub struct V6Readout<'a, B: Backend> {
    /// Output of the recurrence in, of the whole time mix (before its output matrix) out.
    pub y: &'a mut B::Buffer,
    /// Gate; RWKV-5.1 has none.
    pub g: Option<&'a B::Buffer>,
    /// The norm after the recurrence.
    pub ln_x: &'a GroupNorm<B>,
    /// `N`.
    pub head_size: usize,
}

/// Arguments of the fused [`Pass::time_mix_v6`]: those of [`Pass::wkv6`] and [`Pass::v6_readout`], which it runs in this
/// order.
pub struct TimeMixV6<'a, B: Backend> {
    /// The recurrence; its `y` is the result of the whole time mix.
    pub wkv: Wkv6<'a, B>,
    /// See [`V6Readout`].
    pub g: Option<&'a B::Buffer>,
    /// See [`V6Readout`].
    pub ln_x: &'a GroupNorm<B>,
}

impl<B: Backend> TimeMixV6<'_, B> {
    /// The two operations one after the other: what a backend does that has nothing better.
    pub fn one_by_one<P: Pass<B> + ?Sized>(self, pass: &mut P) {
        let TimeMixV6 { wkv: Wkv6 { r, w, k, v, y, u, state, head_size }, g, ln_x } = self;
        pass.wkv6(Wkv6 { r, w, k, v, y: &mut *y, u, state, head_size });
        pass.v6_readout(V6Readout { y, g, ln_x, head_size });
    }
}

/// Operations over the rows of one [`Batch`](crate::Batch). The CPU runs them at once, a GPU records them and
/// submits once. Row `t` of every buffer belongs to row `t` of the batch.
pub trait Pass<B: Backend> {
    /// `x[t] = E[token of row t]`; `E (V, C)`, `x (T, C)`.
    fn embed(&mut self, table: &B::Matrix, x: &mut B::Buffer);

    /// `y = (x − mean(x)) / sqrt(var(x) + eps) ∘ weight + bias` a row; `x, y (T, C)`.
    fn layer_norm(&mut self, x: &B::Buffer, norm: &LayerNorm<B>, y: &mut B::Buffer);

    /// Token shift: `ys[i][t] = x[t] + (x[t−1] − x[t]) ∘ mixes[i]`, where `x[−1]` of a sequence is its state, which
    /// becomes the sequence's last `x` afterwards. `x, ys[i] (T, C)`, `mixes[i] (C)`, state `(C)` a layer.
    fn token_shift(&mut self, x: &B::Buffer, state: SlabAt, mixes: &[&B::Vector], ys: &mut [&mut B::Buffer]);

    /// Independent products, see [`Linear`]. Weights are used in their stored type, sums are f32; what a device does
    /// to the activations first (int8 blocks, bf16) it tells in
    /// [`Backend::activation_precision`](crate::Backend::activation_precision).
    fn linear(&mut self, jobs: &mut [Linear<'_, B>]);

    /// RWKV-7's keys and values before the recurrence (RWKV-LM, rwkv_v7_numpy.py):
    /// `k̂ = (k ∘ k_k) / max(‖k ∘ k_k‖, 1e-12)` a head, `k ← k ∘ (1 + (a − 1) ∘ k_a)`,
    /// `v ← v + (v_first − v) ∘ v_gate` (first layer: `v_first ← v`).
    fn v7_keys(&mut self, args: V7Keys<'_, B>);

    /// The RWKV-7 recurrence, in token order within each sequence (RWKV-LM, rwkv_v7_numpy.py), for each head:
    /// `S ← S·diag(w) − (S·k̂)(k̂∘a)ᵀ + v kᵀ;  y = S·r`, with `S (N, N)` indexed `[value][key]`.
    fn wkv7(&mut self, args: Wkv7<'_, B>);

    /// RWKV-7's read-out: `y ← (group_norm(y) + (Σ_head r ∘ k ∘ r_k) v) ∘ g`.
    fn v7_readout(&mut self, args: V7Readout<'_, B>);

    /// The RWKV-4 recurrence, in token order within each sequence (RWKV-LM, RWKV_in_150_lines.py), for each channel, with
    /// sums kept relative to the largest exponent so far:
    /// `q = max(p, u + k);  y = r · (e^(p−q) a + e^(u+k−q) v) / (e^(p−q) b + e^(u+k−q))`, then
    /// `q = max(p + ln w, k);  a ← e^(p+ln w−q) a + e^(k−q) v;  b ← e^(p+ln w−q) b + e^(k−q);  p ← q`.
    fn wkv4(&mut self, args: Wkv4<'_, B>);

    /// The recurrence of RWKV-5 and RWKV-6, in token order within each sequence (RWKV-LM, rwkv_v6_demo.py), for each head:
    /// `y[j] = Σᵢ r[i] (S[i][j] + u[i] k[i] v[j]);  S ← diag(w) S + k vᵀ`, with `S (N, N)` indexed `[key][value]`.
    fn wkv6(&mut self, args: Wkv6<'_, B>);

    /// The read-out of RWKV-5 and RWKV-6: `y ← group_norm(y) ∘ g`.
    fn v6_readout(&mut self, args: V6Readout<'_, B>);

    /// RWKV-6's token shift that depends on the data, its second part: `ys[i] ← x + (previous − x) ∘ (mixes[i] + ys[i])`;
    /// `x, previous, ys[i] (T, C)`, `mixes[i] (C)`.
    fn lerp(&mut self, x: &B::Buffer, previous: &B::Buffer, mixes: &[&B::Vector], ys: &mut [&mut B::Buffer]);

    /// `x ← x + gate ∘ y`; all `(T, C)`.
    fn add_gated(&mut self, x: &mut B::Buffer, gate: &B::Buffer, y: &B::Buffer);

    /// `x ← factor · x`; `x (T, C)`.
    fn scale(&mut self, x: &mut B::Buffer, factor: f32);

    /// `y[i] = x[rows[i]]`; `x (T, C)`, `y (at least rows.len(), C)`. From here on the pass has `rows.len()` rows for
    /// [`Pass::layer_norm`], [`Pass::linear`] and [`Pass::sum_rows`], the only operations allowed after it.
    fn select_rows(&mut self, x: &B::Buffer, rows: &[usize], y: &mut B::Buffer);

    /// `y[i] = Σ x[t]` over the rows `t` of `ranges[i]`, one after the other in f32 or better; `x (T, C)`,
    /// `y (at least ranges.len(), C)`. The ranges lie within the pass's rows.
    fn sum_rows(&mut self, x: &B::Buffer, ranges: &[Range<usize>], y: &mut B::Buffer);

    /// Ends the pass: everything recorded is handed to the device.
    ///
    /// # Errors
    /// The device was lost or refused the work.
    fn submit(self) -> Result<(), BackendError>
    where
        Self: Sized;

    /// Fused: [`Pass::layer_norm`] of `x` into `normed`, then [`Pass::token_shift`] of it. `normed` is the norm afterwards.
    fn norm_shift(
        &mut self,
        x: &B::Buffer,
        norm: &LayerNorm<B>,
        normed: &mut B::Buffer,
        state: SlabAt,
        mixes: &[&B::Vector],
        ys: &mut [&mut B::Buffer],
    ) {
        self.layer_norm(x, norm, normed);
        self.token_shift(normed, state, mixes, ys);
    }

    /// Fused: [`Pass::norm_shift`], then [`Pass::linear`] of products whose inputs are its results. `normed` and `ys` are
    /// scratch: what they hold afterwards is unspecified.
    #[allow(clippy::too_many_arguments)]
    fn shift_linear(
        &mut self,
        x: &B::Buffer,
        norm: &LayerNorm<B>,
        normed: &mut B::Buffer,
        state: SlabAt,
        mixes: &[&B::Vector],
        ys: &mut [&mut B::Buffer],
        jobs: &mut [ShiftLinear<'_, B>],
    ) {
        self.norm_shift(x, norm, normed, state, mixes, ys);
        let mut linear: Vec<Linear<'_, B>> = jobs
            .iter_mut()
            .map(|job| Linear::new(job.weight, &*ys[job.mix], &mut *job.y, job.activation))
            .collect();
        self.linear(&mut linear);
    }

    /// Fused: [`Pass::v7_keys`], [`Pass::wkv7`], [`Pass::v7_readout`].
    fn time_mix_v7(&mut self, args: TimeMixV7<'_, B>) {
        args.one_by_one(self);
    }

    /// Fused: [`Pass::linear`] of the products that end the low-rank paths, then [`Pass::time_mix_v7`].
    fn low_rank_mix_v7(&mut self, args: LowRankMixV7<'_, B>) {
        args.one_by_one(self);
    }

    /// Fused: [`Pass::wkv6`], [`Pass::v6_readout`].
    fn time_mix_v6(&mut self, args: TimeMixV6<'_, B>) {
        args.one_by_one(self);
    }
}
