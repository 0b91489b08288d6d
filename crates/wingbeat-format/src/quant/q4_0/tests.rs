//! Q4_0 against its formula, value by value in f64.

use proptest::prelude::*;

use crate::DType;
use crate::quant::tests::{block_bytes, check_block, half};

fn value(block: &[u8], i: usize) -> f64 {
    let byte = block[2 + i % 16];
    let q = if i < 16 { byte & 15 } else { byte >> 4 };
    half(block) * (q as f64 - 8.0)
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(18, &[0])) {
        check_block(DType::Q4_0, &block, value)?;
    }
}
