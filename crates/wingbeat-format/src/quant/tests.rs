//! The registry, and what all types have in common.

use proptest::prelude::*;

use super::*;

mod encoding;
mod weighted;

#[test]
fn names_and_numbers_lead_back() {
    for dtype in DType::all() {
        assert_eq!(DType::parse(dtype.name()), Some(dtype));
        assert_eq!(DType::parse(&dtype.name().to_lowercase()), Some(dtype));
        assert_eq!(dtype.ggml_id().and_then(DType::from_ggml_id), Some(dtype));
        if let Some(name) = dtype.safetensors_name() {
            assert_eq!(DType::from_safetensors_name(name), Some(dtype));
        }
        assert_eq!(dtype.is_quantized(), dtype.safetensors_name().is_none());
    }
    assert_eq!(DType::parse("q4_k"), Some(DType::Q4K));
    assert_eq!((DType::parse("q5_k"), DType::from_ggml_id(10)), (Some(DType::Q5K), Some(DType::Q2K)));
    assert_eq!((DType::parse("IQ4_XS"), DType::from_ggml_id(23)), (None, None));
    assert_eq!(DType::from_safetensors_name("f32"), None);
}

#[test]
fn rows_are_whole_blocks() {
    assert_eq!(DType::F16.row_bytes(3), Some(6));
    assert_eq!(DType::Q8_0.row_bytes(64), Some(68));
    assert_eq!(DType::Q4K.row_bytes(256), Some(144));
    assert_eq!(DType::Q6K.row_bytes(512), Some(420));
    assert_eq!(DType::Q4_1.row_bytes(64), Some(40));
    assert_eq!(DType::Q5_0.row_bytes(64), Some(44));
    assert_eq!(DType::Q5_1.row_bytes(64), Some(48));
    assert_eq!(DType::Q2K.row_bytes(512), Some(168));
    assert_eq!(DType::Q3K.row_bytes(512), Some(220));
    assert_eq!(DType::Q5K.row_bytes(512), Some(352));
    assert_eq!(DType::Q4_0.row_bytes(0), Some(0));
    assert_eq!(DType::Q4_0.row_bytes(33), None);
    assert_eq!(DType::F64.row_bytes(usize::MAX), None);
}

#[test]
fn scales_are_where_the_table_says() {
    assert_eq!((DType::F32.scale_offsets(), DType::Q8_0.scale_offsets()), (&[][..], &[0][..]));
    assert_eq!((DType::Q5_1.scale_offsets(), DType::Q2K.scale_offsets()), (&[0, 2][..], &[80, 82][..]));
    for dtype in DType::all().filter(|dtype| dtype.is_quantized()) {
        // Random bytes with these bits clear decode to numbers; an infinite scale at any one place shows.
        let mut block = vec![0xff; dtype.block_bytes()];
        let decode = |block: &[u8]| {
            let mut out = vec![0.0; dtype.block_len()];
            dtype.decode_row(block, &mut out);
            out
        };
        for &i in dtype.scale_offsets() {
            block[i + 1] = 0x3c;
        }
        assert!(decode(&block).iter().all(|x| x.is_finite()), "{dtype:?}");
        for &i in dtype.scale_offsets() {
            let mut block = block.clone();
            block[i..i + 2].copy_from_slice(&[0, 0x7c]);
            assert!(decode(&block).iter().any(|x| !x.is_finite()), "{dtype:?} at {i}");
        }
    }
}

#[test]
fn refusals_name_the_type_and_leave_the_output() {
    let mut out = vec![7];
    let refusal =
        |dtype: DType, x: &[f32], out: &mut Vec<u8>| dtype.encode_row(x, out).unwrap_err().to_string();
    assert!(refusal(DType::I32, &[0.0; 256], &mut out).contains("I32: expected a type with an encoder"));
    let message = refusal(DType::Q8_0, &[0.0; 33], &mut out);
    assert!(
        message.contains("Q8_0") && message.contains("multiple of 32") && message.contains("33"),
        "{message}"
    );
    let mut row = [1.0; 64];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        row[40] = bad;
        let message = refusal(DType::Q8_0, &row, &mut out);
        assert!(message.contains("value 40") && message.contains(&bad.to_string()), "{message}");
    }
    assert_eq!(out, [7]);
}

#[test]
#[should_panic(expected = "Q8_0: bytes of a row of 32")]
fn a_row_of_the_wrong_length_is_the_callers_fault() {
    DType::Q8_0.decode_row(&[0; 33], &mut [0.0; 32]);
}

/// Bytes as a block of a type with finite scales: at `scales`, every `F16` loses its top exponent bit.
pub(super) fn block_bytes(n: usize, scales: &'static [usize]) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), n).prop_map(move |mut bytes| {
        for &i in scales {
            bytes[i + 1] &= 0xbf;
        }
        bytes
    })
}

/// The value of an `F16`, by hand and in f64.
pub(super) fn half(bytes: &[u8]) -> f64 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (sign, exponent, mantissa) =
        (if bits >> 15 == 1 { -1.0 } else { 1.0 }, (bits >> 10 & 31) as i32, (bits & 0x3ff) as f64);
    match exponent {
        0 => sign * mantissa * 2f64.powi(-24),
        31 => panic!("the scales of test blocks are finite"),
        e => sign * (1024.0 + mantissa) * 2f64.powi(e - 25),
    }
}

/// Compares a decoded block with `value(bytes, i)`, computed without rounding in f64. One rounding to f32 is
/// all that decoding may do, so that they must be equal.
pub(super) fn check_block(
    dtype: DType,
    bytes: &[u8],
    value: impl Fn(&[u8], usize) -> f64,
) -> Result<(), TestCaseError> {
    let mut out = vec![0.0; dtype.block_len()];
    dtype.decode_row(bytes, &mut out);
    for (i, &x) in out.iter().enumerate() {
        prop_assert_eq!(x, value(bytes, i) as f32, "{} value {}", dtype.name(), i);
    }
    Ok(())
}

proptest! {
    /// Any bytes decode, and alike at each alignment.
    #[test]
    fn alignment_makes_no_difference(bytes in prop::collection::vec(any::<u8>(), 1700)) {
        for dtype in DType::all() {
            let n = 1680 / dtype.block_bytes();
            let n_bytes = n * dtype.block_bytes();
            let decode = |bytes: &[u8]| {
                let mut out = vec![0.0; n * dtype.block_len()];
                dtype.decode_row(bytes, &mut out);
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let expected = decode(&bytes[..n_bytes]);
            for shift in 1..16 {
                let mut shifted = vec![0; shift];
                shifted.extend(&bytes[..n_bytes]);
                prop_assert_eq!(&decode(&shifted[shift..]), &expected, "{:?} shifted by {}", dtype, shift);
            }
        }
    }
}
