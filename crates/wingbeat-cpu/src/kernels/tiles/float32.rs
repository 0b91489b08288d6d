//! Tiles of f32 words: exact but for the rounding of sums.

use super::{Tiles, VECTORS, n_tiles, store, tile_rows};
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
    for i in 0..n_tiles(args.n_tokens, S::TILE_ROWS) {
        let rows = tile_rows(i, args.n_tokens, S::TILE_ROWS);
        let t = rows.start;
        // SAFETY: the caller's promise; lengths checked above.
        unsafe {
            match rows.len() {
                1 => tile::<S, 1>(args, t),
                2 => tile::<S, 2>(args, t),
                3 => tile::<S, 3>(args, t),
                4 => tile::<S, 4>(args, t),
                5 if S::TILE_ROWS >= 5 => tile::<S, 5>(args, t),
                6 if S::TILE_ROWS >= 6 => tile::<S, 6>(args, t),
                7 if S::TILE_ROWS >= 7 => tile::<S, 7>(args, t),
                8 if S::TILE_ROWS >= 8 => tile::<S, 8>(args, t),
                n => unreachable!("a tile of {n} rows"),
            }
        }
    }
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
