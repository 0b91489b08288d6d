//! One growing buffer from which many small ones are cut.
//!
//! All activations lie in one buffer, and so do all weight vectors: a kernel then sees any number of them through one
//! binding, where WebGPU promises only eight.

use crate::device::Device;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use wingbeat_backend::BackendError;

/// What offsets and lengths are multiples of: 256 bytes, WebGPU's default alignment of bindings.
const UNIT_FLOATS: u64 = 64;
/// The first capacity: small models and tests never grow.
const FIRST_UNITS: u64 = (1 << 20) / (UNIT_FLOATS * 4);

/// A growing buffer of f32.
pub(crate) struct Pool {
    what: &'static str,
    inner: Mutex<Inner>,
}

struct Inner {
    buffer: Option<wgpu::Buffer>,
    capacity_units: u64,
    /// Start and length of what is free.
    free: BTreeMap<u64, u64>,
    /// Counts the buffers that there have been.
    generation: u64,
}

impl Pool {
    pub(crate) fn new(what: &'static str) -> Pool {
        let inner = Inner { buffer: None, capacity_units: 0, free: BTreeMap::new(), generation: 0 };
        Pool { what, inner: Mutex::new(inner) }
    }

    /// Room for some floats, zeroed; its offset in floats. The caller holds the device's submission order.
    pub(crate) fn take(&self, device: &Device, floats: usize) -> Result<u32, BackendError> {
        let offset = self.take_uncleared(device, floats)?;
        let (buffer, _) = self.buffer().expect("room was just taken in it");
        let bytes = (floats as u64).max(1).next_multiple_of(UNIT_FLOATS) * 4;
        let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.clear_buffer(&buffer, u64::from(offset) * 4, Some(bytes));
        device.queue.submit([encoder.finish()]);
        device.check()?;
        Ok(offset)
    }

    /// The same with whatever was there before.
    pub(crate) fn take_uncleared(&self, device: &Device, floats: usize) -> Result<u32, BackendError> {
        let units = (floats as u64).div_ceil(UNIT_FLOATS).max(1);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let found = inner.free.iter().find(|(_, length)| **length >= units).map(|(start, _)| *start);
        let start = match found {
            Some(start) => start,
            None => inner.grow(self.what, device, units)?,
        };
        let length = inner.free.remove(&start).expect("the range was just found");
        if length > units {
            inner.free.insert(start + units, length - units);
        }
        let offset = start * UNIT_FLOATS;
        Ok(u32::try_from(offset).expect("a binding holds less than 4 Gi floats"))
    }

    /// Gives room back.
    pub(crate) fn give(&self, offset: u32, floats: usize) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut start, mut length) =
            (u64::from(offset) / UNIT_FLOATS, (floats as u64).div_ceil(UNIT_FLOATS).max(1));
        if let Some((&before, &units)) = inner.free.range(..start).next_back()
            && before + units == start
        {
            inner.free.remove(&before);
            (start, length) = (before, length + units);
        }
        if let Some(after) = inner.free.remove(&(start + length)) {
            length += after;
        }
        inner.free.insert(start, length);
    }

    /// The buffer as it is now, and its generation.
    pub(crate) fn buffer(&self) -> Option<(wgpu::Buffer, u64)> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.buffer.clone().map(|buffer| (buffer, inner.generation))
    }
}

impl Inner {
    /// Moves to a larger buffer with at least `units` free at its end; where they begin.
    fn grow(&mut self, what: &'static str, device: &Device, units: u64) -> Result<u64, BackendError> {
        let most = device.capabilities.binding_bytes / (UNIT_FLOATS * 4);
        let old = self.capacity_units;
        // What is free at the end already counts.
        let tail = self.free.iter().next_back().filter(|(start, length)| *start + *length == old);
        let tail_units = tail.map_or(0, |(_, length)| *length);
        let needed = old - tail_units + units;
        let capacity = needed.max((old * 2).min(most)).max(FIRST_UNITS);
        if capacity > most {
            let bytes = usize::try_from(capacity * UNIT_FLOATS * 4).unwrap_or(usize::MAX);
            return Err(BackendError::OutOfMemory { device: device.name(), what, bytes });
        }
        let buffer = device.storage(what, capacity * UNIT_FLOATS * 4)?;
        if let Some(previous) = &self.buffer {
            let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(previous, 0, &buffer, 0, old * UNIT_FLOATS * 4);
            device.queue.submit([encoder.finish()]);
        }
        let start = old - tail_units;
        self.free.remove(&start);
        self.free.insert(start, capacity - start);
        self.buffer = Some(buffer);
        self.capacity_units = capacity;
        self.generation += 1;
        Ok(start)
    }
}
