//! Planes are, byte for byte, what a slow twin makes of the same blocks, one integer at a time.

use super::*;
use half::f16;
use proptest::prelude::*;
use wingbeat_backend::conformance::Random;
use wingbeat_format::{Bytes, quant};

/// A row of blocks, one integer a byte.
#[derive(Default)]
struct Row {
    /// Those of plane 0, and how many bits each has there.
    integers: (Vec<u8>, usize),
    scales: Vec<u8>,
    /// Those of plane 2.
    high: (Vec<u8>, usize),
}

fn unpacked(dtype: DType, bytes: &[u8]) -> Row {
    let mut row = Row::default();
    for block in bytes.chunks_exact(dtype.block_bytes()) {
        match dtype {
            DType::Q8_0 => {
                row.push::<BlockQ8_0>(block, 8, 0, |b, i| b.qs[i].cast_unsigned(), |b| b.d.to_vec())
            }
            DType::Q4_0 => row.push::<BlockQ4_0>(block, 4, 0, |b, i| half(&b.qs, i), |b| b.d.to_vec()),
            DType::Q4_1 => {
                row.push::<BlockQ4_1>(block, 4, 1, |b, i| half(&b.qs, i), |b| [b.d, b.m].concat());
            }
            DType::Q5_0 => row.push::<BlockQ5_0>(
                block,
                4,
                1,
                |b, i| half(&b.qs, i) | (b.qh[i / 8] >> (i % 8) & 1) << 4,
                |b| b.d.to_vec(),
            ),
            DType::Q5_1 => row.push::<BlockQ5_1>(
                block,
                4,
                1,
                |b, i| half(&b.qs, i) | (b.qh[i / 8] >> (i % 8) & 1) << 4,
                |b| [b.d, b.m].concat(),
            ),
            DType::Q4K => row.push::<BlockQ4K>(
                block,
                4,
                0,
                |b, i| b.qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15,
                |b| k_scales(b.d, b.dmin, |group| b.scale_min(group)),
            ),
            DType::Q5K => row.push::<BlockQ5K>(
                block,
                4,
                1,
                |b, i| {
                    b.qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15 | (b.qh[i % 32] >> (i / 32) & 1) << 4
                },
                |b| k_scales(b.d, b.dmin, |group| b.scale_min(group)),
            ),
            DType::Q6K => row.push::<BlockQ6K>(
                block,
                4,
                2,
                |b, i| {
                    let (half, quarter, at) = (i / 128, i / 32 % 4, i % 32);
                    let low = b.ql[half * 64 + quarter % 2 * 32 + at] >> (quarter / 2 * 4) & 15;
                    low | (b.qh[half * 32 + at] >> (quarter * 2) & 3) << 4
                },
                |b| six_bit_scales(b.d, |group| b.scales[group]),
            ),
            DType::Q3K => row.push::<BlockQ3K>(
                block,
                4,
                2,
                |b, i| {
                    let (half, quarter, at) = (i / 128, i / 32 % 4, i % 32);
                    let low = b.qs[half * 32 + at] >> (quarter * 2) & 3;
                    // Counted from -4 there, from -32 here.
                    (low | (b.hmask[at] >> (half * 4 + quarter) & 1) << 2) + 28
                },
                |b| six_bit_scales(b.d, |group| b.scale(group)),
            ),
            DType::Q2K => row.push::<BlockQ2K>(
                block,
                2,
                0,
                |b, i| b.qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3,
                |b| [&b.d[..], &b.dmin[..], &b.scales[..]].concat(),
            ),
            other => panic!("{other:?} has no blocks"),
        }
    }
    row
}

impl Row {
    fn push<B: bytemuck::AnyBitPattern>(
        &mut self,
        block: &[u8],
        bits: usize,
        high_bits: usize,
        integer: impl Fn(&B, usize) -> u8,
        scales: impl Fn(&B) -> Vec<u8>,
    ) {
        let block: &B = &quant::blocks(block).expect("a whole block")[0];
        let n = if scales(block).len() < 20 { 32 } else { 256 };
        (self.integers.1, self.high.1) = (bits, high_bits);
        for i in 0..n {
            let q = integer(block, i);
            self.integers.0.push(if bits == 8 { q } else { q & ((1 << bits) - 1) });
            self.high.0.push(q.checked_shr(bits as u32).unwrap_or(0));
        }
        self.scales.extend(scales(block));
    }
}

fn half(qs: &[u8; 16], i: usize) -> u8 {
    qs[i % 16] >> (i / 16 * 4) & 15
}

fn k_scales(d: [u8; 2], dmin: [u8; 2], scale_min: impl Fn(usize) -> (u8, u8)) -> Vec<u8> {
    [d, dmin].concat().into_iter().chain((0..8).map(scale_min).flat_map(|(s, m)| [s, m])).collect()
}

fn six_bit_scales(d: [u8; 2], scale: impl Fn(usize) -> i8) -> Vec<u8> {
    let d = f16::from_le_bytes(d).to_f32().to_le_bytes();
    d.into_iter().chain((0..16).map(|group| scale(group).cast_unsigned())).collect()
}

/// The planes of a matrix, as `layout.rs` and `by_input.rs` say that they lie.
fn expected(source: &MatrixSource, layout: Layout, by_input: bool) -> [Vec<u8>; PLANES] {
    let size = source.dtype.block_bytes();
    let stored = |row: usize, col: usize| {
        let at = match source.orientation {
            Orientation::RowMajor => row * source.cols + col,
            Orientation::Transposed => col * source.rows + row,
        };
        &source.data[at * size..][..size]
    };
    let n_bands = source.cols.div_ceil(by_input::BAND);
    let mut planes = match by_input {
        true => by_input::band_bytes(layout, source.rows).map(|bytes| vec![0; bytes * n_bands]),
        false => layout.row_bytes(source.cols).map(|bytes| vec![0; bytes * source.rows]),
    };
    let padded = source.rows.next_multiple_of(8);
    if layout.is_float() {
        let stride = if by_input { padded } else { source.cols.next_multiple_of(8) };
        for (row, col) in (0..source.rows).flat_map(|row| (0..source.cols).map(move |col| (row, col))) {
            let at = if by_input { col * stride + row } else { row * stride + col };
            planes[0][at * size..][..size].copy_from_slice(stored(row, col));
        }
        return planes;
    }
    let row_bytes = source.dtype.row_bytes(source.cols).expect("whole blocks");
    for (r, bytes) in source.data.chunks_exact(row_bytes).enumerate() {
        let row = unpacked(source.dtype, bytes);
        for (plane, (integers, bits)) in [(0, &row.integers), (2, &row.high)] {
            let n_rows = if by_input { by_input::BAND * n_bands } else { source.rows };
            let stride = planes[plane].len() / n_rows;
            for (i, q) in integers.iter().enumerate().filter(|_| *bits > 0) {
                let (byte, shift) = if by_input {
                    (i * stride + r * bits / 8, r * bits % 8)
                } else {
                    // Four integers side by side, the next four above them.
                    let (word, at) = (i * bits / 32, i % (32 / bits));
                    (r * stride + word * 4 + at % 4, at / 4 * bits)
                };
                planes[plane][byte] |= q << shift;
            }
        }
        for (i, scale) in row.scales.iter().enumerate() {
            let at = if by_input {
                (i / 4 * padded + r) * 4 + i % 4
            } else {
                r * (planes[1].len() / source.rows) + i
            };
            planes[1][at] = *scale;
        }
    }
    planes
}

/// Random bytes, in which every bit of every field is met; no scale is ever read.
fn random_source(
    seed: u64,
    dtype: DType,
    rows: usize,
    cols: usize,
    orientation: Orientation,
) -> MatrixSource {
    let mut random = Random::new(seed);
    let n_bytes = rows * dtype.row_bytes(cols).expect("whole blocks");
    let mut data: Vec<u8> = (0..n_bytes + 1).map(|_| random.bits() as u8).collect();
    if dtype == DType::Q3K || dtype == DType::Q6K {
        // Whether a NaN keeps its bits on its way to f32 is the processor's affair.
        for block in data[1..].chunks_exact_mut(dtype.block_bytes()) {
            let at = dtype.scale_offsets()[0];
            block[at + 1] &= 0xbf;
        }
    }
    let data = Bytes::from_vec(data).slice(1..n_bytes + 1).expect("one byte in front, of no alignment");
    MatrixSource { name: "w".to_owned(), dtype, rows, cols, orientation, sparse_input: false, data }
}

fn is_as_expected(source: &MatrixSource, by_input: bool) -> Result<(), TestCaseError> {
    let mut matrix = HostMatrix::new(source, by_input).expect("a sound matrix").expect("a type of weights");
    let expected = expected(source, matrix.packing.layout, by_input);
    for (i, (found, expected)) in matrix.pack().iter().zip(&expected).enumerate() {
        let (dtype, rows, cols) = (source.dtype.name(), source.rows, source.cols);
        prop_assert_eq!(found.len(), expected.len());
        if let Some(at) = found.iter().zip(expected).position(|(found, expected)| found != expected) {
            let (found, expected) = (found[at], expected[at]);
            prop_assert!(
                false,
                "{dtype} ({rows}, {cols}), {by_input}: plane {i} byte {at}: {found:#x}, not {expected:#x}"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn planes_are_as_the_layout_says(
        seed: u64,
        dtype in prop::sample::select(
            DType::all().filter(|dtype| Layout::of(*dtype).is_some()).collect::<Vec<_>>()
        ),
        rows in prop_oneof![1..20_usize, 120..150_usize, 250..280_usize],
        blocks in 1..14_usize,
        odd in 0..70_usize,
        by_input: bool,
        transposed: bool,
    ) {
        let is_float = dtype.block_len() == 1;
        let cols = if is_float { blocks * 41 + odd } else { dtype.block_len() * blocks };
        let orientation = if is_float && transposed { Orientation::Transposed } else { Orientation::RowMajor };
        is_as_expected(&random_source(seed, dtype, rows, cols, orientation), by_input)?;
    }
}

#[test]
fn a_matrix_without_rows_or_columns_is_no_bytes() {
    for (rows, cols) in [(0, 0), (0, 256), (3, 0)] {
        for dtype in [DType::F16, DType::Q4K, DType::Q8_0] {
            let source = random_source(1, dtype, rows, cols, Orientation::RowMajor);
            let mut matrix = HostMatrix::new(&source, false).expect("sound").expect("a type of weights");
            assert!(matrix.pack().iter().all(Vec::is_empty), "{} ({rows}, {cols})", dtype.name());
        }
    }
}
