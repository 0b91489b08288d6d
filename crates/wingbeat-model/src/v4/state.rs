//! RWKV-4's state of one sequence: `5·L·C` values.

use crate::Config;
use wingbeat_backend::{SlabKind, SlabSpec, StateLayout};

/// Slab number of the time mix's last layer-normed input, `(L, C)`.
pub const ATT_SHIFT: usize = 0;
/// Slab number of the weighted sums of values, `(L, C)`, over the power of e that [`PP`] has.
pub const AA: usize = 1;
/// Slab number of the sums of weights, `(L, C)`, likewise.
pub const BB: usize = 2;
/// Slab number of the largest exponents, `(L, C)`.
pub const PP: usize = 3;
/// Slab number of the channel mix's last layer-normed input, `(L, C)`.
pub const FFN_SHIFT: usize = 4;

/// The slabs of a model.
pub fn state_layout(config: &Config) -> StateLayout {
    let slab = |name, kind| SlabSpec { name, shape: vec![config.n_layers, config.n_channels], kind };
    StateLayout {
        slabs: vec![
            slab("att_shift", SlabKind::Vectors),
            slab("aa", SlabKind::Sums),
            slab("bb", SlabKind::Sums),
            slab("pp", SlabKind::Exponents),
            slab("ffn_shift", SlabKind::Vectors),
        ],
    }
}
