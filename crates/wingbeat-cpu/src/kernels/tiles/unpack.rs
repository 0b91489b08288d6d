//! Panels of weights from their stored types: a row at a time into words, then lanes and columns change places.

use super::{
    PANEL_STRIDE, Panel, PanelSource, TILE_BLOCK, VECTORS, int16::MOST, panel_rows,
    integers::{Integers, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0},
};
use crate::kernels::float::{Bf16, F16, FloatType, widen};
use crate::simd::{Blocks, Simd, Words};
use wingbeat_format::DType;

/// Columns that share a scale in a quantized type.
pub(crate) fn int8_group(dtype: DType) -> usize {
    match dtype {
        DType::Q2K | DType::Q3K | DType::Q6K => TILE_BLOCK / 2,
        _ => TILE_BLOCK,
    }
}

/// Whether a type has minimums beside its scales.
pub(super) fn has_mins(dtype: DType) -> bool {
    matches!(dtype, DType::Q4_1 | DType::Q5_1 | DType::Q2K | DType::Q4K | DType::Q5K)
}

/// Makes a panel of int8 words of a quantized matrix: `value = scale · integer + min`.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
pub(in crate::kernels) unsafe fn panel_of_int8<S: Words + Blocks>(source: &PanelSource<'_>, panel: &mut Panel) {
    let (n_cols, rows) = (source.cols.len(), panel_rows::<S>());
    let (n_groups, stride) = (n_cols / int8_group(source.dtype), prepare::<S>(panel, source, n_cols));
    for array in [&mut panel.scales, &mut panel.mins, &mut panel.corrections] {
        array.reserve(n_groups * rows);
    }
    let (scales, mins) = (panel.scales.as_mut_slice(), panel.mins.as_mut_slice());
    let staging = bytemuck::cast_slice_mut::<f32, i8>(panel.staging.as_mut_slice());
    let (block_len, block_bytes) = (source.dtype.block_len(), source.dtype.block_bytes());
    let bytes = source.cols.start / block_len * block_bytes..source.cols.end / block_len * block_bytes;
    for r in 0..rows {
        let Some(row) = source.rows.clone().nth(r) else {
            for g in 0..n_groups {
                (scales[g * rows + r], mins[g * rows + r]) = (0.0, 0.0);
            }
            continue;
        };
        let stored = &source.weights[row * source.row_bytes..][bytes.clone()];
        let values = &mut staging[r * stride..][..n_cols];
        let out = Row { values, scales: &mut scales[r..], mins: &mut mins[r..], step: rows };
        // SAFETY: the caller's promise.
        unsafe {
            match source.dtype {
                DType::Q8_0 => unpack::<S, Q8_0, 32, 34, 1>(stored, out),
                DType::Q4_0 => unpack::<S, Q4_0, 32, 18, 1>(stored, out),
                DType::Q4_1 => unpack::<S, Q4_1, 32, 20, 1>(stored, out),
                DType::Q5_0 => unpack::<S, Q5_0, 32, 22, 1>(stored, out),
                DType::Q5_1 => unpack::<S, Q5_1, 32, 24, 1>(stored, out),
                DType::Q2K => unpack::<S, Q2K, 256, 84, 16>(stored, out),
                DType::Q3K => unpack::<S, Q3K, 256, 110, 16>(stored, out),
                DType::Q4K => unpack::<S, Q4K, 256, 144, 8>(stored, out),
                DType::Q5K => unpack::<S, Q5K, 256, 176, 8>(stored, out),
                DType::Q6K => unpack::<S, Q6K, 256, 210, 16>(stored, out),
                other => unreachable!("{} is not quantized", other.name()),
            }
        }
    }
    // SAFETY: the caller's promise; the arrays were grown above.
    unsafe {
        transpose::<S>(panel, stride, n_cols.div_ceil(4));
        if S::OFFSET != 0 {
            corrections::<S>(panel, n_groups, int8_group(source.dtype));
        }
    }
}

/// `−OFFSET · Σ w` of every group and row.
///
/// # Safety
/// The instructions of `S` are there and the panel's words and corrections have the groups.
#[inline(always)]
unsafe fn corrections<S: Words>(panel: &mut Panel, n_groups: usize, group: usize) {
    let offset = [S::OFFSET as u8; 4];
    let mut w = panel.words.as_slice().as_ptr();
    let out = panel.corrections.as_mut_slice().as_mut_ptr();
    // SAFETY: the caller's promise.
    unsafe {
        let offset = S::word(offset.as_ptr());
        for g in 0..n_groups {
            let mut sums = [S::zero(); VECTORS];
            for _ in 0..group / 4 {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = S::dot_int8(*sum, S::words(w.add(v * S::LANES).cast()), offset);
                }
                w = w.add(panel_rows::<S>());
            }
            for (v, sum) in sums.into_iter().enumerate() {
                S::store_words(out.add(g * panel_rows::<S>() + v * S::LANES).cast(), S::negate(sum));
            }
        }
    }
}

/// Makes a panel of int16 words of a matrix of F16 or BF16; a row's part has one scale.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
pub(in crate::kernels) unsafe fn panel_of_int16<S: Words + Blocks>(source: &PanelSource<'_>, panel: &mut Panel) {
    let n_cols = source.cols.len();
    let rows = panel_rows::<S>();
    panel.scales.reserve(rows);
    if source.transposed {
        // SAFETY: the caller's promise.
        return unsafe { panel_of_columns::<S>(source, panel) };
    }
    let stride = prepare::<S>(panel, source, 2 * n_cols);
    let staging = bytemuck::cast_slice_mut::<f32, i16>(panel.staging.as_mut_slice());
    let scales = panel.scales.as_mut_slice();
    scales[..rows].fill(0.0);
    for (r, row) in source.rows.clone().enumerate() {
        let at = row * source.row_bytes + 2 * source.cols.start;
        let stored = &source.weights[at..][..2 * n_cols];
        let largest = largest(source.dtype, stored);
        let values = &mut staging[r * (stride / 2)..][..n_cols];
        // SAFETY: the caller's promise.
        unsafe { to_int16::<S>(source.dtype, stored, inverse_scale(largest), values) };
        scales[r] = scale(largest);
    }
    // SAFETY: the caller's promise.
    unsafe { transpose::<S>(panel, stride, n_cols.div_ceil(2)) };
}

/// The same of a matrix that is stored `(cols, rows)`: words are put together a pair of stored rows at a time.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn panel_of_columns<S: Words>(source: &PanelSource<'_>, panel: &mut Panel) {
    const MOST_ROWS: usize = VECTORS * 16;
    let (n_rows, rows) = (source.rows.len(), panel_rows::<S>());
    let n_pairs = source.cols.len() / 2;
    let stored = |col: usize| {
        let at = col * source.row_bytes + source.rows.start * 2;
        &source.weights[at..][..n_rows * 2]
    };
    let widen = |col: usize, values: &mut [f32; MOST_ROWS]| {
        // SAFETY: the caller's promise.
        unsafe {
            match source.dtype {
                DType::F16 => widen::<S, F16>(stored(col), &mut values[..n_rows]),
                _ => widen::<S, Bf16>(stored(col), &mut values[..n_rows]),
            }
        }
    };
    let (mut largest, mut values) = ([0f32; MOST_ROWS], [0f32; MOST_ROWS]);
    for col in source.cols.clone() {
        widen(col, &mut values);
        for (largest, value) in largest.iter_mut().zip(&values) {
            // What is no number stays the largest.
            let size = value.abs();
            *largest = if size > *largest || size.is_nan() { size } else { *largest };
        }
    }
    panel.words.reserve(n_pairs * rows);
    let words = bytemuck::cast_slice_mut::<f32, [i16; 2]>(panel.words.as_mut_slice());
    let inverse = largest.map(inverse_scale);
    let mut second = [0f32; MOST_ROWS];
    for (pair, words) in words.chunks_exact_mut(rows).take(n_pairs).enumerate() {
        widen(source.cols.start + 2 * pair, &mut values);
        widen(source.cols.start + 2 * pair + 1, &mut second);
        for (r, word) in words.iter_mut().enumerate() {
            let round = |value: f32| (value * inverse[r]).round_ties_even() as i16;
            *word = [round(values[r]), round(second[r])];
        }
    }
    let scales = panel.scales.as_mut_slice();
    scales.iter_mut().zip(largest).for_each(|(to, largest)| *to = scale(largest));
}

/// The step of int16 values; what is no number stays none.
fn scale(largest: f32) -> f32 {
    if largest.is_finite() { largest * (1.0 / MOST) } else { f32::NAN }
}

/// One over it; rows that are zero for all purposes become zero.
fn inverse_scale(largest: f32) -> f32 {
    if largest.is_finite() { MOST / largest.max(1e-30) } else { 0.0 }
}

/// The largest size among stored half-precision or bfloat16 values: their bits without the sign are in order.
#[inline(always)]
fn largest(dtype: DType, stored: &[u8]) -> f32 {
    let mut bits = 0u16;
    for two in stored.as_chunks::<2>().0 {
        bits = bits.max(u16::from_le_bytes(*two) & 0x7fff);
    }
    match dtype {
        DType::F16 => half::f16::from_bits(bits).to_f32(),
        _ => half::bf16::from_bits(bits).to_f32(),
    }
}

/// Stored half-precision or bfloat16 values times `inverse`, rounded.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn to_int16<S: Words>(dtype: DType, stored: &[u8], inverse: f32, out: &mut [i16]) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            DType::F16 => round::<S, F16>(stored, inverse, out),
            _ => round::<S, Bf16>(stored, inverse, out),
        }
    }
}

/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn round<S: Words, W: FloatType>(stored: &[u8], inverse: f32, out: &mut [i16]) {
    let n = out.len();
    assert!(stored.len() >= n * W::BYTES);
    let mut i = 0;
    // SAFETY: `i` plus the lanes stays below both lengths; the caller's promise.
    unsafe {
        while i + S::LANES <= n {
            let value = W::load::<S>(stored.as_ptr().add(i * W::BYTES));
            S::store_i16(out.as_mut_ptr().add(i), S::mul(value, S::splat(inverse)));
            i += S::LANES;
        }
        for (i, out) in out.iter_mut().enumerate().skip(i) {
            *out = (W::scalar(stored.as_ptr().add(i * W::BYTES)) * inverse).round_ties_even() as i16;
        }
    }
}

/// Makes room for the panel's words and for staged rows of `row_bytes` bytes, of which everything that no row fills is
/// zero; returns the bytes from staged row to staged row.
fn prepare<S: Simd + Words>(panel: &mut Panel, source: &PanelSource<'_>, row_bytes: usize) -> usize {
    let rows = panel_rows::<S>();
    assert!(row_bytes <= super::PART_BYTES && source.rows.len() <= rows && !source.rows.is_empty());
    let padded = row_bytes.next_multiple_of(4 * S::LANES);
    panel.staging.reserve(rows * PANEL_STRIDE / 4);
    panel.words.reserve(padded / 4 * rows);
    let staging = bytemuck::cast_slice_mut::<f32, u8>(panel.staging.as_mut_slice());
    for (r, row) in staging.chunks_exact_mut(PANEL_STRIDE).enumerate() {
        let filled = if r < source.rows.len() { row_bytes } else { 0 };
        row[filled..padded].fill(0);
    }
    PANEL_STRIDE
}

/// Staged rows of words to `[word][row]`.
///
/// # Safety
/// The instructions of `S` are there; [`prepare`] made room.
#[inline(always)]
unsafe fn transpose<S: Words>(panel: &mut Panel, stride: usize, n_words: usize) {
    let rows = panel_rows::<S>();
    let staged = panel.staging.as_slice().as_ptr().cast::<u32>();
    let words = panel.words.as_mut_slice().as_mut_ptr().cast::<u32>();
    // SAFETY: the caller's promise: whole squares of lanes were made room for.
    unsafe {
        for first in (0..n_words).step_by(S::LANES) {
            for v in 0..VECTORS {
                let from = staged.add(v * S::LANES * (stride / 4) + first);
                S::transpose(from, stride / 4, words.add(first * rows + v * S::LANES), rows);
            }
        }
    }
}

/// Where a row's integers go; scales and minimums are `step` apart.
struct Row<'a> {
    values: &'a mut [i8],
    scales: &'a mut [f32],
    mins: &'a mut [f32],
    step: usize,
}

/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn unpack<S, B, const LEN: usize, const BYTES: usize, const GROUPS: usize>(stored: &[u8], row: Row<'_>)
where
    S: Blocks,
    B: Integers<LEN, BYTES, GROUPS>,
{
    let (blocks, values) = (stored.as_chunks::<BYTES>().0, row.values.as_chunks_mut::<LEN>().0);
    assert_eq!(values.len(), blocks.len(), "whole blocks");
    let n = blocks.len() * GROUPS;
    assert!(n == 0 || row.scales.len().min(row.mins.len()) > (n - 1) * row.step);
    for (b, (block, values)) in blocks.iter().zip(values).enumerate() {
        let (mut scales, mut mins) = ([0.0; GROUPS], [0.0; GROUPS]);
        // SAFETY: the caller's promise.
        unsafe { B::unpack::<S>(block, values, &mut scales, &mut mins) };
        for (g, (scale, min)) in scales.into_iter().zip(mins).enumerate() {
            let at = (b * GROUPS + g) * row.step;
            (row.scales[at], row.mins[at]) = (scale, min);
        }
    }
}
