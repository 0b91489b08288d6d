//! Products with quantized matrices: the vector is quantized once to int8 blocks, and blocks are multiplied in
//! integers.

use super::MatVec;
use crate::simd::{Blocks, Simd};
use half::f16;

/// Values that share a scale.
pub(crate) const BLOCK: usize = 32;

/// Activations as int8: `x[i] ≈ scales[i / 32] · values[i]`.
#[derive(Default)]
pub(crate) struct QuantRows {
    cols: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
    /// `scales[b] · Σ values` of each block: what a constant added to all weights of the block contributes.
    sums: Vec<f32>,
}

impl QuantRows {
    /// Makes room for `rows` rows of `cols` values, a multiple of 32.
    pub(crate) fn reserve(&mut self, rows: usize, cols: usize) {
        assert_eq!(cols % BLOCK, 0, "quantized rows are whole blocks");
        self.cols = cols;
        let grow = |len: usize, n: usize| len.max(n);
        self.values.resize(grow(self.values.len(), rows * cols), 0);
        self.scales.resize(grow(self.scales.len(), rows * cols / BLOCK), 0.0);
        self.sums.resize(grow(self.sums.len(), rows * cols / BLOCK), 0.0);
    }

    /// Values, scales and scaled sums of a row.
    pub(super) fn row(&self, row: usize) -> (&[i8], &[f32], &[f32]) {
        let blocks = self.cols / BLOCK;
        (
            &self.values[row * self.cols..][..self.cols],
            &self.scales[row * blocks..][..blocks],
            &self.sums[row * blocks..][..blocks],
        )
    }
}

/// Quantizes `x` as row `row`.
#[inline(always)]
pub(super) unsafe fn quantize<S: Simd>(x: &[f32], out: &mut QuantRows, row: usize) {
    assert_eq!(x.len(), out.cols);
    let blocks = out.cols / BLOCK;
    let values = &mut out.values[row * out.cols..][..out.cols];
    let scales = &mut out.scales[row * blocks..][..blocks];
    let sums = &mut out.sums[row * blocks..][..blocks];
    for (b, block) in x.chunks_exact(BLOCK).enumerate() {
        let values = &mut values[b * BLOCK..][..BLOCK];
        // SAFETY: both slices have 32 values, a multiple of the lanes.
        unsafe {
            let mut largest = S::splat(0.0);
            let mut i = 0;
            while i < BLOCK {
                largest = S::max(largest, S::abs(S::load(block.as_ptr().add(i))));
                i += S::LANES;
            }
            let largest = S::max_lane(largest);
            let scale = largest / 127.0;
            // A block so small that its inverse scale overflows is zero for all purposes.
            let inverse = if largest > 1e-30 { 127.0 / largest } else { 0.0 };
            let inverse = S::splat(inverse);
            i = 0;
            while i < BLOCK {
                S::store_i8(values.as_mut_ptr().add(i), S::mul(S::load(block.as_ptr().add(i)), inverse));
                i += S::LANES;
            }
            scales[b] = scale;
        }
        let sum: i32 = values.iter().map(|&v| i32::from(v)).sum();
        sums[b] = scales[b] * sum as f32;
    }
}

/// The parts of a product that all types share: where rows start, and the quantized vector.
struct Rows<'a> {
    values: &'a [i8],
    scales: &'a [f32],
    sums: &'a [f32],
    n_blocks: usize,
}

/// Checks the arguments for blocks of `len` values in `bytes` bytes.
#[inline(always)]
fn check<'a>(args: &MatVec<'a>, len: usize, bytes: usize) -> Rows<'a> {
    let (quantized, row) = args.q.expect("the caller quantizes the vector for these types");
    let (values, scales, sums) = quantized.row(row);
    let n_blocks = values.len() / len;
    assert!(n_blocks * len == args.x.len() && n_blocks * bytes == args.row_bytes);
    assert!(args.rows.end * args.row_bytes <= args.weights.len() && args.out.len() == args.rows.len());
    Rows { values, scales, sums, n_blocks }
}

/// # Safety
/// `p` must be valid for two bytes.
#[inline(always)]
unsafe fn half_at(p: *const u8) -> f32 {
    // SAFETY: the caller's promise.
    f16::from_bits(unsafe { p.cast::<u16>().read_unaligned() }).to_f32()
}

/// Q8_0: 32 values in 34 bytes, `d · q`.
#[inline(always)]
pub(super) unsafe fn matvec_q8_0<S: Blocks>(args: &mut MatVec<'_>) {
    let x = check(args, 32, 34);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let mut sum = S::f_splat(0.0);
            for b in 0..x.n_blocks {
                let block = w.add(34 * b);
                let d = half_at(block) * *x.scales.get_unchecked(b);
                let products = S::dot_signed(S::load(block.add(2)), S::load(x.values.as_ptr().add(32 * b).cast()));
                sum = S::f_fma(products, S::f_splat(d), sum);
            }
            *out = S::f_sum(sum);
        }
    }
}

/// Q4_0: 32 values in 18 bytes, `d · (q − 8)`; the first 16 in the low nibbles.
#[inline(always)]
pub(super) unsafe fn matvec_q4_0<S: Blocks>(args: &mut MatVec<'_>) {
    let x = check(args, 32, 18);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let mut sum = S::f_splat(0.0);
            for b in 0..x.n_blocks {
                let block = w.add(18 * b);
                let d = half_at(block) * *x.scales.get_unchecked(b);
                let nibbles = S::load_twice(block.add(2));
                let q = S::and(S::low_high(nibbles, S::shr::<4>(nibbles)), S::splat(15));
                let q = S::sub(q, S::splat(8));
                let products = S::dot_signed(q, S::load(x.values.as_ptr().add(32 * b).cast()));
                sum = S::f_fma(products, S::f_splat(d), sum);
            }
            *out = S::f_sum(sum);
        }
    }
}

/// The eight 6-bit scales and eight 6-bit minimums of a Q4_K or Q5_K block, from their 12 packed bytes.
///
/// # Safety
/// `p` must be valid for 12 bytes.
#[inline(always)]
unsafe fn k_scales(p: *const u8) -> ([u8; 8], [u8; 8]) {
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
pub(super) unsafe fn matvec_q4_k<S: Blocks>(args: &mut MatVec<'_>) {
    let x = check(args, 256, 144);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let (mut sum, mut offset) = (S::f_splat(0.0), S::f_splat(0.0));
            for b in 0..x.n_blocks {
                let block = w.add(144 * b);
                let (d, d_min) = (half_at(block), half_at(block.add(2)));
                let (scales, mins) = k_scales(block.add(4));
                let x_scales = x.scales.get_unchecked(8 * b..8 * b + 8);
                let values = x.values.as_ptr().add(256 * b).cast::<u8>();
                for pair in 0..4 {
                    let nibbles = S::load(block.add(16 + 32 * pair));
                    let low = S::dot_unsigned(S::and(nibbles, S::splat(15)), S::load(values.add(64 * pair)));
                    let high = S::dot_unsigned(S::shr::<4>(nibbles), S::load(values.add(64 * pair + 32)));
                    let scale = |g: usize| d * f32::from(scales[g]) * x_scales[g];
                    sum = S::f_fma(low, S::f_splat(scale(2 * pair)), sum);
                    sum = S::f_fma(high, S::f_splat(scale(2 * pair + 1)), sum);
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

/// Q6_K: 256 values in 210 bytes, sixteen groups of 16: `d · scale · (q − 32)`; low 4 bits, then high 2 bits.
#[inline(always)]
pub(super) unsafe fn matvec_q6_k<S: Blocks>(args: &mut MatVec<'_>) {
    let x = check(args, 256, 210);
    for (row, out) in args.rows.clone().zip(args.out.iter_mut()) {
        // SAFETY: `check` made sure that rows and blocks lie inside their slices.
        unsafe {
            let w = args.weights.as_ptr().add(row * args.row_bytes);
            let mut sum = S::f_splat(0.0);
            let (low_mask, high_mask, bias) = (S::splat(15), S::splat(0x30), S::splat(32));
            for b in 0..x.n_blocks {
                let block = w.add(210 * b);
                let d = half_at(block.add(208));
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
                        let d = d * *x.scales.get_unchecked(8 * b + group);
                        let scale = |i: usize| d * f32::from(*block.add(192 + 2 * group + i) as i8);
                        let values = S::load(x.values.as_ptr().add(256 * b + 32 * group).cast());
                        let products = S::dot_signed(S::sub(q, bias), values);
                        sum = S::f_fma(products, S::f_halves(scale(0), scale(1)), sum);
                    }
                }
            }
            *out = S::f_sum(sum);
        }
    }
}
