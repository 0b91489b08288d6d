//! Q2_K: 256 two-bit integers in 16 groups, each with a four-bit scale and minimum; ggml's `block_q2_K`.
//!
//! value = d · scale · q − dmin · min, scale and min being the group's.

use std::mem::offset_of;

use super::affine::{self, Fitted, Grid};
use super::{Block, DType, SearchedBlock, f16_le};

#[cfg(test)]
mod tests;

const LEN: usize = 256;
/// The block is made of two halves that are packed alike.
const HALF: usize = LEN / 2;
const QUARTER: usize = HALF / 4;
const GROUP: usize = 16;

/// 256 values: a byte of scale and minimum for each group, 64 bytes of four two-bit integers each, and two
/// `F16` factors at the end.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ2K {
    /// The scale of each 16 values in the low half of a byte, their minimum in the high half.
    pub scales: [u8; LEN / GROUP],
    /// 32 bytes for each half of the values: byte i has values i, i + 32, i + 64, i + 96 from the bottom up.
    pub qs: [u8; LEN / 4],
    /// Factor of the scales, an `F16`, little-endian.
    pub d: [u8; 2],
    /// Factor of the minima, an `F16`, little-endian.
    pub dmin: [u8; 2],
}

const _: () = assert!(size_of::<BlockQ2K>() == 84 && align_of::<BlockQ2K>() == 1);

impl Block<LEN> for BlockQ2K {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ2K, d), offset_of!(BlockQ2K, dmin)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let (d, dmin) = (f16_le(self.d), f16_le(self.dmin));
        let scales = self.scales.as_chunks::<{ HALF / GROUP }>().0;
        let halves = out.as_chunks_mut::<HALF>().0.iter_mut().zip(self.qs.as_chunks::<QUARTER>().0);
        for ((out, qs), scales) in halves.zip(scales) {
            // A quarter is 32 values: one position of the bits in all the bytes, two groups.
            for (quarter, out) in out.as_chunks_mut::<QUARTER>().0.iter_mut().enumerate() {
                for (i, (x, q)) in out.iter_mut().zip(qs).enumerate() {
                    let packed = scales[quarter * 2 + i / GROUP];
                    let (scale, min) = (d * f32::from(packed & 15), dmin * f32::from(packed >> 4));
                    *x = scale * f32::from(q >> (quarter * 2) & 3) - min;
                }
            }
        }
    }
}

const GRID: Grid = Grid { high: 3.0, scale: 15.0, reach: 6, stride: 0.125 };

impl SearchedBlock<LEN> for BlockQ2K {
    const DTYPE: DType = DType::Q2K;

    fn search(x: &[f32; LEN], importance: Option<&[f32; LEN]>) -> Result<Self, usize> {
        let fitted: Fitted<2, GROUP> =
            affine::fit(x.as_chunks().0, importance.map(|i| i.as_chunks().0), &GRID)?;
        let mut qs = [0; LEN / 4];
        for (i, byte) in qs.iter_mut().enumerate() {
            let (half, i) = (i / QUARTER, i % QUARTER);
            for quarter in 0..4 {
                let group = half * 8 + quarter * 2 + i / GROUP;
                *byte |= fitted.q(group, i % GROUP) << (quarter * 2);
            }
        }
        let scales = std::array::from_fn(|g| {
            let (scale, min) = fitted.scale_min(g);
            scale | min << 4
        });
        Ok(BlockQ2K { scales, qs, d: fitted.d.to_le_bytes(), dmin: fitted.dmin.to_le_bytes() })
    }
}
