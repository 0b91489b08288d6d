//! How each storage type lies in the device's memory.
//!
//! A file's blocks mix scales and integers at odd offsets. On the device each matrix is up to three planes, row after
//! row: integers, what completes them (scales), and high bits. Eight consecutive weights are then one or two aligned
//! words, whatever the type. `wgsl/lib/weights.wgsl` and `wgsl/lib/blocks.wgsl` read what is written here.
//!
//! Integers of fewer than eight bits are spread over a word so that a shift and a mask make four consecutive ones the
//! bytes of a word, as products of packed int8 want them: byte `m` of a word holds the values `m`, `4 + m`, `8 + m` and
//! so on of those that the word has, the first in its lowest bits. This is meant by nibbles, pairs and bits below.

use wingbeat_format::DType;

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

#[cfg(test)]
mod tests;
