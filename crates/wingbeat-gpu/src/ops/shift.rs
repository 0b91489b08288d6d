//! Layer norm, token shift and the products of its results in one dispatch, for a few sequences of one token each.

use super::{
    key,
    linear::{self, Job, MOST_JOBS, Method, Product, Way},
};
use crate::{
    Buffer, Capabilities, GpuBackend, Pass, Vector,
    pass::{Carry, Work},
};
use wingbeat_backend::{LayerNorm, ShiftLinear, SlabAt};

/// Up to this many rows: their shifted inputs lie in shared memory, whole.
const MOST_ROWS: usize = 4;
/// Threads of a workgroup, where an adapter permits: as each makes its input anew, larger ones than in `linear_rows`.
const THREADS: u32 = 512;
/// Workgroups on each multiprocessor that small matrices still make; fewer than in `linear_rows` for the same reason.
const WORKGROUPS: usize = 1;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ShiftLinearParams {
    n: [u32; 4],
    firsts: [u32; MOST_JOBS],
    jobs: [Job; MOST_JOBS],
    at: [u32; 4],
    norm: [u32; 4],
    eps: [f32; 4],
}

/// Threads of a workgroup on an adapter.
fn threads(capabilities: &Capabilities) -> u32 {
    let most = THREADS.min(capabilities.workgroup_threads);
    1 << most.max(1).ilog2()
}

/// Bytes that a workgroup shares.
fn shared_bytes(
    way: Way,
    floats: bool,
    (subgroup, threads): (bool, u32),
    n_rows: usize,
    width: usize,
) -> usize {
    let threads = threads as usize;
    // Moments of a row, and the sums of teams.
    let sums = threads * 4 + if subgroup { 0 } else { n_rows * threads * 4 };
    match way {
        // Sixteen bytes and a scale with a sum for sixteen values; four neighbours tell each other what they have.
        Way::Int8 => {
            let inputs = n_rows * width / 16 * 24 + if floats { n_rows * width * 4 } else { 0 };
            sums + inputs + if subgroup { 0 } else { threads * 8 }
        }
        _ => sums + n_rows * width * 4,
    }
}

fn method(
    mut constants: Vec<(&'static str, u32)>,
    way: Way,
    (subgroup, threads): (Option<u32>, u32),
    (n_rows, width, weight_rows): (usize, usize, usize),
) -> Method {
    let (shared_out, teams) = linear::teams(subgroup, threads);
    let tokens = n_rows as u32;
    let rows = linear::rows_of_team(if tokens > 2 { 2 } else { 4 }, teams, weight_rows, WORKGROUPS);
    constants.extend(shared_out);
    constants.push(linear::crowded(&shared_out, rows, tokens));
    constants.extend([
        ("SHIFT", 1),
        ("ONE", u32::from(n_rows == 1)),
        ("ROWS", rows),
        ("TOKENS", tokens),
        ("WIDTH", width as u32),
        ("QUADS", (width as u32).div_ceil(4 * threads)),
        ("AHEAD", linear::ahead(rows, tokens)),
        ("AHEAD_32", 1),
    ]);
    let file = if way == Way::Int8 { "shift_linear_int8" } else { "shift_linear" };
    Method { label: file, key: key(file, &constants), rows: teams * rows as usize, tokens: n_rows }
}

/// Records it; false where it does not fit, and nothing is recorded.
pub(super) fn shift_linear(
    pass: &mut Pass<'_>,
    x: &Buffer,
    norm: &LayerNorm<GpuBackend>,
    normed: &mut Buffer,
    state: SlabAt,
    mixes: &[&Vector],
    jobs: &mut [ShiftLinear<'_, GpuBackend>],
) -> bool {
    let (n_rows, width, shared) = (pass.n_rows, x.width, &pass.backend.shared);
    let [chunk] = &pass.chunks[..] else { return false };
    if n_rows > MOST_ROWS
        || !pass.one_token_each
        || chunk.chunk.is_none()
        || !width.is_multiple_of(8)
        || jobs.is_empty()
        || jobs.iter().any(|job| job.weight.by_input)
    {
        return false;
    }
    let mut products: Vec<Product<'_>> = Vec::with_capacity(jobs.len());
    for job in jobs.iter() {
        assert_eq!(width, job.weight.cols, "width of the input of {}", job.weight.name);
        let mix = mixes[job.mix].at();
        linear::products_of(job.weight, (mix, None), job.y, &job.activation, &mut products);
    }
    let groups = linear::groups(shared, &mut products, n_rows);
    let capabilities = &shared.device.capabilities;
    let threads = threads(capabilities);
    let fits = |(way, group): &(Way, &[Product<'_>])| {
        let floats = group.iter().any(|product| product.weight.layout.is_float());
        let team = (capabilities.subgroup.is_some(), threads);
        shared_bytes(*way, floats, team, n_rows, width) <= capabilities.workgroup_bytes as usize
    };
    if !groups.iter().all(fits) {
        return false;
    }
    let (rows_at, sequences_at) = (chunk.rows_at, chunk.sequences_at);
    let (buffer, slab, slot) = pass.state_at(chunk, state);
    let one = pass.only_slot().map(|index| slab + index * slot);
    for (way, group) in groups {
        let weight_rows = group.iter().map(|product| product.part.rows).sum();
        let shape = (n_rows, width, weight_rows);
        let method = method(linear::layouts(group), way, (capabilities.subgroup, threads), shape);
        let (jobs, tiles, mut cost) = linear::jobs(group, n_rows, method.rows);
        cost.bytes += (n_rows * width * 4 * 3) as u64;
        let params = ShiftLinearParams {
            n: [group.len() as u32, n_rows as u32, 0, 0],
            firsts: linear::firsts(&jobs, group.len()),
            jobs,
            at: [x.at(), normed.at(), width as u32, rows_at],
            norm: [norm.weight.at(), norm.bias.at(), one.unwrap_or(slab), slot],
            eps: [norm.eps, 0.0, 0.0, 0.0],
        };
        let (weights, state) = (Some(&group[0].part.arena), buffer.clone());
        pass.dispatch(
            method.label,
            &params,
            Work { key: method.key, grid: [tiles, 1, 1], weights, state, cost },
        );
    }
    pass.leave(Carry {
        x: normed.at(),
        width: width as u32,
        sequences_at,
        n_sequences: n_rows as u32,
        slab,
        slot,
        one,
        state: buffer,
    });
    true
}

#[cfg(test)]
pub(super) mod tests;
