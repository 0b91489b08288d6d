//! Vectors as the kernels see them: f32 lanes ([`Simd`]) and blocks of 32 bytes ([`Blocks`]).
//!
//! A kernel is written once, generic over these traits and inlined whole into a function that has the instructions
//! switched on (`kernels/mod.rs`). One file an instruction set implements them; `scalar.rs` is the portable twin of
//! every kernel.
//!
//! Every method is unsafe for the same two reasons: the processor must have the instructions, and pointers must be
//! valid for the lanes read or written (no alignment is asked for).

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;

#[cfg(test)]
mod tests;

/// Asks for a cache line ahead of its use; any address will do.
#[inline(always)]
pub(crate) fn prefetch(p: *const u8) {
    // SAFETY: a prefetch does nothing at a bad address; every x86-64 processor has it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast());
    }
    // SAFETY: as above, for 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) p, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = p;
}

/// Lanes of f32.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// Its lanes.
    const LANES: usize;

    /// Lists the values of `x` that are not zero (what is no number is not zero), with their places; returns how many.
    /// The lists have room for a vector more than `x` has values, at most 65536.
    #[inline(always)]
    unsafe fn list_non_zero(x: &[f32], index: *mut u16, value: *mut f32) -> usize {
        let mut n = 0;
        for (i, &x) in x.iter().enumerate() {
            // Written in any case, kept if it counts: nothing to mispredict.
            // SAFETY: the lists have room for every value.
            unsafe {
                index.add(n).write(i as u16);
                value.add(n).write(x);
            }
            n += usize::from(x != 0.0);
        }
        n
    }
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    /// Widens IEEE half-precision values.
    unsafe fn load_f16(p: *const u8) -> Self::V;
    /// Widens bfloat16 values.
    unsafe fn load_bf16(p: *const u8) -> Self::V;
    /// Widens signed bytes.
    unsafe fn load_i8(p: *const u8) -> Self::V;
    /// Widens the low and the high four bits of as many bytes as lanes.
    unsafe fn load_nibbles(p: *const u8) -> (Self::V, Self::V);
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Rounds to nearest (ties to even) and stores a byte a lane; the values are within ±127.
    unsafe fn store_i8(p: *mut i8, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a·b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// NaN where `b` is; where `a` is, NaN or `b`.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// As [`max`](Simd::max).
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn abs(a: Self::V) -> Self::V;
    /// To the nearest whole number.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `2^a` for whole numbers in `-126..=127`.
    unsafe fn exp2_int(a: Self::V) -> Self::V;
    unsafe fn sum(a: Self::V) -> f32;
    /// The largest of each four lanes, in all four.
    unsafe fn max_of_four(a: Self::V) -> Self::V;
    /// The largest of all lanes; NaNs as in [`max`](Simd::max).
    unsafe fn max_across(a: Self::V) -> f32;
}

/// Words of 32 bits, one a lane: four int8 or two int16 values of neighbouring columns.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Words: Simd {
    /// A vector of words, or of 32-bit integers.
    type W: Copy;
    /// Whether products of int16 words are faster than those of f32.
    const INT16: bool;
    /// What activations have more than their value in [`dot_int8`](Words::dot_int8): 128 where it takes them as
    /// unsigned bytes, or 0.
    const OFFSET: i32;
    /// Rows of activations in a tile of words, at most 8: what the registers hold beside two vectors of weights.
    const TILE_ROWS: usize;

    unsafe fn zero() -> Self::W;
    /// A word for each lane.
    unsafe fn words(p: *const u8) -> Self::W;
    /// One word for all lanes.
    unsafe fn word(p: *const u8) -> Self::W;
    unsafe fn store_words(p: *mut u8, w: Self::W);
    unsafe fn and(a: Self::W, b: Self::W) -> Self::W;
    /// `-a`, as integers.
    unsafe fn negate(a: Self::W) -> Self::W;
    /// Integers as f32.
    unsafe fn float(a: Self::W) -> Self::V;
    /// `sum + Σ w·x` over the four bytes of each word: weights signed, activations signed (not -128) or, where
    /// [`OFFSET`](Words::OFFSET) is not 0, unsigned.
    unsafe fn dot_int8(sum: Self::W, w: Self::W, x: Self::W) -> Self::W;
    /// `sum + Σ w·x` over the two int16 values of each word.
    unsafe fn dot_int16(sum: Self::W, w: Self::W, x: Self::W) -> Self::W;
    /// Rounds to nearest (ties to even) and stores two bytes a lane, `a`'s before `b`'s; the values are within ±32767.
    unsafe fn store_i16(p: *mut i16, a: Self::V, b: Self::V);
    /// A square of as many rows of words as lanes, each `from_stride` words from the last, becomes columns.
    unsafe fn transpose(from: *const u32, from_stride: usize, to: *mut u32, to_stride: usize);
}

/// 32 bytes at a time: integer dot products of quantized blocks.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Blocks: Copy {
    /// 32 bytes.
    type B: Copy;
    /// 8 lanes of f32, one for each four bytes.
    type F: Copy;

    unsafe fn load(p: *const u8) -> Self::B;
    unsafe fn store(p: *mut u8, b: Self::B);
    /// 16 bytes, twice.
    unsafe fn load_twice(p: *const u8) -> Self::B;
    unsafe fn splat(b: u8) -> Self::B;
    unsafe fn and(a: Self::B, b: Self::B) -> Self::B;
    unsafe fn or(a: Self::B, b: Self::B) -> Self::B;
    unsafe fn sub(a: Self::B, b: Self::B) -> Self::B;
    /// Every byte shifted right by `N`, zeros shifted in.
    unsafe fn shr<const N: i32>(a: Self::B) -> Self::B;
    /// Every byte shifted left by `N`.
    unsafe fn shl<const N: i32>(a: Self::B) -> Self::B;
    /// The first 16 bytes of `a` and the last 16 of `b`.
    unsafe fn low_high(a: Self::B, b: Self::B) -> Self::B;
    /// Products of signed weights with signed activations (not -128), summed in fours of neighbours, as f32.
    unsafe fn dot_signed(w: Self::B, x: Self::B) -> Self::F;
    /// Products of unsigned weights (at most 127) with signed activations, summed in fours of neighbours, as f32.
    unsafe fn dot_unsigned(w: Self::B, x: Self::B) -> Self::F;
    /// 255 in each byte that is 0, else 0.
    unsafe fn is_zero(a: Self::B) -> Self::B;
    /// 4 bytes, each eight times.
    unsafe fn each_eight_times(p: *const u8) -> Self::B;
    /// An IEEE half-precision number.
    unsafe fn half(p: *const u8) -> f32;
    unsafe fn f_splat(x: f32) -> Self::F;
    /// `low` in lanes 0 to 3, `high` in 4 to 7.
    unsafe fn f_halves(low: f32, high: f32) -> Self::F;
    unsafe fn f_load(p: *const f32) -> Self::F;
    /// 8 signed bytes.
    unsafe fn f_from_i8(p: *const u8) -> Self::F;
    unsafe fn f_store(p: *mut f32, a: Self::F);
    unsafe fn f_mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn f_fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn f_sum(a: Self::F) -> f32;
}
