//! Stored blocks as int8 integers with a factor and an addend for each group: `value = scale · integer + min`.

use crate::{
    kernels::int8::{bit_is_clear, k_scales, nibbles, q3_k_scales},
    simd::Blocks,
};

/// A block type: `LEN` values in `BYTES` bytes, `GROUPS` groups.
pub(super) trait Integers<const LEN: usize, const BYTES: usize, const GROUPS: usize> {
    /// # Safety
    /// The instructions of `S` are there.
    unsafe fn unpack<S: Blocks>(
        block: &[u8; BYTES],
        values: &mut [i8; LEN],
        scales: &mut [f32; GROUPS],
        mins: &mut [f32; GROUPS],
    );
}

/// Declares a type and how it is unpacked: from a pointer to the block to a pointer to the values.
macro_rules! integers {
    (
        $(#[$doc:meta])* $name:ident, $len:literal, $bytes:literal, $groups:literal, $s:ident,
        |$block:ident, $values:ident, $scales:ident, $mins:ident| $body:block
    ) => {
        $(#[$doc])*
        pub(super) struct $name;
        impl Integers<$len, $bytes, $groups> for $name {
            #[inline(always)]
            unsafe fn unpack<$s: Blocks>(
                block: &[u8; $bytes],
                values: &mut [i8; $len],
                $scales: &mut [f32; $groups],
                $mins: &mut [f32; $groups],
            ) {
                let ($block, $values, _) = (block.as_ptr(), values.as_mut_ptr().cast::<u8>(), &$mins);
                // SAFETY: offsets are those of the format, within the block; the caller's promise.
                unsafe { $body }
            }
        }
    };
}

integers!(
    /// Q8_0: `d · q`.
    Q8_0, 32, 34, 1, S, |block, values, scales, mins| {
        S::store(values, S::load(block.add(2)));
        scales[0] = S::half(block);
    }
);
integers!(
    /// Q4_0: `d · (q − 8)`.
    Q4_0, 32, 18, 1, S, |block, values, scales, mins| {
        S::store(values, S::sub(nibbles::<S>(block.add(2)), S::splat(8)));
        scales[0] = S::half(block);
    }
);
integers!(
    /// Q4_1: `d · q + m`.
    Q4_1, 32, 20, 1, S, |block, values, scales, mins| {
        S::store(values, nibbles::<S>(block.add(4)));
        (scales[0], mins[0]) = (S::half(block), S::half(block.add(2)));
    }
);
integers!(
    /// Q5_0: `d · (q − 16)`.
    Q5_0, 32, 22, 1, S, |block, values, scales, mins| {
        let clear = S::and(bit_is_clear::<S>(block.add(2)), S::splat(16));
        S::store(values, S::sub(nibbles::<S>(block.add(6)), clear));
        scales[0] = S::half(block);
    }
);
integers!(
    /// Q5_1: `d · q + m`.
    Q5_1, 32, 24, 1, S, |block, values, scales, mins| {
        let clear = S::and(bit_is_clear::<S>(block.add(4)), S::splat(16));
        S::store(values, S::or(nibbles::<S>(block.add(8)), S::sub(S::splat(16), clear)));
        (scales[0], mins[0]) = (S::half(block), S::half(block.add(2)));
    }
);
integers!(
    /// Q4_K: `d · scale · q − dmin · min`.
    Q4K, 256, 144, 8, S, |block, values, scales, mins| {
        for pair in 0..4 {
            let packed = S::load(block.add(16 + 32 * pair));
            S::store(values.add(64 * pair), S::and(packed, S::splat(15)));
            S::store(values.add(64 * pair + 32), S::shr::<4>(packed));
        }
        scales_and_mins::<S>(block, scales, mins);
    }
);
integers!(
    /// Q5_K: `d · scale · q − dmin · min`.
    Q5K, 256, 176, 8, S, |block, values, scales, mins| {
        let fifth = S::load(block.add(16));
        for group in 0..8 {
            let packed = S::load(block.add(48 + 32 * (group / 2)));
            let low = if group % 2 == 0 { S::and(packed, S::splat(15)) } else { S::shr::<4>(packed) };
            let clear = S::and(S::is_zero(S::and(fifth, S::splat(1 << group))), S::splat(16));
            S::store(values.add(32 * group), S::or(low, S::sub(S::splat(16), clear)));
        }
        scales_and_mins::<S>(block, scales, mins);
    }
);
integers!(
    /// Q6_K: `d · scale · (q − 32)`.
    Q6K, 256, 210, 16, S, |block, values, scales, mins| {
        let (low_mask, high_mask, bias) = (S::splat(15), S::splat(0x30), S::splat(32));
        for half in 0..2 {
            let (low_a, low_b) = (S::load(block.add(64 * half)), S::load(block.add(64 * half + 32)));
            let high = S::load(block.add(128 + 32 * half));
            let quarters = [
                S::or(S::and(low_a, low_mask), S::and(S::shl::<4>(high), high_mask)),
                S::or(S::and(low_b, low_mask), S::and(S::shl::<2>(high), high_mask)),
                S::or(S::shr::<4>(low_a), S::and(high, high_mask)),
                S::or(S::shr::<4>(low_b), S::and(S::shr::<2>(high), high_mask)),
            ];
            for (quarter, q) in quarters.into_iter().enumerate() {
                S::store(values.add(128 * half + 32 * quarter), S::sub(q, bias));
            }
        }
        let d = S::f_splat(S::half(block.add(208)));
        for eight in [0, 8] {
            let integers = S::f_from_i8(block.add(192 + eight));
            S::f_store(scales.as_mut_ptr().add(eight), S::f_mul(d, integers));
        }
    }
);
integers!(
    /// Q2_K: `d · scale · q − dmin · min`.
    Q2K, 256, 84, 16, S, |block, values, scales, mins| {
        for half in 0..2 {
            let q = S::load(block.add(16 + 32 * half));
            for (plane, q) in [q, S::shr::<2>(q), S::shr::<4>(q), S::shr::<6>(q)].into_iter().enumerate() {
                S::store(values.add(128 * half + 32 * plane), S::and(q, S::splat(3)));
            }
        }
        let packed = S::load_twice(block);
        let mut halves = [0; 64];
        S::store(halves.as_mut_ptr(), S::and(packed, S::splat(15)));
        S::store(halves.as_mut_ptr().add(32), S::shr::<4>(packed));
        let (d, d_min) = (S::f_splat(S::half(block.add(80))), S::f_splat(-S::half(block.add(82))));
        for eight in [0, 8] {
            let (scale, min) = (halves.as_ptr().add(eight).cast(), halves.as_ptr().add(32 + eight).cast());
            S::f_store(scales.as_mut_ptr().add(eight), S::f_mul(d, S::f_from_i8(scale)));
            S::f_store(mins.as_mut_ptr().add(eight), S::f_mul(d_min, S::f_from_i8(min)));
        }
    }
);
integers!(
    /// Q3_K: `d · (scale − 32) · (q − 4)`.
    Q3K, 256, 110, 16, S, |block, values, scales, mins| {
        let mask = S::load(block);
        for half in 0..2 {
            let q = S::load(block.add(32 + 32 * half));
            for (plane, q) in [q, S::shr::<2>(q), S::shr::<4>(q), S::shr::<6>(q)].into_iter().enumerate() {
                let group = 4 * half + plane;
                let clear = S::is_zero(S::and(mask, S::splat(1 << group)));
                let q = S::sub(S::and(q, S::splat(3)), S::and(clear, S::splat(4)));
                S::store(values.add(32 * group), q);
            }
        }
        let d = S::f_splat(S::half(block.add(108)));
        let integers = q3_k_scales(block.add(96));
        for eight in [0, 8] {
            let integers = S::f_from_i8(integers.as_ptr().add(eight).cast());
            S::f_store(scales.as_mut_ptr().add(eight), S::f_mul(d, integers));
        }
    }
);

/// Those of Q4_K and Q5_K.
///
/// # Safety
/// `block` is valid for 16 bytes, and the instructions of `S` are there.
#[inline(always)]
unsafe fn scales_and_mins<S: Blocks>(block: *const u8, scales: &mut [f32; 8], mins: &mut [f32; 8]) {
    // SAFETY: the caller's promise.
    unsafe {
        let (d, d_min) = (S::f_splat(S::half(block)), S::f_splat(-S::half(block.add(2))));
        // Both at most 63.
        let (s, m) = k_scales(block.add(4));
        S::f_store(scales.as_mut_ptr(), S::f_mul(d, S::f_from_i8(s.as_ptr())));
        S::f_store(mins.as_mut_ptr(), S::f_mul(d_min, S::f_from_i8(m.as_ptr())));
    }
}
