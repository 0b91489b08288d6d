//! What passes share when they are submitted, one after the other: the row map, the parameters, and bind groups.

use crate::{Shared, device::Device, kernels::PARAM_BYTES, weights::Arena, weights::next_id};
use std::collections::HashMap;
use wingbeat_backend::BackendError;

/// Bind groups kept at most: a model has one for each layer and chunk of states.
const MOST_BINDS: usize = 1024;

/// See the module.
pub(crate) struct Order {
    map: Written,
    params: Written,
    binds: HashMap<[u64; 3], wgpu::BindGroup>,
    /// Stand in for what a kernel does not use: one read, and one written for each place where one is.
    unused: [wgpu::Buffer; 4],
    /// Which buffers the bind groups are of, beside weights and states.
    of: [u64; 3],
}

/// A buffer and what was last written to it.
struct Written {
    id: u64,
    buffer: wgpu::Buffer,
    what: &'static str,
    usage: wgpu::BufferUsages,
    contents: Vec<u8>,
}

impl Written {
    fn new(
        device: &Device,
        what: &'static str,
        usage: wgpu::BufferUsages,
        bytes: u64,
    ) -> Result<Written, BackendError> {
        let usage = usage | wgpu::BufferUsages::COPY_DST;
        let buffer = device.buffer(what, bytes, usage)?;
        Ok(Written { id: next_id(), buffer, what, usage, contents: Vec::new() })
    }

    /// Writes what differs from what is there: the steps of a generation are alike, and write nothing.
    fn write(&mut self, device: &Device, contents: &[u8]) -> Result<(), BackendError> {
        if self.contents.starts_with(contents) {
            return Ok(());
        }
        if self.buffer.size() < contents.len() as u64 {
            let bytes = (contents.len() as u64).next_power_of_two();
            *self = Written::new(device, self.what, self.usage, bytes)?;
        }
        device.queue.write_buffer(&self.buffer, 0, contents);
        self.contents.clear();
        self.contents.extend_from_slice(contents);
        Ok(())
    }
}

impl Order {
    pub(crate) fn new(device: &Device) -> Result<Order, BackendError> {
        let unused = || device.storage("unused", 256);
        Ok(Order {
            map: Written::new(device, "row map", wgpu::BufferUsages::STORAGE, 16 << 10)?,
            params: Written::new(device, "parameters", wgpu::BufferUsages::UNIFORM, 256 * PARAM_BYTES)?,
            binds: HashMap::new(),
            unused: [unused()?, unused()?, unused()?, unused()?],
            of: [0; 3],
        })
    }

    pub(crate) fn write_map(&mut self, device: &Device, map: &[u32]) -> Result<(), BackendError> {
        self.map.write(device, bytemuck::cast_slice(map))
    }

    pub(crate) fn write_params(&mut self, device: &Device, params: &[u8]) -> Result<(), BackendError> {
        self.params.write(device, params)
    }

    /// Forgets the bind groups of weights that go: they keep their buffer alive.
    pub(crate) fn forget_weights(&mut self, id: u64) {
        self.binds.retain(|[weights, ..], _| *weights != id);
    }

    /// The bind group of a dispatch.
    pub(crate) fn bind(
        &mut self,
        shared: &Shared,
        acts: &Option<(wgpu::Buffer, u64)>,
        vectors: &Option<(wgpu::Buffer, u64)>,
        weights: Option<&Arena>,
        state: Option<&(u64, wgpu::Buffer)>,
        sampling: Option<&(u64, wgpu::Buffer)>,
    ) -> wgpu::BindGroup {
        let generations = [acts, vectors].map(|pool| pool.as_ref().map_or(0, |(_, generation)| *generation));
        // Bind groups keep their buffers alive: those of buffers that were replaced must go.
        let of = [generations[0] << 32 | generations[1], self.map.id, self.params.id];
        if self.of != of {
            self.binds.clear();
            self.of = of;
        }
        let id = |buffer: Option<&(u64, wgpu::Buffer)>| buffer.map_or(0, |(id, _)| *id);
        let key = [weights.map_or(0, |arena| arena.id), id(state), id(sampling)];
        if let Some(bind) = self.binds.get(&key) {
            return bind.clone();
        }
        if self.binds.len() >= MOST_BINDS {
            self.binds.clear();
        }
        let [read, acts_unused, states_unused, sampling_unused] = &self.unused;
        let pool = |pool: &Option<(wgpu::Buffer, u64)>, other: &wgpu::Buffer| {
            pool.as_ref().map_or_else(|| other.clone(), |(buffer, _)| buffer.clone())
        };
        let weights = weights.map_or(read, |arena| &arena.buffer);
        let buffers = [
            pool(acts, acts_unused),
            weights.clone(),
            weights.clone(),
            pool(vectors, read),
            state.map_or(states_unused, |(_, buffer)| buffer).clone(),
            self.map.buffer.clone(),
            sampling.map_or(sampling_unused, |(_, buffer)| buffer).clone(),
        ];
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &self.params.buffer,
                offset: 0,
                size: std::num::NonZeroU64::new(PARAM_BYTES),
            }),
        }];
        for (binding, buffer) in (1..).zip(&buffers) {
            entries.push(wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() });
        }
        let bind = shared.device.wgpu.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &shared.kernels.bind_layout,
            entries: &entries,
        });
        self.binds.insert(key, bind.clone());
        bind
    }
}
