//! Activations into the form that tiles want.

use super::{PackedView, TILE_BLOCK, int16::MOST};
use crate::simd::Words;
use std::ops::Range;

/// Puts a tile of rows in order.
///
/// # Safety
/// The instructions of `S` are there, `rows` is a tile and nobody else touches it.
#[inline(always)]
pub(in crate::kernels) unsafe fn pack_f32<S: Words>(x: &[f32], out: &PackedView<'_>, rows: Range<usize>) {
    let (n, tile) = (out.cols, rows.len());
    assert!(x.len() == tile * n && rows.end <= out.rows);
    // SAFETY: the tile has `n` values for each row.
    let to = unsafe { out.bytes.cast::<f32>().add(rows.start * n) };
    for (m, x) in x.chunks_exact(n).enumerate() {
        for (i, &x) in x.iter().enumerate() {
            // SAFETY: as above.
            unsafe { to.add(i * tile + m).write(x) };
        }
    }
}

/// Quantizes a tile of rows to int16, a scale for each 32 values.
///
/// # Safety
/// The instructions of `S` are there, `rows` is a tile and nobody else touches it.
#[inline(always)]
pub(in crate::kernels) unsafe fn pack_int16<S: Words>(x: &[f32], out: &PackedView<'_>, rows: Range<usize>) {
    let (n, tile) = (out.cols, rows.len());
    let blocks = n.div_ceil(TILE_BLOCK);
    assert!(x.len() == tile * n && n.is_multiple_of(2) && rows.end <= out.rows);
    for (m, x) in x.chunks_exact(n).enumerate() {
        for (block, x) in x.chunks(TILE_BLOCK).enumerate() {
            let mut padded = [0.0; TILE_BLOCK];
            let x: &[f32] = if x.len() == TILE_BLOCK {
                x
            } else {
                padded[..x.len()].copy_from_slice(x);
                &padded
            };
            let mut rounded = [0i16; TILE_BLOCK];
            // SAFETY: the block has 32 values, a multiple of the lanes; the tile has its words and scales.
            unsafe {
                let (mut largest, mut nothing) = (S::splat(0.0), S::splat(0.0));
                for i in (0..TILE_BLOCK).step_by(S::LANES) {
                    let v = S::load(x.as_ptr().add(i));
                    largest = S::max(S::abs(v), largest);
                    // A maximum may pass over a NaN: the scale carries it (and infinity, as NaN) into the product.
                    nothing = S::fma(v, S::splat(0.0), nothing);
                }
                let largest = S::max_across(largest);
                let inverse = S::splat(inverse_scale(largest, MOST));
                for i in (0..TILE_BLOCK).step_by(2 * S::LANES) {
                    let (a, b) = (S::load(x.as_ptr().add(i)), S::load(x.as_ptr().add(i + S::LANES)));
                    S::store_i16(rounded.as_mut_ptr().add(i), S::mul(a, inverse), S::mul(b, inverse));
                }
                out.scales
                    .add(rows.start * blocks + block * tile + m)
                    .write(largest * (1.0 / MOST) + S::sum(nothing));
                let words = bytemuck::cast::<[i16; TILE_BLOCK], [u32; TILE_BLOCK / 2]>(rounded);
                let to =
                    out.bytes.cast::<u32>().add(rows.start * n / 2 + block * (TILE_BLOCK / 2) * tile + m);
                let n_words = (n - block * TILE_BLOCK).min(TILE_BLOCK) / 2;
                for (i, word) in words.into_iter().take(n_words).enumerate() {
                    to.add(i * tile).write(word);
                }
            }
        }
    }
}

/// Quantizes a tile of rows to int8, a scale for each 32 values. A row without negative values takes the whole range of
/// a byte, which halves the error of a squared ReLU: as it is where the product's activations are unsigned, else less
/// 127.
///
/// # Safety
/// The instructions of `S` are there, `rows` is a tile and nobody else touches it.
#[inline(always)]
pub(in crate::kernels) unsafe fn pack_int8<S: Words>(x: &[f32], out: &PackedView<'_>, rows: Range<usize>) {
    const HALF: usize = TILE_BLOCK / 2;
    let (n, tile) = (out.cols, rows.len());
    let blocks = n / TILE_BLOCK;
    assert!(x.len() == tile * n && n.is_multiple_of(TILE_BLOCK) && rows.end <= out.rows);
    for (m, x) in x.chunks_exact(n).enumerate() {
        // SAFETY: blocks have 32 values, a multiple of the lanes; the tile has its words, scales and sums.
        unsafe {
            // Most rows show a negative value at once. A NaN counts as one.
            let whole_range = x.chunks(TILE_BLOCK).all(|x| x.iter().all(|&x| x >= 0.0));
            let corrected = whole_range == (S::OFFSET == 0);
            out.masks.add(rows.start + m).write(if corrected { u32::MAX } else { 0 });
            let (most, shift) = match (whole_range, S::OFFSET) {
                (false, _) => (127.0, 0.0),
                (true, 0) => (254.0, 127.0),
                (true, _) => (255.0, 128.0),
            };
            // 128 more, as a byte without sign.
            let flip = if S::OFFSET == 0 { 0 } else { 0x8080_8080 };
            for (block, x) in x.chunks_exact(TILE_BLOCK).enumerate() {
                let mut values = [0i8; TILE_BLOCK];
                let mut largest = S::splat(0.0);
                for i in (0..TILE_BLOCK).step_by(S::LANES) {
                    largest = S::max(S::abs(S::load(x.as_ptr().add(i))), largest);
                }
                let largest = S::max_across(largest);
                let inverse = S::splat(inverse_scale(largest, most));
                let mut halves = [0.0; 2];
                for (half, sum) in halves.iter_mut().enumerate() {
                    let mut total = S::splat(0.0);
                    for i in (half * HALF..(half + 1) * HALF).step_by(S::LANES) {
                        let rounded = S::round(S::mul(S::load(x.as_ptr().add(i)), inverse));
                        total = S::add(total, rounded);
                        S::store_i8(values.as_mut_ptr().add(i), S::sub(rounded, S::splat(shift)));
                    }
                    *sum = S::sum(total);
                }
                // What is no number (or infinite times zero) is none in the sum either, and so makes the scale none.
                let scale = largest * (1.0 / most) + (halves[0] + halves[1]) * 0.0;
                let halves = halves.map(|half| half * scale);
                let at = rows.start * blocks + block * tile + m;
                out.scales.add(at).write(scale);
                out.sums.add(at).write(halves[0] + halves[1]);
                let at = 2 * (rows.start * blocks + block * tile) + m;
                out.half_sums.add(at).write(halves[0]);
                out.half_sums.add(at + tile).write(halves[1]);
                let words = bytemuck::cast::<[i8; TILE_BLOCK], [u32; TILE_BLOCK / 4]>(values);
                let to =
                    out.bytes.cast::<u32>().add(rows.start * n / 4 + block * (TILE_BLOCK / 4) * tile + m);
                for (i, word) in words.into_iter().enumerate() {
                    to.add(i * tile).write(word ^ flip);
                }
            }
        }
    }
}

/// One over a block's step. Blocks so small that this would overflow are zero for all purposes.
#[inline(always)]
fn inverse_scale(largest: f32, most: f32) -> f32 {
    most / largest.max(1e-30)
}
