//! A model's dimensions.

use crate::Version;

/// What a model file's tensors say of its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// RWKV version.
    pub version: Version,
    /// The model's name, from metadata or the file name.
    pub name: String,
    /// `L`.
    pub n_layers: usize,
    /// `C`.
    pub n_channels: usize,
    /// `H`.
    pub n_heads: usize,
    /// `N`; `C = H·N`. 1 in RWKV-4, where every channel is on its own.
    pub head_size: usize,
    /// Decays of a layer: `C`; in RWKV-5.1 `H`, one a head.
    pub n_decays: usize,
    /// `F`.
    pub n_ffn: usize,
    /// `V`.
    pub n_vocab: usize,
    /// Low ranks by their letter in the checkpoint names, e.g. `('w', 64)`; a rank that no layer uses is absent.
    pub low_ranks: Vec<(char, usize)>,
    /// After every so many layers the residual stream was halved, and what is added to it divided accordingly, in the
    /// weights of the file; 0: nowhere. RWKV-6's GGUFs have it, so that halves don't overflow.
    pub rescaled_every: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f32,
    /// Epsilon of the group norm after the recurrence.
    pub group_norm_eps: f32,
}

impl Config {
    /// A low rank by its letter; 0 where no layer uses it.
    pub fn low_rank(&self, letter: char) -> usize {
        self.low_ranks.iter().find(|(l, _)| *l == letter).map_or(0, |(_, rank)| *rank)
    }
}
