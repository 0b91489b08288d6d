//! Weight matrices on the device: a few large buffers, filled from the file's map by several threads.

mod blocks;
pub(crate) mod by_input;
mod fields;
pub(crate) mod layout;
mod pack;
mod rows;
mod upload;

use crate::device::Device;
pub(crate) use layout::Layout;
pub use pack::HostMatrix;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
pub(crate) use upload::Uploads;
use wingbeat_backend::{BackendError, MatrixSource, Orientation};

/// Buffers count in these units: sixteen bytes, what a kernel reads at once.
const ALIGN: u64 = 16;
/// The size of a buffer where nobody said how much will come.
const SMALL_ARENA: u64 = 4 << 20;
/// The largest buffer to ask for at once: larger ones are hard to find room for.
const LARGE_ARENA: u64 = 1 << 30;

/// A buffer that holds many matrices.
pub(crate) struct Arena {
    pub(crate) id: u64,
    pub(crate) buffer: wgpu::Buffer,
}

/// A weight matrix `(rows, cols)` on the device.
pub struct Matrix {
    pub(crate) name: String,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) layout: Layout,
    /// Whether it is kept by input (`by_input.rs`); it has one part then.
    pub(crate) by_input: bool,
    /// Where its rows are, in order: one part, or several where it is larger than a binding may be.
    pub(crate) parts: Vec<Part>,
}

/// Some rows of a matrix.
pub(crate) struct Part {
    pub(crate) arena: Arc<Arena>,
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    /// Where each plane begins, in words of four bytes.
    pub(crate) planes: [u32; layout::PLANES],
}

impl Matrix {
    /// Bytes that it takes on the device.
    pub(crate) fn bytes(&self) -> u64 {
        if self.by_input {
            by_input::bytes(self.layout, self.rows, self.cols)
        } else {
            self.layout.bytes(self.rows, self.cols)
        }
    }

    /// What kernels know its layout by: its number and, where it is kept by input, a flag and the eights of outputs.
    pub(crate) fn kind(&self) -> u32 {
        const BY_INPUT: u32 = 16;
        let eights = self.rows.div_ceil(8) as u32;
        self.layout as u32 | if self.by_input { BY_INPUT | eights << 8 } else { 0 }
    }
}

/// Hands out room for matrices.
#[derive(Default)]
pub(crate) struct Arenas {
    open: Mutex<Option<Open>>,
    /// Bytes announced that have not come yet.
    announced: AtomicU64,
}

struct Open {
    arena: Arc<Arena>,
    used: u64,
    capacity: u64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A number that no other buffer has.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl Arenas {
    /// Says how many bytes of matrices will come, so that buffers have the right size.
    pub(crate) fn announce(&self, bytes: u64) {
        self.announced.store(bytes, Ordering::Relaxed);
    }

    /// Finds room for a matrix. Rows that don't fit into what a binding may hold go into another buffer.
    pub(crate) fn place(&self, device: &Device, source: &MatrixSource) -> Result<Matrix, BackendError> {
        let unsupported = |why| BackendError::UnsupportedMatrix {
            tensor: source.name.clone(),
            device: device.name(),
            found: source.dtype.name(),
            why,
        };
        let (layout, _) = Layout::of(source.dtype).ok_or_else(|| unsupported("it is no type of weights"))?;
        let by_input = keeps_by_input(device, source, layout);
        if source.orientation == Orientation::Transposed && !layout.is_float() {
            return Err(unsupported("a transposed matrix must be F32, F16 or BF16"));
        }
        let limit = largest_arena(device);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut parts, mut first_row) = (Vec::new(), 0);
        while first_row < source.rows {
            let left = source.rows - first_row;
            let wanted = match by_input {
                true => by_input::bytes(layout, source.rows, source.cols),
                false => layout.bytes(left, source.cols),
            };
            let room = open.as_ref().map_or(0, |open| open.capacity - open.used);
            if room < wanted {
                let announced = self.announced.load(Ordering::Relaxed);
                // The whole of a small matrix goes into the next buffer, a large one fills this one first.
                if wanted <= limit || room < limit / 4 {
                    let capacity = announced.max(wanted).max(SMALL_ARENA).min(limit);
                    let buffer = device.storage("weights", capacity)?;
                    let arena = Arc::new(Arena { id: next_id(), buffer });
                    *open = Some(Open { arena, used: 0, capacity });
                }
            }
            let Open { arena, used, capacity } = open.as_mut().expect("one was just made");
            let room = *capacity - *used;
            let row_bytes: usize = layout.row_bytes(source.cols).iter().sum();
            let fitting =
                (room.saturating_sub(ALIGN * layout::PLANES as u64) / row_bytes.max(1) as u64) as usize;
            let rows = if wanted <= room { left } else { fitting.min(left) };
            let plane_bytes = match by_input {
                true => by_input::band_bytes(layout, rows).map(|b| b * source.cols.div_ceil(by_input::BAND)),
                false => layout.row_bytes(source.cols).map(|b| b * rows),
            };
            if rows == 0 {
                return Err(unsupported("one of its rows is larger than a buffer may be"));
            }
            let mut planes = [0; layout::PLANES];
            for (plane, bytes) in planes.iter_mut().zip(plane_bytes) {
                *plane = u32::try_from(*used / 4).expect("a buffer has less than 16 GiB");
                *used += (bytes as u64).next_multiple_of(ALIGN);
            }
            parts.push(Part { arena: Arc::clone(arena), first_row, rows, planes });
            first_row += rows;
            let bytes: u64 = plane_bytes.iter().map(|bytes| *bytes as u64).sum();
            self.announced
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |a| Some(a.saturating_sub(bytes)))
                .ok();
        }
        Ok(Matrix {
            name: source.name.clone(),
            rows: source.rows,
            cols: source.cols,
            layout,
            by_input,
            parts,
        })
    }
}

/// Bytes of the largest buffer that is asked for.
fn largest_arena(device: &Device) -> u64 {
    device.capabilities.binding_bytes.min(LARGE_ARENA) / ALIGN * ALIGN
}

/// Whether a matrix is kept by input: where that saves bytes, and one buffer can hold it.
fn keeps_by_input(device: &Device, source: &MatrixSource, layout: Layout) -> bool {
    source.sparse_input
        && source.rows > 0
        && source.cols > 0
        && by_input::bytes(layout, source.rows, source.cols) <= largest_arena(device)
}

/// Bytes that a matrix will take on the device; none for types that are no weights.
pub(crate) fn bytes_on(device: &Device, source: &MatrixSource) -> Option<u64> {
    let (layout, _) = Layout::of(source.dtype)?;
    Some(match keeps_by_input(device, source, layout) {
        true => by_input::bytes(layout, source.rows, source.cols),
        false => layout.bytes(source.rows, source.cols),
    })
}
