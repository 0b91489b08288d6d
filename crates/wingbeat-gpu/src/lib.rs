//! The WebGPU backend: WGSL kernels made for RWKV, on any GPU that Vulkan, Metal or DirectX 12 reaches.
//!
//! On the data path this crate is a device: it holds weights, states and activations in the GPU's memory and runs the
//! operations of [`wingbeat_backend::Pass`] there. Files, models and sampling settings are left to others.
//!
//! - Weights lie in a few large buffers, in a layout chosen for each storage type (`weights/`), uploaded from the file's
//!   map by several threads while pipelines are being made.
//! - Activations lie in one buffer and weight vectors in another (`pool.rs`), so that a kernel needs few bindings.
//! - States are slots in one buffer a layer (`state.rs`): a dispatch moves any number of sequences on.
//! - A pass records which kernels run over what and submits once (`pass.rs`).
//! - Tokens may be chosen here too (`sampling.rs`), so that steps of a generation follow one another without the host.
//! - What an adapter can do chooses the kernels' variants (`capabilities.rs`, `ops/`); a plain variant of each runs under
//!   WebGPU's default limits.

mod adapter;
mod capabilities;
mod device;
mod disk_cache;
mod error;
mod kernels;
mod ops;
mod order;
mod pass;
mod pool;
mod profile;
mod sampling;
mod source;
mod staging;
mod state;
mod tuning;
mod weights;

pub use adapter::{AdapterChoice, AdapterKind, AdapterSummary, adapters};
pub use capabilities::{Capabilities, ParseWithoutError, Without};
pub use disk_cache::user_cache_folder;
pub use error::GpuError;
pub use pass::Pass;
pub use sampling::Sampler;
pub use state::State;
#[doc(hidden)]
pub use weights::HostMatrix;
pub use weights::Matrix;

use device::Device;
use disk_cache::DiskCache;
use kernels::Kernels;
use order::Order;
use pool::Pool;
use profile::Profiler;
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering},
};
use weights::{Arenas, Layout, Uploads};
use wingbeat_backend::{
    Backend, BackendError, Batch, DeviceSampling, KernelTime, MatrixSource, PassLimits, StateLayout, States,
    tolerance::ActivationPrecision,
};
use wingbeat_format::DType;

/// How a GPU is used.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GpuOptions {
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// What to do without, to force plainer kernels; none: what the environment variable `WINGBEAT_GPU_WITHOUT` says.
    pub without: Option<Without>,
    /// Bytes of the adapter's memory that may be used, if fewer than it has.
    pub memory_bytes: Option<u64>,
    /// Adapters made of software don't count.
    pub hardware_only: bool,
    /// Activations always meet weights as f32: no int8 products, no half-precision ones.
    pub exact: bool,
    /// Where compiled kernels are kept from run to run; none: where the environment variable `WINGBEAT_CACHE` says, or in
    /// the user's cache folder. An empty path: nowhere.
    pub cache: Option<PathBuf>,
}

/// A GPU that is open.
pub struct GpuBackend {
    pub(crate) shared: Arc<Shared>,
    /// Room that passes use one after the other (`ops/time_mix/chunked.rs`); not in `shared`, which it keeps alive.
    pub(crate) scratch: Mutex<Option<Arc<Buffer>>>,
}

/// What buffers and vectors keep alive.
pub(crate) struct Shared {
    pub(crate) device: Arc<Device>,
    pub(crate) kernels: Kernels,
    pub(crate) acts: Pool,
    pub(crate) vectors: Pool,
    arenas: Arenas,
    pub(crate) uploads: Uploads,
    /// Whether nothing is on its way to the device any more.
    pub(crate) loaded: AtomicBool,
    kinds: Mutex<Vec<Arc<state::Kind>>>,
    /// Held while anything is submitted: what is recorded against a buffer runs before that buffer is replaced.
    pub(crate) order: Mutex<Order>,
    pub(crate) profiler: Mutex<Option<Profiler>>,
    /// Types that are stored here as others.
    converted: Mutex<BTreeSet<(&'static str, &'static str)>>,
    pub(crate) exact: bool,
    /// Where sums of `linear_sparse` go in the activations, and how many floats there are.
    pub(crate) partial_sums: Mutex<Option<(u32, usize)>>,
    /// Where integers kept by input lie as halves while they are multiplied.
    pub(crate) expanded: Mutex<Option<Arc<weights::Arena>>>,
    /// Whether most weights are not F32: those that are meet activations in halves then, like the others.
    pub(crate) mixed: AtomicBool,
    pub(crate) tuning: tuning::Tuning,
}

/// A weight vector.
pub struct Vector {
    shared: Arc<Shared>,
    pub(crate) offset: u32,
    len: usize,
}

/// Activations `(rows, width)`.
pub struct Buffer {
    shared: Arc<Shared>,
    pub(crate) offset: u32,
    rows: usize,
    pub(crate) width: usize,
    /// Where there is room for a copy in halves, once one was made.
    pub(crate) halves: Mutex<Option<u32>>,
}

impl Buffer {
    /// Floats that a copy in halves takes.
    pub(crate) fn half_floats(&self) -> usize {
        (self.rows * self.width).div_ceil(2)
    }
}

impl Drop for Vector {
    fn drop(&mut self) {
        self.shared.vectors.give(self.offset, self.len);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.shared.acts.give(self.offset, self.rows * self.width);
        if let Some(place) = *self.halves.get_mut().unwrap_or_else(PoisonError::into_inner) {
            self.shared.acts.give(place, self.half_floats());
        }
    }
}

impl GpuBackend {
    /// Opens an adapter.
    ///
    /// # Errors
    /// There is none such, or its driver refuses.
    pub fn new(options: &GpuOptions) -> Result<GpuBackend, GpuError> {
        let device = Arc::new(Device::open(options)?);
        let cache = DiskCache::new(options.cache.as_deref(), &device.info);
        let kernels = Kernels::new(&device, cache);
        let order = Order::new(&device)
            .map_err(|e| GpuError::NoDevice { adapter: device.adapter.name.clone(), why: e.to_string() })?;
        let shared = Shared {
            kernels,
            acts: Pool::new("activations"),
            vectors: Pool::new("weight vectors"),
            arenas: Arenas::default(),
            uploads: Uploads::new(&device),
            loaded: AtomicBool::new(true),
            kinds: Mutex::default(),
            order: Mutex::new(order),
            profiler: Mutex::new(None),
            converted: Mutex::default(),
            exact: options.exact,
            partial_sums: Mutex::new(None),
            expanded: Mutex::new(None),
            mixed: AtomicBool::new(false),
            tuning: tuning::Tuning::from_environment(),
            device,
        };
        Ok(GpuBackend { shared: Arc::new(shared), scratch: Mutex::new(None) })
    }

    /// The adapter in use.
    pub fn adapter(&self) -> &AdapterSummary {
        &self.shared.device.adapter
    }

    /// A state of another device, brought here: the same model may be open twice.
    fn adopt(&self, state: &State) -> Result<State, BackendError> {
        let layout = &state.kind.layout;
        let mut own = self.state(layout)?;
        for (slab, values) in self.read_state(state, layout)?.iter().enumerate() {
            self.write_slab(&mut own, slab, values)?;
        }
        Ok(own)
    }

    /// Room in the activations, zeroed.
    fn take(&self, floats: usize) -> Result<u32, BackendError> {
        let _order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.acts.take(&self.shared.device, floats)
    }
}

impl Backend for GpuBackend {
    type Matrix = Matrix;
    type Vector = Vector;
    type Buffer = Buffer;
    type State = State;
    type Pass<'a> = Pass<'a>;
    type Sampler = Sampler;

    fn describe(&self) -> String {
        let device = &self.shared.device;
        format!("GPU {} ({}; {})", device.adapter.name, device.adapter.api, device.capabilities)
    }

    fn arithmetic(&self) -> String {
        let exact = if self.shared.exact { ", exact" } else { "" };
        format!("{}, {}{exact}", self.describe(), self.shared.device.adapter.driver)
    }

    fn reserve(&self, sources: &mut dyn Iterator<Item = MatrixSource>) -> Result<(), BackendError> {
        let device = &self.shared.device;
        let (mut needed, mut in_f32) = (0, 0);
        for source in sources {
            let bytes = weights::bytes_on(device, &source).unwrap_or(0);
            needed += bytes;
            in_f32 += if source.dtype == DType::F32 { bytes } else { 0 };
        }
        self.shared.mixed.store(in_f32 < needed / 2, Ordering::Relaxed);
        if let Some(found) = device.adapter.memory_bytes
            && needed > found
        {
            return Err(BackendError::ModelTooLarge {
                device: device.name(),
                needed_mb: needed.div_ceil(1_000_000),
                found_mb: found / 1_000_000,
            });
        }
        self.shared.arenas.announce(needed);
        Ok(())
    }

    fn matrix(&self, source: &MatrixSource) -> Result<Matrix, BackendError> {
        let row_bytes = source.checked_row_bytes()?;
        let matrix = self.shared.arenas.place(&self.shared.device, source)?;
        if let Some((_, true)) = Layout::of(source.dtype) {
            let to = if source.dtype == DType::Q3K { "Q6_K" } else { "Q5_1" };
            self.shared
                .converted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert((source.dtype.name(), to));
        }
        self.shared.loaded.store(false, Ordering::Release);
        self.shared.uploads.begin(source, row_bytes, &matrix);
        Ok(matrix)
    }

    fn vector(&self, values: &[f32]) -> Result<Vector, BackendError> {
        let shared = &self.shared;
        let _order = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = shared.vectors.take_uncleared(&shared.device, values.len())?;
        let (buffer, _) = shared.vectors.buffer().expect("room was just taken in it");
        shared.device.queue.write_buffer(&buffer, u64::from(offset) * 4, bytemuck::cast_slice(values));
        Ok(Vector { shared: Arc::clone(shared), offset, len: values.len() })
    }

    fn loaded(&self) -> Result<(), BackendError> {
        self.shared.uploads.wait()?;
        self.shared.loaded.store(true, Ordering::Release);
        self.shared.kernels.wait()?;
        self.shared.kernels.save();
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let converted = self.shared.converted.lock().unwrap_or_else(PoisonError::into_inner);
        let note =
            |(from, to): &(&str, &str)| format!("{from} weights are kept as {to} on the GPU, without loss");
        converted.iter().map(note).collect()
    }

    fn pass_limits(&self) -> PassLimits {
        // A third of what one binding may hold, as buffers grow to powers of two.
        let binding = self.shared.device.capabilities.binding_bytes as usize;
        PassLimits {
            scratch_bytes: (binding / 3).min(512 << 20),
            logits_bytes: (binding / 4).min(512 << 20),
            rows: 1024,
        }
    }

    fn warm_up(&self) -> &[&[usize]] {
        &[&[1], &[512]]
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer, BackendError> {
        let offset = self.take(rows * width)?;
        Ok(Buffer { shared: Arc::clone(&self.shared), offset, rows, width, halves: Mutex::new(None) })
    }

    fn read(&self, buffer: &Buffer, first_row: usize, out: &mut [f32]) -> Result<(), BackendError> {
        self.read_rows(buffer, &mut [(first_row, out)])
    }

    fn read_rows(&self, buffer: &Buffer, rows: &mut [(usize, &mut [f32])]) -> Result<(), BackendError> {
        let Some((acts, _)) = self.shared.acts.buffer() else { return Ok(()) };
        let ranges: Vec<_> = rows
            .iter()
            .map(|(first_row, out)| {
                let at = u64::from(buffer.offset) + (first_row * buffer.width) as u64;
                (&acts, at * 4, out.len() as u64 * 4)
            })
            .collect();
        self.shared.device.read(&ranges, &mut |range, bytes| {
            let out = &mut *rows[range].1;
            for (out, value) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(*value);
            }
        })
    }

    fn state(&self, layout: &StateLayout) -> Result<State, BackendError> {
        let mut kinds = self.shared.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = match kinds.iter().find(|kind| kind.layout == *layout) {
            Some(kind) => Arc::clone(kind),
            None => {
                let kind = Arc::new(state::Kind::new(layout));
                kinds.push(Arc::clone(&kind));
                kind
            }
        };
        drop(kinds);
        let _order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        kind.initial(&self.shared.device)
    }

    fn fork_state(&self, state: &State) -> Result<State, BackendError> {
        if !Arc::ptr_eq(&state.device, &self.shared.device) {
            return self.adopt(state);
        }
        let _order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        state.fork()
    }

    fn fork_states(&self, state: &State, n: usize) -> Result<Vec<State>, BackendError> {
        let (device, kind) = (&self.shared.device, &state.kind);
        if !Arc::ptr_eq(&state.device, device) || state.place.is_none() {
            return (0..n).map(|_| self.fork_state(state)).collect();
        }
        let copies = {
            let _order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
            state.places_for_copies(n)?
        };
        let batch = Batch::new();
        let mut pass = Pass::new(self, &batch, States::new());
        for (chunk, from, targets) in state::in_chunks(state, &copies) {
            ops::fork_state(&mut pass, kind, &chunk, from, &targets);
        }
        pass.submit()?;
        Ok(copies)
    }

    fn read_slab(&self, state: &State, slab: usize) -> Result<Vec<f32>, BackendError> {
        Ok(state.read(&[slab])?.pop().unwrap_or_default())
    }

    fn read_state(&self, state: &State, _: &StateLayout) -> Result<Vec<Vec<f32>>, BackendError> {
        let slabs: Vec<usize> = (0..state.kind.layout.slabs.len()).collect();
        state.read(&slabs)
    }

    fn write_slab(&self, state: &mut State, slab: usize, values: &[f32]) -> Result<(), BackendError> {
        let _order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        state.write(slab, values)
    }

    fn write_state(&self, state: &mut State, _: &StateLayout, slabs: &[&[f32]]) -> Result<(), BackendError> {
        let _order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        state.write_all(slabs)
    }

    fn begin<'a>(
        &'a self,
        batch: &'a Batch,
        mut states: States<'a, State>,
    ) -> Result<Pass<'a>, BackendError> {
        self.shared.device.check()?;
        for state in &mut states {
            if !Arc::ptr_eq(&state.device, &self.shared.device) {
                **state = self.adopt(state)?;
            }
        }
        Ok(Pass::new(self, batch, states))
    }

    fn sampler(
        &self,
        settings: &DeviceSampling,
        n_vocab: usize,
        n_rows: usize,
    ) -> Result<Option<Sampler>, BackendError> {
        Sampler::new(&self.shared, settings, n_vocab, n_rows)
    }

    fn activation_precision(&self, matrix: &Matrix, rows: usize) -> ActivationPrecision {
        ops::activation_precision(&self.shared, matrix, rows)
    }

    fn profile(&self, on: bool) -> Result<(), BackendError> {
        let profiler = if on { Some(Profiler::new(&self.shared.device)?) } else { None };
        *self.shared.profiler.lock().unwrap_or_else(PoisonError::into_inner) = profiler;
        Ok(())
    }

    fn kernel_times(&self) -> Vec<KernelTime> {
        let profiler = self.shared.profiler.lock().unwrap_or_else(PoisonError::into_inner);
        profiler.as_ref().map(Profiler::sums).unwrap_or_default()
    }
    fn read_bandwidth(&self) -> Option<f64> {
        ops::read_bandwidth(&self.shared).ok().filter(|rate| *rate > 0.0)
    }

    fn multiply_rate(&self, dtype: DType) -> Option<f64> {
        let (layout, _) = Layout::of(dtype)?;
        ops::multiply_rate(&self.shared, layout).ok().filter(|rate| *rate > 0.0)
    }
}
