//! Operations whose rows are independent, or nearly: layer norm, token shift, and what is done value by value.

use super::CpuPass;
use crate::{Buffer, CpuBackend, buffer::SharedRows, pool::share};
use arrayvec::ArrayVec;
use wingbeat_backend::{LayerNorm, SlabAt};

/// Results of a token shift: no version has more than the fused one's six.
type SmallRows<'a> = ArrayVec<SharedRows<'a>, 16>;

/// Below this many rows a parallel region costs more than it saves.
const PARALLEL_ROWS: usize = 4;

impl CpuPass<'_> {
    /// Runs `row(t)` for every row, on all threads if there are enough rows.
    fn for_each_row(&mut self, row: &(dyn Fn(usize) + Sync)) {
        let n_rows = self.n_rows;
        let pool = &mut self.workers.pool;
        if n_rows < PARALLEL_ROWS {
            return (0..n_rows).for_each(row);
        }
        let n_shares = pool.n_threads();
        pool.run(n_shares, &|_, index| share(n_rows, 1, index, n_shares).for_each(row));
    }

    pub(super) fn run_layer_norm(&mut self, x: &Buffer, norm: &LayerNorm<CpuBackend>, y: &mut Buffer) {
        let (kernels, width, y) = (self.kernels, x.width, y.shared());
        self.for_each_row(&|t| {
            // SAFETY: every row is one thread's; the table's instructions are there.
            unsafe {
                (kernels.layer_norm)(x.row(t), &norm.weight, &norm.bias, norm.eps, y.part(t, 0..width))
            };
        });
    }

    pub(super) fn run_token_shift(
        &mut self,
        x: &Buffer,
        state: SlabAt,
        mixes: &[&Vec<f32>],
        ys: &mut [&mut Buffer],
    ) {
        assert_eq!(mixes.len(), ys.len(), "one mix a result");
        let (kernels, width, batch) = (self.kernels, x.width, self.batch);
        let ys: SmallRows<'_> = ys.iter_mut().map(|y| y.shared()).collect();
        let shift = |t: usize, previous: &[f32]| {
            for (mix, y) in mixes.iter().zip(&ys) {
                // SAFETY: every row is one thread's; the table's instructions are there.
                unsafe { (kernels.shift)(x.row(t), previous, mix, y.part(t, 0..width)) };
            }
        };
        // First rows need the states, which then take the last rows.
        for (sequence, states) in batch.sequences().iter().zip(&mut self.states) {
            let last = states.layer_mut(state.slab, state.layer);
            shift(sequence.first_row, last);
            last.copy_from_slice(x.row(sequence.first_row + sequence.n_tokens - 1));
        }
        if batch.sequences().len() < self.n_rows {
            self.for_each_row(&|t| {
                if batch.sequences().binary_search_by_key(&t, |s| s.first_row).is_err() {
                    shift(t, x.row(t - 1));
                }
            });
        }
    }

    pub(super) fn run_lerp(
        &mut self,
        x: &Buffer,
        previous: &Buffer,
        mixes: &[&Vec<f32>],
        ys: &mut [&mut Buffer],
    ) {
        assert_eq!(mixes.len(), ys.len(), "one mix a result");
        let (kernels, width) = (self.kernels, x.width);
        let ys: SmallRows<'_> = ys.iter_mut().map(|y| y.shared()).collect();
        self.for_each_row(&|t| {
            for (mix, y) in mixes.iter().zip(&ys) {
                // SAFETY: every row is one thread's; the table's instructions are there.
                unsafe { (kernels.lerp)(x.row(t), previous.row(t), mix, y.part(t, 0..width)) };
            }
        });
    }

    pub(super) fn run_add_gated(&mut self, x: &mut Buffer, gate: &Buffer, y: &Buffer) {
        let (kernels, width, x) = (self.kernels, x.width, x.shared());
        self.for_each_row(&|t| {
            // SAFETY: every row is one thread's; the table's instructions are there.
            unsafe { (kernels.add_gated)(x.part(t, 0..width), gate.row(t), y.row(t)) };
        });
    }
}
