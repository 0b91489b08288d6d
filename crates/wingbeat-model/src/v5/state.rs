//! RWKV-5's and RWKV-6's state of one sequence: `L·(2C + C·N)` values.

use crate::Config;
use wingbeat_backend::{SlabKind, SlabSpec, StateLayout};

/// Slab number of the time mix's last layer-normed input, `(L, C)`.
pub const ATT_SHIFT: usize = 0;
/// Slab number of the recurrence's matrices, `(L, H, N, N)`, `[key][value]`.
pub const WKV: usize = 1;
/// Slab number of the channel mix's last layer-normed input, `(L, C)`.
pub const FFN_SHIFT: usize = 2;

/// The slabs of a model.
pub fn state_layout(config: &Config) -> StateLayout {
    let Config { n_layers: l, n_channels: c, n_heads: h, head_size: n, .. } = *config;
    StateLayout {
        slabs: vec![
            SlabSpec { name: "att_shift", shape: vec![l, c], kind: SlabKind::Vectors },
            SlabSpec { name: "wkv", shape: vec![l, h, n, n], kind: SlabKind::KeyMatrices },
            SlabSpec { name: "ffn_shift", shape: vec![l, c], kind: SlabKind::Vectors },
        ],
    }
}
