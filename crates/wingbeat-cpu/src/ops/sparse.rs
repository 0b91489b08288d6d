//! Products with inputs that are mostly zero: only the weights of the others are read.

use super::CpuPass;
use crate::{
    CpuBackend,
    kernels::SparseProduct,
    pool::share,
    sparse::{RUN, SparseMatrix, is_supported},
};
use wingbeat_backend::{Activation, Linear};

/// The largest part of the inputs that may count. Trained models have a tenth, random weights a half; from about a third
/// on, by the operations it takes, dense products of several rows win.
const MOST_NON_ZERO: f32 = 0.3;

/// Rows of activations at most with quantized weights.
const MOST_TOKENS_QUANTIZED: usize = 2;

/// Rows of activations that are looked at to see how many inputs count.
const ROWS_LOOKED_AT: usize = 8;

/// Copies of matrices that a pass of many rows may make: one for so many. A pass of one row makes one, so that no token
/// waits long; a short prompt makes none, so that the first token doesn't.
const ROWS_A_COPY: usize = 32;

/// From how many rows of activations on threads share them, and not the outputs.
const SHARED_ROWS: usize = 16;

/// Shares of a thread when threads share rows.
const SHARES_A_THREAD: usize = 4;

impl CpuPass<'_> {
    /// Computes a product in this way if it pays, and says whether it did.
    pub(super) fn run_sparse(&mut self, job: &mut Linear<'_, CpuBackend>) -> bool {
        let (n_tokens, kernels) = (self.n_rows, self.kernels);
        let source = &job.weight.source;
        let add = match job.activation {
            Activation::Add => true,
            Activation::None => false,
            _ => return false,
        };
        assert_eq!((job.x.width, job.y.width), (source.cols, source.rows), "widths of {}", source.name);
        let x = &job.x.as_slice()[..n_tokens * source.cols];
        // Integers multiply several rows at four times the rate of floats: more than what is not read.
        let too_many = source.dtype.is_quantized() && self.n_rows_to_choose_by() > MOST_TOKENS_QUANTIZED;
        if too_many || !is_supported(source) {
            return false;
        }
        // What the others of a pass are like must not change a row that is to be alike.
        if !self.rows_alike && non_zero(x, source.cols) > MOST_NON_ZERO {
            return false;
        }
        let pool = &mut self.workers.pool;
        let most_copies = match n_tokens {
            _ if self.rows_alike => usize::MAX,
            1 => 1,
            n => n / ROWS_A_COPY,
        };
        let matrix = match job.weight.sparse.get() {
            Some(matrix) => matrix,
            None if self.copies >= most_copies => return false,
            None => {
                self.copies += 1;
                let Some(copy) = SparseMatrix::of(source, pool) else { return false };
                job.weight.sparse.get_or_init(|| copy)
            }
        };
        let y = job.y.shared();
        let n = pool.n_threads();
        let n_shares = if n_tokens < SHARED_ROWS { n } else { n * SHARES_A_THREAD };
        pool.run(n_shares, &|_, index| {
            let (tokens, outputs) = match n_tokens {
                0..SHARED_ROWS => (0..n_tokens, share(matrix.outputs, RUN, index, n_shares)),
                _ => (share(n_tokens, 1, index, n_shares), 0..matrix.outputs),
            };
            // SAFETY: shares don't overlap; the table's instructions are there.
            unsafe {
                if !add {
                    tokens.clone().for_each(|t| y.part(t, outputs.clone()).fill(0.0));
                }
                (kernels.sparse)(&SparseProduct { matrix, x, tokens, outputs, y });
            }
        });
        true
    }
}

/// The part of the values that is not zero, in a few of the rows.
fn non_zero(x: &[f32], cols: usize) -> f32 {
    let n_rows = x.len() / cols.max(1);
    let step = n_rows.div_ceil(ROWS_LOOKED_AT).max(1);
    let (mut n, mut of) = (0, 0);
    for row in x.chunks_exact(cols).step_by(step) {
        n += row.iter().filter(|&&x| x != 0.0).count();
        of += cols;
    }
    n as f32 / of.max(1) as f32
}
