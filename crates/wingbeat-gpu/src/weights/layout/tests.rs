//! What is packed for the device decodes to the file's values, by twins of the kernels' unpacking.

use super::*;
use crate::HostMatrix;
use half::f16;
use wingbeat_backend::{
    MatrixSource, Orientation,
    conformance::{Random, random_matrix},
};

/// One row on the device, in words.
struct Row {
    layout: Layout,
    planes: [Vec<u32>; PLANES],
}

fn packed(source: &MatrixSource) -> Row {
    let (layout, _) = Layout::of(source.dtype).expect("a type of weights");
    let mut matrix = HostMatrix::new(source, false).expect("a sound matrix").expect("a type of weights");
    let planes = matrix.pack();
    let words = |i: usize| {
        planes[i].as_chunks::<4>().0.iter().map(|word: &[u8; 4]| u32::from_le_bytes(*word)).collect()
    };
    Row { layout, planes: std::array::from_fn(words) }
}

fn halves(word: u32) -> [f32; 2] {
    [word, word >> 16].map(|bits| f16::from_bits(bits as u16).to_f32())
}

fn bytes(word: u32) -> [f32; 4] {
    word.to_le_bytes().map(f32::from)
}

/// Four bytes made of nibbles, pairs or bits: number `group` of a word.
fn fours(word: u32, bits: usize, group: usize) -> u32 {
    word >> (bits * group) & (0x0101_0101 * ((1 << bits) - 1))
}

/// The twin of `load8` in `wgsl/lib/weights.wgsl`.
fn load8(row: &Row, k8: usize) -> [f32; 8] {
    let [x, y, z] = &row.planes;
    let joined = |of: &dyn Fn(usize) -> [f32; 4]| {
        let (a, b) = (of(0), of(1));
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
    };
    let d = || halves(y[k8 / 8])[k8 / 4 % 2];
    let head = k8 / 32 * 5;
    let nibbles = |half| fours(x[k8], 4, half);
    // The eight's bits among those of 32, its pairs among those of 16.
    let fifth = |half| fours(z[k8 / 4], 1, k8 % 4 * 2 + half) << 4;
    let pairs = |word: u32, half| fours(word, 2, k8 % 2 * 2 + half);
    let k_scale = || {
        let packed = y[head + 1 + k8 / 4 % 8 / 2] >> (k8 / 4 % 2 * 16);
        let [d, dmin] = halves(y[head]);
        (d * (packed & 255) as f32, dmin * (packed >> 8 & 255) as f32)
    };
    let sixteenth = || y[head + 1 + k8 / 2 % 16 / 4] >> (k8 / 2 % 4 * 8);
    match row.layout {
        Layout::F32 => std::array::from_fn(|i| f32::from_bits(x[k8 * 8 + i])),
        Layout::F16 => std::array::from_fn(|i| halves(x[k8 * 4 + i / 2])[i % 2]),
        Layout::BF16 => std::array::from_fn(|i| f32::from_bits(x[k8 * 4 + i / 2] >> (i % 2 * 16) << 16)),
        Layout::Q8_0 => joined(&|half| x[k8 * 2 + half].to_le_bytes().map(|q| f32::from(q as i8) * d())),
        Layout::Q4_0 => joined(&|half| bytes(nibbles(half)).map(|q| (q - 8.0) * d())),
        Layout::Q5_0 => joined(&|half| bytes(nibbles(half) | fifth(half)).map(|q| (q - 16.0) * d())),
        Layout::Q5_1 => {
            let [d, m] = halves(y[k8 / 4]);
            joined(&|half| bytes(nibbles(half) | fifth(half)).map(|q| q * d + m))
        }
        Layout::Q4K => {
            let (s, m) = k_scale();
            joined(&|half| bytes(nibbles(half)).map(|q| q * s - m))
        }
        Layout::Q5K => {
            let (s, m) = k_scale();
            joined(&|half| bytes(nibbles(half) | fifth(half)).map(|q| q * s - m))
        }
        Layout::Q6K => {
            let s = f32::from_bits(y[head]) * f32::from(sixteenth() as u8 as i8);
            joined(&|half| bytes(nibbles(half) | pairs(z[k8 / 2], half) << 4).map(|q| (q - 32.0) * s))
        }
        Layout::Q2K => {
            let ([d, dmin], packed) = (halves(y[head]), sixteenth());
            let (s, m) = (d * (packed & 15) as f32, dmin * (packed >> 4 & 15) as f32);
            joined(&|half| bytes(pairs(x[k8 / 2], half)).map(|q| q * s - m))
        }
    }
}

#[test]
fn packed_rows_decode_to_the_file_s_values() {
    let mut types: Vec<DType> = DType::all().filter(|dtype| Layout::of(*dtype).is_some()).collect();
    types.dedup();
    assert_eq!(types.len(), 13, "a type without a layout, or one that this test does not know");
    for (seed, dtype) in types.into_iter().enumerate() {
        for blocks in [1, 2, 3, 9] {
            // Floats in rows that are no whole eights.
            let cols = if dtype.block_len() == 1 { blocks * 7 } else { blocks * dtype.block_len() };
            let random = &mut Random::new(seed as u64);
            let source = random_matrix(random, dtype, 1, cols, Orientation::RowMajor);
            let mut expected = vec![0.0; cols];
            dtype.decode_row(&source.data, &mut expected);
            let row = packed(&source);
            let actual: Vec<f32> = (0..cols.div_ceil(8)).flat_map(|k8| load8(&row, k8)).collect();
            for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
                assert_eq!(a, e, "{} of {cols} values, seed {seed}: value {i}", dtype.name());
            }
            assert!(actual[cols..].iter().all(|a| *a == 0.0), "{}: padding", dtype.name());
        }
    }
}

#[test]
fn planes_keep_to_what_kernels_read_at_once() {
    for layout in Layout::ALL {
        for cols in [256, 512, 768, 2048] {
            // Rows of sixteens of bytes, or of single words for what is read so.
            let whole = if layout == Layout::Q2K { 4 } else { 16 };
            let [integers, scales, high] = layout.row_bytes(cols);
            assert_eq!((integers % whole, scales % 4, high % 4), (0, 0, 0), "{layout:?} of {cols}");
        }
    }
}
