//! A recurrent state as a value: kept, forked, read, written, compared, blended.
//!
//! What goes on with it is the model's business ([`Model::forward`]); `file.rs` saves and loads it, `tuned.rs` reads those that
//! were trained, `kept.rs` hands it to the cache.

mod file;
mod kept;
mod tuned;

pub(crate) use file::le_bytes;
pub(crate) use tuned::{has_tuned_state, tuned_state};

use crate::{Error, Model, engine::AnyState};
use wingbeat_backend::{BackendError, SlabKind, SlabSpec, SlabView};

/// What a model remembers of a text. It belongs to its model and lives on the model's device.
pub struct State {
    model: Model,
    any: AnyState,
    n_tokens: u64,
}

/// A slab on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Slab {
    /// Its name, e.g. `wkv`.
    pub name: &'static str,
    /// Its shape, layers first, e.g. `(L, H, N, N)`.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

impl State {
    pub(crate) fn new(model: &Model) -> Result<State, Error> {
        Ok(State { any: model.inner.engine.new_state()?, model: model.clone(), n_tokens: 0 })
    }

    /// The state before the first token, with one slab's values in place of its own.
    pub(crate) fn beginning_with(model: &Model, slab: usize, values: &[f32]) -> Result<State, Error> {
        let mut state = State::new(model)?;
        model.inner.engine.write_slab(&mut state.any, slab, values)?;
        Ok(state)
    }

    /// A weighted sum of states of one model, slab by slab: `Σ weight · state`. The weights need not add up to 1. RWKV-4's
    /// sums count with their exponents, of which the blend has the largest.
    ///
    /// It counts the tokens of the state that has the most: a blend of a state with itself, a half each, is that state.
    ///
    /// # Errors
    /// There is no state, a weight or a sum is not finite, the states are not of one model on one kind of device, or the
    /// device fails.
    pub fn blend(states: &[(&State, f32)]) -> Result<State, Error> {
        let Some(&(first, _)) = states.first() else {
            return Err(Error::Blend { why: "expected at least one state, found none".to_owned() });
        };
        for (i, (state, weight)) in states.iter().enumerate() {
            state.check_owner(&first.model, "a state to blend")?;
            if !weight.is_finite() {
                return Err(Error::Blend {
                    why: format!("weight {i}: expected a finite number, found {weight}"),
                });
            }
        }
        let engine = &first.model.inner.engine;
        let mut blend = State::new(&first.model)?;
        let mut sums = Vec::new();
        let exponents = Exponents::read(states, first.slabs())?;
        for (index, spec) in first.slabs().iter().enumerate() {
            if let (SlabKind::Exponents, Some(exponents)) = (spec.kind, &exponents) {
                sums.push(exponents.largest.clone());
                continue;
            }
            let mut sum = Vec::new();
            for (i, &(state, weight)) in states.iter().enumerate() {
                let mut values = engine.read_slab(&state.any, index)?;
                if let (SlabKind::Sums, Some(exponents)) = (spec.kind, &exponents) {
                    exponents.rescale(i, &mut values);
                }
                match sum.is_empty() {
                    true => {
                        values.iter_mut().for_each(|value| *value *= weight);
                        sum = values;
                    }
                    false => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value),
                }
            }
            check_finite("the blend", spec, &sum)?;
            sums.push(sum);
        }
        engine.write_state(&mut blend.any, &sums.iter().map(|sum| &sum[..]).collect::<Vec<_>>())?;
        blend.n_tokens = states.iter().map(|(state, _)| state.n_tokens).max().unwrap_or(0);
        Ok(blend)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How many tokens it has taken in since the zero state.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// A copy that goes its own way from here.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn fork(&self) -> Result<State, Error> {
        let any = self.model.inner.engine.fork_state(&self.any)?;
        Ok(State { any, model: self.model.clone(), n_tokens: self.n_tokens })
    }

    /// Several copies, each of which goes its own way: cheaper than as many forks where it lives on a GPU.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn fork_many(&self, n: usize) -> Result<Vec<State>, Error> {
        let (model, n_tokens) = (&self.model, self.n_tokens);
        let states = model.inner.engine.fork_states(&self.any, n)?;
        Ok(states.into_iter().map(|any| State { any, model: model.clone(), n_tokens }).collect())
    }

    /// Names and shapes of the slabs.
    pub fn slabs(&self) -> &[SlabSpec] {
        &self.model.state_layout().slabs
    }

    /// A slab where it lies, without a copy, in the device's order of axes: the CPU keeps head matrices `[key][value]`, and
    /// the strides say so. None where the state is on a GPU: [`State::read`] copies it from there.
    ///
    /// # Errors
    /// There is no slab of that name.
    pub fn view(&self, name: &str) -> Result<Option<SlabView<'_>>, Error> {
        Ok(self.model.inner.engine.view_slab(&self.any, self.model.slab_index(name)?))
    }

    /// Copies a slab to the host.
    ///
    /// # Errors
    /// There is no slab of that name, or the device failed.
    pub fn read(&self, name: &str) -> Result<Slab, Error> {
        let index = self.model.slab_index(name)?;
        let spec = &self.slabs()[index];
        let values = self.model.inner.engine.read_slab(&self.any, index)?;
        Ok(Slab { name: spec.name, shape: spec.shape.clone(), values })
    }

    /// Copies all slabs to the host, in the order of [`State::slabs`], in one transfer.
    ///
    /// # Errors
    /// The device failed.
    pub fn read_all(&self) -> Result<Vec<Slab>, Error> {
        let slabs = self.model.inner.engine.read_state(&self.any)?;
        let slab = |(spec, values): (&SlabSpec, Vec<f32>)| Slab {
            name: spec.name,
            shape: spec.shape.clone(),
            values,
        };
        Ok(self.slabs().iter().zip(slabs).map(slab).collect())
    }

    /// Replaces a slab's values, given row-major.
    ///
    /// # Errors
    /// There is no slab of that name, the number of values is wrong, one of them is not finite (nothing has been changed
    /// then), or the device failed.
    pub fn write(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let index = self.model.slab_index(name)?;
        check_finite("the values given", &self.slabs()[index], values)?;
        self.model.inner.engine.write_slab(&mut self.any, index, values)
    }

    /// Replaces the values of all slabs, row-major, in the order of [`State::slabs`], in one transfer.
    ///
    /// # Errors
    /// There are more or fewer slabs, the number of values of one is wrong, one of them is not finite (nothing has been
    /// changed then), or the device failed.
    pub fn write_all(&mut self, slabs: &[impl AsRef<[f32]>]) -> Result<(), Error> {
        let (expected, found) = (self.slabs().len(), slabs.len());
        if found != expected {
            return Err(Error::SlabCount { expected, found });
        }
        let slabs: Vec<&[f32]> = slabs.iter().map(AsRef::as_ref).collect();
        for (spec, values) in self.slabs().iter().zip(&slabs) {
            if values.len() != spec.len() {
                let (slab, expected, found) = (spec.name.to_owned(), spec.len(), values.len());
                return Err(BackendError::SlabSize { slab, expected, found }.into());
            }
            check_finite("the values given", spec, values)?;
        }
        self.model.inner.engine.write_state(&mut self.any, &slabs)
    }

    /// Whether it is the other one, bit for bit: of the same model (on whatever device), after as many tokens, with the
    /// same values.
    ///
    /// # Errors
    /// The device failed.
    pub fn is_same(&self, other: &State) -> Result<bool, Error> {
        if self.n_tokens != other.n_tokens || self.model.fingerprint() != other.model.fingerprint() {
            return Ok(false);
        }
        let (one, two) = (&self.model.inner.engine, &other.model.inner.engine);
        for slab in 0..self.slabs().len() {
            let same = match (one.view_slab(&self.any, slab), two.view_slab(&other.any, slab)) {
                (Some(a), Some(b)) if a.strides == b.strides => same_bits(a.values, b.values),
                _ => same_bits(&one.read_slab(&self.any, slab)?, &two.read_slab(&other.any, slab)?),
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A state may be used by its own model, opened once or twice, on the same kind of device.
    pub(crate) fn check_owner(&self, model: &Model, what: &str) -> Result<(), Error> {
        let same = std::sync::Arc::ptr_eq(&self.model.inner, &model.inner);
        let twin = || {
            self.model.fingerprint() == model.fingerprint()
                && (*self.any).type_id() == model.inner.engine.state_type()
        };
        if same || twin() {
            return Ok(());
        }
        Err(Error::ForeignState {
            state: what.to_owned(),
            found_name: self.model.config().name.clone(),
            found: format!("{}, {}", self.model.fingerprint(), self.model.device()),
            expected_name: model.config().name.clone(),
            expected: format!("{}, {}", model.fingerprint(), model.device()),
        })
    }

    /// A copy of what another state of the model, or of its twin, was made of.
    pub(crate) fn copy_of(model: &Model, any: &AnyState, n_tokens: u64) -> Result<State, Error> {
        Ok(State { any: model.inner.engine.fork_state(any)?, model: model.clone(), n_tokens })
    }

    /// What it is made of, without its model.
    pub(crate) fn into_any(self) -> AnyState {
        self.any
    }

    pub(crate) fn set_n_tokens(&mut self, n_tokens: u64) {
        self.n_tokens = n_tokens;
    }

    pub(crate) fn any_mut(&mut self) -> &mut AnyState {
        &mut self.any
    }

    pub(crate) fn advance(&mut self, n_tokens: usize) {
        self.n_tokens += n_tokens as u64;
    }
}

impl Model {
    /// The number of a slab of its states.
    pub(crate) fn slab_index(&self, name: &str) -> Result<usize, Error> {
        let layout = self.state_layout();
        layout.find(name).ok_or_else(|| Error::NoSlab {
            version: self.config().version.name(),
            slab: name.to_owned(),
            slabs: layout.slabs.iter().map(|s| s.name).collect::<Vec<_>>().join(", "),
        })
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    bytemuck::cast_slice::<f32, u32>(a) == bytemuck::cast_slice::<f32, u32>(b)
}

/// The first value that is not finite is an error.
fn check_finite(what: &str, slab: &SlabSpec, values: &[f32]) -> Result<(), Error> {
    /// Values that are looked at together: enough for the compiler's vectors.
    const TOGETHER: usize = 256;
    let is_bad = |values: &[f32]| values.iter().fold(false, |bad, value| bad | !value.is_finite());
    let Some(chunk) = values.chunks(TOGETHER).position(is_bad) else { return Ok(()) };
    let bad = values.iter().enumerate().skip(chunk * TOGETHER).find(|(_, value)| !value.is_finite());
    bad.map_or(Ok(()), |(index, &found)| {
        Err(Error::StateNotFinite { what: what.to_owned(), slab: slab.name, index, found })
    })
}

/// The exponents of states that are blended.
struct Exponents {
    /// Of each state.
    own: Vec<Vec<f32>>,
    /// Of those that count.
    largest: Vec<f32>,
}

impl Exponents {
    /// None where states have none.
    fn read(states: &[(&State, f32)], slabs: &[SlabSpec]) -> Result<Option<Exponents>, Error> {
        let Some(slab) = slabs.iter().position(|slab| slab.kind == SlabKind::Exponents) else {
            return Ok(None);
        };
        let read = |state: &State| state.model.inner.engine.read_slab(&state.any, slab);
        let own = states.iter().map(|(state, _)| read(state)).collect::<Result<Vec<_>, _>>()?;
        let mut largest = vec![SlabKind::Exponents.initial(); slabs[slab].len()];
        for ((_, weight), own) in states.iter().zip(&own) {
            if *weight != 0.0 {
                largest.iter_mut().zip(own).for_each(|(largest, own)| *largest = largest.max(*own));
            }
        }
        Ok(Some(Exponents { own, largest }))
    }

    /// Makes sums of state `i`, over its own exponents, sums over the largest.
    fn rescale(&self, i: usize, values: &mut [f32]) {
        for ((value, own), largest) in values.iter_mut().zip(&self.own[i]).zip(&self.largest) {
            *value *= (own - largest).exp();
        }
    }
}
