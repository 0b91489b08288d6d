//! Q8_0: 32 eight-bit integers and their scale; ggml's `block_q8_0`.
//!
//! value = d · q. Encoding is bit for bit that of llama.cpp's reference quantizer, so that a model converted
//! here equals one converted there.

use std::mem::offset_of;

use half::f16;

use super::{Block, f16_le};
use crate::error::FormatError;
use crate::quant::DType;

#[cfg(test)]
mod tests;

const LEN: usize = 32;

/// 32 values: an `F16` scale `d`, then the integers. value i = d · qs\[i\].
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BlockQ8_0 {
    /// The scale, an `F16`, little-endian.
    pub d: [u8; 2],
    /// The integers, −127 … 127 where our encoder made them.
    pub qs: [i8; LEN],
}

const _: () = assert!(size_of::<BlockQ8_0>() == 34 && align_of::<BlockQ8_0>() == 1);

impl Block<LEN> for BlockQ8_0 {
    const SCALE_OFFSETS: &'static [usize] = &[offset_of!(BlockQ8_0, d)];

    fn decode(&self, out: &mut [f32; LEN]) {
        let d = f16_le(self.d);
        for (x, &q) in out.iter_mut().zip(&self.qs) {
            *x = d * f32::from(q);
        }
    }
}

/// d = max|x| / 127, q = x / d rounded half away from zero. The division uses d before it is rounded to F16.
pub(super) fn encode(x: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    for (i, x) in x.as_chunks::<LEN>().0.iter().enumerate() {
        let max = x.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let d = max / 127.0;
        let d_stored = f16::from_f32(d);
        // A NaN leaves the maximum alone and an infinity or too large a value makes the scale infinite: all
        // would decode to something else than what was put in.
        if let Some(j) = x.iter().position(|x| x.is_nan() || (d_stored.is_infinite() && x.abs() == max)) {
            return Err(FormatError::NotRepresentable {
                dtype: DType::Q8_0,
                index: i * LEN + j,
                found: x[j],
            });
        }
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        out.extend(d_stored.to_le_bytes());
        out.extend(x.iter().map(|x| (x * inverse).round() as i8 as u8));
    }
    Ok(())
}
