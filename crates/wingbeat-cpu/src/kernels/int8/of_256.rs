//! Products with the K-types, whose blocks hold 256 values in groups of 16 or 32 with scales of their own: Q2_K to Q6_K.

use super::{MatVec, check};
use crate::simd::Blocks;

/// The eight 6-bit scales and eight 6-bit minimums of a Q4_K or Q5_K block, from their 12 packed bytes.
///
/// # Safety
/// `p` must be valid for 12 bytes.
#[inline(always)]
pub(crate) unsafe fn k_scales(p: *const u8) -> ([u8; 8], [u8; 8]) {
    // SAFETY: the caller's promise.
    let [a, b, c] = unsafe { p.cast::<[u32; 3]>().read_unaligned() }.map(u32::from_le);
    // Four scales, four minimums and, in nibbles, the low bits of four more of each, whose high bits are the top two
    // of the first eight bytes.
    let low = (a & 0x3f3f_3f3f).to_le_bytes();
    let low_min = (b & 0x3f3f_3f3f).to_le_bytes();
    let high = ((c & 0x0f0f_0f0f) | ((a >> 2) & 0x3030_3030)).to_le_bytes();
    let high_min = (((c >> 4) & 0x0f0f_0f0f) | ((b >> 2) & 0x3030_3030)).to_le_bytes();
    let join = |l: [u8; 4], h: [u8; 4]| [l[0], l[1], l[2], l[3], h[0], h[1], h[2], h[3]];
    (join(low, high), join(low_min, high_min))
}

/// Q4_K: 256 values in 144 bytes, eight groups of 32: `d · scale · q − dmin · min`.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q4_k<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 256, 144);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let (mut sum, mut offset) = (S::f_splat(0.0), S::f_splat(0.0));
            for b in 0..n_blocks {
                let block = w.add(144 * b);
                let (d, d_min) = (S::half(block), S::half(block.add(2)));
                let (scales, mins) = k_scales(block.add(4));
                let x_scales = x.scales.as_ptr().add(64 * b);
                let values = x.values.as_ptr().add(256 * b).cast::<u8>();
                for pair in 0..4 {
                    let nibbles = S::load(block.add(16 + 32 * pair));
                    let low = S::dot_unsigned(S::and(nibbles, S::splat(15)), S::load(values.add(64 * pair)));
                    let high = S::dot_unsigned(S::shr::<4>(nibbles), S::load(values.add(64 * pair + 32)));
                    let scale = |g: usize| {
                        S::f_mul(S::f_splat(d * f32::from(scales[g])), S::f_load(x_scales.add(8 * g)))
                    };
                    sum = S::f_fma(low, scale(2 * pair), sum);
                    sum = S::f_fma(high, scale(2 * pair + 1), sum);
                }
                let mins = mins.map(f32::from);
                let x_sums = S::f_load(x.sums.as_ptr().add(8 * b));
                // Scaled by -dmin through the product's second factor.
                let weighted = S::f_fma(S::f_load(mins.as_ptr()), S::f_splat(-d_min), S::f_splat(0.0));
                offset = S::f_fma(weighted, x_sums, offset);
            }
            *out = S::f_sum(sum) + S::f_sum(offset);
        }
    }
}

/// Q5_K: 256 values in 176 bytes, eight groups of 32: `d · scale · q − dmin · min`; low nibbles as in Q4_K, the fifth bit
/// of group `g` in bit `g` of 32 bytes.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q5_k<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 256, 176);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let (mut sum, mut offset) = (S::f_splat(0.0), S::f_splat(0.0));
            for b in 0..n_blocks {
                let block = w.add(176 * b);
                let (d, d_min) = (S::half(block), S::half(block.add(2)));
                let (scales, mins) = k_scales(block.add(4));
                let fifth = S::load(block.add(16));
                let x_scales = x.scales.as_ptr().add(64 * b);
                for pair in 0..4 {
                    let nibbles = S::load(block.add(48 + 32 * pair));
                    for (i, low) in
                        [S::and(nibbles, S::splat(15)), S::shr::<4>(nibbles)].into_iter().enumerate()
                    {
                        let group = 2 * pair + i;
                        let clear = S::is_zero(S::and(fifth, S::splat(1 << group)));
                        let q = S::or(low, S::sub(S::splat(16), S::and(clear, S::splat(16))));
                        let values = S::load(x.values.as_ptr().add(256 * b + 32 * group).cast());
                        let scale = S::f_splat(d * f32::from(scales[group]));
                        let scale = S::f_mul(scale, S::f_load(x_scales.add(8 * group)));
                        sum = S::f_fma(S::dot_unsigned(q, values), scale, sum);
                    }
                }
                let mins = mins.map(|min| -d_min * f32::from(min));
                offset = S::f_fma(S::f_load(mins.as_ptr()), S::f_load(x.sums.as_ptr().add(8 * b)), offset);
            }
            *out = S::f_sum(sum) + S::f_sum(offset);
        }
    }
}

/// Q6_K: 256 values in 210 bytes, sixteen groups of 16: `d · scale · (q − 32)`; low 4 bits, then high 2 bits.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q6_k<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 256, 210);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let mut sum = S::f_splat(0.0);
            let (low_mask, high_mask, bias) = (S::splat(15), S::splat(0x30), S::splat(32));
            for b in 0..n_blocks {
                let block = w.add(210 * b);
                let d = S::half(block.add(208));
                for half in 0..2 {
                    let (low_a, low_b) = (S::load(block.add(64 * half)), S::load(block.add(64 * half + 32)));
                    let high = S::load(block.add(128 + 32 * half));
                    let quarters = [
                        S::or(S::and(low_a, low_mask), S::and(S::shl::<4>(high), high_mask)),
                        S::or(S::and(low_b, low_mask), S::and(S::shl::<2>(high), high_mask)),
                        S::or(S::shr::<4>(low_a), S::and(high, high_mask)),
                        S::or(S::shr::<4>(low_b), S::and(S::shr::<2>(high), high_mask)),
                    ];
                    for (quarter, q) in quarters.into_iter().enumerate() {
                        let group = 4 * half + quarter;
                        let x_scales = S::f_load(x.scales.as_ptr().add(64 * b + 8 * group));
                        let scale = |i: usize| d * f32::from(*block.add(192 + 2 * group + i) as i8);
                        let values = S::load(x.values.as_ptr().add(256 * b + 32 * group).cast());
                        let products = S::dot_signed(S::sub(q, bias), values);
                        sum = S::f_fma(products, S::f_mul(S::f_halves(scale(0), scale(1)), x_scales), sum);
                    }
                }
            }
            *out = S::f_sum(sum);
        }
    }
}

/// Q2_K: 256 values in 84 bytes, sixteen groups of 16: `d · scale · q − dmin · min`, scale and minimum in the nibbles of
/// a byte a group; quants two bits each, four groups of 32 in a plane of 32 bytes.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q2_k<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 256, 84);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let (mut sum, mut offset) = (S::f_splat(0.0), S::f_splat(0.0));
            for b in 0..n_blocks {
                let block = w.add(84 * b);
                let (d, d_min) = (S::half(block.add(80)), S::half(block.add(82)));
                for half in 0..2 {
                    let q = S::load(block.add(16 + 32 * half));
                    for (plane, q) in
                        [q, S::shr::<2>(q), S::shr::<4>(q), S::shr::<6>(q)].into_iter().enumerate()
                    {
                        let group = 4 * half + plane;
                        let x_scales = S::f_load(x.scales.as_ptr().add(64 * b + 8 * group));
                        let scale = |i: usize| d * f32::from(*block.add(2 * group + i) & 15);
                        let values = S::load(x.values.as_ptr().add(256 * b + 32 * group).cast());
                        let products = S::dot_unsigned(S::and(q, S::splat(3)), values);
                        sum = S::f_fma(products, S::f_mul(S::f_halves(scale(0), scale(1)), x_scales), sum);
                    }
                }
                let mins: [f32; 16] = std::array::from_fn(|i| -d_min * f32::from(*block.add(i) >> 4));
                for part in 0..2 {
                    let x_sums = S::f_load(x.half_sums.as_ptr().add(16 * b + 8 * part));
                    offset = S::f_fma(S::f_load(mins.as_ptr().add(8 * part)), x_sums, offset);
                }
            }
            *out = S::f_sum(sum) + S::f_sum(offset);
        }
    }
}

/// Q3_K: 256 values in 110 bytes, sixteen groups of 16: `d · (scale − 32) · q`; `q` is two bits, less 4 where the bit in
/// the block's mask is clear.
#[inline(always)]
pub(in crate::kernels) unsafe fn matvec_q3_k<S: Blocks>(args: &mut MatVec<'_>) {
    let (x, n_blocks) = check(args, 256, 110);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let mut sum = S::f_splat(0.0);
            for b in 0..n_blocks {
                let block = w.add(110 * b);
                let mask = S::load(block);
                let scales = q3_k_scales(block.add(96));
                let d = S::half(block.add(108));
                for half in 0..2 {
                    let q = S::load(block.add(32 + 32 * half));
                    for (plane, q) in
                        [q, S::shr::<2>(q), S::shr::<4>(q), S::shr::<6>(q)].into_iter().enumerate()
                    {
                        let group = 4 * half + plane;
                        let clear = S::is_zero(S::and(mask, S::splat(1 << group)));
                        let q = S::sub(S::and(q, S::splat(3)), S::and(clear, S::splat(4)));
                        let x_scales = S::f_load(x.scales.as_ptr().add(64 * b + 8 * group));
                        let scale = |i: usize| d * f32::from(scales[2 * group + i]);
                        let values = S::load(x.values.as_ptr().add(256 * b + 32 * group).cast());
                        sum = S::f_fma(
                            S::dot_signed(q, values),
                            S::f_mul(S::f_halves(scale(0), scale(1)), x_scales),
                            sum,
                        );
                    }
                }
            }
            *out = S::f_sum(sum);
        }
    }
}

/// The sixteen 6-bit scales of a Q3_K block, less 32, from their 12 bytes: low nibbles in the first eight, the top two
/// bits in the last four.
///
/// # Safety
/// `p` must be valid for 12 bytes.
#[inline(always)]
pub(in crate::kernels) unsafe fn q3_k_scales(p: *const u8) -> [i8; 16] {
    // SAFETY: the caller's promise.
    let [a, b, c] = unsafe { p.cast::<[u32; 3]>().read_unaligned() }.map(u32::from_le);
    let join = |low: u32, high: u32| ((low & 0x0f0f_0f0f) | ((high & 0x0303_0303) << 4)).to_le_bytes();
    let quarters = [join(a, c), join(b, c >> 2), join(a >> 4, c >> 4), join(b >> 4, c >> 6)];
    std::array::from_fn(|i| quarters[i / 4][i % 4] as i8 - 32)
}
