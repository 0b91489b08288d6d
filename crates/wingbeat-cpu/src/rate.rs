//! How fast this processor multiplies, all threads together, measured when it is asked for.

use crate::{
    CpuBackend,
    kernels::MultiplyRate,
    matrix::{Form, Matrix},
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};
use wingbeat_backend::{MatrixSource, Orientation};
use wingbeat_format::{Bytes, DType};

/// Time that a run takes at least, for threads to be awake and clocks to be exact.
const LEAST_SECONDS: f64 = 4e-3;
/// Runs of that length.
const RUNS: usize = 5;
/// Steps at most: far more than any processor does in that time.
const MOST_STEPS: usize = 1 << 28;

/// Operations a second of the best of several runs, in the arithmetic of products of many rows with matrices of `dtype`; none
/// where there are no such matrices.
pub(crate) fn multiply_rate(backend: &CpuBackend, dtype: DType) -> Option<f64> {
    let form = form(backend, dtype)?;
    let mut steps = 1 << 10;
    let mut run = || {
        let started = Instant::now();
        let operations = run(backend, form, steps);
        let seconds = started.elapsed().as_secs_f64();
        let enough = seconds >= LEAST_SECONDS || steps >= MOST_STEPS;
        if !enough {
            steps *= 2;
        }
        (enough, operations as f64 / seconds.max(1e-9))
    };
    // Until runs are long enough; clocks have risen by then.
    while !run().0 {}
    (0..RUNS).map(|_| run().1).reduce(f64::max)
}

/// The words that products of many rows with matrices of a type are made of.
fn form(backend: &CpuBackend, dtype: DType) -> Option<Form> {
    // A block of any type.
    const COLS: usize = 256;
    let source = MatrixSource {
        name: String::new(),
        dtype,
        rows: 1,
        cols: COLS,
        orientation: Orientation::RowMajor,
        sparse_input: false,
        data: Bytes::from_vec(vec![0; dtype.row_bytes(COLS)?]),
    };
    Matrix::new(&source, backend.kernels, backend.exact).ok().map(|matrix| matrix.form)
}

/// So many steps on each thread; how many operations that was.
fn run(backend: &CpuBackend, form: Form, steps: usize) -> u64 {
    let mut workers = backend.workers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let operations = AtomicU64::new(0);
    let n_threads = workers.pool.n_threads();
    workers.pool.run(n_threads, &|_, _| {
        let mut run = MultiplyRate::new(form, steps);
        // SAFETY: the table's instructions are there.
        unsafe { (backend.kernels.multiply_rate)(&mut run) };
        std::hint::black_box(run.sum);
        operations.fetch_add(run.operations, Ordering::Relaxed);
    });
    operations.into_inner()
}

#[cfg(test)]
mod tests;
