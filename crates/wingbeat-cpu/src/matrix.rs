//! A weight matrix where it lies in the file, and the kernels for its type.

use crate::kernels::{Columns, Kernels, MatMany, MatVec};
use crate::sparse::SparseMatrix;
use std::sync::OnceLock;
use wingbeat_backend::{BackendError, MatrixSource, Orientation};
use wingbeat_format::DType;

/// A matrix in its stored type, in place.
pub struct Matrix {
    pub(crate) source: MatrixSource,
    pub(crate) row_bytes: usize,
    pub(crate) kind: Kind,
    /// The words that products of many rows of activations are made of.
    pub(crate) form: Form,
    /// A copy for inputs that are mostly zero, once such inputs have been seen.
    pub(crate) sparse: OnceLock<SparseMatrix>,
}

/// Words of neighbouring columns that the processor multiplies at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// One f32.
    F32,
    /// Four int8 values.
    Int8,
    /// Two int16 values.
    Int16,
}

impl Form {
    /// Bytes of a value.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Form::Int8 => 1,
            Form::Int16 => 2,
            Form::F32 => 4,
        }
    }
}

/// How products with a matrix are computed.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Stored floats times f32: one vector, a few.
    Float(unsafe fn(&mut MatVec<'_>), unsafe fn(&MatMany<'_>)),
    /// Quantized blocks times int8 blocks.
    Int8(unsafe fn(&mut MatVec<'_>)),
    /// Stored floats, transposed, times f32.
    Columns(unsafe fn(&mut Columns<'_>)),
    /// No kernel on the stored type: always panels of f32, for quantized types in the exact mode.
    Decoded,
}

impl Matrix {
    pub(crate) fn new(source: &MatrixSource, kernels: &Kernels, exact: bool) -> Result<Matrix, BackendError> {
        let row_bytes = source.checked_row_bytes()?;
        let kind = match (source.orientation, source.dtype) {
            (Orientation::RowMajor, DType::F32) => Kind::Float(kernels.matvec_f32, kernels.matmany_f32),
            (Orientation::RowMajor, DType::F16) => Kind::Float(kernels.matvec_f16, kernels.matmany_f16),
            (Orientation::RowMajor, DType::BF16) => Kind::Float(kernels.matvec_bf16, kernels.matmany_bf16),
            (Orientation::Transposed, DType::F32) => Kind::Columns(kernels.columns_f32),
            (Orientation::Transposed, DType::F16) => Kind::Columns(kernels.columns_f16),
            (Orientation::Transposed, DType::BF16) => Kind::Columns(kernels.columns_bf16),
            (Orientation::RowMajor, dtype) if dtype.is_quantized() && exact => Kind::Decoded,
            (Orientation::RowMajor, DType::Q8_0) => Kind::Int8(kernels.matvec_q8_0),
            (Orientation::RowMajor, DType::Q4_0) => Kind::Int8(kernels.matvec_q4_0),
            (Orientation::RowMajor, DType::Q4_1) => Kind::Int8(kernels.matvec_q4_1),
            (Orientation::RowMajor, DType::Q5_0) => Kind::Int8(kernels.matvec_q5_0),
            (Orientation::RowMajor, DType::Q5_1) => Kind::Int8(kernels.matvec_q5_1),
            (Orientation::RowMajor, DType::Q2K) => Kind::Int8(kernels.matvec_q2_k),
            (Orientation::RowMajor, DType::Q3K) => Kind::Int8(kernels.matvec_q3_k),
            (Orientation::RowMajor, DType::Q5K) => Kind::Int8(kernels.matvec_q5_k),
            (Orientation::RowMajor, DType::Q4K) => Kind::Int8(kernels.matvec_q4_k),
            (Orientation::RowMajor, DType::Q6K) => Kind::Int8(kernels.matvec_q6_k),
            (Orientation::RowMajor, dtype) if dtype.is_quantized() => Kind::Decoded,
            (orientation, dtype) => {
                return Err(BackendError::UnsupportedMatrix {
                    tensor: source.name.clone(),
                    device: "CPU".to_owned(),
                    found: dtype.name(),
                    why: match orientation {
                        Orientation::RowMajor => "matrices are F32, F16, BF16 or quantized",
                        Orientation::Transposed => "a transposed matrix is F32, F16 or BF16",
                    },
                });
            }
        };
        // Matrices of F32 are products in f32: who stores them so wants them so.
        let form = match source.dtype {
            DType::F16 | DType::BF16 if kernels.int16 && !exact && source.cols.is_multiple_of(2) => {
                Form::Int16
            }
            _ if matches!(kind, Kind::Int8(_)) => Form::Int8,
            _ => Form::F32,
        };
        Ok(Matrix { source: source.clone(), row_bytes, kind, form, sparse: OnceLock::new() })
    }

    /// Row `row` of a row-major matrix, as f32.
    pub(crate) fn widen_row(&self, kernels: &Kernels, row: usize, out: &mut [f32]) {
        let bytes = &self.source.data[row * self.row_bytes..][..self.row_bytes];
        // SAFETY: the table's instructions are there; the kernels check lengths.
        unsafe {
            match self.source.dtype {
                DType::F32 => (kernels.widen_f32)(bytes, out),
                DType::F16 => (kernels.widen_f16)(bytes, out),
                DType::BF16 => (kernels.widen_bf16)(bytes, out),
                dtype => dtype.decode_row(bytes, out),
            }
        }
    }
}
