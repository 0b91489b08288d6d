//! The texts: real ones where they are at hand, else made up, and which of the two is always said.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};

#[path = "../../../crates/wingbeat-tokenizer/benches/texts/mod.rs"]
mod made_up;

use made_up::Kind;

/// Texts are cut to this length, so that none counts more than another.
const MAX_BYTES: usize = 1 << 20;

/// The kilobyte that llama.cpp's benchmark program encodes too.
pub(crate) const KILOBYTE: &str = concat!(
    "The harbour master kept a ledger in which every vessel that entered the bay was written down, together with her ",
    "cargo, her captain and the weather of the day. On the ninth of March 1851 he recorded only one arrival: the brig ",
    "Marianne, out of Lisbon, carrying cork, salt and a single passenger who gave no name. \"She came in under torn ",
    "sails,\" he wrote, \"and her people would not say what had happened to the others.\" Years later, when the ledger ",
    "was found in the attic of the old customs house, historians tried to match the entry with the records of three ",
    "other ports, but none of them listed a ship of that name. The passenger, it was said, had taken a room above the ",
    "bakery, paid for a month in silver, and walked each evening to the end of the pier, where he stood until the ",
    "lamps were lit. Children followed him at first; then they grew tired of his silence and went back to their games. ",
    "In April the room was empty, the bed made, and on the table lay a small brass key with a paper tag that read: ",
    "for the one who asks. ",
);

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
