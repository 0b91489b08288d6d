//! A recurrent state as a value: kept, forked, read, written, saved and loaded.
//!
//! Its file is a safetensors file with one tensor a slab, F32, named and laid out as the slabs, and in its metadata
//! the model's fingerprint, so that a model takes only its own states.

use crate::{Error, Model, engine::AnyState};
use std::path::Path;
use wingbeat_backend::SlabSpec;
use wingbeat_format::{DType, FileFormat, Metadata, ModelFile, TensorSpec, safetensors};

/// Metadata keys of a state file.
mod key {
    pub(super) const FORMAT: &str = "wingbeat.state";
    pub(super) const FINGERPRINT: &str = "wingbeat.model.fingerprint";
    pub(super) const NAME: &str = "wingbeat.model.name";
    pub(super) const TOKENS: &str = "wingbeat.state.tokens";
}

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

    /// Replaces a slab's values.
    ///
    /// # Errors
    /// There is no slab of that name, the number of values is wrong, or the device failed.
    pub fn write(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        let index = self.model.slab_index(name)?;
        self.model.inner.engine.write_slab(&mut self.any, index, values)
    }

    /// Saves it; [`Model::load_state`] reads it back. The file is complete or not there at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let mut metadata = Metadata::new();
        metadata.insert(key::FORMAT, "1");
        metadata.insert(key::FINGERPRINT, self.model.fingerprint());
        metadata.insert(key::NAME, self.model.config().name.as_str());
        metadata.insert(key::TOKENS, self.n_tokens.to_string());
        let specs: Vec<TensorSpec> = self
            .slabs()
            .iter()
            .map(|slab| TensorSpec {
                name: slab.name.to_owned(),
                dtype: DType::F32,
                shape: slab.shape.clone(),
            })
            .collect();
        let mut writer = safetensors::Writer::create(path.as_ref(), &metadata, &specs)?;
        for values in self.model.inner.engine.read_state(&self.any)? {
            writer
                .write(bytemuck::cast_slice(&values.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>()))?;
        }
        Ok(writer.finish()?)
    }

    pub(crate) fn load(model: &Model, path: &Path) -> Result<State, Error> {
        let not_a_state = |why: String| Error::NotAState { path: path.to_owned(), why };
        let file = ModelFile::open(path)?;
        let metadata = file.metadata();
        if file.format() != FileFormat::Safetensors || metadata.str(key::FORMAT).is_none() {
            return Err(not_a_state(format!("the metadata has no `{}`", key::FORMAT)));
        }
        if let Some(version) = metadata.str(key::FORMAT).filter(|version| *version != "1") {
            return Err(not_a_state(format!("its format is version {version:?}, known is \"1\"")));
        }
        let found = metadata.str(key::FINGERPRINT).unwrap_or_default();
        if found != model.fingerprint() {
            return Err(Error::ForeignState {
                state: path.display().to_string(),
                found_name: one_line(metadata.str(key::NAME).unwrap_or("an unnamed model")),
                found: one_line(found),
                expected_name: one_line(&model.config().name),
                expected: model.fingerprint().to_owned(),
            });
        }
        let mut state = State::new(model)?;
        for slab in &model.state_layout().slabs {
            let tensor = file
                .tensor(slab.name)
                .ok_or_else(|| not_a_state(format!("tensor `{}` is missing", slab.name)))?;
            if tensor.shape != slab.shape || tensor.dtype != DType::F32 {
                return Err(not_a_state(format!(
                    "tensor `{}` should be F32 {:?}, found {} {:?}",
                    slab.name,
                    slab.shape,
                    tensor.dtype.name(),
                    tensor.shape
                )));
            }
            state.write(slab.name, &tensor.to_f32())?;
        }
        let tokens = metadata.str(key::TOKENS).and_then(|n| n.parse().ok());
        state.n_tokens = tokens.ok_or_else(|| not_a_state(format!("`{}` is not a number", key::TOKENS)))?;
        Ok(state)
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

/// A text from a file, fit for a one-line message.
fn one_line(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}
