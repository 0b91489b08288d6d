//! How fast matrices are packed for the device, on one thread and without one: what opening a model costs the host
//! beyond copying. Bytes are the file's.
//!
//!     cargo bench -p wingbeat-gpu
//!
//! A matrix is larger than a second-level cache, as those of a model are.

use divan::{Bencher, counter::BytesCount};
use wingbeat_backend::{
    MatrixSource, Orientation,
    conformance::{Random, random_matrix},
};
use wingbeat_format::DType;
use wingbeat_gpu::HostMatrix;

fn main() {
    divan::main();
}

/// The types that there are layouts for.
const TYPES: [&str; 13] =
    ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "Q3_K", "Q2_K"];

/// The value matrix of a channel mix of the 1.5 B model.
const ROWS: usize = 2048;
const COLS: usize = 8192;

fn pack(bencher: Bencher<'_, '_>, dtype: &str, orientation: Orientation, by_input: bool) {
    let dtype = DType::parse(dtype).expect("a type");
    // A row again and again: making random ones takes longer than packing them.
    let (rows, cols) = if orientation == Orientation::RowMajor { (ROWS, COLS) } else { (COLS, ROWS) };
    let row = random_matrix(&mut Random::new(1), dtype, 1, cols, Orientation::RowMajor);
    let data = wingbeat_format::Bytes::from_vec(row.data.repeat(rows));
    let source = MatrixSource { rows: ROWS, cols: COLS, orientation, data, ..row };
    let mut matrix = HostMatrix::new(&source, by_input).expect("a sound matrix").expect("a type of weights");
    bencher.counter(BytesCount::new(source.data.len())).bench_local(|| matrix.pack().len());
}

#[divan::bench(args = TYPES, sample_count = 20)]
fn rows(bencher: Bencher<'_, '_>, dtype: &str) {
    pack(bencher, dtype, Orientation::RowMajor, false);
}

#[divan::bench(args = TYPES, sample_count = 20)]
fn by_input(bencher: Bencher<'_, '_>, dtype: &str) {
    pack(bencher, dtype, Orientation::RowMajor, true);
}

/// Low-rank matrices of checkpoints lie transposed.
#[divan::bench(args = ["F32", "F16", "BF16"], sample_count = 20)]
fn transposed(bencher: Bencher<'_, '_>, dtype: &str) {
    pack(bencher, dtype, Orientation::Transposed, false);
}
