//! The naming schemes that files use.

use crate::GgufName;
use wingbeat_format::{FileFormat, ModelFile};

/// How a file names and lays out its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// llama.cpp's GGUF names (`blk.0.time_mix_w1.weight`), low-rank matrices row-major.
    Gguf,
    /// The names of the official checkpoints (`blocks.0.att.w1`).
    BlinkDl,
}

impl Layout {
    /// The layout of a file.
    pub fn of(file: &ModelFile) -> Layout {
        match file.format() {
            FileFormat::Gguf => Layout::Gguf,
            _ => Layout::BlinkDl,
        }
    }

    /// The name, in this layout, of a weight with canonical name `name` (within its layer, if `layer` is given).
    pub fn tensor_name(self, name: &str, gguf: GgufName, layer: Option<usize>) -> String {
        match (self, layer) {
            (Layout::BlinkDl, Some(layer)) => format!("blocks.{layer}.{name}"),
            (Layout::BlinkDl, None) => name.to_owned(),
            (Layout::Gguf, Some(layer)) if !gguf.is_global() => format!("blk.{layer}.{}", gguf.tensor()),
            (Layout::Gguf, _) => gguf.tensor().to_owned(),
        }
    }
}
