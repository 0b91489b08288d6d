//! A weight matrix stored a row for each of its inputs, for products with vectors that are mostly zero.
//!
//! RWKV's channel mix squares a ReLU: nine in ten of its hidden units are exactly zero, and a product need not read the
//! weights of those. In a file a matrix lies output after output, so this is a copy in another order: made once,
//! the same weights bit by bit, and the file's pages are given back.

use crate::{
    buffer::SharedRows,
    kernels::{k_scales, prefetch},
    pool::{Pool, share},
};
use wingbeat_backend::{MatrixSource, Orientation};
use wingbeat_format::DType;

/// Inputs that share a scale in quantized types.
pub(crate) const GROUP: usize = 32;
/// Inputs that share the factors of scales in K-types.
pub(crate) const SUPER_GROUP: usize = 256;
/// Nibbles lie in runs of so many outputs, the low ones before the high ones.
pub(crate) const RUN: usize = 32;

/// The copy.
pub(crate) struct SparseMatrix {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weights: SparseWeights,
}

/// Its arrays: `(inputs, outputs)`, or `(groups of inputs, outputs)`, row-major.
pub(crate) enum SparseWeights {
    /// F16 values.
    F16(Vec<u16>),
    /// BF16 values.
    Bf16(Vec<u16>),
    /// Integers, and an F16 scale a group.
    Q8_0 { values: Vec<i8>, scales: Vec<u16> },
    /// Integers, two a byte; scale and minimum a group; their F16 factors a super-group.
    Q4K { values: Vec<u8>, scales: Vec<u8>, mins: Vec<u8>, d: Vec<u16>, d_min: Vec<u16> },
}

/// Whether there is such a copy for matrices of this kind.
pub(crate) fn is_supported(source: &MatrixSource) -> bool {
    let whole = source.rows.is_multiple_of(RUN);
    source.orientation == Orientation::RowMajor
        && match source.dtype {
            DType::F16 | DType::BF16 => true,
            DType::Q8_0 | DType::Q4K => whole,
            _ => false,
        }
}

impl SparseMatrix {
    /// Copies a matrix that [`is_supported`]; none if there is no memory for it.
    pub(crate) fn of(source: &MatrixSource, pool: &mut Pool) -> Option<SparseMatrix> {
        let (outputs, inputs) = (source.rows, source.cols);
        let weights = match source.dtype {
            DType::F16 => SparseWeights::F16(halves(source, pool)?),
            DType::BF16 => SparseWeights::Bf16(halves(source, pool)?),
            DType::Q8_0 => q8_0(source, pool)?,
            _ => q4_k(source, pool)?,
        };
        source.data.release();
        Some(SparseMatrix { inputs, outputs, weights })
    }
}

/// `n` zeros, or none.
fn zeros<T: bytemuck::Zeroable + Clone>(n: usize) -> Option<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(n).ok()?;
    values.resize(n, T::zeroed());
    Some(values)
}

/// Outputs that are copied at a time: a cache line of bytes in each input's row.
const TILE: usize = 64;

/// Runs `copy(outputs)` on all threads for parts of the outputs.
fn in_parts(source: &MatrixSource, pool: &mut Pool, copy: &(dyn Fn(std::ops::Range<usize>) + Sync)) {
    let n = pool.n_threads() * 4;
    pool.run(n, &|_, index| {
        let outputs = share(source.rows, TILE, index, n);
        for first in outputs.clone().step_by(TILE) {
            copy(first..(first + TILE).min(outputs.end));
        }
    });
}

fn halves(source: &MatrixSource, pool: &mut Pool) -> Option<Vec<u16>> {
    let (n, inputs) = (source.rows, source.cols);
    let mut values: Vec<u16> = zeros(n * inputs)?;
    let to = SharedRows::new(&mut values, n);
    let stored = source.data.as_chunks::<2>().0;
    in_parts(source, pool, &|outputs| {
        for first in (0..inputs).step_by(TILE) {
            let tile = first..(first + TILE).min(inputs);
            for output in outputs.clone() {
                // The next tile of this row, which memory doesn't see coming.
                prefetch(stored.as_ptr().wrapping_add(output * inputs + tile.end).cast());
                prefetch(stored.as_ptr().wrapping_add(output * inputs + tile.end + TILE / 2).cast());
            }
            for input in tile {
                // SAFETY: the part's own outputs.
                let row = unsafe { to.part(input, outputs.clone()) };
                for (value, output) in row.iter_mut().zip(outputs.clone()) {
                    *value = u16::from_le_bytes(stored[output * inputs + input]);
                }
            }
        }
    });
    Some(values)
}

fn q8_0(source: &MatrixSource, pool: &mut Pool) -> Option<SparseWeights> {
    const BYTES: usize = 34;
    let (n, inputs) = (source.rows, source.cols);
    let n_groups = inputs / GROUP;
    let (mut values, mut scales) = (zeros::<i8>(n * inputs)?, zeros::<u16>(n * n_groups)?);
    let (to_values, to_scales) = (SharedRows::new(&mut values, n), SharedRows::new(&mut scales, n));
    let blocks = source.data.as_chunks::<BYTES>().0;
    in_parts(source, pool, &|outputs| {
        for group in 0..n_groups {
            // SAFETY: the part's own outputs.
            let scales = unsafe { to_scales.part(group, outputs.clone()) };
            for (scale, output) in scales.iter_mut().zip(outputs.clone()) {
                let block = &blocks[output * n_groups + group];
                prefetch(block.as_ptr().wrapping_add(2 * BYTES));
                *scale = u16::from_le_bytes([block[0], block[1]]);
            }
            for i in 0..GROUP {
                // SAFETY: the part's own outputs.
                let row = unsafe { to_values.part(group * GROUP + i, outputs.clone()) };
                for (value, output) in row.iter_mut().zip(outputs.clone()) {
                    *value = blocks[output * n_groups + group][2 + i] as i8;
                }
            }
        }
    });
    Some(SparseWeights::Q8_0 { values, scales })
}

fn q4_k(source: &MatrixSource, pool: &mut Pool) -> Option<SparseWeights> {
    const BYTES: usize = 144;
    let (n, inputs) = (source.rows, source.cols);
    let (n_groups, n_super) = (inputs / GROUP, inputs / SUPER_GROUP);
    let mut values = zeros::<u8>(n / 2 * inputs)?;
    let (mut scales, mut mins) = (zeros::<u8>(n * n_groups)?, zeros::<u8>(n * n_groups)?);
    let (mut d, mut d_min) = (zeros::<u16>(n * n_super)?, zeros::<u16>(n * n_super)?);
    let to_values = SharedRows::new(&mut values, n / 2);
    let (to_scales, to_mins) = (SharedRows::new(&mut scales, n), SharedRows::new(&mut mins, n));
    let (to_d, to_d_min) = (SharedRows::new(&mut d, n), SharedRows::new(&mut d_min, n));
    let blocks = source.data.as_chunks::<BYTES>().0;
    in_parts(source, pool, &|outputs| {
        for sup in 0..n_super {
            let block = |output: usize| &blocks[output * n_super + sup];
            for output in outputs.clone() {
                let block = block(output);
                (0..BYTES).step_by(64).for_each(|at| prefetch(block.as_ptr().wrapping_add(BYTES + at)));
                // SAFETY: the part's own outputs; a block has its scales from byte 4 on.
                unsafe {
                    to_d.part(sup, output..output + 1)[0] = u16::from_le_bytes([block[0], block[1]]);
                    to_d_min.part(sup, output..output + 1)[0] = u16::from_le_bytes([block[2], block[3]]);
                    let (scales, mins) = k_scales(block.as_ptr().add(4));
                    for (g, (scale, min)) in scales.into_iter().zip(mins).enumerate() {
                        let group = sup * (SUPER_GROUP / GROUP) + g;
                        to_scales.part(group, output..output + 1)[0] = scale;
                        to_mins.part(group, output..output + 1)[0] = min;
                    }
                }
            }
            for i in 0..SUPER_GROUP {
                // Two groups share bytes: the even one has the low nibbles.
                let (group, at) = (i / GROUP, 16 + i / (2 * GROUP) * GROUP + i % GROUP);
                let nibble = |output: usize| block(output)[at] >> (group % 2 * 4) & 15;
                // SAFETY: the part's own outputs.
                let row =
                    unsafe { to_values.part(sup * SUPER_GROUP + i, outputs.start / 2..outputs.end / 2) };
                for (run, bytes) in row.chunks_exact_mut(RUN / 2).enumerate() {
                    for (k, byte) in bytes.iter_mut().enumerate() {
                        let output = outputs.start + run * RUN + k;
                        *byte = nibble(output) | nibble(output + RUN / 2) << 4;
                    }
                }
            }
        }
    });
    Some(SparseWeights::Q4K { values, scales, mins, d, d_min })
}

#[cfg(test)]
mod tests;
