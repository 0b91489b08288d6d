//! Rows: widening of stored values, sums, layer norm, token shift.

use super::{EPS, bits, compare, config, largest, portable, tables, wide};
use crate::kernels::Kernels;
use proptest::prelude::*;
use wingbeat_backend::{conformance::Random, tolerance::ELEMENTWISE_REL};
use wingbeat_format::DType;

type Widen = unsafe fn(&[u8], &mut [f32]);

fn widen(kernels: &Kernels, dtype: DType) -> Widen {
    match dtype {
        DType::F32 => kernels.widen_f32,
        DType::F16 => kernels.widen_f16,
        _ => kernels.widen_bf16,
    }
}

/// Every half-precision and bfloat16 number there is: subnormals, infinities, NaNs.
#[test]
fn widening_is_exact_for_all_patterns() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for dtype in [DType::F16, DType::BF16] {
        let mut expected = vec![0.0; 1 << 16];
        dtype.decode_row(&bytes, &mut expected);
        for kernels in tables() {
            let mut out = vec![0.0; 1 << 16];
            // SAFETY: the table is of an available level.
            unsafe { widen(kernels, dtype)(&bytes, &mut out) };
            assert!(bits(&out) == bits(&expected), "{} {}", dtype.name(), kernels.level);
            // Every remainder of the lanes goes through the values one by one.
            for n in 0..64 {
                let start = 0x7be0 + 13 * n;
                // SAFETY: as above.
                unsafe { widen(kernels, dtype)(&bytes[2 * start..2 * (start + n)], &mut out[..n]) };
                assert_eq!(bits(&out[..n]), bits(&expected[start..start + n]), "{} of {n}", kernels.level);
            }
        }
    }
}

#[test]
fn widening_f32_copies_bits() {
    let mut random = Random::new(1);
    let bytes: Vec<u8> = (0..4 * 1000 + 1).map(|_| random.bits() as u8).collect();
    let expected: Vec<u32> =
        bytes[1..].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    for kernels in tables() {
        for n in [0, 1, 3, 4, 15, 33, 1000] {
            let mut out = vec![0.0; n];
            // SAFETY: the table is of an available level.
            unsafe { widen(kernels, DType::F32)(&bytes[1..], &mut out) };
            assert!(
                out.iter().map(|v| v.to_bits()).eq(expected[..n].iter().copied()),
                "{} {n}",
                kernels.level
            );
        }
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn sums(seed: u64, n in 0..200usize) {
        let mut random = Random::new(seed);
        let (y, z) = (random.normals(n), random.normals(n));
        let expected: Vec<f32> = y.iter().zip(&z).map(|(y, z)| y + z).collect();
        for kernels in tables() {
            let mut y = y.clone();
            // SAFETY: the table is of an available level.
            unsafe { (kernels.add)(&mut y, &z) };
            prop_assert_eq!(&y, &expected, "{}", kernels.level);
        }
    }

    /// Rows far from zero too: subtracting the mean costs digits, as many as the mean is larger than the deviation.
    #[test]
    fn layer_norms(seed: u64, n in 1..300usize, offset in prop::sample::select(vec![0.0f32, 5.0, -300.0])) {
        let mut random = Random::new(seed);
        let x: Vec<f32> = random.normals(n).into_iter().map(|x| x + offset).collect();
        let (weight, bias, eps) = (random.normals(n), random.normals(n), 1e-5f32);
        let wide_x = wide(&x);
        let mean = wide_x.iter().sum::<f64>() / n as f64;
        let variance = wide_x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64;
        let scale = 1.0 / (variance + f64::from(eps)).sqrt();
        let truth: Vec<f64> = (0..n)
            .map(|i| (wide_x[i] - mean) * scale * f64::from(weight[i]) + f64::from(bias[i]))
            .collect();
        let lost = 4.0 * (n as f64).sqrt() * EPS * mean.abs() * scale * largest(&wide(&weight));
        let limit = ELEMENTWISE_REL * largest(&truth) + lost;
        let run = |kernels: &Kernels| {
            let mut y = vec![f32::NAN; n];
            // SAFETY: the table is of an available level.
            unsafe { (kernels.layer_norm)(&x, &weight, &bias, eps, &mut y) };
            y
        };
        let twin = wide(&run(portable()));
        for kernels in tables() {
            let y = run(kernels);
            compare(format!("{} and f64", kernels.level), &y, &truth, |_| limit);
            compare(format!("{} and its twin", kernels.level), &y, &twin, |_| limit);
        }
    }

    #[test]
    fn shifts(seed: u64, n in 0..200usize) {
        let mut random = Random::new(seed);
        let (x, previous, mix) = (random.normals(n), random.normals(n), random.uniforms(n, -0.5, 1.5));
        let truth: Vec<f64> = (0..n)
            .map(|i| f64::from(x[i]) + (f64::from(previous[i]) - f64::from(x[i])) * f64::from(mix[i]))
            .collect();
        // Three roundings of parts no larger than these.
        let limit = |i: usize| 3.0 * 2.0 * EPS * f64::from(x[i].abs() + 2.0 * (previous[i] - x[i]).abs()) + 1e-30;
        let run = |kernels: &Kernels| {
            let mut y = vec![f32::NAN; n];
            // SAFETY: the table is of an available level.
            unsafe { (kernels.shift)(&x, &previous, &mix, &mut y) };
            y
        };
        let twin = wide(&run(portable()));
        for kernels in tables() {
            let y = run(kernels);
            compare(format!("{} and f64", kernels.level), &y, &truth, limit);
            compare(format!("{} and its twin", kernels.level), &y, &twin, limit);
        }
    }
}
