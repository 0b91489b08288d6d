//! What the blocks of each stored type have for the planes of a layout (`layout.rs`), in the file's order.
//!
//! `rows.rs` and `by_input.rs` bring integers into the order that kernels want.

use bytemuck::{AnyBitPattern, Pod};
use half::f16;
use wingbeat_format::quant::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0,
};

/// In which order a block has its integers: its bytes come in runs, a byte holds one integer in each of its fields, and
/// the first fields of a run's bytes come first, then their second fields, and so on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    /// Integers in a byte.
    pub(super) per_byte: usize,
    /// Bytes of a run.
    pub(super) run: usize,
}

impl Fields {
    /// Which integer of a block field `field` of byte `byte` is.
    #[inline(always)]
    pub(super) fn index(self, byte: usize, field: usize) -> usize {
        byte / self.run * self.run * self.per_byte + field * self.run + byte % self.run
    }
}

/// What a block that has no high bits has there.
const NONE: Fields = Fields { per_byte: 1, run: 1 };
/// Bits in the order of their integers.
const BITS: Fields = Fields { per_byte: 8, run: 1 };
/// The first half of 32 integers in low nibbles.
const HALVES: Fields = Fields { per_byte: 2, run: 16 };

/// A block of a file; what it has for each plane is an array of bytes.
pub(super) trait Block: AnyBitPattern {
    /// Values of a block.
    const LEN: usize;
    /// The order of [`Block::integers`].
    const INTEGERS: Fields;
    /// The order of [`Block::high`].
    const HIGH: Fields;
    /// Bytes for plane 0.
    type Integers: Pod;
    /// Bytes for plane 1.
    type Scales: Pod;
    /// Bytes for plane 2.
    type High: Pod;

    /// Integers, or their low bits.
    fn integers(&self) -> Self::Integers;
    /// Scales, as the layout has them.
    fn scales(&self) -> Self::Scales;
    /// High bits.
    fn high(&self) -> Self::High;
}

impl Block for BlockQ8_0 {
    const LEN: usize = 32;
    const INTEGERS: Fields = Fields { per_byte: 1, run: 32 };
    const HIGH: Fields = NONE;
    type Integers = [i8; 32];
    type Scales = [u8; 2];
    type High = [u8; 0];

    #[inline(always)]
    fn integers(&self) -> [i8; 32] {
        self.qs
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 2] {
        self.d
    }

    #[inline(always)]
    fn high(&self) -> [u8; 0] {
        []
    }
}

impl Block for BlockQ4_0 {
    const LEN: usize = 32;
    const INTEGERS: Fields = HALVES;
    const HIGH: Fields = NONE;
    type Integers = [u8; 16];
    type Scales = [u8; 2];
    type High = [u8; 0];

    #[inline(always)]
    fn integers(&self) -> [u8; 16] {
        self.qs
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 2] {
        self.d
    }

    #[inline(always)]
    fn high(&self) -> [u8; 0] {
        []
    }
}

impl Block for BlockQ5_0 {
    const LEN: usize = 32;
    const INTEGERS: Fields = HALVES;
    const HIGH: Fields = BITS;
    type Integers = [u8; 16];
    type Scales = [u8; 2];
    type High = [u8; 4];

    #[inline(always)]
    fn integers(&self) -> [u8; 16] {
        self.qs
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 2] {
        self.d
    }

    #[inline(always)]
    fn high(&self) -> [u8; 4] {
        self.qh
    }
}

impl Block for BlockQ4_1 {
    const LEN: usize = 32;
    const INTEGERS: Fields = HALVES;
    const HIGH: Fields = BITS;
    type Integers = [u8; 16];
    type Scales = [u8; 4];
    type High = [u8; 4];

    #[inline(always)]
    fn integers(&self) -> [u8; 16] {
        self.qs
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 4] {
        [self.d[0], self.d[1], self.m[0], self.m[1]]
    }

    /// None here, but it is kept as a Q5_1.
    #[inline(always)]
    fn high(&self) -> [u8; 4] {
        [0; 4]
    }
}

impl Block for BlockQ5_1 {
    const LEN: usize = 32;
    const INTEGERS: Fields = HALVES;
    const HIGH: Fields = BITS;
    type Integers = [u8; 16];
    type Scales = [u8; 4];
    type High = [u8; 4];

    #[inline(always)]
    fn integers(&self) -> [u8; 16] {
        self.qs
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 4] {
        [self.d[0], self.d[1], self.m[0], self.m[1]]
    }

    #[inline(always)]
    fn high(&self) -> [u8; 4] {
        self.qh
    }
}

impl Block for BlockQ4K {
    const LEN: usize = 256;
    const INTEGERS: Fields = Fields { per_byte: 2, run: 32 };
    const HIGH: Fields = NONE;
    type Integers = [u8; 128];
    type Scales = [u8; 20];
    type High = [u8; 0];

    #[inline(always)]
    fn integers(&self) -> [u8; 128] {
        self.qs
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 20] {
        k_scales(self.d, self.dmin, &self.scales)
    }

    #[inline(always)]
    fn high(&self) -> [u8; 0] {
        []
    }
}

impl Block for BlockQ5K {
    const LEN: usize = 256;
    const INTEGERS: Fields = Fields { per_byte: 2, run: 32 };
    const HIGH: Fields = Fields { per_byte: 8, run: 32 };
    type Integers = [u8; 128];
    type Scales = [u8; 20];
    type High = [u8; 32];

    #[inline(always)]
    fn integers(&self) -> [u8; 128] {
        self.qs
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 20] {
        k_scales(self.d, self.dmin, &self.scales)
    }

    #[inline(always)]
    fn high(&self) -> [u8; 32] {
        self.qh
    }
}

impl Block for BlockQ6K {
    const LEN: usize = 256;
    const INTEGERS: Fields = Fields { per_byte: 2, run: 64 };
    const HIGH: Fields = Fields { per_byte: 4, run: 32 };
    type Integers = [u8; 128];
    type Scales = [u8; 20];
    type High = [u8; 64];

    #[inline(always)]
    fn integers(&self) -> [u8; 128] {
        self.ql
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 20] {
        six_bit_scales(self.d, self.scales)
    }

    #[inline(always)]
    fn high(&self) -> [u8; 64] {
        self.qh
    }
}

/// Kept as a Q6_K: integers count from −4 there, from −32 here, so that a third bit `t` above two low ones makes
/// `28 + low + 4 t`, which has `low + 12 (1 - t)` in its low four bits and `1 + t` above them.
impl Block for BlockQ3K {
    const LEN: usize = 256;
    const INTEGERS: Fields = Fields { per_byte: 2, run: 64 };
    const HIGH: Fields = Fields { per_byte: 4, run: 32 };
    type Integers = [u8; 128];
    type Scales = [u8; 20];
    type High = [u8; 64];

    #[inline(always)]
    fn integers(&self) -> [u8; 128] {
        let mut out = [0; 128];
        for (half, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let qs = &self.qs[half * 32..][..32];
            for (quarter, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for ((out, q), mask) in out.iter_mut().zip(qs).zip(&self.hmask) {
                    let nibble = |quarter: usize| {
                        let third = mask >> (half * 4 + quarter) & 1;
                        (q >> (quarter * 2) & 3) + (1 - third) * 12
                    };
                    *out = nibble(quarter) | nibble(quarter + 2) << 4;
                }
            }
        }
        out
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 20] {
        six_bit_scales(self.d, std::array::from_fn(|group| self.scale(group)))
    }

    #[inline(always)]
    fn high(&self) -> [u8; 64] {
        let mut out = [0; 64];
        for (half, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (out, mask) in out.iter_mut().zip(&self.hmask) {
                let third = mask >> (half * 4);
                // One in each pair, and a bit more where the third bit is set.
                *out = 0x55 + (third & 1 | (third & 2) << 1 | (third & 4) << 2 | (third & 8) << 3);
            }
        }
        out
    }
}

impl Block for BlockQ2K {
    const LEN: usize = 256;
    const INTEGERS: Fields = Fields { per_byte: 4, run: 32 };
    const HIGH: Fields = NONE;
    type Integers = [u8; 64];
    type Scales = [u8; 20];
    type High = [u8; 0];

    #[inline(always)]
    fn integers(&self) -> [u8; 64] {
        self.qs
    }

    #[inline(always)]
    fn scales(&self) -> [u8; 20] {
        let mut out = [0; 20];
        out[..2].copy_from_slice(&self.d);
        out[2..4].copy_from_slice(&self.dmin);
        out[4..].copy_from_slice(&self.scales);
        out
    }

    #[inline(always)]
    fn high(&self) -> [u8; 0] {
        []
    }
}

/// Both factors, then scale and minimum of each 32 as bytes, from the twelve bytes that Q4_K and Q5_K have for them.
#[inline(always)]
fn k_scales(d: [u8; 2], dmin: [u8; 2], packed: &[u8; 12]) -> [u8; 20] {
    let word = |at: usize| u32::from_le_bytes([packed[at], packed[at + 1], packed[at + 2], packed[at + 3]]);
    let (a, b, c) = (word(0), word(4), word(8));
    let (scales, minima) = (a & 0x3f3f_3f3f, b & 0x3f3f_3f3f);
    let later_scales = c & 0x0f0f_0f0f | (a >> 2 & 0x3030_3030);
    let later_minima = c >> 4 & 0x0f0f_0f0f | (b >> 2 & 0x3030_3030);
    let mut out = [0; 20];
    out[..2].copy_from_slice(&d);
    out[2..4].copy_from_slice(&dmin);
    out[4..12].copy_from_slice(&(apart(scales) | apart(minima) << 8).to_le_bytes());
    out[12..].copy_from_slice(&(apart(later_scales) | apart(later_minima) << 8).to_le_bytes());
    out
}

/// The bytes of a word with a zero after each.
#[inline(always)]
fn apart(word: u32) -> u64 {
    let x = u64::from(word);
    let x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    (x | x << 8) & 0x00ff_00ff_00ff_00ff
}

/// The factor in f32, then the sixteen scales.
#[inline(always)]
fn six_bit_scales(d: [u8; 2], scales: [i8; 16]) -> [u8; 20] {
    let mut out = [0; 20];
    out[..4].copy_from_slice(&f16::from_le_bytes(d).to_f32().to_le_bytes());
    out[4..].copy_from_slice(&scales.map(i8::cast_unsigned));
    out
}
