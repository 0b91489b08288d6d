//! Where the bytes of a file being written come from.
//!
//! The layouts ask for one weight after the other, in a type and an orientation; a model file decodes and encodes its
//! own. Which tensors there are, and in which order, is the layouts' business.

use crate::Error;
use wingbeat_backend::Orientation;
use wingbeat_format::{DType, ModelFile};
use wingbeat_model::Weight;

/// Bytes handed on at a time.
const BLOCK_BYTES: usize = 4 << 20;

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
    /// The file's own bytes where nothing changes.
    fn encode(
        &self,
        weight: &Weight,
        orientation: Orientation,
        dtype: DType,
        sink: Sink<'_>,
    ) -> Result<(), Error> {
        if weight.dtype == dtype && weight.orientation == orientation {
            return sink(&weight.data);
        }
        let (rows, cols) = match *weight.shape {
            [rows, cols] => (rows, cols),
            _ => (1, weight.shape.iter().product()),
        };
        let (stored_rows, stored_cols) = match weight.orientation {
            Orientation::RowMajor => (rows, cols),
            Orientation::Transposed => (cols, rows),
        };
        let mut rows = Rows::new(dtype, sink);
        let mut row = vec![0.0; stored_cols];
        let stored = weight.data.chunks_exact((weight.data.len() / stored_rows.max(1)).max(1));
        if weight.orientation == orientation {
            for bytes in stored {
                weight.dtype.decode_row(bytes, &mut row);
                rows.push(&row)?;
            }
        } else {
            // Only low-rank matrices are ever transposed: small enough to be held whole.
            let mut transposed = vec![0.0; stored_rows * stored_cols];
            for (i, bytes) in stored.enumerate() {
                weight.dtype.decode_row(bytes, &mut row);
                row.iter().enumerate().for_each(|(j, &value)| transposed[j * stored_rows + i] = value);
            }
            for row in transposed.chunks_exact(stored_rows) {
                rows.push(row)?;
            }
        }
        rows.flush()
    }

    fn check(&self) -> Result<(), Error> {
        Ok(self.check_intact()?)
    }
}

/// Rows being encoded, handed on in blocks.
struct Rows<'a> {
    dtype: DType,
    bytes: Vec<u8>,
    sink: Sink<'a>,
}

impl<'a> Rows<'a> {
    fn new(dtype: DType, sink: Sink<'a>) -> Rows<'a> {
        Rows { dtype, bytes: Vec::new(), sink }
    }

    fn push(&mut self, row: &[f32]) -> Result<(), Error> {
        self.dtype.encode_row(row, &mut self.bytes)?;
        if self.bytes.len() < BLOCK_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Error> {
        (self.sink)(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
