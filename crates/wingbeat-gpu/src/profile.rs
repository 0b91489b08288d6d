//! Where the time goes: a time stamp before and after each kernel's run, summed by kernel.

use crate::device::Device;
use std::collections::HashMap;
use wingbeat_backend::{BackendError, KernelTime};

/// Kernels that are timed in one pass at most; a pass has some hundred.
const MOST: u32 = 2048;

/// What a kernel's run must read and compute.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Bytes of weights, activations and states, each counted once.
    pub(crate) bytes: u64,
    /// Operations on numbers, a multiplication with an addition being two.
    pub(crate) flops: u64,
}

/// Time stamps under way, and sums so far.
pub(crate) struct Profiler {
    stamps: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    pending: Vec<(&'static str, Cost)>,
    sums: HashMap<&'static str, KernelTime>,
}

impl Profiler {
    pub(crate) fn new(device: &Device) -> Result<Profiler, BackendError> {
        if !device.capabilities.timestamps {
            return Err(device.failed("this adapter has no time stamps, so nothing can be profiled"));
        }
        let stamps = device.wgpu.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2 * MOST,
        });
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = device.buffer("time stamps", u64::from(2 * MOST) * 8, usage)?;
        Ok(Profiler { stamps, resolved, pending: Vec::new(), sums: HashMap::new() })
    }

    /// The stamps of the next kernel; none when there are too many in this pass.
    pub(crate) fn next(
        &mut self,
        label: &'static str,
        cost: Cost,
    ) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let index = self.pending.len() as u32;
        (index < MOST).then(|| {
            self.pending.push((label, cost));
            wgpu::ComputePassTimestampWrites {
                query_set: &self.stamps,
                beginning_of_pass_write_index: Some(2 * index),
                end_of_pass_write_index: Some(2 * index + 1),
            }
        })
    }

    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let n = 2 * self.pending.len() as u32;
        if n > 0 {
            encoder.resolve_query_set(&self.stamps, 0..n, &self.resolved, 0);
        }
    }

    /// Waits for the pass and adds its times up.
    pub(crate) fn collect(&mut self, device: &Device) -> Result<(), BackendError> {
        let pending = std::mem::take(&mut self.pending);
        let (period, sums) = (f64::from(device.queue.get_timestamp_period()), &mut self.sums);
        let bytes = 16 * pending.len() as u64;
        device.read(&[(&self.resolved, 0, bytes)], &mut |_, bytes| {
            for (stamps, (label, cost)) in bytes.as_chunks::<16>().0.iter().zip(&pending) {
                let [begin, end] = [0, 8].map(|at| {
                    u64::from_le_bytes(*stamps[at..].first_chunk().expect("sixteen bytes hold two stamps"))
                });
                let sum =
                    sums.entry(label).or_insert_with(|| KernelTime { name: label, ..KernelTime::default() });
                sum.runs += 1;
                sum.seconds += end.saturating_sub(begin) as f64 * period * 1e-9;
                sum.bytes += cost.bytes;
                sum.flops += cost.flops;
            }
        })
    }

    /// The sums, the longest first.
    pub(crate) fn sums(&self) -> Vec<KernelTime> {
        let mut sums: Vec<KernelTime> = self.sums.values().cloned().collect();
        sums.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        sums
    }
}
