//! Names of models in a build without the hub: files only.

use crate::errors::InputError;
use pyo3::prelude::*;
use std::path::PathBuf;

/// The file that a name means: itself.
pub(crate) fn locate(_py: Python<'_>, name: PathBuf) -> PyResult<PathBuf> {
    match name.to_str().is_some_and(|name| name.starts_with("hf:")) {
        true => Err(InputError::new_err(format!(
            "{}: this build cannot fetch models: it was made without the feature `hub`",
            name.display()
        ))),
        false => Ok(name),
    }
}
