//! Operations that walk along rows: embedding, norms, token shift, selection.

use super::{COPY_THREADS, key, moving, plain, row_threads, summing};
use crate::{
    Buffer, GpuBackend, Matrix, Pass, Vector,
    pass::{Carry, Work},
    sampling,
};
use wingbeat_backend::{LayerNorm, SlabAt};

/// Shifted inputs of one kernel's run at most.
const MOST_SHIFTS: usize = 8;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct EmbedParams {
    table: [u32; 4],
    planes: [u32; 4],
    at: [u32; 4],
}

pub(super) fn embed(pass: &mut Pass<'_>, table: &Matrix, x: &mut Buffer) {
    const THREADS: u32 = 64;
    for part in &table.parts {
        let params = EmbedParams {
            table: [table.layout as u32, part.first_row as u32, part.rows as u32, table.cols as u32],
            planes: [part.planes[0], part.planes[1], part.planes[2], 0],
            at: [x.at(), 0, u32::from(pass.tokens_of.is_some()), sampling::LAST_TOKENS],
        };
        let key = key("embed", &[("THREADS", THREADS), (table.layout.constant(), 1)]);
        let grid = [table.cols.div_ceil(8 * THREADS as usize), pass.n_rows, 1];
        let cost = moving(pass.n_rows * table.cols * 2);
        let work = Work { weights: Some(&part.arena), ..plain(key, grid, cost) };
        pass.dispatch_with("embed", &params, work, pass.tokens_of.clone());
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct LayerNormParams {
    at: [u32; 4],
    norm: [u32; 4],
    eps: [f32; 4],
}

pub(super) fn layer_norm(pass: &mut Pass<'_>, x: &Buffer, norm: &LayerNorm<GpuBackend>, y: &mut Buffer) {
    let params = LayerNormParams {
        at: [x.at(), y.at(), x.width as u32, 0],
        norm: [norm.weight.at(), norm.bias.at(), 0, 0],
        eps: [norm.eps, 0.0, 0.0, 0.0],
    };
    let key = key("layer_norm", &row_variant(pass, x.width));
    let cost = moving(pass.n_rows * x.width * 2);
    pass.dispatch("layer_norm", &params, plain(key, [pass.n_rows, 1, 1], cost));
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct TokenShiftParams {
    at: [u32; 4],
    norm: [u32; 4],
    n: [u32; 4],
    eps: [f32; 4],
    ys: [u32; MOST_SHIFTS],
    mixes: [u32; MOST_SHIFTS],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ShiftStateParams {
    at: [u32; 4],
    slot: [u32; 4],
}

/// Token shift of `x`, or of its norm.
pub(super) fn token_shift(
    pass: &mut Pass<'_>,
    x: &Buffer,
    norm: Option<(&LayerNorm<GpuBackend>, &mut Buffer)>,
    state: SlabAt,
    mixes: &[&Vector],
    ys: &mut [&mut Buffer],
) {
    assert!(ys.len() <= MOST_SHIFTS && ys.len() == mixes.len(), "a mix for each of up to 8 shifted inputs");
    let width = x.width;
    let (mut outs, mut vectors) = ([0; MOST_SHIFTS], [0; MOST_SHIFTS]);
    for (i, (y, mix)) in ys.iter().zip(mixes).enumerate() {
        (outs[i], vectors[i]) = (y.at(), mix.at());
    }
    let normed = norm.as_ref().map_or(x.at(), |(_, normed)| normed.at());
    let chunks = std::mem::take(&mut pass.chunks);
    for chunk in &chunks {
        let (buffer, slab, slot) = pass.state_at(chunk, state);
        let params = TokenShiftParams {
            at: [x.at(), normed, width as u32, chunk.rows_at],
            norm: match &norm {
                Some((norm, _)) => [norm.weight.at(), norm.bias.at(), slab, slot],
                None => [0, 0, slab, slot],
            },
            n: [ys.len() as u32, 0, 0, 0],
            eps: [norm.as_ref().map_or(0.0, |(norm, _)| norm.eps), 0.0, 0.0, 0.0],
            ys: outs,
            mixes: vectors,
        };
        let key =
            key("token_shift", &shift_variant(row_variant(pass, width), norm.is_some(), !chunk.has_long));
        let cost = moving(chunk.n_rows as usize * width * (2 + ys.len()));
        let work = plain(key, [chunk.n_rows as usize, 1, 1], cost);
        pass.dispatch("token_shift", &params, Work { state: buffer, ..work });
    }
    // Once all rows have read the states of before.
    for chunk in chunks.iter().filter(|chunk| chunk.has_long) {
        let (buffer, slab, slot) = pass.state_at(chunk, state);
        let params =
            ShiftStateParams { at: [normed, width as u32, chunk.sequences_at, 0], slot: [slab, slot, 0, 0] };
        let key = key("shift_state", &[("THREADS", COPY_THREADS)]);
        let cost = moving(chunk.n_sequences as usize * width * 2);
        let work = plain(key, [chunk.n_sequences as usize, 1, 1], cost);
        pass.dispatch("shift_state", &params, Work { state: buffer, ..work });
    }
    pass.chunks = chunks;
}

/// Does what a dispatch left, in one of its own.
pub(crate) fn carry_alone(pass: &mut Pass<'_>, carry: Carry) {
    let params = ShiftStateParams {
        at: [carry.x, carry.width, carry.sequences_at, 0],
        slot: [carry.slab, carry.slot, 0, 0],
    };
    let n_rows = carry.n_rows as usize;
    let key = key("shift_state", &[("THREADS", COPY_THREADS), ("ALL", 1)]);
    let work = plain(key, [n_rows, 1, 1], moving(n_rows * carry.width as usize * 2));
    pass.dispatch("shift_state", &params, Work { state: carry.state, ..work });
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct SelectRowsParams {
    at: [u32; 4],
}

pub(super) fn select_rows(pass: &mut Pass<'_>, x: &Buffer, rows: &[usize], y: &mut Buffer) {
    let list = pass.list(rows.iter().map(|&row| row as u32));
    let params = SelectRowsParams { at: [x.at(), y.at(), x.width as u32, list] };
    let key = key("select_rows", &[("THREADS", COPY_THREADS)]);
    pass.dispatch("select_rows", &params, plain(key, [rows.len(), 1, 1], moving(rows.len() * x.width * 2)));
    pass.n_rows = rows.len();
}

/// Constants of kernels that sum along rows.
fn row_variant(pass: &Pass<'_>, width: usize) -> [(&'static str, u32); 3] {
    let capabilities = &pass.backend.shared.device.capabilities;
    summing(capabilities.subgroup, row_threads(capabilities, width))
}

/// Constants of `token_shift`, where every sequence has one token or some have more.
fn shift_variant(rows: [(&'static str, u32); 3], norm: bool, alone: bool) -> Vec<(&'static str, u32)> {
    let mut variant = rows.to_vec();
    variant.extend([("NORM", u32::from(norm)), ("ALONE", u32::from(alone))]);
    variant
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    let threads = ("THREADS", COPY_THREADS);
    let layouts =
        crate::weights::Layout::ALL.map(|layout| key("embed", &[("THREADS", 64), (layout.constant(), 1)]));
    let rows = [(None, 256), (None, 64), (Some(8), 1024), (Some(32), 1024), (Some(64), 128)]
        .map(|(subgroup, threads)| summing(subgroup, threads));
    let norms = rows.map(|rows| key("layer_norm", &rows));
    let shifts: Vec<_> = rows
        .into_iter()
        .flat_map(|rows| [(false, false), (false, true), (true, false), (true, true)].map(|v| (rows, v)))
        .map(|(rows, (norm, alone))| key("token_shift", &shift_variant(rows, norm, alone)))
        .collect();
    vec![
        checked!(EmbedParams { table, planes, at }, layouts),
        checked!(LayerNormParams { at, norm, eps }, norms),
        checked!(TokenShiftParams { at, norm, n, eps, ys, mixes }, shifts),
        checked!(
            ShiftStateParams { at, slot },
            [0, 1].map(|all| key("shift_state", &[threads, ("ALL", all)]))
        ),
        checked!(SelectRowsParams { at }, [key("select_rows", &[threads])]),
    ]
}
