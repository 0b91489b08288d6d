//! Models of the Hugging Face hub: `hf:user/repo` in the place of a path.

use crate::errors::{InputError, MissingFileError, ModelFileError, WingbeatError};
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use wingbeat_hub::{Hub, HubError, Reference, Settings};

/// The file that a name means: itself, or a model of the hub, which is fetched if the cache does not have it. Other Python
/// threads run meanwhile, and Ctrl-C is heard.
pub(crate) fn locate(py: Python<'_>, name: PathBuf) -> PyResult<PathBuf> {
    let Some(name) = named(&name) else { return Ok(name) };
    let reference: Reference = name.parse().map_err(exception)?;
    let hub = Hub::new(Settings::from_env().map_err(exception)?);
    let mut raised = None;
    let located = py.detach(|| {
        hub.locate(&reference, &mut |_| {
            raised = Python::attach(|py| py.check_signals()).err();
            raised.is_none()
        })
    });
    match raised {
        Some(error) => Err(error),
        None => Ok(located.map_err(exception)?.path),
    }
}

/// The name, if it is one of the hub.
fn named(name: &Path) -> Option<String> {
    name.to_str().filter(|name| name.starts_with(Reference::PREFIX)).map(str::to_owned)
}

fn exception(error: HubError) -> PyErr {
    let message = error.to_string();
    match error {
        HubError::Reference { .. } | HubError::Environment { .. } => InputError::new_err(message),
        HubError::Offline { .. } | HubError::Refused { status: 404, .. } | HubError::NoSuchModel { .. } => {
            MissingFileError::new_err(message)
        }
        HubError::NoModel { .. } | HubError::Ambiguous { .. } | HubError::Checksum { .. } => {
            ModelFileError::new_err(message)
        }
        _ => WingbeatError::new_err(message),
    }
}
