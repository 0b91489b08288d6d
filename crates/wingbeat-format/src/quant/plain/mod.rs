//! Types without blocks: one value after the other, little-endian.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

use crate::error::FormatError;

#[cfg(test)]
mod tests;

/// Half-precision values converted at a time: enough to use the processor's wide conversion, little on the
/// stack.
const CHUNK: usize = 256;

pub(super) fn decode_f32(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *x = f32::from_le_bytes(*b);
    }
}

pub(super) fn encode_f32(x: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    out.extend(x.iter().flat_map(|x| x.to_le_bytes()));
    Ok(())
}

pub(super) fn decode_f16(bytes: &[u8], out: &mut [f32]) {
    let mut bits = [0u16; CHUNK];
    for (bytes, out) in bytes.chunks(2 * CHUNK).zip(out.chunks_mut(CHUNK)) {
        let bits = &mut bits[..out.len()];
        for (x, b) in bits.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *x = u16::from_le_bytes(*b);
        }
        bits.reinterpret_cast::<f16>().convert_to_f32_slice(out);
    }
}

pub(super) fn encode_f16(x: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    let mut halves = [f16::ZERO; CHUNK];
    for x in x.chunks(CHUNK) {
        let halves = &mut halves[..x.len()];
        halves.convert_from_f32_slice(x);
        out.extend(halves.iter().flat_map(|h| h.to_le_bytes()));
    }
    Ok(())
}

pub(super) fn decode_bf16(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *x = bf16::from_le_bytes(*b).to_f32();
    }
}

pub(super) fn encode_bf16(x: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    out.extend(x.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()));
    Ok(())
}

pub(super) fn decode_i32(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *x = i32::from_le_bytes(*b) as f32;
    }
}

pub(super) fn decode_i64(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *x = i64::from_le_bytes(*b) as f32;
    }
}

pub(super) fn decode_f64(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *x = f64::from_le_bytes(*b) as f32;
    }
}
