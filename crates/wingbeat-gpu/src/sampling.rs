//! Samplers on the device: what they keep there, and the ids of steps that are read late.
//!
//! A sampler is one buffer: the last tokens, which embedding reads; rings of random numbers and of ids, so that steps are
//! alike and nothing but the number of steps done says where one is; counts, biases, and room to work in. Writing a
//! step's random numbers and reading its id go through the queue, in order with the steps themselves.

use crate::{
    Buffer, GpuBackend, Pass, Shared, State,
    device::Device,
    ops::{self, BLOCK, FOUND_WORDS, Places},
    weights::next_id,
};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, mpsc},
};
use wingbeat_backend::{BackendError, Batch, DeviceSampling, SamplerStart, States, TokenSampler};

/// Steps that may be under way.
const RING: usize = 64;
/// Vocabularies are no larger: ids are exact in f32 sums, and blocks fit into a grid.
const MOST_TOKENS: usize = 1 << 20;
/// Rows are a dimension of grids, which WebGPU ends here.
const MOST_ROWS: usize = 65535;
/// Where the last tokens are in the buffer.
pub(crate) const LAST_TOKENS: u32 = 0;
/// Random numbers are below 1 by at least this, so that rounding does not lead past the last candidate.
const GAP: f64 = 1.0 / (1u64 << 40) as f64;

/// A sampler on the device.
pub struct Sampler {
    settings: DeviceSampling,
    n_vocab: usize,
    n_rows: usize,
    places: Places,
    buffer: (u64, wgpu::Buffer),
    /// Steps handed to the device since the start.
    n_steps: usize,
    under_way: VecDeque<Reading>,
}

/// Ids on their way to the host.
struct Reading {
    submission: wgpu::SubmissionIndex,
    staging: wgpu::Buffer,
    n_bytes: u64,
    mapped: Mutex<mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>>,
}

impl Sampler {
    /// A sampler for rows of logits; none where the kernels cannot do it.
    pub(crate) fn new(
        shared: &Shared,
        settings: &DeviceSampling,
        n_vocab: usize,
        n_rows: usize,
    ) -> Result<Option<Sampler>, BackendError> {
        let mut words = 0;
        let mut take = |n: usize| {
            let at = words as u32;
            words += n.next_multiple_of(4);
            at
        };
        if n_vocab == 0 || n_vocab > MOST_TOKENS || n_rows == 0 || n_rows > MOST_ROWS {
            return Ok(None);
        }
        take(n_rows);
        let mut places = Places {
            steps: take(n_rows),
            units: take(n_rows * RING * 2),
            ids: take(n_rows * RING),
            found: take(n_rows * n_vocab.div_ceil(BLOCK) * FOUND_WORDS),
            ..Places::default()
        };
        if ops::ranks(settings, n_vocab) {
            places.candidates = take(n_rows * n_vocab);
        }
        if settings.has_penalties() {
            places.counts = take(n_rows * n_vocab);
        }
        if !settings.bias.is_empty() {
            places.bias = take(n_vocab);
        }
        let (device, bytes) = (&shared.device, words as u64 * 4);
        if bytes > device.capabilities.binding_bytes {
            return Ok(None);
        }
        ops::prepare(shared, settings, n_vocab, n_rows);
        let buffer = device.storage("sampling", bytes)?;
        if places.bias != 0 {
            let mut bias = vec![0.0f32; n_vocab];
            for &(id, value) in &settings.bias {
                if let Some(sum) = bias.get_mut(id as usize) {
                    *sum += value;
                }
            }
            device.queue.write_buffer(&buffer, u64::from(places.bias) * 4, bytemuck::cast_slice(&bias));
        }
        let (settings, buffer) = (settings.clone(), (next_id(), buffer));
        let under_way = VecDeque::new();
        Ok(Some(Sampler { settings, n_vocab, n_rows, places, buffer, n_steps: 0, under_way }))
    }

    fn write(&self, device: &Device, at: u32, words: &[u32]) {
        device.queue.write_buffer(&self.buffer.1, u64::from(at) * 4, bytemuck::cast_slice(words));
    }

    /// Writes the random numbers of the steps to come.
    fn write_units(&self, device: &Device, units: &[f64]) {
        if self.settings.temperature == 0.0 {
            return;
        }
        let words: Vec<u32> = units.iter().flat_map(|unit| pair(*unit).map(f32::to_bits)).collect();
        // Up to the ring's end, and from its beginning.
        let step_words = self.n_rows * 2;
        let first = (self.n_steps % RING) * step_words;
        let (until_end, rest) = words.split_at(words.len().min(RING * step_words - first));
        self.write(device, self.places.units + first as u32, until_end);
        if !rest.is_empty() {
            self.write(device, self.places.units, rest);
        }
    }
}

/// A random number as two f32, 48 bits of it.
fn pair(unit: f64) -> [f32; 2] {
    let unit = unit.clamp(0.0, 1.0 - GAP);
    let step = (1u64 << 24) as f64;
    let high = (unit * step).floor() / step;
    [high as f32, (((unit - high) * step * step).floor() / (step * step)) as f32]
}

impl TokenSampler<GpuBackend> for Sampler {
    fn most_steps(&self) -> usize {
        RING
    }

    fn start(&mut self, backend: &GpuBackend, rows: &[SamplerStart<'_>]) -> Result<(), BackendError> {
        assert_eq!(rows.len(), self.n_rows, "a start for each row");
        let device = &backend.shared.device;
        let _order = backend.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens: Vec<u32> = rows.iter().map(|row| row.token).collect();
        self.write(device, LAST_TOKENS, &tokens);
        self.write(device, self.places.steps, &vec![0; self.n_rows]);
        if self.places.counts != 0 {
            let mut counts = vec![-1.0f32; self.n_rows * self.n_vocab];
            for (counts, row) in counts.chunks_exact_mut(self.n_vocab).zip(rows) {
                for &(id, count) in row.counts {
                    if let Some(place) = counts.get_mut(id as usize) {
                        *place = count as f32;
                    }
                }
            }
            self.write(device, self.places.counts, bytemuck::cast_slice(&counts));
        }
        self.n_steps = 0;
        self.under_way.clear();
        device.check()
    }

    fn begin<'a>(
        &self,
        backend: &'a GpuBackend,
        batch: &'a Batch,
        states: States<'a, State>,
    ) -> Result<Pass<'a>, BackendError> {
        assert_eq!((batch.n_rows(), batch.sequences().len()), (self.n_rows, self.n_rows), "a token a row");
        backend.shared.device.check()?;
        let mut pass = Pass::new(backend, batch, states);
        pass.tokens_of = Some(self.buffer.clone());
        Ok(pass)
    }

    fn sample(&self, pass: &mut Pass<'_>, logits: &Buffer) {
        assert_eq!((logits.width, pass.n_rows), (self.n_vocab, self.n_rows), "logits of each row");
        ops::sample(pass, logits, &self.settings, self.places, self.n_rows, RING, &self.buffer);
    }

    fn submit(&mut self, backend: &GpuBackend, pass: Pass<'_>, units: &[f64]) -> Result<(), BackendError> {
        let device = &backend.shared.device;
        let (n_rows, first) = (self.n_rows, self.n_steps % RING);
        let n_steps = units.len() / n_rows;
        assert!((1..=RING).contains(&n_steps), "steps fit into the ring");
        let bytes = |steps: usize| (steps * n_rows * 4) as u64;
        let n_bytes = bytes(n_steps);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = device.buffer("ids", n_bytes, usage)?;
        self.write_units(device, units);
        let ids = u64::from(self.places.ids) * 4;
        // Up to the ring's end, and from its beginning.
        let until_end = n_steps.min(RING - first);
        let submission = pass.submit_times(n_steps, |encoder| {
            let buffer = &self.buffer.1;
            encoder.copy_buffer_to_buffer(buffer, ids + bytes(first), &staging, 0, bytes(until_end));
            if n_steps > until_end {
                let rest = bytes(n_steps - until_end);
                encoder.copy_buffer_to_buffer(buffer, ids, &staging, bytes(until_end), rest);
            }
        })?;
        let (sender, mapped) = mpsc::channel();
        staging.slice(..n_bytes).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone where nobody wants to know any more.
            let _ = sender.send(result);
        });
        self.n_steps += n_steps;
        self.under_way.push_back(Reading { submission, staging, n_bytes, mapped: Mutex::new(mapped) });
        Ok(())
    }

    fn read(&mut self, backend: &GpuBackend, out: &mut Vec<u32>) -> Result<(), BackendError> {
        let Some(reading) = self.under_way.pop_front() else { return Ok(()) };
        let Reading { submission, staging, n_bytes, mapped } = reading;
        let device = &backend.shared.device;
        device.wait_for(Some(submission))?;
        device.mapped(&mapped.into_inner().unwrap_or_else(PoisonError::into_inner))?;
        let view = staging.slice(..n_bytes).get_mapped_range().map_err(|e| device.failed(&e.to_string()))?;
        out.extend(view.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn pairs_hold_48_bits_and_stay_below_one() {
        for unit in [0.0, 0.5, 1.0 / 3.0, 0.1234567890123, 1.0 - 1.0 / (1u64 << 53) as f64, 1e-12] {
            let [high, low] = pair(unit).map(f64::from);
            let clamped = unit.min(1.0 - super::GAP);
            assert!((high + low - clamped).abs() <= 1.0 / (1u64 << 48) as f64, "{unit}: {high} {low}");
            assert!(high + low < 1.0 && high < 1.0 && high + low <= clamped);
        }
    }
}
