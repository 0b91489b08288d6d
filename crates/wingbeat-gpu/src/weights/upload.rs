//! From the file's map to the device, in large pieces and on several threads.
//!
//! A thread copies (or packs) rows from the map straight into memory that the device can read; nothing of the model
//! stays on the host.

use super::{Layout, Matrix, by_input, layout};
use crate::device::Device;
use std::{
    collections::VecDeque,
    num::NonZeroU64,
    ops::Range,
    sync::{Arc, Condvar, Mutex, PoisonError},
};
use wingbeat_backend::{BackendError, MatrixSource, Orientation};

/// Bytes of a piece.
const PIECE_BYTES: usize = 8 << 20;
/// Bytes on their way at most: what uploading adds to the host's memory.
const IN_FLIGHT_BYTES: u64 = 96 << 20;
/// Threads at most: memory is the limit, not processors.
const MOST_THREADS: usize = 12;
/// Bytes that are packed before they are handed on: they stay in a cache.
const PACK_BYTES: usize = 64 << 10;

/// Uploads under way.
pub(crate) struct Uploads {
    shared: Arc<Shared>,
}

struct Shared {
    device: Arc<Device>,
    queue: Mutex<Queue>,
    idle: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Piece>,
    n_threads: usize,
    /// Bytes written since the last submit.
    unsubmitted: u64,
    error: Option<BackendError>,
}

/// Some rows of a matrix on their way, or bands where it is kept by input.
struct Piece {
    source: Arc<MatrixSource>,
    row_bytes: usize,
    layout: Layout,
    by_input: bool,
    rows: Range<usize>,
    arena: Arc<super::Arena>,
    /// Byte offsets of the planes of the first row of the piece.
    planes: [u64; layout::PLANES],
    plane_row_bytes: [usize; layout::PLANES],
}

impl Uploads {
    pub(crate) fn new(device: &Arc<Device>) -> Uploads {
        let shared = Shared { device: Arc::clone(device), queue: Mutex::default(), idle: Condvar::new() };
        Uploads { shared: Arc::new(shared) }
    }

    /// Begins to upload a matrix; `row_bytes` is that of its stored rows.
    pub(crate) fn begin(&self, source: &MatrixSource, row_bytes: usize, matrix: &Matrix) {
        let plane_row_bytes = match matrix.by_input {
            true => by_input::band_bytes(matrix.layout, matrix.rows),
            false => matrix.layout.row_bytes(source.cols),
        };
        let source = Arc::new(source.clone());
        let rows_at_once = (PIECE_BYTES / plane_row_bytes[0].max(1)).max(4) / 4 * 4;
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for part in &matrix.parts {
            let (mut from, end) =
                (0, if matrix.by_input { source.cols.div_ceil(by_input::BAND) } else { part.rows });
            while from < end {
                let to = (from + rows_at_once).min(end);
                let planes = std::array::from_fn(|i| {
                    u64::from(part.planes[i]) * 4 + (plane_row_bytes[i] * from) as u64
                });
                queue.waiting.push_back(Piece {
                    source: Arc::clone(&source),
                    row_bytes,
                    layout: matrix.layout,
                    by_input: matrix.by_input,
                    rows: part.first_row + from..part.first_row + to,
                    arena: Arc::clone(&part.arena),
                    planes,
                    plane_row_bytes,
                });
                from = to;
            }
        }
        let most = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        while queue.n_threads < most.min(queue.waiting.len()) {
            let shared = Arc::clone(&self.shared);
            match std::thread::Builder::new().spawn(move || shared.work()) {
                Ok(_) => queue.n_threads += 1,
                Err(_) => break,
            }
        }
        if queue.n_threads == 0 {
            queue.n_threads = 1;
            drop(queue);
            self.shared.work();
        }
    }

    /// Waits until everything has been handed to the device.
    pub(crate) fn wait(&self) -> Result<(), BackendError> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.n_threads > 0 {
            queue = self.shared.idle.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.unsubmitted > 0 {
            queue.unsubmitted = 0;
            self.shared.device.queue.submit([]);
        }
        match queue.error.take() {
            Some(error) => Err(error),
            None => self.shared.device.check(),
        }
    }
}

impl Shared {
    /// Uploads pieces until none waits.
    fn work(&self) {
        let mut scratch = Scratch::default();
        loop {
            let piece = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                let next = if queue.error.is_some() { None } else { queue.waiting.pop_front() };
                if next.is_none() {
                    queue.waiting.clear();
                    queue.n_threads -= 1;
                    self.idle.notify_all();
                }
                next
            };
            let Some(piece) = piece else { return };
            let result = self.upload(&piece, &mut scratch);
            let bytes: u64 = piece.plane_row_bytes.iter().map(|b| (b * piece.rows.len()) as u64).sum();
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.unsubmitted += bytes;
            let mut submission = None;
            if queue.unsubmitted > IN_FLIGHT_BYTES / 2 {
                queue.unsubmitted = 0;
                submission = Some(self.device.queue.submit([]));
            }
            drop(queue);
            let result = result.and_then(|()| match submission {
                // Staging memory is free again when the device has read it.
                Some(submission) => self.device.wait_for(Some(submission)),
                None => Ok(()),
            });
            if let Err(error) = result {
                self.queue.lock().unwrap_or_else(PoisonError::into_inner).error.get_or_insert(error);
            }
        }
    }

    fn upload(&self, piece: &Piece, scratch: &mut Scratch) -> Result<(), BackendError> {
        let source = &*piece.source;
        let n_rows = piece.rows.len();
        let mut views = Vec::with_capacity(layout::PLANES);
        for (offset, row_bytes) in piece.planes.iter().zip(piece.plane_row_bytes) {
            let Some(bytes) = NonZeroU64::new((row_bytes * n_rows) as u64) else { continue };
            let view = self.device.queue.write_buffer_with(&piece.arena.buffer, *offset, bytes);
            views.push(view.ok_or_else(|| self.device.failed("no staging memory for an upload"))?);
        }
        let stored = |row: usize| &source.data[row * piece.row_bytes..][..piece.row_bytes];
        let plain = !piece.by_input
            && source.orientation == Orientation::RowMajor
            && source.dtype.block_len() == 1
            && piece.row_bytes == piece.plane_row_bytes[0];
        if plain {
            let bytes = &source.data[piece.rows.start * piece.row_bytes..piece.rows.end * piece.row_bytes];
            views[0].copy_from_slice(bytes);
            return Ok(());
        }
        let rows_at_once = (PACK_BYTES / piece.plane_row_bytes[0].max(1)).max(1);
        let mut from = 0;
        while from < n_rows {
            let to = (from + rows_at_once).min(n_rows);
            for (plane, row_bytes) in scratch.planes.iter_mut().zip(piece.plane_row_bytes) {
                plane.resize(row_bytes * (to - from), 0);
            }
            for row in from..to {
                let at = row - from;
                let mut planes = scratch.planes.iter_mut().zip(piece.plane_row_bytes);
                let planes: [&mut [u8]; layout::PLANES] = std::array::from_fn(|_| {
                    let (plane, bytes) = planes.next().expect("as many planes as there are");
                    &mut plane[at * bytes..][..bytes]
                });
                if piece.by_input {
                    let band = piece.rows.start + row;
                    by_input::pack_band(source, piece.row_bytes, piece.layout, band, planes);
                    continue;
                }
                let stored_row = match source.orientation {
                    Orientation::RowMajor => stored(piece.rows.start + row),
                    Orientation::Transposed => {
                        let row = piece.rows.start + row;
                        layout::gather_transposed(
                            source.dtype,
                            &source.data,
                            source.rows,
                            row,
                            &mut scratch.row,
                        );
                        &scratch.row
                    }
                };
                layout::pack_row(source.dtype, stored_row, planes);
            }
            let used = scratch.planes.iter().zip(piece.plane_row_bytes).filter(|(_, bytes)| *bytes > 0);
            for (view, (plane, row_bytes)) in views.iter_mut().zip(used) {
                view.slice(from * row_bytes..to * row_bytes).copy_from_slice(plane);
            }
            from = to;
        }
        Ok(())
    }
}

/// Memory of a thread, used again.
#[derive(Default)]
struct Scratch {
    planes: [Vec<u8>; layout::PLANES],
    row: Vec<u8>,
}
