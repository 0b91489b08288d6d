//! A kernel run alone, for its time: what the kernels that measure the device share.

use crate::{Shared, kernels::Key, profile::Cost, profile::Profiler, weights::Arena};
use std::{sync::PoisonError, time::Instant};
use wingbeat_backend::BackendError;

/// Runs, after one to warm up.
const RUNS: u32 = 5;

/// A kernel that nothing else runs beside.
pub(super) struct Trial<'a> {
    pub(super) label: &'static str,
    pub(super) key: Key,
    pub(super) params: &'a [u8],
    /// What it reads, if it reads anything.
    pub(super) weights: Option<&'a Arena>,
    pub(super) n_workgroups: u32,
    pub(super) cost: Cost,
}

impl Trial<'_> {
    /// Seconds of the best of several runs, by time stamps where there are any.
    pub(super) fn seconds(self, shared: &Shared) -> Result<f64, BackendError> {
        let device = &shared.device;
        let pipeline = shared.kernels.get(self.key).get(device)?;
        let mut profiler = match device.capabilities.timestamps {
            true => Some(Profiler::new(device)?),
            false => None,
        };
        let mut order = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.write_params(device, self.params)?;
        let bind =
            order.bind(shared, &shared.acts.buffer(), &shared.vectors.buffer(), self.weights, None, None);
        let (mut best, mut total) = (f64::INFINITY, 0.0);
        for run in 0..=RUNS {
            let mut encoder = device.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let stamps = profiler.as_mut().and_then(|profiler| profiler.next(self.label, self.cost));
            let mut pass = encoder
                .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: stamps });
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind, &[0]);
            pass.dispatch_workgroups(self.n_workgroups, 1, 1);
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
                    let sum = profiler.sums().iter().map(|k| k.seconds).sum();
                    sum - std::mem::replace(&mut total, sum)
                }
            };
            // The first run fills buffers, too.
            if run > 0 && seconds > 0.0 {
                best = best.min(seconds);
            }
        }
        if let Some(weights) = self.weights {
            order.forget_weights(weights.id);
        }
        Ok(best)
    }
}
