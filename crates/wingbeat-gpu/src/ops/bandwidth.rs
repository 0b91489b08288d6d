//! How fast the device reads its memory, measured: what the speed of kernels is held against.

use crate::{Shared, kernels::Key, profile::Cost, profile::Profiler, weights::Arena, weights::next_id};
use std::{sync::PoisonError, time::Instant};
use wingbeat_backend::BackendError;

/// Bytes to read: far more than any cache.
const BYTES: u64 = 1 << 30;
/// The least that says anything.
const LEAST_BYTES: u64 = 16 << 20;
const THREADS: u32 = 256;
/// Loads of a thread.
const EACH: u32 = 16;
/// Bytes of a workgroup.
const PART_BYTES: u64 = (THREADS * EACH) as u64 * 16;
/// Runs, after one to warm up.
const RUNS: u32 = 5;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ReadBandwidthParams {
    never: [u32; 4],
}

fn variant() -> Key {
    super::key("read_bandwidth", &[("THREADS", THREADS), ("EACH", EACH)])
}

/// Bytes a second of the best of several runs.
pub(crate) fn read_bandwidth(shared: &Shared) -> Result<f64, BackendError> {
    let device = &shared.device;
    let mut bytes = BYTES.min(device.capabilities.binding_bytes) / PART_BYTES * PART_BYTES;
    let buffer = loop {
        match device.storage("measuring reads", bytes) {
            // Most of the memory may be a model's.
            Err(BackendError::OutOfMemory { .. }) if bytes > LEAST_BYTES => {
                bytes = bytes / 2 / PART_BYTES * PART_BYTES;
            }
            buffer => break buffer?,
        }
    };
    let arena = Arena { id: next_id(), buffer };
    let pipeline = shared.kernels.get(variant()).get(device)?;
    let mut profiler = match device.capabilities.timestamps {
        true => Some(Profiler::new(device)?),
        false => None,
    };
    let mut order = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
    order.write_params(device, bytemuck::bytes_of(&ReadBandwidthParams { never: [u32::MAX; 4] }))?;
    let bind = order.bind(shared, &shared.acts.buffer(), &shared.vectors.buffer(), Some(&arena), None, None);
    let (mut best, mut total) = (f64::INFINITY, 0.0);
    for run in 0..=RUNS {
        let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let cost = Cost { bytes, flops: 0 };
        let stamps = profiler.as_mut().and_then(|profiler| profiler.next("read_bandwidth", cost));
        let mut pass = encoder
            .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: stamps });
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind, &[0]);
        let n_parts = u32::try_from(bytes / PART_BYTES).expect("a gigabyte has few parts");
        pass.dispatch_workgroups(n_parts, 1, 1);
        drop(pass);
        if let Some(profiler) = &profiler {
            profiler.resolve(&mut encoder);
        }
        let commands = encoder.finish();
        let started = Instant::now();
        device.queue.submit([commands]);
        device.wait()?;
        let seconds = match &mut profiler {
            // Without time stamps the submission's own time counts, too.
            None => started.elapsed().as_secs_f64(),
            Some(profiler) => {
                profiler.collect(device)?;
                let before = std::mem::replace(&mut total, profiler.sums().iter().map(|k| k.seconds).sum());
                total - before
            }
        };
        // The first run fills the buffer, too.
        if run > 0 && seconds > 0.0 {
            best = best.min(seconds);
        }
    }
    order.forget_weights(arena.id);
    Ok(bytes as f64 / best)
}

/// The kernel of this file.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    vec![checked!(ReadBandwidthParams { never }, [variant()])]
}
