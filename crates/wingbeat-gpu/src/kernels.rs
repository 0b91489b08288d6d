//! Pipelines: one key, one cache, made on several threads before they are needed.
//!
//! All kernels share one layout of bindings, so that a pass changes bind groups only where it changes buffers.

use crate::{device::Device, device::one_line, disk_cache::DiskCache, source};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};
use wingbeat_backend::BackendError;

/// Bytes of a dispatch's parameters, and the distance between two: a multiple of every alignment that WebGPU allows.
pub(crate) const PARAM_BYTES: u64 = 512;

/// A kernel's variant: its file and the constants that it is compiled with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) file: &'static str,
    pub(crate) constants: Vec<(&'static str, u32)>,
}

/// A pipeline that may still be in the making.
pub(crate) struct Slot {
    state: Mutex<Option<Result<wgpu::ComputePipeline, String>>>,
    made: Condvar,
}

impl Slot {
    /// Waits for the pipeline.
    pub(crate) fn get(&self, device: &Device) -> Result<wgpu::ComputePipeline, BackendError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*state {
                Some(Ok(pipeline)) => return Ok(pipeline.clone()),
                Some(Err(why)) => return Err(device.failed(why)),
                None => state = self.made.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// All pipelines of a device.
pub(crate) struct Kernels {
    maker: Arc<Maker>,
    made: Mutex<HashMap<Key, Arc<Slot>>>,
    pub(crate) bind_layout: wgpu::BindGroupLayout,
    /// Writes what was made to disk.
    saving: Mutex<Option<JoinHandle<()>>>,
}

/// What threads that make pipelines share.
struct Maker {
    device: Arc<Device>,
    layout: wgpu::PipelineLayout,
    cache: Option<Kept>,
    queue: Mutex<Queue>,
    n_made: AtomicUsize,
}

/// The driver's cache, and where it is kept.
struct Kept {
    cache: wgpu::PipelineCache,
    on_disk: DiskCache,
    /// How many pipelines there were when it was last looked at, and how many bytes it had when it was last kept.
    last: Mutex<(usize, usize)>,
}

impl Kept {
    /// Begins with what is on disk.
    fn open(device: &Device, on_disk: DiskCache) -> Option<Kept> {
        let data = on_disk.load();
        let scopes =
            [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory]
                .map(|filter| device.wgpu.push_error_scope(filter));
        let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: data.as_deref(), fallback: true };
        // SAFETY: the data are what `get_data` once gave, by their digest, on this adapter with this driver.
        #[allow(unsafe_code)]
        let cache = unsafe { device.wgpu.create_pipeline_cache(&descriptor) };
        let errors = scopes.into_iter().rev().filter_map(|scope| pollster::block_on(scope.pop())).count();
        let last = Mutex::new((0, data.map_or(0, |data| data.len())));
        (errors == 0).then_some(Kept { cache, on_disk, last })
    }

    /// Writes it to disk if it has grown: a driver's cache never shrinks.
    fn save(&self, n_made: usize) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if n_made <= last.0 {
            return;
        }
        last.0 = n_made;
        if let Some(data) = self.cache.get_data().filter(|data| data.len() != last.1) {
            // A cache that cannot be kept costs time, nothing else.
            if self.on_disk.store(&data).is_ok() {
                last.1 = data.len();
            }
        }
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Key, Arc<Slot>)>,
    n_threads: usize,
}

impl Kernels {
    pub(crate) fn new(device: &Arc<Device>, cache: Option<DiskCache>) -> Kernels {
        let storage = |binding, read_only| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        // In the order of wgsl/lib/bindings.wgsl.
        let entries = [
            wgpu::BindGroupLayoutEntry {
                binding: 0,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: true,
                    min_binding_size: None,
                },
                count: None,
            },
            storage(1, false),
            storage(2, true),
            storage(3, true),
            storage(4, true),
            storage(5, false),
            storage(6, true),
            storage(7, false),
        ];
        let bind_layout = device
            .wgpu
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let layout = device.wgpu.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&bind_layout)],
            immediate_size: 0,
        });
        let cache = cache.filter(|_| device.capabilities.pipeline_cache);
        let maker = Maker {
            device: Arc::clone(device),
            layout,
            cache: cache.and_then(|on_disk| Kept::open(device, on_disk)),
            queue: Mutex::default(),
            n_made: AtomicUsize::new(0),
        };
        Kernels { maker: Arc::new(maker), made: Mutex::default(), bind_layout, saving: Mutex::default() }
    }

    /// The pipeline of a variant; begins to make it where it is asked for the first time.
    pub(crate) fn get(&self, key: Key) -> Arc<Slot> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = made.get(&key) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot { state: Mutex::new(None), made: Condvar::new() });
        made.insert(key.clone(), Arc::clone(&slot));
        self.maker.push(key, Arc::clone(&slot));
        slot
    }

    /// Waits for all that were asked for.
    pub(crate) fn wait(&self) -> Result<(), BackendError> {
        let slots: Vec<Arc<Slot>> =
            self.made.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        slots.iter().try_for_each(|slot| slot.get(&self.maker.device).map(drop))
    }

    /// Begins to write what was made to disk, where that is new.
    pub(crate) fn save(&self) {
        let mut saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = saving.take() {
            // A driver that panicked keeps nothing.
            let _ = before.join();
        }
        let maker = Arc::clone(&self.maker);
        *saving = std::thread::Builder::new().spawn(move || maker.save()).ok();
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        if let Some(saving) = self.saving.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = saving.join();
        }
        self.maker.save();
    }
}

impl Maker {
    fn push(self: &Arc<Maker>, key: Key, slot: Arc<Slot>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push_back((key, slot));
        let most = std::thread::available_parallelism().map_or(1, usize::from).min(12);
        if queue.n_threads < most {
            queue.n_threads += 1;
            let maker = Arc::clone(self);
            let run = move || maker.run();
            // The shader compilers of drivers recurse deeply.
            if std::thread::Builder::new().stack_size(16 << 20).spawn(run).is_err() {
                queue.n_threads -= 1;
                if queue.n_threads == 0 {
                    drop(queue);
                    self.drain();
                }
            }
        }
    }

    fn run(&self) {
        self.drain();
    }

    fn save(&self) {
        if let Some(kept) = &self.cache
            && self.device.check().is_ok()
        {
            kept.save(self.n_made.load(Ordering::Acquire));
        }
    }

    /// Makes pipelines until none waits.
    fn drain(&self) {
        loop {
            let next = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                let next = queue.waiting.pop_front();
                if next.is_none() {
                    queue.n_threads = queue.n_threads.saturating_sub(1);
                }
                next
            };
            let Some((key, slot)) = next else { return };
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.make(&key)))
                .unwrap_or_else(|_| Err("the shader compiler panicked".to_owned()));
            let made = made.map_err(|why| format!("kernel {}: {}", key.file, one_line(&why)));
            *slot.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
            slot.made.notify_all();
        }
    }

    fn make(&self, key: &Key) -> Result<wgpu::ComputePipeline, String> {
        let device = &self.device.wgpu;
        let text = source::expand(key.file, &key.constants);
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(key.file),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        };
        // SAFETY: the kernels are our own. Every index into a buffer comes from shapes that were checked when the buffer
        // was made, or from tokens that were compared with the vocabulary.
        #[allow(unsafe_code)]
        let module = unsafe {
            device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(key.file),
            layout: Some(&self.layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: false,
            },
            cache: self.cache.as_ref().map(|kept| &kept.cache),
        });
        let internal = pollster::block_on(internal.pop());
        match pollster::block_on(scope.pop()).or(internal) {
            Some(error) => Err(error.to_string()),
            None => {
                self.n_made.fetch_add(1, Ordering::Release);
                Ok(pipeline)
            }
        }
    }
}
