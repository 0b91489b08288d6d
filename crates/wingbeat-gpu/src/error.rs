//! The errors of opening an adapter. What goes wrong later is a [`BackendError`](wingbeat_backend::BackendError).

/// Why a GPU cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// There is no such adapter.
    #[error("no GPU: {wanted} adapter was asked for, found: {}", if found.is_empty() { "none" } else { found })]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// The names of those there are.
        found: String,
    },
    /// The adapter gives no device.
    #[error("GPU {adapter}: cannot be opened: {why}")]
    NoDevice {
        /// Its name.
        adapter: String,
        /// The driver's answer.
        why: String,
    },
    /// `WINGBEAT_GPU_WITHOUT` is no list of capabilities.
    #[error("WINGBEAT_GPU_WITHOUT: {0}")]
    Without(#[from] crate::ParseWithoutError),
}
