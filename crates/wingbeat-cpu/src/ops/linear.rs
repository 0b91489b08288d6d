//! Matrix products. A share is one contiguous part of every matrix's rows: a stream of its own through the mapped file.
//!
//! One row of activations, or a few and float weights, go through dot products on the stored type. More go through
//! panels: weights that are unpacked once, into words of int8, int16 or f32, and meet all of them.

use super::CpuPass;
use crate::{
    CpuBackend, Scratch,
    buffer::SharedRows,
    kernels::{
        Columns, Epilogue, Kernels, MatMany, MatVec, PackedView, PanelSource, QuantRows, Tiles, n_tiles,
        panels, tile_rows,
    },
    matrix::{Form, Kind, Matrix},
    pool::{Pool, share},
};
use arrayvec::ArrayVec;
use std::{ops::Range, sync::Mutex};
use wingbeat_backend::{Activation, Linear};

/// From how many rows of activations on making panels pays, measured on RWKV-7 0.1b shapes.
const INT8_MIN_TOKENS: usize = 2;
pub(super) const FLOAT_MIN_TOKENS: usize = 16;

/// How a product is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    /// Dot products on the stored type.
    Stored,
    /// Panels of words.
    Words(Form),
}

/// How a product with `n_tokens` rows of activations is computed.
pub(crate) fn method(weight: &Matrix, n_tokens: usize) -> Method {
    let min_tokens = match weight.kind {
        Kind::Decoded => 0,
        Kind::Int8(_) => INT8_MIN_TOKENS,
        Kind::Float(..) | Kind::Columns(_) => FLOAT_MIN_TOKENS,
    };
    if n_tokens >= min_tokens { Method::Words(weight.form) } else { Method::Stored }
}

/// Bytes of weights that several tokens meet before the next ones are read: a part of the second-level cache.
const BLOCK_BYTES: usize = 64 << 10;

/// Shares are cut at multiples of this many rows: two vectors of the longest kind, two cache lines of outputs.
const SHARE_ROWS: usize = 32;

/// Shares that a thread takes of a long region, so that one which loses its core for a while holds nobody up for long.
const SHARES_A_THREAD: usize = 4;

/// Products in one call at most: more than any layer has at once.
pub(crate) const MAX_JOBS: usize = 16;

/// A job as the threads see it.
pub(super) struct Job<'a> {
    pub(super) weight: &'a Matrix,
    pub(super) method: Method,
    /// `(n_tokens, cols)`; not looked at where they are packed.
    pub(super) x: &'a [f32],
    /// The same as words, for that method.
    pub(super) packed: Option<PackedView<'a>>,
    pub(super) y: SharedRows<'a>,
    pub(super) activation: Activation<'a, CpuBackend>,
}

/// Activations to pack: jobs that share their `x` share the result.
struct Pack<'a> {
    x: &'a [f32],
    form: Form,
    to: PackedView<'a>,
}

impl CpuPass<'_> {
    pub(super) fn run_linear(&mut self, jobs: &mut [Linear<'_, CpuBackend>]) {
        if let Some(inputs) = self.inputs {
            for job in &*jobs {
                inputs.add(&job.weight.source.name, job.weight.source.cols, job.x, self.n_rows);
            }
        }
        if let [job] = jobs
            && job.sparse_x
            && self.run_sparse(job)
        {
            return;
        }
        for jobs in jobs.chunks_mut(MAX_JOBS) {
            self.run_jobs(jobs);
        }
    }

    fn run_jobs(&mut self, jobs: &mut [Linear<'_, CpuBackend>]) {
        let (n_tokens, chosen_by) = (self.n_rows, self.n_rows_to_choose_by());
        let kernels = self.kernels;
        let crate::Workers { pool, scratch, packed } = &mut *self.workers;
        let mut room = packed.iter_mut();
        let mut packs = ArrayVec::<Pack<'_>, MAX_JOBS>::new();
        let jobs: ArrayVec<Job<'_>, MAX_JOBS> = jobs
            .iter_mut()
            .map(|job| {
                let source = &job.weight.source;
                let widths = (job.x.width, job.y.width);
                assert_eq!(widths, (source.cols, source.rows), "widths of {}", source.name);
                let x = &job.x.as_slice()[..n_tokens * source.cols];
                let method = method(job.weight, chosen_by);
                let packed = match method {
                    Method::Words(form) => {
                        let there = packs.iter().find(|pack| pack.form == form && std::ptr::eq(pack.x, x));
                        Some(there.map(|pack| pack.to).unwrap_or_else(|| {
                            let room = room.next().expect("room for every job");
                            let to = room.reserve(n_tokens, source.cols, form.bytes());
                            packs.push(Pack { x, form, to });
                            to
                        }))
                    }
                    _ => None,
                };
                Job { weight: job.weight, method, x, packed, y: job.y.shared(), activation: job.activation }
            })
            .collect();
        if !packs.is_empty() {
            let n_shares = pool.n_threads();
            pool.run(n_shares, &|_, index| {
                let n_tiles = n_tiles(n_tokens, kernels.tile_rows);
                for unit in share(packs.len() * n_tiles, 1, index, n_shares) {
                    let pack = &packs[unit / n_tiles];
                    let rows = tile_rows(unit % n_tiles, n_tokens, kernels.tile_rows);
                    let x = &pack.x[rows.start * pack.to.cols..rows.end * pack.to.cols];
                    // SAFETY: a tile is one share's; the table's instructions are there.
                    unsafe { kernels.pack(pack.form)(x, &pack.to, rows) };
                }
            });
        }
        multiply(kernels, pool, scratch, &jobs, n_tokens);
    }
}

/// Computes all products; activations are packed where their method wants it.
pub(super) fn multiply(
    kernels: &Kernels,
    pool: &mut Pool,
    scratch: &[Mutex<Scratch>],
    jobs: &[Job<'_>],
    n_tokens: usize,
) {
    // One row of activations: one stream a thread, which memory likes best. Many: shares that even out.
    let n_shares = match pool.n_threads() {
        1 => 1,
        n if n_tokens == 1 => n,
        n => n * SHARES_A_THREAD,
    };
    pool.run(n_shares, &|thread, index| {
        // Matrices of few rows fall to the last shares: these go first, so that none of them is what all wait for.
        let share_index = n_shares - 1 - index;
        // Each thread locks its own; a panic leaves nothing behind but scratch memory.
        let scratch = &mut *scratch[thread].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for job in jobs {
            let rows = share(job.weight.source.rows, SHARE_ROWS, share_index, n_shares);
            if !rows.is_empty() {
                // SAFETY: shares of different threads don't overlap.
                unsafe { job.run(kernels, rows, n_tokens, scratch) };
            }
        }
    });
}

impl Job<'_> {
    /// Computes `rows` of the product for all tokens.
    ///
    /// # Safety
    /// No other thread touches columns `rows` of `y`.
    unsafe fn run(&self, kernels: &Kernels, rows: Range<usize>, n_tokens: usize, scratch: &mut Scratch) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.method {
                Method::Stored => self.run_stored(kernels, rows.clone(), n_tokens, scratch),
                Method::Words(form) => self.run_words(kernels, form, rows.clone(), n_tokens, scratch),
            }
        }
        let epilogue = match self.activation {
            Activation::None | Activation::Add => return,
            Activation::Tanh => Epilogue::Tanh,
            Activation::Sigmoid => Epilogue::Sigmoid,
            Activation::ReluSquared => Epilogue::ReluSquared,
            Activation::BiasSigmoid(bias) => Epilogue::BiasSigmoid(&bias[rows.clone()]),
            Activation::BiasDecay(bias) => Epilogue::BiasDecay(&bias[rows.clone()]),
            Activation::Silu => Epilogue::Silu,
            Activation::BiasExpDecay(bias) => Epilogue::BiasExpDecay(&bias[rows.clone()]),
        };
        for t in 0..n_tokens {
            // SAFETY: the caller's promise; the table's instructions are there.
            unsafe { (kernels.activate)(self.y.part(t, rows.clone()), epilogue) };
        }
    }

    /// Dot products on the stored type.
    ///
    /// # Safety
    /// As [`Job::run`].
    unsafe fn run_stored(
        &self,
        kernels: &Kernels,
        rows: Range<usize>,
        n_tokens: usize,
        scratch: &mut Scratch,
    ) {
        let cols = self.weight.source.cols;
        let add = matches!(self.activation, Activation::Add);
        if let (Kind::Float(_, kernel), 2..) = (self.weight.kind, n_tokens) {
            let (weights, row_bytes) = (&self.weight.source.data[..], self.weight.row_bytes);
            // SAFETY: the table's instructions are there; the caller's promise.
            return unsafe { kernel(&MatMany { weights, row_bytes, rows, x: self.x, cols, y: self.y, add }) };
        }
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

    /// `out = W[rows] x[t]`, on the stored type.
    fn multiply(&self, rows: Range<usize>, t: usize, quantized: &QuantRows, out: &mut [f32]) {
        let cols = self.weight.source.cols;
        let x = &self.x[t * cols..][..cols];
        let (weights, row_bytes) = (&self.weight.source.data[..], self.weight.row_bytes);
        // SAFETY: the kernels are of the table, whose instructions are there; they check lengths.
        unsafe {
            match self.weight.kind {
                Kind::Float(kernel, _) => kernel(&mut MatVec { weights, row_bytes, rows, x, q: None, out }),
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
    unsafe fn run_words(
        &self,
        kernels: &Kernels,
        form: Form,
        rows: Range<usize>,
        n_tokens: usize,
        scratch: &mut Scratch,
    ) {
        let source = &self.weight.source;
        let add = matches!(self.activation, Activation::Add);
        let x = self.packed.expect("activations of this method are packed");
        for first_row in rows.clone().step_by(kernels.word_panel_rows) {
            let panel_rows = first_row..(first_row + kernels.word_panel_rows).min(rows.end);
            let mut panels = panels(source.cols, form.bytes()).peekable();
            let first = panels.peek().cloned().unwrap_or(0..0);
            while let Some(cols) = panels.next() {
                let bytes = |cols: usize| cols / source.dtype.block_len() * source.dtype.block_bytes();
                let (to_next, next_bytes) = match panels.peek() {
                    Some(next) => (bytes(next.start - cols.start), bytes(next.len())),
                    None => (
                        kernels.word_panel_rows * self.weight.row_bytes - bytes(cols.start),
                        bytes(first.len()),
                    ),
                };
                let panel = PanelSource {
                    dtype: source.dtype,
                    weights: &source.data,
                    row_bytes: self.weight.row_bytes,
                    transposed: matches!(self.weight.kind, Kind::Columns(_)),
                    rows: panel_rows.clone(),
                    cols: cols.clone(),
                    to_next,
                    next_bytes,
                };
                let (make, multiply) = match form {
                    Form::Int8 => (kernels.panel_of_int8, kernels.int8_panel),
                    Form::Int16 => (kernels.panel_of_int16, kernels.int16_panel),
                    Form::F32 => (kernels.panel_of_f32, kernels.f32_panel),
                };
                // SAFETY: the table's instructions are there; the activations were packed in this form; the caller's
                // promise.
                unsafe {
                    make(&panel, &mut scratch.panel);
                    multiply(&Tiles {
                        panel: &scratch.panel,
                        dtype: source.dtype,
                        n_rows: panel_rows.len(),
                        add: add || cols.start > 0,
                        cols,
                        x,
                        n_tokens,
                        first_row,
                        y: self.y,
                    });
                }
            }
        }
    }
}
