//! Panels of weights from their stored types: a row at a time into words, then lanes and columns change places.

use super::{
    Panel, PanelSource, TILE_BLOCK, VECTORS,
    int16::MOST,
    integers::{Integers, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0},
    panel_rows,
};
use crate::kernels::float::{Bf16, F16, F32, FloatType, widen};
use crate::{
    buffer::Aligned,
    simd::{Blocks, Words},
};
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
pub(in crate::kernels) unsafe fn panel_of_int8<S: Words + Blocks>(
    source: &PanelSource<'_>,
    panel: &mut Panel,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match source.dtype {
            DType::Q8_0 => panel_of_blocks::<S, Q8_0, 32, 34, 1>(source, panel),
            DType::Q4_0 => panel_of_blocks::<S, Q4_0, 32, 18, 1>(source, panel),
            DType::Q4_1 => panel_of_blocks::<S, Q4_1, 32, 20, 1>(source, panel),
            DType::Q5_0 => panel_of_blocks::<S, Q5_0, 32, 22, 1>(source, panel),
            DType::Q5_1 => panel_of_blocks::<S, Q5_1, 32, 24, 1>(source, panel),
            DType::Q2K => panel_of_blocks::<S, Q2K, 256, 84, 16>(source, panel),
            DType::Q3K => panel_of_blocks::<S, Q3K, 256, 110, 16>(source, panel),
            DType::Q4K => panel_of_blocks::<S, Q4K, 256, 144, 8>(source, panel),
            DType::Q5K => panel_of_blocks::<S, Q5K, 256, 176, 8>(source, panel),
            DType::Q6K => panel_of_blocks::<S, Q6K, 256, 210, 16>(source, panel),
            other => unreachable!("{} is not quantized", other.name()),
        }
    }
}

/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn panel_of_blocks<S, B, const LEN: usize, const BYTES: usize, const GROUPS: usize>(
    source: &PanelSource<'_>,
    panel: &mut Panel,
) where
    S: Words + Blocks,
    B: Integers<LEN, BYTES, GROUPS>,
{
    let (n_cols, rows, mins) = (source.cols.len(), panel_rows::<S>(), has_mins(source.dtype));
    let n_blocks = n_cols / LEN;
    let n_groups = n_blocks * GROUPS;
    let words = Rows::new::<S>(n_cols / 4, &mut panel.staging, &mut panel.words);
    let scales = Rows::new::<S>(n_groups, &mut panel.staged_scales, &mut panel.scales);
    Rows::new::<S>(n_groups, &mut panel.staged_mins, &mut panel.mins);
    panel.corrections.reserve(n_groups * rows);
    let bytes = source.cols.start / LEN * BYTES..source.cols.end / LEN * BYTES;
    for v in 0..VECTORS {
        for lane in 0..S::LANES {
            let integers = bytemuck::cast_slice_mut::<f32, i8>(words.row(&mut panel.staging, lane));
            let integers = integers[..n_cols].as_chunks_mut::<LEN>().0;
            let row_scales =
                scales.row(&mut panel.staged_scales, lane)[..n_groups].as_chunks_mut::<GROUPS>().0;
            let row_mins = scales.row(&mut panel.staged_mins, lane)[..n_groups].as_chunks_mut::<GROUPS>().0;
            match source.rows.start + v * S::LANES + lane {
                row if row < source.rows.end => {
                    let stored = &source.weights[row * source.row_bytes..][bytes.clone()];
                    prefetch(stored, source);
                    let blocks = stored.as_chunks::<BYTES>().0.iter().zip(integers);
                    for (((block, integers), scales), mins) in blocks.zip(row_scales).zip(row_mins) {
                        // SAFETY: the caller's promise.
                        unsafe { B::unpack::<S>(block, integers, scales, mins) };
                    }
                }
                _ => {
                    integers.as_flattened_mut().fill(0);
                    row_scales.as_flattened_mut().fill(0.0);
                    row_mins.as_flattened_mut().fill(0.0);
                }
            }
        }
        // SAFETY: the caller's promise; `Rows` made room.
        unsafe {
            words.transpose::<S>(&panel.staging, &mut panel.words, v);
            scales.transpose::<S>(&panel.staged_scales, &mut panel.scales, v);
            if mins {
                scales.transpose::<S>(&panel.staged_mins, &mut panel.mins, v);
            }
        }
    }
    // SAFETY: the caller's promise; room was made above.
    unsafe { corrections::<S>(panel, n_groups, LEN / GROUPS) };
}

/// `−OFFSET · Σ w` of every group and row, for activations that have the offset; without one `127 · Σ w`, for those that
/// are 127 less than they should be.
///
/// # Safety
/// The instructions of `S` are there and the panel's words and corrections have the groups.
#[inline(always)]
unsafe fn corrections<S: Words>(panel: &mut Panel, n_groups: usize, group: usize) {
    let offset = [if S::OFFSET == 0 { 127 } else { S::OFFSET as u8 }; 4];
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
                let sum = if S::OFFSET == 0 { sum } else { S::negate(sum) };
                S::store_words(out.add(g * panel_rows::<S>() + v * S::LANES).cast(), sum);
            }
        }
    }
}

/// Makes a panel of f32 words of a matrix of any type.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
pub(in crate::kernels) unsafe fn panel_of_f32<S: Words + Blocks>(
    source: &PanelSource<'_>,
    panel: &mut Panel,
) {
    let n_cols = source.cols.len();
    let rows = panel_rows::<S>();
    if source.transposed {
        panel.words.reserve(n_cols * rows);
        let words = panel.words.as_mut_slice().chunks_exact_mut(rows);
        for (col, words) in source.cols.clone().zip(words) {
            let n_rows = source.rows.len();
            let at = col * source.row_bytes + source.rows.start * source.dtype.block_bytes();
            // SAFETY: the caller's promise.
            unsafe { widen_any::<S>(source.dtype, &source.weights[at..], &mut words[..n_rows]) };
            words[n_rows..].fill(0.0);
        }
        return;
    }
    let words = Rows::new::<S>(n_cols, &mut panel.staging, &mut panel.words);
    let (len, bytes) = (source.dtype.block_len(), source.dtype.block_bytes());
    let bytes = source.cols.start / len * bytes..source.cols.end / len * bytes;
    for v in 0..VECTORS {
        for lane in 0..S::LANES {
            let values = &mut words.row(&mut panel.staging, lane)[..n_cols];
            let row = source.rows.start + v * S::LANES + lane;
            if row >= source.rows.end {
                values.fill(0.0);
                continue;
            }
            let stored = &source.weights[row * source.row_bytes..][bytes.clone()];
            prefetch(stored, source);
            // SAFETY: the caller's promise.
            unsafe { widen_any::<S>(source.dtype, stored, values) };
        }
        // SAFETY: the caller's promise; `Rows` made room.
        unsafe { words.transpose::<S>(&panel.staging, &mut panel.words, v) };
    }
}

/// Stored values as f32.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn widen_any<S: Words>(dtype: DType, stored: &[u8], out: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            DType::F32 => widen::<S, F32>(stored, out),
            DType::F16 => widen::<S, F16>(stored, out),
            DType::BF16 => widen::<S, Bf16>(stored, out),
            dtype => dtype.decode_row(stored, out),
        }
    }
}

/// Makes a panel of int16 words of a matrix of F16 or BF16; a row of it has one scale.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
pub(in crate::kernels) unsafe fn panel_of_int16<S: Words + Blocks>(
    source: &PanelSource<'_>,
    panel: &mut Panel,
) {
    let n_cols = source.cols.len();
    panel.scales.reserve(panel_rows::<S>());
    if source.transposed {
        // SAFETY: the caller's promise.
        return unsafe { panel_of_columns::<S>(source, panel) };
    }
    let words = Rows::new::<S>(n_cols / 2, &mut panel.staging, &mut panel.words);
    for v in 0..VECTORS {
        for lane in 0..S::LANES {
            let values = bytemuck::cast_slice_mut::<f32, i16>(words.row(&mut panel.staging, lane));
            let values = &mut values[..n_cols];
            let row = source.rows.start + v * S::LANES + lane;
            if row >= source.rows.end {
                values.fill(0);
                continue;
            }
            let stored = &source.weights[row * source.row_bytes + 2 * source.cols.start..][..2 * n_cols];
            prefetch(stored, source);
            let largest = largest(source.dtype, stored);
            // SAFETY: the caller's promise.
            unsafe { to_int16::<S>(source.dtype, stored, inverse_scale(largest), values) };
            panel.scales.as_mut_slice()[v * S::LANES + lane] = scale(largest);
        }
        // SAFETY: the caller's promise; `Rows` made room.
        unsafe { words.transpose::<S>(&panel.staging, &mut panel.words, v) };
    }
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

/// Asks for what will be read when the next panel is made.
#[inline(always)]
fn prefetch(stored: &[u8], source: &PanelSource<'_>) {
    for line in (0..source.next_bytes).step_by(64) {
        crate::simd::prefetch(stored.as_ptr().wrapping_add(source.to_next + line));
    }
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
unsafe fn round<S: Words, W: FloatType>(stored: &[u8], factor: f32, out: &mut [i16]) {
    let n = out.len();
    assert!(stored.len() >= n * W::BYTES);
    let mut i = 0;
    // SAFETY: `i` plus the lanes stays below both lengths; the caller's promise.
    unsafe {
        let inverse = S::splat(factor);
        while i + 2 * S::LANES <= n {
            let p = stored.as_ptr().add(i * W::BYTES);
            let (a, b) = (W::load::<S>(p), W::load::<S>(p.add(S::LANES * W::BYTES)));
            S::store_i16(out.as_mut_ptr().add(i), S::mul(a, inverse), S::mul(b, inverse));
            i += 2 * S::LANES;
        }
        for (i, out) in out.iter_mut().enumerate().skip(i) {
            *out = (W::scalar(stored.as_ptr().add(i * W::BYTES)) * factor).round_ties_even() as i16;
        }
    }
}

/// Rows of 32-bit values, as many as lanes, that change places with their columns.
struct Rows {
    n_values: usize,
    /// From staged row to staged row: a cache line more than the rows are long, so that they don't meet in one set of the
    /// cache.
    stride: usize,
}

impl Rows {
    /// Makes room for rows of `n_values`, padded to whole squares.
    #[inline(always)]
    fn new<S: Words>(n_values: usize, staged: &mut Aligned, to: &mut Aligned) -> Rows {
        let padded = n_values.next_multiple_of(S::LANES);
        let stride = padded + 16;
        staged.reserve(S::LANES * stride);
        to.reserve(padded * panel_rows::<S>());
        Rows { n_values, stride }
    }

    #[inline(always)]
    fn row<'a>(&self, staged: &'a mut Aligned, lane: usize) -> &'a mut [f32] {
        &mut staged.as_mut_slice()[lane * self.stride..][..self.stride]
    }

    /// `[lane][value]` to `[value][row]`, at vector `v` of the panel's rows.
    ///
    /// # Safety
    /// The instructions of `S` are there.
    #[inline(always)]
    unsafe fn transpose<S: Words>(&self, staged: &Aligned, to: &mut Aligned, v: usize) {
        let rows = panel_rows::<S>();
        let (from, to) = (staged.as_slice(), to.as_mut_slice());
        assert!(from.len() >= S::LANES * self.stride);
        assert!(to.len() >= self.n_values.next_multiple_of(S::LANES) * rows && v < VECTORS);
        for first in (0..self.n_values).step_by(S::LANES) {
            // SAFETY: whole squares, checked above; the caller's promise.
            unsafe {
                let to = to.as_mut_ptr().add(first * rows + v * S::LANES);
                S::transpose(from.as_ptr().add(first).cast(), self.stride, to.cast(), rows);
            }
        }
    }
}
