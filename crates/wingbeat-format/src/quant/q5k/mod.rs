//! Q5_K: 256 five-bit integers in 8 groups, each with a six-bit scale and minimum; ggml's `block_q5_K`.
//!
//! value = d · scale · q − dmin · min, scale and min being the group's. The low four bits lie as in Q4_K, the
//! fifth bits apart.

use std::mem::offset_of;

use super::affine::{self, Fitted, Grid};
use super::k_scales::{pack, scale_min};
use super::{Block, DType, SearchedBlock, f16_le};

#[cfg(test)]
mod tests;

const LEN: usize = 256;
const GROUP: usize = 32;

/// 256 values: two `F16` factors, 12 bytes of packed scales and minima, 32 bytes of fifth bits, 128 bytes of
/// the low four bits of two integers each.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ5K {
    /// Factor of the scales, an `F16`, little-endian.
    pub d: [u8; 2],
    /// Factor of the minima, an `F16`, little-endian.
    pub dmin: [u8; 2],
    /// Six-bit scales and minima, as [`BlockQ5K::scale_min`] unpacks them.
    pub scales: [u8; 12],
    /// Bit g of byte i is the fifth bit of value i of group g.
    pub qh: [u8; LEN / 8],
    /// 32 bytes for each pair of groups, the even group in the low halves.
    pub qs: [u8; LEN / 2],
}

const _: () = assert!(size_of::<BlockQ5K>() == 176 && align_of::<BlockQ5K>() == 1);

impl BlockQ5K {
    /// Scale and minimum, each 0 … 63, of group `i` (0 … 7), packed as in Q4_K.
    ///
    /// # Panics
    /// If `i` is not below 8.
    pub fn scale_min(&self, i: usize) -> (u8, u8) {
        scale_min(&self.scales, i)
    }
}

impl Block<LEN> for BlockQ5K {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ5K, d), offset_of!(BlockQ5K, dmin)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let (d, dmin) = (f16_le(self.d), f16_le(self.dmin));
        let pairs = self.qs.as_chunks::<GROUP>().0;
        for (group, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            let (scale, min) = self.scale_min(group);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let shift = group % 2 * 4;
            for ((x, low), high) in out.iter_mut().zip(&pairs[group / 2]).zip(&self.qh) {
                let q = low >> shift & 15 | (high >> group & 1) << 4;
                *x = scale * f32::from(q) - min;
            }
        }
    }
}

const GRID: Grid = Grid { high: 31.0, scale: 63.0, reach: 6, stride: 0.125 };

impl SearchedBlock<LEN> for BlockQ5K {
    const DTYPE: DType = DType::Q5K;

    fn search(x: &[f32; LEN], importance: Option<&[f32; LEN]>) -> Result<Self, usize> {
        let fitted: Fitted<1, GROUP> =
            affine::fit(x.as_chunks().0, importance.map(|i| i.as_chunks().0), &GRID)?;
        let (mut qs, mut qh) = ([0; LEN / 2], [0; LEN / 8]);
        for g in 0..LEN / GROUP {
            for i in 0..GROUP {
                let q = fitted.q(g, i);
                qs[g / 2 * GROUP + i] |= (q & 15) << (g % 2 * 4);
                qh[i] |= (q >> 4) << g;
            }
        }
        let scales = pack(|g| fitted.scale_min(g));
        Ok(BlockQ5K { d: fitted.d.to_le_bytes(), dmin: fitted.dmin.to_le_bytes(), scales, qh, qs })
    }
}
