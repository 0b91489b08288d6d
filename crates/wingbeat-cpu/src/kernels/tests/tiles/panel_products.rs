//! Products of panels and packed activations, against sums in f64 and, to the bit, plain loops over the same words.

use super::{
    super::{EPS, bits, compare, config, products::FLOATS, products::QUANTIZED, products::sum, tables, wide},
    Activations, HALVES, PanelRow, Stored, StoredRow, groups,
};
use crate::{
    buffer::SharedRows,
    kernels::{Panel, TILE_BLOCK, Tiles, panels},
    level::Level,
    matrix::Form,
};
use half::{bf16, f16};
use proptest::{prelude::*, sample::select};
use std::ops::Range;
use wingbeat_backend::conformance::Random;
use wingbeat_format::DType;

/// What is no number.
const BAD: [f32; 4] = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// Where a product goes.
#[derive(Clone, Copy, Debug)]
struct Place {
    first_row: usize,
    width: usize,
    add: bool,
}

/// What a product came to, and what it should.
struct Product {
    y: Vec<f32>,
    /// To the bit.
    expected: Vec<f32>,
    truth: Vec<f64>,
    limits: Vec<f64>,
}

/// `y[t, first_row + i] (+)= W[rows][i] x[t]`, panel after panel.
fn multiply(
    matrix: &Stored,
    rows: Range<usize>,
    x: &mut Activations,
    before: &[f32],
    place: Place,
    panel: &mut Panel,
) -> Product {
    let (kernels, form, dtype, n_tokens) = (x.kernels, x.form, matrix.dtype, x.rows);
    let Place { first_row, width, add } = place;
    let stored = x.all();
    let activations: Vec<Vec<f64>> = stored.iter().map(StoredRow::activations).collect();
    let (mut y, mut expected) = (before.to_vec(), before.to_vec());
    let (mut truth, mut limits) = (wide(before), vec![1e-30; before.len()]);
    for first in rows.clone().step_by(kernels.word_panel_rows) {
        let panel_rows = first..rows.end.min(first + kernels.word_panel_rows);
        let first_row = first_row + first - rows.start;
        let mut weights = vec![Vec::new(); panel_rows.len()];
        for cols in panels(matrix.cols, form.bytes()) {
            let add = add || cols.start > 0;
            matrix.panel(kernels, form, panel, panel_rows.clone(), cols.clone());
            for (r, weights) in weights.iter_mut().enumerate() {
                let row = PanelRow::of(panel, kernels, form, dtype, r, cols.len());
                for (t, x) in stored.iter().enumerate() {
                    let sum = row.dot(dtype, x, cols.clone(), kernels.level != Level::Scalar);
                    let expected = &mut expected[t * width + first_row + r];
                    *expected = if add { *expected + sum } else { sum };
                }
                match form {
                    Form::Int8 | Form::F32 => {
                        weights.extend_from_slice(&matrix.values[first + r][cols.clone()]);
                    }
                    Form::Int16 => {
                        let scale = f64::from(row.scales[0]);
                        weights.extend(row.integers.iter().map(|&w| f64::from(w) * scale));
                    }
                }
            }
            let args = Tiles {
                panel,
                dtype,
                n_rows: panel_rows.len(),
                cols,
                x: x.packed.reserve(n_tokens, matrix.cols, form.bytes()),
                n_tokens,
                first_row,
                y: SharedRows::new(&mut y, width),
                add,
            };
            // SAFETY: the table is of an available level, panel and activations are its own; there are no other threads.
            unsafe {
                match form {
                    Form::Int8 => (kernels.int8_panel)(&args),
                    Form::Int16 => (kernels.int16_panel)(&args),
                    Form::F32 => (kernels.f32_panel)(&args),
                }
            }
        }
        for (r, w) in weights.iter().enumerate() {
            let sizes = if form == Form::Int8 { &matrix.magnitudes[first + r] } else { w };
            for (t, x) in activations.iter().enumerate() {
                let at = t * width + first_row + r;
                let old = if add { truth[at] } else { 0.0 };
                truth[at] = old + sum(w.iter().copied(), x);
                let size: f64 = sizes.iter().zip(x).map(|(w, x)| (w * x).abs()).sum();
                limits[at] = roundings(form, dtype, matrix.cols) * EPS * (size + old.abs()) + 1e-30;
            }
        }
    }
    Product { y, expected, truth, limits }
}

/// Integer sums are exact, so a product is rounded where groups are added up, which errs as in
/// [`product`](wingbeat_backend::tolerance::product), and a few times where they are scaled. A group of f32 is one value.
fn roundings(form: Form, dtype: DType, cols: usize) -> f64 {
    let (group, has_mins) = if form == Form::F32 { (1, false) } else { groups(dtype) };
    let n_sums = cols.div_ceil(group) * if has_mins { 2 } else { 1 };
    4.0 * (n_sums as f64).sqrt() + 8.0
}

/// A product on every level, within its limit of the sum in f64 and to the bit what plain loops say.
fn check_product(
    random: &mut Random,
    matrix: &Stored,
    form: Form,
    rows: Range<usize>,
    n_tokens: usize,
    place: Place,
) {
    let x: Vec<f32> = (0..n_tokens)
        .flat_map(|t| {
            let row = random.normals(matrix.cols);
            // Every third row takes the whole range of a byte.
            if t % 3 == 1 { row.into_iter().map(f32::abs).collect() } else { row }
        })
        .collect();
    let before = random.normals(n_tokens * place.width);
    let mut panel = Panel::default();
    for kernels in tables() {
        let mut x = Activations::pack(kernels, form, &x, matrix.cols);
        let product = multiply(matrix, rows.clone(), &mut x, &before, place, &mut panel);
        let what = format!("{} {}, {n_tokens} tokens, rows {rows:?}", matrix.dtype.name(), kernels.level);
        let limit = |i: usize| product.limits[i];
        compare(format!("{what}, and f64"), &product.y, &product.truth, limit);
        compare(format!("{what}, and plain loops"), &product.y, &wide(&product.expected), limit);
        assert_eq!(bits(&product.y), bits(&product.expected), "{what}, and plain loops, to the bit");
    }
}

/// Rows to compute, the first not that of the matrix in most cases; and where they go.
fn places() -> impl Strategy<Value = (Range<usize>, Place)> {
    (0..3usize, 1..=70usize, 0..3usize, 0..3usize, any::<bool>()).prop_map(
        |(first, n, first_row, after, add)| {
            (first..first + n, Place { first_row, width: first_row + n + after, add })
        },
    )
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn products_of_int8(
        seed: u64, (rows, place) in places(), n_tokens in 1..=17usize,
        small in select(&[32, 96, 160, 288, 800, 2080][..]), large in select(&[256, 512, 1280][..]),
    ) {
        let mut random = Random::new(seed);
        for dtype in QUANTIZED {
            let cols = if dtype.block_len() == 32 { small } else { large };
            let matrix = Stored::blocks(&mut random, dtype, rows.end, cols, 0);
            check_product(&mut random, &matrix, matrix.form(), rows.clone(), n_tokens, place);
        }
    }

    #[test]
    fn products_of_int16(
        seed: u64, (rows, place) in places(), n_tokens in 1..=17usize,
        cols in select(&[2, 30, 32, 62, 66, 96, 288, 510, 514, 800, 1030][..]), transposed: bool,
    ) {
        let mut random = Random::new(seed);
        for dtype in HALVES {
            let matrix = Stored::floats(&mut random, dtype, rows.end, cols, transposed, 0);
            check_product(&mut random, &matrix, matrix.form(), rows.clone(), n_tokens, place);
        }
    }

    #[test]
    fn products_of_f32(
        seed: u64, (rows, place) in places(), n_tokens in 1..=17usize,
        cols in select(&[1usize, 2, 31, 32, 100, 255, 257, 600][..]), transposed: bool,
    ) {
        let mut random = Random::new(seed);
        for dtype in FLOATS.into_iter().chain(QUANTIZED) {
            let cols = if dtype.is_quantized() { cols.next_multiple_of(256) } else { cols };
            let matrix = Stored::random(&mut random, dtype, rows.end, cols, transposed, 0);
            check_product(&mut random, &matrix, Form::F32, rows.clone(), n_tokens, place);
        }
    }
}

/// Sums at their largest: integers all the greatest that there are, of one sign.
#[test]
fn the_largest_sums_fit() {
    const ROWS: usize = 3;
    let place = Place { first_row: 0, width: ROWS, add: false };
    for (dtype, sign) in
        [DType::Q8_0, DType::F16, DType::BF16].into_iter().flat_map(|d| [(d, 1.0), (d, -1.0)])
    {
        let cols = 4 * TILE_BLOCK;
        let mut bytes = vec![0xff];
        for _ in 0..ROWS {
            match dtype {
                // -128 is more than the encoder makes of any value.
                DType::Q8_0 => (0..cols / 32).for_each(|_| {
                    bytes.extend(f16::ONE.to_le_bytes());
                    bytes.extend([if sign > 0.0 { 127i8 } else { -128 } as u8; 32]);
                }),
                DType::F16 => bytes.extend(f16::from_f32(sign * 3.0).to_le_bytes().repeat(cols)),
                _ => bytes.extend(bf16::from_f32(sign * 3.0).to_le_bytes().repeat(cols)),
            }
        }
        let row_bytes = (bytes.len() - 1) / ROWS;
        let mut row = vec![0.0; cols];
        dtype.decode_row(&bytes[1..][..row_bytes], &mut row);
        let values = vec![wide(&row); ROWS];
        let magnitudes = values.iter().map(|row| row.iter().map(|w| w.abs()).collect()).collect();
        let matrix = Stored { dtype, bytes, row_bytes, transposed: false, cols, values, magnitudes };
        for (x, kernels) in [2.0, -2.0].into_iter().flat_map(|x| tables().into_iter().map(move |k| (x, k))) {
            let mut x = Activations::pack(kernels, matrix.form(), &vec![x; 2 * cols], cols);
            let before = [0.0; 2 * ROWS];
            let product = multiply(&matrix, 0..ROWS, &mut x, &before, place, &mut Panel::default());
            let what = format!("{} {}", dtype.name(), kernels.level);
            compare(&what, &product.y, &product.truth, |i| product.limits[i]);
            assert_eq!(bits(&product.y), bits(&product.expected), "{what}");
        }
    }
}

/// Quantized rows with ordinary factors, so that what is put into them alone is to blame.
fn ordinary(random: &mut Random, dtype: DType, rows: usize, cols: usize, transposed: bool) -> Stored {
    let mut matrix = Stored::random(random, dtype, rows, cols, transposed, 0);
    for block in matrix.bytes[1..].chunks_exact_mut(dtype.block_bytes()) {
        for &at in dtype.scale_offsets() {
            block[at..at + 2].copy_from_slice(&f16::ONE.to_le_bytes());
        }
    }
    matrix
}

const ROWS: usize = 3;
const TOKENS: usize = 4;
const COLS: usize = 512;

/// All outputs that should be numbers are, and no others.
fn check_numbers(x: &[f32], matrix: &Stored, what: &str, is_number: impl Fn(usize, usize) -> bool) {
    let place = Place { first_row: 0, width: ROWS, add: false };
    let forms = [matrix.form(), Form::F32];
    for (kernels, form) in tables().into_iter().flat_map(|k| forms.map(|form| (k, form))) {
        let mut x = Activations::pack(kernels, form, x, COLS);
        let before = [0.0; ROWS * TOKENS];
        let y = multiply(matrix, 0..ROWS, &mut x, &before, place, &mut Panel::default()).y;
        for (t, row) in (0..TOKENS).flat_map(|t| (0..ROWS).map(move |row| (t, row))) {
            let actual = y[t * ROWS + row];
            let what =
                format!("{} {} {form:?}, {what}: token {t}, row {row}", matrix.dtype.name(), kernels.level);
            assert_eq!(actual.is_finite(), is_number(t, row), "{what}: {actual}");
        }
    }
}

/// What is no number must not come out of a product as one, nor get into others.
#[test]
fn nan_and_infinity_stay_where_they_are() {
    let mut random = Random::new(16);
    let types = QUANTIZED
        .into_iter()
        .map(|d| (d, false))
        .chain(HALVES.into_iter().flat_map(|d| [(d, false), (d, true)]));
    for (dtype, transposed) in types {
        for (bad, at) in BAD.into_iter().flat_map(|bad| [0, 17, 300, 511].map(|at| (bad, at))) {
            let mut matrix = ordinary(&mut random, dtype, ROWS, COLS, transposed);
            let mut x = random.normals(TOKENS * COLS);
            // Two rows with the whole range, one of which has the bad value.
            x[..2 * COLS].iter_mut().for_each(|x| *x = x.abs());
            for t in [1, 2] {
                let good = std::mem::replace(&mut x[t * COLS + at], bad);
                check_numbers(&x, &matrix, &format!("activation {at} is {bad}"), |i, _| i != t);
                x[t * COLS + at] = good;
            }
            let (start, value) = match dtype {
                DType::BF16 => (0, bf16::from_f32(bad).to_le_bytes()),
                DType::F16 => (0, f16::from_f32(bad).to_le_bytes()),
                _ => (dtype.scale_offsets()[0], f16::from_f32(bad).to_le_bytes()),
            };
            let place = match dtype.is_quantized() {
                true => matrix.row_bytes + at / dtype.block_len() * dtype.block_bytes() + start,
                false if transposed => at * matrix.row_bytes + 2,
                false => matrix.row_bytes + 2 * at,
            };
            matrix.bytes[1 + place..][..2].copy_from_slice(&value);
            check_numbers(&x, &matrix, &format!("weight {at} is {bad}"), |_, row| row != 1);
        }
    }
}
