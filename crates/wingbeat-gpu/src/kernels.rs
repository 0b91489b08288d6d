//! Pipelines: one key, one cache, made on several threads before they are needed.
//!
//! All kernels share one layout of bindings, so that a pass changes bind groups only where it changes buffers.

use crate::{device::Device, device::one_line, source};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, PoisonError},
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
}

/// What threads that make pipelines share.
struct Maker {
    device: Arc<Device>,
    layout: wgpu::PipelineLayout,
    cache: Option<wgpu::PipelineCache>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Key, Arc<Slot>)>,
    n_threads: usize,
}

impl Kernels {
    pub(crate) fn new(device: &Arc<Device>, cache: Option<wgpu::PipelineCache>) -> Kernels {
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
        let maker = Maker { device: Arc::clone(device), layout, cache, queue: Mutex::default() };
        Kernels { maker: Arc::new(maker), made: Mutex::default(), bind_layout }
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

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).len()
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
            cache: self.cache.as_ref(),
        });
        let internal = pollster::block_on(internal.pop());
        match pollster::block_on(scope.pop()).or(internal) {
            Some(error) => Err(error.to_string()),
            None => Ok(pipeline),
        }
    }
}
