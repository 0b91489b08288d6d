//! Choosing tokens: parameters and grids of the two kernels, and of the one that does it all where it can.

use super::{key, moving, plain};
use crate::{Buffer, Capabilities, Pass, Shared, kernels::Key};
use wingbeat_backend::DeviceSampling;

/// Threads of a workgroup, and logits for each of them.
const THREADS: u32 = 256;
const PER: u32 = 4;
/// Logits of a block.
pub(crate) const BLOCK: usize = (THREADS * PER) as usize;
/// Logits that a thread of the greedy kernel loads at once.
const GREEDY_PER: u32 = 8;
/// Rows from which on one workgroup each is enough to keep a device busy.
const GREEDY_ROWS: usize = 8;
/// Words of what is found in a block.
pub(crate) const FOUND_WORDS: usize = 4;

/// Threads of kernels that walk along a row of so many values: as many as a workgroup may have, up to one for each two
/// values, as a thread waits for its loads one after the other.
fn row_threads(capabilities: &Capabilities, width: usize) -> u32 {
    let most = capabilities.workgroup_threads.clamp(64, 1024);
    (1 << most.ilog2()).min((width as u32 / 2).next_power_of_two()).max(64)
}

/// Where things are in a sampler's buffer, in words; beside the last tokens, with which it begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    /// Steps done, one a row.
    pub(crate) steps: u32,
    /// Random numbers, in pairs: a ring of steps, in each those of all rows.
    pub(crate) units: u32,
    /// A ring of steps: the ids of all rows.
    pub(crate) ids: u32,
    /// What was found in the blocks of each row.
    pub(crate) found: u32,
    /// For each row as many candidates as there are tokens; 0: rank does not count.
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

fn greedy_key(threads: u32) -> Key {
    key("sample_greedy", &[("THREADS", threads), ("PER", GREEDY_PER)])
}

/// A thread for each of its loads, as far as a workgroup may have them.
fn greedy_threads(shared: &Shared, n_vocab: usize) -> u32 {
    row_threads(&shared.device.capabilities, n_vocab.div_ceil(GREEDY_PER as usize / 2))
}

/// Whether one kernel does it all.
fn is_greedy(settings: &DeviceSampling, n_rows: usize) -> bool {
    settings.temperature == 0.0 && n_rows >= GREEDY_ROWS
}

/// Whether the rank of a token counts.
pub(crate) fn ranks(settings: &DeviceSampling, n_vocab: usize) -> bool {
    settings.temperature > 0.0 && (settings.top_p < 1.0 || (1..n_vocab).contains(&settings.top_k))
}

/// Begins to make the pipelines.
pub(crate) fn prepare(shared: &Shared, settings: &DeviceSampling, n_vocab: usize, n_rows: usize) {
    if is_greedy(settings, n_rows) {
        shared.kernels.get(greedy_key(greedy_threads(shared, n_vocab)));
        return;
    }
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
    let cost = moving(n_rows * n_vocab);
    if is_greedy(settings, n_rows) {
        let key = greedy_key(greedy_threads(&pass.backend.shared, n_vocab));
        let work = plain(key, [n_rows, 1, 1], cost);
        return pass.dispatch_with("sample_greedy", &params, work, Some(buffer.clone()));
    }
    let [blocks, choose] = keys();
    let work = plain(blocks, [n_blocks, n_rows, 1], cost);
    pass.dispatch_with("sample_blocks", &params, work, Some(buffer.clone()));
    let work = plain(choose, [n_rows, 1, 1], cost);
    pass.dispatch_with("sample_choose", &params, work, Some(buffer.clone()));
}

#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    let keys = [keys().to_vec(), [64, 256, 1024].map(greedy_key).to_vec()].concat();
    vec![checked!(SampleParams { at, places, more, flags, cut, penalties }, keys)]
}
