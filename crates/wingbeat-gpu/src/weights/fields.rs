//! Turning round what lies in words and vectors: the bits, pairs and nibbles of bytes among words, and values among rows.
//!
//! Files and kernels want the same integers in different order. Here the order changes for all bytes of a word or vector
//! at once: a transposition of `n × n` fields or values is `log n` rounds in which halves change places.

use std::ops::{BitAnd, BitXor, Shl, Shr};

/// What has fields.
pub(super) trait Word:
    Copy + BitAnd<Output = Self> + BitXor<Output = Self> + Shl<usize, Output = Self> + Shr<usize, Output = Self>
{
    /// A u64, cut off or repeated.
    fn of_u64(word: u64) -> Self;
}

impl Word for u32 {
    #[inline(always)]
    fn of_u64(word: u64) -> u32 {
        word as u32
    }
}

impl Word for u64 {
    #[inline(always)]
    fn of_u64(word: u64) -> u64 {
        word
    }
}

/// One round: for words `distance` apart, the bits of the first under the mask shifted up change places with those of the
/// second under the mask.
#[inline(always)]
fn exchange<W: Word, const N: usize>(words: &mut [W; N], distance: usize, shift: usize, mask: u64) {
    let mask = W::of_u64(mask);
    for i in 0..N {
        if i & distance == 0 {
            let differing = (words[i] >> shift ^ words[i + distance]) & mask;
            words[i + distance] = words[i + distance] ^ differing;
            words[i] = words[i] ^ differing << shift;
        }
    }
}

/// Field `f` of a byte of word `w` goes to field `w` of the same byte of word `f`; a byte has `N` fields, of `8 / N` bits.
#[inline(always)]
pub(super) fn transpose_fields<W: Word, const N: usize>(words: &mut [W; N]) {
    const { assert!(N == 2 || N == 4 || N == 8, "fields that fill a byte") };
    exchange(words, N / 2, 4, 0x0f0f_0f0f_0f0f_0f0f);
    if N >= 4 {
        exchange(words, N / 4, 2, 0x3333_3333_3333_3333);
    }
    if N == 8 {
        exchange(words, 1, 1, 0x5555_5555_5555_5555);
    }
}

/// Value `v` of word `w`, of 16 bits, the lowest first, goes to value `w` of word `v`.
#[inline(always)]
pub(super) fn transpose_halves(words: &mut [u64; 4]) {
    exchange(words, 2, 32, 0x0000_0000_ffff_ffff);
    exchange(words, 1, 16, 0x0000_ffff_0000_ffff);
}

/// Bytes of a vector that every processor has.
pub(super) const SIDE: usize = 16;

/// Byte `i` of row `j` goes to place `j` of row `i`.
#[inline(always)]
pub(super) fn transpose_bytes(rows: [[u8; SIDE]; SIDE]) -> [[u8; SIDE]; SIDE] {
    zip_all(zip_all(zip_all(zip_all(rows))))
}

/// Zips each row of the first half with one of the second. A compiler finds two vector instructions for each pair, where
/// all is written out: hence no loop over the rounds, nor over the halves.
#[inline(always)]
fn zip_all(rows: [[u8; SIDE]; SIDE]) -> [[u8; SIDE]; SIDE] {
    const HALF: usize = SIDE / 2;
    let mut out = rows;
    for k in 0..HALF {
        let (a, b) = (rows[k], rows[k + HALF]);
        out[2 * k] = std::array::from_fn(|i| if i % 2 == 0 { a[i / 2] } else { b[i / 2] });
        out[2 * k + 1] = std::array::from_fn(|i| if i % 2 == 0 { a[HALF + i / 2] } else { b[HALF + i / 2] });
    }
    out
}

/// Bit `4 k + m` goes to bit `k` of byte `m`.
#[inline(always)]
pub(super) fn spread_bits(bits: u32) -> u32 {
    // Four bits a byte, then the bits of eight bytes among each other.
    let mut x = u64::from(bits);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    for (shift, mask) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0xf0f0_f0f0)] {
        let differing = (x ^ x >> shift) & mask;
        x ^= differing ^ differing << shift;
    }
    x as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields_are_transposed<const N: usize>(random: u64) {
        let words: [u64; N] = std::array::from_fn(|i| random.wrapping_mul(2 * i as u64 + 1).rotate_left(17));
        let mut found = words;
        transpose_fields(&mut found);
        let field = |words: &[u64; N], word: usize, byte: usize, field: usize| {
            words[word] >> (byte * 8 + field * (8 / N)) & ((1 << (8 / N)) - 1)
        };
        for (word, byte, f) in (0..N).flat_map(|w| (0..8).flat_map(move |b| (0..N).map(move |f| (w, b, f)))) {
            assert_eq!(field(&found, f, byte, word), field(&words, word, byte, f), "{N}: {word} {byte} {f}");
        }
    }

    proptest! {
        #[test]
        fn fields_change_places(random: u64) {
            fields_are_transposed::<2>(random);
            fields_are_transposed::<4>(random);
            fields_are_transposed::<8>(random);
        }

        #[test]
        fn bytes_and_halves_change_places(rows: [[u8; SIDE]; SIDE], words: [u64; 4]) {
            let found = transpose_bytes(rows);
            for (i, j) in (0..SIDE).flat_map(|i| (0..SIDE).map(move |j| (i, j))) {
                prop_assert_eq!(found[i][j], rows[j][i]);
            }
            let mut found = words;
            transpose_halves(&mut found);
            for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
                prop_assert_eq!(found[i] >> (16 * j) & 0xffff, words[j] >> (16 * i) & 0xffff);
            }
        }

        #[test]
        fn bits_are_spread(bits: u32) {
            let expected = (0..32).fold(0, |out, i| out | (bits >> i & 1) << (i % 4 * 8 + i / 4));
            prop_assert_eq!(spread_bits(bits), expected);
        }
    }
}
