//! Operations that see each value alone: what RWKV-4 to RWKV-6 do between products.

use super::{key, moving, plain};
use crate::{Buffer, Pass, Vector, kernels::Key};

/// Threads of a workgroup: small ones, so that a row of a decode step is shared out.
const THREADS: usize = 64;
/// Results of one run of `lerp` at most.
const MOST_MIXES: usize = 8;

/// A kernel of this file for rows of a width.
fn variant(file: &'static str, width: usize, mixes: usize) -> Key {
    let fours = u32::from(width.is_multiple_of(4));
    key(file, &[("THREADS", THREADS as u32), ("ACTS4", fours), ("VECTORS4", fours), ("MIXES", mixes as u32)])
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
}

pub(super) fn lerp(
    pass: &mut Pass<'_>,
    x: &Buffer,
    previous: &Buffer,
    mixes: &[&Vector],
    ys: &mut [&mut Buffer],
) {
    assert_eq!(mixes.len(), ys.len(), "a mix for each result");
    let (width, n_rows) = (x.width, pass.n_rows);
    for (mixes, ys) in mixes.chunks(MOST_MIXES).zip(ys.chunks(MOST_MIXES)) {
        let (mut outs, mut vectors) = ([0; MOST_MIXES], [0; MOST_MIXES]);
        for (i, (y, mix)) in ys.iter().zip(mixes).enumerate() {
            (outs[i], vectors[i]) = (y.at(), mix.at());
        }
        let at = [x.at(), previous.at(), width as u32, 0];
        let params = LerpParams { at, ys: outs, mixes: vectors };
        let cost = moving(n_rows * width * (2 + 2 * ys.len()));
        let work = plain(variant("lerp", width, ys.len()), grid(width, n_rows), cost);
        pass.dispatch("lerp", &params, work);
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
    let work = plain(variant("add_gated", width, 0), grid(width, n_rows), moving(n_rows * width * 4));
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
    let work = plain(variant("scale", width, 0), grid(width, n_rows), moving(n_rows * width * 2));
    pass.dispatch("scale", &params, work);
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    let widths = [64, 131];
    let lerps: Vec<_> =
        widths.into_iter().flat_map(|width| [1, 5, 8].map(|mixes| variant("lerp", width, mixes))).collect();
    vec![
        checked!(LerpParams { at, ys, mixes }, lerps),
        checked!(AddGatedParams { at }, widths.map(|width| variant("add_gated", width, 0))),
        checked!(ScaleParams { at, factor }, widths.map(|width| variant("scale", width, 0))),
    ]
}
