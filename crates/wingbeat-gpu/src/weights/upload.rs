//! From the file's map to the device, in large pieces and on several threads.
//!
//! A thread copies (or packs) rows from the map straight into memory that the device can read; nothing of the model
//! stays on the host.

use super::{
    Matrix, layout,
    pack::{Packing, Scratch},
};
use crate::device::Device;
use std::{
    collections::VecDeque,
    num::NonZeroU64,
    ops::Range,
    sync::{Arc, Condvar, Mutex, PoisonError},
};
use wingbeat_backend::{BackendError, MatrixSource};

/// Bytes of a piece.
const PIECE_BYTES: usize = 8 << 20;
/// Bytes on their way at most: what uploading adds to the host's memory.
const IN_FLIGHT_BYTES: u64 = 96 << 20;
/// Threads at most: memory is the limit, not processors.
const MOST_THREADS: usize = 12;

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
    packing: Arc<Packing>,
    units: Range<usize>,
    arena: Arc<super::Arena>,
    /// Byte offsets of the planes of the first unit.
    planes: [u64; layout::PLANES],
}

impl Piece {
    fn bytes(&self) -> u64 {
        self.packing.unit_bytes.iter().map(|bytes| (bytes * self.units.len()) as u64).sum()
    }
}

impl Uploads {
    pub(crate) fn new(device: &Arc<Device>) -> Uploads {
        let shared = Shared { device: Arc::clone(device), queue: Mutex::default(), idle: Condvar::new() };
        Uploads { shared: Arc::new(shared) }
    }

    /// Begins to upload a matrix; `row_bytes` is that of its stored rows.
    pub(crate) fn begin(&self, source: &MatrixSource, row_bytes: usize, matrix: &Matrix) {
        let packing = Arc::new(Packing::new(source, row_bytes, matrix.layout, matrix.by_input));
        let unit_bytes = packing.unit_bytes;
        let units_at_once = (PIECE_BYTES / unit_bytes[0].max(1)).max(4) / 4 * 4;
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for part in &matrix.parts {
            let (mut from, end) = (0, if matrix.by_input { packing.n_units() } else { part.rows });
            while from < end {
                let to = (from + units_at_once).min(end);
                let plane = |i| u64::from(part.planes[i]) * 4 + (unit_bytes[i] * from) as u64;
                queue.waiting.push_back(Piece {
                    packing: Arc::clone(&packing),
                    units: part.first_row + from..part.first_row + to,
                    arena: Arc::clone(&part.arena),
                    planes: std::array::from_fn(plane),
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
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.unsubmitted += piece.bytes();
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
        let mut views = [const { None }; layout::PLANES];
        for ((view, offset), unit_bytes) in views.iter_mut().zip(piece.planes).zip(piece.packing.unit_bytes) {
            let Some(bytes) = NonZeroU64::new((unit_bytes * piece.units.len()) as u64) else { continue };
            let staging = self.device.queue.write_buffer_with(&piece.arena.buffer, offset, bytes);
            *view = Some(staging.ok_or_else(|| self.device.failed("no staging memory for an upload"))?);
        }
        piece.packing.pack(piece.units.clone(), scratch, &mut |plane, at, bytes| {
            let view = views[plane].as_mut().expect("a plane that has bytes has a view");
            view.slice(at..at + bytes.len()).copy_from_slice(bytes);
        });
        Ok(())
    }
}
