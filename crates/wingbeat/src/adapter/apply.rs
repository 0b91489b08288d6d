//! The arithmetic of merging: a weight and what is to be done with it in, its new bytes out.
//!
//! A weight's rows are decoded, changed in f32 and encoded by all cores, some megabytes at a time. The sum of what adapters
//! add is made first and added once, so that it is rounded once.

use super::read::Low;
use crate::{Error, convert::in_order};
use wingbeat_backend::Orientation;
use wingbeat_format::{Bytes, DType, FormatError, Tensor};
use wingbeat_model::Weight;

/// What is to be done with a weight.
pub(super) enum Change {
    /// Add a product of two matrices.
    Low(Low),
    /// Go a part of the way towards a tensor's values, multiplied by `shrink`: all of it is 1.
    Towards { tensor: Tensor, orientation: Orientation, scale: f32, shrink: f32 },
}

/// Rows of a matrix, wherever and however they lie.
struct Rows<'a> {
    dtype: DType,
    data: &'a [u8],
    /// The rows themselves, where they do not lie one after the other.
    turned: Option<Vec<f32>>,
    cols: usize,
}

/// The weight with the changes made: its type, how it lies, its bytes. The error says why that cannot be.
pub(super) fn changed(weight: &Weight, changes: &[Change]) -> Result<(DType, Orientation, Bytes), String> {
    // Matrices of a stack are one after the other, and only ever replaced: as they lie.
    let (rows, cols) = match *weight.shape {
        [rows, cols] => (rows, cols),
        [n, rows, cols] => match weight.orientation {
            Orientation::RowMajor => (n * rows, cols),
            Orientation::Transposed => (n * cols, rows),
        },
        _ => (1, weight.shape.iter().product()),
    };
    let is_stack = weight.shape.len() > 2;
    let own = if is_stack { Orientation::RowMajor } else { weight.orientation };
    let base = Rows::new(weight.dtype, &weight.data, own, rows, cols);
    let mut others = Vec::new();
    for change in changes {
        if let Change::Towards { tensor, orientation, .. } = change {
            if is_stack && *orientation != weight.orientation {
                return Err(format!(
                    "`{}`: lies another way than the model's, and can only be taken whole",
                    tensor.name
                ));
            }
            let orientation = if is_stack { Orientation::RowMajor } else { *orientation };
            others.push(Rows::new(tensor.dtype, &tensor.data, orientation, rows, cols));
        }
    }
    let dtype = if weight.dtype.is_quantized() { DType::F16 } else { weight.dtype };
    let encode = |range: std::ops::Range<usize>| -> Result<Vec<u8>, FormatError> {
        let (mut row, mut sum, mut other) = (vec![0.0; cols], vec![0.0; cols], vec![0.0; cols]);
        let mut encoded = Vec::new();
        for i in range {
            base.read(i, &mut row);
            let mut others = others.iter();
            for change in changes {
                match change {
                    Change::Low(low) => {
                        let factors = &low.b[i * low.rank..(i + 1) * low.rank];
                        for (factor, a) in factors.iter().zip(low.a.chunks_exact(cols)) {
                            let factor = factor * low.factor;
                            sum.iter_mut().zip(a).for_each(|(sum, a)| *sum += factor * a);
                        }
                    }
                    Change::Towards { scale, shrink, .. } => {
                        others.next().expect("there is one for each such change").read(i, &mut other);
                        // Towards it from where the changes before have led.
                        let each = row.iter_mut().zip(&mut sum).zip(&other);
                        each.for_each(|((row, sum), other)| {
                            *row += *sum;
                            *sum = scale * (other * shrink - *row);
                        });
                    }
                }
            }
            row.iter_mut().zip(&mut sum).for_each(|(row, sum)| *row += std::mem::take(sum));
            dtype.encode_row(&row, &mut encoded)?;
        }
        Ok(encoded)
    };
    let mut bytes = Vec::new();
    in_order(rows, cols, encode, &mut |encoded| {
        bytes.extend_from_slice(encoded);
        Ok(())
    })
    .map_err(|error: Error| format!("`{}`: {error}", weight.name))?;
    let orientation = if is_stack { weight.orientation } else { Orientation::RowMajor };
    Ok((dtype, orientation, Bytes::from_vec(bytes)))
}

impl<'a> Rows<'a> {
    fn new(dtype: DType, data: &'a [u8], orientation: Orientation, rows: usize, cols: usize) -> Rows<'a> {
        let turned = (orientation == Orientation::Transposed).then(|| {
            let mut column = vec![0.0; rows];
            let mut turned = vec![0.0; rows * cols];
            for (j, bytes) in data.chunks_exact((data.len() / cols.max(1)).max(1)).enumerate() {
                dtype.decode_row(bytes, &mut column);
                column.iter().enumerate().for_each(|(i, value)| turned[i * cols + j] = *value);
            }
            turned
        });
        Rows { dtype, data, turned, cols }
    }

    fn read(&self, i: usize, row: &mut [f32]) {
        match &self.turned {
            Some(turned) => row.copy_from_slice(&turned[i * self.cols..(i + 1) * self.cols]),
            None => {
                let n_bytes = self.dtype.row_bytes(self.cols).expect("the catalog has checked the rows");
                self.dtype.decode_row(&self.data[i * n_bytes..(i + 1) * n_bytes], row);
            }
        }
    }
}
