//! Tiles of words: packed activations and panels of weights. Both are unpacked here by the layout that their
//! documentation promises, compared with what they were made of, and multiplied in `panel_products.rs`.

mod panel_products;

use super::{
    EPS, bits, config, portable,
    products::{FLOATS, Floats, QUANTIZED, activation_block, block_row, magnitudes},
    tables, wide,
};
use crate::{
    kernels::{Kernels, PackedRows, Panel, PanelSource, TILE_BLOCK, n_tiles, panels, tile_rows},
    level::Level,
    matrix::Form,
};
use proptest::{prelude::*, sample::select};
use std::ops::Range;
use wingbeat_backend::conformance::Random;
use wingbeat_format::DType;

/// The float types that become int16.
const HALVES: [DType; 2] = [DType::F16, DType::BF16];

/// The largest int16 integer.
const MOST_INT16: f32 = 8191.0;

/// Whether a level's int8 activations are unsigned bytes, 128 more than their value.
fn is_unsigned(level: Level) -> bool {
    matches!(level, Level::Scalar | Level::AvxVnni | Level::Avx512)
}

/// Columns that share a scale, and whether a minimum stands beside it: from the formats' definitions.
fn groups(dtype: DType) -> (usize, bool) {
    match dtype {
        DType::Q2K => (16, true),
        DType::Q3K | DType::Q6K => (16, false),
        DType::Q4_1 | DType::Q5_1 | DType::Q4K | DType::Q5K => (32, true),
        _ => (32, false),
    }
}

/// Rows of activations as a level packs them.
struct Activations {
    kernels: &'static Kernels,
    form: Form,
    rows: usize,
    cols: usize,
    packed: PackedRows,
}

/// One of them.
#[derive(Debug)]
struct StoredRow {
    /// Of the form f32.
    floats: Vec<f32>,
    /// Of the others.
    values: Vec<i32>,
    /// One for each 32 values; of int8 also the sums.
    scales: Vec<f32>,
    sums: Vec<f32>,
    /// One for each 16 values.
    half_sums: Vec<f32>,
    /// The largest integer.
    most: f32,
}

impl Activations {
    fn pack(kernels: &'static Kernels, form: Form, x: &[f32], cols: usize) -> Activations {
        let rows = x.len() / cols;
        let mut packed = PackedRows::default();
        let view = packed.reserve(rows, cols, form.bytes());
        for i in 0..n_tiles(rows, kernels.tile_rows) {
            let tile = tile_rows(i, rows, kernels.tile_rows);
            let x = &x[tile.start * cols..tile.end * cols];
            // SAFETY: the table is of an available level; the rows are a tile; there are no other threads.
            unsafe { kernels.pack(form)(x, &view, tile) };
        }
        Activations { kernels, form, rows, cols, packed }
    }

    /// Row `t`, by the layout in [`PackedRows`].
    fn row(&self, t: usize) -> StoredRow {
        let most = self.kernels.tile_rows;
        let mut tiles = (0..n_tiles(self.rows, most)).map(|i| tile_rows(i, self.rows, most));
        let tile = tiles.find(|tile| tile.contains(&t)).expect("every row is in a tile");
        let (start, m, tile) = (tile.start, t - tile.start, tile.len());
        let column = |values: &[f32], n: usize| -> Vec<f32> {
            values[start * n..][..tile * n].iter().skip(m).step_by(tile).copied().collect()
        };
        let blocks = self.cols.div_ceil(TILE_BLOCK);
        let row_bytes = self.cols * self.form.bytes();
        let bytes: &[u8] = bytemuck::cast_slice(self.packed.bytes.as_slice());
        let words = bytes[start * row_bytes..][..tile * row_bytes].as_chunks::<4>().0;
        let words = words.iter().skip(m).step_by(tile).copied();
        let mut row = StoredRow {
            floats: Vec::new(),
            values: Vec::new(),
            scales: if self.form == Form::F32 { Vec::new() } else { column(&self.packed.scales, blocks) },
            sums: Vec::new(),
            half_sums: Vec::new(),
            most: MOST_INT16,
        };
        match self.form {
            Form::F32 => row.floats = words.map(f32::from_le_bytes).collect(),
            Form::Int16 => row.values = int16_values(words).collect(),
            Form::Int8 => {
                let unsigned = is_unsigned(self.kernels.level);
                let corrected = match self.packed.masks[t] {
                    0 => false,
                    u32::MAX => true,
                    mask => panic!("mask {mask:#x}"),
                };
                let value = |byte: u8| match (unsigned, corrected) {
                    (true, false) => i32::from(byte),
                    (true, true) => i32::from(byte) - 128,
                    (false, false) => i32::from(byte as i8),
                    (false, true) => i32::from(byte as i8) + 127,
                };
                row.values = words.flatten().map(value).collect();
                row.sums = column(&self.packed.sums, blocks);
                row.half_sums = column(&self.packed.half_sums, 2 * blocks);
                row.most = match (unsigned, corrected) {
                    (true, false) => 255.0,
                    (false, true) => 254.0,
                    _ => 127.0,
                };
            }
        }
        row
    }

    fn all(&self) -> Vec<StoredRow> {
        (0..self.rows).map(|t| self.row(t)).collect()
    }
}

/// The two values of each word.
fn int16_values(words: impl Iterator<Item = [u8; 4]>) -> impl Iterator<Item = i32> {
    words.flat_map(|[a, b, c, d]| [[a, b], [c, d]]).map(|two| i32::from(i16::from_le_bytes(two)))
}

impl StoredRow {
    /// The activations that the words stand for.
    fn activations(&self) -> Vec<f64> {
        if !self.floats.is_empty() {
            return wide(&self.floats);
        }
        let value = |(i, &v): (usize, &i32)| f64::from(v) * f64::from(self.scales[i / TILE_BLOCK]);
        self.values.iter().enumerate().map(value).collect()
    }
}

/// A row of activations, blocks of all kinds; some have no negative value.
fn activation_row(random: &mut Random, cols: usize) -> Vec<f32> {
    let mut row: Vec<f32> =
        (0..cols.div_ceil(32)).flat_map(|_| activation_block(random)).take(cols).collect();
    if random.bits().is_multiple_of(3) {
        row.iter_mut().for_each(|x| *x = x.abs());
    }
    row
}

/// Every integer is the nearest, the largest of a block as large as can be, sums are those of the integers; and other
/// levels have the same bits.
fn check_packing(random: &mut Random, form: Form, rows: usize, cols: usize) {
    let x: Vec<f32> = (0..rows).flat_map(|_| activation_row(random, cols)).collect();
    let twin = Activations::pack(portable(), form, &x, cols).all();
    for kernels in tables() {
        let packed = Activations::pack(kernels, form, &x, cols);
        for (t, x) in x.chunks_exact(cols).enumerate() {
            let (row, twin, level) = (packed.row(t), &twin[t], kernels.level);
            assert_eq!((row.values.len(), row.scales.len()), (cols, cols.div_ceil(TILE_BLOCK)), "{level}");
            if form == Form::Int8 {
                let whole_range = if is_unsigned(level) { 255.0 } else { 254.0 };
                let most = if x.iter().all(|&x| x >= 0.0) { whole_range } else { 127.0 };
                assert_eq!(row.most, most, "{level}: {x:?}");
            }
            let blocks = x.chunks(TILE_BLOCK).zip(row.values.chunks(TILE_BLOCK)).zip(&row.scales);
            for (b, ((x, values), &scale)) in blocks.enumerate() {
                let largest = x.iter().fold(0f32, |m, x| m.max(x.abs()));
                assert_eq!(scale.to_bits(), (largest * (1.0 / row.most)).to_bits(), "{level}: {x:?}");
                let most = values.iter().map(|v| v.unsigned_abs()).max();
                assert!(most <= Some(row.most as u32), "{level}: {most:?} in {values:?}");
                // Smaller ones may become zero.
                assert!(largest < 1e-30 || most == Some(row.most as u32), "{level}: {most:?} is {largest}");
                // Half a step; scale, inverse scale, their factor and the product are rounded.
                let limit = (0.5 + 4.0 * EPS * f64::from(row.most)) * f64::from(scale) + 1e-30;
                for (&x, &value) in x.iter().zip(values) {
                    let error = (f64::from(x) - f64::from(value) * f64::from(scale)).abs();
                    assert!(error <= limit, "{level}: {x} is {value} times {scale}");
                }
                if form == Form::Int8 {
                    let sum = |half: &[i32]| half.iter().sum::<i32>() as f32 * scale;
                    let halves = [sum(&values[..16]), sum(&values[16..])];
                    assert_eq!(bits(&row.half_sums[2 * b..][..2]), bits(&halves), "half sums, {level}");
                    assert_eq!(bits(&row.sums[b..][..1]), bits(&[halves[0] + halves[1]]), "sums, {level}");
                }
            }
            if row.most == twin.most {
                assert_eq!(row.values, twin.values, "{level}");
            }
        }
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn packing_int8(seed: u64, rows in 1..=17usize, n_blocks in 1..9usize) {
        check_packing(&mut Random::new(seed), Form::Int8, rows, TILE_BLOCK * n_blocks);
    }

    #[test]
    fn packing_int16(seed: u64, rows in 1..=17usize, n_pairs in 1..140usize) {
        check_packing(&mut Random::new(seed), Form::Int16, rows, 2 * n_pairs);
    }

    #[test]
    fn packing_f32(seed: u64, rows in 1..=17usize, cols in 1..100usize) {
        let mut random = Random::new(seed);
        let x: Vec<f32> = (0..rows).flat_map(|_| activation_row(&mut random, cols)).collect();
        for kernels in tables() {
            let packed = Activations::pack(kernels, Form::F32, &x, cols);
            for (t, x) in x.chunks_exact(cols).enumerate() {
                prop_assert_eq!(bits(&packed.row(t).floats), bits(x), "{}", kernels.level);
            }
        }
    }
}

/// A stored matrix at an odd address, bytes of nothing after each row.
struct Stored {
    dtype: DType,
    bytes: Vec<u8>,
    row_bytes: usize,
    transposed: bool,
    cols: usize,
    /// `(rows, cols)`
    values: Vec<Vec<f64>>,
    /// What a term of a product can be at most.
    magnitudes: Vec<Vec<f64>>,
}

impl Stored {
    fn blocks(random: &mut Random, dtype: DType, rows: usize, cols: usize, padding: usize) -> Stored {
        let n_blocks = cols / dtype.block_len();
        let (mut bytes, mut values, mut sizes) = (vec![0xff], Vec::new(), Vec::new());
        for _ in 0..rows {
            let row = block_row(random, dtype, n_blocks);
            let mut decoded = vec![0.0; cols];
            dtype.decode_row(&row, &mut decoded);
            values.push(wide(&decoded));
            sizes.push(magnitudes(dtype, &row, &wide(&decoded)));
            bytes.extend(row);
            bytes.extend(vec![0xff; padding]);
        }
        let row_bytes = n_blocks * dtype.block_bytes() + padding;
        Stored { dtype, bytes, row_bytes, transposed: false, cols, values, magnitudes: sizes }
    }

    fn floats(
        random: &mut Random,
        dtype: DType,
        rows: usize,
        cols: usize,
        transposed: bool,
        padding: usize,
    ) -> Stored {
        let (stored_rows, stored_cols) = if transposed { (cols, rows) } else { (rows, cols) };
        let floats = Floats::random(random, dtype, stored_rows, stored_cols, padding);
        let bytes = [&[0xff], floats.bytes()].concat();
        let values: Vec<Vec<f64>> = match transposed {
            true => (0..rows).map(|r| floats.values.iter().map(|stored| stored[r]).collect()).collect(),
            false => floats.values,
        };
        let magnitudes = values.iter().map(|row| row.iter().map(|w| w.abs()).collect()).collect();
        Stored { dtype, bytes, row_bytes: floats.row_bytes, transposed, cols, values, magnitudes }
    }

    /// Whichever the type's rows have.
    fn random(
        random: &mut Random,
        dtype: DType,
        rows: usize,
        cols: usize,
        transposed: bool,
        padding: usize,
    ) -> Stored {
        if dtype.is_quantized() {
            Stored::blocks(random, dtype, rows, cols, padding)
        } else {
            Stored::floats(random, dtype, rows, cols, transposed, padding)
        }
    }

    /// The form in integers.
    fn form(&self) -> Form {
        if self.dtype.is_quantized() { Form::Int8 } else { Form::Int16 }
    }

    /// Makes `panel` of a part.
    fn panel(
        &self,
        kernels: &Kernels,
        form: Form,
        panel: &mut Panel,
        rows: Range<usize>,
        cols: Range<usize>,
    ) {
        let source = PanelSource {
            dtype: self.dtype,
            weights: &self.bytes[1..],
            row_bytes: self.row_bytes,
            transposed: self.transposed,
            rows,
            cols,
            // A prefetch may go anywhere.
            to_next: 1 << 40,
            next_bytes: 64,
        };
        // SAFETY: the table is of an available level.
        unsafe {
            match form {
                Form::Int8 => (kernels.panel_of_int8)(&source, panel),
                Form::Int16 => (kernels.panel_of_int16)(&source, panel),
                Form::F32 => (kernels.panel_of_f32)(&source, panel),
            }
        }
    }
}

/// A row of a panel.
#[derive(Debug)]
struct PanelRow {
    /// Of the form f32.
    floats: Vec<f32>,
    /// Of the others.
    integers: Vec<i32>,
    /// One for each group; of int16 one.
    scales: Vec<f32>,
    mins: Vec<f32>,
    corrections: Vec<f32>,
}

impl PanelRow {
    /// Row `r`, by the layout in [`Panel`].
    fn of(panel: &Panel, kernels: &Kernels, form: Form, dtype: DType, r: usize, n_cols: usize) -> PanelRow {
        let rows = kernels.word_panel_rows;
        let words: &[u8] = bytemuck::cast_slice(panel.words.as_slice());
        let words = words.as_chunks::<4>().0.iter().skip(r).step_by(rows).copied();
        let column = |values: &[f32], n: usize| -> Vec<f32> {
            values[..n * rows].iter().skip(r).step_by(rows).copied().collect()
        };
        let mut row = PanelRow {
            floats: Vec::new(),
            integers: Vec::new(),
            scales: Vec::new(),
            mins: Vec::new(),
            corrections: Vec::new(),
        };
        match form {
            Form::F32 => row.floats = words.map(f32::from_le_bytes).take(n_cols).collect(),
            Form::Int16 => {
                row.integers = int16_values(words).take(n_cols).collect();
                row.scales = column(panel.scales.as_slice(), 1);
            }
            Form::Int8 => {
                let (group, has_mins) = groups(dtype);
                let n_groups = n_cols / group;
                row.integers = words.flatten().map(|byte| i32::from(byte as i8)).take(n_cols).collect();
                row.scales = column(panel.scales.as_slice(), n_groups);
                row.mins = column(panel.mins.as_slice(), if has_mins { n_groups } else { 0 });
                row.corrections = column(panel.corrections.as_slice(), n_groups);
            }
        }
        row
    }

    /// The product with columns `part` of a row of activations, in the order and with the roundings of the kernel.
    fn dot(&self, dtype: DType, x: &StoredRow, part: Range<usize>, fused: bool) -> f32 {
        let fma = |a: f32, b: f32, c: f32| if fused { a.mul_add(b, c) } else { a * b + c };
        if !self.floats.is_empty() {
            return self.floats.iter().zip(&x.floats[part]).fold(0.0, |sum, (&w, &x)| fma(w, x, sum));
        }
        let (first, values) = (part.start, &x.values[part]);
        let integers = |range: Range<usize>| -> i32 {
            // Activations of what is no number may be any integers.
            let products = self.integers[range.clone()].iter().zip(&values[range]).map(|(w, x)| w * x);
            products.fold(0, i32::wrapping_add)
        };
        let mut sum = 0.0;
        if dtype.is_quantized() {
            let (group, has_mins) = groups(dtype);
            for g in 0..values.len() / group {
                let col = first + g * group;
                let scale = self.scales[g] * x.scales[col / TILE_BLOCK];
                sum = fma(integers(g * group..(g + 1) * group) as f32, scale, sum);
                if has_mins {
                    let x_sum = if group == TILE_BLOCK { x.sums[col / 32] } else { x.half_sums[col / 16] };
                    sum = fma(self.mins[g], x_sum, sum);
                }
            }
            return sum;
        }
        for start in (0..values.len()).step_by(TILE_BLOCK) {
            let dot = integers(start..(start + TILE_BLOCK).min(values.len())) as f32;
            sum = fma(dot, x.scales[(first + start) / TILE_BLOCK], sum);
        }
        sum * self.scales[0]
    }
}

/// `scale · integer + min` is the stored value: exactly but for roundings of the scales for quantized types, to half a
/// step for floats; in the form f32 it is the stored value. Other levels have the same bits.
fn check_panels(matrix: &Stored, form: Form, rows: Range<usize>, panel: &mut Panel) {
    let dtype = matrix.dtype;
    for cols in panels(matrix.cols, form.bytes()) {
        let unpack = |kernels: &Kernels, panel: &mut Panel| -> Vec<PanelRow> {
            let mut unpacked = Vec::new();
            for first in rows.clone().step_by(kernels.word_panel_rows) {
                let rows = first..rows.end.min(first + kernels.word_panel_rows);
                matrix.panel(kernels, form, panel, rows.clone(), cols.clone());
                let row = |r| PanelRow::of(panel, kernels, form, dtype, r, cols.len());
                unpacked.extend((0..rows.len()).map(row));
            }
            unpacked
        };
        let twin = unpack(portable(), panel);
        for kernels in tables() {
            let what = format!("{} {} columns {cols:?}", dtype.name(), kernels.level);
            for (r, row) in unpack(kernels, panel).iter().enumerate() {
                assert_eq!(row.integers, twin[r].integers, "integers, {what}, row {r}");
                assert_eq!(bits(&row.scales), bits(&twin[r].scales), "scales, {what}, row {r}");
                assert_eq!(bits(&row.mins), bits(&twin[r].mins), "minimums, {what}, row {r}");
                let stored = &matrix.values[rows.start + r][cols.clone()];
                if form == Form::F32 {
                    let stored: Vec<f32> = stored.iter().map(|&w| w as f32).collect();
                    assert_eq!(bits(&row.floats), bits(&stored), "{what}, row {r}");
                    continue;
                }
                let group = cols.len() / row.scales.len();
                for (integers, correction) in row.integers.chunks(group).zip(&row.corrections) {
                    let offset = if is_unsigned(kernels.level) { -128 } else { 127 };
                    let expected = offset * integers.iter().sum::<i32>();
                    assert_eq!(correction.to_bits() as i32, expected, "corrections, {what}, row {r}");
                }
                let sizes = &matrix.magnitudes[rows.start + r][cols.clone()];
                if dtype.is_quantized() {
                    let min = |i: usize| row.mins.get(i / group).copied().map_or(0.0, f64::from);
                    for (i, (&integer, &stored)) in row.integers.iter().zip(stored).enumerate() {
                        let value = f64::from(row.scales[i / group]) * f64::from(integer) + min(i);
                        let limit = 4.0 * EPS * sizes[i];
                        assert!((value - stored).abs() <= limit, "{what}, row {r}: {value} is {stored}");
                    }
                } else {
                    check_int16(row, stored, &format!("{what}, row {r}"));
                }
            }
        }
    }
}

/// As activations are checked.
fn check_int16(row: &PanelRow, stored: &[f64], what: &str) {
    let scale = f64::from(row.scales[0]);
    let largest = super::largest(stored);
    assert_eq!(row.scales[0], largest as f32 * (1.0 / MOST_INT16), "scale, {what}");
    let most = row.integers.iter().map(|v| v.unsigned_abs()).max();
    assert!(most <= Some(MOST_INT16 as u32), "{what}: {most:?}");
    assert!(largest < 1e-30 || most == Some(MOST_INT16 as u32), "{what}: {most:?} is {largest}");
    let limit = (0.5 + 4.0 * EPS * f64::from(MOST_INT16)) * scale + 1e-30;
    for (&integer, &stored) in row.integers.iter().zip(stored) {
        let value = f64::from(integer) * scale;
        assert!((value - stored).abs() <= limit, "{what}: {stored} is {integer} times {scale}");
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn panels_of_int8(
        seed: u64, first in 0..3usize, n in 1..40usize, small in select(&[32, 96, 160, 288, 800, 1056, 2080][..]),
        large in select(&[256, 512, 1280, 2304][..]), padding in 0..3usize,
    ) {
        let (mut random, mut panel) = (Random::new(seed), Panel::default());
        for dtype in QUANTIZED {
            let cols = if dtype.block_len() == 32 { small } else { large };
            let matrix = Stored::blocks(&mut random, dtype, first + n, cols, padding);
            check_panels(&matrix, matrix.form(), first..first + n, &mut panel);
        }
    }

    #[test]
    fn panels_of_int16(
        seed: u64, first in 0..3usize, n in 1..40usize, n_pairs in 1..600usize, transposed: bool, padding in 0..3usize,
    ) {
        let (mut random, mut panel) = (Random::new(seed), Panel::default());
        for dtype in HALVES {
            let matrix = Stored::floats(&mut random, dtype, first + n, 2 * n_pairs, transposed, padding);
            check_panels(&matrix, matrix.form(), first..first + n, &mut panel);
        }
    }

    #[test]
    fn panels_of_f32(
        seed: u64, first in 0..3usize, n in 1..40usize, cols in 1..600usize, n_blocks in 1..4usize, transposed: bool,
        padding in 0..3usize,
    ) {
        let (mut random, mut panel) = (Random::new(seed), Panel::default());
        for dtype in FLOATS.into_iter().chain(QUANTIZED) {
            let cols = if dtype.is_quantized() { n_blocks * 256 } else { cols };
            let matrix = Stored::random(&mut random, dtype, first + n, cols, transposed, padding);
            check_panels(&matrix, Form::F32, first..first + n, &mut panel);
        }
    }
}
