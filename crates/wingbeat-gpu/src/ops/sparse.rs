//! Products with a few rows most of whose values are zero, where the matrix is kept by input.

use super::{key, linear::numbered, plain};
use crate::{
    GpuBackend, Matrix, Pass, Shared,
    pass::{Carry, Work},
    profile::Cost,
    weights::{Layout, by_input::BAND},
};
use std::sync::PoisonError;
use wingbeat_backend::{BackendError, Linear};

/// Up to this many rows; of more, too few inputs are zero in all.
pub(super) const MOST_ROWS: usize = 8;
/// Outputs of a workgroup.
const OUTPUTS: usize = 256;
/// Sums of bands at most, so that adding them up stays cheap.
const MOST_SUMS: usize = 64;
/// Outputs of a workgroup of `linear_sparse_sum`.
const SUMMED: usize = 32;
/// Of these inputs about one counts: what a profile assumes.
const ONE_OF: u64 = 10;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct SparseParams {
    shape: [u32; 4],
    places: [u32; 4],
    out: [u32; 4],
    carry: [[u32; 4]; 2],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct SparseSumParams {
    at: [u32; 4],
    out: [u32; 4],
}

/// What kernels are compiled with where they meet matrices of these layouts that are kept by input.
pub(super) fn constants(layouts: &[Layout]) -> Vec<(&'static str, u32)> {
    let any = |of: &[Layout]| u32::from(layouts.iter().any(|layout| of.contains(layout)));
    vec![
        ("BY_INPUT", 1),
        ("SCALE_32", any(&[Layout::Q8_0, Layout::Q4_0, Layout::Q5_0])),
        ("SCALE_K", any(&[Layout::Q4K, Layout::Q5K])),
    ]
}

/// Constants of `linear_sparse` for some rows.
fn variant(layout: Layout, tokens: u32) -> Vec<(&'static str, u32)> {
    let mut variant = vec![(layout.constant(), 1)];
    variant.extend(constants(&[layout]));
    variant.extend([
        ("TOKENS", tokens),
        ("SCALED", u32::from(!layout.is_float())),
        // Groups of inputs in a team's 32 that share scales.
        ("GROUPS", if matches!(layout, Layout::Q6K | Layout::Q2K) { 2 } else { 1 }),
        // More rows take more registers.
        ("FETCH", if tokens > 2 { 2 } else { 4 }),
    ]);
    variant
}

/// Records a product; false if there is no memory for its sums.
pub(super) fn linear(pass: &mut Pass<'_>, job: &Linear<'_, GpuBackend>) -> bool {
    assert_eq!(job.y.width, job.weight.rows, "width of the output of {}", job.weight.name);
    let Matrix { rows, cols, layout, ref parts, .. } = *job.weight;
    let [part] = &parts[..] else { return false };
    let (n_rows, padded) = (pass.n_rows, rows.next_multiple_of(8));
    let bands = cols.div_ceil(BAND);
    let steps = bands.div_ceil(MOST_SUMS);
    let sums = bands.div_ceil(steps);
    let shared = &pass.backend.shared;
    let Ok(partial) = partial_sums(shared, sums * MOST_ROWS * padded) else { return false };
    let variant = variant(layout, n_rows.next_power_of_two() as u32);
    let carry = pass.take_carry([partial].into_iter(), None);
    let params = SparseParams {
        shape: [job.weight.kind(), rows as u32, cols as u32, steps as u32],
        places: [part.planes[0], part.planes[1], part.planes[2], job.x.at()],
        out: [partial, n_rows as u32, 0, 0],
        carry: Carry::params(&carry),
    };
    let cost = Cost {
        bytes: job.weight.bytes() / ONE_OF + (n_rows * (cols + sums * padded) * 4) as u64,
        flops: 2 * (n_rows * rows * cols) as u64 / ONE_OF,
    };
    let work = plain(key("linear_sparse", &variant), [rows.div_ceil(OUTPUTS), sums, 1], cost);
    let work = Work { weights: Some(&part.arena), ..work };
    pass.dispatch("linear_sparse", &params, Carry::with(carry, work));
    let (activation, bias) = numbered(&job.activation);
    let params = SparseSumParams {
        at: [partial, sums as u32, n_rows as u32, rows as u32],
        out: [job.y.at(), activation, bias, 0],
    };
    let cost = super::moving(n_rows * padded * (sums + 1));
    let grid = [padded.div_ceil(SUMMED), n_rows, 1];
    pass.dispatch("linear_sparse_sum", &params, plain(key("linear_sparse_sum", &[]), grid, cost));
    true
}

/// Room for sums in the activations, shared by all passes: they run one after the other.
pub(super) fn partial_sums(shared: &Shared, floats: usize) -> Result<u32, BackendError> {
    let mut place = shared.partial_sums.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((offset, room)) = *place
        && room >= floats
    {
        return Ok(offset);
    }
    // A pass that is being recorded may still point to the room of before: it is not given back, and growing to powers of
    // two bounds what that costs.
    let room = floats.next_power_of_two();
    let _order = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
    let offset = shared.acts.take_uncleared(&shared.device, room)?;
    *place = Some((offset, room));
    Ok(offset)
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    let variants =
        Layout::ALL.into_iter().flat_map(|layout| [1, 2, 4, 8].map(|tokens| variant(layout, tokens)));
    let keys = variants.map(|constants| key("linear_sparse", &constants));
    let keys: Vec<_> = keys.flat_map(|key| [super::linear::tests::carrying(&key), key]).collect();
    vec![
        checked!(SparseParams { shape, places, out, carry }, keys),
        checked!(SparseSumParams { at, out }, [key("linear_sparse_sum", &[])]),
    ]
}
