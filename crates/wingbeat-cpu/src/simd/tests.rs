//! Vector operations, each against plain Rust, on every instruction set of this processor.

use super::{Blocks, Simd, Words, scalar::Scalar};
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
            let largest = a.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(S::max_across(va), largest, "max_across, {level}");
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
fn bytes_and_nibbles_are_widened() {
    on_every_level!(check_widening);
}

fn check_widening<S: Simd>(level: &str) {
    let bytes: Vec<u8> = (0..=255).chain(0..=255).collect();
    for bytes in (0..=256).map(|first| &bytes[first..][..S::LANES]) {
        // SAFETY: the instructions are there; as many bytes as lanes.
        let (signed, (low, high)) = unsafe { (S::load_i8(bytes.as_ptr()), S::load_nibbles(bytes.as_ptr())) };
        let each = |f: &dyn Fn(u8) -> f32| -> Vec<f32> { bytes.iter().map(|&b| f(b)).collect() };
        // SAFETY: as above.
        unsafe {
            assert_eq!(lanes::<S>(signed), each(&|b| f32::from(b as i8)), "load_i8, {level}");
            assert_eq!(lanes::<S>(low), each(&|b| f32::from(b & 15)), "load_nibbles, {level}");
            assert_eq!(lanes::<S>(high), each(&|b| f32::from(b >> 4)), "load_nibbles, {level}");
        }
    }
}

#[test]
fn what_is_not_zero_is_listed() {
    on_every_level!(check_list);
}

fn check_list<S: Simd>(level: &str) {
    const LEN: usize = 70;
    let mut random = Random::new(17);
    for round in 0..200 {
        let mut value = || match random.bits() % 8 {
            0 => -0.0,
            1 => f32::NAN,
            2 => f32::INFINITY,
            3 => f32::from_bits(1),
            4 | 5 if round % 2 == 0 => 1.5,
            _ => 0.0,
        };
        let x: Vec<f32> = (0..round % LEN).map(|_| value()).collect();
        let (mut index, mut values) = (vec![0xffffu16; x.len() + S::LANES], vec![7.0f32; x.len() + S::LANES]);
        // SAFETY: the instructions are there; the lists have room for a vector more than there are values.
        let n = unsafe { S::list_non_zero(&x, index.as_mut_ptr(), values.as_mut_ptr()) };
        let expected: Vec<usize> = (0..x.len()).filter(|&i| x[i] != 0.0).collect();
        let actual: Vec<usize> = index[..n].iter().map(|&i| usize::from(i)).collect();
        assert_eq!(actual, expected, "{level}: {x:?}");
        let same = expected.iter().zip(&values).all(|(&i, value)| x[i].to_bits() == value.to_bits());
        assert!(same, "{level}: {values:?} of {x:?}");
    }
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

/// The bytes of a block, stored between two others.
///
/// # Safety
/// The instructions of `S` are there.
unsafe fn unpack<S: Blocks>(b: S::B) -> Vec<u8> {
    let mut out = vec![0x55; 34];
    // SAFETY: the caller's promise; 32 bytes.
    unsafe { S::store(out.as_mut_ptr().add(1), b) };
    assert_eq!((out[0], out[33]), (0x55, 0x55));
    out[1..33].to_vec()
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
        let mut out = [f32::NAN; 10];
        S::f_store(out.as_mut_ptr().add(1), v);
        assert_eq!(out[1..9], values, "f_store, {level}");
        assert!(out[0].is_nan() && out[9].is_nan(), "f_store, {level}");
        for first in i8::MIN..=i8::MAX - 7 {
            let bytes: [i8; 9] = std::array::from_fn(|i| first.wrapping_add(i as i8).wrapping_sub(1));
            S::f_store(out.as_mut_ptr().add(1), S::f_from_i8(bytes.as_ptr().add(1).cast()));
            let expected: Vec<f32> = bytes[1..].iter().map(|&b| f32::from(b)).collect();
            assert_eq!(out[1..9], expected, "f_from_i8, {level}");
        }
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

/// All words of a vector, stored between two others.
///
/// # Safety
/// The instructions of `S` are there.
unsafe fn words<S: Words>(w: S::W) -> Vec<i32> {
    let mut out = vec![0x55u8; 4 * S::LANES + 2];
    // SAFETY: the caller's promise; as many words as lanes.
    unsafe { S::store_words(out.as_mut_ptr().add(1), w) };
    assert_eq!((out[0], out[4 * S::LANES + 1]), (0x55, 0x55));
    let words = out[1..][..4 * S::LANES].as_chunks::<4>().0;
    words.iter().map(|&word| i32::from_le_bytes(word)).collect()
}

#[test]
fn words_compute_what_plain_rust_does() {
    on_every_level!(check_words);
}

fn check_words<S: Words>(level: &str) {
    let mut random = Random::new(14);
    for round in 0..400 {
        // Every fourth vector has only the extremes, all of one sign in some: sums at their largest.
        let byte = |random: &mut Random, least: i32, most: i32| match (round % 8, random.bits() & 1) {
            (0, _) | (4, 0) => least,
            (4, _) => most,
            _ => least + (random.bits() % (most - least + 1) as u64) as i32,
        };
        let bytes = |random: &mut Random, least: i32, most: i32| -> Vec<u8> {
            // A byte before the words: no alignment.
            (0..=4 * S::LANES).map(|_| byte(random, least, most) as u8).collect()
        };
        let (w, sums) = (bytes(&mut random, -128, 127), bytes(&mut random, -128, 127));
        let (least, most) = if S::OFFSET == 0 { (-127, 127) } else { (0, 255) };
        let x = bytes(&mut random, least, most);
        let (w, x, sums) = (&w[1..], &x[1..], &sums[1..]);
        let word =
            |bytes: &[u8], i: usize| i32::from_le_bytes(bytes[4 * i..][..4].try_into().expect("four bytes"));
        let each = |f: &dyn Fn(usize) -> i32| -> Vec<i32> { (0..S::LANES).map(f).collect() };
        // SAFETY: the instructions are there; slices have as many words as lanes.
        unsafe {
            let (vw, vx, vs) = (S::words(w.as_ptr()), S::words(x.as_ptr()), S::words(sums.as_ptr()));
            assert_eq!(words::<S>(vw), each(&|i| word(w, i)), "words, {level}");
            assert_eq!(words::<S>(S::zero()), each(&|_| 0), "zero, {level}");
            assert_eq!(words::<S>(S::word(w.as_ptr())), each(&|_| word(w, 0)), "word, {level}");
            assert_eq!(words::<S>(S::and(vw, vx)), each(&|i| word(w, i) & word(x, i)), "and, {level}");
            assert_eq!(words::<S>(S::negate(vw)), each(&|i| word(w, i).wrapping_neg()), "negate, {level}");
            let floats: Vec<f32> = (0..S::LANES).map(|i| word(w, i) as f32).collect();
            assert_eq!(lanes::<S>(S::float(vw)), floats, "float, {level}");
            let activation = |x: u8| if S::OFFSET == 0 { i32::from(x as i8) } else { i32::from(x) };
            let dot_int8 = each(&|i| {
                let dot = (4 * i..4 * i + 4).map(|i| i32::from(w[i] as i8) * activation(x[i])).sum();
                word(sums, i).wrapping_add(dot)
            });
            assert_eq!(words::<S>(S::dot_int8(vs, vw, vx)), dot_int8, "dot_int8, {level}: {w:?} {x:?}");
        }
    }
}

#[test]
fn dot_products_of_int16_are_exact() {
    on_every_level!(check_dot_int16);
}

fn check_dot_int16<S: Words>(level: &str) {
    let mut random = Random::new(15);
    for round in 0..400 {
        let mut values = |extreme: bool| -> Vec<i16> {
            let value = |random: &mut Random| match (extreme, random.bits() & 1) {
                (true, 0) => i16::MIN,
                (true, _) => i16::MAX,
                _ => random.bits() as i16,
            };
            (0..2 * S::LANES).map(|_| value(&mut random)).collect()
        };
        let (w, x) = (values(round % 4 == 0), values(round % 4 < 2));
        let sums: Vec<i32> = (0..S::LANES).map(|_| random.bits() as i32).collect();
        let expected: Vec<i32> = (0..S::LANES)
            .map(|i| {
                let product = |i: usize| i32::from(w[i]) * i32::from(x[i]);
                sums[i].wrapping_add(product(2 * i)).wrapping_add(product(2 * i + 1))
            })
            .collect();
        // SAFETY: the instructions are there; all have as many words as lanes.
        let actual = unsafe {
            let load = |v: &[i16]| S::words(v.as_ptr().cast());
            words::<S>(S::dot_int16(S::words(sums.as_ptr().cast()), load(&w), load(&x)))
        };
        assert_eq!(actual, expected, "{level}: {w:?} {x:?}");
    }
}

#[test]
fn int16_values_are_rounded_to_even_and_keep_their_order() {
    on_every_level!(check_store_i16);
}

fn check_store_i16<S: Words>(level: &str) {
    let mut values: Vec<f32> = (-40..=40).map(|i| i as f32 / 4.0).collect();
    values.extend([-32767.0, 32767.0, -8191.0, 8191.0, -32766.5, 32766.5, 255.5, -256.5]);
    values.extend((0..64).map(|i| (i * 1021 - 32_700) as f32 + 0.25));
    for start in 0..=values.len() - 2 * S::LANES {
        let values = &values[start..][..2 * S::LANES];
        let mut out = vec![0x55i16; 2 * S::LANES + 2];
        // SAFETY: the instructions are there; both slices have at least twice as many values as lanes.
        unsafe {
            let (a, b) = (S::load(values.as_ptr()), S::load(values.as_ptr().add(S::LANES)));
            S::store_i16(out.as_mut_ptr().add(1), a, b);
        }
        let mut expected = vec![0x55];
        expected.extend(values.iter().map(|x| x.round_ties_even() as i16));
        expected.push(0x55);
        assert_eq!(out, expected, "{level}");
    }
}

#[test]
fn transposing_moves_every_word() {
    on_every_level!(check_transpose);
}

fn check_transpose<S: Words>(level: &str) {
    const UNTOUCHED: u32 = 0x5555_5555;
    let n = S::LANES;
    for (from_stride, to_stride) in [(n, n), (n + 1, n + 3), (3 * n, 2 * n), (n + 16, 2 * n)] {
        let from: Vec<u32> = (0..n * from_stride).map(|i| i as u32 ^ 0x8000_0000).collect();
        let mut to = vec![UNTOUCHED; n * to_stride];
        // SAFETY: the instructions are there; both have a square of as many rows as lanes.
        unsafe { S::transpose(from.as_ptr(), from_stride, to.as_mut_ptr(), to_stride) };
        for (i, &word) in to.iter().enumerate() {
            let (column, row) = (i / to_stride, i % to_stride);
            let expected = if row < n { from[row * from_stride + column] } else { UNTOUCHED };
            assert_eq!(
                word, expected,
                "{level}: column {column}, row {row}, strides {from_stride}, {to_stride}"
            );
        }
    }
}
