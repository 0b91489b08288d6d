//! What all encoders of quantized types promise: errors within bounds, numbers or a clear refusal for any input, and
//! what has been decoded encodes to itself; with llama.cpp's results on the demo model as a mark.

use super::*;
use crate::ModelFile;

fn quantized() -> impl Iterator<Item = DType> {
    DType::all().filter(|dtype| dtype.is_quantized())
}

fn encode(dtype: DType, x: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    dtype.encode_row(x, &mut bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Some(bytes.len()), dtype.row_bytes(x.len()));
    bytes
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / dtype.block_bytes() * dtype.block_len()];
    dtype.decode_row(bytes, &mut out);
    out
}

fn there_and_back(dtype: DType, x: &[f32]) -> Vec<f32> {
    decode(dtype, &encode(dtype, x))
}

/// A bound of a value's error in a block of which the magnitudes are at most `largest`, a part of it.
///
/// A grid over the whole range has a step of 2·`largest` over its highest integer; half of it is the error of rounding.
/// Fitted steps may leave values outside by about as much, and without a minimum the side that has one integer less
/// is a whole step away: two halves. A scale is a multiple of the highest one over `levels`, off by half of that, and
/// all integers of the value by as much; a minimum likewise. The factor's own rounding to F16 is 2⁻¹¹.
fn bound(dtype: DType) -> f32 {
    let (highest, levels) = match dtype {
        DType::Q8_0 => return 0.5 / 127.0 + 0.001,
        DType::Q4_0 => return 1.0 / 8.0 + 0.001,
        DType::Q5_0 => return 1.0 / 16.0 + 0.001,
        DType::Q4_1 => return 1.0 / 15.0 + 0.002,
        DType::Q5_1 => return 1.0 / 31.0 + 0.002,
        DType::Q2K => (3.0, 15.0),
        DType::Q3K => (7.0, 32.0),
        DType::Q4K => (15.0, 63.0),
        DType::Q5K => (31.0, 63.0),
        DType::Q6K => (63.0, 128.0),
        _ => panic!("{} is no quantized type", dtype.name()),
    };
    2.0 / highest + 3.0 / 2.0 / levels + 0.001
}

/// Factors are multiples of 2⁻²⁴, off by half of it, and so many times that as the integers say: at most 128.
const SMALLEST: f32 = 4e-6;

fn check(dtype: DType, x: &[f32]) {
    let back = there_and_back(dtype, x);
    for (block, (x, back)) in x.chunks(dtype.block_len()).zip(back.chunks(dtype.block_len())).enumerate() {
        let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let limit = bound(dtype) * largest + SMALLEST;
        for (i, (x, back)) in x.iter().zip(back).enumerate() {
            let error = (x - back).abs();
            assert!(error <= limit, "{} block {block} value {i}: {x} became {back}", dtype.name());
        }
    }
}

/// Numbers that look random, −1 to 1.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

#[test]
fn rows_of_every_kind_are_within_bounds() {
    let random = noise(1024, 1);
    let of = |f: &dyn Fn(usize) -> f32| (0..1024).map(f).collect::<Vec<f32>>();
    let rows = [
        of(&|_| 0.0),
        of(&|_| -0.0),
        of(&|_| 1.5),
        of(&|_| -1.5),
        of(&|i| if i % 2 == 0 { 2.0 } else { -2.0 }),
        of(&|i| random[i] + 3.0),
        of(&|i| random[i] - 3.0),
        of(&|i| random[i].powi(5) * 40.0),
        // One value among zeros, and one that is far from the others.
        of(&|i| if i % 256 == 77 { -9.0 } else { 0.0 }),
        of(&|i| if i % 256 == 130 { 50.0 } else { random[i] }),
        // Groups of very different sizes.
        of(&|i| random[i] * 10f32.powi(-((i / 16 % 16) as i32))),
        of(&|i| i as f32),
        of(&|i| f32::from_bits(i as u32)),
        of(&|i| random[i] * 1e-7),
        of(&|i| random[i] * 1e-30),
        // The minimum of Q4_1 and Q5_1 is a number of type F16 itself.
        of(&|i| random[i] * 60000.0),
        random.clone(),
    ];
    for dtype in quantized() {
        rows.iter().for_each(|row| check(dtype, row));
    }
}

#[test]
fn zeros_stay_zeros() {
    for dtype in quantized() {
        assert!(there_and_back(dtype, &[0.0; 256]).iter().all(|&x| x == 0.0), "{}", dtype.name());
        // The sign of nothing is nothing to represent.
        assert!(there_and_back(dtype, &[-0.0; 256]).iter().all(|&x| x == 0.0), "{}", dtype.name());
        let mut row = noise(512, 3);
        row[..256].fill(0.0);
        assert!(there_and_back(dtype, &row)[..256].iter().all(|&x| x == 0.0), "{}", dtype.name());
    }
}

#[test]
fn rows_are_encoded_block_by_block() {
    let row = noise(5 * 256, 9);
    for dtype in quantized() {
        let apart: Vec<u8> = row.chunks(dtype.block_len()).flat_map(|block| encode(dtype, block)).collect();
        assert_eq!(encode(dtype, &row), apart, "{}", dtype.name());
        assert!(encode(dtype, &[]).is_empty());
        let refusal =
            dtype.encode_row(&row[..dtype.block_len() - 1], &mut Vec::new()).unwrap_err().to_string();
        assert!(refusal.contains(dtype.name()) && refusal.contains("multiple of"), "{refusal}");
    }
}

#[test]
fn what_no_scale_can_hold_is_refused_by_name() {
    for dtype in quantized() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e12] {
            let mut row = noise(512, 5);
            row[300] = bad;
            let mut out = vec![7];
            let refusal = dtype.encode_row(&row, &mut out).unwrap_err().to_string();
            let named = refusal.contains(dtype.name()) && refusal.contains("value 300");
            assert!(named && refusal.contains(&bad.to_string()), "{refusal}");
            assert_eq!(out, [7], "{}", dtype.name());
        }
        // A range that is no finite number, of two that are.
        let mut row = [0.0; 256];
        (row[8], row[9]) = (f32::MAX, f32::MIN);
        assert!(dtype.encode_row(&row, &mut Vec::new()).is_err(), "{}", dtype.name());
    }
}

/// Blocks with factors of the largest F16, and their integers at their highest.
#[test]
fn the_largest_rows_are_represented() {
    for dtype in quantized() {
        let mut block = vec![0xff; dtype.block_bytes()];
        for &i in dtype.scale_offsets() {
            block[i..i + 2].copy_from_slice(&[0xff, 0x7b]);
        }
        match dtype {
            DType::Q8_0 => block[2..].fill(127),
            // The lowest integer too, or the least value is more than a minimum can be.
            DType::Q4_1 | DType::Q5_1 => block[4..].fill(0x0f),
            _ => {}
        }
        let row = decode(dtype, &block);
        let back = there_and_back(dtype, &row);
        for (x, back) in row.iter().zip(&back) {
            assert!((x - back).abs() <= 0.01 * x.abs() + 65504.0, "{}: {x} became {back}", dtype.name());
        }
    }
}

/// Two blocks of the demo model, `blk.0.time_mix_key.weight` from row 5 on, and what llama.cpp's quantizer makes of
/// them where it is bit for bit the same.
#[test]
fn types_without_a_search_have_the_bytes_of_llama_cpp() {
    let file = demo();
    let tensor = file.tensor("blk.0.time_mix_key.weight").expect("the demo model is RWKV-7");
    let row = &tensor.to_f32()[5 * 384..][..64];
    let expected = [
        (DType::Q4_0, "14a699a999b76947b8c43b865a5d2577c0963324795536cc8549b3767938a88720bd9e34"),
        (DType::Q4_1, "3b2577af4544552785a7251ac3689390c9762f58002433b0796547cc8549c3767949b88830bdaf35"),
        (
            DType::Q5_0,
            "14a2570dcfc23233226ec29e6088550bb5ba5bdf701c332029675864e1ba7c77098266dce17140ff50693d69",
        ),
        (
            DType::Q5_1,
            "102177af80d2301d9989a95e0a4e5b2595c1262092fd3fa0bf1f33b0296f586cf2bb7e991a8386fdf3726110508c4f6a",
        ),
    ];
    for (dtype, expected) in expected {
        let found: String = encode(dtype, row).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected, "{}", dtype.name());
    }
}

/// The relative root mean square error of llama.cpp's quantizer on 64 rows of the demo model's
/// `blk.0.channel_mix_value.weight`, without an importance matrix: none of ours is larger.
#[test]
fn searches_are_no_worse_than_those_of_llama_cpp() {
    let file = demo();
    let tensor = file.tensor("blk.0.channel_mix_value.weight").expect("the demo model is RWKV-7");
    let row = &tensor.to_f32()[..64 * 1536];
    let marks = [
        (DType::Q2K, 0.294_059),
        (DType::Q3K, 0.150_579),
        (DType::Q4K, 0.071_182),
        (DType::Q5K, 0.036_022),
        (DType::Q6K, 0.017_767),
    ];
    for (dtype, mark) in marks {
        let back = there_and_back(dtype, row);
        let squares =
            |of: &dyn Fn(usize) -> f32| (0..row.len()).map(|i| f64::from(of(i)).powi(2)).sum::<f64>();
        let found = (squares(&|i| row[i] - back[i]) / squares(&|i| row[i])).sqrt();
        println!("{}: {found:.6}, llama.cpp {mark}", dtype.name());
        assert!(found <= mark, "{}: {found} > {mark}", dtype.name());
    }
}

fn demo() -> ModelFile {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/wingbeat-demo-26m-q8_0.gguf");
    ModelFile::open(path).expect("the demo model is in the repository")
}

/// The longest step of a block's groups.
fn longest_step(dtype: DType, block: &[u8]) -> f32 {
    let half = |i: usize| f16_le([block[i], block[i + 1]]).abs();
    let scales = |n: usize, of: &dyn Fn(usize) -> f32| (0..n).map(of).fold(0.0, f32::max);
    let k_scales = |bytes: &[u8]| -> [u8; 12] { bytes.try_into().expect("twelve bytes of scales") };
    match dtype {
        DType::Q2K => half(80) * scales(16, &|g| f32::from(block[g] & 15)),
        DType::Q3K => {
            let block: &BlockQ3K = &blocks(block).expect("one block")[0];
            f16_le(block.d).abs() * scales(16, &|g| f32::from(block.scale(g)).abs())
        }
        DType::Q4K | DType::Q5K => {
            half(0) * scales(8, &|g| f32::from(k_scales::scale_min(&k_scales(&block[4..16]), g).0))
        }
        DType::Q6K => half(208) * scales(16, &|g| f32::from(block[192 + g] as i8).abs()),
        _ => half(0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bits at all: a refusal that names a value of the row, or finite numbers.
    #[test]
    fn no_input_panics(bits in prop::collection::vec(any::<u32>(), 512), shift in 0u32..256) {
        // Exponents of all sizes, and near each other.
        for x in [
            bits.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>(),
            bits.iter().map(|&bits| f32::from_bits(bits & 0x80ff_ffff | shift << 23)).collect(),
        ] {
            for dtype in quantized() {
                let mut out = Vec::new();
                match dtype.encode_row(&x, &mut out) {
                    Ok(()) => prop_assert!(decode(dtype, &out).iter().all(|x| x.is_finite()), "{}", dtype.name()),
                    Err(FormatError::NotRepresentable { index, found, .. }) => {
                        prop_assert_eq!(x[index].to_bits(), found.to_bits());
                        prop_assert!(!found.is_finite() || found.abs() > 65504.0, "{}: {}", dtype.name(), found);
                        prop_assert!(out.is_empty());
                    }
                    Err(other) => prop_assert!(false, "{other}"),
                }
            }
        }
    }

    #[test]
    fn random_rows_are_within_bounds(seed in any::<u32>(), exponent in -12i32..14, offset in -2.0f32..2.0) {
        let row: Vec<f32> = noise(512, seed).iter().map(|x| (x + offset) * 2f32.powi(exponent)).collect();
        quantized().for_each(|dtype| check(dtype, &row));
    }

    /// What a block decodes to encodes to itself, up to half of its longest step; and, where scales are integers too, up
    /// to a quarter more: half of a scale's own step, times the highest integer (31 / 126 for Q5_K).
    #[test]
    fn encoding_again_changes_little(seed in any::<u32>(), exponent in -6i32..12, power in 1i32..5) {
        let row: Vec<f32> = noise(256, seed).iter().map(|x| x.powi(power) * 2f32.powi(exponent)).collect();
        for dtype in quantized() {
            let bytes = encode(dtype, &row);
            let once = decode(dtype, &bytes);
            let twice = there_and_back(dtype, &once);
            for (i, block) in bytes.chunks(dtype.block_bytes()).enumerate() {
                let part = if dtype.block_len() == 256 { 0.75 } else { 0.5 };
                let limit = part * longest_step(dtype, block);
                for j in i * dtype.block_len()..(i + 1) * dtype.block_len() {
                    let error = (once[j] - twice[j]).abs();
                    prop_assert!(error <= limit, "{} {j}: {} became {}", dtype.name(), once[j], twice[j]);
                }
            }
        }
    }

    /// Blocks whose groups reach both ends of their range are found as they were: with integers 0 and the highest in
    /// each group, and the highest scale and minimum somewhere.
    #[test]
    fn full_grids_are_found(q in prop::collection::vec(any::<u8>(), 256), scales in prop::collection::vec(1u8..64, 16)) {
        let d = [0x1d, 0x21];
        for (dtype, high) in [(DType::Q4K, 15), (DType::Q5K, 31)] {
            let integer = |i: usize| match i % 32 { 3 => 0, 20 => high, _ => q[i] % (high + 1) };
            let group = |g: usize| match g { 1 => (63, scales[9]), 6 => (scales[6], 63), g => (scales[g], scales[8 + g]) };
            let (d, dmin) = (f16_le(d), f16_le([0x35, 0x20]));
            let x: Vec<f32> = (0..256).map(|i| {
                let (scale, min) = group(i / 32);
                d * f32::from(scale) * f32::from(integer(i)) - dmin * f32::from(min)
            }).collect();
            // A group that is above zero by its least integer has no offset that says so: none here.
            let back = there_and_back(dtype, &x);
            prop_assert_eq!(&back, &x, "{}", dtype.name());
        }
        for (dtype, half, levels) in [(DType::Q3K, 4i16, 32i16), (DType::Q6K, 32, 128)] {
            let integer = |i: usize| match i % 16 { 3 => -half, _ => i16::from(q[i]) % (2 * half) - half };
            let scale = |g: usize| match g { 5 => -levels, g => i16::from(scales[g]) % levels };
            let x: Vec<f32> = (0..256).map(|i| f16_le(d) * f32::from(scale(i / 16)) * f32::from(integer(i))).collect();
            prop_assert_eq!(&there_and_back(dtype, &x), &x, "{}", dtype.name());
        }
    }
}
