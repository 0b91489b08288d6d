//! Q8_0: the decoding formula, the rounding bound, and llama.cpp's own bytes.

use half::f16;
use proptest::prelude::*;

use crate::quant::tests::{block_bytes, check_block, half};
use crate::{DType, ModelFile};

fn encode(x: &[f32]) -> Vec<u8> {
    let mut out = Vec::new();
    DType::Q8_0.encode_row(x, &mut out).expect("the values are finite");
    out
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn hand_cases() {
    // The scale is 1: values are their integers; halves go away from zero.
    let mut x = [0.0; 32];
    x[..6].copy_from_slice(&[127.0, -127.0, 0.5, -0.5, 1.49, -2.5]);
    let mut expected = vec![0x00, 0x3c, 127, 129, 1, 255, 1, 253];
    expected.resize(34, 0);
    assert_eq!(encode(&x), expected);
    assert_eq!(encode(&[0.0; 32]), [0; 34]);
    // The smallest number there is: its scale is 0 and nothing may go wrong.
    assert_eq!(encode(&[f32::from_bits(1); 32])[..2], [0, 0]);
}

/// 96 values of a model in F16, and what llama.cpp's quantizer made of them.
#[test]
fn bytes_are_those_of_llama_cpp() {
    let halves = from_hex(
        "782b931b5a2851acd59ba8ac31ad2b2dc6a850aca225d52e601d77a68b2c652f6ea3be2d6a84802739aad52d58213a27
         842a79a8b793cd1de62b3f2f0e2c2121c4a657a18729dc2b87a571ade5a9532a822c909a7a1f6ca6ce2c06ac56a030a5
         042857a43a22362db624ac25ab19a9a025aa32a5fb9e53264d258aae51288226c7269129631e55a4682cb4a815223195
         d6a8ce2c1820212b51b145a9119e56a2f5a92f2f61ab95acd2a446aa482e5a2d7b284525629668a6c620faa9942f0b21",
    );
    let blocks = from_hex(
        "7413400425b6fcb0a759d7b6187506e44e7ff0630020cb640b1f38daff06447c460b
         9712dff3364ce596c73d58fc09e15db2f5e727eb0f65171c03f5c4e7f81f1a812a20
         5c15142105f335e409ffe339062b81e1fbf7dc56d4c9f2db4b401b10ffed07dc5b08",
    );
    let mut x = vec![0.0; 96];
    DType::F16.decode_row(&halves, &mut x);
    assert_eq!(encode(&x), blocks);
}

/// The same for a whole model, where the F16 file is at hand.
#[test]
fn a_model_converts_to_the_bytes_of_llama_cpp() {
    let Some(folder) = std::env::var_os("WINGBEAT_MODELS").filter(|folder| !folder.is_empty()) else {
        println!("skipped: WINGBEAT_MODELS does not name a folder with quant/rwkv7-2x256-F16.gguf");
        return;
    };
    let folder = std::path::PathBuf::from(folder).join("quant");
    let from = ModelFile::open(folder.join("rwkv7-2x256-F16.gguf")).expect("the model is there");
    let to = ModelFile::open(folder.join("rwkv7-2x256-Q8_0.gguf")).expect("the model is there");
    let mut n_compared = 0;
    for expected in to.tensors().iter().filter(|t| t.dtype == DType::Q8_0) {
        let x = from.tensor(&expected.name).expect("both have the same tensors").to_f32();
        assert!(encode(&x) == *expected.data, "{}", expected.name);
        n_compared += 1;
    }
    assert!(n_compared > 0);
}

proptest! {
    #[test]
    fn decodes_to_the_formula(block in block_bytes(34, &[0])) {
        check_block(DType::Q8_0, &block, |block, i| half(block) * (block[2 + i] as i8) as f64)?;
    }

    /// Rounding to a multiple of the scale d is off by at most d/2 (and the division's own rounding); storing
    /// d in F16 moves each multiple by q times d's rounding error.
    #[test]
    fn round_trip_is_within_half_a_step(x in prop::array::uniform32(-1.0f32..1.0), exponent in -20i32..20) {
        let x: Vec<f32> = x.iter().map(|x| x * 2f32.powi(exponent)).collect();
        let block = encode(&x);
        let mut back = [0.0; 32];
        DType::Q8_0.decode_row(&block, &mut back);
        let d = x.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 127.0;
        let stored = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for (i, (&x, &back)) in x.iter().zip(&back).enumerate() {
            let q = block[2 + i] as i8 as f32;
            let half_step = d * (0.5 + 127.0 * 2.0 * f32::EPSILON);
            prop_assert!((x - q * d).abs() <= half_step, "value {}: {} as {} steps of {}", i, x, q, d);
            let bound = (half_step + q.abs() * (stored - d).abs()) * (1.0 + f32::EPSILON);
            prop_assert!((x - back).abs() <= bound, "value {}: {} became {}", i, x, back);
        }
    }

    /// What has been decoded encodes to the same bytes: converting twice loses nothing more. Where the scale
    /// is a number that F16 holds in full.
    #[test]
    fn encoding_again_changes_nothing(mut q in prop::array::uniform32(-127i8..=127), scale in 1u8..=255) {
        q[7] = 127;
        let mut block = f16::from_f32(scale as f32 / 64.0).to_le_bytes().to_vec();
        block.extend(q.iter().map(|&q| q as u8));
        let mut x = [0.0; 32];
        DType::Q8_0.decode_row(&block, &mut x);
        prop_assert_eq!(encode(&x), block);
    }
}
