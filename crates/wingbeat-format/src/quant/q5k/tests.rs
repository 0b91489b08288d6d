//! Q5_K against its formula, value by value in f64.

use proptest::prelude::*;

use crate::DType;
use crate::quant::q4k::tests::six_bits;
use crate::quant::tests::{block_bytes, check_block, half};

fn value(block: &[u8], i: usize) -> f64 {
    let (scale, min) = six_bits(&block[4..16], i / 32);
    let byte = block[48 + i / 64 * 32 + i % 32];
    let low = if i % 64 < 32 { byte % 16 } else { byte / 16 };
    let high = block[16 + i % 32] / 2u8.pow(i as u32 / 32) % 2;
    half(block) * scale * (low as f64 + 16.0 * high as f64) - half(&block[2..]) * min
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(176, &[0, 2])) {
        check_block(DType::Q5K, &block, value)?;
    }
}
