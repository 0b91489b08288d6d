//! Q4_1: 32 four-bit integers, their scale and their minimum; ggml's `block_q4_1`. Read only.
//!
//! value = d · q + m. The low halves of the bytes are the first 16 values, the high halves the others.

use std::mem::offset_of;

use super::{Block, f16_le};

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
