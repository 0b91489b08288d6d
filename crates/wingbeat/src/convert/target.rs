//! What can be written, and which path asks for what.

use std::path::Path;

/// A format that models are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// llama.cpp's format.
    Gguf,
    /// Safetensors with the official names.
    Safetensors,
    /// A PyTorch checkpoint with the official names.
    Pth,
    /// rwkv.cpp's format.
    RwkvCpp,
    /// A folder in Hugging Face's layout, as fla has RWKV-7.
    HuggingFace,
}

/// Formats, their names on a command line, their names for people, and the endings that ask for them.
const NAMES: [(Target, &str, &str, &[&str]); 5] = [
    (Target::Gguf, "gguf", "GGUF", &["gguf"]),
    (Target::Safetensors, "safetensors", "safetensors", &["safetensors", "st"]),
    (Target::Pth, "pth", "PyTorch checkpoint", &["pth", "pt"]),
    (Target::RwkvCpp, "bin", "rwkv.cpp", &["bin"]),
    (Target::HuggingFace, "hf", "Hugging Face folder", &[]),
];

impl Target {
    /// What a path asks for by its ending; one that ends in a separator asks for a folder.
    pub fn of(path: &Path) -> Option<Target> {
        if path
            .as_os_str()
            .as_encoded_bytes()
            .last()
            .is_some_and(|&byte| std::path::is_separator(byte.into()))
        {
            return Some(Target::HuggingFace);
        }
        let ending = path.extension()?.to_str()?;
        NAMES.iter().find(|(.., endings)| endings.contains(&ending)).map(|&(target, ..)| target)
    }

    /// The format of that name: `gguf`, `safetensors`, `pth`, `bin` or `hf`.
    pub fn parse(name: &str) -> Option<Target> {
        NAMES.iter().find(|(_, short, ..)| *short == name).map(|&(target, ..)| target)
    }

    /// Every name that [`Target::parse`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, short, ..)| *short)
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(target, ..)| *target == self).map_or("", |(_, _, name, _)| name)
    }

    /// The endings that name formats, for messages.
    pub(super) fn endings() -> String {
        let endings = NAMES.iter().flat_map(|(.., endings)| endings.iter());
        endings.map(|ending| format!(".{ending}")).collect::<Vec<_>>().join(", ")
    }
}
