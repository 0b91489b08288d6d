//! Products with quantized matrices: the vector is quantized once to int8 blocks, and blocks are multiplied in
//! integers. A file for each block length.

mod of_256;
mod of_32;

pub(super) use of_32::{bit_is_clear, nibbles};
pub(super) use of_32::{matvec_q4_0, matvec_q4_1, matvec_q5_0, matvec_q5_1, matvec_q8_0};
pub(crate) use of_256::k_scales;
pub(super) use of_256::q3_k_scales;
pub(super) use of_256::{matvec_q2_k, matvec_q3_k, matvec_q4_k, matvec_q5_k, matvec_q6_k};

use super::MatVec;
use crate::simd::Simd;

/// Values of a vector that share a scale. Products are summed in fours of neighbours anyway, so scales this fine cost a
/// product nothing, and they halve the rounding error that a scale for 32 would have.
pub(crate) const SCALE_VALUES: usize = 4;

/// Values that a product takes at a time; a vector holds a multiple.
const BLOCK: usize = 32;

/// Activations as int8: `x[i] ≈ scales[i / 4] · values[i]`.
#[derive(Default)]
pub(crate) struct QuantRows {
    cols: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
    /// `Σ scale · value` of each 32 values: what a constant added to their weights contributes.
    sums: Vec<f32>,
    /// The same of each 16 values.
    half_sums: Vec<f32>,
}

impl QuantRows {
    /// Makes room for `rows` rows of `cols` values, a multiple of 32.
    pub(crate) fn reserve(&mut self, rows: usize, cols: usize) {
        assert_eq!(cols % BLOCK, 0, "quantized rows are whole blocks");
        self.cols = cols;
        let n = rows * cols;
        self.values.resize(n.max(self.values.len()), 0);
        self.scales.resize((n / SCALE_VALUES).max(self.scales.len()), 0.0);
        self.sums.resize((n / BLOCK).max(self.sums.len()), 0.0);
        self.half_sums.resize((n / (BLOCK / 2)).max(self.half_sums.len()), 0.0);
    }

    pub(super) fn row(&self, row: usize) -> QuantRow<'_> {
        let part = |per: usize| row * self.cols / per..(row + 1) * self.cols / per;
        QuantRow {
            values: &self.values[part(1)],
            scales: &self.scales[part(SCALE_VALUES)],
            sums: &self.sums[part(BLOCK)],
            half_sums: &self.half_sums[part(BLOCK / 2)],
        }
    }
}

/// One row of [`QuantRows`].
pub(super) struct QuantRow<'a> {
    pub(super) values: &'a [i8],
    pub(super) scales: &'a [f32],
    pub(super) sums: &'a [f32],
    pub(super) half_sums: &'a [f32],
}

/// Quantizes `x` as row `row`.
#[inline(always)]
pub(super) unsafe fn quantize<S: Simd>(x: &[f32], out: &mut QuantRows, row: usize) {
    const HALF: usize = BLOCK / 2;
    assert_eq!(x.len(), out.cols);
    let n = out.cols;
    let values = &mut out.values[row * n..][..n];
    let scales = &mut out.scales[row * n / SCALE_VALUES..][..n / SCALE_VALUES];
    let half_sums = &mut out.half_sums[row * n / HALF..][..n / HALF];
    for (h, x) in x.chunks_exact(HALF).enumerate() {
        let values = &mut values[h * HALF..][..HALF];
        let scales = &mut scales[h * (HALF / SCALE_VALUES)..][..HALF / SCALE_VALUES];
        // SAFETY: all slices have 16 values, a multiple of the lanes.
        unsafe {
            let mut sum = S::splat(0.0);
            let mut spread = [0.0; HALF];
            let mut i = 0;
            while i < HALF {
                let v = S::load(x.as_ptr().add(i));
                let largest = S::max_of_four(S::abs(v));
                // Fours so small that their inverse scale would overflow are zero for all purposes.
                let inverse = S::div(S::splat(127.0), S::max(S::splat(1e-30), largest));
                // A maximum may pass over a NaN, and integers cannot hold one: the scale carries it (and infinity, as NaN)
                // into the product.
                let scale = S::fma(v, S::splat(0.0), S::mul(largest, S::splat(1.0 / 127.0)));
                let rounded = S::round(S::mul(v, inverse));
                S::store_i8(values.as_mut_ptr().add(i), rounded);
                S::store(spread.as_mut_ptr().add(i), scale);
                sum = S::fma(rounded, scale, sum);
                i += S::LANES;
            }
            for (scale, four) in scales.iter_mut().zip(spread.chunks_exact(SCALE_VALUES)) {
                // All four are the same, but for a NaN.
                let [a, b, c, d] = [four[0], four[1], four[2], four[3]];
                *scale = if (a + b + c + d).is_nan() { f32::NAN } else { a };
            }
            half_sums[h] = S::sum(sum);
        }
    }
    let sums = &mut out.sums[row * n / BLOCK..][..n / BLOCK];
    sums.iter_mut().zip(half_sums.chunks_exact(2)).for_each(|(sum, halves)| *sum = halves[0] + halves[1]);
}

/// Checks the arguments for blocks of `len` values in `bytes` bytes; returns the quantized vector and its number of
/// blocks.
#[inline(always)]
fn check<'a>(args: &MatVec<'a>, len: usize, bytes: usize) -> (QuantRow<'a>, usize) {
    let (quantized, row) = args.q.expect("the caller quantizes the vector for these types");
    let x = quantized.row(row);
    let n_blocks = x.values.len() / len;
    assert!(n_blocks * len == args.x.len() && n_blocks * bytes == args.row_bytes);
    assert!(args.rows.end * args.row_bytes <= args.weights.len() && args.out.len() == args.rows.len());
    (x, n_blocks)
}
