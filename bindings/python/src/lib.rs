//! Wingbeat for Python: the native half of the package `wingbeat`.
//!
//! It stands between the library `wingbeat` and a Python interpreter: arguments become texts, tokens and options
//! (`text.rs`, `sampling.rs`), results become numpy arrays without a copy (`array.rs`), failures become the package's
//! exceptions (`errors.rs`), and while the engine computes the interpreter is free for other threads (`compute.rs`).
//! Devices are in `device.rs`, models and states in `model.rs` and `state.rs`, what they do in `embed.rs`, `fields.rs` and
//! `generate.rs`, what was computed before in `cache.rs`. What other packages look like (`Llama`, `SentenceTransformer`) is written in Python, over this.
//!
//! Importing it starts no thread, opens no device and does not import numpy.
#![forbid(unsafe_code)]

mod array;
mod cache;
mod compute;
mod device;
mod embed;
mod errors;
mod fields;
mod generate;
#[cfg(feature = "hub")]
mod hub;
#[cfg(not(feature = "hub"))]
#[path = "hub_left_out.rs"]
mod hub;
mod model;
mod sampling;
mod state;
mod text;

use pyo3::prelude::*;

/// The native half of `wingbeat`: import that.
#[pymodule]
mod _wingbeat {
    #[pymodule_export]
    use super::cache::{PyCache, PyCacheStats};
    #[pymodule_export]
    use super::compute::_engine_seconds;
    #[pymodule_export]
    use super::device::devices;
    #[pymodule_export]
    use super::generate::PyStream;
    #[pymodule_export]
    use super::model::{PyModel, PyPerplexity};
    #[pymodule_export]
    use super::state::{_restore_state, PyState};
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
