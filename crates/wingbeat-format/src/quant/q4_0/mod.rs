//! Q4_0: 32 four-bit integers and their scale; ggml's `block_q4_0`.
//!
//! value = d · (q − 8). The low halves of the bytes are the first 16 values, the high halves the others.
//! Encoding is bit for bit that of llama.cpp's reference quantizer, unless it is weighted.

use std::mem::offset_of;

use half::f16;

use super::lanes::largest;
use super::signed::{self, Grid};
use super::{Block, DType, EncodeBlock, FormatError, encode_alone, f16_le};

#[cfg(test)]
mod tests;

const LEN: usize = 32;

/// 32 values: an `F16` scale `d`, then 16 bytes of two four-bit integers each.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ4_0 {
    /// The scale, an `F16`, little-endian.
    pub d: [u8; 2],
    /// Byte i: value i in the low half, value i + 16 in the high half, each plus 8.
    pub qs: [u8; LEN / 2],
}

const _: () = assert!(size_of::<BlockQ4_0>() == 18 && align_of::<BlockQ4_0>() == 1);

impl Block<LEN> for BlockQ4_0 {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ4_0, d)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let d = f16_le(self.d);
        let (low, high) = out.split_at_mut(LEN / 2);
        for ((low, high), &q) in low.iter_mut().zip(high).zip(&self.qs) {
            *low = d * (f32::from(q & 15) - 8.0);
            *high = d * (f32::from(q >> 4) - 8.0);
        }
    }
}

impl EncodeBlock<LEN> for BlockQ4_0 {
    const DTYPE: DType = DType::Q4_0;

    fn encode(x: &[f32; LEN]) -> Result<Self, usize> {
        let (d, q) = signed_integers(x, 8)?;
        Ok(BlockQ4_0::of(d, &q))
    }
}

impl BlockQ4_0 {
    fn of(d: f16, q: &[u8; LEN]) -> BlockQ4_0 {
        BlockQ4_0 { d: d.to_le_bytes(), qs: std::array::from_fn(|i| q[i] | q[i + LEN / 2] << 4) }
    }
}

const GRID: Grid = Grid { half: 8.0, scale: 1.0, reach: 7, stride: 0.125 };

/// With the scales that make the weighted error small.
pub(super) fn encode_weighted(x: &[f32], importance: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    let fit = |x: &[_], importance: &[_]| signed::fit_alone(x, importance, &GRID);
    encode_alone(DType::Q4_0, x, importance, out, fit, |fitted, b| {
        let (d, q) = fitted.block(b, &GRID);
        BlockQ4_0::of(d, &q)
    })
}

/// The scale that makes the value of the largest magnitude the lowest integer, and the integers plus `half`, 0 …
/// 2·`half` − 1: x / d + `half` rounded half up, with d before it is rounded to F16. These are llama.cpp's reference
/// quantizers of Q4_0 and Q5_0.
pub(super) fn signed_integers(x: &[f32; LEN], half: u8) -> Result<(f16, [u8; LEN]), usize> {
    let largest = largest(x)?;
    let d = x[largest] / -f32::from(half);
    let d_stored = f16::from_f32(d);
    if d_stored.is_infinite() {
        return Err(largest);
    }
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let q = |x: f32| ((x * inverse + (f32::from(half) + 0.5)) as u8).min(2 * half - 1);
    Ok((d_stored, x.map(q)))
}
