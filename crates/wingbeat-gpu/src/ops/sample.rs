//! Choosing tokens: parameters and grids of the two kernels.

use super::{key, moving, plain};
use crate::{Buffer, Pass, Shared, kernels::Key};
use wingbeat_backend::DeviceSampling;

/// Threads of a workgroup, and logits for each of them.
const THREADS: u32 = 256;
const PER: u32 = 4;
/// Logits of a block.
pub(crate) const BLOCK: usize = (THREADS * PER) as usize;
/// Words of what is found in a block.
pub(crate) const FOUND_WORDS: usize = 4;

/// Where things are in a sampler's buffer, in words; beside the last tokens, with which it begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    /// Steps done, one a row.
    pub(crate) steps: u32,
    /// Random numbers: for each row a ring of pairs.
    pub(crate) units: u32,
    /// A ring of steps: the ids of all rows.
    pub(crate) ids: u32,
    /// What was found in the blocks of each row.
    pub(crate) found: u32,
    /// For each row as many candidates as there are tokens.
    pub(crate) candidates: u32,
    /// For each row the counts of what was said, negative where it was not; 0: there are none.
    pub(crate) counts: u32,
    /// What is added to logits; 0: there are none.
    pub(crate) bias: u32,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct SampleParams {
    at: [u32; 4],
    places: [u32; 4],
    more: [u32; 4],
    flags: [u32; 4],
    cut: [f32; 4],
    penalties: [f32; 4],
}

fn keys() -> [Key; 2] {
    ["sample_blocks", "sample_choose"].map(|file| key(file, &[("THREADS", THREADS), ("PER", PER)]))
}

/// Begins to make the pipelines.
pub(crate) fn prepare(shared: &Shared) {
    for key in keys() {
        shared.kernels.get(key);
    }
}

/// Chooses a token for each row of `logits (rows, V)`.
pub(crate) fn sample(
    pass: &mut Pass<'_>,
    logits: &Buffer,
    settings: &DeviceSampling,
    places: Places,
    n_rows: usize,
    ring: usize,
    buffer: &(u64, wgpu::Buffer),
) {
    let n_vocab = logits.width;
    let n_blocks = n_vocab.div_ceil(BLOCK);
    // As many as there are, or more, is off.
    let top_k = if settings.top_k < n_vocab { settings.top_k } else { 0 };
    let wants_sums = settings.temperature > 0.0 && settings.top_p < 1.0 && top_k == 0;
    let params = SampleParams {
        at: [logits.at(), n_vocab as u32, n_blocks as u32, ring as u32],
        places: [places.steps, places.units, places.ids, places.found],
        more: [places.candidates, places.counts, places.bias, top_k as u32],
        flags: [u32::from(wants_sums), n_rows as u32, 0, 0],
        cut: [settings.temperature, settings.top_p, settings.min_p, 0.0],
        penalties: [settings.presence_penalty, settings.frequency_penalty, settings.penalty_decay, 0.0],
    };
    let [blocks, choose] = keys();
    let cost = moving(n_rows * n_vocab);
    let work = plain(blocks, [n_blocks, n_rows, 1], cost);
    pass.dispatch_with("sample_blocks", &params, work, Some(buffer.clone()));
    let work = plain(choose, [n_rows, 1, 1], cost);
    pass.dispatch_with("sample_choose", &params, work, Some(buffer.clone()));
}

#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    vec![checked!(SampleParams { at, places, more, flags, cut, penalties }, keys())]
}
