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
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};
use wingbeat_backend::{BackendError, MatrixSource};

/// Bytes of a piece: few enough for no thread to be long after the others, enough for what a piece costs the driver.
const PIECE_BYTES: usize = 2 << 20;
/// Bytes of staging memory in use at most. wgpu takes such memory in blocks, the first of 64 MiB; a second one would come
/// and go.
const IN_FLIGHT_BYTES: u64 = 56 << 20;
/// Bytes that are handed to the device at once, so that it copies while the next are written.
const SUBMIT_BYTES: u64 = 16 << 20;
/// Threads at most: memory is the limit, not processors.
const MOST_THREADS: usize = 12;

/// Uploads under way.
pub(crate) struct Uploads {
    shared: Arc<Shared>,
}

struct Shared {
    device: Arc<Device>,
    queue: Mutex<Queue>,
    /// A thread has ended, or there is room for another piece.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Piece>,
    n_threads: usize,
    /// Bytes of staging memory that are being written, or that the device has not read yet as far as is known.
    in_flight: u64,
    /// Those of them that are written but in no submission.
    unsubmitted: u64,
    /// Those that are in one, the oldest first.
    submitted: VecDeque<(wgpu::SubmissionIndex, u64)>,
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
        let shared = Shared { device: Arc::clone(device), queue: Mutex::default(), changed: Condvar::new() };
        Uploads { shared: Arc::new(shared) }
    }

    /// Begins to upload a matrix; `row_bytes` is that of its stored rows.
    pub(crate) fn begin(&self, source: &MatrixSource, row_bytes: usize, matrix: &Matrix) {
        let packing = Arc::new(Packing::new(source, row_bytes, matrix.layout, matrix.by_input));
        let unit_bytes = packing.unit_bytes;
        // Fours keep planes aligned.
        let units_at_once = (PIECE_BYTES / unit_bytes.iter().sum::<usize>().max(1)).max(4) / 4 * 4;
        let mut queue = self.shared.lock();
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
        let mut queue = self.shared.lock();
        while queue.n_threads > 0 {
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.unsubmitted > 0 {
            queue = self.shared.submit(queue);
        }
        match queue.error.take() {
            Some(error) => Err(error),
            None => self.shared.device.check(),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uploads pieces until none waits.
    fn work(&self) {
        let mut scratch = Scratch::default();
        while let Some(piece) = self.next() {
            let result = self.upload(&piece, &mut scratch);
            let mut queue = self.lock();
            queue.unsubmitted += piece.bytes();
            if let Err(error) = result {
                queue.error.get_or_insert(error);
            } else if queue.unsubmitted >= SUBMIT_BYTES {
                drop(self.submit(queue));
            }
        }
    }

    /// The next piece, once there is staging memory for it; none where the thread is to end.
    fn next(&self) -> Option<Piece> {
        let mut queue = self.lock();
        loop {
            if queue.error.is_some() {
                queue.waiting.clear();
            }
            let Some(bytes) = queue.waiting.front().map(Piece::bytes) else {
                queue.n_threads -= 1;
                self.changed.notify_all();
                return None;
            };
            if queue.in_flight == 0 || queue.in_flight + bytes <= IN_FLIGHT_BYTES {
                queue.in_flight += bytes;
                return queue.waiting.pop_front();
            }
            queue = if let Some((submission, bytes)) = queue.submitted.pop_front() {
                drop(queue);
                // Its staging memory is free again when the device has read it.
                let result = self.device.wait_for(Some(submission));
                let mut queue = self.lock();
                queue.in_flight -= bytes;
                if let Err(error) = result {
                    queue.error.get_or_insert(error);
                }
                self.changed.notify_all();
                queue
            } else if queue.unsubmitted > 0 {
                self.submit(queue)
            } else {
                // Other threads write or wait: each submits or ends when it is done.
                self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Hands what is written to the device. What other threads write meanwhile counts as part of the next submission,
    /// whether or not it is in this one.
    fn submit<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let bytes = std::mem::take(&mut queue.unsubmitted);
        drop(queue);
        let submission = self.device.queue.submit([]);
        let mut queue = self.lock();
        queue.submitted.push_back((submission, bytes));
        queue
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

#[cfg(test)]
mod tests;
