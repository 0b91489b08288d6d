//! Memory between host and device that is used again: making it anew for every state that is read or written takes longer
//! than the transfer.

use crate::device::Device;
use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use wingbeat_backend::BackendError;

/// Bytes of a buffer that is kept at most.
const MOST_KEPT: u64 = 64 << 20;

/// Buffers that wait for their next use, one each way.
#[derive(Default)]
pub(crate) struct Staging {
    /// Not mapped.
    to_host: Mutex<Option<wgpu::Buffer>>,
    /// Mapped. A copy of it under way comes back here once the device has read it.
    to_device: Arc<Mutex<Option<wgpu::Buffer>>>,
}

impl Staging {
    /// A buffer of at least so many bytes to copy to and map. [`Staging::give_back`] keeps it, unmapped.
    pub(crate) fn to_host(&self, device: &Device, bytes: u64) -> Result<wgpu::Buffer, BackendError> {
        let kept = lock(&self.to_host).take();
        match kept.filter(|buffer| buffer.size() >= bytes) {
            Some(buffer) => Ok(buffer),
            None => device.buffer(
                "reading back",
                bytes,
                wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            ),
        }
    }

    /// Keeps a buffer for the next time.
    pub(crate) fn give_back(&self, buffer: wgpu::Buffer) {
        if buffer.size() <= MOST_KEPT {
            keep(&self.to_host, buffer);
        }
    }

    /// Fills a buffer with `bytes` bytes by `fill`, which is given places and what to put there, and records copies from
    /// it; then hands all to the device.
    pub(crate) fn write(
        &self,
        device: &Device,
        bytes: u64,
        fill: impl FnOnce(&mut dyn FnMut(usize, &[u8])),
        copy: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer),
    ) -> Result<(), BackendError> {
        let Some(size) = NonZeroU64::new(bytes) else { return device.check() };
        // What a copy before is done with comes back when the device is asked; it is not waited for.
        let _ = device.wgpu.poll(wgpu::PollType::Poll);
        let kept = lock(&self.to_device).take();
        let buffer = match kept.filter(|buffer| buffer.size() >= bytes) {
            Some(buffer) => buffer,
            None => {
                let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
                device.mapped_buffer("staging of states", bytes, usage)?
            }
        };
        let mut view = buffer
            .slice(..size.get())
            .get_mapped_range_mut()
            .map_err(|error| device.failed(&error.to_string()))?;
        fill(&mut |at, bytes| view.slice(at..at + bytes.len()).copy_from_slice(bytes));
        drop(view);
        buffer.unmap();
        let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        copy(&mut encoder, &buffer);
        device.queue.submit([encoder.finish()]);
        if buffer.size() <= MOST_KEPT {
            let (back, again) = (Arc::clone(&self.to_device), buffer.clone());
            buffer.slice(..).map_async(wgpu::MapMode::Write, move |mapped| {
                if mapped.is_ok() {
                    keep(&back, again);
                }
            });
        }
        device.check()
    }
}

/// The larger one stays.
fn keep(place: &Mutex<Option<wgpu::Buffer>>, buffer: wgpu::Buffer) {
    let mut kept = lock(place);
    if kept.as_ref().is_none_or(|kept| kept.size() < buffer.size()) {
        *kept = Some(buffer);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
