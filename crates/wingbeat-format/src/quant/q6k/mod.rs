//! Q6_K: 256 six-bit integers in 16 groups, each with an eight-bit scale; ggml's `block_q6_K`.
//!
//! value = d · scale · (q − 32). The low four bits and the high two bits of the integers lie apart.

use std::mem::offset_of;

use super::signed::{self, Fitted, Grid};
use super::{Block, DType, SearchedBlock, f16_le};

#[cfg(test)]
mod tests;

const LEN: usize = 256;
/// The block is made of two halves that are packed alike.
const HALF: usize = LEN / 2;
const QUARTER: usize = HALF / 4;
const GROUP: usize = 16;

/// 256 values: low four bits, high two bits, scales, and an `F16` factor at the end.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ6K {
    /// Low four bits, 64 bytes for each half: byte i has value i in its low and value i + 64 in its high
    /// half.
    pub ql: [u8; LEN / 2],
    /// High two bits, 32 bytes for each half: byte i has those of values i, i + 32, i + 64, i + 96 from the
    /// bottom up.
    pub qh: [u8; LEN / 4],
    /// The scale of each 16 values.
    pub scales: [i8; LEN / GROUP],
    /// The factor of the scales, an `F16`, little-endian.
    pub d: [u8; 2],
}

const _: () = assert!(size_of::<BlockQ6K>() == 210 && align_of::<BlockQ6K>() == 1);

impl Block<LEN> for BlockQ6K {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ6K, d)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let d = f16_le(self.d);
        let low = self.ql.as_chunks::<{ HALF / 2 }>().0;
        let high = self.qh.as_chunks::<{ HALF / 4 }>().0;
        let scales = self.scales.as_chunks::<{ HALF / GROUP }>().0;
        let halves = out.as_chunks_mut::<HALF>().0.iter_mut().zip(low).zip(high).zip(scales);
        for (((out, low), high), scales) in halves {
            // A quarter is 32 values: one run of low bits, one position of the high bits, two groups.
            for (quarter, out) in out.as_chunks_mut::<QUARTER>().0.iter_mut().enumerate() {
                let low = &low[quarter % 2 * QUARTER..][..QUARTER];
                let (low_shift, high_shift) = (quarter / 2 * 4, quarter * 2);
                for (i, ((x, low), high)) in out.iter_mut().zip(low).zip(high).enumerate() {
                    let q = low >> low_shift & 15 | (high >> high_shift & 3) << 4;
                    let scale = d * f32::from(scales[quarter * 2 + i / GROUP]);
                    *x = scale * (f32::from(q) - 32.0);
                }
            }
        }
    }
}

const GRID: Grid = Grid { half: 32.0, scale: 128.0, reach: 7, stride: 0.125 };

impl SearchedBlock<LEN> for BlockQ6K {
    const DTYPE: DType = DType::Q6K;

    fn search(x: &[f32; LEN], importance: Option<&[f32; LEN]>) -> Result<Self, usize> {
        let fitted: Fitted<2, GROUP> =
            signed::fit(x.as_chunks().0, importance.map(|i| i.as_chunks().0), &GRID)?;
        let (mut ql, mut qh) = ([0; LEN / 2], [0; LEN / 4]);
        for g in 0..LEN / GROUP {
            let (half, quarter) = (g / 8, g % 8 / 2);
            for i in 0..GROUP {
                // −32 … 31, stored plus 32.
                let q = (fitted.q(g, i) + 32) as u8;
                let byte = g % 2 * GROUP + i;
                ql[half * HALF / 2 + quarter % 2 * QUARTER + byte] |= (q & 15) << (quarter / 2 * 4);
                qh[half * QUARTER + byte] |= (q >> 4) << (quarter * 2);
            }
        }
        let scales = std::array::from_fn(|g| fitted.scale(g));
        Ok(BlockQ6K { ql, qh, scales, d: fitted.d.to_le_bytes() })
    }
}
