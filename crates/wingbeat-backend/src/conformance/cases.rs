//! Random operands, odd shapes, comparison.

use crate::{Backend, Batch, MatrixSource, Orientation, StateLayout, reference::Reference};
use half::f16;
use wingbeat_format::{Bytes, DType};

/// Pseudo-random numbers, the same everywhere (SplitMix64: Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `low..high`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.bits() >> 40) as f32 / (1u64 << 24) as f32)
    }

    /// Roughly normal, variance 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform(-0.5, 0.5)).sum()
    }

    /// `n` roughly normal values.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// `n` uniform values.
    pub fn uniforms(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| self.uniform(low, high)).collect()
    }
}

/// A random matrix of a type: encoded where the type has an encoder, else random blocks with scales of a sane size.
pub fn random_matrix(
    random: &mut Random,
    dtype: DType,
    rows: usize,
    cols: usize,
    orientation: Orientation,
) -> MatrixSource {
    let (stored_rows, stored_cols) = match orientation {
        Orientation::RowMajor => (rows, cols),
        Orientation::Transposed => (cols, rows),
    };
    let mut data = Vec::new();
    for _ in 0..stored_rows {
        let row = random.normals(stored_cols);
        if dtype.encode_row(&row, &mut data).is_ok() {
            continue;
        }
        for _ in 0..stored_cols / dtype.block_len() {
            let mut block: Vec<u8> = (0..dtype.block_bytes()).map(|_| random.bits() as u8).collect();
            for &at in dtype.scale_offsets() {
                let scale = f16::from_f32(random.uniform(0.001, 0.02)).to_le_bytes();
                block[at..at + 2].copy_from_slice(&scale);
            }
            data.extend(block);
        }
    }
    // One byte of padding in front: nothing may rely on alignment.
    let len = data.len();
    data.insert(0, 0);
    let data = Bytes::from_vec(data).slice(1..len + 1).expect("the slice is inside");
    MatrixSource {
        name: format!("random {} {rows}x{cols}", dtype.name()),
        dtype,
        rows,
        cols,
        orientation,
        sparse_input: false,
        data,
    }
}

/// A backend under test beside the reference, over the same batch.
pub struct Case<'b, B: Backend> {
    /// The backend under test.
    pub backend: &'b B,
    /// Operands come from here.
    pub random: Random,
    /// Describes the case when it fails.
    pub label: String,
}

impl<'b, B: Backend> Case<'b, B> {
    /// A case with a seed of its own.
    pub fn new(backend: &'b B, seed: u64, label: String) -> Self {
        Case {
            backend,
            random: Random::new(seed),
            label: format!("{label}, seed {seed}, {}", backend.describe()),
        }
    }

    /// A batch of sequences of these lengths.
    pub fn batch(&mut self, lengths: &[usize], vocab: u32) -> Batch {
        let mut batch = Batch::new();
        for &n in lengths {
            let tokens: Vec<u32> = (0..n).map(|_| (self.random.bits() % u64::from(vocab)) as u32).collect();
            batch.push(&tokens);
        }
        batch
    }

    /// The same values as a buffer of both.
    ///
    /// There is no way to write a buffer through the trait, as no engine needs one: the values go through an
    /// embedding table of exact f32, one row a token.
    pub fn buffers(
        &self,
        rows: usize,
        width: usize,
        values: &[f32],
    ) -> (B::Buffer, <Reference as Backend>::Buffer) {
        assert_eq!(values.len(), rows * width);
        (load(self.backend, rows, width, values), load(&Reference, rows, width, values))
    }

    /// The same vector on both.
    pub fn vectors(&self, values: &[f32]) -> (B::Vector, Vec<f32>) {
        (self.backend.vector(values).expect("room for a vector"), values.to_vec())
    }

    /// The same state on both, random.
    pub fn states(
        &mut self,
        layout: &StateLayout,
        n: usize,
    ) -> (Vec<B::State>, Vec<<Reference as Backend>::State>) {
        let mut pair = (Vec::new(), Vec::new());
        for _ in 0..n {
            let mut a = self.backend.state(layout).expect("room for a state");
            let mut b = Reference.state(layout).expect("room for a state");
            for (i, slab) in layout.slabs.iter().enumerate() {
                let values = self.random.normals(slab.len());
                self.backend.write_slab(&mut a, i, &values).expect("the layout's length");
                Reference.write_slab(&mut b, i, &values).expect("the layout's length");
            }
            pair.0.push(a);
            pair.1.push(b);
        }
        pair
    }

    /// Reads both buffers and compares them, relative to the largest value of each row.
    pub fn compare(
        &self,
        what: &str,
        actual: &B::Buffer,
        expected: &<Reference as Backend>::Buffer,
        rows: usize,
        width: usize,
        relative: f64,
    ) {
        let (mut a, mut e) = (vec![0.0; rows * width], vec![0.0; rows * width]);
        self.backend.read(actual, 0, &mut a).expect("a readable buffer");
        Reference.read(expected, 0, &mut e).expect("a readable buffer");
        for (t, (a, e)) in a.chunks_exact(width).zip(e.chunks_exact(width)).enumerate() {
            let largest = e.iter().fold(0.0f64, |m, e| m.max(f64::from(*e).abs()));
            self.compare_row(&format!("{what} row {t}"), a, e, |_| relative * largest + 1e-30);
        }
    }

    /// Compares one row, with a limit for each index; prints the worst.
    pub fn compare_row(&self, what: &str, actual: &[f32], expected: &[f32], limit: impl Fn(usize) -> f64) {
        assert_eq!(actual.len(), expected.len(), "{}: {what}", self.label);
        let excess = |i: usize| {
            let difference = (f64::from(actual[i]) - f64::from(expected[i])).abs();
            if difference.is_nan() { f64::INFINITY } else { difference / limit(i) }
        };
        let Some(worst) = (0..actual.len()).max_by(|&i, &j| excess(i).total_cmp(&excess(j))) else { return };
        assert!(
            excess(worst) <= 1.0,
            "{}: {what}: worst at index {worst}: expected {}, actual {}, difference {:.3e}, limit {:.3e}",
            self.label,
            expected[worst],
            actual[worst],
            (f64::from(actual[worst]) - f64::from(expected[worst])).abs(),
            limit(worst),
        );
    }

    /// Compares all slabs of states.
    pub fn compare_states(
        &self,
        layout: &StateLayout,
        actual: &[B::State],
        expected: &[<Reference as Backend>::State],
        relative: f64,
    ) {
        for (s, (a, e)) in actual.iter().zip(expected).enumerate() {
            for (i, slab) in layout.slabs.iter().enumerate() {
                let a = self.backend.read_slab(a, i).expect("a readable slab");
                let e = Reference.read_slab(e, i).expect("a readable slab");
                let largest = e.iter().fold(0.0f64, |m, e| m.max(f64::from(*e).abs()));
                self.compare_row(&format!("slab {} of state {s}", slab.name), &a, &e, |_| {
                    relative * largest + 1e-30
                });
            }
        }
    }
}

/// A buffer with these values, by way of an embedding table.
fn load<B: Backend>(backend: &B, rows: usize, width: usize, values: &[f32]) -> B::Buffer {
    let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let source = MatrixSource {
        name: "values".to_owned(),
        dtype: DType::F32,
        rows,
        cols: width,
        orientation: Orientation::RowMajor,
        sparse_input: false,
        data: Bytes::from_vec(data),
    };
    let table = backend.matrix(&source).expect("an f32 matrix");
    let mut batch = Batch::new();
    batch.push(&(0..rows as u32).collect::<Vec<_>>());
    let layout = StateLayout { slabs: Vec::new() };
    let mut state = backend.state(&layout).expect("an empty state");
    let mut buffer = backend.buffer(rows, width).expect("room for a buffer");
    let mut pass = backend.begin(&batch, [&mut state].into_iter().collect()).expect("a pass");
    crate::Pass::embed(&mut pass, &table, &mut buffer);
    crate::Pass::submit(pass).expect("a pass");
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_fails_where_it_should() {
        let case = Case::new(&Reference, 1, "self-test".to_owned());
        case.compare_row("equal", &[1.0, 2.0], &[1.0, 2.0], |_| 1e-6);
        for bad in [2.1, f32::NAN, f32::INFINITY] {
            let run =
                std::panic::AssertUnwindSafe(|| case.compare_row("off", &[1.0, bad], &[1.0, 2.0], |_| 1e-3));
            let message = *std::panic::catch_unwind(run).unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains("index 1") && message.contains("expected 2"), "{message}");
        }
    }
}
