//! Makes the World vocabulary's tables from `assets/world.bin`, with the very modules that make any other
//! vocabulary's tables at run time. `src/world.rs` takes the files that are left in `OUT_DIR` into the program.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "only a part of the modules is needed here, and nothing outwards"
)]

use std::path::PathBuf;
use std::{env, fs};

/// The library's own files, which look for each other, for errors and for vocabularies in the root.
#[path = "src"]
mod library {
    pub(crate) mod cuts;
    pub(crate) mod double_array;
    pub(crate) mod error;
    pub(crate) mod frozen;
    pub(crate) mod gguf;
    pub(crate) mod literal;
    pub(crate) mod packed;
    pub(crate) mod text;
    pub(crate) mod trie;
    pub(crate) mod vocabulary;
}
use library::error::TokenizerError;
use library::vocabulary::{self, Vocabulary};
use library::{cuts, double_array, frozen, gguf, literal, packed, text, trie};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for source in ["assets", "build.rs", "src"] {
        println!("cargo::rerun-if-changed={source}");
    }
    let vocabulary = packed::read(&fs::read("assets/world.bin")?)?;
    let trie = trie::Trie::new(&vocabulary)?;
    let array = double_array::DoubleArray::new(&trie)?;
    let ids = array.narrow_ids().ok_or("some ids of the World vocabulary do not fit 16 bits")?;
    let cuts = cuts::Cuts::new(&trie);

    write("world.texts", vocabulary.texts().iter().map(|&byte| [byte]))?;
    write("world.offsets", vocabulary.offsets().iter().map(|offset| offset.to_le_bytes()))?;
    write("world.entries", array.entries().iter().map(|entry| entry.to_le_bytes()))?;
    write("world.ids", ids.iter().map(|id| id.to_le_bytes()))?;
    write("world.cuts", cuts.rows().iter().flatten().map(|word| word.to_le_bytes()))?;
    Ok(())
}

/// Writes little-endian numbers as the machine has them that the program is for: it reads them where they lie.
fn write<const N: usize>(
    name: &str,
    numbers: impl Iterator<Item = [u8; N]>,
) -> Result<(), Box<dyn std::error::Error>> {
    let is_big_endian = env::var("CARGO_CFG_TARGET_ENDIAN").is_ok_and(|endian| endian == "big");
    let mut bytes = Vec::new();
    for mut number in numbers {
        if is_big_endian {
            number.reverse();
        }
        bytes.extend_from_slice(&number);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join(name), bytes).map_err(|e| format!("{name}: {e}"))?;
    Ok(())
}
