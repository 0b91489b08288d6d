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
use wingbeat_backend::Orientation;
use wingbeat_format::{CONFIG_PREFIX, FileFormat, ModelFile, Tensor};

pub use rwkv_cpp::Stored;

/// How a file names and lays out its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// llama.cpp's GGUF names (`blk.0.time_mix_w1.weight`), low-rank matrices row-major.
    Gguf,
    /// The names of the official checkpoints (`blocks.0.att.w1`).
    BlinkDl,
    /// web-rwkv's for RWKV-5 and RWKV-6: the official ones, but `time_first` for `time_faaaa` and `time_mix` for
    /// `time_maa`. Its files of other versions have the official names.
    WebRwkv,
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
/// Tensors that tell web-rwkv's names: the official file has the first only in versions without the second.
const OF_WEB_RWKV: [[&str; 2]; 2] = [
    ["blocks.0.att.time_first", "blocks.0.att.gate.weight"],
    ["blocks.0.att.time_mix_w1", "blocks.0.att.time_decay_w1"],
];

impl Layout {
    /// The layout of a file.
    pub fn of(file: &ModelFile) -> Layout {
        match file.format() {
            FileFormat::Gguf => Layout::Gguf,
            FileFormat::RwkvCpp => Layout::RwkvCpp,
            _ if file.tensors().iter().any(|tensor| hf::knows(&tensor.name)) => Layout::HuggingFace,
            _ if OF_WEB_RWKV.iter().any(|both| both.iter().all(|name| file.tensor(name).is_some())) => {
                Layout::WebRwkv
            }
            _ => Layout::BlinkDl,
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Gguf => "llama.cpp",
            Layout::BlinkDl => "official",
            Layout::WebRwkv => "web-rwkv",
            Layout::RwkvCpp => "rwkv.cpp",
            Layout::HuggingFace => "Hugging Face (fla)",
        }
    }

    /// The name, in this layout, of a weight with canonical name `name` (within its layer, if `layer` is given).
    pub fn tensor_name(self, name: &str, gguf: GgufName, layer: Option<usize>) -> String {
        let place = self.places(name, gguf, layer).into_iter().next();
        place.map_or_else(|| official(name, layer), |place| place.tensor)
    }

    /// Where this layout may keep a weight, the usual way first; nowhere, if it has no such weight.
    pub fn places(self, name: &str, gguf: GgufName, layer: Option<usize>) -> SmallVec<[Place; 2]> {
        let mut places = SmallVec::new();
        let mut add = |tensor: String, row| places.push(Place { tensor, row });
        match self {
            Layout::Gguf => {
                let in_block = |name: &str| match layer {
                    Some(layer) if !gguf.is_global() => format!("blk.{layer}.{name}"),
                    _ => name.to_owned(),
                };
                match gguf {
                    GgufName::BlockRow { tensor, index, alone } => {
                        add(in_block(tensor), Some(index));
                        alone.into_iter().for_each(|alone| add(in_block(alone), None));
                    }
                    GgufName::Global(tensor) | GgufName::Block(tensor) => add(in_block(tensor), None),
                }
            }
            Layout::BlinkDl => add(official(name, layer), None),
            Layout::WebRwkv => {
                let renamed = WEB_RWKV.iter().find(|(part, _)| name.contains(part));
                // A name that another weight has is no name of this one.
                if let Some((part, other)) = renamed {
                    add(official(&name.replace(part, other), layer), None);
                } else if !WEB_RWKV.iter().any(|(_, other)| name.ends_with(other)) {
                    add(official(name, layer), None);
                }
            }
            Layout::RwkvCpp => {
                if let GgufName::BlockRow { index, .. } = gguf
                    && name.starts_with("att.x_")
                {
                    add(official(RWKV_CPP_SHIFTS, layer), Some(index));
                }
                add(official(name, layer), None);
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
        let places = self.places(name, gguf, layer);
        let found = places.iter().find_map(|place| Some((file.tensor(&place.tensor)?, place.row)));
        if let Some(found) = found {
            return Ok(found);
        }
        let tied = format!("{CONFIG_PREFIX}tie_word_embeddings");
        if self == Layout::HuggingFace && name == "head.weight" && file.metadata().bool(&tied) == Some(true) {
            let embeddings = hf::tensor_name("emb.weight", None);
            return file.tensor(&embeddings).map(|tensor| (tensor, None)).ok_or(embeddings);
        }
        Err(self.tensor_name(name, gguf, layer))
    }

    /// The layer that a tensor of a file belongs to.
    pub fn layer_of(self, tensor: &str) -> Option<usize> {
        let prefix = match self {
            Layout::Gguf => "blk.",
            Layout::BlinkDl | Layout::WebRwkv | Layout::RwkvCpp => "blocks.",
            Layout::HuggingFace => return hf::layer_of(tensor),
        };
        tensor.strip_prefix(prefix)?.split('.').next()?.parse().ok()
    }

    /// What a weight's values have gone through before they were stored in this layout, if they have.
    pub fn stored(self, version: Version, name: &str) -> Option<Stored> {
        if self == Layout::RwkvCpp { rwkv_cpp::stored(version, name) } else { None }
    }

    /// How low-rank matrices usually lie: a square one does not show it.
    pub(crate) fn low_rank(self) -> Orientation {
        match self {
            Layout::Gguf | Layout::RwkvCpp | Layout::HuggingFace | Layout::WebRwkv => Orientation::RowMajor,
            Layout::BlinkDl => Orientation::Transposed,
        }
    }
}

fn official(name: &str, layer: Option<usize>) -> String {
    match layer {
        Some(layer) => format!("blocks.{layer}.{name}"),
        None => name.to_owned(),
    }
}
