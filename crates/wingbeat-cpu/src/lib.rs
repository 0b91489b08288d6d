//! The native CPU backend: matrices are computed on where the file's map has them, in their stored type.
//!
//! On the data path it is one of the devices behind `wingbeat-backend`'s trait. [`Level`] says which instructions
//! the processor has, `simd/` wraps them, `kernels/` are written once over those wrappers, `pool` runs them on all
//! cores, and `ops/` is the trait's operations in terms of kernels and threads. Models and files are left to others.

mod buffer;
mod inputs;
mod kernels;
mod level;
mod matrix;
mod ops;
mod pool;
mod rate;
mod simd;
mod sparse;
mod state;

pub use buffer::Buffer;
pub use inputs::InputSquares;
pub use level::Level;
pub use matrix::Matrix;
pub use ops::CpuPass;
pub use state::State;

use kernels::{Kernels, PackedRows, Panel, QuantRows};
use matrix::{Form, Kind};
use ops::Method;
use pool::Pool;
use std::sync::{Arc, Mutex};
use wingbeat_backend::{
    Backend, BackendError, Batch, MatrixSource, SlabView, StateLayout, States, tolerance::ActivationPrecision,
};
use wingbeat_format::DType;

/// How a [`CpuBackend`] is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuOptions {
    /// Threads, the caller's included; none: one a core.
    pub threads: Option<usize>,
    /// Kernels; none: the best that the processor has.
    pub level: Option<Level>,
    /// Multiply quantized weights with f32 activations, not with int8 ones: slower, and exact but for rounding.
    pub exact: bool,
}

/// The CPU as a device.
pub struct CpuBackend {
    kernels: &'static Kernels,
    exact: bool,
    n_threads: usize,
    workers: Mutex<Workers>,
    inputs: Option<Arc<InputSquares>>,
}

/// What a pass needs for itself: the threads and their scratch memory.
pub(crate) struct Workers {
    pub(crate) pool: Pool,
    /// One a thread.
    pub(crate) scratch: Vec<Mutex<Scratch>>,
    /// Activations as words, one for each different input of the products under way.
    pub(crate) packed: Vec<PackedRows>,
}

/// A thread's own memory; it grows to what the model needs and stays.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) quantized: QuantRows,
    pub(crate) product: Vec<f32>,
    /// Normed and shifted rows of a tile.
    pub(crate) rows: Vec<f32>,
    pub(crate) panel: Panel,
}

/// Threads at most: more than any machine has, so that a slip of the pen is caught.
const MAX_THREADS: usize = 1024;

impl CpuBackend {
    /// A CPU backend with threads of its own.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new(options: CpuOptions) -> Result<CpuBackend, BackendError> {
        let level = options.level.filter(|level| level.is_available()).unwrap_or_else(Level::best);
        let kernels = Kernels::of(level).expect("the level is available");
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let n_threads = options.threads.unwrap_or_else(cores).clamp(1, MAX_THREADS);
        let pool = Pool::new(n_threads)?;
        let scratch = (0..n_threads).map(|_| Mutex::default()).collect();
        let workers = Mutex::new(Workers {
            pool,
            scratch,
            packed: (0..ops::MAX_JOBS).map(|_| PackedRows::default()).collect(),
        });
        Ok(CpuBackend { kernels, exact: options.exact, n_threads, workers, inputs: None })
    }

    /// The same, with the inputs of all products noted down. The results are those of the plain ways: nothing is fused.
    pub fn noting(self, inputs: Arc<InputSquares>) -> CpuBackend {
        CpuBackend { inputs: Some(inputs), ..self }
    }

    /// The kernels in use.
    pub fn level(&self) -> Level {
        self.kernels.level
    }

    /// Threads in use.
    pub fn n_threads(&self) -> usize {
        self.n_threads
    }
}

impl Backend for CpuBackend {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Buffer = Buffer;
    type State = State;
    type Pass<'a> = CpuPass<'a>;
    type Sampler = std::convert::Infallible;

    fn describe(&self) -> String {
        let threads = if self.n_threads == 1 { "thread" } else { "threads" };
        format!("CPU ({}, {} {threads})", self.kernels.level, self.n_threads)
    }

    fn arithmetic(&self) -> String {
        // However many threads there are, a row is computed by one.
        let exact = if self.exact { ", exact" } else { "" };
        format!("CPU {} ({}{exact})", std::env::consts::ARCH, self.kernels.level)
    }

    fn matrix(&self, source: &MatrixSource) -> Result<Matrix, BackendError> {
        Matrix::new(source, self.kernels, self.exact)
    }

    fn vector(&self, values: &[f32]) -> Result<Vec<f32>, BackendError> {
        Ok(values.to_vec())
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Buffer, BackendError> {
        Buffer::new(rows, width)
    }

    fn read(&self, buffer: &Buffer, first_row: usize, out: &mut [f32]) -> Result<(), BackendError> {
        out.copy_from_slice(&buffer.as_slice()[first_row * buffer.width..][..out.len()]);
        Ok(())
    }

    fn state(&self, layout: &StateLayout) -> Result<State, BackendError> {
        State::new(layout)
    }

    fn fork_state(&self, state: &State) -> Result<State, BackendError> {
        Ok(state.clone())
    }

    fn read_slab(&self, state: &State, slab: usize) -> Result<Vec<f32>, BackendError> {
        Ok(state.read(slab))
    }

    fn write_slab(&self, state: &mut State, slab: usize, values: &[f32]) -> Result<(), BackendError> {
        state.write(slab, values)
    }

    fn view_slab<'a>(&self, state: &'a State, slab: usize) -> Option<SlabView<'a>> {
        Some(state.view(slab))
    }

    fn view_slab_mut<'a>(&self, state: &'a mut State, slab: usize) -> Option<&'a mut [f32]> {
        Some(state.slab_mut(slab))
    }

    fn begin<'a>(&'a self, batch: &'a Batch, states: States<'a, State>) -> Result<CpuPass<'a>, BackendError> {
        // A panic under this lock leaves nothing behind but scratch memory.
        let workers = self.workers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(CpuPass::new(self.kernels, workers, self.inputs.as_deref(), batch, states))
    }

    fn activation_precision(&self, matrix: &Matrix, rows: usize) -> ActivationPrecision {
        match (ops::method(matrix, rows), matrix.kind) {
            (Method::Words(Form::Int8), _) => ActivationPrecision::Int8 { block: kernels::TILE_BLOCK },
            (Method::Words(Form::Int16), _) => ActivationPrecision::Int16 { block: kernels::TILE_BLOCK },
            (Method::Stored, Kind::Int8(_)) => ActivationPrecision::Int8 { block: kernels::SCALE_VALUES },
            _ => ActivationPrecision::Exact,
        }
    }

    fn multiply_rate(&self, dtype: DType) -> Option<f64> {
        rate::multiply_rate(self, dtype)
    }
}
