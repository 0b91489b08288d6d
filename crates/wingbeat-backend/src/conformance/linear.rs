//! Embedding and products.

use super::{Case, Random, random_matrix};
use crate::{
    Activation, Backend, Batch, Linear, MatrixSource, Orientation, Pass, StateLayout,
    reference::Reference,
    tolerance::{ACTIVATION_ABS, ELEMENTWISE_REL, product},
};
use wingbeat_format::DType;

/// The types of weights: every one but the integers and doubles that only files of results hold.
fn types() -> impl Iterator<Item = DType> {
    DType::all().filter(|dtype| !matches!(dtype, DType::I32 | DType::I64 | DType::F64))
}

/// [`Pass::embed`]: rows of a table of every type.
pub fn embed<B: Backend>(backend: &B) {
    for (seed, dtype) in types().enumerate() {
        for (vocab, width) in [(37, 256), (5, 768)] {
            let label = format!("embed {} V={vocab} C={width}", dtype.name());
            let mut case = Case::new(backend, seed as u64, label);
            let source = random_matrix(&mut case.random, dtype, vocab, width, Orientation::RowMajor);
            let batch = case.batch(&[1, 7, 3], vocab as u32);
            let run = Embed { source: &source, batch: &batch, width };
            let (a, e) = (run.on(backend), run.on(&Reference));
            case.compare("x", &a, &e, batch.n_rows(), width, ELEMENTWISE_REL);
        }
    }
}

struct Embed<'a> {
    source: &'a MatrixSource,
    batch: &'a Batch,
    width: usize,
}

impl Embed<'_> {
    fn on<B: Backend>(&self, backend: &B) -> B::Buffer {
        let table = backend.matrix(self.source).expect("a matrix");
        let mut x = backend.buffer(self.batch.n_rows(), self.width).expect("a buffer");
        with_pass(backend, self.batch, |pass| pass.embed(&table, &mut x));
        x
    }
}

/// Runs operations that need no state.
fn with_pass<B: Backend>(backend: &B, batch: &Batch, run: impl FnOnce(&mut B::Pass<'_>)) {
    let layout = StateLayout { slabs: Vec::new() };
    let mut states: Vec<B::State> =
        batch.sequences().iter().map(|_| backend.state(&layout).expect("an empty state")).collect();
    let mut pass = backend.begin(batch, states.iter_mut().collect()).expect("a pass");
    run(&mut pass);
    pass.submit().expect("a pass");
}

/// [`Pass::linear`]: every type and orientation, every activation, groups of unequal jobs, one row and many.
pub fn linear<B: Backend>(backend: &B) {
    let mut seed = 0;
    for n_tokens in [1, 2, 3, 5, 31, 33] {
        for dtype in types() {
            let step = dtype.block_len();
            for (rows, cols) in
                [(1, step.max(3)), (67, step.max(160)), (130, 2 * step.max(96)), (33, 3 * step)]
            {
                check(backend, seed, n_tokens, &[(dtype, rows, cols, Orientation::RowMajor)]);
                seed += 1;
            }
        }
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for (rows, cols) in [(1, 5), (96, 64), (37, 31), (8, 131)] {
                check(backend, seed, n_tokens, &[(dtype, rows, cols, Orientation::Transposed)]);
                seed += 1;
            }
        }
        check(
            backend,
            seed,
            n_tokens,
            &[
                (DType::Q8_0, 64, 64, Orientation::RowMajor),
                (DType::F16, 12, 128, Orientation::Transposed),
                (DType::Q6K, 512, 256, Orientation::RowMajor),
                (DType::F32, 3, 7, Orientation::RowMajor),
            ],
        );
        seed += 1;
        // Longer than what a kernel stages at once.
        check(
            backend,
            seed,
            n_tokens,
            &[
                (DType::Q4K, 20, 8448, Orientation::RowMajor),
                (DType::Q8_0, 9, 8224, Orientation::RowMajor),
                (DType::F16, 12, 2088, Orientation::RowMajor),
            ],
        );
        seed += 1;
    }
}

/// [`Pass::linear`] of a matrix whose input is mostly zero: every type, few rows and many, with a tenth of the values,
/// with none, and with all.
pub fn linear_sparse<B: Backend>(backend: &B) {
    let mut seed = 0;
    for n_tokens in [1, 2, 3, 4, 5, 33] {
        for dtype in types() {
            let step = dtype.block_len();
            let shapes = [(1, step.max(3)), (300, 9 * step.max(32)), (67, 512)];
            for ((rows, cols), (tenths, kinds)) in
                shapes.into_iter().flat_map(|shape| [(1, 0..7), (0, 1..2), (10, 1..2)].map(|x| (shape, x)))
            {
                let job = (dtype, rows, cols, Orientation::RowMajor);
                for kind in if rows == 1 { kinds } else { 1..2 } {
                    check_sparse(backend, seed, n_tokens, job, tenths, kind);
                }
                seed += 1;
            }
        }
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            check_sparse(backend, seed, n_tokens, (dtype, 37, 291, Orientation::Transposed), 1, 1);
            seed += 1;
        }
    }
}

/// One product in which so many tenths of `x` are not zero.
fn check_sparse<B: Backend>(
    backend: &B,
    seed: u64,
    n_tokens: usize,
    job: (DType, usize, usize, Orientation),
    tenths: u64,
    kind: usize,
) {
    let label = format!("linear_sparse T={n_tokens} job={job:?} {tenths} tenths activation {kind}");
    let mut case = Case::new(backend, seed, label);
    let batch = case.batch(&[n_tokens], 2);
    let mut operands = Operands::random(&mut case.random, n_tokens, job);
    operands.source.sparse_input = true;
    for x in &mut operands.x {
        *x = if case.random.bits() % 10 < tenths { case.random.normal() } else { 0.0 };
    }
    check_operands(&case, &batch, &[operands], kind);
}

/// One `linear` call of some jobs, under each activation.
fn check<B: Backend>(backend: &B, seed: u64, n_tokens: usize, jobs: &[(DType, usize, usize, Orientation)]) {
    // The activations that only older versions have, now and then: they are what is done last, whatever the kernel.
    let n_kinds = if seed.is_multiple_of(4) { 9 } else { 7 };
    for kind in 0..n_kinds {
        let label = format!("linear T={n_tokens} jobs={jobs:?} activation {kind}");
        let mut case = Case::new(backend, seed, label);
        let batch = case.batch(&[n_tokens], 2);
        let operands: Vec<Operands> =
            jobs.iter().map(|&job| Operands::random(&mut case.random, n_tokens, job)).collect();
        check_operands(&case, &batch, &operands, kind);
    }
}

/// Compares the products with the reference's.
fn check_operands<B: Backend>(case: &Case<'_, B>, batch: &Batch, operands: &[Operands], kind: usize) {
    let (backend, n_tokens) = (case.backend, batch.n_rows());
    let actual = run(backend, batch, operands, kind);
    let expected = run(&Reference, batch, operands, kind);
    for (i, job) in operands.iter().enumerate() {
        let weight = backend.matrix(&job.source).expect("a matrix");
        let precision = backend.activation_precision(&weight, n_tokens);
        let exact = Reference.matrix(&job.source).expect("a matrix").values();
        let (rows, cols) = (job.source.rows, job.source.cols);
        let read = |out: &mut [f32]| backend.read(&actual[i], 0, out).expect("a readable buffer");
        let mut a = vec![0.0; n_tokens * rows];
        read(&mut a);
        let mut e = vec![0.0; n_tokens * rows];
        Reference.read(&expected[i], 0, &mut e).expect("a readable buffer");
        for t in 0..n_tokens {
            let x: Vec<f64> = job.x[t * cols..][..cols].iter().map(|&x| f64::from(x)).collect();
            let limit = |row: usize| {
                let z = product(&exact[row * cols..][..cols], &x, precision);
                let slope = match kind {
                    // relu² has slope 2√y.
                    4 => 2.0 * f64::from(e[t * rows + row]).sqrt() + z,
                    // z σ(z) has slope 1.1 at most.
                    7 => 1.1,
                    _ => 1.0,
                };
                z * slope
                    + if kind == 0 {
                        0.0
                    } else {
                        ACTIVATION_ABS * (1.0 + f64::from(e[t * rows + row]).abs())
                    }
            };
            case.compare_row(
                &format!("job {i} row {t}"),
                &a[t * rows..][..rows],
                &e[t * rows..][..rows],
                limit,
            );
        }
    }
}

/// Operands of one job.
struct Operands {
    source: MatrixSource,
    x: Vec<f32>,
    y: Vec<f32>,
    bias: Vec<f32>,
}

impl Operands {
    fn random(random: &mut Random, n_tokens: usize, job: (DType, usize, usize, Orientation)) -> Operands {
        let (dtype, rows, cols, orientation) = job;
        let scale = 1.0 / (cols as f32).sqrt();
        // A third of the values are exact zeros, one a thousand times larger than the rest.
        let mut x: Vec<f32> = random.normals(n_tokens * cols).into_iter().map(|x| x * scale).collect();
        x.iter_mut().step_by(3).for_each(|x| *x = 0.0);
        x[0] = 10.0;
        Operands {
            source: random_matrix(random, dtype, rows, cols, orientation),
            x,
            y: random.normals(n_tokens * rows),
            bias: random.normals(rows),
        }
    }
}

fn run<B: Backend>(backend: &B, batch: &Batch, operands: &[Operands], kind: usize) -> Vec<B::Buffer> {
    let case = Case::new(backend, 0, String::new());
    let n_tokens = batch.n_rows();
    let weights: Vec<B::Matrix> =
        operands.iter().map(|job| backend.matrix(&job.source).expect("a matrix")).collect();
    let biases: Vec<B::Vector> = operands.iter().map(|job| case.vectors(&job.bias).0).collect();
    let xs: Vec<B::Buffer> =
        operands.iter().map(|job| case.buffers(n_tokens, job.source.cols, &job.x).0).collect();
    let mut ys: Vec<B::Buffer> =
        operands.iter().map(|job| case.buffers(n_tokens, job.source.rows, &job.y).0).collect();
    let mut jobs: Vec<Linear<'_, B>> = Vec::new();
    for (((weight, x), y), bias) in weights.iter().zip(&xs).zip(&mut ys).zip(&biases) {
        let activation = match kind {
            0 => Activation::None,
            1 => Activation::Add,
            2 => Activation::Tanh,
            3 => Activation::Sigmoid,
            4 => Activation::ReluSquared,
            5 => Activation::BiasSigmoid(bias),
            6 => Activation::BiasDecay(bias),
            7 => Activation::Silu,
            _ => Activation::BiasExpDecay(bias),
        };
        jobs.push(Linear { sparse_x: kind == 1, ..Linear::new(weight, x, y, activation) });
    }
    with_pass(backend, batch, |pass| pass.linear(&mut jobs));
    drop(jobs);
    ys
}
