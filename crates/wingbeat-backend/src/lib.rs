//! What a device must compute for RWKV, and nothing about how.
//!
//! On the data path this crate is the seam between a model (which weights, which order) and a device (which
//! instructions): `wingbeat-model` writes its forward pass against [`Backend`] and [`Pass`], and a device crate
//! implements them. [`mod@reference`] is the living definition of every operation in plain loops, and
//! [`conformance`] compares any backend with it over odd shapes. Files, tokens and sampling are left to others.
//!
//! Dimensions, as everywhere in Wingbeat: `B` sequences, `T` rows (tokens of all sequences of a pass), `C`
//! channels, `H` heads, `N` head size, `F` FFN width, `V` vocabulary, `L` layers, `R` low rank.
#![forbid(unsafe_code)]

mod batch;
pub mod conformance;
mod error;
mod matrix;
mod pass;
mod profile;
pub mod reference;
mod sampling;
mod state;
pub mod tolerance;

pub use batch::{Batch, SequenceRows};
pub use error::BackendError;
pub use matrix::{MatrixSource, Orientation};
pub use pass::{
    Activation, Decay, GroupNorm, LayerNorm, Linear, LowRankMixV7, Pass, ShiftLinear, TimeMixV6, TimeMixV7,
    V6Readout, V7Keys, V7Readout, WKV7_DECAY_SCALE, Wkv4, Wkv6, Wkv7,
};
pub use profile::KernelTime;
pub use sampling::{DeviceSampling, NO_TOKEN, SamplerStart, TokenSampler};
pub use state::{SlabAt, SlabKind, SlabSpec, SlabView, StateLayout};

use smallvec::SmallVec;
use tolerance::ActivationPrecision;
use wingbeat_format::DType;

/// The states of a pass, in the order of its sequences. A few are handed over without an allocation.
pub type States<'a, S> = SmallVec<[&'a mut S; 4]>;

/// A device that can hold RWKV weights, states and activations and run passes over them.
///
/// Everything is f32 outside the weight matrices; sums are f32 or better. Methods that can run out of memory or
/// lose their device return an error, the operations of a [`Pass`] do not: they record (or run at once), and
/// [`Pass::submit`] reports.
pub trait Backend: Send + Sync + Sized + 'static {
    /// A weight matrix `(rows, cols)` in whatever form the device computes on.
    type Matrix: Send + Sync;
    /// A weight vector in f32.
    type Vector: Send + Sync;
    /// Activations `(rows, width)` in f32, row-major.
    type Buffer: Send + Sync;
    /// The recurrent state of one sequence: every slab of a [`StateLayout`].
    type State: Send + Sync;
    /// Operations under way, see [`Pass`].
    type Pass<'a>: Pass<Self>;
    /// What chooses tokens on the device; [`Infallible`](std::convert::Infallible) where nothing does.
    type Sampler: TokenSampler<Self>;

    /// What a person calls this device: the processor's or adapter's name and the code path in use.
    fn describe(&self) -> String;

    /// What decides the bits of what it computes, in words: two devices that say the same compute the same, as far as this
    /// kind of device repeats itself.
    fn arithmetic(&self) -> String {
        self.describe()
    }

    /// Hears of all matrices that [`Backend::matrix`] will be given, before the first.
    ///
    /// # Errors
    /// [`BackendError::ModelTooLarge`]: there is no memory for all of them.
    fn reserve(&self, sources: &mut dyn Iterator<Item = MatrixSource>) -> Result<(), BackendError> {
        let _ = sources;
        Ok(())
    }

    /// Takes a matrix from a file. A CPU keeps the mapped bytes, a GPU uploads them.
    ///
    /// # Errors
    /// The type or orientation is not supported by this device, or there is no memory for it.
    fn matrix(&self, source: &MatrixSource) -> Result<Self::Matrix, BackendError>;

    /// Takes a vector.
    ///
    /// # Errors
    /// There is no memory for it.
    fn vector(&self, values: &[f32]) -> Result<Self::Vector, BackendError>;

    /// Waits until all weights are ready to compute on; a device may take them while more come.
    ///
    /// # Errors
    /// Something went wrong on their way.
    fn loaded(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// What a person should know about how the weights are kept, a line each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// How much a pass may hold.
    fn pass_limits(&self) -> PassLimits {
        PassLimits::default()
    }

    /// Passes that should be recorded and dropped while weights are loading, so that what they need is made by then:
    /// lengths of their sequences. Only for devices that record; none where operations run at once.
    fn warm_up(&self) -> &[&[usize]] {
        &[]
    }

    /// Allocates activations `(rows, width)`, zeroed.
    ///
    /// # Errors
    /// There is no memory for it.
    fn buffer(&self, rows: usize, width: usize) -> Result<Self::Buffer, BackendError>;

    /// Copies rows `first_row..first_row + out.len() / width` of a buffer to the host. Waits for submitted passes.
    ///
    /// # Errors
    /// The device was lost.
    fn read(&self, buffer: &Self::Buffer, first_row: usize, out: &mut [f32]) -> Result<(), BackendError>;

    /// [`Backend::read`] of several runs of rows, each from its first row on, at the price of one.
    ///
    /// # Errors
    /// The device was lost.
    fn read_rows(&self, buffer: &Self::Buffer, rows: &mut [(usize, &mut [f32])]) -> Result<(), BackendError> {
        rows.iter_mut().try_for_each(|(first_row, out)| self.read(buffer, *first_row, out))
    }

    /// The state of a sequence that has read nothing: zero, but where [`SlabKind::initial`] says otherwise.
    ///
    /// # Errors
    /// There is no memory for it.
    fn state(&self, layout: &StateLayout) -> Result<Self::State, BackendError>;

    /// A copy of a state, on the device.
    ///
    /// # Errors
    /// There is no memory for it.
    fn fork_state(&self, state: &Self::State) -> Result<Self::State, BackendError>;

    /// Several copies of a state, on the device.
    ///
    /// # Errors
    /// There is no memory for them.
    fn fork_states(&self, state: &Self::State, n: usize) -> Result<Vec<Self::State>, BackendError> {
        (0..n).map(|_| self.fork_state(state)).collect()
    }

    /// Reads slab number `slab` of a state in the layout's shape (row-major f32).
    ///
    /// # Errors
    /// The device was lost.
    fn read_slab(&self, state: &Self::State, slab: usize) -> Result<Vec<f32>, BackendError>;

    /// Reads all slabs, in the layout's order, at the price of one transfer.
    ///
    /// # Errors
    /// The device was lost.
    fn read_state(&self, state: &Self::State, layout: &StateLayout) -> Result<Vec<Vec<f32>>, BackendError> {
        (0..layout.slabs.len()).map(|slab| self.read_slab(state, slab)).collect()
    }

    /// Replaces slab number `slab` of a state; `values` has the layout's shape.
    ///
    /// # Errors
    /// The number of values is wrong, or the device was lost.
    fn write_slab(&self, state: &mut Self::State, slab: usize, values: &[f32]) -> Result<(), BackendError>;

    /// Replaces all slabs, in the layout's order, at the price of one transfer.
    ///
    /// # Errors
    /// As [`Backend::write_slab`].
    fn write_state(
        &self,
        state: &mut Self::State,
        layout: &StateLayout,
        slabs: &[&[f32]],
    ) -> Result<(), BackendError> {
        assert_eq!(layout.slabs.len(), slabs.len(), "values of every slab");
        slabs.iter().enumerate().try_for_each(|(slab, values)| self.write_slab(state, slab, values))
    }

    /// A slab where it lies, without a copy; none where states are not in the host's memory.
    fn view_slab<'a>(&self, state: &'a Self::State, slab: usize) -> Option<SlabView<'a>> {
        let _ = (state, slab);
        None
    }

    /// The values of a slab in the order of [`Backend::view_slab`], to be written where they lie; none where there is no
    /// view either.
    fn view_slab_mut<'a>(&self, state: &'a mut Self::State, slab: usize) -> Option<&'a mut [f32]> {
        let _ = (state, slab);
        None
    }

    /// Starts a pass over the rows of `batch`; `states[i]` belongs to sequence `i`.
    ///
    /// # Errors
    /// The device was lost.
    fn begin<'a>(
        &'a self,
        batch: &'a Batch,
        states: States<'a, Self::State>,
    ) -> Result<Self::Pass<'a>, BackendError>;

    /// A sampler on the device for sequences that take one token each a step; none where the device does not choose
    /// tokens, or not by these settings.
    ///
    /// # Errors
    /// There is no memory for it.
    fn sampler(
        &self,
        settings: &DeviceSampling,
        n_vocab: usize,
        n_rows: usize,
    ) -> Result<Option<Self::Sampler>, BackendError> {
        let _ = (settings, n_vocab, n_rows);
        Ok(None)
    }

    /// How exactly a product with `matrix` sees its activations when `rows` rows are multiplied at once. The
    /// conformance suite derives its tolerance from the answer.
    fn activation_precision(&self, matrix: &Self::Matrix, rows: usize) -> ActivationPrecision;

    /// Begins (afresh) or ends to measure the time of each kernel. Costs speed.
    ///
    /// # Errors
    /// The device cannot tell.
    fn profile(&self, on: bool) -> Result<(), BackendError> {
        match on {
            true => Err(BackendError::Device {
                device: self.describe(),
                what: "it has no times of kernels; GPUs with time stamps have".to_owned(),
            }),
            false => Ok(()),
        }
    }

    /// What was measured since [`Backend::profile`], the longest first.
    fn kernel_times(&self) -> Vec<KernelTime> {
        Vec::new()
    }

    /// Bytes a second at which kernels can read the device's memory, measured when it is asked for; none where the device
    /// cannot tell.
    fn read_bandwidth(&self) -> Option<f64> {
        None
    }

    /// Operations a second, a multiplication with an addition being two, at which kernels can multiply, measured when it is
    /// asked for: in the arithmetic of products of many rows with matrices stored as `dtype`, by a kernel that does nothing
    /// else on values in registers. None where the device cannot tell, or has no such matrices.
    fn multiply_rate(&self, dtype: DType) -> Option<f64> {
        let _ = dtype;
        None
    }
}

/// How much a pass may hold: a forward call of more is cut into several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassLimits {
    /// Bytes of activations.
    pub scratch_bytes: usize,
    /// Bytes of logits.
    pub logits_bytes: usize,
    /// Rows at most.
    pub rows: usize,
}

impl Default for PassLimits {
    /// What stays in a processor's caches.
    fn default() -> PassLimits {
        PassLimits { scratch_bytes: 18 << 20, logits_bytes: 16 << 20, rows: 256 }
    }
}
