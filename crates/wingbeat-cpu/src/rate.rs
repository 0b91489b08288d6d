//! How fast this processor multiplies, all threads together, measured when it is asked for.

use crate::{
    CpuBackend,
    kernels::{MULTIPLY_ROWS, MultiplyRate},
    matrix::{Form, Matrix},
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};
use wingbeat_backend::{MatrixSource, Orientation};
use wingbeat_format::{Bytes, DType};

/// Time that a run takes at least: long for threads that are awake, short beside what a system gives a program before
/// another's turn comes.
const LEAST_SECONDS: f64 = 5e-4;
/// Runs of that length for each number of rows.
const RUNS: usize = 16;
/// Steps at most: far more than any processor does in that time.
const MOST_STEPS: usize = 1 << 28;

/// Operations a second of the best of several runs, in the arithmetic of products of many rows with matrices of `dtype`; none
/// where there are no such matrices.
pub(crate) fn multiply_rate(backend: &CpuBackend, dtype: DType) -> Option<f64> {
    let form = form(backend, dtype)?;
    MULTIPLY_ROWS.into_iter().map(|rows| best(backend, form, rows)).reduce(f64::max)
}

/// Operations a second of the best run with so many rows.
fn best(backend: &CpuBackend, form: Form, rows: usize) -> f64 {
    let run = |steps| {
        let started = Instant::now();
        let operations = run(backend, form, rows, steps);
        (operations as f64, started.elapsed().as_secs_f64())
    };
    // Until runs are long enough; clocks have risen by then.
    let mut steps = 1 << 10;
    while run(steps).1 < LEAST_SECONDS && steps < MOST_STEPS {
        steps *= 2;
    }
    let rate = |(operations, seconds): (f64, f64)| operations / seconds.max(1e-9);
    (0..RUNS).map(|_| rate(run(steps))).fold(0.0, f64::max)
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
fn run(backend: &CpuBackend, form: Form, rows: usize, steps: usize) -> u64 {
    let mut workers = backend.workers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let operations = AtomicU64::new(0);
    let n_threads = workers.pool.n_threads();
    workers.pool.run(n_threads, &|_, _| {
        let mut run = MultiplyRate::new(form, rows, steps);
        // SAFETY: the table's instructions are there.
        unsafe { (backend.kernels.multiply_rate)(&mut run) };
        std::hint::black_box(run.sum);
        operations.fetch_add(run.operations, Ordering::Relaxed);
    });
    operations.into_inner()
}

#[cfg(test)]
mod tests;
