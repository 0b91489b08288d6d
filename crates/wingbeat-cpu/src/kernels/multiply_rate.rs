//! Nothing but multiply-adds, as many as the processor can: what the speed of products of many rows is held against.
//!
//! It is the inner loop of a product's tile (`tiles/`) without all that surrounds it: no unpacking, no packing, no
//! scales, and operands that never leave the first-level cache. Sums stay in registers.

use crate::{matrix::Form, simd::Words};
use std::hint::black_box;

/// Vectors of weights that meet the same activations.
const VECTORS: usize = 2;
/// Words of weights a lane that a step multiplies.
const WORDS: usize = 4;
/// Rows of activations; times [`VECTORS`] they are the sums under way. Which is best depends on the latency of a
/// multiply-add, on how many instructions one takes, and on how many registers there are: all are tried.
pub(crate) const ROWS: [usize; 4] = [3, 4, 5, MOST_ROWS];
const MOST_ROWS: usize = 8;
/// Lanes of the longest vectors.
const MOST_LANES: usize = 16;

/// A run of so many steps, and what came of it.
pub(crate) struct MultiplyRate {
    pub(crate) form: Form,
    /// One of [`ROWS`].
    pub(crate) rows: usize,
    pub(crate) steps: usize,
    /// `[word][lane]`
    pub(in crate::kernels) weights: [u32; WORDS * VECTORS * MOST_LANES],
    /// A word a row.
    pub(in crate::kernels) x: [u32; MOST_ROWS],
    /// Multiplications and additions, each counted.
    pub(crate) operations: u64,
    /// Of all products, so that none is superfluous.
    pub(crate) sum: f32,
}

impl MultiplyRate {
    pub(crate) fn new(form: Form, rows: usize, steps: usize) -> MultiplyRate {
        MultiplyRate {
            form,
            rows,
            steps,
            weights: std::array::from_fn(|i| word(form, i)),
            x: std::array::from_fn(|i| word(form, 7 * i + 3)),
            operations: 0,
            sum: 0.0,
        }
    }
}

/// Small numbers above zero, so that sums stay finite in floats and activations may count as signed or not.
fn word(form: Form, i: usize) -> u32 {
    let byte = |k: usize| ((37 * i + 11 * k) % 127 + 1) as u32;
    match form {
        Form::F32 => (byte(0) as f32 / 65536.0).to_bits(),
        Form::Int16 => (byte(0) << 3) | (byte(1) << 3 << 16),
        Form::Int8 => (0..4).fold(0, |word, k| word | byte(k) << (8 * k)),
    }
}

/// The whole run.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
pub(super) unsafe fn multiply_rate<S: Words>(args: &mut MultiplyRate) {
    const { assert!(S::LANES <= MOST_LANES) };
    // SAFETY: the caller's promise.
    unsafe {
        match args.rows {
            ..4 => run::<S, { ROWS[0] }>(args),
            4 => run::<S, { ROWS[1] }>(args),
            5..8 => run::<S, { ROWS[2] }>(args),
            _ => run::<S, { ROWS[3] }>(args),
        }
    }
}

/// # Safety
/// As [`multiply_rate`].
#[inline(always)]
unsafe fn run<S: Words, const M: usize>(args: &mut MultiplyRate) {
    // SAFETY: the caller's promise.
    let (sum, values) = unsafe {
        match args.form {
            Form::F32 => (floats::<S, M>(args), 1),
            Form::Int16 => (integers::<S, M, false>(args), 2),
            Form::Int8 => (integers::<S, M, true>(args), 4),
        }
    };
    args.sum = sum;
    args.operations = (2 * values * args.steps * WORDS * VECTORS * S::LANES * M) as u64;
}

/// # Safety
/// As [`multiply_rate`].
#[inline(always)]
unsafe fn integers<S: Words, const M: usize, const INT8: bool>(args: &MultiplyRate) -> f32 {
    // SAFETY: `weights` has room for the words of the longest vectors, `x` for the most rows.
    unsafe {
        let mut x = [S::zero(); M];
        for (x, word) in x.iter_mut().zip(&args.x) {
            *x = S::word((&raw const *word).cast());
        }
        let mut sums = [[S::zero(); VECTORS]; M];
        for _ in 0..args.steps {
            // Might have changed since the last step, for all that the compiler knows.
            let weights = black_box(args.weights.as_ptr());
            for word in 0..WORDS {
                let mut w = [S::zero(); VECTORS];
                for (v, w) in w.iter_mut().enumerate() {
                    *w = S::words(weights.add((word * VECTORS + v) * S::LANES).cast());
                }
                for (sums, x) in sums.iter_mut().zip(x) {
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = if INT8 { S::dot_int8(*sum, w, x) } else { S::dot_int16(*sum, w, x) };
                    }
                }
            }
        }
        let mut total = 0.0;
        for sum in sums.as_flattened() {
            total += S::sum(S::float(*sum));
        }
        total
    }
}

/// # Safety
/// As [`multiply_rate`].
#[inline(always)]
unsafe fn floats<S: Words, const M: usize>(args: &MultiplyRate) -> f32 {
    // SAFETY: as in `integers`.
    unsafe {
        let mut x = [S::splat(0.0); M];
        for (x, word) in x.iter_mut().zip(&args.x) {
            *x = S::splat(f32::from_bits(*word));
        }
        let mut sums = [[S::splat(0.0); VECTORS]; M];
        for _ in 0..args.steps {
            let weights = black_box(args.weights.as_ptr()).cast::<f32>();
            for word in 0..WORDS {
                let mut w = [S::splat(0.0); VECTORS];
                for (v, w) in w.iter_mut().enumerate() {
                    *w = S::load(weights.add((word * VECTORS + v) * S::LANES));
                }
                for (sums, x) in sums.iter_mut().zip(x) {
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = S::fma(w, x, *sum);
                    }
                }
            }
        }
        let mut total = 0.0;
        for sum in sums.as_flattened() {
            total += S::sum(*sum);
        }
        total
    }
}
