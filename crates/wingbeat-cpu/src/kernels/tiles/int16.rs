//! Tiles of int16 words: float weights and activations as integers in ±[`MOST`], multiplied exactly in pairs.
//!
//! The same rate as bfloat16 products on the processors that have both, with steps thirty times finer. Sums of
//! 32 products of the largest integers just fit 32 bits, so they are scaled and added up in f32 that often.

use super::{TILE_BLOCK, Tiles, VECTORS, for_each_tile, store};
use crate::simd::Words;

/// The largest integer: `32 · 8191² < 2³¹`.
pub(super) const MOST: f32 = 8191.0;
const _: () = assert!(TILE_BLOCK as i64 * 8191 * 8191 <= i32::MAX as i64);

/// The whole panel.
///
/// # Safety
/// The instructions of `S` are there, the panel was made by [`panel_of_int16`](super::panel_of_int16) for these
/// columns and the activations packed by [`pack_int16`](super::pack_int16), and no other thread touches the panel's columns
/// of `y`.
#[inline(always)]
pub(in crate::kernels) unsafe fn int16_panel<S: Words>(args: &Tiles<'_>) {
    assert!(args.cols.end <= args.x.cols && args.n_tokens == args.x.rows);
    assert!(args.cols.start.is_multiple_of(TILE_BLOCK) && args.cols.len().is_multiple_of(2));
    assert!(args.panel.words.as_slice().len() >= args.cols.len() / 2 * VECTORS * S::LANES);
    assert!(args.panel.scales.as_slice().len() >= VECTORS * S::LANES);
    // SAFETY: the caller's promise; lengths checked above.
    unsafe { for_each_tile!(args, tile::<S, M>) }
}

/// # Safety
/// As [`int16_panel`]; rows `t..t + M` are there.
#[inline(always)]
unsafe fn tile<S: Words, const M: usize>(args: &Tiles<'_>, t: usize) {
    let (blocks, first_block) = (args.x.cols.div_ceil(TILE_BLOCK), args.cols.start / TILE_BLOCK);
    // SAFETY: the caller's promise: `M` rows of `x.cols` int16 values, and as many words of weights as the part has.
    unsafe {
        let mut x = args.x.bytes.add(2 * (t * args.x.cols + M * args.cols.start)).cast_const();
        let mut x_scales = args.x.scales.add(t * blocks + M * first_block).cast_const();
        let mut w = args.panel.words.as_slice().as_ptr().cast::<u8>();
        let mut sums = [[S::splat(0.0); VECTORS]; M];
        let mut left = args.cols.len();
        while left > 0 {
            let mut dots = [[S::zero(); VECTORS]; M];
            // The usual length is a constant, so that its loop is unrolled.
            let n = left.min(TILE_BLOCK);
            if n == TILE_BLOCK {
                pairs::<S, M>(&mut dots, x, w, TILE_BLOCK / 2);
            } else {
                pairs::<S, M>(&mut dots, x, w, n / 2);
            }
            w = w.add(2 * n * VECTORS * S::LANES);
            x = x.add(2 * n * M);
            for m in 0..M {
                let scale = S::splat(*x_scales.add(m));
                for v in 0..VECTORS {
                    sums[m][v] = S::fma(S::float(dots[m][v]), scale, sums[m][v]);
                }
            }
            x_scales = x_scales.add(M);
            left -= n;
        }
        let scales = args.panel.scales.as_slice().as_ptr();
        for (m, mut sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::mul(*sum, S::load(scales.add(v * S::LANES)));
            }
            store::<S>(args, t + m, sums);
        }
    }
}

/// `n` words of every row.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn pairs<S: Words, const M: usize>(
    dots: &mut [[S::W; VECTORS]; M],
    x: *const u8,
    w: *const u8,
    n: usize,
) {
    for pair in 0..n {
        // SAFETY: the caller's promise.
        unsafe {
            let w = w.add(4 * pair * VECTORS * S::LANES);
            let mut weights = [S::zero(); VECTORS];
            for (v, weights) in weights.iter_mut().enumerate() {
                *weights = S::words(w.add(4 * v * S::LANES));
            }
            for (m, dots) in dots.iter_mut().enumerate() {
                let x = S::word(x.add(4 * (M * pair + m)));
                for (dot, weights) in dots.iter_mut().zip(weights) {
                    *dot = S::dot_int16(*dot, weights, x);
                }
            }
        }
    }
}
