//! The operations of a pass, in terms of kernels and threads. They run when called.

mod linear;
mod recurrences;
mod rows;
mod shift;
mod sparse;
mod time_mix;

use linear::FLOAT_MIN_TOKENS;
pub(crate) use linear::{MAX_JOBS, Method, method};

use crate::{Buffer, CpuBackend, InputSquares, Matrix, State, Workers, kernels::Kernels};
use std::{ops::Range, sync::MutexGuard};
use wingbeat_backend::{
    BackendError, Batch, LayerNorm, Linear, Pass, ShiftLinear, SlabAt, States, TimeMixV7, V6Readout, V7Keys,
    V7Readout, Wkv4, Wkv6, Wkv7,
};

/// A pass on the CPU. It holds the backend's threads until it ends.
pub struct CpuPass<'a> {
    kernels: &'static Kernels,
    workers: MutexGuard<'a, Workers>,
    batch: &'a Batch,
    states: States<'a, State>,
    /// Rows of the buffers in use: the batch's, then the selected ones.
    n_rows: usize,
    /// Whether a row's results may not depend on how many there are.
    rows_alike: bool,
    /// Where the inputs of products are noted down.
    inputs: Option<&'a InputSquares>,
    /// Copies of matrices made so far, see `sparse.rs`.
    copies: usize,
    /// The first row of each sequence and its state, while they are looked at.
    first_rows: Vec<(usize, *const [f32])>,
}

impl<'a> CpuPass<'a> {
    pub(crate) fn new(
        kernels: &'static Kernels,
        workers: MutexGuard<'a, Workers>,
        inputs: Option<&'a InputSquares>,
        batch: &'a Batch,
        states: States<'a, State>,
    ) -> CpuPass<'a> {
        assert_eq!(batch.sequences().len(), states.len(), "one state a sequence");
        let (n_rows, rows_alike) = (batch.n_rows(), batch.rows_alike());
        let first_rows = Vec::new();
        CpuPass { kernels, workers, batch, states, n_rows, rows_alike, inputs, copies: 0, first_rows }
    }

    /// How many rows there are, for the choice of how to compute them: a few are like many where all are to be alike.
    fn n_rows_to_choose_by(&self) -> usize {
        if self.rows_alike { self.n_rows.max(FLOAT_MIN_TOKENS) } else { self.n_rows }
    }
}

impl Pass<CpuBackend> for CpuPass<'_> {
    fn embed(&mut self, table: &Matrix, x: &mut Buffer) {
        for (t, &token) in self.batch.tokens().iter().enumerate() {
            table.widen_row(self.kernels, token as usize, x.row_mut(t));
        }
    }

    fn layer_norm(&mut self, x: &Buffer, norm: &LayerNorm<CpuBackend>, y: &mut Buffer) {
        self.run_layer_norm(x, norm, y);
    }

    fn token_shift(&mut self, x: &Buffer, state: SlabAt, mixes: &[&Vec<f32>], ys: &mut [&mut Buffer]) {
        self.run_token_shift(x, state, mixes, ys);
    }

    fn linear(&mut self, jobs: &mut [Linear<'_, CpuBackend>]) {
        self.run_linear(jobs);
    }

    fn shift_linear(
        &mut self,
        x: &Buffer,
        norm: &LayerNorm<CpuBackend>,
        normed: &mut Buffer,
        state: SlabAt,
        mixes: &[&Vec<f32>],
        ys: &mut [&mut Buffer],
        jobs: &mut [ShiftLinear<'_, CpuBackend>],
    ) {
        self.run_shift_linear(x, norm, normed, state, mixes, ys, jobs);
    }

    fn v7_keys(&mut self, args: V7Keys<'_, CpuBackend>) {
        self.run_v7_keys(args);
    }

    fn wkv7(&mut self, args: Wkv7<'_, CpuBackend>) {
        self.run_wkv7(args);
    }

    fn v7_readout(&mut self, args: V7Readout<'_, CpuBackend>) {
        self.run_v7_readout(args);
    }

    fn time_mix_v7(&mut self, args: TimeMixV7<'_, CpuBackend>) {
        self.run_time_mix_v7(args);
    }

    fn wkv4(&mut self, args: Wkv4<'_, CpuBackend>) {
        self.run_wkv4(args);
    }

    fn wkv6(&mut self, args: Wkv6<'_, CpuBackend>) {
        self.run_wkv6(args);
    }

    fn v6_readout(&mut self, args: V6Readout<'_, CpuBackend>) {
        self.run_v6_readout(args);
    }

    fn lerp(&mut self, x: &Buffer, previous: &Buffer, mixes: &[&Vec<f32>], ys: &mut [&mut Buffer]) {
        self.run_lerp(x, previous, mixes, ys);
    }

    fn add_gated(&mut self, x: &mut Buffer, gate: &Buffer, y: &Buffer) {
        self.run_add_gated(x, gate, y);
    }

    fn scale(&mut self, x: &mut Buffer, factor: f32) {
        for t in 0..self.n_rows {
            x.row_mut(t).iter_mut().for_each(|x| *x *= factor);
        }
    }

    fn select_rows(&mut self, x: &Buffer, rows: &[usize], y: &mut Buffer) {
        for (i, &row) in rows.iter().enumerate() {
            y.row_mut(i).copy_from_slice(x.row(row));
        }
        self.n_rows = rows.len();
    }

    fn sum_rows(&mut self, x: &Buffer, ranges: &[Range<usize>], y: &mut Buffer) {
        for (i, range) in ranges.iter().enumerate() {
            let sum = y.row_mut(i);
            sum.fill(0.0);
            for t in range.clone() {
                sum.iter_mut().zip(x.row(t)).for_each(|(sum, x)| *sum += x);
            }
        }
    }

    fn submit(self) -> Result<(), BackendError> {
        Ok(())
    }
}
