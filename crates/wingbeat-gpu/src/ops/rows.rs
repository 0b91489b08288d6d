//! Operations that walk along rows: embedding, norms, token shift, selection.

use super::{COPY_THREADS, key, moving, plain, summing};
use crate::{
    Buffer, Capabilities, GpuBackend, Matrix, Pass, Vector,
    pass::{Carry, Work},
    sampling,
};
use std::ops::Range;
use wingbeat_backend::{LayerNorm, SlabAt};

/// Shifted inputs of one kernel's run at most.
const MOST_SHIFTS: usize = 8;
/// Rows of a workgroup of `token_shift` where there are many: mixes are read once for them, and a row's moments found once.
const SHIFT_ROWS: usize = 4;
/// Rows that are many: they still make enough workgroups.
const MANY_ROWS: usize = 384;
/// Fours of `x` that a workgroup of `token_shift` may have, all its rows together: threads keep them in registers.
const SHIFT_FOURS: usize = 2048;

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
    let shape = RowShape::of(&pass.backend.shared.device.capabilities, x.width, false);
    let key = key("layer_norm", &shape.constants(1));
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
    carry: [[u32; 4]; 2],
}

/// Token shift of `x`, or of its norm. With `halves` the shifted inputs are halves, two in the place of a float, so that
/// rows of `ys` take half as many floats; `normed` stays as it is.
pub(super) fn token_shift(
    pass: &mut Pass<'_>,
    x: &Buffer,
    norm: Option<(&LayerNorm<GpuBackend>, &mut Buffer)>,
    state: SlabAt,
    mixes: &[&Vector],
    ys: &mut [&mut Buffer],
    halves: bool,
) {
    assert!(ys.len() <= MOST_SHIFTS && ys.len() == mixes.len(), "a mix for each of up to 8 shifted inputs");
    let width = x.width;
    assert!(!halves || width.is_multiple_of(8), "halves go out in eights");
    let (mut outs, mut vectors) = ([0; MOST_SHIFTS], [0; MOST_SHIFTS]);
    for (i, (y, mix)) in ys.iter().zip(mixes).enumerate() {
        (outs[i], vectors[i]) = (y.at(), mix.at());
    }
    let normed = norm.as_ref().map_or(x.at(), |(_, normed)| normed.at());
    let chunks = std::mem::take(&mut pass.chunks);
    let shape = RowShape::of(&pass.backend.shared.device.capabilities, width, halves);
    for chunk in &chunks {
        let (buffer, slab, slot) = pass.state_at(chunk, state);
        let params = TokenShiftParams {
            at: [x.at(), normed, width as u32, chunk.rows_at],
            norm: match &norm {
                Some((norm, _)) => [norm.weight.at(), norm.bias.at(), slab, slot],
                None => [0, 0, slab, slot],
            },
            n: [chunk.n_rows, 0, 0, 0],
            eps: [norm.as_ref().map_or(0.0, |(norm, _)| norm.eps), 0.0, 0.0, 0.0],
            ys: outs,
            mixes: vectors,
        };
        let n_rows = chunk.n_rows as usize;
        let rows = if n_rows < MANY_ROWS { 1 } else { shape.shift_rows() };
        let key = key("token_shift", &shape.shifting(rows, ys.len(), norm.is_some(), !chunk.has_long));
        let halves_of = if halves { 1 } else { 2 };
        let cost = moving(n_rows * width * (4 + halves_of * ys.len()) / 2);
        let work = plain(key, [n_rows.div_ceil(rows), 1, 1], cost);
        pass.dispatch("token_shift", &params, Work { state: buffer, ..work });
    }
    // Once all rows have read the states of before.
    let one = chunks.len() == 1;
    for chunk in chunks.iter().filter(|chunk| chunk.has_long) {
        let (buffer, slab, slot) = pass.state_at(chunk, state);
        let carry = Carry {
            x: normed,
            width: width as u32,
            sequences_at: chunk.sequences_at,
            n_sequences: chunk.n_sequences,
            slab,
            slot,
            one: None,
            state: buffer,
        };
        if one { pass.leave(carry) } else { carry_alone(pass, carry) }
    }
    pass.chunks = chunks;
}

/// Does what a dispatch left, in one of its own.
pub(crate) fn carry_alone(pass: &mut Pass<'_>, carry: Carry) {
    let (width, n_sequences) = (carry.width as usize, carry.n_sequences as usize);
    let fours = width.is_multiple_of(4);
    let values = n_sequences * width / if fours { 4 } else { 1 };
    let key = key("shift_state", &state_variant(fours));
    let work = plain(key, [values.div_ceil(COPY_THREADS as usize), 1, 1], moving(n_sequences * width * 2));
    let carry = Some(carry);
    let params = ShiftStateParams { carry: Carry::params(&carry) };
    pass.dispatch("shift_state", &params, Carry::with(carry, work));
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

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct SumRowsParams {
    at: [u32; 4],
}

pub(super) fn sum_rows(pass: &mut Pass<'_>, x: &Buffer, ranges: &[Range<usize>], y: &mut Buffer) {
    let bounds = ranges.iter().flat_map(|range| [range.start as u32, range.end as u32]);
    let list = pass.list(bounds);
    let params = SumRowsParams { at: [x.at(), y.at(), x.width as u32, list] };
    let key = key("sum_rows", &[("THREADS", COPY_THREADS)]);
    let grid = [x.width.div_ceil(COPY_THREADS as usize), ranges.len(), 1];
    let n_rows: usize = ranges.iter().map(Range::len).sum();
    let cost = moving((n_rows + ranges.len()) * x.width);
    pass.dispatch("sum_rows", &params, plain(key, grid, cost));
}

/// How a workgroup shares out a row.
#[derive(Clone, Copy)]
struct RowShape {
    subgroup: Option<u32>,
    threads: u32,
    /// What a thread has of a row: so many fours or, where the row is not made of fours, single values.
    quads: u32,
    fours: bool,
    halves: bool,
}

impl RowShape {
    fn of(capabilities: &Capabilities, width: usize, halves: bool) -> RowShape {
        RowShape::new(capabilities.subgroup, capabilities.workgroup_threads, width, halves)
    }

    /// One four a thread, as a thread waits for its loads one after the other; of halves two, which are stored together.
    fn new(subgroup: Option<u32>, most_threads: u32, width: usize, halves: bool) -> RowShape {
        let fours = width.is_multiple_of(4);
        let (cols, unit) = (if fours { width / 4 } else { width }, if halves { 2 } else { 1 });
        let most = 1 << most_threads.clamp(64, 512).ilog2();
        let threads = cols.div_ceil(unit).next_power_of_two().clamp(64, most);
        let quads = cols.div_ceil(threads * unit) * unit;
        RowShape { subgroup, threads: threads as u32, quads: quads as u32, fours, halves }
    }

    /// Constants of kernels that find the moments of so many rows at once.
    fn constants(&self, norms: u32) -> Vec<(&'static str, u32)> {
        let fours = u32::from(self.fours);
        let mut constants = summing(self.subgroup, self.threads).to_vec();
        constants.extend([("QUADS", self.quads), ("NORMS", norms)]);
        constants.extend(["ACTS4", "STATES4", "VECTORS4"].map(|name| (name, fours)));
        constants
    }

    /// Rows of a workgroup of `token_shift` where there are many: what of them fits into registers, and one where each
    /// row's moments take barriers of their own.
    fn shift_rows(&self) -> usize {
        let fours = (self.threads * self.quads) as usize;
        if self.subgroup.is_some() && SHIFT_ROWS * fours <= SHIFT_FOURS { SHIFT_ROWS } else { 1 }
    }

    /// Constants of `token_shift` for so many rows and shifted inputs, where every sequence has one token or some have
    /// more.
    fn shifting(&self, rows: usize, mixes: usize, norm: bool, alone: bool) -> Vec<(&'static str, u32)> {
        let rows = rows as u32;
        let mut constants = self.constants(if alone { rows } else { rows + 1 });
        constants.extend([("ROWS", rows), ("MIXES", mixes as u32), ("NORM", u32::from(norm))]);
        constants.extend([("ALONE", u32::from(alone)), ("HALVES", u32::from(self.halves))]);
        constants
    }
}

/// Constants of `shift_state`, but for the one that `Carry` adds.
fn state_variant(fours: bool) -> [(&'static str, u32); 3] {
    [("THREADS", COPY_THREADS), ("ACTS4", u32::from(fours)), ("STATES4", u32::from(fours))]
}

/// Every kernel of this file, in each variant.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    let threads = ("THREADS", COPY_THREADS);
    let layouts =
        crate::weights::Layout::ALL.map(|layout| key("embed", &[("THREADS", 64), (layout.constant(), 1)]));
    let (mut norms, mut shifts) = (Vec::new(), Vec::new());
    for subgroup in [None, Some(8), Some(32), Some(64)] {
        for (width, most_threads) in
            [(2048, 1024), (2048, 256), (4096, 1024), (768, 256), (131, 256), (3, 64)]
        {
            let shape = RowShape::new(subgroup, most_threads, width, false);
            norms.push(key("layer_norm", &shape.constants(1)));
            for halves in [false, true].into_iter().filter(|halves| !halves || width % 8 == 0) {
                let shape = RowShape::new(subgroup, most_threads, width, halves);
                for (norm, alone) in [(false, false), (false, true), (true, false), (true, true)] {
                    for (rows, mixes) in [(1, 1), (1, 6), (shape.shift_rows(), 6)] {
                        shifts.push(key("token_shift", &shape.shifting(rows, mixes, norm, alone)));
                    }
                }
            }
        }
    }
    let states =
        [false, true].map(|fours| super::linear::tests::carrying(&key("shift_state", &state_variant(fours))));
    vec![
        checked!(EmbedParams { table, planes, at }, layouts),
        checked!(LayerNormParams { at, norm, eps }, norms),
        checked!(TokenShiftParams { at, norm, n, eps, ys, mixes }, shifts),
        checked!(ShiftStateParams { carry }, states),
        checked!(SelectRowsParams { at }, [key("select_rows", &[threads])]),
        checked!(SumRowsParams { at }, [key("sum_rows", &[threads])]),
    ]
}

#[cfg(test)]
mod tests;
