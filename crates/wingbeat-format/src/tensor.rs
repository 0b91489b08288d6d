//! A named tensor, and the description of one that is to be written.
//!
//! What readers hand out and writers take; the meaning of names and shapes is the model crate's business.

use crate::bytes::Bytes;
use crate::error::FormatError;
use crate::quant::DType;

/// A tensor as it lies in a file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The name in the file.
    pub name: String,
    /// The storage type.
    pub dtype: DType,
    /// Outermost dimension first, row-major: the last one is contiguous. GGUF's own order is the reverse.
    /// Empty for a scalar.
    pub shape: Vec<usize>,
    /// The stored rows, one after the other, of exactly the length that dtype and shape demand; at any
    /// alignment.
    pub data: Bytes,
}

impl Tensor {
    /// How many values the tensor has.
    pub fn n_elements(&self) -> usize {
        // The readers have checked the product; a shape changed by hand saturates instead of wrapping.
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// Values in one row: the last dimension, 1 for a scalar.
    pub fn n_cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// All values as f32, in row-major order. I32, I64 and F64 are rounded to the nearest f32.
    pub fn to_f32(&self) -> Vec<f32> {
        // Rows are whole blocks, so that the tensor may be decoded as one long row. The count comes from the
        // data, not from the shape: public fields may have been changed since the reader checked them.
        let n_blocks = self.data.len() / self.dtype.block_bytes();
        let mut out = vec![0.0; n_blocks.saturating_mul(self.dtype.block_len())];
        self.dtype.decode_row(&self.data[..n_blocks * self.dtype.block_bytes()], &mut out);
        out
    }

    /// The description under which a writer would store this tensor.
    pub fn spec(&self) -> TensorSpec {
        TensorSpec { name: self.name.clone(), dtype: self.dtype, shape: self.shape.clone() }
    }
}

/// What a writer must know of a tensor before its bytes come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    /// The name in the file.
    pub name: String,
    /// The storage type.
    pub dtype: DType,
    /// Outermost dimension first, as in [`Tensor::shape`].
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Bytes that the tensor's data take, or `None` where rows are no whole blocks or the count overflows.
    pub fn n_bytes(&self) -> Option<usize> {
        n_bytes(self.dtype, &self.shape)
    }
}

/// Bytes of a tensor of `shape` (outermost first) in `dtype`; `None` on overflow or a row of broken blocks.
pub(crate) fn n_bytes(dtype: DType, shape: &[usize]) -> Option<usize> {
    let (&cols, outer) = shape.split_last().unwrap_or((&1, &[]));
    // A dimension of zero makes the tensor empty, whatever the others multiply to.
    if shape.contains(&0) {
        return dtype.row_bytes(cols).map(|_| 0);
    }
    let n_rows = outer.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    let n_bytes = dtype.row_bytes(cols)?.checked_mul(n_rows)?;
    // The count of values must fit as well: a block type has more values than bytes.
    cols.checked_mul(n_rows)?;
    Some(n_bytes)
}

/// Why `n_bytes` refused, as an error for `file`.
pub(crate) fn bad_shape(file: &str, name: &str, dtype: DType, shape: &[usize]) -> FormatError {
    let cols = shape.last().copied().unwrap_or(1);
    let item = format!("tensor {name:?}");
    if !cols.is_multiple_of(dtype.block_len()) {
        let expected = format!("rows of a multiple of {} values for {}", dtype.block_len(), dtype.name());
        return FormatError::malformed(file, item, expected, format!("{cols} (shape {shape:?})"));
    }
    FormatError::malformed(file, item, "a size that fits the address space", format!("shape {shape:?}"))
}
