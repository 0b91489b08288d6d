//! The recurrence of sequences of many tokens, in chunks: what can be computed without the state in all of them at once,
//! then from chunk to chunk (wgsl/wkv7_chunks.wgsl has the mathematics).

use super::{
    super::{key, plain},
    recurrence, serial,
};
use crate::{Buffer, GpuBackend, Pass, pass::InChunk, pass::Work, profile::Cost};
use std::sync::{Arc, PoisonError};
use wingbeat_backend::{Backend, Wkv7};

/// Tokens that a sequence must have: shorter ones are done sooner one by one, and would waste most of a chunk.
const FEWEST_TOKENS: u32 = 8;
/// Workgroups that keep a large GPU busy: with fewer, they are made smaller.
const ENOUGH_WORKGROUPS: usize = 120;
/// Threads of `wkv7_chunks`, and of `wkv7_scan` at most.
const THREADS: usize = 256;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ChunksParams {
    at: [u32; 4],
    more: [u32; 4],
    out: [u32; 4],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ScanParams {
    at: [u32; 4],
    slot: [u32; 4],
}

/// How the sequences of a pass whose states lie together are shared out, found once a pass.
pub(crate) struct Shares {
    /// First entry of the sequences that go by chunks (slot, first row, tokens, first chunk), and how many there are.
    long: (u32, usize),
    long_rows: u32,
    /// First entry of their chunks (first row, tokens), and how many.
    chunks: (u32, usize),
    /// The other sequences, as in the pass's own list.
    short: (u32, usize),
    short_rows: u32,
}

/// Tokens of a chunk for heads of this size: as many as a workgroup's shared memory permits. None where the kernels
/// cannot have such heads.
fn chunk_tokens(head_size: usize, room: usize) -> Option<usize> {
    let fits = |tokens: &usize| {
        chunk_bytes(*tokens, head_size) <= room && scan_rows(*tokens, head_size, 0, room).is_some()
    };
    (head_size.is_multiple_of(4) && (4..=128).contains(&head_size))
        .then(|| [16, 8].into_iter().find(fits))
        .flatten()
}

/// Bytes that a workgroup of `wkv7_chunks` shares.
fn chunk_bytes(tokens: usize, head_size: usize) -> usize {
    16 * (5 * tokens * (head_size / 4 + 1) + 7 * tokens * (tokens / 4))
}

/// Rows of the state for a workgroup of `wkv7_scan`, for heads of which there are `n_heads` over all sequences.
fn scan_rows(tokens: usize, head_size: usize, n_heads: usize, room: usize) -> Option<usize> {
    let bytes = |rows: usize| 16 * ((4 * tokens + 1 + rows) * (head_size / 4 + 1) + 2 * tokens * (rows / 4));
    let fits = |rows: &usize| head_size.is_multiple_of(*rows) && bytes(*rows) <= room;
    let enough = n_heads * head_size >= 32 * ENOUGH_WORKGROUPS;
    enough.then_some(32).into_iter().chain([16, 8, 4]).find(fits)
}

/// Floats that `wkv7_chunks` stores for a chunk of a head.
fn block_floats(tokens: usize, head_size: usize) -> usize {
    (5 * tokens + 1) * head_size
}

/// Runs the recurrence where some sequence is long enough and the kernels can have its heads; says whether it did.
pub(super) fn wkv7(pass: &mut Pass<'_>, args: &Wkv7<'_, GpuBackend>) -> bool {
    let room = pass.backend.shared.device.capabilities.workgroup_bytes as usize;
    let Some(tokens) = chunk_tokens(args.head_size, room) else { return false };
    if pass.shares.is_empty() {
        pass.shares = (0..pass.chunks.len()).map(|i| share_out(pass, i, tokens as u32)).collect();
    }
    let most_chunks = pass.shares.iter().map(|shares| shares.chunks.1).max().unwrap_or(0);
    if most_chunks == 0 {
        return false;
    }
    let n_heads = args.r.width / args.head_size;
    let Some(scratch) = scratch(pass, most_chunks * n_heads * block_floats(tokens, args.head_size)) else {
        return false;
    };
    let (chunks, shares) = (std::mem::take(&mut pass.chunks), std::mem::take(&mut pass.shares));
    for (chunk, shares) in chunks.iter().zip(&shares) {
        if shares.long.1 > 0 {
            compute_chunks(pass, args, shares, tokens, &scratch);
            let rows = scan_rows(tokens, args.head_size, n_heads * shares.long.1, room)
                .expect("chunk_tokens has found some that fit");
            let (params, work) = scan(pass, args, chunk, shares, (tokens, rows), &scratch);
            pass.dispatch("wkv7_scan", &params, work);
        }
        if shares.short.1 > 0 {
            serial(pass, args, chunk, shares.short, shares.short_rows);
        }
    }
    (pass.chunks, pass.shares) = (chunks, shares);
    true
}

/// Notes which sequences go by chunks of `tokens`, and their chunks, in the row map.
fn share_out(pass: &mut Pass<'_>, index: usize, tokens: u32) -> Shares {
    let chunk = &pass.chunks[index];
    let entries = &pass.map[chunk.sequences_at as usize..][..chunk.n_sequences as usize * 4];
    let (mut long, mut short, mut chunks) = (Vec::new(), Vec::new(), Vec::new());
    let (mut long_rows, mut short_rows) = (0, 0);
    for &[slot, first, n_tokens, _] in entries.as_chunks::<4>().0 {
        if n_tokens < FEWEST_TOKENS {
            short.extend([slot, first, n_tokens, 0]);
            short_rows += n_tokens;
            continue;
        }
        long.extend([slot, first, n_tokens, chunks.len() as u32 / 2]);
        long_rows += n_tokens;
        for t in (0..n_tokens).step_by(tokens as usize) {
            chunks.extend([first + t, tokens.min(n_tokens - t)]);
        }
    }
    let lengths = [long.len() / 4, chunks.len() / 2, short.len() / 4];
    let [long, chunks, short] = [long, chunks, short].map(|list| pass.list(list));
    Shares {
        long: (long, lengths[0]),
        long_rows,
        chunks: (chunks, lengths[1]),
        short: (short, lengths[2]),
        short_rows,
    }
}

/// Room for what `wkv7_chunks` stores, which the backend keeps for later passes; none where memory is short.
fn scratch(pass: &mut Pass<'_>, floats: usize) -> Option<Arc<Buffer>> {
    if let Some(scratch) = pass.scratch.as_ref().filter(|scratch| scratch.width >= floats) {
        return Some(Arc::clone(scratch));
    }
    let mut kept = pass.backend.scratch.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.as_ref().is_none_or(|kept| kept.width < floats) {
        // The old one goes with the last pass that was recorded with it.
        *kept = None;
        *kept = Some(Arc::new(pass.backend.buffer(1, floats).ok()?));
    }
    pass.scratch.clone_from(&kept);
    kept.clone()
}

fn compute_chunks(
    pass: &mut Pass<'_>,
    args: &Wkv7<'_, GpuBackend>,
    shares: &Shares,
    tokens: usize,
    scratch: &Buffer,
) {
    let Wkv7 { r, w, k, v, kk, a, ref y, head_size, .. } = *args;
    let width = r.width;
    let (first_chunk, n_chunks) = shares.chunks;
    let params = ChunksParams {
        at: [r.at(), w.at(), k.at(), v.at()],
        more: [kk.at(), a.at(), y.at(), width as u32],
        out: [scratch.at(), first_chunk, 0, 0],
    };
    let constants = chunks_variant(head_size, tokens);
    let n_heads = width / head_size;
    let rows = shares.long_rows as usize;
    let blocks = n_chunks * n_heads;
    let cost = Cost {
        bytes: 4 * (7 * rows * width + blocks * block_floats(tokens, head_size)) as u64,
        flops: 2 * (blocks * (8 * tokens * tokens * head_size + 4 * tokens * tokens * tokens)) as u64,
    };
    let work = plain(key("wkv7_chunks", &constants), [n_heads, n_chunks, 1], cost);
    pass.dispatch("wkv7_chunks", &params, work);
}

fn scan(
    pass: &mut Pass<'_>,
    args: &Wkv7<'_, GpuBackend>,
    chunk: &InChunk,
    shares: &Shares,
    (tokens, rows): (usize, usize),
    scratch: &Buffer,
) -> (ScanParams, Work<'static>) {
    let Wkv7 { v, ref y, state, head_size, .. } = *args;
    let width = v.width;
    let n_heads = width / head_size;
    let (buffer, slab, slot) = pass.state_at(chunk, state);
    let (first, n_sequences) = shares.long;
    let params = ScanParams {
        at: [v.at(), y.at(), width as u32, scratch.at()],
        slot: [slab, slot, first, n_heads as u32],
    };
    let constants = scan_variant(head_size, tokens, rows);
    let grid = [width / rows, n_sequences, 1];
    let state = recurrence(shares.long_rows, n_sequences as u32, width, head_size);
    let stored = shares.chunks.1 * n_heads * block_floats(tokens, head_size);
    let cost = Cost { bytes: state.bytes + 4 * stored as u64, flops: state.flops };
    (params, Work { state: buffer, ..plain(key("wkv7_scan", &constants), grid, cost) })
}

/// Constants of `wkv7_chunks`.
fn chunks_variant(head_size: usize, tokens: usize) -> [(&'static str, u32); 4] {
    [("N", head_size as u32), ("L", tokens as u32), ("FOUR", 4), ("ACTS4", 1)]
}

/// Constants of `wkv7_scan`.
fn scan_variant(head_size: usize, tokens: usize, rows: usize) -> [(&'static str, u32); 7] {
    // A thread for four rows of a token, of u and of y, and one for four keys of two rows.
    let threads = (tokens * rows / 2).max(rows / 2 * (head_size / 4));
    let threads = threads.next_multiple_of(32).min(THREADS);
    [
        ("N", head_size as u32),
        ("L", tokens as u32),
        ("V", rows as u32),
        ("THREADS", threads as u32),
        ("LOADS", ((4 * tokens + 1) * (head_size / 4)).div_ceil(threads) as u32),
        ("ACTS4", 1),
        ("STATES4", 1),
    ]
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(in crate::ops) fn checked() -> Vec<crate::ops::check::Checked> {
    let (mut chunks, mut scans) = (Vec::new(), Vec::new());
    for head_size in [4, 20, 32, 48, 64, 128] {
        for room in [16 << 10, 32 << 10, 48 << 10] {
            let Some(tokens) = chunk_tokens(head_size, room) else { continue };
            chunks.push(key("wkv7_chunks", &chunks_variant(head_size, tokens)));
            for n_heads in [1, 1 << 10] {
                let rows = scan_rows(tokens, head_size, n_heads, room).expect("chunk_tokens has found some");
                scans.push(key("wkv7_scan", &scan_variant(head_size, tokens, rows)));
            }
        }
    }
    vec![checked!(ChunksParams { at, more, out }, chunks), checked!(ScanParams { at, slot }, scans)]
}
