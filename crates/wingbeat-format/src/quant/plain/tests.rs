//! The plain types, against Rust's own conversions and hand cases.

use half::{bf16, f16};
use proptest::prelude::*;

use crate::DType;

fn encode(dtype: DType, x: &[f32]) -> Vec<u8> {
    let mut out = Vec::new();
    dtype.encode_row(x, &mut out).expect("plain types encode anything");
    out
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / dtype.block_bytes()];
    dtype.decode_row(bytes, &mut out);
    out
}

#[test]
fn hand_cases() {
    assert_eq!(encode(DType::F32, &[1.0, -2.0]), [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
    // 65504 is the largest half; 65520 and up round to infinity; 2^-24 is the smallest, half of it rounds to
    // even.
    let x = [1.0, -2.0, 65504.0, 65520.0, 2f32.powi(-24), 2f32.powi(-25)];
    assert_eq!(encode(DType::F16, &x), [0, 0x3c, 0, 0xc0, 0xff, 0x7b, 0, 0x7c, 1, 0, 0, 0]);
    // 1 + 2^-8 lies halfway between two BF16 and goes to the even one, 1.
    assert_eq!(encode(DType::BF16, &[1.0, 1.0 + 2f32.powi(-8), -3.0]), [0x80, 0x3f, 0x80, 0x3f, 0x40, 0xc0]);
    assert_eq!(decode(DType::I32, &[0xff; 4]), [-1.0]);
    assert_eq!(decode(DType::I64, &(-5i64).to_le_bytes()), [-5.0]);
    assert_eq!(decode(DType::F64, &0.1f64.to_le_bytes()), [0.1f32]);
}

#[test]
fn every_half_decodes_to_its_value_and_back() {
    let bits: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
    let (f16s, bf16s) = (decode(DType::F16, &bytes), decode(DType::BF16, &bytes));
    for (i, &b) in bits.iter().enumerate() {
        // Independent of the crate that converts: sign, exponent and mantissa by hand.
        let (sign, exponent, mantissa) =
            (if b >> 15 == 1 { -1.0 } else { 1.0 }, (b >> 10 & 31) as i32, (b & 0x3ff) as f64);
        let value = match exponent {
            0 => sign * mantissa * 2f64.powi(-24),
            31 if mantissa == 0.0 => sign * f64::INFINITY,
            31 => f64::NAN,
            e => sign * (1024.0 + mantissa) * 2f64.powi(e - 25),
        };
        assert!(
            f16s[i] as f64 == value || (f16s[i].is_nan() && value.is_nan()),
            "{b:#06x}: {} {value}",
            f16s[i]
        );
        let value = f32::from_bits((b as u32) << 16);
        assert!(bf16s[i] == value || (bf16s[i].is_nan() && value.is_nan()), "{b:#06x}");
    }
    for (dtype, values) in [(DType::F16, f16s), (DType::BF16, bf16s)] {
        for (pair, (value, b)) in encode(dtype, &values).chunks(2).zip(values.iter().zip(&bits)) {
            assert!(pair == b.to_le_bytes() || value.is_nan(), "{dtype:?} {b:#06x}");
        }
    }
}

proptest! {
    #[test]
    fn encoding_is_rounding(x in prop::collection::vec(any::<f32>(), 0..600)) {
        let halves: Vec<u8> = x.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        prop_assert_eq!(encode(DType::F16, &x), halves);
        let brains: Vec<u8> = x.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        prop_assert_eq!(encode(DType::BF16, &x), brains);
        let back = decode(DType::F32, &encode(DType::F32, &x));
        prop_assert!(back.iter().zip(&x).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}
