//! Recurrent states on the device: slots in buffers that many sequences share.
//!
//! There is a buffer for each layer, and in it a slot for each sequence, so that one dispatch moves any number of
//! sequences on. Slots come in chunks that grow; a pass whose sequences lie in several chunks dispatches once for each.

use crate::{device::Device, weights::next_id};
use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
};
use wingbeat_backend::{BackendError, SlabSpec, StateLayout};

/// Slots of the first chunk at least, and at most where memory is plenty: a pass over several chunks dispatches more
/// kernels. Each chunk has four times as many as the one before.
const FIRST_SLOTS: RangeInclusive<u64> = 4..=64;
/// Of the device's memory the first chunk may take this part.
const FIRST_PART: u64 = 64;
/// Slots of a chunk at most.
const MOST_SLOTS: u64 = 1024;

/// The state of one sequence.
pub struct State {
    /// Where its buffers are: not always the device of the backend that is given it.
    pub(crate) device: Arc<Device>,
    pub(crate) kind: Arc<Kind>,
    /// None where the layout is empty.
    pub(crate) place: Option<Place>,
}

/// Where a state is. Gives its slot back when it goes.
pub(crate) struct Place {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) slot: u32,
}

/// All states of one layout.
pub(crate) struct Kind {
    pub(crate) layout: StateLayout,
    /// Where each slab begins in a slot, in floats.
    pub(crate) slab_at: Vec<u32>,
    /// Floats of a slot: one layer of one sequence.
    pub(crate) slot_floats: u64,
    n_layers: usize,
    chunks: Mutex<Vec<Arc<Chunk>>>,
    /// A slot of a sequence that has read nothing, where that is not all zeros.
    initial: Mutex<Option<wgpu::Buffer>>,
    /// Room for one state: WebGPU copies nothing within a buffer, so copies within a chunk go through here.
    between: Mutex<Option<wgpu::Buffer>>,
}

/// Buffers of some slots.
pub(crate) struct Chunk {
    /// For each layer a number that no other buffer has, and the buffer.
    pub(crate) layers: Vec<(u64, wgpu::Buffer)>,
    free: Mutex<Vec<u32>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.chunk.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}

impl Kind {
    pub(crate) fn new(layout: &StateLayout) -> Kind {
        let mut at = 0;
        let slab_at = layout
            .slabs
            .iter()
            .map(|slab| {
                let begin = at;
                // Slots and slabs begin at whole sixteen bytes.
                at += slab.layer_len().next_multiple_of(4);
                u32::try_from(begin).expect("a layer's state is less than 4 Gi values")
            })
            .collect();
        let n_layers = layout.slabs.iter().map(|slab| slab.shape[0]).max().unwrap_or(0);
        Kind {
            layout: layout.clone(),
            slab_at,
            slot_floats: at as u64,
            n_layers,
            chunks: Mutex::default(),
            initial: Mutex::default(),
            between: Mutex::default(),
        }
    }

    /// A slot, with whatever it holds.
    fn take(&self, device: &Device) -> Result<Option<Place>, BackendError> {
        if self.slot_floats == 0 || self.n_layers == 0 {
            return Ok(None);
        }
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in chunks.iter() {
            let slot = chunk.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(slot) = slot {
                return Ok(Some(Place { chunk: Arc::clone(chunk), slot }));
            }
        }
        let most = (device.capabilities.binding_bytes / (self.slot_floats * 4)).min(MOST_SLOTS);
        let bytes = self.slot_floats * 4 * self.n_layers as u64;
        let fitting = device.adapter.memory_bytes.map_or(0, |memory| memory / FIRST_PART / bytes);
        let first = fitting.clamp(*FIRST_SLOTS.start(), *FIRST_SLOTS.end());
        let mut slots = (first << (2 * chunks.len().min(8))).min(most).max(1);
        let chunk = loop {
            match self.chunk(device, slots) {
                Ok(chunk) => break Arc::new(chunk),
                // There may be room for fewer.
                Err(BackendError::OutOfMemory { .. }) if slots > 1 => slots /= 2,
                Err(error) => return Err(error),
            }
        };
        let slot = chunk.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let place = slot.map(|slot| Place { chunk: Arc::clone(&chunk), slot });
        chunks.push(chunk);
        Ok(place)
    }

    fn chunk(&self, device: &Device, slots: u64) -> Result<Chunk, BackendError> {
        let bytes = self.slot_floats * 4 * slots;
        let layers = (0..self.n_layers)
            .map(|_| Ok((next_id(), device.storage("states", bytes)?)))
            .collect::<Result<Vec<_>, BackendError>>()?;
        let free = (0..slots as u32).rev().collect();
        Ok(Chunk { layers, free: Mutex::new(free) })
    }

    /// The state of a sequence that has read nothing.
    pub(crate) fn initial(self: &Arc<Kind>, device: &Arc<Device>) -> Result<State, BackendError> {
        let place = self.take(device)?;
        let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if let Some(place) = &place {
            let (at, bytes) = (self.at(place), self.slot_floats * 4);
            let initial = self.initial_slot(device)?;
            for (_, buffer) in &place.chunk.layers {
                match &initial {
                    None => encoder.clear_buffer(buffer, at, Some(bytes)),
                    Some(initial) => encoder.copy_buffer_to_buffer(initial, 0, buffer, at, bytes),
                }
            }
        }
        device.queue.submit([encoder.finish()]);
        device.check()?;
        Ok(State { device: Arc::clone(device), kind: Arc::clone(self), place })
    }

    /// A slot to copy into new ones; none where zeros do.
    fn initial_slot(&self, device: &Device) -> Result<Option<wgpu::Buffer>, BackendError> {
        if self.layout.slabs.iter().all(|slab| slab.kind.initial() == 0.0) {
            return Ok(None);
        }
        let mut initial = self.initial.lock().unwrap_or_else(PoisonError::into_inner);
        if initial.is_none() {
            let buffer = device.storage("initial state", self.slot_floats * 4)?;
            for (slab, &at) in self.layout.slabs.iter().zip(&self.slab_at) {
                let values = vec![slab.kind.initial(); slab.layer_len()];
                device.queue.write_buffer(&buffer, u64::from(at) * 4, bytemuck::cast_slice(&values));
            }
            *initial = Some(buffer);
        }
        Ok(initial.clone())
    }

    /// Records the copy of a slot.
    fn copy(
        &self,
        device: &Device,
        encoder: &mut wgpu::CommandEncoder,
        from: &Place,
        to: &Place,
    ) -> Result<(), BackendError> {
        let bytes = self.slot_floats * 4;
        let (source, target) = (&from.chunk.layers, &to.chunk.layers);
        if !Arc::ptr_eq(&from.chunk, &to.chunk) {
            for ((_, source), (_, target)) in source.iter().zip(target) {
                encoder.copy_buffer_to_buffer(source, self.at(from), target, self.at(to), bytes);
            }
            return Ok(());
        }
        let mut between = self.between.lock().unwrap_or_else(PoisonError::into_inner);
        if between.is_none() {
            *between = Some(device.storage("copying states", bytes * self.n_layers as u64)?);
        }
        let between = between.as_ref().expect("it was just made");
        for (layer, (_, source)) in (0..).zip(source) {
            encoder.copy_buffer_to_buffer(source, self.at(from), between, layer * bytes, bytes);
        }
        for (layer, (_, target)) in (0..).zip(target) {
            encoder.copy_buffer_to_buffer(between, layer * bytes, target, self.at(to), bytes);
        }
        Ok(())
    }

    /// Where a slot begins in each layer's buffer, in bytes.
    fn at(&self, place: &Place) -> u64 {
        u64::from(place.slot) * self.slot_floats * 4
    }
}

/// Copies of a state by the chunk that they lie in: the chunk, the slot to copy there, and the slots to copy it to.
pub(crate) fn in_chunks(of: &State, copies: &[State]) -> Vec<(Arc<Chunk>, u32, Vec<u32>)> {
    let mut chunks: Vec<(Arc<Chunk>, u32, Vec<u32>)> = Vec::new();
    if let Some(own) = &of.place {
        chunks.push((Arc::clone(&own.chunk), own.slot, Vec::new()));
    }
    for place in copies.iter().filter_map(|copy| copy.place.as_ref()) {
        match chunks.iter_mut().find(|(chunk, ..)| Arc::ptr_eq(chunk, &place.chunk)) {
            Some((.., targets)) => targets.push(place.slot),
            None => chunks.push((Arc::clone(&place.chunk), place.slot, Vec::new())),
        }
    }
    chunks
}

impl State {
    /// A copy, made on the device.
    pub(crate) fn fork(&self) -> Result<State, BackendError> {
        let device = &self.device;
        let place = self.kind.take(device)?;
        let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if let (Some(from), Some(to)) = (&self.place, &place) {
            self.kind.copy(device, &mut encoder, from, to)?;
        }
        device.queue.submit([encoder.finish()]);
        device.check()?;
        Ok(State { device: Arc::clone(device), kind: Arc::clone(&self.kind), place })
    }

    /// States with room for copies of this one. The first of each chunk but its own is a copy already, from which the others
    /// of that chunk can be made.
    pub(crate) fn places_for_copies(&self, n: usize) -> Result<Vec<State>, BackendError> {
        let (device, kind) = (&self.device, &self.kind);
        let copies = (0..n)
            .map(|_| {
                Ok(State { device: Arc::clone(device), kind: Arc::clone(kind), place: kind.take(device)? })
            })
            .collect::<Result<Vec<_>, BackendError>>()?;
        let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (chunk, first, _) in in_chunks(self, &copies) {
            let Some(from) = self.place.as_ref().filter(|place| !Arc::ptr_eq(&place.chunk, &chunk)) else {
                continue;
            };
            let at = |slot: u32| u64::from(slot) * kind.slot_floats * 4;
            for ((_, source), (_, target)) in from.chunk.layers.iter().zip(&chunk.layers) {
                encoder.copy_buffer_to_buffer(source, at(from.slot), target, at(first), kind.slot_floats * 4);
            }
        }
        device.queue.submit([encoder.finish()]);
        device.check()?;
        Ok(copies)
    }

    /// Copies slabs to the host, all in one transfer.
    pub(crate) fn read(&self, slabs: &[usize]) -> Result<Vec<Vec<f32>>, BackendError> {
        let specs: Vec<_> = slabs.iter().map(|&slab| &self.kind.layout.slabs[slab]).collect();
        let mut out: Vec<Vec<f32>> = specs.iter().map(|spec| Vec::with_capacity(spec.len())).collect();
        let Some(place) = &self.place else { return Ok(out) };
        let (mut ranges, mut of) = (Vec::new(), Vec::new());
        for (index, (spec, &slab)) in specs.iter().zip(slabs).enumerate() {
            let at = self.kind.at(place) + u64::from(self.kind.slab_at[slab]) * 4;
            for (_, buffer) in &place.chunk.layers[..spec.shape[0]] {
                ranges.push((buffer, at, spec.layer_len() as u64 * 4));
                of.push(index);
            }
        }
        self.device.read(&ranges, &mut |range, bytes| {
            let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            out[of[range]].extend(values);
        })?;
        Ok(out)
    }

    /// Replaces all slabs, in one transfer.
    pub(crate) fn write_all(&mut self, slabs: &[&[f32]]) -> Result<(), BackendError> {
        for (spec, values) in self.kind.layout.slabs.iter().zip(slabs) {
            check_len(spec, values)?;
        }
        let (kind, device) = (&self.kind, &self.device);
        let Some(place) = &self.place else { return Ok(()) };
        let slot_bytes = kind.slot_floats * 4;
        let fill = |put: &mut dyn FnMut(usize, &[u8])| {
            for ((spec, values), &begin) in kind.layout.slabs.iter().zip(slabs).zip(&kind.slab_at) {
                for (layer, values) in values.chunks(spec.layer_len().max(1)).enumerate() {
                    let at = layer * slot_bytes as usize + begin as usize * 4;
                    put(at, bytemuck::cast_slice(values));
                }
            }
        };
        let copy = |encoder: &mut wgpu::CommandEncoder, staging: &wgpu::Buffer| {
            for (layer, (_, buffer)) in (0..).zip(&place.chunk.layers) {
                encoder.copy_buffer_to_buffer(
                    staging,
                    layer * slot_bytes,
                    buffer,
                    kind.at(place),
                    slot_bytes,
                );
            }
        };
        device.staging.write(device, slot_bytes * kind.n_layers as u64, fill, copy)
    }

    /// Replaces a slab.
    pub(crate) fn write(&mut self, slab: usize, values: &[f32]) -> Result<(), BackendError> {
        let spec = &self.kind.layout.slabs[slab];
        check_len(spec, values)?;
        let Some(place) = &self.place else { return Ok(()) };
        let at = self.kind.at(place) + u64::from(self.kind.slab_at[slab]) * 4;
        for ((_, buffer), values) in place.chunk.layers.iter().zip(values.chunks(spec.layer_len().max(1))) {
            self.device.queue.write_buffer(buffer, at, bytemuck::cast_slice(values));
        }
        self.device.check()
    }
}

fn check_len(slab: &SlabSpec, values: &[f32]) -> Result<(), BackendError> {
    match values.len() == slab.len() {
        true => Ok(()),
        false => Err(BackendError::SlabSize {
            slab: slab.name.to_owned(),
            expected: slab.len(),
            found: values.len(),
        }),
    }
}
