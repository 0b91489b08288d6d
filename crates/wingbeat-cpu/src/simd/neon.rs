//! 64-bit ARM NEON: 4 lanes, what every ARMv8 processor has; with the feature `dotprod` also its four-way dot product.

use super::{Blocks, Simd, Words};
use std::arch::{aarch64::*, asm};

/// NEON; its four-way dot product.
#[derive(Clone, Copy)]
pub(crate) struct Lanes4<const DOT: bool>;

/// NEON.
pub(crate) type Neon = Lanes4<false>;
/// The same with the four-way dot product.
pub(crate) type NeonDot = Lanes4<true>;

// SAFETY of every block in this file: the instructions are there and pointers are valid for the lanes touched; both
// are the trait's contract, kept by `kernels/`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const DOT: bool> Simd for Lanes4<DOT> {
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
    unsafe fn load_i8(p: *const u8) -> float32x4_t {
        unsafe {
            let bytes = vreinterpret_s8_u32(vdup_n_u32(p.cast::<u32>().read_unaligned()));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))
        }
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> (float32x4_t, float32x4_t) {
        unsafe {
            let bytes = vreinterpret_u8_u32(vdup_n_u32(p.cast::<u32>().read_unaligned()));
            let words = vmovl_u16(vget_low_u16(vmovl_u8(bytes)));
            (vcvtq_f32_u32(vandq_u32(words, vdupq_n_u32(15))), vcvtq_f32_u32(vshrq_n_u32::<4>(words)))
        }
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
    #[inline(always)]
    unsafe fn max_across(a: float32x4_t) -> f32 {
        unsafe { vmaxvq_f32(a) }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl<const DOT: bool> Words for Lanes4<DOT> {
    type W = int32x4_t;
    // Widening int16 products are four an instruction, as those of f32 are.
    const INT16: bool = false;
    const OFFSET: i32 = 0;
    // Six rows have 24 sums in 32 registers. Without the dot product a row takes eight instructions a word, and from six
    // rows on the compiler leaves them in a loop, with the sums in memory.
    const TILE_ROWS: usize = if DOT { 6 } else { 4 };

    #[inline(always)]
    unsafe fn zero() -> int32x4_t {
        unsafe { vdupq_n_s32(0) }
    }
    #[inline(always)]
    unsafe fn words(p: *const u8) -> int32x4_t {
        unsafe { vreinterpretq_s32_u8(vld1q_u8(p)) }
    }
    #[inline(always)]
    unsafe fn word(p: *const u8) -> int32x4_t {
        unsafe { vdupq_n_s32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn store_words(p: *mut u8, w: int32x4_t) {
        unsafe { vst1q_u8(p, vreinterpretq_u8_s32(w)) }
    }
    #[inline(always)]
    unsafe fn and(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe { vandq_s32(a, b) }
    }
    #[inline(always)]
    unsafe fn negate(a: int32x4_t) -> int32x4_t {
        unsafe { vnegq_s32(a) }
    }
    #[inline(always)]
    unsafe fn float(a: int32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(a) }
    }
    #[inline(always)]
    unsafe fn dot_int8(sum: int32x4_t, w: int32x4_t, x: int32x4_t) -> int32x4_t {
        unsafe { dot::<DOT>(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(x)) }
    }
    #[inline(always)]
    unsafe fn dot_int16(sum: int32x4_t, w: int32x4_t, x: int32x4_t) -> int32x4_t {
        unsafe {
            let (w, x) = (vreinterpretq_s16_s32(w), vreinterpretq_s16_s32(x));
            let low = vmull_s16(vget_low_s16(w), vget_low_s16(x));
            vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(w, x)))
        }
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, a: float32x4_t, b: float32x4_t) {
        unsafe { vst1q_s16(p, vcombine_s16(vmovn_s32(vcvtnq_s32_f32(a)), vmovn_s32(vcvtnq_s32_f32(b)))) }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const u32, from_stride: usize, to: *mut u32, to_stride: usize) {
        unsafe {
            // Loops, not closures, which would not inherit the instructions if they were not inlined.
            let mut rows = [vdupq_n_u32(0); 4];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = vld1q_u32(from.add(i * from_stride));
            }
            // Pairs of words, then of two words.
            let low = [vtrn1q_u32(rows[0], rows[1]), vtrn2q_u32(rows[0], rows[1])];
            let high = [vtrn1q_u32(rows[2], rows[3]), vtrn2q_u32(rows[2], rows[3])];
            for i in 0..2 {
                let (low, high) = (vreinterpretq_u64_u32(low[i]), vreinterpretq_u64_u32(high[i]));
                vst1q_u32(to.add(i * to_stride), vreinterpretq_u32_u64(vtrn1q_u64(low, high)));
                vst1q_u32(to.add((i + 2) * to_stride), vreinterpretq_u32_u64(vtrn2q_u64(low, high)));
            }
        }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl<const DOT: bool> Blocks for Lanes4<DOT> {
    type B = uint8x16x2_t;
    type F = float32x4x2_t;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> uint8x16x2_t {
        unsafe { uint8x16x2_t(vld1q_u8(p), vld1q_u8(p.add(16))) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut u8, b: uint8x16x2_t) {
        unsafe {
            vst1q_u8(p, b.0);
            vst1q_u8(p.add(16), b.1);
        }
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
        unsafe { float32x4x2_t(dot_f32::<DOT>(w.0, x.0), dot_f32::<DOT>(w.1, x.1)) }
    }
    #[inline(always)]
    unsafe fn dot_unsigned(w: uint8x16x2_t, x: uint8x16x2_t) -> float32x4x2_t {
        // At most 127, so the same bits are the same signed values.
        unsafe { float32x4x2_t(dot_f32::<DOT>(w.0, x.0), dot_f32::<DOT>(w.1, x.1)) }
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
    unsafe fn f_from_i8(p: *const u8) -> float32x4x2_t {
        unsafe {
            let eight = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
            float32x4x2_t(vcvtq_f32_s32(vmovl_s16(vget_low_s16(eight))), vcvtq_f32_s32(vmovl_high_s16(eight)))
        }
    }
    #[inline(always)]
    unsafe fn f_store(p: *mut f32, a: float32x4x2_t) {
        unsafe {
            vst1q_f32(p, a.0);
            vst1q_f32(p.add(4), a.1);
        }
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

/// 16 signed products, summed in fours of neighbours, as f32.
#[inline(always)]
unsafe fn dot_f32<const DOT: bool>(w: uint8x16_t, x: uint8x16_t) -> float32x4_t {
    // SAFETY: NEON, and the dot product where asked for, are there (trait contract).
    unsafe { vcvtq_f32_s32(dot::<DOT>(vdupq_n_s32(0), vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(x))) }
}

/// `sum +` 16 products of signed weights with activations that are not -128, summed in fours of neighbours.
#[inline(always)]
unsafe fn dot<const DOT: bool>(sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: NEON, and the dot product where asked for, are there (trait contract).
    unsafe {
        if DOT {
            let mut sum = sum;
            // The intrinsic is not stable. An assembler takes the instruction only where the function around it has the
            // feature, which what tests call directly has not, so the block asks for it itself.
            asm!(
                ".arch_extension dotprod",
                "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inlateout(vreg) sum, in(vreg) w, in(vreg) x,
                options(pure, nomem, nostack, preserves_flags),
            );
            sum
        } else {
            // Sums of pairs fit i16: 128·127·2 = 32512.
            let pairs = vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)), vmull_high_s8(w, x));
            vpadalq_s16(sum, pairs)
        }
    }
}
