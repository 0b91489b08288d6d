//! Files of embeddings: a row for each text, as `.npy`, `.jsonl` or `.safetensors`.
//!
//! `write` streams rows into a file, `read` streams them out of one; both know the formats by the modules beside them.
//! What the rows are made of is a `Recipe`, which safetensors files carry. How to make them is the library's business.

mod npy;
mod read;
mod recipe;
mod write;

pub(crate) use read::{Reader, Row};
pub(crate) use recipe::{Kind, Recipe};
pub(crate) use write::{Label, Target, Writer};

use clap::ValueEnum;
use std::path::Path;

/// The tensor of a safetensors file.
const TENSOR: &str = "embeddings";

/// The format of a file of embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// NumPy array (B, C) of float32: the numbers only
    Npy,
    /// A JSON object a line: index, where the text is from, and the embedding
    Jsonl,
    /// Tensor `embeddings` (B, C) F32, with the model, what the embeddings are of, and where the texts are from
    Safetensors,
}

impl Format {
    /// The format that a file's ending names.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "npy" => Some(Format::Npy),
            "jsonl" => Some(Format::Jsonl),
            "safetensors" | "st" => Some(Format::Safetensors),
            _ => None,
        }
    }
}
