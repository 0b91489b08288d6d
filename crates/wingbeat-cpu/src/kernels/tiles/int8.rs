//! Tiles of int8 words: products of fours summed in integers over a group of columns, then scaled by the group's
//! weights and activations.

use super::{
    TILE_BLOCK, Tiles, VECTORS, for_each_tile, store,
    unpack::{has_mins, int8_group},
};
use crate::simd::Words;

/// The whole panel.
///
/// # Safety
/// The instructions of `S` are there, the panel was made by [`panel_of_int8`](super::panel_of_int8) for these columns
/// and the activations packed by [`pack_int8`](super::pack_int8), and no other thread touches the panel's columns of `y`.
#[inline(always)]
pub(in crate::kernels) unsafe fn int8_panel<S: Words>(args: &Tiles<'_>) {
    assert!(args.cols.end <= args.x.cols && args.n_tokens == args.x.rows);
    assert!(args.cols.start.is_multiple_of(TILE_BLOCK) && args.cols.len().is_multiple_of(TILE_BLOCK));
    assert!(args.panel.words.as_slice().len() >= args.cols.len() / 4 * VECTORS * S::LANES);
    // SAFETY: the caller's promise.
    unsafe {
        match (int8_group(args.dtype), has_mins(args.dtype)) {
            (TILE_BLOCK, false) => groups::<S, TILE_BLOCK, false>(args),
            (TILE_BLOCK, true) => groups::<S, TILE_BLOCK, true>(args),
            (_, false) => groups::<S, { TILE_BLOCK / 2 }, false>(args),
            (_, true) => groups::<S, { TILE_BLOCK / 2 }, true>(args),
        }
    }
}

/// # Safety
/// As [`int8_panel`].
#[inline(always)]
unsafe fn groups<S: Words, const GROUP: usize, const MINS: bool>(args: &Tiles<'_>) {
    let n_values = args.cols.len() / GROUP * VECTORS * S::LANES;
    assert!(
        args.panel.scales.as_slice().len() >= n_values && args.panel.corrections.as_slice().len() >= n_values
    );
    assert!(!MINS || args.panel.mins.as_slice().len() >= n_values);
    // SAFETY: the caller's promise; lengths checked above.
    unsafe { for_each_tile!(args, tile::<S, M, GROUP, MINS>) }
}

/// # Safety
/// As [`int8_panel`]; rows `t..t + M` are there.
#[inline(always)]
unsafe fn tile<S: Words, const M: usize, const GROUP: usize, const MINS: bool>(args: &Tiles<'_>, t: usize) {
    let (blocks, lanes) = (args.x.cols / TILE_BLOCK, VECTORS * S::LANES);
    let first_block = args.cols.start / TILE_BLOCK;
    let halves = TILE_BLOCK / GROUP;
    // SAFETY: the caller's promise: `M` rows of activations, and panel arrays as long as the part's groups ask for.
    unsafe {
        let mut x = args.x.bytes.add(t * args.x.cols + M * args.cols.start).cast_const();
        let x_scales = args.x.scales.add(t * blocks + M * first_block).cast_const();
        let x_sums = match GROUP {
            TILE_BLOCK => args.x.sums.add(t * blocks + M * first_block),
            _ => args.x.half_sums.add(2 * (t * blocks + M * first_block)),
        };
        let mut masks = [S::zero(); M];
        for (m, mask) in masks.iter_mut().enumerate() {
            *mask = S::word(args.x.masks.add(t + m).cast_const().cast());
        }
        let mut w = args.panel.words.as_slice().as_ptr().cast::<u8>();
        let (scales, mins) = (args.panel.scales.as_slice().as_ptr(), args.panel.mins.as_slice().as_ptr());
        let corrections = args.panel.corrections.as_slice().as_ptr();
        let mut sums = [[S::splat(0.0); VECTORS]; M];
        for group in 0..args.cols.len() / GROUP {
            let at = |v: usize| group * lanes + v * S::LANES;
            let mut dots = [[S::zero(); VECTORS]; M];
            for v in 0..VECTORS {
                let correction = S::words(corrections.add(at(v)).cast());
                for m in 0..M {
                    dots[m][v] = S::and(correction, masks[m]);
                }
            }
            for word in 0..GROUP / 4 {
                let mut weights = [S::zero(); VECTORS];
                for (v, weights) in weights.iter_mut().enumerate() {
                    *weights = S::words(w.add(4 * v * S::LANES));
                }
                w = w.add(4 * lanes);
                for (m, dots) in dots.iter_mut().enumerate() {
                    let x = S::word(x.add(4 * (M * word + m)));
                    for (dot, weights) in dots.iter_mut().zip(weights) {
                        *dot = S::dot_int8(*dot, weights, x);
                    }
                }
            }
            x = x.add(GROUP * M);
            for v in 0..VECTORS {
                let scale = S::load(scales.add(at(v)));
                for m in 0..M {
                    let scale = S::mul(scale, S::splat(*x_scales.add(group / halves * M + m)));
                    sums[m][v] = S::fma(S::float(dots[m][v]), scale, sums[m][v]);
                }
                if MINS {
                    let min = S::load(mins.add(at(v)));
                    for m in 0..M {
                        sums[m][v] = S::fma(min, S::splat(*x_sums.add(group * M + m)), sums[m][v]);
                    }
                }
            }
        }
        for (m, sums) in sums.into_iter().enumerate() {
            store::<S>(args, t + m, sums);
        }
    }
}
