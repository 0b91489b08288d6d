//! Products on a GPU, timed: microseconds of one dispatch that depends on the one before.
//!
//!     cargo bench -p wingbeat-gpu --bench kernels -- [TYPE] ROWSxCOLS[s] [...] TOKENS [...]
//!
//! A shape that ends in `s` has a sparse input, so that its matrix is kept by input. Each shape is as many matrices as do not
//! fit into a GPU's cache; a pass goes through them, several passes are submitted at once, and the time until the last is done
//! is divided by the number of products. `WINGBEAT_GPU_TUNING` (crates/wingbeat-gpu/src/tuning.rs) changes how they are done.

use std::time::Instant;
use wingbeat_backend::{
    Activation, Backend, Batch, Linear, Orientation, Pass, StateLayout,
    conformance::{Random, random_matrix},
};
use wingbeat_format::{Bytes, DType};
use wingbeat_gpu::{GpuBackend, GpuOptions};

/// What the matrices of a shape take at least: more than any cache.
const BYTES: usize = 400 << 20;
/// Passes that are timed.
const PASSES: usize = 6;

fn main() {
    let (mut shapes, mut tokens, mut dtype) = (Vec::new(), Vec::new(), DType::F16);
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        let (shape, sparse) = argument.strip_suffix('s').map_or((&*argument, false), |shape| (shape, true));
        match shape.split_once('x').map(|(rows, cols)| (rows.parse::<usize>(), cols.parse::<usize>())) {
            Some((Ok(rows), Ok(cols))) => shapes.push((rows, cols, sparse)),
            _ => match (argument.parse::<usize>(), DType::parse(&argument)) {
                (Ok(n), _) => tokens.push(n),
                (_, Some(found)) => dtype = found,
                _ => return eprintln!("neither a type, a shape nor a number of tokens: {argument}"),
            },
        }
    }
    if shapes.is_empty() {
        shapes = vec![(2048, 2048, false)];
    }
    if tokens.is_empty() {
        tokens = vec![1];
    }
    let backend = match GpuBackend::new(&GpuOptions::default()) {
        Ok(backend) => backend,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    for (rows, cols, sparse) in shapes {
        time(&backend, dtype, (rows, cols, sparse), &tokens);
    }
}

fn time(backend: &GpuBackend, dtype: DType, (rows, cols, sparse): (usize, usize, bool), tokens: &[usize]) {
    // Some random rows over and over.
    let some = rows.min(64);
    let mut source = random_matrix(&mut Random::new(1), dtype, some, cols, Orientation::RowMajor);
    source.data = Bytes::from_vec(source.data.repeat(rows.div_ceil(some)));
    (source.rows, source.sparse_input) = (some * rows.div_ceil(some), sparse);
    let rows = source.rows;
    let bytes = source.data.len();
    let n = if std::env::var_os("HOT").is_some() { 1 } else { BYTES.div_ceil(bytes).clamp(4, 48) };
    let matrices: Vec<_> = (0..n).map(|_| backend.matrix(&source).expect("room for matrices")).collect();
    backend.loaded().expect("matrices arrive");
    let mut state = backend.state(&StateLayout { slabs: Vec::new() }).expect("a state");
    for &t in tokens {
        let mut x = backend.buffer(t, cols).expect("room");
        let mut y = backend.buffer(t, rows).expect("room");
        let mut batch = Batch::new();
        batch.push(&vec![0; t]);
        // Something to multiply with: the rows of a table.
        let table = random_matrix(&mut Random::new(2), DType::F16, 1, cols, Orientation::RowMajor);
        let table = backend.matrix(&table).expect("room");
        let mut pass = |times: usize, embed: bool| {
            for _ in 0..times {
                let states = [&mut state].into_iter().collect();
                let mut pass = backend.begin(&batch, states).expect("a pass");
                if embed {
                    pass.embed(&table, &mut x);
                }
                for matrix in matrices.iter().cycle().take(n.max(12)) {
                    let linear = Linear::new(matrix, &x, &mut y, Activation::None);
                    pass.linear(&mut [Linear { sparse_x: sparse, ..linear }]);
                }
                pass.submit().expect("a pass");
            }
            backend.read(&y, 0, &mut [0.0]).expect("a value");
        };
        pass(2, true);
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let started = Instant::now();
            pass(PASSES, false);
            best = best.min(started.elapsed().as_secs_f64());
        }
        let each = best / (PASSES * n.max(12)) as f64;
        let flops = 2.0 * (rows * cols * t) as f64;
        println!(
            "{} {rows}x{cols}{} T={t}: {:.2} us, {:.0} GB/s, {:.1} TFLOP/s",
            dtype.name(),
            if sparse { " by input" } else { "" },
            each * 1e6,
            bytes as f64 / each * 1e-9,
            flops / each * 1e-12
        );
    }
}
