//! Matrices kept by input: for each column of `W` the weights of all outputs lie together, so that an input which is zero
//! costs nothing.
//!
//! Inputs come in bands of 256. In a band each plane is what the row-wise layout (`layout.rs`) has for 256 inputs of one
//! output, turned round: integers (or floats, or high bits) input after input, and the words of scales one after the other,
//! each for all outputs. Outputs are padded to eights and inputs to whole bands, with zeros. `wgsl/lib/by_input.wgsl` reads
//! what is written here.

use super::layout::{self, Layout, PLANES};
use wingbeat_backend::{MatrixSource, Orientation};

/// Inputs of a band: the longest block of any type.
pub(crate) const BAND: usize = 256;
/// Outputs that are turned round at once: their blocks stay in the first cache.
const TURNED: usize = 32;

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

/// Writes one band of a matrix, whose stored rows have `row_bytes`, into its planes.
pub(crate) fn pack_band(
    source: &MatrixSource,
    row_bytes: usize,
    layout: Layout,
    band: usize,
    planes: [&mut [u8]; PLANES],
) {
    let n_inputs = (source.cols - band * BAND).min(BAND);
    let [values, scales, high] = planes;
    values.fill(0);
    if layout.is_float() {
        let size = layout.row_bytes(BAND)[0] / BAND;
        match (source.orientation, size) {
            (Orientation::Transposed, _) => {
                let stored = source.data[band * BAND * row_bytes..].chunks_exact(row_bytes.max(1));
                for (out, stored) in values.chunks_exact_mut(values.len() / BAND).zip(stored).take(n_inputs) {
                    out[..stored.len()].copy_from_slice(stored);
                }
            }
            (Orientation::RowMajor, 2) => turn::<2>(source, row_bytes, band, values),
            (Orientation::RowMajor, _) => turn::<4>(source, row_bytes, band, values),
        }
        return;
    }
    scales.fill(0);
    high.fill(0);
    let padded = source.rows.next_multiple_of(8);
    let stored_bytes = source.dtype.row_bytes(BAND).expect("a band has whole blocks");
    let own = layout.row_bytes(BAND);
    let mut plane: [Vec<u8>; PLANES] = own.map(|bytes| vec![0; bytes]);
    let (mut low, mut top) = ([[0; BAND]; TURNED], [[0; BAND]; TURNED]);
    for first in (0..source.rows).step_by(TURNED) {
        let n = TURNED.min(source.rows - first);
        for (i, (low, top)) in low.iter_mut().zip(&mut top).enumerate().take(n) {
            let row = &source.data[(first + i) * row_bytes..][..row_bytes];
            let row = &row[band * stored_bytes..][..stored_bytes.min(row_bytes - band * stored_bytes)];
            if n_inputs < BAND {
                plane.iter_mut().for_each(|plane| plane.fill(0));
            }
            let [a, b, c] = &mut plane;
            layout::pack_row(source.dtype, row, [a, b, c]);
            spread(a, low);
            spread(c, top);
            for (word, value) in b.as_chunks::<4>().0.iter().enumerate() {
                scales[(word * padded + first + i) * 4..][..4].copy_from_slice(value);
            }
        }
        low[n..].fill([0; BAND]);
        top[n..].fill([0; BAND]);
        gather(&low, own[0], first, values);
        gather(&top, own[2], first, high);
    }
}

/// Turns round a band of floats of `SIZE` bytes.
fn turn<const SIZE: usize>(source: &MatrixSource, row_bytes: usize, band: usize, values: &mut [u8]) {
    let input_bytes = values.len() / BAND;
    for first in (0..source.rows).step_by(TURNED) {
        let n = TURNED.min(source.rows - first);
        let stored = |i| {
            let row: &[u8] = &source.data[(first + i) * row_bytes..][..row_bytes];
            let row = row[band * BAND * SIZE..].as_chunks::<SIZE>().0;
            &row[..row.len().min(BAND)]
        };
        let rows: [&[[u8; SIZE]]; TURNED] = std::array::from_fn(|i| stored(i.min(n - 1)));
        for (input, out) in values.chunks_exact_mut(input_bytes).enumerate().take(rows[0].len()) {
            let out = out[first * SIZE..][..n * SIZE].as_chunks_mut::<SIZE>().0;
            for (out, row) in out.iter_mut().zip(&rows) {
                *out = row[input];
            }
        }
    }
}

/// The integers of a band of one output, a byte each, from the words over which `layout.rs` spreads them.
fn spread(packed: &[u8], out: &mut [u8; BAND]) {
    let bits = packed.len() * 8 / BAND;
    if bits == 0 {
        return out.fill(0);
    }
    for (out, word) in out.chunks_exact_mut(32 / bits).zip(packed.as_chunks::<4>().0) {
        for (group, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            for (out, byte) in out.iter_mut().zip(word) {
                *out = byte >> (group * bits) & (0xff >> (8 - bits));
            }
        }
    }
}

/// Packs the integers of some outputs for each input; `bytes` is what an output has for a band.
fn gather(q: &[[u8; BAND]; TURNED], bytes: usize, first: usize, out: &mut [u8]) {
    if bytes == 0 {
        return;
    }
    let per_byte = BAND / bytes;
    let bits = 8 / per_byte;
    let input_bytes = out.len() / BAND;
    let at = first / per_byte;
    let n = (TURNED / per_byte).min(input_bytes - at);
    for (input, out) in out.chunks_exact_mut(input_bytes).enumerate() {
        for (out, q) in out[at..at + n].iter_mut().zip(q.chunks_exact(per_byte)) {
            *out = q.iter().rev().fold(0, |byte, q| (u32::from(byte) << bits) as u8 | q[input]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use wingbeat_backend::{
        Backend,
        conformance::{Random, random_matrix},
        reference::Reference,
    };
    use wingbeat_format::DType;

    fn packed(source: &MatrixSource, layout: Layout, band: usize) -> [Vec<u8>; PLANES] {
        let mut planes = band_bytes(layout, source.rows).map(|bytes| vec![0xff; bytes]);
        let [a, b, c] = &mut planes;
        let row_bytes = source.checked_row_bytes().expect("a sound matrix");
        pack_band(source, row_bytes, layout, band, [a, b, c]);
        planes
    }

    #[test]
    fn floats_are_turned_round_and_padded() {
        for orientation in [Orientation::RowMajor, Orientation::Transposed] {
            let source = random_matrix(&mut Random::new(1), DType::F16, 37, 300, orientation);
            let exact = Reference.matrix(&source).expect("a matrix").values();
            for band in 0..2 {
                let [values, ..] = packed(&source, Layout::F16, band);
                for (at, value) in values.as_chunks::<2>().0.iter().enumerate() {
                    let (input, output) = (band * BAND + at / 40, at % 40);
                    let inside = input < 300 && output < 37;
                    let expected = if inside { exact[output * 300 + input] } else { 0.0 };
                    assert_eq!(
                        f16::from_le_bytes(*value).to_f64(),
                        expected,
                        "input {input} output {output}"
                    );
                }
            }
        }
    }

    #[test]
    fn bytes_and_scales_are_turned_round() {
        let source = random_matrix(&mut Random::new(2), DType::Q8_0, 67, 288, Orientation::RowMajor);
        let exact = Reference.matrix(&source).expect("a matrix").values();
        for band in 0..2 {
            let [values, scales, _] = packed(&source, Layout::Q8_0, band);
            for (at, value) in values.iter().enumerate() {
                let (input, output) = (at / 72, at % 72);
                let scale = &scales[(input / 64 * 72 + output) * 4 + input / 32 % 2 * 2..][..2];
                let found =
                    f64::from(value.cast_signed()) * f16::from_le_bytes([scale[0], scale[1]]).to_f64();
                let inside = band * BAND + input < 288 && output < 67;
                let expected = if inside { exact[output * 288 + band * BAND + input] } else { 0.0 };
                assert_eq!(found, expected, "input {input} output {output}");
            }
        }
    }
}
