//! Tiles of f32 words: exact but for the rounding of sums.

use super::{Tiles, VECTORS, for_each_tile, store};
use crate::simd::Words;

/// The whole panel.
///
/// # Safety
/// The instructions of `S` are there, the panel was made by [`panel_of_f32`](super::panel_of_f32) for these columns and
/// the activations packed by [`pack_f32`](super::pack_f32), and no other thread touches the panel's columns of `y`.
#[inline(always)]
pub(in crate::kernels) unsafe fn f32_panel<S: Words>(args: &Tiles<'_>) {
    assert!(args.cols.end <= args.x.cols && args.n_tokens == args.x.rows);
    assert!(args.panel.words.as_slice().len() >= args.cols.len() * VECTORS * S::LANES);
    // SAFETY: the caller's promise; lengths checked above.
    unsafe { for_each_tile!(args, tile::<S, M>) }
}

/// # Safety
/// As [`f32_panel`]; rows `t..t + M` are there.
#[inline(always)]
unsafe fn tile<S: Words, const M: usize>(args: &Tiles<'_>, t: usize) {
    // SAFETY: the caller's promise: `M` rows of `x.cols` values, and as many words of weights as columns.
    unsafe {
        let mut x = args.x.bytes.cast::<f32>().add(t * args.x.cols + M * args.cols.start).cast_const();
        let mut w = args.panel.words.as_slice().as_ptr();
        let mut sums = [[S::splat(0.0); VECTORS]; M];
        for _ in args.cols.clone() {
            let mut weights = [S::splat(0.0); VECTORS];
            for (v, weights) in weights.iter_mut().enumerate() {
                *weights = S::load(w.add(v * S::LANES));
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*x.add(m));
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = S::fma(weights, x, *sum);
                }
            }
            x = x.add(M);
            w = w.add(VECTORS * S::LANES);
        }
        for (m, sums) in sums.into_iter().enumerate() {
            store::<S>(args, t + m, sums);
        }
    }
}
