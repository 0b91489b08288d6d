//! Products: rows and columns of floats, int8 blocks; the quantization of activations.

use super::{bits, compare, config, portable, tables, wide};
use crate::{
    buffer::SharedRows,
    kernels::{Columns, Kernels, MatMany, MatVec, QuantRows, SCALE_VALUES, int8::QuantRow},
};
use half::f16;
use proptest::prelude::*;
use wingbeat_backend::{
    conformance::Random,
    tolerance::{ActivationPrecision, product},
};
use wingbeat_format::DType;

pub(super) const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
pub(super) const QUANTIZED: [DType; 10] = [
    DType::Q8_0,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q2K,
    DType::Q3K,
    DType::Q4K,
    DType::Q5K,
    DType::Q6K,
];

fn matvec(kernels: &Kernels, dtype: DType) -> unsafe fn(&mut MatVec<'_>) {
    match dtype {
        DType::F32 => kernels.matvec_f32,
        DType::F16 => kernels.matvec_f16,
        DType::BF16 => kernels.matvec_bf16,
        DType::Q8_0 => kernels.matvec_q8_0,
        DType::Q4_0 => kernels.matvec_q4_0,
        DType::Q4_1 => kernels.matvec_q4_1,
        DType::Q5_0 => kernels.matvec_q5_0,
        DType::Q5_1 => kernels.matvec_q5_1,
        DType::Q2K => kernels.matvec_q2_k,
        DType::Q3K => kernels.matvec_q3_k,
        DType::Q4K => kernels.matvec_q4_k,
        DType::Q5K => kernels.matvec_q5_k,
        DType::Q6K => kernels.matvec_q6_k,
        other => panic!("no product for {}", other.name()),
    }
}

fn columns(kernels: &Kernels, dtype: DType) -> unsafe fn(&mut Columns<'_>) {
    match dtype {
        DType::F32 => kernels.columns_f32,
        DType::F16 => kernels.columns_f16,
        _ => kernels.columns_bf16,
    }
}

/// Mostly normal values, some tiny (subnormal in half precision), some large, some exactly zero.
fn mixed(random: &mut Random, n: usize) -> Vec<f32> {
    let scaled = |random: &mut Random| match random.bits() % 16 {
        0 => 0.0,
        1 => random.normal() * 3e-8,
        2 => random.uniform(-65504.0, 65504.0),
        _ => random.normal(),
    };
    (0..n).map(|_| scaled(random)).collect()
}

/// A stored matrix of floats at an odd address, `padding` bytes after each row, and its values.
pub(super) struct Floats {
    bytes: Vec<u8>,
    pub(super) row_bytes: usize,
    pub(super) values: Vec<Vec<f64>>,
}

impl Floats {
    pub(super) fn random(
        random: &mut Random,
        dtype: DType,
        rows: usize,
        cols: usize,
        padding: usize,
    ) -> Floats {
        let (mut bytes, mut values, mut row) = (vec![0xff], Vec::new(), vec![0.0; cols]);
        for _ in 0..rows {
            let start = bytes.len();
            dtype.encode_row(&mixed(random, cols), &mut bytes).expect("a type with an encoder");
            dtype.decode_row(&bytes[start..], &mut row);
            values.push(wide(&row));
            bytes.extend(vec![0xff; padding]);
        }
        Floats { bytes, row_bytes: dtype.row_bytes(cols).expect("a plain type") + padding, values }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[1..]
    }
}

pub(super) fn sum(w: impl Iterator<Item = f64>, x: &[f64]) -> f64 {
    w.zip(x).map(|(w, x)| w * x).sum()
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn matvec_of_floats(
        seed: u64, n in 0..9usize, first in 0..4usize, cols in 0..300usize, padding in 0..5usize,
    ) {
        let mut random = Random::new(seed);
        for dtype in FLOATS {
            let w = Floats::random(&mut random, dtype, first + n, cols, padding);
            let x = mixed(&mut random, cols);
            let wide_x = wide(&x);
            let truth: Vec<f64> = w.values[first..].iter().map(|w| sum(w.iter().copied(), &wide_x)).collect();
            let limits: Vec<f64> =
                w.values[first..].iter().map(|w| product(w, &wide_x, ActivationPrecision::Exact)).collect();
            let run = |kernels: &Kernels| {
                let mut out = vec![f32::NAN; n];
                let (weights, row_bytes, rows) = (w.bytes(), w.row_bytes, first..first + n);
                let mut args = MatVec { weights, row_bytes, rows, x: &x, q: None, out: &mut out };
                // SAFETY: the table is of an available level.
                unsafe { matvec(kernels, dtype)(&mut args) };
                out
            };
            let twin = wide(&run(portable()));
            for kernels in tables() {
                let out = run(kernels);
                compare(format!("{} {} and f64", dtype.name(), kernels.level), &out, &truth, |i| limits[i]);
                compare(format!("{} {} and its twin", dtype.name(), kernels.level), &out, &twin, |i| limits[i]);
            }
        }
    }

    /// Rows and columns enough for several of the blocks that the kernel cuts them into.
    #[test]
    fn matmany_of_floats(
        seed: u64, first in 0..3usize, n in 1..70usize, n_tokens in 1..20usize, cols in 1..1100usize, padding in 0..5usize,
        add: bool,
    ) {
        let mut random = Random::new(seed);
        let (dtype, width) = (FLOATS[(random.bits() % 3) as usize], first + n + 1);
        let w = Floats::random(&mut random, dtype, width, cols, padding);
        let (x, before) = (mixed(&mut random, n_tokens * cols), random.normals(n_tokens * width));
        let (mut truth, mut limits) = (wide(&before), vec![1e-30; before.len()]);
        for (t, row) in (0..n_tokens).flat_map(|t| (first..first + n).map(move |row| (t, row))) {
            let (x, at) = (wide(&x[t * cols..][..cols]), t * width + row);
            let old = if add { truth[at] } else { 0.0 };
            truth[at] = old + sum(w.values[row].iter().copied(), &x);
            // One more rounding where the product is added to what was there.
            limits[at] = product(&w.values[row], &x, ActivationPrecision::Exact) + 4.0 * super::EPS * old.abs();
        }
        for kernels in tables() {
            let mut y = before.clone();
            let (rows, weights) = (first..first + n, w.bytes());
            let out = SharedRows::new(&mut y, width);
            let args = MatMany { weights, row_bytes: w.row_bytes, rows, x: &x, cols, y: out, add };
            // SAFETY: the table is of an available level; there are no other threads.
            unsafe {
                match dtype {
                    DType::F32 => (kernels.matmany_f32)(&args),
                    DType::F16 => (kernels.matmany_f16)(&args),
                    _ => (kernels.matmany_bf16)(&args),
                }
            }
            compare(format!("{} {} and f64", dtype.name(), kernels.level), &y, &truth, |i| limits[i]);
        }
    }

    #[test]
    fn columns_of_floats(
        seed: u64, n in 0..150usize, first in 0..4usize, after in 0..3usize, cols in 0..40usize, padding in 0..5usize,
    ) {
        let mut random = Random::new(seed);
        for dtype in FLOATS {
            let w = Floats::random(&mut random, dtype, cols, first + n + after, padding);
            let x = mixed(&mut random, cols);
            let wide_x = wide(&x);
            let column = |i: usize| -> Vec<f64> { w.values.iter().map(|row| row[first + i]).collect() };
            let truth: Vec<f64> = (0..n).map(|i| sum(column(i).into_iter(), &wide_x)).collect();
            let limits: Vec<f64> =
                (0..n).map(|i| product(&column(i), &wide_x, ActivationPrecision::Exact)).collect();
            let run = |kernels: &Kernels| {
                let mut out = vec![f32::NAN; n];
                let (weights, row_bytes, rows) = (w.bytes(), w.row_bytes, first..first + n);
                let mut args = Columns { weights, row_bytes, rows, x: &x, out: &mut out };
                // SAFETY: the table is of an available level.
                unsafe { columns(kernels, dtype)(&mut args) };
                out
            };
            let twin = wide(&run(portable()));
            for kernels in tables() {
                let out = run(kernels);
                compare(format!("{} {} and f64", dtype.name(), kernels.level), &out, &truth, |i| limits[i]);
                compare(format!("{} {} and its twin", dtype.name(), kernels.level), &out, &twin, |i| limits[i]);
            }
        }
    }
}

/// Block factors of every kind that is a number: zeros, subnormals, the largest.
fn factor(random: &mut Random) -> [u8; 2] {
    let ordinary = f16::from_f32(random.uniform(-0.02, 0.02));
    let special = [f16::ZERO, f16::NEG_ZERO, f16::MIN_POSITIVE_SUBNORMAL, f16::MAX, f16::MIN];
    special.get((random.bits() % 12) as usize).unwrap_or(&ordinary).to_le_bytes()
}

/// A row of random blocks; in some, all integers or all scales are the least or the greatest there are.
pub(super) fn block_row(random: &mut Random, dtype: DType, n_blocks: usize) -> Vec<u8> {
    let mut row = Vec::new();
    for _ in 0..n_blocks {
        let mut block: Vec<u8> = (0..dtype.block_bytes()).map(|_| random.bits() as u8).collect();
        // Where scales and integers lie, from the formats' definitions.
        let (scales, integers) = match dtype {
            DType::Q8_0 => (0..0, 2..34),
            DType::Q4_0 => (0..0, 2..18),
            DType::Q4_1 => (0..0, 4..20),
            DType::Q5_0 => (2..6, 6..22),
            DType::Q5_1 => (4..8, 8..24),
            DType::Q2K => (0..16, 16..80),
            DType::Q3K => (96..108, 0..96),
            DType::Q4K => (4..16, 16..144),
            DType::Q5K => (4..16, 16..176),
            _ => (192..208, 0..192),
        };
        for range in [scales, integers] {
            match random.bits() % 6 {
                0 => block[range].fill(0x00),
                1 => block[range].fill(0xff),
                2 => block[range].fill(0x80),
                3 => block[range].fill(0x7f),
                _ => {}
            }
        }
        for &at in dtype.scale_offsets() {
            block[at..at + 2].copy_from_slice(&factor(random));
        }
        row.extend(block);
    }
    row
}

/// What the terms of a row's product can be at most: `|w|`, or for a type with minimums, which may cancel, the sum
/// of the parts' sizes, from the largest integer and minimum that the type has.
pub(super) fn magnitudes(dtype: DType, row: &[u8], values: &[f64]) -> Vec<f64> {
    let (largest, largest_min) = match dtype {
        DType::Q4_1 => (15.0, 1.0),
        DType::Q5_1 => (31.0, 1.0),
        DType::Q2K => (15.0 * 3.0, 15.0),
        DType::Q4K => (63.0 * 15.0, 63.0),
        DType::Q5K => (63.0 * 31.0, 63.0),
        _ => return values.iter().map(|w| w.abs()).collect(),
    };
    let sizes = row.chunks_exact(dtype.block_bytes()).map(|block| {
        let factor = |i: usize| {
            let at = dtype.scale_offsets()[i];
            f64::from(f16::from_le_bytes([block[at], block[at + 1]]).to_f32()).abs()
        };
        factor(0) * largest + factor(1) * largest_min
    });
    sizes.flat_map(|size| std::iter::repeat_n(size, dtype.block_len())).collect()
}

fn quantized(kernels: &Kernels, x: &[f32], rows: usize, row: usize) -> QuantRows {
    let mut q = QuantRows::default();
    q.reserve(rows, x.len());
    // SAFETY: the table is of an available level.
    unsafe { (kernels.quantize)(x, &mut q, row) };
    q
}

proptest! {
    #![proptest_config(config(64))]

    /// Products of blocks are exact in integers, so only the sum over blocks is rounded: the limit counts one term a
    /// block of activations, and a few units for scaling it.
    #[test]
    fn matvec_of_blocks(
        seed: u64, n in 0..6usize, first in 0..3usize, n_blocks in 0..6usize, steep: bool, row in 0..3usize,
    ) {
        let mut random = Random::new(seed);
        for dtype in QUANTIZED {
            let cols = n_blocks * dtype.block_len();
            let row_bytes = n_blocks * dtype.block_bytes();
            let mut bytes = vec![0xff];
            (0..first + n).for_each(|_| bytes.extend(block_row(&mut random, dtype, n_blocks)));
            let weights = &bytes[1..];
            // Steep: every activation is as large as its block's largest, so all integers are ±127.
            let x = if steep {
                (0..cols).map(|_| if random.bits() & 1 == 0 { 2.0 } else { -2.0 }).collect()
            } else {
                random.normals(cols)
            };
            let q = quantized(portable(), &x, 3, row);
            let QuantRow { values, scales, .. } = q.row(row);
            let x_stored: Vec<f64> =
                values.iter().enumerate().map(|(i, &v)| f64::from(v) * f64::from(scales[i / SCALE_VALUES])).collect();
            let (mut truth, mut limits) = (Vec::new(), Vec::new());
            for row in weights.chunks_exact(row_bytes.max(1)).skip(first).take(n) {
                let mut w = vec![0.0; cols];
                dtype.decode_row(row, &mut w);
                let w = wide(&w);
                truth.push(sum(w.iter().copied(), &x_stored));
                let magnitude: f64 =
                    magnitudes(dtype, row, &w).iter().zip(&x_stored).map(|(w, x)| w * x.abs()).sum();
                limits.push((4.0 * (cols as f64 / 32.0).sqrt() + 8.0) * super::EPS * magnitude + 1e-30);
            }
            truth.resize(n, 0.0);
            limits.resize(n, 1e-30);
            let run = |kernels: &Kernels| {
                let mut out = vec![f32::NAN; n];
                let q = Some((&q, row));
                let mut args = MatVec { weights, row_bytes, rows: first..first + n, x: &x, q, out: &mut out };
                // SAFETY: the table is of an available level.
                unsafe { matvec(kernels, dtype)(&mut args) };
                out
            };
            let twin = wide(&run(portable()));
            for kernels in tables() {
                let out = run(kernels);
                compare(format!("{} {} and f64", dtype.name(), kernels.level), &out, &truth, |i| limits[i]);
                compare(format!("{} {} and its twin", dtype.name(), kernels.level), &out, &twin, |i| limits[i]);
            }
        }
    }

    /// The same bits on every level, and each value within half a step of what was given.
    #[test]
    fn quantization(seed: u64, n_blocks in 0..8usize, row in 0..3usize) {
        let mut random = Random::new(seed);
        let x: Vec<f32> = (0..n_blocks).flat_map(|_| activation_block(&mut random)).collect();
        let expected = quantized(portable(), &x, 3, row);
        let QuantRow { values, scales, sums, half_sums } = expected.row(row);
        for kernels in tables() {
            let q = quantized(kernels, &x, 3, row);
            let q = q.row(row);
            prop_assert_eq!(q.values, values, "{}", kernels.level);
            prop_assert_eq!(bits(q.scales), bits(scales), "{}", kernels.level);
            // Sums of 16 and 32 products, in any order.
            for (a, e, n) in [(q.half_sums, half_sums, 16), (q.sums, sums, 32)] {
                for (i, (a, e)) in a.iter().zip(e).enumerate() {
                    let size: f64 = x[i * n..][..n].iter().map(|x| f64::from(*x).abs()).sum();
                    if size >= f64::from(f32::MAX) {
                        continue; // a sum may be out of range then
                    }
                    let difference = (f64::from(*a) - f64::from(*e)).abs();
                    prop_assert!(difference <= 32.0 * super::EPS * size + 1e-30, "{}: {} and {}", kernels.level, a, e);
                }
            }
        }
        for (b, block) in x.chunks_exact(SCALE_VALUES).enumerate() {
            let scale = f64::from(scales[b]);
            prop_assert!(scale.is_finite() && scale >= 0.0, "scale {}", scale);
            for (x, &value) in block.iter().zip(&values[b * SCALE_VALUES..]) {
                prop_assert!((-127..=127).contains(&value), "{}", value);
                let error = (f64::from(*x) - scale * f64::from(value)).abs();
                // Half a step; a block at the smallest end of f32 may become zero.
                prop_assert!(error <= scale * 0.5001 + 1e-30, "{} is {} times {}", x, value, scale);
            }
        }
    }
}

/// A block of activations of one of the kinds that make quantizing hard.
pub(super) fn activation_block(random: &mut Random) -> [f32; 32] {
    let kind = random.bits() % 8;
    let mut block = [0.0; 32];
    for x in &mut block {
        *x = match kind {
            0 => 0.0,
            1 => -0.0,
            2 => random.normal() * 1e-40,
            3 => random.normal() * 1e-31,
            4 => random.uniform(-1.0, 1.0) * f32::MAX,
            5 => random.normal() * 1e-3,
            // The largest is 127, so scaled values are the values, and these are ties.
            6 => (random.bits() % 126) as f32 + 0.5,
            _ => random.normal(),
        };
    }
    let at = (random.bits() % 32) as usize;
    match kind {
        5 => block[at] = -1000.0,
        6 => block.iter_mut().skip(at % SCALE_VALUES).step_by(SCALE_VALUES).for_each(|x| *x = 127.0),
        _ => {}
    }
    block
}

/// What is no number must not come out of a product as one.
#[test]
fn quantized_products_keep_nan_and_infinity() {
    let mut random = Random::new(7);
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 17, 255] {
            let mut x = random.normals(256);
            x[at] = bad;
            for (kernels, dtype) in tables().into_iter().flat_map(|k| QUANTIZED.map(|d| (k, d))) {
                let n_blocks = 256 / dtype.block_len();
                let mut weights = block_row(&mut random, dtype, n_blocks);
                // Ordinary factors, so that the activation alone is to blame.
                for block in weights.chunks_exact_mut(dtype.block_bytes()) {
                    for &at in dtype.scale_offsets() {
                        block[at..at + 2].copy_from_slice(&f16::ONE.to_le_bytes());
                    }
                }
                let q = quantized(kernels, &x, 1, 0);
                let (row_bytes, mut out) = (weights.len(), [0.0]);
                let q = Some((&q, 0));
                let mut args = MatVec { weights: &weights, row_bytes, rows: 0..1, x: &x, q, out: &mut out };
                // SAFETY: the table is of an available level.
                unsafe { matvec(kernels, dtype)(&mut args) };
                assert!(
                    !out[0].is_finite(),
                    "{} {}: {bad} at {at} became {}",
                    dtype.name(),
                    kernels.level,
                    out[0]
                );
            }
        }
    }
}
