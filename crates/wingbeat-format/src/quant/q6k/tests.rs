//! Q6_K against its formula, value by value in f64.

use proptest::prelude::*;

use crate::DType;
use crate::quant::tests::{block_bytes, check_block, half};

fn value(block: &[u8], i: usize) -> f64 {
    let (side, j) = (i / 128, i % 128);
    let low = block[64 * side + j % 64];
    let low = if j < 64 { low % 16 } else { low / 16 };
    let high = block[128 + 32 * side + j % 32] / 4u8.pow(j as u32 / 32) % 4;
    let scale = block[192 + i / 16] as i8;
    half(&block[208..]) * scale as f64 * (16.0 * high as f64 + low as f64 - 32.0)
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(210, &[208])) {
        check_block(DType::Q6K, &block, value)?;
    }
}
