//! The functions of a product, and the exponential below them, against the standard library's in f64.

use super::{compare, config, tables};
use crate::{
    kernels::{Epilogue, Kernels, exp::exp},
    level::Level,
    simd::{Simd, scalar::Scalar},
};
use proptest::prelude::*;
use wingbeat_backend::{WKV7_DECAY_SCALE, conformance::Random, tolerance::ACTIVATION_ABS};

/// `-100..=100` in steps of 1/2048, and where functions go wrong: beside zero, far out, at the ends of f32.
fn sweep() -> Vec<f32> {
    let mut z: Vec<f32> = (-100 * 2048..=100 * 2048).map(|i| i as f32 / 2048.0).collect();
    for size in
        [0.0, 1e-45, 1e-38, 1e-20, 1e-7, 1e-4, 87.29, 87.31, 88.8, 103.9, 1e4, 1e38, f32::MAX, f32::INFINITY]
    {
        z.extend([size, -size]);
    }
    z
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

fn decay(z: f64) -> f64 {
    (-f64::from(WKV7_DECAY_SCALE) * sigmoid(z)).exp()
}

fn silu(z: f64) -> f64 {
    // Of minus infinity times zero nothing is left.
    if z < -800.0 { 0.0 } else { z * sigmoid(z) }
}

fn exp_decay(z: f64) -> f64 {
    (-z.exp()).exp()
}

fn activate(kernels: &Kernels, z: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
    let mut out = z.to_vec();
    // SAFETY: the table is of an available level.
    unsafe { (kernels.activate)(&mut out, epilogue) };
    out
}

/// Largest errors found, on every level: tanh 1.5e-7, sigmoid 1.1e-7, decay 1.1e-7.
#[test]
fn activations_are_as_good_as_the_table_says() {
    let z = sweep();
    let bias: Vec<f32> = Random::new(3).normals(z.len());
    let biased: Vec<f64> = z.iter().zip(&bias).map(|(z, bias)| f64::from(*z) + f64::from(*bias)).collect();
    let of = |f: fn(f64) -> f64| -> Vec<f64> { z.iter().map(|&z| f(f64::from(z))).collect() };
    let cases = [
        ("tanh", Epilogue::Tanh, of(f64::tanh)),
        ("sigmoid", Epilogue::Sigmoid, of(sigmoid)),
        ("sigmoid with bias", Epilogue::BiasSigmoid(&bias), biased.iter().map(|&z| sigmoid(z)).collect()),
        ("decay", Epilogue::BiasDecay(&bias), biased.iter().map(|&z| decay(z)).collect()),
        ("decay of RWKV-6", Epilogue::BiasExpDecay(&bias), biased.iter().map(|&z| exp_decay(z)).collect()),
    ];
    for (name, epilogue, truth) in cases {
        for kernels in tables() {
            let actual = activate(kernels, &z, epilogue);
            let worst = actual.iter().zip(&truth).map(|(a, t)| (f64::from(*a) - t).abs()).fold(0.0, f64::max);
            println!("{name}, {}: largest error {worst:.3e}", kernels.level);
            compare(format!("{name}, {}", kernels.level), &actual, &truth, |_| ACTIVATION_ABS);
        }
    }
    // What grows is compared relative to its size.
    let truth = of(silu);
    for kernels in tables() {
        let actual = activate(kernels, &z, Epilogue::Silu);
        for ((z, actual), truth) in z.iter().zip(actual).zip(&truth).filter(|((z, _), _)| z.is_finite()) {
            let difference = (f64::from(actual) - truth).abs();
            let limit = ACTIVATION_ABS * truth.abs().max(1.0);
            assert!(difference <= limit, "silu({z}), {}: expected {truth}, actual {actual}", kernels.level);
        }
    }
    let squares: Vec<f32> = z.iter().map(|z| z.max(0.0) * z.max(0.0)).collect();
    for kernels in tables() {
        assert_eq!(activate(kernels, &z, Epilogue::ReluSquared), squares, "{}", kernels.level);
    }
}

proptest! {
    #![proptest_config(config(64))]

    /// What is left of a row after whole vectors goes another way, to nearly the same result.
    #[test]
    fn activations_of_short_rows(seed: u64, n in 0..70usize) {
        let mut random = Random::new(seed);
        let (z, bias) = (random.uniforms(n, -20.0, 20.0), random.normals(n));
        let biased = |i: usize| f64::from(z[i]) + f64::from(bias[i]);
        let each = |f: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..n).map(f).collect() };
        let cases = [
            ("tanh", Epilogue::Tanh, each(&|i| f64::from(z[i]).tanh())),
            ("sigmoid", Epilogue::Sigmoid, each(&|i| sigmoid(f64::from(z[i])))),
            ("relu²", Epilogue::ReluSquared, each(&|i| f64::from(z[i].max(0.0) * z[i].max(0.0)))),
            ("sigmoid with bias", Epilogue::BiasSigmoid(&bias), each(&|i| sigmoid(biased(i)))),
            ("decay", Epilogue::BiasDecay(&bias), each(&|i| decay(biased(i)))),
            ("decay of RWKV-6", Epilogue::BiasExpDecay(&bias), each(&|i| exp_decay(biased(i)))),
        ];
        for (name, epilogue, truth) in cases {
            for kernels in tables() {
                let actual = activate(kernels, &z, epilogue);
                compare(format!("{name} of {n}, {}", kernels.level), &actual, &truth, |_| ACTIVATION_ABS);
            }
        }
    }
}

/// What is no number must not become one, in whole vectors and in what is left of a row.
#[test]
fn functions_keep_nan() {
    let bias = [0.0; 37];
    for kernels in tables() {
        for epilogue in [
            Epilogue::Tanh,
            Epilogue::Sigmoid,
            Epilogue::ReluSquared,
            Epilogue::BiasSigmoid(&bias),
            Epilogue::BiasDecay(&bias),
            Epilogue::Silu,
            Epilogue::BiasExpDecay(&bias),
        ] {
            for at in [0, 15, 36] {
                let mut z = [0.5; 37];
                z[at] = f32::NAN;
                let nans = activate(kernels, &z, epilogue).into_iter().map(f32::is_nan);
                assert!(nans.eq((0..37).map(|i| i == at)), "NaN at {at}, {}", kernels.level);
            }
        }
    }
}

/// The largest error of `exp` relative to the result, in units of the distance from 1 to the next number.
fn exp_error<S: Simd>() -> f64 {
    let mut worst: f64 = 0.0;
    let (mut xs, mut out) = (vec![0.0; S::LANES], vec![0.0; S::LANES]);
    let n = 1 << 20;
    for start in (0..n).step_by(S::LANES) {
        for (i, x) in xs.iter_mut().enumerate() {
            *x = -87.3 + 174.6 * ((start + i) as f32 / n as f32);
        }
        // SAFETY: the caller has checked the instructions; both slices have as many values as there are lanes.
        unsafe { S::store(out.as_mut_ptr(), exp::<S>(S::load(xs.as_ptr()))) };
        for (x, y) in xs.iter().zip(&out) {
            let truth = f64::from(*x).exp();
            worst = worst.max((f64::from(*y) - truth).abs() / truth);
        }
    }
    worst / f64::from(f32::EPSILON)
}

/// Largest errors found: 0.81 without a fused multiply-add, 0.63 with it.
#[test]
fn exp_is_good_to_one_unit() {
    let mut errors = vec![(Level::Scalar, exp_error::<Scalar>())];
    #[cfg(target_arch = "x86_64")]
    {
        use crate::simd::{avx2::Avx2, avx512::Avx512};
        if Level::Avx2.is_available() {
            errors.push((Level::Avx2, exp_error::<Avx2>()));
        }
        if Level::Avx512.is_available() {
            errors.push((Level::Avx512, exp_error::<Avx512>()));
        }
    }
    #[cfg(target_arch = "aarch64")]
    if Level::Neon.is_available() {
        errors.push((Level::Neon, exp_error::<crate::simd::neon::Neon>()));
    }
    for (level, error) in errors {
        println!("exp, {level}: {error:.2} units");
        assert!(error <= 1.0, "{level}: {error:.2} units");
    }
}
