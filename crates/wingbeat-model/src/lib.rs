//! RWKV versions: which tensors a file must hold, what its state looks like, and the forward pass as calls on the
//! backend trait.
//!
//! On the data path this crate stands between named tensors (`wingbeat-format`) and a device
//! (`wingbeat-backend`); it names no device. A version is one folder (`v7/`: config, weight table, state table,
//! forward) and one row in [`Version::ALL`]. Tokens, sampling and sessions are left to the `wingbeat` crate.
#![forbid(unsafe_code)]

mod channel_mix;
mod config;
mod dimensions;
mod error;
mod forward;
mod loader;
mod names;
pub mod v4;
pub mod v5;
pub mod v6;
pub mod v7;
mod version;
mod weights;

pub use config::Config;
pub use error::ModelError;
pub use forward::{Forward, ForwardOptions, Network, Output, Progress, Rows, Sequence, Want};
pub use names::{Layout, Place, Stored};
pub use version::Version;
pub use weights::{Catalog, Dim, GgufName, Kind, Layers, Row, Weight};

#[cfg(test)]
mod tests;
