//! Q4_1 against its formula, value by value in f64.

use proptest::prelude::*;

use crate::DType;
use crate::quant::tests::{block_bytes, check_block, half};

fn value(block: &[u8], i: usize) -> f64 {
    let byte = block[4 + i % 16];
    let q = if i < 16 { byte % 16 } else { byte / 16 };
    half(block) * q as f64 + half(&block[2..])
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(20, &[0, 2])) {
        check_block(DType::Q4_1, &block, value)?;
    }
}
