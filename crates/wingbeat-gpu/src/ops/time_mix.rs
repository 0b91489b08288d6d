//! RWKV-7's time mix: keys, recurrence, read-out.

pub(crate) mod chunked;
pub(crate) mod step;

use super::{key, moving, plain, summing};
use crate::{GpuBackend, Pass, pass::InChunk, pass::Work, profile::Cost};
use wingbeat_backend::{V7Keys, V7Readout, Wkv7};

/// Threads for a head of a row.
const HEAD_THREADS: u32 = 64;

/// Where a copy of a result in halves goes, two in the place of a float: rows of `C / 2` floats, `C` a multiple of eight.
#[derive(Clone, Copy)]
pub(crate) struct Half {
    /// In the activations, a multiple of four.
    pub(crate) at: u32,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct KeysParams {
    at: [u32; 4],
    more: [u32; 4],
    vectors: [u32; 4],
}

pub(super) fn v7_keys(pass: &mut Pass<'_>, args: V7Keys<'_, GpuBackend>) {
    let V7Keys { k, v, v_first, v_gate, a, kk, k_k, k_a, head_size } = args;
    let width = k.width;
    let params = KeysParams {
        at: [k.at(), v.at(), v_first.at(), v_gate.map_or(0, |gate| gate.at())],
        more: [a.at(), kk.at(), u32::from(v_gate.is_none()), width as u32],
        vectors: [k_k.at(), k_a.at(), head_size as u32, 0],
    };
    let key = key("v7_keys", &summing(pass.backend.shared.device.capabilities.subgroup, HEAD_THREADS));
    let cost = moving(pass.n_rows * width * 8);
    pass.dispatch("v7_keys", &params, plain(key, [width / head_size, pass.n_rows, 1], cost));
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct WkvParams {
    at: [u32; 4],
    more: [u32; 4],
    slot: [u32; 4],
}

pub(super) fn wkv7(pass: &mut Pass<'_>, args: Wkv7<'_, GpuBackend>) {
    if chunked::wkv7(pass, &args) {
        return;
    }
    let chunks = std::mem::take(&mut pass.chunks);
    for chunk in &chunks {
        serial(pass, &args, chunk, (chunk.sequences_at, chunk.n_sequences as usize), chunk.n_rows);
    }
    pass.chunks = chunks;
}

/// Token after token, over a list of sequences of a chunk of states.
fn serial(
    pass: &mut Pass<'_>,
    args: &Wkv7<'_, GpuBackend>,
    chunk: &InChunk,
    (sequences_at, n_sequences): (u32, usize),
    n_rows: u32,
) {
    let Wkv7 { r, w, k, v, kk, a, ref y, state, head_size } = *args;
    let width = r.width;
    // Threads that share a row of the state, as many as the row can be divided among and a workgroup can have.
    let share = [4, 2].into_iter().find(|share| head_size % share == 0 && head_size * share <= 256);
    let share = share.unwrap_or(1);
    let constants = [("N", head_size as u32), ("SHARE", share as u32), ("PER", (head_size / share) as u32)];
    let (buffer, slab, slot) = pass.state_at(chunk, state);
    let params = WkvParams {
        at: [r.at(), w.at(), k.at(), v.at()],
        more: [kk.at(), a.at(), y.at(), width as u32],
        slot: [slab, slot, sequences_at, 0],
    };
    let cost = recurrence(n_rows, n_sequences as u32, width, head_size);
    let work = plain(key("wkv7", &constants), [width / head_size, n_sequences, 1], cost);
    pass.dispatch("wkv7", &params, Work { state: buffer, ..work });
}

/// Reads and writes each state once, and does four operations of two on each of its values a token.
fn recurrence(n_rows: u32, n_sequences: u32, width: usize, head_size: usize) -> Cost {
    let (rows, state) = (u64::from(n_rows), (width * head_size) as u64);
    Cost { bytes: u64::from(n_sequences) * state * 8 + rows * width as u64 * 28, flops: rows * state * 8 }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ReadoutParams {
    at: [u32; 4],
    more: [u32; 4],
    vectors: [u32; 4],
    eps: [f32; 4],
}

/// With `half`, the result also goes there.
pub(super) fn v7_readout(pass: &mut Pass<'_>, args: V7Readout<'_, GpuBackend>, half: Option<Half>) {
    let V7Readout { y, r, k, v, g, r_k, ln_x, head_size } = args;
    let width = y.width;
    assert!(half.is_none() || head_size.is_multiple_of(2), "a word has two values of a head");
    let params = ReadoutParams {
        at: [y.at(), r.at(), k.at(), v.at()],
        more: [g.at(), width as u32, head_size as u32, half.map_or(0, |half| half.at)],
        vectors: [r_k.at(), ln_x.weight.at(), ln_x.bias.at(), 0],
        eps: [ln_x.eps, 0.0, 0.0, 0.0],
    };
    let key =
        key("v7_readout", &readout_variant(pass.backend.shared.device.capabilities.subgroup, half.is_some()));
    let cost = moving(pass.n_rows * width * 6);
    pass.dispatch("v7_readout", &params, plain(key, [width / head_size, pass.n_rows, 1], cost));
}

/// Constants of `v7_readout`.
fn readout_variant(subgroup: Option<u32>, half_copy: bool) -> Vec<(&'static str, u32)> {
    let mut constants = summing(subgroup, HEAD_THREADS).to_vec();
    // With halves a thread has two values at a time.
    constants.extend([("HALF_COPY", u32::from(half_copy)), ("WIDE", 1 + u32::from(half_copy))]);
    constants
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    let subgroups = [None, Some(8), Some(32), Some(64)];
    let keys = subgroups.map(|subgroup| key("v7_keys", &summing(subgroup, HEAD_THREADS)));
    let readouts: Vec<_> = subgroups
        .into_iter()
        .flat_map(|subgroup| [false, true].map(|half| key("v7_readout", &readout_variant(subgroup, half))))
        .collect();
    let shares = [(64, 4), (128, 2), (6, 2), (5, 1)]
        .map(|(n, share)| key("wkv7", &[("N", n), ("SHARE", share), ("PER", n / share)]));
    vec![
        checked!(KeysParams { at, more, vectors }, keys),
        checked!(WkvParams { at, more, slot }, shares),
        checked!(ReadoutParams { at, more, vectors, eps }, readouts),
    ]
}

#[cfg(test)]
mod tests;
