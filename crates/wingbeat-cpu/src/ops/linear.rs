//! Matrix products. A share is one contiguous part of every matrix's rows: a stream of its own through the mapped file.
//! Few rows of activations go through dot products on the stored type, many through panels of weight
//! rows that are widened once.

use super::CpuPass;
use crate::{
    CpuBackend, Scratch,
    buffer::SharedRows,
    kernels::{Columns, Epilogue, Kernels, MatVec, PANEL_ROWS, Panel, QuantRows},
    matrix::{Kind, Matrix},
    pool::share,
};
use std::ops::Range;
use wingbeat_backend::{Activation, Linear};

/// From how many rows of activations on widening a panel of weights pays, measured on RWKV-7 0.1b shapes: floats are
/// widened in a load, quantized blocks take several operations a value.
const PANEL_MIN_TOKENS_FLOAT: usize = 6;
const PANEL_MIN_TOKENS_INT8: usize = 10;

/// Whether a product with `n_tokens` rows of activations goes through panels.
pub(crate) fn uses_panels(kind: Kind, n_tokens: usize) -> bool {
    match kind {
        Kind::Columns(_) => false,
        Kind::Decoded => true,
        Kind::Float(_) => n_tokens >= PANEL_MIN_TOKENS_FLOAT,
        Kind::Int8(_) => n_tokens >= PANEL_MIN_TOKENS_INT8,
    }
}

/// Bytes of weights that several tokens meet before the next ones are read: a part of the second-level cache.
const BLOCK_BYTES: usize = 64 << 10;

/// Shares are cut at multiples of this many rows: a cache line of outputs.
const SHARE_ROWS: usize = 16;

/// Shares that a thread takes of a long region, so that one which loses its core for a while holds nobody up for long.
const SHARES_A_THREAD: usize = 4;

/// A job as the threads see it.
struct Job<'a> {
    weight: &'a Matrix,
    /// `(n_tokens, cols)`
    x: &'a [f32],
    y: SharedRows<'a>,
    activation: Activation<'a, CpuBackend>,
}

impl CpuPass<'_> {
    pub(super) fn run_linear(&mut self, jobs: &mut [Linear<'_, CpuBackend>]) {
        let n_tokens = self.n_rows;
        let jobs: Vec<Job<'_>> = jobs
            .iter_mut()
            .map(|job| {
                let source = &job.weight.source;
                assert_eq!(
                    (job.x.width, job.y.width),
                    (source.cols, source.rows),
                    "widths of {}",
                    source.name
                );
                Job {
                    weight: job.weight,
                    x: &job.x.as_slice()[..n_tokens * source.cols],
                    y: job.y.shared(),
                    activation: job.activation,
                }
            })
            .collect();
        let crate::Workers { pool, scratch } = &mut *self.workers;
        let kernels = self.kernels;
        // One row of activations: one stream a thread, which memory likes best. Many: shares that even out.
        let n_shares = match pool.n_threads() {
            1 => 1,
            n if n_tokens < PANEL_MIN_TOKENS_FLOAT => n,
            n => n * SHARES_A_THREAD,
        };
        pool.run(n_shares, &|thread, share_index| {
            // Each thread locks its own; a panic leaves nothing behind but scratch memory.
            let scratch = &mut *scratch[thread].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for job in &jobs {
                let rows = share(job.weight.source.rows, SHARE_ROWS, share_index, n_shares);
                if !rows.is_empty() {
                    // SAFETY: shares of different threads don't overlap.
                    unsafe { job.run(kernels, rows, n_tokens, scratch) };
                }
            }
        });
    }
}

impl Job<'_> {
    /// Computes `rows` of the product for all tokens.
    ///
    /// # Safety
    /// No other thread touches columns `rows` of `y`.
    unsafe fn run(&self, kernels: &Kernels, rows: Range<usize>, n_tokens: usize, scratch: &mut Scratch) {
        let cols = self.weight.source.cols;
        let add = matches!(self.activation, Activation::Add);
        if uses_panels(self.weight.kind, n_tokens) {
            // SAFETY: the caller's promise.
            unsafe { self.run_panels(kernels, rows.clone(), n_tokens, scratch) };
        } else {
            let Scratch { quantized, product, .. } = scratch;
            if matches!(self.weight.kind, Kind::Int8(_)) {
                quantized.reserve(n_tokens, cols);
                for (t, x) in self.x.chunks_exact(cols).enumerate() {
                    // SAFETY: the table's instructions are there.
                    unsafe { (kernels.quantize)(x, quantized, t) };
                }
            }
            product.resize(rows.len().max(product.len()), 0.0);
            // Several tokens meet a block of rows while it is in the cache; one token streams through all of them.
            let block_rows = match n_tokens {
                1 => rows.len(),
                _ => (BLOCK_BYTES / self.weight.row_bytes).max(1),
            };
            for first in rows.clone().step_by(block_rows) {
                let block = first..(first + block_rows).min(rows.end);
                for t in 0..n_tokens {
                    // SAFETY: the caller's promise.
                    let y = unsafe { self.y.part(t, block.clone()) };
                    if add {
                        let product = &mut product[..block.len()];
                        self.multiply(block.clone(), t, quantized, product);
                        // SAFETY: the table's instructions are there.
                        unsafe { (kernels.add)(y, product) };
                    } else {
                        self.multiply(block.clone(), t, quantized, y);
                    }
                }
            }
        }
        let epilogue = match self.activation {
            Activation::None | Activation::Add => return,
            Activation::Tanh => Epilogue::Tanh,
            Activation::Sigmoid => Epilogue::Sigmoid,
            Activation::ReluSquared => Epilogue::ReluSquared,
            Activation::BiasSigmoid(bias) => Epilogue::BiasSigmoid(&bias[rows.clone()]),
            Activation::BiasDecay(bias) => Epilogue::BiasDecay(&bias[rows.clone()]),
        };
        for t in 0..n_tokens {
            // SAFETY: the caller's promise; the table's instructions are there.
            unsafe { (kernels.activate)(self.y.part(t, rows.clone()), epilogue) };
        }
    }

    /// `out = W[rows] x[t]`, on the stored type.
    fn multiply(&self, rows: Range<usize>, t: usize, quantized: &QuantRows, out: &mut [f32]) {
        let cols = self.weight.source.cols;
        let x = &self.x[t * cols..][..cols];
        let (weights, row_bytes) = (&self.weight.source.data[..], self.weight.row_bytes);
        // SAFETY: the kernels are of the table, whose instructions are there; they check lengths.
        unsafe {
            match self.weight.kind {
                Kind::Float(kernel) => kernel(&mut MatVec { weights, row_bytes, rows, x, q: None, out }),
                Kind::Int8(kernel) => {
                    kernel(&mut MatVec { weights, row_bytes, rows, x, q: Some((quantized, t)), out });
                }
                Kind::Columns(kernel) => kernel(&mut Columns { weights, row_bytes, rows, x, out }),
                Kind::Decoded => unreachable!("decoded matrices go through panels"),
            }
        }
    }

    /// Panel after panel of the rows.
    ///
    /// # Safety
    /// As [`Job::run`].
    unsafe fn run_panels(
        &self,
        kernels: &Kernels,
        rows: Range<usize>,
        n_tokens: usize,
        scratch: &mut Scratch,
    ) {
        let cols = self.weight.source.cols;
        scratch.panel.resize((PANEL_ROWS * cols).max(scratch.panel.len()), 0.0);
        for first_row in rows.clone().step_by(PANEL_ROWS) {
            let n_rows = PANEL_ROWS.min(rows.end - first_row);
            for (i, row) in scratch.panel.chunks_exact_mut(cols).take(n_rows).enumerate() {
                self.weight.widen_row(kernels, first_row + i, row);
            }
            let panel = Panel {
                weights: &scratch.panel,
                n_rows,
                x: self.x,
                cols,
                n_tokens,
                first_row,
                y: self.y,
                add: matches!(self.activation, Activation::Add),
            };
            // SAFETY: the table's instructions are there; the caller's promise.
            unsafe { (kernels.panel)(&panel) };
        }
    }
}
