//! What may be tried on hardware without compiling anew: the environment variable `WINGBEAT_GPU_TUNING`, for those who work on
//! the kernels (`benches/kernels.rs`).

use crate::ops::cooperative::Tile;

/// Values to use instead of those that are chosen.
pub(crate) struct Tuning {
    /// The tile of products in cooperative matrices, where it fits.
    pub(crate) tile: Option<Tile>,
}

impl Tuning {
    /// `tile=2.2.1.4.4.32.1.1.4`, see [`Tile::parse`]; what is not understood is passed over.
    pub(crate) fn from_environment() -> Tuning {
        let text = std::env::var("WINGBEAT_GPU_TUNING").unwrap_or_default();
        Tuning { tile: text.split(',').find_map(|item| Tile::parse(item.strip_prefix("tile=")?)) }
    }
}
