//! AVX2, FMA and F16C: 8 lanes; with AVX-VNNI also its four-way dot product.

use super::{Blocks, Simd, Words};
use std::arch::x86_64::*;

/// AVX2, FMA, F16C; AVX-VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Lanes8<const VNNI: bool>;

/// AVX2, FMA, F16C.
pub(crate) type Avx2 = Lanes8<false>;
/// The same with AVX-VNNI.
pub(crate) type AvxVnni = Lanes8<true>;

// SAFETY of every block in this file: the instructions are there and pointers are valid for the lanes touched; both
// are the trait's contract, kept by `kernels/`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const VNNI: bool> Simd for Lanes8<VNNI> {
    type V = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> __m256 {
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> __m256 {
        unsafe {
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()))))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> (__m256, __m256) {
        unsafe {
            let words = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
            let low = _mm256_and_si256(words, _mm256_set1_epi32(15));
            (_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(_mm256_srli_epi32::<4>(words)))
        }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: __m256) {
        unsafe {
            let i = _mm256_cvtps_epi32(v);
            let words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256::<1>(i));
            _mm_storel_epi64(p.cast(), _mm_packs_epi16(words, words));
        }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m256) -> __m256 {
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    unsafe fn round(a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(a: __m256) -> __m256 {
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: __m256) -> f32 {
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }
    #[inline(always)]
    unsafe fn max_of_four(a: __m256) -> __m256 {
        unsafe {
            let a = _mm256_max_ps(a, _mm256_permute_ps::<0b10_11_00_01>(a));
            _mm256_max_ps(a, _mm256_permute_ps::<0b01_00_11_10>(a))
        }
    }
    #[inline(always)]
    unsafe fn max_across(a: __m256) -> f32 {
        unsafe {
            let x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl<const VNNI: bool> Words for Lanes8<VNNI> {
    type W = __m256i;
    const INT16: bool = true;
    const OFFSET: i32 = if VNNI { 128 } else { 0 };
    const TILE_ROWS: usize = if VNNI { 3 } else { 2 };

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn words(p: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn word(p: *const u8) -> __m256i {
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn store_words(p: *mut u8, w: __m256i) {
        unsafe { _mm256_storeu_si256(p.cast(), w) }
    }
    #[inline(always)]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_and_si256(a, b) }
    }
    #[inline(always)]
    unsafe fn negate(a: __m256i) -> __m256i {
        unsafe { _mm256_sub_epi32(_mm256_setzero_si256(), a) }
    }
    #[inline(always)]
    unsafe fn float(a: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(a) }
    }
    #[inline(always)]
    unsafe fn dot_int8(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        unsafe {
            if VNNI {
                _mm256_dpbusd_avx_epi32(sum, x, w)
            } else {
                // |w| unsigned, its sign moved to x; sums of pairs fit i16: 128·127·2 = 32512.
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
                _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            }
        }
    }
    #[inline(always)]
    unsafe fn dot_int16(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        unsafe {
            if VNNI {
                _mm256_dpwssd_avx_epi32(sum, w, x)
            } else {
                _mm256_add_epi32(sum, _mm256_madd_epi16(w, x))
            }
        }
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, a: __m256, b: __m256) {
        unsafe {
            // Packing goes 128 bits at a time.
            let packed = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
            _mm256_storeu_si256(p.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const u32, from_stride: usize, to: *mut u32, to_stride: usize) {
        unsafe {
            // Loops, not closures, which would not inherit the instructions if they were not inlined.
            let mut rows = [_mm256_setzero_si256(); 8];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm256_loadu_si256(from.add(i * from_stride).cast());
            }
            // Pairs of words, then of two words, then of halves.
            let mut pairs = rows;
            for i in 0..4 {
                pairs[2 * i] = _mm256_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm256_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
            }
            let mut fours = rows;
            for i in [0, 4] {
                fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
                fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
                fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
                fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
            }
            for i in 0..4 {
                let low = _mm256_permute2x128_si256::<0x20>(fours[i], fours[i + 4]);
                let high = _mm256_permute2x128_si256::<0x31>(fours[i], fours[i + 4]);
                _mm256_storeu_si256(to.add(i * to_stride).cast(), low);
                _mm256_storeu_si256(to.add((i + 4) * to_stride).cast(), high);
            }
        }
    }
}

/// Byte blocks in AVX2; `DOT` multiplies.
macro_rules! avx_blocks {
    ([$($flag:ident)?], $name:ty, $dot:ident) => {
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl$(<const $flag: bool>)? Blocks for $name {
            type B = __m256i;
            type F = __m256;

            #[inline(always)]
            unsafe fn load(p: *const u8) -> __m256i {
                unsafe { _mm256_loadu_si256(p.cast()) }
            }
            #[inline(always)]
            unsafe fn store(p: *mut u8, b: __m256i) {
                unsafe { _mm256_storeu_si256(p.cast(), b) }
            }
            #[inline(always)]
            unsafe fn load_twice(p: *const u8) -> __m256i {
                unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast())) }
            }
            #[inline(always)]
            unsafe fn splat(b: u8) -> __m256i {
                unsafe { _mm256_set1_epi8(b as i8) }
            }
            #[inline(always)]
            unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
                unsafe { _mm256_and_si256(a, b) }
            }
            #[inline(always)]
            unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
                unsafe { _mm256_or_si256(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: __m256i, b: __m256i) -> __m256i {
                unsafe { _mm256_sub_epi8(a, b) }
            }
            #[inline(always)]
            unsafe fn shr<const N: i32>(a: __m256i) -> __m256i {
                unsafe { _mm256_and_si256(_mm256_srli_epi16::<N>(a), _mm256_set1_epi8((0xffu8 >> N) as i8)) }
            }
            #[inline(always)]
            unsafe fn shl<const N: i32>(a: __m256i) -> __m256i {
                unsafe { _mm256_and_si256(_mm256_slli_epi16::<N>(a), _mm256_set1_epi8((0xffu8 << N) as i8)) }
            }
            #[inline(always)]
            unsafe fn low_high(a: __m256i, b: __m256i) -> __m256i {
                unsafe { _mm256_blend_epi32::<0xf0>(a, b) }
            }
            #[inline(always)]
            unsafe fn dot_signed(w: __m256i, x: __m256i) -> __m256 {
                // |w| unsigned, its sign moved to x: |w|·sign(w)x = w·x, also for w = -128.
                unsafe { $dot$(::<$flag>)?(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) }
            }
            #[inline(always)]
            unsafe fn dot_unsigned(w: __m256i, x: __m256i) -> __m256 {
                unsafe { $dot$(::<$flag>)?(w, x) }
            }
            #[inline(always)]
            unsafe fn is_zero(a: __m256i) -> __m256i {
                unsafe { _mm256_cmpeq_epi8(a, _mm256_setzero_si256()) }
            }
            #[inline(always)]
            unsafe fn each_eight_times(p: *const u8) -> __m256i {
                unsafe {
                    let four = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
                    let (first, second) = (0x0101_0101_0101_0101, 0x0303_0303_0303_0303);
                    let which = _mm256_setr_epi64x(0, first, first << 1, second);
                    _mm256_shuffle_epi8(four, which)
                }
            }
            #[inline(always)]
            unsafe fn half(p: *const u8) -> f32 {
                unsafe {
                    let bits: __m128i;
                    // As one lane is used, the compiler would insert the number into whatever register comes first,
                    // an accumulator as a rule, and so make each block wait for the one before.
                    std::arch::asm!(
                        "vpbroadcastw {}, word ptr [{}]", out(xmm_reg) bits, in(reg) p,
                        options(pure, readonly, nostack, preserves_flags),
                    );
                    _mm_cvtss_f32(_mm_cvtph_ps(bits))
                }
            }
            #[inline(always)]
            unsafe fn f_splat(x: f32) -> __m256 {
                unsafe { _mm256_set1_ps(x) }
            }
            #[inline(always)]
            unsafe fn f_halves(low: f32, high: f32) -> __m256 {
                unsafe { _mm256_set_m128(_mm_set1_ps(high), _mm_set1_ps(low)) }
            }
            #[inline(always)]
            unsafe fn f_load(p: *const f32) -> __m256 {
                unsafe { _mm256_loadu_ps(p) }
            }
            #[inline(always)]
            unsafe fn f_from_i8(p: *const u8) -> __m256 {
                unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
            }
            #[inline(always)]
            unsafe fn f_store(p: *mut f32, a: __m256) {
                unsafe { _mm256_storeu_ps(p, a) }
            }
            #[inline(always)]
            unsafe fn f_mul(a: __m256, b: __m256) -> __m256 {
                unsafe { _mm256_mul_ps(a, b) }
            }
            #[inline(always)]
            unsafe fn f_fma(a: __m256, b: __m256, c: __m256) -> __m256 {
                unsafe { _mm256_fmadd_ps(a, b, c) }
            }
            #[inline(always)]
            unsafe fn f_sum(a: __m256) -> f32 {
                unsafe { <Avx2 as Simd>::sum(a) }
            }
        }
    };
}
pub(super) use avx_blocks;

/// Unsigned times signed; without VNNI sums of pairs fit i16: 128·127·2 = 32512.
#[inline(always)]
unsafe fn dot<const VNNI: bool>(w: __m256i, x: __m256i) -> __m256 {
    // SAFETY: AVX2, and AVX-VNNI where asked for, are there (trait contract).
    unsafe {
        _mm256_cvtepi32_ps(if VNNI {
            _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), w, x)
        } else {
            _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1))
        })
    }
}

avx_blocks!([VNNI], Lanes8<VNNI>, dot);
