//! How fast the kernels are, through the backend's own operations: products of every type that has a kernel with one
//! row of activations (bytes are the weights', streamed from memory or from the second-level cache) and with many
//! (items are multiplications and additions), the recurrence, and what is small beside them.
//!
//!     cargo bench -p wingbeat-cpu
//!     WINGBEAT_BENCH_LEVEL=avx2 cargo bench -p wingbeat-cpu -- matvec
//!
//! An operation's fixed costs, such as waking the threads, are in the numbers, as they are in a model's.

use divan::{
    Bencher,
    counter::{BytesCount, ItemsCount},
};
use std::sync::LazyLock;
use wingbeat_backend::{
    Activation, Backend, Batch, LayerNorm, Linear, MatrixSource, Orientation, Pass, SlabAt, SlabKind,
    SlabSpec, StateLayout, Wkv7,
    conformance::{Case, Random, random_matrix},
};
use wingbeat_cpu::{Buffer, CpuBackend, CpuOptions, CpuPass, Level, State};
use wingbeat_format::{Bytes, DType};

fn main() {
    println!("{}; {}", ONE_THREAD.describe(), ALL_THREADS.describe());
    divan::main();
}

static ONE_THREAD: LazyLock<CpuBackend> = LazyLock::new(|| backend(Some(1)));
static ALL_THREADS: LazyLock<CpuBackend> = LazyLock::new(|| backend(None));

fn backend(threads: Option<usize>) -> CpuBackend {
    let level = std::env::var("WINGBEAT_BENCH_LEVEL").ok().map(|name| {
        Level::parse(&name)
            .filter(|level| level.is_available())
            .unwrap_or_else(|| panic!("no level {name} here"))
    });
    CpuBackend::new(CpuOptions { threads, level, exact: false }).expect("threads")
}

/// The types that have kernels of their own.
const TYPES: [&str; 13] =
    ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "Q3_K", "Q2_K"];

/// A backend with a batch of one sequence.
struct Bench {
    backend: &'static CpuBackend,
    batch: Batch,
    state: State,
}

impl Bench {
    fn new(backend: &'static CpuBackend, n_tokens: usize) -> Bench {
        Bench::with_state(backend, n_tokens, &StateLayout { slabs: Vec::new() })
    }

    fn with_state(backend: &'static CpuBackend, n_tokens: usize, layout: &StateLayout) -> Bench {
        let mut batch = Batch::new();
        batch.push(&vec![0; n_tokens]);
        Bench { backend, batch, state: backend.state(layout).expect("room for a state") }
    }

    fn pass(&mut self, run: impl FnOnce(&mut CpuPass<'_>)) {
        let mut pass =
            self.backend.begin(&self.batch, [&mut self.state].into_iter().collect()).expect("a pass");
        run(&mut pass);
        pass.submit().expect("a pass");
    }

    /// A buffer of the batch's rows with these values.
    fn buffer(&self, width: usize, values: &[f32]) -> Buffer {
        Case::new(self.backend, 0, String::new()).buffers(self.batch.n_rows(), width, values).0
    }

    fn normals(&self, width: usize) -> Buffer {
        self.buffer(width, &Random::new(1).normals(self.batch.n_rows() * width))
    }

    fn zeros(&self, width: usize) -> Buffer {
        self.backend.buffer(self.batch.n_rows(), width).expect("room for a buffer")
    }
}

/// A matrix of about so many bytes: a few random rows, over and over.
fn matrix(name: &str, cols: usize, bytes: usize) -> MatrixSource {
    let dtype = DType::parse(name).expect("a type's name");
    let row_bytes = dtype.row_bytes(cols).expect("whole blocks");
    let rows = bytes / row_bytes;
    let some = random_matrix(&mut Random::new(2), dtype, rows.min(16), cols, Orientation::RowMajor);
    let mut data = Vec::with_capacity(rows * row_bytes);
    while data.len() < rows * row_bytes {
        let n = some.data.len().min(rows * row_bytes - data.len());
        data.extend_from_slice(&some.data[..n]);
    }
    MatrixSource { rows, data: Bytes::from_vec(data), ..some }
}

/// One row of activations, `n` times one after the other.
fn matvec(bencher: Bencher<'_, '_>, backend: &'static CpuBackend, source: &MatrixSource, n: usize) {
    let mut bench = Bench::new(backend, 1);
    let weight = backend.matrix(source).expect("a matrix");
    let x = bench.normals(source.cols);
    let mut ys: Vec<Buffer> = (0..n).map(|_| bench.zeros(source.rows)).collect();
    bencher.counter(BytesCount::new(n * source.data.len())).bench_local(|| {
        bench.pass(|pass| {
            let mut jobs: Vec<Linear<'_, CpuBackend>> =
                ys.iter_mut().map(|y| Linear::new(&weight, &x, y, Activation::None)).collect();
            pass.linear(&mut jobs);
        });
    });
}

/// Weights from memory: what generation of one sequence is made of.
mod matvec_256_mib {
    use super::*;
    const BYTES: usize = 256 << 20;

    #[divan::bench(args = TYPES, sample_count = 20)]
    fn one_thread(bencher: Bencher<'_, '_>, dtype: &str) {
        matvec(bencher, &ONE_THREAD, &matrix(dtype, 4096, BYTES), 1);
    }

    #[divan::bench(args = TYPES, sample_count = 20)]
    fn all_threads(bencher: Bencher<'_, '_>, dtype: &str) {
        matvec(bencher, &ALL_THREADS, &matrix(dtype, 4096, BYTES), 1);
    }
}

/// Weights from the second-level cache: what the kernels could do if memory were no limit.
#[divan::bench(args = TYPES)]
fn matvec_512_kib(bencher: Bencher<'_, '_>, dtype: &str) {
    matvec(bencher, &ONE_THREAD, &matrix(dtype, 1024, 512 << 10), 16);
}

/// Many rows of activations: what prompts and batches are made of. Two operations an item of weight and row.
mod panel {
    use super::*;
    const ROWS: [usize; 3] = [4, 32, 128];
    const C: usize = 2048;

    fn product(bencher: Bencher<'_, '_>, dtype: &str, n_tokens: usize) {
        let mut bench = Bench::new(&ONE_THREAD, n_tokens);
        let bytes = DType::parse(dtype).and_then(|t| t.row_bytes(C)).expect("a type with whole blocks") * C;
        let weight = ONE_THREAD.matrix(&matrix(dtype, C, bytes)).expect("a matrix");
        let (x, mut y) = (bench.normals(C), bench.zeros(C));
        bencher.counter(ItemsCount::new(2 * n_tokens * C * C)).bench_local(|| {
            bench.pass(|pass| pass.linear(&mut [Linear::new(&weight, &x, &mut y, Activation::None)]));
        });
    }

    #[divan::bench(args = ROWS, sample_count = 20)]
    fn f16(bencher: Bencher<'_, '_>, n_tokens: usize) {
        product(bencher, "F16", n_tokens);
    }

    #[divan::bench(args = ROWS, sample_count = 20)]
    fn q8_0(bencher: Bencher<'_, '_>, n_tokens: usize) {
        product(bencher, "Q8_0", n_tokens);
    }

    #[divan::bench(args = ROWS, sample_count = 20)]
    fn q4_k(bencher: Bencher<'_, '_>, n_tokens: usize) {
        product(bencher, "Q4_K", n_tokens);
    }
}

/// The recurrence of a layer of the 1.5 B model: 32 heads of 64. Items are tokens.
mod wkv7 {
    use super::*;
    const HEADS: usize = 32;
    const N: usize = 64;

    fn run(bencher: Bencher<'_, '_>, backend: &'static CpuBackend, n_tokens: usize) {
        let shape = vec![1, HEADS, N, N];
        let layout =
            StateLayout { slabs: vec![SlabSpec { name: "wkv", shape, kind: SlabKind::HeadMatrices }] };
        let mut bench = Bench::with_state(backend, n_tokens, &layout);
        let n = n_tokens * HEADS * N;
        let mut random = Random::new(3);
        let mut kk = random.normals(n);
        for head in kk.chunks_exact_mut(N) {
            let norm = head.iter().map(|x| x * x).sum::<f32>().sqrt();
            head.iter_mut().for_each(|x| *x /= norm);
        }
        let mut uniform = |low, high| bench.buffer(HEADS * N, &random.uniforms(n, low, high));
        let (w, a) = (uniform(0.54, 1.0), uniform(0.0, 1.0));
        let (r, k, v) = (uniform(-1.0, 1.0), uniform(-1.0, 1.0), uniform(-1.0, 1.0));
        let (kk, mut y) = (bench.buffer(HEADS * N, &kk), bench.zeros(HEADS * N));
        let state = SlabAt { slab: 0, layer: 0 };
        bencher.counter(ItemsCount::new(n_tokens)).bench_local(|| {
            bench.pass(|pass| {
                let (r, w, k, v, kk, a, y) = (&r, &w, &k, &v, &kk, &a, &mut y);
                pass.wkv7(Wkv7 { r, w, k, v, kk, a, y, state, head_size: N });
            });
        });
    }

    #[divan::bench(args = [1, 512])]
    fn one_thread(bencher: Bencher<'_, '_>, n_tokens: usize) {
        run(bencher, &ONE_THREAD, n_tokens);
    }

    #[divan::bench(args = [1, 512])]
    fn all_threads(bencher: Bencher<'_, '_>, n_tokens: usize) {
        run(bencher, &ALL_THREADS, n_tokens);
    }
}

/// Quantizing a row of activations, as a product with one row of weights: it is most of that. Bytes are the
/// activations'.
#[divan::bench]
fn quantize_4096(bencher: Bencher<'_, '_>) {
    let mut bench = Bench::new(&ONE_THREAD, 1);
    let source = matrix("Q8_0", 4096, 4096 / 32 * 34);
    let weight = ONE_THREAD.matrix(&source).expect("a matrix");
    let (x, mut y) = (bench.normals(4096), bench.zeros(1));
    bencher.counter(BytesCount::of_many::<f32>(4096)).bench_local(|| {
        bench.pass(|pass| pass.linear(&mut [Linear::new(&weight, &x, &mut y, Activation::None)]));
    });
}

/// Layer norm of rows of 2048. Bytes are those read and written.
#[divan::bench(args = [1, 64])]
fn layer_norm_2048(bencher: Bencher<'_, '_>, n_tokens: usize) {
    const C: usize = 2048;
    let mut bench = Bench::new(&ONE_THREAD, n_tokens);
    let norm = LayerNorm { weight: vec![1.0; C], bias: vec![0.5; C], eps: 1e-5 };
    let (x, mut y) = (bench.normals(C), bench.zeros(C));
    bencher.counter(BytesCount::of_many::<f32>(2 * n_tokens * C)).bench_local(|| {
        bench.pass(|pass| pass.layer_norm(&x, &norm, &mut y));
    });
}
