//! Q4_K: 256 four-bit integers in 8 groups, each with a six-bit scale and minimum; ggml's `block_q4_K`.
//!
//! value = d · scale · q − dmin · min, scale and min being the group's. Groups 2i and 2i + 1 share 32 bytes
//! of `qs`, the even one in the low halves.

use std::mem::offset_of;

use super::affine::{self, Fitted, Grid};
use super::k_scales::{pack, scale_min};
use super::{Block, DType, SearchedBlock, f16_le};

#[cfg(test)]
pub(super) mod tests;

const LEN: usize = 256;
const GROUP: usize = 32;

/// 256 values: two `F16` factors, 12 bytes of packed scales and minima, 128 bytes of two four-bit integers
/// each.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ4K {
    /// Factor of the scales, an `F16`, little-endian.
    pub d: [u8; 2],
    /// Factor of the minima, an `F16`, little-endian.
    pub dmin: [u8; 2],
    /// Six-bit scales and minima, as [`BlockQ4K::scale_min`] unpacks them.
    pub scales: [u8; 12],
    /// 32 bytes for each pair of groups.
    pub qs: [u8; LEN / 2],
}

const _: () = assert!(size_of::<BlockQ4K>() == 144 && align_of::<BlockQ4K>() == 1);

impl BlockQ4K {
    /// Scale and minimum, each 0 … 63, of group `i` (0 … 7).
    ///
    /// The first four groups have theirs in the low six bits of bytes 0–3 and 4–7; the others' low four bits
    /// are in bytes 8–11 and their high two bits on top of the first eight bytes.
    ///
    /// # Panics
    /// If `i` is not below 8.
    #[inline]
    pub fn scale_min(&self, i: usize) -> (u8, u8) {
        scale_min(&self.scales, i)
    }
}

impl Block<LEN> for BlockQ4K {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ4K, d), offset_of!(BlockQ4K, dmin)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let (d, dmin) = (f16_le(self.d), f16_le(self.dmin));
        let pairs = out.as_chunks_mut::<{ 2 * GROUP }>().0.iter_mut().zip(self.qs.as_chunks::<GROUP>().0);
        for (i, (out, qs)) in pairs.enumerate() {
            let (even, odd) = out.split_at_mut(GROUP);
            for (group, (out, shift)) in [(even, 0), (odd, 4)].into_iter().enumerate() {
                let (scale, min) = self.scale_min(2 * i + group);
                let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
                for (x, &q) in out.iter_mut().zip(qs) {
                    *x = scale * f32::from(q >> shift & 15) - min;
                }
            }
        }
    }
}

const GRID: Grid = Grid { high: 15.0, scale: 63.0, reach: 8, stride: 0.125 };

impl SearchedBlock<LEN> for BlockQ4K {
    const DTYPE: DType = DType::Q4K;

    fn search(x: &[f32; LEN], importance: Option<&[f32; LEN]>) -> Result<Self, usize> {
        let fitted: Fitted<1, GROUP> =
            affine::fit(x.as_chunks().0, importance.map(|i| i.as_chunks().0), &GRID)?;
        let mut qs = [0; LEN / 2];
        for (i, byte) in qs.iter_mut().enumerate() {
            let (pair, i) = (i / GROUP, i % GROUP);
            *byte = fitted.q(2 * pair, i) | fitted.q(2 * pair + 1, i) << 4;
        }
        let scales = pack(|g| fitted.scale_min(g));
        Ok(BlockQ4K { d: fitted.d.to_le_bytes(), dmin: fitted.dmin.to_le_bytes(), scales, qs })
    }
}
