//! A state's file: saving and loading, also as bytes in memory.
//!
//! It is a safetensors file with one tensor a slab, F32, named and laid out as the slabs, and in its metadata the model's
//! fingerprint, so that a model takes only its own states. Values are finite, in every file: a state that is not (of a
//! model whose weights are not) is refused when it is saved, not when it is missed. Files of tuned states are taken as well,
//! told by what is in them.

use super::{State, check_finite, has_tuned_state, tuned_state};
use crate::{Error, Model};
use std::{borrow::Cow, path::Path};
use wingbeat_format::{DType, FileFormat, Metadata, ModelFile, TensorSpec, safetensors};

/// Metadata keys of a state file.
mod key {
    pub(super) const FORMAT: &str = "wingbeat.state";
    pub(super) const FINGERPRINT: &str = "wingbeat.model.fingerprint";
    pub(super) const NAME: &str = "wingbeat.model.name";
    pub(super) const TOKENS: &str = "wingbeat.state.tokens";
}

/// What messages call a state that has no file.
const IN_MEMORY: &str = "the bytes given";

impl State {
    /// Saves it; [`Model::load_state`] reads it back. The file is complete or not there at all: one that was there before
    /// stays until the new one is on the disk.
    ///
    /// # Errors
    /// The file cannot be written, or a value is not finite.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let slabs = self.finite_slabs()?;
        let mut writer = safetensors::Writer::create(path.as_ref(), &self.metadata(), &self.tensors())?;
        for values in slabs {
            writer.write(&le_bytes(&values))?;
        }
        Ok(writer.finish()?)
    }

    /// The bytes that [`State::save`] writes; [`Model::state_from_bytes`] reads them back.
    ///
    /// # Errors
    /// The device failed, or a value is not finite.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let slabs = self.finite_slabs()?;
        let mut bytes = safetensors::header("a state", &self.metadata(), &self.tensors())?;
        bytes.reserve_exact(slabs.iter().map(|values| size_of_val(values.as_slice())).sum());
        slabs.iter().for_each(|values| bytes.extend_from_slice(&le_bytes(values)));
        Ok(bytes)
    }

    pub(crate) fn load(model: &Model, path: &Path) -> Result<State, Error> {
        State::of_file(model, &ModelFile::open(path)?, path)
    }

    pub(crate) fn from_bytes(model: &Model, bytes: &[u8]) -> Result<State, Error> {
        State::of_file(model, &ModelFile::from_vec(IN_MEMORY, bytes.to_vec())?, Path::new(IN_MEMORY))
    }

    fn of_file(model: &Model, file: &ModelFile, path: &Path) -> Result<State, Error> {
        let not_a_state = |why: String| Error::NotAState { path: path.to_owned(), why };
        let metadata = file.metadata();
        if metadata.str(key::FORMAT).is_none() && has_tuned_state(file) {
            let (slab, values) = tuned_state(file, model.state_layout(), model.config().version.name())?;
            return State::beginning_with(model, slab, &values);
        }
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
        let tokens = metadata.str(key::TOKENS).and_then(|n| n.parse().ok());
        let mut state = State::new(model)?;
        state.n_tokens = tokens.ok_or_else(|| not_a_state(format!("`{}` is not a number", key::TOKENS)))?;
        let mut slabs = Vec::new();
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
            let values = tensor.to_f32();
            check_finite(&path.display().to_string(), slab, &values)?;
            slabs.push(values);
        }
        let slabs: Vec<&[f32]> = slabs.iter().map(|values| &values[..]).collect();
        model.inner.engine.write_state(&mut state.any, &slabs)?;
        // A file that was shortened meanwhile gave zeros.
        file.check_intact()?;
        Ok(state)
    }

    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::new();
        metadata.insert(key::FORMAT, "1");
        metadata.insert(key::FINGERPRINT, self.model.fingerprint());
        metadata.insert(key::NAME, self.model.config().name.as_str());
        metadata.insert(key::TOKENS, self.n_tokens.to_string());
        metadata
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let tensor = |slab: &wingbeat_backend::SlabSpec| TensorSpec {
            name: slab.name.to_owned(),
            dtype: DType::F32,
            shape: slab.shape.clone(),
        };
        self.slabs().iter().map(tensor).collect()
    }

    fn finite_slabs(&self) -> Result<Vec<Vec<f32>>, Error> {
        let slabs = self.model.inner.engine.read_state(&self.any)?;
        for (spec, values) in self.slabs().iter().zip(&slabs) {
            check_finite("the state to be saved", spec, values)?;
        }
        Ok(slabs)
    }
}

/// The file's bytes of values.
pub(crate) fn le_bytes(values: &[f32]) -> Cow<'_, [u8]> {
    match cfg!(target_endian = "little") {
        true => Cow::Borrowed(bytemuck::cast_slice(values)),
        false => Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
    }
}

/// A text from a file, fit for a one-line message.
fn one_line(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}
