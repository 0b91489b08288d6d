use super::*;
use crate::{CpuBackend, CpuOptions, Level};
use wingbeat_backend::{
    Activation, Backend, Batch, Linear, Pass, StateLayout,
    conformance::{Case, Random, random_matrix},
    tolerance::{ActivationPrecision, product},
};

/// Values of which nine in ten are zero, and some whole blocks.
fn mostly_zero(random: &mut Random, n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| if i / 300 % 3 == 1 || !random.bits().is_multiple_of(10) { 0.0 } else { random.normal() })
        .collect()
}

fn backend(level: Level, threads: usize) -> CpuBackend {
    CpuBackend::new(CpuOptions { level: Some(level), threads: Some(threads), exact: false }).unwrap()
}

/// `y (+)= W x` through a pass, several times: the first makes the copy.
fn products(
    backend: &CpuBackend,
    source: &MatrixSource,
    x: &[f32],
    before: &[f32],
    n_tokens: usize,
    add: bool,
) -> Vec<f32> {
    let weight = backend.matrix(source).unwrap();
    let mut batch = Batch::new();
    batch.push(&vec![0; n_tokens]);
    let case = Case::new(backend, 0, String::new());
    let x = case.buffers(n_tokens, source.cols, x).0;
    let mut out = vec![0.0; n_tokens * source.rows];
    for _ in 0..2 {
        let mut y = case.buffers(n_tokens, source.rows, before).0;
        let mut state = backend.state(&StateLayout { slabs: Vec::new() }).unwrap();
        let mut pass = backend.begin(&batch, [&mut state].into_iter().collect()).unwrap();
        let activation = if add { Activation::Add } else { Activation::None };
        let job = Linear::new(&weight, &x, &mut y, activation);
        pass.linear(&mut [Linear { sparse_x: true, ..job }]);
        pass.submit().unwrap();
        backend.read(&y, 0, &mut out).unwrap();
    }
    let pays = !source.dtype.is_quantized() || n_tokens == 1;
    assert_eq!(weight.sparse.get().is_some(), pays, "{}: a copy", source.dtype.name());
    out
}

#[test]
fn products_are_exact_on_every_level() {
    let mut random = Random::new(11);
    for dtype in [DType::F16, DType::BF16, DType::Q8_0, DType::Q4K] {
        for (outputs, inputs) in [(32, 256), (96, 768), (416, 512), (1024, 1280)] {
            let source = random_matrix(&mut random, dtype, outputs, inputs, Orientation::RowMajor);
            for (n_tokens, threads, add) in [(1, 1, true), (1, 3, false), (37, 2, true), (64, 2, false)] {
                let x = mostly_zero(&mut random, n_tokens * inputs);
                let before = random.normals(n_tokens * outputs);
                let rows: Vec<Vec<f64>> = source
                    .data
                    .chunks_exact(source.checked_row_bytes().unwrap())
                    .map(|bytes| {
                        let mut row = vec![0.0; inputs];
                        dtype.decode_row(bytes, &mut row);
                        row.iter().map(|&w| f64::from(w)).collect()
                    })
                    .collect();
                for level in Level::available() {
                    let out = products(&backend(level, threads), &source, &x, &before, n_tokens, add);
                    for (i, (out, before)) in out.iter().zip(&before).enumerate() {
                        let (t, output) = (i / outputs, i % outputs);
                        let x: Vec<f64> = x[t * inputs..][..inputs].iter().map(|&x| f64::from(x)).collect();
                        let w = &rows[output];
                        let old = if add { f64::from(*before) } else { 0.0 };
                        let expected = old + w.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>();
                        if dtype.is_quantized() && n_tokens > 1 {
                            continue; // int8 products, which the conformance suite looks at
                        }
                        // Sums of `scale · Σ` and `min · Σ` may cancel: the limit counts a few terms more.
                        let limit =
                            8.0 * product(w, &x, ActivationPrecision::Exact) + 1e-5 * (old.abs() + 1.0);
                        assert!(
                            (f64::from(*out) - expected).abs() <= limit,
                            "{} {outputs} x {inputs}, {level}, {n_tokens} rows, {i}: {out}, not {expected}",
                            dtype.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn dense_inputs_make_no_copy() {
    let mut random = Random::new(12);
    let backend = backend(Level::best(), 2);
    let source = random_matrix(&mut random, DType::F16, 64, 256, Orientation::RowMajor);
    let weight = backend.matrix(&source).unwrap();
    let mut batch = Batch::new();
    batch.push(&[0]);
    let case = Case::new(&backend, 0, String::new());
    let x = case.buffers(1, 256, &random.normals(256)).0;
    let mut y = backend.buffer(1, 64).unwrap();
    let mut state = backend.state(&StateLayout { slabs: Vec::new() }).unwrap();
    let mut pass = backend.begin(&batch, [&mut state].into_iter().collect()).unwrap();
    let job = Linear::new(&weight, &x, &mut y, Activation::None);
    pass.linear(&mut [Linear { sparse_x: true, ..job }]);
    pass.submit().unwrap();
    assert!(weight.sparse.get().is_none());
}

#[test]
fn what_is_no_number_counts() {
    let mut random = Random::new(13);
    for dtype in [DType::F16, DType::Q8_0, DType::Q4K] {
        let source = random_matrix(&mut random, dtype, 64, 256, Orientation::RowMajor);
        let mut x = vec![0.0; 256];
        x[77] = f32::NAN;
        let out = products(&backend(Level::best(), 1), &source, &x, &[0.0; 64], 1, false);
        assert!(out.iter().all(|y| y.is_nan()), "{}", dtype.name());
    }
}
