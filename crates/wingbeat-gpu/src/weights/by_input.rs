//! Matrices kept by input: for each column of `W` the weights of all outputs lie together, so that an input which is zero
//! costs nothing.
//!
//! Inputs come in bands of 256. In a band each plane is what the row-wise layout (`layout.rs`) has for 256 inputs of one
//! output, turned round: integers (or floats, or high bits) input after input, and the words of scales one after the other,
//! each for all outputs. Outputs are padded to eights and inputs to whole bands, with zeros. `wgsl/lib/by_input.wgsl` reads
//! what is written here.

use super::{
    blocks::{Block, Fields},
    fields::{SIDE, transpose_bytes, transpose_fields, transpose_halves},
    layout::{Layout, PLANES},
};
use wingbeat_backend::{MatrixSource, Orientation};
use wingbeat_format::quant;

/// Inputs of a band: the longest block of any type.
pub(crate) const BAND: usize = 256;
/// Outputs that are turned round at once: what they have in a band stays in the first cache, and of nibbles each input gets
/// a whole line of it.
const GROUP: usize = 128;
/// Bytes of a group's integers at most.
const GROUP_BYTES: usize = GROUP * BAND;
/// Bytes of an output's scales in a band at most.
const SCALE_BYTES: usize = 32;

/// Bytes of a band of `rows` outputs in each plane, all multiples of 4.
pub(crate) fn band_bytes(layout: Layout, rows: usize) -> [usize; PLANES] {
    let padded = rows.next_multiple_of(8);
    let [values, scales, high] = layout.row_bytes(BAND);
    if layout.is_float() {
        return [values * padded, 0, 0];
    }
    [BAND * input_bytes(values, padded), scales * padded, BAND * input_bytes(high, padded)]
}

/// Bytes of all planes, each padded to 16 bytes.
pub(crate) fn bytes(layout: Layout, rows: usize, cols: usize) -> u64 {
    let bands = cols.div_ceil(BAND);
    band_bytes(layout, rows).iter().map(|band| (band * bands).next_multiple_of(16) as u64).sum()
}

/// Bytes of one input of `padded` outputs, in whole words, where an output has `bytes` for a band of inputs.
fn input_bytes(bytes: usize, padded: usize) -> usize {
    (padded * bytes).div_ceil(BAND * 4) * 4
}

/// Writes one band of a matrix of blocks, whose stored rows have `row_bytes`, into its planes.
pub(super) fn pack_band<B: Block>(
    source: &MatrixSource,
    row_bytes: usize,
    band: usize,
    planes: [&mut [u8]; PLANES],
) {
    const { assert!(size_of::<B::Scales>() * (BAND / B::LEN) <= SCALE_BYTES, "room for the scales of an output") };
    let [values, scales, high] = planes;
    let (mut low_bytes, mut high_bytes) = ([0; GROUP_BYTES], [0; GROUP_BYTES / 4]);
    let padded = source.rows.next_multiple_of(8);
    let blocks_of_band = BAND / B::LEN;
    let low_row = size_of::<B::Integers>() * blocks_of_band;
    let high_row = size_of::<B::High>() * blocks_of_band;
    let (low_bytes, high_bytes) = (&mut low_bytes[..GROUP * low_row], &mut high_bytes[..GROUP * high_row]);
    for first in (0..source.rows).step_by(GROUP) {
        let n = GROUP.min(source.rows - first);
        let mut words = [[[0; 4]; SCALE_BYTES / 4]; GROUP];
        if n < GROUP {
            low_bytes.fill(0);
            high_bytes.fill(0);
        }
        for (i, words) in words.iter_mut().enumerate().take(n) {
            let row = &source.data[(first + i) * row_bytes..][..row_bytes];
            let blocks: &[B] = quant::blocks(row).expect("a row has whole blocks");
            let blocks = &blocks[band * blocks_of_band..];
            let low = low_bytes[i * low_row..][..low_row].chunks_exact_mut(size_of::<B::Integers>());
            for (out, block) in low.zip(blocks) {
                out.copy_from_slice(bytemuck::bytes_of(&block.integers()));
            }
            if high_row > 0 {
                let high = high_bytes[i * high_row..][..high_row].chunks_exact_mut(size_of::<B::High>());
                for (out, block) in high.zip(blocks) {
                    out.copy_from_slice(bytemuck::bytes_of(&block.high()));
                }
            }
            let words = words.as_flattened_mut().chunks_exact_mut(size_of::<B::Scales>());
            for (out, block) in words.zip(blocks).take(blocks_of_band) {
                out.copy_from_slice(bytemuck::bytes_of(&block.scales()));
            }
        }
        let n_padded = GROUP.min(padded - first);
        for (word, out) in scales.chunks_exact_mut(padded * 4).enumerate() {
            let out = out[first * 4..][..n_padded * 4].as_chunks_mut::<4>().0;
            for (out, words) in out.iter_mut().zip(&words) {
                *out = words[word];
            }
        }
        turn(B::INTEGERS, low_bytes, first, values);
        turn(B::HIGH, high_bytes, first, high);
    }
}

/// Turns round what a group of outputs has for a band, output after output in the file's order.
#[inline(always)]
fn turn(fields: Fields, group: &mut [u8], first: usize, out: &mut [u8]) {
    if group.is_empty() {
        return;
    }
    match fields.per_byte {
        2 => turn_fields::<2>(fields, group, first, out),
        4 => turn_fields::<4>(fields, group, first, out),
        8 => turn_fields::<8>(fields, group, first, out),
        _ => turn_bytes::<1>(fields, group, first, out),
    }
}

/// A byte of the outcome has the integers of `N` outputs.
#[inline(always)]
fn turn_fields<const N: usize>(fields: Fields, group: &mut [u8], first: usize, out: &mut [u8]) {
    let row = group.len() / GROUP;
    for rows in group.chunks_exact_mut(N * row) {
        together::<N>(rows, row);
    }
    turn_bytes::<N>(fields, group, first, out);
}

/// Turns round bytes: row `field` of each `N` has that field of all of them.
#[inline(always)]
fn turn_bytes<const N: usize>(fields: Fields, group: &[u8], first: usize, out: &mut [u8]) {
    let row = group.len() / GROUP;
    let input_bytes = out.len() / BAND;
    let at = first / N;
    let n_bytes = (GROUP / N).min(input_bytes - at);
    for (field, column) in (0..N).flat_map(|field| (0..row).step_by(SIDE).map(move |column| (field, column)))
    {
        for (rows, done) in group.chunks_exact(SIDE * N * row).zip((0..n_bytes).step_by(SIDE)) {
            let turned = transpose_bytes(std::array::from_fn(|k| load(rows, (k * N + field) * row + column)));
            let n = n_bytes - done;
            for (k, bytes) in turned.iter().enumerate() {
                let out = &mut out[fields.index(column + k, field) * input_bytes + at + done..];
                if n >= SIDE {
                    out[..SIDE].copy_from_slice(bytes);
                } else {
                    out[..n].copy_from_slice(&bytes[..n]);
                }
            }
        }
    }
}

/// Exchanges fields among the bytes of `N` rows, so that row `f` has field `f` of all of them.
#[inline(always)]
fn together<const N: usize>(rows: &mut [u8], row: usize) {
    for at in (0..row).step_by(8) {
        let mut words: [u64; N] = std::array::from_fn(|k| u64::from_le_bytes(load(rows, k * row + at)));
        transpose_fields(&mut words);
        for (k, word) in words.iter().enumerate() {
            rows[k * row + at..][..8].copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// The bytes that begin at `at`.
#[inline(always)]
fn load<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("rows are whole vectors")
}

/// Writes one band of a matrix of floats of `SIZE` bytes into its plane.
pub(super) fn pack_float_band<const SIZE: usize>(
    source: &MatrixSource,
    row_bytes: usize,
    band: usize,
    planes: [&mut [u8]; PLANES],
) {
    let [values, ..] = planes;
    let n_inputs = (source.cols - band * BAND).min(BAND);
    let input_bytes = values.len() / BAND;
    if n_inputs < BAND || source.rows * SIZE < input_bytes {
        values.fill(0);
    }
    match source.orientation {
        Orientation::Transposed => {
            let stored = source.data[band * BAND * row_bytes..].chunks_exact(row_bytes.max(1));
            for (out, stored) in values.chunks_exact_mut(input_bytes).zip(stored).take(n_inputs) {
                out[..stored.len()].copy_from_slice(stored);
            }
        }
        Orientation::RowMajor => {
            let from = Grid { bytes: &source.data[band * BAND * SIZE..], stride: row_bytes };
            turn_floats::<SIZE>(from, source.rows, n_inputs, values, input_bytes);
        }
    }
}

/// Rows of values, `stride` bytes from one to the next.
#[derive(Clone, Copy)]
pub(super) struct Grid<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
}

/// Writes the values of column `c` of `from` to row `c` of `out`, whose rows are `stride` bytes apart; a value has `SIZE`
/// bytes.
pub(super) fn turn_floats<const SIZE: usize>(
    from: Grid<'_>,
    rows: usize,
    columns: usize,
    out: &mut [u8],
    stride: usize,
) {
    // Rows that lie a power of two apart don't stay in a cache together, so that a block of them is copied first.
    const SIDE: usize = 64;
    let mut block = [[0; 4 * SIDE]; SIDE];
    for (first, column) in
        (0..rows).step_by(SIDE).flat_map(|r| (0..columns).step_by(SIDE).map(move |c| (r, c)))
    {
        let (n, n_columns) = (SIDE.min(rows - first), SIDE.min(columns - column));
        for (i, block) in block.iter_mut().enumerate().take(n) {
            let row = &from.bytes[(first + i) * from.stride + column * SIZE..];
            block[..n_columns * SIZE].copy_from_slice(&row[..n_columns * SIZE]);
        }
        for i in (0..n_columns).step_by(4) {
            for j in (0..n).step_by(4) {
                let mut turned = [[0; 4 * 4]; 4];
                if SIZE == 2 {
                    let mut words: [u64; 4] =
                        std::array::from_fn(|k| u64::from_le_bytes(load(&block[j + k], i * 2)));
                    transpose_halves(&mut words);
                    for (turned, word) in turned.iter_mut().zip(words) {
                        turned[..8].copy_from_slice(&word.to_le_bytes());
                    }
                } else {
                    for (k, turned) in turned.iter_mut().enumerate() {
                        for (l, turned) in turned.chunks_exact_mut(SIZE).enumerate().take(4) {
                            turned.copy_from_slice(&block[j + l][(i + k) * SIZE..][..SIZE]);
                        }
                    }
                }
                let n_values = (n - j).min(4);
                for (k, turned) in turned.iter().enumerate().take(n_columns - i) {
                    let out = &mut out[(column + i + k) * stride + (first + j) * SIZE..];
                    if n_values == 4 {
                        out[..4 * SIZE].copy_from_slice(&turned[..4 * SIZE]);
                    } else {
                        out[..n_values * SIZE].copy_from_slice(&turned[..n_values * SIZE]);
                    }
                }
            }
        }
    }
}
