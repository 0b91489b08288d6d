//! The reference backend: every operation as its equation, in plain loops, sums in f64.
//!
//! It is the yardstick of [`crate::conformance`] and of the golden-output tests, and it computes on every type
//! that the format crate can decode. It is slow on purpose: nothing here is arranged for a machine.

mod ops;

use crate::{
    Backend, BackendError, Batch, MatrixSource, Orientation, SlabView, StateLayout, States,
    tolerance::ActivationPrecision,
};

/// The reference device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// A matrix as the file holds it; rows are decoded when read.
#[derive(Debug)]
pub struct Matrix {
    source: MatrixSource,
    row_bytes: usize,
}

impl Matrix {
    /// All values of `W (rows, cols)` in f64, row-major whatever the stored orientation.
    pub fn values(&self) -> Vec<f64> {
        let MatrixSource { dtype, rows, cols, orientation, ref data, .. } = self.source;
        let mut stored = vec![0f32; self.source.stored_cols()];
        let mut out = vec![0f64; rows * cols];
        for (i, bytes) in data.chunks_exact(self.row_bytes).enumerate() {
            dtype.decode_row(bytes, &mut stored);
            for (j, &value) in stored.iter().enumerate() {
                let at = match orientation {
                    Orientation::RowMajor => i * cols + j,
                    Orientation::Transposed => j * cols + i,
                };
                out[at] = f64::from(value);
            }
        }
        out
    }
}

/// Activations `(rows, width)`.
#[derive(Clone, Debug)]
pub struct Buffer {
    width: usize,
    values: Vec<f32>,
}

impl Buffer {
    fn row(&self, t: usize) -> &[f32] {
        &self.values[t * self.width..][..self.width]
    }

    fn row_mut(&mut self, t: usize) -> &mut [f32] {
        &mut self.values[t * self.width..][..self.width]
    }
}

/// A state, slab by slab in the layout's own shape.
#[derive(Clone, Debug)]
pub struct State {
    layout: StateLayout,
    slabs: Vec<Vec<f32>>,
}

/// A pass: operations run when called.
pub struct Pass<'a> {
    batch: &'a Batch,
    states: States<'a, State>,
    n_rows: usize,
}

impl Backend for Reference {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Buffer = Buffer;
    type State = State;
    type Pass<'a> = Pass<'a>;
    type Sampler = std::convert::Infallible;

    fn describe(&self) -> String {
        "reference (plain loops)".to_owned()
    }

    fn matrix(&self, source: &MatrixSource) -> Result<Matrix, BackendError> {
        let row_bytes = source.checked_row_bytes()?;
        Ok(Matrix { source: source.clone(), row_bytes })
    }

    fn vector(&self, values: &[f32]) -> Result<Vec<f32>, BackendError> {
        Ok(values.to_vec())
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer, BackendError> {
        Ok(Buffer { width, values: vec![0.0; rows * width] })
    }

    fn read(&self, buffer: &Buffer, first_row: usize, out: &mut [f32]) -> Result<(), BackendError> {
        out.copy_from_slice(&buffer.values[first_row * buffer.width..][..out.len()]);
        Ok(())
    }

    fn state(&self, layout: &StateLayout) -> Result<State, BackendError> {
        let slabs = layout.slabs.iter().map(|s| vec![s.kind.initial(); s.len()]).collect();
        Ok(State { layout: layout.clone(), slabs })
    }

    fn fork_state(&self, state: &State) -> Result<State, BackendError> {
        Ok(state.clone())
    }

    fn read_slab(&self, state: &State, slab: usize) -> Result<Vec<f32>, BackendError> {
        Ok(state.slabs[slab].clone())
    }

    fn write_slab(&self, state: &mut State, slab: usize, values: &[f32]) -> Result<(), BackendError> {
        let spec = &state.layout.slabs[slab];
        if values.len() != spec.len() {
            return Err(BackendError::SlabSize {
                slab: spec.name.to_owned(),
                expected: spec.len(),
                found: values.len(),
            });
        }
        state.slabs[slab].copy_from_slice(values);
        Ok(())
    }

    fn view_slab<'a>(&self, state: &'a State, slab: usize) -> Option<SlabView<'a>> {
        Some(SlabView::row_major(&state.slabs[slab], &state.layout.slabs[slab].shape))
    }

    fn view_slab_mut<'a>(&self, state: &'a mut State, slab: usize) -> Option<&'a mut [f32]> {
        Some(&mut state.slabs[slab])
    }

    fn begin<'a>(&'a self, batch: &'a Batch, states: States<'a, State>) -> Result<Pass<'a>, BackendError> {
        assert_eq!(batch.sequences().len(), states.len(), "one state a sequence");
        Ok(Pass { batch, states, n_rows: batch.n_rows() })
    }

    fn activation_precision(&self, _: &Matrix, _: usize) -> ActivationPrecision {
        ActivationPrecision::Exact
    }
}
