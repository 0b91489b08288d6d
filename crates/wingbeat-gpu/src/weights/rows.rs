//! Rows as `layout.rs` describes them, from the file's blocks.

use super::{
    blocks::{Block, Fields},
    fields::{spread_bits, transpose_fields},
    layout::PLANES,
};
use wingbeat_format::quant;

/// Writes one stored row of floats into plane 0, padded with zeros.
pub(super) fn pack_floats(row: &[u8], planes: [&mut [u8]; PLANES]) {
    let [values, ..] = planes;
    let (values, rest) = values.split_at_mut(row.len());
    values.copy_from_slice(row);
    rest.fill(0);
}

/// Writes one stored row of blocks into its planes, each as long as `Layout::row_bytes` says.
pub(super) fn pack_row<B: Block>(row: &[u8], planes: [&mut [u8]; PLANES]) {
    let [integers, scales, high] = planes;
    let blocks: &[B] = quant::blocks(row).expect("a row has whole blocks");
    let (integers_bytes, scale_bytes, high_bytes) =
        (size_of::<B::Integers>(), size_of::<B::Scales>(), size_of::<B::High>());
    let (scales, rest) = scales.split_at_mut(blocks.len() * scale_bytes);
    rest.fill(0);
    let outs = integers.chunks_exact_mut(integers_bytes).zip(scales.chunks_exact_mut(scale_bytes));
    for (i, (block, (integers, scales))) in blocks.iter().zip(outs).enumerate() {
        scales.copy_from_slice(bytemuck::bytes_of(&block.scales()));
        spread(B::INTEGERS, bytemuck::bytes_of(&block.integers()), integers);
        if high_bytes > 0 {
            spread(B::HIGH, bytemuck::bytes_of(&block.high()), &mut high[i * high_bytes..][..high_bytes]);
        }
    }
}

/// Spreads the integers of a block over words.
#[inline(always)]
fn spread(fields: Fields, from: &[u8], out: &mut [u8]) {
    match (fields.per_byte, fields.run) {
        (8, 1) => {
            for (out, bits) in out.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<4>().0) {
                *out = spread_bits(u32::from_le_bytes(*bits)).to_le_bytes();
            }
        }
        (1, _) => out.copy_from_slice(from),
        (2, run) => spread_runs::<2>(run, from, out),
        (4, run) => spread_runs::<4>(run, from, out),
        (_, run) => spread_runs::<8>(run, from, out),
    }
}

/// A word takes `N` integers of each of its bytes from as many words, which lie one after the other in a run.
#[inline(always)]
fn spread_runs<const N: usize>(run: usize, from: &[u8], out: &mut [u8]) {
    for (from, out) in from.chunks_exact(run).zip(out.chunks_exact_mut(run)) {
        for (i, from) in from.chunks_exact(4 * N).enumerate() {
            let mut words: [u32; N] = std::array::from_fn(|w| {
                u32::from_le_bytes([from[w * 4], from[w * 4 + 1], from[w * 4 + 2], from[w * 4 + 3]])
            });
            transpose_fields(&mut words);
            for (field, word) in words.iter().enumerate() {
                out[field * (run / N) + i * 4..][..4].copy_from_slice(&word.to_le_bytes());
            }
        }
    }
}
