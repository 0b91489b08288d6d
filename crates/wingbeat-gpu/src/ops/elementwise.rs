//! Operations that see each value alone: what RWKV-4 to RWKV-6 do between products.

use super::{key, moving, plain, time_mix::Half};
use crate::{Buffer, Pass, Vector, kernels::Key};

/// Threads of a workgroup: small ones, so that a row of a decode step is shared out.
const THREADS: usize = 64;
/// Results of one run of `lerp` at most.
const MOST_MIXES: usize = 8;

/// A kernel of this file for rows of a width.
fn variant(file: &'static str, width: usize) -> Key {
    let fours = u32::from(width.is_multiple_of(4));
    key(file, &[("THREADS", THREADS as u32), ("ACTS4", fours), ("VECTORS4", fours)])
}

/// The same of `lerp`, for so many results.
fn lerp_variant(width: usize, mixes: usize, half_copy: bool) -> Key {
    let mut key = variant("lerp", width);
    let half_copy = u32::from(half_copy);
    key.constants.extend([("MIXES", mixes as u32), ("HALF_COPY", half_copy), ("SEES_HALVES", half_copy)]);
    key
}

/// Workgroups for some rows.
fn grid(width: usize, n_rows: usize) -> [usize; 3] {
    let few = if width.is_multiple_of(4) { 4 } else { 1 };
    [(width / few).div_ceil(THREADS), n_rows, 1]
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct LerpParams {
    at: [u32; 4],
    ys: [u32; MOST_MIXES],
    mixes: [u32; MOST_MIXES],
    halves: [u32; MOST_MIXES],
}

/// With `halves`, one for each of `ys`, results also go there; widths are multiples of four then.
pub(super) fn lerp(
    pass: &mut Pass<'_>,
    x: &Buffer,
    previous: &Buffer,
    mixes: &[&Vector],
    ys: &mut [&mut Buffer],
    halves: Option<&[Half]>,
) {
    assert_eq!(mixes.len(), ys.len(), "a mix for each result");
    assert!(halves.is_none_or(|halves| halves.len() == ys.len()), "a copy of each result");
    let (width, n_rows) = (x.width, pass.n_rows);
    for (n, (mixes, ys)) in mixes.chunks(MOST_MIXES).zip(ys.chunks(MOST_MIXES)).enumerate() {
        let (mut outs, mut vectors, mut copies) = ([0; MOST_MIXES], [0; MOST_MIXES], [0; MOST_MIXES]);
        for (i, (y, mix)) in ys.iter().zip(mixes).enumerate() {
            (outs[i], vectors[i]) = (y.at(), mix.at());
            copies[i] = halves.map_or(0, |halves| halves[n * MOST_MIXES + i].at);
        }
        let at = [x.at(), previous.at(), width as u32, 0];
        let params = LerpParams { at, ys: outs, mixes: vectors, halves: copies };
        let cost = moving(n_rows * width * (2 + 2 * ys.len()));
        let key = lerp_variant(width, ys.len(), halves.is_some());
        pass.dispatch_seeing_halves("lerp", &params, plain(key, grid(width, n_rows), cost), halves.is_some());
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct AddGatedParams {
    at: [u32; 4],
}

pub(super) fn add_gated(pass: &mut Pass<'_>, x: &mut Buffer, gate: &Buffer, y: &Buffer) {
    let (width, n_rows) = (x.width, pass.n_rows);
    let params = AddGatedParams { at: [x.at(), gate.at(), y.at(), width as u32] };
    let work = plain(variant("add_gated", width), grid(width, n_rows), moving(n_rows * width * 4));
    pass.dispatch("add_gated", &params, work);
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ScaleParams {
    at: [u32; 4],
    factor: [f32; 4],
}

pub(super) fn scale(pass: &mut Pass<'_>, x: &mut Buffer, factor: f32) {
    let (width, n_rows) = (x.width, pass.n_rows);
    let params = ScaleParams { at: [x.at(), width as u32, 0, 0], factor: [factor, 0.0, 0.0, 0.0] };
    let work = plain(variant("scale", width), grid(width, n_rows), moving(n_rows * width * 2));
    pass.dispatch("scale", &params, work);
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    let widths = [64, 131];
    let variants = [(64, false), (64, true), (131, false)];
    let lerps: Vec<_> = variants
        .into_iter()
        .flat_map(|(width, half_copy)| [1, 5, 8].map(|mixes| lerp_variant(width, mixes, half_copy)))
        .collect();
    vec![
        checked!(LerpParams { at, ys, mixes, halves }, lerps),
        checked!(AddGatedParams { at }, widths.map(|width| variant("add_gated", width))),
        checked!(ScaleParams { at, factor }, widths.map(|width| variant("scale", width))),
    ]
}

#[cfg(test)]
mod tests;
