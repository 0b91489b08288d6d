//! 64-bit ARM NEON: 4 lanes; what every ARMv8 processor has.

use super::{Blocks, Simd};
use std::arch::{aarch64::*, asm};

/// NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

// SAFETY of every block in this file: the instructions are there and pointers are valid for the lanes touched; both
// are the trait's contract, kept by `kernels/`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> float32x4_t {
        unsafe {
            let bits = vreinterpret_u16_u8(vld1_u8(p));
            let wide: float32x4_t;
            // The conversion is in base ARMv8; its intrinsic asks for the f16 type.
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) wide, in(vreg) bits, options(pure, nomem, nostack));
            wide
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(vld1_u8(p)))) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: float32x4_t) {
        unsafe {
            let words = vmovn_s32(vcvtnq_s32_f32(v));
            let bytes = vmovn_s16(vcombine_s16(words, words));
            p.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_s8(bytes)));
        }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: float32x4_t) -> float32x4_t {
        unsafe { vabsq_f32(a) }
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(a: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(a), vdupq_n_s32(127)))) }
    }
    #[inline(always)]
    unsafe fn sum(a: float32x4_t) -> f32 {
        unsafe { vaddvq_f32(a) }
    }
    #[inline(always)]
    unsafe fn max_of_four(a: float32x4_t) -> float32x4_t {
        unsafe { vdupq_n_f32(vmaxvq_f32(a)) }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl Blocks for Neon {
    type B = uint8x16x2_t;
    type F = float32x4x2_t;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> uint8x16x2_t {
        unsafe { uint8x16x2_t(vld1q_u8(p), vld1q_u8(p.add(16))) }
    }
    #[inline(always)]
    unsafe fn load_twice(p: *const u8) -> uint8x16x2_t {
        unsafe { uint8x16x2_t(vld1q_u8(p), vld1q_u8(p)) }
    }
    #[inline(always)]
    unsafe fn splat(b: u8) -> uint8x16x2_t {
        unsafe { uint8x16x2_t(vdupq_n_u8(b), vdupq_n_u8(b)) }
    }
    #[inline(always)]
    unsafe fn and(a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        unsafe { uint8x16x2_t(vandq_u8(a.0, b.0), vandq_u8(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn or(a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        unsafe { uint8x16x2_t(vorrq_u8(a.0, b.0), vorrq_u8(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn sub(a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        unsafe { uint8x16x2_t(vsubq_u8(a.0, b.0), vsubq_u8(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn shr<const N: i32>(a: uint8x16x2_t) -> uint8x16x2_t {
        unsafe {
            let by = vdupq_n_s8(-N as i8);
            uint8x16x2_t(vshlq_u8(a.0, by), vshlq_u8(a.1, by))
        }
    }
    #[inline(always)]
    unsafe fn shl<const N: i32>(a: uint8x16x2_t) -> uint8x16x2_t {
        unsafe {
            let by = vdupq_n_s8(N as i8);
            uint8x16x2_t(vshlq_u8(a.0, by), vshlq_u8(a.1, by))
        }
    }
    #[inline(always)]
    unsafe fn low_high(a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        uint8x16x2_t(a.0, b.1)
    }
    #[inline(always)]
    unsafe fn dot_signed(w: uint8x16x2_t, x: uint8x16x2_t) -> float32x4x2_t {
        unsafe { float32x4x2_t(dot(w.0, x.0), dot(w.1, x.1)) }
    }
    #[inline(always)]
    unsafe fn dot_unsigned(w: uint8x16x2_t, x: uint8x16x2_t) -> float32x4x2_t {
        // At most 127, so the same bits are the same signed values.
        unsafe { float32x4x2_t(dot(w.0, x.0), dot(w.1, x.1)) }
    }
    #[inline(always)]
    unsafe fn is_zero(a: uint8x16x2_t) -> uint8x16x2_t {
        unsafe { uint8x16x2_t(vceqzq_u8(a.0), vceqzq_u8(a.1)) }
    }
    #[inline(always)]
    unsafe fn each_eight_times(p: *const u8) -> uint8x16x2_t {
        unsafe {
            let twice = |i: usize| vcombine_u8(vdup_n_u8(*p.add(i)), vdup_n_u8(*p.add(i + 1)));
            uint8x16x2_t(twice(0), twice(2))
        }
    }
    #[inline(always)]
    unsafe fn half(p: *const u8) -> f32 {
        unsafe {
            let bits = vdup_n_u16(p.cast::<u16>().read_unaligned());
            let wide: float32x4_t;
            // As in `load_f16`.
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) wide, in(vreg) bits, options(pure, nomem, nostack));
            vgetq_lane_f32::<0>(wide)
        }
    }
    #[inline(always)]
    unsafe fn f_splat(x: f32) -> float32x4x2_t {
        unsafe { float32x4x2_t(vdupq_n_f32(x), vdupq_n_f32(x)) }
    }
    #[inline(always)]
    unsafe fn f_halves(low: f32, high: f32) -> float32x4x2_t {
        unsafe { float32x4x2_t(vdupq_n_f32(low), vdupq_n_f32(high)) }
    }
    #[inline(always)]
    unsafe fn f_load(p: *const f32) -> float32x4x2_t {
        unsafe { float32x4x2_t(vld1q_f32(p), vld1q_f32(p.add(4))) }
    }
    #[inline(always)]
    unsafe fn f_mul(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        unsafe { float32x4x2_t(vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn f_fma(a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t {
        unsafe { float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn f_sum(a: float32x4x2_t) -> f32 {
        unsafe { vaddvq_f32(vaddq_f32(a.0, a.1)) }
    }
}

/// 16 signed products, summed in fours of neighbours.
#[inline(always)]
unsafe fn dot(w: uint8x16_t, x: uint8x16_t) -> float32x4_t {
    // SAFETY: NEON is there (trait contract).
    unsafe {
        let (w, x) = (vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(x));
        let low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
        let high = vmull_high_s8(w, x);
        vcvtq_f32_s32(vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))
    }
}
