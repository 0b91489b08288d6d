//! AVX-512: 16 lanes; byte blocks stay 256 bits wide, with VNNI's four-way dot product.

use super::{Blocks, Simd, Words, avx2::Avx2, avx2::avx_blocks};
use std::arch::x86_64::*;

/// AVX-512 F, BW, DQ, VL, VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

// SAFETY of every block in this file: the instructions are there and pointers are valid for the lanes touched; both
// are the trait's contract, kept by `kernels/`.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn list_non_zero(x: &[f32], index: *mut u16, value: *mut f32) -> usize {
        unsafe {
            let mut n = 0;
            let mut places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            for x in x.chunks(16) {
                let lanes = (1u32 << x.len()).wrapping_sub(1) as u16;
                let v = _mm512_maskz_loadu_ps(lanes, x.as_ptr());
                let counts = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(v, _mm512_setzero_ps());
                _mm512_storeu_ps(value.add(n), _mm512_maskz_compress_ps(counts, v));
                let places_of = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(counts, places));
                _mm256_storeu_si256(index.add(n).cast(), places_of);
                places = _mm512_add_epi32(places, _mm512_set1_epi32(16));
                n += counts.count_ones() as usize;
            }
            n
        }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> __m512 {
        unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()))))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_nibbles(p: *const u8) -> (__m512, __m512) {
        unsafe {
            let words = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()));
            let low = _mm512_and_si512(words, _mm512_set1_epi32(15));
            (_mm512_cvtepi32_ps(low), _mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(words)))
        }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, v: __m512) {
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(a: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), a) }
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    unsafe fn max_of_four(a: __m512) -> __m512 {
        unsafe {
            let a = _mm512_max_ps(a, _mm512_permute_ps::<0b10_11_00_01>(a));
            _mm512_max_ps(a, _mm512_permute_ps::<0b01_00_11_10>(a))
        }
    }
    #[inline(always)]
    unsafe fn max_across(a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }
}

#[allow(clippy::undocumented_unsafe_blocks)]
impl Words for Avx512 {
    type W = __m512i;
    const INT16: bool = true;
    const OFFSET: i32 = 128;
    const TILE_ROWS: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn words(p: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn word(p: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn store_words(p: *mut u8, w: __m512i) {
        unsafe { _mm512_storeu_si512(p.cast(), w) }
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn negate(a: __m512i) -> __m512i {
        unsafe { _mm512_sub_epi32(_mm512_setzero_si512(), a) }
    }
    #[inline(always)]
    unsafe fn float(a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    unsafe fn dot_int8(sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sum, x, w) }
    }
    #[inline(always)]
    unsafe fn dot_int16(sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
        unsafe { _mm512_dpwssd_epi32(sum, w, x) }
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, a: __m512, b: __m512) {
        unsafe {
            // Packing goes 128 bits at a time.
            let packed = _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
            let in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
            _mm512_storeu_si512(p.cast(), _mm512_permutexvar_epi64(in_order, packed));
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const u32, from_stride: usize, to: *mut u32, to_stride: usize) {
        unsafe {
            // Loops, not closures, which would not inherit the instructions if they were not inlined.
            let mut rows = [_mm512_setzero_si512(); 16];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_si512(from.add(i * from_stride).cast());
            }
            // Within 128 bits: pairs of words, then of two words.
            let mut pairs = rows;
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
            }
            let mut fours = rows;
            for i in [0, 4, 8, 12] {
                fours[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
                fours[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
                fours[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
                fours[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
            }
            // `fours[4g + c]` has columns c, c+4, c+8, c+12 of rows 4g to 4g+3, 128 bits each.
            for c in 0..4 {
                let low = _mm512_shuffle_i32x4::<0x88>(fours[c], fours[4 + c]);
                let high = _mm512_shuffle_i32x4::<0x88>(fours[8 + c], fours[12 + c]);
                let odd_low = _mm512_shuffle_i32x4::<0xdd>(fours[c], fours[4 + c]);
                let odd_high = _mm512_shuffle_i32x4::<0xdd>(fours[8 + c], fours[12 + c]);
                let columns = [
                    _mm512_shuffle_i32x4::<0x88>(low, high),
                    _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high),
                    _mm512_shuffle_i32x4::<0xdd>(low, high),
                    _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high),
                ];
                for (i, words) in columns.into_iter().enumerate() {
                    _mm512_storeu_si512(to.add((c + 4 * i) * to_stride).cast(), words);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn dpbusd(w: __m256i, x: __m256i) -> __m256 {
    // SAFETY: AVX-512 VL and VNNI are there (trait contract).
    unsafe { _mm256_cvtepi32_ps(_mm256_dpbusd_epi32(_mm256_setzero_si256(), w, x)) }
}

avx_blocks!([], Avx512, dpbusd);
