//! A matrix on its way: rows (or bands, where it is kept by input) as they lie on the device, some at a time.
//!
//! What is packed goes through memory of the thread's own that stays in its cache, and from there in one run to where it
//! is wanted: staging memory may be uncached, where single words and words out of order are slow.

use super::{
    Layout,
    by_input::{self, Grid, pack_band, pack_float_band, turn_floats},
    layout::PLANES,
    rows::{pack_floats, pack_row},
};
use std::ops::Range;
use wingbeat_backend::{BackendError, MatrixSource, Orientation};
use wingbeat_format::{
    DType,
    quant::{
        BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K,
        BlockQ8_0,
    },
};

/// Bytes of integers that are packed before they are handed on: they stay in a cache.
const PACK_BYTES: usize = 64 << 10;

/// A matrix, and how it is to be packed.
#[derive(Clone)]
pub(crate) struct Packing {
    source: MatrixSource,
    /// Bytes of a stored row.
    row_bytes: usize,
    layout: Layout,
    by_input: bool,
    /// Bytes of a unit in each plane.
    pub(crate) unit_bytes: [usize; PLANES],
}

/// Memory of a thread, used again.
#[derive(Default)]
pub(crate) struct Scratch {
    planes: [Vec<u8>; PLANES],
}

/// Takes bytes of a plane: which, and where they go.
pub(crate) type Put<'a> = dyn FnMut(usize, usize, &[u8]) + 'a;

impl Packing {
    /// How a matrix with stored rows of `row_bytes` is packed.
    pub(crate) fn new(source: &MatrixSource, row_bytes: usize, layout: Layout, by_input: bool) -> Packing {
        let unit_bytes = match by_input {
            true => by_input::band_bytes(layout, source.rows),
            false => layout.row_bytes(source.cols),
        };
        Packing { source: source.clone(), row_bytes, layout, by_input, unit_bytes }
    }

    /// Units that the matrix has: rows, or bands.
    pub(crate) fn n_units(&self) -> usize {
        if self.by_input { self.source.cols.div_ceil(by_input::BAND) } else { self.source.rows }
    }

    /// Packs some units; each plane of the first of them goes to 0.
    pub(crate) fn pack(&self, units: Range<usize>, scratch: &mut Scratch, put: &mut Put<'_>) {
        let Packing { source, row_bytes, .. } = self;
        if self.is_plain() {
            return put(0, 0, &source.data[units.start * row_bytes..units.end * row_bytes]);
        }
        // Of a transposed matrix more at once, for each of its rows is read then.
        let least = if source.orientation == Orientation::Transposed && !self.by_input { 64 } else { 1 };
        let at_once = (PACK_BYTES / self.unit_bytes[0].max(1)).max(least);
        for from in units.clone().step_by(at_once) {
            let tile = from..(from + at_once).min(units.end);
            for (plane, unit_bytes) in scratch.planes.iter_mut().zip(self.unit_bytes) {
                plane.resize(unit_bytes * tile.len(), 0);
            }
            self.pack_tile(tile, &mut scratch.planes);
            for (i, plane) in scratch.planes.iter().enumerate().filter(|(_, plane)| !plane.is_empty()) {
                put(i, (from - units.start) * self.unit_bytes[i], plane);
            }
        }
    }

    /// Whether rows lie on the device as they lie in the file.
    fn is_plain(&self) -> bool {
        !self.by_input
            && self.source.orientation == Orientation::RowMajor
            && self.layout.is_float()
            && self.row_bytes == self.unit_bytes[0]
    }

    fn pack_tile(&self, units: Range<usize>, planes: &mut [Vec<u8>; PLANES]) {
        let source = &self.source;
        if !self.by_input && source.orientation == Orientation::Transposed {
            return self.pack_transposed(units, &mut planes[0]);
        }
        let [a, b, c] = planes;
        let (row, band) = packers(source.dtype);
        for (i, unit) in units.enumerate() {
            let [a_bytes, b_bytes, c_bytes] = self.unit_bytes;
            let planes = [
                &mut a[i * a_bytes..][..a_bytes],
                &mut b[i * b_bytes..][..b_bytes],
                &mut c[i * c_bytes..][..c_bytes],
            ];
            if self.by_input {
                band(source, self.row_bytes, unit, planes);
            } else {
                row(&source.data[unit * self.row_bytes..][..self.row_bytes], planes);
            }
        }
    }

    /// Rows of `W` from `Wᵀ (cols, rows)`, of a float type.
    fn pack_transposed(&self, rows: Range<usize>, out: &mut [u8]) {
        let (source, stride) = (&self.source, self.unit_bytes[0]);
        let size = source.dtype.block_bytes();
        if source.cols * size < stride {
            out.fill(0);
        }
        let stored = Grid { bytes: &source.data[rows.start * size..], stride: self.row_bytes };
        match size {
            2 => turn_floats::<2>(stored, source.cols, rows.len(), out, stride),
            _ => turn_floats::<4>(stored, source.cols, rows.len(), out, stride),
        }
    }
}

/// Packs one stored row.
type PackRow = fn(&[u8], [&mut [u8]; PLANES]);
/// Packs one band of a matrix whose stored rows have so many bytes.
type PackBand = fn(&MatrixSource, usize, usize, [&mut [u8]; PLANES]);

/// What packs a stored type that has a layout.
fn packers(dtype: DType) -> (PackRow, PackBand) {
    match dtype {
        DType::F32 => (pack_floats, pack_float_band::<4>),
        DType::F16 | DType::BF16 => (pack_floats, pack_float_band::<2>),
        DType::Q8_0 => (pack_row::<BlockQ8_0>, pack_band::<BlockQ8_0>),
        DType::Q4_0 => (pack_row::<BlockQ4_0>, pack_band::<BlockQ4_0>),
        DType::Q4_1 => (pack_row::<BlockQ4_1>, pack_band::<BlockQ4_1>),
        DType::Q5_0 => (pack_row::<BlockQ5_0>, pack_band::<BlockQ5_0>),
        DType::Q5_1 => (pack_row::<BlockQ5_1>, pack_band::<BlockQ5_1>),
        DType::Q2K => (pack_row::<BlockQ2K>, pack_band::<BlockQ2K>),
        DType::Q3K => (pack_row::<BlockQ3K>, pack_band::<BlockQ3K>),
        DType::Q4K => (pack_row::<BlockQ4K>, pack_band::<BlockQ4K>),
        DType::Q5K => (pack_row::<BlockQ5K>, pack_band::<BlockQ5K>),
        DType::Q6K => (pack_row::<BlockQ6K>, pack_band::<BlockQ6K>),
        other => unreachable!("{} has no layout", other.name()),
    }
}

/// A matrix packed into memory of the host: what an upload does, without a device. For benches and tests.
pub struct HostMatrix {
    packing: Packing,
    scratch: Scratch,
    planes: [Vec<u8>; PLANES],
}

impl HostMatrix {
    /// Makes room for a matrix; none for types that are no weights.
    ///
    /// # Errors
    /// Its data are not as long as its shape says.
    pub fn new(source: &MatrixSource, by_input: bool) -> Result<Option<HostMatrix>, BackendError> {
        let row_bytes = source.checked_row_bytes()?;
        let Some((layout, _)) = Layout::of(source.dtype) else { return Ok(None) };
        let packing = Packing::new(source, row_bytes, layout, by_input);
        let planes = packing.unit_bytes.map(|bytes| vec![0xaa; bytes * packing.n_units()]);
        Ok(Some(HostMatrix { packing, scratch: Scratch::default(), planes }))
    }

    /// Packs it anew, on the calling thread.
    pub fn pack(&mut self) -> &[Vec<u8>] {
        let planes = &mut self.planes;
        self.packing.pack(0..self.packing.n_units(), &mut self.scratch, &mut |plane, at, bytes| {
            planes[plane][at..at + bytes.len()].copy_from_slice(bytes);
        });
        planes
    }
}

#[cfg(test)]
mod tests;
