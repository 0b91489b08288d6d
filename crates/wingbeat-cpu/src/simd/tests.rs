//! Vector operations, each against plain Rust, on every instruction set of this processor.

use super::{Blocks, Simd, scalar::Scalar};
use crate::level::Level;
use wingbeat_backend::conformance::Random;

/// Runs a check on every instruction set there is here.
macro_rules! on_every_level {
    ($check:ident) => {{
        $check::<Scalar>("scalar");
        #[cfg(target_arch = "x86_64")]
        {
            if Level::Avx2.is_available() {
                $check::<super::avx2::Avx2>("avx2");
            }
            if Level::AvxVnni.is_available() {
                $check::<super::avx2::AvxVnni>("avx-vnni");
            }
            if Level::Avx512.is_available() {
                $check::<super::avx512::Avx512>("avx512");
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if Level::Neon.is_available() {
                $check::<super::neon::Neon>("neon");
            }
            if Level::NeonDot.is_available() {
                $check::<super::neon::NeonDot>("neon-dotprod");
            }
        }
    }};
}

/// All lanes of a vector.
///
/// # Safety
/// The instructions of `S` are there.
unsafe fn lanes<S: Simd>(v: S::V) -> Vec<f32> {
    let mut out = vec![0.0; S::LANES];
    // SAFETY: as many values as lanes; the caller's promise.
    unsafe { S::store(out.as_mut_ptr(), v) };
    out
}

fn map<S: Simd>(name: &str, x: &[f32], f: unsafe fn(S::V) -> S::V, expected: impl Fn(f32) -> f32) {
    for x in x.chunks_exact(S::LANES) {
        // SAFETY: the caller of the check made sure of the instructions; a chunk has as many values as lanes.
        let actual = unsafe { lanes::<S>(f(S::load(x.as_ptr()))) };
        let expected: Vec<f32> = x.iter().map(|&x| expected(x)).collect();
        assert_eq!(actual, expected, "{name} of {x:?}");
    }
}

#[test]
fn lanes_compute_what_plain_rust_does() {
    on_every_level!(check_lanes);
}

fn check_lanes<S: Simd>(level: &str) {
    let mut random = Random::new(11);
    for _ in 0..200 {
        let (a, b, c) = (random.normals(S::LANES), random.normals(S::LANES), random.normals(S::LANES));
        let each = |name: &str, actual: S::V, expected: fn(f32, f32) -> f32| {
            let expected: Vec<f32> = a.iter().zip(&b).map(|(&a, &b)| expected(a, b)).collect();
            // SAFETY: the instructions are there.
            assert_eq!(unsafe { lanes::<S>(actual) }, expected, "{name}, {level}");
        };
        // SAFETY: the instructions are there; vectors have as many values as lanes.
        unsafe {
            let (va, vb, vc) = (S::load(a.as_ptr()), S::load(b.as_ptr()), S::load(c.as_ptr()));
            each("add", S::add(va, vb), |a, b| a + b);
            each("sub", S::sub(va, vb), |a, b| a - b);
            each("mul", S::mul(va, vb), |a, b| a * b);
            each("div", S::div(va, vb), |a, b| a / b);
            each("max", S::max(va, vb), f32::max);
            each("min", S::min(va, vb), f32::min);
            for (i, fma) in lanes::<S>(S::fma(va, vb, vc)).into_iter().enumerate() {
                let (fused, two_roundings) = (a[i].mul_add(b[i], c[i]), a[i] * b[i] + c[i]);
                assert!(fma == fused || fma == two_roundings, "fma, {level}: {fma}, not {fused}");
            }
            let sum: f64 = a.iter().map(|&a| f64::from(a)).sum();
            assert!((f64::from(S::sum(va)) - sum).abs() < 1e-5, "sum, {level}");
            let fours: Vec<f32> =
                (0..S::LANES).map(|i| a[i / 4 * 4..][..4].iter().copied().fold(f32::MIN, f32::max)).collect();
            assert_eq!(lanes::<S>(S::max_of_four(va)), fours, "max_of_four, {level}");
            assert_eq!(lanes::<S>(S::splat(a[0])), vec![a[0]; S::LANES], "splat, {level}");
        }
    }
    // SAFETY: as above.
    let nan = unsafe {
        let (zero, nan) = (S::splat(0.0), S::splat(f32::NAN));
        [lanes::<S>(S::max(zero, nan)), lanes::<S>(S::min(zero, nan))]
    };
    assert!(nan.iter().flatten().all(|x| x.is_nan()), "NaN as the second operand, {level}");
    let ties: Vec<f32> = (-512..512).map(|i| i as f32 / 4.0).collect();
    map::<S>("round", &ties, S::round, f32::round_ties_even);
    map::<S>("abs", &ties, S::abs, f32::abs);
    let mut powers: Vec<f32> = (-126..=127).map(|i| i as f32).collect();
    powers.extend([0.0, 1.0]);
    map::<S>("exp2_int", &powers, S::exp2_int, |x| 2f64.powi(x as i32) as f32);
}

#[test]
fn bytes_are_rounded_to_even_and_keep_their_order() {
    on_every_level!(check_store_i8);
}

fn check_store_i8<S: Simd>(level: &str) {
    let values: Vec<f32> = (-508..=508).map(|i| i as f32 / 4.0).collect();
    for start in 0..values.len() - S::LANES {
        let mut out = vec![0x55i8; S::LANES + 2];
        // SAFETY: the instructions are there; both slices have at least as many values as lanes.
        unsafe { S::store_i8(out.as_mut_ptr().add(1), S::load(values.as_ptr().add(start))) };
        let mut expected = vec![0x55];
        expected.extend(values[start..][..S::LANES].iter().map(|x| x.round_ties_even() as i8));
        expected.push(0x55);
        assert_eq!(out, expected, "{level}");
    }
}

/// Three bytes before a block of 32: no alignment.
fn block(random: &mut Random) -> [u8; 35] {
    std::array::from_fn(|_| random.bits() as u8)
}

/// The bytes of a block, through products with ones in one place: there is no store.
///
/// # Safety
/// The instructions of `S` are there.
unsafe fn unpack<S: Blocks>(b: S::B) -> Vec<u8> {
    let byte = |i: usize| {
        let mut one = [0u8; 32];
        one[i] = 1;
        // SAFETY: the caller's promise; 32 bytes.
        unsafe { S::f_sum(S::dot_signed(b, S::load(one.as_ptr()))) as i8 as u8 }
    };
    (0..32).map(byte).collect()
}

#[test]
fn blocks_compute_what_plain_rust_does() {
    on_every_level!(check_blocks);
}

fn check_blocks<S: Blocks>(level: &str) {
    let mut random = Random::new(12);
    for _ in 0..200 {
        let (a, b) = (block(&mut random), block(&mut random));
        let (a, b) = (&a[3..], &b[3..]);
        // SAFETY: the instructions are there; slices are 32 bytes.
        unsafe {
            let (va, vb) = (S::load(a.as_ptr()), S::load(b.as_ptr()));
            let each = |f: &dyn Fn(usize) -> u8| -> Vec<u8> { (0..32).map(f).collect() };
            assert_eq!(unpack::<S>(va), a, "load, {level}");
            assert_eq!(unpack::<S>(S::load_twice(a.as_ptr())), each(&|i| a[i % 16]), "load_twice, {level}");
            assert_eq!(unpack::<S>(S::splat(a[0])), [a[0]; 32], "splat, {level}");
            assert_eq!(unpack::<S>(S::and(va, vb)), each(&|i| a[i] & b[i]), "and, {level}");
            assert_eq!(unpack::<S>(S::or(va, vb)), each(&|i| a[i] | b[i]), "or, {level}");
            assert_eq!(unpack::<S>(S::sub(va, vb)), each(&|i| a[i].wrapping_sub(b[i])), "sub, {level}");
            assert_eq!(unpack::<S>(S::shr::<2>(va)), each(&|i| a[i] >> 2), "shr 2, {level}");
            assert_eq!(unpack::<S>(S::shr::<4>(va)), each(&|i| a[i] >> 4), "shr 4, {level}");
            assert_eq!(unpack::<S>(S::shl::<2>(va)), each(&|i| a[i] << 2), "shl 2, {level}");
            assert_eq!(unpack::<S>(S::shl::<4>(va)), each(&|i| a[i] << 4), "shl 4, {level}");
            let low_high = each(&|i| if i < 16 { a[i] } else { b[i] });
            assert_eq!(unpack::<S>(S::low_high(va, vb)), low_high, "low_high, {level}");
            let some_zero = S::and(va, S::splat(3));
            let is_zero = each(&|i| if a[i] & 3 == 0 { 255 } else { 0 });
            assert_eq!(unpack::<S>(S::is_zero(some_zero)), is_zero, "is_zero, {level}");
            let eight_times = each(&|i| a[i / 8]);
            assert_eq!(
                unpack::<S>(S::each_eight_times(a.as_ptr())),
                eight_times,
                "each_eight_times, {level}"
            );
        }
    }
}

/// The halves of a dot product, told apart by `f_halves`.
///
/// # Safety
/// The instructions of `S` are there.
unsafe fn halves<S: Blocks>(dot: S::F) -> [f32; 2] {
    // SAFETY: the caller's promise; no pointers.
    [(1.0, 0.0), (0.0, 1.0)]
        .map(|(low, high)| unsafe { S::f_sum(S::f_fma(dot, S::f_halves(low, high), S::f_splat(0.0))) })
}

#[test]
fn dot_products_are_exact() {
    on_every_level!(check_dots);
}

fn check_dots<S: Blocks>(level: &str) {
    let mut random = Random::new(13);
    for round in 0..400 {
        // Every fourth block has only the extremes, all of one sign in some: sums at their largest.
        let extremes = |random: &mut Random, low: i8| match (round % 8, random.bits() & 1) {
            (0, _) => low,
            (4, 0) => low,
            (4, _) => 127,
            _ => (random.bits() as i8).max(low),
        };
        let w: [i8; 32] = std::array::from_fn(|_| extremes(&mut random, -128));
        let x: [i8; 32] = std::array::from_fn(|_| extremes(&mut random, -127));
        let u: [i8; 32] = w.map(|w| if w == -128 { 127 } else { w.abs() });
        let expected = |w: &[i8; 32]| {
            let half =
                |r: std::ops::Range<usize>| r.map(|i| i32::from(w[i]) * i32::from(x[i])).sum::<i32>() as f32;
            [half(0..16), half(16..32)]
        };
        // SAFETY: the instructions are there; all are 32 bytes.
        unsafe {
            let load = |b: &[i8; 32]| S::load(b.as_ptr().cast());
            assert_eq!(
                halves::<S>(S::dot_signed(load(&w), load(&x))),
                expected(&w),
                "signed, {level}: {w:?} {x:?}"
            );
            let actual = halves::<S>(S::dot_unsigned(load(&u), load(&x)));
            assert_eq!(actual, expected(&u), "unsigned, {level}: {u:?} {x:?}");
        }
    }
    let values: [f32; 8] = std::array::from_fn(|i| i as f32);
    // SAFETY: the instructions are there; eight values.
    unsafe {
        let v = S::f_load(values.as_ptr());
        assert_eq!(S::f_sum(v), 28.0, "f_sum, {level}");
        assert_eq!(S::f_sum(S::f_fma(v, v, S::f_splat(0.5))), 144.0, "f_fma, {level}");
        assert_eq!(S::f_sum(S::f_mul(v, v)), 140.0, "f_mul, {level}");
        assert_eq!(halves::<S>(v), [6.0, 22.0], "f_load, {level}");
    }
}

#[test]
fn every_half_is_widened() {
    on_every_level!(check_half);
}

fn check_half<S: Blocks>(level: &str) {
    for bits in 0..=u16::MAX {
        let bytes = [[0xff, 0xff], bits.to_le_bytes()].concat();
        // SAFETY: the instructions are there; two bytes.
        let (actual, expected) =
            (unsafe { S::half(bytes[2..].as_ptr()) }, half::f16::from_bits(bits).to_f32());
        let same = actual.to_bits() == expected.to_bits() || (actual.is_nan() && expected.is_nan());
        assert!(same, "{level}: {bits:#06x} became {actual}, not {expected}");
    }
}
