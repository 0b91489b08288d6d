//! Products of many rows of activations, in words of one f32, two int16 or four int8 values.
//!
//! A panel is [`panel_rows`] rows of weights, a part of their columns, rearranged so that rows run along the lanes and
//! a lane holds a word of neighbouring columns: `[column / word][row]`. It is small enough for the first-level cache.
//! Every row of activations then meets it, a tile of a few rows at a time with all sums in registers: a word of
//! activations goes to all lanes at once, so no sum is ever taken across lanes.
//!
//! Activations lie tile after tile, the words that a tile's rows need at the same time side by side, see
//! [`PackedRows`]; weights are unpacked row after row from the file by `unpack.rs`, so that memory sees one contiguous
//! stream.

mod float32;
mod int16;
mod int8;
mod integers;
mod pack;
mod unpack;

pub(super) use float32::f32_panel;
pub(super) use int8::int8_panel;
pub(super) use int16::int16_panel;
pub(super) use pack::{pack_f32, pack_int8, pack_int16};
pub(super) use unpack::{panel_of_f32, panel_of_int8, panel_of_int16};

use crate::{
    buffer::{Aligned, SharedRows},
    simd::Words,
};
use std::{marker::PhantomData, ops::Range};
use wingbeat_format::DType;

/// Vectors of weight rows in a panel.
const VECTORS: usize = 2;

/// Bytes of a weight row, as words, in a panel at most: with the rows of 16 lanes a panel has 32 KiB, which stay in the
/// first-level cache while all activations meet them.
const PANEL_BYTES: usize = 1024;

/// Columns in a block of activations that has one scale.
pub(crate) const TILE_BLOCK: usize = 32;

/// Rows of weights in a panel.
pub(super) const fn panel_rows<S: Words>() -> usize {
    VECTORS * S::LANES
}

/// The panels that `cols` columns of `bytes_a_value` bytes are cut into: equal but for the last, whole blocks of 256.
pub(crate) fn panels(cols: usize, bytes_a_value: usize) -> impl Iterator<Item = Range<usize>> {
    let n = cols.div_ceil(PANEL_BYTES / bytes_a_value).max(1);
    let len = cols.div_ceil(n).next_multiple_of(256).max(1);
    (0..cols).step_by(len).map(move |first| first..(first + len).min(cols))
}

/// Activations in the form that a product wants. A tile of `M` rows holds each array column after column, `M` values
/// beside each other; tiles follow each other, so a tile that starts with row `t` starts where row `t` would.
#[derive(Default)]
pub(crate) struct PackedRows {
    /// Words `(cols / word, M)` a tile: int8, with what [`Words::OFFSET`] adds, int16 or f32.
    pub(in crate::kernels) bytes: Aligned,
    /// Integers: `(cols / 32, M)` a tile, rounded up: `x ≈ scale · value`.
    pub(in crate::kernels) scales: Vec<f32>,
    /// int8: `(cols / 32, M)` a tile: `Σ scale · value`.
    pub(in crate::kernels) sums: Vec<f32>,
    /// int8: `(cols / 16, M)` a tile: the same of each half.
    pub(in crate::kernels) half_sums: Vec<f32>,
    /// int8: `(rows)`: all ones where the panel's corrections are to be added: for signed rows where activations have an
    /// offset, for rows without negatives, which take the whole range of a byte, where they have none.
    pub(in crate::kernels) masks: Vec<u32>,
}

/// [`PackedRows`] as threads write them, each its own rows, and then read them.
#[derive(Clone, Copy)]
pub(crate) struct PackedView<'a> {
    pub(crate) cols: usize,
    pub(crate) rows: usize,
    bytes: *mut u8,
    scales: *mut f32,
    sums: *mut f32,
    half_sums: *mut f32,
    masks: *mut u32,
    packed: PhantomData<&'a mut PackedRows>,
}

// SAFETY: threads write tiles of their own, in a region that ends before another one reads; the
// packing kernels ask their callers for that.
unsafe impl Sync for PackedView<'_> {}
// SAFETY: as above.
unsafe impl Send for PackedView<'_> {}

impl PackedRows {
    /// Makes room for `rows` rows of `cols` values of `bytes_a_value` bytes.
    pub(crate) fn reserve(&mut self, rows: usize, cols: usize, bytes_a_value: usize) -> PackedView<'_> {
        self.bytes.reserve((rows * cols * bytes_a_value).div_ceil(size_of::<f32>()));
        let blocks = cols.div_ceil(TILE_BLOCK);
        if bytes_a_value < 4 {
            grow(&mut self.scales, rows * blocks);
        }
        if bytes_a_value == 1 {
            grow(&mut self.sums, rows * blocks);
            grow(&mut self.half_sums, rows * 2 * blocks);
            grow(&mut self.masks, rows);
        }
        PackedView {
            cols,
            rows,
            bytes: self.bytes.as_mut_slice().as_mut_ptr().cast(),
            scales: self.scales.as_mut_ptr(),
            sums: self.sums.as_mut_ptr(),
            half_sums: self.half_sums.as_mut_ptr(),
            masks: self.masks.as_mut_ptr(),
            packed: PhantomData,
        }
    }
}

fn grow<T: Copy + Default>(values: &mut Vec<T>, len: usize) {
    if values.len() < len {
        values.resize(len, T::default());
    }
}

/// A part of a weight matrix to make a panel of.
pub(crate) struct PanelSource<'a> {
    pub(crate) dtype: DType,
    /// The whole matrix.
    pub(crate) weights: &'a [u8],
    pub(crate) row_bytes: usize,
    /// Stored `(cols, rows)`, floats only.
    pub(crate) transposed: bool,
    /// At most as many as a panel has.
    pub(crate) rows: Range<usize>,
    /// From [`panels`].
    pub(crate) cols: Range<usize>,
    /// Bytes from a row's part of this panel to its part, or another row's, of the panel made next: a panel reads a
    /// little of many rows, which memory doesn't see coming.
    pub(crate) to_next: usize,
    /// Bytes of that row's part.
    pub(crate) next_bytes: usize,
}

/// A panel: a thread's own memory, made anew for every part.
#[derive(Default)]
pub(crate) struct Panel {
    /// Rows of words as unpacked, before lanes and columns change places.
    staging: Aligned,
    /// int8: the same for scales and minimums.
    staged_scales: Aligned,
    staged_mins: Aligned,
    /// `[column / word][row]`
    pub(in crate::kernels) words: Aligned,
    /// int8: `[group][row]`; int16: `[row]`.
    pub(in crate::kernels) scales: Aligned,
    /// int8: `[group][row]`, for types that have minimums.
    pub(in crate::kernels) mins: Aligned,
    /// int8: `[group][row]`: what a sum starts from to make up for the activations' offset.
    pub(in crate::kernels) corrections: Aligned,
}

/// `y[t, first_row + i] (+)= Σ panel[i] x[t]` for the panel's rows and columns and `t` in `0..n_tokens`.
pub(crate) struct Tiles<'a> {
    pub(crate) panel: &'a Panel,
    /// The type the panel was made of.
    pub(crate) dtype: DType,
    pub(crate) n_rows: usize,
    pub(crate) cols: Range<usize>,
    pub(crate) x: PackedView<'a>,
    pub(crate) n_tokens: usize,
    pub(crate) first_row: usize,
    pub(crate) y: SharedRows<'a>,
    /// Whether the product is added to `y`.
    pub(crate) add: bool,
}

/// How many tiles of at most `most` rows there are of `n` rows.
pub(crate) fn n_tiles(n: usize, most: usize) -> usize {
    n.div_ceil(most)
}

/// The rows of tile `i`; sizes are as equal as can be.
pub(crate) fn tile_rows(i: usize, n: usize, most: usize) -> Range<usize> {
    let count = n_tiles(n, most);
    i * n / count..(i + 1) * n / count
}

/// Runs `tile` for every tile of the activations, its number of rows a constant.
///
/// # Safety
/// As `tile`, for all rows.
macro_rules! for_each_tile {
    ($args:expr, $tile:ident::<$simd:ident, M $(, $generic:ident)*>) => {
        for i in 0..crate::kernels::tiles::n_tiles($args.n_tokens, $simd::TILE_ROWS) {
            let rows = crate::kernels::tiles::tile_rows(i, $args.n_tokens, $simd::TILE_ROWS);
            let t = rows.start;
            match rows.len() {
                1 => $tile::<$simd, 1 $(, $generic)*>($args, t),
                2 => $tile::<$simd, 2 $(, $generic)*>($args, t),
                3 => $tile::<$simd, 3 $(, $generic)*>($args, t),
                4 => $tile::<$simd, 4 $(, $generic)*>($args, t),
                // What no tile of this instruction set has is not compiled.
                5 if $simd::TILE_ROWS >= 5 => $tile::<$simd, 5 $(, $generic)*>($args, t),
                6 if $simd::TILE_ROWS >= 6 => $tile::<$simd, 6 $(, $generic)*>($args, t),
                7 if $simd::TILE_ROWS >= 7 => $tile::<$simd, 7 $(, $generic)*>($args, t),
                8 if $simd::TILE_ROWS >= 8 => $tile::<$simd, 8 $(, $generic)*>($args, t),
                n => unreachable!("a tile of {n} rows"),
            }
        }
    };
}
use for_each_tile;

/// Hands the sums of a tile's row to `y`.
///
/// # Safety
/// The instructions of `S` are there, and no other thread touches the panel's columns of `y`.
#[inline(always)]
unsafe fn store<S: Words>(args: &Tiles<'_>, t: usize, sums: [S::V; VECTORS]) {
    let n = args.n_rows;
    // SAFETY: the caller's promise; the lanes touched lie in a slice of `n` values or in the array.
    unsafe {
        let y = args.y.part(t, args.first_row..args.first_row + n);
        if n == panel_rows::<S>() {
            for (v, sum) in sums.into_iter().enumerate() {
                let p = y.as_mut_ptr().add(v * S::LANES);
                S::store(p, if args.add { S::add(S::load(p), sum) } else { sum });
            }
        } else {
            let mut all = [0.0; VECTORS * 16];
            for (v, sum) in sums.into_iter().enumerate() {
                S::store(all.as_mut_ptr().add(v * S::LANES), sum);
            }
            for (y, sum) in y.iter_mut().zip(all) {
                *y = if args.add { *y + sum } else { sum };
            }
        }
    }
}
