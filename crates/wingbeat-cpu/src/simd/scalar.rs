//! The portable twin: eight lanes in an array, which compilers vectorise with whatever the target always has.

use super::{Blocks, Simd, Words};
use half::{bf16, f16};

/// Portable lanes.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

const N: usize = 8;

#[inline(always)]
fn map(a: [f32; N], f: impl Fn(f32) -> f32) -> [f32; N] {
    a.map(f)
}

#[inline(always)]
fn zip(a: [f32; N], b: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

#[inline(always)]
unsafe fn half_bits(p: *const u8, i: usize) -> u16 {
    // SAFETY: the caller's pointer is valid for all lanes.
    unsafe { p.add(2 * i).cast::<u16>().read_unaligned() }
}

impl Simd for Scalar {
    type V = [f32; N];
    const LANES: usize = N;

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; N] {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; N] {
        // SAFETY: valid for all lanes (trait contract).
        unsafe { p.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> [f32; N] {
        // SAFETY: valid for all lanes (trait contract).
        std::array::from_fn(|i| f16::from_bits(unsafe { half_bits(p, i) }).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> [f32; N] {
        // SAFETY: valid for all lanes (trait contract).
        std::array::from_fn(|i| bf16::from_bits(unsafe { half_bits(p, i) }).to_f32())
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> [f32; N] {
        // SAFETY: valid for all lanes (trait contract).
        unsafe { p.cast::<[i8; N]>().read() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> ([f32; N], [f32; N]) {
        // SAFETY: valid for all lanes (trait contract).
        let bytes = unsafe { p.cast::<[u8; N]>().read() };
        (bytes.map(|byte| f32::from(byte & 15)), bytes.map(|byte| f32::from(byte >> 4)))
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; N]) {
        // SAFETY: valid for all lanes (trait contract).
        unsafe { p.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: [f32; N]) {
        // SAFETY: valid for all lanes (trait contract).
        unsafe { p.cast::<[i8; N]>().write_unaligned(v.map(|x| x.round_ties_even() as i8)) }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        // Two roundings: a fused one would be a library call where the target has no instruction for it.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: [f32; N], b: [f32; N]) -> [f32; N] {
        // Not `f32::max`, which passes over NaNs.
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn abs(a: [f32; N]) -> [f32; N] {
        map(a, f32::abs)
    }
    #[inline(always)]
    unsafe fn round(a: [f32; N]) -> [f32; N] {
        map(a, f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn exp2_int(a: [f32; N]) -> [f32; N] {
        map(a, |a| f32::from_bits(((a as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(a: [f32; N]) -> f32 {
        let [a, b, c, d, e, f, g, h] = a;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
    #[inline(always)]
    unsafe fn max_of_four(a: [f32; N]) -> [f32; N] {
        let max = |a: f32, b: f32| if a > b { a } else { b };
        std::array::from_fn(|i| {
            let four = i / 4 * 4;
            max(max(a[four], a[four + 1]), max(a[four + 2], a[four + 3]))
        })
    }
    #[inline(always)]
    unsafe fn max_across(a: [f32; N]) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, |m, a| if m > a { m } else { a })
    }
}

impl Words for Scalar {
    type W = [u32; N];
    const INT16: bool = true;
    const OFFSET: i32 = 128;
    const TILE_ROWS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> [u32; N] {
        [0; N]
    }
    #[inline(always)]
    unsafe fn words(p: *const u8) -> [u32; N] {
        // SAFETY: valid for all lanes (trait contract).
        unsafe { p.cast::<[u32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn word(p: *const u8) -> [u32; N] {
        // SAFETY: valid for one word (trait contract).
        [unsafe { p.cast::<u32>().read_unaligned() }; N]
    }
    #[inline(always)]
    unsafe fn store_words(p: *mut u8, w: [u32; N]) {
        // SAFETY: valid for all lanes (trait contract).
        unsafe { p.cast::<[u32; N]>().write_unaligned(w) }
    }
    #[inline(always)]
    unsafe fn and(a: [u32; N], b: [u32; N]) -> [u32; N] {
        std::array::from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    unsafe fn negate(a: [u32; N]) -> [u32; N] {
        a.map(u32::wrapping_neg)
    }
    #[inline(always)]
    unsafe fn float(a: [u32; N]) -> [f32; N] {
        a.map(|a| a as i32 as f32)
    }
    #[inline(always)]
    unsafe fn dot_int8(sum: [u32; N], w: [u32; N], x: [u32; N]) -> [u32; N] {
        std::array::from_fn(|i| {
            let products = w[i].to_le_bytes().into_iter().zip(x[i].to_le_bytes());
            let dot: i32 = products.map(|(w, x)| i32::from(w as i8) * i32::from(x)).sum();
            sum[i].wrapping_add(dot as u32)
        })
    }
    #[inline(always)]
    unsafe fn dot_int16(sum: [u32; N], w: [u32; N], x: [u32; N]) -> [u32; N] {
        let halves = |word: u32| [word as i16, (word >> 16) as i16].map(i32::from);
        std::array::from_fn(|i| {
            let ([w0, w1], [x0, x1]) = (halves(w[i]), halves(x[i]));
            sum[i].wrapping_add((w0 * x0) as u32).wrapping_add((w1 * x1) as u32)
        })
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, a: [f32; N], b: [f32; N]) {
        // SAFETY: valid for twice the lanes (trait contract).
        unsafe {
            p.cast::<[[i16; N]; 2]>().write_unaligned([a, b].map(|v| v.map(|x| x.round_ties_even() as i16)))
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const u32, from_stride: usize, to: *mut u32, to_stride: usize) {
        for row in 0..N {
            for column in 0..N {
                // SAFETY: valid for a square of lanes (trait contract).
                unsafe {
                    to.add(column * to_stride + row)
                        .write_unaligned(from.add(row * from_stride + column).read());
                }
            }
        }
    }
}

#[inline(always)]
fn bytes(f: impl Fn(usize) -> u8) -> [u8; 32] {
    std::array::from_fn(f)
}

#[inline(always)]
fn sums(f: impl Fn(usize) -> i32) -> [f32; 8] {
    std::array::from_fn(|lane| (4 * lane..4 * lane + 4).map(&f).sum::<i32>() as f32)
}

impl Blocks for Scalar {
    type B = [u8; 32];
    type F = [f32; 8];

    #[inline(always)]
    unsafe fn load(p: *const u8) -> [u8; 32] {
        // SAFETY: valid for 32 bytes (trait contract).
        unsafe { p.cast::<[u8; 32]>().read() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut u8, b: [u8; 32]) {
        // SAFETY: valid for 32 bytes (trait contract).
        unsafe { p.cast::<[u8; 32]>().write_unaligned(b) }
    }
    #[inline(always)]
    unsafe fn load_twice(p: *const u8) -> [u8; 32] {
        // SAFETY: valid for 16 bytes (trait contract).
        let half = unsafe { p.cast::<[u8; 16]>().read() };
        bytes(|i| half[i % 16])
    }
    #[inline(always)]
    unsafe fn splat(b: u8) -> [u8; 32] {
        [b; 32]
    }
    #[inline(always)]
    unsafe fn and(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        bytes(|i| a[i] & b[i])
    }
    #[inline(always)]
    unsafe fn or(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        bytes(|i| a[i] | b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        bytes(|i| a[i].wrapping_sub(b[i]))
    }
    #[inline(always)]
    unsafe fn shr<const S: i32>(a: [u8; 32]) -> [u8; 32] {
        bytes(|i| a[i] >> S)
    }
    #[inline(always)]
    unsafe fn shl<const S: i32>(a: [u8; 32]) -> [u8; 32] {
        bytes(|i| a[i] << S)
    }
    #[inline(always)]
    unsafe fn low_high(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        bytes(|i| if i < 16 { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn dot_signed(w: [u8; 32], x: [u8; 32]) -> [f32; 8] {
        sums(|i| i32::from(w[i] as i8) * i32::from(x[i] as i8))
    }
    #[inline(always)]
    unsafe fn dot_unsigned(w: [u8; 32], x: [u8; 32]) -> [f32; 8] {
        sums(|i| i32::from(w[i]) * i32::from(x[i] as i8))
    }
    #[inline(always)]
    unsafe fn is_zero(a: [u8; 32]) -> [u8; 32] {
        bytes(|i| if a[i] == 0 { 255 } else { 0 })
    }
    #[inline(always)]
    unsafe fn each_eight_times(p: *const u8) -> [u8; 32] {
        // SAFETY: valid for 4 bytes (trait contract).
        let four = unsafe { p.cast::<[u8; 4]>().read() };
        bytes(|i| four[i / 8])
    }
    #[inline(always)]
    unsafe fn half(p: *const u8) -> f32 {
        // SAFETY: valid for 2 bytes (trait contract).
        f16::from_bits(unsafe { half_bits(p, 0) }).to_f32()
    }
    #[inline(always)]
    unsafe fn f_splat(x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn f_halves(low: f32, high: f32) -> [f32; 8] {
        [low, low, low, low, high, high, high, high]
    }
    #[inline(always)]
    unsafe fn f_load(p: *const f32) -> [f32; 8] {
        // SAFETY: valid for 8 lanes (trait contract).
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn f_from_i8(p: *const u8) -> [f32; 8] {
        // SAFETY: valid for 8 bytes (trait contract).
        unsafe { p.cast::<[i8; 8]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn f_store(p: *mut f32, a: [f32; 8]) {
        // SAFETY: valid for 8 values (trait contract).
        unsafe { p.cast::<[f32; 8]>().write_unaligned(a) }
    }
    #[inline(always)]
    unsafe fn f_mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn f_fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn f_sum(a: [f32; 8]) -> f32 {
        // SAFETY: no pointer is involved.
        unsafe { <Scalar as Simd>::sum(a) }
    }
}
