//! How fast the device reads its memory, measured: what the speed of kernels is held against.

use super::trial::Trial;
use crate::{Shared, kernels::Key, profile::Cost, weights::Arena, weights::next_id};
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
    let trial = Trial {
        label: "read_bandwidth",
        key: variant(),
        params: bytemuck::bytes_of(&ReadBandwidthParams { never: [u32::MAX; 4] }),
        weights: Some(&arena),
        n_workgroups: u32::try_from(bytes / PART_BYTES).expect("a gigabyte has few parts"),
        cost: Cost { bytes, flops: 0 },
    };
    Ok(bytes as f64 / trial.seconds(shared)?)
}

/// The kernel of this file.
#[cfg(test)]
pub(super) fn checked() -> Vec<super::check::Checked> {
    vec![checked!(ReadBandwidthParams { never }, [variant()])]
}
