//! Products with the types whose blocks hold 32 values: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1. A block is multiplied in integers
//! and scaled once.

use super::{MatVec, check};
use crate::simd::Blocks;

/// Q8_0: 32 values in 34 bytes, `d · q`.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q8_0<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 32, 34);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let mut sum = S::f_splat(0.0);
            for b in 0..n_blocks {
                let block = w.add(34 * b);
                let d = S::f_mul(S::f_splat(S::half(block)), S::f_load(x.scales.as_ptr().add(8 * b)));
                let products =
                    S::dot_signed(S::load(block.add(2)), S::load(x.values.as_ptr().add(32 * b).cast()));
                sum = S::f_fma(products, d, sum);
            }
            *out = S::f_sum(sum);
        }
    }
}

/// Q4_0: 32 values in 18 bytes, `d · (q − 8)`; the first 16 in the low nibbles.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q4_0<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 32, 18);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let mut sum = S::f_splat(0.0);
            for b in 0..n_blocks {
                let block = w.add(18 * b);
                let d = S::f_mul(S::f_splat(S::half(block)), S::f_load(x.scales.as_ptr().add(8 * b)));
                let q = S::sub(nibbles::<S>(block.add(2)), S::splat(8));
                let products = S::dot_signed(q, S::load(x.values.as_ptr().add(32 * b).cast()));
                sum = S::f_fma(products, d, sum);
            }
            *out = S::f_sum(sum);
        }
    }
}

/// Q4_1: 32 values in 20 bytes, `d · q + m`.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q4_1<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 32, 20);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let (mut sum, mut offset) = (S::f_splat(0.0), 0.0);
            for b in 0..n_blocks {
                let block = w.add(20 * b);
                let d = S::f_mul(S::f_splat(S::half(block)), S::f_load(x.scales.as_ptr().add(8 * b)));
                offset += S::half(block.add(2)) * *x.sums.get_unchecked(b);
                let values = S::load(x.values.as_ptr().add(32 * b).cast());
                sum = S::f_fma(S::dot_unsigned(nibbles::<S>(block.add(4)), values), d, sum);
            }
            *out = S::f_sum(sum) + offset;
        }
    }
}

/// Q5_0: 32 values in 22 bytes, `d · (q − 16)`; the fifth bits in a word of 32.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q5_0<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 32, 22);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let mut sum = S::f_splat(0.0);
            for b in 0..n_blocks {
                let block = w.add(22 * b);
                let d = S::f_mul(S::f_splat(S::half(block)), S::f_load(x.scales.as_ptr().add(8 * b)));
                // Less 16 where the fifth bit is clear, which is what is left of `q − 16` there.
                let clear = S::and(bit_is_clear::<S>(block.add(2)), S::splat(16));
                let q = S::sub(nibbles::<S>(block.add(6)), clear);
                let values = S::load(x.values.as_ptr().add(32 * b).cast());
                sum = S::f_fma(S::dot_signed(q, values), d, sum);
            }
            *out = S::f_sum(sum);
        }
    }
}

/// Q5_1: 32 values in 24 bytes, `d · q + m`.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q5_1<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 32, 24);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let (mut sum, mut offset) = (S::f_splat(0.0), 0.0);
            for b in 0..n_blocks {
                let block = w.add(24 * b);
                let d = S::f_mul(S::f_splat(S::half(block)), S::f_load(x.scales.as_ptr().add(8 * b)));
                offset += S::half(block.add(2)) * *x.sums.get_unchecked(b);
                let clear = S::and(bit_is_clear::<S>(block.add(4)), S::splat(16));
                let q = S::or(nibbles::<S>(block.add(8)), S::sub(S::splat(16), clear));
                let values = S::load(x.values.as_ptr().add(32 * b).cast());
                sum = S::f_fma(S::dot_unsigned(q, values), d, sum);
            }
            *out = S::f_sum(sum) + offset;
        }
    }
}

/// 32 values from 16 bytes: the low nibbles, then the high ones.
///
/// # Safety
/// `p` must be valid for 16 bytes, and the instructions of `S` there.
#[inline(always)]
pub(in crate::kernels) unsafe fn nibbles<S: Blocks>(p: *const u8) -> S::B {
    // SAFETY: the caller's promise.
    unsafe {
        let packed = S::load_twice(p);
        S::and(S::low_high(packed, S::shr::<4>(packed)), S::splat(15))
    }
}

/// 255 in each byte whose bit of the 32 at `p` is clear, else 0.
///
/// # Safety
/// `p` must be valid for 4 bytes, and the instructions of `S` there.
#[inline(always)]
pub(in crate::kernels) unsafe fn bit_is_clear<S: Blocks>(p: *const u8) -> S::B {
    const BITS: [u8; 32] = {
        let mut bits = [0; 32];
        let mut i = 0;
        while i < 32 {
            bits[i] = 1 << (i % 8);
            i += 1;
        }
        bits
    };
    // SAFETY: the caller's promise.
    unsafe { S::is_zero(S::and(S::each_eight_times(p), S::load(BITS.as_ptr()))) }
}
