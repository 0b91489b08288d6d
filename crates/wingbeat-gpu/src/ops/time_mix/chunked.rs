//! The recurrence of sequences of many tokens, in chunks: what can be computed without the state in all of them at once,
//! then from chunk to chunk (wgsl/wkv7_chunks.wgsl has the mathematics), with the keys before and the read-out after it
//! where they are asked for together.

use super::{
    super::{key, plain},
    Half, recurrence, serial,
};
use crate::{Buffer, Capabilities, GpuBackend, Pass, pass::InChunk, pass::Work, profile::Cost};
use std::sync::{Arc, PoisonError};
use wingbeat_backend::{Backend, TimeMixV7, Wkv7};

/// Tokens that a sequence must have: shorter ones are done sooner one by one, and would waste most of a chunk. But a few of
/// them go along with chunks of others, as it costs less than kernels of their own.
const FEWEST_TOKENS: u32 = 8;
/// Parts of a sum over a head in `wkv7_chunks`.
const CHUNK_LANES: usize = 16;
/// Workgroups that keep a large GPU busy: with fewer, they are made smaller.
const ENOUGH_WORKGROUPS: usize = 120;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ChunksParams {
    at: [u32; 4],
    more: [u32; 4],
    out: [u32; 4],
    keys: [u32; 4],
    bonus: [u32; 4],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ScanParams {
    at: [u32; 4],
    slot: [u32; 4],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ChunkReadoutParams {
    at: [u32; 4],
    out: [u32; 4],
    norm: [u32; 4],
    eps: [f32; 4],
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

/// Heads and chunks as the kernels are compiled for.
#[derive(Clone, Copy)]
struct Shape {
    head_size: usize,
    /// Tokens of a chunk.
    tokens: usize,
}

impl Shape {
    /// The longest chunks that a workgroup's shared memory permits. None where the kernels cannot have such heads.
    fn of(capabilities: &Capabilities, head_size: usize) -> Option<Shape> {
        Shape::within(head_size, capabilities.workgroup_bytes, capabilities.workgroup_threads)
    }

    fn within(head_size: usize, room: u32, most_threads: u32) -> Option<Shape> {
        let (room, most_threads) = (room as usize, most_threads as usize);
        let fits = |shape: &Shape| {
            shape.chunk_bytes() <= room
                && shape.scan_rows(0, room).is_some()
                && (3 * head_size).max(shape.tokens * head_size / 4) <= most_threads
        };
        let shapes = [16, 8].map(|tokens| Shape { head_size, tokens });
        (head_size.is_multiple_of(16) && head_size > 0).then(|| shapes.into_iter().find(fits)).flatten()
    }

    /// Bytes that a workgroup of `wkv7_chunks` shares.
    fn chunk_bytes(&self) -> usize {
        let (n, l, l4) = (self.head_size, self.tokens, self.tokens / 4);
        n * ((2 * l4 + 1) * 16 + (4 * l4 + 1) * 8 + 4) + ((4 * l * l4).max(n * l4) + CHUNK_LANES * l4) * 16
    }

    /// Bytes that a workgroup of `wkv7_scan` with so many rows of the state shares.
    fn scan_bytes(&self, rows: usize) -> usize {
        let (n4, l) = (self.head_size / 4, self.tokens);
        16 * (2 * l * (n4 + 1) + 2 * l * n4 + n4 + n4 * 5 * (rows / 4) + 2 * l * (rows / 4))
    }

    /// Rows of the state for a workgroup of `wkv7_scan`, for heads of which there are `n_heads` over all sequences.
    fn scan_rows(&self, n_heads: usize, room: usize) -> Option<usize> {
        // A thread for each token and four rows, of two products, and one for each four of the decays.
        let fits = |rows: &usize| {
            self.head_size.is_multiple_of(*rows)
                && self.scan_bytes(*rows) <= room
                && self.tokens * rows / 2 >= self.head_size / 4
        };
        let enough = n_heads * self.head_size >= 32 * ENOUGH_WORKGROUPS;
        enough.then_some(32).into_iter().chain([16, 8, 4]).find(fits)
    }

    /// Floats that `wkv7_chunks` stores for a chunk of a head.
    fn block_floats(&self) -> usize {
        (4 * self.tokens + 1) * self.head_size + self.tokens
    }

    /// Constants of `wkv7_chunks`: with or without the keys, and those with or without a gate.
    fn chunks(&self, keys: bool, gate: bool) -> [(&'static str, u32); 5] {
        [
            ("N", self.head_size as u32),
            ("L", self.tokens as u32),
            ("L4", self.tokens as u32 / 4),
            ("KEYS", u32::from(keys)),
            ("GATE", u32::from(gate)),
        ]
    }

    /// Constants of `wkv7_scan`.
    fn scan(&self, rows: usize) -> [(&'static str, u32); 8] {
        let (n, l) = (self.head_size, self.tokens);
        let threads = l * rows / 2;
        [
            ("N", n as u32),
            ("L", l as u32),
            ("V", rows as u32),
            ("ROW_LOADS", (2 * l * n / 4).div_ceil(threads) as u32),
            ("STEP_LOADS", (l * n / 4).div_ceil(threads) as u32),
            ("UPDATES", (n / 2 * rows / 4).div_ceil(threads) as u32),
            ("ACTS4", 1),
            ("STATES4", 1),
        ]
    }

    /// Constants of `wkv7_readout`.
    fn readout(&self, half_copy: bool) -> [(&'static str, u32); 5] {
        [
            ("N", self.head_size as u32),
            ("L", self.tokens as u32),
            ("HALF_COPY", u32::from(half_copy)),
            ("ACTS4", 1),
            ("VECTORS4", 1),
        ]
    }
}

/// What the kernels of a pass's chunks share.
struct Plan {
    shape: Shape,
    n_heads: usize,
    scratch: Arc<Buffer>,
}

/// Where some sequence is long enough, and the kernels can have its heads.
fn plan(pass: &mut Pass<'_>, width: usize, head_size: usize) -> Option<Plan> {
    let shape = Shape::of(&pass.backend.shared.device.capabilities, head_size)?;
    if pass.shares.is_empty() {
        pass.shares = (0..pass.chunks.len()).map(|i| share_out(pass, i, shape.tokens as u32)).collect();
    }
    let most_chunks = pass.shares.iter().map(|shares| shares.chunks.1).max().filter(|&most| most > 0)?;
    let n_heads = width / head_size;
    let scratch = scratch(pass, most_chunks * n_heads * shape.block_floats())?;
    Some(Plan { shape, n_heads, scratch })
}

/// Runs the recurrence where some sequence is long enough and the kernels can have its heads; says whether it did.
pub(super) fn wkv7(pass: &mut Pass<'_>, args: &Wkv7<'_, GpuBackend>) -> bool {
    let Wkv7 { r, w, k, v, kk, a, ref y, state, head_size } = *args;
    let width = r.width;
    let Some(plan) = plan(pass, width, head_size) else { return false };
    let (chunks, all_shares) = (std::mem::take(&mut pass.chunks), std::mem::take(&mut pass.shares));
    for (chunk, shares) in chunks.iter().zip(&all_shares) {
        if shares.long.1 > 0 {
            let params = ChunksParams {
                at: [r.at(), w.at(), k.at(), v.at()],
                more: [kk.at(), a.at(), y.at(), width as u32],
                out: [plan.scratch.at(), shares.chunks.0, 0, 0],
                keys: [0; 4],
                bonus: [0; 4],
            };
            plan.chunks(pass, shares, &params, &plan.shape.chunks(false, false), 7 * width);
            plan.scan(pass, (chunk, shares), v, y, state);
        }
        if shares.short.1 > 0 {
            serial(pass, args, chunk, shares.short, shares.short_rows);
        }
    }
    (pass.chunks, pass.shares) = (chunks, all_shares);
    true
}

/// Runs the whole time mix in three kernels where all sequences go by chunks; says whether it did. With `half`, the result
/// also goes there.
pub(super) fn time_mix_v7(pass: &mut Pass<'_>, args: &TimeMixV7<'_, GpuBackend>, half: Option<Half>) -> bool {
    let width = args.r.width;
    let Some(plan) = plan(pass, width, args.head_size) else { return false };
    if pass.shares.iter().any(|shares| shares.short.1 > 0) {
        return false;
    }
    let (chunks, all_shares) = (std::mem::take(&mut pass.chunks), std::mem::take(&mut pass.shares));
    for (chunk, shares) in chunks.iter().zip(&all_shares) {
        let gate = args.v_gate.map(|gate| gate.at());
        let params = ChunksParams {
            at: [args.r.at(), args.w.at(), args.k.at(), args.v.at()],
            more: [0, args.a.at(), args.y.at(), width as u32],
            out: [plan.scratch.at(), shares.chunks.0, 0, 0],
            keys: [args.v_first.at(), gate.unwrap_or(0), args.k_k.at(), args.k_a.at()],
            bonus: [args.r_k.at(), 0, 0, 0],
        };
        // The gate and the first layer's value are read, or the latter is written; the value is written.
        let floats = width * if gate.is_some() { 9 } else { 7 };
        plan.chunks(pass, shares, &params, &plan.shape.chunks(true, gate.is_some()), floats);
        plan.scan(pass, (chunk, shares), args.v, args.y, args.state);
        plan.readout(pass, shares, args, half);
    }
    (pass.chunks, pass.shares) = (chunks, all_shares);
    true
}

/// Notes which sequences go by chunks of `tokens`, and their chunks, in the row map.
fn share_out(pass: &mut Pass<'_>, index: usize, tokens: u32) -> Shares {
    let chunk = &pass.chunks[index];
    let entries = &pass.map[chunk.sequences_at as usize..][..chunk.n_sequences as usize * 4];
    let entries = entries.as_chunks::<4>().0;
    let is_short = |n_tokens: u32| n_tokens < FEWEST_TOKENS;
    let n_short = entries.iter().filter(|entry| is_short(entry[2])).count();
    let n_chunks: u32 =
        entries.iter().map(|entry| entry[2]).filter(|n| !is_short(*n)).map(|n| n.div_ceil(tokens)).sum();
    let all_long = n_short <= n_chunks as usize;
    let (mut long, mut short, mut chunks) = (Vec::new(), Vec::new(), Vec::new());
    let (mut long_rows, mut short_rows) = (0, 0);
    for &[slot, first, n_tokens, _] in entries {
        if is_short(n_tokens) && !all_long {
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

impl Plan {
    /// Floats that are stored for all chunks.
    fn stored(&self, shares: &Shares) -> usize {
        shares.chunks.1 * self.n_heads * self.shape.block_floats()
    }

    /// `floats` of each row are read or written.
    fn chunks(
        &self,
        pass: &mut Pass<'_>,
        shares: &Shares,
        params: &ChunksParams,
        constants: &[(&'static str, u32)],
        floats: usize,
    ) {
        let Shape { head_size, tokens } = self.shape;
        let blocks = shares.chunks.1 * self.n_heads;
        let cost = Cost {
            bytes: 4 * (shares.long_rows as usize * floats + self.stored(shares)) as u64,
            flops: (blocks * tokens * tokens * (8 * head_size + 2 * tokens)) as u64,
        };
        let work = plain(key("wkv7_chunks", constants), [self.n_heads, shares.chunks.1, 1], cost);
        pass.dispatch("wkv7_chunks", params, work);
    }

    fn scan(
        &self,
        pass: &mut Pass<'_>,
        (chunk, shares): (&InChunk, &Shares),
        v: &Buffer,
        y: &Buffer,
        state: wingbeat_backend::SlabAt,
    ) {
        let (width, (first, n_sequences)) = (v.width, shares.long);
        let room = pass.backend.shared.device.capabilities.workgroup_bytes as usize;
        let rows = self.shape.scan_rows(self.n_heads * n_sequences, room).expect("a shape has rows that fit");
        let (buffer, slab, slot) = pass.state_at(chunk, state);
        let params = ScanParams {
            at: [v.at(), y.at(), width as u32, self.scratch.at()],
            slot: [slab, slot, first, self.n_heads as u32],
        };
        let states = recurrence(shares.long_rows, n_sequences as u32, width, self.shape.head_size);
        let cost = Cost { bytes: states.bytes + 4 * self.stored(shares) as u64, flops: states.flops };
        let work = plain(key("wkv7_scan", &self.shape.scan(rows)), [width / rows, n_sequences, 1], cost);
        pass.dispatch("wkv7_scan", &params, Work { state: buffer, ..work });
    }

    fn readout(
        &self,
        pass: &mut Pass<'_>,
        shares: &Shares,
        args: &TimeMixV7<'_, GpuBackend>,
        half: Option<Half>,
    ) {
        let (width, ln_x) = (args.y.width, args.ln_x);
        let params = ChunkReadoutParams {
            at: [args.y.at(), args.v.at(), args.g.at(), width as u32],
            out: [self.scratch.at(), shares.chunks.0, half.map_or(0, |half| half.at), 0],
            norm: [ln_x.weight.at(), ln_x.bias.at(), 0, 0],
            eps: [ln_x.eps, 0.0, 0.0, 0.0],
        };
        let constants = self.shape.readout(half.is_some());
        let cost = super::super::moving(shares.long_rows as usize * width * 4);
        let work = plain(key("wkv7_readout", &constants), [self.n_heads, shares.chunks.1, 1], cost);
        pass.dispatch("wkv7_readout", &params, work);
    }
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(in crate::ops) fn checked() -> Vec<crate::ops::check::Checked> {
    let (mut chunks, mut scans, mut readouts) = (Vec::new(), Vec::new(), Vec::new());
    for head_size in [16, 32, 48, 64, 128] {
        for (room, threads) in [(16 << 10, 256), (32 << 10, 256), (48 << 10, 1024)] {
            let Some(shape) = Shape::within(head_size, room, threads) else { continue };
            for (keys, gate) in [(false, false), (true, false), (true, true)] {
                chunks.push(key("wkv7_chunks", &shape.chunks(keys, gate)));
            }
            for n_heads in [1, 1 << 10] {
                let rows = shape.scan_rows(n_heads, room as usize).expect("a shape has rows that fit");
                scans.push(key("wkv7_scan", &shape.scan(rows)));
            }
            readouts.extend([false, true].map(|half| key("wkv7_readout", &shape.readout(half))));
        }
    }
    vec![
        checked!(ChunksParams { at, more, out, keys, bonus }, chunks),
        checked!(ScanParams { at, slot }, scans),
        checked!(ChunkReadoutParams { at, out, norm, eps }, readouts),
    ]
}

#[cfg(test)]
mod tests;
