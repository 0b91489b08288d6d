//! Q3_K: 256 three-bit integers in 16 groups, each with a six-bit scale; ggml's `block_q3_K`.
//!
//! value = d · (scale − 32) · (q − 4). The low two bits and the third bits of the integers lie apart.

use std::mem::offset_of;

use super::signed::{self, Fitted, Grid};
use super::{Block, DType, SearchedBlock, f16_le};

#[cfg(test)]
mod tests;

const LEN: usize = 256;
/// The low bits of the block's two halves are packed alike.
const HALF: usize = LEN / 2;
const QUARTER: usize = HALF / 4;
const GROUP: usize = 16;

/// 256 values: third bits, low two bits, 12 bytes of packed scales, and an `F16` factor at the end.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ3K {
    /// Byte i has the third bits of values i, i + 32, … i + 224 from the bottom up.
    pub hmask: [u8; LEN / 8],
    /// Low two bits, 32 bytes for each half: byte i has those of values i, i + 32, i + 64, i + 96 from the
    /// bottom up.
    pub qs: [u8; LEN / 4],
    /// Six-bit scales, as [`BlockQ3K::scale`] unpacks them.
    pub scales: [u8; 12],
    /// The factor of the scales, an `F16`, little-endian.
    pub d: [u8; 2],
}

const _: () = assert!(size_of::<BlockQ3K>() == 110 && align_of::<BlockQ3K>() == 1);

impl BlockQ3K {
    /// The scale, −32 … 31, of group `i` (0 … 15).
    ///
    /// The low four bits are in the low halves of bytes 0–7 for the first eight groups and in the high halves
    /// for the others. The high two bits are in bytes 8–11, four groups in each: i, i + 4, i + 8, i + 12 from
    /// the bottom up.
    ///
    /// # Panics
    /// If `i` is not below 16.
    pub fn scale(&self, i: usize) -> i8 {
        assert!(i < LEN / GROUP, "Q3_K: scale of group {i} of 16");
        let low = self.scales[i % 8] >> (i / 8 * 4) & 15;
        let high = self.scales[8 + i % 4] >> (i / 4 * 2) & 3;
        // At most 63.
        (high << 4 | low) as i8 - 32
    }
}

impl Block<LEN> for BlockQ3K {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ3K, d)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let d = f16_le(self.d);
        let halves = out.as_chunks_mut::<HALF>().0.iter_mut().zip(self.qs.as_chunks::<QUARTER>().0);
        for (half, (out, qs)) in halves.enumerate() {
            // A quarter is 32 values: one position of the bits in all the bytes, two groups.
            for (quarter, out) in out.as_chunks_mut::<QUARTER>().0.iter_mut().enumerate() {
                let (low_shift, high_shift) = (quarter * 2, half * 4 + quarter);
                for (i, ((x, low), high)) in out.iter_mut().zip(qs).zip(&self.hmask).enumerate() {
                    let q = low >> low_shift & 3 | (high >> high_shift & 1) << 2;
                    let scale = d * f32::from(self.scale(half * 8 + quarter * 2 + i / GROUP));
                    *x = scale * (f32::from(q) - 4.0);
                }
            }
        }
    }
}

const GRID: Grid = Grid { half: 4.0, scale: 32.0, reach: 7, stride: 0.125 };

impl SearchedBlock<LEN> for BlockQ3K {
    const DTYPE: DType = DType::Q3K;

    fn search(x: &[f32; LEN], importance: Option<&[f32; LEN]>) -> Result<Self, usize> {
        let fitted: Fitted<2, GROUP> =
            signed::fit(x.as_chunks().0, importance.map(|i| i.as_chunks().0), &GRID)?;
        let (mut hmask, mut qs, mut scales) = ([0; LEN / 8], [0; LEN / 4], [0; 12]);
        for g in 0..LEN / GROUP {
            let (half, quarter) = (g / 8, g % 8 / 2);
            for i in 0..GROUP {
                // −4 … 3, stored plus 4.
                let q = (fitted.q(g, i) + 4) as u8;
                let byte = g % 2 * GROUP + i;
                qs[half * QUARTER + byte] |= (q & 3) << (quarter * 2);
                hmask[byte] |= (q >> 2) << (half * 4 + quarter);
            }
            // −32 … 31, stored plus 32.
            let scale = (fitted.scale(g) + 32) as u8;
            scales[g % 8] |= (scale & 15) << (g / 8 * 4);
            scales[8 + g % 4] |= (scale >> 4) << (g / 4 * 2);
        }
        Ok(BlockQ3K { hmask, qs, scales, d: fitted.d.to_le_bytes() })
    }
}
