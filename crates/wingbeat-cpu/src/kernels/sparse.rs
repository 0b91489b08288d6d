//! Products of vectors that are mostly zero with matrices that are stored a row for each input: exact, as zeros add
//! nothing, and only the rows that count are read.

use super::float::{Bf16, F16, FloatType};
use crate::{
    buffer::SharedRows,
    simd::{Simd, prefetch},
    sparse::{GROUP, RUN, SUPER_GROUP, SparseMatrix, SparseWeights},
};
use std::ops::Range;

/// `y[t, outputs] += Σ x[t, i] W[i, outputs]` for the rows `tokens`.
pub(crate) struct SparseProduct<'a> {
    pub(crate) matrix: &'a SparseMatrix,
    /// `(rows, inputs)`
    pub(crate) x: &'a [f32],
    pub(crate) tokens: Range<usize>,
    /// A multiple of [`RUN`] for quantized types, but at the end.
    pub(crate) outputs: Range<usize>,
    pub(crate) y: SharedRows<'a>,
}

/// Inputs whose weights meet all rows of activations before the next ones: they stay in the second-level cache.
const BLOCK: usize = SUPER_GROUP;

/// The inputs of a block that are not zero.
#[derive(Clone)]
struct NonZero {
    n: usize,
    /// Within the block, rising.
    index: [u16; BLOCK + MOST_LANES],
    value: [f32; BLOCK + MOST_LANES],
}

/// Room that listing wants at the end.
const MOST_LANES: usize = 16;

impl NonZero {
    /// Those of group `g` of the block, from the `from`-th on; returns where they end.
    #[inline(always)]
    fn group_end(&self, g: usize, from: usize) -> usize {
        let end = (g + 1) * GROUP;
        let mut at = from;
        while at < self.n && usize::from(self.index[at]) < end {
            at += 1;
        }
        at
    }
}

/// See [`SparseProduct`].
///
/// # Safety
/// The instructions of `S` are there, and no other thread touches these outputs of these rows of `y`.
#[inline(always)]
pub(super) unsafe fn sparse<S: Simd>(args: &SparseProduct<'_>) {
    let SparseMatrix { inputs, outputs, ref weights } = *args.matrix;
    assert!(args.x.len() >= args.tokens.end * inputs && args.outputs.end <= outputs);
    let empty = NonZero { n: 0, index: [0; BLOCK + MOST_LANES], value: [0.0; BLOCK + MOST_LANES] };
    // One row of activations meets each weight once: the next block's are asked for while this one's are multiplied.
    // Several find most of them in the cache.
    let ahead = args.tokens.len() == 1;
    let mut lists = [empty.clone(), empty];
    let block_of = |first: usize| first..(first + BLOCK).min(inputs);
    if ahead {
        // SAFETY: the caller's promise.
        unsafe { list::<S>(args, args.tokens.start, block_of(0), &mut lists[0]) };
    }
    for (number, first) in (0..inputs).step_by(BLOCK).enumerate() {
        let block = block_of(first);
        for t in args.tokens.clone() {
            let [even, odd] = &mut lists;
            let (list, next) = if number % 2 == 0 { (even, odd) } else { (odd, even) };
            // SAFETY: the caller's promise.
            unsafe {
                match (ahead, block.end < inputs) {
                    (true, true) => {
                        self::list::<S>(args, t, block_of(block.end), next);
                        prefetch_rows(args, block.end, next);
                    }
                    (true, false) => {}
                    (false, _) => self::list::<S>(args, t, block.clone(), list),
                }
            }
            let list = &*list;
            if list.n == 0 {
                continue;
            }
            // SAFETY: the caller's promise; the arrays have a row of `outputs` for each input or group.
            unsafe {
                let y = args.y.part(t, args.outputs.clone());
                let o = args.outputs.start;
                match weights {
                    SparseWeights::F16(values) => {
                        assert!(values.len() >= block.end * outputs);
                        halves::<S, F16>(list, values.as_ptr().add(first * outputs + o), outputs, y);
                    }
                    SparseWeights::Bf16(values) => {
                        assert!(values.len() >= block.end * outputs);
                        halves::<S, Bf16>(list, values.as_ptr().add(first * outputs + o), outputs, y);
                    }
                    SparseWeights::Q8_0 { values, scales } => {
                        assert!(values.len() >= block.end * outputs);
                        assert!(scales.len() >= block.end / GROUP * outputs);
                        let scales = scales.as_ptr().add(first / GROUP * outputs + o);
                        q8_0::<S>(list, values.as_ptr().add(first * outputs + o), scales, outputs, y);
                    }
                    SparseWeights::Q4K { values, scales, mins, d, d_min } => {
                        let groups = block.end / GROUP * outputs;
                        assert!(values.len() >= block.end * outputs / 2 && o.is_multiple_of(RUN));
                        assert!(scales.len() >= groups && mins.len() >= groups);
                        assert!(d.len().min(d_min.len()) >= block.end / SUPER_GROUP * outputs);
                        let (group, sup) = (first / GROUP * outputs + o, first / SUPER_GROUP * outputs + o);
                        let block = Q4KBlock {
                            values: values.as_ptr().add((first * outputs + o) / 2),
                            scales: scales.as_ptr().add(group),
                            mins: mins.as_ptr().add(group),
                            d: d.as_ptr().add(sup),
                            d_min: d_min.as_ptr().add(sup),
                        };
                        q4_k::<S>(list, &block, outputs, y);
                    }
                }
            }
        }
    }
}

/// Lists the inputs of a block that count for row `t`.
///
/// # Safety
/// The instructions of `S` are there.
#[inline(always)]
unsafe fn list<S: Simd>(args: &SparseProduct<'_>, t: usize, block: Range<usize>, list: &mut NonZero) {
    let x = &args.x[t * args.matrix.inputs..][block];
    // SAFETY: the lists have room for a block and a vector.
    list.n = unsafe { S::list_non_zero(x, list.index.as_mut_ptr(), list.value.as_mut_ptr()) };
}

/// Asks for the weights of the block that starts at input `first`.
#[inline(always)]
fn prefetch_rows(args: &SparseProduct<'_>, first: usize, list: &NonZero) {
    let (stride, outputs) = (args.matrix.outputs, &args.outputs);
    let line =
        |p: *const u8, bytes: usize| (0..bytes).step_by(64).for_each(|at| prefetch(p.wrapping_add(at)));
    let (values, bits): (*const u8, usize) = match &args.matrix.weights {
        SparseWeights::F16(values) | SparseWeights::Bf16(values) => (values.as_ptr().cast(), 16),
        SparseWeights::Q8_0 { values, scales } => {
            for group in first / GROUP..(first + BLOCK) / GROUP {
                let at = group * stride + outputs.start;
                line(scales.as_ptr().wrapping_add(at).cast(), 2 * outputs.len());
            }
            (values.as_ptr().cast(), 8)
        }
        SparseWeights::Q4K { values, scales, mins, .. } => {
            for group in first / GROUP..(first + BLOCK) / GROUP {
                let at = group * stride + outputs.start;
                line(scales.as_ptr().wrapping_add(at), outputs.len());
                line(mins.as_ptr().wrapping_add(at), outputs.len());
            }
            (values.as_ptr(), 4)
        }
    };
    for &i in &list.index[..list.n] {
        let at = ((first + usize::from(i)) * stride + outputs.start) * bits / 8;
        line(values.wrapping_add(at), outputs.len() * bits / 8);
    }
}

/// # Safety
/// As [`sparse`]; `w` has a row of `stride` values for each input of the block.
#[inline(always)]
unsafe fn halves<S: Simd, W: FloatType>(list: &NonZero, w: *const u16, stride: usize, y: &mut [f32]) {
    let mut o = 0;
    // SAFETY: `o` plus the lanes stays below the outputs; the caller's promise.
    unsafe {
        if S::LANES >= 16 {
            while o + 16 * S::LANES <= y.len() {
                halves_tile::<S, W, 16>(list, w.add(o), stride, &mut y[o..]);
                o += 16 * S::LANES;
            }
        }
        while o + 8 * S::LANES <= y.len() {
            halves_tile::<S, W, 8>(list, w.add(o), stride, &mut y[o..]);
            o += 8 * S::LANES;
        }
        while o + S::LANES <= y.len() {
            halves_tile::<S, W, 1>(list, w.add(o), stride, &mut y[o..]);
            o += S::LANES;
        }
        for (o, y) in y.iter_mut().enumerate().skip(o) {
            for (&i, &x) in list.index.iter().zip(&list.value).take(list.n) {
                *y += W::scalar(w.add(usize::from(i) * stride + o).cast()) * x;
            }
        }
    }
}

/// `V` vectors of outputs, in registers over all of the list.
///
/// # Safety
/// As [`halves`]; `y` has the outputs.
#[inline(always)]
unsafe fn halves_tile<S: Simd, W: FloatType, const V: usize>(
    list: &NonZero,
    w: *const u16,
    stride: usize,
    y: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [S::splat(0.0); V];
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = S::load(y.as_ptr().add(v * S::LANES));
        }
        for k in 0..list.n {
            let row = w.add(usize::from(list.index[k]) * stride).cast::<u8>();
            let x = S::splat(list.value[k]);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(W::load::<S>(row.add(v * S::LANES * W::BYTES)), x, *sum);
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            S::store(y.as_mut_ptr().add(v * S::LANES), sum);
        }
    }
}

/// # Safety
/// As [`sparse`]; `w` has a row of `stride` values for each input of the block, `scales` for each group.
#[inline(always)]
unsafe fn q8_0<S: Simd>(list: &NonZero, w: *const i8, scales: *const u16, stride: usize, y: &mut [f32]) {
    let mut from = 0;
    for g in 0..BLOCK / GROUP {
        let end = list.group_end(g, from);
        if end == from {
            continue;
        }
        let mut o = 0;
        // SAFETY: outputs are a multiple of 32, so of the lanes; the caller's promise.
        unsafe {
            let scales = scales.add(g * stride);
            while o + 8 * S::LANES <= y.len() {
                q8_0_tile::<S, 8>(list, from..end, w.add(o), scales.add(o), stride, &mut y[o..]);
                o += 8 * S::LANES;
            }
            while o + S::LANES <= y.len() {
                q8_0_tile::<S, 1>(list, from..end, w.add(o), scales.add(o), stride, &mut y[o..]);
                o += S::LANES;
            }
        }
        from = end;
    }
}

/// # Safety
/// As [`q8_0`]; `y` has the outputs.
#[inline(always)]
unsafe fn q8_0_tile<S: Simd, const V: usize>(
    list: &NonZero,
    part: Range<usize>,
    w: *const i8,
    scales: *const u16,
    stride: usize,
    y: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [S::splat(0.0); V];
        for k in part {
            let row = w.add(usize::from(list.index[k]) * stride).cast::<u8>();
            let x = S::splat(list.value[k]);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(S::load_i8(row.add(v * S::LANES)), x, *sum);
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            let p = y.as_mut_ptr().add(v * S::LANES);
            S::store(p, S::fma(sum, S::load_f16(scales.add(v * S::LANES).cast()), S::load(p)));
        }
    }
}

/// The arrays of a block of Q4_K inputs.
struct Q4KBlock {
    values: *const u8,
    scales: *const u8,
    mins: *const u8,
    d: *const u16,
    d_min: *const u16,
}

/// # Safety
/// As [`sparse`]; the arrays have rows of `stride` outputs for each input, group or super-group of the block.
#[inline(always)]
unsafe fn q4_k<S: Simd>(list: &NonZero, block: &Q4KBlock, stride: usize, y: &mut [f32]) {
    // Vectors of bytes that go together: two vectors of outputs each.
    const PAIRS: usize = 4;
    let mut from = 0;
    for g in 0..BLOCK / GROUP {
        let end = list.group_end(g, from);
        if end == from {
            continue;
        }
        let total: f32 = list.value[from..end].iter().sum();
        let n_pairs = y.len() / (2 * S::LANES);
        let mut pair = 0;
        // SAFETY: outputs are whole runs; the caller's promise.
        unsafe {
            while pair + PAIRS <= n_pairs {
                q4_k_tile::<S, PAIRS>(list, from..end, g, total, block, stride, pair, y);
                pair += PAIRS;
            }
            while pair < n_pairs {
                q4_k_tile::<S, 1>(list, from..end, g, total, block, stride, pair, y);
                pair += 1;
            }
        }
        from = end;
    }
}

/// # Safety
/// As [`q4_k`]; `y` has the outputs of the pairs.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn q4_k_tile<S: Simd, const P: usize>(
    list: &NonZero,
    part: Range<usize>,
    g: usize,
    total: f32,
    block: &Q4KBlock,
    stride: usize,
    pair: usize,
    y: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; P];
        let bytes = block.values.add(pair * S::LANES);
        for k in part {
            let row = bytes.add(usize::from(list.index[k]) * (stride / 2));
            let x = S::splat(list.value[k]);
            for (p, sums) in sums.iter_mut().enumerate() {
                let (low, high) = S::load_nibbles(row.add(p * S::LANES));
                sums[0] = S::fma(low, x, sums[0]);
                sums[1] = S::fma(high, x, sums[1]);
            }
        }
        let total = S::splat(-total);
        for (p, sums) in sums.into_iter().enumerate() {
            let byte = (pair + p) * S::LANES;
            let first = byte / (RUN / 2) * RUN + byte % (RUN / 2);
            for (half, sum) in sums.into_iter().enumerate() {
                let o = first + half * (RUN / 2);
                let scale =
                    S::mul(S::load_f16(block.d.add(o).cast()), S::load_i8(block.scales.add(g * stride + o)));
                let min = S::mul(
                    S::load_f16(block.d_min.add(o).cast()),
                    S::load_i8(block.mins.add(g * stride + o)),
                );
                let p = y.as_mut_ptr().add(o);
                S::store(p, S::fma(min, total, S::fma(sum, scale, S::load(p))));
            }
        }
    }
}
