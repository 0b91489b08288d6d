//! A device that is open: its queue, its faults, and waiting for it.
//!
//! Nothing that goes wrong on a GPU is allowed to end the process: faults are kept here by the callbacks that hear of
//! them, and every call that waits or submits looks whether there is one.

use crate::{AdapterSummary, Capabilities, GpuError, GpuOptions, adapter, staging::Staging};
use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};
use wingbeat_backend::BackendError;

/// How long a submit may take before it counts as hung: longer than any pass, shorter than patience.
const HUNG: Duration = Duration::from_secs(120);

/// An open device.
pub(crate) struct Device {
    pub(crate) wgpu: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) adapter: AdapterSummary,
    pub(crate) info: wgpu::AdapterInfo,
    pub(crate) capabilities: Capabilities,
    fault: Arc<Mutex<Option<String>>>,
    pub(crate) staging: Staging,
}

impl Device {
    /// Opens an adapter.
    pub(crate) fn open(options: &GpuOptions) -> Result<Device, GpuError> {
        let without = match options.without {
            Some(without) => without,
            None => std::env::var("WINGBEAT_GPU_WITHOUT").unwrap_or_default().parse()?,
        };
        let adapter = adapter::choose(&options.adapter, options.hardware_only)?;
        let mut summary = adapter::summary(&adapter, without);
        if let Some(limit) = options.memory_bytes {
            summary.memory_bytes = Some(summary.memory_bytes.map_or(limit, |bytes| bytes.min(limit)));
        }
        let limits = if without.has("limits") { wgpu::Limits::default() } else { adapter.limits() };
        let cooperative = summary.capabilities.cooperative;
        // SAFETY: the experimental feature asked for is cooperative matrices, whose use here is tested on hardware.
        #[allow(unsafe_code)]
        let experimental = unsafe { wgpu::ExperimentalFeatures::enabled() };
        let descriptor = wgpu::DeviceDescriptor {
            label: None,
            required_features: summary.capabilities.features(),
            required_limits: limits,
            experimental_features: if cooperative {
                experimental
            } else {
                wgpu::ExperimentalFeatures::disabled()
            },
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let (wgpu, queue) = pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| {
            GpuError::NoDevice { adapter: summary.name.clone(), why: one_line(&e.to_string()) }
        })?;
        let fault = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&fault);
        wgpu.on_uncaptured_error(Arc::new(move |error: wgpu::Error| keep(&kept, &error.to_string())));
        let kept = Arc::clone(&fault);
        wgpu.set_device_lost_callback(move |reason, message| {
            // A device that is dropped in order is `Destroyed`: nobody asks then.
            keep(&kept, &format!("the device was lost ({reason:?}): {message}"));
        });
        let (capabilities, info) = (summary.capabilities, adapter.get_info());
        Ok(Device { wgpu, queue, adapter: summary, info, capabilities, fault, staging: Staging::default() })
    }

    /// The device's name, for messages.
    pub(crate) fn name(&self) -> String {
        format!("GPU {}", self.adapter.name)
    }

    /// The error that was heard of, if any. It stays: a device that failed once is not used again.
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(what) => Err(BackendError::Device { device: self.name(), what: what.clone() }),
            None => Ok(()),
        }
    }

    /// Waits until everything submitted is done.
    pub(crate) fn wait(&self) -> Result<(), BackendError> {
        self.wait_for(None)
    }

    /// Waits for a submission.
    pub(crate) fn wait_for(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), BackendError> {
        let wait = wgpu::PollType::Wait { submission_index: submission, timeout: Some(HUNG) };
        if let Err(error) = self.wgpu.poll(wait) {
            keep(&self.fault, &format!("no answer: {error}"));
        }
        self.check()
    }

    /// A buffer; where there is no memory for it, an error.
    pub(crate) fn buffer(
        &self,
        what: &'static str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, BackendError> {
        self.buffer_with(what, bytes, usage, false)
    }

    /// The same, mapped, for the host to write.
    pub(crate) fn mapped_buffer(
        &self,
        what: &'static str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, BackendError> {
        self.buffer_with(what, bytes, usage, true)
    }

    fn buffer_with(
        &self,
        what: &'static str,
        bytes: u64,
        usage: wgpu::BufferUsages,
        mapped_at_creation: bool,
    ) -> Result<wgpu::Buffer, BackendError> {
        let out_of_memory = || BackendError::OutOfMemory {
            device: self.name(),
            what,
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        if bytes > self.wgpu.limits().max_buffer_size {
            return Err(out_of_memory());
        }
        let scope = self.wgpu.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor =
            wgpu::BufferDescriptor { label: Some(what), size: bytes.max(16), usage, mapped_at_creation };
        let buffer = self.wgpu.create_buffer(&descriptor);
        match pollster::block_on(scope.pop()) {
            Some(_) => Err(out_of_memory()),
            None => {
                self.check()?;
                Ok(buffer)
            }
        }
    }

    /// A buffer that kernels read and write.
    pub(crate) fn storage(&self, what: &'static str, bytes: u64) -> Result<wgpu::Buffer, BackendError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        self.buffer(what, bytes, usage)
    }

    /// Copies ranges of buffers, all in one transfer, and hands their bytes to `take`, in order.
    pub(crate) fn read(
        &self,
        ranges: &[(&wgpu::Buffer, u64, u64)],
        take: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), BackendError> {
        let total: u64 = ranges.iter().map(|(_, _, bytes)| bytes).sum();
        if total == 0 {
            return self.check();
        }
        let staging = self.staging.to_host(self, total)?;
        let mut encoder = self.wgpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut at = 0;
        for (buffer, offset, bytes) in ranges {
            encoder.copy_buffer_to_buffer(buffer, *offset, &staging, at, *bytes);
            at += bytes;
        }
        let submission = self.queue.submit([encoder.finish()]);
        let (sender, receiver) = mpsc::channel();
        staging.slice(..total).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver waits below, or has given up.
            let _ = sender.send(result);
        });
        self.wait_for(Some(submission))?;
        self.mapped(&receiver)?;
        let view = staging.slice(..total).get_mapped_range().map_err(|e| self.failed(&e.to_string()))?;
        let mut at = 0;
        for (index, (_, _, bytes)) in ranges.iter().enumerate() {
            let end = at + *bytes as usize;
            take(index, &view[at..end]);
            at = end;
        }
        drop(view);
        staging.unmap();
        self.staging.give_back(staging);
        Ok(())
    }

    /// Waits for a buffer whose bytes were asked for, once what it waits for was submitted and waited for.
    pub(crate) fn mapped(
        &self,
        receiver: &mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
    ) -> Result<(), BackendError> {
        match receiver.recv_timeout(HUNG) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error.to_string())),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    /// An error of this device.
    pub(crate) fn failed(&self, what: &str) -> BackendError {
        BackendError::Device { device: self.name(), what: one_line(what) }
    }
}

/// Keeps the first fault.
fn keep(fault: &Mutex<Option<String>>, what: &str) {
    fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| one_line(what));
}

/// A driver's message, fit for one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}

#[cfg(test)]
pub(crate) mod tests;
