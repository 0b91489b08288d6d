//! The time mix of RWKV-5 and RWKV-6: recurrence and read-out.

use super::{key, moving, plain, summing, time_mix::Half};
use crate::{
    GpuBackend, Pass,
    kernels::Key,
    pass::{Carry, InChunk, Work},
    profile::Cost,
};
use wingbeat_backend::{Decay, TimeMixV6, V6Readout, Wkv6};

/// Threads of the plain recurrence, a column each.
const COLUMN_THREADS: u32 = 64;
/// Threads for a head of a row in the read-out.
const HEAD_THREADS: u32 = 64;
/// Threads of a workgroup, and bytes that it shares: what WebGPU promises.
const MOST_THREADS: usize = 256;
const MOST_BYTES: usize = 16 << 10;
/// Keys that a thread has in registers at most.
const MOST_KEYS: usize = 64;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Wkv6Params {
    at: [u32; 4],
    more: [u32; 4],
    slot: [u32; 4],
}

/// How a head is shared out.
#[derive(Clone, Copy)]
struct Shape {
    /// Columns of a workgroup, and threads that share one.
    cols: usize,
    share: usize,
    /// Tokens that lie in shared memory at once.
    tokens: usize,
}

impl Shape {
    /// None where a thread cannot have what it would have to.
    fn of(n: usize) -> Option<Shape> {
        if n == 0 || !n.is_multiple_of(4) {
            return None;
        }
        let cols = if n <= 64 { n } else { [64, 32, 16].into_iter().find(|cols| n.is_multiple_of(*cols))? };
        let fits = |share: &usize| n.is_multiple_of(4 * share) && cols * share <= MOST_THREADS;
        let share = [4, 2, 1].into_iter().find(fits)?;
        let of_token = (3 * n + cols + cols * share) * 4;
        let tokens = [8, 4, 2, 1].into_iter().find(|tokens| tokens * of_token <= MOST_BYTES)?;
        (n / share <= MOST_KEYS).then_some(Shape { cols, share, tokens })
    }

    fn variant(self, n: usize, by_token: bool) -> Key {
        let constants = [
            ("N", n),
            ("COLS", self.cols),
            ("SHARE", self.share),
            ("FOURS", n / self.share / 4),
            ("TOKENS", self.tokens),
            ("BY_TOKEN", usize::from(by_token)),
            ("ACTS4", 1),
            ("VECTORS4", 1),
        ];
        key("wkv6", &constants.map(|(name, value)| (name, value as u32)))
    }
}

/// The plain kernel.
fn any_variant(by_token: bool) -> Key {
    key("wkv6_any", &[("THREADS", COLUMN_THREADS), ("BY_TOKEN", u32::from(by_token))])
}

/// Where a decay lies, and whether each token has its own.
fn decay(w: &Decay<'_, GpuBackend>) -> (u32, bool) {
    match w {
        Decay::Tokens(w) => (w.at(), true),
        Decay::Channels(w) => (w.at(), false),
    }
}

/// Each state is read and written once, and four operations are done on each of its values a token.
fn recurrence(chunk: &InChunk, width: usize, n: usize) -> Cost {
    let (rows, state) = (u64::from(chunk.n_rows), (width * n) as u64);
    let bytes = u64::from(chunk.n_sequences) * state * 8 + rows * width as u64 * 20;
    Cost { bytes, flops: rows * state * 7 }
}

pub(super) fn wkv6(pass: &mut Pass<'_>, args: Wkv6<'_, GpuBackend>) {
    let Wkv6 { r, w, k, v, y, u, state, head_size: n } = args;
    let width = y.width;
    let (w, by_token) = decay(&w);
    let (key, workgroups) = match Shape::of(n) {
        Some(shape) => (shape.variant(n, by_token), width / shape.cols),
        None => (any_variant(by_token), width.div_ceil(COLUMN_THREADS as usize)),
    };
    let chunks = std::mem::take(&mut pass.chunks);
    for chunk in &chunks {
        let (buffer, slab, slot) = pass.state_at(chunk, state);
        let params = Wkv6Params {
            at: [r.at(), w, k.at(), v.at()],
            more: [y.at(), width as u32, u.at(), n as u32],
            slot: [slab, slot, chunk.sequences_at, 0],
        };
        let cost = recurrence(chunk, width, n);
        let work = plain(key.clone(), [workgroups, chunk.n_sequences as usize, 1], cost);
        pass.dispatch("wkv6", &params, Work { state: buffer, ..work });
    }
    pass.chunks = chunks;
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct V6ReadoutParams {
    at: [u32; 4],
    more: [u32; 4],
    eps: [f32; 4],
}

/// The read-out's kernel: with a gate or without, with a copy of the result in halves or without.
fn readout_variant(subgroup: Option<u32>, gated: bool, half_copy: bool) -> Key {
    let mut constants = summing(subgroup, HEAD_THREADS).to_vec();
    // With halves a thread has two values at a time.
    constants.extend([
        ("GATED", u32::from(gated)),
        ("HALF_COPY", u32::from(half_copy)),
        ("WIDE", 1 + u32::from(half_copy)),
    ]);
    key("v6_readout", &constants)
}

/// With `half`, the result also goes there.
pub(super) fn v6_readout(pass: &mut Pass<'_>, args: V6Readout<'_, GpuBackend>, half: Option<Half>) {
    let V6Readout { y, g, ln_x, head_size: n } = args;
    let width = y.width;
    assert!(half.is_none() || n.is_multiple_of(2), "a word has two values of a head");
    let params = V6ReadoutParams {
        at: [y.at(), g.map_or(0, |g| g.at()), width as u32, n as u32],
        more: [ln_x.weight.at(), ln_x.bias.at(), half.map_or(0, |half| half.at), 0],
        eps: [ln_x.eps, 0.0, 0.0, 0.0],
    };
    let subgroup = pass.backend.shared.device.capabilities.subgroup;
    let key = readout_variant(subgroup, g.is_some(), half.is_some());
    let cost = moving(pass.n_rows * width * 3);
    pass.dispatch("v6_readout", &params, plain(key, [width / n, pass.n_rows, 1], cost));
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct TimeMixV6Params {
    at: [u32; 4],
    more: [u32; 4],
    slot: [u32; 4],
    norm: [u32; 4],
    eps: [f32; 4],
    carry: [[u32; 4]; 2],
}

/// Constants of the time mix of one token; none where a thread cannot have what it would have to.
fn step_variant(n: usize, by_token: bool, gated: bool, half_copy: bool) -> Option<Vec<(&'static str, u32)>> {
    let fits = |share: &usize| n > 0 && n.is_multiple_of(4 * share) && n * share <= MOST_THREADS;
    let share = [4, 2, 1].into_iter().find(fits)?;
    let half_copy = u32::from(half_copy);
    let constants = vec![
        ("N", n as u32),
        ("SHARE", share as u32),
        ("FOURS", (n / share / 4) as u32),
        ("BY_TOKEN", u32::from(by_token)),
        ("GATED", u32::from(gated)),
        ("ACTS4", 1),
        ("VECTORS4", 1),
        ("HALF_COPY", half_copy),
        ("SEES_HALVES", half_copy),
    ];
    (n / share <= MOST_KEYS).then_some(constants)
}

/// With `half`, the result also goes there.
pub(super) fn time_mix_v6(pass: &mut Pass<'_>, args: TimeMixV6<'_, GpuBackend>, half: Option<Half>) {
    let TimeMixV6 { wkv: Wkv6 { r, w, k, v, y, u, state, head_size: n }, g, ln_x } = args;
    let (place, by_token) = decay(&w);
    let step = step_variant(n, by_token, g.is_some(), half.is_some());
    let Some(constants) = step.filter(|_| pass.one_token_each) else {
        wkv6(pass, Wkv6 { r, w, k, v, y: &mut *y, u, state, head_size: n });
        return v6_readout(pass, V6Readout { y, g, ln_x, head_size: n }, half);
    };
    let (w, width) = (place, y.width);
    let chunks = std::mem::take(&mut pass.chunks);
    for chunk in &chunks {
        let (buffer, slab, slot) = pass.state_at(chunk, state);
        let carry = pass.take_carry([y.at()].into_iter(), buffer.as_ref().map(|(id, _)| *id));
        let params = TimeMixV6Params {
            at: [r.at(), w, k.at(), v.at()],
            more: [y.at(), width as u32, u.at(), g.map_or(0, |g| g.at())],
            slot: [slab, slot, chunk.sequences_at, 0],
            norm: [ln_x.weight.at(), ln_x.bias.at(), half.map_or(0, |half| half.at), 0],
            eps: [ln_x.eps, 0.0, 0.0, 0.0],
            carry: Carry::params(&carry),
        };
        let grid = [width / n, chunk.n_sequences as usize, 1];
        let work = plain(key("time_mix_v6", &constants), grid, recurrence(chunk, width, n));
        let work = Carry::with(carry, Work { state: buffer, ..work });
        pass.dispatch_seeing_halves("time_mix_v6", &params, work, half.is_some());
    }
    pass.chunks = chunks;
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    let sizes = [4, 8, 20, 32, 48, 64, 96, 128, 160, 256];
    let mut keys: Vec<_> = [false, true].map(any_variant).into();
    for (n, shape) in sizes.into_iter().filter_map(|n| Some((n, Shape::of(n)?))) {
        keys.extend([false, true].map(|by_token| shape.variant(n, by_token)));
    }
    let readouts: Vec<_> = [None, Some(8), Some(32), Some(64)]
        .into_iter()
        .flat_map(|subgroup| {
            [(false, false), (false, true), (true, false), (true, true)]
                .map(|(gated, half)| readout_variant(subgroup, gated, half))
        })
        .collect();
    let mut steps = Vec::new();
    for n in [4, 8, 20, 32, 48, 64, 128, 256] {
        for bits in 0..8 {
            let [by_token, gated, half] = [1, 2, 4].map(|bit| bits & bit != 0);
            let Some(constants) = step_variant(n, by_token, gated, half) else { continue };
            let key = key("time_mix_v6", &constants);
            steps.extend([super::linear::tests::carrying(&key), key]);
        }
    }
    vec![
        checked!(TimeMixV6Params { at, more, slot, norm, eps, carry }, steps),
        checked!(Wkv6Params { at, more, slot }, keys),
        checked!(V6ReadoutParams { at, more, eps }, readouts),
    ]
}

#[cfg(test)]
mod tests;
