//! Q3_K against its formula, value by value in f64.

use proptest::prelude::*;

use crate::DType;
use crate::quant::tests::{block_bytes, check_block, half};

/// The 96 bits of scales read as a table: for each of the sixteen groups, where the low four bits and the
/// high two bits begin.
const SCALE_BITS: [(usize, usize); 16] = [
    (0, 64),
    (8, 72),
    (16, 80),
    (24, 88),
    (32, 66),
    (40, 74),
    (48, 82),
    (56, 90),
    (4, 68),
    (12, 76),
    (20, 84),
    (28, 92),
    (36, 70),
    (44, 78),
    (52, 86),
    (60, 94),
];

fn value(block: &[u8], i: usize) -> f64 {
    let scales = u128::from_le_bytes(std::array::from_fn(|j| if j < 12 { block[96 + j] } else { 0 }));
    let (low, high) = SCALE_BITS[i / 16];
    let scale = (scales >> low & 15) as f64 + 16.0 * (scales >> high & 3) as f64 - 32.0;
    let low = block[32 + i / 128 * 32 + i % 32] / 4u8.pow(i as u32 / 32 % 4) % 4;
    let third = block[i % 32] / 2u8.pow(i as u32 / 32) % 2;
    half(&block[108..]) * scale * (low as f64 + 4.0 * third as f64 - 4.0)
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(110, &[108])) {
        check_block(DType::Q3K, &block, value)?;
    }
}
