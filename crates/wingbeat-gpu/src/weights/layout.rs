//! How each storage type lies in the device's memory.
//!
//! A file's blocks mix scales and integers at odd offsets. On the device each matrix is up to three planes, row after
//! row: integers, what completes them (scales), and high bits. Eight consecutive weights are then one or two aligned
//! words, whatever the type. `wgsl/lib/weights.wgsl` and `wgsl/lib/blocks.wgsl` read what is written here.
//!
//! Integers of fewer than eight bits are spread over a word so that a shift and a mask make four consecutive ones the
//! bytes of a word, as products of packed int8 want them: byte `m` of a word holds the values `m`, `4 + m`, `8 + m` and
//! so on of those that the word has, the first in its lowest bits. This is meant by nibbles, pairs and bits below.

use half::{bf16, f16};
use wingbeat_format::{
    DType,
    quant::{
        self, BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K,
        BlockQ8_0,
    },
};

/// Planes of a matrix at most.
pub(crate) const PLANES: usize = 3;

/// A layout on the device; the number is the one that kernels know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Layout {
    /// Little-endian f32, rows padded to eight values with zeros.
    F32 = 0,
    /// Half precision, padded likewise.
    F16 = 1,
    /// The upper half of an f32, padded likewise.
    BF16 = 2,
    /// Plane 0: int8. Plane 1: an f16 scale for each 32. `w = d q`.
    Q8_0 = 3,
    /// Plane 0: nibbles. Plane 1: an f16 scale for each 32. `w = d (q - 8)`.
    Q4_0 = 4,
    /// Plane 0: nibbles. Plane 1: an f16 scale for each 32. Plane 2: fifth bits. `w = d (q - 16)`.
    Q5_0 = 5,
    /// Plane 0: nibbles. Plane 1: f16 scale and minimum for each 32. Plane 2: fifth bits. `w = d q + m`.
    Q5_1 = 6,
    /// Plane 0: nibbles. Plane 1, five words for each 256: d and dmin in f16, then scale and minimum of each 32 as bytes,
    /// one beside the other. `w = d s q - dmin m`.
    Q4K = 7,
    /// As [`Layout::Q4K`]. Plane 2: fifth bits.
    Q5K = 8,
    /// Plane 0: nibbles. Plane 1, five words for each 256: d in f32, sixteen int8 scales. Plane 2: pairs of high bits.
    /// `w = d s (q - 32)`.
    Q6K = 9,
    /// Plane 0: pairs of bits. Plane 1, five words for each 256: d and dmin in f16, sixteen bytes with a scale in the low
    /// and a minimum in the high half. `w = d s q - dmin m`.
    Q2K = 10,
}

impl Layout {
    /// Every layout.
    #[cfg(test)]
    pub(crate) const ALL: [Layout; 11] = [
        Layout::F32,
        Layout::F16,
        Layout::BF16,
        Layout::Q8_0,
        Layout::Q4_0,
        Layout::Q5_0,
        Layout::Q5_1,
        Layout::Q4K,
        Layout::Q5K,
        Layout::Q6K,
        Layout::Q2K,
    ];

    /// The layout for a stored type, and whether it is another type's, into which it fits without loss. None for types
    /// that are no weights.
    pub(crate) fn of(dtype: DType) -> Option<(Layout, bool)> {
        Some(match dtype {
            DType::F32 => (Layout::F32, false),
            DType::F16 => (Layout::F16, false),
            DType::BF16 => (Layout::BF16, false),
            DType::Q8_0 => (Layout::Q8_0, false),
            DType::Q4_0 => (Layout::Q4_0, false),
            DType::Q4_1 => (Layout::Q5_1, true),
            DType::Q5_0 => (Layout::Q5_0, false),
            DType::Q5_1 => (Layout::Q5_1, false),
            DType::Q2K => (Layout::Q2K, false),
            DType::Q3K => (Layout::Q6K, true),
            DType::Q4K => (Layout::Q4K, false),
            DType::Q5K => (Layout::Q5K, false),
            DType::Q6K => (Layout::Q6K, false),
            _ => return None,
        })
    }

    /// The constant that kernels are compiled with where they meet this layout.
    pub(crate) fn constant(self) -> &'static str {
        match self {
            Layout::F32 => "HAS_F32",
            Layout::F16 => "HAS_F16",
            Layout::BF16 => "HAS_BF16",
            Layout::Q8_0 => "HAS_Q8_0",
            Layout::Q4_0 => "HAS_Q4_0",
            Layout::Q5_0 => "HAS_Q5_0",
            Layout::Q5_1 => "HAS_Q5_1",
            Layout::Q4K => "HAS_Q4K",
            Layout::Q5K => "HAS_Q5K",
            Layout::Q6K => "HAS_Q6K",
            Layout::Q2K => "HAS_Q2K",
        }
    }

    /// Whether weights are floats, not integers with scales.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Layout::F32 | Layout::F16 | Layout::BF16)
    }

    /// Bytes that a row of `cols` values takes in each plane, all multiples of 4.
    pub(crate) fn row_bytes(self, cols: usize) -> [usize; PLANES] {
        let (padded, n32, n256) = (cols.next_multiple_of(8), cols / 32, cols / 256);
        // Two scales a word.
        let scales = n32.div_ceil(2) * 4;
        match self {
            Layout::F32 => [padded * 4, 0, 0],
            Layout::F16 | Layout::BF16 => [padded * 2, 0, 0],
            Layout::Q8_0 => [n32 * 32, scales, 0],
            Layout::Q4_0 => [n32 * 16, scales, 0],
            Layout::Q5_0 => [n32 * 16, scales, n32 * 4],
            Layout::Q5_1 => [n32 * 16, n32 * 4, n32 * 4],
            Layout::Q4K => [n256 * 128, n256 * 20, 0],
            Layout::Q5K => [n256 * 128, n256 * 20, n256 * 32],
            Layout::Q6K => [n256 * 128, n256 * 20, n256 * 64],
            Layout::Q2K => [n256 * 64, n256 * 20, 0],
        }
    }

    /// Bytes of `rows` rows in all planes, each plane padded to 16 bytes.
    pub(crate) fn bytes(self, rows: usize, cols: usize) -> u64 {
        self.row_bytes(cols).iter().map(|row| (row * rows).next_multiple_of(16) as u64).sum()
    }
}

/// Writes one stored row of a type into its planes, each as long as [`Layout::row_bytes`] says.
pub(crate) fn pack_row(dtype: DType, row: &[u8], planes: [&mut [u8]; PLANES]) {
    let [integers, scales, high] = planes;
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => {
            integers[..row.len()].copy_from_slice(row);
            integers[row.len()..].fill(0);
        }
        DType::Q8_0 => {
            scales.fill(0);
            for (i, block) in of::<BlockQ8_0>(row).iter().enumerate() {
                integers[i * 32..][..32].copy_from_slice(bytemuck::bytes_of(&block.qs));
                scales[i * 2..][..2].copy_from_slice(&block.d);
            }
        }
        DType::Q4_0 => {
            scales.fill(0);
            for (i, block) in of::<BlockQ4_0>(row).iter().enumerate() {
                scales[i * 2..][..2].copy_from_slice(&block.d);
                spread::<4>(&of_halves(&block.qs), &mut integers[i * 16..][..16]);
            }
        }
        DType::Q5_0 => {
            scales.fill(0);
            for (i, block) in of::<BlockQ5_0>(row).iter().enumerate() {
                scales[i * 2..][..2].copy_from_slice(&block.d);
                spread::<1>(&of_bits(block.qh), &mut high[i * 4..][..4]);
                spread::<4>(&of_halves(&block.qs), &mut integers[i * 16..][..16]);
            }
        }
        DType::Q4_1 => {
            high.fill(0);
            for (i, block) in of::<BlockQ4_1>(row).iter().enumerate() {
                scales[i * 4..][..2].copy_from_slice(&block.d);
                scales[i * 4 + 2..][..2].copy_from_slice(&block.m);
                spread::<4>(&of_halves(&block.qs), &mut integers[i * 16..][..16]);
            }
        }
        DType::Q5_1 => {
            for (i, block) in of::<BlockQ5_1>(row).iter().enumerate() {
                scales[i * 4..][..2].copy_from_slice(&block.d);
                scales[i * 4 + 2..][..2].copy_from_slice(&block.m);
                spread::<1>(&of_bits(block.qh), &mut high[i * 4..][..4]);
                spread::<4>(&of_halves(&block.qs), &mut integers[i * 16..][..16]);
            }
        }
        DType::Q4K => {
            for (i, block) in of::<BlockQ4K>(row).iter().enumerate() {
                let header = k_header(block.d, block.dmin, |g| block.scale_min(g));
                scales[i * 20..][..20].copy_from_slice(&header);
                spread::<4>(&of_pairs(&block.qs), &mut integers[i * 128..][..128]);
            }
        }
        DType::Q5K => {
            for (i, block) in of::<BlockQ5K>(row).iter().enumerate() {
                let header = k_header(block.d, block.dmin, |g| block.scale_min(g));
                scales[i * 20..][..20].copy_from_slice(&header);
                spread::<4>(&of_pairs(&block.qs), &mut integers[i * 128..][..128]);
                // Bit g of byte j belongs to value j of group g.
                let fifth: [u8; 256] = std::array::from_fn(|v| block.qh[v % 32] >> (v / 32) & 1);
                spread::<1>(&fifth, &mut high[i * 32..][..32]);
            }
        }
        DType::Q6K => {
            for (i, block) in of::<BlockQ6K>(row).iter().enumerate() {
                let d = f16::from_le_bytes(block.d).to_f32().to_le_bytes();
                scales[i * 20..][..4].copy_from_slice(&d);
                scales[i * 20 + 4..][..16].copy_from_slice(bytemuck::cast_slice(&block.scales));
                let mut q = [0; 256];
                for (v, q) in q.iter_mut().enumerate() {
                    let (half, quarter, at) = (v / 128, v / 32 % 4, v % 32);
                    let low = block.ql[half * 64 + quarter % 2 * 32 + at] >> (quarter / 2 * 4) & 15;
                    *q = low | (block.qh[half * 32 + at] >> (quarter * 2) & 3) << 4;
                }
                six_bits(&q, &mut integers[i * 128..][..128], &mut high[i * 64..][..64]);
            }
        }
        DType::Q3K => {
            for (i, block) in of::<BlockQ3K>(row).iter().enumerate() {
                let d = f16::from_le_bytes(block.d).to_f32().to_le_bytes();
                scales[i * 20..][..4].copy_from_slice(&d);
                for (g, scale) in scales[i * 20 + 4..][..16].iter_mut().enumerate() {
                    *scale = block.scale(g).cast_unsigned();
                }
                let mut q = [0; 256];
                for (v, q) in q.iter_mut().enumerate() {
                    let (half, quarter, at) = (v / 128, v / 32 % 4, v % 32);
                    let low = block.qs[half * 32 + at] >> (quarter * 2) & 3;
                    let third = block.hmask[at] >> (half * 4 + quarter) & 1;
                    // Counted from -4 there, from -32 here.
                    *q = (low | third << 2) + 28;
                }
                six_bits(&q, &mut integers[i * 128..][..128], &mut high[i * 64..][..64]);
            }
        }
        DType::Q2K => {
            for (i, block) in of::<BlockQ2K>(row).iter().enumerate() {
                scales[i * 20..][..2].copy_from_slice(&block.d);
                scales[i * 20 + 2..][..2].copy_from_slice(&block.dmin);
                scales[i * 20 + 4..][..16].copy_from_slice(&block.scales);
                let q = |v: usize| block.qs[v / 128 * 32 + v % 32] >> (v / 32 % 4 * 2) & 3;
                spread::<2>(&std::array::from_fn::<u8, 256, _>(q), &mut integers[i * 64..][..64]);
            }
        }
        other => unreachable!("{} has no layout", other.name()),
    }
}

fn of<B: bytemuck::AnyBitPattern>(row: &[u8]) -> &[B] {
    quant::blocks(row).expect("a row has whole blocks")
}

/// Integers of some bits, over words: see the module.
fn spread<const BITS: usize>(q: &[u8], out: &mut [u8]) {
    for (word, q) in out.as_chunks_mut::<4>().0.iter_mut().zip(q.chunks_exact(32 / BITS)) {
        *word = [0; 4];
        for (group, q) in q.as_chunks::<4>().0.iter().enumerate() {
            for (byte, q) in word.iter_mut().zip(q) {
                *byte |= q << (group * BITS);
            }
        }
    }
}

/// Low four bits and high two of integers below 64.
fn six_bits(q: &[u8; 256], low: &mut [u8], high: &mut [u8]) {
    spread::<4>(&q.map(|q| q & 15), low);
    spread::<2>(&q.map(|q| q >> 4), high);
}

/// The 32 bits of a number, the lowest first.
fn of_bits(bits: [u8; 4]) -> [u8; 32] {
    std::array::from_fn(|i| bits[i / 8] >> (i % 8) & 1)
}

/// The 32 integers of 16 bytes with the first half in the low nibbles.
fn of_halves(qs: &[u8; 16]) -> [u8; 32] {
    std::array::from_fn(|i| qs[i % 16] >> (i / 16 * 4) & 15)
}

/// The 256 integers of 128 bytes: 32 bytes for each pair of groups, the even group in the low nibbles.
fn of_pairs(qs: &[u8; 128]) -> [u8; 256] {
    std::array::from_fn(|i| qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15)
}

/// Five words: both factors, then scale and minimum of each 32 as bytes.
fn k_header(d: [u8; 2], dmin: [u8; 2], scale_min: impl Fn(usize) -> (u8, u8)) -> [u8; 20] {
    let mut out = [0; 20];
    out[..2].copy_from_slice(&d);
    out[2..4].copy_from_slice(&dmin);
    for group in 0..8 {
        (out[4 + group * 2], out[5 + group * 2]) = scale_min(group);
    }
    out
}

/// The bytes of row `row` of `W` from `Wᵀ (cols, rows)`, of a float type.
pub(crate) fn gather_transposed(dtype: DType, data: &[u8], rows: usize, row: usize, out: &mut Vec<u8>) {
    let size = match dtype {
        DType::F32 => size_of::<f32>(),
        DType::F16 => size_of::<f16>(),
        _ => size_of::<bf16>(),
    };
    out.clear();
    for stored in data.chunks_exact(rows * size) {
        out.extend_from_slice(&stored[row * size..][..size]);
    }
}

#[cfg(test)]
mod tests;
