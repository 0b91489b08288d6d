//! Q5_0: 32 five-bit integers and their scale; ggml's `block_q5_0`.
//!
//! value = d · (q − 16). The low four bits lie as in Q4_0, the fifth bits of all values together before them.
//! Encoding is bit for bit that of llama.cpp's reference quantizer, unless it is weighted.

use std::mem::offset_of;

use half::f16;

use super::q4_0::signed_integers;
use super::signed::{self, Grid};
use super::{Block, DType, EncodeBlock, FormatError, encode_alone, f16_le};

#[cfg(test)]
mod tests;

const LEN: usize = 32;

/// 32 values: an `F16` scale `d`, 32 fifth bits, then 16 bytes of the low four bits of two integers each.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ5_0 {
    /// The scale, an `F16`, little-endian.
    pub d: [u8; 2],
    /// The fifth bit of value i is bit i of this number, which is little-endian.
    pub qh: [u8; LEN / 8],
    /// Byte i: value i in the low half, value i + 16 in the high half.
    pub qs: [u8; LEN / 2],
}

const _: () = assert!(size_of::<BlockQ5_0>() == 22 && align_of::<BlockQ5_0>() == 1);

impl Block<LEN> for BlockQ5_0 {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ5_0, d)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let d = f16_le(self.d);
        for (x, q) in out.iter_mut().zip(five_bits(self.qh, &self.qs)) {
            *x = d * (f32::from(q) - 16.0);
        }
    }
}

/// The 32 integers, 0 … 31, that Q5_0 and Q5_1 store alike.
pub(super) fn five_bits(qh: [u8; LEN / 8], qs: &[u8; LEN / 2]) -> impl Iterator<Item = u8> {
    let qh = u32::from_le_bytes(qh);
    let low = qs.iter().map(|q| q & 15).chain(qs.iter().map(|q| q >> 4));
    low.enumerate().map(move |(i, low)| low | ((qh >> i & 1) as u8) << 4)
}

/// Fifth bits and low bits of 32 integers, as [`five_bits`] reads them.
pub(super) fn pack_five_bits(q: &[u8; LEN]) -> ([u8; LEN / 8], [u8; LEN / 2]) {
    let qh = q.iter().enumerate().fold(0u32, |bits, (i, q)| bits | u32::from(q >> 4) << i);
    (qh.to_le_bytes(), std::array::from_fn(|i| q[i] & 15 | q[i + LEN / 2] << 4))
}

impl EncodeBlock<LEN> for BlockQ5_0 {
    const DTYPE: DType = DType::Q5_0;

    fn encode(x: &[f32; LEN]) -> Result<Self, usize> {
        let (d, q) = signed_integers(x, 16)?;
        Ok(BlockQ5_0::of(d, &q))
    }
}

impl BlockQ5_0 {
    fn of(d: f16, q: &[u8; LEN]) -> BlockQ5_0 {
        let (qh, qs) = pack_five_bits(q);
        BlockQ5_0 { d: d.to_le_bytes(), qh, qs }
    }
}

const GRID: Grid = Grid { half: 16.0, scale: 1.0, reach: 7, stride: 0.125 };

/// With the scales that make the weighted error small.
pub(super) fn encode_weighted(x: &[f32], importance: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    let fit = |x: &[_], importance: &[_]| signed::fit_alone(x, importance, &GRID);
    encode_alone(DType::Q5_0, x, importance, out, fit, |fitted, b| {
        let (d, q) = fitted.block(b, &GRID);
        BlockQ5_0::of(d, &q)
    })
}
