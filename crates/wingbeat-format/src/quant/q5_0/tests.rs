//! Q5_0 against its formula, value by value in f64.

use proptest::prelude::*;

use crate::DType;
use crate::quant::tests::{block_bytes, check_block, half};

fn value(block: &[u8], i: usize) -> f64 {
    let byte = block[6 + i % 16];
    let low = if i < 16 { byte % 16 } else { byte / 16 };
    let high = block[2 + i / 8] / 2u8.pow(i as u32 % 8) % 2;
    half(block) * (low as f64 + 16.0 * high as f64 - 16.0)
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(22, &[0])) {
        check_block(DType::Q5_0, &block, value)?;
    }
}
