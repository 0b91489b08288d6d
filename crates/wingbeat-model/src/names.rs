//! The naming schemes that files use: where each keeps a weight, by its official name.
//!
//! A weight's shape and orientation are the catalog's business; what a layout stores otherwise than the official
//! checkpoints do, value by value, is [`Stored`].

mod hf;
mod rwkv_cpp;
#[cfg(test)]
mod tests;

use crate::{GgufName, Version};
use smallvec::SmallVec;
use wingbeat_format::{CONFIG_PREFIX, FileFormat, ModelFile, Tensor};

pub use rwkv_cpp::Stored;

/// How a file names and lays out its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// llama.cpp's GGUF names (`blk.0.time_mix_w1.weight`), low-rank matrices row-major.
    Gguf,
    /// The names of the official checkpoints (`blocks.0.att.w1`), and those that web-rwkv's converter gives
    /// (`time_first` for `time_faaaa`, `time_mix` for `time_maa`).
    BlinkDl,
    /// rwkv.cpp's: the official names, but the token-shift vectors of RWKV-7 in one tensor, low-rank matrices
    /// row-major, decays after their exponential.
    RwkvCpp,
    /// Hugging Face's, as fla has RWKV-7 (`model.layers.0.attn.w_lora.lora.0.weight`), low-rank matrices row-major.
    HuggingFace,
}

/// A tensor that a layout keeps a weight in, or one row of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tensor's name in the file.
    pub tensor: String,
    /// The row that is the weight, where several are fused.
    pub row: Option<usize>,
}

/// web-rwkv's names for parts of the official ones.
const WEB_RWKV: [(&str, &str); 2] = [("time_faaaa", "time_first"), ("time_maa", "time_mix")];
/// The tensor in which rwkv.cpp has the token-shift vectors of RWKV-7, in the order of llama.cpp's.
const RWKV_CPP_SHIFTS: &str = "att.x_rwkvag";
/// The vectors that llama.cpp's older files have each in its own tensor, by the name before their letter.
const GGUF_SHIFT: &str = "time_mix_lerp_";

impl Layout {
    /// The layout of a file.
    pub fn of(file: &ModelFile) -> Layout {
        match file.format() {
            FileFormat::Gguf => Layout::Gguf,
            FileFormat::RwkvCpp => Layout::RwkvCpp,
            _ if file.tensors().iter().any(|tensor| hf::knows(&tensor.name)) => Layout::HuggingFace,
            _ => Layout::BlinkDl,
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Gguf => "llama.cpp",
            Layout::BlinkDl => "official",
            Layout::RwkvCpp => "rwkv.cpp",
            Layout::HuggingFace => "Hugging Face (fla)",
        }
    }

    /// The name, in this layout, of a weight with canonical name `name` (within its layer, if `layer` is given).
    pub fn tensor_name(self, name: &str, gguf: GgufName, layer: Option<usize>) -> String {
        self.places(name, gguf, layer).swap_remove(0).tensor
    }

    /// Where this layout keeps a weight; where there are several ways, all of them, the usual one first. Never none.
    pub fn places(self, name: &str, gguf: GgufName, layer: Option<usize>) -> SmallVec<[Place; 2]> {
        let mut places = SmallVec::new();
        let mut add = |tensor: String, row| places.push(Place { tensor, row });
        let official = |name: &str| match layer {
            Some(layer) => format!("blocks.{layer}.{name}"),
            None => name.to_owned(),
        };
        match self {
            Layout::Gguf => {
                let in_block = |name: &str| match layer {
                    Some(layer) if !gguf.is_global() => format!("blk.{layer}.{name}"),
                    _ => name.to_owned(),
                };
                let row = match gguf {
                    GgufName::BlockRow(_, row) => Some(row),
                    _ => None,
                };
                add(in_block(gguf.tensor()), row);
                if let Some(letter) = name.chars().next_back().filter(|_| row.is_some()) {
                    add(in_block(&format!("{GGUF_SHIFT}{letter}.weight")), None);
                }
            }
            Layout::BlinkDl => {
                add(official(name), None);
                if let Some((part, other)) = WEB_RWKV.iter().find(|(part, _)| name.contains(part)) {
                    add(official(&name.replace(part, other)), None);
                }
            }
            Layout::RwkvCpp => {
                if let GgufName::BlockRow(_, row) = gguf
                    && name.starts_with("att.x_")
                {
                    add(official(RWKV_CPP_SHIFTS), Some(row));
                }
                add(official(name), None);
            }
            Layout::HuggingFace => {
                add(hf::tensor_name(name, layer), None);
                if let Some((tensor, row)) = layer.and_then(|layer| hf::fused(name, layer)) {
                    add(tensor, Some(row));
                }
            }
        }
        places
    }

    /// The tensor of a weight, and its row there if several are fused.
    ///
    /// # Errors
    /// It is in none of the places; the name is that of the usual one.
    pub fn find<'f>(
        self,
        file: &'f ModelFile,
        name: &str,
        gguf: GgufName,
        layer: Option<usize>,
    ) -> Result<(&'f Tensor, Option<usize>), String> {
        let mut places = self.places(name, gguf, layer);
        let found = places.iter().find_map(|place| Some((file.tensor(&place.tensor)?, place.row)));
        if let Some(found) = found {
            return Ok(found);
        }
        let tied = format!("{CONFIG_PREFIX}tie_word_embeddings");
        if self == Layout::HuggingFace && name == "head.weight" && file.metadata().bool(&tied) == Some(true) {
            let embeddings = hf::tensor_name("emb.weight", None);
            return file.tensor(&embeddings).map(|tensor| (tensor, None)).ok_or(embeddings);
        }
        Err(places.swap_remove(0).tensor)
    }

    /// The layer that a tensor of a file belongs to.
    pub fn layer_of(self, tensor: &str) -> Option<usize> {
        let prefix = match self {
            Layout::Gguf => "blk.",
            Layout::BlinkDl | Layout::RwkvCpp => "blocks.",
            Layout::HuggingFace => return hf::layer_of(tensor),
        };
        tensor.strip_prefix(prefix)?.split('.').next()?.parse().ok()
    }

    /// What a weight's values have gone through before they were stored in this layout, if they have.
    pub fn stored(self, version: Version, name: &str) -> Option<Stored> {
        if self == Layout::RwkvCpp { rwkv_cpp::stored(version, name) } else { None }
    }
}
