//! Where a weight matrix comes from.

use crate::BackendError;
use wingbeat_format::{Bytes, DType};

/// How a matrix `W (rows, cols)` lies in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// Row after row: what a product `W x` reads in order.
    RowMajor,
    /// Column after column, that is `Wᵀ (cols, rows)` row after row: how official checkpoints keep their low-rank
    /// matrices, which they apply from the right (`x @ w1`).
    Transposed,
}

/// A weight matrix as a file holds it.
#[derive(Clone, Debug)]
pub struct MatrixSource {
    /// Tensor name, for messages.
    pub name: String,
    /// Stored type.
    pub dtype: DType,
    /// Outputs of `W x`.
    pub rows: usize,
    /// Inputs of `W x`.
    pub cols: usize,
    /// How the bytes lie.
    pub orientation: Orientation,
    /// Most of what it is multiplied with is expected to be exactly zero (see [`Linear::sparse_x`](crate::Linear)): a device
    /// may keep it so that the weights of one input lie together. The results are the same either way.
    pub sparse_input: bool,
    /// The bytes, in place.
    pub data: Bytes,
}

impl MatrixSource {
    /// Length of a stored row: `cols` values, or `rows` when transposed.
    pub fn stored_cols(&self) -> usize {
        match self.orientation {
            Orientation::RowMajor => self.cols,
            Orientation::Transposed => self.rows,
        }
    }

    /// Bytes of a stored row, after checking that the bytes have the length that shape and type ask for.
    ///
    /// # Errors
    /// [`BackendError::MatrixBytes`] when they don't.
    pub fn checked_row_bytes(&self) -> Result<usize, BackendError> {
        let stored_rows = self.rows * self.cols / self.stored_cols().max(1);
        let row_bytes = self.dtype.row_bytes(self.stored_cols());
        let expected = row_bytes.and_then(|b| b.checked_mul(stored_rows));
        match (row_bytes, expected) {
            (Some(row_bytes), Some(expected)) if expected == self.data.len() => Ok(row_bytes),
            _ => Err(BackendError::MatrixBytes {
                tensor: self.name.clone(),
                rows: self.rows,
                cols: self.cols,
                dtype: self.dtype.name(),
                expected_bytes: expected.unwrap_or(0),
                found_bytes: self.data.len(),
            }),
        }
    }
}
