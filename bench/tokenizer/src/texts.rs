//! The texts: real ones where they are at hand, else made up, and which of the two is always said.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};

#[path = "../../../crates/wingbeat-tokenizer/benches/texts/mod.rs"]
mod made_up;

use made_up::Kind;

/// Texts are cut to this length, so that none counts more than another.
const MAX_BYTES: usize = 1 << 20;

/// The kilobyte that all programs here encode.
pub(crate) const KILOBYTE: &str = include_str!("../../../crates/wingbeat-cli/src/commands/bench/text.txt");

/// A text and where it is from.
pub(crate) struct Text {
    pub(crate) name: &'static str,
    pub(crate) origin: String,
    pub(crate) text: String,
}

/// Prose, many languages, code.
pub(crate) fn all() -> Result<Vec<Text>> {
    let folder = env::var_os("WINGBEAT_BENCH_TEXTS").map(PathBuf::from);
    let texts = Kind::ALL.map(|kind| {
        let name = match kind {
            Kind::Prose => "prose",
            Kind::Multilingual => "multilingual",
            Kind::Code => "code",
        };
        let file = folder.as_ref().map(|folder| folder.join(format!("{name}.txt")));
        let (origin, text) = match (file.filter(|file| file.exists()), kind) {
            (Some(file), _) => {
                let text = fs::read(&file).with_context(|| file.display().to_string())?;
                ("real: WINGBEAT_BENCH_TEXTS", String::from_utf8_lossy(&text).into_owned())
            }
            (None, Kind::Code) => ("real: this repository's sources", own_sources()?),
            (None, _) => ("made up", String::from_utf8_lossy(kind.text()).into_owned()),
        };
        let end = text.floor_char_boundary(MAX_BYTES.min(text.len()));
        Ok(Text { name, origin: origin.to_owned(), text: text[..end].to_owned() })
    });
    texts.into_iter().collect()
}

/// All Rust and WGSL files of the product, in order of their paths.
fn own_sources() -> Result<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "wgsl") {
                files.push(path);
            }
        }
    }
    files.sort();
    let sources =
        files.iter().map(|file| fs::read_to_string(file).with_context(|| file.display().to_string()));
    sources.collect()
}
