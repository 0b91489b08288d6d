//! What encoding by the importance of columns promises: less of the error that counts, the same refusals, and numbers
//! whatever the importance is.

use super::*;
use crate::ModelFile;

fn quantized() -> impl Iterator<Item = DType> {
    DType::all().filter(|dtype| dtype.is_quantized())
}

/// Σ importance·(x − x̂)², a part of Σ importance·x².
fn error(dtype: DType, x: &[f32], importance: &[f32], bytes: &[u8]) -> f64 {
    let mut back = vec![0.0; x.len()];
    dtype.decode_row(bytes, &mut back);
    let sum = |of: &dyn Fn(usize) -> f32| {
        (0..x.len()).map(|i| f64::from(importance[i]) * f64::from(of(i)).powi(2)).sum::<f64>()
    };
    sum(&|i| x[i] - back[i]) / sum(&|i| x[i])
}

fn weighted(dtype: DType, x: &[f32], importance: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    dtype.encode_row_weighted(x, importance, &mut bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Some(bytes.len()), dtype.row_bytes(x.len()));
    bytes
}

/// Trained weights: rows of the demo model, 24 of 1536 values.
fn trained() -> Vec<f32> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf");
    let file = ModelFile::open(path).expect("the demo model is in the repository");
    let tensor = file.tensor("blk.0.channel_mix_value.weight").expect("the demo model is RWKV-7");
    tensor.to_f32()[..24 * 1536].to_vec()
}

#[test]
fn the_error_is_less_than_without() {
    let x = trained();
    let alike = vec![1.0; x.len()];
    // Every fourth column counts as much as twenty others.
    let uneven: Vec<f32> = (0..x.len()).map(|i| if i % 4 == 1 { 20.0 } else { 1.0 }).collect();
    for dtype in quantized() {
        let mut plain = Vec::new();
        dtype.encode_row(&x, &mut plain).expect("finite values");
        let of = |importance: &[f32], bytes: &[u8]| error(dtype, &x, importance, bytes);
        let (least, uneven_bytes) = (weighted(dtype, &x, &alike), weighted(dtype, &x, &uneven));
        println!(
            "{}: {:.6} plain, {:.6} searched; {:.6} uneven, {:.6} weighted",
            dtype.name(),
            of(&alike, &plain),
            of(&alike, &least),
            of(&uneven, &least),
            of(&uneven, &uneven_bytes)
        );
        if dtype == DType::Q8_0 {
            // Nothing is searched for.
            assert_eq!((&least, &uneven_bytes), (&plain, &plain));
            continue;
        }
        assert!(of(&alike, &least) < of(&alike, &plain), "{}", dtype.name());
        assert!(of(&uneven, &uneven_bytes) < 0.98 * of(&uneven, &least), "{}", dtype.name());
    }
}

#[test]
fn rows_are_encoded_block_by_block_here_too() {
    let x = &trained()[..5 * 256];
    let importance: Vec<f32> = (0..x.len()).map(|i| (i % 7) as f32).collect();
    for dtype in quantized() {
        let n = dtype.block_len();
        let apart: Vec<u8> =
            x.chunks(n).zip(importance.chunks(n)).flat_map(|(x, i)| weighted(dtype, x, i)).collect();
        assert_eq!(weighted(dtype, x, &importance), apart, "{}", dtype.name());
        assert!(weighted(dtype, &[], &[]).is_empty());
    }
    assert_eq!(weighted(DType::F16, &x[..3], &[1.0; 3]).len(), 6);
}

#[test]
fn refusals_are_those_without() {
    for dtype in quantized() {
        for bad in [f32::NAN, f32::INFINITY, f32::MIN, 1e12] {
            let mut row = trained()[..512].to_vec();
            row[300] = bad;
            let mut out = vec![7];
            let refusal = dtype.encode_row_weighted(&row, &[1.0; 512], &mut out).unwrap_err().to_string();
            assert!(refusal.contains(dtype.name()) && refusal.contains("value 300"), "{refusal}");
            assert_eq!(out, [7], "{}", dtype.name());
        }
        let n = dtype.block_len() - 1;
        let refusal =
            dtype.encode_row_weighted(&vec![0.0; n], &vec![1.0; n], &mut Vec::new()).unwrap_err().to_string();
        assert!(refusal.contains("multiple of"), "{refusal}");
    }
}

#[test]
#[should_panic(expected = "Q4_0: importance of a row")]
fn importance_of_another_length_is_the_callers_fault() {
    let _ = DType::Q4_0.encode_row_weighted(&[0.0; 32], &[1.0; 31], &mut Vec::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bits, any importance: a refusal or finite numbers, and of moderate values near ones.
    #[test]
    fn no_importance_panics(
        bits in prop::collection::vec(any::<u32>(), 512),
        importance in prop::collection::vec(prop_oneof![Just(0.0f32), 0.0f32..1e3, Just(1e-30f32), Just(1e30f32)], 512),
        seed in prop::collection::vec(-1.0f32..1.0, 512),
    ) {
        let wild: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        for dtype in quantized() {
            let mut out = Vec::new();
            if dtype.encode_row_weighted(&wild, &importance, &mut out).is_ok() {
                let mut back = vec![0.0; 512];
                dtype.decode_row(&out, &mut back);
                prop_assert!(back.iter().all(|x| x.is_finite()), "{}", dtype.name());
            } else {
                prop_assert!(out.is_empty());
            }
            let mut back = vec![0.0; 512];
            dtype.decode_row(&weighted(dtype, &seed, &importance), &mut back);
            // What counts nothing may be anything that the scales of the others make of it.
            prop_assert!(back.iter().all(|x| x.abs() < 8.0), "{}: {:?}", dtype.name(), back);
        }
    }
}
