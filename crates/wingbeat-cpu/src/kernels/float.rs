//! Products with float matrices in their stored type: rows (`W x`), columns (`x Wᵀ` of a transposed matrix), and
//! widening of a row to f32.

use super::MatVec;
use crate::{
    buffer::SharedRows,
    simd::{Simd, prefetch},
};
use half::{bf16, f16};
use std::ops::Range;

/// A stored float type.
pub(crate) trait FloatType {
    const BYTES: usize;
    /// # Safety
    /// `p` must be valid for `S::LANES` values, and the instructions of `S` there.
    unsafe fn load<S: Simd>(p: *const u8) -> S::V;
    /// # Safety
    /// `p` must be valid for one value.
    unsafe fn scalar(p: *const u8) -> f32;
}

macro_rules! float_type {
    ($name:ident, $bytes:expr, $load:expr, $bits:ty, $scalar:expr) => {
        /// A stored float type.
        pub(crate) struct $name;
        impl FloatType for $name {
            const BYTES: usize = $bytes;
            #[inline(always)]
            unsafe fn load<S: Simd>(p: *const u8) -> S::V {
                // SAFETY: the caller's pointer is valid for all lanes.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn scalar(p: *const u8) -> f32 {
                // SAFETY: the caller's pointer is valid for one value.
                $scalar(unsafe { p.cast::<$bits>().read_unaligned() })
            }
        }
    };
}
float_type!(F32, 4, |p: *const u8| S::load(p.cast()), u32, f32::from_bits);
float_type!(F16, 2, S::load_f16, u16, |bits| f16::from_bits(bits).to_f32());
float_type!(Bf16, 2, S::load_bf16, u16, |bits| bf16::from_bits(bits).to_f32());

/// Rows of `W x`, one row at a time: a thread then reads one contiguous stream, which is what memory likes best
/// (interleaving rows loses a factor of two to three).
#[inline(always)]
pub(super) unsafe fn matvec<S: Simd, W: FloatType>(args: &mut MatVec<'_>) {
    let cols = args.x.len();
    assert!(args.row_bytes >= cols * W::BYTES && args.out.len() == args.rows.len());
    assert!(
        args.rows.is_empty() || args.weights.len() >= (args.rows.end - 1) * args.row_bytes + cols * W::BYTES
    );
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: the row lies inside the matrix, checked above.
        *out = unsafe { dot::<S, W>(args.weights.as_ptr().add(row * args.row_bytes), args.x) };
    }
}

/// `Σ w[i] x[i]`; `w` holds `x.len()` values.
#[inline(always)]
unsafe fn dot<S: Simd, W: FloatType>(w: *const u8, x: &[f32]) -> f32 {
    const UNROLL: usize = 4;
    let n = x.len();
    let step = UNROLL * S::LANES;
    // SAFETY: `i` stays below `x.len()`, and `w` holds as many values.
    unsafe {
        let mut sums = [S::splat(0.0); UNROLL];
        let mut i = 0;
        while i + step <= n {
            for (u, sum) in sums.iter_mut().enumerate() {
                let at = i + u * S::LANES;
                *sum = S::fma(W::load::<S>(w.add(at * W::BYTES)), S::load(x.as_ptr().add(at)), *sum);
            }
            i += step;
        }
        while i + S::LANES <= n {
            sums[0] = S::fma(W::load::<S>(w.add(i * W::BYTES)), S::load(x.as_ptr().add(i)), sums[0]);
            i += S::LANES;
        }
        let mut sum = S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
        while i < n {
            sum += W::scalar(w.add(i * W::BYTES)) * x[i];
            i += 1;
        }
        sum
    }
}

/// Rows of activations that a row of weights meets at a time: what the registers hold of sums.
pub(crate) const MANY: usize = 8;

/// Products of some rows of a row-major matrix with a few vectors.
pub(crate) struct MatMany<'a> {
    /// The whole matrix.
    pub(crate) weights: &'a [u8],
    /// Bytes from row to row.
    pub(crate) row_bytes: usize,
    /// Rows to compute.
    pub(crate) rows: Range<usize>,
    /// The vectors `(n, cols)`.
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    /// `(n, all rows)`
    pub(crate) y: SharedRows<'a>,
    /// Whether the products are added to `y`.
    pub(crate) add: bool,
}

/// Bytes that weights are asked for ahead of their use: between so much arithmetic the processor does not see far
/// enough by itself. Gained a seventh with eight vectors; streams that meet one vector gain nothing.
const MANY_AHEAD: usize = 4096;

/// Columns that all vectors have in the first-level cache at once.
const MANY_COLS: usize = 1024;

/// Rows whose sums are kept until all their columns are through.
const MANY_ROWS: usize = 64;

/// Each row of weights is read and widened once for up to [`MANY`] vectors.
///
/// # Safety
/// The instructions of `S` are there, and no other thread touches these rows of `y`.
#[inline(always)]
pub(super) unsafe fn matmany<S: Simd, W: FloatType>(args: &MatMany<'_>) {
    let MatMany { weights, row_bytes, x, cols, .. } = *args;
    assert!(row_bytes >= cols * W::BYTES && args.rows.end * row_bytes <= weights.len() && cols > 0);
    let n = x.len() / cols;
    for first_row in args.rows.clone().step_by(MANY_ROWS) {
        let rows = first_row..(first_row + MANY_ROWS).min(args.rows.end);
        for first in (0..n).step_by(MANY) {
            let tokens = first..(first + MANY).min(n);
            let x = &x[first * cols..tokens.end * cols];
            let mut sums = [[0.0; MANY]; MANY_ROWS];
            for col in (0..cols).step_by(MANY_COLS) {
                let part = MANY_COLS.min(cols - col);
                for (row, sums) in rows.clone().zip(&mut sums) {
                    // SAFETY: the row and the vectors lie inside their slices, checked above.
                    unsafe {
                        let w = weights.as_ptr().add(row * row_bytes + col * W::BYTES);
                        let x = x.as_ptr().add(col);
                        match tokens.len() {
                            1 => dots::<S, W, 1>(w, x, cols, part, sums),
                            2 => dots::<S, W, 2>(w, x, cols, part, sums),
                            3 => dots::<S, W, 3>(w, x, cols, part, sums),
                            4 => dots::<S, W, 4>(w, x, cols, part, sums),
                            5 => dots::<S, W, 5>(w, x, cols, part, sums),
                            6 => dots::<S, W, 6>(w, x, cols, part, sums),
                            7 => dots::<S, W, 7>(w, x, cols, part, sums),
                            _ => dots::<S, W, MANY>(w, x, cols, part, sums),
                        }
                    }
                }
            }
            for (i, t) in tokens.enumerate() {
                // SAFETY: the caller's promise.
                let y = unsafe { args.y.part(t, rows.clone()) };
                for (y, sums) in y.iter_mut().zip(&sums) {
                    *y = if args.add { *y + sums[i] } else { sums[i] };
                }
            }
        }
    }
}

/// Adds the dot products of `n` weights with `M` vectors that are `stride` apart to `out`.
///
/// # Safety
/// The instructions of `S` are there, `w` holds `n` values and so does each vector.
#[inline(always)]
unsafe fn dots<S: Simd, W: FloatType, const M: usize>(
    w: *const u8,
    x: *const f32,
    stride: usize,
    n: usize,
    out: &mut [f32; MANY],
) {
    // SAFETY: `i` stays below `n`; the caller's promise.
    unsafe {
        let mut sums = [S::splat(0.0); M];
        let mut i = 0;
        while i + S::LANES <= n {
            prefetch(w.wrapping_add(i * W::BYTES + MANY_AHEAD));
            let weights = W::load::<S>(w.add(i * W::BYTES));
            for (m, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(weights, S::load(x.add(m * stride + i)), *sum);
            }
            i += S::LANES;
        }
        for (m, sum) in sums.into_iter().enumerate() {
            let mut sum = S::sum(sum);
            for i in i..n {
                sum += W::scalar(w.add(i * W::BYTES)) * *x.add(m * stride + i);
            }
            out[m] += sum;
        }
    }
}

/// A product with a transposed matrix `Wᵀ (cols, rows)`: `out[r] = Σ_c x[c] Wᵀ[c, r]`.
pub(crate) struct Columns<'a> {
    /// The whole stored matrix.
    pub(crate) weights: &'a [u8],
    /// Bytes from stored row to stored row.
    pub(crate) row_bytes: usize,
    /// Outputs to compute.
    pub(crate) rows: Range<usize>,
    /// The vector `(cols)`.
    pub(crate) x: &'a [f32],
    /// `(rows.len())`.
    pub(crate) out: &'a mut [f32],
}

/// Outputs along the lanes, accumulators in registers over all of `x`: no horizontal sums.
#[inline(always)]
pub(super) unsafe fn columns<S: Simd, W: FloatType>(args: &mut Columns<'_>) {
    const WIDE: usize = 4;
    assert!(args.row_bytes >= args.rows.end * W::BYTES && args.out.len() == args.rows.len());
    assert!(args.weights.len() >= args.x.len() * args.row_bytes);
    let start = args.rows.start;
    let n = args.rows.len();
    let mut i = 0;
    // SAFETY: `start + i` plus the lanes touched stays below `rows.end`, and every stored row holds that many values.
    unsafe {
        let w = args.weights.as_ptr().add(start * W::BYTES);
        while i + WIDE * S::LANES <= n {
            let mut sums = [S::splat(0.0); WIDE];
            for (c, &x) in args.x.iter().enumerate() {
                let w = w.add(c * args.row_bytes + i * W::BYTES);
                let x = S::splat(x);
                for (u, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(W::load::<S>(w.add(u * S::LANES * W::BYTES)), x, *sum);
                }
            }
            for (u, sum) in sums.into_iter().enumerate() {
                S::store(args.out.as_mut_ptr().add(i + u * S::LANES), sum);
            }
            i += WIDE * S::LANES;
        }
        while i + S::LANES <= n {
            let mut sum = S::splat(0.0);
            for (c, &x) in args.x.iter().enumerate() {
                sum = S::fma(W::load::<S>(w.add(c * args.row_bytes + i * W::BYTES)), S::splat(x), sum);
            }
            S::store(args.out.as_mut_ptr().add(i), sum);
            i += S::LANES;
        }
        while i < n {
            let mut sum = 0.0;
            for (c, &x) in args.x.iter().enumerate() {
                sum += W::scalar(w.add(c * args.row_bytes + i * W::BYTES)) * x;
            }
            args.out[i] = sum;
            i += 1;
        }
    }
}

/// A stored row as f32.
#[inline(always)]
pub(super) unsafe fn widen<S: Simd, W: FloatType>(row: &[u8], out: &mut [f32]) {
    let n = out.len();
    assert!(row.len() >= n * W::BYTES);
    let mut i = 0;
    // SAFETY: `i` stays below `out.len()`, and the row holds as many values.
    unsafe {
        while i + S::LANES <= n {
            S::store(out.as_mut_ptr().add(i), W::load::<S>(row.as_ptr().add(i * W::BYTES)));
            i += S::LANES;
        }
        while i < n {
            out[i] = W::scalar(row.as_ptr().add(i * W::BYTES));
            i += 1;
        }
    }
}
