//! Activations into the form that tiles want.

use super::{PackedView, TILE_BLOCK, int16::MOST};
use crate::simd::Words;
use std::ops::Range;

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
                let largest = Largest::of::<S>(x);
                let inverse = S::splat(largest.inverse_scale(MOST));
                for i in (0..TILE_BLOCK).step_by(2 * S::LANES) {
                    let (a, b) = (S::load(x.as_ptr().add(i)), S::load(x.as_ptr().add(i + S::LANES)));
                    S::store_i16(rounded.as_mut_ptr().add(i), S::mul(a, inverse), S::mul(b, inverse));
                }
                out.scales.add(rows.start * blocks + block * tile + m).write(largest.scale(MOST));
                let words = bytemuck::cast::<[i16; TILE_BLOCK], [u32; TILE_BLOCK / 2]>(rounded);
                let to = out.bytes.cast::<u32>().add(rows.start * n / 2 + block * (TILE_BLOCK / 2) * tile + m);
                let n_words = (n - block * TILE_BLOCK).min(TILE_BLOCK) / 2;
                for (i, word) in words.into_iter().take(n_words).enumerate() {
                    to.add(i * tile).write(word);
                }
            }
        }
    }
}

/// Quantizes a tile of rows to int8, a scale for each 32 values. A row without negative values takes the whole range of
/// a byte where the product's activations are unsigned anyway: that halves the error of a squared ReLU.
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
            let whole_range = S::OFFSET != 0 && {
                let mut least = S::splat(0.0);
                for i in (0..n).step_by(S::LANES) {
                    least = S::min(S::load(x.as_ptr().add(i)), least);
                }
                // False for a NaN too.
                S::max_across(S::sub(S::splat(0.0), least)) <= 0.0
            };
            out.masks.add(rows.start + m).write(if whole_range { 0 } else { u32::MAX });
            let (most, shift) = if whole_range { (255.0, 128.0) } else { (127.0, 0.0) };
            // 128 more, as a byte without sign.
            let flip = if S::OFFSET == 0 { 0 } else { 0x8080_8080 };
            for (block, x) in x.chunks_exact(TILE_BLOCK).enumerate() {
                let mut values = [0i8; TILE_BLOCK];
                let largest = Largest::of::<S>(x);
                let inverse = S::splat(largest.inverse_scale(most));
                let scale = largest.scale(most);
                let mut halves = [0.0; 2];
                for (half, sum) in halves.iter_mut().enumerate() {
                    let mut total = S::splat(0.0);
                    for i in (half * HALF..(half + 1) * HALF).step_by(S::LANES) {
                        let rounded = S::round(S::mul(S::load(x.as_ptr().add(i)), inverse));
                        total = S::add(total, rounded);
                        S::store_i8(values.as_mut_ptr().add(i), S::sub(rounded, S::splat(shift)));
                    }
                    *sum = S::sum(total) * scale;
                }
                let at = rows.start * blocks + block * tile + m;
                out.scales.add(at).write(scale);
                out.sums.add(at).write(halves[0] + halves[1]);
                let at = 2 * (rows.start * blocks + block * tile) + m;
                out.half_sums.add(at).write(halves[0]);
                out.half_sums.add(at + tile).write(halves[1]);
                let words = bytemuck::cast::<[i8; TILE_BLOCK], [u32; TILE_BLOCK / 4]>(values);
                let to = out.bytes.cast::<u32>().add(rows.start * n / 4 + block * (TILE_BLOCK / 4) * tile + m);
                for (i, word) in words.into_iter().enumerate() {
                    to.add(i * tile).write(word ^ flip);
                }
            }
        }
    }
}

/// The largest size in a block of activations.
struct Largest {
    size: f32,
    /// Zero, or NaN where the block holds a NaN or an infinity, which a maximum may pass over: the scale carries it into
    /// the product.
    nothing: f32,
}

impl Largest {
    /// # Safety
    /// The instructions of `S` are there, and the block is a multiple of the lanes.
    #[inline(always)]
    unsafe fn of<S: Words>(x: &[f32]) -> Largest {
        // SAFETY: the caller's promise.
        unsafe {
            let (mut largest, mut nothing) = (S::splat(0.0), S::splat(0.0));
            for i in (0..x.len()).step_by(S::LANES) {
                let v = S::load(x.as_ptr().add(i));
                largest = S::max(S::abs(v), largest);
                nothing = S::fma(v, S::splat(0.0), nothing);
            }
            Largest { size: S::max_across(largest), nothing: S::sum(nothing) }
        }
    }

    #[inline(always)]
    fn scale(&self, most: f32) -> f32 {
        self.size * (1.0 / most) + self.nothing
    }

    /// Blocks so small that their inverse scale would overflow are zero for all purposes.
    #[inline(always)]
    fn inverse_scale(&self, most: f32) -> f32 {
        most / self.size.max(1e-30)
    }
}
