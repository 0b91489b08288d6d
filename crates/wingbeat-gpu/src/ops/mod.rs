//! The operations: which kernel, over which grid, with which parameters.

#[cfg(test)]
#[macro_use]
mod check;
mod bandwidth;
pub(crate) mod cooperative;
mod elementwise;
mod fork;
mod linear;
mod multiply_rate;
mod rows;
mod sample;
mod shift;
mod sparse;
pub(crate) mod time_mix;
mod trial;
mod wkv4;
mod wkv6;

use crate::{Buffer, GpuBackend, Matrix, Pass, Vector, kernels::Key, pass::Work, profile::Cost};
pub(crate) use bandwidth::read_bandwidth;
pub(crate) use fork::fork_state;
pub(crate) use linear::activation_precision;
pub(crate) use multiply_rate::multiply_rate;
pub(crate) use rows::carry_alone;
pub(crate) use sample::{BLOCK, FOUND_WORDS, Places, prepare, ranks, sample};
use std::ops::Range;
use wingbeat_backend::{
    BackendError, LayerNorm, Linear, LowRankMixV7, ShiftLinear, SlabAt, TimeMixV6, TimeMixV7, V6Readout,
    V7Keys, V7Readout, Wkv4, Wkv6, Wkv7,
};

/// Threads of kernels that copy rows.
const COPY_THREADS: u32 = 256;

/// Constants of kernels that sum over a workgroup of so many threads (lib/reduce.wgsl).
fn summing(subgroup: Option<u32>, threads: u32) -> [(&'static str, u32); 3] {
    let lanes = subgroup.filter(|lanes| threads.is_multiple_of(*lanes));
    [("THREADS", threads), ("SUBGROUP", u32::from(lanes.is_some())), ("LANES", lanes.unwrap_or(1))]
}

/// A kernel and its constants.
fn key(file: &'static str, constants: &[(&'static str, u32)]) -> Key {
    Key { file, constants: constants.to_vec() }
}

/// A kernel's run that touches neither weights nor states.
fn plain(key: Key, grid: [usize; 3], cost: Cost) -> Work<'static> {
    Work { key, grid, weights: None, state: None, cost }
}

/// The cost of moving some floats through a kernel that computes next to nothing.
fn moving(floats: usize) -> Cost {
    Cost { bytes: floats as u64 * 4, flops: floats as u64 }
}

impl Vector {
    /// Where it begins in the vectors.
    pub(crate) fn at(&self) -> u32 {
        self.offset
    }
}

impl wingbeat_backend::Pass<GpuBackend> for Pass<'_> {
    fn embed(&mut self, table: &Matrix, x: &mut Buffer) {
        rows::embed(self, table, x);
    }

    fn layer_norm(&mut self, x: &Buffer, norm: &LayerNorm<GpuBackend>, y: &mut Buffer) {
        rows::layer_norm(self, x, norm, y);
    }

    fn token_shift(&mut self, x: &Buffer, state: SlabAt, mixes: &[&Vector], ys: &mut [&mut Buffer]) {
        rows::token_shift(self, x, None, state, mixes, ys, false);
    }

    fn norm_shift(
        &mut self,
        x: &Buffer,
        norm: &LayerNorm<GpuBackend>,
        normed: &mut Buffer,
        state: SlabAt,
        mixes: &[&Vector],
        ys: &mut [&mut Buffer],
    ) {
        rows::token_shift(self, x, Some((norm, normed)), state, mixes, ys, false);
    }

    fn linear(&mut self, jobs: &mut [Linear<'_, GpuBackend>]) {
        linear::linear(self, jobs);
    }

    fn shift_linear(
        &mut self,
        x: &Buffer,
        norm: &LayerNorm<GpuBackend>,
        normed: &mut Buffer,
        state: SlabAt,
        mixes: &[&Vector],
        ys: &mut [&mut Buffer],
        jobs: &mut [ShiftLinear<'_, GpuBackend>],
    ) {
        if shift::shift_linear(self, x, norm, normed, state, mixes, jobs) {
            return;
        }
        // Products in cooperative matrices take halves as they are.
        let shared = &self.backend.shared;
        let halves = x.width.is_multiple_of(8)
            && jobs.iter().all(|job| linear::takes_halves(shared, job.weight, self.n_rows));
        rows::token_shift(self, x, Some((norm, normed)), state, mixes, ys, halves);
        if halves {
            self.leave_halves(ys.iter().map(|y| (y.at(), y.at())).collect());
        }
        let mut linear: Vec<Linear<'_, GpuBackend>> = jobs
            .iter_mut()
            .map(|job| Linear::new(job.weight, &*ys[job.mix], &mut *job.y, job.activation))
            .collect();
        linear::linear(self, &mut linear);
    }

    fn v7_keys(&mut self, args: V7Keys<'_, GpuBackend>) {
        time_mix::v7_keys(self, args);
    }

    fn wkv7(&mut self, args: Wkv7<'_, GpuBackend>) {
        time_mix::wkv7(self, args);
    }

    fn v7_readout(&mut self, args: V7Readout<'_, GpuBackend>) {
        time_mix::v7_readout(self, args, None);
    }

    fn time_mix_v7(&mut self, args: TimeMixV7<'_, GpuBackend>) {
        let halves = cooperative::result_halves(self, args.y);
        time_mix::step::time_mix_v7(self, args, halves.map(|(_, at)| time_mix::Half { at }));
        self.leave_halves(halves.into_iter().collect());
    }

    fn low_rank_mix_v7(&mut self, args: LowRankMixV7<'_, GpuBackend>) {
        let halves = cooperative::result_halves(self, args.y);
        time_mix::step::low_rank_mix_v7(self, args, halves.map(|(_, at)| time_mix::Half { at }));
        self.leave_halves(halves.into_iter().collect());
    }

    fn wkv4(&mut self, args: Wkv4<'_, GpuBackend>) {
        wkv4::wkv4(self, args);
    }

    fn wkv6(&mut self, args: Wkv6<'_, GpuBackend>) {
        wkv6::wkv6(self, args);
    }

    fn v6_readout(&mut self, args: V6Readout<'_, GpuBackend>) {
        // A word has two values of a head.
        let halves = cooperative::result_halves(self, args.y).filter(|_| args.head_size.is_multiple_of(2));
        wkv6::v6_readout(self, args, halves.map(|(_, at)| time_mix::Half { at }));
        self.leave_halves(halves.into_iter().collect());
    }

    fn time_mix_v6(&mut self, args: TimeMixV6<'_, GpuBackend>) {
        let (y, n) = (&*args.wkv.y, args.wkv.head_size);
        let halves = cooperative::result_halves(self, y).filter(|_| n.is_multiple_of(2));
        wkv6::time_mix_v6(self, args, halves.map(|(_, at)| time_mix::Half { at }));
        self.leave_halves(halves.into_iter().collect());
    }

    fn lerp(&mut self, x: &Buffer, previous: &Buffer, mixes: &[&Vector], ys: &mut [&mut Buffer]) {
        let halves: Option<Vec<(u32, u32)>> =
            ys.iter().map(|y| cooperative::result_halves(self, y)).collect();
        let places: Option<Vec<_>> =
            halves.as_ref().map(|halves| halves.iter().map(|(_, at)| time_mix::Half { at: *at }).collect());
        elementwise::lerp(self, x, previous, mixes, ys, places.as_deref());
        self.leave_halves(halves.unwrap_or_default());
    }

    fn add_gated(&mut self, x: &mut Buffer, gate: &Buffer, y: &Buffer) {
        elementwise::add_gated(self, x, gate, y);
    }

    fn scale(&mut self, x: &mut Buffer, factor: f32) {
        elementwise::scale(self, x, factor);
    }

    fn select_rows(&mut self, x: &Buffer, rows: &[usize], y: &mut Buffer) {
        rows::select_rows(self, x, rows, y);
    }

    fn sum_rows(&mut self, x: &Buffer, ranges: &[Range<usize>], y: &mut Buffer) {
        rows::sum_rows(self, x, ranges, y);
    }

    fn submit(self) -> Result<(), BackendError> {
        Pass::submit(self)
    }
}
