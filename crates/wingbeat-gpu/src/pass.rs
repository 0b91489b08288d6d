//! A pass on the device: operations are recorded, then submitted at once.
//!
//! Recording only notes which kernel runs over what. Submitting writes the row map and the parameters (where they differ
//! from what is there), binds buffers, and hands one command buffer to the queue.

use crate::{
    Buffer, GpuBackend,
    kernels::{Key, PARAM_BYTES, Slot},
    ops::time_mix::chunked::Shares,
    profile::Cost,
    state::{Chunk, State},
    weights::Arena,
};
use std::sync::{Arc, PoisonError};
use wingbeat_backend::{BackendError, Batch, SlabAt, States};

/// Words of a row's entry in the row map: row, slot with flags.
const ROW_WORDS: usize = 2;
/// Words of a sequence's entry: slot, first row, number of tokens, and one to make it sixteen bytes.
const SEQUENCE_WORDS: usize = 4;
/// Flags of a row's entry: it is the first or the last of its sequence.
const FIRST: u32 = 1 << 31;
const LAST: u32 = 1 << 30;

/// Operations under way.
pub struct Pass<'a> {
    pub(crate) backend: &'a GpuBackend,
    pub(crate) n_rows: usize,
    pub(crate) states: States<'a, State>,
    /// Sequences whose states lie in one chunk, together.
    pub(crate) chunks: Vec<InChunk>,
    pub(crate) map: Vec<u32>,
    /// Whether every sequence has one token.
    pub(crate) one_token_each: bool,
    /// How the recurrence shares out the sequences of each of `chunks`; empty before it has run.
    pub(crate) shares: Vec<Shares>,
    /// Room for what the recurrence stores between its kernels: kept until this pass is submitted.
    pub(crate) scratch: Option<Arc<Buffer>>,
    /// The buffer of the sampler whose tokens are embedded, if they are.
    pub(crate) tokens_of: Option<(u64, wgpu::Buffer)>,
    /// What the last dispatch left to be done before any that cannot do it.
    left: Option<Carry>,
    /// Activations that the last dispatch left in halves too: where they lie, and where the halves.
    halves: Vec<(u32, u32)>,
    dispatches: Vec<Dispatch>,
    params: Vec<u8>,
}

/// The sequences of a pass whose states lie in one chunk.
pub(crate) struct InChunk {
    pub(crate) chunk: Option<Arc<Chunk>>,
    pub(crate) n_sequences: u32,
    pub(crate) n_rows: u32,
    /// First entries in the row map.
    pub(crate) rows_at: u32,
    pub(crate) sequences_at: u32,
    /// Whether one of its sequences has several tokens.
    pub(crate) has_long: bool,
}

/// One kernel to run.
struct Dispatch {
    kernel: Arc<Slot>,
    label: &'static str,
    grid: [u32; 3],
    params_at: u32,
    weights: Option<Arc<Arena>>,
    state: Option<(u64, wgpu::Buffer)>,
    sampling: Option<(u64, wgpu::Buffer)>,
    sees_halves: bool,
    cost: Cost,
}

/// Rows of activations, the last of each sequence, that are to become states: the dispatch that made them could not write
/// them, as all of it reads the states of before. A later one does (`wgsl/lib/carry.wgsl`).
pub(crate) struct Carry {
    pub(crate) x: u32,
    pub(crate) width: u32,
    /// First entry in the row map.
    pub(crate) sequences_at: u32,
    pub(crate) n_sequences: u32,
    /// Where the slab begins in a slot, and a slot's floats.
    pub(crate) slab: u32,
    pub(crate) slot: u32,
    /// Where the values go, if they are a row of one sequence.
    pub(crate) one: Option<u32>,
    pub(crate) state: Option<(u64, wgpu::Buffer)>,
}

/// Kernels that can carry the row of one sequence so that nothing waits for it.
pub(crate) const CARRY_ONE: [&str; 4] = ["linear_rows", "linear_int8", "linear_sparse", "time_mix_v7"];

impl Carry {
    /// The parameters of a kernel that can carry.
    pub(crate) fn params(carry: &Option<Carry>) -> [[u32; 4]; 2] {
        carry.as_ref().map_or([[0; 4]; 2], |carry| {
            [
                [carry.x, carry.width, carry.sequences_at, carry.n_sequences],
                [carry.slab, carry.slot, carry.one.unwrap_or(0), 0],
            ]
        })
    }

    /// A kernel's run, carrying if there is something.
    pub(crate) fn with<'w>(carry: Option<Carry>, mut work: Work<'w>) -> Work<'w> {
        let Some(carry) = carry else { return work };
        // Threads of the kernels that carry, at least.
        let threads = work.grid.iter().product::<usize>() * 128;
        let one =
            carry.one.is_some() && threads >= carry.width as usize && CARRY_ONE.contains(&work.key.file);
        work.key.constants.extend([("CARRY", 1), ("CARRY_ONE", u32::from(one))]);
        Work { state: carry.state, ..work }
    }
}

/// What a dispatch runs over, see [`Pass::dispatch`].
pub(crate) struct Work<'w> {
    pub(crate) key: Key,
    pub(crate) grid: [usize; 3],
    pub(crate) weights: Option<&'w Arc<Arena>>,
    pub(crate) state: Option<(u64, wgpu::Buffer)>,
    pub(crate) cost: Cost,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(backend: &'a GpuBackend, batch: &Batch, states: States<'a, State>) -> Pass<'a> {
        assert_eq!(batch.sequences().len(), states.len(), "one state a sequence");
        let mut map = batch.tokens().to_vec();
        let mut order: Vec<usize> = (0..states.len()).collect();
        let chunk_of = |i: usize| states[i].place.as_ref().map(|place| Arc::as_ptr(&place.chunk));
        // Stable: sequences keep their order within a chunk.
        order.sort_by_key(|&i| chunk_of(i));
        let mut chunks = Vec::new();
        for group in order.chunk_by(|&i, &j| chunk_of(i) == chunk_of(j)) {
            let (rows_at, mut n_rows, mut has_long) = (map.len() as u32, 0, false);
            let slot = |i: usize| states[i].place.as_ref().map_or(0, |place| place.slot);
            for &i in group {
                let sequence = batch.sequences()[i];
                let last = sequence.n_tokens - 1;
                for t in 0..sequence.n_tokens {
                    let flags = if t == 0 { FIRST } else { 0 } | if t == last { LAST } else { 0 };
                    map.extend([(sequence.first_row + t) as u32, slot(i) | flags]);
                }
                n_rows += sequence.n_tokens as u32;
                has_long |= sequence.n_tokens > 1;
            }
            debug_assert_eq!(map.len(), rows_at as usize + n_rows as usize * ROW_WORDS);
            let sequences_at = map.len() as u32;
            for &i in group {
                let sequence = batch.sequences()[i];
                let entry = [slot(i), sequence.first_row as u32, sequence.n_tokens as u32, 0];
                map.extend::<[u32; SEQUENCE_WORDS]>(entry);
            }
            chunks.push(InChunk {
                chunk: states[group[0]].place.as_ref().map(|place| Arc::clone(&place.chunk)),
                n_sequences: group.len() as u32,
                n_rows,
                rows_at,
                sequences_at,
                has_long,
            });
        }
        Pass {
            backend,
            n_rows: batch.n_rows(),
            chunks,
            map,
            one_token_each: batch.n_rows() == batch.sequences().len(),
            tokens_of: None,
            states,
            shares: Vec::new(),
            scratch: None,
            left: None,
            halves: Vec::new(),
            dispatches: Vec::with_capacity(256),
            params: Vec::with_capacity(256 * PARAM_BYTES as usize),
        }
    }

    /// Leaves something to the next dispatch that can carry it; any other is preceded by one that does only that.
    pub(crate) fn leave(&mut self, carry: Carry) {
        self.left = Some(carry);
    }

    /// What was left, for a dispatch that will carry it, writes to these places in the activations and, if it has states of
    /// its own, sees this buffer of them.
    pub(crate) fn take_carry(
        &mut self,
        mut writes: impl Iterator<Item = u32>,
        states: Option<u64>,
    ) -> Option<Carry> {
        let left = self.left.as_ref()?;
        let others = states.is_some() && states != left.state.as_ref().map(|(id, _)| *id);
        if others || writes.any(|y| y == left.x) { None } else { self.left.take() }
    }

    /// Records what was left, if nobody carried it.
    fn carry_left(&mut self) {
        if let Some(carry) = self.left.take() {
            crate::ops::carry_alone(self, carry);
        }
    }

    /// Records a kernel's run. A grid without workgroups is nothing.
    pub(crate) fn dispatch<P: bytemuck::Pod>(&mut self, label: &'static str, params: &P, work: Work<'_>) {
        self.dispatch_with(label, params, work, None);
    }

    /// The same of a kernel that may see the activations as halves too.
    pub(crate) fn dispatch_seeing_halves<P: bytemuck::Pod>(
        &mut self,
        label: &'static str,
        params: &P,
        work: Work<'_>,
        sees: bool,
    ) {
        let n = self.dispatches.len();
        self.dispatch_with(label, params, work, None);
        if sees && self.dispatches.len() > n {
            self.dispatches.last_mut().expect("one was just recorded").sees_halves = true;
        }
    }

    /// Says what the last dispatch left in halves, for the next operation alone.
    pub(crate) fn leave_halves(&mut self, halves: Vec<(u32, u32)>) {
        self.halves = halves;
    }

    /// What the last operation left in halves.
    pub(crate) fn take_halves(&mut self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.halves)
    }

    /// The same of a kernel that sees a sampler's buffer.
    pub(crate) fn dispatch_with<P: bytemuck::Pod>(
        &mut self,
        label: &'static str,
        params: &P,
        work: Work<'_>,
        sampling: Option<(u64, wgpu::Buffer)>,
    ) {
        const { assert!(size_of::<P>() <= PARAM_BYTES as usize) };
        self.halves.clear();
        self.carry_left();
        let grid = work.grid.map(|n| u32::try_from(n).expect("grids are cut to what a device takes"));
        if grid.contains(&0) {
            return;
        }
        let params_at = self.params.len() as u32;
        self.params.extend_from_slice(bytemuck::bytes_of(params));
        self.params.resize(params_at as usize + PARAM_BYTES as usize, 0);
        self.dispatches.push(Dispatch {
            kernel: self.backend.shared.kernels.get(work.key),
            label,
            grid,
            params_at,
            weights: work.weights.cloned(),
            state: work.state,
            sampling,
            sees_halves: false,
            cost: work.cost,
        });
    }

    /// The slot of the only sequence, if it has one token: row 0.
    pub(crate) fn only_slot(&self) -> Option<u32> {
        match &self.chunks[..] {
            [chunk] if self.n_rows == 1 && chunk.chunk.is_some() => {
                Some(self.map[chunk.sequences_at as usize])
            }
            _ => None,
        }
    }

    /// The state buffer of a chunk's layer, where a slab begins in a slot, and a slot's floats.
    pub(crate) fn state_at(&self, chunk: &InChunk, at: SlabAt) -> (Option<(u64, wgpu::Buffer)>, u32, u32) {
        let kind = &self.states[0].kind;
        let buffer = chunk.chunk.as_ref().map(|chunk| chunk.layers[at.layer].clone());
        let floats = u32::try_from(kind.slot_floats).expect("a slot has less than 4 Gi floats");
        (buffer, kind.slab_at[at.slab], floats)
    }

    /// Appends a list to the row map; where it begins.
    pub(crate) fn list(&mut self, values: impl IntoIterator<Item = u32>) -> u32 {
        let at = self.map.len() as u32;
        self.map.extend(values);
        at
    }

    /// Hands everything to the device.
    pub(crate) fn submit(self) -> Result<(), BackendError> {
        self.submit_times(1, |_| ()).map(drop)
    }

    /// Hands everything to the device, to be run some times, one after the other; `then` records what follows.
    pub(crate) fn submit_times(
        mut self,
        n_times: usize,
        then: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> Result<wgpu::SubmissionIndex, BackendError> {
        self.carry_left();
        let shared = &self.backend.shared;
        let device = &shared.device;
        if !shared.loaded.load(std::sync::atomic::Ordering::Acquire) {
            shared.uploads.wait()?;
            shared.loaded.store(true, std::sync::atomic::Ordering::Release);
        }
        let pipelines =
            self.dispatches.iter().map(|d| d.kernel.get(device)).collect::<Result<Vec<_>, BackendError>>()?;
        let mut order = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        let order = &mut *order;
        order.write_map(device, &self.map)?;
        order.write_params(device, &self.params)?;
        let acts = shared.acts.buffer();
        let vectors = shared.vectors.buffer();
        let mut binds = Vec::with_capacity(self.dispatches.len());
        for dispatch in &self.dispatches {
            let weights = dispatch.weights.as_deref();
            // The activations, a second time.
            let halves = acts.as_ref().filter(|_| dispatch.sees_halves);
            let halves = halves.map(|(buffer, _)| (u64::MAX, buffer.clone()));
            let (state, sampling) = (dispatch.state.as_ref(), dispatch.sampling.as_ref().or(halves.as_ref()));
            binds.push(order.bind(shared, &acts, &vectors, weights, state, sampling));
        }
        let runs = || self.dispatches.iter().zip(&pipelines).zip(&binds);
        let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut profiler = shared.profiler.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *profiler {
            None => {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for _ in 0..n_times {
                    for ((dispatch, pipeline), bind) in runs() {
                        dispatch.record(&mut pass, pipeline, bind);
                    }
                }
            }
            Some(profiler) => {
                for _ in 0..n_times {
                    for ((dispatch, pipeline), bind) in runs() {
                        let timestamp_writes = profiler.next(dispatch.label, dispatch.cost);
                        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                        dispatch.record(&mut encoder.begin_compute_pass(&descriptor), pipeline, bind);
                    }
                }
                profiler.resolve(&mut encoder);
            }
        }
        then(&mut encoder);
        let submission = device.queue.submit([encoder.finish()]);
        if let Some(profiler) = &mut *profiler {
            profiler.collect(device)?;
        }
        device.check()?;
        Ok(submission)
    }
}

impl Dispatch {
    fn record(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        pipeline: &wgpu::ComputePipeline,
        bind: &wgpu::BindGroup,
    ) {
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, bind, &[self.params_at]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], self.grid[2]);
    }
}

impl Buffer {
    /// Where row 0 begins in the activations.
    pub(crate) fn at(&self) -> u32 {
        self.offset
    }
}
