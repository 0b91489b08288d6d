//! Q5_1: 32 five-bit integers, their scale and their minimum; ggml's `block_q5_1`.
//!
//! value = d · q + m. The integers are stored as in Q5_0. Encoding is bit for bit that of llama.cpp's
//! reference quantizer, unless it is weighted.

use std::mem::offset_of;

use half::f16;

use super::affine::{self, Grid};
use super::q4_1::integers_above;
use super::q5_0::{five_bits, pack_five_bits};
use super::{Block, DType, EncodeBlock, FormatError, encode_alone, f16_le};

#[cfg(test)]
mod tests;

const LEN: usize = 32;

/// 32 values: an `F16` scale `d` and minimum `m`, 32 fifth bits, then 16 bytes of the low four bits of two
/// integers each.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ5_1 {
    /// The scale, an `F16`, little-endian.
    pub d: [u8; 2],
    /// The minimum, an `F16`, little-endian.
    pub m: [u8; 2],
    /// The fifth bit of value i is bit i of this number, which is little-endian.
    pub qh: [u8; LEN / 8],
    /// Byte i: value i in the low half, value i + 16 in the high half.
    pub qs: [u8; LEN / 2],
}

const _: () = assert!(size_of::<BlockQ5_1>() == 24 && align_of::<BlockQ5_1>() == 1);

impl Block<LEN> for BlockQ5_1 {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ5_1, d), offset_of!(BlockQ5_1, m)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let (d, m) = (f16_le(self.d), f16_le(self.m));
        for (x, q) in out.iter_mut().zip(five_bits(self.qh, &self.qs)) {
            *x = d * f32::from(q) + m;
        }
    }
}

impl EncodeBlock<LEN> for BlockQ5_1 {
    const DTYPE: DType = DType::Q5_1;

    fn encode(x: &[f32; LEN]) -> Result<Self, usize> {
        let (d, m, q) = integers_above(x, 31)?;
        Ok(BlockQ5_1::of(d, m, &q))
    }
}

impl BlockQ5_1 {
    fn of(d: f16, m: f16, q: &[u8; LEN]) -> BlockQ5_1 {
        let (qh, qs) = pack_five_bits(q);
        BlockQ5_1 { d: d.to_le_bytes(), m: m.to_le_bytes(), qh, qs }
    }
}

const GRID: Grid = Grid { high: 31.0, scale: 1.0, reach: 6, stride: 0.125 };

/// With the scales and minima that make the weighted error small.
pub(super) fn encode_weighted(x: &[f32], importance: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    let fit = |x: &[_], importance: &[_]| affine::fit_alone(x, importance, &GRID);
    encode_alone(DType::Q5_1, x, importance, out, fit, |fitted, b| {
        let (d, m, q) = fitted.block(b);
        BlockQ5_1::of(d, m, &q)
    })
}
