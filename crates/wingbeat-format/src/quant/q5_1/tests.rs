//! Q5_1 against its formula, value by value in f64.

use proptest::prelude::*;

use crate::DType;
use crate::quant::tests::{block_bytes, check_block, half};

fn value(block: &[u8], i: usize) -> f64 {
    let byte = block[8 + i % 16];
    let low = if i < 16 { byte % 16 } else { byte / 16 };
    let high = block[4 + i / 8] / 2u8.pow(i as u32 % 8) % 2;
    half(block) * (low as f64 + 16.0 * high as f64) + half(&block[2..])
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(24, &[0, 2])) {
        check_block(DType::Q5_1, &block, value)?;
    }
}
