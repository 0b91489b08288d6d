//! A model on a device, with the device's type erased: what [`Model`](crate::Model) holds.

use crate::Error;
use smallvec::SmallVec;
use std::{
    any::{Any, TypeId},
    convert::Infallible,
};
use wingbeat_backend::{
    Backend, DeviceSampling, KernelTime, SamplerStart, SlabView, StateLayout, TokenSampler,
};
use wingbeat_format::DType;
use wingbeat_gpu::{AdapterSummary, GpuBackend};
use wingbeat_model::{Catalog, Config, Forward, ForwardOptions, Output, Progress, Sequence, Want};

/// A state of some backend; only the engine that made it knows its type.
pub(crate) type AnyState = Box<dyn Any + Send + Sync>;
/// A sampler on some device; only the engine that made it knows its type.
pub(crate) type AnySampler = Box<dyn Any + Send + Sync>;

/// One sequence of a call.
pub(crate) struct AnySequence<'a> {
    pub(crate) state: &'a mut AnyState,
    pub(crate) tokens: &'a [u32],
    pub(crate) want: Want,
    /// How many of the tokens the state has taken in, also when the call failed.
    pub(crate) taken: usize,
}

/// What a model can do, whatever the device.
pub(crate) trait Engine: Send + Sync {
    fn describe(&self) -> String;
    /// What decides the bits of its results.
    fn arithmetic(&self) -> String;
    fn config(&self) -> &Config;
    fn state_layout(&self) -> &StateLayout;
    /// The type inside the states that it makes.
    fn state_type(&self) -> TypeId;
    fn new_state(&self) -> Result<AnyState, Error>;
    fn fork_state(&self, state: &AnyState) -> Result<AnyState, Error>;
    fn fork_states(&self, state: &AnyState, n: usize) -> Result<Vec<AnyState>, Error>;
    fn read_slab(&self, state: &AnyState, slab: usize) -> Result<Vec<f32>, Error>;
    /// All slabs, in the layout's order.
    fn read_state(&self, state: &AnyState) -> Result<Vec<Vec<f32>>, Error>;
    fn write_slab(&self, state: &mut AnyState, slab: usize, values: &[f32]) -> Result<(), Error>;
    /// All slabs, in the layout's order.
    fn write_state(&self, state: &mut AnyState, slabs: &[&[f32]]) -> Result<(), Error>;
    /// A slab where it lies, where that is the host's memory.
    fn view_slab<'a>(&self, state: &'a AnyState, slab: usize) -> Option<SlabView<'a>>;
    /// The same values, to be written.
    fn view_slab_mut<'a>(&self, state: &'a mut AnyState, slab: usize) -> Option<&'a mut [f32]>;
    /// What a person should know about how the weights are kept.
    fn notes(&self) -> Vec<String>;
    fn profile(&self, on: bool) -> Result<(), Error>;
    fn kernel_times(&self) -> Vec<KernelTime>;
    fn read_bandwidth(&self) -> Option<f64>;
    fn multiply_rate(&self, dtype: DType) -> Option<f64>;
    /// The adapter, where it runs on one.
    fn adapter(&self) -> Option<&AdapterSummary>;
    fn forward(
        &self,
        sequences: &mut [AnySequence<'_>],
        options: ForwardOptions,
        outputs: &mut Vec<Output>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), Error>;
    /// A sampler on the device for some sequences; none where tokens of so many are chosen on the host.
    fn new_sampler(&self, settings: &DeviceSampling, n_rows: usize) -> Result<Option<AnySampler>, Error>;
    /// Whether there are samplers on the device for any settings.
    fn chooses_tokens(&self) -> bool;
    /// Sequences that may run ahead together at most.
    fn most_rows_ahead(&self) -> usize;
    /// Steps that may be under way at most.
    fn most_steps_ahead(&self, sampler: &AnySampler) -> usize;
    /// From a start for each sequence.
    fn start_sampler(&self, sampler: &mut AnySampler, starts: &[SamplerStart<'_>]) -> Result<(), Error>;
    /// A step for each run of as many random numbers as there are sequences: takes in the sampler's tokens and chooses the
    /// next. Does not wait.
    fn run_ahead(
        &self,
        sampler: &mut AnySampler,
        states: &mut [&mut AnyState],
        units: &[f64],
    ) -> Result<(), Error>;
    /// Waits for the oldest steps that were not read, and appends their tokens, step by step of all sequences.
    fn read_ahead(&self, sampler: &mut AnySampler, out: &mut Vec<u32>) -> Result<(), Error>;
}

/// A model on a backend.
pub(crate) struct On<B: Backend> {
    backend: B,
    forward: Forward<B>,
}

impl<B: Backend> On<B> {
    pub(crate) fn load(catalog: &Catalog, backend: B) -> Result<On<B>, Error> {
        let forward = Forward::load(catalog, &backend)?;
        Ok(On { backend, forward })
    }
}

/// `Model` hands states only to the engine whose kind made them.
const OWN_STATE: &str = "a state is of the kind that its model's device makes";

/// So it is with samplers.
const OWN_SAMPLER: &str = "a sampler is of the kind that its model's device makes";

fn own<B: Backend>(state: &AnyState) -> &B::State {
    state.downcast_ref().expect(OWN_STATE)
}

impl<B: Backend> Engine for On<B> {
    fn describe(&self) -> String {
        self.backend.describe()
    }

    fn arithmetic(&self) -> String {
        self.backend.arithmetic()
    }

    fn config(&self) -> &Config {
        self.forward.config()
    }

    fn state_layout(&self) -> &StateLayout {
        self.forward.state_layout()
    }

    fn state_type(&self) -> TypeId {
        TypeId::of::<B::State>()
    }

    fn new_state(&self) -> Result<AnyState, Error> {
        Ok(Box::new(self.backend.state(self.forward.state_layout())?))
    }

    fn fork_state(&self, state: &AnyState) -> Result<AnyState, Error> {
        Ok(Box::new(self.backend.fork_state(own::<B>(state))?))
    }

    fn fork_states(&self, state: &AnyState, n: usize) -> Result<Vec<AnyState>, Error> {
        let states = self.backend.fork_states(own::<B>(state), n)?;
        Ok(states.into_iter().map(|state| Box::new(state) as AnyState).collect())
    }

    fn read_slab(&self, state: &AnyState, slab: usize) -> Result<Vec<f32>, Error> {
        Ok(self.backend.read_slab(own::<B>(state), slab)?)
    }

    fn read_state(&self, state: &AnyState) -> Result<Vec<Vec<f32>>, Error> {
        Ok(self.backend.read_state(own::<B>(state), self.forward.state_layout())?)
    }

    fn notes(&self) -> Vec<String> {
        self.backend.notes()
    }

    fn profile(&self, on: bool) -> Result<(), Error> {
        Ok(self.backend.profile(on)?)
    }

    fn kernel_times(&self) -> Vec<KernelTime> {
        self.backend.kernel_times()
    }

    fn read_bandwidth(&self) -> Option<f64> {
        self.backend.read_bandwidth()
    }

    fn multiply_rate(&self, dtype: DType) -> Option<f64> {
        self.backend.multiply_rate(dtype)
    }

    fn adapter(&self) -> Option<&AdapterSummary> {
        let backend: &dyn Any = &self.backend;
        backend.downcast_ref().map(GpuBackend::adapter)
    }

    fn write_slab(&self, state: &mut AnyState, slab: usize, values: &[f32]) -> Result<(), Error> {
        Ok(self.backend.write_slab(state.downcast_mut().expect(OWN_STATE), slab, values)?)
    }

    fn write_state(&self, state: &mut AnyState, slabs: &[&[f32]]) -> Result<(), Error> {
        let state = state.downcast_mut().expect(OWN_STATE);
        Ok(self.backend.write_state(state, self.forward.state_layout(), slabs)?)
    }

    fn view_slab<'a>(&self, state: &'a AnyState, slab: usize) -> Option<SlabView<'a>> {
        self.backend.view_slab(own::<B>(state), slab)
    }

    fn view_slab_mut<'a>(&self, state: &'a mut AnyState, slab: usize) -> Option<&'a mut [f32]> {
        self.backend.view_slab_mut(state.downcast_mut().expect(OWN_STATE), slab)
    }

    fn forward(
        &self,
        sequences: &mut [AnySequence<'_>],
        options: ForwardOptions,
        outputs: &mut Vec<Output>,
        progress: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<(), Error> {
        let mut own: SmallVec<[Sequence<'_, B::State>; 4]> = sequences
            .iter_mut()
            .map(|s| Sequence {
                state: s.state.downcast_mut().expect(OWN_STATE),
                tokens: s.tokens,
                want: s.want,
                taken: 0,
            })
            .collect();
        let result = self.forward.run(&self.backend, &mut own, options, outputs, progress);
        let taken: SmallVec<[usize; 4]> = own.iter().map(|s| s.taken).collect();
        drop(own);
        sequences.iter_mut().zip(taken).for_each(|(s, taken)| s.taken = taken);
        Ok(result?)
    }

    fn new_sampler(&self, settings: &DeviceSampling, n_rows: usize) -> Result<Option<AnySampler>, Error> {
        let sampler = self.backend.sampler(settings, self.config().n_vocab, n_rows)?;
        Ok(sampler.map(|sampler| Box::new(sampler) as AnySampler))
    }

    fn chooses_tokens(&self) -> bool {
        TypeId::of::<B::Sampler>() != TypeId::of::<Infallible>()
    }

    fn most_rows_ahead(&self) -> usize {
        self.forward.most_rows_ahead()
    }

    fn most_steps_ahead(&self, sampler: &AnySampler) -> usize {
        sampler.downcast_ref::<B::Sampler>().expect(OWN_SAMPLER).most_steps()
    }

    fn start_sampler(&self, sampler: &mut AnySampler, starts: &[SamplerStart<'_>]) -> Result<(), Error> {
        let sampler: &mut B::Sampler = sampler.downcast_mut().expect(OWN_SAMPLER);
        Ok(sampler.start(&self.backend, starts)?)
    }

    fn run_ahead(
        &self,
        sampler: &mut AnySampler,
        states: &mut [&mut AnyState],
        units: &[f64],
    ) -> Result<(), Error> {
        let sampler: &mut B::Sampler = sampler.downcast_mut().expect(OWN_SAMPLER);
        let mut states: SmallVec<[&mut B::State; 4]> =
            states.iter_mut().map(|state| state.downcast_mut().expect(OWN_STATE)).collect();
        Ok(self.forward.run_ahead(&self.backend, &mut states, sampler, units)?)
    }

    fn read_ahead(&self, sampler: &mut AnySampler, out: &mut Vec<u32>) -> Result<(), Error> {
        let sampler: &mut B::Sampler = sampler.downcast_mut().expect(OWN_SAMPLER);
        Ok(sampler.read(&self.backend, out)?)
    }
}
