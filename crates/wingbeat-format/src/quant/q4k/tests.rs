//! Q4_K against its formula, value by value in f64.

use proptest::prelude::*;

use crate::DType;
use crate::quant::tests::{block_bytes, check_block, half};

/// The 96 bits of scales read as a table: for each of the eight groups, where the low four bits, the next two
/// bits of the scale and those of the minimum begin.
const SCALE_BITS: [(usize, usize); 8] =
    [(0, 4), (8, 12), (16, 20), (24, 28), (64, 6), (72, 14), (80, 22), (88, 30)];
const MIN_BITS: [(usize, usize); 8] =
    [(32, 36), (40, 44), (48, 52), (56, 60), (68, 38), (76, 46), (84, 54), (92, 62)];

fn bits(bytes: &[u8], from: usize, n: usize) -> u32 {
    (0..n).map(|i| ((bytes[(from + i) / 8] >> ((from + i) % 8) & 1) as u32) << i).sum()
}

/// Scale and minimum of a group, from the 12 bytes of them.
pub(in crate::quant) fn six_bits(scales: &[u8], group: usize) -> (f64, f64) {
    let six = |(low, high)| (bits(scales, low, 4) + (bits(scales, high, 2) << 4)) as f64;
    (six(SCALE_BITS[group]), six(MIN_BITS[group]))
}

fn value(block: &[u8], i: usize) -> f64 {
    let group = i / 32;
    let (scale, min) = six_bits(&block[4..16], group);
    let byte = block[16 + i / 64 * 32 + i % 32];
    let q = if group.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
    half(block) * scale * q as f64 - half(&block[2..]) * min
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(144, &[0, 2])) {
        check_block(DType::Q4K, &block, value)?;
    }
}
