//! Layer norm, token shift and the products of its results in one go: for many rows, the shifted inputs are packed while
//! they are in the first-level cache and never written down.

use super::{
    CpuPass,
    linear::{FLOAT_MIN_TOKENS, Job, MAX_JOBS, method, multiply},
};
use crate::{
    Buffer, CpuBackend,
    kernels::{PackedView, n_tiles, tile_rows},
    matrix::Form,
    ops::Method,
    pool::share,
};
use arrayvec::ArrayVec;
use wingbeat_backend::{LayerNorm, Linear, Pass, ShiftLinear, SlabAt};

/// A shifted input to pack: jobs that share it share the result.
struct Shifted<'a> {
    mix: usize,
    form: Form,
    to: PackedView<'a>,
}

impl CpuPass<'_> {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_shift_linear(
        &mut self,
        x: &Buffer,
        norm: &LayerNorm<CpuBackend>,
        normed: &mut Buffer,
        state: SlabAt,
        mixes: &[&Vec<f32>],
        ys: &mut [&mut Buffer],
        jobs: &mut [ShiftLinear<'_, CpuBackend>],
    ) {
        let (n_tokens, chosen_by) = (self.n_rows, self.n_rows_to_choose_by());
        // Shifted inputs that are never written down cannot be noted down either.
        if chosen_by < FLOAT_MIN_TOKENS || jobs.len() > MAX_JOBS || self.inputs.is_some() {
            self.norm_shift(x, norm, normed, state, mixes, ys);
            for jobs in jobs.chunks_mut(MAX_JOBS) {
                let mut linear = ArrayVec::<Linear<'_, CpuBackend>, MAX_JOBS>::new();
                for job in jobs {
                    linear.push(Linear::new(job.weight, &*ys[job.mix], &mut *job.y, job.activation));
                }
                self.run_linear(&mut linear);
            }
            return;
        }
        let (kernels, width, batch) = (self.kernels, x.width, self.batch);
        let crate::Workers { pool, scratch, packed } = &mut *self.workers;
        let mut room = packed.iter_mut();
        let mut shifted = ArrayVec::<Shifted<'_>, MAX_JOBS>::new();
        let mut products = ArrayVec::<Job<'_>, MAX_JOBS>::new();
        for job in jobs {
            let source = &job.weight.source;
            assert_eq!((width, job.y.width), (source.cols, source.rows), "widths of {}", source.name);
            let method = method(job.weight, chosen_by);
            let Method::Words(form) = method else { unreachable!("so many rows go through panels") };
            let there = shifted.iter().find(|s| s.form == form && s.mix == job.mix);
            let to = there.map(|s| s.to).unwrap_or_else(|| {
                let to = room.next().expect("room for every job").reserve(n_tokens, width, form.bytes());
                shifted.push(Shifted { mix: job.mix, form, to });
                to
            });
            let (weight, y, activation) = (job.weight, job.y.shared(), job.activation);
            products.push(Job { weight, method, x: &[], packed: Some(to), y, activation });
        }
        // Jobs with the same mix one after the other, so that it is shifted once.
        shifted.sort_by_key(|s| s.mix);
        // First rows of sequences need their states, which are written when all have been read.
        self.first_rows.clear();
        for (sequence, states) in batch.sequences().iter().zip(&mut self.states) {
            let last: *const [f32] = states.layer_mut(state.slab, state.layer);
            self.first_rows.push((sequence.first_row, last));
        }
        let first_rows = FirstRows(&self.first_rows);
        let n_tiles = n_tiles(n_tokens, kernels.tile_rows);
        let n_shares = n_tiles.min(pool.n_threads() * 4);
        let normed_rows = normed.shared();
        pool.run(n_shares, &|thread, index| {
            // Each thread locks its own; a panic leaves nothing behind but scratch memory.
            let scratch = &mut *scratch[thread].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for tile in share(n_tiles, 1, index, n_shares) {
                let rows = tile_rows(tile, n_tokens, kernels.tile_rows);
                scratch.rows.resize(((2 * rows.len() + 1) * width).max(scratch.rows.len()), 0.0);
                let (norms, values) = scratch.rows.split_at_mut((rows.len() + 1) * width);
                // The row before the tile, and the tile's.
                for (row, out) in (rows.start.saturating_sub(1)..rows.end)
                    .zip(norms.chunks_exact_mut(width).skip(usize::from(rows.start == 0)))
                {
                    // SAFETY: the table's instructions are there.
                    unsafe { (kernels.layer_norm)(x.row(row), &norm.weight, &norm.bias, norm.eps, out) };
                }
                let norms = &*norms;
                let norm_of = |i: usize| &norms[i * width..][..width];
                let mut mix = usize::MAX;
                for shifted in &shifted {
                    if shifted.mix != mix {
                        mix = shifted.mix;
                        for (i, out) in values.chunks_exact_mut(width).take(rows.len()).enumerate() {
                            let previous = first_rows.state(rows.start + i).unwrap_or(norm_of(i));
                            // SAFETY: the table's instructions are there.
                            unsafe { (kernels.shift)(norm_of(i + 1), previous, mixes[mix], out) };
                        }
                    }
                    // SAFETY: a tile is one share's; the table's instructions are there.
                    unsafe {
                        kernels.pack(shifted.form)(&values[..rows.len() * width], &shifted.to, rows.clone());
                    }
                }
                for row in
                    rows.clone().filter(|&row| row + 1 == n_tokens || first_rows.state(row + 1).is_some())
                {
                    // SAFETY: a row is one share's.
                    unsafe { normed_rows.part(row, 0..width) }.copy_from_slice(norm_of(row + 1 - rows.start));
                }
            }
        });
        for (sequence, states) in batch.sequences().iter().zip(&mut self.states) {
            let last = sequence.first_row + sequence.n_tokens - 1;
            states.layer_mut(state.slab, state.layer).copy_from_slice(normed.row(last));
        }
        multiply(kernels, pool, scratch, &products, n_tokens);
    }
}

/// The first row of every sequence, in order, and its state.
struct FirstRows<'a>(&'a [(usize, *const [f32])]);

// SAFETY: the states are only read, see `FirstRows::state`.
unsafe impl Sync for FirstRows<'_> {}

impl FirstRows<'_> {
    /// The state before row `t` if a sequence begins there.
    fn state(&self, t: usize) -> Option<&[f32]> {
        let at = self.0.binary_search_by_key(&t, |&(row, _)| row).ok()?;
        // SAFETY: the pass borrows the states, and none is written while this exists.
        Some(unsafe { &*self.0[at].1 })
    }
}
