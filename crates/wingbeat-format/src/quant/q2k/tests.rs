//! Q2_K against its formula, value by value in f64.

use proptest::prelude::*;

use crate::DType;
use crate::quant::tests::{block_bytes, check_block, half};

fn value(block: &[u8], i: usize) -> f64 {
    let (side, j) = (i / 128, i % 128);
    let q = block[16 + 32 * side + j % 32] / 4u8.pow(j as u32 / 32) % 4;
    let scale = block[i / 16];
    half(&block[80..]) * (scale % 16) as f64 * q as f64 - half(&block[82..]) * (scale / 16) as f64
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(84, &[80, 82])) {
        check_block(DType::Q2K, &block, value)?;
    }
}
