//! The time mix of sequences that have one token each, in one dispatch, with or without the products before it.

use super::{
    super::{
        key,
        linear::{linear, numbered},
        plain,
    },
    Half, chunked, recurrence, v7_keys, v7_readout, wkv7,
};
use crate::{
    Buffer, GpuBackend, Pass,
    pass::{Carry, Work},
    profile::Cost,
    weights::Arena,
};
use std::sync::Arc;
use wingbeat_backend::{Activation, Linear, LowRankMixV7, TimeMixV7, V7Keys, V7Readout, Wkv7};

/// Low-rank matrices of a layer at most.
const MOST_UPS: usize = 4;
/// Sequences that a pass may have for each of its workgroups to read its rows of the low-rank matrices again: beyond,
/// products that read each weight once for several rows are faster.
const MOST_UP_ROWS: usize = 8;
/// Eights of a low-rank matrix's row that are read at once (lib/ups.wgsl).
const LANES: usize = 8;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Up {
    at: [u32; 4],
    planes: [u32; 4],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct TimeMixParams {
    at: [u32; 4],
    low: [u32; 4],
    out: [u32; 4],
    vectors: [u32; 4],
    norm: [u32; 4],
    eps: [f32; 4],
    ups: [Up; MOST_UPS],
    carry: [[u32; 4]; 2],
}

/// What the low-rank matrices add to a kernel's run.
#[derive(Default)]
struct Ups {
    params: [Up; MOST_UPS],
    constants: Vec<(&'static str, u32)>,
    arena: Option<Arc<Arena>>,
    cost: Cost,
}

impl Default for Up {
    fn default() -> Up {
        bytemuck::Zeroable::zeroed()
    }
}

/// Constants of a matrix of lib/ups.wgsl.
const OF_UPS: [[&str; 5]; MOST_UPS] = [
    ["KIND_0", "RANK_0", "ROUNDS_0", "STAGE_0", "ACT_0"],
    ["KIND_1", "RANK_1", "ROUNDS_1", "STAGE_1", "ACT_1"],
    ["KIND_2", "RANK_2", "ROUNDS_2", "STAGE_2", "ACT_2"],
    ["KIND_3", "RANK_3", "ROUNDS_3", "STAGE_3", "ACT_3"],
];

/// Threads that share a row of the state, if the kernel can have heads of this size.
fn share(head_size: usize) -> Option<usize> {
    [4, 2]
        .into_iter()
        .find(|share| head_size > 0 && head_size.is_multiple_of(4 * share) && head_size * share <= 256)
}

/// Bytes that a workgroup of the kernel shares at most, but for the low-rank matrices.
fn shared_bytes(head_size: usize, share: usize) -> usize {
    (2 * 6 + 3 + 2 * share) * head_size * 4
}

/// With `half`, the result also goes there.
pub(in crate::ops) fn time_mix_v7(pass: &mut Pass<'_>, args: TimeMixV7<'_, GpuBackend>, half: Option<Half>) {
    let room = pass.backend.shared.device.capabilities.workgroup_bytes as usize;
    match share(args.head_size) {
        Some(share) if pass.one_token_each && shared_bytes(args.head_size, share) <= room => {
            dispatch(pass, args, half, share, Ups::default());
        }
        _ if chunked::time_mix_v7(pass, &args, half) => {}
        _ => one_by_one(pass, args, half),
    }
}

/// As the arguments' own function, with a copy in halves.
fn one_by_one(pass: &mut Pass<'_>, args: TimeMixV7<'_, GpuBackend>, half: Option<Half>) {
    let TimeMixV7 { r, w, k, v, v_first, v_gate, a, g, kk, y, k_k, k_a, r_k, ln_x, state, head_size } = args;
    let (k_out, v_out, kk_out) = (&mut *k, &mut *v, &mut *kk);
    v7_keys(pass, V7Keys { k: k_out, v: v_out, v_first, v_gate, a, kk: kk_out, k_k, k_a, head_size });
    wkv7(pass, Wkv7 { r, w, k: &*k, v: &*v, kk: &*kk, a, y: &mut *y, state, head_size });
    v7_readout(pass, V7Readout { y, r, k: &*k, v: &*v, g, r_k, ln_x, head_size }, half);
}

/// With `half`, the result also goes there.
pub(in crate::ops) fn low_rank_mix_v7(
    pass: &mut Pass<'_>,
    args: LowRankMixV7<'_, GpuBackend>,
    half: Option<Half>,
) {
    let fused = ups(pass, &args);
    let LowRankMixV7 { w, a, g, v_gate, r, k, v, v_first, kk, y, k_k, k_a, r_k, ln_x, state, head_size } =
        args;
    let mut products: Vec<_> = [w, a, g].into_iter().chain(v_gate).collect();
    if fused.is_none() {
        linear(pass, &mut products);
    }
    let mut outs = products.into_iter().map(|product| {
        let y: &Buffer = product.y;
        y
    });
    let mut next = || outs.next().expect("w, a and g are there");
    let (w, a, g) = (next(), next(), next());
    let v_gate = outs.next();
    let args = TimeMixV7 { r, w, k, v, v_first, v_gate, a, g, kk, y, k_k, k_a, r_k, ln_x, state, head_size };
    match fused {
        Some((share, ups)) => dispatch(pass, args, half, share, ups),
        None => time_mix_v7(pass, args, half),
    }
}

/// The low-rank matrices as the kernel sees them, and how many threads share a row of the state; none where it cannot
/// have them.
fn ups(pass: &Pass<'_>, args: &LowRankMixV7<'_, GpuBackend>) -> Option<(usize, Ups)> {
    let share = share(args.head_size)?;
    if !pass.one_token_each || pass.n_rows > MOST_UP_ROWS {
        return None;
    }
    let jobs: Vec<&Linear<'_, GpuBackend>> =
        [&args.w, &args.a, &args.g].into_iter().chain(&args.v_gate).collect();
    let mut ups = Ups::default();
    let mut staged = 0;
    for (u, job) in jobs.iter().enumerate() {
        let weight = job.weight;
        assert_eq!((job.x.width, job.y.width), (weight.cols, weight.rows), "widths of {}", weight.name);
        // One dispatch sees one buffer of weights, and a head's rows must be in it.
        let [part] = &weight.parts[..] else { return None };
        let arena = ups.arena.get_or_insert_with(|| Arc::clone(&part.arena));
        if arena.id != part.arena.id || weight.cols == 0 || matches!(job.activation, Activation::Add) {
            return None;
        }
        let (activation, bias) = numbered(&job.activation);
        let rounds = weight.cols.div_ceil(8 * LANES);
        ups.params[u] =
            Up { at: [job.x.at(), bias, 0, 0], planes: [part.planes[0], part.planes[1], part.planes[2], 0] };
        let values = [weight.layout as u32, weight.cols as u32, rounds as u32, staged as u32, activation];
        ups.constants.extend(OF_UPS[u].into_iter().zip(values));
        staged += rounds * LANES;
        ups.cost.bytes += weight.bytes();
        ups.cost.flops += 2 * (pass.n_rows * weight.rows * weight.cols) as u64;
    }
    let parts = LANES * (jobs.len() * args.head_size + 4) * 4;
    let bytes = shared_bytes(args.head_size, share) + staged * 32 + parts;
    if bytes > pass.backend.shared.device.capabilities.workgroup_bytes as usize {
        return None;
    }
    let mut layouts: Vec<_> = jobs.iter().map(|job| job.weight.layout).collect();
    layouts.sort();
    layouts.dedup();
    ups.constants.extend(layouts.iter().map(|layout| (layout.constant(), 1)));
    ups.constants.extend([("UPS", jobs.len() as u32), ("STAGED", staged as u32)]);
    // A matrix's rows go round the teams.
    ups.constants.push(("TURNS", (LANES / share) as u32));
    Some((share, ups))
}

/// Constants of the kernel, but for the low-rank matrices.
fn variant(
    head_size: usize,
    share: usize,
    gate: bool,
    subgroup: Option<u32>,
    half_copy: bool,
) -> Vec<(&'static str, u32)> {
    // Whether a head is made of whole subgroups.
    let whole = subgroup.filter(|lanes| head_size.is_multiple_of(*lanes as usize));
    vec![
        ("N", head_size as u32),
        ("SHARE", share as u32),
        ("THREADS", (head_size * share) as u32),
        ("FOURS", (head_size / share / 4) as u32),
        ("GATE", u32::from(gate)),
        ("STATES4", 1),
        ("SUBGROUP", u32::from(subgroup.is_some())),
        ("WHOLE", u32::from(whole.is_some())),
        ("LANES", whole.unwrap_or(1)),
        ("HALF_COPY", u32::from(half_copy)),
    ]
}

fn dispatch(
    pass: &mut Pass<'_>,
    args: TimeMixV7<'_, GpuBackend>,
    half: Option<Half>,
    share: usize,
    ups: Ups,
) {
    let TimeMixV7 { r, w, k, v, v_first, v_gate, a, g, y, k_k, k_a, r_k, ln_x, state, head_size, .. } = args;
    let width = r.width;
    let subgroup = pass.backend.shared.device.capabilities.subgroup;
    let mut constants = variant(head_size, share, v_gate.is_some(), subgroup, half.is_some());
    let label = if ups.arena.is_some() { "low_rank_mix_v7" } else { "time_mix_v7" };
    constants.extend(&ups.constants);
    let only = pass.only_slot();
    constants.push(("ONE", u32::from(only.is_some())));
    let chunks = std::mem::take(&mut pass.chunks);
    for chunk in &chunks {
        let (buffer, slab, slot) = pass.state_at(chunk, state);
        let place = only.map_or(slab, |index| slab + index * slot);
        let states = buffer.as_ref().map(|(id, _)| *id);
        let carry = pass.take_carry([y.at(), v_first.at()].into_iter(), states);
        let params = TimeMixParams {
            at: [r.at(), k.at(), v.at(), v_first.at()],
            low: [w.at(), a.at(), g.at(), v_gate.map_or(0, |gate| gate.at())],
            out: [y.at(), width as u32, chunk.sequences_at, half.map_or(0, |half| half.at)],
            vectors: [k_k.at(), k_a.at(), r_k.at(), 0],
            norm: [ln_x.weight.at(), ln_x.bias.at(), place, slot],
            eps: [ln_x.eps, 0.0, 0.0, 0.0],
            ups: ups.params,
            carry: Carry::params(&carry),
        };
        let mut cost = recurrence(chunk.n_rows, chunk.n_sequences, width, head_size);
        cost.bytes += ups.cost.bytes;
        cost.flops += ups.cost.flops;
        let grid = [width / head_size, chunk.n_sequences as usize, 1];
        let key = key("time_mix_v7", &constants);
        let work = Work { state: buffer, weights: ups.arena.as_ref(), ..plain(key, grid, cost) };
        pass.dispatch(label, &params, Carry::with(carry, work));
    }
    pass.chunks = chunks;
}

/// The kernel of this file in its variants: head sizes, and low-rank matrices of each layout.
#[cfg(test)]
pub(in crate::ops) fn checked() -> Vec<crate::ops::check::Checked> {
    use crate::weights::Layout;
    let mut keys = Vec::new();
    for (n, gate, subgroup) in [
        (64, true, Some(32)),
        (64, false, None),
        (128, true, None),
        (16, false, Some(32)),
        (64, true, Some(8)),
    ] {
        let share = share(n).expect("a head size that the kernel can have");
        keys.extend([false, true].map(|half| key("time_mix_v7", &variant(n, share, gate, subgroup, half))));
        for layout in Layout::ALL {
            let mut constants = variant(n, share, gate, subgroup, false);
            let matrices = 3 + u32::from(gate);
            for (u, names) in OF_UPS.into_iter().enumerate().take(matrices as usize) {
                let values = [layout as u32, 256, 4, 32 * u as u32, 5];
                constants.extend(names.into_iter().zip(values));
            }
            constants.extend([(layout.constant(), 1), ("UPS", matrices), ("STAGED", 32 * matrices)]);
            constants.push(("TURNS", (LANES / share) as u32));
            keys.push(key("time_mix_v7", &constants));
            constants.push(("ONE", 1));
            keys.push(key("time_mix_v7", &constants));
        }
    }
    let keys: Vec<_> =
        keys.into_iter().flat_map(|key| [super::super::linear::tests::carrying(&key), key]).collect();
    vec![checked!(TimeMixParams { at, low, out, vectors, norm, eps, ups, carry }, keys)]
}
