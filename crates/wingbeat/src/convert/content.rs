//! Where the bytes of a file being written come from.
//!
//! The layouts ask for one weight after the other, in a type and an orientation; a model file decodes and encodes its
//! own. Which tensors there are, and in which order, is the layouts' business.

use super::in_order;
use crate::Error;
use std::ops::Range;
use wingbeat_backend::Orientation;
use wingbeat_format::{DType, ModelFile};
use wingbeat_model::Weight;

/// Takes bytes in the order of the file.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

/// Where weights come from: a file, or a generator.
pub(crate) trait Content {
    /// Hands a weight's bytes to `sink`, in type `dtype` and lying as `orientation` says.
    fn encode(
        &self,
        weight: &Weight,
        orientation: Orientation,
        dtype: DType,
        sink: Sink<'_>,
    ) -> Result<(), Error>;

    /// Whether what was handed on so far was sound.
    fn check(&self) -> Result<(), Error>;
}

impl Content for ModelFile {
    fn encode(
        &self,
        weight: &Weight,
        orientation: Orientation,
        dtype: DType,
        sink: Sink<'_>,
    ) -> Result<(), Error> {
        encode_weighted(weight, orientation, dtype, None, sink)
    }

    fn check(&self) -> Result<(), Error> {
        Ok(self.check_intact()?)
    }
}

/// A weight of a file: its own bytes where nothing changes, else rows encoded so that the errors in each column count as
/// `importance` says.
pub(super) fn encode_weighted(
    weight: &Weight,
    orientation: Orientation,
    dtype: DType,
    importance: Option<&[f32]>,
    sink: Sink<'_>,
) -> Result<(), Error> {
    if weight.dtype == dtype && weight.orientation == orientation {
        return sink(&weight.data);
    }
    if weight.shape.len() > 2 {
        for part in weight.sources() {
            let shape = vec![part.rows, part.cols];
            let part = Weight { shape, data: part.data, ..weight.clone() };
            encode_weighted(&part, orientation, dtype, importance, sink)?;
        }
        return Ok(());
    }
    let (rows, cols) = match *weight.shape {
        [rows, cols] => (rows, cols),
        _ => (1, weight.shape.iter().product()),
    };
    let (stored_rows, stored_cols) = match weight.orientation {
        Orientation::RowMajor => (rows, cols),
        Orientation::Transposed => (cols, rows),
    };
    let row_bytes = (weight.data.len() / stored_rows.max(1)).max(1);
    if weight.orientation == orientation {
        let encode = |rows: Range<usize>| {
            let mut row = vec![0.0; stored_cols];
            let mut encoded = Vec::new();
            for bytes in weight.data.chunks_exact(row_bytes).skip(rows.start).take(rows.len()) {
                weight.dtype.decode_row(bytes, &mut row);
                match importance {
                    Some(importance) => dtype.encode_row_weighted(&row, importance, &mut encoded)?,
                    None => dtype.encode_row(&row, &mut encoded)?,
                }
            }
            Ok(encoded)
        };
        return in_order(stored_rows, stored_cols, encode, sink);
    }
    // Only low-rank matrices are ever transposed: small enough to be held whole.
    let mut transposed = vec![0.0; stored_rows * stored_cols];
    let mut row = vec![0.0; stored_cols];
    for (i, bytes) in weight.data.chunks_exact(row_bytes).enumerate() {
        weight.dtype.decode_row(bytes, &mut row);
        row.iter().enumerate().for_each(|(j, &value)| transposed[j * stored_rows + i] = value);
    }
    let mut encoded = Vec::new();
    for row in transposed.chunks_exact(stored_rows.max(1)) {
        dtype.encode_row(row, &mut encoded)?;
    }
    sink(&encoded)
}
