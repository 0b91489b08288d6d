//! Q4_1: 32 four-bit integers, their scale and their minimum; ggml's `block_q4_1`.
//!
//! value = d · q + m. The low halves of the bytes are the first 16 values, the high halves the others.
//! Encoding is bit for bit that of llama.cpp's reference quantizer, unless it is weighted.

use std::mem::offset_of;

use half::f16;

use super::affine::{self, Grid};
use super::lanes::{largest, lower, upper};
use super::{Block, DType, EncodeBlock, FormatError, encode_alone, f16_le};

#[cfg(test)]
mod tests;

const LEN: usize = 32;

/// 32 values: an `F16` scale `d` and minimum `m`, then 16 bytes of two four-bit integers each.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ4_1 {
    /// The scale, an `F16`, little-endian.
    pub d: [u8; 2],
    /// The minimum, an `F16`, little-endian.
    pub m: [u8; 2],
    /// Byte i: value i in the low half, value i + 16 in the high half.
    pub qs: [u8; LEN / 2],
}

const _: () = assert!(size_of::<BlockQ4_1>() == 20 && align_of::<BlockQ4_1>() == 1);

impl Block<LEN> for BlockQ4_1 {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ4_1, d), offset_of!(BlockQ4_1, m)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let (d, m) = (f16_le(self.d), f16_le(self.m));
        let (low, high) = out.split_at_mut(LEN / 2);
        for ((low, high), &q) in low.iter_mut().zip(high).zip(&self.qs) {
            *low = d * f32::from(q & 15) + m;
            *high = d * f32::from(q >> 4) + m;
        }
    }
}

impl EncodeBlock<LEN> for BlockQ4_1 {
    const DTYPE: DType = DType::Q4_1;

    fn encode(x: &[f32; LEN]) -> Result<Self, usize> {
        let (d, m, q) = integers_above(x, 15)?;
        Ok(BlockQ4_1::of(d, m, &q))
    }
}

impl BlockQ4_1 {
    fn of(d: f16, m: f16, q: &[u8; LEN]) -> BlockQ4_1 {
        let qs = std::array::from_fn(|i| q[i] | q[i + LEN / 2] << 4);
        BlockQ4_1 { d: d.to_le_bytes(), m: m.to_le_bytes(), qs }
    }
}

const GRID: Grid = Grid { high: 15.0, scale: 1.0, reach: 6, stride: 0.125 };

/// With the scales and minima that make the weighted error small.
pub(super) fn encode_weighted(x: &[f32], importance: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    let fit = |x: &[_], importance: &[_]| affine::fit_alone(x, importance, &GRID);
    encode_alone(DType::Q4_1, x, importance, out, fit, |fitted, b| {
        let (d, m, q) = fitted.block(b);
        BlockQ4_1::of(d, m, &q)
    })
}

/// The scale that divides the range of the values into `high` steps, the least value, and the integers, 0 … `high`:
/// (x − m) / d rounded half up, with both before they are rounded to F16. These are llama.cpp's reference quantizers of
/// Q4_1 and Q5_1.
pub(super) fn integers_above(x: &[f32; LEN], high: u8) -> Result<(f16, f16, [u8; LEN]), usize> {
    let largest = largest(x)?;
    let (least, greatest) = x.iter().fold((x[0], x[0]), |(a, b), &x| (lower(a, x), upper(b, x)));
    let d = (greatest - least) / f32::from(high);
    let (d_stored, m_stored) = (f16::from_f32(d), f16::from_f32(least));
    if d_stored.is_infinite() || m_stored.is_infinite() {
        return Err(largest);
    }
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let q = |x: f32| (((x - least) * inverse + 0.5) as u8).min(high);
    Ok((d_stored, m_stored, x.map(q)))
}
